"""Answers to the exercises of notebook 2."""

from collections import Counter

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import hg_helpers as hg

# --- one month of an LSTM ---------------------------------------------------------------------------------------------


def lstm(x, h, c, weight, hidden_weight, bias):
    o, i, f, a = (x @ weight + h @ hidden_weight + bias).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(a)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_by_slices(x, h, c, weight, hidden_weight, bias):
    n = h.shape[1]
    sums = torch.matmul(x, weight) + torch.matmul(h, hidden_weight) + bias
    o, i, f = (1 / (1 + torch.exp(-sums[:, k * n : (k + 1) * n])) for k in range(3))
    new = f * c + i * torch.tanh(sums[:, 3 * n :])
    return [o * torch.tanh(new), new]


def lstm_by_loop(x, h, c, weight, hidden_weight, bias):
    hs, cs = [], []
    for b in range(len(x)):
        sums = (x[b, :, None] * weight).sum(0) + (h[b, :, None] * hidden_weight).sum(0) + bias
        o, i, f, a = sums.view(4, -1)
        cs.append(f.sigmoid() * c[b] + i.sigmoid() * a.tanh())
        hs.append(o.sigmoid() * cs[-1].tanh())
    return torch.stack(hs), torch.stack(cs)


def lstm_by_einsum(x, h, c, weight, hidden_weight, bias):
    sums = torch.einsum("bi,ij->bj", x, weight) + torch.einsum("bi,ij->bj", h, hidden_weight) + bias
    o, i, f, a = torch.tensor_split(sums, 4, dim=1)
    c2 = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(a)
    return torch.stack([F.sigmoid(o) * F.tanh(c2), c2])


def lstm_by_one_product(x, h, c, weight, hidden_weight, bias):
    both = torch.cat([x, h], 1) @ torch.cat([weight, hidden_weight]) + bias
    parts = both.reshape(len(x), 4, -1)
    gates = parts[:, :3].sigmoid()
    new = gates[:, 2] * c + gates[:, 1] * parts[:, 3].tanh()
    return gates[:, 0] * new.tanh(), new


def lstm_by_torch(x, h, c, weight, hidden_weight, bias):
    def reorder(w):
        o, i, f, a = w.chunk(4, -1)
        return torch.cat([i, f, a, o], -1)

    return torch._VF.lstm_cell(x, (h, c), reorder(weight).T, reorder(hidden_weight).T, reorder(bias), 0 * bias)


def lstm_in_numpy(*given):
    x, h, c, weight, hidden_weight, bias = (np.asarray(part) for part in given)
    o, i, f, a = np.split(x @ weight + h @ hidden_weight + bias, 4, axis=-1)
    c = c / (1 + np.exp(-f)) + np.tanh(a) / (1 + np.exp(-i))
    return np.tanh(c) / (1 + np.exp(-o)), c


def lstm_changes_c(x, h, c, weight, hidden_weight, bias):
    o, i, f, a = (x @ weight + h @ hidden_weight + bias).chunk(4, -1)
    c *= torch.sigmoid(f)
    c += torch.sigmoid(i) * torch.tanh(a)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_order(order):
    def step(x, h, c, weight, hidden_weight, bias):
        parts = dict(zip(order, (x @ weight + h @ hidden_weight + bias).chunk(4, -1), strict=True))
        c = parts["f"].sigmoid() * c + parts["i"].sigmoid() * parts["a"].tanh()
        return parts["o"].sigmoid() * c.tanh(), c

    return step


def lstm_wrong(**change):
    def step(x, h, c, weight, hidden_weight, bias):
        o, i, f, a = (x @ weight + h @ hidden_weight + change.get("bias", 1) * bias).chunk(4, -1)
        gate, candidate = change.get("gate", torch.sigmoid), change.get("candidate", torch.tanh)
        new = change.get("cell", lambda f, c, i, a: f * c + i * a)(gate(f), c, gate(i), candidate(a))
        return change.get("out", lambda o, new, c: o * new.tanh())(gate(o), new, c), new

    return step


def lstm_without_gradient(*given):
    with torch.no_grad():
        return lstm(*given)


LSTM_STEP = (
    [lstm, lstm_by_slices, lstm_by_loop, lstm_by_einsum, lstm_by_one_product, lstm_by_torch],
    [
        (lambda *a: lstm(*a)[::-1], "changed places"),
        (lambda *a: lstm(*a)[0], "only the first"),
        (lambda *a: (*lstm(*a), a[2]), "more comes back"),
        (lstm_order("ifao"), "another order"),
        (lstm_order("ofia"), "another order"),
        (lstm_order("ifoa"), "another order"),
        (lstm_wrong(out=lambda o, new, c: o * new), "tanh"),
        (lstm_wrong(out=lambda o, new, c: o * c.tanh()), "old c"),
        (lstm_wrong(candidate=torch.sigmoid), "candidate"),
        (lstm_wrong(gate=torch.tanh), "sigmoid"),
        (lstm_wrong(gate=lambda s: s), "plain sums"),
        (lstm_wrong(bias=0), "bias"),
        (lstm_wrong(bias=2), None),
        (lstm_wrong(cell=lambda f, c, i, a: c + i * a), "forget gate"),
        (lstm_wrong(cell=lambda f, c, i, a: f * c + a), "input gate"),
        (lstm_wrong(cell=lambda f, c, i, a: i * a), "`c` makes no difference"),
        (lambda x, h, c, w, u, b: lstm(x, 0 * h, c, w, u, b), "`h` makes no difference"),
        (lambda x, h, c, w, u, b: lstm(x, h, 0 * c, w, u, b), "`c` makes no difference"),
        (lambda x, h, c, w, u, b: lstm(x, h, c, w.T, u, b), "RuntimeError"),
        (lambda *a: tuple(part.detach() for part in lstm(*a)), "no gradient"),
        (lambda *a: tuple(part.data for part in lstm(*a)), "no gradient"),
        (lstm_without_gradient, "no gradient"),
        (lstm_in_numpy, "no gradient"),
        (lstm_changes_c, "in place"),
        (lambda *a: {"h": lstm(*a)[0], "c": lstm(*a)[1]}, "dict"),
        (lambda *a: (lstm(*a)[0].mean(0), lstm(*a)[1].mean(0)), None),
        (lambda *a: [*lstm(*a), 1], None),
    ],
)

# --- the heads --------------------------------------------------------------------------------------------------------


def heads(logits, schema):
    parts = []
    for feature in schema:
        block = logits[..., schema.spans[feature.name]]
        parts.append(torch.sigmoid(block) if feature.is_real else torch.softmax(block, -1))
    return torch.cat(parts, -1)


def heads_filled_in(logits, schema):
    answer = torch.zeros_like(logits)
    for f in schema.features:
        s = schema.spans[f.name]
        part = logits[:, :, s.start : s.stop]
        answer[:, :, s] = 1 / (1 + (-part).exp()) if f.kind == "real" else part.exp() / part.exp().sum(2, keepdim=True)
    return answer


def heads_of_a_clone(logits, schema):
    out = logits.clone()
    for span in schema.spans.values():
        block = logits[..., span]
        out[..., span] = block.sigmoid() if span.stop - span.start == 1 else F.softmax(block, dim=2)
    return out


def heads_by_patient(logits, schema):
    return torch.stack(
        [torch.cat([head(f, patient[:, schema.spans[f.name]]) for f in schema], 1) for patient in logits]
    )


def head(feature, block):
    return nn.Sigmoid()(block) if feature.is_real else nn.Softmax(dim=1)(block)


def heads_in_place(logits, schema):
    for f in schema:
        span = schema.spans[f.name]
        logits[..., span] = logits[..., span].sigmoid() if f.is_real else logits[..., span].softmax(-1)
    return logits


def heads_with(real=torch.sigmoid, block=lambda part: part.softmax(-1)):
    return lambda x, schema: torch.cat(
        [(real if f.is_real else block)(x[..., schema.spans[f.name]]) for f in schema], -1
    )


def toys_heads(logits, schema):
    reals, sex, drug = logits[..., :1], logits[..., 1:3], logits[..., 3:6]
    return torch.cat([reals.sigmoid(), sex.softmax(-1), drug.softmax(-1)], -1)


def heads_in_numpy(logits, schema):
    x = logits.numpy()
    parts = []
    for f in schema:
        block = x[..., schema.spans[f.name]]
        e = np.exp(block)
        parts.append(1 / (1 + np.exp(-block)) if f.is_real else e / e.sum(-1, keepdims=True))
    return np.concatenate(parts, -1)


HEADS = (
    [
        heads,
        heads_filled_in,
        heads_of_a_clone,
        heads_by_patient,
        heads_with(block=lambda p: torch.exp(p - p.logsumexp(-1, keepdim=True))),
        heads_with(real=lambda p: (1 + torch.tanh(p / 2)) / 2),
    ],
    [
        (lambda x, schema: x.softmax(-1), "each feature's block"),
        (lambda x, schema: x.sigmoid(), "sigmoid everywhere"),
        (
            lambda x, schema: torch.cat(
                [x[..., s].softmax(-1) if s.stop - s.start > 2 else x[..., s].sigmoid() for s in schema.spans.values()],
                -1,
            ),
            "binary",
        ),
        (lambda x, schema: torch.cat([x[..., :1].sigmoid(), x[..., 1:].softmax(-1)], -1), None),
        (heads_with(block=lambda p: p.softmax(1)), "months"),
        (heads_with(block=lambda p: p.softmax(0)), "patients"),
        (heads_with(real=lambda p: p), "raw logit"),
        (heads_with(block=lambda p: p), "raw logits"),
        (heads_with(real=lambda p: p.softmax(-1)), "always 1"),
        (heads_with(block=lambda p: p.log_softmax(-1)), "logarithms"),
        (heads_with(block=lambda p: p.exp()), "exp alone"),
        (heads_with(real=torch.tanh), "tanh"),
        (toys_heads, "use the schema"),
        (heads_in_place, "in place"),
        (lambda x, schema: heads(x, schema).detach(), "no gradient"),
        (lambda x, schema: heads(x.detach(), schema), "no gradient"),
        (heads_in_numpy, "no gradient"),
        (heads_with(real=lambda p: p.sigmoid().detach()), "real features"),
        (lambda x, schema: [heads(x, schema)[..., span] for span in schema.spans.values()], None),
        (lambda x, schema: torch.stack([x[..., s].mean(-1) for s in schema.spans.values()], -1), "shape"),
        (lambda x, schema: heads(x, schema)[:, -1], None),
        (heads_with(block=lambda p: F.one_hot(p.argmax(-1), p.shape[-1]).float()), "rounded"),
        (heads_with(block=lambda p: torch.softmax(p / 0.66, -1)), None),
        (lambda x, schema: torch.cat([x[..., s].sigmoid() for s in schema.span.values()], -1), "AttributeError"),
    ],
)

# --- the penalty ------------------------------------------------------------------------------------------------------


def penalty(critic, real, fake, mix):
    point = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
    return ((slope.square().sum((1, 2)).sqrt() - 1) ** 2).mean()


def penalty_by_patient(critic, real, fake, mix):
    costs = []
    for r, f, m in zip(real, fake, mix, strict=True):
        x = (m * r + (1 - m) * f)[None].requires_grad_(True)
        slope = torch.autograd.grad(critic(x)[0, 0], x, create_graph=True)[0]
        costs.append((slope.norm() - 1) ** 2)
    return sum(costs) / len(costs)


def penalty_by_outputs(critic, real, fake, mix):
    x = torch.lerp(fake, real, mix)
    x.requires_grad_(True)
    scores = critic(x)
    gradient = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True, retain_graph=True)[0]
    return torch.mean((gradient.view(gradient.size(0), -1).norm(2, dim=1) - 1) ** 2)


def penalty_by_einsum(critic, real, fake, mix):
    x = torch.autograd.Variable(fake + mix * (real - fake), requires_grad=True)
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return F.mse_loss(torch.einsum("blc,blc->b", g, g).sqrt(), torch.ones(len(g)))


def penalty_by_func(critic, real, fake, mix):
    slope = torch.func.grad(lambda x: critic(x).sum())(mix * real + (1 - mix) * fake)
    return (torch.linalg.vector_norm(slope, dim=(1, 2)) - 1).pow(2).mean()


def penalty_with(point=lambda r, f, m: m * r + (1 - m) * f, norm=lambda s: s.norm(dim=(1, 2)), **how):
    def answer(critic, real, fake, mix):
        x = point(real, fake, mix).detach().requires_grad_()
        (slope,) = torch.autograd.grad(how.get("score", torch.sum)(critic(x)), x, create_graph=True)
        return how.get("cost", lambda n: (n - 1).square().mean())(norm(slope))

    return answer


def penalty_without_graph(critic, real, fake, mix):
    x = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x)
    return (slope.norm(dim=(1, 2)) - 1).square().mean()


def penalty_by_backward(critic, real, fake, mix):
    x = (mix * real + (1 - mix) * fake).requires_grad_()
    critic(x).sum().backward()
    return (x.grad.norm(dim=(1, 2)) - 1).square().mean()


def penalty_without_requiring(critic, real, fake, mix):
    x = mix * real + (1 - mix) * fake
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.norm(dim=(1, 2)) - 1).square().mean()


PENALTY = (
    [penalty, penalty_by_patient, penalty_by_outputs, penalty_by_einsum, penalty_by_func, hg.gradient_penalty],
    [
        (penalty_without_graph, "create_graph"),
        (lambda *a: penalty(*a).item(), "create_graph"),
        (lambda *a: penalty(*a).detach(), "create_graph"),
        (penalty_by_backward, "backward"),
        (penalty_without_requiring, "RuntimeError"),
        (penalty_with(norm=lambda s: s.norm(dim=2)), "each month"),
        (penalty_with(norm=lambda s: s.norm(dim=1)), "each channel"),
        (penalty_with(norm=lambda s: s.norm()), "whole batch"),
        (penalty_with(norm=lambda s: s.square().sum((1, 2))), "square root"),
        (penalty_with(norm=lambda s: s.square().mean((1, 2)).sqrt()), "not a mean"),
        (penalty_with(cost=lambda n: (n - 1).abs().mean()), "square the distance"),
        (penalty_with(cost=lambda n: (n - 1).mean() ** 2), "square the distance"),
        (penalty_with(cost=lambda n: (n - 1).square().sum()), "mean over patients"),
        (penalty_with(cost=lambda n: (n - 1).square()), "mean over patients"),
        (penalty_with(cost=lambda n: n.square().mean()), "subtract 1"),
        (penalty_with(cost=lambda n: torch.relu(n - 1).square().mean()), "below 1"),
        (penalty_with(cost=lambda n: 10 * (n - 1).square().mean()), "10"),
        (penalty_with(score=torch.mean), "sum"),
        (penalty_with(point=lambda r, f, m: m * f + (1 - m) * r), "`real` and `fake` have changed places"),
        (penalty_with(point=lambda r, f, m: r), "`fake` makes no difference"),
        (penalty_with(point=lambda r, f, m: f), "`real` makes no difference"),
        (penalty_with(point=lambda r, f, m: 0.5 * r + 0.5 * f), "mix"),
        (penalty_with(point=lambda r, f, m: torch.rand_like(m) * (r - f) + f), None),
        (lambda critic, real, fake, mix: (critic(real) - critic(fake)).mean(), None),
        (lambda critic, real, fake, mix: 0.7312, "same answer"),
    ],
)

# --- the critic's loss ------------------------------------------------------------------------------------------------


def critic_loss(generator, critic, real, z, mix):
    with torch.no_grad():
        fake = generator(z)
    return critic(fake).mean() - critic(real).mean() + 10 * hg.gradient_penalty(critic, real, fake, mix)


def critic_loss_detached(generator, critic, real, z, mix):
    fake = generator(z).detach()
    return 10 * penalty(critic, real, fake, mix) + torch.mean(critic(fake) - critic(real))


def critic_loss_at_once(generator, critic, real, z, mix):
    fake = torch.no_grad()(generator)(z)
    scores = critic(torch.cat([real, fake])).flatten()
    n = len(real)
    return scores[n:].mean() - scores[:n].mean() + 10.0 * hg.gradient_penalty(critic, real, fake, mix)


def critic_loss_by_loop(generator, critic, real, z, mix):
    fake = generator(z).data
    total = 0
    for r, f in zip(real, fake, strict=True):
        total = total + critic(f[None]).squeeze() - critic(r[None]).squeeze()
    return total / len(real) + 10 * penalty_by_patient(critic, real, fake, mix)


def critic_loss_inference(generator, critic, real, z, mix):
    with torch.no_grad():
        fake = generator(z)
    loss = -(critic(real).sum() - critic(fake).sum()) / real.shape[0]
    loss += 10 * hg.gradient_penalty(critic, real, fake, mix)
    return loss.reshape(1)


def loss_with(apart=lambda f, r: f.mean() - r.mean(), weight=10.0, cut=True, term=hg.gradient_penalty):
    def answer(generator, critic, real, z, mix):
        fake = generator(z).detach() if cut else generator(z)
        return apart(critic(fake), critic(real)) + weight * term(critic, real, fake, mix)

    return answer


def loss_all_without_gradient(generator, critic, real, z, mix):
    with torch.no_grad():
        fake = generator(z)
        apart = critic(fake).mean() - critic(real).mean()
    return apart + 10 * hg.gradient_penalty(critic, real, fake, mix)


def loss_that_learns(generator, critic, real, z, mix):
    loss = critic_loss(generator, critic, real, z, mix)
    loss.backward()
    return loss


def loss_that_freezes(generator, critic, real, z, mix):
    generator.requires_grad_(False)
    return loss_with(cut=False)(generator, critic, real, z, mix)


def loss_of_all_in_no_grad(generator, critic, real, z, mix):
    with torch.no_grad():
        return critic_loss(generator, critic, real, z, mix)


CRITIC_LOSS = (
    [critic_loss, critic_loss_detached, critic_loss_at_once, critic_loss_by_loop, critic_loss_inference],
    [
        (loss_all_without_gradient, "both scores"),
        (loss_with(lambda f, r: f.mean().detach() - r.mean()), "fakes' score is detached"),
        (loss_with(lambda f, r: f.mean() - r.mean().item()), "real patients' score is detached"),
        (loss_with(term=lambda *a: hg.gradient_penalty(*a).item()), "penalty is detached"),
        (loss_with(cut=False), "generator"),
        (lambda *a: critic_loss(*a).item(), "no gradient"),
        (lambda *a: (critic_loss(*a), hg.gradient_penalty(*a[1:3], a[2].flip(0), a[4])), "more comes back"),
        (loss_of_all_in_no_grad, None),
        (loss_that_learns, "backward"),
        (loss_that_freezes, "freezes"),
        (loss_with(lambda f, r: r.mean() - f.mean()), "sign"),
        (loss_with(weight=1), "weight"),
        (loss_with(weight=0), "penalty is missing"),
        (loss_with(weight=-10), "subtracted"),
        (loss_with(weight=100), None),
        (loss_with(lambda f, r: -f.mean(), 0), "generator's loss"),
        (loss_with(lambda f, r: f.sum() - r.sum()), "means"),
        (loss_with(lambda f, r: f - r), "one number a patient"),
        (loss_with(lambda f, r: F.softplus(f).mean() + F.softplus(-r).mean()), "log-loss"),
        (loss_with(term=lambda c, r, f, m: hg.gradient_penalty(c, f, r, m)), "swapped"),
        (loss_with(lambda f, r: f.mean() + r.mean()), "sign"),
        (lambda g, c, r, z, m: c(g(z)).mean() - c(r).mean() + 10 * hg.gradient_penalty(c, r, z, m), "RuntimeError"),
        (lambda g, c, r, z, m: 1.234, "same answer"),
        (lambda g, c, r, z, m: critic_loss(g, c, r, torch.rand_like(z), m), "chance"),
        (lambda g, c, r, z, m: critic_loss(g, c, r, torch.zeros_like(z), m), "`z` makes no difference"),
        (loss_with(lambda f, r: -r.mean()), "score of the fakes"),
        (loss_with(lambda f, r: 10 * (f.mean() - r.mean())), "penalty alone"),
    ],
)

# --- counting by patient ----------------------------------------------------------------------------------------------


def modes(levels):
    return (levels[:, :, None] == np.arange(4)).sum(axis=1).argmax(axis=1)


def modes_by_loop(levels):
    answer = []
    for row in levels.tolist():
        best = 0
        for level in range(4):
            if row.count(level) > row.count(best):
                best = level
        answer.append(best)
    return answer


def sorts_in_place(levels):
    levels.sort(axis=1)
    return modes(levels)


MODES = (
    [
        modes,
        modes_by_loop,
        lambda levels: stats.mode(levels, axis=1).mode,
        lambda levels: pd.DataFrame(levels).mode(axis=1)[0],
        lambda levels: np.array([np.bincount(row).argmax() for row in levels]),
        lambda levels: F.one_hot(torch.tensor(levels), 4).sum(1).argmax(1),
        lambda levels: [min(Counter(row).items(), key=lambda p: (-p[1], p[0]))[0] for row in levels.tolist()],
        lambda levels: np.apply_along_axis(lambda row: np.bincount(row, minlength=4).argmax(), 1, levels).astype(float),
    ],
    [
        (lambda x: (x[:, :, None] == np.arange(4)).sum(0).argmax(1), "month"),
        (lambda x: (x[:, :, None] == np.arange(4)).sum(1), "argmax"),
        (lambda x: (x[:, :, None] == np.arange(4)).sum(2).argmax(1), "axis 2"),
        (lambda x: (x[:, :, None] == np.arange(1, 5)).sum(1).argmax(1), "level 0 is not counted"),
        (lambda x: (x[:, :, None] == np.arange(4)).sum(1).max(1), "how often"),
        (lambda x: x[:, 0], "first month"),
        (lambda x: x[:, -1], "last month"),
        (lambda x: x.max(1), "largest"),
        (lambda x: np.median(x, axis=1), "median"),
        (lambda x: x.mean(1).round(), "mean"),
        (lambda x: x.mean(1), "mean"),
        (lambda x: np.bincount(x.ravel()).argmax(), "one level for all"),
        (lambda x: [Counter(row.tolist()).most_common(1)[0][0] for row in x], "tie"),
        (lambda x: [Counter(row.tolist()).most_common(1)[0] for row in x], None),
        (lambda x: stats.mode(x, axis=1), None),
        (lambda x: stats.mode(x, axis=0).mode, None),
        (lambda x: 3 - modes(3 - x), "tie"),
        (lambda x: modes(x) + 1, "one too many"),
        (lambda x: np.array([0, 3, 0, 3, 1, 2]), "same answer"),
        (lambda x: modes(x).astype(str), None),
        (sorts_in_place, "in place"),
        (lambda x: (x[:, :, None] == np.arange(3)).sum(1).argmax(1), "four levels"),
        (lambda x: (x[:, :, None] == np.unique(x)).sum(1).argmax(1), None),
        (lambda x: dict(enumerate(modes(x))), "dict"),
    ],
)

ANSWERS = {
    "lstm_step": LSTM_STEP,
    "heads": HEADS,
    "gradient_penalty": PENALTY,
    "critic_loss": CRITIC_LOSS,
    "patient_modes": MODES,
}
