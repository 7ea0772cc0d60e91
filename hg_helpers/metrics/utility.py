"""Utility: is a model that learnt from synthetic patients of use on real ones?

>>> import hg_helpers as hg
>>> train, holdout = (hg.simulate_cohort(30, seed=seed) for seed in (1, 2))
>>> auc, table = hg.metrics.trtr_auc(train, holdout, hg.ART_DEMO)
>>> list(table["feature"]), bool(table["value"][0] > 0.8)  # viral suppression can be told from the months before
(['VL', 'Base Drug Combo x Extra PI x Extra pk-En'], True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from ..cohort.arrays import CohortArrays
from .dynamics import switches
from .metric import Result, mean_defined, metric, one_thread, with_note

#: Months that a prediction looks back (fewer where the schema is shorter).
WINDOW = 6
_TRAINING_ROWS, _TEST_ROWS = 20_000, 50_000


@metric(best=1.0)
def tstr_auc(synthetic: CohortArrays, holdout: CohortArrays, seed: int = 0) -> Result:
    """Train on synthetic, test on real: AUC on held-out patients of a model that saw synthetic patients only.

    Two questions on each month, answered from all features of the past six months (fewer in shorter schemas): will the
    first feature with role "outcome" be below its threshold (``Feature.threshold``, else the held-out patients'
    median), and will the regimen differ from the month before. Range 0 to 1, best 1; 0.5 knows nothing. To be read
    beside :func:`trtr_auc`, what a model reaches that learnt from real patients.

    Args:
        seed: draws at most 20,000 months to learn from; the learner itself is deterministic.

    Returns:
        mean over the questions; table: feature (the outcome, or the regimen features), value, note. NaN with a note
        where the schema lacks the roles or has one month, or the held-out months all have one answer. Training months
        that all have one answer teach nothing: 0.5, with a note.

    Source: Esteban, Hyland & Rätsch 2017, arXiv:1706.02633; scikit-learn's HistGradientBoostingClassifier.
    """
    return predictive_auc(predictions(synthetic, holdout, seed))


@metric(best=1.0)
def trtr_auc(train: CohortArrays, holdout: CohortArrays, seed: int = 0) -> Result:
    """Train on real, test on real: the same as :func:`tstr_auc` with training patients, and so its floor."""
    return tstr_auc(train, holdout, seed=seed)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Scores of held-out months for one question; ``score`` is None, and ``note`` says why, where there are none."""

    feature: str
    note: str
    question: str = ""
    label: np.ndarray | None = None
    score: np.ndarray | None = None
    patient: np.ndarray | None = None  # position of each scored month's patient among the held-out ones


def predictive_auc(answers: Sequence[Prediction]) -> Result:
    """Area under the ROC curve of each question's answers; value and table as :func:`tstr_auc`."""
    rows = []
    for answer in answers:
        value = np.nan if answer.score is None else float(roc_auc_score(answer.label, answer.score))
        rows.append((answer.feature, value, answer.note))
    table = pd.DataFrame(rows, columns=["feature", "value", "note"])
    return mean_defined(table["value"]), with_note(table)


def predictions(training: CohortArrays, holdout: CohortArrays, seed: int = 0) -> list[Prediction]:
    """Learn from one cohort, score the months of another; one :class:`Prediction` a question."""
    schema = holdout.schema
    outcome = next((f for f in schema.features if f.role == "outcome"), None)
    regimen = [f.name for f in schema.regimen]
    if schema.length < 2:
        return [Prediction("all", "a single month cannot predict the next")]
    out = []
    if outcome is not None:
        labels = [_reached(c, holdout, outcome.name) for c in (training, holdout)]
        question = f"{outcome.name} {_goal(holdout, outcome.name)} next month"
        out.append(_predict(training, holdout, labels, outcome.name, question, seed))
    elif regimen:
        out.append(Prediction("all", "the schema has no feature with role 'outcome'"))
    if regimen:
        labels = [np.pad(switches(c, regimen), [(0, 0), (1, 0)]) for c in (training, holdout)]
        out.append(_predict(training, holdout, labels, " x ".join(regimen), "regimen switch next month", seed))
    else:
        also = "" if outcome is not None else "'outcome' or "
        out.append(Prediction("all", f"the schema has no feature with role {also}'regimen'"))
    return out


def _goal(holdout: CohortArrays, name: str) -> str:
    feature = holdout.schema[name]
    if not feature.is_real:
        return f"is {feature.levels[-1]}"
    limit = _limit(holdout, name)
    return f"below {limit:g}{' ' + feature.unit if feature.unit else ''}"


def _limit(holdout: CohortArrays, name: str) -> float:
    threshold = holdout.schema[name].threshold
    return float(np.median(holdout.reals[:, :, holdout.position(name)])) if threshold is None else threshold


def _reached(cohort: CohortArrays, holdout: CohortArrays, name: str) -> np.ndarray:
    """Whether the outcome is reached, (patients, months): a real below its threshold, a discrete at its last level."""
    feature, i = cohort.schema[name], cohort.position(name)
    if not feature.is_real:
        return cohort.levels[:, :, i] == feature.channels - 1
    return cohort.reals[:, :, i] < _limit(holdout, name)


def _predict(
    training: CohortArrays, holdout: CohortArrays, labels: list[np.ndarray], feature: str, question: str, seed: int
) -> Prediction:
    window = min(WINDOW, training.months - 1)
    test, label, patient = _examples(holdout, labels[1], window, _TEST_ROWS, np.random.default_rng([seed, 1]))
    if label.min() == label.max():
        return Prediction(feature, f"the held-out months all have one answer to: {question}?", question)
    seen, answer, _ = _examples(training, labels[0], window, _TRAINING_ROWS, np.random.default_rng([seed, 0]))
    if answer.min() == answer.max():
        note = f"the months to learn from all have one answer, the model can only guess: {question}?"
        return Prediction(feature, note, question, label, np.full(len(label), 0.5), patient)
    return Prediction(feature, "", question, label, learn(seen, answer, test, seed), patient)


def _examples(
    cohort: CohortArrays, labels: np.ndarray, window: int, limit: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Past windows (rows, window x features), the next month's label, and the patient's position."""
    n, months = labels.shape
    chosen = np.arange(n * (months - window))
    if len(chosen) > limit:
        chosen = np.sort(rng.choice(len(chosen), limit, replace=False))
    patient, month = np.divmod(chosen, months - window)
    # a table of values for trees: the scale of a real does not matter, levels enter by their position
    past = month[:, None] + np.arange(window)
    parts = [a[patient[:, None], past] for a in (cohort.reals, cohort.levels) if a.shape[2]]
    rows = np.concatenate([p.reshape(len(chosen), -1) for p in parts], axis=1)
    return rows.astype(np.float32), labels[patient, month + window], patient


def learn(seen: np.ndarray, answer: np.ndarray, unseen: np.ndarray, seed: int) -> np.ndarray:
    """Scores of unseen rows by boosted trees that saw the others."""
    # the library's default of 20 rows a leaf could not split a small cohort, which would look like a perfect likeness
    leaf = int(np.clip(len(seen) // 20, 1, 20))
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=leaf, early_stopping=False, random_state=seed
    )
    with one_thread():
        return model.fit(seen, answer).predict_proba(unseen)[:, 1]
