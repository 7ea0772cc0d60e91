"""One step of each network: what it may touch, which loss it lowers, and what each option changes."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from training_states import MODELS, PER_EPOCH, same, weights

from hg_helpers.model import losses, training
from hg_helpers.model.latent import SOURCES, Autoencoder, VariationalAutoencoder
from hg_helpers.model.losses import correlation_matrix
from hg_helpers.model.resume import accept
from hg_helpers.model.training import Trainer


@pytest.fixture
def make(encoder, tiny):
    """``make("v2", epochs=3)``: a new trainer on the CPU."""
    return lambda model="v1", **changes: Trainer(encoder, tiny(model, **changes), "cpu")


# --- one step of each network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_each_step_moves_its_own_network_and_leaves_no_gradient_in_another(make, x, model):
    trainer, real = make(model), x[:8]
    accept(trainer, x)
    steps = {
        "autoencoder": lambda: trainer.autoencoder_step(real),
        "critic": lambda: trainer.critic_step(real),
        "generator": lambda: trainer.generator_step(8, 6),
    }
    networks = {name: getattr(trainer, name) for name in steps if getattr(trainer, name) is not None}
    assert len(networks) == (2 if model == "v1" else 3)
    for name in networks:
        for network in networks.values():
            network.zero_grad(set_to_none=True)
        before = {n: weights(network) for n, network in networks.items()}
        steps[name]()
        for other, network in networks.items():
            assert same(before[other], network) == (other != name)
            assert any(p.grad is not None for p in network.parameters()) == (other == name)
            assert all(p.requires_grad for p in network.parameters())


def test_the_critics_loss_is_the_designs(make, x, monkeypatch):
    trainer, real, seen = make("v2_plus"), x[:8], {}
    accept(trainer, x)

    def penalty(critic, real, fake, mix, *_):
        if critic is not trainer.critic:  # the critic of summaries
            return original(critic, real, fake, mix)
        seen.update(real=real, fake=fake, mix=mix)
        seen["scores"] = critic(real).mean().item(), critic(fake).mean().item()
        seen["penalty"] = original(critic, real, fake, mix)
        return seen["penalty"]

    original = training.gradient_penalty
    monkeypatch.setattr(training, "gradient_penalty", penalty)
    trainer.autoencoder_step(real)
    row = trainer.critic_step(real)
    score_real, score_fake = seen["scores"]
    assert row["critic_loss"] == pytest.approx(score_fake - score_real + 10 * seen["penalty"].item(), rel=1e-5)
    assert row["wasserstein"] == pytest.approx(score_real - score_fake, abs=1e-6)
    assert torch.equal(seen["real"], real) and not seen["fake"].requires_grad
    assert seen["mix"].shape == (8, 1, 1) and seen["mix"].min() >= 0 and seen["mix"].max() <= 1
    assert len(seen["mix"].unique()) == 8  # one number a patient


def test_the_generators_loss_is_the_designs(make, x, monkeypatch):
    trainer, seen = make("v1"), {}

    def correlation(fake, target, *_):
        seen.update(fake=fake.detach(), target=target)
        seen["score"] = trainer.critic(fake.detach()).mean().item()
        seen["loss"] = original(fake, target)
        return seen["loss"]

    original = training.correlation_loss
    monkeypatch.setattr(training, "correlation_loss", correlation)
    accept(trainer, x)
    row = trainer.generator_step(8, 3)
    assert seen["fake"].shape == (8, 3, 22) and torch.equal(seen["target"], trainer.target)
    assert row["generator_loss"] == pytest.approx(10 * seen["loss"].item() - seen["score"], rel=1e-5)
    assert row["correlation_loss"] == pytest.approx(seen["loss"].item())


def test_the_moment_loss_compares_with_the_training_patients_in_standard_units(make, x, monkeypatch):
    trainer, fakes = make("v1", moment_weight=0.5), []
    accept(trainer, x)
    fake = trainer.fake
    monkeypatch.setattr(trainer, "fake", lambda *shape: fakes.append(fake(*shape)) or fakes[-1])
    row = trainer.generator_step(8, 3)
    real, made = x[:, :3].clone(), fakes[-1].detach().clone()
    for feature in trainer.schema.real:
        k = trainer.schema.spans[feature.name].start
        for part in (real, made):
            part[..., k] = (part[..., k] - x[..., k].mean()) / x[..., k].std()
    squared = losses.co_moments(real, 2).mean(0)
    expected = losses.moment_loss(losses.co_moments(made), losses.co_moments(real).mean(0), squared)
    assert row["moment_loss"] == pytest.approx(expected.item(), rel=1e-3)
    parts = 10 * row["correlation_loss"] + 0.5 * row["moment_loss"]
    assert row["generator_loss"] == pytest.approx(parts - trainer.critic(fakes[-1]).mean().item(), abs=1e-3)


def test_the_moment_loss_alone_brings_shares_and_switching_to_the_real_ones(make, x):
    trainer = make("v1", moment_weight=1.0, correlation_weight=0.0, learning_rate=0.01)
    accept(trainer, x)
    trainer.critic.score.weight.data.zero_()  # a critic without an opinion
    found = [trainer.generator_step(16, 3)["moment_loss"] for _ in range(120)]
    assert np.mean(found[-10:]) < 0.3 * np.mean(found[5:15])


def test_the_critic_learns_to_score_real_patients_above_generated_ones(make, x):
    trainer = make("v1", learning_rate=0.01)
    gap = [trainer.critic_step(x)["wasserstein"] for _ in range(40)]
    assert np.mean(gap[-5:]) > np.mean(gap[:5]) + 0.2


def test_the_generator_learns_to_be_scored_higher_and_to_correlate_alike(make, x):
    trainer = make("v1", learning_rate=0.01)
    accept(trainer, x)
    rows = pd.DataFrame([trainer.generator_step(40, 6) for _ in range(60)])
    assert rows["correlation_loss"][-5:].mean() < rows["correlation_loss"][:5].mean() - 0.1
    trainer = make("v1", learning_rate=0.01, correlation_weight=0.0)
    accept(trainer, x)
    rows = pd.DataFrame([trainer.generator_step(40, 6) for _ in range(60)])
    assert rows["generator_loss"][-5:].mean() < rows["generator_loss"][:5].mean() - 0.02


@pytest.mark.parametrize("kind", ["aggregate", "variational"])
def test_the_autoencoder_learns_to_reconstruct(make, x, kind):
    trainer = make("v2", autoencoder=kind, learning_rate=0.01)
    assert type(trainer.autoencoder) is (VariationalAutoencoder if kind == "variational" else Autoencoder)
    rows = pd.DataFrame([trainer.autoencoder_step(x) for _ in range(60)])
    loss = rows["reconstruction"] + rows["kl"]
    assert loss.iloc[-1] < 0.8 * loss.iloc[0]


def test_the_critic_is_unfrozen_even_after_an_error_in_the_generators_step(make, x, monkeypatch):
    trainer = make("v1")
    accept(trainer, x)

    def fail(*_):
        assert not any(p.requires_grad for p in trainer.critic.parameters())
        raise RuntimeError("out of memory")

    monkeypatch.setattr(training, "correlation_loss", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.generator_step(8, 3)
    assert all(p.requires_grad for p in trainer.critic.parameters())


def test_a_batch_is_one_autoencoder_step_then_n_critic_steps_then_one_generator_step(make, x, monkeypatch):
    trainer, calls = make("v2", n_critic=3, epochs=1), []

    def counted(name, run):
        def step(*args):
            calls.append((name, args[0].shape[0] if isinstance(args[0], torch.Tensor) else args[0]))
            assert name == "autoencoder_step" or len(trainer.source.prototypes)  # never an empty buffer
            return run(*args)

        return step

    for name in ("autoencoder_step", "critic_step", "generator_step"):
        monkeypatch.setattr(trainer, name, counted(name, getattr(trainer, name)))
    trainer.fit(x, progress=False)
    one = ["autoencoder_step", *["critic_step"] * 3, "generator_step"]
    assert [name for name, _ in calls] == one * PER_EPOCH
    for k in range(PER_EPOCH):
        assert len({patients for _, patients in calls[k * 5 : k * 5 + 5]}) == 1  # as many fake patients as real ones


def test_each_critic_step_meets_new_fake_patients(make, x, monkeypatch):
    trainer, fakes = make("v1", epochs=1, n_critic=3), []
    original = training.gradient_penalty

    def spy(critic, real, fake, mix, *_):
        fakes.append((fake, mix))
        return original(critic, real, fake, mix)

    monkeypatch.setattr(training, "gradient_penalty", spy)
    trainer.fit(x, progress=False)
    for (a, mix), (b, other) in itertools.pairwise(fakes):
        assert a.shape != b.shape or (not torch.equal(a, b) and not torch.equal(mix, other))


# --- options ----------------------------------------------------------------------------------------------------------


def test_real_weight_multiplies_reals_before_critic_and_autoencoder_and_nothing_else(make, x, monkeypatch):
    trainer = make("v2", real_weight=5.0, epochs=1, n_critic=1)
    inputs, penalised, fakes = [], [], []
    trainer.critic.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    trainer.generator.register_forward_hook(lambda *args: fakes.append(args[2].detach()))
    trainer.autoencoder.register_forward_pre_hook(lambda _, args: penalised.append(("e", args[0])))
    original = training.gradient_penalty

    def spy(critic, real, fake, mix, *_):
        penalised.append((real, fake))
        return original(critic, real, fake, mix)

    monkeypatch.setattr(training, "gradient_penalty", spy)
    batch = x[:16]
    accept(trainer, x)
    e_before = trainer.critic.embed(batch * trainer.weights).detach()
    trainer._batch(batch * 1.0)
    reals, levels = [0, 1], slice(2, 22)
    factor = torch.ones(22)
    factor[reals] = 5.0
    (label, e), (real, fake) = penalised
    assert label == "e" and torch.equal(e, e_before) and torch.equal(e[..., :2], 5 * batch[..., :2])
    assert torch.equal(real, batch * factor) and torch.equal(fake, fakes[0] * factor)
    assert torch.equal(inputs[0], torch.cat([real, fake]))  # the scores'
    low, high = torch.minimum(real, fake).amin(0), torch.maximum(real, fake).amax(0)
    assert (inputs[1] >= low - 1e-5).all() and (inputs[1] <= high + 1e-5).all()  # the mixtures, on the same scale
    assert torch.equal(inputs[2], fakes[1] * factor)  # the generator's step
    assert all(f.min() >= 0 and f.max() <= 1 for f in fakes)
    assert torch.equal(inputs[2][..., levels], fakes[1][..., levels])
    assert torch.equal(trainer.target, correlation_matrix(x))  # not of the multiplied values


def test_without_real_weight_the_critic_sees_the_encoded_values(make):
    assert torch.equal(make("v1").weights, torch.ones(22))


def test_averaged_weights_are_the_formula(make, x):
    trainer, steps = make("v1", ema=0.15, epochs=1, learning_rate=0.01), []
    expected = weights(trainer.generator)
    assert same(expected, trainer.average)

    def note(trainer, _):
        steps.append((weights(trainer.generator), weights(trainer.average)))

    trainer.fit(x, progress=False, callbacks=[note])
    decays = [min(0.15, (1 + t) / (10 + t)) for t in range(PER_EPOCH)]
    assert decays[0] < 0.15 and decays[-1] == 0.15  # both sides of the minimum are used
    for decay, (now, averaged) in zip(decays, steps, strict=True):  # at each step: later ones forget the first
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, now, strict=True)]
        for found, value in zip(averaged, expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in trainer.average.parameters())
    assert not same(weights(trainer.generator), trainer.average)
    assert make("v1").average is None


def test_the_learning_rate_is_constant_then_falls_to_a_twentieth_and_stays(make, x):
    used = []
    trainer = make("v2_plus", epochs=4, lr_decay=True, learning_rate=2e-3)
    history = trainer.fit(
        x,
        epochs=5,
        progress=False,
        callbacks=[lambda t, _: used.append({g["lr"] for o in t.optimisers.values() for g in o.param_groups})],
    )
    total = 4 * PER_EPOCH
    expected = []
    for step in range(5 * PER_EPOCH):
        if step <= total / 2:
            expected.append(2e-3)
        else:
            expected.append(max(2e-3 * (1 - 0.95 * (step - total / 2) / (total / 2)), 0.05 * 2e-3))
    assert history["learning_rate"].tolist() == pytest.approx(expected)
    assert expected[-1] == pytest.approx(1e-4)
    assert [one for (one,) in used] == pytest.approx(expected)  # and each optimiser really used it


def test_the_learning_rate_stays_without_lr_decay(make, x):
    assert set(make("v1", learning_rate=2e-3).fit(x, progress=False)["learning_rate"]) == {2e-3}


def test_gumbel_noise_is_drawn_each_month_or_once_a_patient(make, x, monkeypatch):
    for gumbel_noise, months in (("monthly", 3), ("patient", 1)):
        trainer, shapes = make("v1", heads="gumbel", gumbel_noise=gumbel_noise), []
        trainer.generator.register_forward_pre_hook(lambda _, args, shapes=shapes: shapes.append(args[1].gumbel.shape))
        trainer.fake(5, 3)
        assert shapes == [(5, months, 22)]


def test_every_source_and_option_trains(make, x):
    for source, autoencoder in itertools.product(SOURCES, (None, "aggregate", "variational")):
        if autoencoder is None and source not in ("uniform", "persistent"):
            continue  # refused by the configuration
        heads = {"heads": "gumbel", "gumbel_noise": "patient", "static_heads": True}
        history = make("v1", latent_source=source, autoencoder=autoencoder, epochs=1, n_critic=1, **heads).fit(
            x, progress=False
        )
        assert np.isfinite(history).all(axis=None) and ("kl" in history) == (autoencoder is not None)


def test_all_that_a_trainer_holds_lies_on_its_device(make, monkeypatch):
    monkeypatch.setattr(training, "resolve_device", lambda _: torch.device("meta"))  # in place of a GPU
    trainer = make("v2_plus")
    for name, network in trainer.networks().items():
        assert {t.device.type for t in (*network.parameters(), *network.buffers())} == {"meta"}, name
