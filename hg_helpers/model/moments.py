"""The moment loss: do generated patients combine levels, change and differ as real ones do?"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..cohort.schema import Schema
from ..runtime.distributed import ALONE, Peers


def co_moments(x: Tensor, power: int = 1) -> Tensor:
    """Of each patient, mean products of all pairs of channels: of values, of changes, and of the patient's means.

    For levels (0 or 1) the first are the shares of months that have both, the second how often a level is taken up or
    left; the third tell patients who differ from patients who are all alike. A constant 1 stands beside the channels,
    so that the means are there as well.

    Args:
        x: (B, L, C).
        power: 2 for mean squared products.

    Returns:
        (B, 3, C + 1, C + 1), differentiable in x; with one month alone, there is no change: 0.
    """
    x = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    parts = [part**power for part in (x, x[:, 1:] - x[:, :-1], x.mean(1, keepdim=True))]
    return torch.stack([part.mT @ part / max(part.shape[1], 1) for part in parts], 1)


def moment_loss(fake: Tensor, target: Tensor, squared: Tensor, peers: Peers = ALONE) -> Tensor:
    """How far the mean co-moments are off: squares in units of the real mean squared products, summed.

    The square of a mean over few patients is too large by their variance over their number; made smaller, it would
    make patients alike. So it is taken off, which leaves the products of different patients: in the mean over batches
    the loss is the square of the true difference, and 0 or below where there is none.

    Args:
        fake: co-moments of generated patients (B, 3, K, K).
        target, squared: mean over real patients of their co-moments and of their squared products, (3, K, K).

    Returns:
        Scalar. With a single patient nothing can be taken off.
    """
    off = (fake - target) * (squared + 1e-3).rsqrt()  # what no real patient has would divide by 0
    joint, own = peers.mean(off.mean(0)).square().sum(), peers.mean(off.square().sum((1, 2, 3)).mean())
    patients = peers.rows(len(off))
    return (patients * joint - own) / (patients - 1) if patients > 1 else joint


class RealMoments:
    """What the moment loss compares with: co-moments of the training patients at each length.

    Args:
        x: encoded training patients (patients, months, C).
        schema: says which channels are real; those are taken in standard units of these patients.
        lengths: months from the start, as the curriculum will ask for them.
    """

    def __init__(self, x: Tensor, schema: Schema, lengths: Iterable[int]) -> None:
        self._centre, self._unit = x.new_zeros(x.shape[2]), x.new_ones(x.shape[2])
        for feature in schema.real:
            span = schema.spans[feature.name]
            self._centre[span], self._unit[span] = x[..., span].mean(), x[..., span].std().clamp_min(1e-3)
        self._at = {}
        for length in lengths:
            sums = [0.0, 0.0]
            for block in self._standard(x[:, :length]).split(1024):
                sums = [total + co_moments(block, power).sum(0) for total, power in zip(sums, (1, 2), strict=True)]
            self._at[length] = [total / len(x) for total in sums]

    def loss(self, fake: Tensor, peers: Peers = ALONE) -> Tensor:
        """:func:`moment_loss` of encoded generated patients (B, L, C), L one of the lengths."""
        return moment_loss(co_moments(self._standard(fake)), *self._at[fake.shape[1]], peers)

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self._centre) / self._unit
