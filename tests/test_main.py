"""The command line as a user types it: results on standard output, messages on standard error, exit codes."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hg_helpers.__main__ import main
from hg_helpers.app import demo
from hg_helpers.app.demo import run_demo, summary_text
from hg_helpers.cohort.art import ART_DEMO, ART_FULL
from hg_helpers.cohort.load import load_cohort
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model.synthesizer import Synthesizer
from hg_helpers.model.training import Trainer

ROOT = Path(__file__).parent.parent
COMMANDS = ["doctor", "simulate", "download", "describe", "train", "sample", "evaluate", "demo", "workshop"]
PBC = ROOT.parent / "shared" / "data" / "pbcseq.csv"
SCHEMA = """
patient: id
time: visit
length: 4
missing: forward
regular: false
features:
  - {name: lab, kind: real, unit: mg/dL}
  - {name: sex, kind: binary, levels: [m, f], static: true}
  - {name: drug, kind: categorical, levels: [none, a, b], role: regimen}
"""


@pytest.fixture
def table(tmp_path):
    """A small table of another kind than the bundled one, with its schema, as files."""
    random = np.random.default_rng(0)
    patients, visits = 24, 5
    frame = pd.DataFrame(
        {
            "drug": random.choice(["none", "a", "b"], patients * visits),
            "id": np.repeat([f"p{i:02}" for i in range(patients)], visits),
            "visit": np.tile(np.arange(visits) * 30, patients),
            "lab": random.lognormal(1, 0.5, patients * visits).round(2),
            "sex": np.repeat(random.choice(["m", "f"], patients), visits),
        }
    )
    frame.to_csv(tmp_path / "visits.csv", index=False)
    (tmp_path / "visits.yaml").write_text(SCHEMA)
    return tmp_path


def train(folder, *more):
    paths = {"--data": "visits.csv", "--schema": "visits.yaml", "--out": "model.pt"}
    named = [part for option, name in paths.items() for part in (option, str(folder / name))]
    return main(["train", *named, "--quiet", "--epochs", "1", *more])


def test_doctor_names_versions_and_data(capsys):
    code = main(["doctor", "--json"])
    checks = {c["check"]: c for c in json.loads(capsys.readouterr().out)}
    assert {"python", "torch", "bundled cohort", "disk"} <= set(checks)
    assert code == (0 if all(c["ok"] for c in checks.values()) else 1)


def test_simulate_writes_the_same_file_each_time_and_refuses_to_overwrite(tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.csv.gz", "b.csv.gz")]
    for path in paths:
        assert main(["simulate", "--patients", "5", "--months", "4", "--seed", "3", "--out", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), simulate_cohort(5, months=4, seed=3), check_dtype=False)
    capsys.readouterr()
    assert main(["simulate", "--out", str(paths[0])]) == 1
    said = capsys.readouterr()
    assert "a.csv.gz exists already" in said.err and "--force" in said.err and said.out == ""
    assert main(["simulate", "--patients", "6", "--out", str(paths[0]), "--force", "--quiet"]) == 0
    assert pd.read_csv(paths[0])["PatientID"].nunique() == 6


def test_the_whole_way_on_another_table(table, capsys, caplog):
    assert train(table, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["epochs"] == 1 and said["patients"] == 19
    split = json.loads((table / "model.split.json").read_text())
    assert len(split["train_patients"]) == 19 and len(split["holdout_patients"]) == 5
    assert not set(split["train_patients"]) & set(split["holdout_patients"])
    assert split["seed"] == 0 and split["holdout"] == 0.2

    for name in ("s.csv", "s.csv.gz", "s.parquet"):
        assert main(["sample", "--model", str(table / "model.pt"), "--patients", "7", "--out", str(table / name)]) == 0
    drawn = pd.read_csv(table / "s.csv")
    assert list(drawn.columns) == ["drug", "id", "visit", "lab", "sex"]  # the order of the user's own table
    assert len(drawn) == 7 * 4 and set(drawn["sex"]) <= {"m", "f"}
    pd.testing.assert_frame_equal(drawn, pd.read_csv(table / "s.csv.gz"))
    pd.testing.assert_frame_equal(drawn, pd.read_parquet(table / "s.parquet"), check_dtype=False, rtol=1e-5)

    capsys.readouterr()
    arguments = ["evaluate", "--real", str(table / "visits.csv"), "--model", str(table / "model.pt"), "--json"]
    arguments += ["--synthetic", str(table / "s.csv"), "--schema", str(table / "visits.yaml")]
    assert main([*arguments, "--out", str(table / "report")]) == 0
    report = pd.DataFrame(json.loads(capsys.readouterr().out))
    assert {"metric", "feature", "value", "floor", "best"} <= set(report.columns)
    assert {"ks", "tv", "coverage_patient", "dcr_share"} <= set(report["metric"])
    drawn = {"distributions", "association", "joint_shares", "coverage", "trajectories", "regimen_shares", "patients"}
    left = {p.name for p in (table / "report").iterdir()}
    assert left == {
        "report.csv",
        "report.html",
        "privacy_distances.png",
        "giveaways.png",
        *(f"{name}.png" for name in drawn),
    }
    assert "trends_and_cycles is left out" in caplog.text and "at least two" in caplog.text  # one lab only


def test_resume_goes_on_with_the_patients_of_the_split(table, capsys):
    published = ("--model", "v2", "--preset", "published")  # a falling rate would have been fitted to one epoch
    assert train(table, *published) == 0
    assert main(["train", "--resume", "--out", str(table / "model.pt"), "--epochs", "2", "--quiet"]) == 0
    resumed = Trainer.load(table / "model.pt")
    assert resumed.epoch == 2
    assert train(table, *published, "--force", "--epochs", "2") == 0
    straight = Trainer.load(table / "model.pt")
    assert all(
        (a == b).all() for a, b in zip(resumed.generator.parameters(), straight.generator.parameters(), strict=True)
    )


def test_holdout_zero_trains_on_everybody_and_evaluate_then_asks_for_a_holdout(table, capsys):
    assert train(table, "--holdout", "0") == 0
    assert "holdout_patients" not in json.loads((table / "model.split.json").read_text())
    main(["sample", "--model", str(table / "model.pt"), "--patients", "5", "--out", str(table / "s.csv"), "--quiet"])
    arguments = ["evaluate", "--real", str(table / "visits.csv"), "--synthetic", str(table / "s.csv"), "--out", "x"]
    arguments += ["--schema", str(table / "visits.yaml")]
    assert main([*arguments, "--model", str(table / "model.pt")]) == 1
    assert "--holdout TABLE" in capsys.readouterr().err
    assert main(arguments) == 1
    assert "--holdout TABLE" in capsys.readouterr().err


def broken(table, how):
    frame = pd.read_csv(table / "visits.csv")
    how(frame)
    frame.to_csv(table / "visits.csv", index=False)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda t: t.rename(columns={"lab": "Lab"}, inplace=True), ["'lab'", "Lab"]),
        (lambda t: t.__setitem__("sex", t["sex"].str.upper()), ["'sex'", "M"]),
        (lambda t: t.__setitem__("lab", t["lab"].astype(str).str.replace(".", ",")), ["'lab'", "comma"]),
        (lambda t: t.__setitem__("lab", -t["lab"]), ["'lab'", "yeo-johnson"]),
    ],
)
def test_a_bad_table_is_one_line_that_names_the_column_before_any_training(table, capsys, how, words):
    broken(table, how)
    assert train(table) == 1
    said = capsys.readouterr()
    assert all(word in said.err for word in words), said.err
    assert "Traceback" not in said.err and said.out == ""
    assert not (table / "model.pt").exists() and not (table / "model.split.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "--model", "nowhere.pt", "--out", "s.csv"],
        ["sample", "--model", "nowhere.pt", "--out", "s.xlsx"],
        ["train", "--data", "nowhere.csv", "--out", "m.pt"],
        ["train", "--schema", "nowhere.yaml", "--out", "m.pt"],
        ["train", "--resume", "--out", "nowhere.pt"],
        ["train", "--device", "abacus", "--out", "m.pt"],
    ],
)
def test_what_is_missing_or_wrong_is_named_without_a_traceback(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    wrong = [a.split(".")[0] for a in arguments if a.startswith(("nowhere", "abacus")) or a.endswith("xlsx")]
    assert said.startswith("error: ") and any(word in said for word in wrong)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("arguments", [[], ["train"], ["simulate", "--patients", "0", "--out", "x.csv"], ["fly"]])
def test_a_wrong_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert f"python -m hg_helpers {command}" in said and "exit codes" in said


def test_the_demo_leaves_models_tables_and_pictures(tmp_path, capsys, monkeypatch):
    """As small as it gets: this shows that everything is written and said, not that the lesson holds."""
    folder = tmp_path / "demo"

    def here(work, runs, jobs, bar, finished):  # in processes of their own, each of which takes seconds to start:
        for name, arguments in runs.items():  # test_ablation
            job = Future()
            job.set_result(work(*arguments))
            finished(name, job)

    monkeypatch.setattr(demo, "in_processes", here)
    monkeypatch.setattr(demo, "_done", queue.SimpleQueue(), raising=False)
    monkeypatch.setattr(demo, "_stop", threading.Event(), raising=False)
    small = {"epochs": 1, "hidden": 4, "latent": 4, "batch_size": 400, "lengths": (60,), "n_critic": 1}
    lines = summary_text(run_demo(folder, progress=False, **small)).splitlines()
    assert 10 <= len(lines) <= 13 and "v2_plus" in lines[0]
    expected = {f"{m}.{e}" for m in ("v1", "v2", "v2_plus") for e in ("pt", "csv")}
    expected |= {f"{m}.split.json" for m in ("v1", "v2", "v2_plus")}
    expected |= {"summary.csv", "coverage.csv", "gender_ethnic.png", "distributions.png"}
    assert expected <= {p.name for p in folder.iterdir()}
    summary = pd.read_csv(folder / "summary.csv", index_col=0)
    assert list(summary.columns) == ["holdout", "v1", "v2", "v2_plus"]
    assert summary.loc["patients whose static features change", "v2_plus"] == 0
    assert summary.loc["groups covered, by month", "v1"] < summary.loc["groups covered, by month", "holdout"]
    coverage = pd.read_csv(folder / "coverage.csv")
    assert set(coverage["by"]) == {"month", "patient"} and coverage.groupby("by")["train"].sum().between(0.7, 1).all()
    assert load_cohort(folder / "v2.csv", schema=ART_DEMO)["PatientID"].nunique() == 1000
    command = ["evaluate", "--model", str(folder / "v2.pt"), "--synthetic", str(folder / "v2.csv"), "--quiet"]
    monkeypatch.setattr("hg_helpers.app.commands.evaluate_tables", lambda *tables, **_: found.extend(tables) or 1 / 0)
    found = []
    with pytest.raises(ZeroDivisionError):  # what it needs is there: the work would begin
        main([*command, "--real", str(ROOT / "data" / "art_hiv_demo.csv.gz"), "--out", str(tmp_path / "report")])
    assert [part["PatientID"].nunique() for part in found] == [800, 200, 1000]
    capsys.readouterr()
    assert main(["demo", "--out", str(folder)]) == 1 and "--force" in capsys.readouterr().err


@pytest.mark.skipif(not PBC.is_file(), reason="shared/data/pbcseq.csv is not part of the repository")
def test_real_clinical_visits_from_train_to_report(tmp_path, capsys, caplog, monkeypatch, quick_report):
    schema, model = str(tmp_path / "six.yaml"), str(tmp_path / "pbc.pt")
    text = (ROOT / "data" / "pbcseq.yaml").read_text()
    assert len(text.splitlines()) <= 25
    six = text.replace("missing: measured", "missing: forward").replace(
        "regular: false", "length: 6\nshorter: drop\nregular: false"
    )
    Path(schema).write_text(six)
    assert main(["train", "--data", str(PBC), "--schema", schema, "--out", model, "--epochs", "2"]) == 0
    # 153 of the 312 patients have six visits; a fifth of those is held out
    assert "left out" in caplog.text and "patients: 122" in capsys.readouterr().out
    drawn = tmp_path / "pbc.csv"
    assert main(["sample", "--model", model, "--patients", "200", "--out", str(drawn)]) == 0
    table = pd.read_csv(drawn)
    assert (
        set(table["sex"]) <= {"f", "m"} and set(table["edema"]) <= {0, 0.5, 1} and set(table["stage"]) <= {1, 2, 3, 4}
    )
    assert (table.groupby("id")["sex"].nunique() == 1).all() and (table.groupby("id").size() == 6).all()
    report = tmp_path / "report"
    quick_report(monkeypatch)
    arguments = ["evaluate", "--real", str(PBC), "--model", model, "--synthetic", str(drawn), "--schema", schema]
    assert main([*arguments, "--out", str(report)]) == 0
    assert np.isfinite(pd.read_csv(report / "report.csv").query("metric == 'ks'")["value"]).all()


def test_a_file_in_the_published_layout_goes_through_with_all_its_columns(tmp_path, capsys):
    published = tmp_path / "published.csv"
    simulate_cohort(60, seed=5).to_csv(published, index=False)
    model, drawn = str(tmp_path / "full.pt"), tmp_path / "full.csv"
    arguments = ["train", "--data", str(published), "--schema", "art-full", "--out", model, "--epochs", "1", "--quiet"]
    arguments += ["--model", "v1"]  # v2_plus would match margins for as long as all else takes
    assert main(arguments) == 0
    assert main(["sample", "--model", model, "--patients", "10", "--out", str(drawn), "--quiet"]) == 0
    assert (
        list(pd.read_csv(drawn).columns) == list(pd.read_csv(published).columns) == list(load_cohort(published).columns)
    )
    assert set(ART_FULL.names) < set(pd.read_csv(drawn).columns)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_a_bare_call_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as left:
        main([])
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == ""
    assert all(f"\n    {name} " in said.err for name in ("doctor", "simulate", "train", "sample", "evaluate", "demo"))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_eighty_columns_and_breaks_no_word(command, capsys, monkeypatch):
    words = {}
    for columns in ("80", "500"):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(SystemExit):
            main([*filter(None, [command]), "--help"])
        said = capsys.readouterr().out
        words[columns] = [word for word in said.split() if word != "\\"]
        assert columns == "500" or max(map(len, said.splitlines())) <= 80
    assert words["80"] == words["500"]


def test_sample_finds_the_models_of_the_package_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "--model", "v2", "--patients", "3", "--out", "s.csv", "--quiet"]) == 0
    expected = Synthesizer.pretrained("v2").sample(3)
    pd.testing.assert_frame_equal(load_cohort("s.csv", schema=ART_DEMO), load_cohort(expected, schema=ART_DEMO))
    Path("v1").write_text("a file of one's own comes first")
    assert main(["sample", "--model", "v1", "--out", "t.csv"]) == 1 and "cannot be loaded" in capsys.readouterr().err


def test_a_demo_that_is_too_short_says_so_and_one_of_the_usual_length_does_not(tmp_path, monkeypatch, capsys, caplog):
    made = {"summary": pd.DataFrame(), "seconds": {"all": 1.0}}
    monkeypatch.setattr("hg_helpers.app.commands.run_demo", lambda *_, **__: made)
    monkeypatch.setattr("hg_helpers.app.commands.summary_text", lambda _: "")
    for options, warned in (["--epochs", "1", "--quiet"], True), ([], False):
        caplog.clear()
        assert main(["demo", "--out", str(tmp_path), *options]) == 0
        assert ("too short to judge" in capsys.readouterr().out) == ("too short to judge" in caplog.text) == warned


def test_a_demo_speaks_before_torch_is_loaded(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch would be loaded now')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "hg_helpers", "demo", "--out", str(tmp_path / "demo")]
    for more, lines in ([], 2), (["--quiet"], 1):
        said = subprocess.run([*command, *more], env=environment, cwd=tmp_path, capture_output=True, text=True).stderr
        assert len(said.splitlines()) == lines and said.splitlines()[-1] == "torch would be loaded now"
        assert said.startswith("loading torch") == (lines == 2)


def test_quiet_does_not_hide_that_rows_were_cut_off(table, caplog):
    assert train(table) == 0
    caplog.clear()
    files = {"--real": "visits.csv", "--schema": "visits.yaml", "--model": "model.pt", "--synthetic": "nowhere.csv"}
    named = [part for option, name in files.items() for part in (option, str(table / name))]
    assert main(["evaluate", "--out", str(table / "report"), "--quiet", *named]) == 1
    # five visits, of which four are used
    assert "24 patients have more than 4 rows; their first 4 are used" in caplog.text
