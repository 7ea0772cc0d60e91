"""What a run needs of its process: seeds, devices, memory, and requests to stop, kept until the batch in hand is done.

>>> row = {'epoch': 1, 'length': 60, 'wasserstein': 0.1, 'correlation_loss': 0.2}
>>> with between_batches(batches=1, epochs=1, show=False) as (stop, to_stop):
...     signal.raise_signal(signal.SIGINT)  # what Ctrl-C does
...     to_stop('the trainer', row)
True
"""

from __future__ import annotations

import ctypes
import os
import platform
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from .checks import whole_number

with warnings.catch_warnings():  # without ipywidgets tqdm falls back to a text bar, which needs no warning
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

#: Held while weights are drawn, which torch's layers take from the one generator of all threads.
_DRAWING = threading.RLock()
#: glibc's numbers for mallopt, from malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
#: How a process is asked to end: by a batch scheduler or a shutdown, and by a terminal that is closed (not on Windows).
ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python's, numpy's and torch's global generators, for one's own cells; returns a CPU generator so seeded."""
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
    """The device to compute on, with ``"auto"`` CUDA or else the CPU; a ValueError names those that exist here.

    Apple's MPS is used only when asked for: resuming bit for bit is promised on the CPU alone.
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
    """Within the block, freed memory is not given back to the system, whose clearing of each large tensor takes long.

    It is a quarter of a training step at the published size. Nothing is changed where the allocator is not glibc's (on
    macOS, Windows and Alpine Linux), or where the user has set that by ``MALLOC_...`` variables.
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


@contextmanager
def between_batches(
    batches: int, epochs: int, show: bool, callbacks: Iterable[Callable] = (), anywhere: Callable[[bool], bool] = bool
) -> Iterator[tuple[threading.Event, Callable[[Any, dict[str, Any]], bool]]]:
    """Gives a request to stop, and what is to be called after each batch with the trainer and the batch's row.

    So many ``batches`` are left, up to an epoch; ``show`` draws a progress bar. Callbacks get the trainer and the row;
    an answer of True, and no other, asks to stop. ``anywhere`` says whether it holds for any of several processes.
    """
    callbacks = list(callbacks)
    with _stop_requested() as stop, tqdm(total=batches, unit="batch", disable=not show) as bar:

        def to_stop(trainer: Any, row: dict[str, Any]) -> bool:
            bar.set_description(f"epoch {row['epoch']}/{epochs}, {row['length']} months", refresh=False)
            bar.set_postfix({n: f"{row[n]:.3f}" for n in ("wasserstein", "correlation_loss")}, refresh=False)
            bar.update()
            answers = [callback(trainer, row) for callback in callbacks]
            asked = any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)
            if anywhere(asked or stop.is_set()):
                stop.set()
            return stop.is_set()

        yield stop, to_stop


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request that the loop honours between two batches.

    A second Ctrl-C stops at once. SIGTERM and SIGHUP are passed on after a block that ended without an error: the
    process then ends as it would have, or does what its own handler says. `nohup` stays in force.
    """
    stop, passed_on = threading.Event(), []

    def ask(number: int, _: Any) -> None:
        if number in ENDINGS:  # several may come, of a scheduler to the whole group and of a launcher to its own
            passed_on.append(number)
        elif stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    main = threading.current_thread() is threading.main_thread()  # it alone may set signal handlers
    # others are ignored on purpose, or not Python's to put back
    caught = [number for number in ENDINGS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *caught) if main}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if passed_on:
        signal.raise_signal(passed_on[0])
