"""The networks: the LSTM and both its derivatives against two independent ones, and every equation of the design.

The plain LSTM here is the oracle: one month after the other, by autograd alone.
"""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd import grad, gradcheck, gradgradcheck
from torch.func import functional_call
from torch.nn import functional as F

from hg_helpers.cohort.art import ART_DEMO, ART_FULL
from hg_helpers.cohort.schema import Feature, Schema
from hg_helpers.model.heads import Draws
from hg_helpers.model.latent import Autoencoder, LatentBuffer, VariationalAutoencoder
from hg_helpers.model.losses import gradient_penalty
from hg_helpers.model.networks import BiLSTM, Critic, Generator
from hg_helpers.runtime.fast_lstm import recurrence

SMALL = Schema(
    [
        Feature("sex", "binary", ("f", "m"), static=True),
        Feature("age", "real", static=True),
        Feature("lab", "real"),
        Feature("drug", "categorical", ("a", "b", "c")),
    ],
    length=4,
)


def random(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def built(kind, *args, seed=0, dtype=torch.float64, **kwargs) -> nn.Module:
    """A network with reproducible weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(*args, **kwargs).to(dtype)


# --- recurrence -------------------------------------------------------------------------------------------------------


def plain_recurrence(s, weight):
    """The equations of the design, month by month: (D, L, B, 4 H), (D, H, 4 H) to (D, L, B, H)."""
    width = weight.shape[1]
    both = []
    for direction in range(len(s)):
        h = c = torch.zeros(s.shape[2], width, dtype=s.dtype)
        states = []
        for month in range(s.shape[1]):
            gates = s[direction, month] + h @ weight[direction]
            o, i, f = (torch.sigmoid(gates[:, k * width : (k + 1) * width]) for k in range(3))
            a = torch.tanh(gates[:, 3 * width :])
            c = f * c + i * a
            h = o * torch.tanh(c)
            states.append(h)
        both.append(torch.stack(states))
    return torch.stack(both)


SHAPES = [(2, 5, 3, 4), (2, 1, 3, 2), (1, 4, 1, 3), (3, 2, 2, 1)]  # directions, months, patients, hidden units


@pytest.mark.parametrize("shape", SHAPES)
def test_recurrence_and_its_first_and_second_derivatives_equal_the_plain_lstms(shape):
    directions, months, patients, width = shape
    s = random(directions, months, patients, 4 * width).requires_grad_()
    weight = random(directions, width, 4 * width, seed=1).requires_grad_()
    outward = random(directions, months, patients, width, seed=2).requires_grad_()
    results = []
    for run in (recurrence, plain_recurrence):
        hidden = run(s, weight)
        first = grad(hidden, (s, weight), outward, create_graph=True, allow_unused=True, materialize_grads=True)
        # both gradients enter the second derivative, each weighted by its own numbers
        inner = sum((g * random(*g.shape, seed=3 + k)).sum() + g.square().sum() for k, g in enumerate(first))
        second = grad(inner, (s, weight, outward), allow_unused=True, materialize_grads=True)
        results.append([hidden, *first, *second])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("which", ["s", "weight"])
def test_a_second_derivative_of_one_gradient_alone_equals_the_plain_lstms(which):
    s, weight = random(2, 4, 3, 8).requires_grad_(), random(2, 2, 8, seed=1).requires_grad_()
    results = []
    for run in (recurrence, plain_recurrence):
        (first,) = grad(run(s, weight).sum(), s if which == "s" else weight, create_graph=True)
        results.append(grad(first.square().sum(), (s, weight)))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4, 2, 2), *SHAPES[1:]])
def test_recurrence_passes_gradcheck_and_gradgradcheck(shape):
    directions, months, patients, width = shape
    inputs = (
        random(directions, months, patients, 4 * width).requires_grad_(),
        random(directions, width, 4 * width, seed=1).requires_grad_(),
    )
    assert gradcheck(recurrence, inputs)
    assert gradgradcheck(recurrence, inputs)


def test_recurrence_leaves_its_inputs_alone_and_needs_no_gradient():
    s, weight = random(2, 4, 3, 8), random(2, 2, 8, seed=1)
    before = s.clone(), weight.clone()
    hidden = recurrence(s, weight)
    assert not hidden.requires_grad and torch.equal(s, before[0]) and torch.equal(weight, before[1])
    strided = s.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(recurrence(strided, weight), hidden)


def test_frozen_weights_get_no_gradient_and_change_nothing_for_the_inputs():
    s, weight = random(2, 4, 3, 8).requires_grad_(), random(2, 2, 8, seed=1)
    (alone,) = grad(recurrence(s, weight).sum(), s)
    (beside, _) = grad(recurrence(s, weight.requires_grad_()).sum(), (s, weight))
    torch.testing.assert_close(alone, beside)


def test_a_third_derivative_is_refused_rather_than_wrong():
    s, weight = random(1, 2, 1, 4).requires_grad_(), random(1, 1, 4, seed=1).requires_grad_()
    (first,) = grad(recurrence(s, weight).sum(), s, create_graph=True)
    (second,) = grad(first.square().sum(), s, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()


# --- BiLSTM -----------------------------------------------------------------------------------------------------------


def torchs_lstm(ours: BiLSTM) -> nn.LSTM:
    """torch's own LSTM with the same weights: gates i, f, g, o for our o, i, f, a; two biases for our one."""
    _, inputs, four = ours.input_weight.shape
    theirs = nn.LSTM(inputs, four // 4, batch_first=True, bidirectional=True).to(ours.bias.dtype)

    def reordered(weight):  # (..., 4 H) to (4 H, ...)
        o, i, f, a = weight.detach().chunk(4, -1)
        return torch.cat([i, f, a, o], -1).mT

    with torch.no_grad():
        for direction, suffix in enumerate(("", "_reverse")):
            getattr(theirs, f"weight_ih_l0{suffix}").copy_(reordered(ours.input_weight[direction]))
            getattr(theirs, f"weight_hh_l0{suffix}").copy_(reordered(ours.hidden_weight[direction]))
            getattr(theirs, f"bias_ih_l0{suffix}").copy_(reordered(ours.bias[direction])[:, 0])
            getattr(theirs, f"bias_hh_l0{suffix}").zero_()
    return theirs


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("months", [1, 7])
def test_bilstm_equals_torchs_in_outputs_and_gradients_of_both_directions(months, dtype, tolerance):
    ours = built(BiLSTM, 5, 4, dtype=dtype)
    theirs = torchs_lstm(ours)
    x = random(3, months, 5, dtype=dtype).requires_grad_()
    aligned, last = ours(x)
    expected, (expected_last, _) = theirs(x)
    torch.testing.assert_close(aligned, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(last, expected_last.transpose(0, 1).flatten(1), rtol=tolerance, atol=tolerance)

    towards, towards_last = random(*aligned.shape, seed=1, dtype=dtype), random(*last.shape, seed=2, dtype=dtype)
    (dx,) = grad((aligned * towards).sum() + (last * towards_last).sum(), x, retain_graph=True)
    (aligned * towards).sum().add((last * towards_last).sum()).backward()
    x_theirs = x.detach().clone().requires_grad_()
    expected, (expected_last, _) = theirs(x_theirs)
    ((expected * towards).sum() + (expected_last.transpose(0, 1).flatten(1) * towards_last).sum()).backward()
    torch.testing.assert_close(dx, x_theirs.grad, rtol=tolerance, atol=tolerance)
    for direction, suffix in enumerate(("", "_reverse")):
        for mine, name in ((ours.input_weight, "ih"), (ours.hidden_weight, "hh")):
            gradient = getattr(theirs, f"weight_{name}_l0{suffix}").grad.mT
            i, f, a, o = gradient.chunk(4, -1)
            found = mine.grad[direction]
            torch.testing.assert_close(found, torch.cat([o, i, f, a], -1), rtol=tolerance, atol=tolerance)
        i, f, a, o = getattr(theirs, f"bias_ih_l0{suffix}").grad.chunk(4)
        found = ours.bias.grad[direction, 0]
        torch.testing.assert_close(found, torch.cat([o, i, f, a]), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("months", [1, 7])
def test_the_lstm_to_read_and_the_fast_one_with_and_without_a_second_derivative_give_the_same(months, dtype, tolerance):
    lstm, x = built(BiLSTM, 5, 4, dtype=dtype), random(3, months, 5, dtype=dtype).requires_grad_()
    results = []
    for lstm.fast, twice in ((True, True), (True, False), (False, True)):
        aligned, last = lstm(x, twice)
        loss = (aligned * random(*aligned.shape, seed=1, dtype=dtype)).sum() + last.square().sum()
        results.append((aligned, last, *grad(loss, [x, *lstm.parameters()])))
    with torch.no_grad():
        for lstm.fast in (True, False):
            results.append(lstm(x))
    for found in results[1:]:
        for mine, other in zip(results[0], found, strict=False):
            torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [4, 6])
def test_inputs_of_another_width_are_refused_and_do_not_read_beyond_memory(width):
    with pytest.raises(ValueError, match=f"takes 5 numbers a month, not {width}"):
        BiLSTM(5, 8)(torch.zeros(3, 4, width), twice=False)


def test_the_critics_second_derivative_is_there_unless_it_is_declined():
    critic, x = built(Critic, SMALL, 4, dtype=torch.float32), random(2, 3, 7, dtype=torch.float32).requires_grad_()
    (slope,) = grad(critic(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is not None for p in critic.lstm.parameters())
    (declined,) = grad(critic(x, twice=False).sum(), x)
    torch.testing.assert_close(declined, slope)


def test_the_penalty_teaches_the_same_with_either_lstm():
    critic, gradients = built(Critic, SMALL, 4), []
    real, fake, mix = patients(), patients(seed=1), random(3, 1, 1, seed=2).sigmoid()
    for critic.lstm.fast in (True, False):
        critic.zero_grad(set_to_none=True)
        gradient_penalty(critic, real, fake, mix).backward()
        gradients.append([p.grad for name, p in critic.named_parameters() if name != "score.bias"])  # it has no slope
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_changing_one_input_month_moves_every_output_month():
    lstm, x = built(BiLSTM, 3, 4), random(2, 6, 3)
    aligned, _ = lstm(x)
    for month in range(6):
        other = x.clone()
        other[:, month] += 0.5
        moved = (lstm(other)[0] - aligned).abs().amin(0) > 0  # (L, 2 H)
        assert moved.any(-1).all()
        # aligned: what lies before a month is the forward half's business, what lies after it the backward half's
        forward, backward = moved[:, :4].all(-1), moved[:, 4:].all(-1)
        assert forward.tolist() == [t >= month for t in range(6)]
        assert backward.tolist() == [t <= month for t in range(6)]


def test_the_last_states_are_those_that_have_seen_all_months():
    aligned, last = built(BiLSTM, 3, 4)(random(2, 6, 3))
    assert torch.equal(last[:, :4], aligned[:, -1, :4]) and torch.equal(last[:, 4:], aligned[:, 0, 4:])


def test_patients_do_not_see_each_other():
    lstm, x = built(BiLSTM, 3, 4), random(5, 6, 3)
    torch.testing.assert_close(lstm(x[2:3])[0], lstm(x)[0][2:3], rtol=1e-12, atol=1e-12)


# --- Generator --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", ["softmax", "gumbel", "straight_through"])
@pytest.mark.parametrize("schema", [ART_DEMO, ART_FULL, SMALL], ids=["demo", "full", "small"])
def test_each_block_of_levels_sums_to_one_and_reals_lie_in_the_unit_interval(schema, heads):
    out = built(Generator, schema, 8, 8, heads)(3 * random(4, 5, 8), Draws(random(4, 5, schema.channels, seed=1)))
    assert tuple(out.shape) == (4, 5, schema.channels)
    assert out.min() >= 0 and out.max() <= 1
    for feature in schema.discrete:
        total = out[..., schema.spans[feature.name]].sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_the_generator_is_the_designs_stack_of_layers():
    generator, z = built(Generator, SMALL, 5, 4), random(2, 4, 5)
    h, _ = torchs_lstm(generator.lstm)(z)
    first, second, third = (generator.body[k] for k in (0, 2, 4))
    assert [layer.weight.shape for layer in (first, second, third)] == [(4, 8), (4, 4), (7, 4)]
    logits = third(F.leaky_relu(second(F.leaky_relu(first(h), 0.1)), 0.1))
    expected = torch.cat(
        [logits[..., :2].softmax(-1), logits[..., 2:4].sigmoid(), logits[..., 4:].softmax(-1)], -1
    )  # sex, age, lab, drug
    torch.testing.assert_close(generator(z), expected)


def test_gumbel_heads_soften_logits_plus_noise_with_temperature_two_thirds():
    generator, z, noise = built(Generator, SMALL, 5, 4, "gumbel"), random(2, 4, 5), random(2, 4, 7, seed=1)
    logits = generator.logits(z)
    expected = ((logits + noise) / 0.66)[..., 4:].softmax(-1)
    torch.testing.assert_close(generator(z, Draws(noise))[..., 4:], expected)
    torch.testing.assert_close(generator(z, Draws(noise))[..., 2:4], logits[..., 2:4].sigmoid())  # reals take no noise


def test_straight_through_heads_show_one_level_and_have_the_soft_ones_derivative():
    soft, hard = (built(Generator, SMALL, 5, 4, heads) for heads in ("gumbel", "straight_through"))
    noise, towards = random(2, 4, 7, seed=1), random(2, 4, 7, seed=2)
    outs, slopes = [], []
    for generator in (soft, hard):
        z = random(2, 4, 5).requires_grad_()
        outs.append(generator(z, Draws(noise)))
        slopes += grad((outs[-1] * towards).sum(), z)
    for span in (slice(0, 2), slice(4, 7)):  # sex and drug
        levels = F.one_hot(outs[0][..., span].argmax(-1), span.stop - span.start).double()
        torch.testing.assert_close(outs[1][..., span], levels)
    torch.testing.assert_close(outs[1][..., 2:4], outs[0][..., 2:4])
    torch.testing.assert_close(slopes[1], slopes[0])
    with torch.no_grad():  # by other kernels, which round otherwise
        torch.testing.assert_close(hard(z, Draws(noise)), outs[1])


def test_static_heads_average_the_logits_over_months_and_draw_once_a_patient():
    free, static = (built(Generator, SMALL, 5, 4, "gumbel", held) for held in (False, True))
    z, noise = random(3, 4, 5), random(3, 4, 7, seed=1)
    logits, held = free.logits(z), static.logits(z)
    mean = logits[..., :3].mean(1, keepdim=True).expand(-1, 4, -1)  # sex and age
    torch.testing.assert_close(held, torch.cat([mean, logits[..., 3:]], -1))
    out = static(z, Draws(noise))
    assert torch.equal(out[..., :3], out[:, :1, :3].expand(-1, 4, -1))
    torch.testing.assert_close(out[..., :2], ((mean[..., :2] + noise[:, :1, :2]) / 0.66).softmax(-1))
    torch.testing.assert_close(out[..., 2:3], mean[..., 2:3].sigmoid())
    assert (out[:, 1:, 3:] != out[:, :-1, 3:]).all()


def test_one_gumbel_draw_a_patient_is_added_to_all_months():
    generator, z, noise = built(Generator, SMALL, 5, 4, "gumbel"), random(3, 4, 5), random(3, 1, 7, seed=1)
    assert torch.equal(generator(z, Draws(noise)), generator(z, Draws(noise.expand(-1, 4, -1))))


def test_static_heads_change_nothing_where_the_schema_has_no_static_feature():
    schema = Schema([replace(feature, static=False) for feature in SMALL], length=4)
    z, noise = random(3, 4, 5), random(3, 4, 7, seed=1)
    free, held = (built(Generator, schema, 5, 4, "gumbel", static) for static in (False, True))
    assert torch.equal(free(z, Draws(noise)), held(z, Draws(noise)))


ORDER = ["drug", "lab", "sex", "age"]  # a real feature neither first nor together with the other


def positions(schema: Schema, spans: str) -> list[int]:
    """Where each channel of the permuted schema stood before."""
    before = getattr(SMALL, spans)
    return [i for name in schema.names for i in range(before[name].start, before[name].stop)]


@pytest.mark.parametrize("static", [False, True])
def test_permuting_the_schema_permutes_what_the_generator_makes(static):
    permuted = SMALL.select(ORDER)
    channels = positions(permuted, "spans")
    here, there = (built(Generator, schema, 5, 4, "gumbel", static) for schema in (SMALL, permuted))
    there.load_state_dict(here.state_dict())
    with torch.no_grad():
        there.body[4].weight.copy_(here.body[4].weight[channels])
        there.body[4].bias.copy_(here.body[4].bias[channels])
    z, noise = random(3, 4, 5), random(3, 4, 7, seed=1)
    torch.testing.assert_close(there(z, Draws(noise[..., channels])), here(z, Draws(noise))[..., channels])


# --- Critic -----------------------------------------------------------------------------------------------------------


def patients(n=3, months=4, seed=0) -> torch.Tensor:
    """Encoded patients of SMALL with soft blocks of levels."""
    x = random(n, months, 7, seed=seed)
    return torch.cat([x[..., :2].softmax(-1), x[..., 2:4].sigmoid(), x[..., 4:].softmax(-1)], -1)


def test_permuting_the_schema_leaves_the_scores_as_they_are():
    permuted = SMALL.select(ORDER)
    channels, width = positions(permuted, "spans"), positions(permuted, "embedded_spans")
    here, there = (built(Critic, schema, 4) for schema in (SMALL, permuted))
    there.load_state_dict(here.state_dict())
    with torch.no_grad():
        there.embedding.copy_(here.embedding[channels][:, width])
        there.body[0].weight.copy_(here.body[0].weight[:, width])
    x = patients()
    torch.testing.assert_close(there.embed(x[..., channels]), here.embed(x)[..., width])
    torch.testing.assert_close(there(x[..., channels]), here(x))


def test_reals_pass_the_embedding_as_they_are_and_each_block_meets_its_own_matrix():
    critic, x = built(Critic, SMALL, 4), patients()
    e = critic.embed(x)
    assert tuple(e.shape) == (3, 4, 2 + 1 + 1 + 4)
    torch.testing.assert_close(e[..., :2], x[..., :2] @ critic.embedding[:2, :2])
    assert torch.equal(e[..., 2:4], x[..., 2:4])
    torch.testing.assert_close(e[..., 4:], x[..., 4:] @ critic.embedding[4:, 4:])


def test_training_moves_the_embeddings_matrices_and_nothing_between_them():
    critic, x = built(Critic, SMALL, 4), patients()
    before = critic.embed(x).detach()
    optimiser = torch.optim.Adam(critic.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (critic(x).square().sum() + critic.embed(x).sum()).backward()
        optimiser.step()
    after = critic.embed(x).detach()
    assert torch.equal(after[..., 2:4], x[..., 2:4])
    assert (after[..., :2] != before[..., :2]).all() and (after[..., 4:] != before[..., 4:]).all()
    other = x.clone()
    other[..., 4:] = other[..., 4:].flip(-1)  # a drug must not leak into the embedding of sex, age or lab
    assert torch.equal(critic.embed(other)[..., :4], after[..., :4])


def test_the_critic_is_the_designs_stack_of_layers_and_gives_a_score_not_a_probability():
    critic, x = built(Critic, SMALL, 4), patients()
    first, second = critic.body[0], critic.body[2]
    h = F.leaky_relu(second(F.leaky_relu(first(critic.embed(x)), 0.1)), 0.1)
    _, (last, _) = torchs_lstm(critic.lstm)(h)
    assert first.weight.shape == (4, 8) and second.weight.shape == (4, 4)
    expected = critic.score(torch.cat([last[0], last[1]], -1))
    torch.testing.assert_close(critic(x), expected)
    with torch.no_grad():
        critic.score.weight.mul_(100)
    assert critic(x).shape == (3, 1) and critic(x).abs().max() > 1


def test_the_demo_critic_has_embedded_width_18():
    assert built(Critic, ART_DEMO, 4).embedding.shape == (22, 18)


def test_the_penaltys_whole_path_passes_gradcheck_and_gradgradcheck():
    critic = built(Critic, SMALL, 3)
    real, fake, mix = patients(2), patients(2, seed=1), torch.tensor([0.3, 0.8], dtype=torch.float64).view(2, 1, 1)
    names, weights = zip(*critic.named_parameters(), strict=True)
    weights = [w.detach().requires_grad_() for w in weights]

    def penalty(*weights):
        state = dict(zip(names, weights, strict=True))
        return gradient_penalty(lambda x: functional_call(critic, state, (x,)), real, fake, mix)

    assert gradcheck(penalty, weights)  # the value is made of first derivatives, so this checks the second ones

    def scores(x, *weights):
        return functional_call(critic, dict(zip(names, weights, strict=True)), (x,))

    assert gradgradcheck(scores, (real.requires_grad_(), *weights), atol=1e-4)


# --- Autoencoder ------------------------------------------------------------------------------------------------------


def test_the_autoencoder_is_the_designs_equations():
    autoencoder, e = built(Autoencoder, 8, 3, 4), random(2, 4, 8)
    h1 = F.relu(autoencoder.first(e) + autoencoder.shortcut(e))
    h2 = F.relu(autoencoder.second(h1) + h1)
    h3 = F.relu(autoencoder.third(h2) + h2)
    latent = autoencoder.to_latent(h3)
    reconstruction, t, posterior = autoencoder(e)
    torch.testing.assert_close(t, latent)
    torch.testing.assert_close(reconstruction, autoencoder.reconstruct(latent))
    assert posterior is None and t.shape == (2, 4, 3) and reconstruction.shape == e.shape
    assert torch.equal(autoencoder.encode(e), t)


def test_the_variational_autoencoder_draws_around_its_mean_behind_the_same_interface():
    autoencoder, e, noise = built(VariationalAutoencoder, 8, 3, 4), random(2, 4, 8), random(2, 4, 3, seed=1)
    reconstruction, latent, (mean, log_variance) = autoencoder(e, noise)
    draw = mean + noise * log_variance.exp().sqrt()
    torch.testing.assert_close(reconstruction, autoencoder.reconstruct(draw))
    assert torch.equal(latent, mean) and torch.equal(autoencoder.encode(e), mean)
    torch.testing.assert_close(autoencoder(e)[0], autoencoder.reconstruct(mean))


# --- copies -----------------------------------------------------------------------------------------------------------

NETWORKS = {
    "generator": (lambda: built(Generator, SMALL, 5, 4, "gumbel", True), (3, 4, 5)),
    "critic": (lambda: built(Critic, SMALL, 4), (3, 4, 7)),
    "autoencoder": (lambda: built(Autoencoder, 8, 3, 4), (3, 4, 8)),
    "variational": (lambda: built(VariationalAutoencoder, 8, 3, 4), (3, 4, 8)),
}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_copied_and_pickled(name, copied):
    make, shape = NETWORKS[name]
    network = make()
    again, given = copied(network), random(*shape)
    expected, found = network(given), again(given)
    if isinstance(expected, tuple):
        expected, found = expected[0], found[0]
    assert torch.equal(found, expected)
    with torch.no_grad():
        next(again.parameters()).add_(1)
    assert not torch.equal(next(again.parameters()), next(network.parameters()))


def test_a_filled_buffer_can_be_copied_and_pickled():
    buffer = LatentBuffer(3)
    buffer.update(random(4, 2, 3, dtype=torch.float32), torch.Generator())
    for again in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert torch.equal(again.prototypes, buffer.prototypes) and torch.equal(again.scale, buffer.scale)


def test_building_a_network_twice_from_one_seed_gives_equal_weights_and_other_seeds_others():
    one, same, other = (built(Critic, SMALL, 4, seed=seed) for seed in (0, 0, 1))
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_he_start_keeps_the_noise_visible_where_torchs_own_start_damps_it():
    spread = {}
    for start in ("torch", "he"):
        torch.manual_seed(0)
        generator = Generator(ART_DEMO, 16, 16, start=start)
        spread[start] = generator.logits(torch.randn(200, 1, 16).expand(200, 10, 16)).std(0).mean().item()
    assert spread["he"] > 3 * spread["torch"]
