"""Ways through the package that no other test takes: numbers out of range, rare schemas, a machine that is broken."""

import logging
import math
import sys

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, real, schema_of

from hg_helpers.__main__ import main
from hg_helpers.app import commands
from hg_helpers.app.doctor import checks
from hg_helpers.metrics import evaluate, trtr_auc
from hg_helpers.model.synthesizer import Synthesizer
from hg_helpers.plots import prototypes
from tests.bench import pretrained


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "--model", "m.pt", "--patients", "3", "--seed", "-1", "--out", "s.csv"], "-1 is not at least 0"),
        (["train", "--model", "v1", "--holdout", "1.5", "--out", "m.pt"], "1.5 is not a share"),
        (["train", "--model", "v1", "--holdout", "-0.1", "--out", "m.pt"], "-0.1 is not a share"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_loaded(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_download_says_where_the_file_lies(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(commands, "download_cohort", lambda force: asked.append(force) or tmp_path / "public.csv")
    assert main(["download"]) == 0 and main(["download", "--force"]) == 0
    assert asked == [False, True] and str(tmp_path / "public.csv") in capsys.readouterr().out


def test_a_key_error_is_a_sentence_without_quotes_round_it(monkeypatch, capsys):
    def absent(force):
        raise KeyError("no feature 'lab' in the schema")

    monkeypatch.setattr(commands, "download_cohort", absent)
    assert main(["download"]) == 1
    assert "error: no feature 'lab' in the schema\n" in capsys.readouterr().err


@pytest.mark.parametrize("start", [-256, 1, 255])
def test_sampling_begins_at_whole_blocks_alone(start):
    with pytest.raises(ValueError, match=rf"start must be a .*(of 256|at least 0), not {start}"):
        Synthesizer.pretrained("v1").sample_encoded(600, start=start)


def test_an_outcome_that_is_a_level_is_the_question_too():
    schema = schema_of(binary("ill", role="outcome"), real("x"), months=6)
    rng, n = np.random.default_rng(0), 120
    x = rng.random((n, 6))
    ill = np.roll(x, 1, axis=1) > 0.5  # this month's x decides the next month's answer
    columns = {"ill": np.array(["no", "yes"])[ill.astype(int)].ravel(), "x": x.ravel()}
    table = pd.DataFrame({"id": np.repeat(np.arange(n), 6), "month": np.tile(np.arange(6), n), **columns})
    train, holdout = table[table["id"] < 80], table[table["id"] >= 80]
    value, found = trtr_auc(train, holdout, schema)
    assert value > 0.95 and found["feature"].iloc[0] == "ill"
    report = evaluate(train, holdout, train, schema, draws=1, bootstrap=0)
    assert report.loc[report["metric"] == "tstr_auc", "note"].iloc[0] == "ill is yes next month"
    asleep = train.assign(ill=rng.permutation(train["ill"]))
    assert trtr_auc(asleep, holdout, schema)[0] < 0.7


def test_prototypes_that_are_no_numbers_are_not_drawn():
    with pytest.raises(ValueError, match="not finite"):
        prototypes(np.array([[0.0, 1.0], [1.0, math.inf], [2.0, 0.5]]), ["no", "yes", "no"], "ill")


def test_a_torch_that_cannot_be_imported_is_a_line_of_the_doctor(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = {check.name: check for check in checks()}
    assert not found["device"].ok and "torch cannot be imported" in found["device"].detail


@pytest.mark.parametrize(("named", "made"), [([], list(pretrained.CONFIGS)), (["v2"], ["v2"])])
def test_the_shipped_models_are_made_all_or_as_named(named, made, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(pretrained, "make", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(logging, "basicConfig", lambda level: calls.append(level))
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["pretrained", *named, *folders, "--quiet"])
    pretrained.main()
    assert calls == [logging.WARNING, *((name, tmp_path / "out", tmp_path / "work") for name in made)]
