"""Visits: how many a patient has, how far apart, and what is measured at them.

In the report where one of the tables has courses of unequal length, times of their own, or gaps.

>>> import pandas as pd, hg_helpers as hg
>>> schema = hg.Schema([hg.Feature("lab", "real")], patient="id", time="visit", missing="measured")
>>> real = pd.DataFrame({"id": [1, 1, 2, 2], "visit": [0, 1, 0, 1], "lab": [1.0, None, 2.0, 3.0]})
>>> hg.metrics.gap_shares(real, real.assign(lab=2.0), schema)[0]
0.25
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from ..cohort.arrays import CohortArrays
from .metric import NAN, Result, gap, mean_defined, metric, undefined, with_note

_COLUMNS = ["feature", "real", "synthetic", "value"]


@metric(best=0.0)
def length_ks(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Kolmogorov-Smirnov statistic of the courses' lengths; table: visits, real and synthetic share of patients."""
    lengths = [c.there.sum(axis=1) for c in (real, synthetic)]
    shares = [np.bincount(n, minlength=real.months + 1)[1:] / len(n) for n in lengths]
    table = pd.DataFrame({"visits": np.arange(1, real.months + 1), "real": shares[0], "synthetic": shares[1]})
    return float(stats.ks_2samp(*lengths, method="asymp").statistic), with_note(table)


@metric(best=0.0)
def step_ks(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Kolmogorov-Smirnov statistic of the times between a visit and the next; table: quartiles of both."""
    columns = ["quantile", "real", "synthetic"]
    if real.times is None:
        return undefined("the visits have no times of their own", *columns)
    steps = [np.diff(c.times, axis=1)[c.there[:, 1:]] for c in (real, synthetic)]
    if not all(map(len, steps)):
        return undefined("nobody has a second visit in one of the cohorts", *columns)
    at = (0.25, 0.5, 0.75)
    table = pd.DataFrame(zip(at, *(np.quantile(s, at) for s in steps), strict=True), columns=columns)
    return float(stats.ks_2samp(*steps, method="asymp").statistic), with_note(table)


@metric(best=0.0)
def gap_shares(real: CohortArrays, synthetic: CohortArrays) -> Result:
    """Difference of the shares of visits at which a feature is not known; the largest over features."""
    rows = []
    for name in real.schema.names:
        shares = [1 - c.known(name).sum() / c.there.sum() for c in (real, synthetic)]
        rows.append((name, *shares, abs(shares[0] - shares[1])))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return float(table["value"].max()), with_note(table)


@metric(best=0.0)
def gap_clustering(real: CohortArrays, synthetic: CohortArrays, fewest: int = 20) -> Result:
    """Difference of the shares of gaps that a gap follows at the next visit; mean over features.

    NaN where real patients have fewer than ``fewest`` gaps before their last visit; 1 where synthetic ones have none.
    """
    rows = []
    for name in real.schema.names:
        shares, gaps = [], []
        for cohort in (real, synthetic):
            missing = cohort.there & ~cohort.known(name)
            before = missing[:, :-1] & cohort.there[:, 1:]
            gaps.append(before.sum())
            shares.append((before & missing[:, 1:]).sum() / gaps[-1] if gaps[-1] else NAN)
        few = gaps[0] < fewest
        note = f"real patients have {gaps[0]} gaps before their last visit, fewer than {fewest}" if few else ""
        rows.append((name, *shares, NAN if few else float(gap(*shares)), note))
    table = pd.DataFrame(rows, columns=[*_COLUMNS, "note"])
    value = mean_defined(table["value"])
    return value, with_note(table, f"no feature has {fewest} gaps before a last visit" if np.isnan(value) else "")


def gappy(*cohorts: CohortArrays) -> list[str]:
    """Features with a gap in one of the cohorts."""
    return [f.name for f in cohorts[0].schema if any((c.there & ~c.known(f.name)).any() for c in cohorts)]
