"""What lets a trainer go on as if it had never stopped: the same patients, and a file of all that training has changed.

>>> import hg_helpers as hg
>>> hg.Synthesizer.load(hg.data_folder() / "pretrained" / "v2.pt").config.latent_source
'buffer'
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..cohort.encoding import CohortEncoder
from ..runtime.checkpoint import load_checkpoint, naming, not_finite, save_checkpoint
from ..runtime.distributed import Peers
from ..runtime.environment import resolve_device
from .config import TrainConfig
from .heads import start_at
from .losses import RealMoments, Summaries, correlation_matrix

log = logging.getLogger("hg_helpers")


class TrainingStopped(RuntimeError):
    """A loss or a weight is no longer a finite number."""


def accept(trainer: Any, x: Tensor) -> Tensor:
    """Refuse what is not the encoded cohort of this run; note in the trainer what the losses compare with."""
    schema, config, lengths = trainer.schema, trainer.config, trainer.config.lengths_for(trainer.schema.length)
    if not isinstance(x, Tensor) or x.ndim != 3 or tuple(x.shape[1:]) != (schema.length, schema.channels):
        got = tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"x must be the encoder's tensor (patients, {schema.length}, {schema.channels}), not {got}")
    if len(x) < 2:
        raise ValueError(f"training needs at least 2 patients, not {len(x)}")
    if not torch.isfinite(x).all():
        raise ValueError("x holds values that are not finite; encode the table with the trainer's encoder")
    found = hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    if trainer.data not in (None, found):
        remedy = "pass the same encoded table (same rows, same split), or start a new Trainer"
        raise ValueError(f"these are not the patients that this model was trained on so far: {remedy}")
    trainer.data, x = found, x.to(trainer.device, torch.float32)
    if trainer.target is None:
        trainer.target = correlation_matrix(x)
        if config.start == "margins":
            start_at(trainer.generator, x)
            if trainer.average is not None:
                trainer.average.load_state_dict(trainer.generator.state_dict())
    if config.moment_weight and trainer.moments is None:
        trainer.moments = RealMoments(x, schema, lengths)
    if config.summary_weight and trainer.summaries is None:
        trainer.summaries = Summaries(x, schema, lengths, config.switch_response)
    return x


def save(trainer: Any, path: str | Path, synthesizer: Any) -> None:
    if trainer.peers.rank > 0:  # of several processes, which hold the same, the first one writes
        return
    networks = {name: network.state_dict() for name, network in trainer.networks().items()}
    optimisers = {name: optimiser.state_dict() for name, optimiser in trainer.optimisers.items()}
    held = {f"{name}.{key}": value for name, state in networks.items() for key, value in state.items()}
    for name, optimiser in optimisers.items():  # a square that overflows stops Adam for good, without a word
        for number, state in optimiser["state"].items():
            held |= {f"{name}'s optimiser: {key} of weight {number}": value for key, value in state.items()}
    if (name := not_finite(held)) is not None:
        why = f"{name} is no longer finite at step {trainer.step}: not written to {path}."
        raise TrainingStopped(f"{why} A lower learning_rate usually helps.")
    state = synthesizer.state() | {"kind": "trainer", "networks": networks, "optimisers": optimisers}
    state |= {"random": trainer.random.get_state(), "position": [trainer.epoch, trainer.batch, trainer.step]}
    state |= {"target": trainer.target, "data": trainer.data}
    state["history"] = {c: torch.tensor(v.tolist(), dtype=torch.float64) for c, v in trainer.history.items()}
    state["torch"] = [str(torch.__version__), torch.get_num_threads()]
    save_checkpoint(path, state)


def load(kind: type, path: str | Path, device: str | torch.device, peers: Peers) -> Any:
    state = load_checkpoint(path, "trainer")
    device = resolve_device(device)  # out here: what is wrong with it is not the file's fault
    with naming(path):
        encoder, config = CohortEncoder.from_state(state["encoder"]), TrainConfig(**state["config"])
        trainer = kind(encoder, config, device, peers)
        for name, network in trainer.networks().items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in trainer.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        trainer.random.set_state(state["random"])
        trainer.epoch, trainer.batch, trainer.step = state["position"]
        trainer.target = None if state["target"] is None else state["target"].to(device)
        trainer.data = state["data"]
        history = pd.DataFrame({column: values.numpy() for column, values in state["history"].items()})
        whole = {column: int for column in ("step", "epoch", "length") if column in history}
        trainer.rows = history.astype(whole).to_dict("records")
    if state["torch"] != [str(torch.__version__), torch.get_num_threads()]:
        log.info("%s was written by torch %s on %d threads: going on, but not bit for bit", path, *state["torch"])
    return trainer
