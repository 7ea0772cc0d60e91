"""Usefulness: would an analysis of synthetic patients come to the same conclusion? The parts that notebook 06 derives.

>>> curve = kaplan_meier([2, 3, 3, 5], [True, True, False, False])
>>> curve["reached"].tolist()  # of four, one after two months; of the three left, one after three
[0.0, 0.0, 0.25, 0.5, 0.5, 0.5]
>>> round(restricted_mean(curve, 4), 4)  # months until then, of the first four
3.25
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .metric import Cohort, metric


@metric()
def time_to_outcome(cohort: Cohort, threshold: float | None = None) -> pd.DataFrame:
    """How long each patient takes until the schema's real feature with role "outcome" is below a threshold.

    That is in the feature's units; by default ``Feature.threshold``. One row a patient, index the patient's id:
    ``start``, the first known outcome; ``months`` until it is first below; ``reached``, False where it never is
    (``months`` is then the last month in which it is known).
    """
    outcome = next((f for f in cohort.schema.real if f.role == "outcome"), None)
    threshold = threshold if outcome is None or threshold is not None else outcome.threshold
    if outcome is None or threshold is None:
        raise ValueError("the schema names no real feature with role 'outcome', or there is no threshold: give both")
    values, known = cohort.values(outcome.name), cohort.known(outcome.name)
    below, last = values < threshold, cohort.months - 1 - known[:, ::-1].argmax(axis=1)
    months = np.where(below.any(axis=1), below.argmax(axis=1), np.where(known.any(axis=1), last, 0))
    start = values[np.arange(len(values)), known.argmax(axis=1)]
    table = {"start": start, "months": months, "reached": below.any(axis=1)}
    return pd.DataFrame(table, index=pd.Index(cohort.patients, name=cohort.schema.patient)).sort_index()


def kaplan_meier(months: Sequence[int], reached: Sequence[bool]) -> pd.DataFrame:
    """The share that has reached an outcome, month by month, some not followed to the end (Kaplan & Meier 1958).

    ``months`` are whole numbers from 0: when the outcome was ``reached``, or until when the patient was seen without.
    One row a month from 0 to the last one, index the month: ``at_risk``, ``events``, ``reached`` (1 - S).
    """
    months, reached = np.asarray(months, dtype=int), np.asarray(reached, dtype=bool)
    if not len(months) or months.min() < 0:
        raise ValueError("Kaplan-Meier needs at least one patient, and months from 0 on")
    events = np.bincount(months[reached], minlength=months.max() + 1)
    at_risk = np.bincount(months)[::-1].cumsum()[::-1]
    share = 1 - np.cumprod(1 - events / at_risk)
    return pd.DataFrame({"at_risk": at_risk, "events": events, "reached": share}).rename_axis("month")


def restricted_mean(curve: pd.DataFrame, until: int) -> float:
    """Mean months without the outcome, of the first ``until``: the area above :func:`kaplan_meier`'s curve."""
    return float((1 - curve["reached"].reindex(range(until)).ffill()).sum())


def fitted_q(
    state: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    following: np.ndarray,
    shape: tuple[int, int],
    minimum: int = 10,
    discount: float = 0.9,
) -> np.ndarray:
    """Value of each action in each state, learnt from what was done: tabular fitted Q iteration, batch-constrained.

    ``state``, ``action`` and ``following`` (the next state) are numbers, one entry a decision, below ``shape``: states
    and actions. An action that was taken less often than ``minimum`` in a state is left out there: nobody knows what it
    does, and its value is NaN; a state in which no action is left is worth 0. ``discount`` is what a reward is worth
    one step later. Source: Ernst, Geurts & Wehenkel 2005; the constraint: Fujimoto, Meger & Precup 2019.
    """
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be at least 0 and below 1, or values grow without end; not {discount!r}")
    cell, size = state * shape[1] + action, shape[0] * shape[1]
    count = np.bincount(cell, minlength=size)
    known = (count >= max(minimum, 1)).reshape(shape)
    best, change = np.zeros(shape[0]), 1.0
    while change > 1e-9:
        total = np.bincount(cell, weights=reward + discount * best[following], minlength=size)
        values = np.where(known, (total / np.maximum(count, 1)).reshape(shape), -np.inf)
        newest = np.where(known.any(axis=1), values.max(axis=1), 0.0)
        best, change = newest, np.abs(newest - best).max()
    return np.where(known, values, np.nan)
