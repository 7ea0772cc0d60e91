"""How the exercises of notebooks 2 to 5 are judged until they are moved to :mod:`.judging`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def verdict(problem: str | None, praise: str) -> bool:
    """Print what an answer is worth; True where it is right.

    Args:
        problem: what is wrong and where to look, or None.
        praise: what a right answer shows.
    """
    print(f"Right: {praise}" if problem is None else f"Not yet: {problem}")
    return problem is None


def same(answer: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    """Whether two numbers, lists, arrays or tensors have one shape and agree to a tolerance, NaN to NaN."""
    got, want = _numbers(answer), _numbers(expected)
    return got is not None and got.shape == want.shape and np.allclose(got, want, tolerance, tolerance, equal_nan=True)


def unanswered(answer: Any) -> str | None:
    """The message for a stub that was left as it was."""
    if answer is None or answer is Ellipsis:
        return "nothing has been filled in yet; replace the `...` and run the cell again."
    return None


def mistake(answer: Any, mistakes: Iterable[tuple[Any, str]], otherwise: str) -> str:
    """The message of the first known wrong answer that this one equals, else a general one."""
    for wrong, message in mistakes:
        if same(answer, wrong):
            return message
    return otherwise


def _numbers(value: Any) -> np.ndarray | None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError, RuntimeError):  # words, ragged rows, lists of tensors: comparable with nothing
        return None
