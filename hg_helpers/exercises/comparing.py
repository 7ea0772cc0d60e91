"""Reads what came back of an answer: as numbers, held against those expected, as a kind of mistake, and in words.

>>> kind_of_mistake([np.array([-6.0]), np.array([2.0, 4])], [np.array([6.0]), np.array([-2.0, -4])])
'the sign is turned round.'
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn


@dataclass
class Outcome:
    """What came of one call. `traces` are the global random numbers afterwards."""

    value: Any = None
    error: BaseException | None = None
    line: str = ""
    printed: str = ""
    traces: tuple = ()


# --- comparing --------------------------------------------------------------------------------------------------------


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
    finite = np.abs(expected[np.isfinite(expected)])
    absolute = tolerance / 30 * max(1.0, finite.max(initial=0))
    return bool(np.allclose(answer.ravel(), expected.ravel(), tolerance, absolute, equal_nan=True))


def agree(a: Outcome, b: Outcome, flat: bool = False) -> bool:
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error)
    one, two = numbers(a.value), numbers(b.value)
    if one is None or two is None or one.size != two.size:
        return False
    return same(one.ravel(), two.ravel()) if flat else same(one, two)


agree_but_for_shape = functools.partial(agree, flat=True)

# --- kinds of mistakes ------------------------------------------------------------------------------------------------

_SHAPE = "the numbers are right, the shape is not:"
_AXES = [
    (getattr(np, name), k, f"axis {k} is {word}; it is to be kept.")
    for name, word in (("sum", "added up"), ("mean", "averaged"))
    for k in range(3)
]
#: Mistakes that any answer can have: from the expected numbers to the wrong ones.
UNIVERSAL: list[tuple[Callable, str]] = [
    (lambda e: -e, "the sign is turned round."),
    (lambda e: e.T, "the numbers are right, the axes have changed places."),
    (lambda e: e.squeeze(), f"{_SHAPE} an axis of length 1 is missing (keepdim)."),
    (lambda e: e[None], f"{_SHAPE} there is an axis too many."),
    (lambda e: e[..., None], f"{_SHAPE} there is an axis too many."),
    (lambda e: e.ravel(), f"{_SHAPE} the axes are lost."),
    (lambda e: e[::-1], "the numbers are right, in reverse order."),
    (lambda e: np.sort(e.ravel()), "the numbers are right, but sorted by size; keep their order."),
    (lambda e: e.sum(), "everything is added up to one number; it is to be kept apart."),
    (lambda e: e.mean(), "everything is averaged to one number; it is to be kept apart."),
    (lambda e: e[0], "only the first comes back: is `return` inside the loop, or a part not returned?"),
    (lambda e: e[-1], "only the last comes back: collect all of them."),
    (lambda e: e[:-1], "the last one is missing."),
    (lambda e: e[1:], "the first one is missing."),
    *((lambda e, k=k: np.round(e, k), "the numbers are rounded; return them as they are.") for k in range(4)),
    (lambda e: e**2, "these are the squares: a root is missing, or a square too many."),
    (lambda e: np.sqrt(e), "these are the roots: a square is missing, or a root too many."),
    (lambda e: np.abs(e), "the sign is lost."),
    (lambda e: np.exp(e), "these are the exponentials: a logarithm is missing, or exp too many."),
    (lambda e: np.log(e), "these are the logarithms: exp is missing, or a logarithm too many."),
    (lambda e: 1 - e, "this is 1 minus what is asked for."),
    (lambda e: 1 / e, "this is 1 divided by what is asked for."),
    *((lambda e, k=k, of=of: of(e, k), sentence) for of, k, sentence in _AXES),
]
#: Mistakes that any answer can have with one of its arguments: the right answer to another argument comes back.
ENTERS: list[tuple[Callable, str]] = [
    (lambda a: -a, "the sign of `{}` is turned round: added or subtracted, times or divided?"),
    (lambda a: ~a, "`{}` is the wrong way round (True for False)."),
    (lambda a: a**2, "`{}` is squared, and should not be."),
    (lambda a: abs(a) ** 0.5, "a root of `{}` is too many, or a square is missing."),
    (lambda a: 1 / a, "`{}` divides where it should multiply, or the other way round."),
    (lambda a: np.exp(a), "exp of `{}` stands where `{}` itself should."),
    (lambda a: np.log(a), "the logarithm of `{}` stands where `{}` itself should, or exp is missing."),
    (lambda a: 2 * a, "`{}` counts twice, or a half is missing."),
    (lambda a: a / 2, "`{}` counts half."),
    (lambda a: a + 1, "`{}` counts as one more: is it > or >=?"),
    (lambda a: a - 1, "`{}` counts as one less: is it > or >=?"),
    (lambda a: a * 0 + a.mean(), "`{}` is averaged first; take each of its numbers."),
]


def _quietly(transform: Callable, value: Any) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")  # not each kind of mistake is possible for each value
        return transform(value)
    return None


def kind_of_mistake(answers: list[np.ndarray], wanted: list[np.ndarray]) -> str | None:
    """The kind of mistake that any answer can have, from the numbers that came back and those expected."""
    off = [i for i, e in enumerate(wanted) if not same(answers[i], e)]
    for everywhere, (transform, sentence) in itertools.product((True, False), UNIVERSAL):
        changed = [None if (c := _quietly(transform, e)) is None else np.asarray(c, dtype=float) for e in wanted]
        differ = [i for i, e in enumerate(wanted) if changed[i] is None or not same(changed[i], e)]
        explained = range(len(wanted)) if everywhere else differ
        if differ and all(changed[i] is not None and same(answers[i], changed[i]) for i in explained):
            return sentence
    if len(wanted) > 1 and all(same(a, answers[0]) for a in answers):
        return "the same answer comes back whatever is given; compute it from what is given."
    if any(not np.isfinite(answers[i]).all() and np.isfinite(wanted[i]).all() for i in off):
        return "NaN or infinity comes back."
    if all((answers[i] == answers[i].round()).all() and (wanted[i] != wanted[i].round()).any() for i in off):
        return "whole numbers come back: is it //, int() or a comparison?"
    if all(answers[i].shape != wanted[i].shape for i in off):
        return f"the shape is {answers[off[0]].shape} and should be {wanted[off[0]].shape}."
    if all(e.size > 1 and same(np.sort(a, None), np.sort(e, None)) for a, e in zip(answers, wanted, strict=True)):
        return "the numbers are right, but they stand in the wrong places."
    return _factor([answers[i] for i in off], [wanted[i] for i in off])


def _factor(answers: list[np.ndarray], wanted: list[np.ndarray]) -> str | None:
    """Whether everything is too large by a factor, or off by an amount, that is equal in all cases."""
    got, want = (np.concatenate([part.ravel() for part in parts]) for parts in (answers, wanted))
    if len(got) != len(want) or len(got) < 3 or np.ptp(want) < 1e-6:
        return None
    with np.errstate(all="ignore"):
        ratio, step = (got / want)[np.abs(want) > 1e-6], got - want
        medians = [np.median(a.ravel() / e.ravel()) for a, e in zip(answers, wanted, strict=True) if a.shape == e.shape]
        inverse = np.divide(1, medians)
    if np.allclose(ratio, ratio[0], 1e-3, 1e-6) and (np.abs(got[np.abs(want) <= 1e-6]) < 1e-6).all():
        return f"everything is {ratio[0]:.4g} times what it should be: a factor is missing, or one too many."
    if np.allclose(step, step[0], 1e-4, 1e-4):
        return f"everything is off by {step[0]:+.4g}: something is not subtracted or added."
    for factors, words in ((medians, "a sum stands where a mean belongs"), (inverse, "a mean stands where a sum does")):
        if len(factors) > 2 and np.allclose(factors, np.round(factors), 1e-3) and min(factors) > 0.99:
            return f"{words}: a number of values is not divided by, or divided by too often."
    return None


def altered(enters: Callable, argument: Any) -> Any:
    """What an argument may have been mistaken for; itself where it has no numbers."""
    changed = _quietly(enters, argument) if isinstance(argument, (np.ndarray, Tensor, int, float)) else argument
    return argument if changed is None else changed


def moved(argument: Any, others: list) -> Any:
    """Another value that an argument might have: its own numbers elsewhere, or what another case gives."""
    if isinstance(argument, (np.ndarray, Tensor)):
        return np.roll(argument, 1) if isinstance(argument, np.ndarray) else argument.roll(1)
    return next((o for o in others if isinstance(o, (int, float, str)) and o != argument), argument)


# --- showing ----------------------------------------------------------------------------------------------------------

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


def no_numbers(value: Any) -> str:
    kind = type(value).__name__
    told = [advice for kinds, advice in KINDS.items() if isinstance(value, kinds)]
    return f"a {kind} comes back{f'; {told[0]}' if told else ', which cannot be read as numbers in one shape'}."


def one_line(text: Any, most: int = 160) -> str:
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
    if isinstance(value, nn.Module) or callable(value) or isinstance(value, torch.Generator):
        return type(value).__name__ if not isinstance(value, types.FunctionType) else value.__name__
    array = None if isinstance(value, bool) else numbers(value)
    if array is None:
        return one_line(repr(value) if isinstance(value, (str, bytes, list, tuple, dict)) else value, most)
    text = one_line(np.array2string(array, separator=", ", threshold=most, formatter={"float": "{:.4g}".format}), most)
    return f"{text}  shape {array.shape}" if array.ndim > 1 else text


def shown_all(names: list[str], arguments: tuple) -> str:
    return ", ".join(f"{name} = {shown(value)}" for name, value in zip(names, arguments, strict=True))
