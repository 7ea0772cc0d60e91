"""What training changes, and how it is written down, so that it goes on from there as if it had never stopped.

A checkpoint that training wrote holds all of it, in plain values and tensors:

>>> from hg_helpers.cohort.download import data_folder
>>> Synthesizer.load(data_folder() / "pretrained" / "v2.pt").config.latent_source
'buffer'
"""

from __future__ import annotations

import copy
import hashlib
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..cohort.encoding import CohortEncoder
from ..runtime.checkpoint import load_checkpoint, naming, not_finite, save_checkpoint
from ..runtime.distributed import ALONE, Peers
from ..runtime.environment import resolve_device
from .autoencoder import Autoencoder, VariationalAutoencoder
from .config import TrainConfig
from .critics import CRITICS, Summaries, SummaryCritic
from .heads import start_at
from .losses import RealMoments, correlation_matrix
from .synthesizer import Synthesizer, build_generator, build_source

log = logging.getLogger("hg_helpers")

#: Columns of the history that hold whole numbers.
WHOLE = ("step", "epoch", "length")


class TrainingStopped(RuntimeError):
    """A loss or a weight is no longer a finite number."""


class TrainingState:
    """Networks, optimisers, random numbers and where training stands; :class:`hg_helpers.Trainer` says what is what."""

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
        self.optimisers = {
            name: torch.optim.Adam(network.to(self.device).parameters(), lr=config.learning_rate, betas=config.betas)
            for name, network in self.networks().items()
            if name not in ("source", "average")
        }
        # Draws are made on the CPU, so that a run on another device sees the same numbers.
        self.random = torch.Generator().manual_seed(config.seed)
        self.weights = torch.ones(self.schema.channels, device=self.device)
        for feature in self.schema.real:
            self.weights[self.schema.spans[feature.name]] = config.real_weight
        self.epoch = self.batch = self.step = 0  # whole epochs; batches of the epoch in hand; generator steps in all
        self.rate = config.learning_rate
        self.rows: list[dict[str, float]] = []
        # Of all training patients: a hash, and what the losses compare with
        self.data: str | None = None
        self.target: Tensor | None = None  # correlations
        self.moments: RealMoments | None = None
        self.summaries: Summaries | None = None

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

    def _accept(self, x: Tensor) -> Tensor:
        """Refuse what is not the encoded cohort of this run; note what the losses compare with."""
        expected = (self.schema.length, self.schema.channels)
        if not isinstance(x, Tensor) or x.ndim != 3 or tuple(x.shape[1:]) != expected:
            got = tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
            raise ValueError(f"x must be the encoder's tensor (patients, {expected[0]}, {expected[1]}), not {got}")
        if len(x) < 2:
            raise ValueError(f"training needs at least 2 patients, not {len(x)}")
        if not torch.isfinite(x).all():
            raise ValueError("x holds values that are not finite; encode the table with the trainer's encoder")
        found = hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        if self.data not in (None, found):
            raise ValueError(
                "these are not the patients that this model was trained on so far: pass the same encoded table (same "
                "rows, same split), or start a new Trainer"
            )
        self.data, x, lengths = found, x.to(self.device, torch.float32), self.config.lengths_for(self.schema.length)
        if self.target is None:
            self.target = correlation_matrix(x)
            if self.config.start == "margins":
                start_at(self.generator, x)
                if self.average is not None:
                    self.average.load_state_dict(self.generator.state_dict())
        if self.config.moment_weight and self.moments is None:
            self.moments = RealMoments(x, self.schema, lengths)
        if self.config.summary_weight and self.summaries is None:
            self.summaries = Summaries(x, self.schema, lengths)
        return x

    # --- on disk ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write all that a bitwise resume needs; :meth:`load` reads it, and so does :meth:`Synthesizer.load`.

        Raises:
            TrainingStopped: where a weight, or what an optimiser remembers, is not finite; an older file stays.
            OSError: naming the file, where it cannot be written.
        """
        if self.peers.rank > 0:  # of several processes, which hold the same, the first one writes
            return
        networks = {name: network.state_dict() for name, network in self.networks().items()}
        optimisers = {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        held = {f"{name}.{key}": value for name, state in networks.items() for key, value in state.items()}
        for name, optimiser in optimisers.items():  # a square that overflows stops Adam for good, without a word
            for number, state in optimiser["state"].items():
                held |= {f"{name}'s optimiser: {key} of weight {number}": value for key, value in state.items()}
        name = not_finite(held)
        if name is not None:
            raise TrainingStopped(
                f"{name} is no longer finite at step {self.step}: not written to {path}. A lower learning_rate usually "
                "helps."
            )
        columns = self.rows[0] if self.rows else ()
        state = {
            **self.synthesizer().state(),
            "kind": "trainer",
            "networks": networks,
            "optimisers": optimisers,
            "random": self.random.get_state(),
            "position": [self.epoch, self.batch, self.step],
            "target": self.target,
            "data": self.data,
            "history": {c: torch.tensor([row[c] for row in self.rows], dtype=torch.float64) for c in columns},
            "torch": [str(torch.__version__), torch.get_num_threads()],
        }
        save_checkpoint(path, state)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "auto", peers: Peers = ALONE) -> Any:
        """Take up a run where :meth:`save` left it.

        Raises:
            FileNotFoundError, ValueError: naming the file, where it is missing, damaged or not a trainer's.
        """
        state = load_checkpoint(path, "trainer")
        device = resolve_device(device)  # out here: what is wrong with it is not the file's fault
        with naming(path):
            self = cls(
                CohortEncoder.from_state(state["encoder"]), TrainConfig.from_dict(state["config"]), device, peers
            )
            for name, network in self.networks().items():
                network.load_state_dict(state["networks"][name])
                network.to(device)
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
            self.random.set_state(state["random"])
            self.epoch, self.batch, self.step = state["position"]
            self.target = None if state["target"] is None else state["target"].to(device)
            self.data = state["data"]
            history = {c: map(int, v.tolist()) if c in WHOLE else v.tolist() for c, v in state["history"].items()}
            self.rows = [dict(zip(history, row, strict=True)) for row in zip(*history.values(), strict=True)]
        if state["torch"] != [str(torch.__version__), torch.get_num_threads()]:
            log.info("%s was written by torch %s on %d threads: going on, but not bit for bit", path, *state["torch"])
        return self
