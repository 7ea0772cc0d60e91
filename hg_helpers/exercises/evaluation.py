"""Exercises of notebooks 5 and 6: floors, distances, correlations, coverage, adversaries; and what the data are for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # noqa: F401 (mistakes of check_ks are written with it)

from .judging import UNFILLED, exercise
from .outcomes import Case
from .toy import TOYS
from .values import no_numbers, numbers


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
        return pd.DataFrame({"PatientID": np.repeat(ids, months), "Timestep": times, "VL": np.arange(len(times)) + 0.5})

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
        cases += [Case(label, (table.copy(), _metric(0.125 * (seed + 1)), patients, seed)) for seed in seeds]
    return cases


def _sets(case: Case, value: Any) -> tuple[list, list] | str:
    """The patients of both sets, or what is wrong with them."""
    cohort, metric, patients, _ = case.arguments
    if metric.given is None:
        return no_numbers(value) if isinstance(value, (Generator, Coroutine)) else check_floor.says["no call"]
    if not all(isinstance(part, pd.DataFrame) and set(part) == set(cohort) for part in metric.given):
        return check_floor.says["no tables"]
    one, two = (part["PatientID"].unique().tolist() for part in metric.given)
    rows, both = cohort["PatientID"].value_counts(), len(set(one) & set(two))
    cut = any(rows.reindex(n.index).ne(n).any() for n in (part["PatientID"].value_counts() for part in metric.given))
    got, sizes = numbers(value), {"first": len(one), "second": len(two), "patients": patients}
    wrong = {
        "rows": cut and both,
        "both": both,
        "cut": cut,
        "too few": len(set(sizes.values())) > 1 and len(one) + len(two) < 2 * patients,
        "number": len(set(sizes.values())) > 1,
        "new": not all(np.isin(part["VL"], cohort["VL"]).all() for part in metric.given),
        "other": got is None or got.size != 1 or abs(got.item() - metric.value) > 1e-9,
    }
    word = next(filter(wrong.get, wrong), None)  # the first that holds
    return check_floor.says[word].format(both=both, **sizes) if word else (one, two)


def _drawn(cases: list[Case], values: list) -> tuple[str, int] | None:
    found = [_sets(case, value) for case, value in zip(cases, values, strict=True)]
    if strange := [(sets, i) for i, sets in enumerate(found) if isinstance(sets, str)]:
        return strange[0]
    drawn = np.array([[np.isin(np.arange(12), part) for part in sets] for sets in found[-60:]])  # (60, 2, patients)
    wrong = {
        "one draw": (drawn[:, 0] == drawn[0, 0]).all(),
        "other chance": [set(part) for part in found[-62]] != [set(part) for part in found[-61]],
        "uneven": np.abs(drawn.mean(0) - 5 / 12).max() > 0.34,
    }
    word = next(filter(wrong.get, wrong), None)  # the first that holds
    return word and (check_floor.says[word], len(cases) - 1 - 60 * (word == "other chance"))


@exercise(_cohorts, examine=_drawn)
def check_floor(cohort: pd.DataFrame, metric: Callable, patients: int, seed: int) -> float:
    ids = np.random.default_rng(seed).permutation(cohort["PatientID"].unique())
    parts = ids[:patients], ids[patients : 2 * patients]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


_BOTH = "np.concatenate([first, second])"
_GRIDS = tuple(f"{_BOTH} -> np.linspace({_BOTH}.min(), {_BOTH}.max(), {n})" for n in (10, 20, 50, 100, 101, 200, 1000))


@exercise()
def check_ks(first, second):
    at = np.concatenate([first, second])
    gaps = (first[:, None] <= at).mean(0) - (second[:, None] <= at).mean(0)
    return abs(gaps).max()


@exercise()
def check_mean_correlation(r):
    z = np.arctanh(r[~np.isnan(r)])
    return np.tanh(z.mean())


@exercise()
def check_coverage(real_shares, synthetic_shares):
    counted = real_shares >= 0.005
    real, synthetic = real_shares[counted], synthetic_shares[counted]
    covered = synthetic >= 0.25 * real
    return covered.mean()


_WHO = {"A": "single mode", "B": "real", "C": "shuffled", "D": "copies"}


def suspects() -> pd.DataFrame:
    """Scores of four cohorts of 150 patients whose names are hidden, with the floor; input of `check_suspects`."""
    return pd.DataFrame(TOYS["suspects"])


def _unmasked(cases: list[Case], values: list) -> tuple[str, int] | None:
    answer, tells = values[0], check_suspects.says
    if not isinstance(answer, dict) or set(answer) != set(_WHO):
        return f"a dictionary with the keys {', '.join(_WHO)} is expected.", 0
    if any(value is None or value is ... for value in answer.values()):
        return UNFILLED, 0
    for letter, who in answer.items():
        if not isinstance(who, str) or who not in tells:
            return f"{letter}: {who!r:.60} is none of {', '.join(tells)}.", 0
    wrong = [letter for letter, who in _WHO.items() if answer[letter] != who]
    if not wrong:
        return None
    if wrong == ["B", "D"] and len(set(answer.values())) == len(_WHO):
        return "B and D are both at the floor in the first three rows; the last one tells who was copied.", 0
    said = f"one of each: {', '.join(tells)}" if len(set(answer.values())) < 4 else f"{4 - len(wrong)} of 4 are right"
    return f"{said}. Look at {wrong[0]} again: {tells[_WHO[wrong[0]]]}.", 0


@exercise(tuple, [()], examine=_unmasked, is_value=True)
def check_suspects():
    return dict(_WHO)


def _decisions(count: int, cells: int, states: int, discount: float, every: int = 1) -> tuple:
    draw = np.random.default_rng(count)
    cell = every * np.r_[: cells // every, draw.integers(0, cells // every, count - cells // every)]  # empty between
    reward, following = draw.normal(0.5, 1, count).round(2), draw.integers(0, states, count)
    return cell, reward, following, draw.normal(2, 1, states).round(2), discount, cells


@exercise(_decisions)
def check_sweep(cell, reward, following, best, discount, cells):
    target = reward + discount * best[following]
    return np.bincount(cell, target, cells) / np.bincount(cell, minlength=cells)


def _tried(states: int, actions: int, minimum: int) -> tuple[np.ndarray, np.ndarray, int]:
    draw = np.random.default_rng(states)
    return draw.normal(0, 2, (states, actions)).round(2), draw.integers(0, 3 * minimum, (states, actions)), minimum


@exercise()
def check_best_known(values, count, minimum):
    known = count >= minimum
    best = np.where(known, values, -np.inf).argmax(axis=1)
    return np.where(known.any(axis=1), best, -1)


def _followed(n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(n)
    return draw.integers(0, 12, n), draw.random(n) < 0.6


@exercise()
def check_kaplan_meier(months, reached):
    month = np.arange(months.max() + 1)[:, None]
    at_risk, events = (months >= month).sum(1), (reached & (months == month)).sum(1)
    return 1 - np.cumprod(1 - events / at_risk)


@exercise()
def check_gap(outcome, in_group):
    if in_group.all() or not in_group.any():
        return np.nan
    return float(outcome[~in_group].mean() - outcome[in_group].mean())
