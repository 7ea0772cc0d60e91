"""Between two batches: show how far training is, ask the callbacks, and see whether it is to stop.

>>> stop = threading.Event()
>>> with between_batches(1, False, [lambda trainer, row: row['step'] == 0], stop) as after_batch:
...     after_batch(None, {'step': 0, 'wasserstein': 0.1, 'correlation_loss': 0.2}, 'epoch 1')
>>> stop.is_set()
True
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

with warnings.catch_warnings():  # without ipywidgets tqdm falls back to a text bar, which needs no warning
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

#: What the bar shows of a batch's row.
SHOWN = ("wasserstein", "correlation_loss")


@contextmanager
def between_batches(
    batches: int, show: bool, callbacks: Iterable[Callable], stop: threading.Event
) -> Iterator[Callable[[Any, dict[str, float], str], None]]:
    """Gives what is to be called after each batch: with the trainer, the batch's row, and where training stands.

    Args:
        batches: how many are left.
        show: whether there is a progress bar.
        callbacks: called with the trainer and the row; an answer of True, and no other, asks to stop.
        stop: set where a callback asks to stop.
    """
    callbacks = list(callbacks)
    with tqdm(total=batches, unit="batch", disable=not show) as bar:

        def after_batch(trainer: Any, row: dict[str, float], where: str) -> None:
            bar.set_description(where, refresh=False)
            bar.set_postfix({name: f"{row[name]:.3f}" for name in SHOWN}, refresh=False)
            bar.update()
            for callback in callbacks:
                answer = callback(trainer, row)
                if isinstance(answer, (bool, np.bool_)) and answer:
                    stop.set()

        yield after_batch
