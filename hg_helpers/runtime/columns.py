"""A column of a table as pandas has it, whatever it means: to numbers, and back in the form that it came in.

>>> values, wrong = numbers(pd.Series(['1.5', ' ', 'high']))
>>> values.tolist(), wrong.tolist()
([1.5, nan, nan], [False, False, True])
"""

from __future__ import annotations

import logging
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_numeric_dtype, is_string_dtype, pandas_dtype
from pandas.tseries.api import guess_datetime_format

#: Microseconds of a day, hour, minute, second, millisecond and microsecond: what moments are counted in.
UNITS = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000, 1)


class TableLog(logging.LoggerAdapter):
    """The package's log, for what is found in one table: each message begins with the table's name, if it has one."""

    def __init__(self, name: str = "") -> None:
        super().__init__(logging.getLogger("hg_helpers"), {})
        self.before = f"{name} table: ".replace("%", "%%") if name else ""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        return self.before + msg, kwargs


def normal(text: Any) -> Any:
    """Text with each accented letter in its one form (Unicode NFC); anything else as it is."""
    return unicodedata.normalize("NFC", text) if isinstance(text, str) else text


def plain(column: pd.Series) -> pd.Series:
    """A categorical column as what its categories are, any other column as it is."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    return pd.Series(np.asarray(column), index=column.index) if categorical else column


def ids(column: pd.Series) -> pd.Series:
    """A column of patients' names, text in one form; what is neither number nor text, such as a UUID, as text."""
    column = plain(column)
    if column.dtype.kind != "O" and not is_string_dtype(column):
        return column
    place, values = pd.factorize(column)
    if infer_dtype(values) == "mixed" and len({type(value) for value in values}) == 1:
        values = [str(value) for value in values]
    named = np.array([*map(normal, values), None], dtype=object)  # the last for -1, a missing one
    return pd.Series(named[place], index=column.index, name=column.name)


def shown(value: object) -> str:
    """A value as a reader would write it, text in quotes."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def is_blank(column: pd.Series) -> np.ndarray:
    """Which entries are missing, or text without a visible character."""
    return (column.isna() | column.astype(str).str.strip().eq("")).to_numpy(dtype=bool)


def numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Values as float64, NaN where missing or blank, and which entries are neither a number nor missing."""
    if is_numeric_dtype(column):
        return column.to_numpy(dtype=float, na_value=np.nan), np.zeros(len(column), dtype=bool)
    if column.dtype.kind in "mM":  # moments and durations
        return np.full(len(column), np.nan), column.notna().to_numpy()
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return values, np.isnan(values) & ~is_blank(column)


def whole_numbers(name: str, values: Any, count: int, below: int | None = None) -> np.ndarray:
    """An argument's values, ``count`` of them, as integers from 0 to less than ``below``; True counts as 1."""
    column, limit = pd.Series(values), "on" if below is None else f"to {below - 1}"
    found = numbers(column)[0]
    wrong = ~((found >= 0) & (found < (below or np.inf)) & (found % 1 == 0))
    if len(found) != count or wrong.any():
        first = next((f"entry {at} is {shown(value)}" for at, value in column[wrong].items()), f"it has {len(found)}")
        raise ValueError(f"{name} must be {count} whole numbers from 0 {limit}; {first}")
    return found.astype(np.int64)


def type_name(column: pd.Series) -> Any:
    """A column's type as plain data for a checkpoint: its name, of categories also which; None if it is not kept."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = dtype.categories.tolist()
        return [levels, bool(dtype.ordered)] if all(isinstance(v, (str, int, float)) for v in levels) else None
    kept = dtype.kind in "iufb" or isinstance(dtype, pd.StringDtype)
    return str(dtype) if kept and "pyarrow" not in str(dtype) else None


def as_type(values: Any, name: Any) -> pd.Series:
    """Decoded values as a column of the type that :func:`type_name` wrote down, where that can hold them."""
    column = pd.Series(values)
    if isinstance(name, list):
        return column.astype(pd.CategoricalDtype(*name)) if set(column.dropna().unique()) <= set(name[0]) else column
    fits = name == "boolean" or (name and (column.dtype.kind == "O") == (pandas_dtype(name).kind == "O"))
    return column.astype(name) if fits else column


def id_pattern(patients: pd.Series) -> list[Any] | None:
    """How text ids are written: prefix, first free number, digits, suffix; None where ids are no text."""
    if not isinstance(patients.iloc[0], str):
        return None
    parts = pd.Series(patients.unique()).str.extract(r"^(.*?)(\d{1,15})(\D*)$")
    forms = parts.value_counts([0, 2])  # without those that hold no number
    if not len(forms) or forms.iloc[0] < max(2, len(parts) / 10):  # sites may have prefixes of their own
        return ["synthetic-", 0, 0, ""]
    prefix, suffix = forms.index[0]
    digits = parts.loc[(parts[0] == prefix) & (parts[2] == suffix), 1]
    padded = digits.str.startswith("0").any()
    return [prefix, int(digits.astype(np.int64).max()) + 1, int(digits.str.len().max()) if padded else 0, suffix]


def new_ids(pattern: list[Any] | None, first: int, count: int) -> np.ndarray:
    """Ids of ``count`` patients from number ``first`` on, written as :func:`id_pattern` found them."""
    numbers = np.arange(first, first + count)
    if pattern is None:
        return numbers
    prefix, start, digits, suffix = pattern
    return np.array([f"{prefix}{start + number:0{digits}d}{suffix}" for number in numbers], dtype=object)


def ticks(moments: pd.Series) -> np.ndarray:
    """Moments or durations as whole microseconds."""
    return moments.to_numpy(dtype=f"{moments.dtype.kind}8[us]").astype(np.int64)


def decimals(x: np.ndarray) -> int | None:
    """How many decimals the values are written with, 0 for whole numbers; None where they have no such limit."""
    with np.errstate(over="ignore"):
        dust = 2 * np.spacing(np.abs(x))  # 0.1 + 0.2 is 0.3
        # more than nine decimals are nobody's writing, but a computer's
        return next((count for count in range(10) if (np.abs(np.round(x, count) - x) <= dust).all()), None)


@dataclass(frozen=True)
class Clock:
    """How a table writes its times; plain data, which a checkpoint holds."""

    kind: str = "number"  # or "moment", "date" (Python's own), "duration"
    type: Any = None  # the column's type, as `type_name` or pandas writes it
    unit: int = 1  # what a number of 1 stands for: 1, or so many microseconds
    form: str | None = None  # how moments are written as text
    places: int | None = None  # the decimals of numbers, which the steps between them may have lost

    @classmethod
    def of(cls, column: pd.Series, values: np.ndarray, form: str | None) -> Clock:
        """Read it off a column, whose moments or durations have these ``values`` in microseconds."""
        if is_numeric_dtype(column) or values.dtype != np.int64:
            return cls(type=type_name(column), places=decimals(values))
        unit = next(unit for unit in UNITS if not (values % unit).any())
        if column.dtype.kind in "mM":
            return cls("duration" if column.dtype.kind == "m" else "moment", str(column.dtype), unit)
        if not isinstance(column.iloc[0], str):
            return cls("date", None, unit)
        return cls("moment", None, unit, form or guess_datetime_format(max(column, key=len)))

    def write(self, values: np.ndarray) -> pd.Series:
        """Numbers as times, in the type and form of the training table."""
        if self.kind == "number":
            return as_type(values if self.places is None else np.round(values, self.places), self.type)
        ticks = np.round(values).astype(np.int64) * self.unit
        if self.kind == "duration":
            return pd.Series(ticks.astype("timedelta64[us]")).astype(self.type)
        moments = pd.Series(ticks.astype("datetime64[us]"))
        if self.form:
            return moments.dt.tz_localize("UTC").dt.strftime(self.form)
        if self.kind == "date":
            return moments.dt.date
        zone = getattr(pandas_dtype(self.type), "tz", None)
        return (moments.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else moments).astype(self.type)
