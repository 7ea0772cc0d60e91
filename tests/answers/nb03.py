"""Answers to the exercises of notebook 3."""

import math

import numpy as np
import torch
from torch.nn import functional as F

import hg_helpers as hg

# --- the encoder's hidden part ----------------------------------------------------------------------------------------


def hidden(a, e):
    h = F.relu(a.first(e) + a.shortcut(e))
    h = F.relu(a.second(h) + h)
    return F.relu(a.third(h) + h)


def hidden_by_matrices(a, e):
    h = (e @ a.first.weight.T + a.first.bias + e @ a.shortcut.weight.T + a.shortcut.bias).clamp(min=0)
    for layer in (a.second, a.third):
        h = torch.maximum(h @ layer.weight.T + layer.bias + h, torch.tensor(0.0))
    return h


def hidden_by_month(a, e):
    return torch.stack([torch.stack([hidden(a, month) for month in patient]) for patient in e])


def hidden_by_einsum(a, e):
    def apply(layer, v):
        return torch.einsum("...i,oi->...o", v, layer.weight) + layer.bias

    h = torch.relu(apply(a.first, e) + apply(a.shortcut, e))
    for layer in (a.second, a.third):
        h = torch.relu(apply(layer, h) + h)
    return h


def hidden_in_place(a, e):
    h = F.relu(a.first(e) + a.shortcut(e))
    h = F.relu_(a.second(h) + h)
    return F.relu_(a.third(h) + h)


def hidden_with(start=None, layer=lambda f, h: F.relu(f(h) + h), last=None):
    def answer(a, e):
        h = layer(a.second, start(a, e) if start else F.relu(a.first(e) + a.shortcut(e)))
        return (last or layer)(a.third, h)

    return answer


def hidden_start(a, e):
    return F.relu(a.first(e) + a.shortcut(e))


def hidden_without_gradient(a, e):
    with torch.no_grad():
        return hidden(a, e)


RESIDUAL = (
    [hidden, hidden_by_matrices, hidden_by_month, hidden_by_einsum, hidden_in_place, lambda a, e: a.hidden(e)],
    [
        (hidden_with(layer=lambda f, h: F.relu(f(h))), "shortcut"),
        (hidden_with(layer=lambda f, h: F.relu(f(h)) + h), "relu comes last"),
        (hidden_with(layer=lambda f, h: f(h) + h), "lack their relu"),
        (hidden_with(last=lambda f, h: F.relu(f(h))), "third"),
        (hidden_with(last=lambda f, h: f(h) + h), "relu"),
        (hidden_with(last=lambda f, h: h), "h2"),
        (hidden_with(start=lambda a, e: F.relu(a.first(e))), "A'"),
        (hidden_with(start=lambda a, e: F.relu(a.first(e)) + F.relu(a.shortcut(e))), "first"),
        (hidden_with(start=lambda a, e: a.first(e) + a.shortcut(e)), "relu"),
        (hidden_with(start=lambda a, e: F.relu(a.first(e) + e[..., :1])), None),
        (hidden_with(start=lambda a, e: F.relu(2 * a.first(e))), "`.first` is used twice"),
        (lambda a, e: F.relu(a.third(F.relu(a.second(hidden_start(a, e)))) + hidden_start(a, e)), None),
        (lambda a, e: hidden_with(last=lambda f, h: F.relu(a.second(h) + h))(a, e), "`.second` is used twice"),
        (
            hidden_with(lambda a, e: (a.first(e) + a.shortcut(e)).tanh(), lambda f, h: (f(h) + h).tanh()),
            "another function",
        ),
        (hidden_with(layer=lambda f, h: torch.sigmoid(f(h) + h)), None),
        (hidden_with(layer=lambda f, h: F.leaky_relu(f(h) + h, 0.1)), None),
        (lambda a, e: a.encode(e), "to_latent"),
        (lambda a, e: a(e), None),
        (lambda a, e: hidden(a, e).detach(), "no gradient"),
        (hidden_without_gradient, "no gradient"),
        (lambda a, e: hidden(a, e).mean(1), None),
        (lambda a, e: hidden(a, e)[0], None),
        (lambda a, e: F.relu(a.first(e) + e), "RuntimeError"),
        (lambda a, e: hidden(a, e.mul_(1).add_(1).sub_(2)), "in place"),
    ],
)

# --- divergences ------------------------------------------------------------------------------------------------------


def kl_by_loop(mean, variance):
    total = 0.0
    for m, v in zip(mean, variance, strict=True):
        total = total + (m**2 + v - 1 - torch.log(v)) / 2
    return total


def kl_by_torch(mean, variance):
    q = torch.distributions.Normal(mean, variance.sqrt())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()


def kl(m, v):
    return 0.5 * (m**2 + v - 1 - v.log()).sum()


KL = (
    [
        kl,
        kl_by_loop,
        kl_by_torch,
        lambda m, v: -0.5 * torch.sum(1 + torch.log(v) - m.pow(2) - v),
        lambda m, v: (m @ m + v.sum() - len(m) - v.log().sum()) / 2,
        lambda m, v: (0.5 * (torch.einsum("i,i", m, m) + (v - v.log()).sum() - m.numel())).reshape(1),
    ],
    [
        (lambda m, v: kl(m, v).item(), "no gradient"),
        (lambda m, v: float(kl(m, v)), "no gradient"),
        (lambda m, v: kl(m, v).detach(), "no gradient"),
        (lambda m, v: 0.5 * np.sum(np.asarray(m) ** 2 + np.asarray(v) - 1 - np.log(np.asarray(v))), "no gradient"),
        (
            lambda m, v: sum((a * a + b - 1 - math.log(b)) / 2 for a, b in zip(m.tolist(), v.tolist(), strict=False)),
            "no gradient",
        ),
        (lambda m, v: kl(m.detach(), v), "mean"),
        (lambda m, v: kl(m, v.data), "variance"),
        (lambda m, v: 0.5 * (m**2 + v - 1 - v.log()), "one number"),
        (lambda m, v: 0.5 * (m**2 + v - 1 - v.log()).mean(), "mean"),
        (lambda m, v: 2 * kl(m, v), "half"),
        (lambda m, v: -kl(m, v), "sign"),
        (lambda m, v: 0.5 * (m**2 + v - 1 + v.log()).sum(), "sign"),
        (lambda m, v: kl(m, v.sqrt()), "a root of `variance`"),
        (lambda m, v: kl(m, v**2), "square"),
        (lambda m, v: 0.5 * (m + v - 1 - v.log()).sum(), "squared"),
        (lambda m, v: 0.5 * (m**2 + v - v.log()).sum(), "-1"),
        (lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).sum(), "exp of `variance`"),
        (lambda m, v: 0.5 * m**2 + v - 1 - v.log(), None),
        (lambda m, v: (0.5 * m**2 + v - 1 - v.log()).sum(), "half"),
        (lambda m, v: 0.5 * (m.sum() ** 2 + v.sum() - len(m) - v.log().sum()), None),
        (lambda m, v: 0.5 * (m**2 + v - 1 - torch.log10(v)).sum(), "base 10"),
        (lambda m, v: torch.tensor(0.7), "same answer"),
        (lambda m, v: 0.5 * (m @ m + v.sum() - 1 - v.log().sum()), "once"),
        (lambda m, v: 0.5 * ((1 + m**2) / v - 1 + v.log()).sum(), "other way round"),
    ],
)


def aggregate(t):
    heap = t.flatten(0, 1)
    return kl(heap.mean(0), heap.var(0).clamp_min(1e-8))


def aggregate_by_loop(t):
    total = 0
    for z in range(t.shape[2]):
        values = t[:, :, z].reshape(-1)
        mean = values.sum() / len(values)
        variance = ((values - mean) ** 2).sum() / (len(values) - 1)
        total = total + kl(mean[None], torch.maximum(variance, torch.tensor(1e-8))[None])
    return total


AGGREGATE = (
    [
        aggregate,
        aggregate_by_loop,
        lambda t: kl(t.mean((0, 1)), t.var((0, 1)).clamp(min=1e-8)),
        lambda t: hg.autoencoder_loss(t, t, t)[1],
        lambda t: kl(t.mean(dim=(0, 1)), t.var(dim=(0, 1)) + 1e-8),
        lambda t: kl(torch.einsum("blz->z", t) / t[..., 0].numel(), t.std((0, 1)).clamp_min(1e-4).square()),
    ],
    [
        (lambda t: kl(t.mean((0, 1)), t.var((0, 1))), "1e-8"),
        (lambda t: kl(t.mean((0, 1)), t.var((0, 1)).clamp_min(1e-3)), "floor"),
        (lambda t: kl(t.mean((0, 1)), t.var((0, 1), unbiased=False).clamp_min(1e-8)), "n - 1"),
        (lambda t: kl(t.mean((0, 1)), t.std((0, 1)).clamp_min(1e-8)), "standard deviation"),
        (lambda t: aggregate(t).item(), "no gradient"),
        (lambda t: aggregate(t.detach()), "no gradient"),
        (lambda t: aggregate(t) / t.shape[-1], "mean over coordinates"),
        (lambda t: 2 * aggregate(t), "2 times"),
        (lambda t: -aggregate(t), "sign"),
        (lambda t: kl(t.mean(1), t.var(1).clamp_min(1e-8)), "patient by patient"),
        (lambda t: kl(t.mean(0), t.var(0).clamp_min(1e-8)), "month by month"),
        (lambda t: kl(t.mean(1), t.var(1).clamp_min(1e-8)) / len(t), "patient by patient"),
        (lambda t: kl(t.mean()[None], t.var()[None].clamp_min(1e-8)), None),
        (lambda t: aggregate(t.mean(1, keepdim=True)), "averaged first"),
        (lambda t: 0.5 * t.square().sum(-1).mean(), "textbook"),
        (lambda t: 0.5 * t.square().mean(), None),
        (lambda t: kl(0 * t.mean((0, 1)), t.var((0, 1)).clamp_min(1e-8)), "mean is left out"),
        (lambda t: kl(t.mean((0, 1)), t.var((0, 1)).clamp_min(1e-8)) + 1, "off by"),
        (lambda t: aggregate(t.sub_(t.mean((0, 1)))), "in place"),
        (lambda t: kl(t.mean((0, 1)).clamp_min(1e-8), t.var((0, 1)).clamp_min(1e-8)), "may be negative"),
        (lambda t: kl(t.mean((0, 1)), t.var((0, 1)) + (t.var((0, 1)) == 0)), "right for 6 of 8"),
        (lambda t: aggregate(t) if (t.var((0, 1)) < 1e-8).all() else kl(t.mean((0, 1)), t.var((0, 1))), "infinit"),
        (lambda t: kl(t.mean((0, 1)), t.var(1).mean(0).clamp_min(1e-8)), "inside each patient"),
        (lambda t: aggregate(t) + 0 * t.var((0, 1)).sqrt().sum(), "NaN"),
        (lambda t: kl(t.flatten(0, 1).mean(0).detach(), t.flatten(0, 1).var(0).clamp_min(1e-8)), None),
    ],
)

# --- the loss that only the autoencoder hears -------------------------------------------------------------------------


def whole(critic, autoencoder, x):
    e = critic.embed(x).detach()
    reconstruction, t, _ = autoencoder(e)
    return F.mse_loss(reconstruction, e) + aggregate(t)


def whole_in_no_grad(critic, autoencoder, x):
    with torch.no_grad():
        e = critic.embed(x)
    t = autoencoder.encode(e)
    return ((autoencoder.reconstruct(t) - e) ** 2).mean() + aggregate_by_loop(t)


def whole_by_package(critic, autoencoder, x):
    e = critic.embed(x).data
    out = autoencoder(e)
    return sum(hg.autoencoder_loss(out[0], e, out[1]))


def whole_by_hand(critic, autoencoder, x):
    e = (x @ (critic.embedding * critic.learned + critic.passed_on)).clone().detach()
    h = hidden(autoencoder, e)
    t = autoencoder.to_latent(h)
    off = autoencoder.reconstruct(t) - e
    return torch.sum(off * off) / off.numel() + kl(t.mean((0, 1)), t.var((0, 1)).clamp_min(1e-8))


def whole_with(given=True, target=True, total=lambda error, divergence: error + divergence, out=lambda r, t: (r, t)):
    def answer(critic, autoencoder, x):
        e = critic.embed(x)
        r, t = out(*autoencoder(e.detach() if given else e)[:2])
        return total(F.mse_loss(r, e.detach() if target else e), aggregate(t))

    return answer


def whole_that_learns(critic, autoencoder, x):
    loss = whole(critic, autoencoder, x)
    loss.backward()
    return loss


def whole_that_freezes(critic, autoencoder, x):
    for weight in critic.parameters():
        weight.requires_grad = False
    return whole_with(False, False)(critic, autoencoder, x)


DETACHED = (
    [
        whole,
        whole_in_no_grad,
        whole_by_package,
        whole_by_hand,
        lambda c, a, x: (
            F.mse_loss(a(c.embed(x).detach())[0], c.embed(x).detach()) + aggregate(a(c.embed(x).detach())[1])
        ),
    ],
    [
        (whole_with(False, False), "both"),
        (whole_with(True, False), "target"),
        (whole_with(False, True), "input"),
        (lambda *a: whole(*a).detach(), "no gradient"),
        (lambda *a: whole(*a).item(), "no gradient"),
        (whole_with(out=lambda r, t: (r.detach(), t)), "detach too many"),
        (whole_with(out=lambda r, t: (r, t.detach())), "detach too many"),
        (whole_with(total=lambda error, divergence: error), "divergence is missing"),
        (whole_with(total=lambda error, divergence: divergence), "error is missing"),
        (whole_with(total=lambda error, divergence: error - divergence), "subtracted"),
        (whole_with(total=lambda error, divergence: (error, divergence)), "one number"),
        (whole_with(total=lambda error, divergence: (error + divergence) / 2), "0.5 times"),
        (whole_with(total=lambda error, divergence: error + 0.1 * divergence), "weight"),
        (whole_with(total=lambda error, divergence: error.sqrt() + divergence), "root"),
        (
            lambda c, a, x: aggregate(a.encode(c.embed(x).detach())) + F.l1_loss(a(c.embed(x).detach())[0], c.embed(x)),
            "absolute",
        ),
        (
            lambda c, a, x: F.mse_loss(a(c.embed(x).detach())[0], c.embed(x).detach()) + aggregate(c.embed(x).detach()),
            "t.",
        ),
        (lambda c, a, x: whole(c, a, x) + F.mse_loss(c.embed(x).detach(), 0 * c.embed(x)), None),
        (lambda c, a, x: F.mse_loss(a(x)[0], x) + aggregate(a(x)[1]), "RuntimeError"),
        (lambda c, a, x: F.mse_loss(a(c.embed(x).detach()), c.embed(x)), None),
        (whole_that_learns, "backward"),
        (whole_that_freezes, "freezes"),
        (whole_with(total=lambda error, divergence: error.detach() + divergence), "too many"),
    ],
)

# --- the draw ---------------------------------------------------------------------------------------------------------


def draw(mean, log_variance, noise):
    return mean + noise * torch.exp(0.5 * log_variance)


DRAW = (
    [
        draw,
        lambda m, v, n: torch.addcmul(m, n, v.exp().sqrt()),
        lambda m, v, n: m + n * v.mul(0.5).exp(),
        lambda m, v, n: m + math.e ** (v / 2) * n,
        lambda m, v, n: torch.distributions.Normal(m, (v / 2).exp()).mean + n * torch.exp(v) ** 0.5,
        lambda m, v, n: torch.stack(
            [a + c * (b / 2).exp() for a, b, c in zip(m.flatten(), v.flatten(), n.flatten(), strict=True)]
        ).view_as(m),
    ],
    [
        (lambda m, v, n: m + n * v.exp(), "half"),
        (lambda m, v, n: m + n * v, "exponentiate"),
        (lambda m, v, n: m + n * 0.5 * v, "exponential"),
        (lambda m, v, n: m + n * 0.5 * v.exp(), "exponent"),
        (lambda m, v, n: m + n / torch.exp(0.5 * v), "the sign of `log_variance`"),
        (lambda m, v, n: m + n, "`log_variance` makes no difference"),
        (lambda m, v, n: n * torch.exp(0.5 * v), "`mean` makes no difference"),
        (lambda m, v, n: m + torch.exp(0.5 * v), "`noise` makes no difference"),
        (lambda m, v, n: m * torch.exp(0.5 * v) + n, "changed places"),
        (lambda m, v, n: (m + n) * torch.exp(0.5 * v), "brackets"),
        (lambda m, v, n: m - n * torch.exp(0.5 * v), "subtracted"),
        (lambda m, v, n: m + torch.randn_like(m) * torch.exp(0.5 * v), None),
        (lambda m, v, n: torch.normal(m, torch.exp(0.5 * v)), None),
        (lambda m, v, n: draw(m, v, n).detach(), "no gradient"),
        (lambda m, v, n: draw(m, v, n).data, "no gradient"),
        (torch.no_grad()(lambda m, v, n: draw(m, v, n)), "no gradient"),
        (lambda m, v, n: np.asarray(m) + np.asarray(n) * np.exp(np.asarray(v) / 2), "no gradient"),
        (lambda m, v, n: draw(m.detach(), v, n), "mean"),
        (lambda m, v, n: draw(m, v.detach(), n), "`log_variance`"),
        (lambda m, v, n: m, "given"),
        (lambda m, v, n: draw(m, v, n).mean(), "averaged"),
        (lambda m, v, n: m.add_(n * (v / 2).exp()), "in place"),
        (lambda m, v, n: draw(m, v.clamp(min=0), n), "may be negative"),
        (lambda m, v, n: m * n + torch.exp(0.5 * v), "not by the mean"),
    ],
)

ANSWERS = {
    "residual_encoder": RESIDUAL,
    "kl": KL,
    "aggregate_kl": AGGREGATE,
    "detached_loss": DETACHED,
    "reparameterise": DRAW,
}
