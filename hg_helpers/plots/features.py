"""Reading tables by their schema: what every picture starts from.

>>> percent(0.0004), percent(0.0123), percent(0.5)
('<0.1%', '1.2%', '50%')
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..cohort.schema import Feature, Schema
from .style import Tables


def named(tables: Tables, label: str = "synthetic") -> dict[str, pd.DataFrame]:
    """One table or several as a dictionary of name and table; a ValueError where there is nothing to draw."""
    tables = dict(tables) if isinstance(tables, dict) else {label: tables}
    if not tables:
        raise ValueError("no table to draw; give at least one, as {name: DataFrame}")
    for name, table in tables.items():
        if not isinstance(table, pd.DataFrame):
            raise ValueError(f"table {name!r} is a {type(table).__name__}, not a pandas DataFrame")
        if table.empty:
            raise ValueError(f"table {name!r} has no rows to draw")
    return tables


def with_real(real: pd.DataFrame, synthetic: Tables, label: str, real_label: str) -> dict[str, pd.DataFrame]:
    """The real table under its name, then the synthetic ones under theirs."""
    others = named(synthetic, label)
    if real_label in others:
        raise ValueError(f"a synthetic table cannot be called {real_label!r}; give it another name")
    return named({real_label: real, **others})


def require(table: pd.DataFrame, names: Sequence[str], label: str) -> None:
    """Raise a KeyError that names the table, the first column that it lacks, and those it has."""
    for name in names:
        if name not in table.columns:
            raise KeyError(f"table {label!r} has no column {name!r}; it has {', '.join(map(str, table.columns))}")


def column(table: pd.DataFrame, feature: Feature, name: str) -> pd.Series:
    """A feature's known values: numbers, or an ordered categorical of level names that keeps absent levels.

    A column that is absent or unknown, or a value that the schema lacks, is a KeyError or ValueError that names it.
    """
    require(table, [feature.name], name)
    where, values = f"table {name!r}: column {feature.name!r}", table[feature.name].dropna()
    if values.empty:
        raise ValueError(f"{where} has no known value")
    if feature.is_real:
        numbers = pd.to_numeric(values, errors="coerce").astype(float)
        if not np.isfinite(numbers).all():
            raise ValueError(f"{where} holds values that are no finite numbers")
        return numbers
    codes = pd.Index(feature.codes).get_indexer(values)
    if (codes < 0).any():
        strange = values[codes < 0].iloc[0]
        raise ValueError(f"{where} holds {strange!r}, which the schema does not list; it lists {list(feature.codes)}")
    return pd.Series(pd.Categorical.from_codes(codes, level_names(feature), ordered=True), values.index)


def level_names(feature: Feature) -> list[str]:
    """The levels as text for axes."""
    return [str(level) for level in feature.levels]


def discrete(schema: Schema, name: str) -> Feature:
    """A feature that has levels."""
    if (feature := schema[name]).is_real:
        choice = ", ".join(f.name for f in schema.discrete) or "none"
        raise ValueError(f"feature {name!r} is real and has no levels; discrete features of the schema: {choice}")
    return feature


def row_noun(schema: Schema) -> str:
    """What a row is called: months, or visits where the time is irregular."""
    return "months" if schema.regular else "visits"


def is_logarithmic(feature: Feature, *values: pd.Series) -> bool:
    """True for a lab that is never zero or negative here and spans at least a decade."""
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    return feature.transform == "box-cox" and low > 0 and high >= 10 * low


def percent(share: float) -> str:
    """A share in as many digits as a reader needs, never rounded to 0 when there is somebody."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{100 * share:.1f}%" if 0 < share < 0.0995 else f"{100 * share:.0f}%"
