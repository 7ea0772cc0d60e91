"""Between two batches: show how far training is, ask the callbacks, and see whether it is to stop.

Requests to stop (Ctrl-C, a notebook's stop button, SIGTERM, SIGHUP) are kept until the batch in hand is done.

>>> row = {'epoch': 1, 'length': 60, 'wasserstein': 0.1, 'correlation_loss': 0.2}
>>> with between_batches(batches=1, epochs=1, show=False) as (stop, to_stop):
...     signal.raise_signal(signal.SIGINT)  # what Ctrl-C does
...     to_stop('the trainer', row)
True
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

with warnings.catch_warnings():  # without ipywidgets tqdm falls back to a text bar, which needs no warning
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

#: How a process is asked to end: by a batch scheduler or a shutdown, and by a terminal that is closed (not on Windows).
ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


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
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield stop
        return

    def ask(number: int, _: Any) -> None:
        if number in ENDINGS:  # several may come, of a scheduler to the whole group and of a launcher to its own
            passed_on.append(number)
        elif stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    # others are ignored on purpose, or not Python's to put back
    caught = [number for number in ENDINGS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *caught)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if passed_on:
        signal.raise_signal(passed_on[0])
