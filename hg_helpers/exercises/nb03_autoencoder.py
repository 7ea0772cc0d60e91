"""Feedback for notebook 03: the autoencoder and its two losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cohort.encoding import CohortEncoder
from ..model.autoencoder import Autoencoder
from ..model.losses import autoencoder_loss
from ..model.networks import Critic
from .common import mistake, same, unanswered, verdict
from .toy import toy_cohort, toy_schema

LATENT = 3


def check_residual_encoder(answer: Any) -> bool:
    """``answer(autoencoder, e)``: h3 (B, L, H) of :class:`hg_helpers.Autoencoder`, from its layers."""
    praise = "two paths in, and each further layer adds to what it was given before the relu."
    autoencoder = _toy()[1]
    e = _random(3, 4, 7)
    with torch.no_grad():
        value, problem = _call(answer, autoencoder, e)
        if problem is None:
            a, b = autoencoder.first(e), autoencoder.shortcut(e)
            second, third = autoencoder.second, autoencoder.third

            def stack(h: Tensor, layer: Callable[[Callable, Tensor], Tensor]) -> Tensor:
                return layer(third, layer(second, h))

            def right(f: Callable, h: Tensor) -> Tensor:
                return F.relu(f(h) + h)

            start = F.relu(a + b)
            plain = stack(start, lambda f, h: F.relu(f(h)))
            mistakes = [
                (plain, "the second and third layer lack their shortcut: relu(B h + h), not relu(B h)."),
                (stack(start, lambda f, h: F.relu(f(h)) + h), "relu comes last, after the shortcut is added."),
                (stack(start, lambda f, h: f(h) + h), "the second and third layer lack their relu."),
                (stack(F.relu(a), right), "the first layer has two paths, A e + A' e; A' (shortcut) is missing."),
                (stack(F.relu(a) + F.relu(b), right), "add A e and A' e first, then take one relu of the sum."),
                (stack(a + b, right), "the first layer lacks its relu."),
                (right(second, start), "that is h2; one more layer (third) is to come."),
                (autoencoder.encode(e), "that is the latent T h3; return h3, before to_latent."),
            ]
            problem = _judge(value, autoencoder.hidden(e), mistakes)
    return verdict(problem, praise)


def check_kl(answer: Any) -> bool:
    """``answer(mean, variance)``: divergence of N(mean, variance) from N(0, 1), summed over coordinates (a scalar)."""
    mean, variance = torch.tensor([1.0, -0.5, 0.0, 2.0]), torch.tensor([0.25, 1.0, 4.0, 0.5])
    log, square = variance.log(), mean.square()
    terms = 0.5 * (square + variance - 1 - log)
    mistakes = [
        (terms, "those are the four coordinates' divergences; add them up to one number."),
        (terms.mean(), "that is their mean; the loss sums over coordinates."),
        (2 * terms.sum(), "twice too large: the half in front is missing."),
        (-terms.sum(), "the sign is turned round: a divergence is never negative."),
        (
            0.5 * (square + variance - 1 + log).sum(),
            "the logarithm's sign is wrong: a small variance must cost more.",
        ),
        (0.5 * (square + variance.sqrt() - 1 - log / 2).sum(), "you are given variances; no square root is needed."),
        (0.5 * (square + variance.square() - 1 - 2 * log).sum(), "you are given variances; do not square them again."),
        (0.5 * (mean + variance - 1 - log).sum(), "the mean has to be squared: +2 and -2 are equally far from 0."),
        (0.5 * (square + variance - log).sum(), "the -1 is missing: N(0, 1) itself must cost nothing."),
    ]
    value, problem = _call(answer, mean, variance)
    problem = problem or _judge(value, terms.sum(), mistakes)
    return verdict(problem, "zero for N(0, 1), and it grows as the mean leaves 0 or the variance leaves 1.")


def check_aggregate_kl(answer: Any) -> bool:
    """``answer(t)`` for t (B, L, Z): the divergence of the batch's aggregate, finite also where all rows are equal."""
    t = 0.7 * _random(3, 4, 2) + torch.tensor([0.5, -1.0])
    t = t + 0.8 * _random(3, 1, 2, seed=1)  # patients differ
    flat, n = t.flatten(0, 1), 12
    mean, variance = flat.mean(0), flat.var(0)
    right = _divergence(mean, variance)
    patient = _divergence(t.mean(1), t.var(1))  # (B, Z)
    month = _divergence(t.mean(0), t.var(0))
    mistakes = [
        (right, "those are the coordinates' divergences; sum them over Z."),
        (right.mean(), "that is the mean over coordinates; sum over Z."),
        (_divergence(mean, variance * (n - 1) / n).sum(), "the variance divides by n; the sample variance by n - 1."),
        (_divergence(mean, variance.sqrt()).sum(), "a standard deviation stands where the variance belongs."),
        (patient.sum(-1).mean(), "the moments are taken patient by patient; take them over patients and months."),
        (patient.sum(-1), "the moments are taken patient by patient; take them over patients and months."),
        (patient.sum(), "the moments are taken patient by patient; take them over patients and months."),
        (month.sum(-1).mean(), "the moments are taken month by month; take them over patients and months."),
        (month.sum(), "the moments are taken month by month; take them over patients and months."),
        (_divergence(t.mean(), t.var()), "one mean and variance for everything; each coordinate has its own."),
        (2 * right.sum(), "twice too large: the half in front is missing."),
    ]
    value, problem = _call(answer, t)
    problem = problem or _judge(value, right.sum(), mistakes)
    if problem is None:
        equal = torch.ones(3, 4, 2)
        value, problem = _call(answer, equal)
        if problem is None and not same(value, autoencoder_loss(equal, equal, equal)[1]):
            number = _number(value)
            problem = (
                "right, except where all rows are equal: the variance is 0 and its logarithm minus infinity. "
                "Floor the variance with .clamp_min(1e-8)."
                if number is None or not torch.isfinite(number).all()
                else f"right, except for equal rows: you return {number.mean():.3f} there. Is the floor 1e-8?"
            )
    return verdict(problem, "one mean and one variance a coordinate, over all patients and months, safe at variance 0.")


def check_detached_loss(answer: Any) -> bool:
    """``answer(critic, autoencoder, x)``: MSE + aggregate KL whose gradient reaches the autoencoder alone."""
    critic, autoencoder, x = _toy()

    def parts(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction, t, _ = autoencoder(source)
        return autoencoder_loss(reconstruction, target, t)

    e = critic.embed(x)
    error, divergence = parts(e.detach(), e.detach())
    expected = error + divergence
    mistakes = [
        (error, "that is the reconstruction error alone; the divergence is missing."),
        (divergence, "that is the divergence alone; the reconstruction error is missing."),
        (e.numel() * error + divergence, "the squared errors are summed; take their mean over all entries."),
        (e.shape[-1] * error + divergence, "the squared errors are summed over the embedding; take the mean."),
        (torch.stack([error, divergence]), "return one number: the error plus the divergence."),
        (error - divergence, "the divergence is subtracted; it is a cost, so add it."),
    ]
    value, problem = _call(answer, critic, autoencoder, x)
    problem = problem or _judge(value, expected, mistakes)
    if problem is None and not (isinstance(value, Tensor) and value.requires_grad):
        problem = "the value is right, but nothing can learn from it: the result is detached too. Detach e alone."
    if problem is None:
        weights = list(autoencoder.parameters())
        try:
            got = torch.autograd.grad(value, [critic.embedding, *weights], allow_unused=True)
        except RuntimeError as error_:
            return verdict(f"the value is right, but its gradient fails: {' '.join(str(error_).split())}", "")
        if got[0] is not None and got[0].abs().max() > 0:
            whole, target = (
                torch.autograd.grad(sum(parts(source, critic.embed(x))), critic.embedding, retain_graph=True)[0]
                for source in (critic.embed(x), critic.embed(x).detach())
            )
            where = "the target of the error" if same(got[0], target) else "the autoencoder's input"
            if same(got[0], whole):
                where = "both the autoencoder's input and the target"
            problem = f"the critic's embedding gets a gradient, through {where}: detach e once, before either use."
        else:
            want = torch.autograd.grad(expected, weights)
            if not all(g is not None and same(g, w) for g, w in zip(got[1:], want, strict=True)):
                problem = (
                    "the value is right and the critic is safe, but a detach too many keeps part of the gradient from "
                    "the autoencoder: detach e, not the reconstruction or the latent."
                )
    return verdict(problem, "the autoencoder learns, and the critic's embedding gets no gradient.")


def check_reparameterise(answer: Any) -> bool:
    """``answer(mean, log_variance, noise)``: a draw from N(mean, variance) made of standard normal noise."""
    mean, log_variance, noise = _random(3, 4, 2), _random(3, 4, 2, seed=1), _random(3, 4, 2, seed=2)
    sd = torch.exp(0.5 * log_variance)
    mistakes = [
        (mean + noise * log_variance.exp(), "exp(log variance) is the variance; noise is scaled by its square root."),
        (mean + noise * log_variance, "the logarithm of the variance is used as it is; exponentiate half of it."),
        (mean + noise * 0.5 * log_variance, "the exponential is missing: exp(0.5 * log_variance)."),
        (mean + noise / sd, "the noise is divided by the standard deviation; multiply."),
        (mean + noise, "the noise keeps variance 1; scale it by the standard deviation."),
        (noise * sd, "the mean is missing."),
        (mean + sd, "the noise is missing: that is the same point for every draw."),
        (mean * sd + noise, "mean and noise have changed places: it is the noise that is scaled."),
        (mean - noise * sd, "as good a draw, but minus the usual one: mean + noise * sd, so that it can be compared."),
    ]
    value, problem = _call(answer, mean, log_variance, noise)
    problem = problem or _judge(value, mean + noise * sd, mistakes)
    return verdict(problem, "the randomness is outside, so a gradient passes through mean and variance.")


def check_prototypes(answer: Any) -> bool:
    """``answer(t)`` for t (B, L, Z): each patient's prototype, (B, 1, Z)."""
    t = _random(3, 4, 2)
    mean = t.mean(1, keepdim=True)
    mistakes = [
        (
            mean[:, 0],
            "right numbers, wrong shape (B, Z): keep the months' axis, (B, 1, Z), to add it to the noise.",
        ),
        (t.mean(0, keepdim=True), "that averages over patients; average over months, axis 1."),
        (t.mean(0), "that averages over patients; average over months, axis 1."),
        (t.mean((0, 1), keepdim=True), "that averages over patients too: one prototype for everybody."),
        (t.mean((0, 1)), "that averages over patients too: one prototype for everybody."),
        (t.mean(-1, keepdim=True), "that averages over latent coordinates; average over months, axis 1."),
        (t.mean(-1), "that averages over latent coordinates; average over months, axis 1."),
        (t.sum(1, keepdim=True), "that is the sum over months; take the mean."),
        (t[:, -1:], "that is the last month alone; take the mean over all months."),
        (t.median(1, keepdim=True).values, "that is the median; the buffer keeps the mean."),
    ]
    value, problem = _call(answer, t)
    problem = problem or _judge(value, mean, mistakes)
    return verdict(problem, "one address a patient, ready to be added to every month's noise.")


def _toy() -> tuple[Critic, Autoencoder, Tensor]:
    schema, cohort = toy_schema(), toy_cohort()
    x = CohortEncoder(schema).fit(cohort).transform(cohort)  # (3, 4, 6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Critic(schema, 8), Autoencoder(schema.width, LATENT, 8), x


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _divergence(mean: Tensor, variance: Tensor) -> Tensor:
    return 0.5 * (mean.square() + variance - 1 - variance.log())


def _call(answer: Any, *arguments: Any) -> tuple[Any, str | None]:
    """What a learner's function returns, or what is to be said instead."""
    problem = unanswered(answer)
    if problem is None and not callable(answer):
        problem = f"pass your function itself, without calling it; this is a {type(answer).__name__}."
    if problem is not None:
        return None, problem
    try:
        value = answer(*(a.clone() if isinstance(a, Tensor) else a for a in arguments))
    except Exception as error:  # whatever a learner's code raises belongs on the page, in words
        return None, f"your function raises {type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Tensor) for v in value):
        if len({v.shape for v in value}) > 1:
            return None, f"your function returns {len(value)} tensors; it should return one."
        value = torch.stack(list(value))
    return value, unanswered(value)


def _judge(value: Any, expected: Tensor, mistakes: list[tuple[Tensor, str]]) -> str | None:
    if same(value, expected):
        return None
    number = _number(value)
    if number is None:
        return mistake(value, mistakes, f"expected a tensor, got {value!r:.60}.")
    otherwise = "the shape is right, the values are not; compare term by term with the equation above."
    if number.shape != expected.shape:
        otherwise = f"expected the shape {tuple(expected.shape)}, got {tuple(number.shape)}."
    return mistake(value, mistakes, otherwise)


def _number(value: Any) -> Tensor | None:
    try:
        return torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        return None
