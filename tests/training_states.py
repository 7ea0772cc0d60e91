"""Two trainers, or two checkpoints, compared to the last bit."""

from pathlib import Path

import torch

from hg_helpers.model.training import Trainer
from hg_helpers.runtime.checkpoint import load_checkpoint

MODELS = ["v1", "v2", "v2_plus"]
PER_EPOCH = 6  # batches: 40 patients in batches of at most 16, at lengths 3 and 6


def weights(network) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def same(before: list[torch.Tensor], network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def everything(trainer_or_path, folder=None) -> dict:
    """All that a checkpoint holds, but for how long the batches took."""
    path = trainer_or_path
    if isinstance(path, Trainer):
        path = Path(folder) / "compared.pt"
        trainer_or_path.save(path)
    state = load_checkpoint(path, "trainer")
    state["history"].pop("seconds", None)
    return state


def assert_equal(one, other, where="state") -> None:
    """Equal to the last bit, all the way down."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{k}]")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    else:
        assert one == other, where
