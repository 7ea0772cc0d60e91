"""Exercises of notebook 3: the autoencoder, its two losses, the draw and the prototypes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cohort.schema import Schema
from ..model.latent import Autoencoder
from ..model.losses import autoencoder_loss
from ..model.networks import Critic
from .cases import Case, each
from .judging import exercise
from .nb02_wgan import other_schema, plain, random_tensor, seeded
from .toy import toy_schema


def _encoder(patients: int, months: int, width: int, hidden: int) -> tuple[Autoencoder, Tensor]:
    autoencoder = seeded(lambda: Autoencoder(width, 3, hidden))
    with torch.no_grad():
        for layer in (autoencoder.second, autoencoder.third):
            layer.weight *= 3  # so that relu has something to cut
    return autoencoder, random_tensor(patients, months, width)


@exercise(_encoder, [(3, 4, 7, 8), (1, 1, 5, 6), (4, 3, 18, 5), (2, 6, 6, 6)], learns=("autoencoder", "e"))
def check_residual_encoder(autoencoder, e):
    h = F.relu(autoencoder.first(e) + autoencoder.shortcut(e))
    h = F.relu(autoencoder.second(h) + h)
    return F.relu(autoencoder.third(h) + h)


def _normals() -> list[Case]:
    pairs = {"four coordinates": ([1.0, -0.5, 0, 2], [0.25, 1, 4, 0.5]), "one coordinate": ([0.5], [2.0])}
    pairs |= {"N(0, 1) itself": ([0.0, 0], [1.0, 1])}
    cases = [Case(label, tuple(torch.tensor(part) for part in pair)) for label, pair in pairs.items()]
    return cases + [Case(f"{n} coordinates", (random_tensor(n), random_tensor(n, seed=1).exp())) for n in (3, 20)]


@exercise(_normals, learns=("mean", "variance"))
def check_kl(mean, variance):
    terms = 0.5 * (mean**2 + variance - 1 - variance.log())
    return terms.sum()


#: Latent vectors (B, L, Z): one patient, one month, one coordinate, as many of each.
sequences_of_latents = each(
    lambda *shape: (random_tensor(*shape),), [(3, 4, 2), (1, 5, 3), (4, 1, 2), (5, 3, 1), (4, 4, 4), (7, 60, 5)]
)


def _divergence(mean: Tensor, variance: Tensor) -> Tensor:
    return 0.5 * (mean**2 + variance - 1 - variance.log()).sum()


def _latents() -> list[Case]:
    cases = sequences_of_latents()
    for case in cases:  # patients differ, around another mean than 0
        case.arguments[0].add_(0.8 * random_tensor(len(case.arguments[0]), 1, 1, seed=1) + 0.5)
    return [*cases, Case("equal rows, variance 0", (torch.ones(3, 4, 2),), gradient=False)]


@exercise(_latents, learns=("t",))
def check_aggregate_kl(t):
    flat = t.flatten(0, 1)
    return _divergence(flat.mean(0), flat.var(0).clamp_min(1e-8))


def _networks(schema: Schema, patients: int, months: int) -> tuple:
    critic, autoencoder = seeded(lambda: (plain(Critic(schema, 8)), Autoencoder(schema.width, 3, 8)))
    return critic, autoencoder, random_tensor(patients, months, schema.channels).sigmoid()


@exercise(
    _networks, [(toy_schema(), 3, 4), (other_schema(), 5, 4), (other_schema(), 1, 6)], learns=("critic", "autoencoder")
)
def check_detached_loss(critic, autoencoder, x):
    e = critic.embed(x).detach()
    reconstruction, t, _ = autoencoder(e)
    error, divergence = autoencoder_loss(reconstruction, e, t)
    return error + divergence


@exercise(
    lambda *shape: tuple(random_tensor(*shape, seed=i) for i in range(3)),
    [(3, 4, 2), (1,), (5,), (2, 6, 3)],
    learns=("mean", "log_variance"),
)
def check_reparameterise(mean, log_variance, noise):
    return mean + noise * torch.exp(0.5 * log_variance)


@exercise(sequences_of_latents)
def check_prototypes(t):
    return t.mean(1, keepdim=True)
