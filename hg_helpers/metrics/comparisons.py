"""What is compared with what: every metric once for the synthetic cohort and once, as its floor, for real patients.

And intervals: patients, not months, are drawn with replacement, and weighed by how often they were drawn.

>>> draw_weights(patients=20, replicates=3, rng=np.random.default_rng(0)).sum(axis=1).tolist()
[20.0, 20.0, 20.0]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import diversity, dynamics, fidelity, privacy, two_sample
from .distances import neighbours
from .fidelity import joint_shares, total_variation
from .metric import Cohort, Result, mean_defined
from .utility import Prediction

Score = tuple[str, str, float, str]  # metric, feature, value, note
Replicates = dict[tuple[str, str], np.ndarray]  # by metric and feature

#: Distances between whole patients are taken of at most this many of each cohort in the diversity metrics.
PATIENTS_FOR_NEIGHBOURS = 2000
#: With fewer patients than this a bootstrap says more of its own coarseness than of the cohort.
MINIMUM_PATIENTS = 10


class Comparison(NamedTuple):
    train: Cohort
    holdout: Cohort
    synthetic: Cohort
    joints: list[list[str]]
    quasi_identifiers: list[str]
    population: int | None
    seed: int

    def drawn(self, draw: int) -> tuple[Cohort, Cohort]:
        """The synthetic and the training patients who meet the holdout in one draw: as many of both."""
        rng, smaller = np.random.default_rng([self.seed, draw]), min(len(self.train), len(self.synthetic))
        number = smaller if smaller < 20 else round(0.8 * smaller)  # so that several draws differ
        return self.synthetic.draw(number, rng), self.train.draw(number, rng)


def joined(names: Iterable[str]) -> str:
    return " x ".join(names) or "all"


def overall(metric: Callable[..., Result], *cohorts: Cohort, feature: str = "all", **options: Any) -> Score:
    value, table = metric(*cohorts, **options)
    return metric.__name__, feature, value, table.attrs.get("note", "")


def by_feature(metric: Callable[..., Result], *cohorts: Cohort, features: Sequence[str]) -> Iterator[Score]:
    """One score a feature: the mean of its rows; where there is no feature, one for all with the reason."""
    name, (_, table) = metric.__name__, metric(*cohorts)
    if not features:
        yield name, "all", np.nan, table.attrs["note"]
    for feature in features:
        rows = table[table["feature"] == feature]
        value = mean_defined(rows["difference" if "difference" in table else "value"])
        reason = rows["note"].iloc[0] if "note" in rows and len(rows) else ""
        if np.isnan(value):
            reason = reason or table.attrs["note"] or "the values do not vary"
        yield name, feature, value, reason


def against_holdout(c: Comparison, chosen: Cohort, seed: int) -> Iterator[Score]:
    """Fidelity, diversity, dynamics, visits and the two-sample tests of ``chosen`` patients against the held-out."""
    schema, pair, everybody = c.holdout.schema, (c.holdout, chosen), (c.train, c.holdout, c.synthetic)
    reals, discrete = [f.name for f in schema.real], [f.name for f in schema.discrete]
    switching = [joined(names) for names in dynamics.switching_names(schema)]
    gaps = fidelity.gappy(*everybody)
    by_real = fidelity.ks, fidelity.wasserstein, diversity.patient_spread, dynamics.autocorrelation_difference
    each = dict.fromkeys(by_real, reals) | {fidelity.tv: discrete, dynamics.switching_ratio: switching}
    each |= dict.fromkeys((fidelity.gap_shares, fidelity.gap_clustering), gaps) if gaps else {}
    for metric, features in each.items():
        yield from by_feature(metric, *pair, features=features)
    of_pairs = fidelity.association_difference, fidelity.contingency_similarity
    whole = dict.fromkeys((*of_pairs, dynamics.trend_difference, dynamics.cycle_difference), "all")
    whole[dynamics.dwell_times] = (switching or ["all"])[0]
    whole[dynamics.switch_response] = "all"
    whole[dynamics.static_constant] = joined(f.name for f in schema.static)
    # what only tables have whose courses end early, or whose visits have times of their own
    whole |= {} if all(cohort.there.all() for cohort in everybody) else {fidelity.length_ks: "all"}
    whole |= {} if c.train.times is None else {fidelity.step_ks: schema.time}
    for metric, feature in whole.items():
        yield overall(metric, *pair, feature=feature)
    for names in c.joints:
        joint = {"feature": joined(names), "features": names or None}
        for by in ("month", "patient"):
            yield f"coverage_{by}", *overall(diversity.coverage, *pair, **joint, by=by)[1:]
        yield overall(diversity.joint_tv, *pair, **joint)
    rng = np.random.default_rng(seed)
    few = [cohort.draw(PATIENTS_FOR_NEIGHBOURS, rng) for cohort in pair]
    yield overall(diversity.log_cluster, *few, seed=seed)
    # as many of both: among several times more synthetic patients, everybody would have one nearby
    few = [cohort.draw(min(map(len, few)), rng) for cohort in few]
    density, table = diversity.prdc_density(*few)
    yield "prdc_density", "all", density, table.attrs["note"]
    yield overall(diversity.prdc_coverage, *few, neighbourhoods=table)
    for metric in (two_sample.c2st_auc, two_sample.c2st_other_auc):
        yield overall(metric, *pair, seed=seed)


def privacy_scores(c: Comparison, draws: int) -> tuple[list[Score], list[Score], privacy.PrivacyDistances]:
    """Privacy metrics of the synthetic cohort; with real patients in its place, their floors; and the distances."""

    def closeness(*sets: Cohort) -> tuple[list[Score], privacy.PrivacyDistances]:
        found = privacy.privacy_distances(*sets)
        return [overall(m, *sets, distances=found) for m in (privacy.dcr_share, privacy.membership_auc)], found

    floors, (values, distances) = [], closeness(c.train, c.holdout, c.synthetic)
    for draw in range(draws if len(c.train) > 1 else 0):
        order = np.random.default_rng([c.seed, draw, 1]).permutation(len(c.train))
        half, other = (c.train.take(np.sort(part)) for part in np.array_split(order, 2))
        other = other.draw(len(c.synthetic), np.random.default_rng([c.seed, draw, 2]))
        floors += closeness(half, c.holdout, other)[0]
    near, names = privacy.copy_threshold(c.train), c.quasi_identifiers
    asked = {"feature": joined(names), "quasi_identifiers": names, "population": c.population}
    to_train = distances.to_train, neighbours(c.holdout, c.train, k=2)
    for chosen, found, scores in zip((c.synthetic, c.holdout), to_train, (values, floors), strict=True):
        scores.append(overall(privacy.nndr, c.train, chosen, to_train=found))
        scores.append(overall(privacy.copies, c.train, chosen, to_train=found, threshold=near))
        scores.append(overall(privacy.disclosure_risk, c.train, chosen, **asked))
    if names:
        release = f"floor: {len(c.holdout)} held-out patients released instead of {len(c.synthetic)}"
        values[-1] = *values[-1][:3], f"usual limit {privacy.DISCLOSURE_THRESHOLD}; {release}"
    return values, floors, distances


def headline_replicates(
    c: Comparison, distances: privacy.PrivacyDistances, answers: dict[tuple[str, str], Prediction], replicates: int
) -> Replicates:
    """Replicates of the headline metrics, of patients of the first draw; none with fewer than 10 patients in a set."""
    if replicates == 0 or min(len(c.train), len(c.holdout), len(c.synthetic)) < MINIMUM_PATIENTS:
        return {}
    rng = np.random.default_rng([c.seed, 3])
    pair, schema = (c.holdout, c.drawn(0)[0]), c.holdout.schema
    weights = [draw_weights(len(cohort), replicates, rng) for cohort in pair]
    out: Replicates = {}
    for name in (f.name for f in schema.real):
        out["ks", name] = ks_replicates(*(cohort.values(name) for cohort in pair), weights)
    for name in (f.name for f in schema.discrete):
        out["tv", name] = total_variation(joint_shares(pair, [name], weights=weights)[1])
    for names in filter(None, c.joints):
        for by in ("month", "patient"):
            _, (everybody, _) = joint_shares(pair, names, by)
            _, shares = joint_shares(pair, names, by, weights)
            out.setdefault(("joint_tv", joined(names)), total_variation(shares))  # by month
            counted = diversity.is_counted(everybody[0])
            if counted.any():
                covered = diversity.is_covered(*(s[:, counted] for s in shares))
                out[f"coverage_{by}", joined(names)] = covered.mean(axis=1)
    _, closer = privacy.dcr_share(c.train, c.holdout, c.synthetic, distances=distances)
    _, attacked = privacy.membership_auc(c.train, c.holdout, c.synthetic, distances=distances)
    real = np.concatenate([draw_weights(len(cohort), replicates, rng) for cohort in (c.train, c.holdout)], axis=1)
    out["dcr_share", "all"] = cluster_replicates(closer["closer to train"], closer["nearest holdout"], replicates, rng)
    out["membership_auc", "all"] = auc_replicates(attacked["member"].to_numpy(), -attacked["distance"], real)
    for key, answer in answers.items():
        if answer.score is not None:
            out[key] = auc_replicates(answer.label, answer.score, weights[0][:, answer.patient])
    return out


def draw_weights(patients: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each patient is drawn in each replicate; (replicates, patients), each row sums to ``patients``."""
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=replicates).astype(np.float64)


def interval(value: float, replicates: np.ndarray, limits: tuple[float, float]) -> tuple[float, float]:
    """95 % of the replicates, moved to the value: of patients drawn twice, cohorts look less alike. NaN if few."""
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or len(defined) < max(2, len(replicates) / 2):
        return np.nan, np.nan
    low, high = np.quantile(defined, [0.025, 0.975]) - defined.mean() + value
    return float(np.clip(low, *limits)), float(np.clip(high, *limits))


def ks_replicates(real: np.ndarray, synthetic: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Kolmogorov-Smirnov statistic in every replicate, of values (patients, months) with NaN where there is none."""
    known = [~np.isnan(x) for x in (real, synthetic)]
    if not all(k.any() for k in known):
        return np.full(len(weights[0]), np.nan)
    _, place = np.unique(np.concatenate([real[known[0]], synthetic[known[1]]]), return_inverse=True)
    owner = np.concatenate([np.nonzero(known[0])[0], np.nonzero(known[1])[0] + len(real)])
    totals = [w @ k.sum(axis=1) for w, k in zip(weights, known, strict=True)]
    steps = [w / np.where(total > 0, total, np.nan)[:, None] for w, total in zip(weights, totals, strict=True)]
    steps = np.concatenate([steps[0], -steps[1]], axis=1)  # of the difference of both distribution functions
    return np.array([np.abs(np.cumsum(np.bincount(place, weights=row[owner]))).max() for row in steps])


def auc_replicates(label: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in every replicate, of weights (replicates, rows); NaN with one class only."""
    _, rank = np.unique(score, return_inverse=True)
    out = np.full(len(weights), np.nan)
    for i, weight in enumerate(weights):
        positive, negative = (np.bincount(rank, weights=weight * answer) for answer in (label, ~label))
        pairs = positive.sum() * negative.sum()
        if pairs > 0:  # every positive beats the negatives below it and half of those at its score
            out[i] = (positive * (np.cumsum(negative) - 0.5 * negative)).sum() / pairs
    return out


def cluster_replicates(values: np.ndarray, group: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of values in every replicate when whole groups (patients with one nearest one) are drawn; NaN if few."""
    _, code, size = np.unique(group, return_inverse=True, return_counts=True)
    if len(size) < MINIMUM_PATIENTS:
        return np.full(replicates, np.nan)
    weights = draw_weights(len(size), replicates, rng)
    return weights @ np.bincount(code, weights=values) / (weights @ size)
