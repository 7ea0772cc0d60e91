"""Immediate feedback on a learner's own version of what the notebooks teach: one `check_...` an exercise.

Each check prints one line, says which mistake an answer looks like, and returns whether it is right. One module a
notebook; :mod:`.toy` holds the three patients that run through the series.
"""

from typing import Any

from .nb01_preprocessing import (
    check_box_cox,
    check_decode,
    check_log_likelihood,
    check_scale,
    check_sequences,
    check_switches,
)
from .nb02_wgan import (
    check_critic_loss,
    check_gradient_penalty,
    check_heads,
    check_lstm_step,
    check_patient_modes,
)
from .nb03_autoencoder import (
    check_aggregate_kl,
    check_detached_loss,
    check_kl,
    check_prototypes,
    check_reparameterise,
    check_residual_encoder,
)
from .nb04_buffer import (
    check_kept_variance,
    check_latent_noise,
    check_queue,
    check_running_scale,
    check_toy_prototypes,
)
from .nb05_evaluation import (
    check_coverage,
    check_floor,
    check_ks,
    check_mean_correlation,
    check_suspects,
    suspects,
)
from .nb06_usefulness import check_best_known, check_gap, check_kaplan_meier, check_sweep
from .toy import toy_cohort, toy_schema

__all__ = [
    "check_aggregate_kl",
    "check_best_known",
    "check_box_cox",
    "check_coverage",
    "check_critic_loss",
    "check_decode",
    "check_detached_loss",
    "check_floor",
    "check_gap",
    "check_gradient_penalty",
    "check_heads",
    "check_kaplan_meier",
    "check_kept_variance",
    "check_kl",
    "check_ks",
    "check_latent_noise",
    "check_log_likelihood",
    "check_lstm_step",
    "check_mean_correlation",
    "check_patient_modes",
    "check_prototypes",
    "check_queue",
    "check_reparameterise",
    "check_residual_encoder",
    "check_running_scale",
    "check_scale",
    "check_sequences",
    "check_suspects",
    "check_sweep",
    "check_switches",
    "check_toy_prototypes",
    "chosen",
    "suspects",
    "toy_cohort",
    "toy_schema",
]


def chosen(name: str, answer: Any, package: Any = None) -> Any:
    """What later cells run on: the learner's answer where ``check_<name>`` calls it right, else the package's.

    A printed line says which. ``package`` is the check's own reference where it is not given.
    """
    return globals()[f"check_{name}"].chosen(answer, package)
