"""Answers to the exercises of notebook 4."""

import random

import numpy as np
import torch

from hg_helpers.exercises.toy import toy_latents

T = toy_latents()

TOY = (
    [
        T.mean(1, keepdim=True),
        T.mean(1)[:, None],
        T.numpy().mean(1, keepdims=True),
        [[[1.5, 0]], [[1.25, 0.75]], [[1.5, 2]]],
        torch.stack([p.mean(0, keepdim=True) for p in T]),
        torch.einsum("blz->bz", T).view(3, 1, 2) / 4,
    ],
    [
        (T.mean(1), "keepdim"),
        (T.mean(0), "axis 0"),
        (T.mean(0, keepdim=True), "axis 0"),
        (T.mean(2, keepdim=True), "axis 2"),
        (T.mean(), "one number"),
        (T.sum(1, keepdim=True), "divide by their number"),
        (T[:, -1:], "last month"),
        (T[:, :1], "first month"),
        (T.median(1, keepdim=True).values, "median"),
        (T.mean((0, 1), keepdim=True), "everybody"),
        (T.mean(1)[None], "shape"),
        (T, "all months"),
        (np.median(T, 1, keepdims=True), "median"),
        ([[[1.5, 0]], [[1.25, 1]], [[1.5, 2]]], "commonest"),
        (lambda t: t.mean(1, keepdim=True), "function"),
        ("mean", None),
        (T.mean(1, keepdim=True).round(), "rounded"),
        (-T.mean(1, keepdim=True), "sign"),
        ([[[1.5, 0]], [[1.25, 0.75]], [[1.5, ...]]], "not everything has been filled in"),
        (1.5, None),
    ],
)


def sd(t, **how):
    return t.std(dim=(0, 1), keepdim=True, **how)


def scale_by_loop(scale, latents):
    answer = []
    for z in range(latents.shape[2]):
        values = latents[:, :, z].flatten().tolist()
        mean = sum(values) / len(values)
        deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
        answer.append((float(scale[0, 0, z]) + deviation) / 2)
    return [[answer]]


def scale_in_place(scale, latents):
    scale += sd(latents)
    scale /= 2
    return scale


SCALE = (
    [
        lambda s, t: (s + sd(t)) / 2,
        lambda s, t: 0.5 * s + 0.5 * t.flatten(0, 1).std(0),
        lambda s, t: torch.lerp(s, sd(t), 0.5),
        lambda s, t: (s.numpy() + t.numpy().std((0, 1), ddof=1, keepdims=True)) / 2,
        scale_by_loop,
        lambda s, t: torch.stack([s, t.reshape(-1, t.shape[-1]).var(0).sqrt()[None, None]]).mean(0),
    ],
    [
        (lambda s, t: sd(t), "`scale` makes no difference"),
        (lambda s, t: (1 + sd(t)) / 2, "`scale` makes no difference"),
        (lambda s, t: s + sd(t), "sum"),
        (lambda s, t: s + sd(t) / 2, "brackets"),
        (lambda s, t: (s * sd(t)) ** 0.5, "geometric"),
        (lambda s, t: (s + sd(t, correction=0)) / 2, "n - 1"),
        (lambda s, t: (s + t.var((0, 1), keepdim=True)) / 2, "variance"),
        (lambda s, t: (s + t.std()) / 2, "each latent dimension"),
        (lambda s, t: (s + t.std(1, keepdim=True)) / 2, "each patient"),
        (lambda s, t: (s + t.std(0, keepdim=True)) / 2, "each month"),
        (lambda s, t: (s + t.mean(1, keepdim=True).std(0, keepdim=True)) / 2, "prototypes"),
        (lambda s, t: (s + t.std(1).mean(0)) / 2, "averaged"),
        (lambda s, t: (s + t.mean((0, 1), keepdim=True)) / 2, "mean"),
        (lambda s, t: ((s + sd(t)) / 2).flatten(), "keepdim"),
        (lambda s, t: 0.9 * s + 0.1 * sd(t), "1/2"),
        (lambda s, t: (s + sd(t)) // 2, "whole numbers"),
        (scale_in_place, "in place"),
        (lambda s, t: s, "as it was given"),
        (lambda s, t: (sd(t) - s) / 2, None),
        (lambda s, t: torch.maximum(s, sd(t)), "larger of the two"),
        (lambda s, t: torch.where(sd(t) == 0, s, (s + sd(t)) / 2), "nothing moves"),
        (lambda s, t: (s + t.std(0).mean(0)) / 2, "inside each month"),
        (lambda s, t: torch.tensor([[[1.1455, 0.5]]]), None),
    ],
)

# --- the queue --------------------------------------------------------------------------------------------------------


def queue(prototypes, capacity, generator):
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randperm(len(prototypes), generator=generator)[:capacity]]


def queue_by_weights(prototypes, capacity, generator):
    if prototypes.shape[0] > capacity:
        weights = torch.ones(prototypes.shape[0])
        prototypes = prototypes[torch.multinomial(weights, capacity, replacement=False, generator=generator)]
    return prototypes


def queue_by_removal(prototypes, capacity, generator):
    rows = list(prototypes)
    while len(rows) > capacity:
        del rows[int(torch.randint(len(rows), (1,), generator=generator))]
    return torch.stack(rows) if rows else prototypes


def queue_in_numpy(prototypes, capacity, generator):
    if len(prototypes) <= capacity:
        return prototypes.numpy()
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    return prototypes.numpy()[rng.choice(len(prototypes), capacity, replace=False)]


def queue_by_reservoir(prototypes, capacity, generator):
    kept = []
    for i, row in enumerate(prototypes):
        if i < capacity:
            kept.append(row.tolist())
        else:
            j = int(torch.randint(i + 1, (1,), generator=generator))
            if j < capacity:
                kept[j] = row.tolist()
    return kept


def queue_with_replacement(prototypes, capacity, generator):
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randint(len(prototypes), (capacity,), generator=generator)]


def queue_of_newest_and_others(prototypes, capacity, generator):
    if len(prototypes) <= capacity:
        return prototypes
    half = capacity // 2
    others = torch.randperm(len(prototypes) - half, generator=generator)[: capacity - half]
    return torch.cat([prototypes[-half:] if half else prototypes[:0], prototypes[others]])


def queue_of_a_window(prototypes, capacity, generator):
    if len(prototypes) <= capacity:
        return prototypes
    start = int(torch.randint(len(prototypes), (1,), generator=generator))
    return prototypes.roll(start, 0)[:capacity]


def queue_that_seeds(prototypes, capacity, generator):
    torch.manual_seed(0)
    return queue(prototypes, capacity, None)


QUEUE = (
    [
        queue,
        queue_by_weights,
        queue_by_removal,
        queue_in_numpy,
        lambda p, c, g: p[torch.rand(len(p), generator=g).argsort()[:c]],
        lambda p, c, g: p[torch.randperm(len(p), generator=g)[:c].sort().values],
        lambda p, c, g: p[torch.randperm(len(p), generator=g)][: min(c, len(p))].double(),
    ],
    [
        (queue_with_replacement, "replacement"),
        (lambda p, c, g: p[torch.randint(len(p), (min(c, len(p)),), generator=g)] if len(p) else p, "replacement"),
        (
            lambda p, c, g: (
                queue(p, c, g) if len(p) <= c else p[torch.multinomial(torch.ones(len(p)), c, True, generator=g)]
            ),
            "replacement",
        ),
        (lambda p, c, g: p[-c:], "newest"),
        (lambda p, c, g: p[:c], "oldest"),
        (lambda p, c, g: queue(p, c + 1, g), "off by one"),
        (lambda p, c, g: queue(p, c - 1, g), "room for"),
        (lambda p, c, g: queue(p, c, torch.Generator().manual_seed(0)), "generator"),
        (lambda p, c, g: queue(p, c, torch.Generator().manual_seed(g.initial_seed())), "move on"),
        (lambda p, c, g: queue(p, c, None), "alone"),
        (lambda p, c, g: queue(p, c, g)[:, 0], "shape"),
        (lambda p, c, g: queue(p, c, g) + 0.5, "as they are"),
        (lambda p, c, g: p if len(p) <= c else p[:: len(p) // c][:c], None),
        (lambda p, c, g: p if len(p) <= c else p[random.sample(range(len(p)), c)], "alone"),
        (queue_of_newest_and_others, None),
        (queue_of_a_window, "same chance"),
        (queue_that_seeds, None),
        (lambda p, c, g: torch.randperm(len(p), generator=g)[:c], "shape"),
        (lambda p, c, g: p[torch.randperm(c, generator=g)], "IndexError"),
        (lambda p, c, g: queue(p, min(c, max(len(p) - 1, 0)), g), "room"),
        (lambda p, c, g: queue(p, 8, g), "stay where"),
        (lambda p, c, g: p, "6 of 6 stay where 1 should."),
        (lambda p, c, g: p if len(p) <= c else p[torch.rand(len(p), generator=g) < c / len(p)], "should."),
        (lambda p, c, g: queue(p.unique(dim=0), c, g), "1 of 3 stay although there is room"),
        (lambda p, c, g: queue(p, c, g).zero_(), None),
    ],
)

# --- z' ---------------------------------------------------------------------------------------------------------------


def noise_by_loop(z, scale, prototypes, chosen):
    answer = torch.zeros_like(z)
    for b in range(z.shape[0]):
        for month in range(z.shape[1]):
            answer[b, month] = z[b, month] * scale[0, 0] + prototypes[chosen[b], 0]
    return answer


def noise_in_place(z, scale, prototypes, chosen):
    z *= scale
    z += prototypes[chosen]
    return z


NOISE = (
    [
        lambda z, s, p, c: z * s + p[c],
        noise_by_loop,
        lambda z, s, p, c: torch.addcmul(p.index_select(0, c), z, s),
        lambda z, s, p, c: z.numpy() * s.numpy() + p.numpy()[c.numpy()],
        lambda z, s, p, c: torch.einsum("blz,z->blz", z, s.flatten()) + torch.stack([p[i] for i in c]),
        lambda z, s, p, c: [(a * s[0] + p[i]).tolist() for a, i in zip(z, c.tolist(), strict=True)],
        lambda z, s, p, c: z * s + p[c].expand(-1, z.shape[1], -1),
    ],
    [
        (lambda z, s, p, c: z + p[c], "`scale` makes no difference"),
        (lambda z, s, p, c: z * s, "`prototypes` makes no difference"),
        (lambda z, s, p, c: (z + p[c]) * s, "only z"),
        (lambda z, s, p, c: z + p[c] * s, "belongs to z"),
        (lambda z, s, p, c: z * s - p[c], "sign"),
        (lambda z, s, p, c: z / s + p[c], "multiply"),
        (lambda z, s, p, c: z + s + p[c], "factor"),
        (lambda z, s, p, c: z * s * p[c], "added"),
        (lambda z, s, p, c: z * s + p[: len(z)], "prototypes[chosen]"),
        (lambda z, s, p, c: z * s + p, None),
        (lambda z, s, p, c: z * s + p[c][:, 0], "belongs to the patient"),
        (lambda z, s, p, c: z * s + p[c[0]], "everybody"),
        (lambda z, s, p, c: z * s + p.mean(0), "`chosen` makes no difference"),
        (lambda z, s, p, c: (2 * z - 1) * s + p[c], "-1 to 1"),
        (lambda z, s, p, c: (z - 0.5) * s + p[c], "centred"),
        (lambda z, s, p, c: torch.rand_like(z) * s + p[c], "chance"),
        (lambda z, s, p, c: z * s + p[torch.randint(len(p), (len(z),))], None),
        (lambda z, s, p, c: p[c], None),
        (lambda z, s, p, c: p[c].expand_as(z), "`z` makes no difference"),
        (lambda z, s, p, c: (z * s + p[c]).mean(1), "averaged"),
        (lambda z, s, p, c: z[0] * s[0] + p[c[0]], None),
        (noise_in_place, "in place"),
    ],
)

# --- what survives a mean over months ---------------------------------------------------------------------------------


def kept(v, s, n):
    noise = s**2 / 12
    return v + noise / n, (v + noise) / n


KEPT = (
    [
        kept,
        lambda v, s, n: [v + s * s / (12 * n), v / n + s * s / (12 * n)],
        lambda v, s, n: np.array([v, v / n]) + np.var([0, s]) / 3 / n,
        lambda v, s, n: torch.tensor([v + s**2 / 12 / n, (v + s**2 / 12) / n]),
        lambda v, s, n: (np.float64(v) + sum([s**2 / 12] * n) / n**2, sum([v + s**2 / 12] * n) / n**2),
        lambda v, s, n: (torch.tensor(kept(v, s, n)[0]), kept(v, s, n)[1]),
    ],
    [
        (lambda v, s, n: kept(v, s, n)[::-1], "reverse"),
        (lambda v, s, n: (v + s / 12 / n, (v + s / 12) / n), "square"),
        (lambda v, s, n: (v + s**2 / n, (v + s**2) / n), "1/12"),
        (lambda v, s, n: (v + s**2 / 12, (v + s**2 / 12) / n), "first is one month"),
        (lambda v, s, n: (v + s**2 / 12 / n, v + s**2 / 12), "second is one month"),
        (lambda v, s, n: (v + s**2 / 12 / n, v + s**2 / 12 / n), "equal"),
        (lambda v, s, n: (v + s**2 / 12 / n, v / n + s**2 / 12), "not divided"),
        (lambda v, s, n: ((v + s**2 / 12) / n, (v + s**2 / 12) / n), "stays"),
        (lambda v, s, n: (v, v / n), "monthly noise is left out"),
        (lambda v, s, n: (v + s**2 / 12 / n, v / n), "in the second the monthly noise"),
        (lambda v, s, n: (v + s**2 / 12 / (n - 1), (v + s**2 / 12) / (n - 1)), "months itself"),
        (lambda v, s, n: (v + s**2 / 12 / n**0.5, (v + s**2 / 12) / n**0.5), "standard deviation"),
        (lambda v, s, n: tuple(k**0.5 for k in kept(v, s, n)), "roots"),
        (lambda v, s, n: (v + s**2 // 12 / n, (v + s**2 // 12) / n), "//"),
        (lambda v, s, n: (v + s**2 / 3 / n, (v + s**2 / 3) / n), "-1 to 1"),
        (lambda v, s, n: kept(v, s, n)[0], "only the first"),
        (lambda v, s, n: {"patient": kept(v, s, n)[0], "month": kept(v, s, n)[1]}, "dict"),
        (lambda v, s, n: kept(v, s, 60), "60 months"),
        (lambda v, s, n: (2.1, 0.05), "same answer"),
        (lambda v, s, n: sum(kept(v, s, n)), None),
        (lambda v, s, n: (v + 1 / 12 / n, (v + 1 / 12) / n), "`scale` makes no difference"),
        (lambda v, s, n: (v + (s / 12) ** 2 / n, (v + (s / 12) ** 2) / n), "scale**2 / 12"),
        (lambda v, s, n: f"{kept(v, s, n)}", "text"),
    ],
)

ANSWERS = {
    "toy_prototypes": TOY,
    "running_scale": SCALE,
    "queue": QUEUE,
    "latent_noise": NOISE,
    "kept_variance": KEPT,
}
