"""How an exercise is written down: its inputs, and its wrong answers as edits of the right one.

>>> [case.arguments for case in each(lambda n: (n, n + 1), [(1,), (5,)])()]
[(1, 2), (5, 6)]
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from .values import numbers, one_line

#: Praise, task and mistakes of each exercise, and mistakes that any answer can have.
_TEXT = Path(__file__).with_name("words.yaml").read_text(encoding="utf-8")
WORDS = yaml.load(_TEXT, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the first is ten times faster


class Case(NamedTuple):
    """One input: its name in a message, the arguments, and whether gradients are compared on it."""

    label: str
    arguments: tuple
    gradient: bool = True


def each(make: Callable[..., tuple], sizes: Iterable[tuple]) -> Callable[[], list[Case]]:
    """Cases of many sizes: `make` turns each of them into the arguments, anew at each call."""
    return lambda: [Case(one_line(size, 60), make(*size)) for size in sizes]


def written(out: dict[str, tuple]) -> Callable[[], list[Case]]:
    """Cases written out: the name of each input and its arguments, in which lists stand for arrays."""

    def fresh(argument: Any) -> Any:
        return np.array(argument) if isinstance(argument, (list, np.ndarray)) else argument

    return lambda: [Case(label, tuple(map(fresh, arguments))) for label, arguments in out.items()]


def edited(right: Callable, edits: str) -> Callable:
    """The right answer with a mistake written into it, as a learner would write it.

    ``edits`` are ``old -> new`` for each piece of its body to be exchanged, with ``; `` between them; or an expression
    to be returned in place of its last line's, in which ``right`` is the right answer.
    """
    head, body = re.search(r"^def .*", inspect.getsource(right), re.DOTALL | re.MULTILINE)[0].split(":\n", 1)
    if " -> " not in edits:
        body = f"{body.rpartition('return ')[0]}return {edits}\n"
    for old, new in (edit.split(" -> ") for edit in edits.split("; ") if " -> " in edits):
        if old not in body:
            raise ValueError(f"{right.__name__} holds no {old!r}; write the edit {edits!r} anew")
        body = body.replace(old, new)
    made: dict[str, Any] = {}
    exec(f"{head}:\n{body}", {**right.__globals__, "right": right}, made)
    return made[right.__name__]


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
