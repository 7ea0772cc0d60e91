"""What makes a function a metric: it takes tables or arrays, and its best value, range and room stand with it.

>>> from hg_helpers.metrics import METRICS
>>> METRICS["ks"]
Metric(name='ks', best=0.0, limits=(0.0, 1.0), group='fidelity')
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ..cohort.encoding import CohortEncoder
from ..runtime.checks import whole_number
from .arrays import CohortArrays, as_arrays, prepare, together

#: What metrics compute with, and features by name; None for all, or those that a docstring says.
Cohort, Names = CohortArrays, Sequence[str] | None
#: A value, and the table behind it; ``table.attrs["note"]`` says why a value is NaN.
Result = tuple[float, pd.DataFrame]
#: The largest that scikit-learn takes.
LARGEST_SEED = 2**32 - 1


class Metric(NamedTuple):
    name: str
    best: float
    limits: tuple[float, float]  # between which it lies
    group: str  # its part of the report


#: Every metric of the report, by name; its order there is that of ``BEST``.
METRICS: dict[str, Metric] = {}


def metric(
    best: float | None = None, limits: tuple = (0.0, 1.0), scaled: bool = False, names: tuple = (), group: str = ""
) -> Callable[[Callable], Callable]:
    """Let a function of arrays take tables too: a ``schema`` follows its cohorts, which arrays need not be given.

    With a ``best`` value it is a metric of the report, under its own name or ``names``, in its module's ``group`` or
    another. Where it is ``scaled``, a fitted ``encoder`` (by keyword, or behind the schema) may set the scale; by
    default that of arrays among the cohorts, else one fitted on the first cohort.
    """

    def wrap(compute: Callable) -> Callable:
        for name in (names or [compute.__name__]) if best is not None else ():
            METRICS[name] = Metric(name, best, limits, group or compute.__module__.rpartition(".")[2])
        own, kinds = list(inspect.signature(compute).parameters.values()), inspect.Parameter
        cohorts = [p.name for p in own if p.annotation == "Cohort"]
        count = len(cohorts)
        tables = [p.replace(annotation="DataFrame | CohortArrays") for p in own[:count]]
        schema = kinds("schema", kinds.POSITIONAL_OR_KEYWORD, default=None, annotation="Schema | None")
        encoder = kinds("encoder", kinds.KEYWORD_ONLY, default=None, annotation="CohortEncoder | None")
        signature = inspect.signature(compute).replace(parameters=[*tables, schema, *own[count:], *[encoder] * scaled])

        @functools.wraps(compute)
        def asked(*args: Any, **kwargs: Any) -> Any:
            if scaled and len(args) > count + 1 and isinstance(args[count + 1], CohortEncoder):
                args, kwargs["encoder"] = args[: count + 1] + args[count + 2 :], args[count + 1]
            given = signature.bind(*args, **kwargs).arguments
            if "seed" in given:  # refused here, not by scikit-learn when the work has begun
                given["seed"] = whole_number("seed", given["seed"], 0, LARGEST_SEED)
            schema, encoder = given.pop("schema", None), given.pop("encoder", None)
            found = {name: given[name] for name in cohorts}
            schema = schema or next((c.schema for c in found.values() if isinstance(c, CohortArrays)), None)
            plain = [] if scaled else [as_arrays(cohort, schema) for cohort in found.values()]
            arrays = prepare(schema, encoder, **found) if scaled else together(*plain)
            return compute(**{**given, **dict(zip(cohorts, arrays, strict=True))})

        asked.__signature__ = signature
        return asked

    return wrap


NO_REAL, NO_LEVELS = "the schema has no real feature", "the schema has no binary or categorical feature"


def gap(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Absolute difference of correlations; NaN where both are undefined; 1, as none and a perfect one, where one is."""
    real, synthetic = np.asarray(real, dtype=float), np.asarray(synthetic, dtype=float)
    return np.where(np.isnan(real) != np.isnan(synthetic), 1.0, np.abs(real - synthetic))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the entries that are defined; NaN, without a warning, where none is."""
    return float(pd.Series(np.ravel(values), dtype=float).mean())


def patient_means(values: np.ndarray, known: np.ndarray | bool = True) -> np.ndarray:
    """Mean over each patient's ``known`` visits, (patients, visits) to (patients,); NaN where there is none."""
    return pd.DataFrame(np.where(known, values, np.nan)).mean(axis=1).to_numpy()


#: Context in which scikit-learn uses one thread: the same sums on any machine, and nobody waits for busy cores.
one_thread = functools.partial(threadpool_limits, limits=1, user_api="openmp")


def noted(table: pd.DataFrame, note: str = "") -> pd.DataFrame:
    """The table, with the reason of a NaN (or a warning) as ``table.attrs["note"]``."""
    table.attrs["note"] = note
    return table


def undefined(note: str, *columns: str) -> Result:
    return np.nan, noted(pd.DataFrame(columns=list(columns)), note)


def averaged(rows: list, columns: list, without: str, undefined: str = "", some: str = "", of: str = "value") -> Result:
    """Rows as a table, and the mean of one column; what to note where no row, no value, or not every value is there."""
    table = pd.DataFrame(rows, columns=columns).astype({of: float})
    value, lost = mean_defined(table[of]), bool(table[of].isna().any())
    return value, noted(table, (undefined if np.isnan(value) else some * lost) if rows else without)


def apart(names: Iterable[str], results: Container[str]) -> list[str]:
    """Names of features as columns of a table; one that has a result's name says that it is the feature."""
    return [f"{name} (feature)" if name in results else name for name in names]
