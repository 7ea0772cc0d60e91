"""Exercises of notebook 4: prototypes, their queue, the scale T_SD, z', and what noise survives a mean over months."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .judging import Case, Exercise, each, no_numbers, numbers
from .nb02_wgan import random_tensor
from .nb03_autoencoder import PROTOTYPE_MISTAKES, sequences_of_latents
from .toy import toy_latents

check_toy_prototypes = Exercise(
    lambda: toy_latents().mean(1, keepdim=True),
    lambda: [Case("the toy patients", ())],
    "one vector a patient, the mean over its months, shape (3, 1, 2).",
    "the mean over months, axis 1, (3, 1, 2). Patient 0 has the first coordinates 3, 2, 1, 0: its prototype's is 1.5.",
    tuple((lambda wrong=wrong: wrong(toy_latents()), sentence) for wrong, sentence in PROTOTYPE_MISTAKES),
    is_value=True,
)

# --- T_SD -------------------------------------------------------------------------------------------------------------

_BOTH = {"dim": (0, 1), "keepdim": True}


def _batches() -> list[Case]:
    cases = [Case("the first batch", (torch.ones(1, 1, 2), toy_latents()))]
    for number, case in enumerate(sequences_of_latents()):
        t = 3 * case.arguments[0]
        cases.append(Case(case.label, (random_tensor(1, 1, t.shape[2], seed=number).exp(), t)))
    return [*cases, Case("nothing moves", (torch.tensor([[[0.5, 2.0]]]), torch.ones(2, 3, 2)))]


def _half(spread: Callable) -> Callable:
    return lambda scale, latents: (scale + spread(latents)) / 2


def running_scale(scale: Tensor, latents: Tensor) -> Tensor:
    return (scale + latents.std(**_BOTH)) / 2


check_running_scale = Exercise(
    running_scale,
    _batches,
    "the mean of the old scale and the batch's sample standard deviation.",
    "(1, 1, Z), the mean of scale and the latents' sample standard deviation over patients and months together.",
    (
        (lambda s, t: t.std(**_BOTH), "this is the batch's standard deviation alone; T_SD becomes the mean of both."),
        (lambda s, t: (1 + t.std(**_BOTH)) / 2, "this averages with 1 at every batch; average with the old scale."),
        (lambda s, t: s + t.std(**_BOTH), "this is the sum of scale and deviation; their mean is half of it."),
        (lambda s, t: s + t.std(**_BOTH) / 2, "brackets: half of the sum, (scale + deviation) / 2."),
        (lambda s, t: (s * t.std(**_BOTH)).sqrt(), "this is the geometric mean; take half of the sum."),
        (lambda s, t: 0.9 * s + 0.1 * t.std(**_BOTH), "the weights are 1/2 and 1/2."),
        (_half(lambda t: t.std(correction=0, **_BOTH)), "this divides by n; the sample deviation divides by n - 1."),
        (_half(lambda t: t.var(**_BOTH)), "this takes the variance; T_SD follows its root, the standard deviation."),
        (_half(lambda t: t.mean(**_BOTH)), "this follows the batch's mean; T_SD follows its standard deviation."),
        (_half(lambda t: t.std()), "this is one deviation for all dimensions; each latent dimension has its own."),
        (
            _half(lambda t: t.std(1, keepdim=True).mean(0, keepdim=True)),
            "this is the spread inside each patient, averaged; take it over patients and months together, dim=(0, 1).",
        ),
        (
            _half(lambda t: t.mean(1, keepdim=True).std(0, keepdim=True)),
            "this is the spread of the prototypes; take it over patients and months together, dim=(0, 1).",
        ),
        (_half(lambda t: t.std(0, keepdim=True)), "this is a spread for each month; dim=(0, 1) takes both together."),
        (_half(lambda t: t.std(1, keepdim=True)), "this is a spread for each patient; dim=(0, 1) takes both together."),
    ),
)

# --- the queue --------------------------------------------------------------------------------------------------------


def _queues() -> list[Case]:
    def case(
        label: str, n: int, capacity: int, seed: int, width: int = 2, random: torch.Generator | None = None
    ) -> Case:
        prototypes = 10 * torch.arange(float(n)).view(n, 1, 1) + torch.arange(float(width))
        return Case(label, (prototypes, capacity, random or torch.Generator().manual_seed(seed)))

    shared = torch.Generator().manual_seed(3)
    cases = [case("room", 5, 8, 0), case("full to the last", 8, 8, 1), case("room", 1, 3, 0), case("empty", 0, 4, 0)]
    cases += [case("one too many", 9, 8, 2), case("one slot", 6, 1, 0, 3)]
    cases += [case("again", 40, 8, 7), case("again", 40, 8, 7)]
    cases += [case("on", 40, 8, 0, random=shared), case("on", 40, 8, 0, random=shared)]
    return cases + [case("lottery", 12, 5, seed, 1) for seed in range(200)]


def queue(prototypes: Tensor, capacity: int, generator: torch.Generator) -> Tensor:
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randperm(len(prototypes), generator=generator)[:capacity]]


def _kept(case: Case, value: object) -> list[int] | str:
    """The numbers of the rows that stay, or what is wrong with them."""
    prototypes, capacity, _ = case.arguments
    (n, _, width), got = prototypes.shape, numbers(value)
    if got is None or got.ndim != 3 or got.shape[1:] != (1, width):
        if n == 0 and got is not None and got.size == 0:
            return []
        if got is None:
            return no_numbers(value)
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
    sets = {label: [set(k) for k, c in zip(kept, cases, strict=True) if c.label == label] for label in ("again", "on")}
    drawn = np.zeros((200, 12))
    for row, ids in zip(drawn, kept[-200:], strict=True):
        row[ids] = 1
    often, last = drawn.mean(0), len(cases) - 1
    for rows, who in ((slice(-5, None), "newest"), (slice(0, 5), "oldest")):
        if (often[rows] == 1).all():
            return f"the {who} stay each time; a random subset must, whatever their age.", last
    if sets["again"][0] != sets["again"][1]:
        return "the same seed keeps different ones: the draw must come from `generator` alone.", 6
    if (drawn == drawn[0]).all():
        return "the same ones stay whatever the generator's seed: pass `generator=generator` to the draw.", last
    if sets["on"][0] == sets["on"][1]:
        return "the generator does not move on: the next batch would meet the same draw. Draw from it, do not seed.", 9
    together = drawn.T @ drawn / 200
    pair = np.where(np.eye(12, dtype=bool), 5 / 12, 5 / 12 * 4 / 11)
    if (np.abs(together - pair) > 6 * np.sqrt(pair * (1 - pair) / 200)).any():
        return "some stay more often than others, or go together: each subset must have the same chance.", last
    return None


check_queue = Exercise(
    queue,
    _queues,
    "a random subset stays, each at most once, and a queue with room keeps everybody.",
    "the rows that stay, (k, 1, Z).",
    examine=_lottery,
)

# --- z' ---------------------------------------------------------------------------------------------------------------


def _draws(months: int, chosen: tuple[int, ...], n: int, width: int) -> tuple[Tensor, ...]:
    z = torch.rand(len(chosen), months, width, generator=torch.Generator().manual_seed(n))
    scale, prototypes = random_tensor(1, 1, width, seed=5).exp(), 5 * random_tensor(n, 1, width, seed=6)
    return z, scale, prototypes, torch.tensor(chosen)


check_latent_noise = Exercise(
    lambda z, scale, prototypes, chosen: z * scale + prototypes[chosen],
    each(
        _draws,
        [(3, (2, 0, 2), 3, 2), (4, (1,), 5, 2), (1, (3, 3, 0, 1), 4, 3), (4, (1, 0, 3, 2), 4, 4), (6, (7, 4, 4), 9, 1)],
    ),
    "z * T_SD + prototype, new each month in the first term, kept in the second.",
    "z * scale + prototypes[chosen], (B, L, Z).",
    (
        (lambda z, s, p, c: z + p[c], "T_SD is missing: z is multiplied by it before the prototype is added."),
        (lambda z, s, p, c: z * s, "the prototype is missing: without it this is v1's noise at another width."),
        (lambda z, s, p, c: (z + p[c]) * s, "the prototype is multiplied by T_SD too; only z is."),
        (lambda z, s, p, c: z + p[c] * s, "T_SD multiplies the prototype; it belongs to z."),
        (lambda z, s, p, c: z * s * p[c], "the prototype is a factor; it is added."),
        (lambda z, s, p, c: z + s + p[c], "T_SD is added; it is a factor."),
        (lambda z, s, p, c: z / s + p[c], "this divides by T_SD; multiply."),
        (lambda z, s, p, c: (2 * z - 1) * s + p[c], "z is made to run from -1 to 1; take it as it is."),
        (lambda z, s, p, c: z * s - p[c], "a sign: the prototype is added, not subtracted."),
        (lambda z, s, p, c: p[c] + 0 * z, "the monthly noise is missing: all months of a patient are equal."),
        (
            lambda z, s, p, c: z * s + p[c].transpose(0, 1),
            "prototype and month have met: the draw belongs to the patient, axis 0, and is equal for all its months.",
        ),
        (
            lambda z, s, p, c: z * s + p[: len(z)],
            "patient i has prototype i here; take those drawn, prototypes[chosen].",
        ),
        (lambda z, s, p, c: z * s + p[:1], "everybody has the first prototype; take prototypes[chosen]."),
        (
            lambda z, s, p, c: z * s + p[c].mean(),
            "the prototypes are averaged; each patient has one, prototypes[chosen].",
        ),
        (
            lambda z, s, p, c: z * s + p[c].mean(0),
            "the prototypes are averaged; each patient has one, prototypes[chosen].",
        ),
        (lambda z, s, p, c: z * s + p[c[:1]], "everybody has the same prototype; draw one a patient."),
        (lambda z, s, p, c: z * s + p.mean(0), "everybody has the mean prototype; take prototypes[chosen]."),
    ),
)

# --- what survives a mean over months ---------------------------------------------------------------------------------


def kept_variance(variance: float, scale: float, months: int) -> tuple[float, float]:
    return variance + scale**2 / 12 / months, (variance + scale**2 / 12) / months


def _pair(first: Callable, second: Callable | None = None, noise: Callable = lambda s: s**2 / 12) -> Callable:
    def pair(variance: float, scale: float, months: int) -> tuple[float, float]:
        given = variance, noise(scale), months
        return first(*given), (second or (lambda v, n, m: (v + n) / m))(*given)

    return pair


def _right(v: float, n: float, m: int) -> float:
    return v + n / m


check_kept_variance = Exercise(
    kept_variance,
    each(lambda *given: given, [(0.6, 0.9, 60), (2.0, 3.0, 4), (1, 6, 3), (5.0, 0.5, 1), (0.0, 2.0, 12)]),
    "a prototype that stays keeps its whole variance; all that is new each month is divided.",
    "two numbers: what stays keeps its variance, what is new each month has it divided by the number of months.",
    (
        (lambda *a: kept_variance(*a)[::-1], "the two are swapped: first one prototype a patient, then one a month."),
        (_pair(lambda v, n, m: v + n), "the first is one month's variance: the mean divides the noise's part."),
        (_pair(_right, lambda v, n, m: v + n), "the second is one month's variance; the mean divides all of it."),
        (_pair(_right, _right), "the two are equal; drawn each month, the prototype averages out too."),
        (_pair(_right, lambda v, n, m: v / m + n), "in the second the noise is not divided."),
        (_pair(lambda v, n, m: (v + n) / m), "in the first the prototype is divided too; it stays."),
        (_pair(_right, noise=lambda s: s / 12), "T_SD is a factor of z, so its square is a factor of z's variance."),
        (_pair(_right, noise=lambda s: s**2), "z is uniform on 0 to 1 and has variance 1/12, not 1."),
        (_pair(_right, noise=lambda s: 1 / 12), "T_SD is missing: its square is a factor of z's variance."),
        (_pair(_right, noise=lambda s: s**2 / 3), "that is the variance of -1 to 1; z is uniform on 0 to 1, 1/12."),
        (_pair(_right, noise=lambda s: s**2 // 12), "// drops the fraction; use /."),
        (
            _pair(lambda v, n, m: v + n / m**0.5, lambda v, n, m: (v + n) / m**0.5),
            "that is the rule for a standard deviation; a variance is divided by the months, not by their root.",
        ),
        (lambda *a: tuple(v**0.5 for v in kept_variance(*a)), "these are standard deviations, not variances."),
        (lambda *a: kept_variance(*a)[0], "only the first comes back; return both."),
    ),
)
