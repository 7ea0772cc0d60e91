"""Dynamics: do patients move through their months as real patients do?

All of these look inside one patient at a time, so a cohort whose months are shuffled fails here while every marginal
of it is perfect. Months are counted as visits, whatever the time between them; a gap is neither a value nor a change.

>>> import pandas as pd, hg_helpers as hg
>>> drug = hg.Feature("drug", "categorical", levels=("a", "b"), role="regimen")
>>> schema = hg.Schema([drug], patient="id", time="month", length=4)
>>> real = pd.DataFrame({"id": 1, "month": range(4), "drug": list("aabb")})
>>> hg.metrics.switching_ratio(real, real.assign(drug=list("abab")), schema)[0]
3.0
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.arrays import CohortArrays
from ..cohort.schema import Schema
from .fidelity import pair_differences
from .metric import NAN, NO_REAL, Result, gap, mean_defined, metric, patient_means, undefined, with_note

#: A trend or cycle with a smaller standard deviation (encoded scale, range 1) is a constant with rounding on it.
_CONSTANT = 1e-7
_NO_SWITCH = "the schema has no binary or categorical feature that may change"


@metric(scaled=True)
def within_patient_correlation(
    cohort: CohortArrays, part: str = "trend", features: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Correlation of features' trends, or of their cycles, within patients, averaged by Fisher's z.

    Trend: a line fitted at every month to its neighbourhood, with Gaussian weights whose standard deviation is a tenth
    of the longest course (6 months of 60, at least 1); so it bends, has no bias at the ends, and leaves faster swings
    than about two years of five to the cycle, which is the rest. One straight line for all months would not do: the
    correlation of two straight lines is always +1 or -1. For each patient Pearson's r of two features' trends (cycles)
    over the months in which both are known, three at least; then tanh of the mean of atanh(r) over the patients where
    neither is constant. ``features`` may be real or binary (0 and 1, in level order); by default the real ones.

    Returns:
        features x features, -1 to 1, NaN where no patient's r is defined; and the number of patients behind each entry.
    """
    if part not in ("trend", "cycle"):
        raise ValueError(f"part {part!r} is not 'trend' or 'cycle'")
    chosen = cohort.schema.real if features is None else [cohort.schema[name] for name in features]
    names = [f.name for f in chosen]
    for feature in chosen:
        if feature.kind == "categorical":
            raise ValueError(f"feature {feature.name!r} is categorical: its levels have no order to correlate")
    matrix = pd.DataFrame(NAN, index=names, columns=names)
    counts = pd.DataFrame(0, index=names, columns=names)
    if cohort.months < 3:  # two points always lie on a line
        return matrix, counts
    signals = {}
    for name in names:
        values = np.where(cohort.known(name), cohort.values(name, scaled=True), NAN)
        trend = _trend(values)
        signals[name] = trend if part == "trend" else values - trend
    for i, first in enumerate(names):
        for second in names[i:]:
            r = _correlations(signals[first], signals[second])
            counts.loc[first, second] = counts.loc[second, first] = len(r)
            if len(r):
                # r = 1 exactly has no finite z; one such patient must not decide the mean
                mean = 1.0 if first == second else np.tanh(np.arctanh(r.clip(-0.9999, 0.9999)).mean())
                matrix.loc[first, second] = matrix.loc[second, first] = mean
    return matrix, counts


def _trend(values: np.ndarray) -> np.ndarray:
    """Local linear regression (Cleveland 1979) of each patient's values, (patients, months); NaN where they are."""
    known, out = ~np.isnan(values), np.full(values.shape, NAN)
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
    a, b = (np.where(both, x, NAN) for x in (a, b))
    a, b = (np.where(both, x - patient_means(x)[:, None], 0.0) for x in (a, b))
    lengths = np.sqrt([(x**2).sum(axis=1) for x in (a, b)])
    months = both.sum(axis=1)
    varies = (lengths > _CONSTANT * np.sqrt(months)).all(axis=0) & (months > 2)
    return (a * b).sum(axis=1)[varies] / lengths[:, varies].prod(axis=0)


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def trend_difference(real: CohortArrays, synthetic: CohortArrays, features: Sequence[str] | None = None) -> Result:
    """Mean absolute difference of trend correlations (:func:`within_patient_correlation`) over pairs of features.

    A pair defined in one cohort only counts as 1; one defined in neither is left out.

    Source: trends and cycles within patients as in Kuo et al. 2022, Sci. Data 9:693; averaging: Fisher 1921.
    """
    return _part_difference(real, synthetic, features, "trend")


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def cycle_difference(real: CohortArrays, synthetic: CohortArrays, features: Sequence[str] | None = None) -> Result:
    """Mean absolute difference of cycle correlations over pairs of features; all else as :func:`trend_difference`."""
    return _part_difference(real, synthetic, features, "cycle")


def _part_difference(real: CohortArrays, synthetic: CohortArrays, features: Sequence[str] | None, part: str) -> Result:
    found = [within_patient_correlation(c, part=part, features=features) for c in (real, synthetic)]
    pairs = list(combinations(found[0][0].index, 2))
    rows = [(a, b, *(matrix.loc[a, b] for matrix, _ in found)) for a, b in pairs]
    why = "within every patient, one feature of each pair is constant or known in fewer than 3 months"
    if real.months < 3:
        why = f"{real.months} months are too few: at least 3 are needed"
    value, table = pair_differences(rows, "there are fewer than two real features", why)
    for label, (_, counts) in zip(("real", "synthetic"), found, strict=True):
        table[f"{label} patients"] = [int(counts.loc[a, b]) for a, b in pairs]
    return value, table


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def autocorrelation_difference(real: CohortArrays, synthetic: CohortArrays, lags: int = 12) -> Result:
    """Mean over lags of the absolute difference of autocorrelations within patients, for each real feature.

    r_k = mean_p,t (x_t - m_p)(x_t+k - m_p) / mean_p,t (x_t - m_p)^2 on the encoded scale, pooled over patients with two
    values or more, with m_p a patient's own mean. Undefined in one cohort only counts as 1.
    """
    # as far as half of the real courses reach: the few long ones would decide by chance
    usual = max(2, int(np.median(real.there.sum(axis=1))))
    names, reach = [f.name for f in real.schema.real], min(lags, usual - 1, real.months - 1)
    rows = []
    for name in names:
        pair = [_autocorrelation(c.values(name, scaled=True), reach) for c in (real, synthetic)]
        rows += [(name, lag + 1, *r) for lag, r in enumerate(zip(*pair, strict=True))]
    table = pd.DataFrame(rows, columns=["feature", "lag", "real", "synthetic"])
    table["difference"] = gap(table["real"], table["synthetic"])
    value, note = mean_defined(table["difference"]), ""
    if np.isnan(value):
        note = "a single month has no lag" if reach < 1 else "no patient's values vary"
    return value, with_note(table, note if names else NO_REAL)


def _autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """(lags,) from values (patients, months)."""
    values = values[(~np.isnan(values)).sum(axis=1) > 1]
    deviation = values - patient_means(values)[:, None]
    variance = mean_defined(deviation**2)
    out = np.full(lags, NAN)
    if variance > _CONSTANT**2:
        for lag in range(1, lags + 1):
            out[lag - 1] = mean_defined(deviation[:, lag:] * deviation[:, :-lag]) / variance
    return out


# --- regimens and what cannot change --------------------------------------------------------------------------------


def switching_names(schema: Schema) -> list[list[str]]:
    """What may switch: the regimen (without one, all features that have levels and are not static), then each alone."""
    each = [f.name for f in schema.discrete if not f.static]
    together = [f.name for f in schema.regimen] or each
    return [together, *([name] for name in each if [name] != together)] if each else []


def switches(cohort: CohortArrays, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where the joint of these features differs from the visit before, and where both are known.

    Each (patients, months - 1); a transition from or to a gap is no switch.
    """
    known = cohort.known(*names)
    known = known[:, 1:] & known[:, :-1]
    return known & np.any([np.diff(cohort.values(name), axis=1) != 0 for name in names], axis=0), known


@metric(best=1.0, limits=(0.0, np.inf))
def switching_ratio(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Rate of switches, synthetic over real, of the regimen and of every discrete feature that is not static.

    A rate is the share of month-to-month transitions at which the feature, or the joint of several, changes. Best 1;
    6 means that synthetic patients flicker six times too often; 0 that none ever switches.

    Returns:
        ratio of the joint of the regimen features, in a schema without them of all discrete features that are not
        static (inf where only synthetic patients switch); table: that joint first, then each alone, with the rates and
        the shares of patients who ever switch.
    """
    rows = []
    for names in switching_names(real.schema) if real.months > 1 else []:
        rates, ever, reason = [], [], "no real patient switches"
        for cohort in (real, synthetic):
            changes, known = switches(cohort, names)
            rates.append(changes.sum() / known.sum() if known.any() else NAN)
            ever.append(changes.any(axis=1)[known.any(axis=1)].mean() if known.any() else NAN)
        value = rates[1] / rates[0] if rates[0] else np.inf if rates[1] > 0 else NAN
        if np.isnan(rates).any():
            value, reason = NAN, "no two visits in a row in one of the cohorts"
        rows.append((" x ".join(names), *rates, value, *ever, "" if rates[0] > 0 and value >= 0 else reason))
    columns = ["feature", "real", "synthetic", "value", "real switchers", "synthetic switchers", "note"]
    if not rows:
        return undefined(_NO_SWITCH if real.months > 1 else "a single month has no transitions", *columns)
    table = pd.DataFrame(rows, columns=columns)
    return float(table.loc[0, "value"]), with_note(table, table.loc[0, "note"])


@metric(best=0.0, limits=(0.0, np.inf))
def dwell_times(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Earth mover's distance, in months, between the lengths of real and synthetic stays on one regimen.

    A stay is a run of months on one combination of all regimen features (in a schema without them, of all discrete
    features that are not static), cut at a gap and at the first and the last month.
    """
    columns, months, shares = ["months", "real", "synthetic"], np.arange(1, real.months + 1), []
    if not switching_names(real.schema):
        return undefined(_NO_SWITCH, *columns)
    names = switching_names(real.schema)[0]
    for cohort in (real, synthetic):
        inside, (changes, known) = cohort.known(*names), switches(cohort, names)
        goes_on = np.pad(known & ~changes, [(0, 0), (1, 1)])  # from the month before, and into the next
        _, first = np.nonzero(inside & ~goes_on[:, :-1])
        _, last = np.nonzero(inside & ~goes_on[:, 1:])
        stays = last - first + 1
        if not len(stays):
            return undefined("no regimen is known in one of the cohorts", *columns)
        shares.append(np.bincount(stays, minlength=real.months + 1)[1:] / len(stays))
    table = pd.DataFrame(dict(zip(columns, (months, *shares), strict=True)))
    return float(stats.wasserstein_distance(months, months, *shares)), with_note(table)


@metric(best=1.0)
def static_constant(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Share of synthetic patients whose static features, all of them, never change; the table has each alone."""
    constant = [{f.name: _constant(c, f.name) for f in real.schema.static} for c in (real, synthetic)]
    rows = [(name, *(c[name].mean() for c in constant)) for name in constant[0]]
    table = pd.DataFrame(rows, columns=["feature", "real", "synthetic"])
    if not rows or real.months < 2:
        return NAN, with_note(table, "a single month cannot change" if rows else "the schema has no static feature")
    return float(np.all(list(constant[1].values()), axis=0).mean()), with_note(table)


def _constant(cohort: CohortArrays, name: str) -> np.ndarray:
    """Which patients have one value of this feature; a decoded real may differ by rounding."""
    values, known = cohort.values(name), cohort.known(name)
    highest, lowest = (f(np.where(known, values, sign), axis=1) for f, sign in ((np.max, -np.inf), (np.min, np.inf)))
    return ~known.any(axis=1) | (highest - lowest <= 1e-6 * np.maximum(np.abs(highest), np.abs(lowest)))
