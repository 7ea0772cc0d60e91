"""The losses: one equation, one function, each over a whole batch of patients.

>>> real = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0))  # 4 patients, 6 months, 3 channels
>>> correlation_loss(real, correlation_matrix(real)).item()
0.0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cohort.schema import Schema
from ..runtime.fast_lstm import inputs_alone


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """mean (||grad_x D(x)||_2 - 1)^2 at x = mix real + (1 - mix) fake (Gulrajani et al. 2017, equation 3).

    Args:
        critic: scores patients (B, L, C) as (B, 1); the norm is over months and channels together.
        mix: (B, 1, 1), uniform on [0, 1]: one number a patient, so that a mixture stays a trajectory.
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
    # detached: a covariance does not change with the point that it is taken about, to first order
    centred = flat - flat.mean(0).detach()
    covariance = centred.mT @ centred / len(flat)
    variance = covariance.diagonal()
    # float32 rounding leaves a constant channel a variance of about (1e-7 times its value)^2
    varies = variance > 1e-12 * (1 + flat.detach().square().mean(0))
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    return covariance * scale[:, None] * scale


def correlation_loss(fake: Tensor, target: Tensor, cap: Tensor | None = None) -> Tensor:
    """Mean absolute difference between the correlations of fake patients (B, L, C) and the target (C, C).

    Args:
        cap: uniform numbers (C, C), as in the older code: r becomes sign(r) min(|r|, u) in both matrices. Since
            P(u > |r|) = 1 - |r|, that is how often a fake correlation r has a derivative at all.
    """
    found = correlation_matrix(fake)
    if cap is not None:
        found, target = (r.sign() * torch.minimum(r.abs(), cap) for r in (found, target))
    return (found - target).abs().mean()


def autoencoder_loss(
    reconstruction: Tensor, e: Tensor, latent: Tensor, posterior: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Reconstruction error and Kullback-Leibler divergence of the autoencoder, apart; their sum is the loss.

    Without ``posterior`` the divergence is of N(mu, sigma^2) from N(0, 1), mu and sigma^2 the moments of the latent
    vectors over the batch's patients and months: the aggregate is matched. With it, of each sample's own
    N(mean, variance), averaged over samples: the textbook form (Kingma & Welling 2014, appendix B).

    Args:
        reconstruction, e: (B, L, E); the error is the mean square over all entries.
        latent: (B, L, Z); the divergence is summed over latent dimensions.
        posterior: means and log variances, (B, L, Z) each.
    """
    error = F.mse_loss(reconstruction, e)
    if posterior is not None:
        return error, _divergence(*posterior).sum(-1).mean()
    flat = latent.flatten(0, 1)
    mean = flat.mean(0)
    # sample variance; the floors keep one single row, or equal ones, finite
    variance = (flat - mean.detach()).square().mean(0) * (len(flat) / max(len(flat) - 1, 1))
    return error, _divergence(mean, variance.clamp_min(1e-8).log()).sum(-1)


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


# --- the moment loss: do generated patients combine levels, change and differ as real ones do? ------------------------


def co_moments(x: Tensor, power: int = 1) -> Tensor:
    """Of each patient, mean products of all pairs of channels: of values, of changes, and of the patient's means.

    For levels (0 or 1) the first are the shares of months that have both, the second how often a level is taken up or
    left; the third tell patients who differ from patients who are all alike. A constant 1 stands beside the channels,
    so that the means are there as well.

    Args:
        x: (B, L, C); the result is (B, 3, C + 1, C + 1). With one month alone, there is no change: 0.
        power: 2 for mean squared products.
    """
    x = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    parts = [part**power for part in (x, x[:, 1:] - x[:, :-1], x.mean(1, keepdim=True))]
    return torch.stack([part.mT @ part / max(part.shape[1], 1) for part in parts], 1)


def moment_loss(fake: Tensor, target: Tensor, squared: Tensor) -> Tensor:
    """How far the mean co-moments are off: squares in units of the real mean squared products, summed.

    The square of a mean over few patients is too large by their variance over their number; made smaller, it would
    make patients alike. So it is taken off, which leaves the products of different patients: in the mean over batches
    the loss is the square of the true difference, and 0 or below where there is none.

    Args:
        fake: co-moments of generated patients (B, 3, K, K).
        target, squared: mean over real patients of their co-moments and of their squared products, (3, K, K).
    """
    off = (fake - target) * (squared + 1e-3).rsqrt()  # what no real patient has would divide by 0
    joint, own = off.mean(0).square().sum(), off.square().sum((1, 2, 3)).mean()
    patients = len(off)
    return (patients * joint - own) / (patients - 1) if patients > 1 else joint  # of one, nothing can be taken off


class RealMoments:
    """What the moment loss compares with: co-moments of the training patients (patients, months, C) at each length.

    Real channels are taken in standard units of these patients.
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

    def loss(self, fake: Tensor) -> Tensor:
        """:func:`moment_loss` of encoded generated patients (B, L, C), L one of the lengths."""
        return moment_loss(co_moments(self._standard(fake)), *self._at[fake.shape[1]])

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self._centre) / self._unit
