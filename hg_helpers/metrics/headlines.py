"""Bootstrap replicates of the report's headline numbers.

>>> import dataclasses, hg_helpers as hg
>>> schema = dataclasses.replace(hg.ART_DEMO, length=3)
>>> cohorts = [hg.simulate_cohort(20, months=3, seed=seed) for seed in range(3)]
>>> report = hg.evaluate(*cohorts, schema, draws=1, bootstrap=5).set_index('metric')
>>> report['low'].notna().groupby(level=0).any().loc[['ks', 'nndr']].tolist()
[True, False]
"""

from __future__ import annotations

import numpy as np

from ..cohort.arrays import discrete_positions
from . import bootstrap as boot
from .comparisons import Comparison, joined
from .diversity import is_counted
from .privacy import PrivacyDistances, dcr_share, membership_auc
from .utility import Prediction

Replicates = dict[tuple[str, str], np.ndarray]


def headline_replicates(
    c: Comparison, distances: PrivacyDistances, answers: dict[str, list[Prediction]], replicates: int
) -> Replicates:
    """Replicates by metric and feature: ``ks``, ``tv``, ``coverage_*``, ``joint_tv``, ``dcr_share``,
    ``membership_auc``, ``tstr_auc`` and ``trtr_auc``.

    Held-out and synthetic patients of the first draw are drawn with replacement; for the two AUCs of utility only the
    held-out ones, for the models stay as they are. Empty with 0 replicates or fewer than 10 patients in a set.
    """
    fewest = min(len(c.train), len(c.holdout), len(c.synthetic))
    if replicates == 0 or fewest < boot.MINIMUM_PATIENTS:
        return {}
    rng = np.random.default_rng([c.seed, 3])
    synthetic, _ = c.drawn(0)
    weights = [boot.draw_weights(len(cohort), replicates, rng) for cohort in (c.holdout, synthetic)]
    once = [np.ones((1, len(cohort))) for cohort in (c.holdout, synthetic)]  # everybody, as in the metric itself
    out: Replicates = {}
    for i, feature in enumerate(c.holdout.schema.real):
        out["ks", feature.name] = boot.ks_replicates(c.holdout.reals[:, :, i], synthetic.reals[:, :, i], weights)
    for i, feature in enumerate(c.holdout.schema.discrete):
        shares = boot.group_shares(c.holdout, synthetic, [i], "month", weights)
        out["tv", feature.name] = boot.tv_replicates(shares)
    for names in filter(None, c.joints):
        positions = discrete_positions(c.holdout.schema, names)
        for by in ("month", "patient"):
            shares = boot.group_shares(c.holdout, synthetic, positions, by, weights)
            if by == "month":
                out["joint_tv", joined(names)] = boot.tv_replicates(shares)
            (real,), _ = boot.group_shares(c.holdout, synthetic, positions, by, once)
            out[f"coverage_{by}", joined(names)] = boot.coverage_replicates(shares, is_counted(real))
    out.update(_private(c, distances, replicates, rng))
    for metric, predictions in answers.items():
        for answer in predictions:
            if answer.score is not None:
                rows = weights[0][:, answer.patient]
                out[metric, answer.feature] = boot.auc_replicates(answer.label, answer.score, rows)
    return out


def _private(c: Comparison, distances: PrivacyDistances, replicates: int, rng: np.random.Generator) -> Replicates:
    sets = (c.train, c.holdout, c.synthetic)
    _, closer = dcr_share(*sets, distances=distances)
    _, attacked = membership_auc(*sets, distances=distances)
    member = attacked["member"].to_numpy()
    weights = [boot.draw_weights(len(cohort), replicates, rng) for cohort in (c.train, c.holdout)]
    values, cluster = closer["closer to train"].to_numpy(), closer["nearest holdout"].to_numpy()
    return {
        ("dcr_share", "all"): boot.cluster_replicates(values, cluster, replicates, rng),
        ("membership_auc", "all"): boot.auc_replicates(
            member, -attacked["distance"].to_numpy(), np.concatenate(weights, axis=1)
        ),
    }
