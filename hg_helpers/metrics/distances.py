"""Distances between patients' whole courses, in blocks of bounded memory.

>>> import hg_helpers as hg
>>> flatten(hg.simulate_cohort(5, seed=1), hg.ART_DEMO).shape  # 60 months of 2 reals and 20 levels
(5, 1320)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import gen_batches

from .metric import Cohort, metric

#: Squared distances below this are rounding of the matrix product; such patients are copies.
EXACT = 1e-11
_BLOCK_VALUES = 8_000_000  # of one block of distances: 64 MB


@metric(scaled=True)
def flatten(cohort: Cohort) -> np.ndarray:
    """Patients as vectors whose squared Euclidean distance is a mean over features and months (Gower 1971, in squares).

    A real feature contributes the squared difference on the encoded scale [0, 1], a discrete one 0 (same level) or 1: a
    copy is at 0, at 1 all differs. What is unknown in one counts about half (reals 1/4 to 1/2), in both 0.
    """
    parts = [cohort.scaled] if cohort.schema.real else []
    if parts and not cohort.whole:
        missing = np.isnan(cohort.scaled)
        parts = [np.where(missing, 0.5, cohort.scaled), 0.5 * missing]
    for i, feature in enumerate(cohort.schema.discrete):
        one_hot = cohort.levels[:, :, i, None] == np.arange(feature.channels)
        parts.append(one_hot * np.sqrt(0.5))  # two channels differ when a level does
    out = np.concatenate(parts, axis=2).reshape(len(cohort), -1)
    out /= np.sqrt(cohort.months * len(cohort.schema))
    return out


class Neighbours(NamedTuple):
    distance: np.ndarray  # (queries, k), to the nearest references, ascending; inf where there are fewer than k
    position: np.ndarray  # (queries, k), of those references
    reverse: np.ndarray  # (references,), distance of each to its nearest query
    closer: np.ndarray  # (queries,), references closer than the query's radius; 0 without radii
    equal: np.ndarray  # and those at that distance up to rounding


def neighbours(
    queries: Cohort, references: Cohort, k: int = 1, same: bool = False, radii: np.ndarray | None = None
) -> Neighbours:
    """Nearest references of each query and the reverse, counts within ``radii``; ``same``: both are one set."""
    n, x, y = len(queries), flatten(queries), flatten(references)
    visits = [c.there.sum(axis=1) for c in (queries, references)]
    distance, position = np.full((n, k), np.inf), np.zeros((n, k), dtype=np.int64)
    reverse, counts = np.full(len(references), np.inf), np.zeros((2, n), dtype=np.int64)
    for rows in gen_batches(n, max(1, _BLOCK_VALUES // len(y))):
        block = euclidean_distances(x[rows], y, squared=True)
        if not queries.whole:  # the mean over the visits of the longer: else all short courses would be alike
            block *= queries.months / np.maximum(visits[0][rows, None], visits[1])
        block[block < EXACT] = 0.0
        if same:
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.inf
        if radii is not None:
            limit = radii[rows, None] ** 2
            tolerance = EXACT + 1e-9 * limit
            counts[0, rows] = (block < limit - tolerance).sum(axis=1)
            counts[1, rows] = (block <= limit + tolerance).sum(axis=1) - counts[0, rows]
        np.minimum(reverse, block.min(axis=0), out=reverse)
        for rank in range(min(k, block.shape[1])):  # k is small: as many passes beat a partial sort
            found = block.argmin(axis=1)
            position[rows, rank] = found
            distance[rows, rank] = block[np.arange(len(block)), found]
            block[np.arange(len(block)), found] = np.inf
    return Neighbours(np.sqrt(distance), position, np.sqrt(reverse), *counts)
