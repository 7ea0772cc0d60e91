"""Privacy metrics against hand calculations, full enumeration and naive distances."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, categorical, real, schema_of, table
from scipy.spatial.distance import cdist

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import copies, copy_threshold, dcr_share, disclosure_risk, membership_auc, nndr
from hg_helpers.metrics import distances as distances_module
from hg_helpers.metrics.arrays import as_arrays
from hg_helpers.metrics.distances import flatten, neighbours
from hg_helpers.metrics.privacy import _chance_of_closer

# one lab in one month, from 0 to 10: distances are differences over 10
LINE = schema_of(real(), months=1)
N, Y = "no", "yes"


def line(*values: float) -> pd.DataFrame:
    return table(LINE, [[v] for v in values])


@pytest.fixture(scope="module")
def cohorts():
    """Training, held-out and other patients of one simulator."""
    return tuple(simulate_cohort(n, seed=seed) for n, seed in ((60, 1), (30, 2), (50, 3)))


@pytest.fixture(scope="module")
def encoder(cohorts):
    return CohortEncoder(ART_DEMO).fit(cohorts[0])


@pytest.mark.parametrize("room", [1, 500, 10**8])
def test_blocks_of_any_size_find_what_naive_distances_find(cohorts, encoder, monkeypatch, room):
    monkeypatch.setattr(distances_module, "_BLOCK_VALUES", room)
    x, y = (as_arrays(c, ART_DEMO, encoder) for c in cohorts[:2])
    full, among = cdist(flatten(y), flatten(x)), cdist(flatten(x), flatten(x))
    radii = np.median(full, axis=1)
    found = neighbours(y, x, k=3, radii=radii)
    assert found.distance == pytest.approx(np.sort(full, axis=1)[:, :3])
    assert (found.position == np.argsort(full, axis=1)[:, :3]).all()
    assert found.reverse == pytest.approx(full.min(axis=0))
    assert (found.closer == 30).all()  # 60 distances: half of them lie below the median
    assert (found.equal == 0).all()
    own = neighbours(x, x, same=True).distance[:, 0]
    assert own == pytest.approx(np.sort(among, axis=1)[:, 1])


def test_copies_are_at_distance_exactly_zero(cohorts, encoder):
    x = as_arrays(cohorts[0], ART_DEMO, encoder)
    assert (neighbours(x, x).distance == 0).all()
    assert (neighbours(x, x, radii=np.zeros(len(x))).equal == 1).all()


def test_the_chance_of_a_closer_one_is_the_average_over_all_subsamples():
    # 7 training patients, c of them closer, e as close as the nearest held-out one; 3 are drawn
    for c in range(6):
        for e in range(0, 7 - c, 2):
            best = [0] * c + [1] * e + [2] * (7 - c - e)
            scores = [{0: 1.0, 1: 0.5, 2: 0.0}[min(s)] for s in combinations(best, 3)]
            assert _chance_of_closer(np.array([c]), np.array([e]), 7, 3)[0] == pytest.approx(np.mean(scores))


def test_dcr_share_by_hand():
    # holdout 5; synthetic 1 is closer to train 0, synthetic 6 to the holdout, synthetic 2.5 as far from both
    value, patients = dcr_share(line(0, 10), line(5), line(1, 6, 2.5), LINE)
    patients = patients.sort_values("patient")
    assert patients["to train"].tolist() == pytest.approx([0.1, 0.4, 0.25])
    assert patients["to holdout"].tolist() == pytest.approx([0.4, 0.1, 0.25])
    # one of two training patients is drawn
    assert patients["closer to train"].tolist() == pytest.approx([0.5, 0, 0.25])
    assert value == pytest.approx(0.25)


def test_dcr_share_says_what_copies_would_reach_and_holds_distances_at_equal_numbers(cohorts):
    train, holdout, _ = cohorts
    value, patients = dcr_share(train, holdout, train, ART_DEMO)
    assert "would reach 0.75" in patients.attrs["note"]  # a random half of 60 holds a copy's original every other time
    assert value == pytest.approx(0.75, abs=0.07)
    assert (patients["to train"] == 0).all() and (patients["to train, equal numbers"] == 0).sum() == 30
    assert (patients["to holdout, equal numbers"] == patients["to holdout"]).all()
    few = train[train["PatientID"] < 30]
    assert "would reach 1.00" in dcr_share(few, holdout, few, ART_DEMO)[1].attrs["note"]


def test_dcr_share_with_more_held_out_than_training_patients_turns_the_subsampling_round():
    # two of five held-out patients count: the only closer one is not among them with chance C(4, 2) / C(5, 2)
    assert dcr_share(line(2, 10), line(4, 9, 9.5, 10, 10), line(5), LINE)[0] == pytest.approx(6 / 10)


def test_dcr_share_is_one_for_copies_and_half_for_other_real_patients(cohorts):
    train, holdout, other = cohorts
    few = train[train["PatientID"] < 30]
    assert dcr_share(few, holdout, few, ART_DEMO)[0] == 1
    assert 0.3 < dcr_share(train, holdout, other, ART_DEMO)[0] < 0.7


def test_nndr_by_hand():
    value, patients = nndr(line(0, 10), line(1, 5, 10), LINE)
    assert sorted(patients["ratio"]) == pytest.approx([0, 1 / 9, 1])
    assert value == pytest.approx((0 + 1 / 9 + 1) / 3)
    assert nndr(line(0, 0, 10), line(0), LINE)[0] == 1  # twice the same record: nobody is singled out
    single, behind = nndr(line(0), line(1), LINE)
    assert np.isnan(single)
    assert behind.attrs["note"]


def test_copies_by_hand():
    # nearest other training patients: .1 .1 .4 .4; the lowest quarter quantile is .1
    train = line(0, 1, 6, 10)
    value, patients = copies(train, line(0, 6.05, 3, 8), LINE, threshold=copy_threshold(train, LINE, 0.25))
    patients = patients.sort_values("patient")
    assert patients.attrs["threshold"] == pytest.approx(0.1)
    assert patients["exact"].tolist() == [True, False, False, False]
    assert patients["near"].tolist() == [True, True, False, False]
    assert patients["nearest"].tolist()[:2] == [0, 2]
    assert value == 0.5
    # where training patients are themselves twins nobody is nearer than near, yet a copy is a copy
    assert copies(line(0, 0, 10), line(0, 5), LINE)[0] == 0.5


def test_membership_attack_by_hand():
    # members 0 and 10 at distances 0 and .4 from the nearest synthetic patient, the other at .1: one pair of two won
    value, patients = membership_auc(line(0, 10), line(5), line(0, 6), LINE)
    assert sorted(patients.loc[patients["member"], "distance"]) == pytest.approx([0, 0.4])
    assert value == 0.5
    assert membership_auc(line(0, 10), line(5), line(0, 10), LINE)[0] == 1
    assert membership_auc(line(0, 10), line(5), line(5), LINE)[0] == 0


def test_copies_of_the_training_patients_fail_every_distance(cohorts):
    train, holdout, other = cohorts
    assert copies(train, train, ART_DEMO)[0] == 1
    assert copies(train, other, ART_DEMO)[0] < 0.1
    assert membership_auc(train, holdout, train, ART_DEMO)[0] == 1
    assert 0.35 < membership_auc(train, holdout, other, ART_DEMO)[0] < 0.65
    assert nndr(train, train, ART_DEMO)[0] == 0
    assert nndr(train, other, ART_DEMO)[0] > 0.7


# --- disclosure -----------------------------------------------------------------------------------------------------

KNOWN = schema_of(categorical("region", static=True), binary("rare"), months=1)


def test_disclosure_risk_by_hand():
    # region a: one patient, rare "yes", matched with the same rare value: learnt, 1/1
    # region b: three patients, all "no": common, nothing new although they match; region c: two, no match
    train = table(KNOWN, list("abbbcc"), [[Y], [N], [N], [N], [N], [Y]])
    synthetic = table(KNOWN, list("abb"), [[Y], [N], [Y]])
    value, classes = disclosure_risk(train, synthetic, KNOWN)
    assert value == pytest.approx(1 / 6)
    by_region = classes.set_index("region")
    assert by_region["train patients"].to_dict() == {"a": 1, "b": 3, "c": 2}
    assert by_region["synthetic patients"].to_dict() == {"a": 1, "b": 2, "c": 0}
    assert by_region["risk"].to_dict() == pytest.approx({"a": 1 / 6, "b": 0, "c": 0})
    assert classes.attrs["threshold"] == 0.09
    # drawn from sixty people, a class of one is a class of ten
    assert disclosure_risk(train, synthetic, KNOWN, population=60)[0] == pytest.approx(1 / 60)
    # the wrong value of the rare feature tells nothing
    wrong = table(KNOWN, list("abb"), [[N], [N], [Y]])
    assert disclosure_risk(train, wrong, KNOWN)[0] == 0


def test_a_real_value_is_learnt_when_a_match_is_near_it():
    schema = schema_of(categorical("region", "ab", static=True), real(), months=1)
    # means 0, .1 ... 1 on the encoded scale: median .5, MAD .3; each in one of five clusters of about a fifth
    train = table(schema, ["a"] + ["b"] * 10, [[v] for v in range(11)])
    near, far = (table(schema, ["a"], [[v]]) for v in (1, 10))
    assert disclosure_risk(train, near, schema)[0] == pytest.approx(1 / 11)
    constant = table(schema, ["a"] + ["b"] * 10, [[5.0]] * 11)
    assert disclosure_risk(constant, far, schema)[0] == 0  # no deviation, nothing to learn


@pytest.mark.parametrize("name", ["risk", "learnt", "train patients"])
def test_a_quasi_identifier_with_the_name_of_a_result_keeps_a_column_of_its_own(name):
    schema = schema_of(categorical(name, static=True), binary("rare"), months=1)
    both = table(schema, list("abbb"), [[Y], [N], [N], [N]])
    value, classes = disclosure_risk(both, both, schema)
    assert value == classes["risk"].sum() == 0.25 and classes["train patients"].tolist() == [1, 3]
    assert classes[f"{name} (feature)"].tolist() == ["a", "b"]


def test_disclosure_risk_checks_its_arguments():
    train = table(KNOWN, list("ab"), [[Y], [N]])
    with pytest.raises(ValueError, match="population 1 is smaller than the 2"):
        disclosure_risk(train, train, KNOWN, population=1)
    with pytest.raises(KeyError, match="no feature 'town'"):
        disclosure_risk(train, train, KNOWN, ["town"])
    value, behind = disclosure_risk(line(1, 2), line(1, 2), LINE)
    assert np.isnan(value)
    assert "quasi-identifier" in behind.attrs["note"]
    # where everything is known, being found is all there is: both patients are alone in their class
    assert disclosure_risk(train, train, KNOWN, ["region", "rare"])[0] == 1


def test_a_real_quasi_identifier_is_cut_at_deciles():
    train = line(*np.linspace(0, 10, 100))
    value, classes = disclosure_risk(train, train, LINE, ["lab"])
    assert classes["train patients"].tolist() == [10] * 10
    assert value == pytest.approx(10 / 100)
