"""Requests to stop (Ctrl-C, a notebook's stop button, SIGTERM, SIGHUP), kept until the batch in hand is done.

>>> with stop_requested() as stop:
...     signal.raise_signal(signal.SIGINT)  # what Ctrl-C does
...     stop.is_set()
True
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: How a process is asked to end: by a batch scheduler or a shutdown, and by a terminal that is closed (not on Windows).
ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request that the loop honours between two batches.

    A second Ctrl-C stops at once. SIGTERM and SIGHUP are passed on after a block that ended without an error: the
    process then ends as it would have, or does what its own handler says. `nohup` stays in force.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDINGS)}
    for number in [n for n in ENDINGS if before[n] in (signal.SIG_IGN, None)]:
        del before[number]  # ignored on purpose, or not Python's to put back
    passed_on: list[int] = []

    def ask(number: int, _: Any) -> None:
        if number in ENDINGS:  # several may come, of a scheduler to the whole group and of a launcher to its own
            passed_on.append(number)
        elif stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if passed_on:
        signal.raise_signal(passed_on[0])
