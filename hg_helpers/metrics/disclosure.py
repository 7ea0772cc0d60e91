"""Identity disclosure: can a patient be found in the synthetic cohort by what is known, and is more learnt then?

>>> import pandas as pd, hg_helpers as hg
>>> sex, rare = (hg.Feature(name, "binary", levels=(0, 1), static=name == "sex") for name in ("sex", "rare"))
>>> schema = hg.Schema([sex, rare], patient="id", time="month", length=1)
>>> train = pd.DataFrame({"id": range(4), "month": 0, "sex": [0, 0, 0, 1], "rare": [0, 0, 0, 1]})
>>> hg.metrics.disclosure_risk(train, train, schema)[0]  # one of four is alone in the group, and rare
0.25
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from ..cohort.arrays import CohortArrays, joint_groups, most_frequent_levels
from ..cohort.schema import Feature
from .metric import Result, apart, metric, one_thread, patient_means, undefined, with_note

#: Largest acceptable risk for releasing data (European Medicines Agency 2016, Health Canada 2019; El Emam et al. 2020).
DISCLOSURE_THRESHOLD = 0.09
_CLASSES_OF_REALS = 10


@metric(best=0.0, scaled=True)
def disclosure_risk(
    train: CohortArrays,
    synthetic: CohortArrays,
    quasi_identifiers: Sequence[str] | None = None,
    population: int | None = None,
    learnt: float = 0.05,
) -> Result:
    """Meaningful identity disclosure risk of El Emam, Mosquera & Bass, on patients.

    max( 1/N sum_s I_s R_s / f_s,  1/n sum_s I_s R_s / F_s ), over the n training patients s: f_s and F_s the sizes of
    the patient's class (equal quasi-identifiers) in the training set and in the population of N; I_s = 1 where a
    synthetic patient is in the class; R_s = 1 where a matching one tells something new in at least ``learnt`` of the
    other features. :data:`DISCLOSURE_THRESHOLD` (0.09) is the usual limit.

    A discrete feature tells something new where a match has the patient's level and fewer than half of the patients
    share it; a real one where p |x - y| < 1.48 MAD, with p the share of patients in the same of five k-means clusters.
    Every choice is on the careful side: any match will do, the adversary errs nowhere (the paper's lambda is 1) and,
    without ``population``, the training set is the population. A patient's value is the most frequent level, or
    the mean over months on the encoded scale; a real quasi-identifier is cut at its deciles. Not to be known at all is
    a class of its own, and of such a patient nothing is learnt.

    Args:
        quasi_identifiers: features that an adversary may know; by default the static ones.
        population: number of people the training patients were drawn from, F_s = f_s N / n.

    The table has, class by class, the quasi-identifiers, training and synthetic patients, the share of the class for
    whom something is learnt, and its part of the risk.
    Source: El Emam et al. 2020, J. Med. Internet Res. 22:e23139.
    """
    schema = train.schema
    names = [f.name for f in schema.static] if quasi_identifiers is None else list(quasi_identifiers)
    if population is not None and population < len(train):
        raise ValueError(f"population {population} is smaller than the {len(train)} training patients drawn from it")
    if not names:
        return undefined("the schema has no static feature to serve as quasi-identifier")
    for name in names:
        schema[name]  # refuses a name that the schema lacks
    values = [_patient_values(c) for c in (train, synthetic)]
    keys = [_keys([v[name] for v in values], schema[name]) for name in names]
    (own, other), groups = joint_groups(*(np.stack(columns, axis=1) for columns in zip(*keys, strict=True)))
    size = np.bincount(own, minlength=len(groups))
    matches = np.bincount(other, minlength=len(groups))
    sensitive = [f for f in schema if f.name not in names]
    new = sum(_something_new(f, *(v[f.name] for v in values), own, other) for f in sensitive)
    news = new >= max(learnt * len(sensitive), 1) if sensitive else np.ones(len(own), dtype=bool)
    risky = news & (matches[own] > 0)
    results = ["train patients", "synthetic patients", "learnt", "risk"]
    labels = [_labels(schema[name], groups[:, i]) for i, name in enumerate(names)]
    table = pd.DataFrame(dict(zip(apart(names, results), labels, strict=True)))
    table["train patients"], table["synthetic patients"] = size, matches
    table["learnt"] = np.bincount(own, weights=risky, minlength=len(groups)) / np.maximum(size, 1)
    part = np.bincount(own, weights=risky / size[own], minlength=len(groups)) / (population or len(train))
    table["risk"] = part
    table = table.sort_values("risk", ascending=False, kind="stable", ignore_index=True)
    table.attrs["threshold"] = DISCLOSURE_THRESHOLD
    return float(part.sum()), with_note(table)


def _patient_values(cohort: CohortArrays) -> dict[str, np.ndarray]:
    """One value a patient: most frequent level, or mean on the encoded scale; -1 or NaN where nothing is known."""
    levels = dict(zip((f.name for f in cohort.schema.discrete), most_frequent_levels(cohort).T, strict=True))
    return levels | {f.name: patient_means(cohort.values(f.name, scaled=True)) for f in cohort.schema.real}


def _keys(values: list[np.ndarray], feature: Feature) -> list[np.ndarray]:
    """Quasi-identifiers as whole numbers from 1, 0 for none; reals by the deciles of the training patients."""
    if not feature.is_real:
        return [v + 1 for v in values]
    edges = np.nanquantile(values[0], np.arange(1, _CLASSES_OF_REALS) / _CLASSES_OF_REALS)
    return [np.where(np.isnan(v), 0, 1 + np.searchsorted(edges, v, side="right")) for v in values]


def _labels(feature: Feature, keys: np.ndarray) -> list[str]:
    names = [f"decile {k}" for k in range(1, _CLASSES_OF_REALS + 1)] if feature.is_real else list(feature.levels)
    return [str(names[k - 1]) if k else "not known" for k in keys]


def _something_new(feature: Feature, x: np.ndarray, y: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For which training patients a synthetic one of their class tells something new of this feature."""
    out = np.zeros(len(x), dtype=bool)
    known, there = (~np.isnan(v) if feature.is_real else v >= 0 for v in (x, y))
    own, other, x, y = own[known], other[there], x[known], y[there]
    if not len(x) or not len(y):
        return out
    if feature.is_real:
        deviation = np.median(np.abs(x - np.median(x)))
        near = _cluster_share(x) * _nearest_in_class(own, x, other, y) < 1.48 * deviation
        out[known] = near & np.isin(own, other)
    else:
        share = np.bincount(x, minlength=feature.channels) / len(x)
        width = feature.channels
        out[known] = np.isin(own * width + x, other * width + y) & (share[x] < 0.5)
    return out


def _nearest_in_class(own: np.ndarray, x: np.ndarray, other: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of each x to the nearest y of its class; values lie in [-1, 1]."""
    # classes far apart on one line: a point of another class is never nearer than one of its own
    line, points = np.sort(5.0 * other + y), 5.0 * own + x
    at = np.searchsorted(line, points)
    below, above = line[np.maximum(at - 1, 0)], line[np.minimum(at, len(line) - 1)]
    return np.minimum(np.abs(points - below), np.abs(points - above))


def _cluster_share(x: np.ndarray, clusters: int = 5) -> np.ndarray:
    """Share of patients in the same univariate k-means cluster."""
    count = min(clusters, len(np.unique(x.round(9))))
    with one_thread():
        labels = KMeans(count, n_init=1, random_state=0).fit_predict(x[:, None])
    return (np.bincount(labels) / len(x))[labels]
