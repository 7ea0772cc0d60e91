"""Exercises of notebook 3: the autoencoder, its two losses, the draw and the prototypes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cohort.schema import Schema
from ..model.autoencoder import Autoencoder
from ..model.losses import autoencoder_loss
from ..model.networks import Critic
from .judging import Case, Exercise, each
from .nb02_wgan import other_schema, plain, random_tensor, seeded
from .toy import toy_schema

# --- the encoder's hidden part ----------------------------------------------------------------------------------------


def _encoder(patients: int, months: int, width: int, hidden: int) -> tuple[Autoencoder, Tensor]:
    autoencoder = seeded(lambda: Autoencoder(width, 3, hidden))
    with torch.no_grad():
        for layer in (autoencoder.second, autoencoder.third):
            layer.weight *= 3  # so that relu has something to cut
    return autoencoder, random_tensor(patients, months, width)


def _hidden(
    start: Callable = lambda a, e: F.relu(a.first(e) + a.shortcut(e)),
    second: Callable = lambda f, h: F.relu(f(h) + h),
    third: Callable | None = None,
) -> Callable:
    def hidden(autoencoder, e):
        h = second(autoencoder.second, start(autoencoder, e))
        return (third or second)(autoencoder.third, h)

    return hidden


def _block(layer: Callable, h: Tensor) -> Tensor:
    return F.relu(layer(h) + h)


def _swapped(a: Autoencoder, e: Tensor) -> Tensor:
    return _block(a.second, _block(a.third, F.relu(a.first(e) + a.shortcut(e))))


check_residual_encoder = Exercise(
    _hidden(),
    each(_encoder, [(3, 4, 7, 8), (1, 1, 5, 6), (4, 3, 18, 5), (2, 6, 6, 6)]),
    "two paths in, and each further layer adds to what it was given before the relu.",
    "h3 (B, L, H): h1 = relu(A e + A' e), h2 = relu(B h1 + h1), h3 = relu(C h2 + h2).",
    (
        (_hidden(second=lambda f, h: F.relu(f(h))), "the second and third layer lack their shortcut: relu(B h + h)."),
        (_hidden(second=lambda f, h: F.relu(f(h)) + h), "relu comes last, after the shortcut is added."),
        (_hidden(second=lambda f, h: f(h) + h), "the second and third layer lack their relu."),
        (_hidden(third=lambda f, h: F.relu(f(h))), "the third layer lacks its shortcut: relu(C h + h)."),
        (_hidden(third=lambda f, h: f(h) + h), "the third layer lacks its relu."),
        (_hidden(second=lambda f, h: h, third=_block), "the second layer is left out."),
        (_swapped, "the second and third layer have changed places."),
        (_hidden(third=lambda f, h: h), "that is h2; one more layer (third) is to come."),
        (
            _hidden(lambda a, e: F.relu(a.first(e))),
            "the first layer has two paths, A e + A' e; A' (shortcut) is missing.",
        ),
        (_hidden(lambda a, e: F.relu(a.first(e)) + F.relu(a.shortcut(e))), "add A e and A' e first, then one relu."),
        (_hidden(lambda a, e: a.first(e) + a.shortcut(e)), "the first layer lacks its relu."),
        (lambda a, e: a.encode(e), "that is the latent T h3; return h3, before to_latent."),
    ),
    learns=("autoencoder", "e"),
)

# --- divergences ------------------------------------------------------------------------------------------------------


def _terms(mean: Tensor, variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + variance - 1 - variance.log())


def _normals() -> list[Case]:
    pairs = {"four coordinates": ([1.0, -0.5, 0, 2], [0.25, 1, 4, 0.5]), "one coordinate": ([0.5], [2.0])}
    pairs |= {"N(0, 1) itself": ([0.0, 0], [1.0, 1])}
    cases = [Case(label, tuple(torch.tensor(part) for part in pair)) for label, pair in pairs.items()]
    return cases + [Case(f"{n} coordinates", (random_tensor(n), random_tensor(n, seed=1).exp())) for n in (3, 20)]


def _kl(terms: Callable) -> Callable:
    return lambda mean, variance: terms(mean, variance).sum()


check_kl = Exercise(
    _kl(_terms),
    _normals,
    "zero for N(0, 1), and it grows as the mean leaves 0 or the variance leaves 1.",
    "one number, the sum over coordinates of 0.5 * (mean² + variance - 1 - log variance).",
    (
        (_terms, "those are the coordinates' divergences; add them up to one number."),
        (lambda m, v: _terms(m, v).mean(), "that is their mean; the loss sums over coordinates."),
        (_kl(lambda m, v: 2 * _terms(m, v)), "twice too large: the half in front is missing."),
        (_kl(lambda m, v: 0.5 * (m**2 + v - 1 + v.log())), "the logarithm's sign: a small variance must cost more."),
        (
            _kl(lambda m, v: 0.5 * (m**2 + v.sqrt() - 1 - v.log() / 2)),
            "you are given variances; no square root is needed.",
        ),
        (_kl(lambda m, v: 0.5 * (m**2 + v**2 - 1 - 2 * v.log())), "you are given variances; do not square them again."),
        (_kl(lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v)), "you are given variances, not their logarithms."),
        (
            _kl(lambda m, v: 0.5 * (m + v - 1 - v.log())),
            "the mean has to be squared: +2 and -2 are equally far from 0.",
        ),
        (_kl(lambda m, v: 0.5 * (m**2 + v - v.log())), "the -1 is missing: N(0, 1) itself must cost nothing."),
        (_kl(lambda m, v: 0.5 * (v - 1 - v.log())), "the squared mean is missing."),
        (_kl(lambda m, v: 0.5 * (m**2 - 1 - v.log())), "the variance itself is missing, beside its logarithm."),
        (_kl(lambda m, v: 0.5 * (m**2 + v - 1 - v.log10())), "base 10; the natural logarithm is meant."),
        (_kl(lambda m, v: 0.5 * (m**2 + v - 1 - 2 * v.log())), "the logarithm of the variance counts once."),
        (_kl(lambda m, v: 0.5 * m**2 + v - 1 - v.log()), "brackets: the half belongs to all terms."),
    ),
    learns=("mean", "variance"),
)


def _latents() -> list[Case]:
    cases = sequences_of_latents()
    for case in cases:  # patients differ, around another mean than 0
        case.arguments[0].add_(0.8 * random_tensor(len(case.arguments[0]), 1, 1, seed=1) + 0.5)
    return [*cases, Case("equal rows, variance 0", (torch.ones(3, 4, 2),), gradient=False)]


def _aggregate(
    spread: Callable = lambda flat: flat.var(0), mean: Callable = lambda flat: flat.mean(0), floor: float = 1e-8
) -> Callable:
    def aggregate_kl(t: Tensor) -> Tensor:
        flat = t.flatten(0, 1)
        return _terms(mean(flat), spread(flat).clamp_min(floor)).sum()

    return aggregate_kl


def _apart(axis: int, finish: Callable) -> Callable:
    return lambda t: finish(_terms(t.mean(axis), t.var(axis).clamp_min(1e-8)))


_EQUAL = "where all rows are equal the variance is 0, its logarithm minus infinity: .clamp_min(1e-8)."
_BY = "the moments are taken {0} by {0}; take them over patients and months together."
check_aggregate_kl = Exercise(
    _aggregate(),
    _latents,
    "one mean and one variance a coordinate, over all patients and months, safe at variance 0.",
    "one number: my_kl of each coordinate's mean and variance (n - 1, at least 1e-8) over patients and months, summed.",
    (
        (_aggregate(floor=0), _EQUAL),
        (_aggregate(floor=1e-3), "right, but for the floor of the variance: 1e-8."),
        (
            _aggregate(lambda flat: flat.var(0, correction=0)),
            "the variance divides by n; the sample variance by n - 1.",
        ),
        (_aggregate(lambda flat: flat.std(0)), "a standard deviation stands where the variance belongs."),
        (
            _aggregate(lambda flat: flat.var(), lambda flat: flat.mean()),
            "one mean and variance; each coordinate has own.",
        ),
        (_aggregate(mean=lambda flat: 0 * flat.mean(0)), "the mean is left out."),
        (lambda t: _terms(t.flatten(0, 1).mean(0), t.flatten(0, 1).var(0)), "coordinates' divergences; sum over Z."),
        (lambda t: _aggregate()(t) / t.shape[2], "that is the mean over coordinates; sum over Z."),
        (_apart(1, lambda d: d.sum(-1).mean()), _BY.format("patient")),
        (_apart(1, Tensor.sum), _BY.format("patient")),
        (_apart(0, lambda d: d.sum(-1).mean()), _BY.format("month")),
        (_apart(0, Tensor.sum), _BY.format("month")),
        (lambda t: _aggregate()(t.mean(1, keepdim=True)), "months are averaged first; take the moments over all rows."),
        (lambda t: 0.5 * t.square().sum(-1).mean(), "that is the textbook form, each month by itself."),
    ),
    learns=("t",),
)

# --- the loss that only the autoencoder hears -------------------------------------------------------------------------


def _networks(schema: Schema, patients: int, months: int) -> tuple:
    critic, autoencoder = seeded(lambda: (plain(Critic(schema, 8)), Autoencoder(schema.width, 3, 8)))
    return critic, autoencoder, random_tensor(patients, months, schema.channels).sigmoid()


def _whole(total: Callable = sum, given: Callable = Tensor.detach, target: Callable = Tensor.detach) -> Callable:
    def detached_loss(critic, autoencoder, x):
        e = critic.embed(x)
        reconstruction, t, _ = autoencoder(given(e))
        return total(autoencoder_loss(reconstruction, target(e), t))

    return detached_loss


def _mixed(cut: Callable) -> Callable:
    """A loss with something more cut off: from reconstruction and latent to those that the losses are given."""

    def detached_loss(critic, autoencoder, x):
        e = critic.embed(x).detach()
        reconstruction, t = cut(*autoencoder(e)[:2])
        return sum(autoencoder_loss(reconstruction, e, t))

    return detached_loss


_LEAKS = "the critic's embedding gets a gradient, through {}: detach e once, before either use."
check_detached_loss = Exercise(
    _whole(),
    each(_networks, [(toy_schema(), 3, 4), (other_schema(), 5, 4), (other_schema(), 1, 6)]),
    "the autoencoder learns, and the critic's embedding gets no gradient.",
    "one number, the mean squared error of the reconstruction plus the aggregate divergence of t.",
    (
        (_whole(lambda parts: parts[0]), "that is the reconstruction error alone; the divergence is missing."),
        (_whole(lambda parts: parts[1]), "that is the divergence alone; the reconstruction error is missing."),
        (_whole(lambda parts: parts[0] - parts[1]), "the divergence is subtracted; it is a cost, so add it."),
        (_whole(lambda parts: torch.stack(parts)), "return one number: the error plus the divergence."),
        (
            lambda c, a, x: _whole(lambda p: c.embed(x).numel() * p[0] + p[1])(c, a, x),
            "the squared errors are summed; take their mean over all entries.",
        ),
        (_whole(given=lambda e: e, target=lambda e: e), _LEAKS.format("both the autoencoder's input and the target")),
        (_whole(target=lambda e: e), _LEAKS.format("the target of the error")),
        (_whole(given=lambda e: e), _LEAKS.format("the autoencoder's input")),
        (
            _mixed(lambda r, t: (r.detach(), t)),
            "a detach too many: the reconstruction gets no gradient. Detach e alone.",
        ),
        (_mixed(lambda r, t: (r, t.detach())), "a detach too many: the latent gets no gradient. Detach e alone."),
    ),
    learns=("critic", "autoencoder"),
    cut="the result is cut off too (detach, no_grad, .item()); detach e alone.",
)

# --- the draw and the prototypes --------------------------------------------------------------------------------------


def _draw(deviation: Callable = lambda v: torch.exp(0.5 * v)) -> Callable:
    return lambda mean, log_variance, noise: mean + noise * deviation(log_variance)


_HALF = "exp(log variance) is the variance; noise is scaled by its square root, exp of half of it."
check_reparameterise = Exercise(
    _draw(),
    each(lambda *shape: tuple(random_tensor(*shape, seed=i) for i in range(3)), [(3, 4, 2), (1,), (5,), (2, 6, 3)]),
    "the randomness is outside, so a gradient passes through mean and variance.",
    "mean + noise * exp(0.5 * log_variance).",
    (
        (_draw(torch.exp), _HALF),
        (_draw(lambda v: v), "the logarithm of the variance is used as it is; exponentiate half of it."),
        (_draw(lambda v: 0.5 * v), "the exponential is missing: exp(0.5 * log_variance)."),
        (_draw(lambda v: 0.5 * v.exp()), "the half belongs into the exponent: exp(0.5 * log_variance)."),
        (_draw(lambda v: torch.exp(-0.5 * v)), "the noise is divided by the standard deviation; multiply."),
        (_draw(lambda v: 1), "the noise keeps variance 1; scale it by the standard deviation."),
        (_draw(lambda v: v.abs().sqrt()), "a root of the logarithm: exponentiate half of it."),
        (lambda m, v, n: n * torch.exp(0.5 * v), "the mean is missing."),
        (lambda m, v, n: m + torch.exp(0.5 * v), "the noise is missing: that is the same point for every draw."),
        (lambda m, v, n: m + n + torch.exp(0.5 * v), "the standard deviation is added; the noise is multiplied by it."),
        (
            lambda m, v, n: m * torch.exp(0.5 * v) + n,
            "mean and noise have changed places: it is the noise that is scaled.",
        ),
        (lambda m, v, n: (m + n) * torch.exp(0.5 * v), "brackets: only the noise is scaled."),
        (lambda m, v, n: m - n * torch.exp(0.5 * v), "the noise is subtracted: mean + noise * sd, to be comparable."),
    ),
    learns=("mean", "log_variance"),
)


#: Latent vectors (B, L, Z): one patient, one month, one coordinate, as many of each.
sequences_of_latents = each(
    lambda *shape: (random_tensor(*shape),), [(3, 4, 2), (1, 5, 3), (4, 1, 2), (5, 3, 1), (4, 4, 4), (7, 60, 5)]
)

#: Wrong prototypes of latent vectors (B, L, Z); notebook 4 has the same task.
PROTOTYPE_MISTAKES = (
    (
        lambda t: t.mean(1),
        "right numbers, wrong shape (B, Z): keep the months' axis (keepdim), to add it to the noise.",
    ),
    (lambda t: t.mean(0, keepdim=True), "that averages over patients, axis 0; average over months, axis 1."),
    (lambda t: t.mean((0, 1), keepdim=True), "one prototype for everybody; each patient has one, so axis 1 alone."),
    (lambda t: t.mean(2, keepdim=True), "that averages over latent coordinates, axis 2; average over months, axis 1."),
    (lambda t: t.mean(), "one number for everything; average over months, axis 1."),
    (lambda t: t.sum(1, keepdim=True), "that is the sum over months; divide by their number."),
    (lambda t: t[:, -1:], "that is the last month alone; take the mean over all months."),
    (lambda t: t[:, :1], "that is the first month alone; take the mean over all months."),
    (lambda t: t.amax(1, keepdim=True), "that is the largest month; take the mean over all months."),
    (lambda t: t.median(1, keepdim=True).values, "that is the median; the buffer keeps the mean."),
)

check_prototypes = Exercise(
    lambda t: t.mean(1, keepdim=True),
    sequences_of_latents,
    "one latent vector a patient, ready to be added to every month's noise.",
    "(B, 1, Z), the mean of t over the months, axis 1.",
    PROTOTYPE_MISTAKES,
)
