"""How a trainer is written down, so that training goes on from there as if it had never stopped.

A checkpoint that training wrote holds all of it, in plain values and tensors:

>>> from hg_helpers.cohort.download import data_folder
>>> from hg_helpers.model.synthesizer import Synthesizer
>>> Synthesizer.load(data_folder() / "pretrained" / "v2.pt").config.latent_source
'buffer'
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cohort.schema import Schema
from ..runtime.checkpoint import not_finite, save_checkpoint

#: Columns of the history that hold whole numbers.
WHOLE = ("step", "epoch", "length")


class TrainingStopped(RuntimeError):
    """A loss or a weight is no longer a finite number."""


def save(trainer: Any, path: str | Path) -> None:
    """Write all that a bitwise resume needs; for what it raises, see :meth:`hg_helpers.Trainer.save`."""
    held = {}
    for name, network in trainer.networks().items():
        held |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    for name, optimiser in trainer.optimisers.items():  # a square that overflows stops Adam for good, without a word
        for number, state in optimiser.state_dict()["state"].items():
            held |= {f"{name}'s optimiser: {key} of weight {number}": value for key, value in state.items()}
    name = not_finite(held)
    if name is not None:
        raise TrainingStopped(
            f"{name} is no longer finite at step {trainer.step}: not written to {path}. A lower learning_rate usually "
            "helps."
        )
    rows = trainer.rows
    state = {
        **trainer.synthesizer().state(),
        "kind": "trainer",
        "networks": {name: network.state_dict() for name, network in trainer.networks().items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in trainer.optimisers.items()},
        "random": trainer.random.get_state(),
        "position": [trainer.epoch, trainer.batch, trainer.step],
        "target": trainer.target,
        "data": trainer.data,
        "history": {c: torch.tensor([row[c] for row in rows], dtype=torch.float64) for c in (rows[0] if rows else ())},
        "torch": [str(torch.__version__), torch.get_num_threads()],
    }
    save_checkpoint(path, state)


def restore(trainer: Any, state: dict[str, Any]) -> None:
    """Put a new trainer of the same configuration where :func:`save` found the old one."""
    for name, network in trainer.networks().items():
        network.load_state_dict(state["networks"][name])
        network.to(trainer.device)
    for name, optimiser in trainer.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    trainer.random.set_state(state["random"])
    trainer.epoch, trainer.batch, trainer.step = state["position"]
    trainer.target = None if state["target"] is None else state["target"].to(trainer.device)
    trainer.data = state["data"]
    history = {c: values.tolist() for c, values in state["history"].items()}
    for values in zip(*history.values(), strict=True):
        trainer.rows.append({c: int(v) if c in WHOLE else v for c, v in zip(history, values, strict=True)})


def fingerprint(x: Tensor, schema: Schema, before: str | None) -> str:
    """A hash of the encoded training patients, by which a resumed run knows them again.

    Args:
        before: the hash of the patients that were trained on so far, if any.

    Raises:
        ValueError: for what is no encoded cohort of this schema, or one of other patients than before.
    """
    expected = (schema.length, schema.channels)
    if not isinstance(x, Tensor) or x.ndim != 3 or tuple(x.shape[1:]) != expected:
        got = tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"x must be the encoder's tensor (patients, {expected[0]}, {expected[1]}), not {got}")
    if len(x) < 2:
        raise ValueError(f"training needs at least 2 patients, not {len(x)}")
    if not torch.isfinite(x).all():
        raise ValueError("x holds values that are not finite; encode the table with the trainer's encoder")
    found = hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    if before not in (None, found):
        raise ValueError(
            "these are not the patients that this model was trained on so far: pass the same encoded table (same "
            "rows, same split), or start a new Trainer"
        )
    return found
