"""Exercises of notebook 2: the LSTM, the heads, the critic's loss and penalty, and what collapse looks like."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..cohort.art import ART_DEMO
from ..cohort.schema import Feature, Schema
from ..model.losses import gradient_penalty
from ..model.networks import Critic, Generator
from .cases import each, written
from .judging import exercise
from .toy import toy_schema


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same ones at each call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def other_schema() -> Schema:
    """A schema unlike the toy's: levels first, two reals, 8 channels."""
    ward = Feature("Ward", "categorical", levels=("N", "S", "E"), codes=(0, 1, 2))
    stage = Feature("Stage", "categorical", levels=("I", "II", "III"), codes=(1, 2, 3))
    return Schema([ward, Feature("Pulse", "real"), stage, Feature("Weight", "real")], length=3)


def plain(network: nn.Module) -> nn.Module:
    """The network with its LSTM in torch's own operations, so that an answer may differentiate as it likes."""
    network.lstm.fast = False
    return network


def seeded(build: Callable, seed: int = 0):
    """What `build` makes, with weights that are the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def _month(patients: int, inputs: int, hidden: int) -> tuple[Tensor, ...]:
    sizes = [(patients, inputs), (patients, hidden), (patients, hidden), (inputs, 4 * hidden)]
    return tuple(random_tensor(*s, seed=i) for i, s in enumerate([*sizes, (hidden, 4 * hidden), (4 * hidden,)]))


_ORDERS = tuple(f"o, i, f, a -> {', '.join(order)}" for order in [*itertools.permutations("oifa")][1:])


@exercise(
    each(_month, [(1, 1, 1), (3, 2, 4), (4, 3, 4), (5, 6, 12)]),
    "patients move one month, gates, cell and hidden state alike.",
    "the new (h, c), each of shape (patients, hidden): c' = f c + i a, h' = o tanh(c').",
    {
        "right(x, h, c, weight, hidden_weight, bias)[::-1]": "h and c have changed places: hidden state first.",
        _ORDERS: "the gates are cut in another order; here they stand o, i, f, a.",
        "tanh(new) -> tanh(c)": "h' uses the old c; it is o times tanh of the new one.",
        "torch.tanh(new) -> new": "h' is o times tanh(c'), not o times c'.",
        "tanh(a) -> sigmoid(a)": "the candidate a goes through tanh (it may be negative).",
        "sigmoid -> tanh": "the gates o, i, f go through a sigmoid, not tanh.",
        "torch.sigmoid -> ": "the gates o, i, f are still plain sums; they go through a sigmoid.",
        "torch.sigmoid(f) * c -> c": "the forget gate f is missing: c' = f c + i a.",
        "torch.sigmoid(i) * torch.tanh -> torch.tanh": "the input gate i is missing: c' = f c + i a.",
    },
    learns=("x", "h", "c", "weight", "hidden_weight", "bias"),
)
def check_lstm_step(x, h, c, weight, hidden_weight, bias):
    o, i, f, a = (x @ weight + h @ hidden_weight + bias).chunk(4, -1)
    new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
    return torch.sigmoid(o) * torch.tanh(new), new


def _logits(patients: int, months: int, schema: Schema) -> tuple[Tensor, Schema]:
    return 2 * random_tensor(patients, months, schema.channels), schema


_ONE_HOT = "torch.softmax(part, -1) -> nn.functional.one_hot(part.argmax(-1), part.shape[-1])"


@exercise(
    each(_logits, [(3, 4, toy_schema()), (1, 1, toy_schema()), (2, 3, other_schema()), (4, 2, ART_DEMO)]),
    "viral load lies in [0, 1], and the levels of each feature add up to 1 in every month.",
    "(B, L, C): sigmoid on reals, one softmax on each feature's block of levels.",
    {
        "torch.softmax(logits, -1)": "one softmax for all: each feature's block of levels needs its own.",
        "softmax(part, -1) -> sigmoid(part)": "a sigmoid everywhere: a feature's levels must add up to 1, so softmax.",
        "part, -1 -> part, 1": "the softmax runs along the months (axis 1); it belongs to the last axis.",
        "part, -1 -> part, 0": "the softmax runs over patients (axis 0); it belongs to the last axis.",
        "softmax -> log_softmax": "these are logarithms of probabilities: softmax, not log_softmax.",
        "softmax(part, -1) -> exp(part)": "exp alone: divide by the sum over the block, so that it adds up to 1.",
        "torch.softmax(part, -1) -> part": "the levels are still raw logits; softmax each block.",
        "torch.sigmoid(part) -> part": "the real feature is still a raw logit: a sigmoid brings it to [0, 1].",
        "sigmoid -> tanh": "tanh gives -1 to 1; the real feature needs a sigmoid.",
        "sigmoid(part) -> softmax(part, -1)": "a softmax over one channel is always 1: the real needs a sigmoid.",
        _ONE_HOT: "rounded to one level; keep the probabilities.",
        "right(logits[..., :6], toy_schema())": "the toy's channels are written into it; use the schema.",
        "sigmoid(part) -> sigmoid(part).detach()": "the real features are detached.",
    },
    learns=("logits",),
)
def check_heads(logits, schema):
    parts = []
    for feature in schema:
        part = logits[..., schema.spans[feature.name]]
        parts.append(torch.sigmoid(part) if feature.is_real else torch.softmax(part, -1))
    return torch.cat(parts, -1)


class _Curved(nn.Module):
    """A critic whose slope is steep for some patients and flat for others."""

    def __init__(self, months: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_tensor(months, channels) / (months * channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (x.square() * self.weight).sum((1, 2))[:, None] + x[:, :1].sum((1, 2))[:, None].sin()


def _uniform(patients: int) -> Tensor:
    return torch.rand(patients, 1, 1, generator=torch.Generator().manual_seed(3))


def _mixtures(critic: str, patients: int, months: int, channels: int) -> tuple:
    network = _Curved(months, channels)
    if critic == "lstm":
        network = seeded(lambda: plain(Critic(toy_schema(), 8)))
        with torch.no_grad():
            network.score.weight *= 30  # slopes on both sides of 1
    wide = torch.linspace(0.1, 2, patients).view(-1, 1, 1)  # patients with small numbers and with large ones
    real, fake = (random_tensor(patients, months, channels, seed=k) for k in (1, 2))
    return network, real, fake * wide, _uniform(patients)


_SIZES = [("curved", 3, 4, 6), ("curved", 1, 2, 3), ("curved", 4, 1, 1), ("curved", 5, 5, 5), ("lstm", 4, 3, 6)]
_MIXED, _BETWEEN = "mix * real + (1 - mix) * fake", "take the slope in between, at mix * real + (1 - mix) * fake."


@exercise(
    each(_mixtures, _SIZES),
    "one slope a patient, and the critic can be trained on it.",
    "mean over patients of (norm - 1) squared; norm of the slope, over axes 1 and 2, at mix * real + (1 - mix) * fake.",
    {
        "sum((1, 2)) -> sum(2)": "the norm is taken for each month alone: sum over (1, 2).",
        "sum((1, 2)) -> sum(1)": "the norm is taken for each channel alone: sum over (1, 2).",
        "sum((1, 2)) -> sum()": "one norm for the whole batch: each patient has a norm of its own.",
        ".sqrt() -> ": "the square root is missing: it is the norm that should be 1.",
        "sum((1, 2)) -> mean((1, 2))": "the norm is a root of a sum of squares, not a mean.",
        ("(norm - 1).abs().mean()", "(norm - 1).mean().square()"): "square the distance from 1, then take the mean.",
        "norm - 1 -> (norm - 1).clamp_min(0)": "slopes below 1 are let off; here both sides cost.",
        "(norm - 1).square()": "this is one number a patient; take the mean over patients.",
        "norm.square().mean()": "the norm is pulled towards 1, not 0: subtract 1 before squaring.",
        "critic(x).sum() -> critic(x).mean()": "the mean score's gradient is too small by the number of patients: sum.",
    },
    learns=("critic",),
    cut="torch.autograd.grad(..., create_graph=True) keeps the way back; .item(), detach and no_grad cut it.",
)
def check_gradient_penalty(critic, real, fake, mix):
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    slope = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    norm = slope.square().sum((1, 2)).sqrt()
    return (norm - 1).square().mean()


def _batch(schema: Schema, patients: int) -> tuple:
    generator, critic = seeded(lambda: (plain(Generator(schema, 5, 8)), plain(Critic(schema, 8))))
    real, z = (random_tensor(patients, 4, k, seed=k) for k in (schema.channels, 5))
    return generator, critic, real.sigmoid(), z, _uniform(patients)


_LOG = "critic(fake) -> critic(fake).exp().log1p(); - critic(real) -> + (-critic(real)).exp().log1p()"


@exercise(
    each(_batch, [(toy_schema(), 3), (other_schema(), 4), (toy_schema(), 1)]),
    "the critic learns from it, and the generator does not notice.",
    "mean score of fakes - mean score of real patients + 10 * penalty.",
    {
        "return apart -> return -apart": "the sign of the scores is turned: fakes would be scored above patients.",
        "10 * gradient -> gradient": "the penalty's weight is missing: 10 times the penalty.",
        "apart + 10 -> apart - 10": "the penalty is subtracted, so steep slopes are rewarded.",
        "apart": "the penalty is missing: 10 * hg.gradient_penalty(critic, real, fake, mix).",
        "-critic(fake).mean()": "this is the generator's loss; the critic looks at real patients.",
        " - critic(real).mean() -> ": "the real patients' score is missing.",
        "() - critic -> () + critic": "a sign: the real patients' mean score is subtracted.",
        "mean -> sum": "scores are summed; take their means.",
        ".mean() -> ": "this is one number a patient; take the means of the scores.",
        _LOG: "this is a classifier's log-loss: a critic compares plain mean scores.",
        "real, fake, mix -> fake, real, mix": "real and fake are swapped in the penalty.",
        "critic(fake).mean() -> critic(fake).mean().detach()": "the fakes' score is detached.",
        "critic(real).mean() -> critic(real).mean().detach()": "the real patients' score is detached.",
        "return apart -> return apart.detach()": "both scores are detached; only the fakes need no gradient.",
        "fake, mix) -> fake, mix).detach()": "the penalty is detached (.item(), no_grad).",
        ".detach() -> ": "its gradient reaches the generator: make the fakes under torch.no_grad().",
    },
    learns=("critic", "generator"),
)
def check_critic_loss(generator, critic, real, z, mix):
    fake = generator(z).detach()
    apart = critic(fake).mean() - critic(real).mean()
    return apart + 10 * gradient_penalty(critic, real, fake, mix)


_FEW = [[0, 0, 2, 0, 3], [1, 3, 3, 1, 3], [2, 0, 0, 2, 1], [3, 3, 0, 0, 3], [0, 1, 1, 2, 1], [2, 2, 0, 1, 2]]


@exercise(
    written(
        {"six patients": (_FEW,), "one patient": ([[3, 1, 3, 2]],), "one month": ([[2], [0], [3]],)}
        | {"ties": ([[3, 1, 1, 3], [2, 0, 2, 0]],), "high levels only": ([[3, 2, 3], [2, 2, 3], [3, 3, 3], [2, 3, 2]],)}
        | {
            f"{p} patients, {m} months": (np.random.default_rng(p).integers(0, 4, (p, m)),)
            for p, m in ((4, 4), (30, 12))
        }
    ),
    "every patient counts once, however often they change.",
    "each patient's commonest level, one number a patient; of equally frequent levels the lowest.",
    {
        "axis=1 -> axis=0": "one answer a month came back: count along axis 1, a patient's months.",
        "counts.max(1)": "that is how often the commonest level occurs; which level is it?",
        "counts": "those are the counts; the level with the largest one is asked for: argmax.",
        "levels[:, 0]": "that is the first month's level, not the commonest.",
        "levels[:, -1]": "that is the last month's level, not the commonest.",
        "levels.max(1)": "that is the largest level number, not the commonest level.",
        "np.median(levels, 1)": "a median treats level numbers as amounts; count instead.",
        ("levels.mean(1)", "levels.mean(1).round()"): "a mean treats level numbers as amounts; count instead.",
        ("counts.sum(0).argmax()", "levels[:, 0] * 0 + counts.sum(0).argmax()"): "one level for all: count each alone.",
        "3 - counts[:, ::-1].argmax(1)": "where levels tie, the lowest counts, not the highest.",
        "[max(row, key=row.count) for row in levels.tolist()]": "where levels tie, the lowest counts, not the first.",
        "counts[:, :3].argmax(1)": "there are four levels, 0 to 3; the last one is left out.",
        "counts.argmax(1) + 1": "one too many: levels are counted from 0.",
    },
)
def check_patient_modes(levels):
    counts = (levels[:, :, None] == np.arange(4)).sum(axis=1)
    return counts.argmax(1)
