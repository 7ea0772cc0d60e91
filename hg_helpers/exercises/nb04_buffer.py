"""Exercises of notebook 4: prototypes, their queue, the scale T_SD, z', and what noise survives a mean over months."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .cases import Case, each
from .judging import exercise
from .nb02_wgan import random_tensor
from .nb03_autoencoder import PROTOTYPE_MISTAKES, sequences_of_latents
from .toy import toy_latents
from .values import no_numbers, numbers


@exercise(
    each(tuple, [()]),
    "one vector a patient, the mean over its months, shape (3, 1, 2).",
    "the mean over months, axis 1, (3, 1, 2). Patient 0 has the first coordinates 3, 2, 1, 0: its prototype's is 1.5.",
    PROTOTYPE_MISTAKES,
    is_value=True,
)
def check_toy_prototypes():
    t = toy_latents()
    return t.mean(1, keepdim=True)


def _batches() -> list[Case]:
    cases = [Case("the first batch", (torch.ones(1, 1, 2), toy_latents()))]
    for number, case in enumerate(sequences_of_latents()):
        t = 3 * case.arguments[0]
        cases.append(Case(case.label, (random_tensor(1, 1, t.shape[2], seed=number).exp(), t)))
    return [*cases, Case("nothing moves", (torch.tensor([[[0.5, 2.0]]]), torch.ones(2, 3, 2)))]


_INSIDE = "std(dim=(0, 1), keepdim=True) -> std(1, keepdim=True).mean(0, keepdim=True)"


@exercise(
    _batches,
    "the mean of the old scale and the batch's sample standard deviation.",
    "(1, 1, Z), the mean of scale and the latents' sample standard deviation over patients and months together.",
    {
        "scale + spread": "this is the sum of scale and deviation; their mean is half of it.",
        "scale + spread / 2": "brackets: half of the sum, (scale + deviation) / 2.",
        "(scale * spread).sqrt()": "this is the geometric mean; take half of the sum.",
        "0.9 * scale + 0.1 * spread": "the weights are 1/2 and 1/2.",
        "(0, 1) -> (0, 1), correction=0": "this divides by n; the sample deviation divides by n - 1.",
        "std -> var": "this takes the variance; T_SD follows its root, the standard deviation.",
        "std -> mean": "this follows the batch's mean; T_SD follows its standard deviation.",
        "(dim=(0, 1), keepdim=True) -> ()": "this is one deviation for all; each latent dimension has its own.",
        _INSIDE: "this is the spread inside each patient, averaged; take both together, dim=(0, 1).",
        "latents.std -> latents.mean(1, keepdim=True).std": "this is the prototypes' spread; dim=(0, 1) takes all.",
        "dim=(0, 1) -> dim=0": "this is a spread for each month; dim=(0, 1) takes both together.",
        "dim=(0, 1) -> dim=1": "this is a spread for each patient; dim=(0, 1) takes both together.",
    },
)
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


@exercise(
    _queues,
    "a random subset stays, each at most once, and a queue with room keeps everybody.",
    "the rows that stay, (k, 1, Z).",
    examine=_lottery,
)
def check_queue(prototypes: Tensor, capacity: int, generator: torch.Generator) -> Tensor:
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randperm(len(prototypes), generator=generator)[:capacity]]


def _draws(months: int, chosen: tuple[int, ...], n: int, width: int) -> tuple[Tensor, ...]:
    z = torch.rand(len(chosen), months, width, generator=torch.Generator().manual_seed(n))
    scale, prototypes = random_tensor(1, 1, width, seed=5).exp(), 5 * random_tensor(n, 1, width, seed=6)
    return z, scale, prototypes, torch.tensor(chosen)


_SIZES = [(3, (2, 0, 2), 3, 2), (4, (1,), 5, 2), (1, (3, 3, 0, 1), 4, 3), (4, (1, 0, 3, 2), 4, 4), (6, (7, 4, 4), 9, 1)]


@exercise(
    each(_draws, _SIZES),
    "z * T_SD + prototype, new each month in the first term, kept in the second.",
    "z * scale + prototypes[chosen], (B, L, Z).",
    {
        "(z + drawn) * scale": "the prototype is multiplied by T_SD too; only z is.",
        "z + drawn * scale": "T_SD multiplies the prototype; it belongs to z.",
        "z * scale * drawn": "the prototype is a factor; it is added.",
        "z + scale + drawn": "T_SD is added; it is a factor.",
        "(2 * z - 1) * scale + drawn": "z is made to run from -1 to 1; take it as it is.",
        "z * scale + drawn.transpose(0, 1)": "the draw belongs to the patient, axis 0, and is the same each month.",
        ("z * scale + drawn.mean()", "z * scale + drawn.mean(0)"): "the prototypes are averaged; each patient has one.",
        "z * scale + drawn[:1]": "everybody has the same prototype; draw one a patient.",
    },
)
def check_latent_noise(z, scale, prototypes, chosen):
    drawn = prototypes[chosen]
    return z * scale + drawn


@exercise(
    each(lambda *given: given, [(0.6, 0.9, 60), (2.0, 3.0, 4), (1, 6, 3), (5.0, 0.5, 1), (0.0, 2.0, 12)]),
    "a prototype that stays keeps its whole variance; all that is new each month is divided.",
    "two numbers: what stays keeps its variance, what is new each month has it divided by the number of months.",
    {
        "noise / months, -> noise,": "the first is one month's variance: the mean divides the noise's part.",
        "(variance + noise) / months -> variance + noise": "the second is one month's variance; divide all of it.",
        "(variance + noise) -> variance + noise": "the two are equal; drawn each month, the prototype averages out.",
        "(variance + noise) / months -> variance / months + noise": "in the second the noise is not divided.",
        "variance + noise / months -> (variance + noise) / months": "in the first the prototype is divided; it stays.",
        " / 12 -> ": "z is uniform on 0 to 1 and has variance 1/12, not 1.",
        "12 -> 3": "that is the variance of -1 to 1; z is uniform on 0 to 1, 1/12.",
        "/ 12 -> // 12": "// drops the fraction; use /.",
        "months -> months**0.5": "that is for standard deviations; a variance is divided by months, not their root.",
    },
)
def check_kept_variance(variance, scale, months):
    noise = scale**2 / 12
    return variance + noise / months, (variance + noise) / months
