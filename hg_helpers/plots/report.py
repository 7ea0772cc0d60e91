"""The pictures of a report: which there are for a schema, and what each is drawn of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ..cohort.schema import Schema
from ..metrics.diversity import coverage
from ..metrics.privacy import dcr_share
from .distributions import distributions
from .groups import coverage_bars, joint_shares
from .over_time import regimen_shares, trajectories
from .privacy import privacy_distances
from .relations import association, trends_and_cycles
from .style import Picture

log = logging.getLogger("hg_helpers")


def report_figures(
    train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int = 0
) -> Iterator[tuple[str, Picture]]:
    """Draw, one after the other, what ``python -m hg_helpers evaluate`` leaves beside its table.

    Real patients are the held-out ones, whom the model has not seen; only the privacy distances look at the training
    patients too, and hold the synthetic cohort against the second half of them in its place. A figure that the schema
    does not allow (no regimen, one feature) is left out with a line in the log.

    Args:
        train, holdout, synthetic, schema: as for :func:`hg_helpers.evaluate`, checked tables.
        seed: draws single patients and the halves.

    Yields:
        name of the figure, figure.
    """
    both = {"real": holdout, "synthetic": synthetic}
    pair = (holdout, synthetic, schema)
    drawn: dict[str, Callable] = {
        "distributions": lambda: distributions(*pair),
        "association": lambda: association(*pair),
        "trends_and_cycles": lambda: trends_and_cycles(*pair),
        "joint_shares": lambda: joint_shares(both, schema, _two(schema)),
        "coverage": lambda: coverage_bars(coverage(*pair)[1]),
        "trajectories": lambda: trajectories(*pair, seed=seed),
        "regimen_shares": lambda: regimen_shares(both, schema),
        "privacy_distances": lambda: privacy_distances(_distances(train, holdout, synthetic, schema, seed)),
    }
    for name, draw in drawn.items():
        try:
            figure, _ = draw()
        except ValueError as error:
            log.warning("figure %s is left out: %s", name, error)
        else:
            yield name, figure


def _two(schema: Schema) -> list[str]:
    """Two discrete features: static ones first, for they say who the patients are."""
    ordered = sorted(schema.discrete, key=lambda feature: not feature.static)
    return [feature.name for feature in ordered[:2]]


def _distances(
    train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int
) -> dict[str, pd.DataFrame]:
    """Of the synthetic cohort, and of half of the training patients in its place, as the report's floor has it."""
    found = {"synthetic": dcr_share(train, holdout, synthetic, schema)[1]}
    patients = np.random.default_rng(seed).permutation(train[schema.patient].unique())
    if len(patients) > 1:
        half = train[schema.patient].isin(patients[: len(patients) // 2])
        found["other real patients"] = dcr_share(train[half], holdout, train[~half], schema)[1]
    return found
