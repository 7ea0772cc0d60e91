"""The simulated cohort meets the published margins, is drawn from the truth it states, and behaves like patients."""

import gzip
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import boxcox

from hg_helpers.cohort import simulate
from hg_helpers.cohort.art import ART_DEMO, ART_FULL
from hg_helpers.cohort.simulate import simulate_cohort, truth

BUNDLE = Path(__file__).resolve().parents[1] / "data" / "art_hiv_demo.csv.gz"
REGIMEN = [feature.name for feature in ART_FULL.regimen]
DEMO = [feature.name for feature in ART_DEMO.discrete]

# Published by the public cohort's authors; see data/README.md.
SHARES = {
    "Gender": [0.863, 0.137],
    "Ethnic": [0.021, 0.118, 0.214, 0.647],
    "Base Drug Combo": [0.481, 0.291, 0.026, 0.138, 0.049, 0.015],
    "Comp. INI": [0.225, 0.043, 0.069, 0.663],
    "Comp. NNRTI": [0.030, 0.153, 0.230, 0.587],
    "Extra PI": [0.064, 0.099, 0.002, 0.027, 0.047, 0.761],
    "Extra pk-En": [0.933, 0.067],
    "VL (M)": [0.869, 0.131],
    "CD4 (M)": [0.845, 0.155],
    "Drug (M)": [0.223, 0.777],
}
LABS = {  # minimum, quartiles, maximum, mean, Box-Cox lambda of x + 0.001
    "VL": (0.10, (10.49, 38.78, 778.27), 97566.41, 7041.12, -0.1028),
    "CD4": (7.96, (272.85, 466.40, 859.44), 42475.20, 823.08, -0.1584),
    "Rel CD4": (1.871, (17.462, 27.734, 44.152), 586.635, 36.353, -0.0701),
}


@pytest.fixture(scope="module")
def cohort():
    return simulate_cohort(8916, months=60, seed=0)


def by_patient(cohort, name):
    """One feature as (patients, months)."""
    return cohort[name].to_numpy().reshape(-1, cohort["Timestep"].max() + 1)


def switches(cohort):
    """Where the regimen differs from the month before, (patients, months - 1)."""
    taken = np.stack([by_patient(cohort, name) for name in REGIMEN])
    return (taken[:, :, 1:] != taken[:, :, :-1]).any(axis=0)


def correlation(x, y):
    """Pearson correlation within each patient, for (patients, months) arrays."""
    x, y = (a - a.mean(axis=1, keepdims=True) for a in (x, y))
    return (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))


def assert_quartiles(name, values):
    found, published = np.quantile(values, [0.25, 0.50, 0.75]), LABS[name][1]
    if name == "VL":
        assert np.log10(found) == pytest.approx(np.log10(published), abs=0.15)
    else:
        assert found == pytest.approx(published, rel=0.10)


def lag_one(x):
    return np.corrcoef(x[:, 1:].ravel(), x[:, :-1].ravel())[0, 1]


# --- the published layout -------------------------------------------------------------------------------------------


def test_the_layout_is_the_published_one(cohort):
    assert list(cohort) == [*ART_FULL.names, "PatientID", "Timestep"]
    assert len(cohort) == 8916 * 60
    assert (cohort["PatientID"].to_numpy() == np.repeat(np.arange(8916), 60)).all()
    assert (cohort["Timestep"].to_numpy() == np.tile(np.arange(60), 8916)).all()
    assert cohort.index.equals(pd.RangeIndex(len(cohort)))
    assert np.isfinite(cohort.to_numpy(dtype=float)).all()
    for feature in ART_FULL.discrete:
        assert set(cohort[feature.name]) == set(feature.codes), feature.name


@pytest.mark.parametrize(("name", "digits"), [("VL", 2), ("CD4", 2), ("Rel CD4", 3)])
def test_values_carry_no_more_digits_than_are_printed(cohort, name, digits):
    assert (cohort[name] == cohort[name].round(digits)).all()
    assert (cohort[name] != cohort[name].round(digits - 1)).mean() > 0.8  # and no fewer either


# --- calibration at 8,916 patients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARES)
def test_every_share_is_the_published_one(cohort, name):
    shares = cohort[name].value_counts(normalize=True)
    for code, published in zip(ART_FULL[name].codes, SHARES[name], strict=True):
        assert shares[code] == pytest.approx(published, abs=0.002 if published < 0.02 else 0.01), (name, code)


@pytest.mark.parametrize("name", LABS)
def test_quartiles_mean_range_and_lambda_are_the_published_ones(cohort, name):
    lowest, _, highest, mean, power = LABS[name]
    values = cohort[name].to_numpy()
    assert_quartiles(name, values)
    assert values.mean() == pytest.approx(mean, rel=0.20)
    assert boxcox(values + 0.001)[1] == pytest.approx(power, abs=0.05)
    assert lowest - 0.01 * lowest <= values.min() < 2.5 * lowest
    assert highest / 2.5 < values.max() <= 1.01 * highest


def test_the_published_share_of_patients_switches_between_about_fifty_regimens(cohort):
    assert 0.60 <= switches(cohort).any(axis=1).mean() <= 0.68
    assert 45 <= len(cohort[REGIMEN].drop_duplicates()) <= 55


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_the_calibration_does_not_hang_on_a_seed(seed):
    other = simulate_cohort(8916, seed=seed)
    for name, published in SHARES.items():
        shares = other[name].value_counts(normalize=True).reindex(ART_FULL[name].codes).to_numpy()
        allowed = np.where(np.array(published) < 0.02, 0.002, 0.01)
        assert (np.abs(shares - published) < allowed).all(), (name, shares)
    for name, (_, _, _, mean, _) in LABS.items():
        assert_quartiles(name, other[name])
        assert other[name].mean() == pytest.approx(mean, rel=0.20)
    assert 0.60 <= switches(other).any(axis=1).mean() <= 0.68


def test_eight_thousand_patients_take_less_than_three_seconds():
    seconds = []
    for seed in range(2):
        start = time.process_time()
        simulate_cohort(8916, seed=seed)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 3


# --- truth ----------------------------------------------------------------------------------------------------------


def test_truth_sums_to_one_and_names_what_it_codes():
    shares = truth()
    assert {name: len(table) for name, table in shares.items()} == {
        "demographics": 8,
        "regimens": 50,
        "joint": 400,
        "measured": 3,
    }
    for name in ("demographics", "regimens", "joint"):
        assert shares[name]["share"].sum() == pytest.approx(1, abs=1e-12)
        assert (shares[name]["share"] > 0).all()
    joint = shares["joint"]
    assert not joint.duplicated(["Gender", "Ethnic", *REGIMEN]).any()
    for name in ("Gender", "Ethnic", *REGIMEN):
        levels = dict(zip(ART_FULL[name].codes, ART_FULL[name].levels, strict=True))
        assert (joint[name].map(levels) == joint[f"{name} level"]).all()


def test_changing_a_table_of_truth_changes_nothing_else():
    for name, table in truth().items():
        table["share"] = 0.0
        assert truth()[name]["share"].sum() > 0.5


@pytest.mark.parametrize("columns", [["Gender", "Ethnic"], REGIMEN, DEMO])
def test_cohorts_have_the_shares_of_truth_within_sampling_error(cohort, columns):
    expected = truth()["joint"].groupby(columns)["share"].sum()
    months = cohort.groupby(columns).size() / len(cohort)
    assert set(months.index) <= set(expected.index)  # nothing that truth does not know
    # Months of a patient are alike, so the error is nearly that of 8,916 draws; 4.5 of them for up to 190 groups.
    error = np.sqrt(expected * (1 - expected) / 8916)
    assert (np.abs(months.reindex(expected.index, fill_value=0) - expected) < 4.5 * error + 1e-4).all()


@pytest.mark.parametrize("name", ["VL (M)", "CD4 (M)", "Drug (M)"])
def test_flags_have_the_share_of_truth_in_the_first_month_and_the_last(cohort, name):
    share = truth()["measured"].set_index("feature")["share"][name]
    flags = by_patient(cohort, name)
    assert flags[:, 0].mean() == pytest.approx(share, abs=0.016)
    assert flags[:, -1].mean() == pytest.approx(share, abs=0.016)


def test_the_shares_of_regimens_are_exactly_stationary_under_switching():
    share = truth()["regimens"]["share"].to_numpy()
    cumulative = np.hstack([np.zeros((50, 1)), simulate._switch_kernel(), np.ones((50, 1))])
    kernel = np.diff(cumulative, axis=1)
    assert share @ kernel == pytest.approx(share, abs=1e-13)
    assert np.diag(kernel) == pytest.approx(0, abs=1e-15)  # a switch is a change
    assert (kernel + np.eye(50) > 0).all()  # from everywhere to everywhere


def test_the_shares_of_regimens_do_not_drift(cohort):
    expected = truth()["regimens"].set_index(REGIMEN)["share"]
    last = cohort[cohort["Timestep"] == 59].groupby(REGIMEN).size().reindex(expected.index, fill_value=0) / 8916
    assert (np.abs(last - expected) < 4.5 * np.sqrt(expected / 8916)).all()


# --- seeds ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_table_whatever_the_global_state():
    np.random.seed(1)
    first = simulate_cohort(50, months=12, seed=3)
    state = np.random.get_state()[1].copy()
    second = simulate_cohort(50, months=12, seed=3)
    pd.testing.assert_frame_equal(first, second)
    assert (np.random.get_state()[1] == state).all()


def test_another_seed_gives_another_table():
    first, second = (simulate_cohort(50, months=12, seed=seed) for seed in (3, 4))
    for name in ("VL", "CD4", "Rel CD4", "Ethnic", "Base Drug Combo", "Drug (M)"):
        assert (first[name] != second[name]).any(), name


@pytest.mark.parametrize(("patients", "months"), [(1, 1), (1, 60), (7, 2), (250, 1)])
def test_any_number_of_patients_and_months_works(patients, months):
    small = simulate_cohort(patients, months=months, seed=0)
    assert small.shape == (patients * months, 15)
    assert small.notna().all(axis=None)
    assert (small.groupby("PatientID").size() == months).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_patients": 0}, "n_patients must be a whole number of at least 1, not 0"),
        ({"n_patients": -3}, "n_patients"),
        ({"n_patients": 10.0}, "n_patients must be a whole number of at least 1, not 10.0"),
        ({"n_patients": "10"}, "n_patients"),
        ({"n_patients": True}, "n_patients"),
        ({"n_patients": 5, "months": 0}, "months must be a whole number of at least 1, not 0"),
        ({"n_patients": 5, "months": None}, "months"),
        ({"n_patients": 5, "seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"n_patients": 5, "seed": 0.5}, "seed"),
    ],
)
def test_a_wrong_number_is_an_error_naming_it(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_cohort(**arguments)


# --- who the patients are and what they take ------------------------------------------------------------------------


def test_demographics_are_constant_within_patients(cohort):
    assert (cohort.groupby("PatientID")[["Gender", "Ethnic"]].nunique() == 1).all(axis=None)


def test_african_patients_are_far_more_often_female(cohort):
    patients = cohort[cohort["Timestep"] == 0]
    female = patients["Gender"].eq(2).groupby(patients["Ethnic"]).mean()
    assert female[2] > 0.4
    assert female[[3, 4]].max() < 0.15


def test_regimens_are_clinically_coherent(cohort):
    level = {
        name: cohort[name].map(dict(zip(ART_FULL[name].codes, ART_FULL[name].levels, strict=True))) for name in REGIMEN
    }
    integrase, other = level["Comp. INI"] != "Not Applied", level["Comp. NNRTI"] != "Not Applied"
    assert (integrase & other).mean() < 0.05 * integrase.mean() * other.mean()  # near-exclusive
    protease = level["Extra PI"] != "Not Applied"
    boosted = level["Base Drug Combo"].isin(["DRV + FTC + TDF", "FTC + RTVB + TDF"])
    assert protease[boosted].mean() > 3 * protease[~boosted].mean()
    enhanced = level["Extra pk-En"] == "True"
    assert enhanced[level["Comp. INI"] == "EVG"].mean() > 0.8
    assert enhanced[level["Comp. INI"] != "EVG"].mean() < 0.02


def test_patients_switch_more_often_after_virological_failure(cohort):
    viraemic = by_patient(cohort, "VL") > 1000
    failed = viraemic[:, 2:-1] & viraemic[:, 1:-2] & viraemic[:, :-3]  # three months in a row, then the next month
    next_switch = switches(cohort)[:, 2:]
    after_failure, otherwise = next_switch[failed].mean(), next_switch[~failed].mean()
    assert failed.sum() > 10_000
    assert after_failure > 2.5 * otherwise


# --- how their laboratory values move -------------------------------------------------------------------------------


def test_viral_load_decays_in_two_phases_under_a_new_regimen_and_not_without(cohort):
    load = np.log10(by_patient(cohort, "VL"))
    patient, month = np.nonzero(switches(cohort)[:, :46] & (load[:, :46] > 4))  # viraemic in the month before
    course = np.median([load[patient, month + lag] for lag in range(13)], axis=1)
    assert len(patient) > 500
    assert course[12] < course[0] - 1.5
    assert (np.diff(course) < 0).all()
    first, second = (course[0] - course[2]) / 2, (course[4] - course[10]) / 6  # decades a month
    assert first > 2 * second
    stays, since = np.nonzero(~switches(cohort)[:, :46] & (load[:, :46] > 4))
    assert np.median(load[stays, since + 4]) > course[4] + 0.5


def test_integrase_inhibitors_clear_virus_a_little_faster(cohort):
    load, level = np.log10(by_patient(cohort, "VL")), by_patient(cohort, "Comp. INI")
    started = (load[:, 0] > 4) & (load[:, 4] < 4) & (level[:, :5] == level[:, :1]).all(axis=1)
    integrase = level[:, 0] != 3
    assert min((started & integrase).sum(), (started & ~integrase).sum()) > 500
    assert load[started & integrase, 1:5].mean() < load[started & ~integrase, 1:5].mean() - 0.06


def test_suppression_and_failure_both_last_months(cohort):
    load = by_patient(cohort, "VL")
    low, high = load < 200, load > 1000
    assert low[:, 1:][low[:, :-1]].mean() > 0.93
    edges = np.diff(np.pad(high, ((0, 0), (1, 1))).astype(int), axis=1)
    lengths = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]  # episodes, in patient order on both sides
    assert np.median(lengths) >= 3
    assert lengths.mean() < 30
    rebounds = (high[:, 1:] & ~high[:, :-1]).any(axis=1) & low.any(axis=1)
    assert 0.2 < rebounds.mean() < 0.8


def test_laboratory_values_wander_smoothly(cohort):
    assert 0.85 < lag_one(np.log10(by_patient(cohort, "VL"))) < 0.97
    for name in ("CD4", "Rel CD4"):
        values = np.log(by_patient(cohort, name))
        assert 0.85 < lag_one(values) < 0.99
        assert (np.diff(values, axis=1) != 0).mean() > 0.99  # but they do wander


def test_cd4_recovers_under_suppression_and_falls_under_viraemia(cohort):
    load, cells = by_patient(cohort, "VL"), np.log(by_patient(cohort, "CD4"))
    year = [load[:, month : month + 12] for month in range(48)]
    change = cells[:, 12:] - cells[:, :48]
    viraemic = np.stack([(window > 5000).all(axis=1) for window in year], axis=1)
    started = np.stack([(w[:, 0] > 5000) & (w[:, 4:] < 1000).all(axis=1) for w in year], axis=1)
    assert min(viraemic.sum(), started.sum()) > 300
    assert change[viraemic].mean() < -0.05
    assert change[started].mean() > 0.3


def test_recovery_ends_at_a_plateau_of_the_patients_own(cohort):
    load, cells = by_patient(cohort, "VL"), np.log(by_patient(cohort, "CD4"))
    steady = (load[:, 12:] < 200).all(axis=1)
    early, late = cells[steady, 24:42].mean(axis=1), cells[steady, 42:].mean(axis=1)
    assert steady.sum() > 300
    assert abs((late - early).mean()) < 0.1
    assert np.corrcoef(early, late)[0, 1] > 0.9


def test_viral_load_and_cd4_move_oppositely_and_cd4_with_its_relative_count(cohort):
    load, cells, relative = (np.log(by_patient(cohort, name)) for name in ("VL", "CD4", "Rel CD4"))
    assert np.median(correlation(load, cells)) < -0.25
    assert np.median(correlation(cells, relative)) > 0.7
    # Trends alone: means of half years, which the monthly wander hardly touches.
    load, cells, relative = (x.reshape(len(x), 10, 6).mean(axis=2) for x in (load, cells, relative))
    assert np.median(correlation(load, cells)) < -0.35
    assert np.median(correlation(cells, relative)) > 0.8


def test_measured_flags_are_autocorrelated_and_bloods_are_taken_together(cohort):
    flags = {name: by_patient(cohort, name) for name in ("VL (M)", "CD4 (M)", "Drug (M)")}
    assert 0.5 < lag_one(flags["VL (M)"]) < 0.7
    assert 0.5 < lag_one(flags["CD4 (M)"]) < 0.7
    assert 0.85 < lag_one(flags["Drug (M)"]) < 0.95
    assert np.corrcoef(flags["VL (M)"].ravel(), flags["CD4 (M)"].ravel())[0, 1] > 0.4


# --- groups that fare worse, and policies -----------------------------------------------------------------------------

AFRICAN_WOMEN = {("Female", "African"): 4.0}


def suppressed(cohort):
    """Share of a patient's last 48 months below 200 copies/mL, by patient."""
    return cohort[cohort["Timestep"] >= 12].groupby("PatientID")["VL"].apply(lambda load: (load < 200).mean())


def of_group(cohort, gender, ethnic):
    first = cohort[cohort["Timestep"] == 0].set_index("PatientID")
    return (first["Gender"] == gender) & (first["Ethnic"] == ethnic)


def test_a_disparity_makes_one_group_fare_worse_and_leaves_the_others():
    fair, unfair = (simulate_cohort(4000, seed=1, disparity=disparity) for disparity in (None, AFRICAN_WOMEN))
    theirs, others = of_group(unfair, 2, 2), ~of_group(unfair, 2, 2)
    assert theirs.sum() == pytest.approx(240, abs=2)  # no group grows or shrinks
    assert abs(suppressed(fair)[theirs].mean() - suppressed(fair)[others].mean()) < 0.05
    assert suppressed(unfair)[theirs].mean() < suppressed(unfair)[others].mean() - 0.25
    assert suppressed(unfair)[others].mean() == pytest.approx(suppressed(fair)[others].mean(), abs=0.02)
    cells = unfair.groupby("PatientID")["CD4"].median()
    assert cells[theirs].median() < 0.8 * cells[others].median()


def test_nobody_worse_off_is_no_disparity():
    same = {("Male", "Asian"): 1.0}
    plain = simulate_cohort(60, seed=2)
    for disparity in (None, {}, same):
        pd.testing.assert_frame_equal(simulate_cohort(60, seed=2, disparity=disparity), plain, check_exact=True)


@pytest.mark.parametrize(
    ("disparity", "message"),
    [
        ({"Female": 2.0}, "no group 'Female'; there are"),
        ({("Female", "Martian"): 2.0}, "Martian"),
        ({("Female", "African"): 0}, r"disparity of \('Female', 'African'\) must lie between 0.01 and 100, not 0"),
        ({("Female", "African"): float("nan")}, "nan"),
    ],
)
def test_a_disparity_of_nobody_or_of_nonsense_is_an_error(disparity, message):
    with pytest.raises(ValueError, match=message):
        simulate_cohort(10, months=2, disparity=disparity)


def keep(rows):
    """A policy that changes nothing."""
    return regimen_of(rows)


def regimen_of(rows):
    numbers = truth()["regimens"].reset_index().set_index(REGIMEN)["index"]
    return numbers.loc[pd.MultiIndex.from_frame(rows[REGIMEN])].to_numpy()


def integrase(rows):
    """Everybody takes FTC + TDF with DTG from the second month on."""
    return np.full(len(rows), 2)


def test_a_policy_sees_each_month_and_decides_the_next_ones_regimens():
    seen = []

    def policy(rows):
        seen.append(rows)
        return (regimen_of(rows) + 1) % 50

    cohort = simulate_cohort(30, months=5, seed=3, policy=policy)
    assert [rows["Timestep"].unique().tolist() for rows in seen] == [[0], [1], [2], [3]]
    for month, rows in enumerate(seen):
        stored = cohort[cohort["Timestep"] == month].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            rows[stored.columns.drop(["VL (M)", "CD4 (M)", "Drug (M)"])],
            stored.drop(columns=["VL (M)", "CD4 (M)", "Drug (M)"]),
            check_exact=True,
        )
        following = cohort[cohort["Timestep"] == month + 1]
        assert (regimen_of(following) == (regimen_of(stored) + 1) % 50).all()


def test_policies_treat_the_same_patients_with_the_same_luck_and_differ_in_what_they_reach():
    kept, switched = (simulate_cohort(2000, months=24, seed=4, policy=policy) for policy in (keep, integrase))
    first, other = (
        cohort[cohort["Timestep"] == 0].drop(columns=["VL (M)", "CD4 (M)", "Drug (M)"]) for cohort in (kept, switched)
    )
    pd.testing.assert_frame_equal(first, other, check_exact=True)
    assert switches(kept).sum() == 0
    assert switches(switched)[:, 1:].sum() == 0 and 0.8 < switches(switched)[:, 0].mean() < 1
    low = [(by_patient(cohort, "VL")[:, 6] < 200).mean() for cohort in (kept, switched)]
    assert low[1] > low[0] + 0.05  # susceptible virus, counselled patients, faster drugs


@pytest.mark.parametrize("answer", [np.array([0]), np.full(10, 50), np.full(10, -1), np.full(10, "DTG"), None])
def test_a_policy_that_names_no_regimen_is_an_error(answer):
    with pytest.raises(ValueError, match=r"policy must return 10 row numbers of truth\(\)\['regimens'\], not "):
        simulate_cohort(10, months=2, policy=lambda rows: answer)


# --- the bundled file -----------------------------------------------------------------------------------------------


def bundled_cohort() -> pd.DataFrame:
    return simulate_cohort(1000, seed=75)


def test_the_bundled_file_is_regenerated_to_the_last_printed_digit():
    with gzip.open(BUNDLE, "rt", encoding="utf-8", newline="") as file:
        stored = file.read()
    drawn = bundled_cohort().to_csv(index=False, lineterminator="\n")
    if drawn != stored:  # say where, before failing
        pd.testing.assert_frame_equal(bundled_cohort(), pd.read_csv(io.StringIO(stored)), check_exact=True)
    assert drawn == stored


def test_the_bundled_file_is_small_and_carries_no_time_of_its_making():
    assert BUNDLE.stat().st_size < 4_000_000
    assert BUNDLE.read_bytes()[4:8] == bytes(4)


def test_the_bundled_patients_are_representative():
    bundled = bundled_cohort()
    assert bundled["PatientID"].nunique() == 1000
    for name, published in SHARES.items():
        shares = bundled[name].value_counts(normalize=True).reindex(ART_FULL[name].codes)
        assert shares.to_numpy() == pytest.approx(published, abs=0.012), name
    expected = truth()["joint"].groupby(DEMO)["share"].sum()
    months = bundled.groupby(DEMO).size().reindex(expected.index, fill_value=0) / len(bundled)
    assert len(bundled.groupby(["Gender", "Ethnic"])) == 8
    assert 24 <= (months >= 0.005).sum() <= 32
    assert 0.5 * np.abs(months - expected).sum() < 0.10
    assert 0.60 <= switches(bundled).any(axis=1).mean() <= 0.68
