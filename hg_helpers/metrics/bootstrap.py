"""Confidence intervals of the headline numbers: patients, not months, are drawn with replacement.

A replicate weighs each patient by the number of times that patient was drawn, so that shares and distribution functions
come from weighted counts instead of copied tables.

>>> weights = draw_weights(patients=20, replicates=3, rng=np.random.default_rng(0))
>>> weights.shape, weights.sum(axis=1).tolist()
((3, 20), [20.0, 20.0, 20.0])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from ..cohort.arrays import CohortArrays, group_rows, joint_groups
from .diversity import is_covered

#: With fewer patients than this a bootstrap says more of its own coarseness than of the cohort.
MINIMUM_PATIENTS = 10


def draw_weights(patients: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn in each replicate; (replicates, patients), each row sums to ``patients``."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=replicates).astype(np.float64)


def interval(
    value: float, replicates: np.ndarray, limits: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the replicates, moved so that their mean lies on the value.

    Drawing with replacement makes two cohorts look less alike than they are (some patients thrice, some never), which
    lifts every distance and lowers every coverage. The spread of the replicates is right, their place is not.

    Returns:
        low and high, within ``limits``; NaN where fewer than half of the replicates, or not the value, are defined.
    """
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or len(defined) < max(2, len(replicates) / 2):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) - defined.mean() + value
    return float(np.clip(low, *limits)), float(np.clip(high, *limits))


def ks_replicates(real: np.ndarray, synthetic: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Kolmogorov-Smirnov statistic of one feature in every replicate.

    Args:
        real, synthetic: (patients, months) values.
        weights: of the real and of the synthetic patients, from :func:`draw_weights`.
    """
    values = np.concatenate([real.ravel(), synthetic.ravel()])
    order = np.argsort(values, kind="stable")
    owner = np.concatenate(
        [np.repeat(np.arange(len(c)) + k, c.shape[1]) for c, k in ((real, 0), (synthetic, len(real)))]
    )
    owner = owner[order]
    ends = np.flatnonzero(np.diff(values[order], append=np.inf) > 0)  # the last of each run of equal values
    scaled = np.concatenate([weights[0] / real.size, -weights[1] / synthetic.size], axis=1)
    return np.array([np.abs(np.cumsum(row[owner])[ends]).max() for row in scaled])


def group_shares(
    real: CohortArrays, synthetic: CohortArrays, positions: list[int], by: str, weights: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of every joint group in every replicate, of the real and of the synthetic cohort; (replicates, groups)."""
    codes, groups = joint_groups(*(group_rows(c, positions, by) for c in (real, synthetic)))
    shares = []
    for cohort, code, weight in zip((real, synthetic), codes, weights, strict=True):
        patient = np.repeat(np.arange(len(cohort)), len(code) // len(cohort))
        # sparse: a patient visits few of what may be thousands of groups
        counts = sparse.coo_matrix((np.ones(len(code)), (patient, code)), shape=(len(cohort), len(groups))).tocsr()
        shares.append((counts.T @ weight.T).T / len(code))
    return shares[0], shares[1]


def tv_replicates(shares: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Total variation in every replicate."""
    return 0.5 * np.abs(shares[0] - shares[1]).sum(axis=1)


def coverage_replicates(shares: tuple[np.ndarray, np.ndarray], counted: np.ndarray) -> np.ndarray:
    """Share of the ``counted`` groups that are covered, in every replicate; as :func:`hg_helpers.metrics.coverage`."""
    covered = is_covered(*(s[:, counted] for s in shares))
    return covered.mean(axis=1) if counted.any() else np.full(len(covered), np.nan)


def auc_replicates(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in every replicate, from the weight of each scored row; NaN with one class only.

    Args:
        weights: (replicates, rows).
    """
    _, rank = np.unique(score, return_inverse=True)
    size = rank.max() + 1
    out = np.full(len(weights), np.nan)
    for i, weight in enumerate(weights):
        positive = np.bincount(rank, weights=weight * label, minlength=size)
        negative = np.bincount(rank, weights=weight * ~label, minlength=size)
        pairs = positive.sum() * negative.sum()
        if pairs > 0:  # every positive beats the negatives below it and half of those at its score
            out[i] = (positive * (np.cumsum(negative) - 0.5 * negative)).sum() / pairs
    return out


def cluster_replicates(
    values: np.ndarray, cluster: np.ndarray, replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """Mean of values in every replicate when whole clusters are drawn.

    For the distance to the closest record: many synthetic patients share one nearest held-out patient, and are drawn
    together with that one. NaN where there are too few clusters to say anything.
    """
    names, code = np.unique(cluster, return_inverse=True)
    if len(names) < MINIMUM_PATIENTS:
        return np.full(replicates, np.nan)
    total, size = np.bincount(code, weights=values), np.bincount(code)
    weights = draw_weights(len(size), replicates, rng)
    return weights @ total / (weights @ size)
