"""One column of a table at a time, to numbers and back: what a value may be, and every message about one that may not.

:mod:`hg_helpers.cohort.load` puts the rows in order.

>>> values, wrong = numbers(pd.Series(['1.5', ' ', 'high']))
>>> values.tolist(), wrong.tolist()
([1.5, nan, nan], [False, False, True])
"""

from __future__ import annotations

import difflib
import logging
import re
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_numeric_dtype, is_string_dtype, pandas_dtype

from .schema import Feature, Schema, normal

#: Rounding leaves dust below zero; of the column's largest value, so much is none.
_DUST = 1e-9


class TableLog(logging.LoggerAdapter):
    """The package's log, for what is found in one table: each message begins with the table's name, if it has one."""

    def __init__(self, name: str = "") -> None:
        super().__init__(logging.getLogger("hg_helpers"), {})
        self.before = f"{name} table: ".replace("%", "%%") if name else ""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        return self.before + msg, kwargs


def plain(column: pd.Series) -> pd.Series:
    """A categorical column as what its categories are, any other column as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Series(np.asarray(column), index=column.index)
    return column


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


def row_name(table: pd.DataFrame, row: int, schema: Schema) -> str:
    """Patient and month (or day, as the time column is called) of a row, for messages."""
    unit = "month" if schema.regular else schema.time
    return f"patient {table[schema.patient].iloc[row]}, {unit} {table[schema.time].iloc[row]}"


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


def real_values(table: pd.DataFrame, feature: Feature, schema: Schema) -> np.ndarray:
    """Values of a real feature as float64, NaN where missing; ValueError for those that its transform cannot take."""
    column = plain(table[feature.name])
    values, text = numbers(column)
    with np.errstate(invalid="ignore"):
        negative = values < -_DUST * np.nanmax(np.abs(values), initial=0.0)
    no_box_cox = 'but Box-Cox needs values of zero or more; correct it, or set transform="yeo-johnson"'
    for bad, problem in (
        (text, "which is not a number"),
        (np.isinf(values), "which is infinite; correct it, or leave it empty and use missing='forward'"),
        (negative & (feature.transform == "box-cox"), no_box_cox),
    ):
        if bad.any():
            row, count = int(bad.argmax()), int(bad.sum())
            where, value = f"column {feature.name!r}: {row_name(table, row, schema)}", column.iloc[row]
            hint = _no_number(str(value).strip()) if bad is text else ""
            raise ValueError(f"{where} has {shown(value)}, {problem}{hint} ({count} such rows in all)")
    return values


def _no_number(text: str) -> str:
    """What to do about a value that is text."""
    if re.fullmatch(r"[-+]?[\d.]+,\d+", text):
        return "; a decimal comma? Read the file with pandas.read_csv(path, decimal=',') and pass the table"
    if text[:1] in "<>":
        return "; replace values beyond a detection limit by a number, such as the limit"
    return "; correct it, or leave it empty and use missing='forward'"


def level_positions(table: pd.DataFrame, feature: Feature, schema: Schema) -> np.ndarray:
    """Position of each value among a discrete feature's codes, as float64, NaN where missing; ValueError for others."""
    column = plain(table[feature.name])
    if column.dtype.kind == "f" and any(float(code) != code for code in feature.codes if isinstance(code, int)):
        why = "holds decimal numbers, which cannot tell codes as long as these apart"
        raise ValueError(f"column {feature.name!r} {why}; read it as text or whole numbers")
    place = {_exact(code, False): position for position, code in enumerate(feature.codes)}
    number, values = pd.factorize(column)  # -1 where missing
    reads = not isinstance(feature.codes[0], str)
    found = np.array([place.get(_exact(value, reads), np.nan) for value in values] + [np.nan])
    unknown = (np.isnan(found) & ~np.append(is_blank(pd.Series(values, dtype=object)), True))[number]
    if unknown.any():
        row, others = int(unknown.argmax()), list(pd.unique(column[unknown]))
        where, value = f"column {feature.name!r}: {row_name(table, row, schema)}", shown(column.iloc[row])
        allowed = ", ".join(map(repr, feature.codes))
        hold = f"{', '.join(map(shown, others[:5]))}{' ...' if len(others) > 5 else ''}"
        such = f"({int(unknown.sum())} such rows in all; they hold {hold}). {_meant(others, feature)}"
        raise ValueError(f"{where} has {value}, which is not one of the allowed {allowed} {such}")
    return found[number]


def _exact(value: object, reads: bool) -> object:
    """What a code is compared by: a number exactly, however long, also from text if ``reads``; text in one form."""
    if isinstance(value, str):
        value = normal(value)
        if reads and re.fullmatch(r"\s*[-+]?\d+\s*", value):
            return int(value)
        with suppress(ValueError):
            return float(value.replace("_", "?")) if reads else value
    return value.item() if isinstance(value, np.generic) else value


def _meant(unknown: list[object], feature: Feature) -> str:
    """What to do about values that are not among the codes."""
    is_text, texts = isinstance(feature.codes[0], str), {str(value) for value in unknown}
    if feature.codes != feature.levels and texts <= set(map(str, feature.levels)):
        return "These are the levels' names: put the codes in their place, or leave `codes` out of the schema"
    if is_text and not isinstance(unknown[0], str):
        return "The schema's codes are text: write them without quotes, or convert the column by .astype(str)"
    by_name = {str(code).strip().casefold(): code for code in feature.codes}
    wanted = str(unknown[0]).strip().casefold()
    if wanted in by_name:
        return f"Did you mean {by_name[wanted]!r}? Only case or blanks differ"
    for close in difflib.get_close_matches(wanted, by_name, n=1) if is_text else ():
        return f"Did you mean {by_name[close]!r}?"
    return "Correct them, add the level to the schema, or say in its `codes` what the table holds for each level"


def checked_values(table: pd.DataFrame, schema: Schema) -> dict[str, np.ndarray]:
    """Of a table that is checked: by feature, its numbers, or positions of levels; NaN where one is missing."""
    out = {f.name: table[f.name].to_numpy(dtype=np.float64, na_value=np.nan) for f in schema.real}
    for feature in schema.discrete:
        positions = pd.Index(feature.codes).get_indexer(table[feature.name]).astype(float)
        out[feature.name] = np.where(positions < 0, np.nan, positions)
    return out


def codes_at(positions: np.ndarray, feature: Feature) -> pd.Series:
    """Positions of levels as the codes of a table, missing where NaN."""
    gaps = np.isnan(positions)
    codes = pd.Series(pd.Index(feature.codes).take(np.where(gaps, 0, positions).astype(np.intp)))
    return codes.where(~gaps) if gaps.any() else codes


# --- as the training table was written --------------------------------------------------------------------------------


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
    fits = name is not None and (column.dtype.kind == "O") == (pandas_dtype(name).kind == "O")
    return column.astype(name) if fits else column


def id_pattern(patients: pd.Series) -> list[Any] | None:
    """How text ids are written: prefix, first free number, digits, suffix; None where ids are no text."""
    if not isinstance(patients.iloc[0], str):
        return None
    parts = pd.Series(patients.unique()).str.extract(r"^(.*?)(\d{1,15})(\D*)$")
    forms = parts.value_counts([0, 2])  # without those that hold no number
    if not len(forms) or forms.iloc[0] * 2 < len(parts):
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
