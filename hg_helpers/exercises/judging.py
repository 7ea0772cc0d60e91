"""One judge for all exercises: it runs a learner's answer on many inputs and says in one voice what came of it.

An exercise is a record: the right answer, inputs of many sizes and, in ``words.yaml``, the wrong answers that learners
give, each with the sentence that names it. A mistake is recognised by what an answer does, not by how it is written.

>>> @exercise({"three": ([1.0, 2, 4],), "one": ([3.0],)}, praise="doubled.", task="each number, doubled.")
... def check_double(x):
...     return 2 * x
>>> check_double(lambda x: -2 * x)
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
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import outcomes as o
from . import values as v
from .outcomes import WORDS, Case, Outcome, agree, edited, run
from .values import no_numbers, numbers, returning_like

UNFILLED = "nothing has been filled in yet; replace the `...` and run the cell again."
CHANCE = "called twice with the same input, your function gives two answers: is there chance in it?"


@dataclass(frozen=True, eq=False)
class Exercise:
    """A check that a notebook calls with the learner's answer: it prints one message and returns whether it is right.

    Args:
        reference: the right answer, with the learner's names of the arguments.
        inputs: by name the arguments of each case, in which lists stand for arrays, or Python that makes them; or a
            function that makes them of each of the ``sizes``, or all cases where there are no sizes.
        praise, task, mistakes, learns, says: as ``words.yaml`` has them, often with inputs or sizes.
        cut: what a learner has done where there is no gradient at all.
        examine: judges answers in which chance has a part, or that are no numbers: from the cases and what came back to
            None or (sentence, number of the case).
        is_value: the answer is a value and not a function.
    """

    reference: Callable
    inputs: Any
    sizes: Sequence[tuple]
    praise: str
    task: str
    mistakes: dict[str, str] = field(default_factory=dict)
    says: dict[str, str] = field(default_factory=dict)
    learns: Sequence[str] = ()
    cut: str = "numpy, float(), .item(), .tolist(), .detach(), .data or no_grad cuts it off; use torch throughout."
    examine: Callable[[list[Case], list], tuple[str, int] | None] | None = None
    is_value: bool = False

    def __call__(self, answer: Any) -> bool:
        problem = self.problem(answer)
        print(f"Right: {self.praise}" if problem is None else f"Not yet: {problem}")
        return problem is None

    def chosen(self, answer: Any, package: Any = None) -> Any:
        """The learner's answer where it is right, else the package's (or the reference); a printed line says which."""
        name = f"`{answer.__name__}`" if hasattr(answer, "__name__") else "answer"
        if self.problem(answer) is None:
            print(f"The cells below run on your {name}.")
            return answer if self.is_value else returning_like(answer, self._expected[0].value)
        print(f"The cells below run on the package's own version: your {name} has not passed its check yet.")
        return package or (self.reference() if self.is_value else self.reference)

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
        outcomes = [run(function, case.arguments, seed) for seed, case in enumerate(cases)]
        return (
            self._without_answer(outcomes)
            or self._side_effects(cases)
            or self._wrong(function, cases, outcomes)
            or self._by_chance(function)
            or (self._gradients(function) if self.learns else None)
        )

    def cases(self) -> list[Case]:
        """All inputs, the same ones, made anew at each call."""
        if self.sizes:
            names = list(inspect.signature(self.inputs).parameters)
            labels = [v.one_line(v.shown_all(names[: len(size)], size), 80) for size in self.sizes]
            return [Case(label, self.inputs(*size)) for label, size in zip(labels, self.sizes, strict=True)]
        if callable(self.inputs):
            return self.inputs()
        near = self.reference.__globals__
        made = [(label, eval(one, near) if isinstance(one, str) else one) for label, one in self.inputs.items()]
        return [Case(label, tuple(np.array(a) if isinstance(a, list) else a for a in one)) for label, one in made]

    # --- what can be wrong, in the order in which it is looked for ----------------------------------------------------

    def _without_answer(self, outcomes: list[Outcome]) -> str | None:
        values = [outcome.value for outcome in outcomes if outcome.error is None]
        if any(map(v.unfilled, values)):
            return UNFILLED if values[0] is ... else UNFILLED.replace("nothing", "not everything")
        missing = [i for i, outcome in enumerate(outcomes) if outcome.error is None and outcome.value is None]
        if not missing:
            return None
        sentence = "your function returns None: its last line needs `return` before the answer."
        if outcomes[missing[0]].printed:
            sentence = "your function prints its answer and returns None; end it with `return` instead of print."
        elif len(missing) < len(values):
            sentence = "here your function returns None: a branch has no `return`, or returns None."
        return self._told(sentence, missing[0], outcomes)

    def _side_effects(self, cases: list[Case]) -> str | None:
        for case, fresh in zip(cases, self.cases(), strict=True):
            for name, used, given in zip(self._names, case.arguments, fresh.arguments, strict=True):
                if change := o.changed_by(used, given):
                    return f"your function {change.format(name)}"
        return None

    def _wrong(self, answer: Callable, cases: list[Case], outcomes: list[Outcome]) -> str | None:
        told_of_stop = next(((o.stopped(one), i) for i, one in enumerate(outcomes) if one.error is not None), None)
        if self.examine is not None:
            found = told_of_stop or self.examine(cases, [outcome.value for outcome in outcomes])
            return found and self._told(*found, outcomes)
        off = [i for i, (got, e) in enumerate(zip(outcomes, self._expected, strict=True)) if not agree(got, e)]
        if not off:
            return None
        off.sort(key=lambda i: len(v.shown_all(self._names, cases[i].arguments)))  # the shortest input is shown
        again = run(answer, self.cases()[off[0]].arguments, 2**31)
        if numbers(again.value) is not None and not agree(outcomes[off[0]], again):
            return self._told(CHANCE, off[0], outcomes)
        sentence = self._named(answer, outcomes, off)
        if sentence is None and told_of_stop:
            return self._told(*told_of_stop, outcomes)
        shows = [i for i in off for r, told in self._mistaken if told == sentence and agree(outcomes[i], r[i], True)]
        return self._told(sentence or f"not the values that are asked for: {self.task}", (shows or off)[0], outcomes)

    def _named(self, answer: Callable, outcomes: list[Outcome], off: list[int]) -> str | None:
        """The likeliest mistake: one of the exercise's own, in any shape, or one that answers to any exercise have."""
        explained = functools.partial(o.explained_by, outcomes, self._expected)
        own = explained(self._mistaken) or explained(self._mistaken, flat=True)
        if own or any(outcome.error for outcome in outcomes):
            return own
        parts = [one.value if isinstance(one.value, (list, tuple)) else () for one in outcomes]
        for part in (0, 1, slice(-1)) if min(map(len, parts)) > 1 else ():
            if all(agree(Outcome(some[part]), e) for some, e in zip(parts, self._expected, strict=True)):
                return f"more comes back than is asked for; a part of it is right. Expected: {self.task}"
        answers, wanted = ([numbers(one.value) for one in every] for every in (outcomes, self._expected))
        strange = [outcome.value for outcome, number in zip(outcomes, answers, strict=True) if number is None]
        found = no_numbers(strange[0]) if strange else explained(self._universal)
        for name, given in zip(self._names, zip(*(case.arguments for case in self.cases()), strict=True), strict=True):
            if all(agree(Outcome(g), got, flat=True) for g, got in zip(given, outcomes, strict=True)):
                found = found or f"`{name}` comes back as it was given."
        found = found or o.kind_of_mistake(answers, wanted, off) or self._of_arguments(answer, outcomes)
        if found is None and len(off) < len(answers):
            labels = "; ".join(list(dict.fromkeys(self.cases()[i].label for i in off))[:3])
            found = f"right for {len(answers) - len(off)} of {len(answers)} inputs, not for: {labels}."
        return f"{found} Expected: {self.task}" if found else None

    def _of_arguments(self, answer: Callable, outcomes: list[Outcome]) -> str | None:
        """Whether an argument is not used, has changed places with another, or enters as something else than it is."""
        given = [case.arguments for case in self.cases()]
        for i, name in enumerate(self._names):
            other = o.elsewhere(given, i)
            right = [run(self.reference, arguments) for arguments in other]
            matters = not any(one.error for one in right) and not all(map(agree, right, 2 * self._expected))
            if matters and all(agree(run(answer, a), was) for a, was in zip(other, 2 * outcomes, strict=True)):
                return f"`{name}` makes no difference to what comes back; it should."
        return o.explained_by(outcomes, self._expected, self._alternative, partly=False)

    def _by_chance(self, function: Callable) -> str | None:
        """Whether a second call gives the same, and the global random numbers are left alone."""
        one, two = (run(function, self.cases()[0].arguments, seed) for seed in (1, 2))
        if any(a == b for a, b in zip(one.traces, two.traces, strict=True)):
            return "your function seeds the global random numbers, for everything that runs after it."
        return None if self.examine or agree(one, two) else CHANCE

    def _gradients(self, function: Callable) -> str | None:
        got, right = self._slopes(function), self._slopes(self.reference)
        differ = [i for i, slopes in enumerate(right) if not o.same_slopes(got[i], slopes)]
        if not differ:
            return None
        for slopes, sentence in self._mistaken_slopes:
            parts = [i for i in range(len(right)) if not o.same_slopes(slopes[i], right[i])]
            if parts and all(o.same_slopes(got[i], slopes[i]) for i in parts):
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
        return f"the values are right, but a part of the gradient to {wanted} is NaN or cut off (detach, no_grad)."

    # --- what the reference and the mistakes give ---------------------------------------------------------------------

    @functools.cached_property
    def _names(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    @functools.cached_property
    def known(self) -> list[tuple[Callable, str]]:
        """All known wrong answers as functions, each with the sentence that names it."""
        near = self.reference.__globals__
        pairs = [(wrong, told) for key, told in self.mistakes.items() for wrong in near.get(key, key.split(" | "))]
        return [(edited(self.reference, wrong), told) for wrong, told in pairs]

    @functools.cached_property
    def _expected(self) -> list[Outcome]:
        return [run(self.reference, case.arguments) for case in self.cases()]

    @functools.cached_property
    def _mistaken(self) -> o.Wrong:
        return [([run(wrong, case.arguments) for case in self.cases()], told) for wrong, told in self.known]

    @functools.cached_property
    def _universal(self) -> o.Wrong:
        """What the mistakes of any exercise make of the right values."""
        right = [(numbers(outcome.value),) for outcome in self._expected]
        return [([run(wrong, value) for value in right], told) for wrong, told in o.UNIVERSAL]

    @functools.cached_property
    def _alternative(self) -> o.Wrong:
        """What the reference gives where an argument is another one, or something else than it is."""
        others = o.alternatives(self._names, [case.arguments for case in self.cases()])
        return [([run(self.reference, arguments) for arguments in changed], told) for changed, told in others]

    @functools.cached_property
    def _mistaken_slopes(self) -> list[tuple[list, str]]:
        """Of the mistakes that leave the values right."""
        right = [all(map(agree, results, self._expected)) for results, _ in self._mistaken]
        return [(self._slopes(wrong), told) for wrong, told in itertools.compress(self.known, right)]

    def _slopes(self, function: Callable) -> list[list[np.ndarray | None] | str]:
        """Of each case, the gradients of a weighted sum of the answer at the arguments in `learns`, or why none."""
        at = [self._names.index(name) for name in self.learns]
        return [o.slope(function, case.arguments, at, self.cut) for case in self.cases() if case.gradient]

    def _told(self, sentence: str, i: int, outcomes: list[Outcome]) -> str:
        """The sentence, and below it what was given, what came back and what was expected."""
        lines = [sentence]
        if self._names:
            lines.append(f"given      {v.shown_all(self._names, self.cases()[i].arguments)}")
        if outcomes[i].error is None and not (self.is_value and self.examine):
            lines.append(f"came back  {v.shown(outcomes[i].value)}")
        if self.examine is None:
            lines.append(f"expected   {v.shown(self._expected[i].value)}")
        if outcomes[i].printed.strip():
            lines.append(f"printed    {v.one_line(outcomes[i].printed)}")
        return "\n  ".join(lines)


def exercise(inputs: Any = None, sizes: Sequence[tuple] = (), **more: Any) -> Callable[[Callable], Exercise]:
    """The check whose right answer stands below it, with what stands under its name in ``words.yaml``."""
    return lambda right: Exercise(right, **{"inputs": inputs, "sizes": sizes} | more | WORDS.get(right.__name__, {}))
