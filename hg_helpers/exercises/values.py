"""Values that come back of an answer: read as numbers, compared, and shown in few characters.

>>> shown(numbers([torch.ones(2), [1 / 3, 2e7]]))
'[[1, 1], [0.3333, 2e+07]]  shape (2, 2)'
"""

from __future__ import annotations

import types
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
    (list, tuple): "its parts have different shapes, or are no numbers; join them into one",
    (nn.Module,): "that is a network; return what it computes",
}


def numbers(value: Any) -> np.ndarray | None:
    """Anything that holds numbers in one shape as float64: lists of tensors too; text, dates and sets are none."""
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu().double().numpy()
        elif isinstance(value, (list, tuple)) and any(isinstance(v, (list, tuple, Tensor, pd.Series)) for v in value):
            parts = [numbers(part) for part in value]
            value = None if any(part is None for part in parts) else np.stack(parts)
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
    text = one_line(np.array2string(array, separator=", ", threshold=most, formatter={"float": "{:.4g}".format}), most)
    return f"{text}  shape {array.shape}" if array.ndim > 1 else text


def shown_all(names: list[str], arguments: tuple) -> str:
    """All arguments of a call, each with its name."""
    return ", ".join(f"{name} = {shown(value)}" for name, value in zip(names, arguments, strict=True))
