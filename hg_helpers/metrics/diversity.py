"""Diversity: who is missing, and is everybody alike?

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("sex", "binary", levels=("m", "f"))], patient="id", time="month", length=1)
>>> real = pd.DataFrame({"id": [1, 2, 3, 4], "month": 0, "sex": list("mmff")})
>>> value, table = hg.metrics.coverage(real, real.assign(sex="m"), schema)
>>> value, list(table["covered"])
(0.5, [True, False])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from ..cohort.arrays import CohortArrays, discrete_positions, group_rows, joint_groups
from ..cohort.schema import Schema
from .distances import blocks, flatten, neighbours
from .metric import Result, apart, mean_defined, metric, one_thread, with_note

#: A group counts from this share of the real months (or patients); with this part of its real share it is covered.
COUNTED, COVERED = 0.005, 0.25
_NO_DISCRETE = "the schema has no binary or categorical feature"


def is_counted(real: np.ndarray, minimum: float = COUNTED) -> np.ndarray:
    """Which groups are large enough to be missed."""
    return (real >= minimum - 1e-12) & (real > 0)


def is_covered(real: np.ndarray, synthetic: np.ndarray, floor: float = COVERED) -> np.ndarray:
    """Which groups the synthetic cohort shows in at least ``floor`` of their real share."""
    return (synthetic >= floor * real - 1e-12) & (synthetic > 0)


@metric(best=1.0, names=("coverage_month", "coverage_patient"))
def coverage(
    real: CohortArrays,
    synthetic: CohortArrays,
    features: Sequence[str] | None = None,
    by: str = "month",
    floor: float = COVERED,
    minimum: float = COUNTED,
) -> Result:
    """Share of the real joint groups that the synthetic cohort shows too.

    A group is one combination of levels of ``features``. Counted are groups with at least ``minimum`` of the real
    months (or patients); one is covered where its synthetic share is at least ``floor`` times its real share. Range 0
    to 1, best 1. ``minimum=0`` with a ``floor`` next to nothing is the category coverage of SDMetrics.

    Args:
        features: names of discrete features taken jointly; by default all.
        by: ``"month"`` counts patient-months; ``"patient"`` counts patients by their most frequent level of each
            feature (the first level of equals), so that a patient who changes sex every month covers one group only.
        floor: share of the real share that counts as covered.
        minimum: smallest real share of a group that counts.

    Returns:
        share of groups covered (NaN where no group reaches ``minimum``); table: the levels (in a column "covered
        (feature)" where a feature has the name of a result), ``real share``, ``synthetic share``, ``covered``, largest
        real share first.

    Raises:
        KeyError, ValueError: for a feature that is unknown or real, or a ``by`` that is neither.
    """
    names, shares, groups = _joint_shares(real, synthetic, features, by)
    if not names:
        return float("nan"), with_note(_group_table(real.schema, names, groups, shares), _NO_DISCRETE)
    counted = is_counted(shares[0], minimum)
    table = _group_table(real.schema, names, groups[counted], shares[:, counted])
    table["covered"] = is_covered(table["real share"], table["synthetic share"], floor)
    note = "" if len(table) else f"no joint group has {minimum:.1%} of the real {by}s"
    return mean_defined(table["covered"]), with_note(table, note)


@metric(best=0.0)
def joint_tv(
    real: CohortArrays, synthetic: CohortArrays, features: Sequence[str] | None = None, by: str = "month"
) -> Result:
    """Total variation of the joint distribution of discrete features: half the sum of |share_real - share_synthetic|.

    Range 0 to 1, best 0. With many groups and few patients its floor is far above 0: read it beside the floor.

    Args:
        features: names of discrete features taken jointly; by default all.
        by: ``"month"`` or ``"patient"``, as in :func:`coverage`.

    Returns:
        total variation (NaN without discrete features); table as in :func:`coverage`, all groups of either cohort.
    """
    names, shares, groups = _joint_shares(real, synthetic, features, by)
    table = _group_table(real.schema, names, groups, shares)
    if not names:
        return float("nan"), with_note(table, _NO_DISCRETE)
    return float(0.5 * np.abs(shares[0] - shares[1]).sum()), with_note(table)


def _joint_shares(
    real: CohortArrays, synthetic: CohortArrays, features: Sequence[str] | None, by: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, shares (2, groups) of real and synthetic rows, and the levels of each group (groups, features)."""
    positions = discrete_positions(real.schema, features)
    names = [real.schema.discrete[p].name for p in positions]
    if not positions:
        return names, np.empty((2, 0)), np.empty((0, 0), dtype=np.int64)
    codes, groups = joint_groups(*(group_rows(c, positions, by) for c in (real, synthetic)))
    return names, np.stack([np.bincount(c, minlength=len(groups)) / len(c) for c in codes]), groups


def _group_table(schema: Schema, names: list[str], groups: np.ndarray, shares: np.ndarray) -> pd.DataFrame:
    columns = [[schema[name].levels[k] for k in groups[:, i]] for i, name in enumerate(names)]
    columns = dict(zip(apart(names, ["real share", "synthetic share", "covered"]), columns, strict=True))
    table = pd.DataFrame({**columns, "real share": shares[0], "synthetic share": shares[1]})
    return table.sort_values("real share", ascending=False, kind="stable", ignore_index=True)


# --- the shape of the whole cohort ----------------------------------------------------------------------------------


@metric(best=float("-inf"), limits=(float("-inf"), 0.0), scaled=True)
def log_cluster(
    real: CohortArrays, synthetic: CohortArrays, clusters: int = 20, rows: int = 10_000, seed: int = 0
) -> Result:
    """Log-cluster: how unevenly real and synthetic patient-months share the clusters of both together.

    log( 1/G sum_j (n_j,real / n_j - c)^2 ), natural logarithm, with c the real share of all rows; k-means with G =
    ``clusters`` (the paper's 20, fewer where there are fewer distinct rows) on the encoded patient-months. Lower is
    better; -inf is a perfect mixture, log(c^2 (or more)) a complete separation.

    Args:
        rows: at most this many patient-months of each cohort, drawn with ``seed``.

    Returns:
        value; table: cluster, real and synthetic rows, real share.

    Source: Goncalves et al. 2020, BMC Med. Res. Methodol. 20:108.
    """
    rng = np.random.default_rng(seed)
    points = []
    for cohort in (real, synthetic):
        months = flatten(cohort).reshape(len(cohort) * cohort.months, -1)
        points.append(months if len(months) <= rows else months[rng.choice(len(months), rows, replace=False)])
    merged = np.concatenate(points) * np.sqrt(real.months * len(real.schema))
    distinct = len(np.unique(merged.round(6), axis=0))
    with one_thread():
        model = KMeans(min(clusters, distinct), n_init=2, random_state=seed).fit(merged)
    is_real = np.arange(len(merged)) < len(points[0])
    counts = np.stack([np.bincount(model.labels_[mask], minlength=model.n_clusters) for mask in (is_real, ~is_real)])
    counts = counts[:, counts.sum(axis=0) > 0]
    share = counts[0] / counts.sum(axis=0)
    spread = float(((share - is_real.mean()) ** 2).mean())
    table = pd.DataFrame({"real": counts[0], "synthetic": counts[1], "real share": share}).rename_axis("cluster")
    return (float(np.log(spread)) if spread > 0 else float("-inf")), with_note(table.reset_index())


@metric(best=1.0, limits=(0.0, float("inf")), scaled=True)
def prdc_density(real: CohortArrays, synthetic: CohortArrays, k: int = 5) -> Result:
    """Density: how many real patients' neighbourhoods a synthetic patient falls into, over k.

    1/(k M) sum_j sum_i [ ||Y_j - X_i|| <= NND_k(X_i) ], with NND_k the distance to the k-th nearest other real patient.
    About 1 for real patients; near 0 far from the real ones; above 1 crowded where the real ones are densest.

    Args:
        k: neighbours; at most the number of real patients less one.

    Returns:
        value (NaN for a single real patient); table: real patient, radius, synthetic patients within it.

    Source: Naeem et al. 2020, ICML; distances as :func:`hg_helpers.metrics.distances.flatten`.
    """
    table, k, n = _neighbourhoods(real, synthetic, k)
    if table.attrs["note"]:
        return float("nan"), table
    return float(table["synthetic within"].sum() / (k * n)), table


@metric(best=1.0, scaled=True)
def prdc_coverage(
    real: CohortArrays, synthetic: CohortArrays, k: int = 5, neighbourhoods: pd.DataFrame | None = None
) -> Result:
    """Coverage: share of real patients with at least one synthetic patient in their neighbourhood.

    1/N sum_i [ exists j: ||Y_j - X_i|| <= NND_k(X_i) ]. Range 0 to 1, best 1; grows with the number of synthetic
    patients, so read it beside a floor of the same numbers. Arguments, table and source as :func:`prdc_density`, whose
    table may be passed as ``neighbourhoods`` to save time.
    """
    table = _neighbourhoods(real, synthetic, k)[0] if neighbourhoods is None else neighbourhoods
    if table.attrs["note"]:
        return float("nan"), table
    return float((table["synthetic within"] > 0).mean()), table


def _neighbourhoods(real: CohortArrays, synthetic: CohortArrays, k: int) -> tuple[pd.DataFrame, int, int]:
    table = pd.DataFrame({"patient": real.patients})
    if len(real) < 2:
        return with_note(table, "a single real patient has no neighbours"), k, len(synthetic)
    k = min(k, len(real) - 1)
    x, y = flatten(real), flatten(synthetic)
    table["radius"] = neighbours(x, x, k, same=True).distance[:, -1]
    within = np.empty(len(x), dtype=np.int64)
    squared = table["radius"].to_numpy() ** 2
    for rows, block in blocks(x, y):
        within[rows] = (block <= squared[rows, None] * (1 + 1e-9)).sum(axis=1)
    table["synthetic within"] = within
    return with_note(table), k, len(y)


@metric(best=1.0, limits=(0.0, float("inf")), scaled=True)
def patient_spread(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Spread of patient means, synthetic over real: sd_p(mean over months of x), on the encoded scale.

    0 where all synthetic patients are alike on average, as with noise that is new each month; best 1; above 1 too far
    apart.

    Returns:
        mean over real features; table: feature, real and synthetic sd, value, note. NaN with a note where there are
        fewer than two patients, or the real patients' means do not differ.
    """
    rows = []
    for i, feature in enumerate(real.schema.real):
        a, b = (c.scaled[:, :, i].mean(axis=1) for c in (real, synthetic))
        if min(len(a), len(b)) < 2:
            rows.append((feature.name, np.nan, np.nan, np.nan, "a single patient has no spread"))
        elif a.std(ddof=1) < 1e-9:
            rows.append((feature.name, a.std(ddof=1), b.std(ddof=1), np.nan, "real patients do not differ"))
        else:
            rows.append((feature.name, a.std(ddof=1), b.std(ddof=1), b.std(ddof=1) / a.std(ddof=1), ""))
    table = pd.DataFrame(rows, columns=["feature", "real", "synthetic", "value", "note"])
    return mean_defined(table["value"]), with_note(table, "" if rows else "the schema has no real feature")
