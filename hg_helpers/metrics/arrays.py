"""From tables to arrays: what every metric starts from, so that none of them depends on row order or patient ids.

>>> import hg_helpers as hg
>>> cohort = hg.metrics.as_arrays(hg.simulate_cohort(5, seed=1), hg.ART_DEMO)
>>> len(cohort), cohort.reals.shape, cohort.levels.shape
(5, (5, 60, 2), (5, 60, 5))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..cohort.columns import checked_values
from ..cohort.courses import Courses, time_values
from ..cohort.encoding import CohortEncoder
from ..cohort.load import validate_cohort
from ..cohort.schema import Feature, Schema
from ..runtime.columns import UNITS


@dataclass(frozen=True, eq=False)
class CohortArrays:
    """A cohort as arrays, patients in the order of their values, not of ids or rows: a seed draws the same people."""

    schema: Schema
    patients: np.ndarray  # (n,) ids, kept only to label rows of tables
    there: np.ndarray  # (n, months), whether a course has this visit
    reals: np.ndarray  # (n, months, real features), in the table's units; NaN in a gap and behind the last visit
    levels: np.ndarray  # (n, months, discrete features), position in `Feature.levels`; -1 where there is none
    times: np.ndarray | None = None  # (n, months) where visits have their own, dates in days; NaN behind the last
    scaled: np.ndarray | None = None  # (n, months, real features) in [0, 1], as the encoder, if any, gives them
    encoder: CohortEncoder | None = None
    whole: bool = True  # whether every visit and value is there, here and in cohorts that this is compared with

    @classmethod
    def of(cls, table: pd.DataFrame, schema: Schema, encoder: CohortEncoder | None, name: str = "") -> CohortArrays:
        """Arrays of a table that :func:`hg_helpers.validate_cohort` returned; ``name`` is for the log."""
        sizes = Courses.of(table[schema.patient]).sizes
        there = np.arange(sizes.max()) < sizes[:, None]

        def laid_out(columns: Sequence[np.ndarray], absent: float, kind: type) -> np.ndarray:
            out = np.full((*there.shape, len(columns)), absent, dtype=kind)
            for i, column in enumerate(columns):
                out[:, :, i][there] = column
            return out

        values = checked_values(table, schema)
        reals = laid_out([values[f.name] for f in schema.real], np.nan, np.float64)
        levels = laid_out([np.nan_to_num(values[f.name], nan=-1) for f in schema.discrete], -1, np.int32)
        times = None if schema.regular else time_values(table, schema)
        if times is not None:  # dates and durations come in microseconds
            days = times / UNITS[0] if times.dtype == np.int64 else times
            times = laid_out([days], np.nan, np.float64)[:, :, 0]
        scaled = None if encoder is None else laid_out(encoder.scale(table, name), np.nan, np.float64)
        whole = not (np.isnan(reals).any() or (levels < 0).any() or not there.all())
        patients = table[schema.patient].to_numpy()[np.cumsum(sizes) - sizes]
        # a copy: an encoder that is fitted again has another scale, and these arrays do not
        out = cls(schema, patients, there, reals, levels, times, scaled, copy(encoder), whole)
        parts = [part for part in (levels, reals, times) if part is not None and part.size]  # whose bytes order them
        courses = np.concatenate([part.reshape(len(part), -1).view(np.uint8) for part in parts], axis=1)
        return out.take(np.argsort(courses.view(f"V{courses.shape[1]}").ravel(), kind="stable"))

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def months(self) -> int:
        return self.levels.shape[1]

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> CohortArrays:
        names = ("there", "reals", "levels", "times", "scaled")
        return replace(self, **{n: change(getattr(self, n)) for n in names if getattr(self, n) is not None})

    def take(self, index: np.ndarray) -> CohortArrays:
        return replace(self.each(lambda part: part[index]), patients=self.patients[index])

    def draw(self, n: int, rng: np.random.Generator) -> CohortArrays:
        """``n`` patients drawn without replacement; all of them where there are no more."""
        return self if n >= len(self) else self.take(np.sort(rng.choice(len(self), n, replace=False)))

    def values(self, name: str, scaled: bool = False) -> np.ndarray:
        """A feature's courses, (n, months): numbers, in the table's units or ``scaled``, or positions of levels."""
        feature = self.schema[name]
        if feature.is_real:
            return (self.scaled if scaled else self.reals)[:, :, self.schema.real.index(feature)]
        return self.levels[:, :, self.schema.discrete.index(feature)]

    def known(self, *names: str) -> np.ndarray:
        """At which visits all of these features are known, (n, months)."""
        out = self.there
        for values in map(self.values, names):
            out = out & (~np.isnan(values) if values.dtype.kind == "f" else values >= 0)
        return out


Given = pd.DataFrame | CohortArrays


def together(*cohorts: CohortArrays) -> tuple[CohortArrays, ...]:
    """Cohorts to be compared: all with as many months as the longest course of any, and agreed whether all is whole."""
    months = max(c.months for c in cohorts)
    if all(c.whole and c.months == months for c in cohorts):
        return cohorts

    def longer(part: np.ndarray) -> np.ndarray:
        absent = {"b": False, "i": -1}.get(part.dtype.kind, np.nan)
        behind = [(0, 0), (0, months - part.shape[1]), (0, 0)]
        return np.pad(part, behind[: part.ndim], constant_values=absent)

    return tuple(replace(c.each(longer), whole=False) for c in cohorts)


def as_arrays(cohort: Given, schema: Schema | None = None, encoder: CohortEncoder | None = None) -> CohortArrays:
    """Arrays of a table, which is checked, for several metrics; ``encoder``: scaled, too. Arrays are passed through."""
    if isinstance(cohort, CohortArrays):
        if schema is not None and schema != cohort.schema:
            raise ValueError("these arrays were made with another schema; make them anew with hg.metrics.as_arrays")
        return cohort
    return CohortArrays.of(validate_cohort(cohort, schema), schema, encoder)


def prepare(schema: Schema, encoder: CohortEncoder | None, **cohorts: Given) -> tuple[CohortArrays, ...]:
    """Arrays of named cohorts on one scale: the encoder's, else that of arrays among them, else the first table's."""
    ready = [c for c in cohorts.values() if isinstance(c, CohortArrays)]
    if any(c.scaled is None and c.schema.real for c in ready):
        raise ValueError("these arrays have no scale: make them by hg.metrics.as_arrays(table, schema, encoder)")
    encoders = [c.encoder for c in ready if c.encoder is not None]
    scales = [e.state()["codes"] for e in encoders]
    if any(scale != scales[0] for scale in scales):
        raise ValueError("these arrays are scaled by different encoders; make all of them with one")
    encoder, out = encoder or next(iter(encoders), None), []
    for name, cohort in cohorts.items():
        if not isinstance(cohort, CohortArrays):
            try:
                cohort = validate_cohort(cohort, schema, name)
                encoder = encoder or CohortEncoder(schema).fit(cohort, validated=True)
                cohort = CohortArrays.of(cohort, schema, encoder, name)
            except ValueError as error:
                raise ValueError(f"{name} table: {error}") from error
        out.append(as_arrays(cohort, schema))
    return together(*out)


def discrete_features(schema: Schema, names: Sequence[str] | None) -> list[Feature]:
    """The features of these names, all discrete ones for None; ValueError for what is no joint of groups."""
    chosen = schema.discrete if names is None else [schema[name] for name in names]
    if names is not None and not chosen:
        raise ValueError("features is an empty list; name at least one discrete feature, or pass None for all")
    for name in (f.name for f in chosen if f.is_real):
        raise ValueError(f"feature {name!r} is real; a joint of groups is of binary and categorical features")
    return chosen


def most_frequent_levels(cohort: CohortArrays) -> np.ndarray:
    """Each patient's most frequent level of each discrete feature, the first of equals; -1 of none. (n, features)"""
    out = np.zeros((len(cohort), cohort.levels.shape[2]), dtype=np.int64)
    for i, feature in enumerate(cohort.schema.discrete):
        counts = np.stack([(cohort.levels[:, :, i] == k).sum(axis=1) for k in range(feature.channels)], axis=1)
        out[:, i] = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return out


def joint_groups(*rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Of sets of levels (rows, features): each row's joint group by number, and the levels of each group, in order."""
    joined = pd.DataFrame(np.concatenate(rows).astype(np.int64))
    numbers, groups = np.zeros(len(joined), np.int64), np.empty((1, 0), np.int64)  # without features, one for all
    if len(joined.columns):
        numbers = joined.groupby(list(joined)).ngroup().to_numpy()
        groups = joined.drop_duplicates().sort_values(list(joined)).to_numpy()
    return np.split(numbers, np.cumsum([len(r) for r in rows])[:-1]), groups
