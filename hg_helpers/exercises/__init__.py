"""Immediate feedback on a learner's own version of what the notebooks teach: one `check_...` an exercise.

Each check returns whether an answer is right, and prints that, or which mistake it looks like, with what was given,
what came back and what was expected. :mod:`.toy` holds the three patients that run through the series.
"""

from typing import Any

from . import evaluation, latents, wgan
from .evaluation import suspects
from .toy import toy_cohort, toy_gan, toy_points, toy_schema
from .values import predicted

_NAMES = vars(wgan) | vars(latents) | vars(evaluation)
_CHECKS = {name: check for name, check in _NAMES.items() if name.startswith("check_")}
globals().update(_CHECKS)
__all__ = ["chosen", "predicted", "suspects", "toy_cohort", "toy_gan", "toy_points", "toy_schema", *sorted(_CHECKS)]


def chosen(name: str, answer: Any, package: Any = None) -> Any:
    """What later cells run on: the learner's answer where ``check_<name>`` calls it right, else the package's.

    A printed line says which. ``package`` is the check's own reference where it is not given.
    """
    return _CHECKS[f"check_{name}"].chosen(answer, package)
