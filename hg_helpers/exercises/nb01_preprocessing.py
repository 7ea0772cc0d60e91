"""Checks of notebook 1: switches, Box-Cox and its likelihood, scaling, decoding, sequences.

Every expected value is computed here, with scipy or plain numpy, from small tables that are not those of the page.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from .judging import mistake, same, unanswered, verdict


def check_switches(answer: Callable[[pd.DataFrame, list[str]], Any]) -> bool:
    """``answer(table, columns)``: in how many months each patient's regimen differs from the month before."""
    columns = ["Base Drug Combo", "Extra pk-En"]
    table = pd.DataFrame(
        {
            "PatientID": np.repeat([0, 1, 2], 4),
            "Timestep": np.tile(np.arange(4), 3),
            # there and back; both columns in one month; the second column alone, three times
            "Base Drug Combo": [0, 1, 0, 0, 2, 2, 0, 0, 1, 1, 1, 1],
            "Extra pk-En": [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1],
        }
    )
    value, problem = _tried(answer, table, columns)
    if problem is None:
        codes = table[columns].to_numpy().reshape(3, 4, 2)  # (patients, months, columns)
        changed = codes[:, 1:] != codes[:, :-1]
        expected = changed.any(axis=2).sum(axis=1)
        flat = table[columns].ne(table[columns].shift())
        flat.iloc[0] = False
        distinct = [len(np.unique(patient, axis=0)) for patient in codes]
        mistakes = [
            (
                flat.any(axis=1).to_numpy().reshape(3, 4).sum(axis=1),
                "a patient's first month is compared with the last month of the patient before; shift within "
                "groupby('PatientID').",
            ),
            (
                expected + 1,
                "one too many for everybody: a patient's first month has no month before it (NaN differs from "
                "everything), so leave it out.",
            ),
            (
                np.array(distinct) - 1,
                "these are distinct regimens less one; a patient who switches and comes back has switched twice.",
            ),
            (distinct, "these are distinct regimens, not changes from one month to the next."),
            (
                changed.sum(axis=(1, 2)),
                "columns are counted one by one; a month in which two of them change is one switch: any(axis=1).",
            ),
            (
                changed[:, :, 0].sum(axis=1),
                "only the first column is looked at; a regimen is all of `columns` jointly.",
            ),
            (expected.sum(), "this is the sum over all patients; one number a patient is asked for."),
            (expected / 3, "these are shares; return the number of switches."),
        ]
        problem = _compared(value, expected, mistakes, "not the number of switches a patient; the expected is {}.")
    return verdict(problem, "switches are counted within a patient, and over all columns jointly.")


def check_box_cox(answer: Callable[[np.ndarray, float], Any]) -> bool:
    """``answer(x, lam)``: (x**lam - 1) / lam, and the natural logarithm where lam is 0."""
    x = np.array([2.0, 50.0, 700.0])
    problem = None
    for lam in (0.5, -0.25, 0.0, 1.0):
        value, problem = _tried(answer, x, lam)
        if problem is None:
            expected = special.boxcox(x, lam)
            mistakes = [
                (np.log10(x), "at lambda 0 this is the logarithm to base 10; the limit is the natural one, np.log."),
                (x**lam, f"at lambda {lam} this is x**lam alone; subtract 1 and divide by lambda."),
                (x**lam - 1, f"at lambda {lam} the division by lambda is missing; it keeps the order when lambda < 0."),
                (x**lam / (lam or np.nan), f"at lambda {lam} the minus 1 is missing; it makes lambda 0 the logarithm."),
                ((1 - x**lam) / (lam or np.nan), f"at lambda {lam} the sign is turned round: it is x**lam - 1."),
                (np.log(x), f"at lambda {lam} this is the logarithm, which belongs to lambda 0 only."),
            ]
            otherwise = f"at lambda {lam} and x = {x.tolist()} the expected is {{}}."
            if lam == 0 and not np.isfinite(_array(value)).all():
                problem = "at lambda 0 the formula divides 0 by 0; there, return the natural logarithm."
            else:
                problem = _compared(value, expected, mistakes, otherwise)
        elif lam == 0 and "ZeroDivision" in problem:
            problem = "at lambda 0 the formula divides by zero; there, return the natural logarithm."
        if problem is not None:
            break
    return verdict(problem, "one family from the plain values (1) over the square root (0.5) to the logarithm (0).")


def check_log_likelihood(answer: Callable[[np.ndarray, float], Any]) -> bool:
    """``answer(x, lam)``: -n/2 log var(y) + (lam - 1) sum log x, with y the Box-Cox transform."""
    x = np.array([0.5, 3.0, 20.0, 150.0, 4000.0])
    problem = None
    for lam in (-0.3, 0.4, 0.0):
        value, problem = _tried(answer, x, lam)
        if problem is None:
            y, n = special.boxcox(x, lam), len(x)
            slope = (lam - 1) * np.log(x).sum()
            fit = -n / 2 * np.log(y.var())
            expected = stats.boxcox_llf(lam, x)
            mistakes = [
                (fit, "the slope term (lambda - 1) * sum(log x) is missing; without it, squeezing always wins."),
                (-expected, "the sign is turned round: a log-likelihood is largest where the fit is best."),
                (-n / 2 * np.log(y.var(ddof=1)) + slope, "the variance is divided by n - 1; the likelihood's is by n."),
                (-n / 2 * np.log(y.std()) + slope, "the logarithm of the standard deviation; it is of the variance."),
                (-fit + slope, "the first term is -n/2 log var, with a minus: a small variance is likely."),
                (fit - slope, "the second term has the wrong sign: it is plus (lambda - 1) * sum(log x)."),
                (fit + (lam - 1) * x.sum(), "the second term sums the values; sum their logarithms."),
                (fit + (lam - 1) * np.log(x).mean(), "the second term is a sum over all values, not a mean."),
                (fit + lam * np.log(x).sum(), "the slope of y is x**(lambda - 1): the factor is lambda - 1."),
                (-np.log(y.var()) / 2 + slope, "the first term is times n, the number of values."),
                (-n / 2 * y.var() + slope, "the logarithm of the variance is missing in the first term."),
            ]
            problem = _compared(
                value, expected, mistakes, f"at lambda {lam} and x = {x.tolist()} the expected is {{}}."
            )
        if problem is not None:
            break
    return verdict(problem, "a close fit is rewarded, squeezing the axis is not.")


def check_scale(answer: Callable[[np.ndarray, np.ndarray], Any]) -> bool:
    """``answer(train_values, new_values)``: min-max by the training values, clipped to [0, 1]."""
    train = np.array([2.0, 4.0, 10.0])
    low, high = train.min(), train.max()
    problem = None
    for new in (np.array([4.0, 8.0, 14.0]), np.array([1.0, 2.0, 8.0])):
        value, problem = _tried(answer, train, new)
        if problem is None:
            both = np.r_[train, new]
            expected = np.clip((new - low) / (high - low), 0, 1)
            mistakes = [
                ((new - low) / (high - low), "values outside the training range must be clipped to 0 and 1."),
                (
                    (new - new.min()) / np.ptp(new),
                    "this takes minimum and range from the new values; the same value would become another number in "
                    "every table. Use the training values'.",
                ),
                ((new - both.min()) / np.ptp(both), "the new values widen the range; only the training values set it."),
                ((new - train.mean()) / train.std(), "this is standardisation; min-max is (value - minimum) / range."),
                (
                    np.clip((new - train.mean()) / train.std(), 0, 1),
                    "this is standardisation, clipped; min-max is (value - minimum) / range.",
                ),
                (np.clip(new / high, 0, 1), "the minimum is not subtracted, so the smallest training value is not 0."),
                (np.clip((new - low) / high, 0, 1), "divide by the range, maximum - minimum, not by the maximum."),
                (np.clip(new, low, high), "clipped, but not scaled: subtract the minimum and divide by the range."),
                ((train - low) / (high - low), "these are the training values, scaled; scale the new ones."),
            ]
            otherwise = f"for training values {train.tolist()} and new values {new.tolist()} the expected is {{}}."
            problem = _compared(value, expected, mistakes, otherwise)
        if problem is not None:
            break
    return verdict(problem, "scaled by the training patients, and clipped beyond them.")


def check_decode(answer: Callable[[np.ndarray, tuple], Any]) -> bool:
    """``answer(block, codes)``: the code of the largest channel of each row."""
    block = np.array([[0.6, 0.3, 0.1], [0.2, 0.35, 0.45], [0.1, 0.5, 0.4], [0.4, 0.3, 0.3]])  # no share is sure
    codes = (1, 2, 7)
    value, problem = _tried(answer, block, codes)
    if problem is None:
        position = block.argmax(axis=1)
        expected = np.asarray(codes)[position]
        mistakes = [
            (position, "these are positions 0, 1, 2; look up the table's codes at them: np.asarray(codes)[position]."),
            (position + 1, "positions plus one; codes need not be 1, 2, 3, so look them up."),
            (block.argmax(axis=0), "argmax over the rows, axis=0; each row is a month, so take axis=1."),
            (np.asarray(codes)[block.argmax(axis=0)], "argmax over the rows, axis=0; each row is a month: axis=1."),
            (block.max(axis=1), "these are the largest shares; argmax says where they stand."),
            (np.asarray(codes)[block.argmin(axis=1)], "these are the least likely levels: argmax, not argmin."),
            (block @ np.asarray(codes), "this averages the codes; codes are names and have no mean."),
            (np.asarray(codes)[(block > 0.5).argmax(axis=1)], "a level can be the largest without passing 0.5."),
            (np.asarray(codes)[block.argmax()], "argmax over the whole block; one level a row is asked for: axis=1."),
            (int(block.argmax()), "argmax over the whole block; one level a row is asked for: axis=1."),
        ]
        problem = _compared(value, expected, mistakes, f"for codes {codes} the expected is {{}}.")
    return verdict(problem, "the most probable level of each month, in the table's codes.")


def check_sequences(answer: Callable[[pd.DataFrame, str, int], Any]) -> bool:
    """``answer(table, column, months)``: one column as (patients, months), whatever the order of the rows."""
    patients, months = 2, 3
    truth = np.array([[10.0, 11.0, 12.0], [21.0, 20.0, 22.0]])
    by_month = pd.DataFrame(
        {
            "PatientID": np.tile(np.arange(patients), months),
            "Timestep": np.repeat(np.arange(months), patients),
            "VL": truth.T.ravel(),
        }
    )
    shuffled = by_month.iloc[[3, 4, 0, 5, 2, 1]]
    problem = None
    for table in (shuffled, by_month):
        value, problem = _tried(answer, table, "VL", months)
        if problem is None:
            rows = table["VL"].to_numpy()
            mistakes = [
                (truth.T, "the axes are (months, patients); patients come first."),
                (truth.T.reshape(patients, months), "sorted by month first; sort by patient first, then by month."),
                (
                    rows.reshape(patients, months),
                    "the rows are reshaped as they stand, so a sequence mixes patients; sort them first.",
                ),
                (
                    rows.reshape(months, patients).T,
                    "right only for rows that are sorted by month; these are in no order. Sort by patient and month.",
                ),
                (
                    np.stack([part["VL"].to_numpy() for _, part in table.groupby("PatientID")]),
                    "each sequence holds one patient, but its months are not in order; sort by month as well.",
                ),
                (np.sort(rows).reshape(patients, months), "the values themselves are sorted; sort the rows by id."),
                (truth.ravel(), "the order is right; reshape it to (patients, months)."),
            ]
            problem = _compared(value, truth, mistakes, "not one patient a row with the months in order; expected {}.")
        if problem is not None:
            break
    return verdict(problem, "one patient a row, months in order, whatever the order of the table.")


def _tried(answer: Any, *arguments: Any) -> tuple[Any, str | None]:
    """What a learner's function returns for copies of the arguments, or the message about why there is nothing."""
    if not callable(answer):
        return None, unanswered(answer) or f"a function is asked for, not {type(answer).__name__}."
    copies = [a.copy() if isinstance(a, (np.ndarray, pd.DataFrame, list)) else a for a in arguments]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = answer(*copies)
    except Exception as error:  # whatever a learner's function may raise is told, and is no crash
        return None, f"the function stopped with {type(error).__name__}: {error}"
    return value, unanswered(value)


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return np.zeros(1)


def _compared(value: Any, expected: Any, mistakes: list[tuple[Any, str]], otherwise: str) -> str | None:
    """None for a right value; else the mistake that it looks like. ``{}`` in ``otherwise`` is the expected value."""
    wanted = np.asarray(expected)
    otherwise = otherwise.replace("{}", str(np.round(wanted, 4).tolist()))
    try:
        if same(value, expected):
            return None
        if not isinstance(value, (str, dict)) and np.shape(value) != wanted.shape:
            otherwise = f"the shape is {np.shape(value)}, not {wanted.shape}; {otherwise}"
        return mistake(value, mistakes, otherwise)
    except Exception:  # an answer that cannot even be looked at as numbers
        return f"a {type(value).__name__} came back that cannot be compared; {otherwise}"
