"""Exercises of notebook 1: switches, Box-Cox and its likelihood, scaling, decoding, sequences."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special, stats

from .judging import Case, Exercise

# --- switches ---------------------------------------------------------------------------------------------------------


def _table(values: dict[str, np.ndarray], ids: list[int], months: int) -> pd.DataFrame:
    """Rows sorted by patient and month; each column's values are (patients, months)."""
    keys = {"PatientID": np.repeat(ids, months), "Timestep": np.tile(np.arange(months), len(ids))}
    return pd.DataFrame({**keys, **{name: np.asarray(value).ravel() for name, value in values.items()}})


def _regimens() -> list[Case]:
    # there and back; both columns in one month; the second column alone, three times
    base = [[0, 1, 0, 0], [2, 2, 0, 0], [1, 1, 1, 1]]
    extra = [[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1]]
    pair = ["Base Drug Combo", "Extra pk-En"]
    cases = [
        Case("three patients", (_table(dict(zip(pair, (base, extra), strict=True)), [0, 1, 2], 4), pair)),
        Case("nobody switches", (_table({"Drug": np.ones((2, 3), int)}, [0, 1], 3), ["Drug"])),
    ]
    random = np.random.default_rng(0)
    for label, ids, months, columns in (
        ("one patient", [0], 5, ["Drug", "Dose"]),
        ("one month", [0, 1], 1, pair),
        ("ids that are not 0, 1, 2", [3, 7, 20, 21], 6, pair),
        ("one column", list(range(5)), 7, ["Drug"]),
        ("three columns", list(range(8)), 12, ["Drug", "Dose", "Route"]),
    ):
        values = {name: random.integers(0, 3, (len(ids), months)) for name in [*columns, "Other"]}
        cases.append(Case(label, (_table(values, ids, months), columns)))
    return cases


def _each(table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Which columns change: (patients, months - 1, columns)."""
    codes = table[columns].to_numpy().reshape(table["PatientID"].nunique(), -1, len(columns))
    return codes[:, 1:] != codes[:, :-1]


def switches(table: pd.DataFrame, columns: list[str]) -> list[int]:
    return _each(table, columns).any(axis=2).sum(axis=1).tolist()


def _flat(table: pd.DataFrame, columns: list[str], first: bool) -> list[int]:
    changed = table[columns].ne(table[columns].shift()).any(axis=1)
    changed.iloc[0] = first
    return changed.groupby(table["PatientID"]).sum().tolist()


def _distinct(table: pd.DataFrame, columns: list[str], less: int) -> list[int]:
    return [len(part.drop_duplicates()) - less for _, part in table.groupby("PatientID")[columns]]


_ACROSS = "a patient's first month is compared with the last month of the patient before; shift within groupby."
_ONE_MORE = "one too many for everybody: the first month has no month before it (NaN differs from everything)."
check_switches = Exercise(
    switches,
    _regimens,
    "switches are counted within a patient, and over all columns jointly.",
    "the number of switches, one number a patient.",
    (
        (lambda t, c: _flat(t, c, False), _ACROSS),
        (lambda t, c: _flat(t, c, True), _ACROSS),
        (lambda t, c: [n + 1 for n in switches(t, c)], _ONE_MORE),
        (lambda t, c: _distinct(t, c, 1), "these are distinct regimens less one; who switches and comes back has two."),
        (lambda t, c: _distinct(t, c, 0), "these are distinct regimens, not changes from a month to the next."),
        (
            lambda t, c: _each(t, c).sum((1, 2)),
            "columns are counted one by one; a month in which two of them change is one switch: any(axis=1).",
        ),
        (lambda t, c: _each(t, c).sum((1, 2)) + len(c), f"columns are counted one by one, and {_ONE_MORE}"),
        (lambda t, c: _each(t, c).all(2).sum(1), "only months in which all columns change are counted: any, not all."),
        (lambda t, c: switches(t, c[:1]), "only the first column is looked at; a regimen is all of `columns`."),
        (lambda t, c: switches(t, c[-1:]), "only the last column is looked at; a regimen is all of `columns`."),
        (lambda t, c: _each(t, c).sum((0, 1)), "this is one number a column; one a patient is asked for."),
        (lambda t, c: _each(t, c).any(2).any(1), "this is whether somebody switches; how often is asked for."),
        (lambda t, c: _each(t, c).any(2).mean(1), "these are shares of months; return the number of switches."),
        (lambda t, c: (~_each(t, c).any(2)).sum(1), "these are the months without a switch."),
        (lambda t, c: switches(t, ["Base Drug Combo", "Extra pk-En"]), "use `columns`, not two names of your own."),
    ),
)

# --- Box-Cox and its likelihood ---------------------------------------------------------------------------------------


def _lambdas(values: list[float]) -> list[Case]:
    random = np.random.default_rng(1)
    sizes = [np.array([2.0, 50.0, 700.0]), np.exp(random.normal(0, 1.5, 6)), np.exp(random.normal(4, 2, 40))]
    return [Case(f"lambda {lam}", (x.copy(), lam)) for lam in values for x in sizes]


def box_cox(x: np.ndarray, lam: float) -> np.ndarray:
    return special.boxcox(x, lam)


_NATURAL = "at lambda 0 the formula divides 0 by 0; there, return the natural logarithm."
check_box_cox = Exercise(
    box_cox,
    lambda: [*_lambdas([0.5, 1, -0.25, 0, 0.0, 2, -1.5]), Case("one value", (np.array([9.0]), 0.5))],
    "one family from the plain values (1) over the square root (0.5) to the logarithm (0).",
    "(x**lam - 1) / lam, and the natural logarithm of x where lam is 0.",
    (
        (lambda x, lam: (x**lam - 1) / np.float64(lam), _NATURAL),
        (lambda x, lam: [(v**lam - 1) / lam for v in x.tolist()], _NATURAL),
        (lambda x, lam: np.log10(x) if lam == 0 else box_cox(x, lam), "base 10 at lambda 0; the limit is np.log."),
        (lambda x, lam: np.log2(x) if lam == 0 else box_cox(x, lam), "base 2 at lambda 0; the limit is np.log."),
        (lambda x, lam: np.log1p(x) if lam == 0 else box_cox(x, lam), "log1p adds 1 to x; the limit is np.log(x)."),
        (lambda x, lam: x if lam == 0 else box_cox(x, lam), "at lambda 0 x itself comes back, not its logarithm."),
        (lambda x, lam: 0 * x if lam == 0 else box_cox(x, lam), "at lambda 0 zeros come back, not the logarithm."),
        (lambda x, lam: np.log(x) if lam == 0 else x**lam, "this is x**lam alone; subtract 1 and divide by lambda."),
        (lambda x, lam: x**lam, "this is x**lam alone; subtract 1 and divide by lambda."),
        (
            lambda x, lam: np.log(x) if lam == 0 else x**lam - 1,
            "the division by lambda is missing; it keeps the order when lambda < 0.",
        ),
        (lambda x, lam: np.log(x) if lam == 0 else x**lam / lam, "the minus 1 is missing."),
        (lambda x, lam: np.log(x) if lam == 0 else x**lam - 1 / lam, "brackets: (x**lam - 1) / lam."),
        (lambda x, lam: np.log(x) if lam == 0 else x ** (lam - 1) / lam, "the 1 belongs behind the power: x**lam - 1."),
        (lambda x, lam: np.log(x) if lam == 0 else (x**lam + 1) / lam, "the 1 is added; it is subtracted."),
        (lambda x, lam: np.log(x) if lam == 0 else (1 - x**lam) / lam, "the sign is turned round: x**lam - 1."),
        (lambda x, lam: np.log(x) if lam == 0 else (x**lam - 1) * lam, "this multiplies by lambda; divide."),
        (lambda x, lam: np.log(x) if lam == 0 else (x * lam - 1) / lam, "x * lam is no power; it is x**lam."),
        (lambda x, lam: np.log(x) if lam == 0 else (lam**x - 1) / lam, "base and power have changed places: x**lam."),
        (lambda x, lam: np.log(x) if lam <= 0 else box_cox(x, lam), "the logarithm is for 0 only, not below it."),
        (lambda x, lam: np.log(x) if lam < 1 else box_cox(x, lam), "the logarithm belongs to lambda 0 only."),
        (lambda x, lam: np.log(x), "the logarithm belongs to lambda 0 only."),
    ),
)


def log_likelihood(x: np.ndarray, lam: float) -> float:
    return float(stats.boxcox_llf(lam, x))


def _likelihood(spread=lambda y: -len(y) / 2 * np.log(y.var()), slope=lambda x, lam: (lam - 1) * np.log(x).sum()):
    return lambda x, lam: spread(box_cox(x, lam)) + slope(x, lam)


check_log_likelihood = Exercise(
    log_likelihood,
    lambda: [*_lambdas([0.4, 0, -0.3, 2, 1]), Case("two values", (np.array([1.5, 9.0]), -0.5))],
    "a close fit is rewarded, squeezing the axis is not.",
    "-n/2 log var(y) + (lam - 1) * sum of log x, with y the Box-Cox transform of x.",
    (
        (_likelihood(slope=lambda x, lam: 0), "the slope term (lambda - 1) * sum(log x) is missing."),
        (_likelihood(lambda y: -len(y) / 2 * np.log(y.var(ddof=1))), "the variance divides by n - 1; here it is by n."),
        (
            _likelihood(lambda y: -len(y) / 2 * np.log(y.std())),
            "that is the log of the standard deviation, not of var.",
        ),
        (
            _likelihood(lambda y: len(y) / 2 * np.log(y.var())),
            "the first term has a minus: a small variance is likely.",
        ),
        (_likelihood(lambda y: -len(y) * np.log(y.var())), "the half in the first term is missing."),
        (_likelihood(lambda y: -np.log(y.var()) / 2), "the first term is times n, the number of values."),
        (_likelihood(lambda y: -len(y) / 2 * y.var()), "the logarithm of the variance is missing in the first term."),
        (_likelihood(lambda y: -len(y) / 2 * np.log10(y.var())), "base 10 in the first term; np.log is meant."),
        (_likelihood(lambda y: -len(y) / 2 / np.log(y.var())), "the first term divides by log var; multiply."),
        (
            _likelihood(slope=lambda x, lam: -(lam - 1) * np.log(x).sum()),
            "the second term's sign is wrong: lambda - 1.",
        ),
        (
            _likelihood(slope=lambda x, lam: (lam - 1) * x.sum()),
            "the second term sums the values; sum their logarithms.",
        ),
        (
            _likelihood(slope=lambda x, lam: (lam - 1) * np.log(x.sum())),
            "that is the log of a sum; sum the logarithms.",
        ),
        (_likelihood(slope=lambda x, lam: (lam - 1) * np.log(x).mean()), "the second term is a sum, not a mean."),
        (
            _likelihood(slope=lambda x, lam: (lam - 1) * np.log10(x).sum()),
            "base 10 in the second term; np.log is meant.",
        ),
        (
            _likelihood(slope=lambda x, lam: lam * np.log(x).sum()),
            "the slope is x**(lambda - 1): the factor is lam - 1.",
        ),
        (_likelihood(slope=lambda x, lam: (lam + 1) * np.log(x).sum()), "the factor is lambda - 1, not + 1."),
        (_likelihood(slope=lambda x, lam: np.log(x).sum()), "the factor lambda - 1 of the second term is missing."),
        (
            _likelihood(slope=lambda x, lam: (lam - 1) * np.log(box_cox(x, lam)).sum()),
            "the second term sums log y; it is log x, of the values themselves.",
        ),
        (
            lambda x, lam: -len(x) / 2 * np.log(x.var()) + (lam - 1) * np.log(x).sum(),
            "the variance is that of x; transform x first.",
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
        "many": (random.lognormal(3, 2, 200), random.lognormal(3, 2.5, 50)),
    }
    return [Case(label, (np.array(train), np.array(new))) for label, (train, new) in pairs.items()]


_OWN = "this takes minimum and range from the new values; the same value must mean the same in each table."
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
        (lambda t, n: np.clip(_ratio(t, n), -1, 1), "clipped to -1 and 1; the scale begins at 0."),
        (lambda t, n: _ratio(n, n), _OWN),
        (lambda t, n: _ratio(np.r_[t, n], n), "the new values widen the range; only the training values set it."),
        (lambda t, n: np.clip((n - n.min()) / np.ptp(t), 0, 1), "the minimum is that of the new values; " + _OWN),
        (lambda t, n: np.clip((n - t.min()) / np.ptp(n), 0, 1), "the range is that of the new values; " + _OWN),
        (lambda t, n: (n - t.mean()) / t.std(), _STANDARD),
        (lambda t, n: np.clip((n - t.mean()) / t.std(), 0, 1), _STANDARD),
        (lambda t, n: (n - n.mean()) / n.std(), _STANDARD),
        (lambda t, n: np.clip((n - t.mean()) / np.ptp(t), 0, 1), "the mean is subtracted; it is the minimum."),
        (lambda t, n: np.clip(n / t.max(), 0, 1), "the minimum is not subtracted."),
        (lambda t, n: np.clip(n / np.ptp(t), 0, 1), "the minimum is not subtracted."),
        (
            lambda t, n: np.clip((n - t.min()) / t.max(), 0, 1),
            "divide by the range, maximum - minimum, not by the max.",
        ),
        (lambda t, n: np.clip(n - t.min(), 0, 1), "the division by the range is missing."),
        (lambda t, n: np.clip(n - t.min() / np.ptp(t), 0, 1), "brackets: (new - minimum) / range."),
        (lambda t, n: np.clip((t.max() - n) / np.ptp(t), 0, 1), "turned round: the largest must become 1, not 0."),
        (lambda t, n: np.clip(n, t.min(), t.max()), "clipped, but not scaled."),
        (lambda t, n: np.clip(n, 0, 1), "clipped before it is scaled: scale first."),
        (lambda t, n: np.clip(_ratio(t, np.clip(n, 0, 1)), 0, 1), "clipped before it is scaled: scale first."),
        (lambda t, n: _ratio(t, t), "these are the training values, scaled; scale the new ones."),
        (lambda t, n: scale(n, t), "training and new values have changed places."),
        (lambda t, n: np.mod(_ratio(t, n), 1), "values beyond the range are wrapped round; clip them."),
        (lambda t, n: _ratio(t, n)[(_ratio(t, n) >= 0) & (_ratio(t, n) <= 1)], "values beyond are dropped; clip them."),
    ),
)


def _blocks() -> list[Case]:
    random = np.random.default_rng(3)
    # no share is sure, the largest is below 0.5 in some rows
    first = np.array([[0.6, 0.3, 0.1], [0.2, 0.35, 0.45], [0.1, 0.5, 0.4], [0.4, 0.3, 0.3]])
    cases = [Case("codes 1, 2, 7", (first, np.array([1, 2, 7])))]
    for label, rows, codes in (
        ("codes in no order", 6, [5, 0, 3, 9]),
        ("one month", 1, [2, 1]),
        ("two levels", 9, [1, 2]),
        ("as many months as levels", 4, [4, 3, 2, 8]),
        ("codes 0, 1, 2", 20, [0, 1, 2]),
    ):
        cases.append(Case(label, (random.dirichlet(np.ones(len(codes)), rows), np.array(codes))))
    return cases


def decode(block: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.asarray(codes)[block.argmax(axis=1)]


_AXIS = "argmax over the rows, axis=0; each row is a month, so take axis=1."
_WHOLE = "argmax over the whole block; one level a row is asked for: axis=1."
check_decode = Exercise(
    decode,
    _blocks,
    "the most probable level of each month, in the table's codes.",
    "for each row the code of its largest share.",
    (
        (lambda b, c: b.argmax(1), "these are positions 0, 1, 2; look up the table's codes at them."),
        (lambda b, c: b.argmax(1) + 1, "positions plus one; codes need not be 1, 2, 3, so look them up."),
        (lambda b, c: np.sort(c)[b.argmax(1)], "the codes are sorted first; they stand in the order of the levels."),
        (lambda b, c: b.argmax(0), _AXIS),
        (lambda b, c: c[b.argmax(0)], _AXIS),
        (lambda b, c: b.max(1), "these are the largest shares; argmax says where they stand."),
        (lambda b, c: c[b.argmin(1)], "these are the least likely levels: argmax, not argmin."),
        (lambda b, c: b @ c, "this averages the codes; codes are names and have no mean."),
        (lambda b, c: np.round(b @ c), "this averages the codes; codes are names and have no mean."),
        (lambda b, c: b * c, "this multiplies shares and codes; codes are names, to be looked up."),
        (lambda b, c: c[(b * c).argmax(1)], "shares are multiplied by codes first; codes are names without a size."),
        (lambda b, c: c[(b > 0.5).argmax(1)], "a level can be the largest without passing 0.5."),
        (lambda b, c: c[b.argmax()], _WHOLE),
        (lambda b, c: int(b.argmax()), _WHOLE),
        (lambda b, c: c[b[0].argmax()], "only the first row is decoded."),
        (lambda b, c: np.full(len(b), c[b.mean(0).argmax()]), "one level for all months; each row has its own."),
        (lambda b, c: b == b.max(1, keepdims=True), "this is one-hot again; return the codes themselves."),
        (lambda b, c: np.array([1, 2, 7])[b.argmax(1)], "the codes are written into it; use the argument `codes`."),
    ),
)


def _orders() -> list[Case]:
    random, cases = np.random.default_rng(4), []
    for label, ids, months, column, order in (
        ("rows in no order", [0, 1], 3, "VL", [3, 4, 0, 5, 2, 1]),
        ("sorted by month", [0, 1, 2], 4, "VL", np.arange(12).reshape(3, 4).T.ravel()),
        ("sorted by patient", [0, 1, 2], 2, "VL", range(6)),
        ("one patient", [0], 5, "VL", random.permutation(5)),
        ("one month", [0, 1, 2], 1, "VL", [2, 0, 1]),
        ("ids that are not 0, 1, 2", [4, 9, 17], 3, "CD4", random.permutation(9)),
        ("as many months as patients", [0, 1, 2, 3], 4, "CD4", random.permutation(16)),
        ("more patients than months", list(range(12)), 5, "CD4", random.permutation(60)),
    ):
        values = {name: random.integers(10, 99, (len(ids), months)).astype(float) for name in ("VL", "CD4", "Age")}
        rows = _table(values, ids, months).iloc[list(order)]
        cases.append(Case(label, (rows if column == "VL" else rows.reset_index(drop=True), column, months)))
    return cases


def to_sequences(table: pd.DataFrame, column: str, months: int) -> np.ndarray:
    return table.sort_values(["PatientID", "Timestep"])[column].to_numpy().reshape(-1, months)


def _by(keys: list[str]):
    return lambda t, c, m: t.sort_values(keys, kind="stable")[c].to_numpy()


_MIXES = "the rows are reshaped as they stand, so a sequence mixes patients; sort them first."
check_sequences = Exercise(
    to_sequences,
    _orders,
    "one patient a row, months in order, whatever the order of the table.",
    "an array (patients, months), one patient a row with the months in order.",
    (
        (lambda t, c, m: to_sequences(t, c, m).T, "the axes are (months, patients); patients come first."),
        (
            lambda t, c, m: _by(["Timestep", "PatientID"])(t, c, m).reshape(-1, m),
            "sorted by month first; patient first.",
        ),
        (lambda t, c, m: t[c].to_numpy().reshape(-1, m), _MIXES),
        (lambda t, c, m: t[c].to_numpy().reshape(m, -1), _MIXES),
        (lambda t, c, m: t[c].to_numpy().reshape(m, -1).T, "right only for rows sorted by month; sort them yourself."),
        (
            lambda t, c, m: _by(["PatientID"])(t, c, m).reshape(-1, m),
            "each sequence holds one patient, but its months are not in order; sort by month as well.",
        ),
        (lambda t, c, m: _by(["Timestep"])(t, c, m).reshape(-1, m), "sorted by month only; sort by patient first."),
        (
            lambda t, c, m: _by(["Timestep"])(t, c, m).reshape(m, -1).T,
            "patients in the order of rows; sort by patient.",
        ),
        (
            lambda t, c, m: t.sort_index()[c].to_numpy().reshape(-1, m),
            "the index says nothing; sort by patient, month.",
        ),
        (lambda t, c, m: _by(["PatientID", "Timestep"])(t, c, m).reshape(m, -1), "the shape is (patients, months)."),
        (lambda t, c, m: _by(["PatientID", "Timestep"])(t, c, m).reshape(m, -1).T, "reshape(-1, months) needs no .T."),
        (lambda t, c, m: np.sort(t[c].to_numpy()).reshape(-1, m), "the values themselves are sorted; sort the rows."),
        (lambda t, c, m: np.sort(to_sequences(t, c, m), 1), "values are sorted by size within a patient; by month."),
        (lambda t, c, m: to_sequences(t, c, m)[:, ::-1], "the months are in reverse order."),
        (lambda t, c, m: to_sequences(t, c, m)[::-1], "the patients are in reverse order."),
        (lambda t, c, m: to_sequences(t, "VL", m), "the column is written into it; use the argument `column`."),
        (lambda t, c, m: to_sequences(t, c, 4), "4 months are written into it; use the argument `months`."),
    ),
)
