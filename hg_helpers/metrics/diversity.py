"""Diversity: who is missing, and is everybody alike?

>>> import hg_helpers as hg
>>> real = hg.simulate_cohort(50, seed=1)
>>> hg.metrics.coverage(real, real.assign(Gender=1), hg.ART_DEMO, ["Gender"])[0]
0.5
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from .arrays import discrete_features
from .distances import flatten, neighbours
from .fidelity import joint_shares, total_variation
from .metric import NO_LEVELS, NO_REAL, Cohort, Names, Result, apart, averaged, metric, noted, one_thread, patient_means

#: A group counts from this share of the real months (or patients); with this part of its real share it is covered.
COUNTED, COVERED = 0.005, 0.25


def is_counted(real: np.ndarray, minimum: float = COUNTED) -> np.ndarray:
    return (real >= minimum - 1e-12) & (real > 0)


def is_covered(real: np.ndarray, synthetic: np.ndarray, floor: float = COVERED) -> np.ndarray:
    return (synthetic >= floor * real - 1e-12) & (synthetic > 0)


@metric(best=1.0, names=("coverage_month", "coverage_patient"))
def coverage(
    real: Cohort,
    synthetic: Cohort,
    features: Names = None,
    by: str = "month",
    floor: float = COVERED,
    minimum: float = COUNTED,
) -> Result:
    """Share of the real joint groups that the synthetic cohort shows too.

    A group is one combination of levels of ``features``. Counted are groups with at least ``minimum`` of the real
    months (or patients) in which all are known; one is covered where its synthetic share is at least ``floor`` times
    its real share. ``minimum=0`` with a ``floor`` next to nothing is SDMetrics' category coverage. ``by="patient"``
    takes each patient's most frequent level (the first of equals): who changes sex every month covers one group only.
    """
    _, table = joint_tv(real, synthetic, features=features, by=by)
    if table.attrs["note"]:
        return np.nan, table
    table = table[is_counted(table["real share"], minimum)].reset_index(drop=True)
    table["covered"] = is_covered(table["real share"], table["synthetic share"], floor)
    note = "" if len(table) else f"no joint group has {minimum:.1%} of the real {by}s"
    return float(table["covered"].mean()), noted(table, note)


@metric(best=0.0)
def joint_tv(real: Cohort, synthetic: Cohort, features: Names = None, by: str = "month") -> Result:
    """Total variation of the joint distribution of discrete features: half the sum of |share_real - share_synthetic|.

    With many groups and few patients its floor is far above 0. Arguments and table (all groups) as :func:`coverage`.
    """
    chosen = discrete_features(real.schema, features)
    groups, shares = joint_shares((real, synthetic), features, by)
    names = apart([f.name for f in chosen], ["real share", "synthetic share", "covered"])
    levels = [[f.levels[k] for k in column] for f, column in zip(chosen, groups.T, strict=True)]
    table = pd.DataFrame(dict(zip(names, levels, strict=True)))
    table["real share"], table["synthetic share"] = shares[0][0], shares[1][0]
    note = "" if chosen else NO_LEVELS
    if np.isnan(total_variation(shares)).any():
        note = f"no {by} of one of the cohorts has all of these features"
    if note:
        return np.nan, noted(table.iloc[:0], note)
    table = table.sort_values("real share", ascending=False, kind="stable", ignore_index=True)
    return float(0.5 * (table["real share"] - table["synthetic share"]).abs().sum()), noted(table)


@metric(best=-np.inf, limits=(-np.inf, 0.0), scaled=True)
def log_cluster(real: Cohort, synthetic: Cohort, clusters: int = 20, rows: int = 10_000, seed: int = 0) -> Result:
    """Log-cluster: how unevenly real and synthetic patient-months share the clusters of both together.

    log( 1/G sum_j (n_j,real / n_j - c)^2 ), with c the real share of all rows; k-means with G = ``clusters`` (fewer
    where there are fewer distinct rows) on the encoded patient-months, at most ``rows`` of each cohort. -inf is a
    perfect mixture, log(c^2 (or more)) a separation (Goncalves et al. 2020).
    """
    rng = np.random.default_rng(seed)
    points = []
    for cohort in (real, synthetic):
        months = flatten(cohort).reshape(len(cohort) * cohort.months, -1)[cohort.there.ravel()]
        points.append(months if len(months) <= rows else months[rng.choice(len(months), rows, replace=False)])
    merged = np.concatenate(points) * np.sqrt(real.months * len(real.schema))
    distinct = len(np.unique(merged.round(6), axis=0))
    with one_thread():
        found = KMeans(min(clusters, distinct), n_init=2, random_state=seed).fit_predict(merged)
    table = pd.crosstab(found, np.repeat(["real", "synthetic"], list(map(len, points))))
    table["real share"] = table["real"] / table.sum(axis=1)
    spread = float(((table["real share"] - len(points[0]) / len(merged)) ** 2).mean())
    table = table.rename_axis(index="cluster", columns=None).reset_index()
    return (float(np.log(spread)) if spread > 0 else -np.inf), noted(table)


@metric(best=1.0, limits=(0.0, np.inf), scaled=True)
def prdc_density(real: Cohort, synthetic: Cohort, k: int = 5) -> Result:
    """Density: how many real patients' neighbourhoods a synthetic patient falls into, over k.

    1/(k M) sum_j sum_i [ ||Y_j - X_i|| <= NND_k(X_i) ], with NND_k the distance to the k-th nearest other real patient.
    About 1 for real patients; near 0 far from them; above 1 crowded where they are densest (Naeem et al. 2020).
    """
    table, nearest = pd.DataFrame({"patient": real.patients}), min(k, len(real) - 1)
    if nearest < 1:
        return np.nan, noted(table, "a single real patient has no neighbours")
    table["radius"] = neighbours(real, real, nearest, same=True).distance[:, -1]
    found = neighbours(real, synthetic, radii=table["radius"].to_numpy())
    table["synthetic within"] = found.closer + found.equal
    return float(table["synthetic within"].sum() / (nearest * len(synthetic))), noted(table)


@metric(best=1.0, scaled=True)
def prdc_coverage(real: Cohort, synthetic: Cohort, k: int = 5, neighbourhoods: pd.DataFrame | None = None) -> Result:
    """Coverage: share of real patients with at least one synthetic patient in their neighbourhood.

    1/N sum_i [ exists j: ||Y_j - X_i|| <= NND_k(X_i) ]; ``neighbourhoods`` is the table of :func:`prdc_density`.
    """
    table = prdc_density(real, synthetic, k=k)[1] if neighbourhoods is None else neighbourhoods
    return (np.nan if table.attrs["note"] else float((table["synthetic within"] > 0).mean())), table


@metric(best=1.0, limits=(0.0, np.inf), scaled=True)
def patient_spread(real: Cohort, synthetic: Cohort) -> Result:
    """Spread of patient means, synthetic over real: sd_p(mean over months of x), on the encoded scale.

    0 where all synthetic patients are alike on average, as with noise that is new each month; above 1 too far apart.
    """
    rows = []
    for feature in real.schema.real:
        means = [patient_means(c.values(feature.name, scaled=True)) for c in (real, synthetic)]
        means = [m[~np.isnan(m)] for m in means]
        single = min(map(len, means)) < 2
        a, b = (np.nan if single else m.std(ddof=1) for m in means)
        note = "a single patient has no spread" if single else "real patients do not differ" * bool(a < 1e-9)
        rows.append((feature.name, a, b, np.nan if note else b / a, note))
    return averaged(rows, ["feature", "real", "synthetic", "value", "note"], NO_REAL)
