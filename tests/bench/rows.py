"""What the bench times: each side of each row, for one fresh process at a time."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import hg_helpers as hg
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model import networks
from hg_helpers.model.training import Trainer
from hg_helpers.runtime.fast_lstm import bilstm

from .reference import PlainTrainer, plain

#: What each row is, in words; ``small`` shrinks it to something for the tests.
ROWS = {
    "v1 epoch": "v1, published: 300 patients, batch 256, hidden and latent 128, lengths 10 to 60",
    "v2 epoch": "v2, published, the same patients",
    "workshop epoch": "v2_plus, workshop preset, 300 patients",
    "sampling": "8,916 patients x 60 months to a DataFrame, v2_plus of width 128",
    "encoding": "load_cohort and encode 8,916 patients in the public layout, 534,960 rows; beside it pandas' bare read",
}


class Arithmetic(TorchDispatchMode):
    """Counts the floating point operations of matrix products, 2 n m k each, where torch shows them.

    torch's own counter also follows modules, by hooks that the gradient penalty's inner derivative cannot cross.
    """

    flop = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        count = flop_registry.get(operation.overloadpacket)
        if count is not None:
            self.flop += count(*args, **(kwargs or {}), out_val=result)
        return result


def measure(row: str, side: str, small: bool, threads: int, device: str, table: str) -> dict[str, float]:
    """Time one side of a row; meant for a process of its own, whose memory is the row's.

    Args:
        row: a key of ``ROWS``.
        side: ``"ours"``, ``"reference"``, or ``"flop"`` (arithmetic of a training row, ours, not timed).
        table: CSV of the row ``"encoding"``.

    Returns:
        ``seconds``, ``gib`` (peak memory of the process, with Python and torch in it), and for a training row's
        ``"flop"`` side ``flop``.
    """
    torch.set_num_threads(threads)
    if row == "sampling":
        work = _sampling(side, small, device)
    elif row == "encoding":
        work = _encoding(side, table)
    else:
        work = _epoch(row, side, small, device)
        if side == "flop":
            networks.bilstm = _shown_lstm  # in this process
            with Arithmetic() as counted:
                work()
            return {"flop": float(counted.flop)}
    _finish(device)
    started = time.perf_counter()
    work()
    _finish(device)
    return {"seconds": time.perf_counter() - started, "gib": peak_memory()}


def _shown_lstm(x: torch.Tensor, *weights: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The LSTM whose derivatives are written out, always: torch's own hides its products from the count."""
    with torch.enable_grad():
        return bilstm(x, *weights[:3], twice=True, training=False)


def matmul_rate(threads: int, device: str, size: int = 1024) -> float:
    """Floating point operations a second of this machine's float32 matrix product, best of ten."""
    torch.set_num_threads(threads)
    a = torch.rand(size, size, device=device)
    best = float("inf")
    for _ in range(12):
        _finish(device)
        started = time.perf_counter()
        for _ in range(5):
            a @ a
        _finish(device)
        best = min(best, time.perf_counter() - started)
    return 10 * size**3 / best


def trainer(row: str, side: str, small: bool = False, device: str = "cpu") -> tuple[Trainer, torch.Tensor]:
    """A trainer of either side, at its first step, and the patients of an epoch."""
    cohort = simulate_cohort(12 if small else 300, seed=0)
    encoder = hg.CohortEncoder(hg.ART_DEMO).fit(cohort)
    model, preset = {"v1": ("v1", "published"), "v2": ("v2", "published"), "workshop": ("v2_plus", "workshop")}[
        row.split()[0]
    ]
    changes = {"hidden": 8, "latent": 8, "lengths": (4,), "batch_size": 8} if small else {}
    config = getattr(hg.TrainConfig, model)(preset=preset, **changes)
    kind = PlainTrainer if side == "reference" else Trainer
    return kind(encoder, config, device=device), encoder.transform(cohort)


def loss_difference(row: str, small: bool, threads: int, device: str) -> float:
    """Largest difference, relative to 1 + size, between both sides' losses over the first two batches."""
    torch.set_num_threads(threads)
    histories = []
    quiet, before = logging.getLogger("hg_helpers"), logging.getLogger("hg_helpers").level
    for side in ("ours", "reference"):
        run, x = trainer(row, side, small, device)
        # The bias of the score cancels out of the critic's loss: its gradient is rounding, which Adam blows up to a
        # whole step either way. It stays where it is.
        bias = [p for name, p in run.critic.score.named_parameters() if name.endswith("bias")][-1]
        (group,) = run.optimisers["critic"].param_groups
        group["params"] = [p for p in group["params"] if p is not bias]
        quiet.setLevel(logging.ERROR)  # it would say that training was stopped, as it should be
        run.fit(x, epochs=1, callbacks=[lambda t, _: t.step >= 2], progress=False)
        quiet.setLevel(before)
        histories.append(run.history.drop(columns="seconds"))
    ours, reference = histories
    return float(((ours - reference).abs() / (1 + reference.abs())).max().max())


def _epoch(row: str, side: str, small: bool, device: str) -> Callable[[], Any]:
    run, x = trainer(row, side, small, device)
    return lambda: run.fit(x, epochs=1, progress=False)


def _sampling(side: str, small: bool, device: str) -> Callable[[], Any]:
    run, x = trainer("workshop epoch", "ours", True, device)  # one that has prototypes; its width does not matter
    config = hg.TrainConfig.v2_plus()
    model = Trainer(run.encoder, config, device=device).synthesizer()
    model.source.update(torch.randn(len(x), 60, config.latent, generator=run.random), run.random)
    patients = 20 if small else 8916
    if side == "ours":
        return lambda: model.sample(patients, seed=0)
    plain(model.generator)

    def at_once() -> pd.DataFrame:
        draws = model.generator.draws(patients, 60, run.random).each(lambda drawn: drawn.to(device))
        made = model.generator(model.source.draw(patients, 60, run.random).to(device), draws)
        return model.encoder.inverse_transform(made.cpu())

    return torch.no_grad()(at_once)  # with its graph, as the earlier notebook did it, memory would be some 10 GB


def _encoding(side: str, table: str) -> Callable[[], Any]:
    if side == "reference":
        return lambda: pd.read_csv(table)

    def load_and_encode() -> None:
        cohort = hg.load_cohort(table, schema=hg.ART_FULL)
        hg.CohortEncoder(hg.ART_FULL).fit(cohort).transform(cohort)

    return load_and_encode


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def peak_memory() -> float:
    """Most memory this process has held so far, in GiB; NaN on Windows, where Python cannot tell."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent held into a new process's ru_maxrss
        return next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")) / 2**20
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
