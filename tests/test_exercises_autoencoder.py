"""Notebook 03's checks: right answers pass, the likeliest mistakes are named, nonsense gets a message."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import hg_helpers as hg
from hg_helpers.exercises import (
    check_aggregate_kl,
    check_detached_loss,
    check_kl,
    check_prototypes,
    check_reparameterise,
    check_residual_encoder,
)

CHECKS = {
    check_residual_encoder: lambda a, e: a.hidden(e),
    check_kl: lambda m, v: 0.5 * (m**2 + v - 1 - v.log()).sum(),
    check_aggregate_kl: lambda t: hg.autoencoder_loss(t, t, t)[1],
    check_detached_loss: lambda c, a, x: total(c.embed(x).detach(), a),
    check_reparameterise: lambda m, v, n: m + n * (0.5 * v).exp(),
    check_prototypes: lambda t: t.mean(1, keepdim=True),
}


def total(e, autoencoder, target=None):
    reconstruction, t, _ = autoencoder(e)
    return sum(hg.autoencoder_loss(reconstruction, e if target is None else target, t))


def kl(mean, variance):
    return 0.5 * (mean**2 + variance - 1 - variance.log())


def hidden(first=lambda a, e: F.relu(a.first(e) + a.shortcut(e)), layer=lambda f, h: F.relu(f(h) + h)):
    return lambda a, e: layer(a.third, layer(a.second, first(a, e)))


MISTAKES = [
    (check_residual_encoder, hidden(layer=lambda f, h: F.relu(f(h))), "lack their shortcut"),
    (check_residual_encoder, hidden(layer=lambda f, h: F.relu(f(h)) + h), "relu comes last"),
    (check_residual_encoder, hidden(layer=lambda f, h: f(h) + h), "lack their relu"),
    (check_residual_encoder, hidden(first=lambda a, e: F.relu(a.first(e))), "A' (shortcut) is missing"),
    (check_residual_encoder, lambda a, e: a.encode(e), "before to_latent"),
    (check_kl, lambda m, v: 0.5 * (m**2 + v.sqrt() - 1 - v.sqrt().log()).sum(), "no square root"),
    (check_kl, lambda m, v: -kl(m, v).sum(), "sign is turned round"),
    (check_kl, lambda m, v: 0.5 * (m**2 + v - 1 + v.log()).sum(), "logarithm's sign"),
    (check_kl, lambda m, v: kl(m, v).mean(), "sums over coordinates"),
    (check_kl, lambda m, v: 2 * kl(m, v).sum(), "half in front"),
    (check_kl, lambda m, v: 0.5 * (m + v - 1 - v.log()).sum(), "mean has to be squared"),
    (check_aggregate_kl, lambda t: kl(t.mean(1), t.var(1)).sum(-1).mean(), "patient by patient"),
    (check_aggregate_kl, lambda t: kl(t.mean(0), t.var(0)).sum(-1).mean(), "month by month"),
    (check_aggregate_kl, lambda t: kl(t.mean((0, 1)), t.var((0, 1), unbiased=False)).sum(), "n - 1"),
    (check_aggregate_kl, lambda t: kl(t.mean((0, 1)), t.std((0, 1))).sum(), "standard deviation"),
    (check_aggregate_kl, lambda t: kl(t.mean((0, 1)), t.var((0, 1))).mean(), "mean over coordinates"),
    (check_aggregate_kl, lambda t: kl(t.mean((0, 1)), t.var((0, 1))).sum(), "Floor the variance"),
    (check_aggregate_kl, lambda t: kl(t.mean((0, 1)), t.var((0, 1)).clamp_min(1e-3)).sum(), "Is the floor 1e-8?"),
    (check_detached_loss, lambda c, a, x: total(c.embed(x), a), "both the autoencoder's input and the target"),
    (check_detached_loss, lambda c, a, x: total(c.embed(x).detach(), a, c.embed(x)), "through the target"),
    (check_detached_loss, lambda c, a, x: total(c.embed(x), a, c.embed(x).detach()), "through the autoencoder's input"),
    (check_detached_loss, lambda c, a, x: total(c.embed(x), a).detach(), "nothing can learn"),
    (check_detached_loss, lambda c, a, x: F.mse_loss(a(c.embed(x))[0], c.embed(x)), "divergence is missing"),
    (
        check_detached_loss,
        lambda c, a, x: hg.autoencoder_loss(a(c.embed(x))[0], c.embed(x), a(c.embed(x))[1]),
        "return one number",
    ),
    (
        check_detached_loss,
        lambda c, a, x: sum(
            hg.autoencoder_loss(*(v.detach() for v in (a(c.embed(x))[0], c.embed(x))), a(c.embed(x).detach())[1])
        ),
        "a detach too many",
    ),
    (check_reparameterise, lambda m, v, n: m + n * v.exp(), "is the variance"),
    (check_reparameterise, lambda m, v, n: m + n * v, "exponentiate half"),
    (check_reparameterise, lambda m, v, n: m + n, "keeps variance 1"),
    (check_reparameterise, lambda m, v, n: m * (0.5 * v).exp() + n, "changed places"),
    (check_prototypes, lambda t: t.mean(0, keepdim=True), "averages over patients"),
    (check_prototypes, lambda t: t.mean(1), "keep the months' axis"),
    (check_prototypes, lambda t: t.mean(-1), "latent coordinates"),
    (check_prototypes, lambda t: t.sum(1, keepdim=True), "take the mean"),
]
NONSENSE = ["words", 3.0, [1, [2]], torch.zeros(5), lambda *_: "words", lambda *_: torch.zeros(7), lambda *_: 1 / 0]
NONSENSE += [lambda: 1, lambda *_: [torch.zeros(1), torch.zeros(2)], lambda *_: {}, lambda *_: np.ones((2, 2))]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_right_answer_passes(check, capsys):
    assert check(CHECKS[check]) is True
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("stub", [None, ..., lambda *_: ..., lambda *_: None])
def test_a_stub_is_told_so(check, stub, capsys):
    assert check(stub) is False
    assert "nothing has been filled in" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "answer", "words"), MISTAKES, ids=[f"{c.__name__}: {w}" for c, _, w in MISTAKES])
def test_a_likely_mistake_is_named(check, answer, words, capsys):
    assert check(answer) is False
    out = capsys.readouterr().out
    assert words in out and out.startswith("Not yet: ") and out.count("\n") == 1


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_gets_one_line_and_no_crash(check, answer, capsys):
    assert check(answer) is False
    out = capsys.readouterr().out
    assert out.startswith("Not yet: ") and out.count("\n") == 1


def test_the_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    for check, right in CHECKS.items():
        check(right)
    assert torch.equal(torch.get_rng_state(), before)
