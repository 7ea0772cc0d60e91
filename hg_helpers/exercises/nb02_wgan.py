"""Exercises of notebook 2: the LSTM, the heads, the critic's loss and penalty, and what collapse looks like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cohort.art import ART_DEMO
from ..cohort.schema import Feature, Schema
from ..model.losses import gradient_penalty
from ..model.networks import Critic, Generator
from .judging import Case, Exercise, each
from .toy import toy_schema


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same ones at each call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def other_schema() -> Schema:
    """A schema unlike the toy's: levels first, two reals, 8 channels."""
    return Schema(
        [
            Feature("Ward", "categorical", levels=("N", "S", "E"), codes=(0, 1, 2)),
            Feature("Pulse", "real"),
            Feature("Stage", "categorical", levels=("I", "II", "III"), codes=(1, 2, 3)),
            Feature("Weight", "real"),
        ],
        length=3,
    )


def plain(network: nn.Module) -> nn.Module:
    """The network with its LSTM in torch's own operations, so that an answer may differentiate as it likes."""
    network.lstm.fast = False
    return network


def seeded(build: Callable, seed: int = 0):
    """What `build` makes, with weights that are the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


# --- one month of an LSTM ---------------------------------------------------------------------------------------------


def _month(patients: int, inputs: int, hidden: int) -> tuple[Tensor, ...]:
    sizes = [(patients, inputs), (patients, hidden), (patients, hidden), (inputs, 4 * hidden)]
    sizes += [(hidden, 4 * hidden), (4 * hidden,)]
    return tuple(random_tensor(*size, seed=i) for i, size in enumerate(sizes))


def _step(
    order: str = "oifa",
    gate: Callable = torch.sigmoid,
    candidate: Callable = torch.tanh,
    cell: Callable = lambda f, c, i, a: f * c + i * a,
    out: Callable = lambda o, new, old: o * torch.tanh(new),
    sums: Callable = lambda x, h, weight, hidden_weight, bias: x @ weight + h @ hidden_weight + bias,
) -> Callable:
    def lstm_step(x, h, c, weight, hidden_weight, bias):
        parts = dict(zip(order, sums(x, h, weight, hidden_weight, bias).chunk(4, -1), strict=True))
        new = cell(gate(parts["f"]), c, gate(parts["i"]), candidate(parts["a"]))
        return out(gate(parts["o"]), new, c), new

    return lstm_step


_PAIR = "the new (h, c), each of shape (patients, hidden): c' = f c + i a, h' = o tanh(c')."
check_lstm_step = Exercise(
    _step(),
    each(_month, [(1, 1, 1), (3, 2, 4), (4, 3, 4), (5, 6, 12)]),
    "patients move one month, gates, cell and hidden state alike.",
    _PAIR,
    (
        (lambda *a: _step()(*a)[::-1], "h and c have changed places: return the hidden state first, then the cell."),
        (lambda *a: _step()(*a)[0], "only h comes back; return both, h and c."),
        *(
            (
                _step(order=order),
                f"the gates are cut in another order ({', '.join(order)}); here they stand o, i, f, a.",
            )
            for order in ("ifao", "ofia", "ifoa", "iofa", "fioa")
        ),
        (_step(out=lambda o, new, old: o * new), "h' is o times tanh(c'), not o times c'."),
        (_step(out=lambda o, new, old: o * torch.tanh(old)), "h' uses the old c; it is o times tanh of the new one."),
        (_step(candidate=torch.sigmoid), "the candidate a goes through tanh (it may be negative)."),
        (_step(gate=torch.tanh), "the gates o, i, f go through a sigmoid, not tanh."),
        (_step(gate=torch.tanh, candidate=torch.sigmoid), "sigmoid and tanh have changed places."),
        (_step(gate=lambda s: s), "the gates o, i, f are still plain sums; they go through a sigmoid."),
        (_step(cell=lambda f, c, i, a: c + i * a), "the forget gate f is missing: c' = f c + i a."),
        (_step(cell=lambda f, c, i, a: f * c + a), "the input gate i is missing: c' = f c + i a."),
        (_step(cell=lambda f, c, i, a: i * a), "the old cell is forgotten: c' = f c + i a."),
        (_step(cell=lambda f, c, i, a: f * c), "nothing new enters the cell: c' = f c + i a."),
        (_step(cell=lambda f, c, i, a: f * c - i * a), "a sign: c' = f c + i a."),
        (_step(sums=lambda x, h, w, u, b: x @ w + h @ u), "the bias is missing from the sums that the gates receive."),
        (_step(sums=lambda x, h, w, u, b: x @ w + b), "the gates do not see h: add h @ hidden_weight."),
    ),
    learns=("x", "h", "c", "weight", "hidden_weight", "bias"),
)

# --- the generator's heads --------------------------------------------------------------------------------------------


def _logits(patients: int, months: int, schema: Schema) -> tuple[Tensor, Schema]:
    return 2 * random_tensor(patients, months, schema.channels), schema


def _heads(real: Callable = torch.sigmoid, block: Callable = lambda part: part.softmax(-1)) -> Callable:
    def heads(logits: Tensor, schema: Schema) -> Tensor:
        return torch.cat([(real if f.is_real else block)(logits[..., schema.spans[f.name]]) for f in schema], -1)

    return heads


def _rest_in_one(logits: Tensor, schema: Schema) -> Tensor:
    reals = [c for f in schema.real for c in range(schema.channels)[schema.spans[f.name]]]
    others = [c for c in range(schema.channels) if c not in reals]
    answer = torch.zeros_like(logits)
    answer[..., reals], answer[..., others] = logits[..., reals].sigmoid(), logits[..., others].softmax(-1)
    return answer


_ONE = "one softmax for several features: each feature's block of levels needs its own."
check_heads = Exercise(
    _heads(),
    each(_logits, [(3, 4, toy_schema()), (1, 1, toy_schema()), (2, 3, other_schema()), (4, 2, ART_DEMO)]),
    "viral load lies in [0, 1], and the levels of each feature add up to 1 in every month.",
    "(B, L, C): sigmoid on reals, one softmax on each feature's block of levels.",
    (
        (lambda logits, schema: logits.softmax(-1), _ONE),
        (_rest_in_one, _ONE),
        (
            _heads(block=torch.sigmoid),
            "a sigmoid everywhere: the levels of a feature must add up to 1, so softmax them.",
        ),
        (
            _heads(block=lambda p: p.softmax(1)),
            "the softmax runs along the months (axis 1); it belongs to the last axis.",
        ),
        (_heads(block=lambda p: p.softmax(0)), "the softmax runs over patients (axis 0); it belongs to the last axis."),
        (_heads(block=lambda p: p.log_softmax(-1)), "these are logarithms of probabilities: softmax, not log_softmax."),
        (_heads(block=lambda p: p.exp()), "exp alone: divide by the sum over the block, so that it adds up to 1."),
        (_heads(block=lambda p: p), "the levels are still raw logits; softmax each block."),
        (_heads(real=lambda p: p), "the real feature is still a raw logit: a sigmoid brings it to [0, 1]."),
        (_heads(real=torch.tanh), "tanh gives -1 to 1; the real feature needs a sigmoid."),
        (_heads(real=lambda p: p.softmax(-1)), "a softmax over one channel is always 1: the real needs a sigmoid."),
        (_heads(block=lambda p: F.one_hot(p.argmax(-1), p.shape[-1])), "rounded to one level; keep the probabilities."),
        (
            lambda x, schema: _heads()(x[..., :6], toy_schema()),
            "the toy's channels are written into it; use the schema.",
        ),
        (_heads(real=lambda p: p.sigmoid().detach()), "the real features are detached."),
    ),
    learns=("logits",),
)

# --- the gradient penalty ---------------------------------------------------------------------------------------------


class _Curved(nn.Module):
    """A critic whose slope is steep for some patients and flat for others."""

    def __init__(self, months: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_tensor(months, channels) / (months * channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (x.square() * self.weight).sum((1, 2))[:, None] + x[:, :1].sum((1, 2))[:, None].sin()


def _mixtures(critic: str, patients: int, months: int, channels: int) -> tuple:
    network = _Curved(months, channels)
    if critic == "lstm":
        network = seeded(lambda: plain(Critic(toy_schema(), 8)))
        with torch.no_grad():
            network.score.weight *= 30  # slopes on both sides of 1
    wide = torch.linspace(0.1, 2, patients).view(-1, 1, 1)  # patients with small numbers and with large ones
    mix = torch.rand(patients, 1, 1, generator=torch.Generator().manual_seed(3))
    real, fake = (random_tensor(patients, months, channels, seed=k) for k in (1, 2))
    return network, real, fake * wide, mix


def _penalty(
    cost: Callable = lambda norm: (norm - 1).square().mean(),
    norm: Callable = lambda slope: slope.square().sum((1, 2)).sqrt(),
    point: Callable = lambda real, fake, mix: mix * real + (1 - mix) * fake,
    score: Callable = lambda scores: scores.sum(),
) -> Callable:
    def penalty(critic, real, fake, mix):
        x = point(real, fake, mix).detach().requires_grad_()
        return cost(norm(torch.autograd.grad(score(critic(x)), x, create_graph=True)[0]))

    return penalty


_BETWEEN = "take the slope in between, at mix * real + (1 - mix) * fake."
_SQUARED = "the distance from 1 is squared before the mean is taken."
check_gradient_penalty = Exercise(
    gradient_penalty,
    each(
        _mixtures,
        [("curved", 3, 4, 6), ("curved", 1, 2, 3), ("curved", 4, 1, 1), ("curved", 5, 5, 5), ("lstm", 4, 3, 6)],
    ),
    "one slope a patient, and the critic can be trained on it.",
    "mean over patients of (norm - 1) squared; norm of the slope, over axes 1 and 2, at mix * real + (1 - mix) * fake.",
    (
        (_penalty(norm=lambda s: s.square().sum(2).sqrt()), "the norm is taken for each month alone: sum over (1, 2)."),
        (
            _penalty(norm=lambda s: s.square().sum(1).sqrt()),
            "the norm is taken for each channel alone: sum over (1, 2).",
        ),
        (_penalty(norm=lambda s: s.norm()), "one norm for the whole batch: each patient has a norm of its own."),
        (
            _penalty(norm=lambda s: s.square().sum((1, 2))),
            "the square root is missing: it is the norm that should be 1.",
        ),
        (
            _penalty(norm=lambda s: s.square().mean((1, 2)).sqrt()),
            "the norm is a root of a sum of squares, not a mean.",
        ),
        (_penalty(lambda n: (n - 1).abs().mean()), _SQUARED),
        (_penalty(lambda n: (n - 1).mean().square()), _SQUARED),
        (_penalty(lambda n: (n - 1).clamp_min(0).square().mean()), "slopes below 1 are let off; here both sides cost."),
        (_penalty(lambda n: (n - 1).square().sum()), "take the mean over patients, not the sum."),
        (_penalty(lambda n: (n - 1).square()), "this is one number a patient; take the mean over patients."),
        (_penalty(lambda n: (n.square() - 1).mean()), "squared too early: subtract 1 from the norm, then square."),
        (_penalty(lambda n: n.square().mean()), "the norm is pulled towards 1, not 0: subtract 1 before squaring."),
        (
            _penalty(score=lambda s: s.mean()),
            "the gradient of the mean score is too small by the number of patients: sum.",
        ),
        (
            _penalty(point=lambda r, f, m: m * f + (1 - m) * r),
            "the mixture is upside down: mix * real + (1 - mix) * fake.",
        ),
        (_penalty(point=lambda r, f, m: r), f"the slope is taken at the real patients; {_BETWEEN}"),
        (_penalty(point=lambda r, f, m: f), f"the slope is taken at the fake patients; {_BETWEEN}"),
        (_penalty(point=lambda r, f, m: (r + f) / 2), f"mix is not used; {_BETWEEN}"),
    ),
    learns=("critic",),
    cut="torch.autograd.grad(..., create_graph=True) keeps the way back; .item(), detach and no_grad cut it.",
)

# --- the critic's loss ------------------------------------------------------------------------------------------------


def _batch(schema: Schema, patients: int) -> tuple:
    generator, critic = seeded(lambda: (plain(Generator(schema, 5, 8)), plain(Critic(schema, 8))))
    real, z = (random_tensor(patients, 4, k, seed=k) for k in (schema.channels, 5))
    return generator, critic, real.sigmoid(), z, torch.rand(patients, 1, 1, generator=torch.Generator().manual_seed(3))


def _loss(
    apart: Callable = lambda fake, real: fake.mean() - real.mean(),
    penalty: Callable = lambda *given: 10 * gradient_penalty(*given),
    cut: Callable = Tensor.detach,
) -> Callable:
    def critic_loss(generator, critic, real, z, mix):
        fake = cut(generator(z))
        return apart(critic(fake), critic(real)) + penalty(critic, real, fake, mix)

    return critic_loss


_LOG = "this is a classifier's log-loss: a critic compares plain mean scores."
check_critic_loss = Exercise(
    _loss(),
    each(_batch, [(toy_schema(), 3), (other_schema(), 4), (toy_schema(), 1)]),
    "the critic learns from it, and the generator does not notice.",
    "mean score of fakes - mean score of real patients + 10 * penalty.",
    (
        (
            _loss(lambda f, r: r.mean() - f.mean()),
            "the sign of the scores is turned: fakes would be scored above patients.",
        ),
        (_loss(penalty=gradient_penalty), "the penalty's weight is missing: 10 times the penalty."),
        (
            _loss(penalty=lambda *a: -10 * gradient_penalty(*a)),
            "the penalty is subtracted, so steep slopes are rewarded.",
        ),
        (_loss(penalty=lambda *a: 0), "the penalty is missing: 10 * hg.gradient_penalty(critic, real, fake, mix)."),
        (
            _loss(lambda f, r: -f.mean(), lambda *a: 0),
            "this is the generator's loss; the critic looks at real patients.",
        ),
        (_loss(lambda f, r: f.mean()), "the real patients' score is missing."),
        (_loss(lambda f, r: f.mean() + r.mean()), "a sign: the real patients' mean score is subtracted."),
        (_loss(lambda f, r: f.sum() - r.sum()), "scores are summed; take their means."),
        (_loss(lambda f, r: f - r), "this is one number a patient; take the means of the scores."),
        (_loss(lambda f, r: F.softplus(-r).mean() + F.softplus(f).mean()), _LOG),
        (
            _loss(penalty=lambda c, r, f, m: 10 * gradient_penalty(c, f, r, m)),
            "real and fake are swapped in the penalty.",
        ),
        (_loss(lambda f, r: f.mean().detach() - r.mean()), "the fakes' score is detached."),
        (_loss(lambda f, r: f.mean() - r.mean().detach()), "the real patients' score is detached."),
        (
            _loss(lambda f, r: (f.mean() - r.mean()).detach()),
            "both scores are detached; only the fakes need no gradient.",
        ),
        (_loss(penalty=lambda *a: 10 * gradient_penalty(*a).detach()), "the penalty is detached (.item(), no_grad)."),
        (_loss(cut=lambda fake: fake), "its gradient reaches the generator: make the fakes under torch.no_grad()."),
    ),
    learns=("critic", "generator"),
)

# --- counting by patient ----------------------------------------------------------------------------------------------


def _levels() -> list[Case]:
    first = [[0, 0, 2, 0, 3], [1, 3, 3, 1, 3], [2, 0, 0, 2, 1], [3, 3, 0, 0, 3], [0, 1, 1, 2, 1], [2, 2, 0, 1, 2]]
    cases = [Case("six patients", (np.array(first),)), Case("one patient", (np.array([[3, 1, 3, 2]]),))]
    cases += [Case("one month", (np.array([[2], [0], [3]]),)), Case("ties", (np.array([[3, 1, 1, 3], [2, 0, 2, 0]]),))]
    random = np.random.default_rng(0)
    cases += [Case(f"{p} patients, {m} months", (random.integers(0, 4, (p, m)),)) for p, m in ((4, 4), (30, 12))]
    return [*cases, Case("high levels only", (random.integers(2, 4, (5, 7)),))]


def _counts(levels: np.ndarray, axis: int = 1) -> np.ndarray:
    return (levels[:, :, None] == np.arange(4)).sum(axis)


def patient_modes(levels: np.ndarray) -> np.ndarray:
    return _counts(levels).argmax(1)


def _as_met(levels: np.ndarray, step: int) -> list[int]:
    rows = levels[:, ::step].tolist()
    return [max(row, key=row.count) for row in rows]


_AMOUNTS = "treats level numbers as amounts; count instead."
check_patient_modes = Exercise(
    patient_modes,
    _levels,
    "every patient counts once, however often they change.",
    "each patient's commonest level, one number a patient; of equally frequent levels the lowest.",
    (
        (lambda x: _counts(x, 0).argmax(1), "one answer a month came back: count along axis 1, a patient's months."),
        (lambda x: _counts(x).max(1), "that is how often the commonest level occurs; which level is it?"),
        (_counts, "those are the counts; the level with the largest one is asked for: argmax."),
        (lambda x: x[:, 0], "that is the first month's level, not the commonest."),
        (lambda x: x[:, -1], "that is the last month's level, not the commonest."),
        (lambda x: x.max(1), "that is the largest level number, not the commonest level."),
        (lambda x: np.median(x, 1), f"a median {_AMOUNTS}"),
        (lambda x: x.mean(1), f"a mean {_AMOUNTS}"),
        (lambda x: x.mean(1).round(), f"a rounded mean {_AMOUNTS}"),
        (lambda x: np.full(len(x), _counts(x).sum(0).argmax()), "one level for all: count each patient alone."),
        (lambda x: _counts(x).sum(0).argmax(), "one level for all: count each patient alone."),
        (lambda x: 3 - _counts(x)[:, ::-1].argmax(1), "where levels tie, the lowest counts, not the highest."),
        (lambda x: _as_met(x, 1), "where levels tie, the lowest counts, not the one that comes first in time."),
        (lambda x: _counts(x)[:, :3].argmax(1), "there are four levels, 0 to 3; the last one is left out."),
        (lambda x: patient_modes(x) + 1, "one too many: levels are counted from 0."),
    ),
)
