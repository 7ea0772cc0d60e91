"""What a month's value is made of: a level that is drawn, a regimen that is kept or changed, a measurement that errs.

An LSTM gives every month a value of its own; but a regimen is kept, and now and then changed, and a laboratory value is
read by an assay that errs. B patients, L months, C channels, R features that are measured.

>>> levels = torch.eye(2)[torch.tensor([[0, 1, 1, 0]])]  # (1, 4, 2): the candidates of four months
>>> switch = torch.tensor([[[-1.0], [-1.0], [1.0], [-1.0]]])  # only in the third month is one taken
>>> hold_or_switch(levels, switch).argmax(-1).tolist()
[[0, 0, 1, 1]]
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.66  # of whatever is rounded in the forward pass and soft in the backward one (Jang et al. 2017)
RARELY = -3.0  # where switch logits start: one month in twenty, so that a regimen begins as something that is kept


class Draws(NamedTuple):
    """What the heads draw beside the generator's noise z; None where they draw nothing."""

    gumbel: Tensor | None = None  # standard Gumbel (B, 1 or L, C), added to the logits of levels
    switch: Tensor | None = None  # standard logistic (B, L, 1): one decision a month, about the whole regimen
    assay: Tensor | None = None  # standard normal (B, L, R)

    def each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        """The same change of all that is drawn: a slice of the patients, another device."""
        return Draws(*(None if drawn is None else change(drawn) for drawn in self))


def gumbel(patients: int, months: int, channels: int, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise (patients, months, channels), on the CPU."""
    return -torch.empty(patients, months, channels).exponential_(generator=generator).clamp_min(1e-30).log()


def one_level(soft: Tensor) -> Tensor:
    """The most probable of the last dimension's levels, one-hot, with the derivative of the soft ones."""
    return torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0) + (soft - soft.detach())


def hold_or_switch(candidate: Tensor, switch: Tensor) -> Tensor:
    """Keep last month's level, or take this month's candidate (B, L, C).

        y_0 = candidate_0        s_t = 1[switch_t > 0]        y_t = y_(t-1) + s_t (candidate_t - y_(t-1))

    ``switch``, (B, L, 1), is a logit plus logistic noise: P(s_t = 1) = sigmoid(logit), which is learnt. A step has no
    derivative, so s_t is given that of sigmoid(switch_t / 0.66), as the straight-through heads are (Jang et al. 2017).
    """
    soft = torch.sigmoid(switch / TEMPERATURE)
    s = (switch > 0).to(soft) + (soft - soft.detach())
    held = [candidate[:, 0]]
    for s_t, candidate_t in zip(s.unbind(1)[1:], candidate.unbind(1)[1:], strict=True):
        held.append(held[-1] + s_t * (candidate_t - held[-1]))
    return torch.stack(held, 1)


class MeasurementNoise(nn.Module):
    """Assays err independently of one another, and each errs alike in everybody.

        x_t = sigmoid(m_t + w(sigmoid(m_t)) e_t)        e_t = r e_(t-1) + sqrt(1 - r^2) n_t        n_t ~ N(0, 1)

    m_t comes from the trunk. The width w of the error is a small function of the level alone: were it free, every
    synthetic patient would have an assay of their own, which gives them away. Its memory r is one number a feature.
    """

    def __init__(self, features: int, units: int = 16) -> None:  # R, and the width of the layer that gives w
        super().__init__()
        self.slope = nn.Parameter(2 * torch.randn(features, units))
        self.shift = nn.Parameter(0.5 * torch.randn(features, units))
        self.mix = nn.Parameter(0.3 * units**-0.5 * torch.randn(features, units))
        self.base = nn.Parameter(torch.full((features,), -1.0))
        self.memory = nn.Parameter(torch.zeros(features))

    def width(self, level: Tensor) -> Tensor:
        """w: standard deviation of the error on the logit scale, (B, L, R), of levels (B, L, R) in [0, 1]."""
        hidden = torch.tanh(level[..., None] * self.slope + self.shift)  # (B, L, R, units)
        return F.softplus((hidden * self.mix).sum(-1) + self.base)

    def errors(self, normal: Tensor) -> Tensor:
        """e_t of n_t, both (B, L, R) and of variance 1; written out, a sum over all months up to t."""
        r, months = torch.tanh(self.memory)[:, None, None], torch.arange(normal.shape[1], device=normal.device)
        ago = (months[:, None] - months).clamp_min(0)  # (L, L)
        new = torch.where(months > 0, (1 - r.square()).sqrt(), 1.0)  # the first error is as wide as the others
        return torch.einsum("rts,bsr->btr", (r**ago * new).tril(), normal)

    def forward(self, course: Tensor, normal: Tensor) -> Tensor:
        """Logits of the course (B, L, R) and n_t to logits of what is measured."""
        return course + self.width(torch.sigmoid(course)) * self.errors(normal)


def visited(x: Tensor, course: slice | None) -> Tensor:
    """Which visits (B, L) patients (B, L, C) have, given the channels of a course's length, if any ends early."""
    last = x[:, 0, course].argmax(-1) if course else x.new_full((len(x),), x.shape[1] - 1)
    return torch.arange(x.shape[1], device=x.device) <= last[:, None]


def until_the_end(x: Tensor, course: slice | None) -> Tensor:
    """Behind its last visit a generated course (B, L, C) repeats it, as real ones do when they are encoded."""
    if course is None:
        return x
    months = visited(x, course).cumsum(1) - 1
    return x.gather(1, months[..., None].expand_as(x))


def change_rates(generator: nn.Module, x: Tensor) -> Tensor:
    """How often each feature that is held or switched changes between visits of patients (B, L, C), and any of them."""
    moved = [x[..., span].argmax(-1).diff(dim=1).ne(0) for span in generator.held]
    moved = torch.stack([*moved, sum(moved, torch.zeros_like(x[:, 1:, 0])) > 0], -1)
    moved = moved[visited(x, generator.course)[:, 1:]]
    return moved.sum(0) / max(1, len(moved))


def level_shares(generator: nn.Module, x: Tensor) -> Tensor:
    """How frequent each level is (C,) among visits of patients (B, L, C), or if static among patients; reals are 0."""
    shares, patients = x[visited(x, generator.course)].mean(0), x[:, 0].mean(0)
    for real, static, span in generator.order:
        if real or static:
            shares[span] = 0.0 if real else patients[span]
    return shares


def scheduled(generator: nn.Module, x: Tensor) -> Tensor | None:
    """What all patients (B, L, C) have at a visit, which chance would hardly bring (1 in 1,000); (L, C), else NaN."""
    there, fixed = visited(x, generator.course), x.new_full(x.shape[1:], torch.nan)
    for visit, (_, static, span) in product(range(x.shape[1]), generator.order):
        here = x[there[:, visit], visit, span]
        if not static and len(here) >= 20 and (here == here[0]).all():  # of fewer, it may be a secret
            share = (x[..., span] == here[0]).all(-1)[there].float().mean()
            fixed[visit, span] = here[0] if share ** len(here) < 1e-3 else torch.nan
    return None if fixed.isnan().all() else fixed


@torch.no_grad()
def start_at(generator: nn.Module, x: Tensor) -> None:
    """Begin with what counting tells of real patients (B, L, C), so that no level starts as one that is lost.

    Levels begin with their shares, reals with their means, switches as often, and pairs, in a chain, as frequent.
    """
    course, last = generator.course, generator.body[-1]
    flat = x[visited(x, course)]
    share = flat.mean(0).clamp(1e-3, 1 - 1e-3)
    if course:  # of patients, not of visits; a length that nobody has stays as good as impossible
        share[course] = x[:, 0, course].mean(0).clamp(1e-6, 1 - 1e-3)
    last.weight /= 2  # patients differ, but not so much that the shares are lost
    for real, _, span in generator.order:
        last.bias[span] = torch.logit(share[span]) if real else share[span].log()
    changes = change_rates(generator, x)
    for k, span in enumerate(generator.held):  # of the candidates that are taken, some are the level held already
        taken = changes[k] / (1 - share[span].square().sum()).clamp_min(1e-3)
        last.bias[generator.channels + k] = torch.logit(taken.clamp(1e-3, 1 - 1e-3))
    if generator.given is not None:
        lift = ((flat.mT @ flat / len(flat) + 1e-3) / (share[:, None] * share + 1e-3)).log()
        for before, span in combinations([span for real, _, span in generator.order if not real], 2):
            generator.given[before, span] = lift[before, span]
