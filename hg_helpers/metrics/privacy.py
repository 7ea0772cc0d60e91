"""Privacy: does the synthetic cohort say more of the patients it was made from than of other people?

Distances are between whole courses (:func:`hg_helpers.metrics.distances.flatten`), 0 to 1. These metrics are the only
ones in which synthetic patients are held against those who were used to make them: that is their question. Their floors
come from real patients in the place of the synthetic ones.

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("age", "real", transform="none")], patient="id", time="month", length=1)
>>> train, others = (pd.DataFrame({"id": range(3), "month": 0, "age": ages}) for ages in ([20, 40, 60], [30, 50, 55]))
>>> hg.metrics.membership_auc(train, others, train, schema)[0]  # released as they are, all members are found
1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln
from sklearn.metrics import roc_auc_score

from ..cohort.arrays import CohortArrays
from .distances import Neighbours, neighbours
from .metric import NAN, Result, metric, with_note


@dataclass(frozen=True, eq=False)
class PrivacyDistances:
    """Neighbours of synthetic patients among the training and the held-out patients, found once for several metrics."""

    train: CohortArrays
    holdout: CohortArrays
    synthetic: CohortArrays
    to_train: Neighbours  # of synthetic patients, two nearest
    to_holdout: Neighbours  # of synthetic patients
    equal: tuple[np.ndarray, np.ndarray]  # distances to both at equal numbers: a random part of the larger set


@metric(scaled=True)
def privacy_distances(train: CohortArrays, holdout: CohortArrays, synthetic: CohortArrays) -> PrivacyDistances:
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
            part = np.random.default_rng(0).choice(len(cohort), fewer, replace=False)
            found = neighbours(synthetic, cohort.take(part))
        equal.append(found.distance[:, 0])
    return PrivacyDistances(train, holdout, synthetic, to_train, to_holdout, tuple(equal))


@metric(scaled=True)
def neighbours_of(cohort: CohortArrays, train: CohortArrays) -> Neighbours:
    """Two nearest training patients of each patient of another cohort."""
    return neighbours(cohort, train, k=2)


@metric(best=0.5, scaled=True)
def dcr_share(
    train: CohortArrays, holdout: CohortArrays, synthetic: CohortArrays, distances: PrivacyDistances | None = None
) -> Result:
    """Distance to the closest record: share of synthetic patients closer to training than to held-out patients.

    Of the larger of the two sets only as many patients count as the smaller has, so that 0.5 is ideal; the share is the
    average over *all* such subsamples, which is exact: among n training patients of whom c lie closer than the nearest
    of h held-out ones, a random h include none of the c with probability C(n-c, h) / C(n, h). Equal distances count
    one half. Above 0.5 the cohort leans towards its training patients. Exact copies of everybody reach 1 with h >= n,
    and about (1 + h / n) / 2 with fewer held out: the note says how much. ``distances`` saves time.

    Table: synthetic patient, distance to the closest training and held-out patient, the position of the latter, the
    probability that a subsample is closer, and the two distances at equal numbers, to a random part of the larger set.

    Source: Platzer & Reutterer 2021, Front. Big Data 4:679939 (with a holdout); subsampling for sets of unequal size.
    """
    found = distances or privacy_distances(train, holdout, synthetic)
    n, h = len(found.train), len(found.holdout)
    if h <= n:
        share = _chance_of_closer(found.to_train.closer, found.to_train.equal, n, h)
    else:
        share = 1 - _chance_of_closer(found.to_holdout.closer, found.to_holdout.equal, h, n)
    columns = {"patient": found.synthetic.patients}
    columns |= {"to train": found.to_train.distance[:, 0], "to holdout": found.to_holdout.distance[:, 0]}
    columns |= {"nearest holdout": found.to_holdout.position[:, 0], "closer to train": share}
    columns |= {f"to {name}, equal numbers": d for name, d in zip(("train", "holdout"), found.equal, strict=True)}
    reach = 1 - 0.5 * max(0.0, 1 - h / n)
    note = f"copies of everybody would reach {reach:.2f} at these numbers"
    return float(share.mean()), with_note(pd.DataFrame(columns), note)


def _chance_of_closer(closer: np.ndarray, equal: np.ndarray, n: int, drawn: int) -> np.ndarray:
    """Chance that ``drawn`` of n patients include a closer one, plus half the chance that the best is an equal one."""

    def none_of(k: np.ndarray) -> np.ndarray:
        left = np.maximum(n - k, drawn)  # fewer than are drawn: impossible, set to 0 below
        log = gammaln(left + 1) - gammaln(left - drawn + 1) - gammaln(n + 1) + gammaln(n - drawn + 1)
        return np.where(n - k < drawn, 0.0, np.exp(log))

    no_closer, no_equal = none_of(closer), none_of(closer + equal)
    return 1 - no_closer + 0.5 * (no_closer - no_equal)


@metric(best=1.0, scaled=True)
def nndr(train: CohortArrays, synthetic: CohortArrays, to_train: Neighbours | None = None) -> Result:
    """Nearest-neighbour distance ratio: distance to the closest training patient over that to the second closest.

    Mean over synthetic patients. Near 1, no training patient is singled out; a copy of one patient scores 0. Two
    training patients at distance 0 are the same record twice, which singles out neither: 1.

    Source: Lowe 2004 for the ratio; Zhao et al. 2021, CTAB-GAN, ACML, as a privacy measure.
    """
    two = (to_train or neighbours_of(synthetic, train)).distance
    table = pd.DataFrame({"patient": synthetic.patients, "first": two[:, 0], "second": two[:, 1]})
    if len(train) < 2:
        return NAN, with_note(table, "a single training patient has no second nearest")
    table["ratio"] = np.divide(two[:, 0], two[:, 1], out=np.ones(len(two)), where=two[:, 1] > 0)
    return float(table["ratio"].mean()), with_note(table)


@metric(scaled=True)
def copy_threshold(train: CohortArrays, quantile: float = 0.01) -> float:
    """Distance within which only ``quantile`` of the training patients have another one; 0 for a single patient."""
    return float(np.quantile(neighbours(train, train, same=True).distance, quantile)) if len(train) > 1 else 0.0


@metric(best=0.0, scaled=True)
def copies(
    train: CohortArrays,
    synthetic: CohortArrays,
    quantile: float = 0.01,
    to_train: Neighbours | None = None,
    threshold: float | None = None,
) -> Result:
    """Share of synthetic patients who are exact or near copies of a training patient.

    Exact: the same encoded course. Near: closer to a training patient than all but ``quantile`` of the training
    patients are to each other; so about ``quantile`` of other real patients are near copies too, which is the floor.
    ``to_train`` and ``threshold`` (:func:`neighbours_of`, :func:`copy_threshold`) save time.
    """
    found = to_train or neighbours_of(synthetic, train)
    threshold = copy_threshold(train, quantile=quantile) if threshold is None else threshold
    distance, nearest = found.distance[:, 0], train.patients[found.position[:, 0]]
    table = pd.DataFrame({"patient": synthetic.patients, "nearest": nearest, "distance": distance})
    table["exact"] = distance == 0
    table["near"] = (distance < threshold) | table["exact"]
    table.attrs["threshold"] = threshold
    return float(table["near"].mean()), with_note(table)


@metric(best=0.5, scaled=True)
def membership_auc(
    train: CohortArrays, holdout: CohortArrays, synthetic: CohortArrays, distances: PrivacyDistances | None = None
) -> Result:
    """Membership inference: how well the distance to the nearest synthetic patient tells members from others.

    The attacker holds real courses and the synthetic cohort, and calls those closest to it members of the training set.
    Area under the ROC curve of this: 0.5 is ideal, 1 gives every member away, whatever the numbers of members and
    others. This attack is simple: a low score is no proof of privacy.

    Source: Chen et al. 2020, GAN-Leaks, CCS (full black box, without calibration).
    """
    found = distances or privacy_distances(train, holdout, synthetic)
    distance = np.concatenate([found.to_train.reverse, found.to_holdout.reverse])
    member = np.arange(len(distance)) < len(found.train)
    patients = np.concatenate([found.train.patients, found.holdout.patients])
    table = pd.DataFrame({"patient": patients, "member": member, "distance": distance})
    return float(roc_auc_score(member, -distance)), with_note(table)
