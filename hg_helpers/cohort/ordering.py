"""From rows in any order to each patient's course in the order of time: which rows are used, and which are refused.

>>> from .feature import Feature
>>> schema = Schema([Feature('lab', 'real')], patient='id', time='day', regular=False)
>>> table = pd.DataFrame({'id': ['a', 'a', 'b'], 'day': [30, 0, 0], 'lab': [2, 1, 3]})
>>> first_rows(table, schema, TableLog(''))['lab'].tolist()
[1, 2, 3]
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from .columns import TableLog, ids, plain, row_name, shown
from .courses import Courses
from .schema import MOST_VISITS, Schema
from .times import Clock, grid_of, time_values


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
    time = time_values(table, schema)
    patient, _ = pd.factorize(table[schema.patient], sort=True)
    order = np.lexsort((time, patient))
    if (order[1:] < order[:-1]).any():
        table, time, patient = table.iloc[order], time[order], patient[order]
    table = table.reset_index(drop=True)
    twice = (patient[1:] == patient[:-1]) & (time[1:] == time[:-1])
    if twice.any():
        row = row_name(table, int(twice.argmax()), schema)
        raise ValueError(f"{row} stands in more than one row ({int(twice.sum())} such rows in all); keep one of each")
    courses = Courses.of(table[schema.patient])
    length = schema.length or min(int(courses.sizes.max()), MOST_VISITS)
    kept = _enough_rows(courses.sizes, length, schema, log)[patient] & (courses.rank < length)
    if schema.regular:
        _check_grid(table, time, courses, kept, length, schema)
        if time.dtype != np.int64 and (time == np.round(time)).all():  # also where they are text, or floats
            table[schema.time] = time.astype(np.int64)
    return table if kept.all() else table[kept].reset_index(drop=True)


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
    gaps = rows[wrong[rows]]
    absent = courses.rank[gaps[0]] if gaps.size else len(rows)
    if gaps.size and abs(place[gaps[0]] - round(place[gaps[0]])) > 1e-6:
        value = shown(table[schema.time].iloc[gaps[0]])
        problem = f"has {value}, which is not a whole number of steps from {written(0)}"
    elif gaps.size and place[gaps[0]] < absent:
        problem = f"begins with month {written(round(place[gaps[0]]))}, the others with month {written(0)}"
    else:
        problem = f"has no month {written(absent)}"
    most, needed = courses.sizes.max(), f"{length} " if schema.shorter == "error" else ""
    longest = f" (no patient has more than {most} rows)" if most < length else ""
    raise ValueError(
        f"column {schema.time!r}: patient {table[schema.patient].iloc[rows[0]]} {problem}; {int(bad.sum())} of "
        f"{len(bad)} patients have such a fault. Each needs {needed}consecutive months from month {written(0)}"
        f"{longest}: complete the table, set another length in the schema, or regular=False, which takes a patient's "
        f"first {length} rows at times of their own"
    )


def _enough_rows(sizes: np.ndarray, length: int, schema: Schema, log: TableLog) -> np.ndarray:
    """Which patients are used, with a word in the log about short courses and cut ones."""
    enough, longer = sizes >= length, int((sizes > length).sum())
    visits = f"fewer than {length} visits"
    if schema.shorter == "drop" and not enough.any():
        raise ValueError(
            f"every patient has {visits} (the most is {sizes.max()}); set a smaller length in the schema, or "
            "shorter='keep'"
        )
    if longer:
        log.warning("%d patients have more than %d rows; their first %d are used", longer, length, length)
    if enough.all() or schema.shorter == "error":
        return np.ones(len(sizes), dtype=bool)
    if schema.shorter == "keep":
        if schema.length:  # else nobody said how long a course should be
            log.info("%d of %d patients have %s: courses that end early", int((~enough).sum()), len(sizes), visits)
        return np.ones(len(sizes), dtype=bool)
    log.warning("left out %d of %d patients, who have %s", int((~enough).sum()), len(sizes), visits)
    return enough
