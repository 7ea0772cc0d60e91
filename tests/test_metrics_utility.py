"""Utility metrics on questions whose answers are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, real, schema_of, table

from hg_helpers.metrics import trtr_auc, tstr_auc
from hg_helpers.metrics.arrays import as_arrays
from hg_helpers.metrics.utility import _examples

MONTHS = 12
LAB = schema_of(real("lab", role="outcome", threshold=5.0), binary("drug", role="regimen"), months=MONTHS)


def trial(seed: int, patients: int = 40, turned: bool = False) -> pd.DataFrame:
    """The drug changes at random; the lab is low in the month after the drug (``turned``: after its absence)."""
    rng = np.random.default_rng(seed)
    treated = rng.integers(0, 2, (patients, MONTHS)).astype(bool)
    low = np.roll(treated, 1, axis=1) ^ turned
    lab = np.where(low, 1.0, 9.0) + rng.random((patients, MONTHS))
    return table(LAB, lab, np.where(treated, "yes", "no"))


def test_what_follows_from_the_past_is_predicted_and_chance_is_not():
    value, questions = tstr_auc(trial(0), trial(1), LAB)
    found = questions.set_index("feature")["value"]
    assert found["lab"] > 0.999
    # a new draw each month: whether it is a switch is chance
    assert 0.4 < found["drug"] < 0.6
    assert value == pytest.approx(found.mean())
    assert trtr_auc(trial(0), trial(1), LAB)[0] == value


def test_learning_from_patients_who_behave_otherwise_is_worse_than_guessing():
    _, questions = tstr_auc(trial(0, turned=True), trial(1), LAB)
    assert questions.set_index("feature").loc["lab", "value"] < 0.001


def test_one_answer_to_learn_from_gives_half_and_one_to_be_tested_on_gives_nan():
    steady = trial(0)
    steady["lab"], steady["drug"] = 1.0, "no"
    _, questions = tstr_auc(steady, trial(1), LAB)
    assert questions["value"].tolist() == [0.5, 0.5]
    assert questions["note"].str.contains("only guess").all()
    value, questions = tstr_auc(trial(0), steady, LAB)
    assert np.isnan(value)
    assert questions["note"].str.contains("held-out months all have one answer").all()


def test_without_a_threshold_the_question_is_the_held_out_median():
    schema = replace(LAB, features=(real("lab", role="outcome"), *LAB.features[1:]))
    _, questions = tstr_auc(trial(0), trial(1), schema)
    assert questions.set_index("feature").loc["lab", "value"] > 0.95


def test_windows_hold_the_past_only():
    values = np.arange(2 * MONTHS).reshape(2, MONTHS)
    cohort = as_arrays(table(LAB, values, [["no"] * MONTHS] * 2), LAB)
    rows, labels, patient = _examples(cohort, (cohort.reals[:, :, 0], cohort.there), 6, 100, np.random.default_rng(0))
    assert rows.shape == (2 * 6, 6 * 2)
    for row, label, position in zip(rows, labels, patient, strict=True):
        assert row[:6].tolist() == [label - k for k in (6, 5, 4, 3, 2, 1)]
        assert label in cohort.reals[position, 6:, 0]
    fewer, _, _ = _examples(cohort, (cohort.reals[:, :, 0], cohort.there), 6, 5, np.random.default_rng(0))
    assert len(fewer) == 5


def test_short_schemas_and_schemas_without_roles_give_nan_with_a_reason():
    month = schema_of(real("lab", role="outcome"), months=1)
    value, questions = tstr_auc(table(month, [[1], [2]]), table(month, [[1], [2]]), month)
    assert np.isnan(value)
    assert questions["note"].str.contains("single month").all()
    bare = schema_of(real(), binary("p"), months=3)
    cohort = table(bare, [[1, 2, 3]], [["no", "yes", "no"]])
    value, questions = tstr_auc(cohort, cohort, bare)
    assert np.isnan(value)
    assert questions["note"].tolist() == ["the schema has no feature with role 'outcome' or 'regimen'"]
    half = replace(bare, features=(real(), binary("p", role="regimen")))
    _, questions = tstr_auc(cohort, cohort, half)
    assert questions["feature"].tolist() == ["all", "p"]
    assert questions["note"].iloc[0] == "the schema has no feature with role 'outcome'"
    two = replace(LAB, length=2)
    short = trial(0)
    _, questions = tstr_auc(short[short["month"] < 2], short[short["month"] < 2], two)
    assert questions["value"].iloc[0] > 0.99  # one month is enough to look back on
