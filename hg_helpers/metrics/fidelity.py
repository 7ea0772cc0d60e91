"""Fidelity: do single columns, and pairs of columns, look as they do among real patients?

All of these pool patient-months; none of them sees a patient or the order of months. Compare synthetic patients with
real ones who were *not* used to make them (the holdout).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.arrays import Trajectories, gap, joint_groups, mean_defined, prepare, trajectories, with_note
from ..cohort.encoding import CohortEncoder
from ..cohort.schema import Schema

Cohort = pd.DataFrame | Trajectories


def ks(real: Cohort, synthetic: Cohort, schema: Schema) -> tuple[float, pd.DataFrame]:
    """Kolmogorov-Smirnov statistic of each real feature: sup_x |F_real(x) - F_synthetic(x)|.

    Range 0 to 1, best 0. Invariant to any monotone transform, so viral load needs no logarithm.

    Returns:
        mean over features (NaN where there is no real feature); table: feature, value.

    Source: Massey 1951, J. Am. Stat. Assoc. 46; ``scipy.stats.ks_2samp``.
    """
    real, synthetic = trajectories(real, schema), trajectories(synthetic, schema)
    values = [
        stats.ks_2samp(real.reals[:, :, i].ravel(), synthetic.reals[:, :, i].ravel(), method="asymp").statistic
        for i in range(len(schema.real))
    ]
    return _per_feature([f.name for f in schema.real], values, "the schema has no real feature")


def wasserstein(
    real: Cohort, synthetic: Cohort, schema: Schema, encoder: CohortEncoder | None = None
) -> tuple[float, pd.DataFrame]:
    """Earth mover's distance of each real feature on the encoded scale: integral of |F_real - F_synthetic|.

    Range 0 to 1 (the encoded range of the training patients is the unit), best 0. Unlike :func:`ks` it says how far
    values are off, not only how many.

    Args:
        encoder: a fitted encoder that sets the scale; by default one is fitted on ``real``.

    Returns:
        mean over features (NaN where there is no real feature); table: feature, value.

    Source: Ramdas, García Trillos & Cuturi 2017, Entropy 19; ``scipy.stats.wasserstein_distance``.
    """
    real, synthetic = prepare(schema, encoder, real, synthetic)
    values = [
        stats.wasserstein_distance(real.scaled[:, :, i].ravel(), synthetic.scaled[:, :, i].ravel())
        for i in range(len(schema.real))
    ]
    return _per_feature([f.name for f in schema.real], values, "the schema has no real feature")


def tv(real: Cohort, synthetic: Cohort, schema: Schema) -> tuple[float, pd.DataFrame]:
    """Total variation of each discrete feature: half the sum over levels of |share_real - share_synthetic|.

    Range 0 to 1, best 0: the share of months that would have to change their level.

    Returns:
        mean over features (NaN where there is no discrete feature); table: feature, level, real and synthetic share of
        months, and the feature's value (the same on each of its rows).
    """
    real, synthetic = trajectories(real, schema), trajectories(synthetic, schema)
    rows, values = [], []
    for i, feature in enumerate(schema.discrete):
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


def association_matrix(cohort: Cohort, schema: Schema, encoder: CohortEncoder | None = None) -> pd.DataFrame:
    """Association of every pair of features over all patient-months, each by the measure that fits its kinds.

    Two reals: Pearson's r on the encoded scale (-1 to 1). A real and a discrete one: the correlation ratio
    sqrt(SS_between / SS_total) on the encoded scale (0 to 1; Fisher 1925). Two discrete ones: Cramér's V with bias
    correction (0 to 1; Bergsma 2013, J. Korean Stat. Soc. 42, 323-328). A pair with a feature that never varies is
    undefined: NaN. The diagonal is 1 (NaN for a feature that never varies).

    Args:
        encoder: a fitted encoder that sets the scale of reals; by default one is fitted on ``cohort``.

    Returns:
        features x features.
    """
    (cohort,) = prepare(schema, encoder, cohort)
    columns = {}
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


def association_difference(
    real: Cohort, synthetic: Cohort, schema: Schema, encoder: CohortEncoder | None = None
) -> tuple[float, pd.DataFrame]:
    """Mean absolute difference of the association matrices of :func:`association_matrix` over all pairs.

    Best 0, worst 2 (1 without pairs of reals). A pair defined in one cohort only counts as 1; a pair defined in
    neither is left out and stands as NaN in the table.

    Returns:
        mean difference (NaN where no pair is defined in either); table: first, second, real, synthetic, difference.
    """
    real, synthetic = prepare(schema, encoder, real, synthetic)
    matrices = [association_matrix(c, schema) for c in (real, synthetic)]
    rows = [(a, b, *(m.loc[a, b] for m in matrices)) for a, b in combinations(schema.names, 2)]
    return pair_differences(rows, "the schema has one feature only", "no pair of features varies in both columns")


def contingency_similarity(real: Cohort, synthetic: Cohort, schema: Schema) -> tuple[float, pd.DataFrame]:
    """One minus the total variation of the joint of two discrete features, averaged over all pairs of them.

    Range 0 to 1, best 1.

    Returns:
        mean over pairs (NaN where there are fewer than two discrete features); table: first, second, value.

    Source: as ``ContingencySimilarity`` of SDMetrics.
    """
    real, synthetic = trajectories(real, schema), trajectories(synthetic, schema)
    names = [f.name for f in schema.discrete]
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


def pair_differences(rows: list[tuple], without_pairs: str, undefined: str) -> tuple[float, pd.DataFrame]:
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


def _per_feature(names: list[str], values: list[float], none: str) -> tuple[float, pd.DataFrame]:
    table = pd.DataFrame({"feature": names, "value": np.asarray(values, dtype=float)})
    return mean_defined(values), with_note(table, "" if names else none)
