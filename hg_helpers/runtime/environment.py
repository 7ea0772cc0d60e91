"""Seeds, devices and what a notebook sets up first.

>>> resolve_device('cpu')
device(type='cpu')
>>> torch.equal(torch.rand(2, generator=seed_everything(3)), torch.rand(2, generator=seed_everything(3)))
True
"""

from __future__ import annotations

import logging
import random
import sys

import numpy as np
import torch

from .checks import whole_number

log = logging.getLogger("hg_helpers")


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python's, numpy's and torch's global generators, and return a CPU generator of torch with the same seed.

    For a learner's own cells; the package itself draws only from generators and seeds that it is given.

    Raises:
        ValueError: for anything but a whole number from 0 to 2**32 - 1.
    """
    seed = whole_number("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device to compute on.

    Args:
        device: ``"auto"`` (CUDA where there is one, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or a
            torch.device. Apple's MPS is used only when asked for: resuming bit for bit is promised on the CPU alone.

    Raises:
        ValueError: for a device that does not exist here, naming those that do.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = available_devices()
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{device!r} is not a device; use 'auto' or one of: {', '.join(here)}") from error
    index = resolved.index or 0
    if resolved.type not in here or (resolved.type == "cuda" and index >= torch.cuda.device_count()):
        raise ValueError(f"device '{resolved}' is not available here; use 'auto' or one of: {', '.join(here)}")
    return resolved


def available_devices() -> list[str]:
    """Device types that this machine and this build of torch can use."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def setup(seed: int = 0) -> None:
    """Prepare a notebook: seed everything, and show the package's messages in the cell that causes them.

    Prints one line, the same on every machine; calling it again changes nothing but the seed.
    """
    seed_everything(seed)
    if not any(isinstance(handler, _CellHandler) for handler in log.handlers):
        log.addHandler(_CellHandler())
        log.propagate = False  # else a configured root logger would say everything twice
    log.setLevel(logging.INFO)
    sys.stdout.write(f"hg_helpers is ready (seed {seed})\n")


class _CellHandler(logging.Handler):
    """Writes to whatever ``sys.stdout`` is at the time: a notebook shows stderr as if it were an error."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")
