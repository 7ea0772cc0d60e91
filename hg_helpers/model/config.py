"""Every choice of a training run, in one frozen object that travels with the model; its networks; its batches.

>>> TrainConfig.v2(preset="workshop", epochs=3).latent_source
'buffer'
>>> [(months, who.tolist()) for months, who in curriculum_batches(3, lengths=(10, 60), batch_size=2, seed=0, epoch=0)]
[(10, [1, 2]), (10, [0]), (60, [0, 1]), (60, [2])]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from ..cohort.schema import Schema
from ..runtime.checks import one_of, real_number, true_or_false, whole_number
from ..runtime.environment import seeded
from .latent import AUTOENCODERS, MEMORIES, SOURCES
from .losses import summary_critic
from .networks import CRITICS, Generator

#: What 2 CPU cores finish while a class waits, on some 800 patients: many small steps, at a rate that falls.
WORKSHOP = {"hidden": 64, "latent": 64, "batch_size": 32, "epochs": 5, "lr_decay": True}
#: What makes v2 of v1, which has the defaults, and the repairs; data/results/README.md says what each is for.
V2 = {"latent_source": "buffer", "autoencoder": "aggregate"}
HEADS = {"heads": "straight_through"}
HEADS |= dict.fromkeys(("static_heads", "hold_or_switch", "measurement_noise", "switch_response"), True)
JUDGED = {"critic": "convolutional", "summary_weight": 3.0, "real_weight": 5.0, "moment_weight": 0.1, "n_critic": 3}
V2_PLUS = V2 | HEADS | JUDGED | {"latent_source": "noisy_buffer", "chain": True, "start": "margins"}
V2_PLUS |= {"betas": (0.5, 0.99), "ema": 0.99, "lr_decay": True}


def _setting(default: Any, meaning: str, check: Callable[..., Any], *bounds: Any) -> Any:
    """A field that knows what it may be: ``check(name, value, *bounds)`` refuses the rest, and gives Python's own."""
    return field(default=default, metadata={"meaning": meaning, "check": check, "bounds": bounds})


def _several(name: str, value: Any, number: int | None, check: Callable[..., Any], *bounds: Any) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not values or number not in (None, len(values)):
        raise ValueError(f"{name} must be {number or 'one or more'} numbers, not {value!r}")
    try:
        return tuple(check(name, one, *bounds) for one in values)
    except ValueError as error:
        raise ValueError(f"{error}, in {value!r}") from None


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; make one with :meth:`v1`, :meth:`v2`, :meth:`v2_5` or :meth:`v2_plus`."""

    epochs: int = _setting(100, "passes through all lengths and patients; the span of `lr_decay`", whole_number)
    batch_size: int = _setting(256, "most patients a batch", whole_number)
    hidden: int = _setting(128, "H, width of the networks", whole_number)
    latent: int = _setting(128, "Z, width of the generator's noise", whole_number)
    lengths: tuple[int, ...] = _setting((10, 20, 30, 40, 50, 60), "months, as visited", _several, None, whole_number)
    n_critic: int = _setting(5, "critic steps a generator step", whole_number)
    gp_weight: float = _setting(10.0, "weight of the gradient penalty", real_number, 0, 1e6)
    correlation_weight: float = _setting(10.0, "weight of the correlation loss", real_number, 0, 1e6)
    correlation_cap: bool = _setting(False, "cap correlations at random: see correlation_loss", true_or_false)
    moment_weight: float = _setting(0.0, "weight of the moment loss", real_number, 0, 1e6)
    learning_rate: float = _setting(1e-3, "Adam's, for all networks", real_number, 1e-12, 100)
    betas: tuple[float, float] = _setting((0.9, 0.99), "Adam's, below 1", _several, 2, real_number, 0, 1 - 2**-53)
    lr_decay: bool = _setting(False, "constant for half of `epochs`, then linear to 0.05 of itself", true_or_false)
    heads: str = _setting("softmax", "of levels: see Generator", one_of, "softmax", "gumbel", "straight_through")
    gumbel_noise: str = _setting("monthly", "drawn for each month, or each patient", one_of, "monthly", "patient")
    static_heads: bool = _setting(False, "one value a patient for static features", true_or_false)
    hold_or_switch: bool = _setting(False, "other levels are held until a month switches them", true_or_false)
    measurement_noise: bool = _setting(False, "each month's reals err on their own", true_or_false)
    switch_response: bool = _setting(False, "values may answer a switch: see Generator and summarise", true_or_false)
    chain: bool = _setting(False, "each feature is given the levels drawn before it", true_or_false)
    generator: str = _setting("lstm", "what runs over the months", one_of, "lstm", "transformer")
    critic: str = _setting("recurrent", "an LSTM, or convolutions over the months", one_of, *CRITICS)
    summary_weight: float = _setting(0.0, "weight of a second critic, of one line a patient", real_number, 0, 1e6)
    real_weight: float = _setting(1.0, "reals times this is what critic and autoencoder see", real_number, 1e-6, 1e6)
    latent_source: str = _setting("uniform", "where noise comes from: v1 uniform, v2 buffer", one_of, *SOURCES)
    autoencoder: str | None = _setting(None, "v2 has the aggregate one", one_of, None, *AUTOENCODERS)
    buffer_size: int = _setting(10_000, "most prototypes kept", whole_number)
    start: str = _setting("torch", "the generator's first weights: see Generator", one_of, "torch", "he", "margins")
    ema: float = _setting(0.0, "sampling averages weights with this decay; 0: the last ones", real_number, 0, 0.999999)
    seed: int = _setting(0, "of initial weights, noise and the order of patients", whole_number, 0)

    def __post_init__(self) -> None:
        for f in fields(self):  # numbers become Python's own, whatever numpy type they came in: a checkpoint needs it
            value = f.metadata["check"](f.name, getattr(self, f.name), *f.metadata["bounds"])
            object.__setattr__(self, f.name, value)
        if self.generator == "transformer" and self.hidden % 4:
            raise ValueError(f"hidden must be a multiple of 4, for eight attention heads, not {self.hidden}")
        if self.latent_source in MEMORIES and self.autoencoder is None:
            remedy = "set autoencoder='aggregate' (or 'variational'), or choose 'uniform' or 'persistent'"
            raise ValueError(f"latent_source {self.latent_source!r} stores what an autoencoder sees: {remedy}")

    @classmethod
    def v1(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """WGAN-GP: noise drawn anew each month, no autoencoder, no memory."""
        return cls._preset(preset, {}, changes)

    @classmethod
    def v2(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """v1 with an autoencoder and the latent buffer."""
        return cls._preset(preset, V2, changes)

    @classmethod
    def v2_5(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """v2 with a transformer in place of the generator's LSTM."""
        return cls._preset(preset, V2 | {"generator": "transformer"}, changes)

    @classmethod
    def v2_plus(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """v2 with the repairs."""
        sizes = {"batch_size": 64, "epochs": 10} if preset == "workshop" else {}
        return cls._preset(preset, V2_PLUS | sizes, changes)

    @classmethod
    def _preset(cls, preset: str, model: dict[str, Any], changes: dict[str, Any]) -> TrainConfig:
        known, presets = [f.name for f in fields(cls)], {"published": {}, "workshop": WORKSHOP}
        for name in changes:
            if name not in known:
                raise ValueError(f"TrainConfig has no setting {name!r}; it has {', '.join(known)}")
        return cls(**{**presets[one_of("preset", preset, *presets)], **model, **changes})

    def lengths_for(self, length: int) -> tuple[int, ...]:
        """The curriculum for a schema of this length: longer steps dropped, the full length always in."""
        return (*(n for n in self.lengths if n < length), length)

    def steps_per_epoch(self, patients: int, length: int) -> int:
        """Batches, hence generator steps, of one epoch: every length with every patient once."""
        return len(self.lengths_for(length)) * -(-patients // self.batch_size)

    def rate_at(self, step: int, per_epoch: int) -> float:
        """The learning rate: with ``lr_decay`` linear from half of all epochs to their end, and that from there on."""
        falling = max(0.0, 2 * step / (self.epochs * per_epoch) - 1) if self.lr_decay else 0.0
        return self.learning_rate * max(0.05, 1 - 0.95 * falling)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints, of which ``TrainConfig(**values)`` makes the settings again."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


meanings = [f"\n        {f.name}: {f.metadata['meaning']}" for f in fields(TrainConfig)]
TrainConfig.__doc__ = f"{TrainConfig.__doc__}\n\n    Args:{''.join(meanings)}"

#: The models of the series by name: what makes the settings of each, for a preset and with changes.
MODELS = {"v1": TrainConfig.v1, "v2": TrainConfig.v2, "v2_plus": TrainConfig.v2_plus}


def build_generator(layout: Schema, config: TrainConfig) -> Generator:
    switches = "static_heads", "hold_or_switch", "measurement_noise", "switch_response", "chain"
    options = {name: getattr(config, name) for name in ("heads", "start", "gumbel_noise", *switches)}
    options["trunk"] = config.generator
    return Generator(layout, config.latent, config.hidden, **options)


def build_source(config: TrainConfig) -> nn.Module:
    sizes = (config.latent, config.buffer_size) if config.latent_source in MEMORIES else (config.latent,)
    return SOURCES[config.latent_source](*sizes)


def build_networks(layout: Schema, config: TrainConfig) -> tuple[nn.Module | None, ...]:
    """Generator, critic, autoencoder and critic of summaries, with the seed's weights; None where there is no such."""
    autoencoder, sizes = AUTOENCODERS.get(config.autoencoder), (layout.width, config.latent, config.hidden)
    with seeded(config.seed):
        generator, critic = build_generator(layout, config), CRITICS[config.critic](layout, config.hidden)
        autoencoder = autoencoder(*sizes) if autoencoder else None
        second = None
        if config.summary_weight:
            second = summary_critic(layout, config.hidden, config.switch_response)
        return generator, critic, autoencoder, second


def curriculum_batches(
    patients: int, lengths: tuple[int, ...], batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """The batches of one epoch as (length, indices), for ``x[indices, :length]``; every patient once at each length.

    A function of (seed, epoch, length), to resume at any batch; 300 patients in batches of up to 256 make two of 150.
    """
    for length in lengths:
        order = np.random.default_rng([seed, epoch, length]).permutation(patients)
        for batch in np.array_split(order, -(-patients // batch_size)):
            yield length, torch.from_numpy(batch)
