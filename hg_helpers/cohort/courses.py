"""A patient's rows as one course: where it begins and ends, and what stands in for a value that is missing in it.

>>> import pandas as pd
>>> courses = Courses.of(pd.Series(['a', 'a', 'a', 'b']))
>>> courses.forward(np.array([1.0, np.nan, 3.0, np.nan])).tolist()
[1.0, 1.0, 3.0, nan]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .columns import TableLog, row_name
from .schema import Schema


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
        return _latest(values, self.rank)

    def anywhere(self, values: np.ndarray) -> np.ndarray:
        """As :meth:`forward`, and before a patient's first value that one."""
        rest = np.repeat(self.sizes, self.sizes) - 1 - self.rank
        return _latest(self.forward(values)[::-1], rest[::-1])[::-1]

    def changing(self, values: np.ndarray) -> int:
        """How many patients have more than one value; missing ones are none."""
        return int((pd.Series(values).groupby(self.number).nunique() > 1).sum())


def _latest(values: np.ndarray, rank: np.ndarray) -> np.ndarray:
    row = np.arange(len(values))
    latest = np.maximum.accumulate(np.where(np.isnan(values), -1, row))
    return np.where(latest >= row - rank, values[latest], np.nan)


def typical(observed: np.ndarray, real: bool) -> float:
    """The median, or the most frequent level; 0 of nothing."""
    if not len(observed):
        return 0.0
    return float(np.median(observed)) if real else float(np.bincount(observed.astype(np.intp)).argmax())


def fill_missing(
    values: dict[str, np.ndarray], table: pd.DataFrame, courses: Courses, schema: Schema, log: TableLog
) -> None:
    """Refuse missing values, leave them, or fill them in place and say how many, as ``schema.missing`` asks.

    ``"forward"`` carries a value forward within the patient, from the rows in use; what is left gets the median (real)
    or the most frequent level of the values that were observed in these rows. A static feature is filled from the same
    patient alone.

    Args:
        values: by feature, NaN where one is missing.

    Raises:
        ValueError: naming the columns and their counts, a column without any value, or a patient without a static one.
    """
    missing = {name: np.isnan(column) for name, column in values.items()}
    counts = {name: int(where.sum()) for name, where in missing.items() if where.any()}
    if counts and schema.missing == "error":
        name, *others = counts
        also = "".join(f", {other!r} has {counts[other]}" for other in others)
        raise ValueError(
            f"column {name!r} has {counts[name]} missing values, the first for "
            f"{row_name(table, int(missing[name].argmax()), schema)}{also}. Complete them, or say in the schema or in "
            "load_cohort what they are: missing='measured' (gaps, to be reproduced) or missing='forward' (to be filled)"
        )
    told = []
    for name, count in counts.items():
        feature, observed = schema[name], values[name][~missing[name]]
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
