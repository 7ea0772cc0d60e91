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
import textwrap
import traceback
import types
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .comparing import (
    ENTERS,
    Outcome,
    agree,
    agree_but_for_shape,
    altered,
    kind_of_mistake,
    moved,
    no_numbers,
    numbers,
    one_line,
    same,
    shown,
    shown_all,
)

UNFILLED = "nothing has been filled in yet; replace the `...` and run the cell again."
CHANCE = "called twice with the same input, your function gives two answers: is there chance in it?"
#: What comes back of a function of which not one line has run.
UNRUN = (types.GeneratorType, types.CoroutineType)


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
    return lambda: [
        Case(label, tuple(np.array(a) if isinstance(a, (list, np.ndarray)) else a for a in arguments))
        for label, arguments in out.items()
    ]


def edited(reference: Callable, edits: str) -> Callable:
    """The reference with a mistake written into it, as a learner would write it.

    Args:
        edits: ``old -> new`` for each piece of its body that is to be exchanged, with ``; `` between them; or an
            expression that is returned in place of what its last line returns.
    """
    head, body = textwrap.dedent(inspect.getsource(reference)).split(":\n", 1)
    if " -> " not in edits:
        body = f"{body.rpartition('return ')[0]}return {edits}\n"
    for old, new in (edit.split(" -> ") for edit in edits.split("; ") if " -> " in edits):
        if old not in body:
            raise ValueError(f"{reference.__name__} holds no {old!r}; write the edit {edits!r} anew")
        body = body.replace(old, new)
    made: dict[str, Any] = {}
    exec(f"{head}:\n{body}", reference.__globals__, made)
    return made[reference.__name__]


@dataclass(frozen=True, eq=False)
class Exercise:
    """A check that a notebook calls with the learner's answer: it prints one message and returns whether it is right.

    Args:
        reference: the right answer, with the learner's names of the arguments.
        cases: makes all inputs anew at each call, the same ones.
        praise: what a right answer shows.
        task: what is to be returned, in words, for a wrong answer that is like no known mistake.
        mistakes: from a wrong answer to the sentence that names the mistake, the likeliest first. A wrong answer is a
            function or, in words of the reference, what :func:`edited` makes one of; a tuple holds several.
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
    mistakes: dict[Callable | str | tuple, str] = field(default_factory=dict)
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
                if change := _changed(used, given):
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
        off = [i for i, (o, e) in enumerate(zip(outcomes, self._expected, strict=True)) if not agree(o, e)]
        if not off:
            return None
        again = _run(answer, self.cases()[off[0]].arguments, 2**31)
        if self.examine is None and numbers(again.value) is not None and not agree(outcomes[off[0]], again):
            return self._told(CHANCE, off[0], outcomes)
        sentence = None if self.examine else self._known(outcomes) or self._like_any(answer, outcomes, off)
        if sentence is None and first is not None:
            return self._told(_stopped(outcomes[first]), first, outcomes)
        smallest = min(off, key=lambda i: (len(shown_all(self._names, self.cases()[i].arguments)), i))
        return self._told(sentence or f"not the values that are asked for: {self.task}", smallest, outcomes)

    def _known(self, outcomes: list[Outcome]) -> str | None:
        """The likeliest of the exercise's own mistakes, or one that would be it in another shape."""
        for alike, everywhere in itertools.product((agree, agree_but_for_shape), (True, False)):
            for results, sentence in self._mistaken:
                differ = [i for i, e in enumerate(self._expected) if not alike(results[i], e)]
                explained = range(len(outcomes)) if everywhere else differ
                told = any(outcomes[i].error is None for i in explained)  # stopping alike is no sign by itself
                if differ and told and all(alike(outcomes[i], results[i]) for i in explained):
                    return sentence
        return None

    def _like_any(self, answer: Callable, outcomes: list[Outcome], off: list[int]) -> str | None:
        """A mistake that answers to any exercise can have."""
        if any(outcome.error for outcome in outcomes):
            return None
        answers, wanted = ([numbers(one.value) for one in every] for every in (outcomes, self._expected))
        strange = [outcome.value for outcome, numbered in zip(outcomes, answers, strict=True) if numbered is None]
        found = no_numbers(strange[0]) if strange else self._as_given(answers)
        found = found or kind_of_mistake(answers, wanted) or self._of_arguments(answer, outcomes)
        if found is None and len(off) < len(answers):
            labels = "; ".join(list(dict.fromkeys(self.cases()[i].label for i in off))[:3])
            found = f"right for {len(answers) - len(off)} of {len(answers)} inputs, not for: {labels}."
        return f"{found} Expected: {self.task}" if found else None

    def _as_given(self, answers: list[np.ndarray]) -> str | None:
        for name, given in zip(self._names, zip(*(case.arguments for case in self.cases()), strict=True), strict=True):
            pairs = zip(answers, map(numbers, given), strict=True)
            if all(g is not None and same(a.ravel(), g.ravel()) for a, g in pairs):
                return f"`{name}` comes back as it was given."
        return None

    def _of_arguments(self, answer: Callable, outcomes: list[Outcome]) -> str | None:
        """Whether an argument is not used, has changed places with another, or enters as something else than it is."""
        given, names = [case.arguments for case in self.cases()], self._names

        def alike(changed: list[tuple], function: Callable = self.reference, like: list[Outcome] = outcomes) -> bool:
            """Whether a function of the changed arguments gives what `like` holds, other than the right answers."""
            pairs = zip(changed, like, strict=True)
            return all((o := _run(function, a)).error is None and agree(o, was) for a, was in pairs)

        for i, j in itertools.combinations(range(len(names)), 2):
            order = [j if k == i else i if k == j else k for k in range(len(names))]
            if alike([tuple(arguments[k] for k in order) for arguments in given]):
                return f"`{names[i]}` and `{names[j]}` have changed places."
        for i, name in enumerate(names):

            def with_other(others: list, i: int = i) -> list[tuple]:
                return [(*a[:i], other, *a[i + 1 :]) for a, other in zip(given, others, strict=True)]

            column = [arguments[i] for arguments in given]
            elsewhere = with_other([moved(a, column) for a in column])
            right = [_run(self.reference, arguments) for arguments in elsewhere]
            matters = not any(o.error for o in right) and not all(map(agree, right, self._expected))
            if matters and alike(elsewhere, answer):
                return f"`{name}` makes no difference to what comes back; it should."
            for enters, sentence in ENTERS:
                if alike(with_other([altered(enters, a) for a in column])):
                    return sentence.replace("{}", name)
        return None

    def _by_chance(self, function: Callable) -> str | None:
        """Whether a second call gives the same, and the global random numbers are left alone."""
        one, two = (_run(function, self.cases()[0].arguments, seed) for seed in (1, 2))
        if any(a == b for a, b in zip(one.traces, two.traces, strict=True)):
            return "your function seeds the global random numbers, for everything that runs after it."
        return None if self.examine or agree(one, two) else CHANCE

    def _gradients(self, function: Callable) -> str | None:
        if not self.learns:
            return None
        got, right = self._slopes(function), self._slopes(self.reference)
        differ = [i for i, slopes in enumerate(right) if not _same_slopes(got[i], slopes)]
        if not differ:
            return None
        for slopes, sentence in self._mistaken_slopes:
            parts = [i for i in range(len(right)) if not _same_slopes(slopes[i], right[i])]
            if parts and all(_same_slopes(got[i], slopes[i]) for i in parts):
                return f"the values are right, the gradient is not: {sentence}"
        found, expected = got[differ[0]], right[differ[0]]
        wanted = ", ".join(f"`{name}`" for name, part in zip(self.learns, expected, strict=True) if part is not None)
        if isinstance(found, str):
            return f"the values are right, but no gradient reaches {wanted}: {found}"
        for name, part, want in zip(self.learns, found, expected, strict=True):
            if want is None and part is not None:
                return f"the values are right, but a gradient reaches `{name}`, which must not learn here."
            if part is None and want is not None:
                return f"the values are right, but no gradient reaches `{name}`: it is detached on the way."
        return f"the values are right, but a part of the gradient to {wanted} is cut off (detach, no_grad)."

    # --- what the reference and the mistakes give ---------------------------------------------------------------------

    @functools.cached_property
    def _names(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    @functools.cached_property
    def known(self) -> list[tuple[Callable, str]]:
        """All known wrong answers as functions, each with the sentence that names it."""
        pairs = (
            (one, said)
            for wrong, said in self.mistakes.items()
            for one in (wrong if isinstance(wrong, tuple) else (wrong,))
        )
        return [(edited(self.reference, one) if isinstance(one, str) else one, said) for one, said in pairs]

    @functools.cached_property
    def _expected(self) -> list[Outcome]:
        return [_run(self.reference, case.arguments) for case in self.cases()]

    @functools.cached_property
    def _mistaken(self) -> list[tuple[list[Outcome], str]]:
        return [([_run(wrong, case.arguments) for case in self.cases()], said) for wrong, said in self.known]

    @functools.cached_property
    def _mistaken_slopes(self) -> list[tuple[list, str]]:
        """Of the mistakes that leave the values right."""
        right = [all(map(agree, results, self._expected)) for results, _ in self._mistaken]
        return [(self._slopes(wrong), said) for wrong, said in itertools.compress(self.known, right)]

    def _slopes(self, function: Callable) -> list[list[np.ndarray | None] | str]:
        """Of each case, the gradients of a weighted sum of the answer at the arguments in `learns`, or why none."""
        return [self._slope(function, case.arguments) for case in self.cases() if case.gradient]

    def _slope(self, function: Callable, arguments: tuple) -> list[np.ndarray | None] | str:
        learners = [arguments[self._names.index(name)] for name in self.learns]
        leaves = [list(a.parameters()) if isinstance(a, nn.Module) else [a.requires_grad_()] for a in learners]
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
            return f"it fails with: {one_line(error)}"
        return [_flat_gradient(group, found) for group, found in zip(leaves, grads, strict=True)]

    def _told(self, sentence: str, i: int, outcomes: list[Outcome]) -> str:
        """The sentence, and below it what was given, what came back and what was expected."""
        lines = [sentence]
        if self._names:
            lines.append(f"given      {shown_all(self._names, self.cases()[i].arguments)}")
        if outcomes[i].error is None and not (self.is_value and self.examine):
            lines.append(f"came back  {shown(outcomes[i].value)}")
        if self.examine is None:
            lines.append(f"expected   {shown(self._expected[i].value)}")
        if outcomes[i].printed.strip():
            lines.append(f"printed    {one_line(outcomes[i].printed)}")
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
    told = f"your function stops with {type(outcome.error).__name__}: {one_line(outcome.error)}"
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


def _flat_gradient(leaves: list[Tensor], grads: tuple[Tensor | None, ...]) -> np.ndarray | None:
    """The gradients laid end to end; None where all of them are zero."""
    parts = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, grads, strict=True)]
    flat = torch.cat([part.flatten() for part in parts]).double().numpy()
    return flat if (flat != 0).any() else None


def _same_slopes(one: list[np.ndarray | None] | str, two: list[np.ndarray | None] | str) -> bool:
    if isinstance(one, str) or isinstance(two, str):
        return False
    return all(a is b if a is None or b is None else same(a, b, 1e-3) for a, b in zip(one, two, strict=True))
