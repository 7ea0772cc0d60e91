"""What is compared with what: every metric once for the synthetic cohort and once, as its floor, for real patients.

>>> joined(['Gender', 'Ethnic'])
'Gender x Ethnic'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cohort.arrays import CohortArrays
from . import diversity, dynamics, fidelity, privacy, two_sample, utility, visits
from .disclosure import DISCLOSURE_THRESHOLD, disclosure_risk
from .metric import NAN, Result, mean_defined

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

    def drawn(self, draw: int) -> tuple[CohortArrays, CohortArrays]:
        """The synthetic and the training patients who meet the holdout in one draw.

        As many of both, 0.8 of the smaller number so that several draws differ; all where there are fewer than 20.
        """
        rng, smaller = np.random.default_rng([self.seed, draw]), min(len(self.train), len(self.synthetic))
        number = smaller if smaller < 20 else round(0.8 * smaller)
        return self.synthetic.draw(number, rng), self.train.draw(number, rng)


def joined(names: Iterable[str]) -> str:
    """The report's name of a joint."""
    return " x ".join(names) or "all"


def overall(metric: Callable[..., Result], *cohorts: CohortArrays, feature: str = "all", **options: Any) -> Score:
    """The score of a metric that has one value for the whole cohort."""
    value, table = metric(*cohorts, **options)
    return metric.__name__, feature, value, table.attrs.get("note", "")


def by_feature(metric: Callable[..., Result], *cohorts: CohortArrays, features: Sequence[str]) -> Iterator[Score]:
    """One score a feature: the mean of its rows; where there is no feature, one for all with the reason."""
    name, (_, table) = metric.__name__, metric(*cohorts)
    if not features:
        yield name, "all", NAN, table.attrs["note"]
    column = "difference" if "difference" in table else "value"
    for feature in features:
        rows = table[table["feature"] == feature]
        value = mean_defined(rows[column])
        reason = rows["note"].iloc[0] if "note" in rows and len(rows) else ""
        if np.isnan(value):
            reason = reason or table.attrs["note"] or "the values do not vary"
        yield name, feature, value, reason


def against_holdout(c: Comparison, chosen: CohortArrays, seed: int) -> Iterator[Score]:
    """Fidelity, diversity, dynamics, visits and the two-sample tests of ``chosen`` patients against the held-out."""
    schema, pair = c.holdout.schema, (c.holdout, chosen)
    reals, discrete = [f.name for f in schema.real], [f.name for f in schema.discrete]
    switching = [joined(names) for names in dynamics.switching_names(schema)]
    yield from by_feature(fidelity.tv, *pair, features=discrete)
    for metric in (fidelity.ks, fidelity.wasserstein, diversity.patient_spread, dynamics.autocorrelation_difference):
        yield from by_feature(metric, *pair, features=reals)
    pairs = (fidelity.association_difference, fidelity.contingency_similarity)
    for metric in (*pairs, dynamics.trend_difference, dynamics.cycle_difference):
        yield overall(metric, *pair)
    yield from by_feature(dynamics.switching_ratio, *pair, features=switching)
    yield overall(dynamics.dwell_times, *pair, feature=switching[0] if switching else "all")
    yield overall(dynamics.static_constant, *pair, feature=joined(f.name for f in schema.static))
    yield from _of_visits(c, pair)
    for names in c.joints:
        joint = {"feature": joined(names), "features": names or None}
        for by in ("month", "patient"):
            yield f"coverage_{by}", *overall(diversity.coverage, *pair, **joint, by=by)[1:]
        yield overall(diversity.joint_tv, *pair, **joint)
    rng = np.random.default_rng(seed)
    few = [cohort.draw(PATIENTS_FOR_NEIGHBOURS, rng) for cohort in pair]
    yield overall(diversity.log_cluster, *few, seed=seed)
    # as many of both: among several times more synthetic patients, everybody would have one nearby
    as_many = min(map(len, few))
    few = [cohort.draw(as_many, rng) for cohort in few]
    density, table = diversity.prdc_density(*few)
    yield "prdc_density", "all", density, table.attrs["note"]
    yield overall(diversity.prdc_coverage, *few, neighbourhoods=table)
    for metric in (two_sample.c2st_auc, two_sample.c2st_other_auc):
        yield overall(metric, *pair, seed=seed)


def _of_visits(c: Comparison, pair: tuple[CohortArrays, CohortArrays]) -> Iterator[Score]:
    """What only tables have whose courses end early, whose visits have times of their own, or which have gaps."""
    cohorts = (c.train, c.holdout, c.synthetic)
    if not all(cohort.there.all() for cohort in cohorts):
        yield overall(visits.length_ks, *pair)
    if c.train.times is not None:
        yield overall(visits.step_ks, *pair, feature=c.train.schema.time)
    with_gaps = visits.gappy(*cohorts)
    for metric in (visits.gap_shares, visits.gap_clustering) if with_gaps else ():
        yield from by_feature(metric, *pair, features=with_gaps)


def prediction_scores(answers: Sequence[utility.Prediction], metric: str) -> Iterator[Score]:
    """AUC of one model's answers to each question, with the question as note."""
    _, table = utility.predictive_auc(answers)
    for answer, value in zip(answers, table["value"], strict=True):
        yield metric, answer.feature, value, answer.note or answer.question


def privacy_scores(c: Comparison, draws: int) -> tuple[list[Score], list[Score], privacy.PrivacyDistances]:
    """Privacy metrics of the synthetic cohort; with real patients in its place, their floors; and the distances."""
    floors: list[Score] = []

    def closeness(*sets: CohortArrays) -> tuple[list[Score], privacy.PrivacyDistances]:
        found = privacy.privacy_distances(*sets)
        return [overall(m, *sets, distances=found) for m in (privacy.dcr_share, privacy.membership_auc)], found

    values, distances = closeness(c.train, c.holdout, c.synthetic)
    for draw in range(draws if len(c.train) > 1 else 0):
        order = np.random.default_rng([c.seed, draw, 1]).permutation(len(c.train))
        half, other = (c.train.take(np.sort(part)) for part in np.array_split(order, 2))
        other = other.draw(len(c.synthetic), np.random.default_rng([c.seed, draw, 2]))
        floors += closeness(half, c.holdout, other)[0]
    near = {"threshold": privacy.copy_threshold(c.train)}
    known = {"quasi_identifiers": c.quasi_identifiers, "population": c.population}
    for chosen, to_train, scores in (
        (c.synthetic, distances.to_train, values),
        (c.holdout, privacy.neighbours_of(c.holdout, c.train), floors),
    ):
        scores.append(overall(privacy.nndr, c.train, chosen, to_train=to_train))
        scores.append(overall(privacy.copies, c.train, chosen, to_train=to_train, **near))
        scores.append(overall(disclosure_risk, c.train, chosen, feature=joined(c.quasi_identifiers), **known))
    if c.quasi_identifiers:
        release = f"floor: {len(c.holdout)} held-out patients released instead of {len(c.synthetic)}"
        values[-1] = *values[-1][:3], f"usual limit {DISCLOSURE_THRESHOLD}; {release}"
    return values, floors, distances
