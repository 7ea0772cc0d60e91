"""Exercises of notebook 4: prototypes, their queue, the scale T_SD, z', and what noise survives a mean over months."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .cases import Case
from .judging import exercise
from .nb02_wgan import random_tensor
from .nb03_autoencoder import sequences_of_latents
from .toy import toy_latents
from .values import no_numbers, numbers


@exercise(tuple, [()], is_value=True)
def check_toy_prototypes():
    t = toy_latents()
    return t.mean(1, keepdim=True)


def _batches() -> list[Case]:
    cases = [Case("the first batch", (torch.ones(1, 1, 2), toy_latents()))]
    for number, case in enumerate(sequences_of_latents()):
        t = 3 * case.arguments[0]
        cases.append(Case(case.label, (random_tensor(1, 1, t.shape[2], seed=number).exp(), t)))
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
        *(("lottery", 12, 5, seed, 1) for seed in range(200)),
    ):
        rows = 10 * torch.arange(float(n)).view(n, 1, 1) + torch.arange(float(width))
        cases.append(Case(label, (rows, capacity, shared if label == "on" else torch.Generator().manual_seed(seed))))
    return cases


def _kept(case: Case, value: object) -> list[int] | str:
    """The numbers of the rows that stay, or what is wrong with them."""
    prototypes, capacity, _ = case.arguments
    (n, _, width), got = prototypes.shape, numbers(value)
    if got is None:
        return no_numbers(value)
    if n == 0 and got.size == 0:
        return []
    if got.ndim != 3 or got.shape[1:] != (1, width):
        return f"{got.shape} comes back; return the rows that stay, in the shape (k, 1, Z)."
    rows = {tuple(row): i for i, row in enumerate(prototypes[:, 0].tolist())}
    ids = [rows.get(tuple(row), -1) for row in got[:, 0].tolist()]
    if -1 in ids:
        return "there are rows that were not in the queue; return rows of `prototypes` as they are."
    if len(set(ids)) < len(ids):
        return "some rows come back twice: that is drawing with replacement; torch.randperm never repeats."
    if n <= capacity and len(ids) < n:
        return f"{len(ids)} of {n} stay although there is room for {capacity}; draw only when the buffer is full."
    if len(ids) != min(n, capacity):
        near = ": off by one" if abs(len(ids) - capacity) == 1 else ""
        return f"{len(ids)} of {n} stay where {min(n, capacity)} should{near}."
    return ids


def _lottery(cases: list[Case], values: list) -> tuple[str, int] | None:
    kept = [_kept(case, value) for case, value in zip(cases, values, strict=True)]
    # repeats are seen best where there are many; a mistake in number where it is smallest
    for i in sorted(range(len(kept)), key=lambda i: "twice" not in kept[i]):
        if isinstance(kept[i], str):
            return kept[i], i
    last = len(cases) - 1
    drawn = np.array([np.isin(np.arange(12), ids) for ids in kept[-200:]], dtype=float)
    for rows, who in ((slice(-5, None), "newest"), (slice(0, 5), "oldest")):
        if (drawn[:, rows] == 1).all():
            return f"the {who} stay each time; a random subset must, whatever their age.", last
    if set(kept[6]) != set(kept[7]):
        return "the same seed keeps different ones: the draw must come from `generator` alone.", 6
    if (drawn == drawn[0]).all():
        return "the same ones stay whatever the generator's seed: pass `generator=generator` to the draw.", last
    if set(kept[8]) == set(kept[9]):
        return "the generator does not move on: the next batch would meet the same draw. Draw from it, do not seed.", 9
    together = drawn.T @ drawn / 200
    pair = np.where(np.eye(12, dtype=bool), 5 / 12, 5 / 12 * 4 / 11)
    if (np.abs(together - pair) > 6 * np.sqrt(pair * (1 - pair) / 200)).any():
        return "some stay more often than others, or go together: each subset must have the same chance.", last
    return None


@exercise(_queues, examine=_lottery)
def check_queue(prototypes: Tensor, capacity: int, generator: torch.Generator) -> Tensor:
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randperm(len(prototypes), generator=generator)[:capacity]]


def _draws(months: int, chosen: tuple[int, ...], n: int, width: int) -> tuple[Tensor, ...]:
    z = torch.rand(len(chosen), months, width, generator=torch.Generator().manual_seed(n))
    scale, prototypes = random_tensor(1, 1, width, seed=5).exp(), 5 * random_tensor(n, 1, width, seed=6)
    return z, scale, prototypes, torch.tensor(chosen)


_SIZES = [(3, (2, 0, 2), 3, 2), (4, (1,), 5, 2), (1, (3, 3, 0, 1), 4, 3), (4, (1, 0, 3, 2), 4, 4), (6, (7, 4, 4), 9, 1)]


@exercise(_draws, _SIZES)
def check_latent_noise(z, scale, prototypes, chosen):
    drawn = prototypes[chosen]
    return z * scale + drawn


@exercise(lambda *given: given, [(0.6, 0.9, 60), (2.0, 3.0, 4), (1, 6, 3), (5.0, 0.5, 1), (0.0, 2.0, 12)])
def check_kept_variance(variance, scale, months):
    noise = scale**2 / 12
    return variance + noise / months, (variance + noise) / months
