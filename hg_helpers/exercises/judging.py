"""One judge for all exercises: it runs a learner's answer on many inputs and says in one voice what came of it.

An exercise is a record: the right answer, inputs of many sizes, and the wrong answers that learners give, each with the
sentence that names it. A mistake is recognised by what an answer does, not by how it is written.

>>> def twice(x):
...     return 2 * x
>>> check = Exercise(twice, each(lambda *x: (np.array(x),), [(1.0, 2, 4), (3.0,)]), "doubled.", "each number, doubled.")
>>> check(lambda x: [v + v for v in x])
Right: doubled.
True
>>> check(lambda x: -2 * x)
Not yet: the sign is turned round. Expected: each number, doubled.
  given      x = [3]
  came back  [-6]
  expected   [6]
False
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import itertools
import random
import traceback
import types
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

UNFILLED = "nothing has been filled in yet; replace the `...` and run the cell again."
CHANCE = "called twice with the same input, your function gives two answers: is there chance in it?"
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

#: What comes back of a function of which not one line has run.
UNRUN = (types.GeneratorType, types.CoroutineType)


class Case(NamedTuple):
    """One input: its name in a message, the arguments, and whether gradients are compared on it."""

    label: str
    arguments: tuple
    gradient: bool = True


def each(make: Callable[..., tuple], sizes: Iterable[tuple]) -> Callable[[], list[Case]]:
    """Cases of many sizes: `make` turns each of them into the arguments, anew at each call."""
    return lambda: [Case(_one_line(size, 60), make(*size)) for size in sizes]


@dataclass
class Outcome:
    """What came of one call. `traces` are the global random numbers afterwards."""

    value: Any = None
    error: BaseException | None = None
    line: str = ""
    printed: str = ""
    traces: tuple = ()


@dataclass(frozen=True, eq=False)
class Exercise:
    """A check that a notebook calls with the learner's answer: it prints one message and returns whether it is right.

    Args:
        reference: the right answer, with the learner's names of the arguments.
        cases: makes all inputs anew at each call, the same ones.
        praise: what a right answer shows.
        task: what is to be returned, in words, for a wrong answer that is like no known mistake.
        mistakes: (a wrong answer, the sentence that names the mistake), the likeliest first.
        learns: the arguments at which an answer must have the reference's gradient.
        cut: what a learner has done where there is no gradient at all.
        examine: judges answers in which chance has a part, or that are no numbers: from the cases and what came back to
            None or (sentence, number of the case).
        is_value: the answer is a value and not a function.
    """

    reference: Callable
    cases: Callable[[], list[Case]]
    praise: str
    task: str
    mistakes: tuple[tuple[Callable, str], ...] = ()
    learns: tuple[str, ...] = ()
    cut: str = "numpy, float(), .item(), .tolist(), .detach(), .data or no_grad cuts it off; use torch throughout."
    examine: Callable[[list[Case], list], tuple[str, int] | None] | None = None
    is_value: bool = False

    def __call__(self, answer: Any) -> bool:
        problem = self.problem(answer)
        print(f"Right: {self.praise}" if problem is None else f"Not yet: {problem}")
        return problem is None

    def chosen(self, answer: Any, package: Any = None) -> Any:
        """The learner's answer where it is right, else the package's (or the reference); a printed line says which."""
        name = getattr(answer, "__name__", "answer")
        if self.problem(answer) is None:
            print(f"The cells below run on your `{name}`.")
            return answer if self.is_value else _returning_like(answer, self._expected[0].value)
        package = package or (self.reference() if self.is_value else self.reference)
        print(f"The cells below run on the package's own version: your `{name}` has not passed its check yet.")
        return package

    def problem(self, answer: Any) -> str | None:
        """What is wrong with an answer, in words; None where it is right."""
        if answer is None or answer is ...:
            return UNFILLED
        if self.is_value != (not callable(answer)):
            other = "a function; give what it returns" if self.is_value else "no function; hand over its name, no ( )"
            return f"this is {other}. Expected: {self.task}"
        if isinstance(answer, type):
            return f"this is a class; write a function (def) that returns {self.task}"
        function = (lambda: answer) if self.is_value else answer
        cases = self.cases()
        with contextlib.suppress(ValueError, TypeError):  # some built-in functions do not tell their arguments
            signature = inspect.signature(function)
            try:
                signature.bind(*cases[0].arguments)
            except TypeError:
                return f"your function takes {signature}; it is called with ({', '.join(self._names)})."
        outcomes = [_run(function, case.arguments, seed) for seed, case in enumerate(cases)]
        return (
            self._without_answer(outcomes)
            or self._side_effects(cases, outcomes)
            or self._wrong(function, cases, outcomes)
            or self._by_chance(function)
            or self._gradients(function)
        )

    # --- what can be wrong, in the order in which it is looked for ----------------------------------------------------

    def _without_answer(self, outcomes: list[Outcome]) -> str | None:
        values = [outcome.value for outcome in outcomes if outcome.error is None]
        if any(part is ... for v in values for part in (v if isinstance(v, (tuple, list)) else [v])):
            return UNFILLED
        missing = [i for i, outcome in enumerate(outcomes) if outcome.error is None and outcome.value is None]
        if not missing:
            return None
        sentence = "your function returns None: its last line needs `return` before the answer."
        if outcomes[missing[0]].printed:
            sentence = "your function prints its answer and returns None; end it with `return` instead of print."
        elif len(missing) < len(values):
            sentence = "here your function returns None: one of its branches has no `return`."
        return self._told(sentence, missing[0], outcomes)

    def _side_effects(self, cases: list[Case], outcomes: list[Outcome]) -> str | None:
        for case, fresh in zip(cases, self.cases(), strict=True):
            for name, used, given in zip(self._names, case.arguments, fresh.arguments, strict=True):
                change = _changed(used, given)
                if change:
                    return f"your function {change.format(name)}"
        return None

    def _wrong(self, answer: Callable, cases: list[Case], outcomes: list[Outcome]) -> str | None:
        first = next((i for i, outcome in enumerate(outcomes) if outcome.error is not None), None)
        if self.examine is not None and first is None:
            unrun = next((i for i, outcome in enumerate(outcomes) if isinstance(outcome.value, UNRUN)), None)
            if unrun is not None:
                return self._told(no_numbers(outcomes[unrun].value), unrun, outcomes)
            found = self.examine(cases, [outcome.value for outcome in outcomes])
            return found and self._told(*found, outcomes)
        off = [i for i, (o, e) in enumerate(zip(outcomes, self._expected, strict=True)) if not _agree(o, e)]
        if not off:
            return None
        again = _run(answer, self.cases()[off[0]].arguments, 2**31)
        if self.examine is None and numbers(again.value) is not None and not _agree(outcomes[off[0]], again):
            return self._told(CHANCE, off[0], outcomes)
        sentence = None if self.examine else self._recognised(outcomes, off)
        if sentence is None and first is not None:
            return self._told(_stopped(outcomes[first]), first, outcomes)
        smallest = min(off, key=lambda i: (len(_shown_all(self._names, self.cases()[i].arguments)), i))
        return self._told(sentence or f"not the values that are asked for: {self.task}", smallest, outcomes)

    def _recognised(self, outcomes: list[Outcome], off: list[int]) -> str | None:
        """The likeliest mistake: a known one, one that needs another shape to be known, or a kind that is universal."""
        for agree, everywhere in itertools.product((_agree, _agree_but_for_shape), (True, False)):
            for results, sentence in self._mistaken:
                differ = [i for i, e in enumerate(self._expected) if not agree(results[i], e)]
                explained = range(len(outcomes)) if everywhere else differ
                told = any(outcomes[i].error is None for i in explained)  # stopping alike is no sign by itself
                if differ and told and all(agree(outcomes[i], results[i]) for i in explained):
                    return sentence
        if any(outcome.error for outcome in outcomes):
            return None
        answers, wanted = ([numbers(each.value) for each in every] for every in (outcomes, self._expected))
        strange = [outcome.value for outcome, answer in zip(outcomes, answers, strict=True) if answer is None]
        found = no_numbers(strange[0]) if strange else self._of_a_kind(answers, wanted, off)
        return f"{found} Expected: {self.task}" if found else None

    def _of_a_kind(self, answers: list[np.ndarray], wanted: list[np.ndarray], off: list[int]) -> str | None:
        """The kind of mistake that any answer can have."""
        for everywhere, (transform, sentence) in itertools.product((True, False), UNIVERSAL):
            changed = [_quietly(transform, e) for e in wanted]
            differ = [i for i, e in enumerate(wanted) if changed[i] is None or not _same(changed[i], e)]
            explained = range(len(wanted)) if everywhere else differ
            if differ and all(changed[i] is not None and _same(answers[i], changed[i]) for i in explained):
                return sentence
        for name, given in zip(self._names, zip(*(case.arguments for case in self.cases()), strict=True), strict=True):
            pairs = zip(answers, map(numbers, given), strict=True)
            if all(g is not None and _same(a.ravel(), g.ravel()) for a, g in pairs):
                return f"`{name}` comes back as it was given."
        if len(wanted) > 1 and all(_same(a, answers[0]) for a in answers):
            return "the same answer comes back whatever is given; compute it from what is given."
        if any(not np.isfinite(answers[i]).all() and np.isfinite(wanted[i]).all() for i in off):
            return "NaN or infinity comes back."
        if all((answers[i] == answers[i].round()).all() and (wanted[i] != wanted[i].round()).any() for i in off):
            return "whole numbers come back: is it //, int() or a comparison?"
        if all(answers[i].shape != wanted[i].shape for i in off):
            return f"the shape is {answers[off[0]].shape} and should be {wanted[off[0]].shape}."
        if all(e.size > 1 and _same(np.sort(a, None), np.sort(e, None)) for a, e in zip(answers, wanted, strict=True)):
            return "the numbers are right, but they stand in the wrong places."
        factor = _factor([answers[i] for i in off], [wanted[i] for i in off])
        if factor or len(off) == len(answers):
            return factor
        labels = "; ".join(list(dict.fromkeys(self.cases()[i].label for i in off))[:3])
        return f"right for {len(answers) - len(off)} of {len(answers)} inputs, not for: {labels}."

    def _by_chance(self, function: Callable) -> str | None:
        """Whether a second call gives the same, and the global random numbers are left alone."""
        one, two = (_run(function, self.cases()[0].arguments, seed) for seed in (1, 2))
        if any(a == b for a, b in zip(one.traces, two.traces, strict=True)):
            return "your function seeds the global random numbers, for everything that runs after it."
        if self.examine is None and not _agree(one, two):
            return CHANCE
        return None

    def _gradients(self, function: Callable) -> str | None:
        if not self.learns:
            return None
        got, right = self._slopes(function), self._expected_slopes
        differ = [i for i, slopes in enumerate(right) if not _same_slopes(got[i], slopes)]
        if not differ:
            return None
        for slopes, sentence in self._mistaken_slopes:
            parts = [i for i in range(len(right)) if not _same_slopes(slopes[i], right[i])]
            if parts and all(_same_slopes(got[i], slopes[i]) for i in parts):
                return f"the values are right, the gradient is not: {sentence}"
        wanted = [f"`{name}`" for name, part in zip(self.learns, right[differ[0]], strict=True) if part is not None]
        if isinstance(got[differ[0]], str):
            return f"the values are right, but no gradient reaches {', '.join(wanted)}: {got[differ[0]]}"
        for name, part, want in zip(self.learns, got[differ[0]], right[differ[0]], strict=True):
            if want is None and part is not None:
                return f"the values are right, but a gradient reaches `{name}`, which must not learn here."
            if part is None and want is not None:
                return f"the values are right, but no gradient reaches `{name}`: it is detached on the way."
        return f"the values are right, but a part of the gradient to {', '.join(wanted)} is cut off (detach, no_grad)."

    # --- what the reference and the mistakes give ---------------------------------------------------------------------

    @functools.cached_property
    def _names(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    @functools.cached_property
    def _expected(self) -> list[Outcome]:
        return [_run(self.reference, case.arguments) for case in self.cases()]

    @functools.cached_property
    def _mistaken(self) -> list[tuple[list[Outcome], str]]:
        return [([_run(wrong, case.arguments) for case in self.cases()], said) for wrong, said in self.mistakes]

    @functools.cached_property
    def _expected_slopes(self) -> list:
        return self._slopes(self.reference)

    @functools.cached_property
    def _mistaken_slopes(self) -> list[tuple[list, str]]:
        """Of the mistakes that leave the values right."""
        right = [all(map(_agree, results, self._expected)) for results, _ in self._mistaken]
        return [(self._slopes(wrong), said) for wrong, said in itertools.compress(self.mistakes, right)]

    def _slopes(self, function: Callable) -> list[list[np.ndarray | None] | str]:
        """Of each case, the gradients of a weighted sum of the answer at the arguments in `learns`, or why none."""
        return [self._slope(function, case.arguments) for case in self.cases() if case.gradient]

    def _slope(self, function: Callable, arguments: tuple) -> list[np.ndarray | None] | str:
        leaves = [_leaves(arguments[self._names.index(name)]) for name in self.learns]
        outcome = _run(function, arguments)
        if outcome.error is not None:
            return _stopped(outcome)
        parts = outcome.value if isinstance(outcome.value, (tuple, list)) else [outcome.value]
        if not all(isinstance(part, Tensor) for part in parts) or not any(part.requires_grad for part in parts):
            return self.cut
        flat = torch.cat([part.reshape(-1).double() for part in parts])
        total = flat @ torch.linspace(0.5, 1.5, len(flat), dtype=torch.double)
        try:
            grads = [torch.autograd.grad(total, group, retain_graph=True, allow_unused=True) for group in leaves]
        except RuntimeError as error:
            return f"it fails with: {_one_line(error)}"
        return [_flat_gradient(group, found) for group, found in zip(leaves, grads, strict=True)]

    def _told(self, sentence: str, i: int, outcomes: list[Outcome]) -> str:
        """The sentence, and below it what was given, what came back and what was expected."""
        lines = [sentence]
        if self._names:
            lines.append(f"given      {_shown_all(self._names, self.cases()[i].arguments)}")
        if outcomes[i].error is None and not (self.is_value and self.examine):
            lines.append(f"came back  {_shown(outcomes[i].value)}")
        if self.examine is None:
            lines.append(f"expected   {_shown(self._expected[i].value)}")
        if outcomes[i].printed.strip():
            lines.append(f"printed    {_one_line(outcomes[i].printed)}")
        return "\n  ".join(lines)


# --- running ----------------------------------------------------------------------------------------------------------


def _run(function: Callable, arguments: tuple, seed: int = 0) -> Outcome:
    """Call a function with whatever it may do: raise, exit, print, warn, use the global random numbers."""
    outcome, printed = Outcome(), io.StringIO()
    states = random.getstate(), np.random.get_state()
    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        contextlib.redirect_stdout(printed),
    ):
        warnings.simplefilter("ignore")
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            outcome.value = function(*arguments)
        except (Exception, SystemExit) as error:  # whatever a learner's function raises is an answer too
            code = getattr(function, "__code__", None)
            lines = [
                f.line for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename
            ]
            outcome.error, outcome.line = error, (lines[-1] or "") if lines else ""
        now = np.random.get_state()
        outcome.traces = random.getstate(), (now[1].tobytes(), now[2]), torch.get_rng_state().numpy().tobytes()
    random.setstate(states[0])
    np.random.set_state(states[1])
    outcome.printed = printed.getvalue()
    return outcome


def _changed(used: Any, given: Any) -> str | None:
    """What a call has done to an argument; `{}` stands for its name."""
    in_place = "changes its input `{}` in place; work on a copy of it, or make a new one."
    if isinstance(given, nn.Module):
        if any(parameter.grad is not None for parameter in used.parameters()):
            return "calls backward() itself; return the loss, and leave the learning to whoever trains."
        pairs = list(zip(used.parameters(), given.parameters(), strict=True))
        if any(a.requires_grad != b.requires_grad for a, b in pairs):
            return "freezes the weights of `{}` for good (requires_grad); cut the gradient of this one loss instead."
        return None if all(torch.equal(a, b) for a, b in pairs) else in_place
    if isinstance(given, pd.DataFrame):
        same = used.equals(given)
    elif isinstance(given, (np.ndarray, Tensor)):
        same = used.shape == given.shape and np.array_equal(numbers(used), numbers(given), equal_nan=True)
    else:
        same = True
    return None if same else in_place


def _stopped(outcome: Outcome) -> str:
    told = f"your function stops with {type(outcome.error).__name__}: {_one_line(outcome.error)}"
    if "numpy" in told and "grad" in told:
        return "numpy cannot read a network's numbers, which have gradients; use torch's operations throughout."
    return f"{told}  (in: {outcome.line[:80]})" if outcome.line else told


def _returning_like(function: Callable, like: Any) -> Callable:
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

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        return cast(function(*arguments, **named), like)

    return wrapped


def no_numbers(value: Any) -> str:
    kind = type(value).__name__
    told = [advice for kinds, advice in KINDS.items() if isinstance(value, kinds)]
    return f"a {kind} comes back{f'; {told[0]}' if told else ', which cannot be read as numbers in one shape'}."


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


def _same(answer: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> bool:
    """One shape, () and (1,) being one; and values that agree to rounding in float32, NaN to NaN."""
    if answer.shape != expected.shape and not {answer.shape, expected.shape} <= {(), (1,)}:
        return False
    finite = np.abs(expected[np.isfinite(expected)])
    absolute = tolerance / 30 * max(1.0, finite.max(initial=0))
    return bool(np.allclose(answer.ravel(), expected.ravel(), tolerance, absolute, equal_nan=True))


def _agree(a: Outcome, b: Outcome, flat: bool = False) -> bool:
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error)
    one, two = numbers(a.value), numbers(b.value)
    if one is None or two is None or one.size != two.size:
        return False
    return _same(one.ravel(), two.ravel()) if flat else _same(one, two)


_agree_but_for_shape = functools.partial(_agree, flat=True)


def _leaves(argument: Any) -> list[Tensor]:
    return list(argument.parameters()) if isinstance(argument, nn.Module) else [argument.requires_grad_()]


def _flat_gradient(leaves: list[Tensor], grads: tuple[Tensor | None, ...]) -> np.ndarray | None:
    """The gradients laid end to end; None where all of them are zero."""
    parts = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, grads, strict=True)]
    flat = torch.cat([part.flatten() for part in parts]).double().numpy()
    return flat if (flat != 0).any() else None


def _same_slopes(one: list[np.ndarray | None] | str, two: list[np.ndarray | None] | str) -> bool:
    if isinstance(one, str) or isinstance(two, str):
        return False
    return all(a is b if a is None or b is None else _same(a, b, 1e-3) for a, b in zip(one, two, strict=True))


def _quietly(transform: Callable, expected: np.ndarray) -> np.ndarray | None:
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")  # not each kind of mistake is possible for each answer
        return np.asarray(transform(expected), dtype=float)
    return None


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


#: Mistakes that any answer can have: from the expected numbers to the wrong ones.
UNIVERSAL: list[tuple[Callable, str]] = [
    (lambda e: -e, "the sign is turned round."),
    (lambda e: e.T, "the numbers are right, the axes have changed places."),
    (lambda e: e.squeeze(), "the numbers are right, the shape is not: an axis of length 1 is missing (keepdim)."),
    (lambda e: e[None], "the numbers are right, the shape is not: there is an axis too many."),
    (lambda e: e[..., None], "the numbers are right, the shape is not: there is an axis too many."),
    (lambda e: e.ravel(), "the numbers are right, the shape is not: the axes are lost."),
    (lambda e: e[::-1], "the numbers are right, in reverse order."),
    (lambda e: np.sort(e.ravel()), "the numbers are right, but sorted by size; keep their order."),
    (lambda e: e.sum(), "everything is added up to one number; it is to be kept apart."),
    (lambda e: e.mean(), "everything is averaged to one number; it is to be kept apart."),
    (lambda e: e[0], "only the first comes back: is `return` inside the loop?"),
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
    *((lambda e, k=k: e.sum(k), f"axis {k} is added up; it is to be kept.") for k in range(3)),
    *((lambda e, k=k: e.mean(k), f"axis {k} is averaged; it is to be kept.") for k in range(3)),
]


# --- showing ----------------------------------------------------------------------------------------------------------


def _one_line(text: Any, most: int = 160) -> str:
    try:
        line = " ".join(str(text).split())
    except Exception:  # an object that cannot even be printed
        line = type(text).__name__
    return line if len(line) <= most else f"{line[:most]}..."


def _shown(value: Any, most: int = 120) -> str:
    """A value short enough to be read: few digits, and the shape where there are several axes."""
    if isinstance(value, pd.DataFrame):
        columns = "; ".join(f"{name} {_shown(part.tolist(), 50)}" for name, part in value.items())
        return _one_line(f"table of {len(value)} rows ({columns})", 2 * most)
    if isinstance(value, nn.Module) or callable(value) or isinstance(value, torch.Generator):
        return type(value).__name__ if not isinstance(value, types.FunctionType) else value.__name__
    array = None if isinstance(value, bool) else numbers(value)
    if array is None:
        return _one_line(repr(value) if isinstance(value, (str, bytes, list, tuple, dict)) else value, most)
    text = _one_line(np.array2string(array, separator=", ", threshold=most, formatter={"float": "{:.4g}".format}), most)
    return f"{text}  shape {array.shape}" if array.ndim > 1 else text


def _shown_all(names: list[str], arguments: tuple) -> str:
    return ", ".join(f"{name} = {_shown(value)}" for name, value in zip(names, arguments, strict=True))
