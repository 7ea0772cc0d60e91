"""Privacy: does the synthetic cohort say more of the patients it was made from than of other people?

And disclosure: can one of them be found by what is known of them, and is more learnt then? Floors come from real
patients in the place of synthetic ones, distances (:func:`hg_helpers.metrics.flatten`) are between whole courses.

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("age", "real", transform="none")], patient="id", time="month", length=1)
>>> train, others = (pd.DataFrame({"id": range(3), "month": 0, "age": ages}) for ages in ([20, 40, 60], [30, 50, 55]))
>>> hg.metrics.membership_auc(train, others, train, schema)[0]  # released as they are, all members are found
1.0
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import KDTree
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score

from ..cohort.schema import Feature
from .arrays import joint_groups, most_frequent_levels
from .distances import Neighbours, neighbours
from .metric import Cohort, Names, Result, apart, metric, noted, one_thread, patient_means, undefined

#: Largest acceptable risk for releasing data (European Medicines Agency 2016, Health Canada 2019; El Emam et al. 2020).
DISCLOSURE_THRESHOLD = 0.09


class PrivacyDistances(NamedTuple):
    to_train: Neighbours  # of synthetic patients, two nearest
    to_holdout: Neighbours  # of synthetic patients
    equal: tuple[np.ndarray, np.ndarray]  # distances to both at equal numbers: a random part of the larger set


#: What may be passed to save time, where it was found before.
Found, AllFound = Neighbours | None, PrivacyDistances | None


@metric(scaled=True)
def privacy_distances(train: Cohort, holdout: Cohort, synthetic: Cohort) -> PrivacyDistances:
    """The distances behind the metrics of this module in one go; memory grows with the sum of the patients only."""
    if len(holdout) <= len(train):
        to_holdout = neighbours(synthetic, holdout)
        to_train = neighbours(synthetic, train, k=2, radii=to_holdout.distance[:, 0])
    else:
        to_train = neighbours(synthetic, train, k=2)
        to_holdout = neighbours(synthetic, holdout, radii=to_train.distance[:, 0])
    fewer, equal = min(len(train), len(holdout)), []
    for cohort, found in ((train, to_train), (holdout, to_holdout)):
        if len(cohort) > fewer:
            found = neighbours(synthetic, cohort.draw(fewer, np.random.default_rng(0)))
        equal.append(found.distance[:, 0])
    return PrivacyDistances(to_train, to_holdout, tuple(equal))


@metric(best=0.5, scaled=True)
def dcr_share(train: Cohort, holdout: Cohort, synthetic: Cohort, distances: AllFound = None) -> Result:
    """Distance to the closest record: share of synthetic patients closer to training than to held-out patients.

    Of the larger of the two sets only as many patients count as the smaller has, so that 0.5 is ideal; the share is the
    exact average over *all* such subsamples (in the table, distances at equal numbers are to one): among n training
    patients of whom c lie closer than the nearest of h held-out ones, a random h include none of the c with probability
    C(n-c, h) / C(n, h). Equal distances count one half. Copies of everybody reach 1 with h >= n, else about (1 + h / n)
    / 2. After Platzer & Reutterer 2021 (equal sets).
    """
    found = distances or privacy_distances(train, holdout, synthetic)
    n, h, (near_train, near_holdout) = len(train), len(holdout), found.equal
    if h <= n:
        share = _chance_of_closer(found.to_train.closer, found.to_train.equal, n, h)
    else:
        share = 1 - _chance_of_closer(found.to_holdout.closer, found.to_holdout.equal, h, n)
    columns = {"patient": synthetic.patients, "to train": found.to_train.distance[:, 0]}
    columns |= {"to holdout": found.to_holdout.distance[:, 0], "nearest holdout": found.to_holdout.position[:, 0]}
    columns |= {"closer to train": share}
    columns |= {"to train, equal numbers": near_train, "to holdout, equal numbers": near_holdout}
    note = f"copies of everybody would reach {1 - 0.5 * max(0.0, 1 - h / n):.2f} at these numbers"
    return float(share.mean()), noted(pd.DataFrame(columns), note)


def _chance_of_closer(closer: np.ndarray, equal: np.ndarray, n: int, drawn: int) -> np.ndarray:
    """Chance that ``drawn`` of n patients include a closer one, plus half the chance that the best is an equal one."""
    no_closer, no_equal = (stats.hypergeom.pmf(0, n, k, drawn) for k in (closer, closer + equal))
    return 1 - no_closer + 0.5 * (no_closer - no_equal)


@metric(best=1.0, scaled=True)
def nndr(train: Cohort, synthetic: Cohort, to_train: Found = None) -> Result:
    """Nearest-neighbour distance ratio: distance to the closest training patient over that to the second closest.

    The mean: near 1 nobody is singled out; a copy scores 0, of a record that is there twice 1 (Zhao et al. 2021).
    """
    two = (to_train or neighbours(synthetic, train, k=2)).distance
    table = pd.DataFrame({"patient": synthetic.patients, "first": two[:, 0], "second": two[:, 1]})
    if len(train) < 2:
        return np.nan, noted(table, "a single training patient has no second nearest")
    table["ratio"] = np.divide(two[:, 0], two[:, 1], out=np.ones(len(two)), where=two[:, 1] > 0)
    return float(table["ratio"].mean()), noted(table)


@metric(scaled=True)
def copy_threshold(train: Cohort, quantile: float = 0.01) -> float:
    """Distance within which only ``quantile`` of the training patients have another one; 0 for a single patient."""
    return float(np.quantile(neighbours(train, train, same=True).distance, quantile)) if len(train) > 1 else 0.0


@metric(best=0.0, scaled=True)
def copies(train: Cohort, synthetic: Cohort, to_train: Found = None, threshold: float | None = None) -> Result:
    """Share of synthetic patients who are exact or near copies of a training patient.

    Exact: the same encoded course. Near: closer to a training patient than the ``threshold``, by default that of
    :func:`copy_threshold`; so about 1 % of other real patients are near copies too, which is the floor.
    """
    found = to_train or neighbours(synthetic, train, k=2)
    threshold = copy_threshold(train) if threshold is None else threshold
    table = pd.DataFrame({"patient": synthetic.patients, "nearest": train.patients[found.position[:, 0]]})
    table["distance"] = found.distance[:, 0]
    table["exact"] = table["distance"] == 0
    table["near"] = (table["distance"] < threshold) | table["exact"]
    table.attrs["threshold"] = threshold
    return float(table["near"].mean()), noted(table)


@metric(best=0.5, scaled=True)
def membership_auc(train: Cohort, holdout: Cohort, synthetic: Cohort, distances: AllFound = None) -> Result:
    """Membership inference: how well the distance to the nearest synthetic patient tells members from others.

    Area under the ROC curve of calling the real courses closest to the synthetic cohort members: 0.5 is ideal, 1 gives
    all away. The attack is simple (Chen et al. 2020, full black box): a low score proves no privacy.
    """
    found = distances or privacy_distances(train, holdout, synthetic)
    table = pd.DataFrame({"patient": np.concatenate([train.patients, holdout.patients])})
    table["member"] = table.index < len(train)
    table["distance"] = np.concatenate([found.to_train.reverse, found.to_holdout.reverse])
    return float(roc_auc_score(table["member"], -table["distance"])), noted(table)


@metric(best=0.0, scaled=True, group="disclosure")
def disclosure_risk(
    train: Cohort, synthetic: Cohort, quasi_identifiers: Names = None, population: int | None = None
) -> Result:
    """Meaningful identity disclosure risk of El Emam, Mosquera & Bass 2020, on patients; table by class.

    max( 1/N sum_s I_s R_s / f_s,  1/n sum_s I_s R_s / F_s ), over the n training patients s: f_s and F_s the sizes of
    the patient's class (equal ``quasi_identifiers``, by default the static features) in the training set and in the
    ``population`` of N that it was drawn from, F_s = f_s N / n; I_s = 1 where a synthetic patient is in the class;
    R_s = 1 where one tells something new in at least 5 % of the other features. The usual limit is 0.09.

    A discrete feature tells something new where a match has the patient's level and fewer than half of the patients
    share it; a real one where p |x - y| < 1.48 MAD, with p the share of patients in the same of five k-means clusters.
    All is on the careful side: any match will do, the adversary errs nowhere (lambda is 1), without ``population`` the
    training set is all there is. A patient's value is the most frequent level, or the encoded mean over months; a real
    quasi-identifier is cut at its deciles. Not to be known is a class of its own, in which nothing is learnt.
    """
    schema = train.schema
    names = [f.name for f in schema.static] if quasi_identifiers is None else list(quasi_identifiers)
    if population is not None and population < len(train):
        raise ValueError(f"population {population} is smaller than the {len(train)} training patients drawn from it")
    if not names:
        return undefined("the schema has no static feature to serve as quasi-identifier")
    quasi = [schema[name] for name in names]  # refuses a name that the schema lacks
    values = []  # one a patient, -1 or NaN where nothing is known
    for cohort in (train, synthetic):
        levels = dict(zip((f.name for f in schema.discrete), most_frequent_levels(cohort).T, strict=True))
        values.append(levels | {f.name: patient_means(cohort.values(f.name, scaled=True)) for f in schema.real})
    keys, called = zip(*(_keys([v[f.name] for v in values], f) for f in quasi), strict=True)
    (own, other), groups = joint_groups(*(np.stack(columns, axis=1) for columns in zip(*keys, strict=True)))
    size, matches = (np.bincount(patients, minlength=len(groups)) for patients in (own, other))
    sensitive = [f for f in schema if f not in quasi]
    new = sum(_something_new(f, *(v[f.name] for v in values), own, other) for f in sensitive)
    news = new >= max(0.05 * len(sensitive), 1) if sensitive else np.ones(len(own), dtype=bool)
    told = np.bincount(own, weights=news & (matches[own] > 0), minlength=len(groups)) / np.maximum(size, 1)
    results = {"train patients": size, "synthetic patients": matches, "learnt": told}
    results["risk"] = told / (population or len(train))
    labels = [[words[k] for k in column] for words, column in zip(called, groups.T, strict=True)]
    table = pd.DataFrame(dict(zip(apart(names, results), labels, strict=True)) | results)
    table = table.sort_values("risk", ascending=False, kind="stable", ignore_index=True)
    table.attrs["threshold"] = DISCLOSURE_THRESHOLD
    return float(results["risk"].sum()), noted(table)


def _keys(values: list[np.ndarray], feature: Feature) -> tuple[list[np.ndarray], list[str]]:
    """Both cohorts' values as whole numbers, and what these are called; reals by the training patients' deciles."""
    if not feature.is_real:
        return [v + 1 for v in values], ["not known", *map(str, feature.levels)]
    edges = np.nanquantile(values[0], np.arange(1, 10) / 10)
    keys = [np.where(np.isnan(v), 0, 1 + np.searchsorted(edges, v, side="right")) for v in values]
    return keys, ["not known", *(f"decile {k}" for k in range(1, 11))]


def _something_new(feature: Feature, x: np.ndarray, y: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    out = np.zeros(len(x), dtype=bool)
    known, there = (~np.isnan(v) if feature.is_real else v >= 0 for v in (x, y))
    own, other, x, y = own[known], other[there], x[known], y[there]
    if not len(x) or not len(y):
        return out
    if feature.is_real:
        with one_thread():
            clusters = KMeans(min(5, len(np.unique(x.round(9)))), n_init=1, random_state=0).fit_predict(x[:, None])
        share, deviation = np.bincount(clusters)[clusters] / len(x), np.median(np.abs(x - np.median(x)))
        # values lie in [-1, 1]: with classes 5 apart, those of one's own are the nearest; inf where it has none
        of_class = KDTree(np.stack([5.0 * other, y], axis=1))
        nearest, _ = of_class.query(np.stack([5.0 * own, x], axis=1), distance_upper_bound=3.0)
        out[known] = share * nearest < 1.48 * deviation
    else:
        share, width = np.bincount(x, minlength=feature.channels) / len(x), feature.channels
        out[known] = np.isin(own * width + x, other * width + y) & (share[x] < 0.5)
    return out
