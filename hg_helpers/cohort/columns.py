"""One column of a table at a time, to numbers and back: what a value may be, and every message about one that may not.

:mod:`hg_helpers.cohort.load` puts the rows in order.

>>> sex = Feature('sex', 'binary', levels=['f', 'm'])
>>> level_positions(pd.DataFrame({'sex': ['m', 'f', None]}), sex, Schema([sex])).tolist()
[1.0, 0.0, nan]
"""

from __future__ import annotations

import difflib
import re
from contextlib import suppress

import numpy as np
import pandas as pd

from ..runtime.columns import is_blank, normal, numbers, plain, shown
from .schema import Feature, Schema

#: Rounding leaves dust below zero; of the column's largest value, so much is none.
_DUST = 1e-9


def row_name(table: pd.DataFrame, row: int, schema: Schema) -> str:
    """Patient and month (or day, as the time column is called) of a row, for messages."""
    unit = "month" if schema.regular else schema.time
    return f"patient {table[schema.patient].iloc[row]}, {unit} {table[schema.time].iloc[row]}"


def real_values(table: pd.DataFrame, feature: Feature, schema: Schema) -> np.ndarray:
    """Values of a real feature as float64, NaN where missing; ValueError for those that its transform cannot take."""
    column = plain(table[feature.name])
    values, text = numbers(column)
    with np.errstate(invalid="ignore"):
        negative = values < -_DUST * np.nanmax(np.abs(values), initial=0.0)
        merged = (np.abs(values) >= 2**53) & (column.dtype.kind in "iu")
    no_box_cox = 'but Box-Cox needs values of zero or more; correct it, or set transform="yeo-johnson"'
    for bad, problem in (
        (text, "which is not a number"),
        (np.isinf(values), "which is infinite; correct it, or leave it empty and use missing='forward'"),
        (merged, "too long for a quantity; list it as a level, or leave it out"),
        (negative & (feature.transform == "box-cox"), no_box_cox),
    ):
        if bad.any():
            row, count = int(bad.argmax()), int(bad.sum())
            where, value = f"column {feature.name!r}: {row_name(table, row, schema)}", column.iloc[row]
            hint = _advice_on_text(str(value).strip()) if bad is text else ""
            raise ValueError(f"{where} has {shown(value)}, {problem}{hint} ({count} such rows in all)")
    return values


def _advice_on_text(text: str) -> str:
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
        such = f"({int(unknown.sum())} such rows in all; they hold {hold}). {_advice_on_levels(others, feature)}"
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


def _advice_on_levels(unknown: list[object], feature: Feature) -> str:
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
