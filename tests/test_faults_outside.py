"""Faults that come from outside the model: seeds, terminals, paths, pipes, tables of others, another pandas."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import hg_helpers as hg
from hg_helpers.__main__ import main
from hg_helpers.app import commands
from hg_helpers.app.demo import LABELS
from hg_helpers.app.files import split_file
from hg_helpers.app.report import report_text
from hg_helpers.metrics.metric import LARGEST_SEED
from hg_helpers.runtime.checkpoint import atomic, load_checkpoint, require_writable, save_checkpoint
from tests.bench.ablation import CONFIGURATIONS, medians_text

ROOT = Path(__file__).parent.parent


@pytest.fixture
def files(cohort, schema, tmp_path):
    """A table, its schema and a synthetic table, as files."""
    cohort.to_csv(tmp_path / "real.csv", index=False)
    hg.simulate_cohort(24, months=6, seed=5).to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "six.yaml").write_text(yaml.safe_dump(schema.to_dict()))
    return tmp_path


def evaluate(folder, *more):
    named = {"--real": "real.csv", "--synthetic": "s.csv", "--schema": "six.yaml", "--out": "report"}
    return main(["evaluate", *(part for option, name in named.items() for part in (option, str(folder / name))), *more])


def with_split(folder, cohort):
    """A model's file and, beside it, who was in which group."""
    ids = cohort["PatientID"].unique().tolist()
    split = {"data": "real.csv", "train_patients": ids[:30], "holdout_patients": ids[30:]}
    split_file(folder / "m.pt").write_text(json.dumps(split))
    return folder / "m.pt"


# --- seeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2**32, -1, True, 1.5])
def test_a_seed_that_scikit_learn_would_refuse_is_refused_before_any_work(cohort, schema, seed, monkeypatch):
    monkeypatch.setattr("hg_helpers.metrics.report.prepare", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
        hg.evaluate(cohort, cohort, cohort, schema, seed=seed)
    for name in ("c2st_auc", "log_cluster", "tstr_auc"):
        with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
            getattr(hg.metrics, name)(cohort, cohort, schema, seed=seed)


def test_the_largest_seed_is_taken(cohort, schema):
    assert 0 <= hg.metrics.c2st_auc(cohort, cohort, schema, seed=LARGEST_SEED, folds=2)[0] <= 1


def test_a_seed_whose_patients_would_be_those_of_another_is_refused():
    model = hg.Synthesizer.pretrained("v1")
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0 and at most 4294967295"):
        model.sample(1, seed=7 + 2**32)  # was the 257th patient of seed 7
    blocks = [next(model.sample_encoded(n, seed, start=n - 256))[1] for n in (256, 512) for seed in (7, 8, 2**32 - 1)]
    assert not any(torch.equal(a, b) for a, b in combinations(blocks, 2))


# --- what the caller has set in torch -----------------------------------------------------------------------------


@contextmanager
def set_to(set_it, value, before):
    set_it(value)
    try:
        yield
    finally:
        set_it(before)


@pytest.fixture(scope="module")
def ways(encoder, cohort, tiny, tmp_path_factory):
    """``ways("v2")``: patients of a new model, of the loaded one, of one that went on training, and of the shipped."""
    shipped = {name: hg.Synthesizer.pretrained(name) for name in ("v2", "v2_plus")}
    path = tmp_path_factory.mktemp("ways") / "m.pt"

    def ways(model: str) -> list[pd.DataFrame]:
        trainer = hg.Trainer(encoder, tiny(model, epochs=1), "cpu")
        trainer.fit(encoder.transform(cohort), progress=False, checkpoint=path)
        again = hg.Trainer.load(path, "cpu")
        again.fit(encoder.transform(cohort), epochs=2, progress=False)
        made = trainer.synthesizer(), hg.Synthesizer.load(path), again.synthesizer()
        matched = [one.match_margins(encoder.transform(cohort), 300, rounds=2) for one in made]
        return [one.sample(20) for one in (*matched, shipped[model])]

    return ways


@pytest.fixture(scope="module")
def plain(ways) -> dict[str, list[pd.DataFrame]]:
    """With torch's own settings."""
    return {model: ways(model) for model in ("v2", "v2_plus")}


@pytest.mark.parametrize(
    "settings",
    [
        lambda: set_to(torch.set_default_dtype, torch.float64, torch.float32),
        lambda: set_to(torch.set_default_dtype, torch.bfloat16, torch.float32),
        lambda: set_to(torch.set_default_device, "meta", None),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.no_grad,
        torch.inference_mode,
    ],
    ids=["float64", "bfloat16", "meta", "autocast", "no_grad", "inference_mode"],
)
@pytest.mark.parametrize("model", ["v2", "v2_plus"])
def test_what_the_caller_has_set_in_torch_changes_no_number(settings, model, ways, plain):
    before = torch.random.get_rng_state()
    with settings():
        dtype, device = torch.get_default_dtype(), torch.empty(0).device
        found = ways(model)
        assert (torch.get_default_dtype(), torch.empty(0).device) == (dtype, device), "as it was set"
    for one, other in zip(plain[model], found, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_trainers_made_in_many_threads_have_the_weights_of_their_seed(encoder, tiny):
    def weights(seed):
        return torch.cat([p.flatten() for p in hg.Trainer(encoder, tiny(seed=seed), "cpu").generator.parameters()])

    seeds = [0, 1] * 40
    with ThreadPoolExecutor(8) as pool:
        assert all(
            torch.equal(drawn, weights(seed)) for seed, drawn in zip(seeds, pool.map(weights, seeds), strict=True)
        )


# --- terminals and pipes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_does_not_end_a_command_whose_work_is_done(encoding, tmp_path):
    out = tmp_path / "людиµ.csv"
    command = [sys.executable, "-m", "hg_helpers", "simulate", "--patients", "2", "--months", "2", "--out", str(out)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path)
    assert said.returncode == 0 and out.is_file(), said.stderr
    assert b"\\u043b" in said.stdout and b"rows: 4" in said.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipe that a reader closes so")
def test_a_reader_who_has_seen_enough_makes_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "hg_helpers", "doctor"]
    said = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(write)
    assert said.returncode == 0 and said.stderr == b""


# --- paths ------------------------------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(files, schema, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    save_checkpoint("~/a/b.pt", {"kind": "synthesizer"})
    assert load_checkpoint("~/a/b.pt", "synthesizer")["kind"] == "synthesizer"
    require_writable("~/c/d.pt")
    model = hg.Synthesizer.pretrained("v1")
    model.save("~/e.pt")
    model.to_csv("~/e.csv", 2)
    hg.write_parts(model, "~/parts", 2)
    assert main(["sample", "--model=~/e.pt", "--patients", "2", "--out=~/f.csv", "--quiet"]) == 0
    (files / "six.yaml").rename(home / "six.yaml")
    assert hg.Schema.from_yaml("~/six.yaml") == schema
    assert {"a", "c", "e.pt", "e.csv", "parts", "f.csv"} <= {path.name for path in home.iterdir()}
    assert not (tmp_path / "~").exists()


def test_a_file_is_written_through_a_symbolic_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "model.pt", tmp_path / "disk" / "real.pt"
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system allows no symbolic links")
    for number in (1, 2):  # the first to where nothing is yet
        save_checkpoint(link, {"kind": "synthesizer", "number": number})
        assert link.is_symlink() and load_checkpoint(target, "synthesizer")["number"] == number
    with pytest.raises(ZeroDivisionError), atomic(link) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert link.is_symlink() and load_checkpoint(link, "synthesizer")["number"] == 2
    assert [path.name for path in target.parent.iterdir()] == ["real.pt"]


def test_a_name_that_is_too_long_is_refused_before_the_work(encoder, x, tiny, tmp_path, capsys, monkeypatch):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    name = "m" * (longest - 4)  # fits by itself, and not as the temporary file that is renamed
    trainer = hg.Trainer(encoder, tiny(), "cpu")
    with pytest.raises(OSError, match="a shorter name"):
        trainer.fit(x, checkpoint=tmp_path / f"{name}.pt", progress=False)
    assert trainer.step == 0
    monkeypatch.setattr("hg_helpers.app.commands.simulate_cohort", lambda *_, **__: pytest.fail("worked"))
    assert main(["simulate", "--out", str(tmp_path / f"{name}.csv")]) == 1
    assert "a shorter name" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("evaluate", "commands.evaluate_tables"),
        ("demo", "commands.run_demo"),
        ("workshop", "workshop.page"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_before_the_work(files, command, work, capsys, monkeypatch):
    monkeypatch.setattr(f"hg_helpers.app.{work}", lambda *_, **__: pytest.fail("worked"))
    out = str(files / "real.csv")  # a file stands where a folder is wanted
    if command == "evaluate":
        assert evaluate(files, "--holdout", out, "--out", out, "--force") == 1
    else:
        assert main([command, "--out", out]) == 1
    assert re.search(r"real\.csv/\w+\.\w+ could not be written: .*; choose another folder", capsys.readouterr().err)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_may_be_the_folder_that_sample_parts_wrote(files, schema):
    table = pd.read_csv(files / "s.csv")
    (files / "parts").mkdir()
    for number, (_, part) in enumerate(table.groupby(table["PatientID"] >= 12)):
        part.to_parquet(files / "parts" / f"part-{number:05d}.parquet", index=False)
    pd.testing.assert_frame_equal(
        hg.load_cohort(files / "parts", schema), hg.load_cohort(table, schema), check_dtype=False
    )
    (files / "none").mkdir()
    with pytest.raises(ValueError, match="none is a folder without Parquet files"):
        hg.load_cohort(files / "none", schema)


@pytest.mark.parametrize(("group", "number"), [("training", "4 of the 30 training"), ("held-out", "2 of the 10 held")])
def test_evaluate_refuses_a_table_that_lacks_patients_of_the_model(files, cohort, capsys, group, number):
    model = with_split(files, cohort)
    ids = cohort["PatientID"].unique()
    gone = ids[:4] if group == "training" else ids[-2:]
    cohort[~cohort["PatientID"].isin(gone)].to_csv(files / "real.csv", index=False)
    assert evaluate(files, "--model", str(model)) == 1
    said = capsys.readouterr().err
    assert number in said and str(gone[0]) in said and not (files / "report").exists()


def test_pandas_that_gives_an_empty_text_column_a_type_of_its_own_draws_an_ablation_too():
    rows = pd.DataFrame([("v1", 0, "ks", 0.5, "argmax"), ("v2", 0, "tv", 0.2, "sample")])
    rows.columns = ["configuration", "seed", "metric", "value", "decode"]
    text = rows.astype({"configuration": "string", "metric": "string", "decode": "string"})
    for table in (rows, text):  # each panel lacks one of the two decodings
        assert len(hg.plots.ablation(table)[1]) == 2


def test_no_tensor_shares_memory_with_a_table_which_pandas_3_lets_nobody_write_to():
    shared = "from_" + r"numpy\([^\n]*(to_numpy|\.values)\("  # torch then warns, in a notebook's output
    sources = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("hg_helpers/**/*.py"), *ROOT.glob("tests/**/*.py")]
    assert len(sources) > 100
    assert not [path.name for path in sources if re.search(shared, path.read_text(encoding="utf-8"))]


# --- the report in a terminal -----------------------------------------------------------------------------------------


def test_the_report_fits_eighty_columns_and_says_where_it_is(files, cohort, capsys, monkeypatch, quick_report):
    quick_report(monkeypatch)
    assert evaluate(files, "--model", str(with_split(files, cohort))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80 and "nan" not in " ".join(lines).lower()
    report = pd.read_csv(files / "report" / "report.csv")
    assert len(lines) == len(report) + 3 and any(line.startswith("joint_tv") and " all 5 " in line for line in lines)
    pictures = len(list((files / "report").glob("*.png")))
    assert re.search(rf"report.html, report.csv and {pictures} pictures are in .*report/$", lines[-1])


def test_a_long_name_is_cut_and_a_value_that_is_undefined_is_a_dash():
    row = {"metric": "autocorrelation_difference", "feature": "f" * 90, "value": np.nan, "floor": 12.5}
    header, line = report_text(pd.DataFrame([{**row, "best": 0.0, "low": np.nan, "high": 1.0}]), 5).splitlines()
    assert len(header) == len(line) <= 79 and line.split()[2:] == ["-", "12.500", "0.000", "-", "1.000"]
    assert line.split()[1].endswith("f..")


def test_the_table_of_the_ablation_fits_80_columns_and_says_what_its_heads_stand_for():
    keys = ["coverage_month", "coverage_patient", "joint_tv", "ks VL", "ks CD4", "patient_spread", "switching_ratio"]
    summary = pd.DataFrame(0.345, list(CONFIGURATIONS), [*keys, "static_constant", "seconds"])
    text = medians_text(summary.assign(switching_ratio=123.456))
    assert max(map(len, text.splitlines())) <= 80 and "123.46" in text
    assert all(f"\n{name} " in text for name in CONFIGURATIONS)
    assert all(LABELS[key] in text.replace("\n", " ") for key in keys)


def test_a_folder_whose_parts_are_not_all_there_is_no_table(tmp_path):
    hg.write_parts(hg.Synthesizer.pretrained("v1"), tmp_path, 300, per_part=256)
    assert len(hg.load_cohort(tmp_path, hg.ART_DEMO)) == 300 * 60
    (tmp_path / "part-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"there are 1 of 2; give `sample --parts` again"):
        hg.load_cohort(tmp_path, hg.ART_DEMO)


OTHER = {
    "as it was": lambda column, held: column,
    "twice": lambda column, held: column * 2,
    "among others": lambda column, held: column.sample(frac=1, random_state=1).to_numpy(),
    "in one row of whom it trained on": lambda column, held: column.where(held.index != held.idxmin(), 1.0),
    "in one row of whom was held out": lambda column, held: column.where(held.index != held.idxmax(), 1.0),
}


@pytest.mark.parametrize("change", OTHER)
def test_a_table_with_the_patients_trained_on_but_other_values_is_not_evaluated(
    files, cohort, schema, monkeypatch, capsys, change
):
    hg.train(cohort.sample(frac=1, random_state=0), "v1", schema, epochs=1, device="cpu", progress=False).save(
        files / "m.pt"
    )
    held = cohort["PatientID"].isin(json.loads((files / "m.split.json").read_text())["holdout_patients"])
    cohort.assign(CD4=OTHER[change](cohort["CD4"], held)).to_csv(files / "real.csv", index=False)
    compared = []
    monkeypatch.setattr(commands, "evaluate_tables", lambda *tables, **_: compared.append(tables) or 1 / 0)
    if change == "as it was":  # gets as far as the comparison
        with pytest.raises(ZeroDivisionError):
            evaluate(files, "--model", str(files / "m.pt"))
        return
    assert evaluate(files, "--model", str(files / "m.pt")) == 1 and not compared
    assert re.search(r"real\.csv has the patients of .*m\.pt, but other values", capsys.readouterr().err)
