"""Diversity metrics against hand calculations, naive loops and SDMetrics."""

import numpy as np
import pytest
from metric_tables import binary, categorical, real, schema_of, table
from scipy.spatial.distance import cdist
from sdmetrics.single_column import CategoryCoverage

from hg_helpers.cohort.art import ART_FULL
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import (
    coverage,
    joint_tv,
    log_cluster,
    patient_spread,
    prdc_coverage,
    prdc_density,
    tv,
)
from hg_helpers.metrics.arrays import as_arrays, most_frequent_levels
from hg_helpers.metrics.distances import flatten

PAIR = schema_of(categorical("group"), binary("drug"), months=2)
N, Y = "no", "yes"


@pytest.fixture(scope="module")
def two_cohorts():
    return simulate_cohort(60, seed=3), simulate_cohort(50, seed=4)


def test_coverage_counts_joint_groups_that_reach_a_quarter_of_their_real_share():
    real_ = table(PAIR, ["aa", "aa", "bb", "bb"], [[N, N], [N, N], [Y, Y], [Y, Y]])
    # a-no 7 of 8 months, b-yes 1 of 8: exactly a quarter of its real half
    synthetic = table(PAIR, ["aa", "aa", "aa", "ab"], [[N, N], [N, N], [N, N], [N, Y]])
    value, groups = coverage(real_, synthetic, PAIR)
    assert value == 1
    assert groups[["group", "drug"]].to_numpy().tolist() == [["a", "no"], ["b", "yes"]]
    assert groups["synthetic share"].tolist() == [7 / 8, 1 / 8]
    assert coverage(real_, synthetic, PAIR, floor=0.26)[0] == 0.5
    assert coverage(real_, synthetic, PAIR, features=["group"], floor=0.26)[0] == 0.5


def test_both_margins_do_not_make_a_joint():
    real_ = table(PAIR, ["aa", "bb"], [[N, N], [Y, Y]])
    crossed = table(PAIR, ["aa", "bb"], [[Y, Y], [N, N]])
    assert coverage(real_, crossed, PAIR)[0] == 0
    assert joint_tv(real_, crossed, PAIR)[0] == 1
    assert coverage(real_, crossed, PAIR, ["group"])[0] == coverage(real_, crossed, PAIR, ["drug"])[0] == 1


def test_groups_below_the_minimum_are_not_counted():
    schema = schema_of(categorical("group"), months=1)
    letters = ["a"] * 199 + ["b"]
    assert coverage(table(schema, letters), table(schema, ["a"]), schema)[0] == 0.5  # 1 of 200 is 0.5 %
    assert coverage(table(schema, [*letters, "a"]), table(schema, ["a"]), schema)[0] == 1
    value, groups = coverage(table(schema, letters), table(schema, ["a"]), schema, minimum=1.0)
    assert np.isnan(value)
    assert "no joint group" in groups.attrs["note"]


def test_flicker_covers_by_month_but_not_by_patient():
    schema = schema_of(binary("sex", static=True), months=3)
    real_ = table(schema, [[N, N, N], [Y, Y, Y]])
    flicker = table(schema, [[N, Y, N], [N, N, Y]])
    assert coverage(real_, flicker, schema, by="month")[0] == 1
    assert coverage(real_, flicker, schema, by="patient")[0] == 0.5


def test_a_patients_level_is_the_most_frequent_and_the_first_of_equals():
    schema = schema_of(categorical("group"), months=4)
    cohort = as_arrays(table(schema, ["abba", "bccb", "accc"]), schema)
    assert most_frequent_levels(cohort)[np.argsort(cohort.patients), 0].tolist() == [0, 1, 2]


def test_coverage_agrees_with_sdmetrics_where_a_single_row_is_enough(two_cohorts):
    a, b = two_cohorts
    b = b[b["Extra PI"] != 4]  # a level is missing for certain
    keep = b.groupby("PatientID").size() == 60
    b = b[b["PatientID"].isin(keep.index[keep])]
    seen = set()
    for feature in ART_FULL.discrete:
        ours = coverage(a, b, ART_FULL, [feature.name], floor=1e-12, minimum=0)[0]
        oracle = CategoryCoverage.compute(a[feature.name].astype(str), b[feature.name].astype(str))
        # SDMetrics counts levels that occur in the real data
        assert ours == pytest.approx(oracle, abs=1e-12)
        seen.add(ours)
    assert len(seen) > 1  # covered and not covered both occurred


def test_joint_tv_of_one_feature_is_its_tv(two_cohorts):
    a, b = two_cohorts
    by_feature = tv(a, b, ART_FULL)[1].groupby("feature")["value"].first()
    for name in ("Ethnic", "Extra PI"):
        assert joint_tv(a, b, ART_FULL, [name])[0] == pytest.approx(by_feature[name], abs=1e-12)
    assert joint_tv(a, b, ART_FULL)[0] >= by_feature.max()
    assert joint_tv(a, b, ART_FULL)[1]["real share"].is_monotonic_decreasing


def test_joints_refuse_what_is_no_group():
    cohort = simulate_cohort(3, seed=1)
    with pytest.raises(ValueError, match="'VL' is real"):
        coverage(cohort, cohort, ART_FULL, ["VL"])
    with pytest.raises(KeyError, match="no feature 'Sex'"):
        coverage(cohort, cohort, ART_FULL, ["Sex"])
    with pytest.raises(ValueError, match="'month', 'patient'"):
        coverage(cohort, cohort, ART_FULL, by="year")
    with pytest.raises(ValueError, match="empty list"):
        joint_tv(cohort, cohort, ART_FULL, [])


@pytest.mark.parametrize("name", ["covered", "real share", "synthetic share"])
def test_a_feature_with_the_name_of_a_result_keeps_a_column_of_its_own(name):
    schema = schema_of(binary(name), months=2)
    value, groups = coverage(table(schema, [[N, Y]]), table(schema, [[N, N]]), schema)
    assert value == 0.5 and groups["covered"].tolist() == [True, False] and groups["real share"].tolist() == [0.5, 0.5]
    assert groups[f"{name} (feature)"].tolist() == [N, Y]


def test_log_cluster_by_hand():
    schema = schema_of(categorical("group"), months=4)
    # two clusters with real shares 3/4 and 1/4 of a merged half
    value, clusters = log_cluster(table(schema, ["aaab"]), table(schema, ["abbb"]), schema)
    assert value == pytest.approx(np.log(0.25**2))
    assert sorted(clusters["real share"]) == [0.25, 0.75]
    # real 6 and 2, synthetic 1 and 3; two thirds of all months are real
    uneven = log_cluster(table(schema, ["aaab", "aaab"]), table(schema, ["abbb"]), schema)[0]
    assert uneven == pytest.approx(np.log(((6 / 7 - 2 / 3) ** 2 + (2 / 5 - 2 / 3) ** 2) / 2))
    assert log_cluster(table(schema, ["aaab"]), table(schema, ["baaa"]), schema)[0] == -np.inf
    assert log_cluster(table(schema, ["aaaa"]), table(schema, ["bbbb"]), schema)[0] == pytest.approx(np.log(0.25))


def test_distances_count_mismatched_months_and_squared_differences():
    schema = schema_of(real("lab"), categorical("group"), months=2)
    cohort = table(schema, [[0, 10], [5, 10], [0, 10]], ["aa", "aa", "cb"])
    arrays = as_arrays(cohort, schema, CohortEncoder(schema).fit(cohort))
    x = flatten(arrays)[np.argsort(arrays.patients)]
    squared = cdist(x, x, "sqeuclidean")
    assert squared[0, 1] == pytest.approx(0.5**2 / 4)  # half the range in one of 2 x 2 entries
    assert squared[0, 2] == pytest.approx(2 / 4)
    assert squared[1, 2] == pytest.approx(0.5**2 / 4 + 2 / 4)


def test_density_and_coverage_equal_the_definition(two_cohorts):
    encoder = CohortEncoder(ART_FULL).fit(two_cohorts[0])
    x, y = (flatten(as_arrays(c, ART_FULL, encoder)) for c in two_cohorts)
    k = 3
    radius = np.sort(cdist(x, x), axis=1)[:, k]  # column 0 is the patient himself
    inside = cdist(x, y) <= radius[:, None]
    density, neighbourhoods = prdc_density(*two_cohorts, ART_FULL, encoder, k)
    assert density == pytest.approx(inside.sum() / (k * len(y)))
    assert prdc_coverage(*two_cohorts, ART_FULL, encoder, k)[0] == pytest.approx(inside.any(axis=1).mean())
    assert prdc_coverage(*two_cohorts, ART_FULL, neighbourhoods=neighbourhoods)[0] == inside.any(axis=1).mean()


def test_patient_spread_by_hand():
    schema = schema_of(real(), months=2)
    real_ = table(schema, [[0, 0], [10, 10]])  # means 0 and 1 on the encoded scale
    assert patient_spread(real_, table(schema, [[2, 4], [5, 3]]), schema)[0] == pytest.approx(0.1)  # means .3 and .4
    assert patient_spread(real_, table(schema, [[0, 10], [10, 0]]), schema)[0] == 0
    value, by_feature = patient_spread(table(schema, [[0, 10], [10, 0]]), real_, schema)
    assert np.isnan(value)
    assert "do not differ" in by_feature["note"].iloc[0]
    assert "single patient" in patient_spread(real_, table(schema, [[0, 1]]), schema)[1]["note"].iloc[0]


def test_a_collapsed_cohort_fails_every_diversity_metric(two_cohorts):
    a, b = two_cohorts
    single = b[b["PatientID"] == 0]
    collapsed = single.loc[single.index.repeat(40)].reset_index(drop=True)
    collapsed["PatientID"] = np.tile(np.arange(40), 60)
    assert coverage(a, collapsed, ART_FULL, ["Gender", "Ethnic"], by="patient")[0] < 0.3
    assert prdc_coverage(a, collapsed, ART_FULL)[0] < prdc_coverage(a, b, ART_FULL)[0] / 2
    assert patient_spread(a, collapsed, ART_FULL)[0] == pytest.approx(0, abs=1e-9)
    assert log_cluster(a, collapsed, ART_FULL)[0] > log_cluster(a, b, ART_FULL)[0] + 0.5


def test_single_real_patient_gives_nan_with_a_reason():
    schema = schema_of(real(), binary("p"), months=2)
    one = table(schema, [[0, 1]], [[N, Y]])
    value, behind = prdc_density(one, one, schema)
    assert np.isnan(value)
    assert "single" in behind.attrs["note"]
    assert np.isnan(prdc_coverage(one, one, schema)[0])
