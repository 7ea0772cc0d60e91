"""Dynamics metrics against hand calculations and cohorts made to fail them."""

import numpy as np
import pytest
from metric_tables import binary, categorical, real, schema_of, table
from scipy import ndimage

from hg_helpers.metrics import (
    autocorrelation_difference,
    cycle_difference,
    dwell_times,
    static_constant,
    switch_response,
    switching_ratio,
    trend_difference,
    within_patient_correlation,
)

LABS = schema_of(real("x"), real("y"), months=60)
DRUGS = schema_of(categorical("base", role="regimen"), binary("boost", role="regimen"), months=4)
N, Y = "no", "yes"


def courses(seed: int, trend_sign: float, cycle_sign: float, patients: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Two labs with a common slow wave and a common fast one, each kept or turned over in the second lab."""
    rng = np.random.default_rng(seed)
    months = np.arange(60)
    slow = np.sin(2 * np.pi * (months / 120 + rng.random((patients, 1))))
    fast = rng.normal(size=(patients, 60)) * 0.3
    fast -= ndimage.gaussian_filter1d(fast, 6, axis=1)
    return slow + fast, trend_sign * slow + cycle_sign * fast


@pytest.mark.parametrize(("trend", "cycle"), [(1, -1), (-1, 1)])
def test_trend_and_cycle_are_told_apart(trend, cycle):
    cohort = table(LABS, *courses(0, trend, cycle))
    slow, patients = within_patient_correlation(cohort, LABS, "trend")
    fast, _ = within_patient_correlation(cohort, LABS, "cycle")
    assert trend * slow.loc["x", "y"] > 0.95
    assert cycle * fast.loc["x", "y"] > 0.7
    assert patients.loc["x", "y"] == 20


def test_the_trend_is_no_straight_line():
    # with a straight line every single patient's correlation would be +1 or -1
    rng = np.random.default_rng(0)
    one = table(LABS, *(np.cumsum(rng.normal(size=(1, 60)), axis=1) for _ in range(2)))
    assert abs(within_patient_correlation(one, LABS, "trend")[0].loc["x", "y"]) < 0.99


def test_a_straight_line_has_no_cycle_not_even_at_its_ends():
    line = np.arange(60.0)[None]
    matrix, patients = within_patient_correlation(table(LABS, line, 3 - line), LABS, "cycle")
    assert np.isnan(matrix.loc["x", "x"])
    assert patients.loc["x", "y"] == 0
    assert within_patient_correlation(table(LABS, line, 3 - line), LABS, "trend")[0].loc["x", "y"] < -0.999


def test_patients_are_averaged_by_fishers_z():
    cohorts = [courses(seed, 1, sign, patients=1) for seed, sign in ((1, 1), (2, -0.4))]
    single = [within_patient_correlation(table(LABS, *c), LABS, "cycle")[0].loc["x", "y"] for c in cohorts]
    both = table(LABS, *(np.concatenate(parts) for parts in zip(*cohorts, strict=True)))
    expected = np.tanh(np.mean(np.arctanh(np.clip(single, -0.9999, 0.9999))))
    assert within_patient_correlation(both, LABS, "cycle")[0].loc["x", "y"] == pytest.approx(expected)


def test_constant_patients_are_left_out_and_counted_and_never_numeric_dust():
    x, y = courses(0, 1, 1, patients=3)
    y[1] = 0.1 + 0.2  # no exact binary fraction: a filter leaves rounding on it
    matrix, patients = within_patient_correlation(table(LABS, x, y), LABS, "cycle")
    assert patients.loc["x", "y"] == 2
    y[:] = 0.1 + 0.2
    matrix, patients = within_patient_correlation(table(LABS, x, y), LABS, "cycle")
    assert np.isnan(matrix.loc["x", "y"])
    assert np.isnan(matrix.loc["y", "y"])
    assert matrix.loc["x", "x"] == 1
    assert patients.loc["x", "y"] == 0


def test_differences_are_of_the_correlations_and_a_lost_one_counts_as_one():
    real_, flipped = table(LABS, *courses(0, 1, 1)), table(LABS, *courses(1, -1, 1))
    value, pairs = trend_difference(real_, flipped, LABS)
    assert value == pytest.approx(pairs["real"].iloc[0] - pairs["synthetic"].iloc[0])
    assert value > 1.9
    assert cycle_difference(real_, flipped, LABS)[0] < 0.1
    frozen = table(LABS, courses(0, 1, 1)[0], np.ones((20, 60)))
    value, pairs = trend_difference(real_, frozen, LABS)
    assert value == 1
    assert pairs["synthetic patients"].tolist() == [0]
    value, pairs = trend_difference(frozen, frozen, LABS)
    assert np.isnan(value)
    assert "constant" in pairs.attrs["note"]


def test_binary_features_may_join_the_trends_but_categories_may_not():
    schema = schema_of(real("x"), binary("on"), categorical("c"), months=6)
    cohort = table(schema, [[0, 1, 2, 3, 4, 5]], [[N, N, N, Y, Y, Y]], ["aabbcc"])
    assert within_patient_correlation(cohort, schema, "trend", ["x", "on"])[0].loc["x", "on"] > 0.8
    with pytest.raises(ValueError, match="'c' is categorical"):
        within_patient_correlation(cohort, schema, "trend", ["x", "c"])
    with pytest.raises(ValueError, match="'trend' or 'cycle'"):
        within_patient_correlation(cohort, schema, "line")


def test_autocorrelation_by_hand():
    schema = schema_of(real(), months=4)
    zigzag, steps = table(schema, [[0, 10, 0, 10]]), table(schema, [[0, 0, 10, 10]])
    # deviations +-1/2. Zigzag: lags -1, 1, -1. Steps: (+ - +)/3, (- -)/2, -: 1/3, -1, -1
    value, lags = autocorrelation_difference(zigzag, steps, schema)
    assert lags["real"].tolist() == pytest.approx([-1, 1, -1])
    assert lags["synthetic"].tolist() == pytest.approx([1 / 3, -1, -1])
    assert value == pytest.approx((4 / 3 + 2 + 0) / 3)


def test_autocorrelation_is_within_patients_and_ignores_their_levels():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 60))
    level = rng.normal(size=(200, 1)) * 10
    schema = schema_of(real(), months=60)
    _, lags = autocorrelation_difference(table(schema, noise + level), table(schema, noise + level), schema)
    assert lags["lag"].tolist() == list(range(1, 13))
    assert np.abs(lags["real"] + 1 / 60).max() < 0.03  # pooled over patients the level would give 0.99


def test_switching_by_hand():
    # transitions: first patient 1 of 3 (boost), second 0 of 3; synthetic 3 of 3 and 1 of 3
    real_ = table(DRUGS, ["aaaa", "bbbb"], [[N, N, Y, Y], [N, N, N, N]])
    flicker = table(DRUGS, ["abab", "bbba"], [[N, N, N, N], [N, N, N, N]])
    value, rates = switching_ratio(real_, flicker, DRUGS)
    assert value == pytest.approx((4 / 6) / (1 / 6))
    assert rates["feature"].tolist() == ["base x boost", "base", "boost"]
    assert rates["value"].tolist() == [value, np.inf, 0.0]
    assert rates["note"].tolist() == ["", "no real patient switches", ""]
    assert rates["real switchers"].tolist() == [0.5, 0, 0.5]
    assert rates["synthetic"].tolist() == pytest.approx([4 / 6, 4 / 6, 0])


def test_switching_of_those_who_never_switch():
    still = table(DRUGS, ["aaaa"], [[N, N, N, N]])
    moving = table(DRUGS, ["aaab"], [[N, N, N, N]])
    assert switching_ratio(moving, still, DRUGS)[0] == 0
    assert switching_ratio(still, moving, DRUGS)[0] == np.inf
    value, rates = switching_ratio(still, still, DRUGS)
    assert np.isnan(value)
    assert "no real patient" in rates.attrs["note"]


def test_dwell_times_by_hand():
    # stays: real 2 + 2 and 4; synthetic 1 + 1 + 1 + 1 and 4
    real_ = table(DRUGS, ["aabb", "cccc"], [[N] * 4, [N] * 4])
    flicker = table(DRUGS, ["abab", "cccc"], [[N] * 4, [N] * 4])
    value, stays = dwell_times(real_, flicker, DRUGS)
    assert stays["real"].tolist() == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert stays["synthetic"].tolist() == pytest.approx([4 / 5, 0, 0, 1 / 5])
    # cumulative shares 0, 2/3, 2/3 against 4/5, 4/5, 4/5
    assert value == pytest.approx(4 / 5 + 2 * (4 / 5 - 2 / 3))


def test_what_a_switch_brings_by_hand():
    schema = schema_of(real("x"), real("fixed", static=True), categorical("drug", role="regimen"), months=5)
    # on the real table's scale, 0 to 10. Switched after month 1: 10 to 0 in two months. Kept: 4 to 5, 5 to 5; 0 to 0
    real_ = table(schema, [[4, 10, 5, 0, 0], [0, 0, 0, 0, 0]], [[1] * 5, [2] * 5], ["aabbb", "aaaaa"])
    kept = np.mean([0.1, -0.5, 0, 0, 0])
    value, effects = switch_response(real_, real_, schema, months=2)
    assert value == 0 and effects["feature"].tolist() == ["x"]
    assert effects.loc[0, "real"] == pytest.approx(-1.0 - kept)
    idle = table(schema, [[4, 10, 5, 0, 0], [0, 0, 0, 0, 0]], [[1] * 5, [2] * 5], ["aaaaa", "aabbb"])  # another's drug
    value, effects = switch_response(real_, idle, schema, months=2)
    assert effects.loc[0, "synthetic"] == pytest.approx(0 - np.mean([0.1, -1.0, -0.5, 0, 0]))
    assert value == pytest.approx(abs(effects.loc[0, "real"] - effects.loc[0, "synthetic"]))
    never = table(schema, [[4, 10, 5, 0, 0], [0, 0, 0, 0, 0]], [[1] * 5, [2] * 5], ["aaaaa", "aaaaa"])
    assert switch_response(real_, never, schema)[0] == 1.0
    value, effects = switch_response(never, never, schema)
    assert np.isnan(value) and "nobody switches" in effects.attrs["note"]


def test_without_a_regimen_all_features_that_may_change_switch_together_and_each_is_named():
    schema = schema_of(binary("sex", static=True), binary("ill"), categorical("stage"), binary("fixed"), months=4)
    real_ = table(schema, [[N] * 4], [[N, N, Y, Y]], ["aabb"], [[N] * 4])
    frozen = table(schema, [[Y] * 4], [[N, N, N, N]], ["aaab"], [[N] * 4])
    value, rates = switching_ratio(real_, frozen, schema)
    assert rates["feature"].tolist() == ["ill x stage x fixed", "ill", "stage", "fixed"]  # a static one does not switch
    assert value == 1 and rates["value"].tolist()[:3] == [1, 0, 1]
    assert np.isnan(rates["value"].iloc[3]) and rates["note"].iloc[3] == "no real patient switches"
    assert dwell_times(real_, frozen, schema)[0] == pytest.approx(1.0)  # stays of 2 and 2 months, of 3 and 1
    only = schema_of(binary("ill"), months=4)
    assert switching_ratio(*[table(only, [[N, Y, Y, Y]])] * 2, only)[1]["feature"].tolist() == ["ill"]


def test_static_constant_counts_patients_none_of_whose_static_features_change():
    schema = schema_of(binary("sex", static=True), real("age", static=True), months=2)
    kept = table(schema, [[N, N], [Y, Y]], [[40, 40], [50, 50]])
    broken = table(schema, [[N, Y], [Y, Y]], [[40, 40], [50, 51]])
    assert static_constant(kept, kept, schema)[0] == 1
    value, features = static_constant(kept, broken, schema)
    assert value == 0
    assert features["synthetic"].tolist() == [0.5, 0.5]


def test_schemas_that_are_too_short_or_lack_the_features_give_nan_with_a_reason():
    month = schema_of(real("x"), real("y"), binary("sex", static=True), binary("d", role="regimen"), months=1)
    one = table(month, [[1], [2]], [[1], [2]], [[N], [Y]], [[N], [Y]])
    bare = schema_of(binary("p", static=True), months=3)
    none = table(bare, [[N, N, N]])
    metrics = (trend_difference, cycle_difference, autocorrelation_difference, switching_ratio, switch_response)
    for metric in metrics:
        for schema, cohort in ((month, one), (bare, none)):
            value, behind = metric(cohort, cohort, schema)
            assert np.isnan(value), metric
            assert behind.attrs["note"], metric
    assert np.isnan(static_constant(one, one, month)[0])
    still = table(DRUGS, ["aaaa"], [[N] * 4])
    assert "no static" in static_constant(still, still, DRUGS)[1].attrs["note"]
    assert np.isnan(dwell_times(none, none, bare)[0])
