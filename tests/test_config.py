"""The settings of a run: what they are, that they stay, and what is refused."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch

from hg_helpers.model.config import TrainConfig

MODELS = ["v1", "v2", "v2_plus"]


def test_the_published_defaults_are_the_published_examples():
    for config in (TrainConfig(), TrainConfig.v1()):
        assert (config.batch_size, config.epochs, config.hidden, config.latent) == (256, 100, 128, 128)
        assert (config.learning_rate, config.betas, config.lr_decay) == (1e-3, (0.9, 0.99), False)
        assert config.lengths == (10, 20, 30, 40, 50, 60)
        assert (config.n_critic, config.gp_weight, config.correlation_weight) == (5, 10, 10)
        assert (config.latent_source, config.autoencoder, config.buffer_size) == ("uniform", None, 10_000)
        assert (config.heads, config.gumbel_noise, config.static_heads) == ("softmax", "monthly", False)
        assert (config.real_weight, config.ema, config.seed) == (1.0, 0.0, 0)


def test_v2_differs_from_v1_in_where_noise_comes_from_alone():
    changed = {
        f.name for f in fields(TrainConfig) if getattr(TrainConfig.v1(), f.name) != getattr(TrainConfig.v2(), f.name)
    }
    assert changed == {"latent_source", "autoencoder"}
    assert (TrainConfig.v2().latent_source, TrainConfig.v2().autoencoder) == ("buffer", "aggregate")


def test_v2_plus_adds_repairs_to_v2_and_takes_nothing_away():
    plus = TrainConfig.v2_plus()
    assert (plus.latent_source, plus.autoencoder) == ("noisy_buffer", "aggregate")
    assert plus != TrainConfig.v2()


@pytest.mark.parametrize("model", MODELS)
def test_the_workshop_preset_changes_sizes_and_schedule_alone_and_changes_win_over_it(model):
    make = getattr(TrainConfig, model)
    published, workshop = make(), make(preset="workshop")
    changed = {f.name for f in fields(TrainConfig) if getattr(published, f.name) != getattr(workshop, f.name)}
    assert changed | {"lr_decay"} == {"hidden", "latent", "epochs", "batch_size", "lr_decay"}
    assert workshop.lr_decay  # v2_plus has it in either preset
    assert workshop.hidden < published.hidden and workshop.epochs < published.epochs
    assert make(preset="workshop", hidden=7, heads="gumbel", seed=3).hidden == 7
    assert make(heads="gumbel").heads == "gumbel" and make(ema=0.5).ema == 0.5


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_can_be_switched_alone(model):
    base = getattr(TrainConfig, model)()
    others = {"heads": "gumbel", "gumbel_noise": "patient", "static_heads": True, "real_weight": 3.0, "ema": 0.9}
    others |= {
        "lr_decay": True,
        "moment_weight": 0.5,
        "hold_or_switch": True,
        "measurement_noise": True,
        "switch_response": True,
        "chain": True,
        "critic": "convolutional",
        "generator": "transformer",
        "summary_weight": 1.0,
        "betas": (0.1, 0.2),
        "n_critic": 2,
        "autoencoder": "variational",
    }
    for name, value in others.items():
        changed = getattr(TrainConfig, model)(**{name: value})
        assert getattr(changed, name) == value
        assert {**changed.to_dict(), name: None} == {**base.to_dict(), name: None}


def test_a_configuration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TrainConfig().epochs = 3


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("preset", ["published", "workshop"])
def test_plain_values_and_back(tmp_path, model, preset):
    config = getattr(TrainConfig, model)(preset=preset, lengths=[3, 5], seed=9)
    assert TrainConfig(**config.to_dict()) == config
    torch.save(config.to_dict(), tmp_path / "config.pt")
    assert TrainConfig(**torch.load(tmp_path / "config.pt", weights_only=True)) == config
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(copy.deepcopy(config))


def test_numpys_numbers_are_taken_and_can_be_read_back_from_a_checkpoint(tmp_path):
    config = TrainConfig.v2(
        epochs=np.int64(3),
        lengths=np.arange(2, 6),
        learning_rate=np.float64(0.01),
        ema=np.float32(0.5),
        betas=np.array([0.5, 0.75]),
        heads=np.array(["gumbel"])[0],
    )
    torch.save(config.to_dict(), tmp_path / "config.pt")
    assert TrainConfig(**torch.load(tmp_path / "config.pt", weights_only=True)) == config
    assert config == TrainConfig.v2(
        epochs=3, lengths=(2, 3, 4, 5), learning_rate=0.01, ema=0.5, betas=(0.5, 0.75), heads="gumbel"
    )


def test_lengths_may_come_from_a_generator():
    assert TrainConfig(lengths=(n for n in (2, 4))).lengths == (2, 4)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (60, (10, 20, 30, 40, 50, 60)),
        (35, (10, 20, 30, 35)),
        (10, (10,)),
        (6, (6,)),
        (1, (1,)),
        (72, (*range(10, 70, 10), 72)),
    ],
)
def test_longer_steps_are_dropped_and_the_full_length_is_always_in(length, expected):
    assert TrainConfig().lengths_for(length) == expected


BAD = {
    **dict.fromkeys(
        ("epochs", "batch_size", "hidden", "latent", "n_critic", "buffer_size"),
        (0, -1, 1.5, "3", None, True, float("nan")),
    ),
    "seed": [-1, 0.5, "0", None, 2**64],
    "lengths": [(), (0,), (10, -1), (1.5,), ("10",), "10", 10, None, (True,)],
    "gp_weight": [-1, float("nan"), float("inf"), "10", None, True],
    "correlation_weight": [-0.1, float("nan"), float("inf"), "10", None],
    "moment_weight": [-0.1, float("nan"), float("inf"), "1", None, True],
    "summary_weight": [-0.1, float("nan"), float("inf"), "1", None, True],
    "hold_or_switch": ["no", 1, None],
    "measurement_noise": ["no", 1, None],
    "switch_response": ["no", 1, None],
    "chain": ["no", 1, None],
    "critic": ["lstm", None, True],
    "generator": ["gru", None, True],
    "learning_rate": [0, -1e-3, float("nan"), float("inf"), "1e-3", None, 1000],
    "betas": [(0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, 0.9, 0.9), 0.9, None, "ab", ("a", "b"), (0.9, float("nan"))],
    "lr_decay": ["no", 1, None],
    "correlation_cap": ["no", 1, None],
    "static_heads": ["false", 0, None],
    "heads": ["sigmoid", None, 3, ["softmax"]],
    "start": ["xavier", None, 1],
    "gumbel_noise": ["daily", None, True],
    "real_weight": [0, -1, float("nan"), float("inf"), "5"],
    "latent_source": ["normal", None, ("buffer",)],
    "autoencoder": ["vae", True, "none"],
    "ema": [-0.1, 1, 1.5, float("nan"), "0.9", None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values], ids=str
)
def test_a_bad_value_is_refused_naming_the_setting_and_the_value(name, value):
    with pytest.raises(ValueError) as refused:
        TrainConfig(**{name: value})
    assert name in str(refused.value) and repr(value).strip("[]") in str(refused.value)


def test_every_setting_is_checked():
    assert set(BAD) == {f.name for f in fields(TrainConfig)}


@pytest.mark.parametrize("name", ["heads", "gumbel_noise", "start", "latent_source"])
def test_a_wrong_choice_is_answered_with_the_choices(name):
    with pytest.raises(ValueError, match=repr(getattr(TrainConfig(), name))):
        TrainConfig(**{name: "sofmax"})


@pytest.mark.parametrize("source", ["buffer", "noisy_buffer", "gaussian"])
def test_a_buffer_without_an_autoencoder_is_refused_with_the_way_out(source):
    with pytest.raises(ValueError, match=rf"'{source}'.*autoencoder='aggregate'"):
        TrainConfig(latent_source=source)
    with pytest.raises(ValueError, match="autoencoder"):
        TrainConfig.v2(autoencoder=None)
    assert TrainConfig(latent_source=source, autoencoder="variational").latent_source == source


def test_an_unknown_setting_or_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no setting 'lr'.*learning_rate"):
        TrainConfig.v1(lr=0.1)
    with pytest.raises(ValueError, match=r"'laptop'.*'published', 'workshop'"):
        TrainConfig.v2(preset="laptop")
