"""Dynamics: do patients move through their months as real patients do?

All of these look inside one patient at a time, so a cohort whose months are shuffled fails here while every marginal
of it is perfect.

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
from .metric import Result, gap, mean_defined, metric, takes_tables, with_note

#: A trend or cycle with a smaller standard deviation (encoded scale, range 1) is a constant with rounding on it.
_CONSTANT = 1e-7
_NO_SWITCH = "the schema has no binary or categorical feature that may change"


@takes_tables(scaled=True)
def within_patient_correlation(
    cohort: CohortArrays, part: str = "trend", features: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Correlation of features' trends, or of their cycles, within patients, averaged by Fisher's z.

    Trend: a line fitted at every month to its neighbourhood, with Gaussian weights whose standard deviation is a tenth
    of the schema's length (6 months of 60, at least 1); so it bends, has no bias at the ends, and leaves faster swings
    than about two years of five to the cycle, which is the rest. One straight line for all months would not do: the
    correlation of two straight lines is always +1 or -1. For each patient Pearson's r of two features' trends (cycles);
    then tanh of the mean of atanh(r) over the patients where neither is constant.

    Args:
        part: ``"trend"`` or ``"cycle"``.
        features: real or binary features (binary as 0 and 1, in level order); by default the real ones.

    Returns:
        features x features, -1 to 1, NaN where no patient's r is defined; and the number of patients behind each entry.

    Raises:
        ValueError: for another ``part``, or a categorical feature.
    """
    if part not in ("trend", "cycle"):
        raise ValueError(f"part {part!r} is not 'trend' or 'cycle'")
    schema = cohort.schema
    chosen = schema.real if features is None else [schema[name] for name in features]
    names = [f.name for f in chosen]
    for feature in chosen:
        if feature.kind == "categorical":
            raise ValueError(f"feature {feature.name!r} is categorical: its levels have no order to correlate")
    matrix = pd.DataFrame(np.nan, index=names, columns=names)
    counts = pd.DataFrame(0, index=names, columns=names)
    months = cohort.months
    if not names or months < 3:  # two points always lie on a line
        return matrix, counts
    sources = [cohort.scaled if f.is_real else cohort.levels for f in chosen]
    values = np.stack([s[:, :, cohort.position(f.name)] for s, f in zip(sources, chosen, strict=True)], axis=2)
    trend = np.einsum("ts,psf->ptf", _local_lines(months), values.astype(float), optimize=True)
    signal = trend if part == "trend" else values - trend
    signal = signal - signal.mean(axis=1, keepdims=True)  # (patients, months, features)
    length = np.sqrt((signal**2).sum(axis=1))  # (patients, features)
    varies = length > _CONSTANT * np.sqrt(months)
    for i, j in combinations(range(len(names)), 2):
        defined = varies[:, i] & varies[:, j]
        counts.iloc[i, j] = counts.iloc[j, i] = int(defined.sum())
        if defined.any():
            product = (signal[defined, :, i] * signal[defined, :, j]).sum(axis=1)
            r = product / (length[defined, i] * length[defined, j])
            # r = 1 exactly has no finite z; one such patient must not decide the mean
            mean = np.tanh(np.arctanh(r.clip(-0.9999, 0.9999)).mean())
            matrix.iloc[i, j] = matrix.iloc[j, i] = mean
    for i, name in enumerate(names):
        counts.loc[name, name] = int(varies[:, i].sum())
        matrix.loc[name, name] = 1.0 if varies[:, i].any() else np.nan
    return matrix, counts


def _local_lines(months: int) -> np.ndarray:
    """Matrix that turns a course into its trend, (months, months): local linear regression (Cleveland 1979)."""
    steps = np.arange(months) - np.arange(months)[:, None]
    weight = np.exp(-0.5 * (steps / max(1.0, months / 10)) ** 2)
    s0, s1, s2 = (np.sum(weight * steps**power, axis=1, keepdims=True) for power in (0, 1, 2))
    return weight * (s2 - s1 * steps) / (s0 * s2 - s1**2)


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def trend_difference(real: CohortArrays, synthetic: CohortArrays, features: Sequence[str] | None = None) -> Result:
    """Mean absolute difference of trend correlations (:func:`within_patient_correlation`) over pairs of features.

    Range 0 to 2, best 0. A pair defined in one cohort only counts as 1; one defined in neither is left out.

    Returns:
        value (NaN with a note where no pair is defined); table: first, second, real, synthetic, difference, and the
        patients behind each correlation.

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
    few_months = f"{real.months} months are too few: at least 3 are needed"
    undefined = few_months if real.months < 3 else "within every patient, one feature of each pair is constant"
    value, table = pair_differences(rows, "there are fewer than two real features", undefined)
    for label, (_, counts) in zip(("real", "synthetic"), found, strict=True):
        table[f"{label} patients"] = [int(counts.loc[a, b]) for a, b in pairs]
    return value, table


@metric(best=0.0, limits=(0.0, 2.0), scaled=True)
def autocorrelation_difference(real: CohortArrays, synthetic: CohortArrays, lags: int = 12) -> Result:
    """Mean over lags of the absolute difference of autocorrelations within patients, for each real feature.

    r_k = mean_p,t (x_t - m_p)(x_t+k - m_p) / mean_p,t (x_t - m_p)^2 on the encoded scale, pooled over patients, with
    m_p a patient's own mean. Range 0 to about 2, best 0. Undefined in one cohort only counts as 1.

    Args:
        lags: 1 to ``lags`` months, as far as the schema's length reaches.

    Returns:
        mean over features; table: feature, lag, real, synthetic, difference. NaN with a note where no patient varies.
    """
    schema, reach = real.schema, min(lags, real.months - 1)
    found = [_autocorrelation(c.scaled, reach) for c in (real, synthetic)] if schema.real else []
    rows = [
        (feature.name, lag, *(r[lag - 1, i] for r in found))
        for i, feature in enumerate(schema.real)
        for lag in range(1, reach + 1)
    ]
    table = pd.DataFrame(rows, columns=["feature", "lag", "real", "synthetic"])
    table["difference"] = gap(table["real"], table["synthetic"])
    if not schema.real:
        return float("nan"), with_note(table, "the schema has no real feature")
    note = "a single month has no lag" if reach < 1 else "no patient's values vary"
    value = mean_defined(table["difference"])
    return value, with_note(table, note if np.isnan(value) else "")


def _autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """(lags, features) from values (patients, months, features)."""
    deviation = values - values.mean(axis=1, keepdims=True)
    variance = (deviation**2).mean(axis=(0, 1))
    out = np.full((lags, values.shape[2]), np.nan)
    varies = variance > _CONSTANT**2
    for lag in range(1, lags + 1):
        covariance = (deviation[:, lag:] * deviation[:, :-lag]).mean(axis=(0, 1))
        out[lag - 1, varies] = covariance[varies] / variance[varies]
    return out


# --- regimens and what cannot change --------------------------------------------------------------------------------


def switching_names(schema: Schema) -> list[list[str]]:
    """What may switch: the regimen (without one, all features that have levels and are not static), then each alone."""
    each = [f.name for f in schema.discrete if not f.static]
    together = [f.name for f in schema.regimen] or each
    return [together, *([name] for name in each if [name] != together)] if each else []


@metric(best=1.0, limits=(0.0, float("inf")))
def switching_ratio(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Rate of switches, synthetic over real, of the regimen and of every discrete feature that is not static.

    A rate is the share of month-to-month transitions at which the feature, or the joint of several, changes. Best 1;
    6 means that synthetic patients flicker six times too often; 0 that none ever switches.

    Returns:
        ratio of the joint of the regimen features, in a schema without them of all discrete features that are not
        static (inf where only synthetic patients switch); table: feature (that joint first), real and synthetic rate,
        value, the share of patients who switch at least once, and the note of a NaN: nobody switches, there is one
        month, or no such feature.
    """
    rows = []
    for names in switching_names(real.schema) if real.months > 1 else []:
        changes = [switches(c, names) for c in (real, synthetic)]
        rates, ever = [c.mean() for c in changes], [c.any(axis=1).mean() for c in changes]
        value = rates[1] / rates[0] if rates[0] else np.inf if rates[1] else np.nan
        rows.append((" x ".join(names), *rates, value, *ever, "" if rates[0] else "no real patient switches"))
    columns = ["feature", "real", "synthetic", "value", "real switchers", "synthetic switchers", "note"]
    table = pd.DataFrame(rows, columns=columns)
    if not rows:
        return float("nan"), with_note(table, _NO_SWITCH if real.months > 1 else "a single month has no transitions")
    return float(table.loc[0, "value"]), with_note(table, table.loc[0, "note"])


@metric(best=0.0, limits=(0.0, float("inf")))
def dwell_times(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Earth mover's distance, in months, between the lengths of real and synthetic stays on one regimen.

    A stay is a run of months on one combination of all regimen features (in a schema without them, of all discrete
    features that are not static), cut at the first and the last month. Range 0 to the schema's length less 1, best 0.

    Returns:
        distance (NaN with a note where there is no such feature); table: months, real and synthetic share of stays.
    """
    months = np.arange(1, real.months + 1)
    if not switching_names(real.schema):
        return float("nan"), with_note(pd.DataFrame(columns=["months", "real", "synthetic"]), _NO_SWITCH)
    shares = []
    for cohort in (real, synthetic):
        edge = np.ones((len(cohort), 1), dtype=bool)
        # a switch begins a stay; the first month begins one and the end of the record ends one
        starts = np.concatenate([edge, switches(cohort, switching_names(real.schema)[0]), edge], axis=1)
        patient, month = np.nonzero(starts)
        stays = np.diff(month)[np.diff(patient) == 0]
        shares.append(np.bincount(stays, minlength=real.months + 1)[1:] / len(stays))
    table = pd.DataFrame({"months": months, "real": shares[0], "synthetic": shares[1]})
    return float(stats.wasserstein_distance(months, months, *shares)), with_note(table)


def switches(cohort: CohortArrays, names: list[str]) -> np.ndarray:
    """Where the joint of these features differs from the month before; (patients, months - 1)."""
    levels = cohort.levels[:, :, [cohort.position(name) for name in names]]
    return (levels[:, 1:] != levels[:, :-1]).any(axis=2)


@metric(best=1.0)
def static_constant(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Share of synthetic patients whose static features, all of them, never change. Range 0 to 1, best 1.

    Returns:
        share (NaN with a note where the schema has no static feature, or one month); table: feature, real and
        synthetic share.
    """
    cohorts = real, synthetic
    rows, together = [], [np.ones(len(c), dtype=bool) for c in cohorts]
    for feature in real.schema.static:
        constant = []
        for cohort in cohorts:
            values = (cohort.reals if feature.is_real else cohort.levels)[:, :, cohort.position(feature.name)]
            # a decoded real may differ by rounding
            constant.append(np.ptp(values, axis=1) <= 1e-6 * np.abs(values).max(axis=1))
        rows.append((feature.name, *(c.mean() for c in constant)))
        together = [t & c for t, c in zip(together, constant, strict=True)]
    table = pd.DataFrame(rows, columns=["feature", "real", "synthetic"])
    if not rows:
        return float("nan"), with_note(table, "the schema has no static feature")
    if real.months < 2:
        return float("nan"), with_note(table, "a single month cannot change")
    return float(together[1].mean()), with_note(table)
