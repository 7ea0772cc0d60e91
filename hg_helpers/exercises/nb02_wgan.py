"""Checks of the second notebook: the LSTM, the heads, the critic's loss and penalty, and what collapse looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.losses import gradient_penalty
from ..model.networks import Critic, Generator
from .common import same, unanswered, verdict
from .toy import toy_schema


def check_lstm_step(answer: Any) -> bool:
    """One month of an LSTM: ``step(x, h, c, weight, hidden_weight, bias)`` gives the new (h, c); gates o, i, f, a."""
    patients, inputs, hidden = 3, 2, 4
    x, h, c = _random(patients, inputs), _random(patients, hidden, seed=1), _random(patients, hidden, seed=2)
    weight, hidden_weight = _random(inputs, 4 * hidden, seed=3), _random(hidden, 4 * hidden, seed=4)
    bias = _random(4 * hidden, seed=5)
    given = (x, h, c, weight, hidden_weight, bias)
    got, problem = _call(answer, *given)
    if problem is None and not (isinstance(got, (tuple, list)) and len(got) == 2):
        problem = "return two tensors, the new h and the new c (in this order)."
    if problem is None:
        right = _step(*given)
        wrong = [
            (right[::-1], "h and c have changed places: return the hidden state first, then the cell."),
            (
                _step(*given, order="ifao"),
                "the gates are in torch's order i, f, a, o; here they stand o, i, f, a.",
            ),
            (_step(*given, order="ofia"), "input gate i and forget gate f have changed places: c' = f c + i a."),
            (_step(*given, out=lambda s: s), "h' is o times tanh(c'), not o times c'."),
            (_step(*given, candidate=torch.sigmoid), "the candidate a goes through tanh (it may be negative)."),
            (_step(*given[:5], 0 * bias), "the bias is missing from the sums that the gates receive."),
            (_step(x, 0 * h, *given[2:]), "the gates do not see h: add h @ hidden_weight."),
        ]
        problem = _first_difference(got, right, wrong, "h' or c' is off: c' = f c + i a, h' = o tanh(c').", pair=True)
    return verdict(problem, "three patients move one month, gates, cell and hidden state alike.")


def check_heads(answer: Any) -> bool:
    """The generator's heads: ``heads(logits, schema)``, sigmoid on reals and one softmax a block of levels."""
    schema, logits = toy_schema(), 2 * _random(3, 4, 6)
    got, problem = _call(answer, logits.clone(), schema)
    if problem is None:
        with torch.random.fork_rng(devices=[]):
            right = Generator(schema, 2, 2).heads(logits)

        def split(real: Callable[[Tensor], Tensor], block: Callable[[Tensor], Tensor]) -> Tensor:
            return torch.cat([(real if f.is_real else block)(logits[..., schema.spans[f.name]]) for f in schema], -1)

        months = split(torch.sigmoid, lambda part: part.softmax(1))
        together = torch.cat([logits[..., :1].sigmoid(), logits[..., 1:].softmax(-1)], -1)
        raw = split(lambda part: part, lambda part: part.softmax(-1))
        wrong = [
            (logits.softmax(-1), "one softmax over all channels: each feature's block of levels needs its own."),
            (together, "sex and drugs share one softmax: each feature's block of levels needs its own."),
            (logits.sigmoid(), "a sigmoid everywhere: the levels of a feature must add up to 1, so softmax them."),
            (months, "the softmax runs along the months (axis 1); probabilities add up over levels, the last axis."),
            (raw, "the real feature is still a raw logit: a sigmoid brings it to [0, 1]."),
            (split(lambda part: part.softmax(-1), lambda part: part.softmax(-1)), _ONE_CHANNEL),
        ]
        problem = _first_difference(got, right, wrong, "the values are off: sigmoid on reals, softmax on each block.")
    return verdict(problem, "viral load lies in [0, 1], and the levels of each feature add up to 1 in every month.")


_ONE_CHANNEL = "a softmax over a single channel is always 1: the real feature needs a sigmoid."


def check_gradient_penalty(answer: Any) -> bool:
    """The penalty: ``penalty(critic, real, fake, mix)``, mean over patients of (norm of the slope - 1) squared."""
    critic = _Curved(_random(4, 6))
    real, fake = _random(3, 4, 6, seed=1), _random(3, 4, 6, seed=2) * torch.tensor([0.1, 1.0, 2.0]).view(3, 1, 1)
    mix = torch.tensor([0.2, 0.7, 0.4]).view(3, 1, 1)
    got, problem = _call(answer, critic, real.clone(), fake.clone(), mix.clone())
    if problem is None:
        right = gradient_penalty(critic, real, fake, mix)
        x = (mix * real + (1 - mix) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x)
        norm = slope.square().sum((1, 2)).sqrt()
        other_way = gradient_penalty(critic, fake, real, mix)
        by_month = (slope.square().sum(2).sqrt() - 1).square().mean()
        by_channel = (slope.square().sum(1).sqrt() - 1).square().mean()
        wrong = [
            (by_month, "the norm is taken for each month alone; a patient's slope is one number, over axes 1 and 2."),
            (by_channel, "the norm is taken for each channel alone; sum the squares over months and channels, (1, 2)."),
            ((slope.norm() - 1).square(), "one norm for the whole batch: each patient has a norm of its own."),
            ((norm.square() - 1).square().mean(), "the square root is missing: it is the norm that should be 1."),
            ((norm - 1).abs().mean(), "the distance from 1 is squared before the mean is taken."),
            ((norm - 1).mean(), "the distance from 1 is squared before the mean is taken."),
            ((norm - 1).clamp_min(0).square().mean(), "slopes below 1 are let off: here both sides are penalised."),
            ((norm - 1).square().sum(), "take the mean over patients, not the sum."),
            (norm.square().mean(), "the norm is pulled towards 1, not 0: subtract 1 before squaring."),
            (other_way, "the mixture is upside down: x = mix * real + (1 - mix) * fake."),
            (
                gradient_penalty(critic, real, real, mix),
                "the slope is taken at the real patients: take it in between.",
            ),
            (
                gradient_penalty(critic, fake, fake, mix),
                "the slope is taken at the fake patients: take it in between.",
            ),
        ]
        problem = _first_difference(got, right, wrong, "the value is off: mean over patients of (norm - 1) squared.")
        if problem is None and not _reaches(got, critic):
            problem = (
                "right in value, but the critic cannot learn from it: torch.autograd.grad(..., create_graph=True)."
            )
    return verdict(problem, "one slope a patient, and the critic can be trained on it.")


def check_critic_loss(answer: Any) -> bool:
    """The critic's loss: ``critic_loss(generator, critic, real, z, mix)``, which must not reach the generator."""
    schema = toy_schema()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator, critic = Generator(schema, 5, 8), Critic(schema, 8)
    real, z, mix = _random(3, 4, 6).sigmoid(), _random(3, 4, 5, seed=1), torch.tensor([0.2, 0.7, 0.4]).view(3, 1, 1)
    got, problem = _call(answer, generator, critic, real.clone(), z.clone(), mix.clone())
    if problem is None:
        with torch.no_grad():
            fake = generator(z)
            score_real, score_fake = critic(real), critic(fake)
        apart, penalty = score_fake.mean() - score_real.mean(), gradient_penalty(critic, real, fake, mix).detach()
        upside_down = gradient_penalty(critic, fake, real, mix).detach()
        log_loss = F.softplus(-score_real).mean() + F.softplus(score_fake).mean()
        wrong = [
            (-apart + 10 * penalty, "the sign of the scores is turned: this critic would score fakes above patients."),
            (apart + penalty, "the penalty's weight is missing: 10 times the penalty."),
            (apart - 10 * penalty, "the penalty is subtracted, so that steep slopes are rewarded: add it."),
            (apart, "the penalty is missing: 10 * hg.gradient_penalty(critic, real, fake, mix)."),
            (-score_fake.mean(), "this is the generator's loss; the critic also looks at real patients."),
            (log_loss + 10 * penalty, "this is a classifier's log-loss: a critic compares plain mean scores."),
            (log_loss, "this is a classifier's log-loss: a critic compares plain mean scores."),
            (apart + 10 * upside_down, "real and fake have changed places in the penalty."),
        ]
        otherwise = "the value is off: mean score of fakes - mean score of real patients + 10 * penalty."
        problem = _first_difference(got, apart + 10 * penalty, wrong, otherwise, tolerance=1e-5)
        if problem is None and _reaches(got, generator):
            problem = "right in value, but its gradient reaches the generator: make the fakes under torch.no_grad()."
        if problem is None and not _reaches(got, critic):
            problem = "right in value, but cut off from the critic: only the fakes are made under torch.no_grad()."
    return verdict(problem, "the critic learns from it, and the generator does not notice.")


def check_patient_modes(answer: Any) -> bool:
    """Counting by patient: ``modes(levels)``, each patient's most frequent level of (patients, months)."""
    levels = np.array(
        [[0, 0, 2, 0, 3], [1, 3, 3, 1, 3], [2, 0, 0, 2, 1], [3, 3, 0, 0, 3], [0, 1, 1, 2, 1], [2, 2, 0, 1, 2]]
    )
    got, problem = _call(answer, levels.copy())
    if problem is None:
        counts = (levels[:, :, None] == np.arange(4)).sum(1)  # (patients, levels)
        right = counts.argmax(1)
        by_month = (levels[:, :, None] == np.arange(4)).sum(0).argmax(1)
        wrong = [
            (by_month, "one answer a month came back: count along axis 1, a patient's months."),
            (counts.max(1), "that is how often the commonest level occurs; which level is it?"),
            (counts, "those are the counts; the level with the largest one is asked for: argmax."),
            (levels[:, 0], "that is the first month's level, not the commonest."),
            (levels[:, -1], "that is the last month's level, not the commonest."),
            (levels.max(1), "that is the largest level number, not the commonest level."),
            (np.median(levels, 1), "a median treats level numbers as amounts; count instead."),
            (levels.mean(1).round(), "a rounded mean treats level numbers as amounts; count instead."),
            (levels.mean(1), "a mean treats level numbers as amounts; count instead."),
            (
                np.full(len(levels), np.bincount(levels.ravel()).argmax()),
                "one level for all: count each patient alone.",
            ),
            (3 - counts[:, ::-1].argmax(1), "where two levels tie, the first of them counts."),
        ]
        otherwise = "not each patient's commonest level: one number a patient, the first of equals."
        problem = _first_difference(got, right, wrong, otherwise)
    return verdict(problem, "every patient counts once, however often they change.")


# --- what the checks share --------------------------------------------------------------------------------------------


class _Curved(nn.Module):
    """A critic whose slope is steep for some patients and flat for others."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x.square() * self.weight).sum((1, 2))[:, None]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _step(x, h, c, weight, hidden_weight, bias, order="oifa", candidate=torch.tanh, out=torch.tanh):
    sums = dict(zip(order, (x @ weight + h @ hidden_weight + bias).chunk(4, -1), strict=True))
    c = sums["f"].sigmoid() * c + sums["i"].sigmoid() * candidate(sums["a"])
    return sums["o"].sigmoid() * out(c), c


def _call(answer: Any, *given: Any) -> tuple[Any, str | None]:
    """What a learner's function returns, and what is wrong with calling it."""
    problem = unanswered(answer)
    if problem is None and not callable(answer):
        problem = f"hand over the function itself, by its name; this is {type(answer).__name__}."
    if problem is not None:
        return None, problem
    try:
        got = answer(*given)
        return got, unanswered(got)
    except Exception as error:  # whatever a learner's code may raise
        return None, f"your function stopped with {type(error).__name__}: {error}"


def _first_difference(got, right, wrong, otherwise, pair=False, tolerance=1e-4) -> str | None:
    """None where the answer is right, else the message of the mistake that it looks like."""
    if pair:
        got, right = _stacked(got), _stacked(right)
        wrong = [(_stacked(values), message) for values, message in wrong]
    if same(got, right, tolerance):
        return None
    for values, message in wrong:
        if same(got, values, tolerance):
            return message
    shape, wanted = getattr(got, "shape", None), tuple(getattr(right, "shape", ()))
    if shape is None:
        return f"a tensor of shape {wanted} is expected; this is {type(got).__name__}."
    return otherwise if tuple(shape) == wanted else f"the shape is {tuple(shape)}, expected {wanted}."


def _stacked(pair: Any) -> Any:
    try:
        return torch.stack([torch.as_tensor(part).detach() for part in pair])
    except (TypeError, ValueError, RuntimeError):
        return pair


def _reaches(loss: Any, network: nn.Module) -> bool:
    """Whether a gradient of the loss arrives at any parameter of the network."""
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return False
    found = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in found)
