"""How training stops, what a checkpoint holds, and that a run resumes bit for bit."""

import copy
import logging
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
import torch
from training_states import MODELS, PER_EPOCH, assert_equal, everything, same, weights

import hg_helpers
from hg_helpers.model import training
from hg_helpers.model.config import TrainConfig
from hg_helpers.model.latent import LatentBuffer
from hg_helpers.model.training import Trainer, TrainingStopped
from hg_helpers.runtime.checkpoint import load_checkpoint


@pytest.fixture
def make(encoder, tiny):
    """``make("v2", epochs=3)``: a new trainer on the CPU."""
    return lambda model="v1", **changes: Trainer(encoder, tiny(model, **changes), "cpu")


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
    original = getattr(training, loss)

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

    monkeypatch.setattr(training, loss, broken)
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
    code = "import sys, torch; torch.set_num_threads(1); from hg_helpers.model.training import Trainer\n" + code
    paths = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def resumed(encoder, tiny, x, tmp_path_factory):
    """Two epochs straight, and the same in two parts of which the second is a new process."""
    folder = tmp_path_factory.mktemp("resumed")
    torch.save(x, folder / "x.pt")
    found, names = {}, []
    for number, (name, (model, changes)) in enumerate(FORKS.items()):
        config = tiny(model, epochs=2, **changes)
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
    assert straight["position"] == [2, 0, 2 * PER_EPOCH]
    assert_equal(parts, straight)


def test_a_run_that_was_killed_resumes_to_the_same_state_bit_for_bit(encoder, tiny, x, tmp_path):
    """At a random instant after its first checkpoint; test_faults.py kills v2 fifty times, where processes can fork."""
    begin, path = tmp_path / "begin.pt", tmp_path / "killed.pt"
    torch.save(x, tmp_path / "x.pt")
    Trainer(encoder, tiny("v1", epochs=6, n_critic=1, lr_decay=True), "cpu").save(begin)
    process = start(
        "Trainer.load(sys.argv[1], 'cpu').fit(torch.load(sys.argv[2]), epochs=10_000, checkpoint=sys.argv[3], "
        "checkpoint_every=1, progress=False)",
        begin,
        tmp_path / "x.pt",
        path,
    )
    deadline = time.monotonic() + 200
    while not path.exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(Random(time.time_ns()).uniform(0, 0.3))
    process.kill()  # SIGKILL: no handler, no clean-up
    process.communicate()
    assert process.returncode != 0
    interrupted = Trainer.load(path, "cpu")
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
        assert (trainer.autoencoder is None) == (model == "v1") == (not isinstance(trainer.source, LatentBuffer))
        assert trainer.device.type == "cpu"


@pytest.mark.parametrize("place", ["file/inside/v1.pt", "folder"])
def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(encoder, x, tiny, tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    trainer = Trainer(encoder, tiny("v1"))
    with pytest.raises(OSError, match=place.split("/")[-1]):
        trainer.fit(x, checkpoint=tmp_path / place, progress=False)
    assert trainer.step == 0
