"""What is compared with what: every metric once for the synthetic cohort and once, as its floor, for real patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..cohort.arrays import CohortArrays
from . import diversity, dynamics, fidelity, privacy, utility
from .disclosure import DISCLOSURE_THRESHOLD, disclosure_risk
from .metric import Result, mean_defined

Score = tuple[str, str, float, str]  # metric, feature, value, note

#: Distances between whole patients are taken of at most this many of each cohort in the diversity metrics.
PATIENTS_FOR_NEIGHBOURS = 2000


@dataclass(frozen=True, eq=False)
class Comparison:
    """The three cohorts of a report, encoded on the training patients' scale, and what is asked of them."""

    train: CohortArrays
    holdout: CohortArrays
    synthetic: CohortArrays
    joints: list[list[str]]
    quasi_identifiers: list[str]
    population: int | None
    seed: int

    def equal_number(self) -> int:
        """Patients of the training and of the synthetic set that meet the holdout: 0.8 of the smaller number.

        Less than all, so that several draws differ; all where there are fewer than 20.
        """
        smaller = min(len(self.train), len(self.synthetic))
        return smaller if smaller < 20 else round(0.8 * smaller)

    def drawn(self, draw: int) -> tuple[CohortArrays, CohortArrays]:
        """The synthetic and the training patients of one draw."""
        rng = np.random.default_rng([self.seed, draw])
        return self.synthetic.draw(self.equal_number(), rng), self.train.draw(self.equal_number(), rng)


@dataclass(eq=False)
class Collected:
    """Values over draws, by metric and feature, in the order in which they came."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    notes: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, scores: Iterable[Score]) -> None:
        for metric, feature, value, note in scores:
            self.values.setdefault((metric, feature), []).append(value)
            if note:
                self.notes[metric, feature] = note

    def mean(self, key: tuple[str, str]) -> float:
        """Mean over the draws in which the metric is defined."""
        return mean_defined(self.values.get(key, []))

    def note(self, key: tuple[str, str]) -> str:
        values = self.values.get(key, [])
        missing = int(np.isnan(values).sum())
        some = f"undefined in {missing} of {len(values)} draws: " if 0 < missing < len(values) else ""
        return some + self.notes.get(key, "")


def joined(names: Sequence[str]) -> str:
    """The report's name of a joint."""
    return " x ".join(names) or "all"


def overall(metric: str, feature: str, result: Result) -> Score:
    value, table = result
    return metric, feature, value, table.attrs.get("note", "")


def by_feature(metric: str, result: Result, features: Sequence[str]) -> Iterator[Score]:
    """One score a feature: the mean of its rows; where there is no feature, one for all with the reason."""
    _, table = result
    if not features:
        yield metric, "all", float("nan"), table.attrs["note"]
    column = "difference" if "difference" in table else "value"
    for name in features:
        rows = table[table["feature"] == name]
        value = mean_defined(rows[column])
        reason = rows["note"].iloc[0] if "note" in rows and len(rows) else ""
        if np.isnan(value):
            reason = reason or table.attrs["note"] or "the values do not vary"
        yield metric, name, value, reason


def against_holdout(c: Comparison, chosen: CohortArrays, seed: int) -> Iterator[Score]:
    """Fidelity, diversity, dynamics and the two-sample test of ``chosen`` patients against the held-out ones."""
    schema, pair = c.holdout.schema, (c.holdout, chosen)
    reals, discrete = [f.name for f in schema.real], [f.name for f in schema.discrete]
    yield from by_feature("ks", fidelity.ks(*pair), reals)
    yield from by_feature("wasserstein", fidelity.wasserstein(*pair), reals)
    yield from by_feature("tv", fidelity.tv(*pair), discrete)
    yield from by_feature("patient_spread", diversity.patient_spread(*pair), reals)
    yield from by_feature("autocorrelation_difference", dynamics.autocorrelation_difference(*pair), reals)
    yield overall("association_difference", "all", fidelity.association_difference(*pair))
    yield overall("contingency_similarity", "all", fidelity.contingency_similarity(*pair))
    yield overall("trend_difference", "all", dynamics.trend_difference(*pair))
    yield overall("cycle_difference", "all", dynamics.cycle_difference(*pair))
    yield overall("switching_ratio", joined([f.name for f in schema.regimen]), dynamics.switching_ratio(*pair))
    yield overall("static_constant", joined([f.name for f in schema.static]), dynamics.static_constant(*pair))
    for names in c.joints:
        for by in ("month", "patient"):
            covered = diversity.coverage(*pair, features=names or None, by=by)
            yield overall(f"coverage_{by}", joined(names), covered)
        yield overall("joint_tv", joined(names), diversity.joint_tv(*pair, features=names or None))
    rng = np.random.default_rng(seed)
    few = (c.holdout.draw(PATIENTS_FOR_NEIGHBOURS, rng), chosen.draw(PATIENTS_FOR_NEIGHBOURS, rng))
    yield overall("log_cluster", "all", diversity.log_cluster(*few, seed=seed))
    # as many of both: among several times more synthetic patients, everybody would have one nearby
    as_many = min(len(few[0]), len(few[1]))
    few = (few[0].draw(as_many, rng), few[1].draw(as_many, rng))
    density, table = diversity.prdc_density(*few)
    yield overall("prdc_density", "all", (density, table))
    yield overall("prdc_coverage", "all", diversity.prdc_coverage(*few, neighbourhoods=table))
    yield overall("c2st_auc", "all", utility.c2st_auc(*pair, seed=seed))


def prediction_scores(answers: Sequence[utility.Prediction], metric: str) -> Iterator[Score]:
    """AUC of one model's answers to each question, with the question as note."""
    _, table = utility.predictive_auc(answers)
    for answer, value in zip(answers, table["value"], strict=True):
        yield metric, answer.feature, value, answer.note or answer.question


def add_privacy(c: Comparison, draws: int, values: Collected, floors: Collected) -> privacy.PrivacyDistances:
    """Add the privacy metrics of the synthetic cohort and, with real patients in its place, their floors.

    Returns:
        the synthetic cohort's distances, for the intervals.
    """
    threshold = privacy.copy_threshold(c.train)
    sets = (c.train, c.holdout, c.synthetic)
    distances = privacy.privacy_distances(*sets)
    values.add([overall("dcr_share", "all", privacy.dcr_share(*sets, distances=distances))])
    values.add([overall("membership_auc", "all", privacy.membership_auc(*sets, distances=distances))])
    for draw in range(draws if len(c.train) > 1 else 0):
        order = np.random.default_rng([c.seed, draw, 1]).permutation(len(c.train))
        half, third = (c.train.take(np.sort(part)) for part in np.array_split(order, 2))
        third = third.draw(len(c.synthetic), np.random.default_rng([c.seed, draw, 2]))
        real = (half, c.holdout, third)
        found = privacy.privacy_distances(*real)
        floors.add([overall("dcr_share", "all", privacy.dcr_share(*real, distances=found))])
        floors.add([overall("membership_auc", "all", privacy.membership_auc(*real, distances=found))])
    for chosen, to_train, collected in (
        (c.synthetic, distances.to_train, values),
        (c.holdout, privacy.neighbours_of(c.holdout, c.train), floors),
    ):
        pair = (c.train, chosen)
        collected.add([overall("nndr", "all", privacy.nndr(*pair, to_train=to_train))])
        collected.add([overall("copies", "all", privacy.copies(*pair, to_train=to_train, threshold=threshold))])
        risk = disclosure_risk(*pair, quasi_identifiers=c.quasi_identifiers, population=c.population)
        collected.add([overall("disclosure_risk", joined(c.quasi_identifiers), risk)])
    key = "disclosure_risk", joined(c.quasi_identifiers)
    if c.quasi_identifiers:
        release = f"floor: {len(c.holdout)} held-out patients released instead of {len(c.synthetic)}"
        values.notes[key] = f"usual limit {DISCLOSURE_THRESHOLD}; {release}"
    return distances
