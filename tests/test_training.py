"""The training loop: every cohort and every patient is trained on; its history, its callbacks, wrong input."""

import logging
import math
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from training_states import MODELS, PER_EPOCH, assert_equal, everything, same, weights

from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.schema import Feature, Schema
from hg_helpers.model.training import Trainer


@pytest.fixture
def make(encoder, tiny):
    """``make("v2", epochs=3)``: a new trainer on the CPU."""
    return lambda model="v1", **changes: Trainer(encoder, tiny(model, **changes), "cpu")


# --- every cohort, every patient --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("patients", "batch_size"), [(2, 4), (3, 4), (7, 4), (5, 2), (2, 1), (40, 256)])
@pytest.mark.parametrize("model", ["v1", "v2_plus"])
def test_any_number_of_patients_trains_and_each_is_seen_at_each_length(make, x, model, patients, batch_size):
    trainer, seen = make(model, batch_size=batch_size, epochs=2, n_critic=1), []
    run = trainer._batch
    trainer._batch = lambda real: seen.append(real.clone()) or run(real)
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
    if model == "v2_plus":
        losses = [*losses[:3], "summary_wasserstein", *losses[3:], "moment_loss"]
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
