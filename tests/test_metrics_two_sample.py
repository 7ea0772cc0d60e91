"""The classifier two-sample test, and what it says gives patients away."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, real, schema_of, table

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import c2st_auc


def test_two_sample_test_tells_what_differs_and_only_that():
    schema = replace(ART_DEMO, length=12)
    a, b = (simulate_cohort(120, months=12, seed=seed) for seed in (1, 2))
    assert 0.35 < c2st_auc(a, b, schema)[0] < 0.65
    shifted = b.assign(CD4=b["CD4"] * 3)
    assert c2st_auc(a, shifted, schema)[0] > 0.8
    # the same values in a wrong order: only the changes from month to month give them away
    shuffled = b.groupby("PatientID")[b.columns].sample(frac=1, random_state=0).reset_index(drop=True)
    shuffled["Timestep"] = b["Timestep"].to_numpy()
    assert c2st_auc(a, shuffled, schema)[0] > 0.9


def test_two_sample_test_of_a_single_patient_is_nan():
    one = simulate_cohort(1, months=12, seed=1)
    value, behind = c2st_auc(one, one, replace(ART_DEMO, length=12))
    assert np.isnan(value)
    assert behind.attrs["note"]


LABS = schema_of(real("x"), real("y"), binary("drug"), months=6)


def labs(seed: int, width: float = 1.0, patients: int = 200, y: float = 0.0) -> pd.DataFrame:
    """Labs that keep a patient's level, the drug a coin a month; ``width`` is the spread of x between patients."""
    rng = np.random.default_rng(seed)
    x = np.clip(5 + width * rng.standard_normal((patients, 1)) + 0.1 * rng.standard_normal((patients, 6)), 0, 10)
    drug = np.where(rng.random((patients, 6)) < 0.5, "no", "yes")
    x[0, :2] = 0, 10  # one scale for all
    return table(LABS, x, y + rng.random((patients, 6)), drug)


def test_the_summary_that_differs_heads_the_table_with_its_means():
    value, summaries = c2st_auc(labs(1), labs(2, y=0.7), LABS)
    assert len(summaries) == 7 + 7 + 3 and list(summaries["auc"]) == sorted(summaries["auc"], reverse=True)
    assert summaries.loc[0, "feature"] == "y" and summaries.loc[0, "auc"] > 0.95
    assert value == np.mean(summaries.attrs["folds"]) and len(summaries.attrs["folds"]) == 5
    means = summaries.set_index(["feature", "summary"])
    assert means.loc[("y", "mean"), "synthetic"] > means.loc[("y", "mean"), "real"] + 0.3
    shares = means.loc["drug", ["real", "synthetic"]]
    assert shares.loc[["months at no", "months at yes"]].sum().tolist() == pytest.approx([1, 1], abs=1e-5)
    assert (shares.loc["months with a change"] - 0.5).abs().max() < 0.05
    told = summaries.loc[summaries["feature"] != "y", "auc"]
    assert told.between(0.35, 0.65).all()


def test_a_wrong_spread_round_the_right_mean_is_told_by_one_summary_alone():
    _, summaries = c2st_auc(labs(1), labs(2, width=0.2), LABS)
    means = summaries.set_index(["feature", "summary"]).loc[("x", "mean")]
    assert means["real"] == pytest.approx(means["synthetic"], abs=0.03)
    assert means["auc"] > 0.75  # a rank alone would say 0.5
