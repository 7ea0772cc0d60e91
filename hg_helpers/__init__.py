"""Health Gym v2, the teaching series: from a cohort to synthetic patients, and why a naive generator loses people.

``import hg_helpers as hg``; the names below are the public ones. README.md shows the way the data flow.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "2.0.0"

# Names are loaded when they are first used, so that `python -m hg_helpers doctor` can say which package is missing.
_HOME = {
    "cohort.art": ["ART_DEMO", "ART_FULL"],
    "cohort.schema": ["Feature", "Schema"],
    "cohort.simulate": ["simulate_cohort", "truth"],
    "cohort.download": ["download_cohort"],
    "cohort.load": ["load_cohort", "split_patients", "validate_cohort"],
    "cohort.encoding": ["CohortEncoder"],
    "model.curriculum": ["curriculum_batches"],
    "model.networks": ["Autoencoder", "BiLSTM", "Critic", "Generator", "VariationalAutoencoder"],
    "model.latent": ["GaussianPrototypes", "LatentBuffer", "PersistentNoise", "UniformNoise"],
    "model.losses": ["autoencoder_loss", "correlation_loss", "correlation_matrix", "gradient_penalty"],
    "model.moments": ["co_moments", "moment_loss"],
    "model.config": ["TrainConfig"],
    "runtime.checkpoint": ["load_checkpoint", "save_checkpoint"],
    "model.synthesizer": ["Synthesizer"],
    "app.parquet_parts": ["write_parts"],
    "model.training": ["Trainer", "TrainingStopped"],
    "metrics": ["evaluate"],
    "runtime.environment": ["describe_environment", "seed_everything", "setup"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_MODULES = ["exercises", "metrics", "plots"]

__all__ = sorted([*_MODULE_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'hg_helpers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
