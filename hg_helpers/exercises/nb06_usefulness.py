"""Exercises of notebook 6: a sweep of fitted Q iteration, the batch constraint, Kaplan-Meier, a gap between groups."""

from __future__ import annotations

import numpy as np

from ..metrics import kaplan_meier
from .judging import Case, Exercise

# --- fitted Q iteration -----------------------------------------------------------------------------------------------


def _decisions() -> list[Case]:
    random = np.random.default_rng(3)
    toy = (np.array([0, 0, 1, 1, 2, 2, 2, 3]), np.array([0, 0, 0.7, -0.3, 1, 1, 0, 0.7]))
    toy += (np.array([0, 0, 1, 0, 1, 1, 0, 1]), np.array([0.2, 0.6]), 0.5, 4)
    cases = [Case("the eight decisions", toy)]
    for label, count, cells, states, discount in (
        ("discount 0", 9, 3, 2, 0.0),
        ("30 decisions", 30, 6, 3, 0.9),
        ("one cell", 5, 1, 1, 0.95),
        ("200 decisions", 200, 12, 6, 0.95),
    ):
        cell = np.concatenate([np.arange(cells), random.integers(0, cells, count - cells)])
        reward, following = random.normal(0.5, 1, count).round(2), random.integers(0, states, count)
        best = random.normal(2, 1, states).round(2)
        cases.append(Case(label, (cell, reward, following, best, discount, cells)))
    return cases


def sweep(cell, reward, following, best, discount, cells) -> np.ndarray:
    return _means(cell, reward + discount * best[following], cells)


def _means(cell: np.ndarray, value: np.ndarray, cells: int) -> np.ndarray:
    return np.bincount(cell, value, cells) / np.bincount(cell, minlength=cells)


check_sweep = Exercise(
    sweep,
    _decisions,
    "the reward now, and the discounted best that the next state promises, averaged in each cell.",
    "of each cell the mean of reward + discount * best[following] over its decisions.",
    (
        (lambda c, r, f, b, d, n: _means(c, r, n), "only the reward counts here; what follows it is missing."),
        (lambda c, r, f, b, d, n: _means(c, r + b[f], n), "a step later is worth less: `discount` is missing."),
        (lambda c, r, f, b, d, n: _means(c, d * (r + b[f]), n), "the reward comes now and is not discounted."),
        (lambda c, r, f, b, d, n: _means(c, d * b[f], n), "what comes later is there, the reward now is missing."),
        (
            lambda c, r, f, b, d, n: np.bincount(c, r + d * b[f], n),
            "these are sums; a cell with many decisions is not a better one: divide by their number.",
        ),
        (
            lambda c, r, f, b, d, n: _means(c, r + d * b.max(), n),
            "the best of all states was added; it is that of each decision's own next state, best[following].",
        ),
        (
            lambda c, r, f, b, d, n: _means(c, r + d * b.mean(), n),
            "the mean over states was added; it is that of each decision's own next state, best[following].",
        ),
        (
            lambda c, r, f, b, d, n: _means(c, r - d * b[f], n),
            "what follows is taken off; a good next state makes a decision better.",
        ),
        (
            lambda c, r, f, b, d, n: [(r + d * b[f])[c == k].max() for k in range(n)],
            "the luckiest decision of each cell is kept; chance would be taken for skill: take the mean.",
        ),
        (lambda c, r, f, b, d, n: r + d * b[f], "that is one number a decision; average them by `cell`."),
        (lambda c, r, f, b, d, n: _means(c, (1 - d) * r + d * b[f], n), "the reward counts fully, not 1 - discount."),
    ),
)

# --- the batch constraint ---------------------------------------------------------------------------------------------


def _values() -> list[Case]:
    random = np.random.default_rng(4)
    values, count = np.array([[0.1, 0.4, 9.0], [0.9, 0.7, 0.2]]), np.array([[20, 12, 1], [30, 2, 15]])
    cases = [Case("a rare action that looks best", (values, count, 10))]
    cases.append(Case("nothing is known", (values, np.array([[3, 2, 1], [30, 2, 15]]), 10)))
    cases.append(Case("just enough", (values, np.array([[5, 4, 10], [3, 10, 11]]), 10)))
    cases.append(Case("negative values", (-values - 1, count, 10)))
    for states, actions, minimum in ((6, 19, 10), (4, 2, 1), (1, 5, 3)):
        values = random.normal(0, 2, (states, actions)).round(2)
        cases.append(Case(f"{states} x {actions}", (values, random.integers(0, 3 * minimum, values.shape), minimum)))
    return cases


def best_known(values, count, minimum) -> np.ndarray:
    return _best(values, count >= minimum)


def _best(values: np.ndarray, known: np.ndarray, none: int = -1) -> np.ndarray:
    return np.where(known.any(axis=1), np.where(known, values, -np.inf).argmax(axis=1), none)


check_best_known = Exercise(
    best_known,
    _values,
    "the best of what was tried often enough, and -1 where nothing was.",
    "of each state the number of the best action with count >= minimum, -1 where there is none.",
    (
        (lambda v, c, m: v.argmax(1), "an action that was hardly ever taken won: count >= minimum is missing."),
        (lambda v, c, m: _best(v, c > m), "an action taken exactly `minimum` times is known: >=, not >."),
        (lambda v, c, m: _best(v, c >= m, 0), "where nothing is known, 0 comes back: that names an action. Return -1."),
        (
            lambda v, c, m: np.where((c >= m).any(1), np.where(c >= m, v, 0).argmax(1), -1),
            "unknown actions count as 0 here, which beats negative values; use -np.inf.",
        ),
        (lambda v, c, m: np.where((c >= m).any(1), v.argmax(1), -1), "an unknown action won where others are known."),
        (lambda v, c, m: c.argmax(1), "that is the commonest action, not the best."),
        (
            lambda v, c, m: np.where((c >= m).any(1), np.where(c >= m, v, np.inf).argmin(1), -1),
            "that is the worst known action.",
        ),
        (lambda v, c, m: np.where(c >= m, v, -np.inf).max(1), "these are values; the number of the action is asked."),
        (lambda v, c, m: _best(v, c < m), "the rare actions were kept and the known ones left out."),
        (
            lambda v, c, m: _best(v * c, c >= m),
            "values were weighted by how often an action was taken; compare values.",
        ),
        (lambda v, c, m: np.where(c >= m, v, -np.inf).argmax(0), "one action a state: axis=1, not axis=0."),
    ),
)

# --- Kaplan-Meier -----------------------------------------------------------------------------------------------------


def _followed() -> list[Case]:
    random = np.random.default_rng(5)
    cases = [Case("six patients", (np.array([2, 3, 3, 5, 8, 8]), np.array([1, 1, 0, 1, 0, 0], dtype=bool)))]
    cases.append(Case("all reach it", (np.array([1, 4, 4, 2]), np.ones(4, dtype=bool))))
    cases.append(Case("nobody does", (np.array([3, 1]), np.zeros(2, dtype=bool))))
    cases.append(Case("in month 0", (np.array([0, 0, 2]), np.array([True, False, True]))))
    for n in (15, 80):
        cases.append(Case(f"{n} patients", (random.integers(0, 12, n), random.random(n) < 0.6)))
    return cases


def reached_share(months, reached) -> np.ndarray:
    return kaplan_meier(months, reached)["reached"].to_numpy()


def _by_month(months: np.ndarray, reached: np.ndarray, risk) -> np.ndarray:
    """1 - S, with the number at risk in a month as ``risk(month)`` says."""
    waiting, out = 1.0, []
    for month in range(months.max() + 1):
        waiting *= 1 - (reached & (months == month)).sum() / max(risk(month), 1)
        out.append(1 - waiting)
    return np.array(out)


def _naive(months: np.ndarray, reached: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.array([(reached & (months <= m) & of).sum() / max(of.sum(), 1) for m in range(months.max() + 1)])


check_kaplan_meier = Exercise(
    reached_share,
    _followed,
    "who is no longer followed leaves the denominator, and is not counted as a failure.",
    "1 - S for each month from 0 to the last: S is the product of 1 - events / at risk so far.",
    (
        (
            lambda m, r: _naive(m, r, np.ones(len(m), bool)),
            "all patients are in the denominator to the end; who was lost before cannot be seen to reach it.",
        ),
        (
            lambda m, r: _naive(m, r, r),
            "whoever was lost is left out altogether; until that month such a person was seen waiting.",
        ),
        (
            lambda m, r: _by_month(m, r, lambda k: (m > k).sum()),
            "at risk in a month are those with months >= month: who reaches it then was at risk too.",
        ),
        (
            lambda m, r: _by_month(m, r, lambda k: len(m)),
            "the number at risk never falls here; count who is still waiting in each month.",
        ),
        (lambda m, r: _by_month(m, r | True, lambda k: (m >= k).sum()), "being lost is counted as reaching it."),
        (lambda m, r: _by_month(m, ~r, lambda k: (m >= k).sum()), "`reached` is the wrong way round."),
        (
            lambda m, r: 1 - reached_share(m, r),
            "this is S, the share still waiting; 1 - S, the share that has reached it, is asked for.",
        ),
        (
            lambda m, r: (
                np.bincount(m[r], minlength=m.max() + 1) / [max((m >= k).sum(), 1) for k in range(m.max() + 1)]
            ),
            "these are each month's hazards; multiply up the 1 - hazard, then 1 - the product.",
        ),
        (
            lambda m, r: np.cumsum(
                np.bincount(m[r], minlength=m.max() + 1) / [max((m >= k).sum(), 1) for k in range(m.max() + 1)]
            ),
            "hazards are added; they are shares of fewer and fewer people, so the 1 - hazard must be multiplied.",
        ),
        (lambda m, r: reached_share(m, r)[-1], "only the last month comes back; one number a month is asked for."),
    ),
)

# --- a gap between groups ---------------------------------------------------------------------------------------------


def _groups() -> list[Case]:
    random = np.random.default_rng(6)
    few = np.array([0.9, 0.8, 0.2, 1.0])
    cases = [
        Case("one of four", (few, np.array([False, False, True, False]))),
        Case("the group is ahead", (few, np.array([False, False, False, True]))),
        Case("the group is gone", (few, np.zeros(4, dtype=bool))),
        Case("only the group is left", (few, np.ones(4, dtype=bool))),
    ]
    for n, share in ((12, 0.3), (60, 0.1)):
        cases.append(Case(f"{n} patients", (random.random(n).round(2), np.arange(n) < n * share)))
    return cases


def gap(outcome, in_group) -> float:
    return _difference(outcome, in_group)


def _difference(outcome: np.ndarray, in_group: np.ndarray, absent: float = np.nan) -> float:
    if in_group.all() or not in_group.any():
        return absent
    return float(outcome[~in_group].mean() - outcome[in_group].mean())


check_gap = Exercise(
    gap,
    _groups,
    "how far the group is behind, and undefined, not zero, where it is gone.",
    "the mean of the others less the mean of the group; NaN where either is empty.",
    (
        (lambda o, g: _difference(o, g, 0.0), "a group that is gone has no gap of 0: the gap is undefined, np.nan."),
        (lambda o, g: -_difference(o, g), "the other way round: a group that is behind has a positive gap."),
        (lambda o, g: abs(_difference(o, g)), "the sign says who is behind; leave it there."),
        (
            lambda o, g: o.mean() - o[g].mean() if 0 < g.sum() < len(g) else np.nan,
            "the group is held against everybody, itself included; compare with the others.",
        ),
        (lambda o, g: np.median(o[~g]) - np.median(o[g]) if 0 < g.sum() < len(g) else np.nan, "means, not medians."),
        (
            lambda o, g: o[~g].mean() / o[g].mean() if 0 < g.sum() < len(g) else np.nan,
            "that is a ratio; the difference of the two means is asked for.",
        ),
        (lambda o, g: o[~g].sum() - o[g].sum(), "these are sums: the larger group would always be ahead."),
        (
            lambda o, g: o[~g].mean() - o[g].mean() if g.any() else (o.mean() if len(o) else np.nan),
            "where the group is gone the others' mean comes back as if the group had reached nothing.",
        ),
        (lambda o, g: g.mean(), "this is the size of the group, not how it fares."),
        (lambda o, g: o[g].mean() if g.any() else np.nan, "this is how the group fares; how far is it behind?"),
    ),
)
