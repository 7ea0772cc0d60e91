"""Exercises of notebooks 3 and 4: the autoencoder, its losses and prototypes; their queue, T_SD, z' and their means."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cohort.schema import Schema
from ..model.latent import Autoencoder
from ..model.losses import autoencoder_loss
from ..model.networks import Critic
from .judging import exercise
from .outcomes import Case
from .toy import toy_latents, toy_schema
from .values import no_numbers, numbers
from .wgan import OTHER_SCHEMA, plain, random_tensor, seeded


def _encoder(patients: int, months: int, width: int, hidden: int) -> tuple[Autoencoder, Tensor]:
    autoencoder = seeded(lambda: Autoencoder(width, 3, hidden))
    with torch.no_grad():
        for layer in (autoencoder.second, autoencoder.third):
            layer.weight *= 3  # so that relu has something to cut
    return autoencoder, random_tensor(patients, months, width)


@exercise(_encoder, [(3, 4, 7, 8), (1, 1, 5, 6), (4, 3, 18, 5), (2, 6, 6, 6)])
def check_residual_encoder(autoencoder, e):
    h1 = F.relu(autoencoder.first(e) + autoencoder.shortcut(e))
    h2 = F.relu(autoencoder.second(h1) + h1)
    return F.relu(autoencoder.third(h2) + h2)


@exercise()
def check_kl(mean, variance):
    terms = 0.5 * (mean**2 + variance - 1 - variance.log())
    return terms.sum()


_divergence = check_kl.reference
#: Latent vectors (B, L, Z): one patient, one month, one coordinate, as many of each.
LATENTS = [(3, 4, 2), (1, 5, 3), (4, 1, 2), (5, 3, 1), (4, 4, 4), (7, 60, 5)]


def _latents() -> list[Case]:  # patients differ, around means above 0 and below
    given = {str(s): random_tensor(*s) + 1.5 * random_tensor(s[0], 1, s[2], seed=1) + 0.5 for s in LATENTS}
    given |= {"equal rows, variance 0": torch.ones(3, 4, 2), "one still coordinate": torch.tensor([[[1.0, 2], [1, 0]]])}
    return [Case(label, (t,)) for label, t in given.items()]


@exercise(_latents)
def check_aggregate_kl(t):
    flat = t.flatten(0, 1)
    return _divergence(flat.mean(0), flat.var(0).clamp_min(1e-8))


def _networks(schema: Schema, patients: int, months: int) -> tuple:
    critic, autoencoder = seeded(lambda: (plain(Critic(schema, 8)), Autoencoder(schema.width, 3, 8)))
    return critic, autoencoder, random_tensor(patients, months, schema.channels).sigmoid()


@exercise(_networks, [(toy_schema(), 3, 4), (OTHER_SCHEMA, 5, 4), (OTHER_SCHEMA, 1, 6)])
def check_detached_loss(critic, autoencoder, x):
    e = critic.embed(x).detach()
    reconstruction, t, _ = autoencoder(e)
    error, divergence = autoencoder_loss(reconstruction, e, t)
    return error + divergence


@exercise(lambda shape: tuple(random_tensor(*shape, seed=i) for i in range(3)))
def check_reparameterise(mean, log_variance, noise):
    return mean + noise * torch.exp(0.5 * log_variance)


@exercise(tuple, [()], is_value=True)
def check_toy_prototypes():
    t = toy_latents()
    return t.mean(1, keepdim=True)


def _batches() -> list[Case]:
    cases = [Case("the first batch", (torch.ones(1, 1, 2), toy_latents()))]
    for number, shape in enumerate(LATENTS):
        scale = random_tensor(1, 1, shape[2], seed=number).exp()
        cases.append(Case(str(shape), (scale, 3 * random_tensor(*shape))))
    return [*cases, Case("nothing moves", (torch.tensor([[[0.5, 2.0]]]), torch.ones(2, 3, 2)))]


@exercise(_batches)
def check_running_scale(scale, latents):
    spread = latents.std(dim=(0, 1), keepdim=True)
    return (scale + spread) / 2


def _queues() -> list[Case]:
    shared = torch.Generator().manual_seed(3)  # of the two cases "on", which draw from it one after the other
    cases = []
    for label, n, capacity, seed, width in (
        ("room", 5, 8, 0, 2),
        ("full to the last", 8, 8, 1, 2),
        ("room", 1, 3, 0, 2),
        ("empty", 0, 4, 0, 2),
        ("one too many", 9, 8, 2, 2),
        ("one slot", 6, 1, 0, 3),
        *[("again", 40, 8, 7, 2)] * 2,
        *[("on", 40, 8, 0, 2)] * 2,
        ("alike", 3, 8, 0, 2),
        *(("lottery", 12, 5, seed, 1) for seed in range(200)),
    ):
        rows = 10 * (label != "alike") * torch.arange(float(n)).view(n, 1, 1) + torch.arange(float(width))
        cases.append(Case(label, (rows, capacity, shared if label == "on" else torch.Generator().manual_seed(seed))))
    return cases


def _kept(case: Case, value: object) -> list[int] | str:
    """The numbers of the rows that stay, or what is wrong with them."""
    prototypes, capacity, _ = case.arguments
    (n, _, width), got = prototypes.shape, numbers(value)
    if got is None:
        return no_numbers(value)
    if (n or got.size) and (got.ndim != 3 or got.shape[1:] != (1, width)):
        return check_queue.says["shape"].format(shape=got.shape)
    rows = {tuple(row): i for i, row in enumerate(prototypes[:, 0].tolist())}
    ids = [rows.get(tuple(row), -1) for row in got.reshape(-1, width).tolist()]
    kept, most = len(ids), min(n, capacity)
    wrong = {
        "new": -1 in ids,
        "twice": len(set(ids)) < (kept if len(rows) == n else 1),
        "too early": kept < n <= capacity,
        "one off": kept != most and abs(kept - capacity) == 1,
        "number": kept != most,
    }
    word = next(filter(wrong.get, wrong), None)  # the first that holds
    return check_queue.says[word].format(kept=kept, n=n, capacity=capacity, most=most) if word else ids


def _lottery(cases: list[Case], values: list) -> tuple[str, int] | None:
    kept = [_kept(case, value) for case, value in zip(cases, values, strict=True)]
    # repeats are seen best where there are many; to be off by one is no cause where others are off by more
    for i in sorted(range(len(kept)), key=lambda i: ("twice" not in kept[i], "off by one" in kept[i])):
        if isinstance(kept[i], str):
            return kept[i], i
    drawn = np.array([np.isin(np.arange(12), ids) for ids in kept[-200:]], dtype=float)
    together, pair = drawn.T @ drawn / 200, np.where(np.eye(12, dtype=bool), 5 / 12, 5 / 12 * 4 / 11)
    wrong = {
        "newest": (drawn[:, -5:] == 1).all(),
        "oldest": (drawn[:, :5] == 1).all(),
        "other chance": set(kept[6]) != set(kept[7]),
        "no chance": (drawn == drawn[0]).all(),
        "seeded": set(kept[8]) == set(kept[9]),
        "uneven": (np.abs(together - pair) > 6 * np.sqrt(pair * (1 - pair) / 200)).any(),
    }
    word = next(filter(wrong.get, wrong), None)  # the first that holds
    return word and (check_queue.says[word], {"other chance": 6, "seeded": 9}.get(word, len(cases) - 1))


@exercise(_queues, examine=_lottery)
def check_queue(prototypes: Tensor, capacity: int, generator: torch.Generator) -> Tensor:
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randperm(len(prototypes), generator=generator)[:capacity]]


def _draws(months: int, chosen: list[int], n: int, width: int) -> tuple[Tensor, ...]:
    z = torch.rand(len(chosen), months, width, generator=torch.Generator().manual_seed(n))
    scale, prototypes = random_tensor(1, 1, width, seed=5).exp(), 5 * random_tensor(n, 1, width, seed=6)
    return z, scale, prototypes, torch.tensor(chosen)


@exercise(_draws)
def check_latent_noise(z, scale, prototypes, chosen):
    drawn = prototypes[chosen]
    return z * scale + drawn


@exercise()
def check_kept_variance(variance, scale, months):
    noise = scale**2 / 12
    return variance + noise / months, (variance + noise) / months
