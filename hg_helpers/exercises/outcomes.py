"""What came of an answer: calls of it, held against those of the right one; and mistakes, of one exercise or of any."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor, nn

from .values import numbers, one_line, same

#: What stands in `words.yaml` of each exercise, and mistakes that any answer can have.
_TEXT = Path(__file__).with_name("words.yaml").read_text(encoding="utf-8")
WORDS = yaml.load(_TEXT, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the first is ten times faster


class Case(NamedTuple):
    """One input: its name in a message, the arguments, and whether gradients are compared on it."""

    label: str
    arguments: tuple
    gradient: bool = True


@dataclass
class Outcome:
    """What came of one call. `traces` are the global random numbers afterwards."""

    value: Any = None
    error: BaseException | None = None
    line: str = ""
    printed: str = ""
    traces: tuple = ()


#: What mistakes would have given, one outcome a case, each with the sentence that names it.
Wrong = list[tuple[list[Outcome], str]]


def run(function: Callable, arguments: tuple, seed: int = 0) -> Outcome:
    """Call a function with whatever it may do: raise, exit, print, warn, use the global random numbers."""
    outcome, printed = Outcome(), io.StringIO()
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), contextlib.redirect_stdout(printed), quiet():
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            outcome.value = function(*arguments)
        except (Exception, SystemExit) as error:  # whatever a learner's function raises is an answer too
            file = getattr(getattr(function, "__code__", None), "co_filename", None)
            lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
            outcome.error, outcome.line = error, (lines[-1] or "") if lines else ""
        now = np.random.get_state()
        outcome.traces = random.getstate(), (now[1].tobytes(), now[2]), torch.get_rng_state().numpy().tobytes()
    random.setstate(states[0])
    np.random.set_state(states[1])
    outcome.printed = printed.getvalue()
    return outcome


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warning about numbers that cannot be: not each kind of mistake is possible for each value."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def changed_by(used: Any, given: Any) -> str | None:
    """What a call has done to an argument; `{}` stands for its name."""
    if isinstance(given, nn.Module):
        if any(parameter.grad is not None for parameter in used.parameters()):
            return "calls backward() itself; return the loss, and leave the learning to whoever trains."
        pairs = list(zip(used.parameters(), given.parameters(), strict=True))
        if any(a.requires_grad != b.requires_grad for a, b in pairs):
            return "freezes the weights of `{}` for good (requires_grad); cut the gradient of this one loss instead."
        untouched = all(torch.equal(a, b) for a, b in pairs)
    elif isinstance(given, (np.ndarray, Tensor)):
        untouched = used.shape == given.shape and np.array_equal(numbers(used), numbers(given), equal_nan=True)
    else:
        untouched = not isinstance(given, pd.DataFrame) or used.equals(given)
    return None if untouched else "changes its input `{}` in place; work on a copy of it, or make a new one."


def stopped(outcome: Outcome) -> str:
    """How a call ended that raised an error."""
    told = f"your function stops with {type(outcome.error).__name__}: {one_line(outcome.error)}"
    if "numpy" in told and "grad" in told:
        return "numpy cannot read a network's numbers, which have gradients; use torch's operations throughout."
    return f"{told}  (in: {outcome.line[:80]})" if outcome.line else told


def agree(a: Outcome, b: Outcome, flat: bool = False) -> bool:
    """Whether two calls gave the same numbers (in any shape, where ``flat``), or the same kind of error."""
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error)
    one, two = numbers(a.value), numbers(b.value)
    if one is None or two is None or one.size != two.size:
        return False
    return same(one.ravel(), two.ravel()) if flat else same(one, two)


def explained_by(
    outcomes: list[Outcome], expected: list[Outcome], wrong: Wrong, flat: bool = False, partly: bool = True
) -> str | None:
    """The first sentence whose wrong results are these everywhere; or, ``partly``, where they show, in half or more."""
    off = sum(not agree(outcome, e, flat) for outcome, e in zip(outcomes, expected, strict=True))
    for everywhere, (results, sentence) in itertools.product((True, False) if partly else (True,), wrong):
        differ = [i for i, e in enumerate(expected) if not agree(results[i], e, flat)]
        explained = range(len(outcomes)) if everywhere else [i for i in differ if outcomes[i].error is None]
        told = 2 * len(explained) >= off and any(outcomes[i].error is None for i in explained)  # stopping is no sign
        if differ and told and all(agree(outcomes[i], results[i], flat) for i in explained):
            return sentence
    return None


def slope(function: Callable, arguments: tuple, at: list[int], cut: str) -> list[np.ndarray | None] | str:
    """The gradients of a weighted sum of what comes back, at the arguments of these numbers; or why there are none."""
    learners = [arguments[i] for i in at]
    leaves = [list(a.parameters()) if isinstance(a, nn.Module) else [a.requires_grad_()] for a in learners]
    outcome = run(function, arguments)
    if outcome.error is not None:
        return stopped(outcome)
    parts = outcome.value if isinstance(outcome.value, (tuple, list)) else [outcome.value]
    if not all(isinstance(part, Tensor) for part in parts) or not any(part.requires_grad for part in parts):
        return cut
    flat = torch.cat([part.reshape(-1).double() for part in parts])
    total = flat @ torch.linspace(0.5, 1.5, len(flat), dtype=torch.double)
    try:
        grads = [torch.autograd.grad(total, g, retain_graph=True, materialize_grads=True) for g in leaves]
    except RuntimeError as error:
        return f"it fails with: {one_line(error)}"
    flat = [torch.cat([part.flatten() for part in group]).double().numpy() for group in grads]
    return [part if part.any() else None for part in flat]


def same_slopes(one: list[np.ndarray | None] | str, two: list[np.ndarray | None] | str) -> bool:
    """Whether two calls gave the same gradients."""
    if isinstance(one, str) or isinstance(two, str):
        return False
    return all(a is b if a is None or b is None else same(a, b, 1e-3) for a, b in zip(one, two, strict=True))


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


#: Mistakes of any answer, from the expected numbers to the wrong ones; and of any argument: what enters in its place.
UNIVERSAL, ENTERS = (
    [(eval(f"lambda {x}: {wrong}"), told) for key, told in WORDS[part].items() for wrong in key.split(" | ")]
    for x, part in (("e", "any answer"), ("a", "any argument"))
)


def kind_of_mistake(answers: list[np.ndarray], wanted: list[np.ndarray], off: list[int]) -> str | None:
    """What the numbers that came back have in common, held against those expected; they are wrong in cases ``off``."""
    if len(wanted) > 1 and all(same(a, answers[0]) for a in answers):
        return "the same answer comes back whatever is given; compute it from what is given."
    if all(not np.isfinite(answers[i]).all() and np.isfinite(wanted[i]).all() for i in off):
        return "NaN or infinity comes back."
    if all(answers[i].shape != wanted[i].shape for i in off):
        return f"the shape is {answers[off[0]].shape} and should be {wanted[off[0]].shape}."
    if all((answers[i] == answers[i].round()).all() and (wanted[i] % 1 > 0).any() for i in off):
        return "whole numbers come back: is it //, int() or a comparison?"
    if all(np.isnan(wanted[i]).any() and not np.isnan(answers[i]).any() for i in off):
        return "a number comes back where nothing is known; NaN says so."
    if not any(answers[i].any() for i in off):
        return "nothing but zeros comes back."
    if all(e.size > 1 and same(np.sort(a, None), np.sort(e, None)) for a, e in zip(answers, wanted, strict=True)):
        return "the numbers are right, but they stand in the wrong places."
    return _factor([answers[i] for i in off], [wanted[i] for i in off])


def _factor(answers: list[np.ndarray], wanted: list[np.ndarray]) -> str | None:
    """Whether everything is too large by a factor, or off by an amount, that is equal in all cases."""
    got, want = (np.concatenate([part.ravel() for part in parts]) for parts in (answers, wanted))
    if len(got) != len(want) or len(got) < 3 or np.ptp(want) < 1e-6:
        return None
    ratio, step = _ratio(got, want), got - want
    if np.isfinite(ratio):
        return f"everything is {ratio:.4g} times what it should be: a factor is missing, or one too many."
    if np.allclose(step, step[0], 1e-4, 1e-4):
        return f"everything is off by {step[0]:+.4g}: something is not subtracted or added."
    sides = (answers, wanted, "a sum stands where a mean belongs"), (wanted, answers, "a mean stands where a sum does")
    for large, small, words in sides:
        many = np.array(list(map(_ratio, large, small)))
        if len(many) > 2 and many.min() > 0.5 and many.max() > 1.5 and np.allclose(many, many.round(), 1e-3):
            return f"{words}: a number of values is not divided by, or divided by too often."
    return None


def _ratio(answer: np.ndarray, wanted: np.ndarray) -> float:
    """How many times too large all numbers of an answer are; NaN where they are not by one factor."""
    if answer.shape != wanted.shape or not wanted.any() or not np.isfinite([answer, wanted]).all():
        return np.nan
    at = np.abs(wanted).argmax()
    factor = answer.flat[at] / wanted.flat[at]
    return factor if np.allclose(answer, factor * wanted, 1e-3, 1e-6) else np.nan


def alternatives(names: list[str], given: list[tuple]) -> Iterator[tuple[list[tuple], str]]:
    """Other arguments to which a wrong answer may be the right one, each with the sentence that says so."""
    for i, j in itertools.combinations(range(len(names)), 2):
        order = [{i: j, j: i}.get(k, k) for k in range(len(names))]
        yield [tuple(a[k] for k in order) for a in given], f"`{names[i]}` and `{names[j]}` have changed places."
    for (i, name), (enters, sentence) in itertools.product(enumerate(names), ENTERS):
        if all(isinstance(a[i], (np.ndarray, Tensor, int, float)) for a in given):
            changed = [(*a[:i], run(enters, (a[i],)).value, *a[i + 1 :]) for a in given]
            yield changed, sentence.replace("{}", name)


def elsewhere(given: list[tuple], i: int) -> list[tuple]:
    """The arguments with other values of number ``i``: moved on by one, then all alike; or what another case gives."""

    def other(argument: Any, alike: bool) -> Any:
        if isinstance(argument, (np.ndarray, Tensor)):
            library = np if isinstance(argument, np.ndarray) else torch
            moved = library.roll(argument, 1)
            return library.full_like(moved, moved.reshape(-1)[0].item()) if alike else moved
        return next((a[i] for a in given if isinstance(a[i], (int, float, str)) and a[i] != argument), argument)

    return [(*a[:i], other(a[i], alike), *a[i + 1 :]) for alike in (False, True) for a in given]
