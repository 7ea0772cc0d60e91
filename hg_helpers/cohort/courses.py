"""A patient's rows as one course in the order of time: which rows are used, and what stands in for a missing value.

>>> import pandas as pd
>>> courses = Courses.of(pd.Series(['a', 'a', 'a', 'b']))
>>> courses.forward(np.array([1.0, np.nan, 3.0, np.nan])).tolist()
[1.0, 1.0, 3.0, nan]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from .columns import TableLog, ids, plain, row_name, shown
from .schema import MOST_VISITS, Schema
from .times import Clock, grid_of, time_values


@dataclass(frozen=True)
class Courses:
    """Where the patients' rows stand in a table that is sorted by patient and time.

    Attributes:
        sizes: (patients,) rows of each.
        number: (rows,) the patient's number, from 0. rank: (rows,) 0, 1, ... within the patient.
    """

    sizes: np.ndarray
    number: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, patients: pd.Series) -> Courses:
        """From the patient column."""
        number, _ = pd.factorize(patients)
        sizes = np.bincount(number)
        return cls(sizes, number, np.arange(len(number)) - np.repeat(np.cumsum(sizes) - sizes, sizes))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Each missing value becomes the patient's last one before it, where there is one."""
        return pd.Series(values).groupby(self.number).ffill().to_numpy()

    def anywhere(self, values: np.ndarray) -> np.ndarray:
        """As :meth:`forward`, and before a patient's first value that one."""
        return pd.Series(self.forward(values)).groupby(self.number).bfill().to_numpy()

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
    length = schema.length or min(int(courses.sizes.max()), MOST_VISITS)
    kept = _used(courses.sizes, length, schema, log)[patient] & (courses.rank < length)
    if schema.regular:
        _check_grid(table, time, courses, kept, length, schema)
        if time.dtype != np.int64 and (time == np.round(time)).all():  # also where they are text, or floats
            table[schema.time] = time.astype(np.int64)
    return table if kept.all() else table[kept].reset_index(drop=True)


def _used(sizes: np.ndarray, length: int, schema: Schema, log: TableLog) -> np.ndarray:
    """Which patients are used, with a word in the log about short courses and cut ones."""
    enough, longer = sizes >= length, int((sizes > length).sum())
    short, all_, visits = int((~enough).sum()), len(sizes), f"fewer than {length} visits"
    if schema.shorter == "drop" and short == all_:
        hint = "set a smaller length in the schema, or shorter='keep'"
        raise ValueError(f"every patient has {visits} (the most is {sizes.max()}); {hint}")
    if longer:
        log.warning("%d patients have more than %d rows; their first %d are used", longer, length, length)
    if short and schema.shorter == "drop":
        log.warning("left out %d of %d patients, who have %s", short, all_, visits)
    elif short and schema.shorter == "keep" and schema.length:  # else nobody said how long a course should be
        log.info("%d of %d patients have %s: courses that end early", short, all_, visits)
    return enough | (schema.shorter != "drop")


def _check_grid(
    table: pd.DataFrame, time: np.ndarray, courses: Courses, kept: np.ndarray, length: int, schema: Schema
) -> None:
    """Refuse gaps, late starts and short patients, naming the first patient and the month that is missing."""
    first, step = grid_of(time, courses.rank)
    place = (time - first) / step
    wrong = kept & (np.abs(place - courses.rank) > 1e-6)
    bad = (courses.sizes < length) & (schema.shorter == "error")
    bad[courses.number[wrong]] = True
    if not bad.any():
        return
    clock = Clock.of(table, schema)

    def written(steps: float) -> object:
        return clock.write(np.array([first + step * steps]) / clock.unit).iloc[0]

    rows = np.flatnonzero(courses.number == bad.argmax())
    row = next(iter(rows[wrong[rows]]), None)  # the first that is out of step; None where rows are too few
    begin = written(0)
    if row is not None and abs(place[row] - round(place[row])) > 1e-6:
        problem = f"has {shown(table[schema.time].iloc[row])}, which is not a whole number of steps from {begin}"
    elif row is not None and place[row] < courses.rank[row]:
        problem = f"begins with month {written(round(place[row]))}, the others with month {begin}"
    else:
        problem = f"has no month {written(len(rows) if row is None else courses.rank[row])}"
    most, needed = courses.sizes.max(), f"{length} " if schema.shorter == "error" else ""
    longest = f" (no patient has more than {most} rows)" if most < length else ""
    raise ValueError(
        f"column {schema.time!r}: patient {table[schema.patient].iloc[rows[0]]} {problem}; {int(bad.sum())} of "
        f"{len(bad)} patients have such a fault. Each needs {needed}consecutive months from month {begin}{longest}: "
        "complete the table, set another length in the schema, or regular=False, which takes a patient's first "
        f"{length} rows at times of their own"
    )


# --- values that are missing, or should not change --------------------------------------------------------------------


def typical(observed: np.ndarray, real: bool) -> float:
    """The median, or the most frequent level; 0 of nothing."""
    if not len(observed):
        return 0.0
    return float(np.median(observed)) if real else float(np.bincount(observed.astype(np.intp)).argmax())


def fill_missing(
    values: dict[str, np.ndarray], table: pd.DataFrame, courses: Courses, schema: Schema, log: TableLog
) -> None:
    """Refuse missing values, leave them, or fill them in place and say how many, as ``schema.missing`` asks.

    Args:
        values: by feature, NaN where one is missing.
    """
    missing = {name: np.isnan(column) for name, column in values.items() if np.isnan(column).any()}
    counts = {name: int(where.sum()) for name, where in missing.items()}
    if counts and schema.missing == "error":
        name, *others = counts
        also = "".join(f", {other!r} has {counts[other]}" for other in others)
        raise ValueError(
            f"column {name!r} has {counts[name]} missing values, the first for "
            f"{row_name(table, int(missing[name].argmax()), schema)}{also}. Complete them, or say in the schema or in "
            "load_cohort what they are: missing='measured' (gaps, to be reproduced) or missing='forward' (to be filled)"
        )
    told = []
    for name, where in missing.items():
        feature, observed, count = schema[name], values[name][~where], counts[name]
        if not len(observed):
            raise ValueError(f"column {name!r} has no value at all in the rows used; leave it out of the schema")
        if schema.missing == "measured":
            continue
        filled = courses.anywhere(values[name]) if feature.static else courses.forward(values[name])
        rest = np.isnan(filled)
        if feature.static and rest.any():
            raise ValueError(
                f"column {name!r}: patient {table[schema.patient].iloc[int(rest.argmax())]} has no value at all "
                f"({len(np.unique(courses.number[rest]))} such patients), and "
                "a static feature is not filled from other people; complete it, or use missing='measured'"
            )
        usual, left = typical(observed, feature.is_real), int(rest.sum())
        values[name] = np.where(rest, usual, filled)
        source = f"the median {usual:g}" if feature.is_real else f"the most frequent level {feature.levels[int(usual)]}"
        own = "from the same patient" if feature.static else "carried forward"
        by_others = f", {left} by {source}" if left else ""
        told.append(f"{name!r} {count}, {count / len(rest):.1%} ({count - left} {own}{by_others})")
    if told:
        log.warning("filled missing values, of each column: %s", "; ".join(told))


def report_static_changes(values: dict[str, np.ndarray], courses: Courses, schema: Schema, log: TableLog) -> None:
    """Say in how many patients a feature changes that should not; the public cohort's generator let that happen."""
    for feature in schema.static:
        changing = courses.changing(values[feature.name])
        if changing:
            told = (feature.name, changing, len(courses.sizes))
            log.warning("static feature %r changes within %d of %d patients; its values are kept as they are", *told)
