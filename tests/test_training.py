"""The training loop: what each step may touch, that every patient is seen, how it stops, that it resumes exactly."""

import copy
import itertools
import logging
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
import torch

import hg_helpers
from hg_helpers import moments, steps
from hg_helpers.checkpoint import load_checkpoint
from hg_helpers.config import TrainConfig
from hg_helpers.encoding import CohortEncoder
from hg_helpers.losses import correlation_matrix
from hg_helpers.networks import Autoencoder, VariationalAutoencoder
from hg_helpers.schema import Feature, Schema
from hg_helpers.training import Trainer, TrainingStopped

MODELS = ["v1", "v2", "v2_plus"]
PER_EPOCH = 6  # batches: 40 patients in batches of at most 16, at lengths 3 and 6


@pytest.fixture
def make(encoder, tiny):
    """``make("v2", epochs=3)``: a new trainer on the CPU."""
    return lambda model="v1", **changes: Trainer(encoder, tiny(model, **changes), "cpu")


def weights(network) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def same(before: list[torch.Tensor], network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def everything(trainer_or_path, folder=None) -> dict:
    """All that a checkpoint holds, but for how long the batches took."""
    path = trainer_or_path
    if isinstance(path, Trainer):
        path = Path(folder) / "compared.pt"
        trainer_or_path.save(path)
    state = load_checkpoint(path, "trainer")
    state["history"].pop("seconds", None)
    return state


def assert_equal(one, other, where="state") -> None:
    """Equal to the last bit, all the way down."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{k}]")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    else:
        assert one == other, where


# --- one step of each network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_each_step_moves_its_own_network_and_leaves_no_gradient_in_another(make, x, model):
    trainer, real = make(model), x[:8]
    trainer._accept(x)
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

    def penalty(critic, real, fake, mix, *_):
        seen.update(real=real, fake=fake, mix=mix)
        seen["scores"] = critic(real).mean().item(), critic(fake).mean().item()
        seen["penalty"] = original(critic, real, fake, mix)
        return seen["penalty"]

    original = steps.gradient_penalty
    monkeypatch.setattr(steps, "gradient_penalty", penalty)
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

    original = steps.correlation_loss
    monkeypatch.setattr(steps, "correlation_loss", correlation)
    trainer._accept(x)
    row = trainer.generator_step(8, 3)
    assert seen["fake"].shape == (8, 3, 22) and torch.equal(seen["target"], trainer.target)
    assert row["generator_loss"] == pytest.approx(10 * seen["loss"].item() - seen["score"], rel=1e-5)
    assert row["correlation_loss"] == pytest.approx(seen["loss"].item())


def test_the_moment_loss_compares_with_the_training_patients_in_standard_units(make, x, monkeypatch):
    trainer, fakes = make("v1", moment_weight=0.5), []
    trainer._accept(x)
    fake = trainer.fake
    monkeypatch.setattr(trainer, "fake", lambda *shape: fakes.append(fake(*shape)) or fakes[-1])
    row = trainer.generator_step(8, 3)
    real, made = x[:, :3].clone(), fakes[-1].detach().clone()
    for feature in trainer.schema.real:
        k = trainer.schema.spans[feature.name].start
        for part in (real, made):
            part[..., k] = (part[..., k] - x[..., k].mean()) / x[..., k].std()
    squared = moments.co_moments(real, 2).mean(0)
    expected = moments.moment_loss(moments.co_moments(made), moments.co_moments(real).mean(0), squared)
    assert row["moment_loss"] == pytest.approx(expected.item(), rel=1e-3)
    parts = 10 * row["correlation_loss"] + 0.5 * row["moment_loss"]
    assert row["generator_loss"] == pytest.approx(parts - trainer.critic(fakes[-1]).mean().item(), abs=1e-3)


def test_the_moment_loss_alone_brings_shares_and_switching_to_the_real_ones(make, x):
    trainer = make("v1", moment_weight=1.0, correlation_weight=0.0, learning_rate=0.01)
    trainer._accept(x)
    trainer.critic.score.weight.data.zero_()  # a critic without an opinion
    found = [trainer.generator_step(16, 3)["moment_loss"] for _ in range(120)]
    assert np.mean(found[-10:]) < 0.3 * np.mean(found[5:15])


def test_the_critic_learns_to_score_real_patients_above_generated_ones(make, x):
    trainer = make("v1", learning_rate=0.01)
    gap = [trainer.critic_step(x)["wasserstein"] for _ in range(40)]
    assert np.mean(gap[-5:]) > np.mean(gap[:5]) + 0.2


def test_the_generator_learns_to_be_scored_higher_and_to_correlate_alike(make, x):
    trainer = make("v1", learning_rate=0.01)
    trainer._accept(x)
    rows = pd.DataFrame([trainer.generator_step(40, 6) for _ in range(60)])
    assert rows["correlation_loss"][-5:].mean() < rows["correlation_loss"][:5].mean() - 0.1
    trainer = make("v1", learning_rate=0.01, correlation_weight=0.0)
    trainer._accept(x)
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
    trainer._accept(x)

    def fail(*_):
        assert not any(p.requires_grad for p in trainer.critic.parameters())
        raise RuntimeError("out of memory")

    monkeypatch.setattr(steps, "correlation_loss", fail)
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
    original = steps.gradient_penalty

    def spy(critic, real, fake, mix, *_):
        fakes.append((fake, mix))
        return original(critic, real, fake, mix)

    monkeypatch.setattr(steps, "gradient_penalty", spy)
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
    original = steps.gradient_penalty

    def spy(critic, real, fake, mix, *_):
        penalised.append((real, fake))
        return original(critic, real, fake, mix)

    monkeypatch.setattr(steps, "gradient_penalty", spy)
    batch = x[:16]
    trainer._accept(x)
    e_before = trainer.critic.embed(batch * trainer.weights).detach()
    trainer._batch(batch * 1.0, PER_EPOCH)
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
        trainer.generator.register_forward_pre_hook(lambda _, args, shapes=shapes: shapes.append(args[1].shape))
        trainer.fake(5, 3)
        assert shapes == [(5, months, 22)]


def test_every_source_and_option_trains(make, x):
    options = itertools.product(("uniform", "persistent", "buffer", "gaussian"), (None, "aggregate", "variational"))
    for source, autoencoder in options:
        if autoencoder is None and source in ("buffer", "gaussian"):
            continue  # refused by the configuration
        heads = {"heads": "gumbel", "gumbel_noise": "patient", "static_heads": True}
        history = make("v1", latent_source=source, autoencoder=autoencoder, epochs=1, n_critic=1, **heads).fit(
            x, progress=False
        )
        assert np.isfinite(history).all(axis=None) and ("kl" in history) == (autoencoder is not None)


# --- every cohort, every patient --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("patients", "batch_size"), [(2, 4), (3, 4), (7, 4), (5, 2), (2, 1), (40, 256)])
@pytest.mark.parametrize("model", ["v1", "v2_plus"])
def test_any_number_of_patients_trains_and_each_is_seen_at_each_length(make, x, model, patients, batch_size):
    trainer, seen = make(model, batch_size=batch_size, epochs=2, n_critic=1), []
    run = trainer._batch
    trainer._batch = lambda real, per_epoch: seen.append(real.clone()) or run(real, per_epoch)
    history = trainer.fit(x[:patients], progress=False)
    per_length = -(-patients // batch_size)
    assert len(history) == 2 * 2 * per_length and np.isfinite(history).all(axis=None)
    order = []
    for k in range(4):  # two epochs, lengths 3 and 6
        batch = torch.cat(seen[k * per_length : (k + 1) * per_length])
        months = (3, 6)[k % 2]
        found = [(x[:patients, :months] == patient).all(-1).all(-1).nonzero()[0].item() for patient in batch]
        assert sorted(found) == list(range(patients)) and batch.shape[1] == months
        order.append(found)
    assert patients < 5 or len({tuple(o) for o in order}) == 4


def table_of(schema: Schema, patients: int, seed=0) -> pd.DataFrame:
    rng, n = np.random.default_rng(seed), patients * schema.length
    columns = {
        "PatientID": np.repeat(np.arange(patients), schema.length),
        "Timestep": np.tile(np.arange(schema.length), patients),
    }
    for feature in schema:
        columns[feature.name] = (
            np.exp(rng.normal(size=n))
            if feature.is_real
            else np.array(feature.codes)[rng.integers(feature.channels, size=n)]
        )
    return pd.DataFrame(columns)


LAB, DRUG, SEX = (
    Feature("lab", "real"),
    Feature("drug", "categorical", ("a", "b", "c")),
    Feature("sex", "binary", ("f", "m"), static=True),
)


@pytest.mark.parametrize(
    ("features", "length"),
    [
        ([DRUG, LAB, SEX], 1),
        ([LAB, DRUG], 4),
        ([DRUG, SEX], 4),
        ([LAB], 4),
        ([LAB, Feature("weight", "real", static=True)], 3),
        ([SEX], 1),
    ],
    ids=["one month", "no static", "no real", "one real", "no discrete", "one static"],
)
@pytest.mark.parametrize("model", ["v1", "v2", "v2_plus"])
def test_any_schema_trains_and_samples(tiny, features, length, model):
    schema = Schema(features, length=length)
    encoder = CohortEncoder(schema).fit(table_of(schema, 5))
    trainer = Trainer(encoder, tiny(model, epochs=1, batch_size=3, n_critic=1), "cpu")
    history = trainer.fit(encoder.transform(table_of(schema, 5)), progress=False)
    assert np.isfinite(history).all(axis=None)
    synthetic = trainer.synthesizer().sample(3)
    assert list(synthetic.columns) == schema.columns and len(synthetic) == 3 * length
    assert not synthetic.isna().any(axis=None)


def test_a_constant_real_and_a_level_that_never_occurs_train(tiny):
    schema = Schema([LAB, DRUG], length=3)
    table = table_of(schema, 6).assign(lab=7.0, drug="b")
    encoder = CohortEncoder(schema).fit(table)
    trainer = Trainer(encoder, tiny("v2_plus", epochs=2), "cpu")
    assert np.isfinite(trainer.fit(encoder.transform(table), progress=False)).all(axis=None)
    assert set(trainer.synthesizer().sample(20)["lab"]) == {7.0}


def test_the_correlation_target_is_that_of_all_training_patients_at_full_length(make, x):
    one, other = make("v1", seed=0), make("v1", seed=1)
    for trainer in (one, other):
        trainer.fit(x, epochs=1, progress=False)
    with np.errstate(all="ignore"):  # levels that never occur
        expected = np.nan_to_num(np.corrcoef(x.reshape(-1, 22).double().numpy().T))
    np.testing.assert_allclose(one.target, expected, atol=1e-4)
    assert torch.equal(one.target, other.target)


# --- the history and the loop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_the_history_has_one_row_a_batch(make, x, model):
    history = make(model).fit(x, progress=False)
    learnt = [] if model == "v1" else ["reconstruction", "kl"]
    losses = ["critic_loss", "wasserstein", "penalty", "generator_loss", "correlation_loss"]
    losses += ["moment_loss"] if model == "v2_plus" else []
    assert list(history.columns) == ["step", "epoch", "length", "learning_rate", *learnt, *losses, "seconds"]
    assert history["step"].tolist() == list(range(2 * PER_EPOCH))
    assert history["epoch"].tolist() == [1] * PER_EPOCH + [2] * PER_EPOCH
    assert history["length"].tolist() == [3, 3, 3, 6, 6, 6] * 2
    assert np.isfinite(history).all(axis=None) and (history["seconds"] > 0).all()
    assert (history["penalty"] >= 0).all() and (history["correlation_loss"] >= 0).all()


def test_a_loader_of_a_single_batch_is_logged(encoder, tiny, x):
    trainer = Trainer(encoder, tiny("v2", lengths=(6,), batch_size=64, epochs=1), "cpu")
    assert len(trainer.fit(x, progress=False)) == 1


def test_fit_goes_on_from_where_it_stands_and_then_has_nothing_to_do(make, x, tmp_path):
    here, straight = make("v2"), make("v2")
    here.fit(x, epochs=1, progress=False)
    assert here.epoch == 1 and len(here.history) == PER_EPOCH
    assert len(here.fit(x, progress=False)) == 2 * PER_EPOCH
    straight.fit(x, progress=False)
    assert_equal(everything(here, tmp_path), everything(straight, tmp_path))
    before = everything(here, tmp_path)
    assert len(here.fit(x, progress=False)) == len(here.fit(x, epochs=1, progress=False)) == 2 * PER_EPOCH
    assert_equal(everything(here, tmp_path), before)


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_a_function_of_configuration_and_data_alone(make, x, tmp_path, model):
    torch.manual_seed(1)
    one = make(model)
    untouched = torch.random.get_rng_state()
    one.fit(x, epochs=1, progress=False)
    assert torch.equal(torch.random.get_rng_state(), untouched)
    torch.manual_seed(2)
    np.random.seed(2)
    other = make(model)
    other.fit(x, epochs=1, progress=False)
    assert_equal(everything(one, tmp_path), everything(other, tmp_path))
    third = make(model, seed=1)
    assert not same(weights(one.generator), third.generator)


def test_building_a_trainer_does_not_touch_the_global_generator(make):
    before = torch.random.get_rng_state()
    make("v2")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sampling_in_between_changes_nothing(make, x, tmp_path):
    quiet, busy = make("v2_plus"), make("v2_plus")
    quiet.fit(x, progress=False)
    busy.fit(x, progress=False, callbacks=[lambda t, _: t.synthesizer().sample(3, decode="sample") is None])
    assert_equal(everything(quiet, tmp_path), everything(busy, tmp_path))


def test_callbacks_see_each_batch_and_true_ends_the_training(make, x, caplog):
    rows = []
    trainer = make("v1", epochs=5)
    with caplog.at_level(logging.WARNING, "hg_helpers"):
        history = trainer.fit(
            x, progress=False, callbacks=[lambda t, row: rows.append(row), lambda t, row: row["step"] == 7]
        )
    assert len(history) == len(rows) == 8 and (trainer.epoch, trainer.batch, trainer.step) == (1, 2, 8)
    pd.testing.assert_frame_equal(history, pd.DataFrame(rows))
    assert "step 8" in caplog.text


@pytest.mark.parametrize("answer", [None, False, 1, "yes", [1]])
def test_other_answers_of_a_callback_do_not_end_the_training(make, x, answer):
    assert len(make("v1").fit(x, epochs=1, progress=False, callbacks=[lambda *_: answer])) == PER_EPOCH


def test_numpys_true_ends_the_training_too(make, x):
    trainer = make("v1")
    assert len(trainer.fit(x, progress=False, callbacks=[lambda t, _: t.history["wasserstein"].abs().mean() >= 0])) == 1


def test_an_error_in_a_callback_is_the_users_to_see_and_training_can_go_on(make, x, tmp_path):
    trainer, straight = make("v1"), make("v1")

    def fail(_, row):
        if row["step"] == PER_EPOCH - 1:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        trainer.fit(x, progress=False, callbacks=[fail])
    trainer.fit(x, progress=False)
    straight.fit(x, progress=False)
    assert_equal(everything(trainer, tmp_path), everything(straight, tmp_path))


def test_the_progress_bar_says_epoch_months_and_losses_on_standard_error(make, x, capsys):
    make("v1", epochs=1).fit(x)
    out, err = capsys.readouterr()
    assert out == "" and "epoch 1/1, 6 months" in err and "wasserstein" in err and f"{PER_EPOCH}/{PER_EPOCH}" in err
    make("v1", epochs=1).fit(x, progress=False)
    assert capsys.readouterr().err == ""


def test_training_in_a_thread_works_where_no_signal_handler_can_be_set(make, x):
    trainer = make("v1", epochs=1)
    thread = threading.Thread(target=trainer.fit, args=(x,), kwargs={"progress": False})
    thread.start()
    thread.join(60)
    assert len(trainer.history) == PER_EPOCH


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[:, :5], r"patients, 6, 22"),
        (lambda x: x[..., :21], r"patients, 6, 22.*\(40, 6, 21\)"),
        (lambda x: x[0], r"patients, 6, 22"),
        (lambda x: x.numpy(), r"encoder's tensor"),
        (lambda x: [1, 2], r"encoder's tensor.*list"),
        (lambda x: x[:1], r"at least 2 patients, not 1"),
        (lambda x: x[:0], r"at least 2 patients, not 0"),
        (lambda x: x.masked_fill(x == x.max(), math.nan), r"not finite"),
    ],
)
def test_what_is_no_encoded_cohort_is_refused(make, x, wrong, message):
    with pytest.raises(ValueError, match=message):
        make("v1").fit(wrong(x), progress=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("checkpoint_every", 0), ("checkpoint_every", 1.5), ("epochs", -1), ("epochs", 1.5), ("epochs", "3")],
)
def test_what_is_no_number_of_epochs_is_refused(make, x, name, value):
    with pytest.raises(ValueError, match=name):
        make("v1").fit(x, progress=False, **{name: value})


def test_a_device_that_is_not_there_is_refused(encoder, tiny):
    with pytest.raises(ValueError, match="cuda:99"):
        Trainer(encoder, tiny(), "cuda:99")


def test_the_training_table_is_not_changed(make, x):
    before = x.clone()
    make("v2_plus", epochs=1).fit(x, progress=False)
    assert torch.equal(x, before)


def test_other_patients_are_refused_at_resume(make, x, tmp_path):
    make("v1").fit(x, epochs=1, checkpoint=tmp_path / "model.pt", progress=False)
    for other in (x.flip(0), x[:-1], x * 0.5):
        with pytest.raises(ValueError, match="not the patients"):
            Trainer.load(tmp_path / "model.pt", "cpu").fit(other, progress=False)
    assert len(Trainer.load(tmp_path / "model.pt", "cpu").fit(x.clone(), progress=False)) == 2 * PER_EPOCH


# --- a loss that is no number -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("network", "loss"),
    [("autoencoder", "autoencoder_loss"), ("critic", "gradient_penalty"), ("generator", "correlation_loss")],
)
def test_a_loss_that_is_no_number_stops_at_once_and_the_last_good_checkpoint_stays(
    make, x, tmp_path, monkeypatch, network, loss, value
):
    trainer, path, good = make("v2"), tmp_path / "model.pt", {}
    original = getattr(steps, loss)

    def broken(*args):
        found, at_fault = original(*args), trainer.step == PER_EPOCH + 2
        if not at_fault:
            return found
        return (found[0] * value, found[1]) if isinstance(found, tuple) else found * value

    def note(trainer, row):
        if row["step"] >= PER_EPOCH:
            good.setdefault("file", path.read_bytes())
        good["weights"] = weights(getattr(trainer, network))
        good["prototypes"] = trainer.source.prototypes.clone()

    monkeypatch.setattr(steps, loss, broken)
    with pytest.raises(TrainingStopped, match=rf"{network}'s loss is -?{value} at step {PER_EPOCH + 2} \(epoch 2\)"):
        trainer.fit(x, checkpoint=path, callbacks=[note], progress=False)
    assert path.read_bytes() == good["file"] and os.listdir(tmp_path) == ["model.pt"]
    assert same(good["weights"], getattr(trainer, network))
    assert len(trainer.history) == PER_EPOCH + 2 and np.isfinite(trainer.history).all(axis=None)
    if network == "autoencoder":
        assert torch.equal(trainer.source.prototypes, good["prototypes"])
    assert load_checkpoint(path, "trainer")["position"] == [1, 0, PER_EPOCH]


def test_a_rate_that_is_much_too_high_stops_by_itself(make, x):
    trainer = make("v2", autoencoder="variational", learning_rate=100.0, epochs=20)
    with pytest.raises(TrainingStopped, match=r"autoencoder's loss is .*lower learning_rate"):
        trainer.fit(x, progress=False)


@pytest.mark.parametrize("network", ["generator", "critic", "autoencoder", "average", "source"])
def test_a_weight_that_is_no_number_is_not_written_over_a_good_checkpoint(make, x, tmp_path, network):
    trainer, path = make("v2_plus", ema=0.9), tmp_path / "model.pt"
    trainer.fit(x, epochs=1, checkpoint=path, progress=False)
    before = path.read_bytes()
    with torch.no_grad():
        next(iter(getattr(trainer, network).state_dict().values())).view(-1)[-1] = math.inf
    with pytest.raises(TrainingStopped, match=rf"{network}\..*step {PER_EPOCH}"):
        trainer.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pt"]


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def interrupt(times=1):
    def callback(_, row):
        if row["step"] == 2:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return callback


@pytest.mark.parametrize("model", MODELS)
def test_ctrl_c_ends_after_the_batch_with_a_trainer_that_goes_on_as_if_nothing_had_been(make, x, tmp_path, model):
    trainer, straight, path = make(model), make(model), tmp_path / "model.pt"
    before = signal.getsignal(signal.SIGINT)
    history = trainer.fit(x, checkpoint=path, progress=False, callbacks=[interrupt()])
    assert signal.getsignal(signal.SIGINT) is before
    assert len(history) == 3 and (trainer.epoch, trainer.batch) == (0, 3)
    assert len(trainer.synthesizer().sample(2)) == 12
    straight.fit(x, progress=False)
    for again in (Trainer.load(path, "cpu"), trainer):
        again.fit(x, progress=False)
        assert_equal(everything(again, tmp_path), everything(straight, tmp_path))


def test_a_second_ctrl_c_stops_at_once(make, x):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        make("v1").fit(x, progress=False, callbacks=[interrupt(2)])
    assert signal.getsignal(signal.SIGINT) is before


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_every_so_many_epochs_and_at_the_end(make, x, tmp_path):
    path, found = tmp_path / "model.pt", []

    def note(_, row):
        found.append(load_checkpoint(path, "trainer")["position"][0] if path.exists() else 0)

    make("v1", epochs=5, n_critic=1).fit(x, checkpoint=path, checkpoint_every=2, callbacks=[note], progress=False)
    assert found == [0] * 12 + [2] * 12 + [4] * 6
    assert load_checkpoint(path, "trainer")["position"] == [5, 0, 30] and os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("model", MODELS)
def test_a_loaded_trainer_is_the_saved_one(make, x, tmp_path, model):
    trainer = make(model)
    trainer.fit(x, epochs=1, progress=False)
    trainer.save(tmp_path / "model.pt")
    again = Trainer.load(tmp_path / "model.pt", "cpu")
    assert again.config == trainer.config and again.schema == trainer.schema
    assert_equal(everything(again, tmp_path), everything(trainer, tmp_path))
    pd.testing.assert_frame_equal(again.history, trainer.history)


def test_a_trainer_can_be_saved_before_its_first_batch(make, x, tmp_path):
    for model in MODELS:
        make(model).save(tmp_path / "model.pt")
        again, straight = Trainer.load(tmp_path / "model.pt", "cpu"), make(model)
        again.fit(x, epochs=1, progress=False)
        straight.fit(x, epochs=1, progress=False)
        assert_equal(everything(again, tmp_path), everything(straight, tmp_path))


def test_a_trainer_written_by_another_torch_says_that_it_goes_on_but_not_bit_for_bit(
    make, tmp_path, caplog, monkeypatch
):
    make("v1").save(tmp_path / "model.pt")
    with caplog.at_level(logging.INFO, "hg_helpers"):
        Trainer.load(tmp_path / "model.pt", "cpu")
        assert caplog.text == ""
        monkeypatch.setattr(torch, "__version__", "9.9")
        Trainer.load(tmp_path / "model.pt", "cpu")
    assert "not bit for bit" in caplog.text


def test_an_exported_synthesizer_cannot_go_on_training(make, x, tmp_path):
    trainer = make("v2", epochs=1)
    trainer.fit(x, progress=False)
    trainer.synthesizer().export(tmp_path / "small.pt")
    with pytest.raises(ValueError, match=r"small\.pt holds a synthesizer, not a trainer"):
        Trainer.load(tmp_path / "small.pt", "cpu")


# --- a new process ----------------------------------------------------------------------------------------------------

ROOT = str(Path(hg_helpers.__file__).parents[1])
FORKS = {
    "v1": ("v1", {}),
    "v2": ("v2", {"buffer_size": 30}),  # full after the first length, so that its random choice matters
    "v2_plus": ("v2_plus", {"lr_decay": True, "ema": 0.9}),
    "other options": (
        "v2_plus",
        {"latent_source": "gaussian", "autoencoder": "variational", "gumbel_noise": "patient", "lr_decay": True},
    ),
}


def start(code: str, *args) -> subprocess.Popen:
    code = "import sys, torch; torch.set_num_threads(1); from hg_helpers.training import Trainer\n" + code
    paths = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def resumed(encoder, tiny, x, tmp_path_factory):
    """Three epochs straight, and the same in two parts of which the second is a new process."""
    folder = tmp_path_factory.mktemp("resumed")
    torch.save(x, folder / "x.pt")
    found, names = {}, []
    for number, (name, (model, changes)) in enumerate(FORKS.items()):
        config = tiny(model, epochs=3, **changes)
        straight = Trainer(encoder, config, "cpu")
        straight.fit(x, checkpoint=folder / f"straight {number}.pt", progress=False)
        at_the_end = Trainer(encoder, config, "cpu")
        at_the_end.fit(x, epochs=1, progress=False)
        at_the_end.save(folder / f"end {number}.pt")
        inside = Trainer(encoder, config, "cpu")
        inside.fit(
            x,
            checkpoint=folder / f"inside {number}.pt",
            callbacks=[lambda t, row: row["step"] == PER_EPOCH + 1],
            progress=False,
        )
        assert load_checkpoint(folder / f"inside {number}.pt", "trainer")["position"] == [1, 2, PER_EPOCH + 2]
        for part in ("end", "inside"):
            names.append(f"{part} {number}.pt")
            found[name, part] = folder / f"straight {number}.pt", folder / f"{part} {number}.pt"
    process = start(
        "x = torch.load(sys.argv[1] + '/x.pt')\n"
        "for name in sys.argv[2:]:\n"
        "    path = sys.argv[1] + '/' + name\n"
        "    Trainer.load(path, 'cpu').fit(x, checkpoint=path, progress=False)",
        folder,
        *names,
    )
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors.decode()
    return found


@pytest.mark.parametrize("part", ["end", "inside"])
@pytest.mark.parametrize("name", FORKS)
def test_a_run_resumed_in_a_new_process_equals_the_straight_run_bit_for_bit(resumed, name, part):
    straight, parts = map(everything, resumed[name, part])
    assert straight["position"] == [3, 0, 3 * PER_EPOCH]
    assert_equal(parts, straight)


@pytest.fixture(scope="module")
def killed(encoder, tiny, x, tmp_path_factory):
    """Checkpoints of training processes that were killed at a random instant after their first checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    torch.save(x, folder / "x.pt")
    processes, paths = {}, {}
    for number, model in enumerate(("v1", "v2")):
        config = tiny(model, epochs=6, buffer_size=30, n_critic=1, lr_decay=True)
        Trainer(encoder, config, "cpu").save(folder / f"begin {number}.pt")
        paths[model] = folder / f"killed {number}.pt"
        code = (
            "Trainer.load(sys.argv[1], 'cpu').fit(torch.load(sys.argv[2]), epochs=10_000, checkpoint=sys.argv[3], "
            "checkpoint_every=1, progress=False)"
        )
        processes[model] = start(code, folder / f"begin {number}.pt", folder / "x.pt", paths[model])
    waiting = Random(time.time_ns())
    for model, process in processes.items():
        deadline = time.monotonic() + 200
        while not paths[model].exists():
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(waiting.uniform(0, 0.3))
        process.kill()  # SIGKILL: no handler, no clean-up
        process.communicate()
        assert process.returncode != 0
    return paths


@pytest.mark.parametrize("model", ["v1", "v2"])
def test_a_run_that_was_killed_resumes_to_the_same_state_bit_for_bit(killed, x, tmp_path, model):
    interrupted = Trainer.load(killed[model], "cpu")
    reached = interrupted.epoch
    assert reached >= 1
    interrupted.fit(x, epochs=reached + 1, progress=False)
    straight = Trainer(interrupted.encoder, interrupted.config, "cpu")
    straight.fit(x, epochs=reached + 1, progress=False)
    assert_equal(everything(interrupted, tmp_path), everything(straight, tmp_path))


# --- copies -----------------------------------------------------------------------------------------------------------


def train_elsewhere(pickled: bytes, x: np.ndarray) -> list[np.ndarray]:
    torch.set_num_threads(1)
    trainer = pickle.loads(pickled)
    trainer.fit(torch.from_numpy(x), progress=False)
    return [p.numpy() for p in weights(trainer.generator)]


def test_a_trainer_can_be_copied_and_sent_to_a_spawned_process(make, x):
    trainer = make("v2_plus")
    trainer.fit(x, epochs=1, progress=False)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(train_elsewhere, pickle.dumps(trainer), x.numpy()).result(timeout=200)
    twin = copy.deepcopy(trainer)
    twin.fit(x, progress=False)
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(weights(twin.generator), elsewhere, strict=True))
    assert (trainer.epoch, twin.epoch) == (1, 2) and not same(weights(twin.generator), trainer.generator)


def test_a_configuration_is_enough_to_know_what_will_be_built(encoder, tiny):
    assert isinstance(tiny("v2"), TrainConfig)
    for model in MODELS:
        trainer = Trainer(encoder, tiny(model), "cpu")
        assert (trainer.autoencoder is None) == (model == "v1") == (not trainer.source.learns)
        assert trainer.device.type == "cpu"


@pytest.mark.parametrize("place", ["file/inside/v1.pt", "folder"])
def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(encoder, x, tiny, tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    trainer = Trainer(encoder, tiny("v1"))
    with pytest.raises(OSError, match=place.split("/")[-1]):
        trainer.fit(x, checkpoint=tmp_path / place, progress=False)
    assert trainer.step == 0
