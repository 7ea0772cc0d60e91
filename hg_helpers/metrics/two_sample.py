"""Can the two be told apart, and by what? Classifier two-sample tests, and the summaries that give patients away.

>>> import hg_helpers as hg
>>> real, others = (hg.simulate_cohort(30, seed=seed) for seed in (1, 2))
>>> hg.metrics.c2st_auc(real, others.assign(CD4=others["CD4"] * 9), hg.ART_DEMO)[1].loc[0, "feature"]
'CD4'
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from .dynamics import switches, switching_names
from .fidelity import gappy
from .metric import Cohort, Result, metric, noted, patient_means, undefined
from .utility import learn

Summaries = dict[tuple[str, str], pd.Series | np.ndarray]  # by feature and summary of a course: one value a patient


@metric(best=0.5, scaled=True)
def c2st_auc(real: Cohort, synthetic: Cohort, folds: int = 5, limit: int = 1000, seed: int = 0) -> Result:
    """Classifier two-sample test: AUC of a model that tells synthetic from real patients it has not seen.

    One row a patient: of each real the mean, standard deviation, minimum, maximum, first and last value and mean
    monthly change (encoded scale); of each discrete feature the shares of months at each level and with a change; where
    there are such, number of visits, mean time between them and shares of gaps. At most ``limit`` patients of each
    cohort, as many of both; mean over stratified folds (``attrs["folds"]``). Table: what gives synthetic patients away,
    worst first, by the synthetic share of others near a value (Lopez-Paz & Oquab 2017).
    """
    return _test(real, synthetic, _summaries, folds, limit, seed)


@metric(best=0.5, scaled=True)
def c2st_other_auc(real: Cohort, synthetic: Cohort, folds: int = 5, limit: int = 1000, seed: int = 0) -> Result:
    """The same test on *other* summaries of a patient than those of :func:`c2st_auc`, which v2_plus was trained on.

    Of each real: quantiles, autocovariances at lags 1, 3 and 6, squared second differences, cubed changes, shares of
    months above the real median and that cross it, the last third less the first, the step at a change of regimen; of
    each pair of reals the covariance a month later. Of each discrete feature: levels seen, longest stay, shares of
    months at its first level and that take a change back.
    """
    medians = {f.name: np.nanmedian(real.values(f.name, scaled=True)) for f in real.schema.real}
    return _test(real, synthetic, lambda cohort: _other_summaries(cohort, medians), folds, limit, seed)


def _test(real: Cohort, synthetic: Cohort, summaries: Callable, folds: int, limit: int, seed: int) -> Result:
    n, rng = min(len(real), len(synthetic), limit), np.random.default_rng(seed)
    if n < 2:
        return undefined("fewer than two patients in a cohort", "feature", "summary", "auc", "real", "synthetic")
    both = [c.draw(n, rng) for c in (real, synthetic)]
    asked = [{**summaries(c), **_of_visits(c, gappy(*both))} for c in both]
    both = [pd.DataFrame(a).round(6) for a in asked]  # so that float32 noise of a decoded constant gives nobody away
    names, rows, label = list(both[0]), np.concatenate(both), np.repeat([0, 1], n)
    splits = list(StratifiedKFold(min(folds, n), shuffle=True, random_state=seed).split(rows, label))
    found = [roc_auc_score(label[u], learn(rows[s], label[s], rows[u], seed)) for s, u in splits]
    alone = [round(np.mean([_told_by_one(x, label, *split) for split in splits]), 9) for x in rows.T]  # equals stay so
    table = pd.DataFrame(names, columns=["feature", "summary"])
    table["auc"], table["real"], table["synthetic"] = alone, *(part.mean().to_numpy() for part in both)
    table = table.sort_values("auc", ascending=False, kind="stable", ignore_index=True)
    table.attrs["folds"] = found
    return float(np.mean(found)), noted(table)


def _told_by_one(x: np.ndarray, label: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> float:
    """AUC on unseen patients of one number: each scores the share of synthetic ones among those seen in its bin."""
    x = np.where(np.isnan(x), -np.inf, x)  # what is not known is a bin of its own
    bins = int(np.clip(len(seen) // 20, 2, 20))
    edges = np.unique(np.quantile(x[seen], np.arange(1, bins) / bins, method="lower"))
    place = np.searchsorted(edges, x)
    real, synthetic = (np.bincount(place[seen[label[seen] == k]], minlength=len(edges) + 1) for k in (0, 1))
    rank, made = rankdata(((synthetic + 0.5) / (real + synthetic + 1))[place[unseen]]), label[unseen] == 1
    # what roc_auc_score gives, without its checks, which take longer than all else here
    return float((rank[made].mean() - (made.sum() + 1) / 2) / (~made).sum())


def _summaries(cohort: Cohort) -> Summaries:
    out = {}
    for name in (f.name for f in cohort.schema.real):
        x = pd.DataFrame(cohort.values(name, scaled=True))
        out[name, "mean"], out[name, "spread"] = x.mean(axis=1), x.std(axis=1, ddof=0)
        out[name, "lowest"], out[name, "highest"] = x.min(axis=1), x.max(axis=1)
        out[name, "first"], out[name, "last"] = x.bfill(axis=1).iloc[:, 0], x.ffill(axis=1).iloc[:, -1]
        out[name, "monthly change"] = x.diff(axis=1).abs().mean(axis=1)
    for feature in cohort.schema.discrete:
        level, known = cohort.values(feature.name), cohort.known(feature.name)
        for k, name in enumerate(feature.levels):
            out[feature.name, f"months at {name}"] = patient_means(level == k, known)
        out[feature.name, "months with a change"] = patient_means(*switches(cohort, [feature.name]))
    return out


def _other_summaries(cohort: Cohort, medians: dict[str, float]) -> Summaries:
    out, deviations, schema = {}, {}, cohort.schema
    place = np.arange(cohort.months) / cohort.there.sum(axis=1)[:, None]
    regimen = switching_names(schema)
    for name, median in medians.items():
        x = pd.DataFrame(cohort.values(name, scaled=True))
        change, above = x.diff(axis=1), (x > median).astype(float).where(x.notna())
        deviations[name] = d = x.sub(x.mean(axis=1), axis=0)
        quantiles = x.quantile([0.1, 0.25, 0.5, 0.75, 0.9], axis=1)
        out |= {(name, f"{round(100 * share)} % quantile"): values for share, values in quantiles.iterrows()}
        for lag in (1, 3, 6):
            out[name, f"covariance at lag {lag}"] = (d * d.shift(-lag, axis=1)).mean(axis=1)
        out[name, "squared second difference"] = (change.diff(axis=1) ** 2).mean(axis=1)
        out[name, "cubed change"] = (change**3).mean(axis=1)
        out[name, "months above the median"] = above.mean(axis=1)
        out[name, "months that cross it"] = above.diff(axis=1).abs().mean(axis=1)
        out[name, "last third less first"] = x.where(place >= 2 / 3).mean(axis=1) - x.where(place < 1 / 3).mean(axis=1)
        if regimen:
            out[name, "step at a switch"] = change.iloc[:, 1:].where(switches(cohort, regimen[0])[0]).mean(axis=1)
    for a, b in permutations(deviations, 2):
        out[a, f"covariance with {b} a month later"] = (deviations[a] * deviations[b].shift(-1, axis=1)).mean(axis=1)
    for feature in schema.discrete:
        level, known, name = cohort.values(feature.name), cohort.known(feature.name), feature.name
        changes, defined = switches(cohort, [name])
        out[name, "levels seen"] = np.sum([(level == k).any(axis=1) for k in range(feature.channels)], axis=0)
        kept, month = np.pad(defined & ~changes, [(0, 0), (1, 0)]), np.arange(cohort.months)
        begun = np.maximum.accumulate(np.where(kept, 0, month), axis=1)
        out[name, "longest stay"] = ((month - begun + 1.0) * known).max(axis=1)
        first = level[np.arange(len(level)), known.argmax(axis=1), None]
        out[name, "months at its first level"] = patient_means(level == first, known)
        back = changes[:, 1:] & changes[:, :-1] & (level[:, 2:] == level[:, :-2])
        out[name, "months that take a change back"] = patient_means(back, defined[:, 1:] & defined[:, :-1])
    return out


def _of_visits(cohort: Cohort, gaps: list[str]) -> Summaries:
    out = {} if cohort.whole else {(cohort.schema.patient, "visits"): cohort.there.sum(axis=1).astype(float)}
    if cohort.times is not None:
        out[cohort.schema.time, "mean step"] = patient_means(np.diff(cohort.times, axis=1))
    for name in gaps:
        out[name, "share of gaps"] = patient_means(~cohort.known(name), cohort.there)
    return out
