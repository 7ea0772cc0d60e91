"""Toys of the lesson: three patients to be checked by hand, and a GAN among points that can be watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor, nn

from ..cohort.schema import Schema
from ..model.losses import gradient_penalty

TOYS = yaml.safe_load(Path(__file__).with_name("toys.yaml").read_text(encoding="utf-8"))


def toy_schema() -> Schema:
    """Three features, four months: viral load, sex, base drugs. 6 channels, embedded width 7."""
    return Schema.from_dict(TOYS["schema"])


def toy_cohort() -> pd.DataFrame:
    """Three patients, four months each: one who is suppressed, one who fails and switches, one who rebounds."""
    return pd.DataFrame(TOYS["cohort"])


def toy_latents() -> Tensor:
    """A hand-made encoding of the three toy patients, (3, 4, 2): log10 of the viral load less 2, and the drug code."""
    cohort = toy_cohort()
    values = np.stack([np.log10(cohort["VL"]) - 2, cohort["Base Drug Combo"]], axis=-1)
    return torch.tensor(values.reshape(3, 4, 2), dtype=torch.float32)


class Frame(NamedTuple):
    """One moment of the toy GAN: fakes and the critic's slopes at them, (n, 2); its scores on a grid of ``side``."""

    step: int
    fakes: np.ndarray
    arrows: np.ndarray
    scores: np.ndarray
    side: np.ndarray


def toy_points(number: int = 600, seed: int = 0) -> Tensor:
    """Five groups of patients on a circle, 40, 25, 20, 10 and 5 % of them, clockwise from the top; (number, 2)."""
    random = torch.Generator().manual_seed(seed)
    group = torch.multinomial(torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05]), number, True, generator=random)
    turn = (0.25 - group / 5) * 2 * torch.pi
    return torch.stack([turn.cos(), turn.sin()], 1) + 0.08 * torch.randn(number, 2, generator=random)


def toy_gan(
    points: Tensor, source: Any, penalty: Callable = gradient_penalty, steps: int = 160, every: int = 20, seed: int = 0
) -> list[Frame]:
    """Train a small WGAN-GP on points (n, 2), five critic steps for each generator step; a frame each ``every`` steps.

    Its noise is what 60 months of ``source.draw(patients, months, generator)`` come to on average: all that a reader
    of the whole course has to tell patients apart by. The penalty's weight is 1, as the points are a step or two apart.
    """
    random, patients, side, frames = torch.Generator().manual_seed(seed), 128, torch.linspace(-1.7, 1.7, 41), []

    def noise(number: int, random: torch.Generator = random) -> Tensor:
        return source.draw(number, 60, random).mean(1)  # (number, Z)

    def network(inputs: int, outputs: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        sizes = (inputs, 64), (64, 64), (64, outputs)
        net = nn.Sequential(*(layer for size in sizes for layer in (nn.Linear(*size), nn.LeakyReLU(0.1))))[:-1]
        return net, torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.0, 0.9))

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        (generator, adam_g), (critic, adam_c) = network(noise(1).shape[1], 2), network(2, 1)
    shown = noise(400, torch.Generator().manual_seed(seed + 1))  # the same noise in all frames
    for step in range(steps + 1):
        for _ in range(5):
            real = points[torch.randint(len(points), (patients,), generator=random)]
            fake, mix = generator(noise(patients)).detach(), torch.rand(patients, 1, 1, generator=random)
            loss = critic(fake).mean() - critic(real).mean() + penalty(critic, real[:, None], fake[:, None], mix).sum()
            adam_c.zero_grad()
            loss.backward()
            adam_c.step()
        if step % every == 0:
            fakes = generator(shown).detach().requires_grad_()
            (arrows,) = torch.autograd.grad(critic(fakes).sum(), fakes)
            scores = critic(torch.cartesian_prod(side, side)).view(len(side), -1).T  # rows go up, columns to the right
            frames.append(Frame(step, *(part.detach().numpy() for part in (fakes, arrows, scores, side))))
        loss = -critic(generator(noise(patients))).mean()
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()
    return frames
