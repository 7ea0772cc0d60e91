"""The time column: from numbers, dates, time stamps or durations to numbers that can be added up, and back.

>>> from .schema import Feature
>>> schema = Schema([Feature('lab', 'real')], patient='id', time='day')
>>> table = pd.DataFrame({'id': [1, 1], 'day': ['2024-01-31', '2024-02-01']})
>>> np.diff(time_values(table, schema)).tolist()  # a day of microseconds
[86400000000]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from pandas.tseries.api import guess_datetime_format

from .columns import as_type, numbers, shown, type_name
from .schema import Schema

#: Microseconds of a day, hour, minute, second, millisecond and microsecond: what moments are counted in.
UNITS = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000, 1)


def time_values(table: pd.DataFrame, schema: Schema) -> np.ndarray:
    """The time column as numbers that sort: as they stand, or whole microseconds of moments and durations."""
    column = table[schema.time]
    if column.dtype.kind in "mM":  # moments and durations
        return _ticks(column)
    values, bad = numbers(column)
    bad |= ~np.isfinite(values)
    problem = "which is neither a number nor a date like 2024-01-31; say how dates are written by date_format"
    form = schema.date_format
    if form or bad.sum() > len(bad) / 2:
        dates = pd.to_datetime(column, errors="coerce", format=form or "ISO8601", utc=True)
        values, bad = _ticks(dates), dates.isna().to_numpy()
        if form:
            problem = f"which is not written as the schema's date_format {form!r} says"
    if bad.any():
        row = int(bad.argmax())
        patient, value = table[schema.patient].iloc[row], shown(column.iloc[row])
        raise ValueError(f"column {schema.time!r}: patient {patient} has {value}, {problem}")
    return values


def _ticks(moments: pd.Series) -> np.ndarray:
    return moments.to_numpy(dtype=f"{moments.dtype.kind}8[us]").astype(np.int64)


@dataclass(frozen=True)
class Clock:
    """How a table writes its times.

    Args:
        kind: ``"number"``, ``"moment"``, ``"date"`` (Python's own) or ``"duration"``.
        type: the column's type, as :func:`hg_helpers.cohort.columns.type_name` or pandas writes it.
        unit: what a number of 1 stands for: 1, or so many microseconds.
        form: how moments are written as text.
    """

    kind: str = "number"
    type: Any = None
    unit: int = 1
    form: str | None = None

    @classmethod
    def of(cls, table: pd.DataFrame, schema: Schema) -> Clock:
        """Read it off a validated table."""
        column, values = table[schema.time], time_values(table, schema)
        if is_numeric_dtype(column) or values.dtype != np.int64:
            return cls(type=type_name(column))
        unit = next(unit for unit in UNITS if not (values % unit).any())
        if column.dtype.kind in "mM":
            return cls("duration" if column.dtype.kind == "m" else "moment", str(column.dtype), unit)
        if not isinstance(column.iloc[0], str):
            return cls("date", None, unit)
        return cls("moment", None, unit, schema.date_format or guess_datetime_format(max(column, key=len)))

    def read(self, table: pd.DataFrame, schema: Schema) -> np.ndarray:
        """The times of a validated table as numbers."""
        return time_values(table, schema) / self.unit

    def write(self, values: np.ndarray) -> pd.Series:
        """Numbers as times, in the type and form of the training table."""
        if self.kind == "number":
            return as_type(values, self.type)
        ticks = np.round(values).astype(np.int64) * self.unit
        if self.kind == "duration":
            return pd.Series(ticks.astype("timedelta64[us]")).astype(self.type)
        moments = pd.Series(ticks.astype("datetime64[us]"))
        if self.form:
            return moments.dt.tz_localize("UTC").dt.strftime(self.form)
        if self.kind == "date":
            return moments.dt.date
        zone = getattr(pd.api.types.pandas_dtype(self.type), "tz", None)
        return (moments.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else moments).astype(self.type)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint; ``Clock(**state)`` is the inverse."""
        return asdict(self)


def grid_of(times: np.ndarray, rank: np.ndarray) -> tuple[float, float]:
    """First time and step that most patients of a regular table have; a step of 1 where nobody has two rows."""
    steps = np.diff(times)[rank[1:] > 0]
    step = pd.Series(steps).mode()[0] if len(steps) else 1
    return pd.Series(times[rank == 0]).mode()[0], step
