"""Answers to the exercises of notebook 1."""

import itertools
import math

import numpy as np
import pandas as pd
import torch
from scipy import special, stats

# --- switches ---------------------------------------------------------------------------------------------------------


def by_shift(table, columns):
    before = table.groupby("PatientID")[columns].shift()
    changed = table[columns].ne(before).any(axis=1) & before.notna().all(axis=1)
    return changed.groupby(table["PatientID"]).sum()


def by_loop(table, columns):
    answer = []
    for patient in sorted(table["PatientID"].unique()):
        rows = table.loc[table["PatientID"] == patient, columns].values.tolist()
        count = 0
        for i in range(1, len(rows)):
            if rows[i] != rows[i - 1]:
                count += 1
        answer.append(count)
    return answer


def by_diff(table, columns):
    moved = table.groupby("PatientID")[columns].diff().fillna(0).ne(0).any(axis=1)
    return moved.groupby(table["PatientID"]).sum().tolist()


def by_numpy(table, columns):
    out = []
    for _, part in table.groupby("PatientID"):
        codes = part[columns].to_numpy()
        out.append((np.diff(codes, axis=0) != 0).any(axis=1).sum())
    return np.array(out)


def by_apply(table, columns):
    def count(part):
        return int((part != part.shift()).iloc[1:].any(axis=1).sum())

    return table.groupby("PatientID")[columns].apply(count)


def by_tuples(table, columns):
    regimen = list(zip(*(table[c] for c in columns), strict=True))
    frame = pd.DataFrame({"p": table["PatientID"], "r": pd.factorize(pd.Series(regimen))[0]})
    first = ~frame["p"].duplicated()
    frame["s"] = (frame["r"] != frame["r"].shift()) & ~first
    return tuple(frame.groupby("p")["s"].sum())


def by_torch(table, columns):
    return [
        (torch.tensor(part.values)[1:] != torch.tensor(part.values)[:-1]).any(1).sum()
        for _, part in table.groupby("PatientID")[columns]
    ]


def by_groups_of_equals(table, columns):
    return [
        len(list(itertools.groupby(map(tuple, part.values)))) - 1 for _, part in table.groupby("PatientID")[columns]
    ]


def across_patients(table, columns):
    before = table[columns].shift()
    changed = table[columns].ne(before).any(axis=1) & before.notna().all(axis=1)
    return changed.groupby(table["PatientID"]).sum().tolist()


def first_month_counts(table, columns):
    changed = table[columns].ne(table.groupby("PatientID")[columns].shift()).any(axis=1)
    return changed.groupby(table["PatientID"]).sum().tolist()


def column_by_column(table, columns):
    before = table.groupby("PatientID")[columns].shift()
    return (table[columns].ne(before) & before.notna()).sum(axis=1).groupby(table["PatientID"]).sum()


def adds_a_column(table, columns):
    table["changed"] = (table.groupby("PatientID")[columns].diff().fillna(0) != 0).any(axis=1)
    return table.groupby("PatientID")["changed"].sum().tolist()


def returns_in_the_loop(table, columns):
    for _, part in table.groupby("PatientID"):
        answer = [len(part) - 1]
        return answer


def counts_neighbours_in_pairs(table, columns):
    return [int((np.abs(np.diff(p.values, axis=0)) > 1).any(1).sum()) for _, p in table.groupby("PatientID")[columns]]


SWITCHES = (
    [by_shift, by_loop, by_diff, by_numpy, by_apply, by_tuples, by_torch, by_groups_of_equals],
    [
        (across_patients, "patient before"),
        (first_month_counts, "first month"),
        (lambda t, c: [len(p.drop_duplicates()) - 1 for _, p in t.groupby("PatientID")[c]], "distinct"),
        (lambda t, c: t.groupby("PatientID")[c].nunique().sum(axis=1).tolist(), None),
        (column_by_column, "one by one"),
        (lambda t, c: by_shift(t, c[:1]), "first column"),
        (lambda t, c: by_shift(t, c).sum(), "one number"),
        (lambda t, c: [1, 1, 0], "same answer"),
        (lambda t, c: by_shift(t, c).to_dict(), "dict"),
        (lambda t, c: (by_shift(t, c) > 0).tolist(), "how often"),
        (lambda t, c: by_shift(t, c) / t["Timestep"].nunique(), None),
        (lambda t, c: by_shift(t, ["Base Drug Combo", "Extra pk-En"]), "`columns`"),
        (adds_a_column, "in place"),
        (returns_in_the_loop, None),
        (lambda t, c: sorted(by_shift(t, c)), "sorted"),
        (lambda t, c: str(by_shift(t, c).tolist()), "text"),
        (lambda t, c: by_shift(t, c).reset_index(), None),
        (counts_neighbours_in_pairs, None),
        (lambda t, c: by_shift(t, c).tolist()[::-1], "reverse"),
        (lambda t, c: -by_shift(t, c), "sign"),
    ],
)

# --- Box-Cox ----------------------------------------------------------------------------------------------------------


def loop_box_cox(x, lam):
    result = []
    for value in x:
        result.append(math.log(value) if lam == 0 else (value**lam - 1) / lam)
    return result


def close_to_zero(x, lam):
    if abs(lam) < 1e-8:
        return np.log(x)
    return (np.power(x, lam) - 1.0) / lam


def changes_x(x, lam):
    x **= lam
    x -= 1
    x /= lam
    return x


def changes_x_rightly(x, lam):
    y = np.log(x) if lam == 0 else (x**lam - 1) / lam
    x[:] = 0
    return y


def one_branch(x, lam):
    if lam != 0:
        return (x**lam - 1) / lam


def box_cox(x, lam):
    return np.log(x) if lam == 0 else (x**lam - 1) / lam


BOX_COX = (
    [
        box_cox,
        special.boxcox,
        lambda x, lam: stats.boxcox(x, lmbda=lam),
        loop_box_cox,
        close_to_zero,
        lambda x, lam: (torch.tensor(x).pow(lam) - 1) / lam if lam else torch.tensor(x).log(),
        lambda x, lam: np.expm1(lam * np.log(x)) / lam if lam else np.log(x),
        lambda x, lam: pd.Series(x).map(lambda v: (v**lam - 1) / lam if lam else math.log(v)),
        lambda x, lam: np.array([box_cox(v, lam) for v in x], dtype=np.float32),
    ],
    [
        (lambda x, lam: x**lam, "subtract 1"),
        (lambda x, lam: x**lam - 1 if lam else np.log(x), "division"),
        (lambda x, lam: x**lam / lam if lam else np.log(x), "minus 1"),
        (lambda x, lam: (x**lam - 1) / lam, "natural logarithm"),
        (lambda x, lam: [(v**lam - 1) / lam for v in x.tolist()], "natural logarithm"),
        (lambda x, lam: np.log10(x) if lam == 0 else box_cox(x, lam), "base 10"),
        (lambda x, lam: np.log(x), "logarithm"),
        (lambda x, lam: (1 - x**lam) / lam if lam else np.log(x), "sign"),
        (lambda x, lam: x**lam - 1 / lam if lam else np.log(x), "brackets"),
        (lambda x, lam: (lam**x - 1) / lam if lam else np.log(x), "changed places"),
        (changes_x, "in place"),
        (changes_x_rightly, "in place"),
        (one_branch, "return"),
        (lambda x, lam: np.array([18.0, 198.0]), "same answer"),
        (lambda x, lam: box_cox(x, lam).mean(), "averaged"),
        (lambda x, lam: box_cox(x, lam)[0], None),
        (lambda x, lam: (x**lam - 1) // lam if lam else np.log(x), "//"),
        (lambda x, lam: box_cox(x, lam).round(2), "rounded"),
        (lambda x, lam: (x ** int(lam) - 1) / lam if lam else np.log(x), None),
        (lambda x, lam: box_cox(x, 0.5), None),
        (lambda x, lam: box_cox(x + 0.001, lam), "0.001 is added"),
        (lambda x, lam: np.log(x) if abs(lam) < 0.01 else box_cox(x, lam), "every small lambda"),
        (lambda x, lam: (lam * x + 2) ** (1 / lam) if lam else np.exp(x), "not the values"),
        (lambda x, lam: box_cox(x + 0.002, lam), "inputs, not for"),
        (lambda x, lam: box_cox(x, lam) * 0, "zeros"),
        (lambda x, lam: math.log(x) if lam == 0 else (x**lam - 1) / lam, "TypeError"),
        (lambda x, lam: np.log(x) if x == 0 else (x**lam - 1) / lam, "ValueError"),
        (lambda x: np.log(x), "takes (x)"),
    ],
)

# --- the likelihood ---------------------------------------------------------------------------------------------------


def likelihood(x, lam):
    return -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).sum()


def by_density(x, lam):
    y = box_cox(x, lam)
    v = y.var()
    total = stats.norm.logpdf(y, y.mean(), math.sqrt(v)).sum() + ((lam - 1) * np.log(x)).sum()
    return total + len(x) / 2 * (math.log(2 * math.pi) + 1)


def by_hand(x, lam):
    y, n = loop_box_cox(x, lam), len(x)
    mean = sum(y) / n
    variance = sum((v - mean) ** 2 for v in y) / n
    return -n / 2 * math.log(variance) + (lam - 1) * sum(math.log(v) for v in x)


LIKELIHOOD = (
    [
        likelihood,
        by_hand,
        by_density,
        lambda x, lam: stats.boxcox_llf(lam, x),
        lambda x, lam: torch.tensor(likelihood(x, lam)),
        lambda x, lam: (lam - 1) * np.einsum("i->", np.log(x)) - x.size * np.log(np.std(box_cox(x, lam))),
        lambda x, lam: np.array([likelihood(x, lam)]),
        lambda x, lam: np.log(x ** (lam - 1)).sum() - 0.5 * x.shape[0] * np.log(pd.Series(box_cox(x, lam)).var(ddof=0)),
    ],
    [
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()), "slope term"),
        (lambda x, lam: -likelihood(x, lam), "sign"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(np.prod(x)), "infinite"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var(ddof=1)) + (lam - 1) * np.log(x).sum(), "n - 1"),
        (
            lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).std()) + (lam - 1) * np.log(x).sum(),
            "standard deviation",
        ),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * x.sum(), "logarithms"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + lam * np.log(x).sum(), "lam - 1"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) - (lam - 1) * np.log(x).sum(), "sign"),
        (lambda x, lam: len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).sum(), "minus"),
        (lambda x, lam: -len(x) * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).sum(), "half"),
        (lambda x, lam: -0.5 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).sum(), "times n"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).mean(), "not a mean"),
        (lambda x, lam: -len(x) / 2 * np.log(x.var()) + (lam - 1) * np.log(x).sum(), "transform x"),
        (lambda x, lam: -len(x) / 2 * box_cox(x, lam).var() + (lam - 1) * np.log(x).sum(), "logarithm of the variance"),
        (lambda x, lam: likelihood(x, lam) / len(x), "n"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x), "shape"),
        (lambda x, lam: -len(x) // 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).sum(), None),
        (lambda x, lam: -27.3, "same answer"),
        (lambda x, lam: -len(x) / 2 * np.log(box_cox(x, 0.5).var()) + (lam - 1) * np.log(x).sum(), None),
        (lambda x, lam: int(likelihood(x, lam)), "int()"),
        (lambda x, lam: my_box_cox(x, lam), "NameError"),  # noqa: F821
    ],
)

# --- scale ------------------------------------------------------------------------------------------------------------


def clip_by_mask(train_values, new_values):
    y = (new_values - train_values.min()) / (train_values.max() - train_values.min())
    y[y < 0] = 0
    y[y > 1] = 1
    return y


def clip_input_first(train, new):
    low, high = np.min(train), np.max(train)
    return [(min(max(v, low), high) - low) / (high - low) for v in new]


def clips_in_place(train, new):
    np.clip(new, train.min(), train.max(), out=new)
    return (new - train.min()) / np.ptp(train)


def scale(train, new):
    return np.clip((new - train.min()) / (train.max() - train.min()), 0, 1)


def by_sklearn(train, new):
    from sklearn.preprocessing import MinMaxScaler

    return MinMaxScaler(clip=True).fit(train[:, None]).transform(new[:, None])[:, 0]


SCALE = (
    [
        scale,
        clip_by_mask,
        clip_input_first,
        lambda a, b: np.interp(b, [a.min(), a.max()], [0, 1]),
        lambda a, b: ((torch.tensor(b) - a.min()) / np.ptp(a)).clamp(0, 1),
        lambda a, b: pd.Series(b).sub(a.min()).div(a.max() - a.min()).clip(0, 1),
        lambda a, b: np.maximum(0, np.minimum(1, (b - sorted(a)[0]) / (sorted(a)[-1] - sorted(a)[0]))),
        by_sklearn,
    ],
    [
        (lambda a, b: scale(b, b), "new values"),
        (lambda a, b: (scale(a, a), scale(a, b)), "more comes back"),
        (lambda a, b: (b - a.min()) / (a.max() - a.min()), "clipped"),
        (lambda a, b: (b - a.mean()) / a.std(), "standardisation"),
        (lambda a, b: scale(np.r_[a, b], b), "widen"),
        (lambda a, b: np.clip(b / a.max(), 0, 1), "minimum"),
        (lambda a, b: np.clip((b - a.min()) / a.max(), 0, 1), "range"),
        (lambda a, b: np.clip(b, a.min(), a.max()), "not scaled"),
        (lambda a, b: scale(a, a), "training values"),
        (lambda a, b: scale(b, a), "changed places"),
        (lambda a, b: 1 - scale(a, b), "1 minus"),
        (lambda a, b: 100 * scale(a, b), "100"),
        (lambda a, b: np.minimum((b - a.min()) / np.ptp(a), 1), "below"),
        (lambda a, b: np.clip((b - a.min()) / np.ptp(a), 0.01, 0.99), None),
        (lambda a, b: np.array([(v - a.min()) / np.ptp(a) for v in b if a.min() <= v <= a.max()]), "dropped"),
        (lambda a, b: np.clip(b - a.min() / np.ptp(a), 0, 1), "brackets"),
        (clips_in_place, "in place"),
        (lambda a, b: np.clip((b - a.min()) // np.ptp(a), 0, 1), "//"),
        (lambda a, b: np.clip((b - 2) / 8, 0, 1), None),
        (lambda a, b: np.clip((b - a.min()) / np.ptp(a), 0, 1).tolist()[:-1], "last one"),
        (lambda a, b: np.clip((b - np.median(a)) / np.ptp(a), 0, 1), None),
        (lambda a, b: scale(np.percentile(a, [1, 99]), b), None),
    ],
)

# --- decode -----------------------------------------------------------------------------------------------------------


def decode_by_loop(block, codes):
    answer = []
    for row in block:
        best = 0
        for level in range(len(row)):
            if row[level] > row[best]:
                best = level
        answer.append(codes[best])
    return answer


def decode_in_place(block, codes):
    for i in range(len(block)):
        block[i] = block[i] == block[i].max()
    return (block @ codes).astype(int)


DECODE = (
    [
        lambda block, codes: codes[block.argmax(axis=1)],
        lambda block, codes: np.asarray(codes)[np.argmax(block, axis=-1)],
        decode_by_loop,
        lambda block, codes: [codes[row.argmax()] for row in block],
        lambda block, codes: torch.tensor(codes)[torch.tensor(block).argmax(1)],
        lambda block, codes: pd.DataFrame(block, columns=codes).idxmax(axis=1),
        lambda block, codes: (block == block.max(axis=1, keepdims=True)) @ codes,
        lambda block, codes: np.take(codes, block.argsort(axis=1)[:, -1]).astype(float),
        lambda block, codes: [max(zip(row, codes, strict=True))[1] for row in block.tolist()],
    ],
    [
        (lambda b, c: b.argmax(axis=1), "positions"),
        (lambda b, c: c[b.argmax(axis=1)].astype(str), "text"),
        (lambda b, c: b.argmax(axis=1) + 1, "plus one"),
        (lambda b, c: b.argmax(axis=0), "axis=1"),
        (lambda b, c: c[b.argmax(axis=0)], "axis=1"),
        (lambda b, c: b.max(axis=1), "shares"),
        (lambda b, c: b @ c, "averages"),
        (lambda b, c: c[b.argmin(axis=1)], "argmin"),
        (lambda b, c: c[b.argmax()], "whole block"),
        (lambda b, c: [str(c[i]) for i in b.argmax(axis=1)], None),
        (lambda b, c: [c[int(np.flatnonzero(row > 0.5)[0])] for row in b], "IndexError"),
        (lambda b, c: c[(b > 0.5).argmax(axis=1)], "0.5"),
        (lambda b, c: np.array([1, 7, 2, 1]), "same answer"),
        (lambda b, c: (b == b.max(axis=1, keepdims=True)).astype(int), "one-hot"),
        (lambda b, c: np.eye(len(c))[b.argmax(1)] * c, None),
        (lambda b, c: c[b.argmax(axis=1)][:, None], "axis"),
        (lambda b, c: [1 + 1 * int(i) for i in b.argmax(axis=1)], "plus one"),
        (decode_in_place, "in place"),
        (lambda b, c: c[b[0].argmax()], "first"),
        (lambda b, c: (c[i] for i in b.argmax(axis=1)), "list"),
        (lambda b, c: np.random.choice(c, len(b)), None),
        (lambda b, c: c[b.round().argmax(axis=1)], None),
        (lambda b, c: set(c[b.argmax(axis=1)]), "set"),
    ],
)

# --- sequences --------------------------------------------------------------------------------------------------------


def fill_by_id(table, column, months):
    ids = sorted(set(table["PatientID"]))
    array = np.zeros((len(ids), months))
    for _, row in table.iterrows():
        array[ids.index(row["PatientID"]), int(row["Timestep"])] = row[column]
    return array


def sort_in_place(table, column, months):
    table.sort_values(["PatientID", "Timestep"], inplace=True)
    return table[column].to_numpy().reshape(-1, months)


SEQUENCES = (
    [
        lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[c].to_numpy().reshape(-1, m),
        lambda t, c, m: t.pivot(index="PatientID", columns="Timestep", values=c),
        lambda t, c, m: t.set_index(["PatientID", "Timestep"])[c].unstack().to_numpy(),
        lambda t, c, m: [p.sort_values("Timestep")[c].tolist() for _, p in t.groupby("PatientID")],
        fill_by_id,
        lambda t, c, m: t[c].to_numpy()[np.lexsort((t["Timestep"], t["PatientID"]))].reshape(len(t) // m, m),
        lambda t, c, m: torch.tensor(t.sort_values(["PatientID", "Timestep"])[c].values).view(-1, m),
        lambda t, c, m: t.sort_values(["Timestep", "PatientID"])[c].to_numpy().reshape(m, -1).T,
    ],
    [
        (lambda t, c, m: t[c].to_numpy().reshape(-1, m), "mixes patients"),
        (lambda t, c, m: t[c].to_numpy().reshape(m, -1).T, "sorted by month"),
        (
            lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[c].to_numpy().reshape(-1, m).T,
            "patients come",
        ),
        (lambda t, c, m: t.sort_values(["Timestep", "PatientID"])[c].to_numpy().reshape(-1, m), "patient first"),
        (lambda t, c, m: np.stack([p[c] for _, p in t.groupby("PatientID")]), "not in order"),
        (lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[c], "shape"),
        (lambda t, c, m: t.sort_values("Timestep")[c].to_numpy().reshape(-1, m), "patient"),
        (lambda t, c, m: t.sort_values(["PatientID", "Timestep"])["VL"].to_numpy().reshape(-1, m), "`column`"),
        (lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[c].to_numpy().reshape(-1, 4), None),
        (lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[c].to_numpy().reshape(3, m), None),
        (sort_in_place, "in place"),
        (lambda t, c, m: np.sort(t[c].to_numpy()).reshape(-1, m), "sorted"),
        (lambda t, c, m: t.sort_values(c)[c].to_numpy().reshape(-1, m), "sorted"),
        (lambda t, c, m: t.sort_index()[c].to_numpy().reshape(-1, m), None),
        (
            lambda t, c, m: t.sort_values(["PatientID", "Timestep"], ascending=False)[c].to_numpy().reshape(-1, m),
            "downwards",
        ),
        (lambda t, c, m: t.pivot(index="PatientID", columns="Timestep", values=c).astype(int), "whole numbers"),
        (lambda t, c, m: t.sort_values(["PatientID", c])[c].to_numpy().reshape(-1, m), "within a patient"),
        (lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[c].to_numpy().reshape(m, -1), "(1, 3) and should be"),
        (lambda t, c, m: [p[c].mean() for _, p in t.groupby("PatientID")], None),
        (lambda t, c, m: t.groupby("PatientID")[c].apply(list).to_dict(), "dict"),
        (lambda t, c, m: np.array([[10.0, 11, 12], [21, 20, 22]]), "same answer"),
        (lambda t, c, m: t.sort_values(["PatientID", "Timestep"])[[c]].to_numpy().reshape(-1, m, 1), "axis"),
    ],
)

ANSWERS = {
    "switches": SWITCHES,
    "box_cox": BOX_COX,
    "log_likelihood": LIKELIHOOD,
    "scale": SCALE,
    "decode": DECODE,
    "sequences": SEQUENCES,
}
