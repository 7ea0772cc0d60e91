"""Values that come from outside: what they must be is said by the error, and Python's own value comes back.

>>> whole_number("patients", True)
Traceback (most recent call last):
ValueError: patients must be a whole number of at least 1, not True
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

LARGEST = 2**63 - 1  # what fits into torch's and numpy's whole numbers


def whole_number(name: str, value: Any, least: int = 1, most: int = LARGEST) -> int:
    """The value as an ``int``, from Python or numpy; True and False are no numbers."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        limit = f" and at most {most}" if most < LARGEST else ""
        if isinstance(value, Integral) and value > LARGEST:
            limit = " and below 2**63"
        raise ValueError(f"{name} must be a whole number of at least {least}{limit}, not {value!r}")
    return int(value)


def real_number(name: str, value: Any, low: float, high: float) -> float:
    """The value as a ``float``, from Python or numpy; NaN lies nowhere, and True and False are no numbers."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, not {value!r}")
    return float(value)


def true_or_false(name: str, value: Any) -> bool:
    """The value, which must be True or False and nothing that counts as such."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return value


def one_of(name: str, value: Any, *allowed: str | None) -> str | None:
    """The value, which must be one of those allowed."""
    if not (value is None or isinstance(value, str)) or value not in allowed:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(map(repr, allowed))}")
    return value if value is None else str(value)
