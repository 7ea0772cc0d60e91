"""Exercises of notebook 5: floors, distances between distributions, correlations, coverage, adversaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # noqa: F401 (mistakes of check_ks are written with it)

from ..cohort.art import ART_DEMO
from ..cohort.simulate import simulate_cohort
from ..metrics import autocorrelation_difference, copies, coverage, ks
from .cases import Case
from .judging import UNFILLED, exercise
from .values import numbers


def _metric(value: float) -> Callable:
    """Stands for a metric: it remembers what it was given."""

    def metric(first, second):
        metric.given = first, second
        return value

    metric.given, metric.value = None, value
    return metric


def _cohorts() -> list[Case]:
    def cohort(ids: list[int], months: list[int]) -> pd.DataFrame:
        times = np.concatenate([np.arange(n) for n in months])
        return pd.DataFrame({"PatientID": np.repeat(ids, months), "Timestep": times})

    even, mixed = cohort(range(12), [4] * 12), cohort([3, 5, 8, 21, 22, 40, 41, 77], [1, 2, 3, 4, 2, 5, 1, 2])
    mixed = mixed.sample(frac=1, random_state=0, ignore_index=True)
    cases = []
    for label, table, patients, seeds in (
        ("other ids, rows in no order", mixed, 3, [0, 1]),
        ("all patients are needed", mixed, 4, [5]),
        ("one patient a set", even, 1, [2]),
        ("again", even, 5, [7, 7]),
        ("lottery", even, 5, range(60)),
    ):
        table = table.assign(VL=np.arange(len(table)) + 0.5)
        cases += [Case(label, (table.copy(), _metric(0.125 * (seed + 1)), patients, seed)) for seed in seeds]
    return cases


def _sets(case: Case, value: Any) -> tuple[list, list] | str:
    """The patients of both sets, or what is wrong with them."""
    cohort, metric, patients, _ = case.arguments
    if metric.given is None:
        return "`metric` was never called; it takes the two sets of rows and returns the floor."
    if not all(isinstance(part, pd.DataFrame) and set(part) == set(cohort) for part in metric.given):
        return "`metric` should get two tables, rows of `cohort` with all its columns."
    one, two = (part["PatientID"].unique().tolist() for part in metric.given)
    rows, both = cohort["PatientID"].value_counts(), len(set(one) & set(two))
    cut = any(rows.reindex(n.index).ne(n).any() for n in (part["PatientID"].value_counts() for part in metric.given))
    if cut and both:
        return "rows were drawn, not patients: months of one person stand on both sides, who resembles themselves."
    if both:
        return f"{both} patients stand in both sets: people compared with themselves, floor too low."
    if cut:
        return "some patients have lost months: draw patients, and take all the rows of each."
    if {len(one), len(two)} != {patients}:
        short = "; take their ids from the cohort, each once" if len(one) + len(two) < 2 * patients else " each"
        return f"the sets have {len(one)} and {len(two)} patients, not {patients}{short}."
    if not all(np.isin(part["VL"], cohort["VL"]).all() for part in metric.given):
        return "there are rows that the cohort has not; take them as they are."
    got = numbers(value)
    if got is None or got.size != 1 or abs(got.item() - metric.value) > 1e-9:
        return "the sets are right, but what `metric` says of them is not what your function returns."
    return one, two


def _drawn(cases: list[Case], values: list) -> tuple[str, int] | None:
    found, last = [_sets(case, value) for case, value in zip(cases, values, strict=True)], len(cases) - 1
    for i, sets in enumerate(found):
        if isinstance(sets, str):
            return sets, i
    drawn = np.array([[np.isin(np.arange(12), part) for part in sets] for sets in found[-60:]])  # (60, 2, patients)
    if (drawn[:, 0] == drawn[0, 0]).all():
        return "each seed gives the same patients: draw them with np.random.default_rng(seed).", last
    if [set(part) for part in found[-62]] != [set(part) for part in found[-61]]:
        return "the same seed gives other patients: draw them with np.random.default_rng(seed) alone.", last - 60
    if np.abs(drawn.mean(0) - 5 / 12).max() > 0.34:
        return "some patients come oftener into one set than others: shuffle all, then cut.", last
    return None


@exercise(_cohorts, examine=_drawn)
def check_floor(cohort: pd.DataFrame, metric: Callable, patients: int, seed: int) -> float:
    ids = np.random.default_rng(seed).permutation(cohort["PatientID"].unique())
    parts = ids[:patients], ids[patients : 2 * patients]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


_BOTH = "np.concatenate([first, second])"
_GRIDS = tuple(f"{_BOTH} -> np.linspace({_BOTH}.min(), {_BOTH}.max(), {n})" for n in (10, 20, 50, 100, 101, 200, 1000))


@exercise(
    {
        "five each": ([1.0, 1.4, 2.0, 3.0, 4.6], [1.6, 1.8, 2.2, 2.4, 5.0]),
        "ties": ([3.0, 4, 5, 9], [1.0, 2, 2, 6, 7]),
        "two and three": ([1.0, 9], [2.0, 3, 4]),
        "one each": ([2.0], [5.0]),
        "the same values": ([3.0, 1, 2], [1.0, 2, 3]),
        "wholly above": ([7.0, 9, 8, 6], [1.0, 3, 2]),
        "close together and one far off": ([1.0, 1.01, 1.02, 1.03, 9000], [1.005, 1.015, 1.04, 1.05]),
        "many": tuple(np.random.default_rng(n).lognormal(5 - n / 100, 2, n) for n in (200, 150)),
        "equal numbers": tuple(np.random.default_rng(0).normal([[0], [0.3]], [[1], [2]], (2, 40)).round(1)),
    }
)
def check_ks(first, second):
    at = np.concatenate([first, second])
    gaps = (first[:, None] <= at).mean(0) - (second[:, None] <= at).mean(0)
    return abs(gaps).max()


_MANY = np.tanh(np.random.default_rng(0).normal(0.5, 1, 50))
_MANY[::7] = np.nan


@exercise(
    {
        "two": ([0.9, -0.1],),
        "one undefined": ([0.8, np.nan, 0.2, -0.5],),
        "one left": ([0.3, np.nan],),
        "all defined": ([0.1, 0.95, -0.7],),
        "negative": ([-0.9, -0.2, np.nan, -0.99],),
        "a true zero": ([0.0, 0.9, np.nan, 0.0],),
        "fifty": (_MANY,),
    }
)
def check_mean_correlation(r):
    z = np.arctanh(r[~np.isnan(r)])
    return np.tanh(z.mean())


_RANDOM = np.random.default_rng(0)


@exercise(
    {
        "five groups": ([0.60, 0.30, 0.08, 0.017, 0.003], [0.80, 0.18, 0.02, 0.0, 0.0]),
        "four groups": ([0.50, 0.40, 0.06, 0.04], [0.95, 0.02, 0.02, 0.01]),
        "three groups": ([0.90, 0.096, 0.004], [0.20, 0.80, 0.0]),
        "exactly a quarter": ([0.5, 0.25, 0.25], [0.125, 0.0625, 0.8125]),
        "exactly 0.5 %": ([0.995, 0.005], [1.0, 0.0]),
        "one group": ([1.0], [1.0]),
        "far too many": ([0.4, 0.35, 0.246, 0.004], [0.0, 0.08, 0.9, 0.02]),
        "forty groups": tuple(_RANDOM.dirichlet(np.full(40, 0.3), 2)),
        "in no order": (_RANDOM.permutation([0.002, 0.298, 0.5, 0.2]), _RANDOM.dirichlet(np.full(4, 0.5))),
    }
)
def check_coverage(real_shares, synthetic_shares):
    counted = real_shares >= 0.005
    real, synthetic = real_shares[counted], synthetic_shares[counted]
    covered = synthetic >= 0.25 * real
    return covered.mean()


_WHO = {"A": "single mode", "B": "real", "C": "shuffled", "D": "copies"}
_TELLS = {
    "single mode": "coverage_patient says how many groups are left; only one cohort has lost most of them",
    "real": "other real patients are at the floor in every row, near copies too",
    "shuffled": "autocorrelation_difference is the row that sees the order of months",
    "copies": "the row near_copies holds the cohort against the patients it was made from",
}


def suspects() -> pd.DataFrame:
    """Scores of four cohorts of 150 patients whose names are hidden, with the floor; input of `check_suspects`."""
    train, holdout, real = (simulate_cohort(150, seed=seed) for seed in (21, 22, 23))
    pool, floor = simulate_cohort(400, seed=24), simulate_cohort(150, seed=25)
    first = pool[(pool["Timestep"] == 0) & (pool["Gender"] == 1) & (pool["Ethnic"] == 4)]
    order = real.groupby("PatientID")["Timestep"].transform(np.random.default_rng(0).permutation)
    alike = pool[pool["PatientID"].isin(first["PatientID"][:150])]
    cohorts = {"A": alike, "B": real, "C": real.assign(Timestep=order), "D": train, "floor": floor}
    scores = {
        "ks": lambda cohort: ks(holdout, cohort, ART_DEMO),
        "coverage_patient": lambda cohort: coverage(holdout, cohort, ART_DEMO, ["Gender", "Ethnic"], "patient"),
        "autocorrelation_difference": lambda cohort: autocorrelation_difference(holdout, cohort, ART_DEMO),
        "near_copies": lambda cohort: copies(train, cohort, ART_DEMO),
    }
    return pd.DataFrame({who: {name: of(cohort)[0] for name, of in scores.items()} for who, cohort in cohorts.items()})


def _unmasked(cases: list[Case], values: list) -> tuple[str, int] | None:
    answer = values[0]
    if not isinstance(answer, dict) or set(answer) != set(_WHO):
        return f"a dictionary with the keys {', '.join(_WHO)} is expected.", 0
    if any(value is None or value is ... for value in answer.values()):
        return UNFILLED, 0
    for letter, who in answer.items():
        if not isinstance(who, str) or who not in _TELLS:
            return f"{letter}: {who!r:.60} is none of {', '.join(_TELLS)}.", 0
    wrong = [letter for letter, who in _WHO.items() if answer[letter] != who]
    if not wrong:
        return None
    if len(set(answer.values())) < len(_WHO):
        return f"one of each: {', '.join(_TELLS)}. Look at {wrong[0]} again: {_TELLS[_WHO[wrong[0]]]}.", 0
    if wrong == ["B", "D"]:
        return "B and D are both at the floor in the first three rows; the last one tells who was copied.", 0
    return f"{len(_WHO) - len(wrong)} of 4 are right. Look at {wrong[0]} again: {_TELLS[_WHO[wrong[0]]]}.", 0


@exercise(tuple, [()], examine=_unmasked, is_value=True)
def check_suspects():
    return dict(_WHO)
