"""The checks of the second notebook: right answers pass, the likeliest mistakes are named, nonsense does no harm."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import hg_helpers as hg
from hg_helpers.exercises import nb02_wgan as wgan


def said(capsys, check, answer) -> tuple[bool, str]:
    """The verdict and the one line that was printed."""
    capsys.readouterr()
    verdict = check(answer)
    line = capsys.readouterr().out
    assert isinstance(verdict, bool) and line.count("\n") == 1 and line.startswith("Right" if verdict else "Not yet")
    return verdict, line


# --- answers ----------------------------------------------------------------------------------------------------------


def step(x, h, c, weight, hidden_weight, bias, order="oifa", candidate=torch.tanh, end=torch.tanh):
    gate = dict(zip(order, (x @ weight + h @ hidden_weight + bias).chunk(4, -1), strict=True))
    c = torch.sigmoid(gate["f"]) * c + torch.sigmoid(gate["i"]) * candidate(gate["a"])
    return torch.sigmoid(gate["o"]) * end(c), c


def heads(logits, schema, axis=-1, real=torch.sigmoid):
    return torch.cat(
        [
            real(logits[..., schema.spans[f.name]]) if f.is_real else logits[..., schema.spans[f.name]].softmax(axis)
            for f in schema
        ],
        -1,
    )


def penalty(critic, real, fake, mix, axes=(1, 2), root=True, graph=True, swap=False):
    x = (1 - mix) * real + mix * fake if swap else mix * real + (1 - mix) * fake
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=graph)
    norm = slope.square().sum(axes)
    return ((norm.sqrt() if root else norm) - 1).square().mean()


def critic_loss(generator, critic, real, z, mix, sign=1, weight=10, detach=True, cut=False):
    fake = generator(z).detach() if detach else generator(z)
    loss = sign * (critic(fake).mean() - critic(real).mean()) + weight * hg.gradient_penalty(critic, real, fake, mix)
    return loss.detach() if cut else loss


def log_loss(generator, critic, real, z, mix):
    return F.softplus(-critic(real)).mean() + F.softplus(critic(generator(z).detach())).mean()


def modes(levels, axis=1):
    return np.apply_along_axis(lambda row: np.bincount(row).argmax(), axis, levels)


RIGHT = {
    wgan.check_lstm_step: step,
    wgan.check_heads: heads,
    wgan.check_gradient_penalty: penalty,
    wgan.check_critic_loss: critic_loss,
    wgan.check_patient_modes: modes,
}
CHECKS = list(RIGHT)


@pytest.mark.parametrize("check", CHECKS)
def test_the_right_answer_passes(capsys, check):
    assert said(capsys, check, RIGHT[check])[0]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [..., None])
def test_an_empty_answer_is_told_so(capsys, check, answer):
    passed, line = said(capsys, check, answer)
    assert not passed and "nothing has been filled in" in line
    passed, line = said(capsys, check, lambda *given: answer)  # a stub is a function that returns nothing yet
    assert not passed and "nothing has been filled in" in line


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "answer",
    ["words", [1, 2, 3, 4, 5], {}, float("nan"), torch.zeros(2, 2), np.array(["a"]), object()],
    ids=lambda answer: type(answer).__name__,
)
def test_nonsense_gets_a_message(capsys, check, answer):
    assert not said(capsys, check, answer)[0]
    assert not said(capsys, check, lambda *given: answer)[0]
    assert not said(capsys, check, lambda *given: (answer, answer))[0]


@pytest.mark.parametrize("check", CHECKS)
def test_a_function_that_stops_is_named_with_its_error(capsys, check):
    def stops(*given):
        raise KeyError("Gender")

    assert "KeyError: 'Gender'" in said(capsys, check, stops)[1]
    assert "TypeError" in said(capsys, check, lambda: 1)[1]


MISTAKES = [
    (wgan.check_lstm_step, lambda *g: step(*g)[::-1], "changed places: return the hidden state first"),
    (wgan.check_lstm_step, lambda *g: step(*g, order="ifao"), "torch's order"),
    (wgan.check_lstm_step, lambda *g: step(*g, order="ofia"), "forget gate f have changed places"),
    (wgan.check_lstm_step, lambda *g: step(*g, end=lambda c: c), "not o times c'"),
    (wgan.check_lstm_step, lambda *g: step(*g, candidate=torch.sigmoid), "goes through tanh"),
    (wgan.check_lstm_step, lambda x, h, c, w, u, b: step(x, h, c, w, u, 0), "bias is missing"),
    (wgan.check_lstm_step, lambda x, h, c, w, u, b: step(x, h, c, w, 0 * u, b), "do not see h"),
    (wgan.check_lstm_step, lambda *g: step(*g)[0], "return two tensors"),
    (wgan.check_heads, lambda x, s: x.softmax(-1), "one softmax over all channels"),
    (wgan.check_heads, lambda x, s: torch.cat([x[..., :1].sigmoid(), x[..., 1:].softmax(-1)], -1), "share one softmax"),
    (wgan.check_heads, lambda x, s: x.sigmoid(), "a sigmoid everywhere"),
    (wgan.check_heads, lambda x, s: heads(x, s, axis=1), "along the months"),
    (wgan.check_heads, lambda x, s: heads(x, s, real=lambda part: part), "still a raw logit"),
    (wgan.check_heads, lambda x, s: heads(x, s, real=torch.ones_like), "always 1"),
    (wgan.check_heads, lambda x, s: heads(x, s)[..., 1:], "the shape is (3, 4, 5), expected (3, 4, 6)"),
    (wgan.check_gradient_penalty, lambda *g: penalty(*g, axes=2), "for each month alone"),
    (wgan.check_gradient_penalty, lambda *g: penalty(*g, axes=1), "for each channel alone"),
    (wgan.check_gradient_penalty, lambda *g: penalty(*g, axes=(0, 1, 2)), "whole batch"),
    (wgan.check_gradient_penalty, lambda *g: penalty(*g, root=False), "square root is missing"),
    (wgan.check_gradient_penalty, lambda *g: penalty(*g, swap=True), "upside down"),
    (wgan.check_gradient_penalty, lambda *g: penalty(*g, graph=False), "create_graph=True"),
    (wgan.check_gradient_penalty, lambda c, r, f, m: penalty(c, r, r, m), "at the real patients"),
    (wgan.check_critic_loss, lambda *g: critic_loss(*g, sign=-1), "sign of the scores is turned"),
    (wgan.check_critic_loss, lambda *g: critic_loss(*g, weight=1), "weight is missing"),
    (wgan.check_critic_loss, lambda *g: critic_loss(*g, weight=-10), "subtracted"),
    (wgan.check_critic_loss, lambda *g: critic_loss(*g, weight=0), "penalty is missing"),
    (wgan.check_critic_loss, lambda *g: critic_loss(*g, detach=False), "reaches the generator"),
    (wgan.check_critic_loss, lambda *g: critic_loss(*g, cut=True), "cut off from the critic"),
    (wgan.check_critic_loss, log_loss, "log-loss"),
    (wgan.check_critic_loss, lambda g, c, r, z, m: -c(g(z)).mean(), "generator's loss"),
    (wgan.check_patient_modes, lambda x: modes(x, axis=0), "one answer a month"),
    (wgan.check_patient_modes, lambda x: x[:, 0], "first month"),
    (wgan.check_patient_modes, lambda x: x.mean(1).round(), "rounded mean"),
    (wgan.check_patient_modes, lambda x: np.median(x, 1), "median"),
    (wgan.check_patient_modes, lambda x: np.full(len(x), np.bincount(x.ravel()).argmax()), "one level for all"),
    (
        wgan.check_patient_modes,
        lambda x: np.apply_along_axis(lambda r: 3 - np.bincount(r, minlength=4)[::-1].argmax(), 1, x),
        "the first of them",
    ),
]


@pytest.mark.parametrize(("check", "answer", "words"), MISTAKES)
def test_a_likely_mistake_is_named(capsys, check, answer, words):
    passed, line = said(capsys, check, answer)
    assert not passed and words in line


def test_the_checks_leave_torch_s_global_generator_alone(capsys):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    for check, answer in RIGHT.items():
        check(answer)
    assert torch.equal(before, torch.random.get_rng_state())
