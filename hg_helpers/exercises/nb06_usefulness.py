"""Exercises of notebook 6: a sweep of fitted Q iteration, the batch constraint, Kaplan-Meier, a gap between groups."""

from __future__ import annotations

import numpy as np

from .cases import each, written
from .judging import exercise


def _decisions(count: int, cells: int, states: int, discount: float) -> tuple:
    draw = np.random.default_rng(count)
    cell = np.r_[:cells, draw.integers(0, cells, count - cells)]  # none is empty
    reward, following = draw.normal(0.5, 1, count).round(2), draw.integers(0, states, count)
    return cell, reward, following, draw.normal(2, 1, states).round(2), discount, cells


@exercise(
    each(_decisions, [(8, 4, 2, 0.5), (9, 3, 2, 0.0), (30, 6, 3, 0.9), (5, 1, 1, 0.95), (200, 12, 6, 0.95)]),
    "the reward now, and the discounted best that the next state promises, averaged in each cell.",
    "of each cell the mean of reward + discount * best[following] over its decisions.",
    {
        "reward + discount * best[following] -> discount * (reward + best[following])": "the reward is not discounted.",
        "np.bincount(cell, target, cells)": "these are sums; a cell seen often is not better: divide.",
        "[target[cell == k].max() for k in range(cells)]": "the luckiest decision of a cell is kept: take the mean.",
        "target": "that is one number a decision; average them by `cell`.",
        "reward + -> (1 - discount) * reward +": "the reward counts fully, not 1 - discount.",
    },
)
def check_sweep(cell, reward, following, best, discount, cells):
    target = reward + discount * best[following]
    return np.bincount(cell, target, cells) / np.bincount(cell, minlength=cells)


def _tried(states: int, actions: int, minimum: int) -> tuple[np.ndarray, np.ndarray, int]:
    draw = np.random.default_rng(states)
    shape = states, actions
    return draw.normal(0, 2, shape).round(2), draw.integers(0, 3 * minimum, shape), minimum


_VALUES = np.array([[0.1, 0.4, 9.0], [0.9, 0.7, 0.2]])
_COUNT = [[20, 12, 1], [30, 2, 15]]


@exercise(
    written(
        {
            "a rare action that looks best": (_VALUES, _COUNT, 10),
            "nothing is known": (_VALUES, [[3, 2, 1], [30, 2, 15]], 10),
            "just enough": (_VALUES, [[5, 4, 10], [3, 10, 11]], 10),
            "negative values": (-_VALUES - 1, _COUNT, 10),
            **{f"{size[0]} x {size[1]}": _tried(*size) for size in ((6, 19, 10), (4, 2, 1), (1, 5, 3))},
        }
    ),
    "the best of what was tried often enough, and -1 where nothing was.",
    "of each state the number of the best action with count >= minimum, -1 where there is none.",
    {
        ">= -> >": "an action taken exactly `minimum` times is known: >=, not >.",
        "best, -1 -> best, 0": "where nothing is known, 0 comes back: that names an action. Return -1.",
        "-np.inf -> 0": "unknown actions count as 0 here, which beats negative values; use -np.inf.",
        "np.where(known.any(1), values.argmax(1), -1)": "an unknown action won where others are known.",
        "count.argmax(1)": "that is the commonest action, not the best.",
        "-np.inf).argmax -> np.inf).argmin": "that is the worst known action.",
        "np.where(known, values, -np.inf).max(1)": "these are values; the number of the action is asked.",
        ">= -> <": "the rare actions were kept and the known ones left out.",
        "known, values -> known, values * count": "values were weighted by how often an action was taken.",
        "np.where(known, values, -np.inf).argmax(axis=0)": "one action a state: axis=1, not axis=0.",
    },
)
def check_best_known(values, count, minimum):
    known = count >= minimum
    best = np.where(known, values, -np.inf).argmax(axis=1)
    return np.where(known.any(axis=1), best, -1)


def _followed(n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(n)
    return draw.integers(0, 12, n), draw.random(n) < 0.6


@exercise(
    written(
        {
            "six patients": ([2, 3, 3, 5, 8, 8], [True, True, False, True, False, False]),
            "all reach it": ([1, 4, 4, 2], [True] * 4),
            "nobody does": ([3, 1], [False] * 2),
            "in month 0": ([0, 0, 2], [True, False, True]),
            **{f"{n} patients": _followed(n) for n in (15, 80)},
        }
    ),
    "who is no longer followed leaves the denominator, and is not counted as a failure.",
    "1 - S for each month from 0 to the last: S is the product of 1 - events / at risk so far.",
    {
        "(reached & (months <= month)).mean(1)": "all patients are in the denominator; who was lost was not seen.",
        "(reached & (months <= month)).sum(1) / max(reached.sum(), 1)": "who was lost is left out altogether.",
        (
            "(months >= month).sum(1) -> (months > month).sum(1)",
            "(months >= month).sum(1) -> np.maximum((months > month).sum(1), 1)",
        ): "at risk in a month are those with months >= month: who reaches it then was at risk too.",
        ">= month -> >= 0 * month": "the number at risk never falls here; count who is still waiting in each month.",
        "reached & -> ": "being lost is counted as reaching it.",
        "1 - right(months, reached)": "this is S, the share still waiting; 1 - S is asked for.",
        "events / at_risk": "these are each month's hazards; multiply up the 1 - hazard, then 1 - the product.",
        "np.cumsum(events / at_risk)": "hazards are added, but of fewer and fewer people: multiply the 1 - hazard.",
    },
)
def check_kaplan_meier(months, reached):
    month = np.arange(months.max() + 1)[:, None]
    at_risk, events = (months >= month).sum(1), (reached & (months == month)).sum(1)
    return 1 - np.cumprod(1 - events / at_risk)


_FEW = [0.9, 0.8, 0.2, 1.0]


@exercise(
    written(
        {
            "one of four": (_FEW, [False, False, True, False]),
            "the group is ahead": (_FEW, [False, False, False, True]),
            "the group is gone": (_FEW, [False] * 4),
            "only the group is left": (_FEW, [True] * 4),
            **{
                f"{n} patients": (np.random.default_rng(n).random(n).round(2), np.arange(n) < n * share)
                for n, share in ((12, 0.3), (60, 0.1))
            },
        }
    ),
    "how far the group is behind, and undefined, not zero, where it is gone.",
    "the mean of the others less the mean of the group; NaN where either is empty.",
    {
        "np.nan -> 0.0": "a group that is gone has no gap of 0: the gap is undefined, np.nan.",
        "-right(outcome, in_group)": "the other way round: a group that is behind has a positive gap.",
        "abs(right(outcome, in_group))": "the sign says who is behind; leave it there.",
        "[~in_group] -> ": "the group is held against everybody, itself included; compare with the others.",
        "np.median(outcome[~in_group]) - np.median(outcome[in_group])": "means, not medians.",
        "].mean() - -> ].mean() /": "that is a ratio; the difference of the two means is asked for.",
        "mean -> sum": "these are sums: the larger group would always be ahead.",
        "np.nan -> np.nan if in_group.any() else outcome.mean()": "a group of nobody: the others' mean is no gap.",
        "outcome[in_group].mean() if in_group.any() else np.nan": "this is how the group fares; how far is it behind?",
    },
)
def check_gap(outcome, in_group):
    if in_group.all() or not in_group.any():
        return np.nan
    return float(outcome[~in_group].mean() - outcome[in_group].mean())
