"""Fidelity: do single columns, and pairs of columns, look as they do among real patients?

All of these pool patient-months; none of them sees a patient or the order of months. Compare synthetic patients with
real ones who were *not* used to make them (the holdout).

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("drug", "categorical", levels=("a", "b"))], patient="id", time="month", length=2)
>>> real = pd.DataFrame({"id": [1, 1, 2, 2], "month": [0, 1, 0, 1], "drug": list("aabb")})
>>> value, table = hg.metrics.tv(real, real.assign(drug=list("aaab")), schema)
>>> value, list(table["synthetic"])
(0.25, [0.75, 0.25])
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.arrays import CohortArrays, joint_groups
from .metric import Result, gap, mean_defined, metric, takes_tables, with_note


@metric(best=0.0)
def ks(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Kolmogorov-Smirnov statistic of each real feature: sup_x |F_real(x) - F_synthetic(x)|.

    Range 0 to 1, best 0. Invariant to any monotone transform, so viral load needs no logarithm.

    Returns:
        mean over features (NaN where there is no real feature); table: feature, value.

    Source: Massey 1951, J. Am. Stat. Assoc. 46; ``scipy.stats.ks_2samp``.
    """
    values = [
        stats.ks_2samp(real.reals[:, :, i].ravel(), synthetic.reals[:, :, i].ravel(), method="asymp").statistic
        for i in range(len(real.schema.real))
    ]
    return _per_real(real, values)


@metric(best=0.0, scaled=True)
def wasserstein(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Earth mover's distance of each real feature on the encoded scale: integral of |F_real - F_synthetic|.

    Range 0 to 1 (the encoded range of the training patients is the unit), best 0. Unlike :func:`ks` it says how far
    values are off, not only how many.

    Returns:
        mean over features (NaN where there is no real feature); table: feature, value.

    Source: Ramdas, García Trillos & Cuturi 2017, Entropy 19; ``scipy.stats.wasserstein_distance``.
    """
    values = [
        stats.wasserstein_distance(real.scaled[:, :, i].ravel(), synthetic.scaled[:, :, i].ravel())
        for i in range(len(real.schema.real))
    ]
    return _per_real(real, values)


@metric(best=0.0)
def tv(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Total variation of each discrete feature: half the sum over levels of |share_real - share_synthetic|.

    Range 0 to 1, best 0: the share of months that would have to change their level.

    Returns:
        mean over features (NaN where there is no discrete feature); table: feature, level, real and synthetic share of
        months, and the feature's value (the same on each of its rows).
    """
    rows, values = [], []
    for i, feature in enumerate(real.schema.discrete):
        shares = [
            np.bincount(c.levels[:, :, i].ravel(), minlength=feature.channels) / c.levels[:, :, i].size
            for c in (real, synthetic)
        ]
        values.append(0.5 * np.abs(shares[0] - shares[1]).sum())
        rows += [
            (feature.name, str(level), p, q, values[-1]) for level, p, q in zip(feature.levels, *shares, strict=True)
        ]
    table = pd.DataFrame(rows, columns=["feature", "level", "real", "synthetic", "value"])
    return mean_defined(values), with_note(table, "" if rows else "the schema has no binary or categorical feature")


# --- pairs of features ----------------------------------------------------------------------------------------------


@takes_tables(scaled=True)
def association_matrix(cohort: CohortArrays) -> pd.DataFrame:
    """Association of every pair of features over all patient-months, each by the measure that fits its kinds.

    Two reals: Pearson's r on the encoded scale (-1 to 1). A real and a discrete one: the correlation ratio
    sqrt(SS_between / SS_total) on the encoded scale (0 to 1; Fisher 1925). Two discrete ones: Cramér's V with bias
    correction (0 to 1; Bergsma 2013, J. Korean Stat. Soc. 42, 323-328). A pair with a feature that never varies is
    undefined: NaN. The diagonal is 1 (NaN for a feature that never varies).

    Returns:
        features x features.
    """
    columns, schema = {}, cohort.schema
    for feature in schema:
        source = cohort.scaled if feature.is_real else cohort.levels
        columns[feature.name] = source[:, :, cohort.position(feature.name)].ravel()
    out = pd.DataFrame(np.nan, index=schema.names, columns=schema.names)
    for name, column in columns.items():
        out.loc[name, name] = 1.0 if np.ptp(column) > 0 else np.nan
    for first, second in combinations(schema, 2):
        a, b = columns[first.name], columns[second.name]
        if first.is_real and second.is_real:
            value = _pearson(a, b)
        elif first.is_real != second.is_real:
            value = _correlation_ratio(*((a, b) if first.is_real else (b, a)))
        else:
            value = cramers_v(a, b)
        out.loc[first.name, second.name] = out.loc[second.name, first.name] = value
    return out


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def association_difference(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Mean absolute difference of the association matrices of :func:`association_matrix` over all pairs.

    Best 0, worst 2 (1 without pairs of reals). A pair defined in one cohort only counts as 1; a pair defined in
    neither is left out and stands as NaN in the table.

    Returns:
        mean difference (NaN where no pair is defined in either); table: first, second, real, synthetic, difference.
    """
    matrices = [association_matrix(c) for c in (real, synthetic)]
    rows = [(a, b, *(m.loc[a, b] for m in matrices)) for a, b in combinations(real.schema.names, 2)]
    return pair_differences(rows, "the schema has one feature only", "no pair of features varies in both columns")


@metric(best=1.0)
def contingency_similarity(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """One minus the total variation of the joint of two discrete features, averaged over all pairs of them.

    Range 0 to 1, best 1.

    Returns:
        mean over pairs (NaN where there are fewer than two discrete features); table: first, second, value.

    Source: as ``ContingencySimilarity`` of SDMetrics.
    """
    names = [f.name for f in real.schema.discrete]
    rows = []
    for i, j in combinations(range(len(names)), 2):
        codes, groups = joint_groups(*(c.levels[:, :, [i, j]].reshape(-1, 2) for c in (real, synthetic)))
        shares = [np.bincount(c, minlength=len(groups)) / len(c) for c in codes]
        rows.append((names[i], names[j], 1 - 0.5 * np.abs(shares[0] - shares[1]).sum()))
    table = pd.DataFrame(rows, columns=["first", "second", "value"])
    note = "" if rows else "there are fewer than two binary or categorical features"
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
        return float("nan")
    counts = np.bincount(a * c + b, minlength=r * c).reshape(r, c)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    phi2 = ((counts - expected) ** 2 / expected).sum() / n
    phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    narrow = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    # with as many levels as rows the correction leaves nothing to divide by: nothing can be said
    return float(min(1.0, np.sqrt(phi2 / narrow))) if narrow > 0 else float("nan")


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.pearsonr(a, b).statistic)


def _correlation_ratio(values: np.ndarray, levels: np.ndarray) -> float:
    total = ((values - values.mean()) ** 2).sum()
    counts = np.bincount(levels)
    if total == 0 or (counts > 0).sum() < 2:
        return float("nan")
    means = np.bincount(levels, weights=values) / np.maximum(counts, 1)
    return float(np.sqrt(min(1.0, (counts * (means - values.mean()) ** 2).sum() / total)))


# --- what the functions above and those of dynamics share -----------------------------------------------------------


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


def _per_real(cohort: CohortArrays, values: list[float]) -> Result:
    names = [f.name for f in cohort.schema.real]
    table = pd.DataFrame({"feature": names, "value": np.asarray(values, dtype=float)})
    return mean_defined(values), with_note(table, "" if names else "the schema has no real feature")
