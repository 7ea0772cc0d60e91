"""The report as a whole: its contract, its floors, cohorts made to fail one part of it, and degenerate input."""

import functools
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, categorical, real, schema_of, table

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.load import load_cohort, split_patients
from hg_helpers.cohort.schema import Schema
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import BEST, METRICS, evaluate, fidelity

SCHEMA = replace(ART_DEMO, length=24)
JOINT = "Gender x Ethnic x Base Drug Combo x Extra PI x Extra pk-En"
REGIMEN = "Base Drug Combo x Extra PI x Extra pk-En"
FIDELITY = ("ks", "wasserstein", "tv", "association_difference", "contingency_similarity")

#: The rows that any table has.
EVERYWHERE = [name for name in BEST if METRICS[name].group != "visits"]
#: How far a real cohort of this size may be from the floor: three to four standard deviations over seeds.
TOLERANCE = {
    "ks": 0.09,
    "wasserstein": 0.05,
    "tv": 0.05,
    "association_difference": 0.05,
    "contingency_similarity": 0.04,
    "coverage_month": 0.25,
    "coverage_patient": 0.25,
    "joint_tv": 0.1,
    "log_cluster": 1.6,
    "prdc_density": 0.2,
    "prdc_coverage": 0.07,
    "patient_spread": 0.2,
    "trend_difference": 0.15,
    "cycle_difference": 0.06,
    "autocorrelation_difference": 0.08,
    "switching_ratio": 0.5,
    "dwell_times": 1.5,
    "switch_response": 0.2,
    "static_constant": 0.0,
    "dcr_share": 0.1,
    "nndr": 0.04,
    "copies": 0.06,
    "membership_auc": 0.1,
    "disclosure_risk": 0.01,
    "tstr_auc": 0.2,
    "trtr_auc": 0.0,
    "c2st_auc": 0.16,
    "c2st_other_auc": 0.16,
}


@pytest.fixture(scope="module")
def cohorts() -> dict[str, pd.DataFrame]:
    real_ = simulate_cohort(400, months=24, seed=11)
    train, holdout = split_patients(real_, 0.25, seed=0)
    honest = simulate_cohort(300, months=24, seed=12)
    rng = np.random.default_rng(0)
    shuffled = honest.iloc[np.lexsort((rng.random(len(honest)), honest["PatientID"]))].reset_index(drop=True)
    shuffled["Timestep"] = honest["Timestep"]
    one = honest[honest["PatientID"] == 7]
    single = pd.concat([one.assign(PatientID=i) for i in range(300)])
    return {"train": train, "holdout": holdout, "honest": honest, "shuffled": shuffled, "copy": train, "single": single}


@pytest.fixture(scope="module")
def reports(cohorts) -> dict[str, pd.DataFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        real_, once = (cohorts["train"], cohorts["holdout"]), {"draws": 1, "bootstrap": 0}
        found = {"honest": evaluate(*real_, cohorts["honest"], SCHEMA, draws=2, bootstrap=100)}
        return found | {
            what: evaluate(*real_, cohorts[what], SCHEMA, **once) for what in ("shuffled", "copy", "single")
        }


def excess(report: pd.DataFrame, *metrics: str) -> pd.Series:
    """Distance of each row from its floor in tolerances."""
    rows = report[report["metric"].isin(metrics)]
    allowed = rows["metric"].map(TOLERANCE)
    return ((rows["value"] - rows["floor"]).abs() / allowed).set_axis(rows["metric"] + " " + rows["feature"])


def one(report: pd.DataFrame, metric: str, feature: str = "all") -> pd.Series:
    rows = report[(report["metric"] == metric) & (report["feature"] == feature)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_report_keeps_its_contract(reports):
    report = reports["honest"]
    assert list(report.columns)[:5] == ["metric", "feature", "value", "floor", "best"]
    assert list(report["metric"].unique()) == EVERYWHERE == list(TOLERANCE)
    assert not report.duplicated(["metric", "feature"]).any()
    assert set(report.loc[report["metric"] == "tv", "feature"]) == {f.name for f in SCHEMA.discrete}
    assert set(report.loc[report["metric"] == "ks", "feature"]) == {"VL", "CD4"}
    assert set(report.loc[report["metric"] == "joint_tv", "feature"]) == {JOINT, "Gender x Ethnic"}
    assert set(report.loc[report["metric"] == "tstr_auc", "feature"]) == {"VL", REGIMEN}
    assert report[["value", "floor", "best"]].notna().all(axis=None)
    assert (report["best"] == report["metric"].map(BEST)).all()
    assert one(report, "tstr_auc", "VL")["note"] == "VL below 1000 copies/mL next month"


def test_real_against_real_scores_at_the_floor_in_every_metric(reports):
    apart = excess(reports["honest"], *[m for m in TOLERANCE if TOLERANCE[m] > 0])
    assert apart.max() <= 1, apart[apart > 1]
    assert one(reports["honest"], "static_constant", "Gender x Ethnic")["value"] == 1


def test_shuffled_months_fail_dynamics_and_pass_margins(reports):
    report = reports["shuffled"]
    assert excess(report, *FIDELITY, "coverage_month", "joint_tv", "patient_spread").max() <= 1
    assert excess(report, "autocorrelation_difference").min() > 2
    assert excess(report, "cycle_difference").min() > 1
    assert one(report, "switching_ratio", REGIMEN)["value"] > 5
    assert one(report, "c2st_auc")["value"] > 0.95


def test_copies_fail_privacy_and_pass_fidelity(reports):
    report = reports["copy"]
    assert excess(report, *FIDELITY, "coverage_month", "joint_tv", "patient_spread", "trend_difference").max() <= 1
    assert one(report, "copies")["value"] == 1
    assert one(report, "membership_auc")["value"] == 1
    assert one(report, "nndr")["value"] == 0
    # a third of the training patients, as many as are held out, contain a copy's original one time in three
    assert one(report, "dcr_share")["value"] == pytest.approx(1 / 3 + 2 / 3 * 0.5, abs=0.08)
    for metric in ("dcr_share", "nndr", "copies", "membership_auc"):
        assert excess(report, metric).iloc[0] > 1, metric


def test_a_single_mode_fails_diversity(reports):
    report = reports["single"]
    for by in ("coverage_month", "coverage_patient"):
        assert one(report, by, JOINT)["value"] < 0.1
        assert one(report, by, "Gender x Ethnic")["value"] < 0.2
    assert one(report, "joint_tv", JOINT)["value"] > 0.8
    assert one(report, "prdc_coverage")["value"] < 0.1
    assert report.loc[report["metric"] == "patient_spread", "value"].max() < 1e-6
    assert one(report, "log_cluster")["value"] > one(report, "log_cluster")["floor"] + 2
    assert one(report, "c2st_auc")["value"] > 0.95


def test_intervals_hold_the_value_and_stand_at_the_headline_numbers(reports):
    report = reports["honest"]
    with_interval = report.dropna(subset=["low"])
    headlines = {"ks", "tv", "coverage_month", "coverage_patient", "joint_tv", "dcr_share", "membership_auc"}
    assert set(with_interval["metric"]) == headlines | {"tstr_auc", "trtr_auc"}
    assert (with_interval["low"] <= with_interval["value"]).all()
    assert (with_interval["value"] <= with_interval["high"]).all()
    assert ((with_interval["high"] - with_interval["low"]) < 0.35).all()
    ks_low, ks_high = one(report, "ks", "VL")[["low", "high"]]
    assert ks_high - ks_low > 0.02


def test_row_order_and_ids_play_no_part_and_the_seed_does(cohorts):
    def shown(report: pd.DataFrame) -> pd.DataFrame:
        return report.drop(columns="note")

    few = {name: cohorts[name][cohorts[name]["PatientID"] < 120] for name in ("train", "holdout", "honest")}
    turned = {
        name: c.assign(PatientID=[f"p{7919 * i % 1000}" for i in c["PatientID"]]).sample(frac=1, random_state=1)
        for name, c in few.items()
    }
    options = {"schema": SCHEMA, "draws": 1, "bootstrap": 20}
    report = evaluate(*few.values(), **options)
    pd.testing.assert_frame_equal(report, evaluate(*turned.values(), **options))
    assert not shown(report).equals(shown(evaluate(*few.values(), **options, seed=1)))


def test_value_and_floor_meet_the_same_holdout_with_equal_numbers_in_several_draws(cohorts, monkeypatch):
    met = []
    honest_ks = fidelity.ks

    @functools.wraps(honest_ks)
    def noted(*pair):
        met.append(pair[:2])
        return honest_ks(*pair)

    monkeypatch.setattr(fidelity, "ks", noted)
    few = {name: cohorts[name][cohorts[name]["PatientID"] < 50] for name in ("train", "holdout", "honest")}
    evaluate(*few.values(), SCHEMA, draws=2, bootstrap=0)
    held = few["holdout"]["PatientID"].nunique()
    assert [len(holdout) for holdout, _ in met] == [held] * 4
    assert {len(chosen) for _, chosen in met} == {round(0.8 * few["train"]["PatientID"].nunique())}
    people = [set(chosen.patients) for _, chosen in met]  # synthetic, training, synthetic, training
    assert people[0] != people[2]
    assert people[1] != people[3]
    assert people[1] | people[3] <= set(few["train"]["PatientID"])
    assert not people[1] & set(few["holdout"]["PatientID"])


def test_joints_and_quasi_identifiers_can_be_named(cohorts):
    few = [cohorts[name][cohorts[name]["PatientID"] < 60] for name in ("train", "holdout", "honest")]
    asked = {"joints": [["Ethnic", "Extra PI"]], "quasi_identifiers": ["Gender"], "population": 10_000}
    report = evaluate(*few, SCHEMA, draws=1, bootstrap=0, **asked)
    assert report.loc[report["metric"] == "joint_tv", "feature"].tolist() == ["Ethnic x Extra PI"]
    assert one(report, "disclosure_risk", "Gender")["value"] == pytest.approx(2 / 10_000)  # two classes found
    assert report["low"].isna().all()
    with pytest.raises(ValueError, match="'VL' is real"):
        evaluate(*few, SCHEMA, joints=[["VL"]])
    with pytest.raises(ValueError, match="draws must be a whole number of at least 1"):
        evaluate(*few, SCHEMA, draws=0)


def test_errors_name_the_table_and_leaks_are_said(cohorts, caplog):
    few = {name: cohorts[name][cohorts[name]["PatientID"] < 30] for name in ("train", "holdout", "honest")}
    with pytest.raises(ValueError, match=r"synthetic table: .*Ethnic"):
        evaluate(few["train"], few["holdout"], few["honest"].drop(columns="Ethnic"), SCHEMA)
    with pytest.raises(ValueError, match=r"holdout table: .*Gender"):
        evaluate(few["train"], few["holdout"].assign(Gender=3), few["honest"], SCHEMA)
    with caplog.at_level(logging.WARNING, logger="hg_helpers"):
        evaluate(few["train"], few["train"], few["honest"], SCHEMA, draws=1, bootstrap=0)
    assert "also those of training patients" in caplog.text


def test_what_is_said_of_a_table_is_said_once_with_its_name(cohorts, caplog):
    few = {name: cohorts[name][cohorts[name]["PatientID"] < 30] for name in ("train", "holdout", "honest")}
    first = few["honest"]["Timestep"] == 0
    few["honest"] = few["honest"].assign(Gender=np.where(first, 1, 2))
    with caplog.at_level(logging.WARNING, logger="hg_helpers"):
        evaluate(*few.values(), SCHEMA, draws=1, bootstrap=0)
        evaluate(*few.values(), SCHEMA, draws=1, bootstrap=0)
    said = [m for m in caplog.messages if "Gender" in m]
    assert len(said) == 2  # once a call
    assert all(m.startswith("synthetic table: static feature 'Gender' changes") for m in said)


# --- degenerate input -----------------------------------------------------------------------------------------------

N, Y = "no", "yes"
FULL = schema_of(
    real("x", role="outcome"), real("y"), binary("sex", static=True), categorical("drug", role="regimen"), months=8
)


def random_cohort(schema: Schema, patients: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = []
    for feature in schema:
        shape = (patients, 1 if feature.static else schema.length)
        values = (
            rng.random(shape) if feature.is_real else np.array(feature.levels)[rng.integers(0, feature.channels, shape)]
        )
        columns.append(np.broadcast_to(values, (patients, schema.length)))
    return table(schema, *columns)


def constant(cohort: pd.DataFrame) -> pd.DataFrame:
    """Everybody as the first patient in his first month."""
    return cohort.assign(**{name: cohort[name].iloc[0] for name in cohort.columns[2:]})


def degenerate() -> dict[str, tuple[Schema, list[pd.DataFrame]]]:
    def three(schema: Schema, *sizes: int) -> list[pd.DataFrame]:
        return [random_cohort(schema, n, seed) for seed, n in enumerate(sizes or (24, 12, 24))]

    normal = three(FULL)
    cases = {
        "no reals": schema_of(binary("sex", static=True), categorical("drug", role="regimen"), months=8),
        "no discretes": schema_of(real("x", role="outcome"), real("y"), months=8),
        "one real": schema_of(real("x"), months=8),
        "one binary": schema_of(binary("p"), months=8),
        "no static, no regimen": schema_of(real("x", role="outcome"), binary("p"), months=8),
        "one month": replace(FULL, length=1),
        "two months": replace(FULL, length=2),
        "six months": replace(FULL, length=6),
    }
    out = {name: (schema, three(schema)) for name, schema in cases.items()}
    out["single patients"] = FULL, three(FULL, 1, 1, 1)
    out["two patients"] = FULL, three(FULL, 2, 2, 2)
    out["one synthetic patient"] = FULL, three(FULL, 24, 12, 1)
    out["one held-out patient"] = FULL, three(FULL, 24, 1, 24)
    out["more held out than trained"] = FULL, three(FULL, 6, 24, 30)
    out["everything constant"] = FULL, [constant(c) for c in normal]
    out["a collapsed generator"] = FULL, [*normal[:2], constant(normal[2])]
    out["constant real patients"] = FULL, [constant(normal[0]), constant(normal[1]), normal[2]]
    return out


@pytest.mark.parametrize("case", degenerate())
def test_degenerate_input_gives_a_value_or_nan_with_a_reason(case):
    schema, tables = degenerate()[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # several draws where a draw may be of one patient
        report = evaluate(*tables, schema, draws=2 if "patient" in case else 1, bootstrap=20)
    assert list(report["metric"].unique()) == EVERYWHERE
    undefined = report["value"].isna()
    assert (report.loc[undefined, "note"] != "").all(), report[undefined]
    assert (report.loc[report["floor"].isna() & ~undefined, "note"] != "").all()
    infinite = report.loc[np.isinf(report["value"]), "metric"]
    assert set(infinite) <= {"log_cluster", "switching_ratio"}


def test_a_collapsed_generator_is_never_flattered():
    train, holdout, other = (random_cohort(FULL, n, seed) for seed, n in enumerate((80, 60, 80)))
    report = evaluate(train, holdout, constant(other), FULL, draws=1, bootstrap=0).set_index("metric")
    worse = (report["value"] - report["best"]).abs() > (report["floor"] - report["best"]).abs()
    for metric in ("ks", "wasserstein", "tv", "association_difference", "contingency_similarity", "joint_tv"):
        assert worse[[metric]].all(), metric
    for metric in ("coverage_month", "coverage_patient", "patient_spread", "trend_difference", "cycle_difference"):
        assert worse[[metric]].all(), metric
    assert report.loc["log_cluster", "value"] > report.loc["log_cluster", "floor"]
    assert report.loc["prdc_coverage", "value"] < report.loc["prdc_coverage", "floor"]
    assert (report.loc[["autocorrelation_difference"], "value"] == 1).all()
    assert report.loc["switching_ratio", "value"] == 0
    assert report.loc["c2st_auc", "value"] > 0.9
    assert report.loc[["tstr_auc"], "value"].max() <= 0.5


PBCSEQ = Path("/work/shared/data/pbcseq.csv")


@pytest.mark.skipif(not PBCSEQ.is_file(), reason="the real table is not here")
def test_a_real_table_of_six_visits():
    schema = Schema.from_yaml(Path(__file__).parents[1] / "data" / "pbcseq.yaml")
    schema = replace(schema, length=6, shorter="drop", missing="forward")
    first, second = split_patients(load_cohort(PBCSEQ, schema), 0.5, seed=1, schema=schema)
    train, holdout = split_patients(first, 0.3, seed=0, schema=schema)
    report = evaluate(train, holdout, second, schema, draws=1, bootstrap=20)
    assert list(report["metric"].unique()) == [name for name in BEST if name in EVERYWHERE or name == "step_ks"]
    undefined = report[report["value"].isna()]
    # the schema names no outcome and no regimen
    assert set(undefined["metric"]) == {"tstr_auc", "trtr_auc"}
    assert undefined["note"].str.contains("role").all()
    for metric, allowed in {"ks": 0.2, "tv": 0.2, "patient_spread": 0.6, "trend_difference": 0.3}.items():
        rows = report[report["metric"] == metric]
        assert ((rows["value"] - rows["floor"]).abs() < allowed).all(), metric
