"""The obvious way to write the same training: what the package's speed is measured against.

Two LSTMs, each month a linear layer of the inputs and one of the hidden state, autograd for every derivative; fakes
that carry their graph into the critic's step, a critic that collects gradients in the generator's, and memory asked for
anew each time. It has the package's parameters, draws and optimisers, so that both ways must give the same losses.
"""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import pandas as pd
import torch
from torch import Tensor, nn

from hg_helpers.model import training
from hg_helpers.model.losses import gradient_penalty
from hg_helpers.model.networks import BiLSTM
from hg_helpers.model.training import Trainer


class PlainBiLSTM(nn.Module):
    """:class:`hg_helpers.model.networks.BiLSTM`, month by month, around the parameters of one."""

    def __init__(self, lstm: BiLSTM) -> None:
        super().__init__()
        self.input_weight, self.hidden_weight, self.bias = lstm.input_weight, lstm.hidden_weight, lstm.bias

    def forward(self, x: Tensor, twice: bool = True) -> tuple[Tensor, Tensor]:
        months = x.unbind(1)
        ahead, last = self._run(0, months)
        back, first = self._run(1, months[::-1])
        return torch.cat([torch.stack(ahead, 1), torch.stack(back[::-1], 1)], -1), torch.cat([last, first], -1)

    def _run(self, direction: int, months: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor]:
        inward, onward, bias = (p[direction] for p in (self.input_weight, self.hidden_weight, self.bias))
        h = c = months[0].new_zeros(len(months[0]), len(onward))
        states = []
        for x in months:
            o, i, f, a = (x @ inward + h @ onward + bias).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return states, h


def plain(network: nn.Module) -> nn.Module:
    """Put plain LSTMs in the place of a network's own; its parameters stay the same objects."""
    network.lstm = PlainBiLSTM(network.lstm)
    return network


class PlainTrainer(Trainer):
    """:class:`hg_helpers.Trainer` with the two steps as one writes them first."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for network in filter(None, (self.generator, self.critic, self.average)):
            plain(network)

    def fit(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        with mock.patch.object(training, "kept_memory", contextlib.nullcontext):
            return super().fit(*args, **kwargs)

    def critic_step(self, real: Tensor) -> dict[str, float]:
        fake = self.fake(*real.shape[:2]) * self.weights
        mix = torch.rand(len(real), 1, 1, generator=self.random).to(self.device)
        wasserstein = self.critic(real).mean() - self.critic(fake).mean()
        penalty = gradient_penalty(self.critic, real, fake, mix)
        loss = self.config.gp_weight * penalty - wasserstein
        self._improve("critic", loss)
        return {"critic_loss": loss.item(), "wasserstein": wasserstein.item(), "penalty": penalty.item()}

    def generator_step(self, patients: int, months: int) -> dict[str, float]:
        loss, row = self._generator_loss(self.fake(patients, months))
        self._improve("generator", loss)
        self._follow()
        return row
