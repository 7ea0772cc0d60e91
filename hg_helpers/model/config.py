"""Every choice of a training run, in one frozen object that travels with the model.

>>> TrainConfig.v2(preset="workshop", epochs=3).latent_source
'buffer'
>>> TrainConfig.v2_plus(n_critic=0)
Traceback (most recent call last):
ValueError: n_critic must be a whole number of at least 1, not 0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..runtime.checks import one_of, real_number, true_or_false, whole_number
from .latent import SOURCES, LatentBuffer
from .networks import CRITICS

#: What 2 CPU cores finish while a class waits, on some 800 patients; measured in hg_helpers/README.md. Many small
#: steps, at a rate that falls so that a short run settles.
WORKSHOP = {
    "hidden": 64,
    "latent": 64,
    "batch_size": 32,
    "epochs": 8,
    "lr_decay": True,
}

#: The largest number below 1.
BELOW_1 = 1 - 2**-53


def _setting(default: Any, check: Callable[..., Any], *bounds: Any) -> Any:
    """A field that knows what it may be: ``check(name, value, *bounds)`` refuses the rest, and gives Python's own."""
    return field(default=default, metadata={"check": check, "bounds": bounds})


def _lengths(name: str, value: Any) -> tuple[int, ...]:
    lengths = tuple(value) if _is_list(value) else ()
    try:
        checked = tuple(whole_number(name, length) for length in lengths)
    except ValueError:
        checked = ()
    if not checked:
        raise ValueError(f"{name} must be whole numbers of months of at least 1, not {value!r}")
    return checked


def _betas(name: str, value: Any) -> tuple[float, float]:
    betas = tuple(value) if _is_list(value) else ()
    try:
        checked = tuple(real_number(name, beta, 0, BELOW_1) for beta in betas)
    except ValueError:
        checked = ()
    if len(checked) != 2:
        raise ValueError(f"{name} must be two numbers of at least 0 and below 1, not {value!r}")
    return checked


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; make one with :meth:`v1`, :meth:`v2` or :meth:`v2_plus`.

    Args:
        epochs: passes through all lengths and patients; also the span of the falling learning rate.
        batch_size: most patients a batch.
        hidden, latent: widths H and Z of the networks.
        lengths: months used, in the order visited; those beyond the schema's length are dropped, the full length is
            always added.
        n_critic: critic steps a generator step.
        gp_weight, correlation_weight, moment_weight: weights of gradient penalty, correlation loss and moment loss.
        correlation_cap: cap correlations at random before they are compared, as the older code did; it makes that
            loss weaker (:func:`hg_helpers.model.losses.correlation_loss`).
        learning_rate, betas: of Adam, for all networks.
        lr_decay: constant for the first half of ``epochs``, then linear to 0.05 of itself.
        heads: ``"softmax"``, ``"gumbel"``, or ``"straight_through"``: Gumbel heads whose most probable level is what
            the critic sees, with the soft ones' derivative.
        gumbel_noise: a Gumbel draw each month (``"monthly"``) or one kept for all of a patient's months
            (``"patient"``), which keeps regimens from flickering.
        static_heads: one value a patient for static features.
        hold_or_switch: the other discrete features are held until a month switches them.
        measurement_noise: each month's real values err on their own, by a width that depends on the level.
        chain: features are drawn one after another, each given the levels drawn before it.
        generator: ``"lstm"`` or ``"transformer"``.
        critic: ``"recurrent"`` (an LSTM) or ``"convolutional"``.
        summary_weight: weight of a second critic, which sees one line of summaries a patient.
        real_weight: factor on real features before critic and autoencoder see them.
        latent_source: ``"uniform"`` (v1), ``"persistent"``, ``"buffer"`` (v2) or ``"gaussian"``.
        autoencoder: None, ``"aggregate"`` (v2) or ``"variational"``.
        buffer_size: most prototypes kept.
        start: initial weights of the generator: ``"torch"`` (its default); ``"he"``, which keeps the noise's scale, so
            that patients differ from the first step on; or ``"margins"``: He's, with the training patients' shares and
            means in the last layer, so that no rare level starts as one that is lost.
        ema: decay of the averaged generator weights that sampling uses; 0 samples from the last weights.
        seed: of initial weights, noise and the order of patients.

    Raises:
        ValueError: naming the setting and the values allowed.
    """

    epochs: int = _setting(100, whole_number)
    batch_size: int = _setting(256, whole_number)
    hidden: int = _setting(128, whole_number)
    latent: int = _setting(128, whole_number)
    lengths: tuple[int, ...] = _setting((10, 20, 30, 40, 50, 60), _lengths)
    n_critic: int = _setting(5, whole_number)
    gp_weight: float = _setting(10.0, real_number, 0, 1e6)
    correlation_weight: float = _setting(10.0, real_number, 0, 1e6)
    correlation_cap: bool = _setting(False, true_or_false)
    moment_weight: float = _setting(0.0, real_number, 0, 1e6)
    learning_rate: float = _setting(1e-3, real_number, 1e-12, 100)
    betas: tuple[float, float] = _setting((0.9, 0.99), _betas)
    lr_decay: bool = _setting(False, true_or_false)
    heads: str = _setting("softmax", one_of, "softmax", "gumbel", "straight_through")
    gumbel_noise: str = _setting("monthly", one_of, "monthly", "patient")
    static_heads: bool = _setting(False, true_or_false)
    hold_or_switch: bool = _setting(False, true_or_false)
    measurement_noise: bool = _setting(False, true_or_false)
    chain: bool = _setting(False, true_or_false)
    generator: str = _setting("lstm", one_of, "lstm", "transformer")
    critic: str = _setting("recurrent", one_of, *CRITICS)
    summary_weight: float = _setting(0.0, real_number, 0, 1e6)
    real_weight: float = _setting(1.0, real_number, 1e-6, 1e6)
    latent_source: str = _setting("uniform", one_of, *SOURCES)
    autoencoder: str | None = _setting(None, one_of, None, "aggregate", "variational")
    buffer_size: int = _setting(10_000, whole_number)
    start: str = _setting("torch", one_of, "torch", "he", "margins")
    ema: float = _setting(0.0, real_number, 0, 0.999999)
    seed: int = _setting(0, whole_number, 0)

    def __post_init__(self) -> None:
        for f in fields(self):  # numbers become Python's own, whatever numpy type they came in: a checkpoint needs it
            value = f.metadata["check"](f.name, getattr(self, f.name), *f.metadata["bounds"])
            object.__setattr__(self, f.name, value)
        if self.generator == "transformer" and self.hidden % 4:
            raise ValueError(f"hidden must be a multiple of 4, for eight attention heads, not {self.hidden}")
        if issubclass(SOURCES[self.latent_source], LatentBuffer) and self.autoencoder is None:
            raise ValueError(
                f"latent_source {self.latent_source!r} stores what an autoencoder sees: set autoencoder='aggregate' "
                "(or 'variational'), or choose 'uniform' or 'persistent'"
            )

    @classmethod
    def v1(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """WGAN-GP: noise drawn anew each month, no autoencoder, no memory."""
        return cls._preset(preset, {}, changes)

    @classmethod
    def v2(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """v1 with an autoencoder and the latent buffer."""
        return cls._preset(preset, {"latent_source": "buffer", "autoencoder": "aggregate"}, changes)

    @classmethod
    def v2_5(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """v2 with a transformer in place of the generator's LSTM."""
        model = {"latent_source": "buffer", "autoencoder": "aggregate", "generator": "transformer"}
        return cls._preset(preset, model, changes)

    @classmethod
    def v2_plus(cls, preset: str = "published", **changes: Any) -> TrainConfig:
        """v2 with the repairs; data/results/README.md says what each is for and what three seeds support."""
        repairs: dict[str, Any] = {
            "latent_source": "buffer",
            "autoencoder": "aggregate",
            "heads": "straight_through",
            "moment_weight": 0.1,
            "start": "margins",
            "static_heads": True,
            "hold_or_switch": True,
            "measurement_noise": True,
            "chain": True,
            "critic": "convolutional",
            "summary_weight": 3.0,
            "real_weight": 5.0,
            "betas": (0.5, 0.99),
            "ema": 0.99,
            "lr_decay": True,
            "n_critic": 3,
        }
        if preset == "workshop":
            repairs |= {"batch_size": 64, "epochs": 10}
        return cls._preset(preset, repairs, changes)

    @classmethod
    def _preset(cls, preset: str, model: dict[str, Any], changes: dict[str, Any]) -> TrainConfig:
        presets = {"published": {}, "workshop": WORKSHOP}
        if preset not in presets:
            raise ValueError(f"preset {preset!r} is not one of {', '.join(map(repr, presets))}")
        known = [f.name for f in fields(cls)]
        for name in changes:
            if name not in known:
                raise ValueError(f"TrainConfig has no setting {name!r}; it has {', '.join(known)}")
        return cls(**{**presets[preset], **model, **changes})

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> TrainConfig:
        """What :meth:`to_dict` gave, also that of a checkpoint written before hold-or-switch heads.

        Raises:
            ValueError: for a setting that no longer exists and was used.
        """
        settings = dict(settings)
        window = settings.pop("steady", 1)
        if window != 1:
            raise ValueError(
                f"this model averages regimens over a window of {window} months, which no longer exists: train it "
                "again (v2_plus now holds or switches them)"
            )
        return cls(**settings)

    def lengths_for(self, length: int) -> tuple[int, ...]:
        """The curriculum for a schema of this length: longer steps dropped, the full length always in."""
        return (*(n for n in self.lengths if n < length), length)

    def steps_per_epoch(self, patients: int, length: int) -> int:
        """Batches, hence generator steps, of one epoch: every length with every patient once."""
        return len(self.lengths_for(length)) * -(-patients // self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints; :meth:`from_dict` is the inverse."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


#: The models of the series by name: what makes the settings of each, for a preset and with changes.
MODELS = {"v1": TrainConfig.v1, "v2": TrainConfig.v2, "v2_plus": TrainConfig.v2_plus}
