"""Can the two be told apart, and by what? The classifier two-sample test, and the summaries that give patients away.

>>> import hg_helpers as hg
>>> real, others = (hg.simulate_cohort(30, seed=seed) for seed in (1, 2))
>>> auc, table = hg.metrics.c2st_auc(real, others.assign(CD4=others["CD4"] * 9), hg.ART_DEMO)
>>> bool(auc > 0.8), table.loc[0, "feature"]
(True, 'CD4')
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from ..cohort.arrays import CohortArrays
from .metric import Result, apart, metric, with_note
from .utility import learn

_MOST_BINS = 20
_COLUMNS = ["feature", "summary", "auc", "real", "synthetic"]


@metric(best=0.5, scaled=True)
def c2st_auc(
    real: CohortArrays, synthetic: CohortArrays, folds: int = 5, limit: int = 1000, seed: int = 0, parts: bool = False
) -> Result:
    """Classifier two-sample test: AUC of a model that tells synthetic from real patients it has not seen.

    One row a patient, so that no patient is in the training and the test fold at once: of each real the mean, standard
    deviation, minimum, maximum, first and last value and mean monthly change (encoded scale); of each discrete feature
    the share of months at each level and the share of months with a change. Mean AUC over stratified folds. Range 0 to
    1, best 0.5; 1 tells every patient apart, and with few patients chance puts it on either side of 0.5.

    Args:
        folds: fewer where there are fewer patients.
        limit: at most this many patients of each cohort, as many of both.
        parts: also test with the summaries of each real feature alone and of the discrete ones alone.

    Returns:
        AUC (NaN with a note where either cohort has fewer than two patients); table: what gives the synthetic patients
        away, worst first: feature, summary, auc, real and synthetic mean. The AUC of one summary, too, is of patients
        not seen: a patient's score is the synthetic share of the others with about this value, so that it tells a wrong
        spread as well as a wrong mean. Small ones together can be a large one, for the model reads combinations.
        ``attrs["folds"]`` holds the AUC of each fold, ``attrs["parts"]`` that of each part.

    Source: Lopez-Paz & Oquab 2017, ICLR.
    """
    n, rng = min(len(real), len(synthetic), limit), np.random.default_rng(seed)
    if n < 2:
        return float("nan"), with_note(pd.DataFrame(columns=_COLUMNS), "fewer than two patients in a cohort")
    both = [_summaries(c.draw(n, rng)) for c in (real, synthetic)]
    names, rows, label = list(both[0]), np.concatenate(both), np.repeat([0, 1], n)
    splits = list(StratifiedKFold(min(folds, n), shuffle=True, random_state=seed).split(rows, label))

    def told(columns: list[bool]) -> list[float]:
        x = rows[:, columns]
        return [roc_auc_score(label[unseen], learn(x[seen], label[seen], x[unseen], seed)) for seen, unseen in splits]

    found = told([True] * rows.shape[1])
    alone = [np.mean([_told_by_one(x, label, *split) for split in splits]) for x in rows.T]
    table = pd.DataFrame(names, columns=_COLUMNS[:2])
    table["auc"], table["real"], table["synthetic"] = alone, *(part.mean().to_numpy() for part in both)
    table = table.sort_values("auc", ascending=False, kind="stable", ignore_index=True)
    table.attrs["folds"] = found
    if parts:
        labs = {f.name: apart([f.name], ["discrete"])[0] for f in real.schema.real}
        owner = [labs.get(name, "discrete") for name, _ in names]
        table.attrs["parts"] = {name: float(np.mean(told([o == name for o in owner]))) for name in dict.fromkeys(owner)}
    return float(np.mean(found)), with_note(table)


def _told_by_one(x: np.ndarray, label: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> float:
    """AUC on unseen patients of one number: each scores the share of synthetic ones among those seen in its bin."""
    bins = int(np.clip(len(seen) // 20, 2, _MOST_BINS))
    edges = np.unique(np.quantile(x[seen], np.arange(1, bins) / bins, method="lower"))
    place = np.searchsorted(edges, x)
    everybody = np.bincount(place[seen], minlength=len(edges) + 1)
    synthetic = np.bincount(place[seen], weights=label[seen], minlength=len(edges) + 1)
    return float(roc_auc_score(label[unseen], ((synthetic + 0.5) / (everybody + 1))[place[unseen]]))


def _summaries(cohort: CohortArrays) -> pd.DataFrame:
    """One row a patient, one column a feature and summary of its trajectory."""
    columns, transitions = {}, max(1, cohort.months - 1)
    for i, feature in enumerate(cohort.schema.real):
        x = cohort.scaled[:, :, i]
        columns[feature.name, "mean"], columns[feature.name, "spread"] = x.mean(axis=1), x.std(axis=1)
        columns[feature.name, "lowest"], columns[feature.name, "highest"] = x.min(axis=1), x.max(axis=1)
        columns[feature.name, "first"], columns[feature.name, "last"] = x[:, 0], x[:, -1]
        columns[feature.name, "monthly change"] = np.abs(np.diff(x, axis=1)).sum(axis=1) / transitions
    for i, feature in enumerate(cohort.schema.discrete):
        level = cohort.levels[:, :, i]
        for k, name in enumerate(feature.levels):
            columns[feature.name, f"months at {name}"] = (level == k).mean(axis=1)
        columns[feature.name, "months with a change"] = (np.diff(level, axis=1) != 0).sum(axis=1) / transitions
    # rounded, so that float32 noise of a decoded constant gives nobody away
    return pd.DataFrame(columns).round(6)
