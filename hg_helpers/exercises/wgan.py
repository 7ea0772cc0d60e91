"""Exercises of notebooks 1 and 2: the table that a GAN reads; its LSTM, heads, losses, and what collapse looks like."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor, nn

from ..cohort.art import ART_DEMO
from ..cohort.schema import Schema
from ..model.losses import gradient_penalty
from ..model.networks import Critic, Generator
from .judging import exercise
from .toy import TOYS, toy_schema


def _table(ids: int | list[int], months: int, columns: list[str], below: int) -> pd.DataFrame:
    """Whole numbers in rows sorted by patient and month; other ids than 0, 1, 2 where there is a list of them."""
    ids = list(range(ids)) if isinstance(ids, int) else ids
    numbers = np.random.default_rng(len(ids) + months)
    keys = {"PatientID": np.repeat(ids, months), "Timestep": np.tile(np.arange(months), len(ids))}
    return pd.DataFrame({**keys, **{name: numbers.integers(0, below, len(ids) * months) for name in columns}})


@exercise(lambda ids, months, columns, drugs=3: (_table(ids, months, [*columns, "Other"], drugs), columns))
def check_switches(table, columns):
    codes = table[columns].to_numpy().reshape(table["PatientID"].nunique(), -1, len(columns))
    changes = codes[:, 1:] != codes[:, :-1]  # (patients, months - 1, columns)
    return changes.any(axis=2).sum(axis=1).tolist()


def _positive(lam: float, n: int) -> tuple[np.ndarray, float]:
    return (np.array([2.0, 50.0, 700.0]) if n == 3 else np.exp(np.random.default_rng(n).normal(2, 2, n))), lam


@exercise(_positive, [(lam, n) for lam in (0.5, 1, -0.25, 0, 0.0, 2, -1.5, 0.005) for n in (3, 2, 40)])
def check_box_cox(x, lam):
    return np.log(x) if lam == 0 else (x**lam - 1) / lam


@exercise(_positive, [(lam, n) for lam in (0.4, 0, -0.3, 2, 1) for n in (3, 2, 40, 1000)])
def check_log_likelihood(x, lam):
    y, n = special.boxcox(x, lam), len(x)
    return float(-n / 2 * np.log(y.var()) + (lam - 1) * np.log(x).sum())


@exercise()
def check_scale(train_values, new_values):
    low, span = train_values.min(), np.ptp(train_values)
    return np.clip((new_values - low) / span, 0, 1)


@exercise(lambda rows, codes: (np.random.default_rng(rows).dirichlet(np.ones(len(codes)), rows), np.array(codes)))
def check_decode(block, codes):
    return np.asarray(codes)[block.argmax(axis=1)]


def _shuffled(ids: int | list[int], months: int, column: str, order: str = "in no order") -> tuple:
    table = _table(ids, months, ["VL", "CD4"], 1)
    table[["VL", "CD4"]] = np.random.default_rng(months).permutation(20 * len(table)).reshape(-1, 2)[: len(table)] / 2
    table = table.sort_values(["Timestep", "PatientID"]) if order == "by month" else table
    table = table.sample(frac=1, random_state=5) if order == "in no order" else table
    return table.reset_index(drop=True), column, months


@exercise(_shuffled)
def check_sequences(table, column, months):
    return table.sort_values(["PatientID", "Timestep"])[column].to_numpy().reshape(-1, months)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same ones at each call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(network: nn.Module, times: float = 1) -> nn.Module:
    """The network with its LSTM in torch's own operations, to be differentiated as one likes; its weights grown."""
    network.lstm.fast = False
    for weight in network.parameters():
        weight.data *= times  # what a new network is given hardly matters to what it returns
    return network


def seeded(build: Callable):
    """What `build` makes, with weights that are the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build()


def _month(patients: int, inputs: int, hidden: int) -> tuple[Tensor, ...]:
    sizes = [(patients, inputs), (patients, hidden), (patients, hidden), (inputs, 4 * hidden)]
    return tuple(random_tensor(*s, seed=i) for i, s in enumerate([*sizes, (hidden, 4 * hidden), (4 * hidden,)]))


OTHER_SCHEMA = Schema.from_dict(TOYS["other schema"])  # unlike the toy's: levels first, two reals, 8 channels
_ORDERS = tuple(f"o, i, f, a -> {', '.join(order)}" for order in [*itertools.permutations("oifa")][1:])


@exercise(_month, [(1, 1, 1), (3, 2, 4), (4, 3, 4), (5, 6, 12)])
def check_lstm_step(x, h, c, weight, hidden_weight, bias):
    o, i, f, a = (x @ weight + h @ hidden_weight + bias).chunk(4, -1)
    new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
    return torch.sigmoid(o) * torch.tanh(new), new


@exercise(
    lambda patients, months, schema: (2 * random_tensor(patients, months, schema.channels), schema),
    [(3, 4, toy_schema()), (1, 1, toy_schema()), (2, 3, OTHER_SCHEMA), (4, 2, ART_DEMO)],
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


def _mixtures(critic: str, patients: int, months: int, channels: int) -> tuple:
    network = seeded(lambda: plain(Critic(toy_schema(), 8), 3)) if critic == "lstm" else _Curved(months, channels)
    wide = torch.linspace(0.1, 2, patients).view(-1, 1, 1)  # patients with small numbers and with large ones
    real, fake = (random_tensor(patients, months, channels, seed=k) for k in (1, 2))
    return network, real, fake * wide, random_tensor(patients, 1, 1, seed=3).sigmoid()


@exercise(_mixtures)
def check_gradient_penalty(critic, real, fake, mix):
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    slope = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    norm = slope.square().sum((1, 2)).sqrt()
    return (norm - 1).square().mean()


def _batch(schema: Schema, patients: int) -> tuple:
    generator, critic = seeded(lambda: (plain(Generator(schema, 5, 8), 4), plain(Critic(schema, 8), 3)))
    real, z = (random_tensor(patients, 4, k, seed=k) for k in (schema.channels, 5))
    return generator, critic, real.sigmoid(), z, random_tensor(patients, 1, 1, seed=3).sigmoid()


@exercise(_batch, [(toy_schema(), 3), (OTHER_SCHEMA, 4), (toy_schema(), 1)])
def check_critic_loss(generator, critic, real, z, mix):
    fake = generator(z).detach()
    apart = critic(fake).mean() - critic(real).mean()
    return apart + 10 * gradient_penalty(critic, real, fake, mix)


@exercise()
def check_patient_modes(levels):
    counts = (levels[:, :, None] == np.arange(4)).sum(axis=1)
    return counts.argmax(1)
