"""v2_plus's two critics: one of months, with convolutions, and one of a line a patient: means, spreads, changes.

The critic of months sees every month, but what a whole course amounts to reaches it only thinly: its slope is bounded
by 1 in the months, and a mean over 60 of them moves each by a sixtieth. A second, small critic looks at summaries
alone, in units of their spread between real patients: what is odd in a whole course then weighs as an odd month does.

Shapes: B patients, L months, C channels, R real features, K summaries.

>>> from hg_helpers.cohort.art import ART_DEMO
>>> x = torch.rand(8, 60, ART_DEMO.channels)
>>> summaries = Summaries(x, ART_DEMO, lengths=[60])
>>> SummaryCritic(ART_DEMO, hidden=4)(summaries(x)).shape
torch.Size([8, 1])
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..cohort.schema import Schema
from .networks import Critic, layers, real_channels

#: Months apart at which changes of a value are taken.
LAGS = (1, 2, 4, 8)
#: Knots of the ranks: what is crowded at the end of a scale, as high viral loads are, is told apart by rank alone.
KNOTS = 50
#: Most values from which the knots are found.
SAMPLE = 100_000


class ConvolutionalCritic(Critic):
    """Scores a trajectory by what its stretches of months look like on average, instead of by an LSTM's last state.

    Three convolutions over time see 3, 7 and 15 months; what they find is averaged over the months, once as it is and
    once squared, and three layers score it. Its gradient penalty costs about a third of the LSTM's.
    """

    def __init__(self, schema: Schema, hidden: int) -> None:
        super().__init__(schema, hidden)
        del self.lstm
        parts = []
        for inputs, apart in ((schema.width, 1), (hidden, 2), (hidden, 4)):
            parts += [nn.Conv1d(inputs, hidden, 3, padding=apart, dilation=apart), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*parts)
        self.score = layers(2 * hidden, 2 * hidden, 2 * hidden, 1)

    def forward(self, x: Tensor, twice: bool = True) -> Tensor:
        h = self.body(self.embed(x).mT)  # (B, H, L)
        return self.score(torch.cat([h.mean(2), h.square().mean(2)], -1))


CRITICS = {"recurrent": Critic, "convolutional": ConvolutionalCritic}


class SummaryCritic(nn.Module):
    """Scores how real a patient's summaries look together, (B, K) to (B, 1)."""

    def __init__(self, schema: Schema, hidden: int) -> None:
        super().__init__()
        knots = torch.zeros(len(schema.real), KNOTS + 1) if schema.real else None
        number = summarise(torch.zeros(1, 2, schema.channels), schema, knots).shape[1]
        self.body = layers(number, 2 * hidden, 2 * hidden, 1)

    def forward(self, summaries: Tensor) -> Tensor:
        return self.body(summaries)


class Summaries:
    """Summaries of encoded patients (B, L, C), as (B, K), in standard units of the training patients at that length.

    Args:
        x: encoded training patients (patients, months, C).
        lengths: months from the start, as the curriculum will ask for them.
    """

    def __init__(self, x: Tensor, schema: Schema, lengths: Iterable[int]) -> None:
        self.schema = schema
        values = x[..., real_channels(schema)].flatten(0, 1)
        values = values[torch.linspace(0, len(values) - 1, min(len(values), SAMPLE), device=x.device).long()]
        share = torch.linspace(0, 1, KNOTS + 1, device=x.device)
        self.knots = torch.stack([torch.quantile(v, share) for v in values.unbind(1)]) if values.shape[1] else None
        self._at = {}
        for length in lengths:
            lines = torch.cat([summarise(block, schema, self.knots) for block in x[:, :length].split(1024)])
            self._at[length] = lines.mean(0), lines.std(0, correction=0).clamp_min(0.02)

    def __call__(self, x: Tensor) -> Tensor:
        centre, unit = self._at[x.shape[1]]
        return (summarise(x, self.schema, self.knots) - centre) / unit


def summarise(x: Tensor, schema: Schema, knots: Tensor | None) -> Tensor:
    """One line a patient, (B, L, C) to (B, K), in the units of the encoded channels; differentiable.

    Of each real feature, as it is and by rank: level, spread, extremes, ends, changes over some months; of each pair of
    them, how they move together; of each discrete feature the share of months at each level and of months with a
    change; and the share of months in which anything changes.

    Args:
        knots: (R, KNOTS + 1), quantiles of the real features; None where the schema has none.
    """
    parts, months = [], x.shape[1]
    if knots is not None:
        values = x[..., real_channels(schema)]
        parts = [part for scale in (values, ranks(values, knots)) for part in _of_values(scale)]
        first, second = torch.triu_indices(len(knots), len(knots), 1)
        for moved in (values - values.mean(1, keepdim=True), values.diff(dim=1)):
            together = (moved[..., first] * moved[..., second]).sum(1)
            apart = (moved.square().sum(1) + 1e-4).sqrt()
            parts += [together / months, together / (apart[..., first] * apart[..., second])]  # covariance, correlation
    still = torch.ones_like(x[:, 1:, 0])
    for feature in schema.discrete:
        levels = x[..., schema.spans[feature.name]]
        parts.append(levels.mean(1))
        if not feature.static:
            changes = levels.diff(dim=1).abs().sum(2) / 2  # (B, L - 1), 1 where the level is another one
            parts.append(changes.sum(1, keepdim=True) / months)
            still = still * (1 - changes)
    return torch.cat([*parts, (1 - still).sum(1, keepdim=True) / months], -1)


def ranks(values: Tensor, knots: Tensor) -> Tensor:
    """Share of the training patients' values that are smaller, (B, L, R); linear between the knots."""
    out = []
    for value, at in zip(values.unbind(-1), knots, strict=True):
        right = torch.searchsorted(at, value.detach().contiguous()).clamp(1, KNOTS)
        low, high = at[right - 1], at[right]
        out.append((right - 1 + (value - low) / (high - low).clamp_min(1e-4)) / KNOTS)
    return torch.stack(out, -1)


def _of_values(values: Tensor) -> list[Tensor]:
    """Level, spread, extremes, ends and changes of values (B, L, R); a change over more months than there are is 0."""
    spread = (values.var(1, correction=0) + 1e-6).sqrt()  # the root has no derivative at 0
    parts = [values.mean(1), spread, values.amin(1), values.amax(1), values[:, 0], values[:, -1]]
    for lag in LAGS:
        parts.append((values[:, lag:] - values[:, :-lag]).abs().sum(1) / max(values.shape[1] - lag, 1))
    steps = values.diff(dim=1).square().sum(1) / max(values.shape[1] - 1, 1)
    return [*parts, (steps + 1e-6).sqrt()]
