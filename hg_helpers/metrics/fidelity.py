"""Fidelity: do single columns, and pairs of columns, look as they do among real patients? And visits, and gaps?

All but the visits pool patient-months that are measured; none sees a patient or the order of months.

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("drug", "categorical", levels=("a", "b"))], patient="id", time="month", length=2)
>>> real = pd.DataFrame({"id": [1, 1, 2, 2], "month": [0, 1, 0, 1], "drug": list("aabb")})
>>> hg.metrics.tv(real, real.assign(drug=list("aaab")), schema)[0]
0.25
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, combinations_with_replacement

import numpy as np
import pandas as pd
from scipy import sparse, stats

from ..runtime.checks import one_of
from .arrays import discrete_features, joint_groups, most_frequent_levels
from .metric import NO_LEVELS, NO_REAL, Cohort, Names, Result, averaged, gap, mean_defined, metric, noted, undefined

_NONE = "no value in one of the cohorts"


@metric(best=0.0)
def ks(real: Cohort, synthetic: Cohort) -> Result:
    """Kolmogorov-Smirnov statistic (Massey 1951) of each real feature: sup_x |F_real(x) - F_synthetic(x)|; the mean."""
    return _each_real(real, synthetic, False, lambda a, b: stats.ks_2samp(a, b, method="asymp").statistic)


@metric(best=0.0, scaled=True)
def wasserstein(real: Cohort, synthetic: Cohort) -> Result:
    """Earth mover's distance of each real feature on the encoded scale, integral of |F_real - F_synthetic|; the mean.

    The training patients' range is the unit. Unlike :func:`ks` it says how far values are off (Ramdas et al. 2017).
    """
    return _each_real(real, synthetic, True, stats.wasserstein_distance)


def _each_real(real: Cohort, synthetic: Cohort, scaled: bool, distance: Callable) -> Result:
    rows = []
    for feature in real.schema.real:
        pair = [c.values(feature.name, scaled)[c.known(feature.name)] for c in (real, synthetic)]
        rows.append((feature.name, distance(*pair) if all(map(len, pair)) else np.nan))
    return averaged(rows, ["feature", "value"], NO_REAL, _NONE, _NONE)


@metric(best=0.0)
def tv(real: Cohort, synthetic: Cohort) -> Result:
    """Total variation of each discrete feature: half the sum over levels of |share_real - share_synthetic|; the mean.

    It is the share of months that would have to change their level; in the table it stands on all rows of its feature.
    """
    rows = []
    for feature in real.schema.discrete:
        known = [c.values(feature.name)[c.known(feature.name)] for c in (real, synthetic)]
        shares = [np.bincount(k, minlength=feature.channels) / (len(k) or np.nan) for k in known]
        value = 0.5 * np.abs(shares[0] - shares[1]).sum()
        rows += [(feature.name, str(level), *pair, value) for level, *pair in zip(feature.levels, *shares, strict=True)]
    _, table = averaged(rows, ["feature", "level", "real", "synthetic", "value"], NO_LEVELS, _NONE, _NONE)
    return mean_defined(table.drop_duplicates("feature")["value"]), table


@metric(scaled=True)
def association_matrix(cohort: Cohort) -> pd.DataFrame:
    """Association of every pair of features over the months in which both are known, by the measure that fits them.

    Two reals: Pearson's r on the encoded scale (-1 to 1). A real and a discrete one: the correlation ratio
    sqrt(SS_between / SS_total) on the encoded scale (0 to 1; Fisher 1925). Two discrete ones: Cramér's V with bias
    correction (0 to 1; Bergsma 2013). The diagonal is 1. NaN where a feature never varies.
    """
    out = pd.DataFrame(np.nan, index=cohort.schema.names, columns=cohort.schema.names)
    for first, second in combinations_with_replacement(cohort.schema, 2):
        both = cohort.known(first.name, second.name)
        a, b = (cohort.values(f.name, scaled=True)[both] for f in (first, second))
        if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
            continue
        if first is second:
            value = 1.0
        elif first.is_real and second.is_real:
            value = stats.pearsonr(a, b).statistic
        elif first.is_real or second.is_real:
            values, levels = (a, b) if first.is_real else (b, a)
            means = pd.Series(values).groupby(levels).transform("mean")
            value = min(1.0, np.std(means) / np.std(values))
        else:
            value = cramers_v(a, b)
        out.loc[first.name, second.name] = out.loc[second.name, first.name] = value
    return out


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def association_difference(real: Cohort, synthetic: Cohort) -> Result:
    """Mean absolute difference of two :func:`association_matrix` over pairs; 1 where a pair is defined in one only."""
    matrices = [association_matrix(c) for c in (real, synthetic)]
    return pair_differences(*matrices, "the schema has one feature only", "no pair of features varies in both columns")


@metric(best=1.0)
def contingency_similarity(real: Cohort, synthetic: Cohort) -> Result:
    """One minus the total variation of two discrete features' joint, mean over pairs; as SDMetrics defines it."""
    pairs = combinations([f.name for f in real.schema.discrete], 2)
    rows = [(*pair, 1 - total_variation(joint_shares((real, synthetic), pair)[1])[0]) for pair in pairs]
    return averaged(rows, ["first", "second", "value"], "there are fewer than two discrete features", _NONE, _NONE)


def joint_shares(
    cohorts: Sequence[Cohort], names: Names, by: str = "month", weights: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Every joint group of these discrete features, (groups, features), and its shares of both cohorts.

    Shares are (replicates, groups), one or as many as ``weights`` (replicates, patients) have; NaN where none is known.
    """
    schema, rows, patients, shares = cohorts[0].schema, [], [], []
    positions = [schema.discrete.index(feature) for feature in discrete_features(schema, names)]
    by_month = one_of("by", by, "month", "patient") == "month"
    for cohort in cohorts:
        levels = (cohort.levels if by_month else most_frequent_levels(cohort)[:, None])[:, :, positions]
        known = (levels >= 0).all(axis=2)
        rows.append(levels[known])
        patients.append(np.nonzero(known)[0])
    codes, groups = joint_groups(*rows)
    for code, patient, weight in zip(codes, patients, weights or [np.ones((1, len(c))) for c in cohorts], strict=True):
        shape = (weight.shape[1], len(groups))  # sparse: a patient visits few of what may be thousands of groups
        counts = sparse.coo_matrix((np.ones(len(code)), (patient, code)), shape=shape).tocsr()
        total = weight @ np.bincount(patient, minlength=shape[0])
        shares.append((counts.T @ weight.T).T / np.where(total > 0, total, np.nan)[:, None])
    return groups, shares


def total_variation(shares: Sequence[np.ndarray]) -> np.ndarray:
    """Of shares (replicates, groups) of two cohorts, in every replicate; NaN where there is no group."""
    return 0.5 * np.abs(shares[0] - shares[1]).sum(axis=1) if shares[0].size else np.full(len(shares[0]), np.nan)


def cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    """Cramér's V of two columns of r and c levels with Bergsma's (2013) bias correction; NaN where one never varies.

    phi2+ = max(0, chi2/n - (r-1)(c-1)/(n-1)), r+ = r - (r-1)^2/(n-1), c+ likewise; V = sqrt(phi2+ / (min(r+, c+) - 1)).
    """
    counts = stats.contingency.crosstab(a, b).count
    (r, c), n = counts.shape, len(a)
    if min(r, c) < 2:
        return np.nan
    phi2 = stats.chi2_contingency(counts, correction=False).statistic / n
    phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    narrow = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    # with as many levels as rows the correction leaves nothing to divide by: nothing can be said
    return float(min(1.0, np.sqrt(phi2 / narrow))) if narrow > 0 else np.nan


def pair_differences(real: pd.DataFrame, synthetic: pd.DataFrame, without_pairs: str, undefined: str) -> Result:
    """Mean of :func:`gap` of two matrices over pairs, with the reason of what is undefined in the table's note."""
    pairs = [(pair, real.loc[pair], synthetic.loc[pair]) for pair in combinations(real.index, 2)]
    rows = [(*pair, *both, float(gap(*both))) for pair, *both in pairs]
    columns = ["first", "second", "real", "synthetic", "difference"]
    value, table = averaged(rows, columns, without_pairs, undefined, of="difference")
    lost = [f"{a} x {b}" for a, b, *both, _ in rows if np.isnan(both).sum() == 1]
    if lost:
        said = f"{len(lost)} of {len(table)} pairs defined in one cohort only, counted as 1: {', '.join(lost[:3])}"
        noted(table, said)
    return value, table


@metric(best=0.0, group="visits")
def length_ks(real: Cohort, synthetic: Cohort) -> Result:
    """Kolmogorov-Smirnov statistic of the courses' lengths; table: visits, real and synthetic share of patients."""
    lengths, visits = [c.there.sum(axis=1) for c in (real, synthetic)], np.arange(1, real.months + 1)
    shares = [(n[:, None] == visits).mean(axis=0) for n in lengths]
    table = pd.DataFrame({"visits": visits, "real": shares[0], "synthetic": shares[1]})
    return float(stats.ks_2samp(*lengths, method="asymp").statistic), noted(table)


@metric(best=0.0, group="visits")
def step_ks(real: Cohort, synthetic: Cohort) -> Result:
    """Kolmogorov-Smirnov statistic of the times between a visit and the next; table: quartiles of both."""
    columns, at = ["quantile", "real", "synthetic"], (0.25, 0.5, 0.75)
    if real.times is None:
        return undefined("the visits have no times of their own", *columns)
    steps = [np.diff(c.times, axis=1)[c.there[:, 1:]] for c in (real, synthetic)]
    if not all(map(len, steps)):
        return undefined("nobody has a second visit in one of the cohorts", *columns)
    table = pd.DataFrame(zip(at, *(np.quantile(s, at) for s in steps), strict=True), columns=columns)
    return float(stats.ks_2samp(*steps, method="asymp").statistic), noted(table)


@metric(best=0.0, group="visits")
def gap_shares(real: Cohort, synthetic: Cohort) -> Result:
    """Difference of the shares of visits at which a feature is not known; the largest over features."""
    names = real.schema.names
    shares = [[1 - c.known(name).sum() / c.there.sum() for name in names] for c in (real, synthetic)]
    table = pd.DataFrame({"feature": names, "real": shares[0], "synthetic": shares[1]})
    table["value"] = (table["real"] - table["synthetic"]).abs()
    return float(table["value"].max()), noted(table)


@metric(best=0.0, group="visits")
def gap_clustering(real: Cohort, synthetic: Cohort, fewest: int = 20) -> Result:
    """Difference of the shares of gaps that a gap follows at the next visit; mean over features.

    NaN where real patients have fewer than ``fewest`` gaps before their last visit; 1 where synthetic ones have none.
    """
    rows = []
    for name in real.schema.names:
        missing = [c.there & ~c.known(name) for c in (real, synthetic)]
        before = [m[:, :-1] & c.there[:, 1:] for m, c in zip(missing, (real, synthetic), strict=True)]
        shares = [(b & m[:, 1:]).sum() / (b.sum() or np.nan) for b, m in zip(before, missing, strict=True)]
        gaps = before[0].sum()
        few = f"real patients have {gaps} gaps before their last visit, fewer than {fewest}" if gaps < fewest else ""
        rows.append((name, *shares, np.nan if few else float(gap(*shares)), few))
    columns = ["feature", "real", "synthetic", "value", "note"]
    return averaged(rows, columns, "", f"no feature has {fewest} gaps before a last visit")


def gappy(*cohorts: Cohort) -> list[str]:
    return [f.name for f in cohorts[0].schema if any((c.there & ~c.known(f.name)).any() for c in cohorts)]
