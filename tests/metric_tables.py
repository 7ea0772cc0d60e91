"""Hand-sized cohorts for the tests of the metrics."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hg_helpers.cohort.schema import Feature, Schema


def real(name: str = "lab", **more) -> Feature:
    """A real feature that is encoded by its range alone, so that hand calculations stay simple."""
    return Feature(name, "real", transform="none", **more)


def binary(name: str, **more) -> Feature:
    return Feature(name, "binary", levels=("no", "yes"), **more)


def categorical(name: str, levels: str = "abc", **more) -> Feature:
    return Feature(name, "categorical", levels=tuple(levels), **more)


def schema_of(*features: Feature, months: int) -> Schema:
    return Schema(features, patient="id", time="month", length=months)


def table(schema: Schema, *columns: Sequence[Sequence]) -> pd.DataFrame:
    """One column a feature, each given as patients x months (a text stands for its letters)."""
    values = [np.array([list(patient) for patient in column]) for column in columns]
    n, months = values[0].shape
    out = {"id": np.repeat(np.arange(n), months), "month": np.tile(np.arange(months), n)}
    return pd.DataFrame(out | {f.name: v.ravel() for f, v in zip(schema, values, strict=True)})
