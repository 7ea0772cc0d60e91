"""From tables to arrays: what every metric starts from, so that none of them depends on row order or patient ids.

>>> import hg_helpers as hg
>>> cohort = hg.metrics.as_arrays(hg.simulate_cohort(5, seed=1), hg.ART_DEMO)
>>> len(cohort), cohort.reals.shape, cohort.levels.shape
(5, (5, 60, 2), (5, 60, 5))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .encoding import CohortEncoder
from .layout import not_zero_flag
from .load import validate_cohort
from .schema import Schema


@dataclass(frozen=True, eq=False)
class CohortArrays:
    """A cohort as arrays, one trajectory a patient.

    The patients stand in the order of their own values, not of their ids: relabelled or shuffled tables give the same
    arrays, so a seeded draw of patients picks the same people.

    Attributes:
        schema: what the columns mean.
        patients: (n,) ids, kept only to label rows of tables.
        reals: (n, months, real features), in the table's units.
        levels: (n, months, discrete features), position of the level in ``Feature.levels``.
        scaled: (n, months, real features) in [0, 1], as ``encoder`` encodes them; a feature with a part of its own for
            zeros by its share of the largest training value. None without an encoder.
        encoder: what set that scale.
    """

    schema: Schema
    patients: np.ndarray
    reals: np.ndarray
    levels: np.ndarray
    scaled: np.ndarray | None = None
    encoder: CohortEncoder | None = None

    @classmethod
    def of(cls, table: pd.DataFrame, schema: Schema, encoder: CohortEncoder | None, name: str = "") -> CohortArrays:
        """Arrays of a table that :func:`hg_helpers.validate_cohort` returned; ``name`` is for the log."""
        sizes = table.groupby(schema.patient).size()
        if sizes.nunique() > 1 or table.isna().any(axis=None):
            raise ValueError(
                "metrics compare complete courses of equal length so far: set length, shorter='drop' and "
                "missing='forward' in the schema"
            )
        schema = replace(schema, length=int(sizes.iloc[0]))
        shape = (-1, schema.length)
        patients = table[schema.patient].to_numpy().reshape(shape)[:, 0]
        n = len(patients)
        reals = np.empty((n, schema.length, len(schema.real)))
        for i, feature in enumerate(schema.real):
            reals[:, :, i] = table[feature.name].to_numpy(np.float64).reshape(shape)
        levels = np.empty((n, schema.length, len(schema.discrete)), dtype=np.int32)
        for i, feature in enumerate(schema.discrete):
            levels[:, :, i] = pd.Index(feature.codes).get_indexer(table[feature.name]).reshape(shape)
        scaled = None
        if encoder is not None:
            columns = [schema.spans[f.name].start for f in schema.real]
            scaled = encoder.transform_validated(table, name).numpy()[:, :, columns].astype(np.float64)
            for i, feature in enumerate(schema.real):
                if not_zero_flag(feature) in encoder.layout.names:  # its channel speaks of the other values alone
                    scaled[:, :, i] = np.clip(reals[:, :, i] / encoder.largest(feature.name), -1, 1)
        return cls(schema, patients, reals, levels, scaled, encoder).take(_order_by_values(reals, levels))

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def months(self) -> int:
        return self.levels.shape[1]

    def take(self, index: np.ndarray) -> CohortArrays:
        """The patients at these positions."""
        scaled = None if self.scaled is None else self.scaled[index]
        part = {"patients": self.patients[index], "reals": self.reals[index], "levels": self.levels[index]}
        return replace(self, **part, scaled=scaled)

    def draw(self, n: int, rng: np.random.Generator) -> CohortArrays:
        """``n`` patients drawn without replacement; all of them where there are no more."""
        return self if n >= len(self) else self.take(np.sort(rng.choice(len(self), n, replace=False)))

    def position(self, name: str) -> int:
        """Where a feature stands on the last axis of ``reals`` or of ``levels``."""
        group = self.schema.real if self.schema[name].is_real else self.schema.discrete
        return [f.name for f in group].index(name)


def as_arrays(
    cohort: pd.DataFrame | CohortArrays, schema: Schema | None = None, encoder: CohortEncoder | None = None
) -> CohortArrays:
    """Arrays of a cohort table, for several metrics to share; what is arrays already is passed through.

    Args:
        cohort: one row a patient and month, in any row order.
        schema: what the table means; arrays hold theirs.
        encoder: a fitted encoder, where the reals are wanted on the encoded scale too.

    Raises:
        ValueError, KeyError: as :func:`hg_helpers.validate_cohort`, naming column and patient; ValueError for a table
            without a schema and for arrays of another one.
    """
    if isinstance(cohort, CohortArrays):
        if schema is not None and schema != cohort.schema:
            raise ValueError("these arrays were made with another schema; make them anew with hg.metrics.as_arrays")
        return cohort
    return CohortArrays.of(validate_cohort(cohort, schema), schema, encoder)


def prepare(
    schema: Schema, encoder: CohortEncoder | None, *cohorts: pd.DataFrame | CohortArrays
) -> tuple[CohortArrays, ...]:
    """Arrays of several cohorts on one encoded scale: the encoder's, else that of arrays among them, else the first's.

    Raises:
        ValueError, KeyError: as :func:`as_arrays`, and for arrays without a scale or with different ones.
    """
    ready = [c for c in cohorts if isinstance(c, CohortArrays)]
    if any(c.scaled is None and c.schema.real for c in ready):
        raise ValueError("these arrays have no scale: make them by hg.metrics.as_arrays(table, schema, encoder)")
    scales = [c.encoder.state()["codes"] for c in ready if c.encoder is not None]
    if any(scale != scales[0] for scale in scales):
        raise ValueError("these arrays are scaled by different encoders; make all of them with one")
    encoder = encoder or next((c.encoder for c in ready if c.encoder is not None), None)
    out = []
    for cohort in cohorts:
        if not isinstance(cohort, CohortArrays):
            cohort = validate_cohort(cohort, schema)
            encoder = encoder or CohortEncoder(schema).fit_validated(cohort)
            cohort = CohortArrays.of(cohort, schema, encoder)
        out.append(as_arrays(cohort, schema))
    return tuple(out)


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


def most_frequent_levels(cohort: CohortArrays) -> np.ndarray:
    """Each patient's most frequent level of each discrete feature, the first level of equals; (n, features)."""
    out = np.zeros((len(cohort), cohort.levels.shape[2]), dtype=np.int64)
    for i, feature in enumerate(cohort.schema.discrete):
        counts = np.stack([(cohort.levels[:, :, i] == k).sum(axis=1) for k in range(feature.channels)], axis=1)
        out[:, i] = counts.argmax(axis=1)
    return out


def group_rows(cohort: CohortArrays, positions: list[int], by: str) -> np.ndarray:
    """The levels that are grouped: one row a patient-month (patient by patient), or one row a patient.

    Raises:
        ValueError: where ``by`` is neither "month" nor "patient".
    """
    if by == "month":
        return cohort.levels[:, :, positions].reshape(-1, len(positions))
    if by == "patient":
        return most_frequent_levels(cohort)[:, positions]
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
