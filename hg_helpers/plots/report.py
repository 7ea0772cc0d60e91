"""The pictures of a report: which there are for a schema, and what each is drawn of.

>>> import dataclasses, hg_helpers as hg
>>> schema = dataclasses.replace(hg.ART_DEMO, length=3).select(['VL', 'Gender'])
>>> cohorts = [hg.simulate_cohort(20, months=3, seed=seed) for seed in (0, 1, 2)]
>>> next(report_figures(*cohorts, schema))[0]
'distributions'
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ..cohort.schema import Schema
from ..metrics import c2st_auc, coverage, dcr_share
from ..metrics.arrays import prepare
from .distributions import association, distributions, trends_and_cycles
from .groups import coverage_bars, giveaways, joint_shares, privacy_distances
from .over_time import patients, regimen_shares, trajectories
from .style import Picture

log = logging.getLogger("hg_helpers")


def report_figures(
    train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int = 0
) -> Iterator[tuple[str, Picture]]:
    """Draw, one after the other, what ``python -m hg_helpers evaluate`` leaves beside its table, as name and figure.

    Synthetic patients are held against the held-out ones, whom the model has not seen; training patients stand beside
    them, and give the groups, so that who is missing among the fewer held-out ones by chance is not taken for a group
    that real patients lack, and the scale, as in the report. A figure that the schema does not allow (no regimen, one
    feature) is left out with a line in the log. ``seed`` draws single patients and halves of the training patients.
    """
    sets = {"holdout": holdout, "training": train, "synthetic": synthetic}
    sets = {f"{name} (n = {t[schema.patient].nunique():,})": t for name, t in sets.items()}
    held, trained, made = sets
    others = {name: sets[name] for name in (trained, made)}
    known, unseen, fake = prepare(schema, None, train=train, holdout=holdout, synthetic=synthetic)
    compared = {held: unseen, made: fake}
    names = {"label": made, "real_label": held}
    who = [f.name for f in sorted(schema.discrete, key=lambda f: not f.static)][:2]  # static ones say who patients are

    def of_distances() -> dict[str, pd.DataFrame]:
        """Also of half of the training patients in the synthetic cohort's place, as the report's floor has it."""
        found = {made: dcr_share(known, unseen, fake)[1]}
        if len(known) > 1:
            order = np.random.default_rng([seed, 0, 1]).permutation(len(known))
            half, other = (known.take(np.sort(part)) for part in np.array_split(order, 2))
            found[f"other real patients (n = {len(other):,})"] = dcr_share(half, unseen, other)[1]
        return found

    drawn: dict[str, Callable] = {
        "distributions": lambda: distributions(holdout, others, schema, real_label=held),
        "association": lambda: association(unseen, fake, schema, **names),
        "trends_and_cycles": lambda: trends_and_cycles(unseen, fake, schema, **names),
        "joint_shares": lambda: joint_shares(sets, schema, who),
        "coverage": lambda: coverage_bars({n: coverage(known, c)[1] for n, c in compared.items()}, real_label=trained),
        "trajectories": lambda: trajectories(holdout, others, schema, real_label=held, patients=0),
        "regimen_shares": lambda: regimen_shares(sets, schema),
        "patients": lambda: patients(holdout, synthetic, schema, **names, seed=seed),
        "giveaways": lambda: giveaways(c2st_auc(unseen, fake, seed=seed)[1], made),
        "privacy_distances": lambda: privacy_distances(of_distances()),
    }
    for name, draw in drawn.items():
        try:
            figure, _ = draw()
        except ValueError as error:
            log.warning("figure %s is left out: %s", name, error)
        else:
            yield name, figure
