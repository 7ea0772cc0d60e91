"""Exercises of notebook 05: floors, distances between distributions, correlations, coverage, adversaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.art import ART_DEMO
from ..cohort.simulate import simulate_cohort
from ..metrics import autocorrelation_difference, copies, coverage, ks
from .common import same, unanswered, verdict

Case = tuple[np.ndarray, ...]
Mistakes = Iterable[tuple[Callable, str]]


def check_floor(answer: Any) -> bool:
    """A function (cohort, metric, patients, seed) that returns ``metric`` of two disjoint sets of real patients."""
    cohort = simulate_cohort(12, months=4, seed=3)[["VL", "PatientID", "Timestep"]]
    return verdict(
        _floor_problem(answer, cohort), "two sets of whole, different patients: what real scores against real."
    )


def _floor_problem(answer: Any, cohort: pd.DataFrame) -> str | None:
    sets = []

    def metric(first: Any, second: Any) -> float:
        sets.append((first, second))
        return 0.125

    firsts = []
    for seed in (0, 1, 2):
        sets.clear()
        value, problem = _call(answer, (cohort.copy(), metric, 5, seed))
        if problem:
            return problem
        if not sets:
            return "`metric` was never called; it takes the two sets of rows and returns the floor."
        if not all(isinstance(part, pd.DataFrame) and "PatientID" in part for part in sets[-1]):
            return "`metric` should get two tables, rows of `cohort` with all its columns."
        problem = _sets_problem(*sets[-1], cohort, 5)
        if problem:
            return problem
        if not same(value, 0.125):
            return "the sets are right, but what `metric` says of them is not what your function returns."
        firsts.append(frozenset(sets[-1][0]["PatientID"]))
    if len(set(firsts)) == 1:
        return "three different seeds gave the same patients: draw them with np.random.default_rng(seed)."
    return None


def _sets_problem(first: pd.DataFrame, second: pd.DataFrame, cohort: pd.DataFrame, patients: int) -> str | None:
    months = cohort.groupby("PatientID").size().iloc[0]
    shared = set(first["PatientID"]) & set(second["PatientID"])
    cut = [part for part in (first, second) if (part.groupby("PatientID").size() != months).any()]
    if shared and cut:
        return "rows were drawn, not patients: months of one person stand on both sides, and he resembles himself."
    if shared:
        return f"{len(shared)} patients stand in both sets: comparing people with themselves makes the floor too low."
    if cut:
        return "some patients have lost months: draw patients, and take all the rows of each."
    for part in (first, second):
        if part["PatientID"].nunique() != patients:
            return f"a set has {part['PatientID'].nunique()} patients, not {patients}: a floor belongs to one size."
    return None


def check_ks(answer: Any) -> bool:
    """A function (first, second) that returns the largest gap of two empirical distribution functions."""
    cases = [
        (np.array([1.0, 1.4, 2.0, 3.0, 4.6]), np.array([1.6, 1.8, 2.2, 2.4, 5.0])),
        (np.array([3.0, 4.0, 5.0, 9.0]), np.array([1.0, 2.0, 2.0, 6.0, 7.0])),
        (np.array([1.0, 9.0]), np.array([2.0, 3.0, 4.0])),
    ]

    def shares(x: np.ndarray, at: np.ndarray) -> np.ndarray:
        return (x[:, None] <= at).mean(axis=0)

    def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        at = np.concatenate([a, b])
        return shares(a, at) - shares(b, at)

    mistakes = [
        (lambda a, b: both(a, b).max(), "the sign is in the way: a gap counts in either direction, so take abs first."),
        (lambda a, b: both(b, a).max(), "the sign is in the way: a gap counts in either direction, so take abs first."),
        (lambda a, b: np.abs(both(a, b)).mean(), "that is the mean gap; the statistic is the largest one."),
        (
            lambda a, b: np.abs(shares(a, a) - shares(b, a)).max(),
            "the gap was read at the values of the first sample only; it can be widest at one of the second.",
        ),
        (
            lambda a, b: np.abs((a[:, None] <= np.r_[a, b]).sum(0) - (b[:, None] <= np.r_[a, b]).sum(0)).max(),
            "those are counts; divide each sample's by its own size to get shares.",
        ),
    ]
    expected = [stats.ks_2samp(*case).statistic for case in cases]
    return verdict(
        _function_problem(answer, cases, expected, mistakes),
        "the largest gap of the two step functions, wherever it lies.",
    )


def check_mean_correlation(answer: Any) -> bool:
    """A function (correlations with NaN) that returns their mean by Fisher's z, undefined ones left out."""
    cases = [(np.array([0.9, -0.1]),), (np.array([0.8, np.nan, 0.2, -0.5]),), (np.array([0.3, np.nan]),)]
    mistakes = [
        (lambda r: np.nanmean(r), "that averages the correlations themselves; average arctanh(r), then tanh."),
        (
            lambda r: np.nanmean(np.arctanh(r)),
            "that is still on Fisher's scale, which has no bounds; go back with tanh.",
        ),
        (
            lambda r: np.tanh(np.nan_to_num(np.arctanh(r)).mean()),
            "undefined correlations were counted as 0. Undefined is not zero: leave them out, of the number too.",
        ),
        (lambda r: np.nan_to_num(r).mean(), "undefined correlations were counted as 0, and Fisher's z is missing."),
        (
            lambda r: np.tanh(np.arctanh(r).mean()),
            "one undefined patient makes the whole mean undefined: leave NaN out first.",
        ),
    ]
    expected = [np.tanh(np.nanmean(np.arctanh(r))) for (r,) in cases]
    return verdict(
        _function_problem(answer, cases, expected, mistakes),
        "averaged where averaging is fair, and the undefined left out.",
    )


def check_coverage(answer: Any) -> bool:
    """A function (real shares, synthetic shares) that returns the share of covered groups."""
    cases = [
        (np.array([0.60, 0.30, 0.08, 0.017, 0.003]), np.array([0.80, 0.18, 0.02, 0.0, 0.0])),
        (np.array([0.50, 0.40, 0.06, 0.04]), np.array([0.95, 0.02, 0.02, 0.01])),
        (np.array([0.90, 0.096, 0.004]), np.array([0.20, 0.80, 0.0])),
    ]

    def counted(real: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return real[real >= 0.005], synthetic[real >= 0.005]

    def covered(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
        return synthetic >= 0.25 * real - 1e-12

    def package(real: np.ndarray, synthetic: np.ndarray) -> float:
        return float(covered(*counted(real, synthetic)).mean())

    mistakes = [
        (
            lambda r, s: (s[r >= 0.005] > 0).mean(),
            "anybody there was enough; a group needs a quarter of its real share.",
        ),
        (
            lambda r, s: (s >= 0.25 * r).mean(),
            "groups below 0.5 % of the real months were counted too; leave them out.",
        ),
        (lambda r, s: (s[r >= 0.005] >= 0.25).mean(), "0.25 was taken as a share of months; it is 0.25 x real share."),
        (
            lambda r, s: (r[r >= 0.005] * covered(*counted(r, s))).sum(),
            "groups were weighted by their share, so the rare ones hardly count; each group counts once.",
        ),
        (
            lambda r, s: (r[r >= 0.005] >= 0.25 * s[r >= 0.005]).mean(),
            "real and synthetic are the wrong way round: the synthetic share must reach a quarter of the real one.",
        ),
    ]
    return verdict(
        _function_problem(answer, cases, [package(*case) for case in cases], mistakes),
        "every group counts once, however few people are in it.",
    )


# --- who is who -----------------------------------------------------------------------------------------------------

_WHO = {"A": "single mode", "B": "real", "C": "shuffled", "D": "copies"}
_TELLS = {
    "single mode": "coverage_patient says how many groups are left; only one cohort has lost most of them",
    "real": "other real patients are at the floor in every row, near copies too",
    "shuffled": "autocorrelation_difference is the row that sees the order of months",
    "copies": "the row near_copies holds the cohort against the patients it was made from",
}


@lru_cache(maxsize=1)
def _suspects() -> pd.DataFrame:
    train, holdout, other = (simulate_cohort(150, months=60, seed=seed) for seed in (21, 22, 23))
    order = other.groupby("PatientID")["Timestep"].transform(np.random.default_rng(0).permutation)
    pool = simulate_cohort(400, seed=24)
    cohorts = {
        "single mode": pool[pool["PatientID"].isin(_commonest(pool)[:150])],
        "real": other,
        "shuffled": other.assign(Timestep=order),
        "copies": train,
        "floor": simulate_cohort(150, months=60, seed=25),
    }
    scores = {
        name: {
            "ks": ks(holdout, cohort, ART_DEMO)[0],
            "coverage_patient": coverage(holdout, cohort, ART_DEMO, ["Gender", "Ethnic"], "patient")[0],
            "autocorrelation_difference": autocorrelation_difference(holdout, cohort, ART_DEMO)[0],
            "near_copies": copies(train, cohort, ART_DEMO)[0],
        }
        for name, cohort in cohorts.items()
    }
    return pd.DataFrame({**{letter: scores[who] for letter, who in _WHO.items()}, "floor": scores["floor"]})


def _commonest(pool: pd.DataFrame) -> pd.Series:
    start = pool[pool["Timestep"] == 0]
    return start.loc[(start["Gender"] == 1) & (start["Ethnic"] == 4), "PatientID"]


def suspects() -> pd.DataFrame:
    """Scores of four cohorts of 150 patients whose names are hidden, with the floor; input of `check_suspects`."""
    return _suspects().copy()


def check_suspects(answer: Any) -> bool:
    """``{"A": ..., "B": ..., "C": ..., "D": ...}``: each one of "real", "shuffled", "copies", "single mode"."""
    return verdict(_suspects_problem(answer), "no single row would have told you; four rows beside their floor did.")


def _suspects_problem(answer: Any) -> str | None:
    if unanswered(answer):
        return unanswered(answer)
    if not isinstance(answer, dict) or set(answer) != set(_WHO):
        return f"a dictionary with the keys {', '.join(_WHO)} is expected."
    if any(value is None or value is Ellipsis for value in answer.values()):
        return unanswered(...)
    for letter, who in answer.items():
        if not isinstance(who, str) or who not in _TELLS:
            return f"{letter}: {who!r} is none of {', '.join(_TELLS)}."
    if (answer["B"], answer["D"]) == (_WHO["D"], _WHO["B"]):
        return "B and D are both at the floor in the first three rows; the last one tells who was copied."
    wrong = [letter for letter, who in _WHO.items() if answer[letter] != who]
    if wrong:
        return f"{len(_WHO) - len(wrong)} of 4 are right. Look at {wrong[0]} again: {_TELLS[_WHO[wrong[0]]]}."
    return None


# --- judging functions ----------------------------------------------------------------------------------------------


def _call(answer: Any, arguments: tuple) -> tuple[Any, str | None]:
    """What a learner's function returns, or what is wrong with it."""
    if unanswered(answer):
        return None, unanswered(answer)
    if not callable(answer):
        return None, f"a function is expected, not {type(answer).__name__}."
    try:
        value = answer(*arguments)
    except Exception as error:
        return None, f"your function stops with {type(error).__name__}: {error}"
    return value, unanswered(value)


def _function_problem(answer: Any, cases: list[Case], expected: list[float], mistakes: Mistakes) -> str | None:
    """None where all cases come out right; else the message of the known mistake whose values these are."""
    values = []
    for case in cases:
        value, problem = _call(answer, tuple(part.copy() for part in case))
        if problem:
            return problem
        values.append(value)
    if all(same(value, want) for value, want in zip(values, expected, strict=True)):
        return None
    for wrong, message in mistakes:
        if all(same(value, wrong(*case)) for value, case in zip(values, cases, strict=True)):
            return message
    for value, want, case in zip(values, expected, cases, strict=True):
        if not same(value, want):
            inputs = ", ".join(str(np.round(part, 3).tolist()) for part in case)
            return f"for {inputs} the answer is {want:.4f}, yours is {str(value)[:60]}."
    return None
