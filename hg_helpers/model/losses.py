"""The losses: one equation, one function, each over a whole batch of patients.

>>> real = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0))  # 4 patients, 6 months, 3 channels
>>> correlation_loss(real, correlation_matrix(real)).item()
0.0
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cohort.schema import Schema
from ..runtime.fast_lstm import inputs_alone
from .networks import layers, real_channels


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """mean (||grad_x D(x)||_2 - 1)^2 at x = mix real + (1 - mix) fake (Gulrajani et al. 2017, equation 3).

    ``mix``, (B, 1, 1), uniform on [0, 1], is one number a patient, and the norm is over months and channels together.
    """
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    score = critic(x).sum()
    with inputs_alone():  # for speed: of the derivatives, only that of x is wanted here
        (slope,) = torch.autograd.grad(score, x, create_graph=True)
    norm = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()  # at exactly zero its own derivative would be undefined
    return (norm - 1).square().mean()


def correlation_matrix(x: Tensor) -> Tensor:
    """Pearson correlation over all patient-months, (B, L, C) to (C, C); 0 where a channel is constant."""
    flat = x.flatten(0, 1)
    centred = flat - flat.mean(0).detach()  # to first order, a covariance does not change with its centre
    covariance = centred.mT @ centred / len(flat)
    variance = covariance.diagonal()
    # float32 rounding leaves a constant channel a variance of about (1e-7 times its value)^2
    varies = variance > 1e-12 * (1 + flat.detach().square().mean(0))
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    return covariance * scale[:, None] * scale


def correlation_loss(fake: Tensor, target: Tensor, cap: Tensor | None = None) -> Tensor:
    """Mean absolute difference between the correlations of fake patients (B, L, C) and the target (C, C).

    With ``cap``, uniform u (C, C), both become sign(r) min(|r|, u), as in the older code: weaker, since a fake
    correlation has a derivative only where u > |r|, in a share 1 - |r| of steps.
    """
    found = correlation_matrix(fake)
    if cap is not None:
        found, target = (r.sign() * torch.minimum(r.abs(), cap) for r in (found, target))
    return (found - target).abs().mean()


def autoencoder_loss(
    reconstruction: Tensor, e: Tensor, latent: Tensor, posterior: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean square reconstruction error (B, L, E) and Kullback-Leibler divergence, apart; their sum is the loss.

    The divergence is of N(mu, sigma^2) from N(0, 1), summed over latent dimensions, mu and sigma^2 the moments of the
    latent vectors (B, L, Z) over the batch's patients and months: the aggregate is matched. With ``posterior``, means
    and log variances (B, L, Z), it is each sample's own, averaged: the textbook form (Kingma & Welling 2014, app. B).
    """
    if posterior is None:
        flat = latent.flatten(0, 1)
        mean = flat.mean(0)
        variance = (flat - mean.detach()).square().mean(0) * (len(flat) / max(len(flat) - 1, 1))
        posterior = mean, variance.clamp_min(1e-8).log()  # the floor is for equal rows
    mean, log_variance = posterior
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return F.mse_loss(reconstruction, e), divergence.sum(-1).mean()


def co_moments(x: Tensor, power: int = 1) -> Tensor:
    """Of each patient, mean products of all pairs of channels, or their squares (``power`` 2): values, changes, means.

    Of levels (0 or 1), the first are shares of months that have both, the second how often one is taken up or left; the
    third tell patients who differ from alike ones. Beside the channels stands a 1: (B, L, C) to (B, 3, C + 1, C + 1).
    """
    x = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    parts = [part**power for part in (x, x[:, 1:] - x[:, :-1], x.mean(1, keepdim=True))]
    return torch.stack([part.mT @ part / max(part.shape[1], 1) for part in parts], 1)  # of one month, no change: 0


def moment_loss(fake: Tensor, target: Tensor, squared: Tensor) -> Tensor:
    """How far mean co-moments are off: squares in units of the real mean squared products, summed.

    ``fake`` are generated patients' co-moments (B, 3, K, K), ``target`` and ``squared`` (3, K, K) real ones' means. A
    mean's square over few patients is too large by variance over number; left in, it would make patients alike.
    """
    off = (fake - target) * (squared + 1e-3).rsqrt()  # what no real patient has would divide by 0
    joint, own = off.mean(0).square().sum(), off.square().sum((1, 2, 3)).mean()
    patients = len(off)
    return (patients * joint - own) / (patients - 1) if patients > 1 else joint  # of one, nothing can be taken off


class RealMoments:
    """What the moment loss compares with: the training patients' co-moments at each length, in their standard units."""

    def __init__(self, x: Tensor, schema: Schema, lengths: Iterable[int]) -> None:
        self._centre, self._unit = x.new_zeros(x.shape[2]), x.new_ones(x.shape[2])
        for k in real_channels(schema):
            self._centre[k], self._unit[k] = x[..., k].mean(), x[..., k].std().clamp_min(1e-3)
        self._at = {}
        for length in lengths:
            blocks = self._standard(x[:, :length]).split(1024)
            self._at[length] = [sum(co_moments(block, k).sum(0) for block in blocks) / len(x) for k in (1, 2)]

    def loss(self, fake: Tensor) -> Tensor:
        """:func:`moment_loss` of encoded generated patients (B, L, C), L one of the lengths."""
        return moment_loss(co_moments(self._standard(fake)), *self._at[fake.shape[1]])

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self._centre) / self._unit


LAGS = (1, 2, 4, 8)  # months apart at which changes of a value are taken
AROUND = (-1, 0, 1, 2, 4)  # months from the last one before a switch, 1 being the first one with what is new
KNOTS = 50  # of the ranks: what is crowded at the end of a scale, as high viral loads are, is told apart by rank alone


def summary_critic(schema: Schema, hidden: int, switches: bool = False) -> nn.Sequential:
    """v2_plus's second critic, of a line of summaries a patient, (B, K) to (B, 1).

    What a whole course amounts to reaches the critic of months only thinly: a mean over 60 months moves each by a
    sixtieth. In units of real patients' spread, it weighs as a month does.
    """
    knots = torch.zeros(len(schema.real), KNOTS + 1)
    one = summarise(torch.zeros(1, 2, schema.channels), schema, knots, switches)
    return nn.Sequential(OrderedDict(body=layers(one.shape[1], 2 * hidden, 2 * hidden, 1)))


class Summaries:
    """Summaries of encoded patients (B, L, C), as (B, K), in standard units of the training patients at that length."""

    def __init__(self, x: Tensor, schema: Schema, lengths: Iterable[int], switches: bool = False) -> None:
        self.schema, self.switches = schema, switches
        values = x[..., real_channels(schema)].flatten(0, 1)
        values = values[torch.linspace(0, len(values) - 1, min(len(values), 100_000), device=x.device).long()]
        share = torch.linspace(0, 1, KNOTS + 1, device=x.device)
        self.knots = [torch.quantile(v, share) for v in values.unbind(1)]
        self._at = {}
        for length in lengths:
            lines = torch.cat([summarise(block, schema, self.knots, switches) for block in x[:, :length].split(1024)])
            self._at[length] = lines.mean(0), lines.std(0, correction=0).clamp_min(0.02)

    def __call__(self, x: Tensor) -> Tensor:
        centre, unit = self._at[x.shape[1]]
        return (summarise(x, self.schema, self.knots, self.switches) - centre) / unit


def summarise(x: Tensor, schema: Schema, knots: Iterable[Tensor], switches: bool = False) -> Tensor:
    """One line a patient, (B, L, C) to (B, K), in the units of the encoded channels; differentiable.

    Of each real feature, as it is and by rank among ``knots``, its quantiles: level, spread, extremes, ends, changes
    over some months; of each pair of them, how they move together; of each discrete feature the share of months at each
    level and with a change; and the share of months in which anything changes. With ``switches``, of each real feature
    its mean in the months around a change, from the patient's own mean: what calls for a switch, and what it brings.
    """
    parts, months, values = [], x.shape[1], x[..., real_channels(schema)]
    scales = (values, ranks(values, knots)) if schema.real else ()
    if schema.real:
        parts = [part for scale in scales for part in _of_values(scale)]
        first, second = torch.triu_indices(values.shape[2], values.shape[2], 1)
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
    parts.append((1 - still).sum(1, keepdim=True) / months)
    for scale in scales if switches else ():
        parts += _around(1 - still, scale - scale.mean(1, keepdim=True))
    return torch.cat(parts, -1)


def _around(changed: Tensor, values: Tensor) -> list[Tensor]:
    """Means of values (B, L, R) so many months from one whose change (B, L - 1) comes next, for each of ``AROUND``."""
    found, last = [], changed.shape[1]
    for months in AROUND:
        first, end = max(0, -months), max(0, min(last, last + 1 - months))
        there = (changed[:, first:end, None] * values[:, first + months : end + months]).sum(1)
        found.append(there / (changed.sum(1, keepdim=True) + 0.5))  # who never changes has 0, and has a derivative
    return found


def ranks(values: Tensor, knots: Iterable[Tensor]) -> Tensor:
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
    months = values.shape[1]
    parts += [(values[:, lag:] - values[:, :-lag]).abs().sum(1) / max(months - lag, 1) for lag in LAGS]
    return [*parts, (values.diff(dim=1).square().sum(1) / max(months - 1, 1) + 1e-6).sqrt()]
