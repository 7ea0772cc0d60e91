"""The algorithm: an epoch, a batch, and one step each of autoencoder, critic and generator.

>>> import hg_helpers as hg
>>> cohort = hg.simulate_cohort(6, seed=0)
>>> encoder = hg.CohortEncoder(hg.ART_DEMO).fit(cohort)
>>> trainer = Trainer(encoder, hg.TrainConfig.v2(hidden=4, latent=4, lengths=(10,), epochs=1), device="cpu")
>>> trainer.fit(encoder.transform(cohort), progress=False)["length"].tolist()
[10, 60]
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..cohort.encoding import CohortEncoder
from ..runtime.checkpoint import require_writable
from ..runtime.checks import whole_number
from ..runtime.distributed import ALONE, Peers
from ..runtime.environment import between_batches, kept_memory, resolve_device, torch_as_we_mean_it
from . import resume
from .config import TrainConfig, build_networks, build_source, curriculum_batches
from .latent import LatentBuffer, VariationalAutoencoder
from .losses import autoencoder_loss, correlation_loss, gradient_penalty
from .networks import real_channels
from .resume import TrainingStopped
from .synthesizer import Synthesizer

log = logging.getLogger("hg_helpers")


class Trainer:
    """Trains v1, v2 and everything between; the encoder travels with the model, each of ``peers`` takes a share."""

    @torch_as_we_mean_it()
    def __init__(
        self, encoder: CohortEncoder, config: TrainConfig, device: str | torch.device = "auto", peers: Peers = ALONE
    ) -> None:
        self.encoder = copy.deepcopy(encoder)  # whoever fits theirs anew later does not change this model
        self.schema, self.config, self.peers, self.device = encoder.layout, config, peers, resolve_device(device)
        self.generator, self.critic, self.autoencoder, self.summary_critic = build_networks(self.schema, config)
        self.source = build_source(config)  # of noise; v2's is the latent buffer
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if config.ema else None
        self.optimisers = {}
        for name, network in self.networks().items():
            parameters = network.to(self.device).parameters()
            if name not in ("source", "average"):
                self.optimisers[name] = torch.optim.Adam(parameters, lr=config.learning_rate, betas=config.betas)
        self.random = torch.Generator().manual_seed(config.seed)  # on the CPU: any device sees the same numbers
        self.weights = torch.ones(self.schema.channels, device=self.device)
        self.weights[real_channels(self.schema)] = config.real_weight
        self.epoch = self.batch = self.step = 0  # whole epochs; batches of the epoch in hand; generator steps in all
        self.rate, self.rows = config.learning_rate, []
        # Of all training patients: a hash, and what the losses compare with; resume.accept finds them.
        self.data = self.target = self.moments = self.summaries = None

    def _epoch(self, x: Tensor, per_epoch: int, to_stop: Callable[[Trainer, dict[str, float]], bool]) -> None:
        """Short trajectories first, every patient once at each length; from the batch at which training stands."""
        lengths = self.config.lengths_for(self.schema.length)
        batches = curriculum_batches(len(x), lengths, self.config.batch_size, self.config.seed, self.epoch)
        for length, patients in islice(batches, self.batch, None):
            self.rate = self.config.rate_at(self.step, per_epoch)
            if to_stop(self, self._batch(x[patients.to(self.device), :length])):
                break
        if self.batch == per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0

    def _batch(self, real: Tensor) -> dict[str, float]:
        """One autoencoder step, ``n_critic`` critic steps, one generator step, with real patients (B, L, C)."""
        started = time.perf_counter()
        row = {"step": self.step, "epoch": self.epoch + 1, "length": real.shape[1], "learning_rate": self.rate}
        weighted = real * self.weights
        if self.autoencoder is not None:
            row |= self.autoencoder_step(weighted)
        for _ in range(self.config.n_critic):
            row |= self.critic_step(weighted)
        row |= self.generator_step(*real.shape[:2])
        self.batch += 1
        self.rows.append(row | {"seconds": time.perf_counter() - started})
        return self.rows[-1]

    def autoencoder_step(self, real: Tensor) -> dict[str, float]:
        """Fit the autoencoder to the critic's view of weighted real patients (B, L, C); the buffer remembers them."""
        e = self.critic.embed(self.peers.share(real)).detach()  # (B, L, E); the critic must not learn from this loss
        shape, draws = (*real.shape[:2], self.config.latent), isinstance(self.autoencoder, VariationalAutoencoder)
        noise = self._own(torch.randn(shape, generator=self.random)) if draws else None
        reconstruction, latent, posterior = self.peers.join(self.autoencoder(e, noise))
        error, divergence = autoencoder_loss(reconstruction, self.peers.join(e), latent, posterior)
        self._improve("autoencoder", error + divergence)
        if isinstance(self.source, LatentBuffer):
            self.source.update(latent, self.random)
        return {"reconstruction": error.item(), "kl": divergence.item()}

    def critic_step(self, real: Tensor) -> dict[str, float]:
        """Teach the critic to score weighted real patients (B, L, C) above generated ones."""
        with torch.no_grad():  # the critic's step needs nothing of how the patients were made
            fake = self.fake(*real.shape[:2]) * self.weights
        patients, mix = len(real), self._own(torch.rand(len(real), 1, 1, generator=self.random))
        real = self.peers.share(real)
        score_real, score_fake = self.critic(torch.cat([real, fake]), twice=False).chunk(2)
        wasserstein = self.peers.mean(score_real.mean() - score_fake.mean())
        penalty = self.peers.mean(gradient_penalty(self.critic, real, fake, mix))
        loss = self.config.gp_weight * penalty - wasserstein
        self._improve("critic", loss)
        row = {"critic_loss": loss.item(), "wasserstein": wasserstein.item(), "penalty": penalty.item()}
        if self.summary_critic is not None:
            lines = self.summaries(real / self.weights), self.summaries(fake / self.weights)
            row |= self._summary_step(*lines, patients)
        return row

    def _summary_step(self, real: Tensor, fake: Tensor, patients: int) -> dict[str, float]:
        """Teach the critic of summaries (B, K) likewise; it is small, and takes three steps on each batch."""
        for _ in range(3):
            mix = self._own(torch.rand(patients, 1, generator=self.random))
            wasserstein = self.peers.mean(self.summary_critic(real).mean() - self.summary_critic(fake).mean())
            penalty = self.peers.mean(gradient_penalty(self.summary_critic, real, fake, mix))
            self._improve("summary_critic", self.config.gp_weight * penalty - wasserstein)
        return {"summary_wasserstein": wasserstein.item()}

    def generator_step(self, patients: int, months: int) -> dict[str, float]:
        """Teach the generator to be scored as real, with the real correlations; averaged weights follow it."""
        self.critic.requires_grad_(False)
        try:
            loss, row = self._generator_loss(self.fake(patients, months))
            self._improve("generator", loss)
        finally:
            self.critic.requires_grad_(True)
        if self.average is not None:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            for kept, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(now.detach(), 1 - decay)
        self.step += 1
        return row

    def _generator_loss(self, fake: Tensor) -> tuple[Tensor, dict[str, float]]:
        config, row = self.config, {}
        loss = -self.peers.mean(self.critic(fake * self.weights, twice=False).mean())
        if self.summary_critic is not None:
            loss = loss - config.summary_weight * self.peers.mean(self.summary_critic(self.summaries(fake)).mean())
        fake = self.peers.join(fake)
        cap = torch.rand(self.target.shape, generator=self.random).to(self.device) if config.correlation_cap else None
        correlation = correlation_loss(fake, self.target, cap)
        loss, row["correlation_loss"] = loss + config.correlation_weight * correlation, correlation.item()
        if config.moment_weight:
            moment = self.moments.loss(fake)
            loss, row["moment_loss"] = loss + config.moment_weight * moment, moment.item()
        return loss, {"generator_loss": loss.item(), **row}

    def fake(self, patients: int, months: int) -> Tensor:
        """Generated patients (B, L, C), soft unless the heads round, values in [0, 1]; each process makes its own."""
        z = self._own(self.source.draw(patients, months, self.random))
        return self.generator(z, self.generator.draws(patients, months, self.random).each(self._own))

    def _own(self, drawn: Tensor) -> Tensor:
        """Of what was drawn for the whole batch, this process's part, on its device."""
        return self.peers.share(drawn).to(self.device)

    def _improve(self, name: str, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            where = f"at step {self.step} (epoch {self.epoch + 1}); its weights were left as they were"
            raise TrainingStopped(f"the {name}'s loss is {loss.item()} {where}. A lower learning_rate usually helps.")
        optimiser = self.optimisers[name]
        (group,) = optimiser.param_groups
        group["lr"] = self.rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.peers.sum_gradients(group["params"])
        optimiser.step()

    @torch_as_we_mean_it()
    def fit(
        self,
        x: Tensor,
        epochs: int | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 1,
        callbacks: Iterable[Callable[[Trainer, dict[str, float]], Any]] = (),
        progress: bool = True,
    ) -> pd.DataFrame:
        """Train up to an epoch, going on from where the trainer stands; gives the history, one row a batch.

        Ctrl-C (or a notebook's stop button), SIGTERM and SIGHUP end after the batch in hand, with a usable trainer and
        the checkpoint. A second Ctrl-C stops at once; after the other two the process ends. A loss that is not finite
        is a TrainingStopped, and leaves the last checkpoint as it was.

        Args:
            x: encoded training patients (patients, months, channels), the same at each call.
            epochs: go on to this one, by default to ``config.epochs``.
            checkpoint: file that is rewritten after every ``checkpoint_every`` epochs and at the end.
            callbacks: called after each batch with the trainer and the batch's row of the history; True ends training.
        """
        last = whole_number("epochs", self.config.epochs if epochs is None else epochs, 0)
        every = whole_number("checkpoint_every", checkpoint_every)
        if checkpoint:
            require_writable(checkpoint)
        x = resume.accept(self, x)
        per_epoch = self.config.steps_per_epoch(len(x), self.schema.length)
        left = max(0, (last - self.epoch) * per_epoch - self.batch)
        progress = progress and self.peers.rank == 0
        with kept_memory(), between_batches(left, last, progress, callbacks, self.peers.any) as (stop, to_stop):
            while self.epoch < last and not stop.is_set():
                self._epoch(x, per_epoch, to_stop)
                if checkpoint and self.batch == 0 and self.epoch % every == 0 and self.epoch < last:
                    self.save(checkpoint)
            if stop.is_set():
                log.warning("training was stopped after step %d (epoch %d of %d)", self.step, self.epoch, last)
            if checkpoint:  # in here, so that a request to stop that comes now does not break the writing off
                self.save(checkpoint)
        return self.history

    @property
    def history(self) -> pd.DataFrame:
        """One row a batch: step, epoch, length, learning rate, losses, seconds."""
        return pd.DataFrame(self.rows)

    def networks(self) -> dict[str, nn.Module]:
        """All that has weights or a memory, by name."""
        names = ("generator", "critic", "autoencoder", "summary_critic", "source", "average")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @torch_as_we_mean_it()
    def synthesizer(self) -> Synthesizer:
        """The model as it is now, ready to sample; averaged weights where ``config.ema`` asks for them."""
        generator = copy.deepcopy(self.generator if self.average is None else self.average).requires_grad_(False)
        return Synthesizer(self.encoder, self.config, generator, copy.deepcopy(self.source))

    def save(self, path: str | Path, synthesizer: Synthesizer | None = None) -> None:
        """Write what a bitwise resume needs, and ``synthesizer`` (by default this model); numbers must be finite."""
        resume.save(self, path, synthesizer or self.synthesizer())

    @classmethod
    @torch_as_we_mean_it()
    def load(cls, path: str | Path, device: str | torch.device = "auto", peers: Peers = ALONE) -> Trainer:
        """Take up a run where :meth:`save` left it; a FileNotFoundError or ValueError names a file that is no such."""
        return resume.load(cls, path, device, peers)
