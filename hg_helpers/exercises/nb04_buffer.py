"""Checks of notebook 04: prototypes, their queue, the scale T_SD, z', and what noise survives a mean over months."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.latent import LatentBuffer
from .common import mistake, same, unanswered, verdict
from .toy import toy_cohort, toy_schema


def toy_latents() -> Tensor:
    """A hand-made encoding of the three toy patients, (3, 4, 2): log10 of the viral load less 2, and the drug code."""
    cohort, schema = toy_cohort(), toy_schema()
    columns = [np.log10(cohort["VL"]) - 2, cohort["Base Drug Combo"]]
    values = np.stack(columns, axis=-1).reshape(-1, schema.length, len(columns))
    return torch.tensor(values, dtype=torch.float32)


def check_toy_prototypes(answer: Any) -> bool:
    """The toy patients' prototypes, (3, 1, 2), from their latent vectors (3, 4, 2)."""
    t = toy_latents()
    buffer = LatentBuffer(t.shape[-1])
    buffer.update(t, torch.Generator().manual_seed(0))
    expected = buffer.prototypes
    problem = unanswered(answer) or _check_value(
        answer,
        expected,
        [
            (expected[:, 0], "the numbers are right, the shape is not: keep the months' axis with length 1 (keepdim)."),
            *(
                (t.mean(0, keepdim=keep), "this is the mean over patients, axis 0; average over months, axis 1.")
                for keep in (True, False)
            ),
            *(
                (
                    t.mean(2, keepdim=keep),
                    "this is the mean over latent dimensions, axis 2; average over months, axis 1.",
                )
                for keep in (True, False)
            ),
            (t.sum(1, keepdim=True), "this is the sum over the months; divide by their number, 4."),
            (t.mean((0, 1), keepdim=True), "this is one mean for everybody; each patient has a prototype of its own."),
            (t[:, :1], "this is each patient's first month; a prototype is the mean over all months."),
            (t[:, -1:], "this is each patient's last month; a prototype is the mean over all months."),
            (
                t.median(1, keepdim=True).values,
                "this is the median over the months; the buffer keeps the mean.",
            ),
        ],
        "not the mean over months, axis 1. Patient 0 has the first coordinates 3, 2, 1, 0: its prototype's is 1.5.",
    )
    return verdict(problem, "one vector a patient, the mean over its months, shape (3, 1, 2).")


def check_running_scale(answer: Any) -> bool:
    """A function of (scale (1, 1, Z), latents (B, L, Z)) that returns the next T_SD, (1, 1, Z)."""
    first, second = toy_latents(), 3 * toy_latents().flip(0)[:2]
    buffer = LatentBuffer(first.shape[-1])
    scales = [buffer.scale]
    for batch in (first, second):
        buffer.update(batch, torch.Generator().manual_seed(0))
        scales.append(buffer.scale)
    problem = _check_function(answer, "scale, latents")
    for number, (old, new, t) in enumerate(zip(scales[:-1], scales[1:], (first, second), strict=True)):
        if problem is None:
            problem = _called(answer, (old, t), partial(_scale, old=old, new=new, t=t))
            if problem and number and "mean of itself" not in problem:
                problem = f"right for the first batch, but at the second: {problem}"
    return verdict(problem, "the mean of the old scale and the batch's sample standard deviation, twice in a row.")


def _scale(got: Any, old: Tensor, new: Tensor, t: Tensor) -> str | None:
    def half(spread: Tensor) -> Tensor:
        return (old + spread) / 2

    both = {"dim": (0, 1), "keepdim": True}
    sd = t.std(**both)
    return _check_value(
        got,
        new,
        [
            (new.flatten(), "the numbers are right, the shape is not: (1, 1, Z), so keep the axes (keepdim=True)."),
            (sd, "this is the batch's standard deviation alone; T_SD becomes the mean of itself and that."),
            ((1 + sd) / 2, "this averages with 1 at every batch; T_SD becomes the mean of itself and the batch's."),
            (half(t.std(correction=0, **both)), "this divides by n; the sample standard deviation divides by n - 1."),
            (half(t.var(**both)), "this takes the variance; T_SD follows its square root, the standard deviation."),
            (old + sd, "this is the sum of scale and deviation; their mean is half of it."),
            ((old * sd).sqrt(), "this is the geometric mean; take the ordinary one, half of the sum."),
            (half(t.std()), "this is one deviation for all dimensions; each latent dimension has its own."),
            (
                half(t.std(1, keepdim=True).mean(0, keepdim=True)),
                "this is the spread inside each patient, averaged; take it over patients and months together, "
                "dim=(0, 1).",
            ),
            (
                half(t.mean(1, keepdim=True).std(0, keepdim=True)),
                "this is the spread of the prototypes; take it over patients and months together, dim=(0, 1).",
            ),
            (half(t.std(0, keepdim=True)), "this is a spread for each month; take patients and months together."),
            (half(t.std(1, keepdim=True)), "this is a spread for each patient; take patients and months together."),
            (half(t.mean(**both)), "this follows the batch's mean; T_SD follows its standard deviation."),
        ],
        "not (scale + latents.std(dim=(0, 1), keepdim=True)) / 2 in value.",
    )


def check_queue(answer: Any) -> bool:
    """A function of (prototypes (n, 1, Z), capacity, generator) that returns those which stay in the queue."""
    problem, kept = _check_function(answer, "prototypes, capacity, generator"), []
    for count, seed in ((5, 0), (8, 0), (40, 0), (40, 0), (40, 1)):
        queue = torch.arange(float(count)).view(count, 1, 1).repeat(1, 1, 2)
        arguments = (queue, 8, torch.Generator().manual_seed(seed))
        problem = problem or _called(answer, arguments, partial(_kept, count=count, capacity=8, kept=kept))
    if not problem:
        first, again, other = (sorted(ids) for ids in kept[2:])
        if first == other == list(range(32, 40)):
            problem = "the newest 8 stay each time; a random subset must, or the buffer forgets all earlier batches."
        elif first == other == list(range(8)):
            problem = "the oldest 8 stay each time, so nothing new ever gets in; a random subset must stay."
        elif first != again:
            problem = "the same seed keeps different ones: the draw must come from `generator` alone."
        elif first == other:
            problem = "the same ones stay whatever the generator's seed: pass `generator=generator` to the draw."
    return verdict(problem, "a random subset stays, each at most once, and a queue with room keeps everybody.")


def _kept(got: Any, count: int, capacity: int, kept: list) -> str | None:
    expected = min(count, capacity)
    if not isinstance(got, Tensor) or got.ndim != 3 or tuple(got.shape[1:]) != (1, 2):
        shape = tuple(got.shape) if hasattr(got, "shape") else type(got).__name__
        return f"from {count} prototypes of shape ({count}, 1, 2) comes {shape}; return the rows that stay, (k, 1, 2)."
    ids = got[:, 0, 0].tolist()
    if not set(ids) <= set(range(count)):
        return "there are rows that were not in the queue; return rows of `prototypes` as they are."
    if len(set(ids)) < len(ids):
        again = len(ids) - len(set(ids))
        return f"{again} of {len(ids)} are repeats: that is drawing with replacement; torch.randperm never repeats."
    if count <= capacity and len(ids) < count:
        return f"{len(ids)} of {count} stay although there is room for {capacity}; choose only once the buffer is full."
    if len(ids) != expected:
        near = "; off by one" if abs(len(ids) - expected) == 1 else ""
        return f"{len(ids)} of {count} stay where {expected} should (capacity {capacity}){near}."
    kept.append(ids)
    return None


def check_latent_noise(answer: Any) -> bool:
    """A function of (z (B, L, Z), scale (1, 1, Z), prototypes (n, 1, Z), chosen (B,)) that returns z', (B, L, Z)."""
    prototypes = 10 * toy_latents().mean(1, keepdim=True)
    z = torch.rand(3, 3, 2, generator=torch.Generator().manual_seed(0))
    scale, chosen = torch.tensor([[[0.5, 2.0]]]), torch.tensor([2, 0, 2])
    picked = prototypes[chosen]
    wrong = [
        (z + picked, "T_SD is missing: z is multiplied by it before the prototype is added."),
        (z * scale, "the prototype is missing: without it this is v1's noise at another width."),
        ((z + picked) * scale, "the prototype is multiplied by T_SD too; only z is."),
        (z + picked * scale, "T_SD multiplies the prototype; it belongs to z."),
        (z + scale + picked, "T_SD is added; it is a factor."),
        (z / scale + picked, "this divides by T_SD; multiply."),
        (z * scale - picked, "a sign: the prototype is added, not subtracted."),
        (picked + 0 * z, "the monthly noise is missing: all months of a patient are equal."),
        (
            z * scale + picked.transpose(0, 1),
            "prototype and month have met: the draw belongs to the patient, axis 0, and is equal for all its months.",
        ),
        (z * scale + prototypes, "patient i has prototype i here; take those that were drawn, prototypes[chosen]."),
        (z * scale + prototypes[chosen[:1]], "everybody has the same prototype; draw one a patient."),
        (z * scale + prototypes.mean(0), "everybody has the mean prototype; take those drawn, prototypes[chosen]."),
    ]
    expected = z * scale + picked
    otherwise = "not z times T_SD plus the chosen patient's prototype, prototypes[chosen]."
    problem = _check_function(answer, "z, scale, prototypes, chosen") or _called(
        answer, (z, scale, prototypes, chosen), lambda got: _check_value(got, expected, wrong, otherwise)
    )
    return verdict(problem, "z * T_SD + prototype, new each month in the first term, kept in the second.")


def check_kept_variance(answer: Any) -> bool:
    """A function of (prototype variance, T_SD, months) that returns the variance of a patient's mean of z': with one
    prototype a patient, and with one a month.
    """
    problem = _check_function(answer, "variance, scale, months")
    for variance, scale, months in ((0.6, 0.9, 60), (2.0, 3.0, 4)):
        problem = problem or _called(
            answer, (variance, scale, months), lambda got, v=variance, s=scale, n=months: _variances(got, v, s, n)
        )
    return verdict(problem, "a prototype that stays keeps its whole variance; all that is new each month is divided.")


def _variances(got: Any, v: float, s: float, months: int) -> str | None:
    noise = s**2 / 12
    expected = (v + noise / months, (v + noise) / months)
    return _check_value(
        got,
        expected,
        [
            (expected[::-1], "the two are swapped: first one prototype a patient, then one a month."),
            (
                (v + noise, (v + noise) / months),
                "the first is one month's variance: the mean over months divides the noise's part.",
            ),
            ((expected[0], v + noise / months), "the two are equal; drawn each month, the prototype averages out too."),
            (
                (v + s / 12 / months, (v + s / 12) / months),
                "T_SD is a factor of z, so its square is a factor of z's variance.",
            ),
            (
                (v + s**2 / months, (v + s**2) / months),
                "z is uniform on 0 to 1 and has variance 1/12, not 1; it must be in there.",
            ),
            (
                (v + noise / months**0.5, (v + noise) / months**0.5),
                "that is the rule for a standard deviation; a variance is divided by the months, not by their root.",
            ),
            (
                tuple(value**0.5 for value in expected),
                "these are standard deviations; the variances are their squares.",
            ),
            (
                (v + noise / months, v + noise),
                "the second is one month's variance; the mean over months divides all of it.",
            ),
        ],
        f"with variance {v}, T_SD {s} and {months} months not the pair that this should be: what stays keeps its "
        "variance, what is new each month has it divided by the number of months.",
    )


# --- shared -----------------------------------------------------------------------------------------------------------


def _check_value(answer: Any, expected: Any, mistakes: list, otherwise: str) -> str | None:
    if same(answer, expected):
        return None
    want, shape = np.shape(expected), _shape(answer)
    if shape is None:
        return f"this is {type(answer).__name__}, not numbers in the shape {want}."
    if shape != want:
        otherwise = f"the shape is {shape} and should be {want}; {otherwise}"
    return mistake(answer, mistakes, otherwise)


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return np.asarray(value.detach() if isinstance(value, Tensor) else value, dtype=float).shape
    except (TypeError, ValueError):
        return None


def _check_function(answer: Any, arguments: str) -> str | None:
    problem = unanswered(answer)
    return problem or (None if callable(answer) else f"write a function of ({arguments}), not {type(answer).__name__}.")


def _called(function: Callable, arguments: tuple, judge: Callable[[Any], str | None]) -> str | None:
    try:
        got = function(*arguments)
        return unanswered(got) or judge(got)
    except Exception as error:  # whatever a learner's function raises is an answer too
        return f"the function stops with {type(error).__name__}: {error}"
