"""Fidelity metrics against hand calculations, SDMetrics and each other."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, categorical, real, schema_of, table
from sdmetrics.column_pairs import ContingencySimilarity
from sdmetrics.single_column import KSComplement, TVComplement

from hg_helpers.cohort.art import ART_FULL
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import (
    association_difference,
    association_matrix,
    contingency_similarity,
    cramers_v,
    ks,
    tv,
    wasserstein,
)
from hg_helpers.metrics.arrays import as_arrays, joint_groups
from hg_helpers.metrics.metric import gap

ONE_LAB = schema_of(real(), months=4)


@pytest.fixture(scope="module")
def two_cohorts():
    return simulate_cohort(60, seed=3), simulate_cohort(50, seed=4)


def test_ks_is_the_largest_gap_between_the_two_distribution_functions():
    value, by_feature = ks(table(ONE_LAB, [[1, 2, 3, 4]]), table(ONE_LAB, [[3, 4, 5, 6]]), ONE_LAB)
    assert value == 0.5  # below 3: half of the real values, none of the synthetic ones
    assert by_feature.to_dict("list") == {"feature": ["lab"], "value": [0.5]}


def test_wasserstein_is_in_units_of_the_encoded_range():
    # the real range 0 to 10 becomes 0 to 1; every value has to move by half of it
    assert wasserstein(table(ONE_LAB, [[0, 0, 10, 10]]), table(ONE_LAB, [[5, 5, 5, 5]]), ONE_LAB)[0] == 0.5


def test_wasserstein_tells_near_from_far_where_ks_does_not():
    base, near, far = (table(ONE_LAB, [v]) for v in ([0, 1, 2, 100], [3, 4, 5, 6], [70, 80, 90, 99]))
    assert ks(base, near, ONE_LAB)[0] == ks(base, far, ONE_LAB)[0]
    assert wasserstein(base, near, ONE_LAB)[0] < wasserstein(base, far, ONE_LAB)[0]


def test_tv_is_the_share_of_months_that_would_have_to_change_level():
    schema = schema_of(categorical("drug"), months=4)
    value, levels = tv(table(schema, ["aabc"]), table(schema, ["aaac"]), schema)
    assert value == 0.25
    assert levels["level"].tolist() == ["a", "b", "c"]
    assert levels["real"].tolist() == [0.5, 0.25, 0.25]
    assert levels["synthetic"].tolist() == [0.75, 0, 0.25]


def test_bias_corrected_cramers_v_by_hand():
    # counts [[3, 1], [1, 3]]: chi2 = 2, phi2 = 1/4, less 1/7; two levels less 1/7
    a, b = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    assert cramers_v(a, b) == pytest.approx(np.sqrt((1 / 4 - 1 / 7) / (2 - 1 / 7 - 1)))


def test_bias_correction_brings_independent_columns_near_zero():
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 10, (50, 2, 100))
    corrected = np.mean([cramers_v(a, b) for a, b in columns])
    assert corrected < 0.15  # uncorrected: sqrt(81 / 99 / 9), about 0.3
    assert cramers_v(columns[0, 0], columns[0, 0]) == pytest.approx(1, abs=1e-12)


def test_association_matrix_uses_the_measure_of_each_pair():
    schema = schema_of(real("x"), real("y"), categorical("c"), binary("d"), months=4)
    x, y, c, d = [[0, 2, 4, 6]], [[3, 1, 0, 0]], ["aabb"], [["no", "yes", "no", "yes"]]
    matrix = association_matrix(table(schema, x, y, c, d), schema)
    assert matrix.loc["x", "y"] == pytest.approx(np.corrcoef(x[0], y[0])[0, 1])
    # group means 1 and 5 round 3: between 2 * 4 + 2 * 4 = 16, total 9 + 1 + 1 + 9 = 20
    assert matrix.loc["x", "c"] == pytest.approx(np.sqrt(16 / 20))
    assert matrix.loc["c", "d"] == 0  # every combination once: independent
    assert (matrix.to_numpy() == matrix.to_numpy().T).all()
    assert (np.diag(matrix) == 1).all()


def test_a_relation_that_a_constant_column_loses_counts_as_wrong():
    schema = schema_of(real("x"), real("y"), months=4)
    whole = table(schema, [[1, 2, 3, 4]], [[1, 2, 4, 3]])
    constant = table(schema, [[1, 2, 3, 4]], [[2, 2, 2, 2]])
    value, pairs = association_difference(whole, constant, schema)
    assert value == 1
    assert np.isnan(pairs["synthetic"].iloc[0])
    assert "x x y" in pairs.attrs["note"]


def test_association_undefined_in_both_is_nan_with_a_reason():
    schema = schema_of(real("x"), real("y"), months=3)
    constant = table(schema, [[1, 2, 3]], [[2, 2, 2]])
    value, pairs = association_difference(constant, constant, schema)
    assert np.isnan(value)
    assert "varies" in pairs.attrs["note"]


def test_gap_never_rewards_an_undefined_entry():
    assert gap([0.1, np.nan, 0.5, np.nan], [np.nan, 0.1, 0.2, np.nan]) == pytest.approx(
        [1, 1, 0.3, np.nan], nan_ok=True
    )


def test_contingency_similarity_by_hand():
    schema = schema_of(binary("p"), binary("q"), months=4)
    n, y = "no", "yes"
    first = table(schema, [[n, n, y, y]], [[n, n, y, y]])
    second = table(schema, [[n, n, y, y]], [[n, y, n, y]])
    # joint shares 1/2, 0, 0, 1/2 against 1/4 four times: total variation 1/2, while both margins are equal
    assert contingency_similarity(first, second, schema)[0] == 0.5
    assert tv(first, second, schema)[0] == 0


def test_ks_tv_and_contingency_similarity_agree_with_sdmetrics(two_cohorts):
    a, b = two_cohorts
    for row in ks(a, b, ART_FULL)[1].itertuples():
        assert row.value == pytest.approx(1 - KSComplement.compute(a[row.feature], b[row.feature]), abs=1e-12)
    for name, value in tv(a, b, ART_FULL)[1].groupby("feature")["value"].first().items():
        assert value == pytest.approx(1 - TVComplement.compute(a[name], b[name]), abs=1e-12)
    value, pairs = contingency_similarity(a, b, ART_FULL)
    assert len(pairs) == 45
    for row in pairs.iloc[::6].itertuples():
        names = [row.first, row.second]
        oracle = ContingencySimilarity.compute(a[names].astype(str), b[names].astype(str))
        assert row.value == pytest.approx(oracle, abs=1e-12)
    assert value == pytest.approx(pairs["value"].mean())


@pytest.mark.parametrize("metric", [ks, wasserstein, tv, association_difference, contingency_similarity])
def test_row_order_ids_and_feature_order_play_no_part(two_cohorts, metric):
    a, b = two_cohorts
    shuffled = b.assign(PatientID=900 - b["PatientID"]).sample(frac=1, random_state=0)
    permuted = ART_FULL.select(ART_FULL.names[::-1])
    assert metric(a, b, ART_FULL)[0] == metric(a, shuffled, ART_FULL)[0]
    assert metric(a, b, permuted)[0] == pytest.approx(metric(a, b, ART_FULL)[0], abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "schema"),
    [(ks, schema_of(binary("p"), months=2)), (wasserstein, schema_of(binary("p"), months=2))]
    + [(m, schema_of(real(), months=2)) for m in (tv, association_difference, contingency_similarity)],
)
def test_a_schema_without_the_features_gives_nan_with_a_reason(metric, schema):
    cohort = table(schema, [["no", "yes"]] if schema.discrete else [[1, 2]])
    value, behind = metric(cohort, cohort, schema)
    assert np.isnan(value)
    assert behind.attrs["note"]


def test_patients_stand_in_an_order_that_only_their_values_decide():
    cohort = simulate_cohort(20, months=6, seed=1)
    schema = replace(ART_FULL.select(["VL", "Gender"]), length=6)
    arrays = as_arrays(cohort, schema)
    relabelled = cohort.assign(PatientID=(cohort["PatientID"] * 7 + 3) % 20).sample(frac=1, random_state=1)
    other = as_arrays(relabelled, schema)
    assert (arrays.reals == other.reals).all()
    assert (arrays.levels == other.levels).all()
    by_id = cohort.set_index("PatientID")["VL"]
    for position, patient in enumerate(arrays.patients):
        assert (arrays.reals[position, :, 0] == by_id[patient]).all()


def test_joint_groups_are_the_same_by_counting_sorting_numbers_and_sorting_rows():
    rng = np.random.default_rng(0)
    few = [rng.integers(0, 3, (30, 4)) for _ in range(2)]
    # the same groups with levels so far apart that numbering them needs more room
    for scale in (1, 1000, 10**6):
        codes, groups = joint_groups(*(rows * scale for rows in few))
        assert (groups[codes[1]] == few[1] * scale).all()
        assert len(groups) == len(pd.DataFrame(np.concatenate(few)).drop_duplicates())
