"""Exercises of notebook 1: switches, Box-Cox and its likelihood, scaling, decoding, sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import special, stats

from .judging import Case, Exercise, each

IDS = {n: list(range(n)) for n in (1, 2, 3, 4, 5, 12)} | {"not 0, 1, 2": [3, 7, 20, 21]}


def _table(ids: list[int], months: int, columns: list[str]) -> pd.DataFrame:
    """Whole numbers in rows sorted by patient and month."""
    random = np.random.default_rng(len(ids) + months)
    keys = {"PatientID": np.repeat(ids, months), "Timestep": np.tile(np.arange(months), len(ids))}
    return pd.DataFrame({**keys, **{name: random.integers(0, 3, len(ids) * months) for name in columns}})


# --- switches ---------------------------------------------------------------------------------------------------------


def _regimens() -> list[Case]:
    first = _table(IDS[3], 4, ["Base Drug Combo", "Extra pk-En"])
    # there and back; both columns in one month; the second column alone, three times
    first["Base Drug Combo"] = [0, 1, 0, 0, 2, 2, 0, 0, 1, 1, 1, 1]
    first["Extra pk-En"] = [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1]
    cases, pair = [], ["Base Drug Combo", "Extra pk-En"]
    for patients, months, columns in (
        (1, 5, ["Drug", "Dose"]),
        (2, 1, pair),
        ("not 0, 1, 2", 6, pair),
        (5, 7, ["Drug"]),
        (12, 12, ["Drug", "Dose", "Route"]),
    ):
        label = f"ids {patients}, {months} months, {len(columns)} columns"
        cases.append(Case(label, (_table(IDS[patients], months, [*columns, "Other"]), columns)))
    return [Case("three patients", (first, pair)), *cases, Case("nobody", (first.assign(Drug=1), ["Drug"]))]


def _each(table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Which columns change: (patients, months - 1, columns)."""
    codes = table[columns].to_numpy().reshape(table["PatientID"].nunique(), -1, len(columns))
    return codes[:, 1:] != codes[:, :-1]


def switches(table: pd.DataFrame, columns: list[str]) -> list[int]:
    return _each(table, columns).any(axis=2).sum(axis=1).tolist()


def _flat(table: pd.DataFrame, columns: list[str], first: bool) -> pd.Series:
    changed = table[columns].ne(table[columns].shift()).any(axis=1)
    changed.iloc[0] = first
    return changed.groupby(table["PatientID"]).sum()


def _distinct(table: pd.DataFrame, columns: list[str], less: int) -> list[int]:
    return [len(part.drop_duplicates()) - less for _, part in table.groupby("PatientID")[columns]]


def _from_first(table: pd.DataFrame, columns: list[str]) -> list[int]:
    return [(part != part.iloc[0]).any(axis=1).sum() for _, part in table.groupby("PatientID")[columns]]


def _amounts(table: pd.DataFrame, columns: list[str]) -> list[int]:
    return [part.diff().abs().sum().sum() for _, part in table.groupby("PatientID")[columns]]


_ACROSS = "a patient's first month is compared with the last month of the patient before; shift within groupby."
_BY_ONE = "columns are counted one by one; a month in which two of them change is one switch: any(axis=1)."
check_switches = Exercise(
    switches,
    _regimens,
    "switches are counted within a patient, and over all columns jointly.",
    "the number of switches, one number a patient.",
    (
        (lambda t, c: _flat(t, c, False), _ACROSS),
        (lambda t, c: _flat(t, c, True), _ACROSS),
        (lambda t, c: [n + 1 for n in switches(t, c)], "one too many: the first month has no month before it (NaN)."),
        (lambda t, c: _distinct(t, c, 1), "these are distinct regimens less one; who switches and comes back has two."),
        (lambda t, c: _distinct(t, c, 0), "these are distinct regimens, not changes from a month to the next."),
        (lambda t, c: _each(t, c).sum((1, 2)), _BY_ONE),
        (lambda t, c: _each(t, c).all(2).sum(1), "only months in which all columns change are counted: any, not all."),
        (lambda t, c: switches(t, c[:1]), "only the first column is looked at; a regimen is all of `columns`."),
        (
            lambda t, c: switches(t, c[-1:]),
            "only the last column counts (is it overwritten in a loop?); all `columns` do.",
        ),
        (_from_first, "months are compared with the first month; compare each with the month before."),
        (_amounts, "differences of codes are added up; codes are names, so only ask whether they differ."),
        (lambda t, c: _each(t, c).any(2).any(1), "this is whether somebody switches; how often is asked for."),
        (lambda t, c: _each(t, c).any(2).mean(1), "these are shares of months; return the number of switches."),
        (lambda t, c: switches(t, ["Base Drug Combo", "Extra pk-En"]), "use `columns`, not two names of your own."),
    ),
)

# --- Box-Cox and its likelihood ---------------------------------------------------------------------------------------


def _lambda(lam: float, n: int) -> tuple[np.ndarray, float]:
    random = np.random.default_rng(n)
    return (np.array([2.0, 50.0, 700.0]) if n == 3 else np.exp(random.normal(4, 2, n) - 2)), lam


def box_cox(x: np.ndarray, lam: float) -> np.ndarray:
    return special.boxcox(x, lam)


def _else(there: Callable, at_zero: Callable = np.log) -> Callable:
    return lambda x, lam: at_zero(x) if lam == 0 else there(x, lam)


_NATURAL = "at lambda 0 the formula divides 0 by 0; there, return the natural logarithm."
check_box_cox = Exercise(
    box_cox,
    each(_lambda, [(lam, n) for lam in (0.5, 1, -0.25, 0, 0.0, 2, -1.5) for n in (3, 2, 40)]),
    "one family from the plain values (1) over the square root (0.5) to the logarithm (0).",
    "(x**lam - 1) / lam, and the natural logarithm of x where lam is 0.",
    (
        (lambda x, lam: (x**lam - 1) / np.float64(lam), _NATURAL),
        (lambda x, lam: [(v**lam - 1) / lam for v in x.tolist()], _NATURAL),
        (_else(box_cox, np.log10), "base 10 at lambda 0; the limit is np.log."),
        (_else(lambda x, lam: x**lam), "this is x**lam alone; subtract 1 and divide by lambda."),
        (lambda x, lam: x**lam, "this is x**lam alone; subtract 1 and divide by lambda."),
        (_else(lambda x, lam: x**lam - 1), "the division by lambda is missing; it keeps the order when lambda < 0."),
        (_else(lambda x, lam: x**lam / lam), "the minus 1 is missing."),
        (_else(lambda x, lam: x**lam - 1 / lam), "brackets: (x**lam - 1) / lam."),
        (_else(lambda x, lam: (1 - x**lam) / lam), "the sign is turned round: x**lam - 1."),
        (_else(lambda x, lam: (lam**x - 1) / lam), "base and power have changed places: x**lam."),
        (lambda x, lam: np.log(x) if lam <= 0 else box_cox(x, lam), "the logarithm is for 0 only, not below it."),
        (lambda x, lam: np.log(x), "the logarithm belongs to lambda 0 only."),
    ),
)


def log_likelihood(x: np.ndarray, lam: float) -> float:
    return float(stats.boxcox_llf(lam, x))


def _first(spread: Callable) -> Callable:
    return lambda x, lam: spread(box_cox(x, lam), len(x)) + (lam - 1) * np.log(x).sum()


def _second(slope: Callable) -> Callable:
    return lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + slope(x, lam)


check_log_likelihood = Exercise(
    log_likelihood,
    each(_lambda, [(lam, n) for lam in (0.4, 0, -0.3, 2, 1) for n in (3, 2, 40)]),
    "a close fit is rewarded, squeezing the axis is not.",
    "-n/2 log var(y) + (lam - 1) * sum of log x, with y the Box-Cox transform of x.",
    (
        (_first(lambda y, n: -n / 2 * np.log(y.var(ddof=1))), "the variance divides by n - 1; here it is by n."),
        (_first(lambda y, n: -n / 2 * np.log(y.std())), "that is the log of the standard deviation, not of var."),
        (_first(lambda y, n: n / 2 * np.log(y.var())), "the first term has a minus: a small variance is likely."),
        (_first(lambda y, n: -n * np.log(y.var())), "the half in the first term is missing."),
        (_first(lambda y, n: -np.log(y.var()) / 2), "the first term is times n, the number of values."),
        (_first(lambda y, n: -n / 2 * y.var()), "the logarithm of the variance is missing in the first term."),
        (_second(lambda x, lam: 0), "the slope term (lambda - 1) * sum(log x) is missing."),
        (_second(lambda x, lam: -(lam - 1) * np.log(x).sum()), "the second term's sign is wrong: lambda - 1."),
        (_second(lambda x, lam: (lam - 1) * x.sum()), "the second term sums the values; sum their logarithms."),
        (_second(lambda x, lam: (lam - 1) * np.log(x).mean()), "the second term is a sum, not a mean."),
        (_second(lambda x, lam: lam * np.log(x).sum()), "the slope is x**(lambda - 1): the factor is lam - 1."),
        (_second(lambda x, lam: np.log(x).sum()), "the factor lambda - 1 of the second term is missing."),
        (
            lambda x, lam: log_likelihood(x, lam) + len(x) / 2 * np.log(box_cox(x, lam).var() / x.var()),
            "transform x first.",
        ),
        (lambda x, lam: log_likelihood(x, lam) / len(x), "divided by n: the sum over all values is asked for."),
    ),
)

# --- scale, decode, sequences -----------------------------------------------------------------------------------------


def scale(train_values: np.ndarray, new_values: np.ndarray) -> np.ndarray:
    return np.clip(_ratio(train_values, new_values), 0, 1)


def _ratio(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    return (new - train.min()) / np.ptp(train)


def _scales() -> list[Case]:
    random = np.random.default_rng(2)
    pairs = {
        "beyond both ends": ([2.0, 4, 10], [1.0, 4, 8, 14]),
        "all inside": ([0.0, 5, 20], [5.0, 10, 19]),
        "one new value": ([-3.0, 1, 5], [2.0]),
        "all beyond": ([1.0, 3], [-2.0, 7, 8]),
        "negative values": (random.normal(-50, 9, 30), random.normal(-50, 15, 12)),
    }
    return [Case(label, (np.array(train), np.array(new))) for label, (train, new) in pairs.items()]


_OWN = "minimum or range is that of the new values; the same value must mean the same in each table."
_STANDARD = "this is standardisation; min-max is (value - minimum) / range."
check_scale = Exercise(
    scale,
    _scales,
    "scaled by the training patients, and clipped beyond them.",
    "(new - training minimum) / training range, clipped to 0 and 1.",
    (
        (_ratio, "values outside the training range must be clipped to 0 and 1."),
        (lambda t, n: np.minimum(_ratio(t, n), 1), "values below the training minimum must be clipped to 0."),
        (lambda t, n: np.maximum(_ratio(t, n), 0), "values above the training maximum must be clipped to 1."),
        (lambda t, n: _ratio(n, n), _OWN),
        (lambda t, n: _ratio(np.r_[t, n], n), "the new values widen the range; only the training values set it."),
        (lambda t, n: np.clip((n - n.min()) / np.ptp(t), 0, 1), _OWN),
        (lambda t, n: np.clip((n - t.min()) / np.ptp(n), 0, 1), _OWN),
        (lambda t, n: (n - t.mean()) / t.std(), _STANDARD),
        (lambda t, n: np.clip((n - t.mean()) / t.std(), 0, 1), _STANDARD),
        (lambda t, n: np.clip((n - t.mean()) / np.ptp(t), 0, 1), "the mean is subtracted; it is the minimum."),
        (lambda t, n: np.clip(n / t.max(), 0, 1), "the minimum is not subtracted."),
        (
            lambda t, n: np.clip((n - t.min()) / t.max(), 0, 1),
            "divide by the range, maximum - minimum, not by the max.",
        ),
        (lambda t, n: np.clip(n - t.min() / np.ptp(t), 0, 1), "brackets: (new - minimum) / range."),
        (lambda t, n: np.clip(n, t.min(), t.max()), "clipped, but not scaled."),
        (lambda t, n: scale(t, np.clip(n, 0, 1)), "clipped before it is scaled: scale first."),
        (lambda t, n: _ratio(t, t), "these are the training values, scaled; scale the new ones."),
        (lambda t, n: scale(n, t), "training and new values have changed places."),
        (lambda t, n: [v for v in _ratio(t, n) if 0 <= v <= 1], "values beyond are dropped; clip them."),
    ),
)


def _block(rows: int, codes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(rows).dirichlet(np.ones(len(codes)), rows), np.array(codes)


def decode(block: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.asarray(codes)[block.argmax(axis=1)]


_AXIS = "argmax over the rows, axis=0; each row is a month, so take axis=1."
_AVERAGE = "this averages the codes; codes are names and have no mean."
check_decode = Exercise(
    decode,
    each(_block, [(4, [1, 2, 7]), (6, [5, 0, 3, 9]), (1, [2, 1]), (9, [1, 2]), (5, [4, 3, 2, 8, 6]), (20, [0, 1, 2])]),
    "the most probable level of each month, in the table's codes.",
    "for each row the code of its largest share.",
    (
        (lambda b, c: b.argmax(1), "these are positions 0, 1, 2; look up the table's codes at them."),
        (lambda b, c: b.argmax(1) + 1, "positions plus one; codes need not be 1, 2, 3, so look them up."),
        (lambda b, c: b.argmax(0), _AXIS),
        (lambda b, c: c[b.argmax(0)], _AXIS),
        (lambda b, c: b.max(1), "these are the largest shares; argmax says where they stand."),
        (lambda b, c: c[b.argmin(1)], "these are the least likely levels: argmax, not argmin."),
        (lambda b, c: b @ c, _AVERAGE),
        (lambda b, c: np.round(b @ c), _AVERAGE),
        (lambda b, c: np.floor(b @ c), _AVERAGE),
        (lambda b, c: c[(b > 0.5).argmax(1)], "a level can be the largest without passing 0.5."),
        (lambda b, c: c[b.argmax()], "argmax over the whole block; one level a row is asked for: axis=1."),
        (lambda b, c: b == b.max(1, keepdims=True), "this is one-hot again; return the codes themselves."),
    ),
)


def _shuffled(patients: int | str, months: int, column: str, order: str) -> tuple[pd.DataFrame, str, int]:
    table = _table(IDS[patients], months, ["VL", "CD4"])
    table[["VL", "CD4"]] = np.random.default_rng(months).permutation(20 * len(table)).reshape(-1, 2)[: len(table)]
    table = table.sort_values(["Timestep", "PatientID"]) if order == "by month" else table
    table = table.sample(frac=1, random_state=5) if order == "in no order" else table
    return table.reset_index(drop=True), column, months


def to_sequences(table: pd.DataFrame, column: str, months: int) -> np.ndarray:
    return table.sort_values(["PatientID", "Timestep"])[column].to_numpy().reshape(-1, months)


def _by(*keys: str) -> Callable:
    return lambda t, c, m: t.sort_values(list(keys), kind="stable")[c].to_numpy().reshape(-1, m)


def _as_met(table: pd.DataFrame, column: str, months: int) -> np.ndarray:
    return np.array([table.loc[table["PatientID"] == patient, column] for patient in table["PatientID"].unique()])


_MIXES = "the rows are reshaped as they stand, so a sequence mixes patients; sort them first."
_ORDERS = [
    (2, 3, "VL", "in no order"),
    (3, 4, "VL", "by month"),
    (3, 2, "VL", "by patient"),
    (1, 5, "VL", "in no order"),
]
_ORDERS += [(3, 1, "VL", "in no order"), (4, 4, "CD4", "in no order"), ("not 0, 1, 2", 3, "CD4", "in no order")]
check_sequences = Exercise(
    to_sequences,
    each(_shuffled, [*_ORDERS, (12, 5, "CD4", "in no order")]),
    "one patient a row, months in order, whatever the order of the table.",
    "an array (patients, months), one patient a row with the months in order.",
    (
        (lambda t, c, m: to_sequences(t, c, m).T, "the axes are (months, patients); patients come first."),
        (_by("Timestep", "PatientID"), "sorted by month first; patient first."),
        (lambda t, c, m: t[c].to_numpy().reshape(-1, m), _MIXES),
        (lambda t, c, m: t[c].to_numpy().reshape(m, -1).T, "right only for rows sorted by month; sort them yourself."),
        (_by("PatientID"), "each sequence holds one patient, but its months are not in order; sort by month as well."),
        (_as_met, "patients come in the order in which they are met, or their months do; sort by patient and month."),
        (_by("Timestep"), "sorted by month only; sort by patient first."),
        (lambda t, c, m: np.sort(t[c].to_numpy()).reshape(-1, m), "the values themselves are sorted; sort the rows."),
        (lambda t, c, m: to_sequences(t, "VL", m), "the column is written into it; use the argument `column`."),
    ),
)
