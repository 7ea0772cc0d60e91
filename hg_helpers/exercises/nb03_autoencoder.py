"""Exercises of notebook 3: the autoencoder, its two losses, the draw and the prototypes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.autoencoder import Autoencoder
from ..model.losses import autoencoder_loss
from ..model.networks import Critic
from .judging import Case, Exercise
from .nb02_wgan import other_schema, plain, random_tensor, seeded
from .toy import toy_schema

# --- the encoder's hidden part ----------------------------------------------------------------------------------------


def _encoders() -> list[Case]:
    cases = []
    for label, patients, months, width, hidden in (
        ("three patients", 3, 4, 7, 8),
        ("one patient, one month", 1, 1, 5, 6),
        ("other widths", 4, 3, 18, 5),
        ("as wide as hidden", 2, 6, 6, 6),
    ):
        autoencoder = seeded(lambda width=width, hidden=hidden: Autoencoder(width, 3, hidden))
        with torch.no_grad():
            for layer in (autoencoder.second, autoencoder.third):
                layer.weight *= 3  # so that relu has something to cut
        cases.append(Case(label, (autoencoder, random_tensor(patients, months, width))))
    return cases


def _hidden(
    start: Callable = lambda a, e: F.relu(a.first(e) + a.shortcut(e)),
    second: Callable = lambda f, h: F.relu(f(h) + h),
    third: Callable | None = None,
) -> Callable:
    def hidden(autoencoder, e):
        h = second(autoencoder.second, start(autoencoder, e))
        return (third or second)(autoencoder.third, h)

    return hidden


check_residual_encoder = Exercise(
    _hidden(),
    _encoders,
    "two paths in, and each further layer adds to what it was given before the relu.",
    "h3 (B, L, H): h1 = relu(A e + A' e), h2 = relu(B h1 + h1), h3 = relu(C h2 + h2).",
    (
        (_hidden(second=lambda f, h: F.relu(f(h))), "the second and third layer lack their shortcut: relu(B h + h)."),
        (_hidden(second=lambda f, h: F.relu(f(h)) + h), "relu comes last, after the shortcut is added."),
        (_hidden(second=lambda f, h: f(h) + h), "the second and third layer lack their relu."),
        (_hidden(third=lambda f, h: F.relu(f(h))), "the third layer lacks its shortcut: relu(C h + h)."),
        (_hidden(third=lambda f, h: f(h) + h), "the third layer lacks its relu."),
        (_hidden(third=lambda f, h: h), "that is h2; one more layer (third) is to come."),
        (_hidden(second=lambda f, h: h), "that is h1; two more layers are to come."),
        (
            _hidden(lambda a, e: F.relu(a.first(e))),
            "the first layer has two paths, A e + A' e; A' (shortcut) is missing.",
        ),
        (
            _hidden(lambda a, e: F.relu(a.shortcut(e))),
            "the first layer has two paths, A e + A' e; A (first) is missing.",
        ),
        (_hidden(lambda a, e: F.relu(a.first(e)) + F.relu(a.shortcut(e))), "add A e and A' e first, then one relu."),
        (_hidden(lambda a, e: F.relu(a.first(e)) + a.shortcut(e)), "add A e and A' e first, then one relu."),
        (_hidden(lambda a, e: a.first(e) + a.shortcut(e)), "the first layer lacks its relu."),
        (lambda a, e: a.encode(e), "that is the latent T h3; return h3, before to_latent."),
        (lambda a, e: a(e)[0], "that is the reconstruction; return h3."),
        (lambda a, e: _hidden()(a, e.detach()), "e is detached; here the gradient passes through."),
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
        (_kl(lambda m, v: 0.5 * (m**2 + v**2 - 1 - v.log())), "you are given variances; do not square them again."),
        (_kl(lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v)), "you are given variances, not their logarithms."),
        (
            _kl(lambda m, v: 0.5 * (m + v - 1 - v.log())),
            "the mean has to be squared: +2 and -2 are equally far from 0.",
        ),
        (_kl(lambda m, v: 0.5 * (m**2 + v - v.log())), "the -1 is missing: N(0, 1) itself must cost nothing."),
        (_kl(lambda m, v: 0.5 * (m**2 + v - 1)), "the logarithm of the variance is missing."),
        (_kl(lambda m, v: 0.5 * (v - 1 - v.log())), "the squared mean is missing."),
        (_kl(lambda m, v: 0.5 * (m**2 - 1 - v.log())), "the variance itself is missing, beside its logarithm."),
        (_kl(lambda m, v: 0.5 * (m**2 + v - 1 - v.log10())), "base 10; the natural logarithm is meant."),
        (_kl(lambda m, v: 0.5 * m**2 + v - 1 - v.log()), "brackets: the half belongs to all terms."),
        (
            _kl(lambda m, v: 0.5 * ((m**2 + 1) / v - 1 + v.log())),
            "the other direction: of N(0, 1) from N(mean, variance).",
        ),
        (lambda m, v: 0.5 * (m.square().sum() + v.sum() - 1 - v.log().sum()), "the 1 is subtracted once a coordinate."),
        (_kl(lambda m, v: _terms(m.detach(), v)), "the mean is detached."),
        (_kl(lambda m, v: _terms(m, v.detach())), "the variance is detached."),
    ),
    learns=("mean", "variance"),
)


def _latents() -> list[Case]:
    cases = []
    for label, *shape in (
        ("three patients", 3, 4, 2),
        ("one coordinate", 4, 3, 1),
        ("one patient", 1, 5, 3),
        ("one month", 6, 1, 2),
        ("as many patients as coordinates", 4, 4, 4),
    ):
        patients = 0.8 * random_tensor(shape[0], 1, shape[2], seed=1)  # patients differ
        cases.append(Case(label, (0.7 * random_tensor(*shape) + patients + 0.5,)))
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
        (_aggregate(floor=1e-6), "right, but for the floor of the variance: 1e-8."),
        (_aggregate(floor=1e-12), "right, but for the floor of the variance: 1e-8."),
        (
            _aggregate(lambda flat: flat.var(0, correction=0)),
            "the variance divides by n; the sample variance by n - 1.",
        ),
        (_aggregate(lambda flat: flat.std(0)), "a standard deviation stands where the variance belongs."),
        (_aggregate(lambda flat: flat.square().mean(0)), "the variance is about the mean: subtract it first."),
        (
            _aggregate(lambda flat: flat.var().expand(flat.shape[1])),
            "one variance for all; each coordinate has its own.",
        ),
        (
            _aggregate(lambda flat: flat.var(), lambda flat: flat.mean()),
            "one mean and variance; each coordinate has own.",
        ),
        (_aggregate(mean=lambda flat: 0 * flat.mean(0)), "the mean is left out."),
        (lambda t: _terms(t.flatten(0, 1).mean(0), t.flatten(0, 1).var(0)), "coordinates' divergences; sum over Z."),
        (lambda t: _aggregate()(t) / t.shape[2], "that is the mean over coordinates; sum over Z."),
        (lambda t: 2 * _aggregate()(t), "twice too large: the half in front is missing."),
        (_apart(1, lambda d: d.sum(-1).mean()), _BY.format("patient")),
        (_apart(1, lambda d: d.sum(-1)), _BY.format("patient")),
        (_apart(1, Tensor.sum), _BY.format("patient")),
        (_apart(0, lambda d: d.sum(-1).mean()), _BY.format("month")),
        (_apart(0, Tensor.sum), _BY.format("month")),
        (lambda t: _aggregate()(t.mean(1, keepdim=True)), "months are averaged first; take the moments over all rows."),
        (lambda t: 0.5 * t.square().sum(-1).mean(), "that is the textbook form, each month by itself."),
    ),
    learns=("t",),
)

# --- the loss that only the autoencoder hears -------------------------------------------------------------------------


def _networks() -> list[Case]:
    cases = []
    for label, schema, patients in (("the toy schema", toy_schema(), 3), ("another schema", other_schema(), 5)):
        build = lambda schema=schema: (plain(Critic(schema, 8)), Autoencoder(schema.width, 3, 8))  # noqa: E731
        cases.append(Case(label, (*seeded(build), random_tensor(patients, 4, schema.channels).sigmoid())))
    return [*cases, Case("one patient", (*seeded(build), random_tensor(1, 6, schema.channels, seed=1)))]


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
    _networks,
    "the autoencoder learns, and the critic's embedding gets no gradient.",
    "one number, the mean squared error of the reconstruction plus the aggregate divergence of t.",
    (
        (_whole(lambda parts: parts[0]), "that is the reconstruction error alone; the divergence is missing."),
        (_whole(lambda parts: parts[1]), "that is the divergence alone; the reconstruction error is missing."),
        (_whole(lambda parts: parts[0] - parts[1]), "the divergence is subtracted; it is a cost, so add it."),
        (_whole(lambda parts: torch.stack(parts)), "return one number: the error plus the divergence."),
        (_whole(lambda parts: sum(parts) / 2), "the mean of the two; their sum is asked for."),
        (
            lambda c, a, x: _whole(lambda p: c.embed(x).numel() * p[0] + p[1])(c, a, x),
            "the squared errors are summed; take their mean over all entries.",
        ),
        (
            lambda c, a, x: _whole(lambda p: c.embed(x).shape[-1] * p[0] + p[1])(c, a, x),
            "the squared errors are summed over the embedding; take the mean.",
        ),
        (
            lambda c, a, x: F.l1_loss(a(c.embed(x))[0], c.embed(x)) + _whole(lambda p: p[1])(c, a, x),
            "absolute errors; the error is squared.",
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


def _draws() -> list[Case]:
    shapes = {"three patients": (3, 4, 2), "one number": (1,), "a row": (5,), "more": (2, 6, 3)}
    return [Case(k, tuple(random_tensor(*s, seed=i) for i in range(3))) for k, s in shapes.items()]


def _draw(deviation: Callable = lambda v: torch.exp(0.5 * v)) -> Callable:
    return lambda mean, log_variance, noise: mean + noise * deviation(log_variance)


_HALF = "exp(log variance) is the variance; noise is scaled by its square root, exp of half of it."
check_reparameterise = Exercise(
    _draw(),
    _draws,
    "the randomness is outside, so a gradient passes through mean and variance.",
    "mean + noise * exp(0.5 * log_variance).",
    (
        (_draw(torch.exp), _HALF),
        (_draw(lambda v: v), "the logarithm of the variance is used as it is; exponentiate half of it."),
        (_draw(lambda v: 0.5 * v), "the exponential is missing: exp(0.5 * log_variance)."),
        (_draw(lambda v: 0.5 * v.exp()), "the half belongs into the exponent: exp(0.5 * log_variance)."),
        (_draw(lambda v: (2 * v).exp()), _HALF),
        (_draw(lambda v: v.abs().sqrt()), "a root of the logarithm: exponentiate half of it."),
        (_draw(lambda v: torch.exp(-0.5 * v)), "the noise is divided by the standard deviation; multiply."),
        (_draw(lambda v: 1), "the noise keeps variance 1; scale it by the standard deviation."),
        (lambda m, v, n: n * torch.exp(0.5 * v), "the mean is missing."),
        (lambda m, v, n: m + torch.exp(0.5 * v), "the noise is missing: that is the same point for every draw."),
        (lambda m, v, n: m + n + torch.exp(0.5 * v), "the standard deviation is added; the noise is multiplied by it."),
        (
            lambda m, v, n: m * torch.exp(0.5 * v) + n,
            "mean and noise have changed places: it is the noise that is scaled.",
        ),
        (lambda m, v, n: (m + n) * torch.exp(0.5 * v), "brackets: only the noise is scaled."),
        (lambda m, v, n: m - n * torch.exp(0.5 * v), "the noise is subtracted: mean + noise * sd, to be comparable."),
        (lambda m, v, n: _draw()(m.detach(), v, n), "the mean is detached."),
        (lambda m, v, n: _draw()(m, v.detach(), n), "the log variance is detached."),
    ),
    learns=("mean", "log_variance"),
)


def sequences_of_latents() -> list[Case]:
    shapes = {"three patients": (3, 4, 2), "one patient": (1, 5, 3), "one month": (4, 1, 2), "one number": (5, 3, 1)}
    shapes |= {"as many patients as months": (4, 4, 4), "sixty months": (7, 60, 5)}
    return [Case(label, (random_tensor(*shape),)) for label, shape in shapes.items()]


#: Wrong prototypes of latent vectors (B, L, Z); notebook 4 has the same task.
PROTOTYPE_MISTAKES = (
    (
        lambda t: t.mean(1),
        "right numbers, wrong shape (B, Z): keep the months' axis (keepdim), to add it to the noise.",
    ),
    (lambda t: t.mean(0, keepdim=True), "that averages over patients, axis 0; average over months, axis 1."),
    (lambda t: t.mean((0, 1), keepdim=True), "one prototype for everybody; each patient has one, so axis 1 alone."),
    (lambda t: t.mean(2, keepdim=True), "that averages over latent coordinates, axis 2; average over months, axis 1."),
    (lambda t: t.mean((1, 2), keepdim=True), "that averages over latent coordinates too; over months alone, axis 1."),
    (lambda t: t.mean(), "one number for everything; average over months, axis 1."),
    (lambda t: t.sum(1, keepdim=True), "that is the sum over months; divide by their number."),
    (lambda t: t[:, -1:], "that is the last month alone; take the mean over all months."),
    (lambda t: t[:, :1], "that is the first month alone; take the mean over all months."),
    (lambda t: t.median(1, keepdim=True).values, "that is the median; the buffer keeps the mean."),
    (lambda t: t.amax(1, keepdim=True), "that is the largest month; take the mean over all months."),
    (lambda t: t.std(1, keepdim=True), "that is the spread over months; take the mean."),
    (lambda t: t.mean(1, keepdim=True).expand_as(t), "repeated for each month; one a patient is enough."),
    (lambda t: t.mean(1)[None], "the axis of length 1 stands in front; it belongs in the middle, (B, 1, Z)."),
    (lambda t: t.mean(1)[..., None], "the axis of length 1 stands last; it belongs in the middle, (B, 1, Z)."),
)

check_prototypes = Exercise(
    lambda t: t.mean(1, keepdim=True),
    sequences_of_latents,
    "one latent vector a patient, ready to be added to every month's noise.",
    "(B, 1, Z), the mean of t over the months, axis 1.",
    PROTOTYPE_MISTAKES,
)
