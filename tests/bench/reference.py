"""The obvious way to write the same training: what the package's speed is measured against.

The LSTM as :class:`hg_helpers.BiLSTM` has it to read, autograd for every derivative; fakes that carry their graph into
the critic's step, a critic that collects gradients in the generator's, and memory asked for anew each time. It has the
package's parameters, draws and optimisers, so that both ways must give the same losses.
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


def plain(network: nn.Module) -> nn.Module:
    """Let a network run the LSTM that is there to read."""
    for part in network.modules():
        if isinstance(part, BiLSTM):
            part.fast = False
    return network


class PlainTrainer(Trainer):
    """:class:`hg_helpers.Trainer` with the two steps as one writes them first."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for network in filter(None, (self.generator, self.critic, self.average)):
            plain(network)
        self.critic.requires_grad_ = lambda _: self.critic  # it is not frozen in the generator's step

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
        row = {"critic_loss": loss.item(), "wasserstein": wasserstein.item(), "penalty": penalty.item()}
        if self.summary_critic is not None:
            lines = (self.summaries(patients.detach() / self.weights) for patients in (real, fake))
            row |= self._summary_step(*lines, len(real))
        return row
