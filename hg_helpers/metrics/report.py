"""The report: every metric beside its floor, in one tidy table without verdicts.

>>> import dataclasses, hg_helpers as hg
>>> schema = dataclasses.replace(hg.ART_DEMO, length=6)
>>> three = (hg.simulate_cohort(30, months=6, seed=seed) for seed in (1, 2, 3))
>>> hg.evaluate(*three, schema, draws=1, bootstrap=0)["feature"][:2].tolist()
['VL', 'CD4']
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from ..cohort.art import ART_FULL
from ..cohort.schema import Schema
from ..runtime.checks import whole_number
from . import utility
from .arrays import discrete_features, prepare
from .comparisons import Comparison, Replicates, Score, against_holdout, headline_replicates, interval, privacy_scores
from .metric import LARGEST_SEED, METRICS, mean_defined

log = logging.getLogger("hg_helpers")

#: In the order of the report.
GROUPS = ["fidelity", "diversity", "dynamics", "visits", "privacy", "disclosure", "utility", "two_sample"]

#: What each metric is at best. The report holds the metrics in this order.
BEST = {m.name: m.best for m in sorted(METRICS.values(), key=lambda m: GROUPS.index(m.group))}


def evaluate(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema = ART_FULL,
    seed: int = 0,
    *,
    draws: int = 5,
    bootstrap: int = 200,
    joints: Iterable[Sequence[str]] | None = None,
    quasi_identifiers: Sequence[str] | None = None,
    population: int | None = None,
) -> pd.DataFrame:
    """Hold a synthetic cohort against real patients who were not used to make it (``holdout``).

    * fidelity, diversity, dynamics, visits and ``c2st_*``: value = metric(holdout, m synthetic patients), floor =
      metric(holdout, m training patients), each the mean over ``draws`` draws of m: 0.8 times the smaller of both
      numbers (all of them below 20). ``log_cluster`` and ``prdc_*`` take at most 2,000 patients of each, ``c2st_*``
      1,000; ``prdc_*`` and ``c2st_*`` as many of both. Rows of visits: for unequal lengths, own times, or gaps.
    * ``tstr_auc`` learns from m synthetic, ``trtr_auc``, the floor of both, from m training patients.
    * ``dcr_share``, ``membership_auc``: value = all training, held-out and synthetic patients; floor = one half of the
      training patients in the place of the training set, the other half in the place of the synthetic cohort.
    * ``nndr``, ``copies``, ``disclosure_risk``: floor = the holdout in the place of the synthetic cohort.

    Row order and patient ids play no part. ``bootstrap`` is the number of replicates behind the intervals of the
    headline numbers (0 for none), ``joints`` lists of discrete features for ``coverage_*`` and ``joint_tv`` (by default
    all, and the static ones); ``quasi_identifiers`` and ``population`` are those of ``disclosure_risk``.

    Returns columns ``metric``, ``feature`` (a name, names joined by " x ", or "all"), ``value``, ``floor``, ``best``;
    ``low`` and ``high``, a 95 % interval, where there is one; ``note``: the reason of a NaN, or what was asked.
    """
    draws, bootstrap = whole_number("draws", draws), whole_number("bootstrap", bootstrap, 0)
    seed = whole_number("seed", seed, 0, LARGEST_SEED - draws)
    identifiers = [f.name for f in schema.static] if quasi_identifiers is None else list(quasi_identifiers)
    cohorts = prepare(schema, None, train=train, holdout=holdout, synthetic=synthetic)
    known, others = ({a.tobytes() + b.tobytes() for a, b in zip(c.reals, c.levels, strict=True)} for c in cohorts[:2])
    if known & others:
        said = "trajectories of held-out patients are also those of training patients; if they are the same people, no"
        shared = f"{len(known & others)} of {len(others)} {said}"
        log.warning("%s number of this report can be trusted: see split_patients", shared)
    static = [f.name for f in schema.static if not f.is_real]
    if joints is None:
        joints = [None, *[static] * (1 < len(static) < len(schema.discrete))]
    joints = [[f.name for f in discrete_features(schema, names)] for names in joints]  # refuses what is no joint
    c = Comparison(*cohorts, joints, identifiers, population, seed)
    values, floors, distances = privacy_scores(c, draws)
    answers: dict[tuple[str, str], utility.Prediction] = {}
    for draw in range(draws):
        for chosen, metric, scores in zip(c.drawn(draw), ("tstr_auc", "trtr_auc"), (values, floors), strict=True):
            scores += against_holdout(c, chosen, seed + draw)
            found = {(metric, a.feature): a for a in utility.predictions(chosen, c.holdout, seed + draw)}
            answers = found | answers  # the first draw's, for the interval
            scores += [(*key, a.auc, a.note or a.question) for key, a in found.items()]
    real = [score for score in floors if score[0] == "trtr_auc"]  # its own floor, and that of tstr_auc
    values += real
    floors += [("tstr_auc", feature, value, "") for _, feature, value, _ in real]
    return _table(values, floors, headline_replicates(c, distances, answers, bootstrap))


def _averages(scores: list[Score]) -> dict[tuple[str, str], tuple[float, str]]:
    """Of each metric and feature the mean over the draws in which it is defined, and what there is to say of it."""
    out = {}
    rows = pd.DataFrame(scores, columns=["metric", "feature", "value", "note"])
    for key, part in rows.groupby(["metric", "feature"], sort=False):
        missing, said = int(part["value"].isna().sum()), [*filter(None, part["note"])]
        some = f"undefined in {missing} of {len(part)} draws: " if 0 < missing < len(part) else ""
        out[key] = mean_defined(part["value"]), some + "".join(said[-1:])
    return out


def _table(values: list[Score], floors: list[Score], replicates: Replicates) -> pd.DataFrame:
    values, floors, rows = _averages(values), _averages(floors), []
    for key in sorted(values, key=lambda key: list(BEST).index(key[0])):  # stable: features keep their order
        (value, note), (floor, why) = values[key], floors.get(key, (np.nan, ""))
        if np.isnan(floor) and not np.isnan(value):
            note = "; ".join(filter(None, [note, f"no floor: {why or 'too few real patients'}"]))
        low, high = interval(value, replicates[key], METRICS[key[0]].limits) if key in replicates else (np.nan, np.nan)
        rows.append((*key, value, floor, BEST[key[0]], low, high, note))
    return pd.DataFrame(rows, columns=["metric", "feature", "value", "floor", "best", "low", "high", "note"])
