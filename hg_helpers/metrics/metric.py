"""What makes a function a metric: it takes tables or arrays, and its best value, range and room stand with it.

>>> from hg_helpers.metrics import METRICS
>>> METRICS["ks"]
Metric(name='ks', best=0.0, limits=(0.0, 1.0), group='fidelity')
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ..cohort.arrays import CohortArrays, as_arrays, prepare
from ..cohort.encoding import CohortEncoder
from ..runtime.checks import whole_number

#: A value, and the table behind it; ``table.attrs["note"]`` says why a value is NaN.
Result = tuple[float, pd.DataFrame]


class Metric(NamedTuple):
    """A row of the report: what the metric is at best, between which values it lies, and the module that defines it."""

    name: str
    best: float
    limits: tuple[float, float]
    group: str


#: The largest that scikit-learn takes.
LARGEST_SEED = 2**32 - 1

#: Every metric of the report, by name, as the modules are read: :func:`hg_helpers.evaluate` keeps this order.
METRICS: dict[str, Metric] = {}


def takes_tables(scaled: bool = False) -> Callable[[Callable], Callable]:
    """Let a function of arrays take tables too.

    Its parameters of type :class:`CohortArrays` may be DataFrames; ``schema`` follows them, which arrays need not be
    given. ``scaled`` says that the function reads the encoded scale: then there is ``encoder`` as well, a fitted one
    that sets the scale (by keyword, or behind the schema); by default that of arrays among the cohorts, else one fitted
    on the first cohort.
    """

    def wrap(compute: Callable) -> Callable:
        own = inspect.signature(compute)
        cohorts = [p.name for p in own.parameters.values() if p.annotation == "CohortArrays"]
        signature = _with_schema(own, len(cohorts), scaled)

        @functools.wraps(compute)
        def asked(*args: Any, **kwargs: Any) -> Any:
            if scaled and len(args) > len(cohorts) + 1 and isinstance(args[len(cohorts) + 1], CohortEncoder):
                args, kwargs["encoder"] = args[: len(cohorts) + 1] + args[len(cohorts) + 2 :], args[len(cohorts) + 1]
            given = signature.bind(*args, **kwargs).arguments
            if "seed" in given:  # refused here in our own words, not by scikit-learn when the work has begun
                given["seed"] = whole_number("seed", given["seed"], 0, LARGEST_SEED)
            schema, encoder = given.pop("schema", None), given.pop("encoder", None)
            found = [given[name] for name in cohorts]
            schema = schema or next((c.schema for c in found if isinstance(c, CohortArrays)), None)
            arrays = prepare(schema, encoder, *found) if scaled else [as_arrays(c, schema) for c in found]
            return compute(**{**given, **dict(zip(cohorts, arrays, strict=True))})

        asked.__signature__ = signature
        return asked

    return wrap


def _with_schema(own: inspect.Signature, cohorts: int, scaled: bool) -> inspect.Signature:
    """The signature that readers see: tables or arrays, then the schema, then what the function itself asks."""
    parameter, kinds = inspect.Parameter, (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    given = [p.replace(annotation="DataFrame | CohortArrays") for p in own.parameters.values()][:cohorts]
    schema = parameter("schema", kinds[0], default=None, annotation="Schema | None")
    encoder = parameter("encoder", kinds[1], default=None, annotation="CohortEncoder | None")
    options = list(own.parameters.values())[cohorts:]
    return own.replace(parameters=[*given, schema, *options, *[encoder] * scaled])


def metric(
    best: float, limits: tuple[float, float] = (0.0, 1.0), scaled: bool = False, names: Sequence[str] = ()
) -> Callable[[Callable], Callable]:
    """Register a function as a metric of the report (under its own name, or under ``names``); see
    :func:`takes_tables`.
    """

    def wrap(compute: Callable) -> Callable:
        for name in names or [compute.__name__]:
            METRICS[name] = Metric(name, best, limits, compute.__module__.rpartition(".")[2])
        return takes_tables(scaled)(compute)

    return wrap


# --- what metrics share ---------------------------------------------------------------------------------------------


def gap(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Absolute difference of two sets of correlations, entry by entry.

    Undefined in both: NaN. Undefined in one only, e.g. because a collapsed generator makes a feature constant: 1, the
    distance from no relation to a perfect one, so that losing a relation never scores better than getting it wrong.
    """
    real, synthetic = np.asarray(real, dtype=float), np.asarray(synthetic, dtype=float)
    lost = np.isnan(real) != np.isnan(synthetic)
    return np.where(lost, 1.0, np.abs(real - synthetic))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the entries that are defined; NaN, without a warning, where none is."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def one_thread() -> threadpool_limits:
    """Context in which scikit-learn's OpenMP loops use one thread.

    Sums then come out the same on any machine; and where other work keeps the cores busy, its threads, which wait for
    each other a thousand times a second, would be a hundred times slower than one.
    """
    return threadpool_limits(limits=1, user_api="openmp")


def with_note(table: pd.DataFrame, note: str = "") -> pd.DataFrame:
    """Attach the reason of a NaN (or a warning) to a table: ``table.attrs["note"]``."""
    table.attrs["note"] = note
    return table


def apart(names: Iterable[str], results: Iterable[str]) -> list[str]:
    """Names of features as columns of a table; one that has a result's name says that it is the feature."""
    taken = set(results)
    return [f"{name} (feature)" if name in taken else name for name in names]
