"""Three lines from a table to a report: the same as with the parts, none of them hidden."""

import doctest
import logging
from dataclasses import FrozenInstanceError

import pandas as pd
import pytest
import yaml

import hg_helpers as hg
from hg_helpers.__main__ import main
from hg_helpers.app import shorthand
from hg_helpers.app.files import read_split


@pytest.fixture(scope="module")
def model(cohort, schema):
    return hg.train(cohort, "v2", schema, seed=4, epochs=1, device="cpu", progress=False)


def test_it_gives_the_same_synthetic_rows_as_the_six_objects_it_stands_for(cohort, schema, model):
    table = hg.load_cohort(cohort, schema=schema)
    train, holdout = hg.split_patients(table, holdout=0.2, seed=4, schema=schema)
    encoder = hg.CohortEncoder(schema).fit(train)
    trainer = hg.Trainer(encoder, hg.TrainConfig.v2(preset="workshop", seed=4, epochs=1), device="cpu")
    trainer.fit(encoder.transform(train), progress=False)
    pd.testing.assert_frame_equal(model.sample(9, seed=5), trainer.synthesizer().sample(9, seed=5))
    pd.testing.assert_frame_equal(model.train, train)
    pd.testing.assert_frame_equal(model.holdout, holdout)
    assert model.trainer.config == trainer.config and model.encoder.schema == model.schema == schema


def test_its_report_is_the_one_on_the_patients_that_it_kept(model):
    synthetic = model.sample(30, seed=1)
    quick = {"draws": 1, "bootstrap": 0}
    expected = hg.evaluate(model.train, model.holdout, synthetic, model.schema, **quick)
    pd.testing.assert_frame_equal(model.evaluate(synthetic, **quick), expected)


def test_what_it_saves_is_what_the_command_line_leaves(cohort, schema, model, tmp_path, capsys):
    model.save(tmp_path / "m.pt")
    (tmp_path / "six.yaml").write_text(yaml.safe_dump(schema.to_dict()))
    cohort.to_csv(tmp_path / "c.csv", index=False)
    line = ["train", "--data", str(tmp_path / "c.csv"), "--model", "v2", "--seed", "4", "--epochs", "1", "--quiet"]
    assert main([*line, "--schema", str(tmp_path / "six.yaml"), "--out", str(tmp_path / "other.pt")]) == 0
    ours, other = (hg.Synthesizer.load(tmp_path / name).sample(9, seed=5) for name in ("m.pt", "other.pt"))
    pd.testing.assert_frame_equal(ours, other, check_exact=False, rtol=1e-5)
    ours, other = (read_split(tmp_path / name) for name in ("m.pt", "other.pt"))
    assert {**ours, "data": str(tmp_path / "c.csv")} == other


def test_it_may_train_on_everybody_and_then_says_that_nobody_is_left_to_compare_with(cohort, schema):
    everybody = hg.train(cohort, "v1", schema, holdout=0, epochs=1, progress=False)
    assert everybody.holdout.empty and everybody.train["PatientID"].nunique() == 40
    with pytest.raises(ValueError, match="nobody was held out"):
        everybody.evaluate(everybody.sample(5))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": "v3"}, "'v3' is none of v1, v2, v2_plus"),
        ({"epochs": 0}, "epochs"),
        ({"holdout": 1.5}, "holdout 1.5"),
        ({"preset": "quick"}, "preset"),
        ({"device": "abacus"}, "'abacus' is not a device"),
        ({"schema": "art-demo"}, "schema must be a Schema"),
    ],
)
def test_what_is_wrong_is_said_before_any_training(cohort, schema, monkeypatch, wrong, words):
    monkeypatch.setattr(hg.Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=words):
        hg.train(cohort, **{"schema": schema, **wrong})


def test_without_a_schema_the_table_is_in_the_layout_of_the_demo(monkeypatch):
    monkeypatch.setattr(hg.Trainer, "fit", lambda *_, **__: history([1.0] * 100))
    model = hg.train(None, "v1")
    assert model.schema == hg.ART_DEMO and model.train["PatientID"].nunique() == 800
    assert model.trainer.config == hg.TrainConfig.v1(preset="workshop")


def history(distance: list[float], moments: list[float] | None = None) -> pd.DataFrame:
    found = pd.DataFrame({"wasserstein": distance})
    return found if moments is None else found.assign(moment_loss=moments)


@pytest.mark.parametrize(("patients", "model", "steps"), [(30, "v2_plus", 780), (300, "v2_plus", 780), (30, "v1", 750)])
def test_a_small_table_gets_the_steps_of_the_800_patients_and_is_told_so(caplog, schema, patients, model, steps):
    table = hg.simulate_cohort(patients, months=6)
    with caplog.at_level(logging.INFO, "hg_helpers"):
        config = shorthand.prepare(table, model, schema, 0, "cpu", {}, preset="workshop").trainer.config
    batches = config.steps_per_epoch(patients, 6)
    assert steps <= config.epochs * batches < steps + batches
    assert (
        f"{config.epochs * batches} generator steps, as many steps as 800 patients of 60 months get in" in caplog.text
    )
    asked = shorthand.prepare(table, model, schema, 0, "cpu", {}, preset="workshop", epochs=3).trainer.config
    assert asked.epochs == 3


def test_a_large_table_keeps_the_presets_epochs():
    config = hg.TrainConfig.v2_plus(preset="workshop")
    for holdout in (200, 0):  # of 1,000: as many as the preset was tried with, and more
        begun = shorthand.prepare(None, "v2_plus", None, holdout, "cpu", {}, preset="workshop")
        assert begun.trainer.config == config


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (history([1.0, 2.0, 3.0, 4.0, 5.0] * 1), "5 batches teach a model next to nothing"),
        (history([float(k) for k in range(1, 51)]), "estimate of the distance was still rising"),
        (history([9.0] * 50, [0.95**k for k in range(50)]), "moment loss was still falling"),
        (history([9.0] * 50, [0.99**k for k in range(50)]), None),
        (history([5.0 - 0.01 * k for k in range(50)]), None),
        (history([-0.1] * 50), None),
    ],
)
def test_a_run_that_was_cut_short_is_told_so(caplog, found, said):
    shorthand.warn_if_cut_short(found)
    assert (said in caplog.text) if said else not caplog.records


def test_its_example_holds():
    assert doctest.testmod(shorthand) == (0, 4)


def test_the_result_does_not_change(model):
    with pytest.raises(FrozenInstanceError):
        model.holdout = model.train
