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
    _month, [(1, 1, 1), (3, 2, 4), (4, 3, 4), (5, 6, 12)], learns=("x", "h", "c", "weight", "hidden_weight", "bias")
)
def check_lstm_step(x, h, c, weight, hidden_weight, bias):
    o, i, f, a = (x @ weight + h @ hidden_weight + bias).chunk(4, -1)
    new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
    return torch.sigmoid(o) * torch.tanh(new), new


def _logits(patients: int, months: int, schema: Schema) -> tuple[Tensor, Schema]:
    return 2 * random_tensor(patients, months, schema.channels), schema


@exercise(
    _logits, [(3, 4, toy_schema()), (1, 1, toy_schema()), (2, 3, other_schema()), (4, 2, ART_DEMO)], learns=("logits",)
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


@exercise(_mixtures, _SIZES, learns=("critic",))
def check_gradient_penalty(critic, real, fake, mix):
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    slope = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    norm = slope.square().sum((1, 2)).sqrt()
    return (norm - 1).square().mean()


def _batch(schema: Schema, patients: int) -> tuple:
    generator, critic = seeded(lambda: (plain(Generator(schema, 5, 8)), plain(Critic(schema, 8))))
    real, z = (random_tensor(patients, 4, k, seed=k) for k in (schema.channels, 5))
    return generator, critic, real.sigmoid(), z, _uniform(patients)


@exercise(_batch, [(toy_schema(), 3), (other_schema(), 4), (toy_schema(), 1)], learns=("critic", "generator"))
def check_critic_loss(generator, critic, real, z, mix):
    fake = generator(z).detach()
    apart = critic(fake).mean() - critic(real).mean()
    return apart + 10 * gradient_penalty(critic, real, fake, mix)


_FEW = [[0, 0, 2, 0, 3], [1, 3, 3, 1, 3], [2, 0, 0, 2, 1], [3, 3, 0, 0, 3], [0, 1, 1, 2, 1], [2, 2, 0, 1, 2]]


@exercise(
    {"six patients": (_FEW,), "one patient": ([[3, 1, 3, 2]],), "one month": ([[2], [0], [3]],)}
    | {"ties": ([[3, 1, 1, 3], [2, 0, 2, 0]],), "high levels only": ([[3, 2, 3], [2, 2, 3], [3, 3, 3], [2, 3, 2]],)}
    | {f"{p} patients, {m} months": (np.random.default_rng(p).integers(0, 4, (p, m)),) for p, m in ((4, 4), (30, 12))}
)
def check_patient_modes(levels):
    counts = (levels[:, :, None] == np.arange(4)).sum(axis=1)
    return counts.argmax(1)
