"""Which patients, how many of their months, in which order.

>>> for length, patients in curriculum_batches(patients=3, lengths=(10, 60), batch_size=2, seed=0, epoch=0):
...     print(length, patients.tolist())
10 [1, 2]
10 [0]
60 [0, 1]
60 [2]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch


def curriculum_batches(
    patients: int, lengths: tuple[int, ...], batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """The batches of one epoch: short trajectories first, every patient once at each length.

    The order is a function of (seed, epoch, length) alone, so training can be taken up again at any batch. Patients are
    shared out evenly: 300 in batches of at most 256 make two of 150, not one of 256 and a rest of 44.

    Yields:
        (length, indices): take ``x[indices, :length]``.
    """
    for length in lengths:
        order = np.random.default_rng([seed, epoch, length]).permutation(patients)
        for batch in np.array_split(order, -(-patients // batch_size)):
            yield length, torch.from_numpy(batch)
