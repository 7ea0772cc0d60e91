"""The algorithm: an epoch, a batch, and one step each of autoencoder, critic and generator.

>>> from hg_helpers.cohort.encoding import CohortEncoder
>>> from hg_helpers.cohort.art import ART_DEMO
>>> from hg_helpers.cohort.simulate import simulate_cohort
>>> cohort = simulate_cohort(6, seed=0)
>>> encoder = CohortEncoder(ART_DEMO).fit(cohort)
>>> config = TrainConfig.v2(hidden=4, latent=4, lengths=(10,), epochs=1)
>>> trainer = Trainer(encoder, config, device="cpu")
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
from ..runtime.allocator import kept_memory
from ..runtime.checkpoint import load_checkpoint, naming, require_writable
from ..runtime.checks import whole_number
from ..runtime.distributed import ALONE, Peers
from ..runtime.environment import resolve_device
from ..runtime.progress import between_batches
from ..runtime.stop import stop_requested
from .autoencoder import Autoencoder, VariationalAutoencoder
from .config import TrainConfig
from .critics import CRITICS, Summaries, SummaryCritic
from .curriculum import curriculum_batches
from .losses import RealMoments, autoencoder_loss, correlation_loss, correlation_matrix, gradient_penalty
from .saving import TrainingStopped, fingerprint, restore, save
from .synthesizer import Synthesizer, build_generator, build_source

log = logging.getLogger("hg_helpers")


class Trainer:
    """Trains v1, v2 and everything between on an encoded cohort.

    Args:
        encoder: fitted on the training patients; travels with the model.
        config: all settings.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        peers: the processes that train together; each is given the whole batch and takes its share.

    Attributes:
        generator, critic, autoencoder: the networks (``autoencoder`` is None for v1).
        source: where noise comes from; v2's :class:`hg_helpers.LatentBuffer`.
        average: the generator's averaged weights, where ``config.ema`` asks for them.
        history: DataFrame, one row a batch.
        epoch: whole epochs done. step: generator steps done.
    """

    def __init__(
        self, encoder: CohortEncoder, config: TrainConfig, device: str | torch.device = "auto", peers: Peers = ALONE
    ) -> None:
        encoder = copy.deepcopy(encoder)  # whoever fits theirs anew later does not change this model
        self.encoder, self.config, self.schema, self.peers = encoder, config, encoder.layout, peers
        self.device = resolve_device(device)
        with torch.random.fork_rng(devices=[]):  # initial weights from the seed, without touching the global generator
            torch.manual_seed(config.seed)
            self.generator = build_generator(encoder, config)
            self.critic = CRITICS[config.critic](self.schema, config.hidden)
            self.autoencoder = None
            if config.autoencoder:
                kind = VariationalAutoencoder if config.autoencoder == "variational" else Autoencoder
                self.autoencoder = kind(self.schema.width, config.latent, config.hidden)
            self.summary_critic = SummaryCritic(self.schema, config.hidden) if config.summary_weight else None
        self.source = build_source(config)
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if config.ema else None
        for network in self.networks().values():
            network.to(self.device)
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas)
            for name, network in self.networks().items()
            if name in ("generator", "critic", "autoencoder", "summary_critic")
        }
        # Draws are made on the CPU, so that a run on another device sees the same numbers.
        self.random = torch.Generator().manual_seed(config.seed)
        self.weights = torch.ones(self.schema.channels, device=self.device)
        for feature in self.schema.real:
            self.weights[self.schema.spans[feature.name]] = config.real_weight
        self.epoch = self.batch = self.step = 0  # whole epochs; batches of the epoch in hand; generator steps in all
        self.rate = config.learning_rate
        self.target: Tensor | None = None  # correlations of all training patients
        self.moments: RealMoments | None = None
        self.summaries: Summaries | None = None
        self.data: str | None = None  # a hash of the training patients
        self.rows: list[dict[str, float]] = []

    # --- the algorithm ------------------------------------------------------------------------------------------------

    def _epoch(self, x: Tensor, to_stop: Callable[[dict[str, float]], bool]) -> None:
        """Short trajectories first, every patient once at each length; from the batch at which training stands."""
        lengths, per_epoch = self.config.lengths_for(self.schema.length), self._per_epoch(x)
        batches = curriculum_batches(len(x), lengths, self.config.batch_size, self.config.seed, self.epoch)
        for length, patients in islice(batches, self.batch, None):
            row = self._batch(x[patients.to(self.device), :length], per_epoch)
            if to_stop(row):
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
        score = self.peers.mean(self.critic(fake * self.weights, twice=False).mean())
        loss = -score
        if self.summary_critic is not None:
            judged = self.peers.mean(self.summary_critic(self.summaries(fake)).mean())
            loss = loss - self.config.summary_weight * judged
        fake = self.peers.join(fake)
        cap = torch.rand(self.target.shape, generator=self.random) if self.config.correlation_cap else None
        correlation = correlation_loss(fake, self.target, None if cap is None else cap.to(self.device))
        loss = loss + self.config.correlation_weight * correlation
        parts = {"correlation_loss": correlation.item()}
        if self.config.moment_weight:
            moment = self.moments.loss(fake)
            loss = loss + self.config.moment_weight * moment
            parts["moment_loss"] = moment.item()
        return loss, {"generator_loss": loss.item(), **parts}

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
        for group in optimiser.param_groups:
            group["lr"] = self.rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.peers.sum_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()

    def _follow(self) -> None:
        """Count a generator step, and let the averaged weights follow it."""
        if self.average is not None:
            decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for kept, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                    kept.lerp_(now, 1 - decay)
        self.step += 1

    def _learning_rate(self, per_epoch: int) -> float:
        done = self.step / (self.config.epochs * per_epoch)
        falling = max(0.0, 2 * done - 1) if self.config.lr_decay else 0.0
        return self.config.learning_rate * max(0.05, 1 - 0.95 * falling)

    # --- around it: what is trained on, progress, stopping, files -----------------------------------------------------

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

        Ctrl-C or a notebook's stop button ends after the batch in hand, with a usable trainer (and a checkpoint where
        one was asked for); a second one stops at once. SIGTERM, as from a batch scheduler, and SIGHUP, as from a
        terminal that is closed, end after the batch in hand as well, however often they come; then they end the
        process as they would have.

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
        with stop_requested() as stop, kept_memory(), between_batches(left, show, callbacks, stop) as after_batch:

            def to_stop(row: dict[str, float]) -> bool:
                after_batch(self, row, f"epoch {row['epoch']}/{last}, {row['length']} months")
                if self.peers.any(stop.is_set()):  # one of several processes may have been asked alone
                    stop.set()
                return stop.is_set()

            while self.epoch < last and not stop.is_set():
                self._epoch(x, to_stop)
                if checkpoint and self.batch == 0 and self.epoch % every == 0 and self.epoch < last:
                    self.save(checkpoint)
            if stop.is_set():
                log.warning("training was stopped after step %d (epoch %d of %d)", self.step, self.epoch, last)
            if checkpoint:  # in here, so that a request to stop that comes now does not break the writing off
                self.save(checkpoint)
        return self.history

    def _per_epoch(self, x: Tensor) -> int:
        return self.config.steps_per_epoch(len(x), self.schema.length)

    def _accept(self, x: Tensor) -> Tensor:
        """Refuse what is not the encoded cohort of this run; note what the losses compare with."""
        self.data = fingerprint(x, self.schema, self.data)
        x = x.to(self.device, torch.float32)
        if self.target is None:
            self.target = correlation_matrix(x)
            if self.config.start == "margins":
                self.generator.start_at(x)
                if self.average is not None:
                    self.average.load_state_dict(self.generator.state_dict())
        if self.config.moment_weight and self.moments is None:
            self.moments = RealMoments(x, self.schema, self.config.lengths_for(self.schema.length))
        if self.config.summary_weight and self.summaries is None:
            self.summaries = Summaries(x, self.schema, self.config.lengths_for(self.schema.length))
        return x

    def networks(self) -> dict[str, nn.Module]:
        """All that has weights or a memory, by name."""
        names = ("generator", "critic", "autoencoder", "summary_critic", "source", "average")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def history(self) -> pd.DataFrame:
        """One row a batch: step, epoch, length, learning rate, losses, seconds."""
        return pd.DataFrame(self.rows)

    def synthesizer(self) -> Synthesizer:
        """The model as it is now, ready to sample; averaged weights where ``config.ema`` asks for them."""
        generator = copy.deepcopy(self.generator if self.average is None else self.average).requires_grad_(False)
        return Synthesizer(self.encoder, self.config, generator, copy.deepcopy(self.source))

    def save(self, path: str | Path) -> None:
        """Write all that a bitwise resume needs; :meth:`load` reads it, and so does :meth:`Synthesizer.load`.

        Of several processes the first one writes.

        Raises:
            TrainingStopped: where a weight, or what an optimiser remembers, is not finite; an older checkpoint stays as
                it was.
            OSError: naming the file, where it cannot be written.
        """
        if self.peers.rank == 0:  # all hold the same
            save(self, path)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "auto", peers: Peers = ALONE) -> Trainer:
        """Take up a run where :meth:`save` left it.

        Raises:
            FileNotFoundError, ValueError: naming the file, where it is missing, damaged or not a trainer's.
        """
        state = load_checkpoint(path, "trainer")
        device = resolve_device(device)  # out here: what is wrong with it is not the file's fault
        with naming(path):
            trainer = cls(CohortEncoder.from_state(state["encoder"]), TrainConfig(**state["config"]), device, peers)
            restore(trainer, state)
        if state["torch"] != [str(torch.__version__), torch.get_num_threads()]:
            log.info("%s was written by torch %s on %d threads: going on, but not bit for bit", path, *state["torch"])
        return trainer
