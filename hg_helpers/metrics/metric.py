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

from ..cohort.arrays import CohortArrays, as_arrays, prepare, together
from ..cohort.encoding import CohortEncoder
from ..runtime.checks import whole_number

#: A value, and the table behind it; ``table.attrs["note"]`` says why a value is NaN.
Result = tuple[float, pd.DataFrame]
NAN = float("nan")
#: The largest that scikit-learn takes.
LARGEST_SEED = 2**32 - 1


class Metric(NamedTuple):
    """A row of the report: what the metric is at best, between which values it lies, and the module that defines it."""

    name: str
    best: float
    limits: tuple[float, float]
    group: str


#: Every metric of the report, by name, as the modules are read: :func:`hg_helpers.evaluate` keeps this order.
METRICS: dict[str, Metric] = {}


def metric(
    best: float | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    scaled: bool = False,
    names: Sequence[str] = (),
) -> Callable[[Callable], Callable]:
    """Let a function of arrays take tables too: a ``schema`` follows its cohorts, which arrays need not be given.

    With a ``best`` value it is a metric of the report, under its own name or under ``names``. ``scaled`` says that it
    reads the encoded scale. Then a fitted ``encoder`` may set that (by keyword, or behind the schema); by default that
    of arrays among the cohorts, else one fitted on the first cohort.
    """

    def wrap(compute: Callable) -> Callable:
        for name in (names or [compute.__name__]) if best is not None else ():
            METRICS[name] = Metric(name, best, limits, compute.__module__.rpartition(".")[2])
        kinds = inspect.Parameter
        own = list(inspect.signature(compute).parameters.values())
        cohorts = [p.name for p in own if p.annotation == "CohortArrays"]
        count = len(cohorts)
        schema = kinds("schema", kinds.POSITIONAL_OR_KEYWORD, default=None, annotation="Schema | None")
        encoder = kinds("encoder", kinds.KEYWORD_ONLY, default=None, annotation="CohortEncoder | None")
        parts = [p.replace(annotation="DataFrame | CohortArrays") for p in own[:count]], own[count:]
        signature = inspect.signature(compute).replace(parameters=[*parts[0], schema, *parts[1], *[encoder] * scaled])

        @functools.wraps(compute)
        def asked(*args: Any, **kwargs: Any) -> Any:
            if scaled and len(args) > count + 1 and isinstance(args[count + 1], CohortEncoder):
                args, kwargs["encoder"] = args[: count + 1] + args[count + 2 :], args[count + 1]
            given = signature.bind(*args, **kwargs).arguments
            if "seed" in given:  # refused here in our own words, not by scikit-learn when the work has begun
                given["seed"] = whole_number("seed", given["seed"], 0, LARGEST_SEED)
            schema, encoder = given.pop("schema", None), given.pop("encoder", None)
            found = [given[name] for name in cohorts]
            schema = schema or next((c.schema for c in found if isinstance(c, CohortArrays)), None)
            arrays = prepare(schema, encoder, *found) if scaled else together(*(as_arrays(c, schema) for c in found))
            return compute(**{**given, **dict(zip(cohorts, arrays, strict=True))})

        asked.__signature__ = signature
        return asked

    return wrap


# --- what metrics share ---------------------------------------------------------------------------------------------

NO_REAL, NO_DISCRETE = "the schema has no real feature", "the schema has no binary or categorical feature"


def gap(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Absolute difference of two sets of correlations, entry by entry; NaN where both are undefined.

    Where one is, e.g. because a collapsed generator makes a feature constant, 1: the distance from no relation to a
    perfect one, so that losing a relation never scores better than getting it wrong.
    """
    real, synthetic = np.asarray(real, dtype=float), np.asarray(synthetic, dtype=float)
    lost = np.isnan(real) != np.isnan(synthetic)
    return np.where(lost, 1.0, np.abs(real - synthetic))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the entries that are defined; NaN, without a warning, where none is."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else NAN


def patient_means(values: np.ndarray) -> np.ndarray:
    """Mean over each patient's visits, (patients, visits) to (patients,); NaN where there is no value at all."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    return np.divide(np.where(known, values, 0.0).sum(axis=1), count, out=np.full(len(values), NAN), where=count > 0)


def one_thread() -> threadpool_limits:
    """Context in which scikit-learn's OpenMP loops use one thread: the same sums on any machine.

    Where other work keeps the cores busy, threads that wait for each other would be a hundred times slower than one.
    """
    return threadpool_limits(limits=1, user_api="openmp")


def with_note(table: pd.DataFrame, note: str = "") -> pd.DataFrame:
    """Attach the reason of a NaN (or a warning) to a table: ``table.attrs["note"]``."""
    table.attrs["note"] = note
    return table


def undefined(note: str, *columns: str) -> Result:
    """The result of a metric that these cohorts do not allow, and why."""
    return NAN, with_note(pd.DataFrame(columns=list(columns)), note)


def apart(names: Iterable[str], results: Iterable[str]) -> list[str]:
    """Names of features as columns of a table; one that has a result's name says that it is the feature."""
    taken = set(results)
    return [f"{name} (feature)" if name in taken else name for name in names]
