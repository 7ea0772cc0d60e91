"""Training runs in processes of their own, one thread each: one progress bar, one way to stop, nobody left behind.

>>> leave_with_parent()  # a process that is nobody's child goes on
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

import torch
from tqdm import tqdm

log = logging.getLogger("hg_helpers")


def in_processes(
    work: Callable, runs: dict[Any, tuple], jobs: int, bar: tqdm, finished: Callable[[Hashable, Future], None]
) -> None:
    """Call ``work(*arguments)`` for each run, on one thread, so that no value depends on the number of processes.

    Args:
        work: a function of a module; it trains with :func:`callbacks` and ends with :func:`leave_with_parent`.
        runs: name and arguments of each, in the order in which they begin.
        jobs, bar: number of processes; progress, which goes on by one a batch.
        finished: called here with each run as it ends. What it raises, and Ctrl-C, ends the others after their batch.
    """
    spawn = multiprocessing.get_context("spawn")
    done, stop = spawn.Queue(), spawn.Event()
    pool = ProcessPoolExecutor(jobs, spawn, _begin, (done, stop))
    try:
        running = {pool.submit(work, *arguments): run for run, arguments in runs.items()}
        while running:
            for job in wait(running, 0.5, FIRST_COMPLETED).done:
                finished(running.pop(job), job)
            while not done.empty():
                bar.update(done.get())
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def callbacks() -> list[Callable[..., Any]]:
    """What a worker's training calls after each batch: count it, and end where the parent asks for that or is gone."""
    return [lambda *_: _done.put(1), lambda *_: _stop.is_set(), _parent_gone]


def leave_with_parent() -> None:
    """End the process where its parent was killed: the executor's would wait for the next task for ever."""
    if _parent_gone():
        os._exit(1)


def _parent_gone(*_: Any) -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _begin(done: Any, stop: Any) -> None:
    """One thread, errors only; Ctrl-C is for the parent, and for the training loop, which ends after its batch."""
    global _done, _stop
    _done, _stop = done, stop
    done.cancel_join_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    log.setLevel(logging.ERROR)
