"""Dynamics: do patients move through their months as real patients do?

All look inside one patient at a time, so a cohort whose months are shuffled fails here while its margins are perfect.
Months are counted as visits, whatever the time between them; a gap is neither a value nor a change.

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("drug", "categorical", levels=("a", "b"))], patient="id", time="month", length=4)
>>> real = pd.DataFrame({"id": 1, "month": range(4), "drug": list("aabb")})
>>> hg.metrics.switching_ratio(real, real.assign(drug=list("abab")), schema)[0]
3.0
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.schema import Schema
from .fidelity import pair_differences
from .metric import NO_REAL, Cohort, Names, Result, averaged, gap, mean_defined, metric, noted, patient_means, undefined

#: A trend or cycle with a smaller standard deviation (encoded scale, range 1) is a constant with rounding on it.
_CONSTANT = 1e-7
_NOBODY = "nobody switches, or no value is known before and after a switch"
_CONSTANTS, _NO_SWITCH = "no patient's values vary", "the schema has no binary or categorical feature that may change"


@metric(scaled=True)
def within_patient_correlation(cohort: Cohort, part: str = "trend", features: Names = None) -> tuple[pd.DataFrame, ...]:
    """Correlation of features' trends, or of their cycles, within patients, averaged by Fisher's z.

    Trend: a line fitted at every month to its neighbourhood (two straight lines would always correlate with +1 or -1),
    with Gaussian weights whose standard deviation is a tenth of the longest course (6 months of 60, at least 1). Cycle:
    the rest. For each patient Pearson's r of two features' trends (cycles) over three months or more in which both are
    known; then tanh of the mean of atanh(r) over patients where neither is constant. ``features`` may be real (the
    default) or binary. Returns features x features, and the patients behind it.
    """
    if part not in ("trend", "cycle"):
        raise ValueError(f"part {part!r} is not 'trend' or 'cycle'")
    names, signals = [f.name for f in cohort.schema.real] if features is None else list(features), {}
    for name in names:
        if cohort.schema[name].kind == "categorical":
            raise ValueError(f"feature {name!r} is categorical: its levels have no order to correlate")
        values = np.where(cohort.known(name), cohort.values(name, scaled=True), np.nan)
        trend = _trend(values)
        signals[name] = trend if part == "trend" else values - trend
    matrix, counts = (pd.DataFrame(empty, index=names, columns=names) for empty in (np.nan, 0))
    for first, second in combinations_with_replacement(names, 2):
        r = _correlations(signals[first], signals[second])
        counts.loc[first, second] = counts.loc[second, first] = len(r)
        if len(r):  # r = 1 exactly has no finite z; one such patient must not decide the mean
            mean = 1.0 if first == second else np.tanh(np.arctanh(r.clip(-0.9999, 0.9999)).mean())
            matrix.loc[first, second] = matrix.loc[second, first] = mean
    return matrix, counts


def _trend(values: np.ndarray) -> np.ndarray:
    """Local linear regression (Cleveland 1979) of each patient's values, (patients, months); NaN where they are."""
    known, out = ~np.isnan(values), np.full(values.shape, np.nan)
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.sum() < 3:
            continue
        patients, month = np.flatnonzero(which.ravel() == number), np.flatnonzero(pattern)
        steps = month - month[:, None]
        weight = np.exp(-0.5 * (steps / max(1.0, values.shape[1] / 10)) ** 2)
        s0, s1, s2 = (np.sum(weight * steps**power, axis=1, keepdims=True) for power in (0, 1, 2))
        lines = weight * (s2 - s1 * steps) / (s0 * s2 - s1**2)
        out[np.ix_(patients, month)] = values[np.ix_(patients, month)] @ lines.T
    return out


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's r of two signals (patients, months) within each patient in whom both vary."""
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = (np.where(both, x - patient_means(x, both)[:, None], 0.0) for x in (a, b))
    lengths, months = np.sqrt([(x**2).sum(axis=1) for x in (a, b)]), both.sum(axis=1)
    varies = (lengths > _CONSTANT * np.sqrt(months)).all(axis=0) & (months > 2)
    return (a * b).sum(axis=1)[varies] / lengths[:, varies].prod(axis=0)


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def trend_difference(real: Cohort, synthetic: Cohort, features: Names = None) -> Result:
    """Mean absolute difference of trend correlations (:func:`within_patient_correlation`) over pairs of features.

    A pair defined in one cohort only counts as 1, one in neither is left out. Trends and cycles as in Kuo et al. 2022.
    """
    return _part_difference(real, synthetic, features, "trend")


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def cycle_difference(real: Cohort, synthetic: Cohort, features: Names = None) -> Result:
    """Mean absolute difference of cycle correlations over pairs of features; all else as :func:`trend_difference`."""
    return _part_difference(real, synthetic, features, "cycle")


def _part_difference(real: Cohort, synthetic: Cohort, features: Names, part: str) -> Result:
    found = [within_patient_correlation(c, part=part, features=features) for c in (real, synthetic)]
    why = "within every patient, one feature of each pair is constant or known in fewer than 3 months"
    if real.months < 3:
        why = f"{real.months} months are too few: at least 3 are needed"
    value, table = pair_differences(*(matrix for matrix, _ in found), "there are fewer than two real features", why)
    for label, (_, counts) in zip(("real", "synthetic"), found, strict=True):
        table[f"{label} patients"] = [counts.loc[pair] for pair in combinations(counts.index, 2)]
    return value, table


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def autocorrelation_difference(real: Cohort, synthetic: Cohort, lags: int = 12) -> Result:
    """Mean over lags of the absolute difference of autocorrelations within patients, for each real feature.

    r_k = mean_p,t (x_t - m_p)(x_t+k - m_p) / mean_p,t (x_t - m_p)^2 on the encoded scale, pooled over patients with two
    values or more, with m_p a patient's own mean. Undefined in one cohort only counts as 1.
    """
    # as far as half of the real courses reach: the few long ones would decide by chance
    usual = max(2, int(np.median(real.there.sum(axis=1))))
    reach, rows = min(lags, usual - 1, real.months - 1), []
    for feature in real.schema.real:
        pair = [_autocorrelation(c.values(feature.name, scaled=True), reach) for c in (real, synthetic)]
        rows += [(feature.name, lag, *r) for lag, r in enumerate(zip(*pair, gap(*pair), strict=True), 1)]
    none = "a single month has no lag" if real.schema.real else NO_REAL
    return averaged(rows, ["feature", "lag", "real", "synthetic", "difference"], none, _CONSTANTS, of="difference")


def _autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:  # (lags,) from (patients, months)
    values = values[(~np.isnan(values)).sum(axis=1) > 1]
    deviation = values - patient_means(values)[:, None]
    variance = mean_defined(deviation**2)
    lagged = [mean_defined(deviation[:, lag:] * deviation[:, :-lag]) for lag in range(1, lags + 1)]
    return np.array(lagged) / (variance if variance > _CONSTANT**2 else np.nan)


def switching_names(schema: Schema) -> list[list[str]]:
    """What may switch: the regimen (without one, all features that have levels and are not static), then each alone."""
    each = [f.name for f in schema.discrete if not f.static]
    together = [f.name for f in schema.regimen] or each
    return [together, *([name] for name in each if [name] != together)] if each else []


def switches(cohort: Cohort, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where the joint of these features is another than before, and where both are known; (patients, months - 1)."""
    known = cohort.known(*names)
    known = known[:, 1:] & known[:, :-1]
    return known & np.any([np.diff(cohort.values(name), axis=1) != 0 for name in names], axis=0), known


@metric(best=1.0, limits=(0.0, np.inf))
def switching_ratio(real: Cohort, synthetic: Cohort) -> Result:
    """Rate of switches, synthetic over real, of the regimen (in a schema without one, of all that may change).

    The share of month-to-month transitions at which their joint changes: 6 means that synthetic patients flicker six
    times too often, inf that only they do. Table, joint and single features: rates, shares of those who ever switch.
    """
    rows = []
    for names in switching_names(real.schema) if real.months > 1 else []:
        value, note = np.nan, "no two visits in a row in one of the cohorts"
        pair = [switches(cohort, names) for cohort in (real, synthetic)]
        rates = [changes.sum() / (known.sum() or np.nan) for changes, known in pair]
        ever = [mean_defined(np.where(known.any(axis=1), changes.any(axis=1), np.nan)) for changes, known in pair]
        if rates[0] > 0 and rates[1] >= 0:
            value, note = rates[1] / rates[0], ""
        elif not np.isnan(rates).any():
            value, note = np.inf if rates[1] else np.nan, "no real patient switches"
        rows.append((" x ".join(names), *rates, value, *ever, note))
    columns = ["feature", "real", "synthetic", "value", "real switchers", "synthetic switchers", "note"]
    if not rows:
        return undefined(_NO_SWITCH if real.months > 1 else "a single month has no transitions", *columns)
    table = pd.DataFrame(rows, columns=columns)
    return float(table.loc[0, "value"]), noted(table, table.loc[0, "note"])


@metric(best=0.0, limits=(0.0, np.inf))
def dwell_times(real: Cohort, synthetic: Cohort) -> Result:
    """Earth mover's distance, in months, between the lengths of real and synthetic stays on one regimen.

    A stay, cut at a gap and at both ends, is a run of months on one combination, as in :func:`switching_ratio`.
    """
    columns, months, shares = ["months", "real", "synthetic"], np.arange(1, real.months + 1), []
    if not switching_names(real.schema):
        return undefined(_NO_SWITCH, *columns)
    names = switching_names(real.schema)[0]
    for cohort in (real, synthetic):
        inside, (changes, known) = cohort.known(*names), switches(cohort, names)
        begins = inside & ~np.pad(known & ~changes, [(0, 0), (1, 0)])
        stays = np.bincount(np.cumsum(begins)[inside.ravel()])[1:]  # numbered through, and counted
        if not len(stays):
            return undefined("no regimen is known in one of the cohorts", *columns)
        shares.append(np.bincount(stays, minlength=real.months + 1)[1:] / len(stays))
    table = pd.DataFrame(dict(zip(columns, (months, *shares), strict=True)))
    return float(stats.wasserstein_distance(months, months, *shares)), noted(table)


@metric(best=0.0, limits=(0.0, 4.0), scaled=True)
def switch_response(real: Cohort, synthetic: Cohort, months: int = 3) -> Result:
    """How far off it is what a switch brings: the mean over real features that may change, on the encoded scale.

    It brings the mean change of a value from the last visit before a switch of regimen to ``months`` visits later, less
    the same where nothing is switched. Who is switched is ill, so this is no effect of the drugs; but where nothing
    follows a switch, nobody can learn from the cohort when to make one. No switch in one cohort only counts as 1.
    """
    columns, rows = ["feature", "real", "synthetic", "difference"], []
    reach, names = min(months, real.months - 1), switching_names(real.schema)
    if not names or reach < 1:
        return undefined(_NO_SWITCH if reach else "a single month has no transitions", *columns)
    both = [(cohort, *switches(cohort, names[0])) for cohort in (real, synthetic)]
    for name in (f.name for f in real.schema.real if not f.static):
        brought = []
        for cohort, changes, known in both:
            values = cohort.values(name, scaled=True)
            later = values[:, reach:] - values[:, :-reach]
            switched, kept = (part[:, : later.shape[1]] for part in (changes, known & ~changes))
            brought.append(mean_defined(later[switched]) - mean_defined(later[kept]))
        rows.append((name, *brought, float(gap(*brought))))
    return averaged(rows, columns, "the schema has no real feature that may change", _NOBODY, of="difference")


@metric(best=1.0)
def static_constant(real: Cohort, synthetic: Cohort) -> Result:
    """Share of synthetic patients whose static features, all of them, never change; the table has each alone."""

    def constant(cohort: Cohort, name: str) -> pd.Series:  # or never known; a decoded real may differ by rounding
        values = pd.DataFrame(np.where(cohort.known(name), cohort.values(name), np.nan))
        lowest, highest = values.min(axis=1), values.max(axis=1)
        return ~(highest - lowest > 1e-6 * np.maximum(highest.abs(), lowest.abs()))

    static = [f.name for f in real.schema.static]
    kept = [pd.DataFrame({name: constant(c, name) for name in static}) for c in (real, synthetic)]
    table = pd.DataFrame({"feature": static, "real": kept[0].mean().to_numpy(), "synthetic": kept[1].mean().to_numpy()})
    if not static or real.months < 2:
        return np.nan, noted(table, "a single month cannot change" if static else "the schema has no static feature")
    return float(kept[1].all(axis=1).mean()), noted(table)
