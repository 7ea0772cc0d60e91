"""The losses: one equation, one function.

``peers``: several processes may hold a batch's patients together; :mod:`hg_helpers.runtime.distributed` then turns
means over a process's own patients into means over all. One process alone need not mention it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.distributed import ALONE, Peers
from ..runtime.fast_lstm import inputs_alone


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor, peers: Peers = ALONE
) -> Tensor:
    """mean (||grad_x D(x)||_2 - 1)^2 at x = mix real + (1 - mix) fake (Gulrajani et al. 2017, equation 3).

    Args:
        critic: scores (B, L, C) as (B, 1).
        real, fake: (B, L, C).
        mix: (B, 1, 1), uniform on [0, 1]: one number a patient, so that a mixture stays a trajectory.

    Returns:
        Scalar, differentiable in the critic's parameters. The norm is over months and channels together.
    """
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    score = critic(x).sum()
    with inputs_alone():
        (slope,) = torch.autograd.grad(score, x, create_graph=True)
    # the norm's own derivative at exactly zero would be undefined
    return peers.mean(((slope.square().sum((1, 2)) + 1e-12).sqrt() - 1).square().mean())


def correlation_matrix(x: Tensor, peers: Peers = ALONE) -> Tensor:
    """Pearson correlation over all patient-months, 0 where a channel is constant.

    Args:
        x: (B, L, C).

    Returns:
        (C, C), differentiable in x; the diagonal of a constant channel is 0 as well.
    """
    flat = x.flatten(0, 1)
    # detached: a covariance does not change with the point that it is taken about, to first order
    centred = flat - peers.mean(flat.mean(0)).detach()
    covariance = peers.mean(centred.mT @ centred / len(flat))
    variance = covariance.diagonal()
    # float32 rounding leaves a constant channel a variance of about (1e-7 times its value)^2
    varies = variance > 1e-12 * (1 + peers.mean(flat.detach().square().mean(0)))
    scale = torch.where(varies, variance, 1.0).rsqrt() * varies
    return covariance * scale[:, None] * scale


def correlation_loss(fake: Tensor, target: Tensor, peers: Peers = ALONE) -> Tensor:
    """Mean absolute difference between the correlations of fake patients (B, L, C) and the target (C, C)."""
    return (correlation_matrix(fake, peers) - target).abs().mean()


def autoencoder_loss(
    reconstruction: Tensor,
    e: Tensor,
    latent: Tensor,
    posterior: tuple[Tensor, Tensor] | None = None,
    peers: Peers = ALONE,
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
    error = peers.mean(F.mse_loss(reconstruction, e))
    if posterior is None:
        flat = latent.flatten(0, 1)
        mean, rows = peers.mean(flat.mean(0)), peers.rows(len(flat))
        # sample variance; the floors keep one single row, or equal ones, finite
        variance = peers.mean((flat - mean.detach()).square().mean(0)) * (rows / max(rows - 1, 1))
        log_variance = variance.clamp_min(1e-8).log()
        return error, _divergence(mean, log_variance).sum(-1)
    return error, peers.mean(_divergence(*posterior).sum(-1).mean())


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
