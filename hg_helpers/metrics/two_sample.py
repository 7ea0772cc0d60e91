"""Can the two be told apart, and by what? Classifier two-sample tests, and the summaries that give patients away.

>>> import hg_helpers as hg
>>> real, others = (hg.simulate_cohort(30, seed=seed) for seed in (1, 2))
>>> auc, table = hg.metrics.c2st_auc(real, others.assign(CD4=others["CD4"] * 9), hg.ART_DEMO)
>>> bool(auc > 0.8), table.loc[0, "feature"]
(True, 'CD4')
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from ..cohort.arrays import CohortArrays
from .dynamics import switches, switching_names
from .metric import NAN, Result, metric, patient_means, undefined, with_note
from .utility import learn
from .visits import gappy

_MOST_BINS = 20
_COLUMNS = ["feature", "summary", "auc", "real", "synthetic"]
Summaries = dict[tuple[str, str], np.ndarray]


@metric(best=0.5, scaled=True)
def c2st_auc(real: CohortArrays, synthetic: CohortArrays, folds: int = 5, limit: int = 1000, seed: int = 0) -> Result:
    """Classifier two-sample test: AUC of a model that tells synthetic from real patients it has not seen.

    One row a patient, so that no patient is in the training and the test fold at once: of each real the mean, standard
    deviation, minimum, maximum, first and last value and mean monthly change (encoded scale); of each discrete feature
    the share of months at each level and the share of months with a change; where the tables have such, the number of
    visits, the mean time between them and the shares of gaps. At most ``limit`` patients of each cohort, as many of
    both. Mean AUC over stratified folds (``attrs["folds"]``). 1 tells every patient apart, and with few patients chance
    puts it on either side of 0.5.

    The table says what gives the synthetic patients away, worst first. The AUC of one summary, too, is of patients not
    seen: a patient's score is the synthetic share of the others with about this value, so that it tells a wrong spread
    as well as a wrong mean. Small ones together can be a large one, for the model reads combinations.

    Source: Lopez-Paz & Oquab 2017, ICLR.
    """
    return _test(real, synthetic, _summaries, folds, limit, seed)


@metric(best=0.5, scaled=True)
def c2st_other_auc(
    real: CohortArrays, synthetic: CohortArrays, folds: int = 5, limit: int = 1000, seed: int = 0
) -> Result:
    """The same test on *other* summaries of a patient than those of :func:`c2st_auc`; arguments and results as there.

    For a model may have been trained on those, as v2_plus is by its critic of summaries: then they say how well it
    learnt them, and these say what it did not look at. Of each real: quantiles, autocovariances at lags 1, 3 and 6,
    squared second differences, cubed changes, the share of months above the real median and of months at which that is
    crossed, the last third less the first, the step at a change of regimen; of each pair of reals the covariance of one
    with the other a month later. Of each discrete feature: levels seen, longest stay, share of months at its first
    level and of months that take a change back.
    """
    medians = {f.name: np.nanmedian(real.values(f.name, scaled=True)) for f in real.schema.real}
    return _test(real, synthetic, lambda cohort: _other_summaries(cohort, medians), folds, limit, seed)


def _test(
    real: CohortArrays, synthetic: CohortArrays, summaries: Callable, folds: int, limit: int, seed: int
) -> Result:
    n, rng = min(len(real), len(synthetic), limit), np.random.default_rng(seed)
    if n < 2:
        return undefined("fewer than two patients in a cohort", *_COLUMNS)
    both = [c.draw(n, rng) for c in (real, synthetic)]
    asked = [{**summaries(c), **_of_visits(c, gappy(*both))} for c in both]
    # rounded, so that float32 noise of a decoded constant gives nobody away
    both = [pd.DataFrame(a).round(6) for a in asked]
    names, rows, label = list(both[0]), np.concatenate(both), np.repeat([0, 1], n)
    splits = list(StratifiedKFold(min(folds, n), shuffle=True, random_state=seed).split(rows, label))
    found = [roc_auc_score(label[u], learn(rows[s], label[s], rows[u], seed)) for s, u in splits]
    alone = [np.mean([_told_by_one(x, label, *split) for split in splits]) for x in rows.T]
    table = pd.DataFrame(names, columns=_COLUMNS[:2])
    table["auc"], table["real"], table["synthetic"] = alone, *(part.mean().to_numpy() for part in both)
    table = table.sort_values("auc", ascending=False, kind="stable", ignore_index=True)
    table.attrs["folds"] = found
    return float(np.mean(found)), with_note(table)


def _told_by_one(x: np.ndarray, label: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> float:
    """AUC on unseen patients of one number: each scores the share of synthetic ones among those seen in its bin."""
    x = np.where(np.isnan(x), -np.inf, x)  # what is not known is a bin of its own
    bins = int(np.clip(len(seen) // 20, 2, _MOST_BINS))
    edges = np.unique(np.quantile(x[seen], np.arange(1, bins) / bins, method="lower"))
    place = np.searchsorted(edges, x)
    everybody = np.bincount(place[seen], minlength=len(edges) + 1)
    synthetic = np.bincount(place[seen], weights=label[seen], minlength=len(edges) + 1)
    return float(roc_auc_score(label[unseen], ((synthetic + 0.5) / (everybody + 1))[place[unseen]]))


def _summaries(cohort: CohortArrays) -> Summaries:
    """One value a patient of each feature and summary of its course; NaN where nothing is known."""
    out = {}
    for feature in cohort.schema.real:
        x, known, name = cohort.values(feature.name, scaled=True), cohort.known(feature.name), feature.name
        mean, none, patient = patient_means(x), ~known.any(axis=1), np.arange(len(x))
        out[name, "mean"] = mean
        out[name, "spread"] = np.sqrt(patient_means((x - mean[:, None]) ** 2))
        out[name, "lowest"] = np.where(none, NAN, np.where(known, x, np.inf).min(axis=1))
        out[name, "highest"] = np.where(none, NAN, np.where(known, x, -np.inf).max(axis=1))
        out[name, "first"] = x[patient, known.argmax(axis=1)]
        out[name, "last"] = x[patient, cohort.months - 1 - known[:, ::-1].argmax(axis=1)]
        out[name, "monthly change"] = patient_means(np.abs(np.diff(x, axis=1)))
    for feature in cohort.schema.discrete:
        level, known = cohort.values(feature.name), cohort.known(feature.name)
        for k, name in enumerate(feature.levels):
            out[feature.name, f"months at {name}"] = patient_means(np.where(known, level == k, NAN))
        changes, defined = switches(cohort, [feature.name])
        out[feature.name, "months with a change"] = patient_means(np.where(defined, changes, NAN))
    return out


def _other_summaries(cohort: CohortArrays, medians: dict[str, float]) -> Summaries:
    """As :func:`_summaries`, of what that does not look at."""
    out, deviations, schema = {}, {}, cohort.schema
    place = np.arange(cohort.months) / cohort.there.sum(axis=1)[:, None]
    regimen = switching_names(schema)
    switched = switches(cohort, regimen[0])[0] if regimen else None
    for feature in schema.real:
        x, name = cohort.values(feature.name, scaled=True), feature.name
        change, bend = np.diff(x, axis=1), np.diff(x, n=2, axis=1)
        above = np.where(np.isnan(x), NAN, x > medians[name])
        deviations[name] = x - patient_means(x)[:, None]
        some = ~np.isnan(x).all(axis=1)
        quantiles = np.full((5, len(x)), NAN)
        quantiles[:, some] = np.nanquantile(x[some], (0.1, 0.25, 0.5, 0.75, 0.9), axis=1)
        for share, values in zip((10, 25, 50, 75, 90), quantiles, strict=True):
            out[name, f"{share} % quantile"] = values
        for lag in (1, 3, 6):
            out[name, f"covariance at lag {lag}"] = _covariance(deviations[name], deviations[name], lag)
        out[name, "squared second difference"] = patient_means(bend**2)
        out[name, "cubed change"] = patient_means(change**3)
        out[name, "months above the median"] = patient_means(above)
        out[name, "months that cross it"] = patient_means(np.abs(np.diff(above, axis=1)))
        first, last = (patient_means(np.where(part, x, NAN)) for part in (place < 1 / 3, place >= 2 / 3))
        out[name, "last third less first"] = last - first
        if switched is not None:
            out[name, "step at a switch"] = patient_means(np.where(switched, change, NAN))
    for a, b in permutations(deviations, 2):
        out[a, f"covariance with {b} a month later"] = _covariance(deviations[a], deviations[b], 1)
    for feature in schema.discrete:
        level, known, name = cohort.values(feature.name), cohort.known(feature.name), feature.name
        changes, defined = switches(cohort, [name])
        out[name, "levels seen"] = np.sum([(level == k).any(axis=1) for k in range(feature.channels)], axis=0)
        stay, longest = known[:, 0].astype(float), known[:, 0].astype(float)
        for month in range(1, cohort.months):
            goes_on = defined[:, month - 1] & ~changes[:, month - 1]
            stay = np.where(goes_on, stay + 1, known[:, month])
            longest = np.maximum(longest, stay)
        out[name, "longest stay"] = longest
        first = level[np.arange(len(level)), known.argmax(axis=1)]
        out[name, "months at its first level"] = patient_means(np.where(known, level == first[:, None], NAN))
        back = changes[:, 1:] & changes[:, :-1] & (level[:, 2:] == level[:, :-2])
        out[name, "months that take a change back"] = patient_means(
            np.where(defined[:, 1:] & defined[:, :-1], back, NAN)
        )
    return out


def _covariance(a: np.ndarray, b: np.ndarray, lag: int) -> np.ndarray:
    return patient_means(a[:, :-lag] * b[:, lag:])


def _of_visits(cohort: CohortArrays, gaps: list[str]) -> Summaries:
    out = {} if cohort.whole else {(cohort.schema.patient, "visits"): cohort.there.sum(axis=1).astype(float)}
    if cohort.times is not None:
        out[cohort.schema.time, "mean step"] = patient_means(np.diff(cohort.times, axis=1))
    for name in gaps:
        out[name, "share of gaps"] = patient_means(np.where(cohort.there, ~cohort.known(name), NAN))
    return out
