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
from ..cohort.schema import Schema
from .metric import Result, apart, metric, one_thread, with_note

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
    other features. Range 0 to 1, best 0; :data:`DISCLOSURE_THRESHOLD` (0.09) is the usual limit.

    A discrete feature tells something new where a match has the patient's level and fewer than half of the patients
    share it; a real one where p |x - y| < 1.48 MAD, with p the share of patients in the same of five k-means clusters.
    Every choice is on the careful side: any match will do, the adversary errs nowhere (the paper's lambda is 1) and,
    without ``population``, the training set is the population. A patient's value is the most frequent level, or
    the mean over months on the encoded scale; a real quasi-identifier is cut at its deciles.

    Args:
        quasi_identifiers: features that an adversary may know; by default the static ones.
        population: number of people the training patients were drawn from, F_s = f_s N / n.

    Returns:
        risk (NaN with a note without quasi-identifiers); table: class by class the quasi-identifiers, training and
        synthetic patients, share of the class for whom something is learnt, and its part of the risk.

    Raises:
        KeyError: for an unknown feature.
        ValueError: for a population smaller than the training set.

    Source: El Emam et al. 2020, J. Med. Internet Res. 22:e23139.
    """
    schema = train.schema
    names = [f.name for f in schema.static] if quasi_identifiers is None else list(quasi_identifiers)
    if population is not None and population < len(train):
        raise ValueError(f"population {population} is smaller than the {len(train)} training patients drawn from it")
    if not names:
        return float("nan"), with_note(pd.DataFrame(), "the schema has no static feature to serve as quasi-identifier")
    unknown = [name for name in names if name not in schema.names]
    if unknown:
        raise KeyError(f"no feature {unknown[0]!r} in the schema; it has {', '.join(schema.names)}")
    values = [_patient_values(c) for c in (train, synthetic)]
    keys = [np.stack(_keys(values, schema, names, i), axis=1) for i in range(2)]
    (own, other), groups = joint_groups(*keys)
    size = np.bincount(own, minlength=len(groups))
    matches = np.bincount(other, minlength=len(groups))
    news = _something_new(values, (own, other), schema, [n for n in schema.names if n not in names], learnt)
    risky = news & (matches[own] > 0)
    n = len(train)
    part = np.bincount(own, weights=risky / size[own], minlength=len(groups)) / (population or n)
    labels = [_labels(schema, name, groups[:, i]) for i, name in enumerate(names)]
    results = ["train patients", "synthetic patients", "learnt", "risk"]
    table = pd.DataFrame(dict(zip(apart(names, results), labels, strict=True)))
    table["train patients"], table["synthetic patients"] = size, matches
    table["learnt"] = np.bincount(own, weights=risky, minlength=len(groups)) / np.maximum(size, 1)
    table["risk"] = part
    table = table.sort_values("risk", ascending=False, kind="stable", ignore_index=True)
    table.attrs["threshold"] = DISCLOSURE_THRESHOLD
    return float(part.sum()), with_note(table)


def _patient_values(cohort: CohortArrays) -> dict[str, np.ndarray]:
    """One value a patient and feature: most frequent level, or mean on the encoded scale."""
    levels, out = most_frequent_levels(cohort), {}
    for feature in cohort.schema:
        i = cohort.position(feature.name)
        out[feature.name] = cohort.scaled[:, :, i].mean(axis=1) if feature.is_real else levels[:, i]
    return out


def _keys(values: list[dict[str, np.ndarray]], schema: Schema, names: list[str], which: int) -> list[np.ndarray]:
    """Quasi-identifiers as whole numbers; reals by the deciles of the training patients."""
    out = []
    for name in names:
        column = values[which][name]
        if schema[name].is_real:
            edges = np.quantile(values[0][name], np.arange(1, _CLASSES_OF_REALS) / _CLASSES_OF_REALS)
            column = np.searchsorted(edges, column, side="right")
        out.append(column)
    return out


def _labels(schema: Schema, name: str, column: np.ndarray) -> list[str]:
    feature = schema[name]
    return [f"decile {k + 1}" if feature.is_real else str(feature.levels[k]) for k in column]


def _something_new(
    values: list[dict[str, np.ndarray]],
    classes: tuple[np.ndarray, np.ndarray],
    schema: Schema,
    sensitive: list[str],
    learnt: float,
) -> np.ndarray:
    """R_s for every training patient; True for all where identity is the only thing to learn."""
    own, other = classes
    if not sensitive:
        return np.ones(len(own), dtype=bool)
    new = np.zeros(len(own))
    for name in sensitive:
        x, y = values[0][name], values[1][name]
        if schema[name].is_real:
            deviation = np.median(np.abs(x - np.median(x)))
            new += _cluster_share(x) * _nearest_in_class(own, x, other, y) < 1.48 * deviation
        else:
            width = schema[name].channels
            share = np.bincount(x, minlength=width) / len(x)
            new += np.isin(own * width + x, other * width + y) & (share[x] < 0.5)
    return new >= max(learnt * len(sensitive), 1)


def _nearest_in_class(own: np.ndarray, x: np.ndarray, other: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of each x to the nearest y of its class; meaningless where the class has none (values lie in [0, 1])."""
    # classes far apart on one line: a point of another class is never nearer than one of its own
    line, points = np.sort(3.0 * other + y), 3.0 * own + x
    at = np.searchsorted(line, points)
    below, above = line[np.maximum(at - 1, 0)], line[np.minimum(at, len(line) - 1)]
    return np.minimum(np.abs(points - below), np.abs(points - above))


def _cluster_share(x: np.ndarray, clusters: int = 5) -> np.ndarray:
    """Share of patients in the same univariate k-means cluster."""
    count = min(clusters, len(np.unique(x.round(9))))
    with one_thread():
        labels = KMeans(count, n_init=1, random_state=0).fit_predict(x[:, None])
    return (np.bincount(labels) / len(x))[labels]
