"""Answers to the exercises of notebook 5."""

import bisect
import random
import statistics

import numpy as np
import pandas as pd
import torch
from scipy import stats

# --- the floor --------------------------------------------------------------------------------------------------------


def floor(cohort, metric, patients, seed):
    ids = np.random.default_rng(seed).permutation(cohort["PatientID"].unique())
    parts = ids[:patients], ids[patients : 2 * patients]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


def floor_by_choice(cohort, metric, patients, seed):
    rng = np.random.default_rng(seed)
    ids = rng.choice(cohort["PatientID"].unique(), size=2 * patients, replace=False)
    first = cohort.loc[cohort.PatientID.isin(ids[:patients])].reset_index(drop=True)
    second = cohort.loc[cohort.PatientID.isin(ids[patients:])].reset_index(drop=True)
    return metric(first, second)


def floor_by_shuffle(cohort, metric, patients, seed):
    ids = list(set(cohort["PatientID"]))
    np.random.default_rng(seed).shuffle(ids)
    groups = dict(list(cohort.groupby("PatientID")))
    first = pd.concat([groups[i] for i in ids[:patients]])
    second = pd.concat([groups[i] for i in ids[-patients:]])
    return float(metric(second, first))


def floor_in_two_draws(cohort, metric, patients, seed):
    rng = np.random.default_rng(seed)
    ids = cohort["PatientID"].unique()
    some = rng.choice(ids, patients, replace=False)
    others = rng.choice(np.setdiff1d(ids, some), patients, replace=False)
    return metric(*(cohort.query("PatientID in @part", local_dict={"part": part}) for part in (some, others)))


def floor_by_merge(cohort, metric, patients, seed):
    ids = pd.Series(cohort["PatientID"].unique()).sample(2 * patients, random_state=seed)
    keys = [pd.DataFrame({"PatientID": part}) for part in (ids[:patients], ids[patients:])]
    return np.array([metric(*(cohort.merge(key, on="PatientID") for key in keys))])


def floor_with(second=None, seeded=True, ids=None):
    def answer(cohort, metric, patients, seed):
        known = cohort["PatientID"].unique() if ids is None else ids(cohort, patients)
        order = np.random.default_rng(seed if seeded else 0).permutation(known)
        a, b = order[:patients], order[patients : 2 * patients]
        b = second(order, patients) if second else b
        return metric(cohort[cohort["PatientID"].isin(a)], cohort[cohort["PatientID"].isin(b)])

    return answer


def floor_of_rows(cohort, metric, patients, seed):
    order = cohort.sample(frac=1, random_state=seed)
    return metric(order.iloc[: len(order) // 2], order.iloc[len(order) // 2 :])


def floor_overlapping(cohort, metric, patients, seed):
    rng = np.random.default_rng(seed)
    ids = cohort["PatientID"].unique()
    first, second = (rng.choice(ids, patients, replace=False) for _ in range(2))
    return metric(cohort[cohort["PatientID"].isin(first)], cohort[cohort["PatientID"].isin(second)])


def floor_with_replacement(cohort, metric, patients, seed):
    ids = np.random.default_rng(seed).choice(cohort["PatientID"].unique(), 2 * patients)
    return metric(cohort[cohort["PatientID"].isin(ids[:patients])], cohort[cohort["PatientID"].isin(ids[patients:])])


def floor_seeding_all(cohort, metric, patients, seed):
    np.random.seed(seed)
    ids = np.random.permutation(cohort["PatientID"].unique())
    parts = ids[:patients], ids[patients : 2 * patients]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


def floor_of_first_months(cohort, metric, patients, seed):
    return floor(cohort[cohort["Timestep"] == 0], metric, patients, seed)


def floor_lower_half(cohort, metric, patients, seed):
    ids = np.sort(np.random.default_rng(seed).choice(cohort["PatientID"].unique(), 2 * patients, replace=False))
    parts = ids[:patients], ids[patients:]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


def floor_in_place(cohort, metric, patients, seed):
    cohort.drop(columns="VL", inplace=True)
    return floor(cohort, metric, patients, seed)


def floor_unseeded(cohort, metric, patients, seed):
    ids = cohort["PatientID"].unique().tolist()
    random.shuffle(ids)
    parts = ids[:patients], ids[patients : 2 * patients]
    return metric(*(cohort[cohort["PatientID"].isin(part)] for part in parts))


FLOOR = (
    [floor, floor_by_choice, floor_by_shuffle, floor_in_two_draws, floor_by_merge],
    [
        (floor_with(lambda order, n: order[:n]), "themselves"),
        (floor_with(lambda order, n: order[n:]), None),
        (floor_with(seeded=False), "each seed"),
        (floor_with(ids=lambda cohort, n: np.arange(2 * n)), "ids from the cohort"),
        (floor_with(ids=lambda cohort, n: cohort["PatientID"]), None),
        (floor_of_rows, "rows were drawn"),
        (floor_overlapping, "themselves"),
        (floor_with_replacement, None),
        (floor_seeding_all, "global"),
        (floor_unseeded, "same seed"),
        (floor_of_first_months, "lost months"),
        (floor_lower_half, "oftener"),
        (floor_in_place, "in place"),
        (lambda c, m, n, s: floor(c, m, n, s) + 1, "what `metric` says"),
        (lambda c, m, n, s: 0.125, "never called"),
        (lambda c, m, n, s: floor(c[["PatientID", "VL"]], m, n, s), "all its columns"),
        (lambda c, m, n, s: m(c, c), None),
        (lambda c, m, n, s: floor(c, m, n // 2, s), None),
        (lambda c, m, n, s: floor(c, lambda a, b: m(a["VL"], b["VL"]), n, s), "tables"),
        (lambda c, m, n, s: (c[c["PatientID"] < n], c[c["PatientID"] >= n]), "never called"),
        (lambda c, m, n, s: m(c[c["PatientID"] < n], c[(c["PatientID"] >= n) & (c["PatientID"] < 2 * n)]), None),
    ],
)

# --- KS ---------------------------------------------------------------------------------------------------------------


def ks(a, b):
    at = np.concatenate([a, b])
    return np.abs((a[:, None] <= at).mean(0) - (b[:, None] <= at).mean(0)).max()


def ks_by_loop(first, second):
    widest = 0
    for value in [*first, *second]:
        one = sum(v <= value for v in first) / len(first)
        two = sum(v <= value for v in second) / len(second)
        widest = max(widest, abs(one - two))
    return widest


def ks_by_bisect(a, b):
    a, b = sorted(a), sorted(b)
    return max(abs(bisect.bisect(a, v) / len(a) - bisect.bisect(b, v) / len(b)) for v in a + b)


def ks_with(at=lambda a, b: np.r_[a, b], finish=lambda gap: np.abs(gap).max()):
    def answer(a, b):
        points = at(a, b)
        return finish((a[:, None] <= points).mean(0) - (b[:, None] <= points).mean(0))

    return answer


def ks_sorting(a, b):
    a.sort()
    b.sort()
    return ks(a, b)


KS = (
    [
        ks,
        ks_by_loop,
        ks_by_bisect,
        lambda a, b: stats.ks_2samp(a, b).statistic,
        lambda a, b: torch.tensor([ks(a, b)]),
        lambda a, b: max(
            abs(np.searchsorted(np.sort(a), v, "right") / a.size - np.searchsorted(np.sort(b), v, "right") / b.size)
            for v in np.union1d(a, b)
        ),
        ks_with(finish=lambda gap: max(gap.max(), -gap.min())),
        lambda a, b: np.ptp([0, *(np.sort([ks(a, b)]))]),
    ],
    [
        (ks_with(finish=np.max), "sign"),
        (ks_with(finish=lambda gap: -gap.min()), "sign"),
        (ks_with(finish=lambda gap: np.abs(gap).mean()), "mean gap"),
        (ks_with(finish=lambda gap: np.abs(gap).sum()), "sum"),
        (ks_with(finish=np.abs), "all gaps"),
        (ks_with(at=lambda a, b: a), "first sample"),
        (ks_with(at=lambda a, b: b), "second sample"),
        (ks_with(at=lambda a, b: np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 20)), "grid"),
        (ks_with(at=lambda a, b: np.linspace(a.min(), a.max(), 100)), None),
        (lambda a, b: stats.ks_2samp(a, b), "statistic alone"),
        (lambda a, b: stats.ks_2samp(a, b).pvalue, "p-value"),
        (lambda a, b: abs(a.mean() - b.mean()), "means"),
        (lambda a, b: abs(np.median(a) - np.median(b)), "medians"),
        (lambda a, b: np.abs(np.sort(a) - np.sort(b)).max(), None),
        (lambda a, b: np.abs((a[:, None] <= np.r_[a, b]).sum(0) - (b[:, None] <= np.r_[a, b]).sum(0)).max(), "counts"),
        (lambda a, b: ((a[:, None] <= b).mean(0)).max(), None),
        (lambda a, b: 0.4, "same answer"),
        (lambda a, b: 1 - ks(a, b), "1 minus"),
        (lambda a, b: 100 * ks(a, b), "100"),
        (lambda a, b: np.r_[a, b][ks_with(finish=lambda gap: np.abs(gap).argmax())(a, b)], "how wide"),
        (ks_with(finish=np.ptp), "both directions"),
        (lambda a, b: np.abs([sum(a <= x) - sum(b <= x) for x in np.r_[a, b]]).max() / len(a), "length of one"),
        (ks_sorting, "in place"),
        (lambda a, b: round(ks(a, b), 1), "rounded"),
        (lambda a, b: np.abs((a[:, None] < np.r_[a, b]).mean(0) - (b[:, None] <= np.r_[a, b]).mean(0)).max(), None),
        (lambda a, b: stats.wasserstein_distance(a, b), "area"),
    ],
)

# --- the mean of correlations -----------------------------------------------------------------------------------------


def fisher(r):
    return np.tanh(np.arctanh(r[~np.isnan(r)]).mean())


def fisher_by_loop(r):
    kept = []
    for value in r:
        if value == value:
            kept.append(0.5 * np.log((1 + value) / (1 - value)))
    z = sum(kept) / len(kept)
    return (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)


def fisher_in_place(r):
    r[np.isnan(r)] = 0
    return np.tanh(np.arctanh(r).mean())


def fisher_right_in_place(r):
    value = fisher(r)
    r[:] = np.arctanh(r)
    return value


CORRELATION = (
    [
        fisher,
        fisher_by_loop,
        lambda r: np.tanh(np.nanmean(np.arctanh(r))),
        lambda r: torch.tensor(r).atanh().nanmean().tanh(),
        lambda r: float(np.tanh(pd.Series(np.arctanh(r)).mean())),
        lambda r: np.tanh(statistics.mean(np.arctanh(v) for v in r.tolist() if not np.isnan(v))),
        lambda r: np.tanh(np.nansum(np.arctanh(r)) / np.isfinite(r).sum()),
    ],
    [
        (np.nanmean, "correlations themselves"),
        (np.mean, "NaN"),
        (lambda r: np.nanmean(np.arctanh(r)), "tanh"),
        (lambda r: np.tanh(np.arctanh(r).mean()), "NaN"),
        (lambda r: np.tanh(np.nan_to_num(np.arctanh(r)).mean()), "not zero"),
        (lambda r: np.tanh(np.nansum(np.arctanh(r)) / len(r)), "not zero"),
        (lambda r: np.tanh(np.nansum(np.arctanh(r))), "sum"),
        (lambda r: np.tanh(np.nanmedian(np.arctanh(r))), "median"),
        (lambda r: np.arctanh(np.nanmean(np.tanh(r))), "changed places"),
        (lambda r: np.tanh(np.arctanh(r[~np.isnan(r)])), "mean is missing"),
        (lambda r: np.tanh(np.arctanh(np.nanmean(r))), "correlations themselves"),
        (lambda r: np.tan(np.nanmean(np.arctan(r))), "arctan"),
        (fisher_in_place, "in place"),
        (fisher_right_in_place, "in place"),
        (lambda r: fisher(np.abs(r)), "sign"),
        (lambda r: -fisher(r), "sign"),
        (lambda r: fisher(r[r > 0]), "negative correlations"),
        (lambda r: fisher(np.abs(r[r != 0])), None),
        (lambda r: np.tanh(np.arctanh(r[np.isnan(r)]).mean()), "wrong way round"),
        (lambda r: fisher(r[r != 0]), "true zeros"),
        (lambda r: 0.6358, "same answer"),
        (lambda r: np.tanh(np.arctanh(r[r != np.nan]).mean()), "NaN"),
        (lambda r: round(fisher(r), 2), "rounded"),
        (lambda r: fisher(r.astype(np.float16)), "0.30005"),
        (lambda r: fisher(r) ** 2, "squares"),
    ],
)

# --- coverage ---------------------------------------------------------------------------------------------------------


def covered(r, s):
    kept = r >= 0.005
    return np.mean(s[kept] >= 0.25 * r[kept])


def covered_by_loop(real, synthetic):
    groups = found = 0
    for r, s in zip(real, synthetic, strict=True):
        if r < 0.005:
            continue
        groups += 1
        if s / r >= 0.25:
            found += 1
    return found / groups


def covered_with(enough=lambda r, s: s >= 0.25 * r, counted=lambda r, s: r >= 0.005, finish=np.mean):
    return lambda r, s: finish(enough(r[counted(r, s)], s[counted(r, s)]))


COVERAGE = (
    [
        covered,
        covered_by_loop,
        lambda r, s: pd.DataFrame({"r": r, "s": s}).query("r >= 0.005").eval("s >= 0.25 * r").mean(),
        lambda r, s: ((r >= 0.005) & (4 * s >= r)).sum() / (r >= 0.005).sum(),
        lambda r, s: torch.tensor(s[r >= 0.005] >= r[r >= 0.005] / 4).float().mean(),
        lambda r, s: (
            sum(b >= a * 0.25 for a, b in zip(r, s, strict=True) if a >= 0.005) / len([a for a in r if a >= 0.005])
        ),
        lambda r, s: np.average(s >= 0.25 * r, weights=r >= 0.005),
    ],
    [
        (covered_with(lambda r, s: s > 0), "anybody"),
        (covered_with(counted=lambda r, s: r >= 0), "0.5 %"),
        (covered_with(lambda r, s: s > 0.25 * r), ">="),
        (covered_with(counted=lambda r, s: r > 0.005), ">="),
        (covered_with(lambda r, s: s >= 0.25), "share of months"),
        (covered_with(lambda r, s: r >= 0.25 * s), "wrong way round"),
        (covered_with(lambda r, s: s >= r), "quarter"),
        (covered_with(counted=lambda r, s: r >= 0.05), "half a percent"),
        (covered_with(counted=lambda r, s: s >= 0.005), "real share"),
        (covered_with(finish=np.sum), "number of groups"),
        (covered_with(finish=lambda c: c), "mean"),
        (covered_with(finish=lambda c: 100 * np.mean(c)), "100 times"),
        (covered_with(lambda r, s: s < 0.25 * r), "1 minus"),
        (lambda r, s: (r * (s >= 0.25 * r))[r >= 0.005].sum(), "weighted"),
        (lambda r, s: ((r >= 0.005) & (s >= 0.25 * r)).mean(), "all groups"),
        (lambda r, s: np.minimum(r, s).sum(), "overlap"),
        (lambda r, s: 0.5, "same answer"),
        (lambda r, s: covered(s, r), "changed places"),
        (
            covered_with(lambda r, s: s > 0.25 * r, lambda r, s: r > 0.005),
            ">=, not >.\n  given      real_shares = [0.5, 0.25,",
        ),
        (covered_with(counted=lambda r, s: r >= 0.5), "0.5 is 50 %"),
        (covered_with(counted=lambda r, s: r >= 0.01), "0.01 is 1 %"),
        (lambda r, s: covered(r.round(2), s.round(2)), "right for"),
        (lambda r, s: r[(r >= 0.005) & (s >= 0.25 * r)].sum() / r[r >= 0.005].sum(), "weighted"),
        (lambda r, s: int(covered(r, s)), "whole numbers"),
        (lambda r, s: covered_with(lambda r, s: abs(r - s) <= 0.25 * r)(r, s), "more than"),
        (lambda r, s: covered(r, s.round(2)), None),
        (lambda r, s: s[r >= 0.005] >= 0.25 * r, "ValueError"),
    ],
)

# --- who is who -------------------------------------------------------------------------------------------------------

WHO = {"A": "single mode", "B": "real", "C": "shuffled", "D": "copies"}
SUSPECTS = (
    [
        WHO,
        dict(reversed(WHO.items())),
        dict(zip("ABCD", ["single mode", "real", "shuffled", "copies"], strict=True)),
        dict(A="single mode", B="real", C="shuffled", D="copies"),
        {**WHO},
    ],
    [
        ({**WHO, "B": "copies", "D": "real"}, "copied"),
        ({**WHO, "A": "shuffled", "C": "single mode"}, "2 of 4 are right. Look at A"),
        ({**WHO, "C": "real"}, "Look at C"),
        ({**WHO, "C": "honest"}, "none of"),
        (dict.fromkeys("ABCD", "real"), "one of each"),
        (dict.fromkeys("ABCD", ...), "replace the `...`"),
        ({"A": "single mode"}, "keys"),
        (list(WHO.values()), "dictionary"),
        ("single mode", "dictionary"),
        ({v: k for k, v in WHO.items()}, "keys"),
        ({**WHO, "D": None}, "replace the `...`"),
        ({**WHO, "A": "Single mode"}, "none of"),
        ({**WHO, "A": 1}, "none of"),
        (7, "dictionary"),
        (lambda: WHO, "function"),
    ],
)

ANSWERS = {
    "floor": FLOOR,
    "ks": KS,
    "mean_correlation": CORRELATION,
    "coverage": COVERAGE,
    "suspects": SUSPECTS,
}
