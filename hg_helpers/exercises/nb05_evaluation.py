"""Exercises of notebook 5: floors, distances between distributions, correlations, coverage, adversaries."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.art import ART_DEMO
from ..cohort.simulate import simulate_cohort
from ..metrics import autocorrelation_difference, copies, coverage, ks
from .judging import UNFILLED, Case, Exercise, numbers

# --- the floor --------------------------------------------------------------------------------------------------------


class _Metric:
    """Stands for a metric: it remembers what it was given."""

    def __init__(self, value: float) -> None:
        self.value, self.given = value, None

    def __call__(self, first: Any, second: Any) -> float:
        self.given = first, second
        return self.value


def _cohorts() -> list[Case]:
    even = pd.DataFrame({"PatientID": np.repeat(np.arange(12), 4), "Timestep": np.tile(np.arange(4), 12)})
    ids = np.repeat([3, 5, 8, 21, 22, 40, 41, 77], [1, 2, 3, 4, 2, 5, 1, 2])
    mixed = pd.DataFrame({"PatientID": ids, "Timestep": np.r_[tuple(np.arange(n) for n in (1, 2, 3, 4, 2, 5, 1, 2))]})
    mixed = mixed.sample(frac=1, random_state=0, ignore_index=True)
    cases = []
    for label, table, patients, seeds in (
        ("other ids, rows in no order", mixed, 3, [0, 1]),
        ("all patients are needed", mixed, 4, [5]),
        ("one patient a set", even, 1, [2]),
        ("again", even, 5, [7, 7]),
        ("lottery", even, 5, range(60)),
    ):
        table["VL"] = np.arange(len(table)) + 0.5
        cases += [Case(label, (table.copy(), _Metric(0.125 * (seed + 1)), patients, seed)) for seed in seeds]
    return cases


def floor(cohort: pd.DataFrame, metric: Callable, patients: int, seed: int) -> float:
    ids = np.random.default_rng(seed).permutation(cohort["PatientID"].unique())
    parts = ids[:patients], ids[patients : 2 * patients]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


def _sets(case: Case, value: Any) -> tuple[list, list] | str:
    """The patients of both sets, or what is wrong with them."""
    cohort, metric, patients, _ = case.arguments
    if metric.given is None:
        return "`metric` was never called; it takes the two sets of rows and returns the floor."
    if not all(isinstance(part, pd.DataFrame) and set(part) == set(cohort) for part in metric.given):
        return "`metric` should get two tables, rows of `cohort` with all its columns."
    one, two = (part["PatientID"].unique().tolist() for part in metric.given)
    rows = cohort["PatientID"].value_counts()
    cut = any(rows.reindex(n.index).ne(n).any() for n in (part["PatientID"].value_counts() for part in metric.given))
    if cut and set(one) & set(two):
        return "rows were drawn, not patients: months of one person stand on both sides, who resembles themselves."
    if set(one) & set(two):
        return (
            f"{len(set(one) & set(two))} patients stand in both sets: people compared with themselves, floor too low."
        )
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
    found = [_sets(case, value) for case, value in zip(cases, values, strict=True)]
    for i, sets in enumerate(found):
        if isinstance(sets, str):
            return sets, i
    first = np.array([np.isin(np.arange(12), one) for one, _ in found[-60:]])
    second = np.array([np.isin(np.arange(12), two) for _, two in found[-60:]])
    if (first == first[0]).all():
        return "each seed gives the same patients: draw them with np.random.default_rng(seed).", len(cases) - 1
    if [set(part) for part in found[-62]] != [set(part) for part in found[-61]]:
        return "the same seed gives other patients: draw them with np.random.default_rng(seed) alone.", len(cases) - 61
    if max(np.abs(part.mean(0) - 5 / 12).max() for part in (first, second)) > 0.34:
        return "some patients come oftener into one set than others: shuffle all, then cut.", len(cases) - 1
    return None


check_floor = Exercise(
    floor,
    _cohorts,
    "two sets of whole, different patients: what real scores against real.",
    "metric(first, second) of two sets of patients.",
    examine=_drawn,
)

# --- KS ---------------------------------------------------------------------------------------------------------------


def _samples() -> list[Case]:
    random = np.random.default_rng(0)
    pairs = {
        "five each": ([1.0, 1.4, 2.0, 3.0, 4.6], [1.6, 1.8, 2.2, 2.4, 5.0]),
        "ties": ([3.0, 4, 5, 9], [1.0, 2, 2, 6, 7]),
        "two and three": ([1.0, 9], [2.0, 3, 4]),
        "one each": ([2.0], [5.0]),
        "the same values": ([3.0, 1, 2], [1.0, 2, 3]),
        "wholly above": ([7.0, 9, 8, 6], [1.0, 3, 2]),
        "close together and one far off": ([1.0, 1.01, 1.02, 1.03, 9000], [1.005, 1.015, 1.04, 1.05]),
        "many": (random.lognormal(3, 2, 200), random.lognormal(3.4, 2, 150)),
        "equal numbers": (random.normal(0, 1, 40).round(1), random.normal(0.3, 2, 40).round(1)),
    }
    return [Case(label, tuple(np.array(part) for part in pair)) for label, pair in pairs.items()]


def _shares(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    return (x[:, None] <= at).mean(0)


def _gap(a: np.ndarray, b: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
    at = np.concatenate([a, b]) if at is None else at
    return _shares(a, at) - _shares(b, at)


_SIGN = "the sign is in the way: a gap counts in either direction, so take abs first."
_GRID = "the gap was read on a grid; it can be widest between its points. Read it at all values of both."
check_ks = Exercise(
    lambda first, second: stats.ks_2samp(first, second).statistic,
    _samples,
    "the largest gap of the two step functions, wherever it lies.",
    "one number, the largest absolute gap between the two empirical distribution functions.",
    (
        (lambda a, b: _gap(a, b).max(), _SIGN),
        (lambda a, b: _gap(b, a).max(), _SIGN),
        (lambda a, b: np.abs(_gap(a, b)).mean(), "that is the mean gap; the statistic is the largest one."),
        (lambda a, b: np.abs(_gap(a, b)).sum(), "that is the sum of gaps; the statistic is the largest one."),
        (lambda a, b: np.abs(_gap(a, b)), "those are all gaps; return the largest."),
        (lambda a, b: np.abs(_gap(a, b, a)).max(), "the gap was read at the values of the first sample only."),
        (lambda a, b: np.abs(_gap(a, b, b)).max(), "the gap was read at the values of the second sample only."),
        *(
            (
                lambda a, b, n=n: np.abs(
                    _gap(a, b, np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), n))
                ).max(),
                _GRID,
            )
            for n in (10, 20, 50, 100, 101, 200, 1000)
        ),
        (
            lambda a, b: np.abs((a[:, None] <= np.r_[a, b]).sum(0) - (b[:, None] <= np.r_[a, b]).sum(0)).max(),
            "those are counts; divide each sample's by its own size to get shares.",
        ),
        (lambda a, b: np.abs(a.mean() - b.mean()), "that is the difference of the means."),
        (lambda a, b: np.abs(np.median(a) - np.median(b)), "that is the difference of the medians."),
        (lambda a, b: stats.ks_2samp(a, b).pvalue, "that is the p-value; the statistic is asked for."),
        (lambda a, b: stats.ks_2samp(a, b), "statistic and p-value come back; return the statistic alone."),
        (
            lambda a, b: stats.wasserstein_distance(a, b),
            "that is the area between the two; the largest gap is asked for.",
        ),
    ),
)

# --- the mean of correlations -----------------------------------------------------------------------------------------


def _correlations() -> list[Case]:
    rows = {
        "two": [0.9, -0.1],
        "one undefined": [0.8, np.nan, 0.2, -0.5],
        "one left": [0.3, np.nan],
        "all defined": [0.1, 0.95, -0.7],
        "negative": [-0.9, -0.2, np.nan, -0.99],
        "a true zero": [0.0, 0.9, np.nan, 0.0],
    }
    random = np.tanh(np.random.default_rng(0).normal(0.5, 1, 50))
    random[::7] = np.nan
    return [*(Case(label, (np.array(r),)) for label, r in rows.items()), Case("fifty", (random,))]


def _mean(of: Callable = np.nanmean, there: Callable = np.arctanh, back: Callable = np.tanh) -> Callable:
    return lambda r: back(of(there(r)))


_AS_ZERO = "undefined correlations were counted as 0. Undefined is not zero: leave them out, of the number too."
check_mean_correlation = Exercise(
    lambda r: np.tanh(np.nanmean(np.arctanh(r))),
    _correlations,
    "averaged where averaging is fair, and the undefined left out.",
    "one number: the mean of arctanh(r) over those that are defined, brought back by tanh.",
    (
        (np.nanmean, "that averages the correlations themselves; average arctanh(r), then tanh."),
        (np.mean, "NaN is not left out, and the correlations are averaged as they are: arctanh, mean, tanh."),
        (_mean(back=lambda z: z), "that is still on Fisher's scale, which has no bounds; go back with tanh."),
        (_mean(of=np.mean), "one undefined patient makes the whole mean undefined: leave NaN out first."),
        (lambda r: _mean()(np.nan_to_num(r)), _AS_ZERO),
        (_mean(np.nansum), "that is a sum; take the mean."),
        (_mean(np.nanmedian), "that is the median on Fisher's scale; take the mean."),
        (_mean(there=lambda r: r), "arctanh is missing before the mean."),
        (_mean(there=np.tanh, back=np.arctanh), "tanh and arctanh have changed places: first arctanh, back with tanh."),
        (lambda r: np.tanh(np.arctanh(r[~np.isnan(r)])), "the mean is missing: those are the correlations themselves."),
        (lambda r: _mean()(np.where(r == 0, np.nan, r)), "true zeros were left out; only NaN is undefined."),
    ),
)

# --- coverage ---------------------------------------------------------------------------------------------------------


def _groups() -> list[Case]:
    pairs = {
        "five groups": ([0.60, 0.30, 0.08, 0.017, 0.003], [0.80, 0.18, 0.02, 0.0, 0.0]),
        "four groups": ([0.50, 0.40, 0.06, 0.04], [0.95, 0.02, 0.02, 0.01]),
        "three groups": ([0.90, 0.096, 0.004], [0.20, 0.80, 0.0]),
        "exactly a quarter": ([0.5, 0.25, 0.25], [0.125, 0.0625, 0.8125]),
        "exactly 0.5 %": ([0.995, 0.005], [1.0, 0.0]),
        "one group": ([1.0], [1.0]),
        "far too many": ([0.4, 0.35, 0.246, 0.004], [0.0, 0.08, 0.9, 0.02]),
    }
    random = np.random.default_rng(0)
    pairs["forty groups"] = (random.dirichlet(np.full(40, 0.3)), random.dirichlet(np.full(40, 0.3)))
    pairs["in no order"] = (random.permutation([0.002, 0.298, 0.5, 0.2]), random.dirichlet(np.full(4, 0.5)))
    return [Case(label, tuple(np.array(part) for part in pair)) for label, pair in pairs.items()]


def _covered(
    enough: Callable = lambda r, s: s >= 0.25 * r,
    counted: Callable = lambda r, s: r >= 0.005,
    finish: Callable = lambda covered, r: covered.mean(),
) -> Callable:
    def covered(real_shares, synthetic_shares):
        kept = counted(real_shares, synthetic_shares)
        real, synthetic = real_shares[kept], synthetic_shares[kept]
        return finish(enough(real, synthetic), real)

    return covered


_RARE = "groups below 0.5 % of the real months were counted too; leave them out."
check_coverage = Exercise(
    _covered(),
    _groups,
    "every group counts once, however few people are in it.",
    "of the groups with a real share >= 0.005, the share whose synthetic share is >= 0.25 * the real one.",
    (
        (_covered(lambda r, s: s > 0), "anybody there was enough; a group needs a quarter of its real share."),
        (_covered(counted=lambda r, s: r >= 0), _RARE),
        (_covered(counted=lambda r, s: r > 0), _RARE),
        (_covered(lambda r, s: s > 0.25 * r), "a group at exactly a quarter is covered: >=, not >."),
        (_covered(counted=lambda r, s: r > 0.005), "a group at exactly 0.005 counts: >=, not >."),
        (
            _covered(counted=lambda r, s: s >= 0.005),
            "synthetic groups were selected; the real share decides who counts.",
        ),
        (_covered(counted=lambda r, s: r >= 0.05), "0.05 is 5 %; half a percent is 0.005."),
        (_covered(lambda r, s: s >= 0.25), "0.25 was taken as a share of months; it is 0.25 x real share."),
        (_covered(lambda r, s: r >= 0.25 * s), "real and synthetic are the wrong way round."),
        (_covered(lambda r, s: s <= 0.25 * r), "that is the share of groups that are lost; >=."),
        (
            _covered(lambda r, s: np.abs(s - r) <= 0.25 * r),
            "more than the real share is covered as well.",
        ),
        (_covered(finish=lambda c, r: c.sum()), "that is a number of groups; divide by how many count."),
        (_covered(finish=lambda c, r: c), "one answer a group; take the mean."),
        (_covered(finish=lambda c, r: (c * r).sum()), "groups were weighted by their share; each group counts once."),
        (lambda r, s: ((r >= 0.005) & (s >= 0.25 * r)).mean(), "divided by all groups; only those that count."),
        (lambda r, s: np.minimum(r, s).sum(), "that is the overlap of the two distributions."),
    ),
)

# --- who is who -------------------------------------------------------------------------------------------------------

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


check_suspects = Exercise(
    lambda: dict(_WHO),
    lambda: [Case("the four cohorts", ())],
    "no single row would have told you; four rows beside their floor did.",
    "a dictionary from A, B, C, D to names.",
    examine=_unmasked,
    is_value=True,
)
