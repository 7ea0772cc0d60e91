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


_START = "F.relu(autoencoder.first(e) + autoencoder.shortcut(e))"


@exercise(
    each(_encoder, [(3, 4, 7, 8), (1, 1, 5, 6), (4, 3, 18, 5), (2, 6, 6, 6)]),
    "two paths in, and each further layer adds to what it was given before the relu.",
    "h3 (B, L, H): h1 = relu(A e + A' e), h2 = relu(B h1 + h1), h3 = relu(C h2 + h2).",
    {
        "(h) + h) -> (h))": "the second and third layer lack their shortcut: relu(B h + h).",
        "(h) + h) -> (h)) + h": "relu comes last, after the shortcut is added.",
        "F.relu(autoencoder.second -> (autoencoder.second; F.relu(autoencoder.third -> (autoencoder.third": (
            "the second and third layer lack their relu."
        ),
        "third(h) + h -> third(h)": "the third layer lacks its shortcut: relu(C h + h).",
        "autoencoder.third(h) + h": "the third layer lacks its relu.",
        "h": "that is h2; one more layer (third) is to come.",
        " + autoencoder.shortcut(e) -> ": "the first layer has two paths, A e + A' e; A' (shortcut) is missing.",
        f"{_START} -> F.relu(autoencoder.first(e)) + F.relu(autoencoder.shortcut(e))": "first add, then one relu.",
        "F.relu(autoencoder.first -> (autoencoder.first": "the first layer lacks its relu.",
        "autoencoder.encode(e)": "that is the latent T h3; return h3, before to_latent.",
    },
    learns=("autoencoder", "e"),
)
def check_residual_encoder(autoencoder, e):
    h = F.relu(autoencoder.first(e) + autoencoder.shortcut(e))
    h = F.relu(autoencoder.second(h) + h)
    return F.relu(autoencoder.third(h) + h)


def _normals() -> list[Case]:
    pairs = {"four coordinates": ([1.0, -0.5, 0, 2], [0.25, 1, 4, 0.5]), "one coordinate": ([0.5], [2.0])}
    pairs |= {"N(0, 1) itself": ([0.0, 0], [1.0, 1])}
    cases = [Case(label, tuple(torch.tensor(part) for part in pair)) for label, pair in pairs.items()]
    return cases + [Case(f"{n} coordinates", (random_tensor(n), random_tensor(n, seed=1).exp())) for n in (3, 20)]


@exercise(
    _normals,
    "zero for N(0, 1), and it grows as the mean leaves 0 or the variance leaves 1.",
    "one number, the sum over coordinates of 0.5 * (mean² + variance - 1 - log variance).",
    {
        "terms": "those are the coordinates' divergences; add them up to one number.",
        "terms.mean()": "that is their mean; the loss sums over coordinates.",
        "0.5 * -> ": "twice too large: the half in front is missing.",
        "- variance.log -> + variance.log": "the logarithm's sign: a small variance must cost more.",
        "mean**2 -> mean": "the mean has to be squared: +2 and -2 are equally far from 0.",
        "- 1 -> ": "the -1 is missing: N(0, 1) itself must cost nothing.",
        "log() -> log10()": "base 10; the natural logarithm is meant.",
        "0.5 * (mean**2 -> (0.5 * mean**2": "brackets: the half belongs to all terms.",
    },
    learns=("mean", "variance"),
)
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


@exercise(
    _latents,
    "one mean and one variance a coordinate, over all patients and months, safe at variance 0.",
    "one number: my_kl of each coordinate's mean and variance (n - 1, at least 1e-8) over patients and months, summed.",
    {
        ".clamp_min(1e-8) -> ": "where all rows are equal the variance is 0, its logarithm infinite: .clamp_min(1e-8).",
        "1e-8 -> 1e-3": "right, but for the floor of the variance: 1e-8.",
        "var(0) -> var(0, correction=0)": "the variance divides by n; the sample variance by n - 1.",
        "var -> std": "a standard deviation stands where the variance belongs.",
        "mean(0) -> mean(); var(0) -> var()": "one mean and variance; each coordinate has own.",
        "flat.mean(0) -> 0 * flat.mean(0)": "the mean is left out.",
        "right(t) / t.shape[2]": "that is the mean over coordinates; sum over Z.",
        (
            "_divergence(t.mean(1), t.var(1).clamp_min(1e-8))",
            "_divergence(t.mean(1), t.var(1).clamp_min(1e-8)) / len(t)",
        ): "the moments are taken patient by patient; take them over patients and months together.",
        (
            "_divergence(t.mean(0), t.var(0).clamp_min(1e-8))",
            "_divergence(t.mean(0), t.var(0).clamp_min(1e-8)) / t.shape[1]",
        ): "the moments are taken month by month; take them over patients and months together.",
        "right(t.mean(1, keepdim=True))": "months are averaged first; take the moments over all rows.",
        "0.5 * t.square().sum(-1).mean()": "that is the textbook form, each month by itself.",
    },
    learns=("t",),
)
def check_aggregate_kl(t):
    flat = t.flatten(0, 1)
    return _divergence(flat.mean(0), flat.var(0).clamp_min(1e-8))


def _networks(schema: Schema, patients: int, months: int) -> tuple:
    critic, autoencoder = seeded(lambda: (plain(Critic(schema, 8)), Autoencoder(schema.width, 3, 8)))
    return critic, autoencoder, random_tensor(patients, months, schema.channels).sigmoid()


_LEAKS = "the critic's embedding gets a gradient, through {}: detach e once, before either use."


@exercise(
    each(_networks, [(toy_schema(), 3, 4), (other_schema(), 5, 4), (other_schema(), 1, 6)]),
    "the autoencoder learns, and the critic's embedding gets no gradient.",
    "one number, the mean squared error of the reconstruction plus the aggregate divergence of t.",
    {
        "error": "that is the reconstruction error alone; the divergence is missing.",
        "divergence": "that is the divergence alone; the reconstruction error is missing.",
        "error - divergence": "the divergence is subtracted; it is a cost, so add it.",
        "torch.stack([error, divergence])": "return one number: the error plus the divergence.",
        "e.numel() * error + divergence": "the squared errors are summed; take their mean over all entries.",
        ".detach() -> ": _LEAKS.format("both the autoencoder's input and the target"),
        "e, t) -> critic.embed(x), t)": _LEAKS.format("the target of the error"),
        "autoencoder(e) -> autoencoder(critic.embed(x))": _LEAKS.format("the autoencoder's input"),
        "s(reconstruction -> s(reconstruction.detach()": "a detach too many: the reconstruction gets no gradient.",
        "e, t) -> e, t.detach())": "a detach too many: the latent gets no gradient. Detach e alone.",
    },
    learns=("critic", "autoencoder"),
    cut="the result is cut off too (detach, no_grad, .item()); detach e alone.",
)
def check_detached_loss(critic, autoencoder, x):
    e = critic.embed(x).detach()
    reconstruction, t, _ = autoencoder(e)
    error, divergence = autoencoder_loss(reconstruction, e, t)
    return error + divergence


@exercise(
    each(lambda *shape: tuple(random_tensor(*shape, seed=i) for i in range(3)), [(3, 4, 2), (1,), (5,), (2, 6, 3)]),
    "the randomness is outside, so a gradient passes through mean and variance.",
    "mean + noise * exp(0.5 * log_variance).",
    {
        "0.5 * -> ": "exp(log variance) is the variance; noise is scaled by its square root, exp of half of it.",
        "torch.exp(0.5 * log_variance) -> log_variance": "the logarithm is used as it is; exponentiate half of it.",
        "torch.exp -> ": "the exponential is missing: exp(0.5 * log_variance).",
        "torch.exp(0.5 * -> 0.5 * torch.exp(": "the half belongs into the exponent: exp(0.5 * log_variance).",
        "mean + noise -> (mean + noise)": "brackets: only the noise is scaled.",
    },
    learns=("mean", "log_variance"),
)
def check_reparameterise(mean, log_variance, noise):
    return mean + noise * torch.exp(0.5 * log_variance)


#: Wrong prototypes of latent vectors t; notebook 4 has the same task.
PROTOTYPE_MISTAKES = {
    "t.mean(1)": "right numbers, wrong shape (B, Z): keep the months' axis (keepdim), to add it to the noise.",
    "t.mean(0, keepdim=True)": "that averages over patients, axis 0; average over months, axis 1.",
    "t.mean((0, 1), keepdim=True)": "one prototype for everybody; each patient has one, so axis 1 alone.",
    "t.mean(2, keepdim=True)": "that averages over latent coordinates, axis 2; average over months, axis 1.",
    "t.mean()": "one number for everything; average over months, axis 1.",
    "t.sum(1, keepdim=True)": "that is the sum over months; divide by their number.",
    "t[:, -1:]": "that is the last month alone; take the mean over all months.",
    "t[:, :1]": "that is the first month alone; take the mean over all months.",
    "t.median(1, keepdim=True).values": "that is the median; the buffer keeps the mean.",
}


@exercise(
    sequences_of_latents,
    "one latent vector a patient, ready to be added to every month's noise.",
    "(B, 1, Z), the mean of t over the months, axis 1.",
    PROTOTYPE_MISTAKES,
)
def check_prototypes(t):
    return t.mean(1, keepdim=True)
