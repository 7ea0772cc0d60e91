"""The algorithm: an epoch, a batch, and one step each of autoencoder, critic and generator.

>>> import hg_helpers as hg
>>> cohort = hg.simulate_cohort(6, seed=0)
>>> encoder = hg.CohortEncoder(hg.ART_DEMO).fit(cohort)
>>> config = hg.TrainConfig.v2(hidden=4, latent=4, lengths=(10,), epochs=1)
>>> trainer = Trainer(encoder, config, device="cpu")
>>> trainer.fit(encoder.transform(cohort), progress=False)["length"].tolist()
[10, 60]
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..runtime.checkpoint import require_writable
from ..runtime.checks import whole_number
from ..runtime.environment import kept_memory
from ..runtime.stop import between_batches
from .curriculum import curriculum_batches
from .losses import autoencoder_loss, correlation_loss, gradient_penalty
from .state import TrainingState, TrainingStopped

log = logging.getLogger("hg_helpers")


class Trainer(TrainingState):
    """Trains v1, v2 and everything between on an encoded cohort.

    Args:
        encoder: fitted on the training patients; travels with the model.
        config: all settings.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        peers: the processes that train together; each is given the whole batch and takes its share.

    Attributes:
        generator, critic, autoencoder, summary_critic: the networks; None where the model has no such.
        source: where noise comes from; v2's :class:`hg_helpers.LatentBuffer`.
        average: the generator's averaged weights, where ``config.ema`` asks for them.
        history: DataFrame, one row a batch.
        epoch, step: whole epochs and generator steps done.
    """

    # --- the algorithm ------------------------------------------------------------------------------------------------

    def _epoch(self, x: Tensor, to_stop: Callable[[Trainer, dict[str, float]], bool]) -> None:
        """Short trajectories first, every patient once at each length; from the batch at which training stands."""
        lengths, per_epoch = self.config.lengths_for(self.schema.length), self._per_epoch(x)
        batches = curriculum_batches(len(x), lengths, self.config.batch_size, self.config.seed, self.epoch)
        for length, patients in islice(batches, self.batch, None):
            row = self._batch(x[patients.to(self.device), :length], per_epoch)
            if to_stop(self, row):
                break
        if self.batch == per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0

    def _batch(self, real: Tensor, per_epoch: int) -> dict[str, float]:
        """One autoencoder step, ``n_critic`` critic steps, one generator step, with real patients (B, L, C)."""
        started = time.perf_counter()
        patients, months, _ = real.shape
        self.rate = self._learning_rate(per_epoch)
        row = {"step": self.step, "epoch": self.epoch + 1, "length": months, "learning_rate": self.rate}
        weighted = real * self.weights
        if self.autoencoder is not None:
            row |= self.autoencoder_step(weighted)
        for _ in range(self.config.n_critic):
            row |= self.critic_step(weighted)
        row |= self.generator_step(patients, months)
        self.batch += 1
        row["seconds"] = time.perf_counter() - started
        self.rows.append(row)
        return row

    def autoencoder_step(self, real: Tensor) -> dict[str, float]:
        """Fit the autoencoder to the critic's view of weighted real patients (B, L, C); the buffer remembers them."""
        e = self.critic.embed(self.peers.share(real)).detach()  # (B, L, E); the critic must not learn from this loss
        noise = None
        if self.autoencoder.variational:
            noise = self._own(torch.randn(*real.shape[:2], self.config.latent, generator=self.random))
        reconstruction, latent, posterior = self.peers.join(self.autoencoder(e, noise))
        error, divergence = autoencoder_loss(reconstruction, self.peers.join(e), latent, posterior)
        self._improve("autoencoder", error + divergence)
        if self.source.learns:
            self.source.update(latent, self.random)
        return {"reconstruction": error.item(), "kl": divergence.item()}

    def critic_step(self, real: Tensor) -> dict[str, float]:
        """Teach the critic to score weighted real patients (B, L, C) above generated ones."""
        with torch.no_grad():  # the critic's step needs nothing of how the patients were made
            fake = self.fake(*real.shape[:2]) * self.weights
        patients = len(real)
        mix = self._own(torch.rand(patients, 1, 1, generator=self.random))
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
        self._follow()
        return row

    def _generator_loss(self, fake: Tensor) -> tuple[Tensor, dict[str, float]]:
        loss = -self.peers.mean(self.critic(fake * self.weights, twice=False).mean())
        if self.summary_critic is not None:
            judged = self.peers.mean(self.summary_critic(self.summaries(fake)).mean())
            loss = loss - self.config.summary_weight * judged
        fake = self.peers.join(fake)
        cap = torch.rand(self.target.shape, generator=self.random) if self.config.correlation_cap else None
        correlation = correlation_loss(fake, self.target, None if cap is None else cap.to(self.device))
        loss = loss + self.config.correlation_weight * correlation
        row = {"correlation_loss": correlation.item()}
        if self.config.moment_weight:
            moment = self.moments.loss(fake)
            loss, row["moment_loss"] = loss + self.config.moment_weight * moment, moment.item()
        return loss, {"generator_loss": loss.item(), **row}

    def fake(self, patients: int, months: int) -> Tensor:
        """Generated patients (B, L, C), soft unless the heads round, values in [0, 1]; each process makes its own."""
        z = self._own(self.source.draw(patients, months, self.random))
        return self.generator(z, self.generator.draws(patients, months, self.random).each(self._own))

    def _own(self, drawn: Tensor) -> Tensor:
        """Of numbers drawn for the whole batch, those of this process's patients, on its device."""
        return self.peers.share(drawn).to(self.device)

    def _improve(self, name: str, loss: Tensor) -> None:
        """One step of Adam down the loss."""
        if not torch.isfinite(loss):
            raise TrainingStopped(
                f"the {name}'s loss is {loss.item()} at step {self.step} (epoch {self.epoch + 1}); its weights were "
                "left as they were. A lower learning_rate usually helps."
            )
        optimiser = self.optimisers[name]
        (group,) = optimiser.param_groups
        group["lr"] = self.rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.peers.sum_gradients(group["params"])
        optimiser.step()

    @torch.no_grad()
    def _follow(self) -> None:
        """Count a generator step, and let the averaged weights follow it."""
        if self.average is not None:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            for kept, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                kept.lerp_(now, 1 - decay)
        self.step += 1

    def _learning_rate(self, per_epoch: int) -> float:
        """Constant for half of ``config.epochs``, then linear to 0.05 of itself, which it keeps."""
        done = self.step / (self.config.epochs * per_epoch)
        falling = max(0.0, 2 * done - 1) if self.config.lr_decay else 0.0
        return self.config.learning_rate * max(0.05, 1 - 0.95 * falling)

    def _per_epoch(self, x: Tensor) -> int:
        return self.config.steps_per_epoch(len(x), self.schema.length)

    # --- around it: progress, stopping, files -------------------------------------------------------------------------

    def fit(
        self,
        x: Tensor,
        epochs: int | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 1,
        callbacks: Iterable[Callable[[Trainer, dict[str, float]], Any]] = (),
        progress: bool = True,
    ) -> pd.DataFrame:
        """Train up to an epoch, going on from where the trainer stands.

        Ctrl-C (or a notebook's stop button), SIGTERM and SIGHUP end after the batch in hand, with a usable trainer and,
        where one was asked for, a checkpoint. A second Ctrl-C stops at once; the others then end the process.

        Args:
            x: encoded training patients (patients, months, channels), the same at each call.
            epochs: go on to this epoch; by default ``config.epochs``.
            checkpoint: file that is rewritten after every ``checkpoint_every`` epochs and at the end.
            callbacks: called after each batch with the trainer and the batch's row of the history; True ends training.
            progress: show a progress bar (on standard error, or as a widget in a notebook).

        Returns:
            The history from the first epoch on: one row a batch.

        Raises:
            ValueError: for a tensor of the wrong shape, or other patients than before.
            OSError: for a checkpoint that cannot be written, before training starts.
            TrainingStopped: for a loss that is not finite; the last checkpoint stays as it was.
        """
        last = whole_number("epochs", self.config.epochs if epochs is None else epochs, 0)
        every = whole_number("checkpoint_every", checkpoint_every)
        if checkpoint:
            require_writable(checkpoint)
        x = self._accept(x)
        left = max(0, (last - self.epoch) * self._per_epoch(x) - self.batch)
        show = progress and self.peers.rank == 0
        with kept_memory(), between_batches(left, last, show, callbacks, self.peers.any) as (stop, to_stop):
            while self.epoch < last and not stop.is_set():
                self._epoch(x, to_stop)
                if checkpoint and self.batch == 0 and self.epoch % every == 0 and self.epoch < last:
                    self.save(checkpoint)
            if stop.is_set():
                log.warning("training was stopped after step %d (epoch %d of %d)", self.step, self.epoch, last)
            if checkpoint:  # in here, so that a request to stop that comes now does not break the writing off
                self.save(checkpoint)
        return self.history
