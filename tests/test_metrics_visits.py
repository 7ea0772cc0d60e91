"""Courses of unequal length, with gaps and times of their own: each metric by hand, and the report as a whole."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, categorical, real
from scipy.spatial.distance import cdist

import hg_helpers as hg
from hg_helpers import metrics
from hg_helpers.metrics import METRICS
from hg_helpers.metrics.arrays import as_arrays, prepare
from hg_helpers.metrics.distances import neighbours

SCHEMA = hg.Schema(
    [
        real("lab", role="outcome"),
        real("dose"),
        categorical("drug", role="regimen"),
        binary("ill"),
        binary("sex", static=True),
    ],
    patient="id",
    time="day",
    regular=False,
    missing="measured",
)
#: Rows that have what a shuffled table lost.
LENGTHS, STEPS, GAPS, CLUSTERS = "length_ks", "step_ks", "gap_shares", "gap_clustering"


def courses(patients: int, seed: int) -> pd.DataFrame:
    """One to nine visits; a lab that comes and goes for a while, a drug that is kept, sex now and then unknown."""
    rng, rows = np.random.default_rng(seed), []
    for who in range(patients):
        level, drug, sex, day, without = rng.normal(), rng.integers(3), rng.integers(2), 0, rng.random() < 0.3
        dose = rng.normal()
        for _ in range(1 + rng.binomial(8, 0.6)):
            level, dose = 0.9 * level + 0.4 * rng.normal(), 0.8 * dose + 0.5 * rng.normal()
            without ^= rng.random() < (0.2 if without else 0.1)
            drug = rng.integers(3) if rng.random() < 0.15 else drug
            ill = None if rng.random() < 0.05 else ["no", "yes"][int(level > 0)]
            rows.append((who, day, None if without else level, dose + level, "abc"[drug], ill, ["no", "yes"][sex]))
            day += int(rng.gamma(4, 20)) + 1
    return pd.DataFrame(rows, columns=["id", "day", *SCHEMA.names]).astype({"lab": float})


def small(*patients: list[tuple], schema: hg.Schema = SCHEMA) -> pd.DataFrame:
    """Rows (lab, drug, ill) a patient; the other columns do not matter."""
    rows = [
        (who, 10 * day, lab, 0.5, drug, ill, "no")
        for who, p in enumerate(patients)
        for day, (lab, drug, ill) in enumerate(p)
    ]
    return pd.DataFrame(rows, columns=["id", "day", *schema.names]).astype({"lab": float})


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_arrays_hold_which_visits_there_are_and_what_is_known():
    table = small([(1, "a", "no"), (None, "b", "no"), (3, "b", None)], [(5, "c", "yes")])
    cohort = as_arrays(table, SCHEMA)
    order = np.argsort(cohort.patients)
    assert cohort.there[order].tolist() == [[True, True, True], [True, False, False]]
    np.testing.assert_array_equal(cohort.values("lab")[order], [[1, np.nan, 3], [5, np.nan, np.nan]])
    assert cohort.values("drug")[order].tolist() == [[0, 1, 1], [2, -1, -1]]
    assert cohort.known("lab", "ill")[order].tolist() == [[True, False, False], [True, False, False]]
    np.testing.assert_array_equal(cohort.times[order], [[0, 10, 20], [0, np.nan, np.nan]])
    assert not cohort.whole and cohort.schema == SCHEMA
    turned = as_arrays(table.assign(id=1 - table["id"]).sample(frac=1, random_state=1), SCHEMA)
    np.testing.assert_array_equal(turned.reals, cohort.reals)


def test_cohorts_with_other_longest_courses_are_compared():
    a, b = small([(1, "a", "no"), (2, "a", "no")]), small([(1, "a", "no")], [(2, "b", "no")] * 3)
    one, other = prepare(SCHEMA, None, real=a, synthetic=b)
    assert one.months == other.months == 3 and not one.whole and one.there.sum() == 2
    assert metrics.length_ks(a, b, SCHEMA)[0] == metrics.length_ks(b, a, SCHEMA)[0] == 0.5
    longer = metrics.length_ks(a, b, SCHEMA)[1]
    assert longer["visits"].tolist() == [1, 2, 3] and longer["synthetic"].tolist() == [0.5, 0, 0.5]


# --- each metric by hand ----------------------------------------------------------------------------------------------


def test_margins_and_pairs_are_of_what_is_known():
    a = small([(0, "a", "no"), (None, "a", None)], [(10, "b", "yes")])
    b = small([(0, "a", "no"), (0, "a", "no")], [(None, "c", None), (10, "c", "yes")])
    assert metrics.ks(a, b, SCHEMA)[1]["value"][0] == pytest.approx(2 / 3 - 1 / 2)
    assert metrics.wasserstein(a, b, SCHEMA)[1]["value"][0] == pytest.approx(2 / 3 - 1 / 2)
    shares = metrics.tv(a, b, SCHEMA)[1].set_index(["feature", "level"])
    assert shares.loc[("ill", "yes"), ["real", "synthetic"]].tolist() == pytest.approx([1 / 2, 1 / 3])
    pairs = metrics.contingency_similarity(a, b, SCHEMA)[1].set_index(["first", "second"])["value"]
    # drug and ill are known together: a no, b yes; against a no twice, c yes
    assert pairs["drug", "ill"] == pytest.approx(1 / 2)
    groups = metrics.joint_tv(a, b, SCHEMA, ["drug", "ill"])[0]
    assert groups == pytest.approx(1 / 2)


def test_groups_of_patients_leave_out_whose_level_is_never_known():
    a = small([(0, "a", "no"), (0, "a", None)], [(0, "b", None)])
    _, table = metrics.coverage(a, a, SCHEMA, ["ill"], by="patient")
    assert table["real share"].tolist() == [1.0]
    nobody = a.assign(ill=[None, None, "no"])
    schema = SCHEMA.select(["ill", "drug"])
    value, table = metrics.coverage(a, nobody.assign(drug=["a", "a", None]), schema, by="month")
    assert np.isnan(value) and "no month of one of the cohorts has all of these features" in table.attrs["note"]


def test_switches_and_stays_stop_at_gaps_and_at_the_last_visit():
    schema = replace(SCHEMA, features=(categorical("drug", role="regimen"), binary("ill")))
    rows = [[0, 0, "a"], [0, 1, "b"], [0, 2, None], [0, 3, "a"], [0, 4, "a"], [1, 0, "c"]]
    a = pd.DataFrame(rows, columns=["id", "day", "drug"]).assign(ill="no")
    found = metrics.switching_ratio(a, a, schema)[1].set_index("feature").loc["drug"]
    assert found["real"] == pytest.approx(1 / 2)  # of a b and a a; what a gap hides is no transition
    assert found["real switchers"] == 1  # of the one patient with a transition
    stays = metrics.dwell_times(a, a, schema)[1]
    assert stays["real"].tolist() == [3 / 4, 1 / 4, 0, 0, 0]  # a, b, a a, and c


def test_trends_autocorrelation_and_spread_are_those_of_the_patients_own_visits():
    rng = np.random.default_rng(0)
    full = np.cumsum(rng.normal(size=(30, 9, 2)), axis=1)
    sizes = rng.integers(3, 10, 30)
    there = np.arange(9) < sizes[:, None]
    columns = ["id", "day", "lab", "dose"]
    rows = [(p, t, *full[p, t]) for p, t in zip(*np.nonzero(there), strict=True)]
    schema = SCHEMA.select(["lab", "dose"])
    table = pd.DataFrame(rows, columns=columns)
    same = schema.length is None and metrics.trend_difference(table, table, schema)[0]
    assert same == 0
    # the whole course of each, as a cohort of that length alone, has the same trend at its visits
    for size in (5, 9):
        part = table[table["id"].isin(np.flatnonzero(sizes == size))]
        one = metrics.within_patient_correlation(part, schema, "cycle")[0].loc["lab", "dose"]
        assert -1 < one < 1
    arrays = as_arrays(table, schema, hg.CohortEncoder(schema).fit(table))
    x = [v[~np.isnan(v)] for v in arrays.values("lab", scaled=True)]
    means = np.array([v.mean() for v in x])
    spread = metrics.patient_spread(arrays, arrays)[1].set_index("feature").loc["lab", "real"]
    assert spread == pytest.approx(means.std(ddof=1))
    deviations = [v - v.mean() for v in x]
    lagged = np.concatenate([d[2:] * d[:-2] for d in deviations]).mean()
    expected = lagged / (np.concatenate(deviations) ** 2).mean()
    found = metrics.autocorrelation_difference(arrays, arrays)[1].set_index(["feature", "lag"])["real"]
    assert found["lab", 2] == pytest.approx(expected)


def test_a_static_feature_that_is_unknown_now_and_then_does_not_change():
    table = small([(0, "a", "no")] * 3, [(0, "a", "no")] * 2).assign(sex=["no", None, "no", "yes", "no"])
    assert metrics.static_constant(table, table, SCHEMA)[1]["synthetic"].tolist() == [0.5]


def test_distances_count_gaps_half_and_courses_by_the_longer_of_two():
    schema = hg.Schema([real("lab"), binary("ill")], "id", "day", regular=False, missing="measured")
    rows = [[0, 0, 0, "no"], [0, 1, 10, "no"], [1, 0, 0, "no"], [2, 0, None, "yes"], [2, 1, 10, "no"]]
    table = pd.DataFrame(rows, columns=["id", "day", "lab", "ill"])
    (cohort,) = prepare(schema, None, real=table)
    cohort = cohort.take(np.argsort(cohort.patients))
    first = cohort.take(np.array([0, 1]))
    distance = neighbours(first, cohort.take(np.array([2]))).distance[:, 0] ** 2
    # patient 0: lab unknown at 0 (1/2) and ill differs (1), of 2 visits x 2 features; 1: besides, no second visit
    assert distance.tolist() == pytest.approx([1.5 / 4, (1.5 + 0.5 + 0.5) / 4])
    flat = metrics.flatten(cohort)
    assert cdist(flat, flat, "sqeuclidean")[0, 2] == pytest.approx(distance[0])
    alone = first.take(np.array([1]))
    other = replace(alone, levels=np.where(alone.levels == 0, 1, alone.levels))
    assert neighbours(alone, other).distance[0, 0] ** 2 == pytest.approx(1 / 2)  # not diluted by visits nobody has


def test_copies_of_courses_with_gaps_are_found():
    a, others = courses(60, 1), courses(60, 2)
    value, table = metrics.copies(a, a, SCHEMA)
    assert value == 1 and table["exact"].all()
    assert metrics.membership_auc(a, others, a, SCHEMA)[0] > 0.95  # short courses may have a double


def test_of_a_patient_without_any_value_nothing_is_learnt():
    table = small(*[[(0, "a", "no")]] * 6, [(9, "b", None)])
    schema = SCHEMA.select(["drug", "ill"])
    risk, classes = metrics.disclosure_risk(table, table, schema, quasi_identifiers=["drug"])
    assert risk == 0
    known = metrics.disclosure_risk(table.assign(ill=["no"] * 6 + ["yes"]), table.assign(ill="yes"), schema, ["drug"])
    assert known[0] == pytest.approx(1 / 7)
    _, classes = metrics.disclosure_risk(table, table, schema, quasi_identifiers=["ill"])
    assert set(classes["ill"]) == {"no", "not known"}


def test_gaps_are_compared_by_feature_and_by_what_follows_them():
    a = small([(None, "a", "no"), (None, "a", "no"), (1, "a", "no"), (None, "a", "no")], [(1, "a", None)])
    b = small([(1, "a", "no"), (None, "a", "no"), (1, "a", "no"), (1, "a", "no")], [(1, "a", "no")])
    value, table = metrics.gap_shares(a, b, SCHEMA)
    shares = table.set_index("feature")
    assert shares.loc["lab", ["real", "synthetic", "value"]].tolist() == pytest.approx([3 / 5, 1 / 5, 2 / 5])
    assert value == pytest.approx(2 / 5) and shares.loc["ill", "value"] == pytest.approx(1 / 5)
    value, table = metrics.gap_clustering(a, b, SCHEMA, fewest=1)
    assert table.set_index("feature").loc["lab", ["real", "synthetic"]].tolist() == [0.5, 0]
    assert value == 0.5  # a gap at the last visit, as that of ill, can be followed by nothing
    value, table = metrics.gap_clustering(a, b, SCHEMA)
    assert np.isnan(value) and "2 gaps" in table.set_index("feature").loc["lab", "note"]  # two gaps say nothing
    value, table = metrics.gap_clustering(b.assign(lab=1.0), b.assign(lab=1.0), SCHEMA)
    assert np.isnan(value) and table.attrs["note"]


def test_steps_are_compared_whatever_the_unit():
    a = small([(1, "a", "no")] * 3)
    assert metrics.step_ks(a, a.assign(day=[0, 10, 25]), SCHEMA)[0] == pytest.approx(0.5)
    dates = a.assign(day=pd.to_datetime("2024-01-01") + pd.to_timedelta(a["day"], unit="D"))
    assert metrics.step_ks(dates, dates, SCHEMA)[0] == 0
    value, table = metrics.step_ks(a, small([(1, "a", "no")]), SCHEMA)
    assert np.isnan(value) and "second visit" in table.attrs["note"]


def test_the_other_two_sample_test_sees_what_the_first_does_not():
    rng = np.random.default_rng(0)
    schema = hg.Schema([real("lab")], "id", "day", length=24)

    def cohort(lag: int) -> pd.DataFrame:
        """Noise that takes itself back after ``lag`` months: alike in all that the first test looks at."""
        x = rng.normal(size=(150, 24 + lag))
        x = x[:, lag:] - 0.9 * x[:, :-lag]
        ids = {"id": np.repeat(np.arange(150), 24), "day": np.tile(np.arange(24), 150)}
        return pd.DataFrame({**ids, "lab": x.ravel()})

    first, other = (f(cohort(3), cohort(4), schema)[0] for f in (metrics.c2st_auc, metrics.c2st_other_auc))
    assert first < 0.65 and other > 0.9
    assert metrics.c2st_other_auc(cohort(3), cohort(3), schema)[0] < 0.65


# --- the report -------------------------------------------------------------------------------------------------------


def shuffled(table: pd.DataFrame, what: str, seed: int = 0) -> pd.DataFrame:
    """The table with one thing lost."""
    rng, table = np.random.default_rng(seed), table.copy()
    if what == "visits":
        first, order = table.sort_values(["id", "day"]), np.lexsort((rng.random(len(table)), table["id"]))
        return first[["id", "day"]].join(table.iloc[order].reset_index(drop=True)[SCHEMA.names])
    if what == "lengths":
        return table[table.groupby("id").cumcount() < rng.integers(1, 10, table["id"].max() + 1)[table["id"]]]
    if what == "gaps":
        known = table["lab"].dropna().to_numpy()
        table["lab"] = np.where(
            rng.random(len(table)) < table["lab"].isna().mean(), np.nan, rng.choice(known, len(table))
        )
    if what == "steps":
        table["day"] = table.groupby("id").cumcount() * 80 + rng.integers(0, 5, len(table))
    return table


@pytest.fixture(scope="module")
def reports():
    train, holdout, other = courses(300, 1), courses(150, 2), courses(300, 3)
    made = {"nothing": other, **{what: shuffled(other, what) for what in ("visits", "lengths", "gaps", "steps")}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = {"nothing": 2}  # what is lost shows in one
        found = {
            what: hg.evaluate(train, holdout, table, SCHEMA, draws=draws.get(what, 1), bootstrap=20)
            for what, table in made.items()
        }
    return {what: report.set_index(["metric", "feature"]) for what, report in found.items()}


def test_real_patients_are_at_the_floor_in_every_row(reports):
    report = reports["nothing"]
    assert report[["value", "floor"]].notna().all(axis=None), report[report["value"].isna()]
    assert set(report.index.get_level_values("metric")) == set(metrics.BEST)
    allowed = {"log_cluster": 1.6, "c2st_auc": 0.12, "c2st_other_auc": 0.12, "switching_ratio": 0.3, "tstr_auc": 0.15}
    allowed |= {"autocorrelation_difference": 0.2, "dwell_times": 0.3}
    allowed |= {"coverage_month": 0.2, "coverage_patient": 0.2, "gap_clustering": 0.15, "prdc_density": 0.2}
    apart_ = (report["value"] - report["floor"]).abs()
    wrong = apart_ > [allowed.get(name, 0.1) for name, _ in report.index]
    assert not wrong.any(), report[wrong]


@pytest.mark.parametrize(
    ("what", "bad", "good"),
    [
        (
            "visits",
            ["gap_clustering", "switching_ratio", "c2st_other_auc"],
            ["length_ks", "step_ks", "gap_shares", "ks"],
        ),
        ("lengths", ["length_ks", "c2st_auc"], ["step_ks", "ks", "tv"]),
        ("gaps", ["gap_clustering", "c2st_auc"], ["gap_shares", "length_ks", "ks"]),
        ("steps", ["step_ks", "c2st_auc"], ["length_ks", "gap_shares", "ks", "switching_ratio"]),
    ],
)
def test_what_was_lost_shows_in_its_rows_and_in_no_other(reports, what, bad, good):
    report, honest = reports[what], reports["nothing"]
    off = (report["value"] - report["floor"]).abs() - (honest["value"] - honest["floor"]).abs()
    for name in bad:
        assert off[name].max() > 0.09, (name, report.loc[name])
    for name in good:
        assert off[name].max() < 0.09, (name, report.loc[name])


def test_complete_courses_have_no_rows_of_visits(cohort, schema):
    report = hg.evaluate(cohort, cohort, cohort, schema, draws=1, bootstrap=0)
    assert not {METRICS[name].group for name in report["metric"]} & {"visits"}


PBCSEQ = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "pbcseq.csv"


@pytest.mark.skipif(not PBCSEQ.is_file(), reason="the real table is not here")
def test_the_real_table_as_it_came():
    schema = hg.Schema.from_yaml(Path(__file__).parents[1] / "data" / "pbcseq.yaml")
    first, second = hg.split_patients(hg.load_cohort(PBCSEQ, schema), 0.4, seed=1, schema=schema)
    train, holdout = hg.split_patients(first, 0.35, seed=0, schema=schema)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = hg.evaluate(train, holdout, second, schema, draws=1, bootstrap=20)
    undefined = report[report["value"].isna()]
    assert (undefined["note"] != "").all() and set(undefined["metric"]) <= {"tstr_auc", "trtr_auc", "gap_clustering"}
    rows = report.set_index("metric")
    for name, allowed in {"length_ks": 0.15, "step_ks": 0.15, "gap_shares": 0.15, "ks": 0.25, "tv": 0.2}.items():
        assert ((rows.loc[[name], "value"] - rows.loc[[name], "floor"]).abs() < allowed).all(), rows.loc[[name]]
