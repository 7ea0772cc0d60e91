"""The ablation: one thing differs at a time, nothing is trained twice, and a stopped run goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from hg_helpers import TrainConfig, Trainer
from hg_helpers.app import demo
from hg_helpers.cohort.simulate import simulate_cohort
from tests.bench import ablation
from tests.bench.ablation import main

ROOT = Path(__file__).resolve().parents[1]
SHORT = {"epochs": 3, "hidden": 32, "latent": 32, "learning_rate": 0.002}
FULL_LENGTH = {"epochs": 8, "hidden": 64, "latent": 64, "learning_rate": 0.001}
TINY = {"hidden": 4, "latent": 4, "batch_size": 400, "lengths": [2], "epochs": 1}
OPTIONS = [
    "--hidden",
    "4",
    "--learning-rate",
    "0.001",
    "--batch-size",
    "400",
    "--lengths",
    "2",
    "--epochs",
    "1",
    "--jobs",
    "1",
    "--seeds",
    "1",
]

#: What each configuration stands against, and all that may differ.
EXPECTED = {
    "v1": (TrainConfig.v1, {}),
    "v1 + persistent noise": ("v1", {"latent_source": "persistent"}),
    "v2": (TrainConfig.v2, {}),
    "v2, Gaussian prototypes": ("v2", {"latent_source": "gaussian"}),
    "v2, variational autoencoder": ("v2", {"autoencoder": "variational"}),
    "v2 + Gumbel heads": ("v2", {"heads": "gumbel"}),
    "v2 + Gumbel heads, patient draw": ("v2 + Gumbel heads", {"gumbel_noise": "patient"}),
    "v2 + straight-through heads": ("v2", {"heads": "straight_through"}),
    "v2 + moment loss": ("v2", {"moment_weight": 0.03}),
    "v2 + static heads": ("v2", {"static_heads": True}),
    "v2 + real weight": ("v2", {"real_weight": 5.0}),
    "v2 + weight averaging": ("v2", {"ema": 0.99}),
    "v2 + beta1 0.5": ("v2", {"betas": (0.5, 0.99)}),
    "v2 + three critic steps": ("v2", {"n_critic": 3}),
    "v2, constant rate": ("v2", {"lr_decay": False}),
    "v2 + He start": ("v2", {"start": "he"}),
    "v2 + hold or switch": ("v2", {"hold_or_switch": True}),
    "v2 + measurement noise": ("v2", {"measurement_noise": True}),
    "v2 + chained features": ("v2", {"chain": True}),
    "v2 + convolutional critic": ("v2", {"critic": "convolutional"}),
    "v2 + critic of summaries": ("v2", {"summary_weight": 3.0}),
    "v2.5, transformer": ("v2", {"generator": "transformer"}),
    "v1 + He start": ("v1", {"start": "he"}),
    "v2_plus": (TrainConfig.v2_plus, {}),
    "v2_plus, soft heads": ("v2_plus", {"heads": "gumbel"}),
    "v2_plus, no moment loss": ("v2_plus", {"moment_weight": 0.0}),
    "v2_plus, no hold or switch": ("v2_plus", {"hold_or_switch": False}),
    "v2_plus, no measurement noise": ("v2_plus", {"measurement_noise": False}),
    "v2_plus, no switch response": ("v2_plus", {"switch_response": False}),
    "v2_plus, no chain": ("v2_plus", {"chain": False}),
    "v2_plus, recurrent critic": ("v2_plus", {"critic": "recurrent"}),
    "v2_plus, no critic of summaries": ("v2_plus", {"summary_weight": 0.0}),
    "v2_plus, transformer": ("v2_plus", {"generator": "transformer"}),
    "v2_plus, v2's noise": ("v2_plus, no switch response", {"latent_source": "buffer"}),
    "v2_plus, uniform noise": ("v2_plus, no switch response", {"latent_source": "uniform", "autoencoder": None}),
    "v2_plus, persistent noise": ("v2_plus, no switch response", {"latent_source": "persistent", "autoencoder": None}),
}


def rows(name: str, seed: int, settings: TrainConfig, value: float = 0.5) -> pd.DataFrame:
    """A finished run as the command would write it."""
    scores = [(d, m, "all", value) for d in ("argmax", "sample") for m in ("joint_tv", "coverage_patient")]
    return ablation._table(name, seed, scores, 8, 1.0, settings.to_dict())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in: unfinished runs go to a path that is relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_configuration_differs_from_its_base_in_the_named_settings_alone():
    assert list(ablation.CONFIGURATIONS) == list(EXPECTED)
    common = {"seed": 3, **TINY}
    for name, (base, differs) in EXPECTED.items():
        found = asdict(ablation.configuration(name, **common))
        against = base("workshop", **common) if callable(base) else ablation.configuration(base, **common)
        assert {k: v for k, v in found.items() if v != asdict(against)[k]} == differs, name


def test_without_options_the_shared_settings_are_those_of_the_workshop():
    assert ablation.configuration("v2") == TrainConfig.v2("workshop")
    spans = {(c.epochs, c.batch_size, c.lengths) for c in map(ablation.configuration, EXPECTED)}
    assert len(spans) == 1  # and with them, the generator steps


def test_two_configurations_from_the_command_line_and_again_without_training(here, capsys):
    command = [*OPTIONS, "--only", "v2", "v1", "--out", "results/a.csv", "--figure", "a.png", "--quiet"]
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["trained"], said["kept"], said["failed"]) == (2, 0, {})
    table = pd.read_csv(here / "results" / "a.csv")
    assert list(table.columns) == ablation.COLUMNS
    assert list(table["configuration"].unique()) == ["v1", "v2", "real holdout"]  # the order of the list, not of --only
    runs = table[table["configuration"] != "real holdout"]
    assert set(runs["steps"]) == {2 * 2} and (runs["seconds"] > 0).all()  # two lengths, two batches of 400 patients
    for (name, decode), part in runs.groupby(["configuration", "decode"]):
        assert decode in ("argmax", "sample") and len(part) == 10
        assert set(part["metric"]) == {
            "autocorrelation",
            "two_sample",
            "coverage_month",
            "coverage_patient",
            "joint_tv",
            "ks",
            "patient_spread",
            "switching_ratio",
            "static_constant",
        }
        assert set(part.loc[part["metric"] == "ks", "feature"]) == {"VL", "CD4"}
        settings = ablation.configuration(name, seed=0, **TINY).to_dict()
        assert all(json.loads(text) == settings for text in part["settings"])
    floor = table[table["configuration"] == "real holdout"]
    assert len(floor) == 10 and set(floor["settings"]) == {"{}"} and set(floor["steps"]) == set(floor["seconds"]) == {0}
    tv = floor.loc[floor["metric"] == "joint_tv", "value"].item()
    assert 0 < tv < 0.3 < runs.loc[runs["metric"] == "joint_tv", "value"].min()
    assert said["medians"]["real holdout"]["joint_tv"] == tv and (here / "a.png").stat().st_size > 10_000
    assert not list((here / "runs").rglob("*.pt"))

    before = (here / "results" / "a.csv").read_bytes()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "trained 0, kept 2 runs" in out and "v2" in out
    assert (here / "results" / "a.csv").read_bytes() == before


def asked_for(monkeypatch, out, **changes) -> list:
    """Which runs an ablation of v1 and v2 would train."""
    asked = []
    monkeypatch.setattr(ablation, "_train_all", lambda out, runs, *rest: (asked.extend(runs), (len(runs), {}))[1])
    ablation.run_ablation(out, seeds=1, only=["v1", "v2"], progress=False, **{**TINY, **changes})
    return asked


def test_runs_with_other_settings_are_done_again_and_said_to_be(here, monkeypatch, caplog):
    out = here / "a.csv"
    for name, changes in {"v1": {}, "v2": {"epochs": 4}}.items():
        ablation._add(out, rows(name, 0, ablation.configuration(name, seed=0, **{**TINY, **changes})))
    with caplog.at_level("WARNING", "hg_helpers"):
        assert asked_for(monkeypatch, out) == [("v2", 0)]
    assert "v2, seed 0" in caplog.text and "epochs 4 -> 1" in caplog.text and "v1" not in caplog.text
    assert asked_for(monkeypatch, out, epochs=4) == [("v1", 0)]
    assert asked_for(monkeypatch, out, hidden=5) == [("v1", 0), ("v2", 0)]


@pytest.mark.parametrize(("table", "common"), [("ablation.csv", SHORT), ("ablation_workshop.csv", FULL_LENGTH)])
def test_the_tables_of_the_repository_hold_three_seeds_of_todays_settings(table, common):
    held = ablation._read(ROOT / "data" / "results" / table)
    names = set(held["configuration"]) - {ablation.FLOOR}
    wanted = {(name, seed): ablation.configuration(name, seed=seed, **common) for name in names for seed in range(3)}
    assert ablation._to_do(held, wanted) == []


def test_a_run_takes_the_place_of_its_older_rows_and_of_no_others(here):
    out, settings = here / "a.csv", ablation.configuration("v1")
    for name, seed in (("v2", 1), ("v1", 1), ("real holdout", 0), ("v2", 0), ("v1", 0)):
        ablation._add(out, rows(name, seed, settings, value=seed + 0.25))
    ablation._add(out, rows("v2", 0, settings, value=7.0))
    table = pd.read_csv(out)
    runs = table[["configuration", "seed"]].drop_duplicates()
    assert list(runs.itertuples(index=False, name=None)) == [
        ("v1", 0),
        ("v1", 1),
        ("v2", 0),
        ("v2", 1),
        ("real holdout", 0),
    ]
    values = table.groupby(["configuration", "seed"])["value"].unique().map(list).to_dict()
    assert values["v2", 0] == [7.0] and values["v2", 1] == values["v1", 1] == [1.25] and values["v1", 0] == [0.25]


def test_a_crash_while_writing_leaves_the_results_as_they_were(here, monkeypatch):
    out, settings = here / "a.csv", ablation.configuration("v1")
    ablation._add(out, rows("v1", 0, settings))
    before = out.read_bytes()

    def crash(self, path, **_):
        path.write_text("half a ta")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", crash)
    with pytest.raises(OSError, match="disk full"):
        ablation._add(out, rows("v2", 0, settings))
    assert out.read_bytes() == before and list(here.iterdir()) == [out]


def test_a_stopped_run_gives_no_rows_and_goes_on_to_the_same_ones(here, monkeypatch):
    config = ablation.configuration("v2", seed=0, **{**TINY, "epochs": 2, "batch_size": 20})
    done, stop = queue.SimpleQueue(), threading.Event()
    few = simulate_cohort(50, seed=1)
    monkeypatch.setattr(demo, "load_cohort", lambda: few)
    monkeypatch.setattr(ablation, "SYNTHETIC_PATIENTS", 20)
    monkeypatch.setattr(demo, "_done", done, raising=False)
    monkeypatch.setattr(demo, "_stop", stop, raising=False)
    stop.set()
    path = here / "v2.pt"
    assert ablation._train("v2", 0, config, path) is None
    assert path.exists() and done.qsize() == 1  # ended after the first batch
    stop.clear()
    resumed = ablation._train("v2", 0, config, path)
    straight = ablation._train("v2", 0, config, here / "other.pt")
    assert done.qsize() == 2 * 8
    assert set(resumed["steps"]) == {8}
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), straight.drop(columns="seconds"))
    # a checkpoint of other settings is no beginning of this run
    assert ablation.begun(path, config) is not None
    assert ablation.begun(path, ablation.configuration("v2", seed=1, **TINY)) is None
    assert ablation.begun(here / "nowhere.pt", config) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "v1", "v3"], ["'v3'", *EXPECTED]),
        (["--only", "v1", "--out", "b.csv"], ["b.csv is no table of an ablation", "patient, month"]),
        (["--only", "v1", "--figure", "a.xlsx"], ["a.xlsx"]),
        (["--seeds", "0"], ["start at 1"]),
        (["--epochs", "0"], ["epochs"]),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_trained(here, monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(ablation, "_train_all", lambda *_: pytest.fail("trained"))
    (here / "b.csv").write_text("patient,month\n1,2\n")
    with pytest.raises(SystemExit, match="2"):
        main(["--out", "a.csv", *arguments])
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not (here / "a.csv").exists() and (here / "b.csv").read_text().startswith("patient")


def test_medians_are_over_seeds_and_the_floors_stand_by_panel():
    settings = ablation.configuration("v1")
    parts = [rows("v1", seed, settings, value) for seed, value in enumerate((0.1, 0.9, 0.2))]
    parts.append(ablation._table("real holdout", 0, [("none", "joint_tv", "all", 0.05)], 0, 0.0, {}))
    results = pd.concat(parts, ignore_index=True)
    summary = ablation.medians(results)
    assert summary.loc["v1", "joint_tv"] == 0.2 and summary.loc["real holdout", "joint_tv"] == 0.05
    shown, floors = ablation.panels(results)
    assert floors == {"joint_tv": 0.05} and set(shown["configuration"]) == {"v1"}


def test_a_median_stays_with_its_name_where_runs_have_other_metrics():
    rows = [("v2", "b", 1.0), ("v1", "a", 2.0), ("v2", "a", 3.0), ("v1", "b", 4.0), ("v1", "c", 5.0)]
    table = pd.DataFrame(rows, columns=["configuration", "metric", "value"])
    found = ablation.medians(table.assign(decode="argmax", feature="all", seconds=1.0))
    assert found.loc["v1", ["a", "b", "c"]].tolist() == [2, 4, 5] and found.loc["v2", ["a", "b"]].tolist() == [3, 1]
    assert list(found.index) == ["v2", "v1"] and pd.isna(found.loc["v2", "c"])


def test_a_run_whose_parent_was_killed_keeps_the_batches_in_hand(here, monkeypatch):
    config = ablation.configuration("v2", seed=0, **{**TINY, "epochs": 2, "batch_size": 20})
    few = simulate_cohort(50, seed=1)
    monkeypatch.setattr(demo, "load_cohort", lambda: few)
    monkeypatch.setattr(demo, "_done", queue.SimpleQueue(), raising=False)
    monkeypatch.setattr(demo, "_stop", threading.Event(), raising=False)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(is_alive=lambda: False))

    def left(code):
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", left)
    with pytest.raises(SystemExit, match="1"):
        ablation._train("v2", 0, config, here / "v2.pt")
    assert Trainer.load(here / "v2.pt", device="cpu").step == 1


def test_no_process_stays_when_the_one_that_started_it_is_killed(tmp_path):
    code = r"""
import os, time
from tqdm import tqdm
from hg_helpers.app.demo import callbacks, in_processes, leave_with_parent

def work():
    os.write(1, b"%d\n" % os.getpid())  # in one piece: two processes write to one pipe
    while True not in [callback() for callback in callbacks()]:
        time.sleep(0.1)
    leave_with_parent()

if __name__ == "__main__":
    in_processes(work, {"one": (), "other": ()}, 2, tqdm(disable=True), print)
"""
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True)
    begun = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    assert len(set(begun)) == 2
    assert parent.stdout.read() == ""  # ends when the last one that holds the other end has ended
    parent.stdout.close()
