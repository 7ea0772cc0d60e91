"""Predict, then run: what a learner wrote down before a cell, held against what came of it.

>>> predicted(0.5, 0.031)
You said 0.5, and it is 0.031: too high.
>>> predicted(["b", "a", "c"], ["a", "b", "c"])
You said b, a, c; it is a, b, c: 1 of 3 in the right place.
"""

from __future__ import annotations

from typing import Any

UNGUESSED = (
    "You have not guessed. Write a guess into the cell above, run it, and come back: a surprise is what one remembers."
)


def predicted(guess: Any, happened: Any, near: float = 0.2) -> None:
    """Print what a guess was worth.

    A number is about right within ``near`` of what happened, as a share of it; a list is compared place by place; words
    are compared without regard to capitals, and ``"yes"`` and ``"no"`` may stand for True and False.
    """
    if guess is None or guess is ...:
        print(UNGUESSED)
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
