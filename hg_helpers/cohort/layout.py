"""What the tensor holds beside the features: gaps, zeros, times, and where a course ends, all as ordinary features.

Networks and losses are built from a schema, so they are given one with these hidden features and see no difference.
Each stands there only where the training table needs it: the published layout has none.

>>> import pandas as pd
>>> schema = Schema([Feature('lab', 'real')], patient='id', time='visit', length=3)
>>> layout_of({'lab': np.array([1.0, 2.0, np.nan, 4.0])}, Courses.of(pd.Series(['a', 'a', 'a', 'b'])), schema).names
['lab', 'lab: measured', 'id: rows']
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .courses import Courses, typical
from .schema import COURSE, Feature, Schema

#: Least share of exact zeros that get a part of their own, where no other value is more frequent.
MANY_ZEROS = 0.05
#: What follows a feature's name in those of its flags.
MEASURED, NOT_ZERO = ": measured", ": not zero"


def time_features(schema: Schema) -> tuple[str, str]:
    return f"{schema.time}: first", f"{schema.time}: step"


def layout_of(values: dict[str, np.ndarray], courses: Courses, schema: Schema) -> Schema:
    """The schema, which has a length, with the hidden features that a training table of such values needs."""
    hidden = []
    for feature in schema:
        known, flags = ~np.isnan(values[feature.name]), {}
        if not known.all():
            flags[MEASURED] = not courses.changing(known.astype(float))
        x = values[feature.name][known]
        zeros = (x == 0).sum()
        many = feature.is_real and MANY_ZEROS * len(x) <= zeros < len(x)
        if many and zeros > np.unique(x[x != 0], return_counts=True)[1].max():
            flags[NOT_ZERO] = feature.static
        hidden += [Feature(feature.name + flag, "binary", ("no", "yes"), static=flags[flag]) for flag in flags]
    if not schema.regular:
        first, step = time_features(schema)
        hidden += [Feature(first, "real", static=True, transform="none"), Feature(step, "real", transform="ranks")]
    if courses.sizes.min() < schema.length:
        rows = tuple(range(1, schema.length + 1))
        hidden.append(Feature(f"{schema.patient}: rows", "categorical", levels=rows, static=True, role=COURSE))
    return replace(schema, features=(*schema.features, *hidden))


def with_hidden(
    values: dict[str, np.ndarray], times: np.ndarray, courses: Courses, layout: Schema, schema: Schema
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values for each feature of the layout, and where each one is a table's own and does not stand in for another."""

    def stand_in(column: np.ndarray, real: bool) -> np.ndarray:  # the patient's value before, or the first one after
        found = courses.filled(column, back=True)
        return np.where(np.isnan(found), typical(column[~np.isnan(column)], real), found)

    out, own = {}, {}
    for feature in schema:
        column = values[feature.name]
        gap = np.isnan(column)
        if feature.name + MEASURED in layout.names:
            out[feature.name + MEASURED] = (~gap).astype(float)
        elif gap.any():
            count = f"{int(gap.sum())} missing values, and in the training table it had none"
            raise ValueError(f"column {feature.name!r} has {count}; complete them, or leave these patients out")
        if feature.name + NOT_ZERO in layout.names:
            out[feature.name + NOT_ZERO] = stand_in(np.where(gap, np.nan, column != 0), real=False)
            column = np.where(column == 0, np.nan, column)
        own[feature.name] = ~np.isnan(column)
        out[feature.name] = stand_in(column, feature.is_real)
    if not schema.regular:
        first, step = time_features(schema)
        own |= {first: courses.rank == 0, step: courses.rank > 0}
        out[first] = np.repeat(times[own[first]], courses.sizes)
        out[step] = stand_in(np.where(own[step], np.append(np.nan, np.diff(times)), np.nan), real=True)
    if layout.course is not None:
        out[layout.course.name] = courses.sizes[courses.number] - 1.0  # the first level is one row
    return out, own


def without_hidden(decoded: dict[str, np.ndarray], layout: Schema, schema: Schema) -> dict[str, np.ndarray]:
    """The inverse of :func:`with_hidden` for the schema's features: zeros and gaps (NaN) stand where they belong."""
    out = {}
    for feature in schema:
        out[feature.name] = decoded[feature.name]
        for flag, absent in ((NOT_ZERO, 0.0), (MEASURED, np.nan)):
            if feature.name + flag in layout.names:
                out[feature.name] = np.where(decoded[feature.name + flag] > 0, out[feature.name], absent)
    return out
