"""Seeds, devices and memory.

>>> torch.equal(torch.rand(2, generator=seed_everything(3)), torch.rand(2, generator=seed_everything(3)))
True
"""

from __future__ import annotations

import ctypes
import os
import platform
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from .checks import whole_number

#: Held while weights are drawn, which torch's layers take from the one generator of all threads.
_DRAWING = threading.RLock()
#: glibc's numbers for mallopt, from malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python's, numpy's and torch's global generators, and return a CPU generator of torch with the same seed.

    For a learner's own cells; the package itself draws only from generators and seeds that it is given.
    """
    seed = whole_number("seed", seed, 0, 2**32 - 1)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block layers have this seed's weights, in any thread; torch's global generator is left as it was."""
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def torch_as_we_mean_it() -> Iterator[None]:
    """Within the block torch computes as the package expects, whatever its caller has set, which then holds again.

    Numbers and networks are float32 and on the CPU unless said otherwise, derivatives are taken, and autocast is off.
    """
    with ExitStack() as stack, torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_autocast_enabled():  # CUDA's
            stack.enter_context(torch.autocast("cuda", enabled=False))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        yield


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device to compute on; a ValueError names those that exist here.

    ``"auto"`` is CUDA where there is one, else the CPU. Apple's MPS is used only when asked for: resuming bit for bit
    is promised on the CPU alone.
    """
    here = available_devices()
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if "cuda" in here else "cpu")
    advice = f"use 'auto' or one of: {', '.join(here)}"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{device!r} is not a device; {advice}") from error
    if resolved.type not in here or (resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"device '{resolved}' is not available here; {advice}")
    return resolved


def available_devices() -> list[str]:
    """Device types that this machine and this build of torch can use."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, here in there.items() if here]


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, freed memory is not given back to the system; at its end it is.

    glibc asks the system for each large tensor anew and gives it back at once; that the system clears it, page by page,
    takes a quarter of a training step at the published size. Where another allocator is at work (macOS, Windows, Alpine
    Linux), or the user has set glibc's by ``MALLOC_...`` variables, nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:  # to where glibc's own adjustment leads in a process that has freed large tensors
        for parameter, value in ((MMAP_MAX, 65536), (MMAP_THRESHOLD, 2**25), (TRIM_THRESHOLD, 2**26)):
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
