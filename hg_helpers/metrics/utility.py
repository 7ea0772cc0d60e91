"""Utility: is a model that learnt from synthetic patients of use on real ones? Would an analysis come out the same?

>>> curve = kaplan_meier([2, 3, 3, 5], [True, True, False, False])
>>> curve["reached"].tolist()  # of four, one after two months; of the three left, one after three
[0.0, 0.0, 0.25, 0.5, 0.5, 0.5]
>>> round(restricted_mean(curve, 4), 4)  # months until then, of the first four
3.25
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from ..runtime.columns import whole_numbers
from .dynamics import switches
from .metric import Cohort, Result, averaged, metric, one_thread

#: Months that a prediction looks back (fewer where half of the held-out courses are shorter).
WINDOW = 6
_TRAINING_ROWS, _TEST_ROWS = 20_000, 50_000
Array = np.ndarray
#: Whether each month's question is answered yes, and whether the month has an answer; each (patients, months).
Labels = tuple[Array, Array]


@metric(best=1.0)
def tstr_auc(synthetic: Cohort, holdout: Cohort, seed: int = 0) -> Result:
    """Train on synthetic, test on real: AUC on held-out patients of a model that saw synthetic patients only.

    Two questions on each month, answered from all features of the past six months (fewer where courses are short): will
    the first feature with role "outcome" be below its threshold (else the held-out median), and will the regimen differ
    from the month before. The mean; NaN without such roles or with one month, or where held-out months all have one
    answer; 0.5 where training months do. ``seed`` draws at most 20,000 of these. After Esteban et al. 2017.
    """
    rows = [(answer.feature, answer.auc, answer.note) for answer in predictions(synthetic, holdout, seed)]
    return averaged(rows, ["feature", "value", "note"], "")


@metric(best=1.0)
def trtr_auc(train: Cohort, holdout: Cohort, seed: int = 0) -> Result:
    """Train on real, test on real: the same as :func:`tstr_auc` with training patients, and so its floor."""
    return tstr_auc(train, holdout, seed=seed)


class Prediction(NamedTuple):
    """Scores of held-out months for one question; None where there are none, and ``note`` says why."""

    feature: str
    note: str
    question: str = ""
    label: Array | None = None
    score: Array | None = None
    patient: Array | None = None  # position of each scored month's patient among the held-out ones

    @property
    def auc(self) -> float:
        return np.nan if self.score is None else float(roc_auc_score(self.label, self.score))


def predictions(training: Cohort, holdout: Cohort, seed: int = 0) -> list[Prediction]:
    """Learn from one cohort, score the months of another; one :class:`Prediction` a question."""
    schema, pair, out = holdout.schema, (training, holdout), []
    outcome = next((f for f in schema.features if f.role == "outcome"), None)
    regimen = [f.name for f in schema.regimen]
    if holdout.months < 2:
        return [Prediction("all", "a single month cannot predict the next")]
    if outcome is not None:
        name, limit, cases = outcome.name, outcome.threshold, [c.values(outcome.name) for c in pair]
        if outcome.is_real:
            limit = float(np.median(cases[1][holdout.known(name)])) if limit is None else limit
            goal, cases = f"below {limit:g} {outcome.unit or ''}".rstrip(), [values < limit for values in cases]
        else:
            goal, cases = f"is {outcome.levels[-1]}", [values == outcome.channels - 1 for values in cases]
        labels = [(reached, c.known(name)) for reached, c in zip(cases, pair, strict=True)]
        out.append(_predict(*pair, labels, name, f"{name} {goal} next month", seed))
    if regimen:
        labels = [tuple(np.pad(x, [(0, 0), (1, 0)]) for x in switches(c, regimen)) for c in pair]
        out.append(_predict(*pair, labels, " x ".join(regimen), "regimen switch next month", seed))
    lacking = [f"'{role}'" for role, found in (("outcome", outcome), ("regimen", regimen)) if not found]
    if lacking:
        none = Prediction("all", f"the schema has no feature with role {' or '.join(lacking)}")
        out.insert(0 if outcome is None else 1, none)
    return out


def _predict(training: Cohort, holdout: Cohort, labels: list, feature: str, question: str, seed: int) -> Prediction:
    window = max(1, min(WINDOW, training.months - 1, int(np.median(holdout.there.sum(axis=1))) - 1))
    test, label, patient = _examples(holdout, labels[1], window, _TEST_ROWS, np.random.default_rng([seed, 1]))
    if len(np.unique(label)) < 2:
        return Prediction(feature, f"the held-out months all have one answer to: {question}?", question)
    seen, answer, _ = _examples(training, labels[0], window, _TRAINING_ROWS, np.random.default_rng([seed, 0]))
    if len(np.unique(answer)) < 2:
        note = f"the months to learn from all have one answer, the model can only guess: {question}?"
        return Prediction(feature, note, question, label, np.full(len(label), 0.5), patient)
    return Prediction(feature, "", question, label, learn(seen, answer, test, seed), patient)


def _examples(cohort: Cohort, labels: Labels, window: int, limit: int, rng: np.random.Generator) -> tuple[Array, ...]:
    """Past windows (rows, window x features), the next month's label, and the patient's position."""
    chosen = np.flatnonzero(labels[1][:, window:])
    if len(chosen) > limit:
        chosen = chosen[np.sort(rng.choice(len(chosen), limit, replace=False))]
    patient, month = np.divmod(chosen, cohort.months - window)
    # a table of values for trees: the scale of a real does not matter, levels enter by their position
    past = month[:, None] + np.arange(window)
    parts = [a[patient[:, None], past] for a in (cohort.reals, cohort.levels) if a.shape[2]]
    rows = np.concatenate([p.reshape(len(chosen), window * p.shape[2]) for p in parts], axis=1)
    return rows.astype(np.float32), labels[0][patient, month + window], patient


def learn(seen: Array, answer: Array, unseen: Array, seed: int) -> Array:
    """Scores of unseen rows by boosted trees that saw the others; a column without any value tells nothing."""
    some = ~np.isnan(seen).all(axis=0)
    seen, unseen = (rows[:, some] if some.any() else np.zeros((len(rows), 1)) for rows in (seen, unseen))
    # the library's default of 20 rows a leaf could not split a small cohort, which would look like a perfect likeness
    leaf = int(np.clip(len(seen) // 20, 1, 20))
    trees = {"max_iter": 60, "max_leaf_nodes": 15, "min_samples_leaf": leaf, "early_stopping": False}
    model = HistGradientBoostingClassifier(**trees, random_state=seed)
    with one_thread():
        return model.fit(seen, answer).predict_proba(unseen)[:, 1]


@metric()
def time_to_outcome(cohort: Cohort, threshold: float | None = None) -> pd.DataFrame:
    """How long each patient takes until the schema's real feature with role "outcome" is below a threshold.

    By default ``Feature.threshold``. One row a patient, by id: ``start``, the first known outcome; ``months``, that is
    visits, until it is first below, or until the last known one where it never is (``reached`` False). Where visits
    are not regular, ``time`` in place of months: since the first one, in the time column's unit, of dates in days.
    """
    outcome = next((f for f in cohort.schema.real if f.role == "outcome"), None)
    threshold = threshold if outcome is None or threshold is not None else outcome.threshold
    if outcome is None or threshold is None:
        raise ValueError("the schema names no real feature with role 'outcome', or there is no threshold: give both")
    values, known = cohort.values(outcome.name), cohort.known(outcome.name)
    below, last = values < threshold, cohort.months - 1 - known[:, ::-1].argmax(axis=1)
    visit = np.where(below.any(axis=1), below.argmax(axis=1), np.where(known.any(axis=1), last, 0))
    each = np.arange(len(values))
    waited = {"months": visit} if cohort.times is None else {"time": cohort.times[each, visit] - cohort.times[:, 0]}
    table = {"start": values[each, known.argmax(axis=1)], **waited, "reached": below.any(axis=1)}
    return pd.DataFrame(table, index=pd.Index(cohort.patients, name=cohort.schema.patient)).sort_index()


def kaplan_meier(months: Sequence[int], reached: Sequence[bool]) -> pd.DataFrame:
    """The share that has reached an outcome, month by month, some not followed to the end (Kaplan & Meier 1958).

    ``months`` are whole numbers from 0: when the outcome was ``reached``, or until when the patient was seen without.
    One row a month from 0 to the last one, index the month: ``at_risk``, ``events``, ``reached`` (1 - S).
    """
    months = whole_numbers("months", months, len(months))
    reached = whole_numbers("reached", reached, len(months), below=2).astype(bool)
    if not len(months):
        raise ValueError("Kaplan-Meier needs at least one patient")
    events = np.bincount(months[reached], minlength=months.max() + 1)
    at_risk = np.bincount(months)[::-1].cumsum()[::-1]
    share = 1 - np.cumprod(1 - events / at_risk)
    return pd.DataFrame({"at_risk": at_risk, "events": events, "reached": share}).rename_axis("month")


def restricted_mean(curve: pd.DataFrame, until: int) -> float:
    """Mean months without the outcome, of the first ``until``: the area above :func:`kaplan_meier`'s curve."""
    return float((1 - curve["reached"].reindex(range(until)).ffill()).sum())


def fitted_q(
    state: Array, action: Array, reward: Array, following: Array, shape: tuple, minimum: int = 10, discount: float = 0.9
) -> Array:
    """Value of each action in each state, learnt from what was done: tabular fitted Q iteration, batch-constrained.

    ``state``, ``action`` and ``following`` (the next state) are numbers, one entry a decision, below ``shape``: states
    and actions. An action taken less often than ``minimum`` in a state is NaN there, for nobody knows what it does; a
    state with none left is worth 0. Ernst, Geurts & Wehenkel 2005; the constraint: Fujimoto, Meger & Precup 2019.
    """
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be at least 0 and below 1, or values grow without end; not {discount!r}")
    steps, size, reward = len(state), shape[0] * shape[1], np.asarray(reward, dtype=float)
    state, following = (whole_numbers(*x, steps, shape[0]) for x in (("state", state), ("following", following)))
    if reward.shape != (steps,) or not np.isfinite(reward).all():
        raise ValueError(f"reward must be {steps} numbers, one a step; none may be missing or infinite")
    cell = state * shape[1] + whole_numbers("action", action, steps, shape[1])
    count = np.bincount(cell, minlength=size)
    known = (count >= max(minimum, 1)).reshape(shape)
    best, change = np.zeros(shape[0]), 1.0
    while change > 1e-9:
        total = np.bincount(cell, weights=reward + discount * best[following], minlength=size)
        values = np.where(known, (total / np.maximum(count, 1)).reshape(shape), -np.inf)
        newest = np.where(known.any(axis=1), values.max(axis=1), 0.0)
        best, change = newest, np.abs(newest - best).max()
    return np.where(known, values, np.nan)
