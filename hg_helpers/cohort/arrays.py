"""From tables to arrays: what every metric starts from, so that none of them depends on row order or patient ids."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from .encoding import CohortEncoder
from .load import validate_cohort
from .schema import Schema

log = logging.getLogger("hg_helpers")


@dataclass(frozen=True, eq=False)
class Trajectories:
    """A cohort as arrays, one trajectory a patient.

    The patients stand in the order of their own values, not of their ids: relabelled or shuffled tables give the same
    arrays, so a seeded draw of patients picks the same people.

    Attributes:
        schema: what the columns mean.
        patients: (n,) ids, kept only to label rows of tables.
        reals: (n, months, real features), in the table's units.
        levels: (n, months, discrete features), position of the level in ``Feature.levels``.
        scaled: (n, months, real features) in [0, 1], as :class:`CohortEncoder` encodes them; None without an encoder.
    """

    schema: Schema
    patients: np.ndarray
    reals: np.ndarray
    levels: np.ndarray
    scaled: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def months(self) -> int:
        return self.levels.shape[1]

    def take(self, index: np.ndarray) -> Trajectories:
        """The patients at these positions."""
        scaled = None if self.scaled is None else self.scaled[index]
        return Trajectories(self.schema, self.patients[index], self.reals[index], self.levels[index], scaled)

    def draw(self, n: int, rng: np.random.Generator) -> Trajectories:
        """``n`` patients drawn without replacement; all of them where there are no more."""
        return self if n >= len(self) else self.take(np.sort(rng.choice(len(self), n, replace=False)))

    def position(self, name: str) -> int:
        """Where a feature stands on the last axis of ``reals`` or of ``levels``."""
        group = self.schema.real if self.schema[name].is_real else self.schema.discrete
        return [f.name for f in group].index(name)


def trajectories(
    table: pd.DataFrame | Trajectories, schema: Schema, encoder: CohortEncoder | None = None
) -> Trajectories:
    """Arrays of a cohort table; what is arrays already is passed through.

    Args:
        table: one row a patient and month, in any row order.
        encoder: a fitted encoder, where the reals are wanted on the encoded scale too.

    Raises:
        ValueError, KeyError: as :func:`hg_helpers.validate_cohort`, naming column and patient.
    """
    if isinstance(table, Trajectories):
        return table
    table = validate_cohort(table, schema)
    shape = (-1, schema.length)
    patients = table[schema.patient].to_numpy().reshape(shape)[:, 0]
    n = len(patients)
    reals = np.empty((n, schema.length, len(schema.real)))
    for i, feature in enumerate(schema.real):
        reals[:, :, i] = table[feature.name].to_numpy(np.float64).reshape(shape)
    levels = np.empty((n, schema.length, len(schema.discrete)), dtype=np.int16)
    for i, feature in enumerate(schema.discrete):
        levels[:, :, i] = pd.Index(feature.codes).get_indexer(table[feature.name]).reshape(shape)
    scaled = None
    if encoder is not None:
        columns = [schema.spans[f.name].start for f in schema.real]
        scaled = encoder.transform(table).numpy()[:, :, columns].astype(np.float64)
    return Trajectories(schema, patients, reals, levels, scaled).take(_order_by_values(reals, levels))


def prepare(
    schema: Schema, encoder: CohortEncoder | None, *tables: pd.DataFrame | Trajectories
) -> tuple[Trajectories, ...]:
    """Arrays of several tables on one encoded scale; without an encoder, one is fitted on the first table."""
    if encoder is None and any(not isinstance(t, Trajectories) for t in tables):
        encoder = CohortEncoder(schema).fit(tables[0])
    return tuple(trajectories(t, schema, encoder) for t in tables)


def _order_by_values(reals: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Order of patients by the bytes of their own trajectories."""
    n = len(levels)
    parts = [np.ascontiguousarray(part).reshape(n, -1).view(np.uint8) for part in (levels, reals) if part.size]
    rows = np.ascontiguousarray(np.concatenate(parts, axis=1))
    return np.argsort(rows.view(f"V{rows.shape[1]}").ravel(), kind="stable")


def discrete_positions(schema: Schema, features: Sequence[str] | None) -> list[int]:
    """Positions of discrete features among the schema's discrete ones; all of them for None.

    Raises:
        KeyError: for a name that the schema lacks.
        ValueError: for a real feature, or an empty list.
    """
    names = [f.name for f in schema.discrete]
    wanted = names if features is None else list(features)
    if features is not None and not wanted:
        raise ValueError("features is an empty list; name at least one discrete feature, or pass None for all")
    for name in wanted:
        if schema[name].is_real:
            raise ValueError(f"feature {name!r} is real; a joint of groups is of binary and categorical features")
    return [names.index(name) for name in wanted]


def modal_levels(cohort: Trajectories) -> np.ndarray:
    """Each patient's most frequent level of each discrete feature, the first level of equals; (n, features)."""
    out = np.zeros((len(cohort), cohort.levels.shape[2]), dtype=np.int64)
    for i, feature in enumerate(cohort.schema.discrete):
        counts = np.stack([(cohort.levels[:, :, i] == k).sum(axis=1) for k in range(feature.channels)], axis=1)
        out[:, i] = counts.argmax(axis=1)
    return out


def group_rows(cohort: Trajectories, positions: list[int], by: str) -> np.ndarray:
    """The levels that are grouped: one row a patient-month (patient by patient), or one row a patient.

    Raises:
        ValueError: where ``by`` is neither "month" nor "patient".
    """
    if by == "month":
        return cohort.levels[:, :, positions].reshape(-1, len(positions))
    if by == "patient":
        return modal_levels(cohort)[:, positions]
    raise ValueError(f"by {by!r} is not 'month' or 'patient'")


def joint_groups(*rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Numbers the joint groups that occur in any of the sets.

    Args:
        rows: for each set, levels of shape (rows, features).

    Returns:
        the group number of every row of each set, and the levels of each group, (groups, features).
    """
    stacked = np.concatenate(rows).astype(np.int64)
    sizes = tuple(int(k) + 1 for k in stacked.max(axis=0))
    cells = math.prod(sizes)
    if cells > 2**62:  # too many combinations to number
        groups, codes = np.unique(stacked, axis=0, return_inverse=True)
        codes = codes.ravel()
    else:
        flat = np.ravel_multi_index(tuple(stacked.T), sizes)
        if cells <= 1_000_000:  # counting is far faster than sorting
            present = np.flatnonzero(np.bincount(flat, minlength=cells))
            place = np.zeros(cells, dtype=np.int64)
            place[present] = np.arange(len(present))
            codes = place[flat]
        else:
            present, codes = np.unique(flat, return_inverse=True)
        groups = np.stack(np.unravel_index(present, sizes), axis=1)
    return np.split(codes, np.cumsum([len(r) for r in rows])[:-1]), groups


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


@contextmanager
def said_once(name: str) -> Iterator[None]:
    """Log what the checks of a table say with the table's name, and once, however many steps check it."""
    said: set[str] = set()

    def named(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in said
        said.add(text)
        record.msg, record.args = f"{name} table: {text}", ()
        return new

    log.addFilter(named)
    try:
        yield
    finally:
        log.removeFilter(named)
