"""A patient's rows as one course in the order of time: which rows are used, what stands in for a missing value.

>>> courses = Courses.of(pd.Series(['a', 'a', 'a', 'b']))
>>> courses.filled(np.array([1.0, np.nan, 3.0, np.nan])).tolist()
[1.0, 1.0, 3.0, nan]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from ..runtime.columns import Clock, TableLog, ids, numbers, plain, shown, ticks
from .columns import row_name
from .schema import MOST_VISITS, Schema


@dataclass(frozen=True)
class Courses:
    """Where the patients' rows stand in a table that is sorted by patient and time."""

    sizes: np.ndarray  # (patients,) rows of each
    number: np.ndarray  # (rows,) the patient's number, from 0
    rank: np.ndarray  # (rows,) 0, 1, ... within the patient

    @classmethod
    def of(cls, patients: pd.Series) -> Courses:
        number, _ = pd.factorize(patients)
        sizes = np.bincount(number)
        return cls(sizes, number, np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes))

    def filled(self, values: np.ndarray, back: bool = False) -> np.ndarray:
        """Each missing value becomes the patient's last one before it; with ``back``, those before the first too."""
        out = pd.Series(values).groupby(self.number).ffill()
        return (out.groupby(self.number).bfill() if back else out).to_numpy()

    def changing(self, values: np.ndarray) -> int:
        """How many patients have more than one value; missing ones are none."""
        return int((pd.Series(values).groupby(self.number).nunique() > 1).sum())


def first_rows(table: pd.DataFrame, schema: Schema, log: TableLog) -> pd.DataFrame:
    """Each patient's first ``schema.length`` rows, sorted by patient and time."""
    for name in (schema.patient, schema.time):
        empty = table[name].isna().to_numpy()
        if empty.any():
            rows = f"{int(empty.sum())} missing values, the first in row {int(empty.argmax()) + 1}"
            raise ValueError(f"column {name!r} has {rows}; every row needs its patient and its time")
    table = table.assign(**{schema.patient: ids(table[schema.patient]), schema.time: plain(table[schema.time])})
    if infer_dtype(table[schema.patient]) in ("mixed", "mixed-integer"):
        raise ValueError(f"column {schema.patient!r} mixes numbers and text; convert it, for example by .astype(str)")
    time, patient = time_values(table, schema), pd.factorize(table[schema.patient], sort=True)[0]
    order = np.lexsort((time, patient))
    table, time, patient = table.iloc[order].reset_index(drop=True), time[order], patient[order]
    twice = (patient[1:] == patient[:-1]) & (time[1:] == time[:-1])
    if twice.any():
        row = row_name(table, int(twice.argmax()), schema)
        raise ValueError(f"{row} stands in more than one row ({int(twice.sum())} such rows in all); keep one of each")
    courses = Courses.of(table[schema.patient])
    sizes, everybody = courses.sizes, len(courses.sizes)
    length = schema.length or min(int(sizes.max()), MOST_VISITS)
    short, longer, visits = int((sizes < length).sum()), int((sizes > length).sum()), f"fewer than {length} visits"
    kept = courses.rank < length
    if longer:
        log.warning("%d patients have more than %d rows; their first %d are used", longer, length, length)
    if short and schema.shorter == "drop":
        if short == everybody:
            hint = "set a smaller length in the schema, or shorter='keep'"
            raise ValueError(f"every patient has {visits} (the most is {sizes.max()}); {hint}")
        log.warning("left out %d of %d patients, who have %s", short, everybody, visits)
        kept &= (sizes >= length)[patient]
    elif short and schema.shorter == "keep" and schema.length:  # else nobody said how long a course should be
        log.info("%d of %d patients have %s: courses that end early", short, everybody, visits)
    if schema.regular:
        _check_grid(table, time, kept, length, schema)
        if time.dtype != np.int64 and (time == np.round(time)).all():  # also where they are text, or floats
            table[schema.time] = time.astype(np.int64)
    return table if kept.all() else table[kept].reset_index(drop=True)


def _check_grid(table: pd.DataFrame, time: np.ndarray, kept: np.ndarray, length: int, schema: Schema) -> None:
    """Refuse gaps, late starts and short patients, naming the first patient and the month that is missing."""
    courses = Courses.of(table[schema.patient])
    first, step = grid_of(time, courses.rank)
    place = (time - first) / step
    wrong = kept & (np.abs(place - courses.rank) > 1e-6)
    bad = (courses.sizes < length) & (schema.shorter == "error")
    bad[courses.number[wrong]] = True
    if not bad.any():
        return
    clock = Clock.of(table[schema.time], time, schema.date_format)

    def at(steps: float) -> Any:
        return clock.write(np.array([first + step * steps]) / clock.unit).iloc[0]

    begin, rows = at(0), np.flatnonzero(courses.number == bad.argmax())
    row = next(iter(rows[wrong[rows]]), None)  # the first that is out of step; None where rows are too few
    problem = f"has no month {at(len(rows) if row is None else courses.rank[row])}"
    if row is not None and abs(place[row] - round(place[row])) > 1e-6:
        problem = f"has {shown(table[schema.time].iloc[row])}, which is not a whole number of steps from {begin}"
    elif row is not None and place[row] < courses.rank[row]:
        problem = f"begins with month {at(round(place[row]))}, the others with month {begin}"
    most, needed = courses.sizes.max(), f"{length} " if schema.shorter == "error" else ""
    longest = f" (no patient has more than {most} rows)" if most < length else ""
    said = f"column {schema.time!r}: patient {table[schema.patient].iloc[rows[0]]} {problem}; {int(bad.sum())} of "
    said += f"{len(bad)} patients have such a fault. Each needs {needed}consecutive months from month {begin}{longest}"
    way_out = f"or regular=False, which takes a patient's first {length} rows at times of their own"
    raise ValueError(f"{said}: complete the table, set another length in the schema, {way_out}")


def typical(observed: np.ndarray, real: bool) -> float:
    """The median, or the most frequent level; 0 of nothing."""
    if not len(observed):
        return 0.0
    return float(np.median(observed) if real else np.bincount(observed.astype(np.intp)).argmax())


def fill_missing(values: dict[str, np.ndarray], table: pd.DataFrame, schema: Schema, log: TableLog) -> None:
    """Refuse missing values (NaN), leave them, or fill them in place and say how many, as ``schema.missing`` asks."""
    courses = Courses.of(table[schema.patient])
    missing = {name: np.isnan(column) for name, column in values.items() if np.isnan(column).any()}
    told, counts = [], {name: int(where.sum()) for name, where in missing.items()}
    if counts and schema.missing == "error":
        name, *others = counts
        first = row_name(table, int(missing[name].argmax()), schema)
        also = "".join(f", {other!r} has {counts[other]}" for other in others)
        ways = "missing='measured' (gaps, to be reproduced) or missing='forward' (to be filled)"
        said = f"column {name!r} has {counts[name]} missing values, the first for {first}{also}"
        raise ValueError(f"{said}. Complete them, or say in the schema or in load_cohort what they are: {ways}")
    for name, where in missing.items():
        feature, observed, count = schema[name], values[name][~where], counts[name]
        if not len(observed):
            raise ValueError(f"column {name!r} has no value at all in the rows used; leave it out of the schema")
        if schema.missing == "measured":
            continue
        filled = courses.filled(values[name], back=feature.static)
        rest = np.isnan(filled)
        if feature.static and rest.any():
            patient, such = table[schema.patient].iloc[int(rest.argmax())], len(np.unique(courses.number[rest]))
            said = f"column {name!r}: patient {patient} has no value at all ({such} such patients), and a static"
            raise ValueError(f"{said} feature is not filled from other people; complete it, or use missing='measured'")
        usual, left = typical(observed, feature.is_real), int(rest.sum())
        values[name] = np.where(rest, usual, filled)
        source = f"the median {usual:g}" if feature.is_real else f"the most frequent level {feature.levels[int(usual)]}"
        own = "from the same patient" if feature.static else "carried forward"
        by_others = f", {left} by {source}" if left else ""
        told.append(f"{name!r} {count}, {count / len(rest):.1%} ({count - left} {own}{by_others})")
    if told:
        log.warning("filled missing values, of each column: %s", "; ".join(told))


def time_values(table: pd.DataFrame, schema: Schema) -> np.ndarray:
    """The time column as numbers that sort: as they stand, or whole microseconds of moments and durations."""
    column = table[schema.time]
    if column.dtype.kind in "mM":
        return ticks(column)
    values, bad = numbers(column)
    bad |= ~np.isfinite(values)
    problem = "which is neither a number nor a date like 2024-01-31; say how dates are written by date_format"
    if schema.date_format or bad.sum() > len(bad) / 2:
        dates = pd.to_datetime(column, errors="coerce", format=schema.date_format or "ISO8601", utc=True)
        values, bad = ticks(dates), dates.isna().to_numpy()
        if schema.date_format:
            problem = f"which is not written as the schema's date_format {schema.date_format!r} says"
    if bad.any():
        row = int(bad.argmax())
        patient, value = table[schema.patient].iloc[row], shown(column.iloc[row])
        raise ValueError(f"column {schema.time!r}: patient {patient} has {value}, {problem}")
    return values


def grid_of(times: np.ndarray, rank: np.ndarray) -> tuple[float, float]:
    """First time and step that most patients of a regular table have; a step of 1 where nobody has two rows."""
    steps = np.diff(times)[rank[1:] > 0]
    return pd.Series(times[rank == 0]).mode()[0], pd.Series(steps).mode()[0] if len(steps) else 1
