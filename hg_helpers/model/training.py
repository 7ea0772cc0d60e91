"""The training loop, and how a run is written down and taken up again."""

from __future__ import annotations

import copy
import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..cohort.encoding import CohortEncoder
from ..runtime.allocator import kept_memory
from ..runtime.checkpoint import load_checkpoint, naming, not_finite, require_writable, save_checkpoint
from ..runtime.distributed import ALONE, Peers
from ..runtime.environment import resolve_device
from ..runtime.stop import stop_requested
from .config import TrainConfig
from .curriculum import curriculum_batches
from .losses import correlation_matrix
from .moments import RealMoments
from .steps import Steps, TrainingStopped
from .synthesizer import Synthesizer

with warnings.catch_warnings():  # without ipywidgets tqdm falls back to a text bar, which needs no warning
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

log = logging.getLogger("hg_helpers")


class Trainer(Steps):
    """Trains v1, v2 and everything between on an encoded cohort.

    Args:
        encoder: fitted on the training patients; travels with the model.
        config: all settings.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        peers: the processes that train together; each is given the whole batch and takes its share.

    Attributes:
        generator, critic, autoencoder: the networks (``autoencoder`` is None for v1).
        source: where noise comes from; v2's :class:`hg_helpers.LatentBuffer`.
        history: DataFrame, one row a batch.
        epoch: whole epochs done. step: generator steps done.
    """

    def __init__(
        self,
        encoder: CohortEncoder,
        config: TrainConfig,
        device: str | torch.device = "auto",
        peers: Peers = ALONE,
    ) -> None:
        super().__init__(encoder, config, device, peers)
        self.batch = 0  # batches done of the epoch in hand
        self._data: str | None = None
        self._rows: list[dict[str, float]] = []

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
        one was asked for); a second one stops at once. So do SIGTERM, as from a batch scheduler, and SIGHUP, as from a
        terminal that is closed, which then end the process as they would have.

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
        target_epoch = self.config.epochs if epochs is None else epochs
        for name, value, least in (("epochs", target_epoch, 0), ("checkpoint_every", checkpoint_every, 1)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if checkpoint:
            require_writable(checkpoint)
        x = self._accept(x)
        lengths = self.config.lengths_for(self.schema.length)
        per_epoch = self.config.steps_per_epoch(len(x), self.schema.length)
        left = max(0, target_epoch * per_epoch - self.epoch * per_epoch - self.batch)
        callbacks = list(callbacks)
        with (
            stop_requested() as stop,
            kept_memory(),
            tqdm(total=left, unit="batch", disable=not progress or self.peers.rank > 0) as bar,
        ):
            while self.epoch < target_epoch and not stop.is_set():
                batches = curriculum_batches(len(x), lengths, self.config.batch_size, self.config.seed, self.epoch)
                for number, (length, patients) in enumerate(batches):
                    if number < self.batch:
                        continue
                    row = self._batch(x[patients.to(self.device), :length], per_epoch)
                    bar.set_description(f"epoch {self.epoch + 1}/{target_epoch}, {length} months", refresh=False)
                    shown = {k: f"{row[k]:.3f}" for k in ("wasserstein", "correlation_loss")}
                    bar.set_postfix(shown, refresh=False)
                    bar.update()
                    for callback in callbacks:
                        answer = callback(self, row)
                        if isinstance(answer, (bool, np.bool_)) and answer:
                            stop.set()
                    if self.peers.any(stop.is_set()):  # one of several processes may have been asked alone
                        stop.set()
                        break
                if self.batch == per_epoch:
                    self.epoch, self.batch = self.epoch + 1, 0
                    if checkpoint and self.epoch % checkpoint_every == 0 and self.epoch < target_epoch:
                        self.save(checkpoint)
            if stop.is_set():
                log.warning("training was stopped after step %d (epoch %d of %d)", self.step, self.epoch, target_epoch)
            if checkpoint:  # in here, so that a request to stop that comes now does not break the writing off
                self.save(checkpoint)
        return self.history

    def _batch(self, real: Tensor, per_epoch: int) -> dict[str, float]:
        started = time.perf_counter()
        patients, months, _ = real.shape
        self._rate = self._learning_rate(per_epoch)
        row = {"step": self.step, "epoch": self.epoch + 1, "length": months, "learning_rate": self._rate}
        weighted = real * self.weights
        if self.autoencoder is not None:
            row |= self.autoencoder_step(weighted)
        for _ in range(self.config.n_critic):
            row |= self.critic_step(weighted)
        row |= self.generator_step(patients, months)
        self.batch += 1
        row["seconds"] = time.perf_counter() - started
        self._rows.append(row)
        return row

    def _learning_rate(self, per_epoch: int) -> float:
        done = self.step / (self.config.epochs * per_epoch)
        falling = max(0.0, 2 * done - 1) if self.config.lr_decay else 0.0
        return self.config.learning_rate * max(0.05, 1 - 0.95 * falling)

    def _accept(self, x: Tensor) -> Tensor:
        expected = (self.schema.length, self.schema.channels)
        if not isinstance(x, Tensor) or x.ndim != 3 or tuple(x.shape[1:]) != expected:
            got = tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
            raise ValueError(f"x must be the encoder's tensor (patients, {expected[0]}, {expected[1]}), not {got}")
        if len(x) < 2:
            raise ValueError(f"training needs at least 2 patients, not {len(x)}")
        if not torch.isfinite(x).all():
            raise ValueError("x holds values that are not finite; encode the table with the trainer's encoder")
        data = hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        if self._data not in (None, data):
            raise ValueError(
                "these are not the patients that this model was trained on so far: pass the same encoded table (same "
                "rows, same split), or start a new Trainer"
            )
        self._data = data
        x = x.to(self.device, torch.float32)
        if self.target is None:
            self.target = correlation_matrix(x)
        if self.config.moment_weight and self.moments is None:
            self.moments = RealMoments(x, self.schema, self.config.lengths_for(self.schema.length))
        return x

    @property
    def history(self) -> pd.DataFrame:
        """One row a batch: step, epoch, length, learning rate, losses, seconds."""
        return pd.DataFrame(self._rows)

    def synthesizer(self) -> Synthesizer:
        """The model as it is now, ready to sample; averaged weights where ``config.ema`` asks for them."""
        generator = self.generator if self.average is None else self.average
        return Synthesizer(
            self.encoder, self.config, copy.deepcopy(generator).requires_grad_(False), copy.deepcopy(self.source)
        )

    def save(self, path: str | Path) -> None:
        """Write all that a bitwise resume needs; :meth:`load` reads it, and so does :meth:`Synthesizer.load`.

        Of several processes the first one writes.

        Raises:
            TrainingStopped: where a weight, or what an optimiser remembers, is not finite; an older checkpoint stays as
                it was.
            OSError: naming the file, where it cannot be written.
        """
        if self.peers.rank > 0:  # all hold the same
            return
        held = {}
        for name, network in self._networks().items():
            held |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        for name, optimiser in self.optimisers.items():  # a square that overflows stops Adam for good, without a word
            for number, state in optimiser.state_dict()["state"].items():
                held |= {f"{name}'s optimiser: {key} of weight {number}": value for key, value in state.items()}
        name = not_finite(held)
        if name is not None:
            raise TrainingStopped(
                f"{name} is no longer finite at step {self.step}: not written to {path}. A lower learning_rate usually "
                "helps."
            )
        columns = list(self._rows[0]) if self._rows else []
        save_checkpoint(
            path,
            {
                "kind": "trainer",
                **{k: v for k, v in self.synthesizer().state().items() if k != "kind"},
                "networks": {name: network.state_dict() for name, network in self._networks().items()},
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
                "random": self.random.get_state(),
                "position": [self.epoch, self.batch, self.step],
                "target": self.target,
                "data": self._data,
                "history": {c: torch.tensor([row[c] for row in self._rows], dtype=torch.float64) for c in columns},
                "torch": [str(torch.__version__), torch.get_num_threads()],
            },
        )

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
            for name, network in trainer._networks().items():
                network.load_state_dict(state["networks"][name])
                network.to(trainer.device)
            for name, optimiser in trainer.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
            trainer.random.set_state(state["random"])
            trainer.epoch, trainer.batch, trainer.step = state["position"]
            trainer.target = None if state["target"] is None else state["target"].to(trainer.device)
            trainer._data = state["data"]
            history = {c: values.tolist() for c, values in state["history"].items()}
            whole = ("step", "epoch", "length")
            trainer._rows = [
                {c: int(v) if c in whole else v for c, v in zip(history, values, strict=True)}
                for values in zip(*history.values(), strict=True)
            ]
        if state["torch"] != [str(torch.__version__), torch.get_num_threads()]:
            log.info("%s was written by torch %s on %d threads: going on, but not bit for bit", path, *state["torch"])
        return trainer
