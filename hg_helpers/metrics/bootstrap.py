"""Confidence intervals of the headline numbers: patients, not months, are drawn with replacement.

A replicate weighs each patient by the number of times that patient was drawn, instead of copying tables.

>>> weights = draw_weights(patients=20, replicates=3, rng=np.random.default_rng(0))
>>> weights.shape, weights.sum(axis=1).tolist()
((3, 20), [20.0, 20.0, 20.0])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from ..cohort.arrays import CohortArrays, discrete_positions, group_rows, joint_groups
from .comparisons import Comparison, joined
from .diversity import is_counted, is_covered
from .metric import NAN
from .privacy import PrivacyDistances, dcr_share, membership_auc
from .utility import Prediction

#: With fewer patients than this a bootstrap says more of its own coarseness than of the cohort.
MINIMUM_PATIENTS = 10
Replicates = dict[tuple[str, str], np.ndarray]


def headline_replicates(
    c: Comparison, distances: PrivacyDistances, answers: dict[str, list[Prediction]], replicates: int
) -> Replicates:
    """Replicates of the headline metrics, by metric and feature.

    Held-out and synthetic patients of the first draw are drawn with replacement; for the two AUCs of utility only the
    held-out ones, for the models stay as they are. Empty with 0 replicates or fewer than 10 patients in a set.
    """
    fewest = min(len(c.train), len(c.holdout), len(c.synthetic))
    if replicates == 0 or fewest < MINIMUM_PATIENTS:
        return {}
    rng = np.random.default_rng([c.seed, 3])
    pair, schema = (c.holdout, c.drawn(0)[0]), c.holdout.schema
    weights = [draw_weights(len(cohort), replicates, rng) for cohort in pair]
    once = [np.ones((1, len(cohort))) for cohort in pair]  # everybody, as in the metric itself
    out: Replicates = {}
    for feature in schema.real:
        out["ks", feature.name] = ks_replicates(*(cohort.values(feature.name) for cohort in pair), weights)
    for i, feature in enumerate(schema.discrete):
        out["tv", feature.name] = tv_replicates(group_shares(*pair, [i], "month", weights))
    for names in filter(None, c.joints):
        positions = discrete_positions(schema, names)
        for by in ("month", "patient"):
            shares = group_shares(*pair, positions, by, weights)
            if by == "month":
                out["joint_tv", joined(names)] = tv_replicates(shares)
            (real,), _ = group_shares(*pair, positions, by, once)
            out[f"coverage_{by}", joined(names)] = coverage_replicates(shares, is_counted(real))
    _, closer = dcr_share(c.train, c.holdout, c.synthetic, distances=distances)
    _, attacked = membership_auc(c.train, c.holdout, c.synthetic, distances=distances)
    real = np.concatenate([draw_weights(len(cohort), replicates, rng) for cohort in (c.train, c.holdout)], axis=1)
    nearest = closer["nearest holdout"].to_numpy()
    out["dcr_share", "all"] = cluster_replicates(closer["closer to train"].to_numpy(), nearest, replicates, rng)
    score = -attacked["distance"].to_numpy()
    out["membership_auc", "all"] = auc_replicates(attacked["member"].to_numpy(), score, real)
    for metric, predictions in answers.items():
        for answer in predictions:
            if answer.score is not None:
                rows = weights[0][:, answer.patient]
                out[metric, answer.feature] = auc_replicates(answer.label, answer.score, rows)
    return out


def draw_weights(patients: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn in each replicate; (replicates, patients), each row sums to ``patients``."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=replicates).astype(np.float64)


def interval(
    value: float, replicates: np.ndarray, limits: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the replicates, moved so that their mean lies on the value, and within ``limits``.

    Drawing with replacement makes two cohorts look less alike than they are (some patients thrice, some never): the
    spread of the replicates is right, their place is not. NaN where fewer than half of them, or not the value, are
    defined.
    """
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or len(defined) < max(2, len(replicates) / 2):
        return NAN, NAN
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) - defined.mean() + value
    return float(np.clip(low, *limits)), float(np.clip(high, *limits))


def ks_replicates(real: np.ndarray, synthetic: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Kolmogorov-Smirnov statistic in every replicate, of values (patients, months) with NaN where there is none."""
    known = [~np.isnan(x) for x in (real, synthetic)]
    values = np.concatenate([real[known[0]], synthetic[known[1]]])
    owner = np.concatenate([np.nonzero(known[0])[0], np.nonzero(known[1])[0] + len(real)])
    order = np.argsort(values, kind="stable")
    owner = owner[order]
    ends = np.flatnonzero(np.diff(values[order], append=np.inf) > 0)  # the last of each run of equal values
    if not all(k.any() for k in known):
        return np.full(len(weights[0]), NAN)
    scaled = [_over(w, w @ k.sum(axis=1)) for w, k in zip(weights, known, strict=True)]
    scaled = np.concatenate([scaled[0], -scaled[1]], axis=1)
    return np.array([np.abs(np.cumsum(row[owner])[ends]).max() for row in scaled])


def group_shares(
    real: CohortArrays, synthetic: CohortArrays, positions: list[int], by: str, weights: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of every joint group in every replicate, of the real and of the synthetic cohort; (replicates, groups)."""
    rows, patients = zip(*(group_rows(c, positions, by) for c in (real, synthetic)), strict=True)
    codes, groups = joint_groups(*rows)
    shares = []
    for cohort, code, patient, weight in zip((real, synthetic), codes, patients, weights, strict=True):
        # sparse: a patient visits few of what may be thousands of groups
        counts = sparse.coo_matrix((np.ones(len(code)), (patient, code)), shape=(len(cohort), len(groups))).tocsr()
        shares.append(_over((counts.T @ weight.T).T, weight @ np.bincount(patient, minlength=len(cohort))))
    return shares[0], shares[1]


def _over(parts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Each replicate's parts over its total; NaN where that has nothing."""
    return np.divide(parts, total[:, None], out=np.full(parts.shape, NAN), where=total[:, None] > 0)


def tv_replicates(shares: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return 0.5 * np.abs(shares[0] - shares[1]).sum(axis=1)


def coverage_replicates(shares: tuple[np.ndarray, np.ndarray], counted: np.ndarray) -> np.ndarray:
    covered = is_covered(*(s[:, counted] for s in shares))
    return covered.mean(axis=1) if counted.any() else np.full(len(covered), NAN)


def auc_replicates(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in every replicate, from (replicates, rows) weights; NaN with one class only."""
    _, rank = np.unique(score, return_inverse=True)
    size = rank.max() + 1
    out = np.full(len(weights), NAN)
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
    """Mean of values in every replicate when whole clusters are drawn; NaN where these are few.

    Many synthetic patients share one nearest held-out patient, and are drawn together with that one.
    """
    names, code = np.unique(cluster, return_inverse=True)
    if len(names) < MINIMUM_PATIENTS:
        return np.full(replicates, NAN)
    total, size = np.bincount(code, weights=values), np.bincount(code)
    weights = draw_weights(len(size), replicates, rng)
    return weights @ total / (weights @ size)
