"""Exercises of notebook 1: switches, Box-Cox and its likelihood, scaling, decoding, sequences."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from .cases import each, written
from .judging import exercise


def _table(ids: int | list[int], months: int, columns: list[str], below: int) -> pd.DataFrame:
    """Whole numbers in rows sorted by patient and month; other ids than 0, 1, 2 where there is a list of them."""
    ids = list(range(ids)) if isinstance(ids, int) else ids
    numbers = np.random.default_rng(len(ids) + months)
    keys = {"PatientID": np.repeat(ids, months), "Timestep": np.tile(np.arange(months), len(ids))}
    return pd.DataFrame({**keys, **{name: numbers.integers(0, below, len(ids) * months) for name in columns}})


def _regimens(ids: int | list[int], months: int, columns: list[str], drugs: int = 3) -> tuple[pd.DataFrame, list[str]]:
    return _table(ids, months, [*columns, "Other"], drugs), columns


_IDS, _THREE = [3, 7, 20, 21], ["Drug", "Dose", "Route"]
_PAIR = ["Base Drug Combo", "Extra pk-En"]
_ACROSS = tuple(
    f"table[columns].{changed}.any(axis=1).groupby(table['PatientID']).sum()"
    for changed in ("ne(table[columns].shift())", "diff().fillna(0).ne(0)")
)


@exercise(
    each(
        _regimens,
        [(3, 4, _PAIR), (1, 5, ["Drug", "Dose"]), (2, 1, _PAIR), (_IDS, 6, _PAIR), (12, 9, _THREE), (3, 4, _PAIR, 1)],
    ),
    "switches are counted within a patient, and over all columns jointly.",
    "the number of switches, one number a patient.",
    {
        _ACROSS: "a first month is compared with the patient before; shift within groupby.",
        "changes.any(2).sum(1) + 1": "one too many: the first month has no month before it (NaN).",
        "[len(np.unique(c, axis=0)) - 1 for c in codes]": "this is distinct regimens less one; a way back counts too.",
        "changes.sum((1, 2))": "columns are counted one by one; two in one month are one switch: any(axis=1).",
        "changes.all(2).sum(1)": "only months in which all columns change are counted: any, not all.",
        "changes[..., 0].sum(1)": "only the first column is looked at; a regimen is all of `columns`.",
        "(codes != codes[:, :1]).any(2).sum(1)": "each month is compared with the first, not with the one before.",
        "abs(np.diff(codes, axis=1)).sum((1, 2))": "differences of codes are added up; only ask whether they differ.",
        "changes.any((1, 2))": "this is whether somebody switches; how often is asked for.",
        "right(table, _PAIR)": "use `columns`, not two names of your own.",
    },
)
def check_switches(table, columns):
    codes = table[columns].to_numpy().reshape(table["PatientID"].nunique(), -1, len(columns))
    changes = codes[:, 1:] != codes[:, :-1]  # (patients, months - 1, columns)
    return changes.any(axis=2).sum(axis=1).tolist()


def _positive(lam: float, n: int) -> tuple[np.ndarray, float]:
    return (np.array([2.0, 50.0, 700.0]) if n == 3 else np.exp(np.random.default_rng(n).normal(2, 2, n))), lam


@exercise(
    each(_positive, [(lam, n) for lam in (0.5, 1, -0.25, 0, 0.0, 2, -1.5) for n in (3, 2, 40)]),
    "one family from the plain values (1) over the square root (0.5) to the logarithm (0).",
    "(x**lam - 1) / lam, and the natural logarithm of x where lam is 0.",
    {
        ("(x**lam - 1) / lam", "[(v**lam - 1) / lam for v in x.tolist()]"): "lambda 0 asks for the natural logarithm.",
        "log -> log10": "base 10 at lambda 0; the limit is np.log.",
        ("(x**lam - 1) / lam -> x**lam", "x**lam"): "this is x**lam alone; subtract 1 and divide by lambda.",
        "(x**lam - 1) / lam -> x**lam - 1": "the division by lambda is missing; it keeps the order when lambda < 0.",
        "(x**lam - 1) / lam -> x**lam / lam": "the minus 1 is missing.",
        "(x**lam - 1) / lam -> x**lam - 1 / lam": "brackets: (x**lam - 1) / lam.",
        "x**lam - 1 -> 1 - x**lam": "the sign is turned round: x**lam - 1.",
        "x**lam -> lam**x": "base and power have changed places: x**lam.",
        "np.log(x)": "the logarithm belongs to lambda 0 only.",
    },
)
def check_box_cox(x, lam):
    return np.log(x) if lam == 0 else (x**lam - 1) / lam


@exercise(
    each(_positive, [(lam, n) for lam in (0.4, 0, -0.3, 2, 1) for n in (3, 2, 40)]),
    "a close fit is rewarded, squeezing the axis is not.",
    "-n/2 log var(y) + (lam - 1) * sum of log x, with y the Box-Cox transform of x.",
    {
        "var() -> var(ddof=1)": "the variance divides by n - 1; here it is by n.",
        "var() -> std()": "that is the log of the standard deviation, not of var.",
        "-n / 2 -> n / 2": "the first term has a minus: a small variance is likely.",
        "-n / 2 -> -n": "the half in the first term is missing.",
        "-n / 2 -> -1 / 2": "the first term is times n, the number of values.",
        "np.log(y.var()) -> y.var()": "the logarithm of the variance is missing in the first term.",
        "-n / 2 * np.log(y.var())": "the slope term (lambda - 1) * sum(log x) is missing.",
        "+ (lam - 1) -> - (lam - 1)": "the second term's sign is wrong: lambda - 1.",
        "np.log(x).sum() -> x.sum()": "the second term sums the values; sum their logarithms.",
        "sum() -> mean()": "the second term is a sum, not a mean.",
        "(lam - 1) -> lam": "the slope is x**(lambda - 1): the factor is lam - 1.",
        "y.var() -> x.var()": "transform x first.",
        "right(x, lam) / n": "divided by n: the sum over all values is asked for.",
    },
)
def check_log_likelihood(x, lam):
    y, n = special.boxcox(x, lam), len(x)
    return float(-n / 2 * np.log(y.var()) + (lam - 1) * np.log(x).sum())


@exercise(
    written(
        {
            "beyond both ends": ([2.0, 4, 10], [1.0, 4, 8, 14]),
            "all inside": ([0.0, 5, 20], [5.0, 10, 19]),
            "one new value": ([-3.0, 1, 5], [2.0]),
            "all beyond": ([1.0, 3], [-2.0, 7, 8]),
            "negative values": tuple(np.random.default_rng(n).normal(-50, 30 - n / 2, n) for n in (30, 12)),
        }
    ),
    "scaled by the training patients, and clipped beyond them.",
    "(new - training minimum) / training range, clipped to 0 and 1.",
    {
        "(new_values - low) / span": "values outside the training range must be clipped to 0 and 1.",
        "np.minimum((new_values - low) / span, 1)": "values below the training minimum must be clipped to 0.",
        "np.maximum((new_values - low) / span, 0)": "values above the training maximum must be clipped to 1.",
        (
            "train_values -> new_values",
            "train_values.min() -> new_values.min()",
            "np.ptp(train_values) -> np.ptp(new_values)",
        ): "minimum or range is that of the new values; the same value must mean the same in each table.",
        "right(np.r_[train_values, new_values], new_values)": "the new values widen the range; training alone sets it.",
        (
            "(new_values - train_values.mean()) / train_values.std()",
            "train_values.min() -> train_values.mean(); np.ptp(train_values) -> train_values.std()",
        ): "this is standardisation; min-max is (value - minimum) / range.",
        "train_values.min(), np.ptp(train_values) -> 0, train_values.max()": "the minimum is not subtracted.",
        "np.ptp(train_values) -> train_values.max()": "divide by the range, maximum - minimum, not by the max.",
        "(new_values - low) / span -> new_values - low / span": "brackets: (new - minimum) / range.",
        "np.clip(new_values, low, low + span)": "clipped, but not scaled.",
        "(train_values - low) / span": "these are the training values, scaled; scale the new ones.",
        "[v for v in (new_values - low) / span if 0 <= v <= 1]": "values beyond are dropped; clip them.",
    },
)
def check_scale(train_values, new_values):
    low, span = train_values.min(), np.ptp(train_values)
    return np.clip((new_values - low) / span, 0, 1)


def _block(rows: int, codes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(rows).dirichlet(np.ones(len(codes)), rows), np.array(codes)


@exercise(
    each(_block, [(4, [1, 2, 7]), (6, [5, 0, 3, 9]), (1, [2, 1]), (9, [1, 2]), (5, [4, 3, 2, 8, 6]), (20, [0, 1, 2])]),
    "the most probable level of each month, in the table's codes.",
    "for each row the code of its largest share.",
    {
        "block.argmax(1)": "these are positions 0, 1, 2; look up the table's codes at them.",
        "block.argmax(1) + 1": "positions plus one; codes need not be 1, 2, 3, so look them up.",
        ("block.argmax(0)", "axis=1 -> axis=0"): "argmax over the rows, axis=0; each row is a month, so take axis=1.",
        "block.max(1)": "these are the largest shares; argmax says where they stand.",
        "argmax -> argmin": "these are the least likely levels: argmax, not argmin.",
        (
            "block @ codes",
            "np.round(block @ codes)",
            "np.floor(block @ codes)",
        ): "this averages codes, which are names.",
        "block. -> (block > 0.5).": "a level can be the largest without passing 0.5.",
        "(axis=1) -> ()": "argmax over the whole block; one level a row is asked for: axis=1.",
        "block == block.max(1, keepdims=True)": "this is one-hot again; return the codes themselves.",
    },
)
def check_decode(block, codes):
    return np.asarray(codes)[block.argmax(axis=1)]


def _shuffled(
    ids: int | list[int], months: int, column: str, order: str = "in no order"
) -> tuple[pd.DataFrame, str, int]:
    table = _table(ids, months, ["VL", "CD4"], 1)
    table[["VL", "CD4"]] = np.random.default_rng(months).permutation(20 * len(table)).reshape(-1, 2)[: len(table)]
    table = table.sort_values(["Timestep", "PatientID"]) if order == "by month" else table
    table = table.sample(frac=1, random_state=5) if order == "in no order" else table
    return table.reset_index(drop=True), column, months


@exercise(
    each(
        _shuffled,
        [
            (3, 2, "VL", "by patient"),
            (3, 4, "VL", "by month"),
            (2, 3, "VL"),
            (3, 1, "VL"),
            (_IDS, 3, "CD4"),
            (12, 5, "CD4"),
        ],
    ),
    "one patient a row, months in order, whatever the order of the table.",
    "an array (patients, months), one patient a row with the months in order.",
    {
        "right(table, column, months).T": "the axes are (months, patients); patients come first.",
        '"PatientID", "Timestep" -> "Timestep", "PatientID"': "sorted by month first; patient first.",
        '.sort_values(["PatientID", "Timestep"]) -> ': "a sequence mixes patients; sort the rows first.",
        "table[column].to_numpy().reshape(months, -1).T": "right only for rows sorted by month; sort them yourself.",
        '["PatientID", "Timestep"] -> "PatientID", kind="stable"': "months are not in order; sort by month as well.",
        '["PatientID", "Timestep"] -> "Timestep", kind="stable"': "sorted by month only; sort by patient first.",
        "np.sort(table[column].to_numpy()).reshape(-1, months)": "the values themselves are sorted; sort the rows.",
    },
)
def check_sequences(table, column, months):
    return table.sort_values(["PatientID", "Timestep"])[column].to_numpy().reshape(-1, months)
