"""Exercises of notebook 6: a sweep of fitted Q iteration, the batch constraint, Kaplan-Meier, a gap between groups."""

from __future__ import annotations

import numpy as np

from .judging import exercise


def _decisions(count: int, cells: int, states: int, discount: float) -> tuple:
    draw = np.random.default_rng(count)
    cell = np.r_[:cells, draw.integers(0, cells, count - cells)]  # none is empty
    reward, following = draw.normal(0.5, 1, count).round(2), draw.integers(0, states, count)
    return cell, reward, following, draw.normal(2, 1, states).round(2), discount, cells


@exercise(_decisions, [(8, 4, 2, 0.5), (9, 3, 2, 0.0), (30, 6, 3, 0.9), (5, 1, 1, 0.95), (200, 12, 6, 0.95)])
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
    {
        "a rare action that looks best": (_VALUES, _COUNT, 10),
        "nothing is known": (_VALUES, [[3, 2, 1], [30, 2, 15]], 10),
        "just enough": (_VALUES, [[5, 4, 10], [3, 10, 11]], 10),
        "negative values": (-_VALUES - 1, _COUNT, 10),
        **{f"{size[0]} x {size[1]}": _tried(*size) for size in ((6, 19, 10), (4, 2, 1), (1, 5, 3))},
    }
)
def check_best_known(values, count, minimum):
    known = count >= minimum
    best = np.where(known, values, -np.inf).argmax(axis=1)
    return np.where(known.any(axis=1), best, -1)


def _followed(n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(n)
    return draw.integers(0, 12, n), draw.random(n) < 0.6


@exercise(
    {
        "six patients": ([2, 3, 3, 5, 8, 8], [True, True, False, True, False, False]),
        "all reach it": ([1, 4, 4, 2], [True] * 4),
        "nobody does": ([3, 1], [False] * 2),
        "in month 0": ([0, 0, 2], [True, False, True]),
        **{f"{n} patients": _followed(n) for n in (15, 80)},
    }
)
def check_kaplan_meier(months, reached):
    month = np.arange(months.max() + 1)[:, None]
    at_risk, events = (months >= month).sum(1), (reached & (months == month)).sum(1)
    return 1 - np.cumprod(1 - events / at_risk)


_FEW = [0.9, 0.8, 0.2, 1.0]


@exercise(
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
)
def check_gap(outcome, in_group):
    if in_group.all() or not in_group.any():
        return np.nan
    return float(outcome[~in_group].mean() - outcome[in_group].mean())
