"""Answers to the exercises of notebook 6."""

import numpy as np
import pandas as pd
import torch

# --- a sweep ----------------------------------------------------------------------------------------------------------


def by_pandas(cell, reward, following, best, discount, cells):
    return pd.Series(reward + discount * best[following]).groupby(cell).mean().reindex(range(cells))


def by_loop(cell, reward, following, best, discount, cells):
    out = []
    for k in range(cells):
        total = [r + discount * best[f] for c, r, f in zip(cell, reward, following, strict=True) if c == k]
        out.append(sum(total) / len(total) if total else float("nan"))
    return out


def by_bincount(cell, reward, following, best, discount, cells):
    target = reward + discount * best[following]
    return np.bincount(cell, weights=target, minlength=cells) / np.bincount(cell, minlength=cells)


def by_mask(cell, reward, following, best, discount, cells):
    target = reward + discount * best[following]
    return np.array([target[cell == k].mean() for k in range(cells)])


def by_matrix(cell, reward, following, best, discount, cells):
    member = (cell[None] == np.arange(cells)[:, None]).astype(float)
    return member @ (reward + discount * best[following]) / member.sum(axis=1)


def by_torch(cell, reward, following, best, discount, cells):
    target = torch.tensor(reward + discount * best[following], dtype=torch.double)
    out = torch.zeros(cells, dtype=torch.double).index_add(0, torch.tensor(cell), target)
    return out / torch.bincount(torch.tensor(cell), minlength=cells)


def of(target):
    """A sweep whose targets are others."""
    return lambda c, r, f, b, d, n: [np.asarray(target(r, f, b, d))[c == k].mean() for k in range(n)]


SWEEP = (
    [by_pandas, by_loop, by_bincount, by_mask, by_matrix, by_torch],
    [
        (of(lambda r, f, b, d: r), "`following` makes no difference"),
        (of(lambda r, f, b, d: r + b[f]), "`discount` makes no difference"),
        (of(lambda r, f, b, d: d * (r + b[f])), "not discounted"),
        (of(lambda r, f, b, d: d * b[f]), "`reward` makes no difference"),
        (of(lambda r, f, b, d: r + d * b.max()), "`following` makes no difference"),
        (of(lambda r, f, b, d: r + d * b.mean()), "`following` makes no difference"),
        (of(lambda r, f, b, d: r - d * b[f]), "sign of `best`"),
        (of(lambda r, f, b, d: (1 - d) * r + d * b[f]), "fully"),
        (lambda c, r, f, b, d, n: [(r + d * b[f])[c == k].sum() for k in range(n)], "these are sums"),
        (lambda c, r, f, b, d, n: [(r + d * b[f])[c == k].max() for k in range(n)], "luckiest"),
        (lambda c, r, f, b, d, n: r + d * b[f], "average them by `cell`"),
        (lambda c, r, f, b, d, n: by_loop(c, r, f, b, d, n)[:-1], None),
        (lambda c, r, f, b, d, n: np.mean(r + d * b[f]), None),
        (lambda c, r, f, b, d, n: np.bincount(c, r + d * b[f]) / np.bincount(c), "for all `cells`"),
        (lambda c, r, f, b, d, n: pd.Series(r + d * b[f]).groupby(c).mean(), "for all `cells`"),
        (lambda c, r, f, b, d, n: np.nan_to_num(by_mask(c, r, f, b, d, n)), "NaN, not 0"),
        (of(lambda r, f, b, d: r + d * f), None),
    ],
)

# --- the batch constraint ---------------------------------------------------------------------------------------------


def masked(values, count, minimum):
    known = count >= minimum
    best = np.where(known, values, -np.inf).argmax(axis=1)
    return np.where(known.any(axis=1), best, -1)


def rows(values, count, minimum):
    out = []
    for v, c in zip(values, count, strict=True):
        allowed = [k for k in range(len(v)) if c[k] >= minimum]
        out.append(max(allowed, key=lambda k: v[k]) if allowed else -1)
    return out


def frames(values, count, minimum):
    table = pd.DataFrame(values).where(pd.DataFrame(count) >= minimum)
    best = [row.idxmax() if row.notna().any() else -1 for _, row in table.iterrows()]
    return pd.Series(best)


def nan(values, count, minimum):
    table = np.where(count >= minimum, values, np.nan)
    return [int(np.nanargmax(row)) if not np.isnan(row).all() else -1 for row in table]


def column(values, count, minimum):
    """An action more, -1, that is worth less than all others."""
    table = np.column_stack([np.full(len(values), -1e9), np.where(count >= minimum, values, -np.inf)])
    return table.argmax(axis=1) - 1


def tensors(values, count, minimum):
    v, known = torch.tensor(values, dtype=torch.double), torch.tensor(count >= minimum)
    best = v.masked_fill(~known, -torch.inf).argmax(dim=1)
    return torch.where(known.any(dim=1), best, torch.tensor(-1))


BEST = (
    [masked, rows, frames, nan, column, tensors],
    [
        (lambda v, c, m: v.argmax(axis=1), "unknown action won"),
        (lambda v, c, m: masked(v, c, m + 1), ">=, not >"),
        (lambda v, c, m: np.where(c >= m, v, -np.inf).argmax(axis=1), "Return -1"),
        (lambda v, c, m: np.where((c >= m).any(1), (v * (c >= m)).argmax(1), -1), "use -np.inf"),
        (lambda v, c, m: np.where((c >= m).any(axis=1), v.argmax(axis=1), -1), "an unknown action won"),
        (lambda v, c, m: c.argmax(axis=1), "commonest"),
        (lambda v, c, m: masked(-v, c, m), "worst known"),
        (lambda v, c, m: np.where(c >= m, v, -np.inf).max(axis=1), "the number of the action"),
        (lambda v, c, m: masked(v, -c, 1 - m), "left out"),
        (lambda v, c, m: masked(v * c, c, m), "weighted"),
        (lambda v, c, m: np.where(c >= m, v, -np.inf).argmax(axis=0), "axis=1"),
        (lambda v, c, m: masked(v, c, m) + 1, None),
        (lambda v, c, m: masked(np.abs(v), c, m), "sign of `values` is lost"),
        (lambda v, c, m: masked(v, c, 2), "`minimum` makes no difference"),
        (lambda v, c, m: np.where((c >= m).all(axis=1), masked(v, c, m), -1), "any, not all"),
        (lambda v, c, m: np.where((c >= m).any(axis=1), masked(v, c, m) + 1, -1), "numbered from 0"),
        (lambda v, c, m: [int(a[k].argmax()) if k.any() else -1 for a, k in zip(v, c >= m, strict=True)], "its place"),
        (lambda v, c, m: [a.argmax() if k[a.argmax()] else -1 for a, k in zip(v, c >= m, strict=True)], "best of all"),
        (lambda v, c, m: c >= m, None),
        (lambda v, c, m: -1, None),
    ],
)

# --- Kaplan-Meier -----------------------------------------------------------------------------------------------------


def product(months, reached, risk=lambda months, month: (months >= month).sum(), event=lambda r: r):
    waiting, out = 1.0, []
    for month in range(months.max() + 1):
        waiting *= 1 - (event(reached) & (months == month)).sum() / max(risk(months, month), 1)
        out.append(1 - waiting)
    return out


def cumulative(months, reached):
    at = np.arange(months.max() + 1)
    events = ((months[:, None] == at) & reached[:, None]).sum(axis=0)
    return 1 - np.cumprod(1 - events / (months[:, None] >= at).sum(axis=0))


def by_logs(months, reached):
    at = np.arange(months.max() + 1)
    hazard = np.array([(reached & (months == m)).sum() / (months >= m).sum() for m in at])
    with np.errstate(divide="ignore"):
        return 1 - np.exp(np.cumsum(np.log(1 - hazard)))


def by_value_counts(months, reached):
    at = range(months.max() + 1)
    events = pd.Series(months[reached]).value_counts().reindex(at, fill_value=0)
    leaving = pd.Series(months).value_counts().reindex(at, fill_value=0)
    risk = len(months) - leaving.cumsum().shift(fill_value=0)
    return (1 - (1 - events / risk).cumprod()).to_numpy()


def by_patients(months, reached):
    """One patient after the other; events come before those who are lost in the same month."""
    order = sorted(zip(months, ~reached, strict=True))
    waiting, left, curve = 1.0, len(months), {}
    for month, lost in order:
        if not lost:
            waiting *= 1 - 1 / left
        left -= 1
        curve[month] = waiting
    out, now = [], 1.0
    for month in range(months.max() + 1):
        now = curve.get(month, now)
        out.append(1 - now)
    return out


def km_torch(months, reached):
    at = torch.arange(int(months.max()) + 1)
    m, r = torch.tensor(months), torch.tensor(reached)
    events = ((m[:, None] == at) & r[:, None]).sum(0).double()
    return 1 - torch.cumprod(1 - events / (m[:, None] >= at).sum(0), 0)


def hazards(months, reached):
    return np.array([(reached & (months == m)).sum() / (months >= m).sum() for m in range(months.max() + 1)])


KAPLAN = (
    [product, cumulative, by_logs, by_value_counts, by_patients, km_torch],
    [
        (lambda m, r: [(r & (m <= k)).mean() for k in range(m.max() + 1)], "all patients are in the denominator"),
        (lambda m, r: [(r & (m <= k)).sum() / max(r.sum(), 1) for k in range(m.max() + 1)], "left out altogether"),
        (lambda m, r: product(m, r, lambda months, month: (months > month).sum()), "months >= month"),
        (lambda m, r: product(m, r, lambda months, month: len(months)), "never falls"),
        (lambda m, r: product(m, r, event=lambda reached: np.ones_like(reached)), "being lost is counted"),
        (lambda m, r: product(m, ~r), "wrong way round"),
        (
            lambda m, r: product(m, r, lambda months, month: ((months > month) | (months == month) & r).sum()),
            "waits in it",
        ),
        (lambda m, r: 1 - np.array(product(m, r)), "this is S"),
        (hazards, "hazards"),
        (lambda m, r: hazards(m, r).cumsum(), "hazards are added"),
        (lambda m, r: product(m, r)[-1], "only the last"),
        (lambda m, r: product(m, r)[1:], None),
        (lambda m, r: m[r], None),
        (lambda m, r: r.mean(), None),
    ],
)

# --- a gap ------------------------------------------------------------------------------------------------------------


def by_if(outcome, in_group):
    if in_group.sum() == 0 or (~in_group).sum() == 0:
        return float("nan")
    return outcome[~in_group].mean() - outcome[in_group].mean()


def by_groupby(outcome, in_group):
    means = pd.Series(outcome).groupby(in_group).mean().reindex([False, True])
    return means[False] - means[True]


def by_sums(outcome, in_group):
    inside = in_group.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (outcome * (1 - inside)).sum() / (1 - inside).sum() - (outcome * inside).sum() / inside.sum()


def by_lists(outcome, in_group):
    ours = [o for o, g in zip(outcome, in_group, strict=True) if g]
    others = [o for o, g in zip(outcome, in_group, strict=True) if not g]
    return sum(others) / len(others) - sum(ours) / len(ours) if ours and others else np.nan


def by_try(outcome, in_group):
    try:
        return outcome[~in_group].sum().item() / int((~in_group).sum()) - outcome[in_group].sum().item() / int(
            in_group.sum()
        )
    except ZeroDivisionError:
        return float("nan")


def gap_torch(outcome, in_group):
    o, g = torch.tensor(outcome), torch.tensor(in_group)
    return o[~g].mean() - o[g].mean()


def there(compute, otherwise=np.nan):
    """`compute` where both sides have somebody."""
    return lambda o, g: compute(o, g) if 0 < g.sum() < len(g) else otherwise


GAP = (
    [by_if, by_groupby, by_sums, by_lists, by_try, gap_torch],
    [
        (there(by_if, 0.0), "undefined, np.nan"),
        (lambda o, g: -by_if(o, g), "the other way round"),
        (lambda o, g: abs(by_if(o, g)), "who is behind"),
        (there(lambda o, g: o.mean() - o[g].mean()), "itself included"),
        (there(lambda o, g: np.median(o[~g]) - np.median(o[g])), "not medians"),
        (there(lambda o, g: o[~g].mean() / o[g].mean()), "ratio"),
        (lambda o, g: o[~g].sum() - o[g].sum(), "sums"),
        (there(lambda o, g: (o * ~g).mean() - (o * g).mean()), "by all patients"),
        (
            there(lambda o, g: abs(by_if(o, g)), 0.0),
            "undefined, np.nan.\n  given      outcome = [0.9, 0.8, 0.2, 1], in_group = [0, 0",
        ),
        (there(by_if, None), "returns None"),
        (there(by_if, -1), "NaN says so"),
        (there(by_if, np.inf), "NaN says so"),
        (lambda o, g: (o[~g].mean() if (~g).any() else np.nan) - (o[g].mean() if g.any() else 0), "others' mean"),
        (lambda o, g: g.mean(), "`outcome` makes no difference"),
        (lambda o, g: o[g].mean() if g.any() else np.nan, "how far is it behind"),
        (lambda o, g: o.mean(), None),
        (lambda o, g: np.nan, None),
        (lambda o, g: o - g, None),
    ],
)

ANSWERS = {"sweep": SWEEP, "best_known": BEST, "kaplan_meier": KAPLAN, "gap": GAP}
