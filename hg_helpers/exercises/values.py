"""Values that come back of an answer, or were guessed: read as numbers, compared, converted, and shown in few words."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

#: What else than numbers may come back, and what to do about it.
KINDS = {
    (types.GeneratorType, map, zip, filter): "it gives its numbers only later (yield, map, zip); make a list of it",
    (types.CoroutineType,): "leave out `async`",
    (type, types.FunctionType, types.MethodType, types.BuiltinFunctionType): "is it to be called, with ( )?",
    (str, bytes): "that is text, not numbers",
    (dict,): "return its values in order, without their names",
    (set, frozenset): "a set has no order and drops repeats; return a list",
    (np.ndarray,): "it holds text, or parts of different shapes; numbers are asked for",
    (list, tuple): "its parts have different shapes, or are no numbers; one array of numbers is asked for",
    (nn.Module,): "that is a network; return what it computes",
}


def numbers(value: Any) -> np.ndarray | None:
    """Anything that holds numbers in one shape as float64: lists of tensors too; text, dates and sets are none."""
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu().double().numpy()
        elif isinstance(value, (list, tuple)) and any(isinstance(v, (list, tuple, Tensor, pd.Series)) for v in value):
            value = np.stack([numbers(part) for part in value])  # a part without numbers cannot be stacked
        elif isinstance(value, (dict, set, frozenset, str, bytes)):
            return None
        array = np.asarray(value)
        if array.dtype.kind == "O" and array.ndim and not any(isinstance(v, (str, bytes)) for v in array.flat):
            array = np.asarray(array.tolist())
        return array.astype(float) if array.dtype.kind in "biuf" else None
    except Exception:  # ragged, hostile or endless: no numbers
        return None


def same(answer: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> bool:
    """One shape, () and (1,) being one; and values that agree to rounding in float32, NaN to NaN."""
    if answer.shape != expected.shape and not {answer.shape, expected.shape} <= {(), (1,)}:
        return False
    absolute = tolerance / 30 * max(1.0, np.abs(expected[np.isfinite(expected)]).max(initial=0))
    return bool(np.allclose(answer.ravel(), expected.ravel(), tolerance, absolute, equal_nan=True))


def no_numbers(value: Any) -> str:
    """What came back instead of numbers, and what to do about it."""
    told = [advice for kinds, advice in KINDS.items() if isinstance(value, kinds)]
    advice = f"; {told[0]}" if told else ", which cannot be read as numbers in one shape"
    return f"a {type(value).__name__} comes back{advice}."


def unfilled(value: Any) -> bool:
    """Whether a `...` still stands in an answer, or in a part of it."""
    return value is ... or (isinstance(value, (tuple, list)) and any(map(unfilled, value)))


def one_line(text: Any, most: int = 160) -> str:
    """Anything in one line of at most so many characters."""
    try:
        line = " ".join(str(text).split())
    except Exception:  # an object that cannot even be printed
        line = type(text).__name__
    return line if len(line) <= most else f"{line[:most]}..."


def shown(value: Any, most: int = 120) -> str:
    """A value short enough to be read: few digits, and the shape where there are several axes."""
    if isinstance(value, pd.DataFrame):
        columns = "; ".join(f"{name} {shown(part.tolist(), 50)}" for name, part in value.items())
        return one_line(f"table of {len(value)} rows ({columns})", 2 * most)
    if callable(value) or isinstance(value, torch.Generator):  # a network too
        return value.__name__ if isinstance(value, types.FunctionType) else type(value).__name__
    array = None if isinstance(value, bool) else numbers(value)
    if array is None:
        return one_line(repr(value) if isinstance(value, (str, bytes, list, tuple, dict)) else value, most)
    text = one_line(np.array2string(array, separator=", ", threshold=most, formatter={"float": "{:.5g}".format}), most)
    return f"{text}  shape {array.shape}" if array.ndim > 1 else text


def shown_all(names: list[str], arguments: tuple) -> str:
    """All arguments of a call, each with its name."""
    return ", ".join(f"{name} = {shown(value)}" for name, value in zip(names, arguments, strict=True))


def returning_like(function: Callable, like: Any) -> Callable:
    """The function, with results of the type that the package gives: tensors, arrays, lists or numbers."""

    def cast(value: Any, like: Any) -> Any:
        if isinstance(like, tuple):
            return tuple(cast(part, each) for part, each in zip(value, like, strict=True))
        if isinstance(value, type(like)):
            return value
        if isinstance(like, Tensor):
            return torch.as_tensor(numbers(value)).to(like.dtype)
        values = numbers(value).astype(np.asarray(like).dtype)
        return values if isinstance(like, np.ndarray) else values.tolist()

    return functools.wraps(function)(lambda *arguments, **named: cast(function(*arguments, **named), like))


def predicted(guess: Any, happened: Any, near: float = 0.2) -> None:
    """Print what a guess was worth.

    A number is about right within ``near`` of what happened, as a share of it; a list is compared place by place; words
    are compared without regard to capitals, and ``"yes"`` and ``"no"`` may stand for True and False.
    """
    if guess is None or guess is ...:
        print("You have not guessed. Write a guess into the cell above, run it, and come back:", end=" ")
        print("a surprise is what one remembers.")
    elif isinstance(happened, (list, tuple)):
        said, is_ = ([str(part) for part in parts] for parts in (guess, happened))
        right = sum(one.strip().lower() == two.lower() for one, two in zip(said, is_, strict=False))
        print(f"You said {', '.join(said)}; it is {', '.join(is_)}: {right} of {len(is_)} in the right place.")
    elif isinstance(happened, (bool, str)):
        said, is_ = (("no", "yes")[part] if isinstance(part, bool) else str(part).strip() for part in (guess, happened))
        print(f"You said {said}, and {'so it is' if said.lower() == is_.lower() else f'it is {is_}'}.")
    else:
        off = float(guess) - float(happened)
        verdict = "about right" if abs(off) <= near * abs(happened) else "too high" if off > 0 else "too low"
        print(f"You said {float(guess):.3g}, and it is {float(happened):.3g}: {verdict}.")
