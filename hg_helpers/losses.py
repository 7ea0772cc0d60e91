"""The losses: one equation, one function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """mean (||grad_x D(x)||_2 - 1)^2 at x = mix real + (1 - mix) fake (Gulrajani et al. 2017, equation 3).

    Args:
        critic: scores (B, L, C) as (B, 1).
        real, fake: (B, L, C).
        mix: (B, 1, 1), uniform on [0, 1]: one number a patient, so that a mixture stays a trajectory.

    Returns:
        Scalar, differentiable in the critic's parameters. The norm is over months and channels together.
    """
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    # the norm's own derivative at exactly zero would be undefined
    return ((slope.square().sum((1, 2)) + 1e-12).sqrt() - 1).square().mean()


def correlation_matrix(x: Tensor) -> Tensor:
    """Pearson correlation over all patient-months, 0 where a channel is constant.

    Args:
        x: (B, L, C).

    Returns:
        (C, C), differentiable in x; the diagonal of a constant channel is 0 as well.
    """
    flat = x.flatten(0, 1)
    centred = flat - flat.mean(0)
    covariance = centred.mT @ centred / len(flat)
    variance = covariance.diagonal()
    # float32 rounding leaves a constant channel a variance of about (1e-7 times its value)^2
    varies = variance > 1e-12 * (1 + flat.detach().square().mean(0))
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    return covariance * scale[:, None] * scale


def correlation_loss(fake: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference between the correlations of fake patients (B, L, C) and the target (C, C)."""
    return (correlation_matrix(fake) - target).abs().mean()


def co_moments(x: Tensor, power: int = 1) -> Tensor:
    """Mean products of all pairs of channels: of values, of changes from month to month, and of patients' means.

    For levels (0 or 1) the first are the shares of months that have both, the second how often the level is taken up
    or left; the third tell patients who differ from patients who are all alike. A constant 1 stands beside the
    channels, so that the means are there as well.

    Args:
        x: (B, L, C).
        power: 2 for mean squared products, which say how far the products spread.

    Returns:
        (3, C + 1, C + 1), differentiable in x; with one month alone, the second is 0.
    """
    x = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    rows = [part.flatten(0, -2) ** power for part in (x, x[:, 1:] - x[:, :-1], x.mean(1))]
    return torch.stack([row.mT @ row / max(len(row), 1) for row in rows])


def moment_loss(drift: Tensor, spread: Tensor) -> Tensor:
    """Sum of squared differences in co-moments, each in units of its own spread among real patients.

    Args:
        drift: fake minus real co-moments (3, C + 1, C + 1). A running mean over batches, so that a batch of 32 need
            not hold a level that one patient in 200 has.
        spread: mean squared products of the real ones, of the same shape.

    Returns:
        Scalar. The small number keeps what never occurs together finite.
    """
    return (drift.square() / (spread + 1e-3)).sum()


def autoencoder_loss(
    reconstruction: Tensor, e: Tensor, latent: Tensor, posterior: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Reconstruction error and Kullback-Leibler divergence of the autoencoder, apart; their sum is the loss.

    Without ``posterior`` the divergence is of N(mu, sigma^2) from N(0, 1), mu and sigma^2 the moments of the latent
    vectors over the batch's patients and months: the aggregate is matched. With it, of each sample's own
    N(mean, variance), averaged over samples: the textbook form (Kingma & Welling 2014, appendix B).

    Args:
        reconstruction, e: (B, L, E).
        latent: (B, L, Z).
        posterior: means and log variances, (B, L, Z) each.

    Returns:
        Mean squared error over all entries, and the divergence summed over latent dimensions.
    """
    error = F.mse_loss(reconstruction, e)
    if posterior is None:
        flat = latent.flatten(0, 1)
        mean = flat.mean(0)
        # sample variance; the floors keep one single row, or equal ones, finite
        log_variance = ((flat - mean).square().sum(0) / max(len(flat) - 1, 1)).clamp_min(1e-8).log()
    else:
        mean, log_variance = (p.flatten(0, 1) for p in posterior)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return error, divergence.sum(-1).mean()
