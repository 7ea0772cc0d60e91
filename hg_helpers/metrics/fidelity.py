"""Fidelity: do single columns, and pairs of columns, look as they do among real patients?

All of these pool patient-months; none of them sees a patient or the order of months, and what is not measured is left
out. Compare synthetic patients with real ones who were *not* used to make them (the holdout).

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("drug", "categorical", levels=("a", "b"))], patient="id", time="month", length=2)
>>> real = pd.DataFrame({"id": [1, 1, 2, 2], "month": [0, 1, 0, 1], "drug": list("aabb")})
>>> value, table = hg.metrics.tv(real, real.assign(drug=list("aaab")), schema)
>>> value, list(table["synthetic"])
(0.25, [0.75, 0.25])
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.arrays import CohortArrays, joint_groups
from .metric import NAN, NO_DISCRETE, NO_REAL, Result, gap, mean_defined, metric, with_note

_NONE = "no value in one of the cohorts"


@metric(best=0.0)
def ks(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Kolmogorov-Smirnov statistic of each real feature: sup_x |F_real(x) - F_synthetic(x)|, and their mean.

    Invariant to any monotone transform, so viral load needs no logarithm. Source: Massey 1951, J. Am. Stat. Assoc. 46.
    """
    return _each_real(real, synthetic, False, lambda a, b: stats.ks_2samp(a, b, method="asymp").statistic)


@metric(best=0.0, scaled=True)
def wasserstein(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Earth mover's distance of each real feature on the encoded scale, integral of |F_real - F_synthetic|; the mean.

    The encoded range of the training patients is the unit. Unlike :func:`ks` it says how far values are off, not only
    how many. Source: Ramdas, García Trillos & Cuturi 2017, Entropy 19.
    """
    return _each_real(real, synthetic, True, stats.wasserstein_distance)


def _each_real(real: CohortArrays, synthetic: CohortArrays, scaled: bool, distance: Callable) -> Result:
    names, values = [f.name for f in real.schema.real], []
    for name in names:
        pair = [c.values(name, scaled)[c.known(name)] for c in (real, synthetic)]
        values.append(distance(*pair) if all(map(len, pair)) else NAN)
    table = pd.DataFrame({"feature": names, "value": np.asarray(values, dtype=float)})
    return mean_defined(values), with_note(table, NO_REAL if not names else _NONE * bool(np.isnan(values).any()))


@metric(best=0.0)
def tv(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Total variation of each discrete feature: half the sum over levels of |share_real - share_synthetic|.

    It is the share of months that would have to change their level. The value is the mean over features; in the table
    each stands on all rows of its feature.
    """
    parts = []
    for feature in real.schema.discrete:
        shares = [_level_shares(c, feature.name, feature.channels) for c in (real, synthetic)]
        part = pd.DataFrame({"level": map(str, feature.levels), "real": shares[0], "synthetic": shares[1]})
        part.insert(0, "feature", feature.name)
        parts.append(part.assign(value=0.5 * np.abs(shares[0] - shares[1]).sum()))
    if not parts:
        return NAN, with_note(pd.DataFrame(columns=["feature", "level", "real", "synthetic", "value"]), NO_DISCRETE)
    values = [part["value"].iloc[0] for part in parts]
    return mean_defined(values), with_note(pd.concat(parts, ignore_index=True), _NONE * bool(np.isnan(values).any()))


def _level_shares(cohort: CohortArrays, name: str, levels: int) -> np.ndarray:
    known = cohort.values(name)[cohort.known(name)]
    return np.bincount(known, minlength=levels) / len(known) if len(known) else np.full(levels, NAN)


# --- pairs of features ----------------------------------------------------------------------------------------------


@metric(scaled=True)
def association_matrix(cohort: CohortArrays) -> pd.DataFrame:
    """Association of every pair of features over the months in which both are known, by the measure that fits them.

    Two reals: Pearson's r on the encoded scale (-1 to 1). A real and a discrete one: the correlation ratio
    sqrt(SS_between / SS_total) on the encoded scale (0 to 1; Fisher 1925). Two discrete ones: Cramér's V with bias
    correction (0 to 1; Bergsma 2013, J. Korean Stat. Soc. 42, 323-328). The diagonal is 1. NaN where a feature never
    varies.
    """
    columns = {f.name: cohort.values(f.name, scaled=True).ravel() for f in cohort.schema}
    known = {f.name: cohort.known(f.name).ravel() for f in cohort.schema}
    out = pd.DataFrame(NAN, index=list(columns), columns=list(columns))
    for name, column in columns.items():
        out.loc[name, name] = 1.0 if _varies(column[known[name]]) else NAN
    for first, second in combinations(cohort.schema, 2):
        both = known[first.name] & known[second.name]
        a, b = columns[first.name][both], columns[second.name][both]
        if not _varies(a) or not _varies(b):
            continue
        if first.is_real and second.is_real:
            value = float(stats.pearsonr(a, b).statistic)
        elif first.is_real != second.is_real:
            value = _correlation_ratio(*((a, b) if first.is_real else (b, a)))
        else:
            value = cramers_v(a, b)
        out.loc[first.name, second.name] = out.loc[second.name, first.name] = value
    return out


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def association_difference(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Mean absolute difference of the association matrices of :func:`association_matrix` over all pairs.

    A pair defined in one cohort only counts as 1; a pair defined in neither is left out and stands as NaN in the table:
    first, second, real, synthetic, difference.
    """
    matrices = [association_matrix(c) for c in (real, synthetic)]
    rows = [(a, b, *(m.loc[a, b] for m in matrices)) for a, b in combinations(real.schema.names, 2)]
    return pair_differences(rows, "the schema has one feature only", "no pair of features varies in both columns")


@metric(best=1.0)
def contingency_similarity(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """One minus the total variation of the joint of two discrete features, averaged over all pairs of them.

    The table holds first, second, value. Source: as ``ContingencySimilarity`` of SDMetrics.
    """
    rows = []
    for pair in combinations([f.name for f in real.schema.discrete], 2):
        joint = [np.stack([c.values(name)[c.known(*pair)] for name in pair], axis=1) for c in (real, synthetic)]
        value = NAN
        if all(map(len, joint)):
            codes, groups = joint_groups(*joint)
            shares = [np.bincount(c, minlength=len(groups)) / len(c) for c in codes]
            value = 1 - 0.5 * np.abs(shares[0] - shares[1]).sum()
        rows.append((*pair, value))
    table = pd.DataFrame(rows, columns=["first", "second", "value"])
    note = _NONE * bool(table["value"].isna().any()) if rows else "there are fewer than two discrete features"
    return mean_defined(table["value"]), with_note(table, note)


def cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    """Cramér's V of two level columns with Bergsma's (2013) bias correction; NaN where one never varies.

    phi2+ = max(0, chi2/n - (r-1)(c-1)/(n-1)), r+ = r - (r-1)^2/(n-1), c+ likewise; V = sqrt(phi2+ / (min(r+, c+) - 1)).
    ``r`` and ``c`` count the levels that occur.
    """
    (a,), first = joint_groups(a.reshape(-1, 1))
    (b,), second = joint_groups(b.reshape(-1, 1))
    r, c, n = len(first), len(second), len(a)
    if min(r, c) < 2:
        return NAN
    counts = np.bincount(a * c + b, minlength=r * c).reshape(r, c)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    phi2 = ((counts - expected) ** 2 / expected).sum() / n
    phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    narrow = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    # with as many levels as rows the correction leaves nothing to divide by: nothing can be said
    return float(min(1.0, np.sqrt(phi2 / narrow))) if narrow > 0 else NAN


def _varies(column: np.ndarray) -> bool:
    return len(column) > 1 and np.ptp(column) > 0


def _correlation_ratio(values: np.ndarray, levels: np.ndarray) -> float:
    total = ((values - values.mean()) ** 2).sum()
    counts = np.bincount(levels)
    if total == 0:
        return NAN
    means = np.bincount(levels, weights=values) / np.maximum(counts, 1)
    return float(np.sqrt(min(1.0, (counts * (means - values.mean()) ** 2).sum() / total)))


def pair_differences(rows: list[tuple], without_pairs: str, undefined: str) -> Result:
    """Mean of :func:`gap` over pairs, with the reason of what is undefined in the table's note."""
    table = pd.DataFrame(rows, columns=["first", "second", "real", "synthetic"])
    table["difference"] = gap(table["real"], table["synthetic"])
    value, note = mean_defined(table["difference"]), ""
    lost = table["real"].isna() != table["synthetic"].isna()
    if not rows:
        note = without_pairs
    elif np.isnan(value):
        note = undefined
    elif lost.any():
        pairs = ", ".join(f"{a} x {b}" for a, b in table.loc[lost, ["first", "second"]].to_numpy()[:3])
        note = f"{int(lost.sum())} of {len(table)} pairs defined in one cohort only, counted as 1: {pairs}"
    return value, with_note(table, note)
