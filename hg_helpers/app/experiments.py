"""What demo, ablation and shipped models have in common: how a run is trained, and what it is scored by.

>>> import hg_helpers as hg
>>> real, others = (hg.simulate_cohort(20, seed=seed) for seed in (0, 1))
>>> encoder = CohortEncoder(ART_DEMO).fit(real)
>>> found = scores(*(hg.metrics.as_arrays(table, ART_DEMO, encoder) for table in (real, others)))
>>> found['static_constant'], set(found) <= set(LABELS)
(1.0, True)
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from ..cohort.arrays import CohortArrays
from ..cohort.art import ART_DEMO
from ..cohort.encoding import CohortEncoder
from ..cohort.load import load_cohort, split_patients
from ..metrics import (
    autocorrelation_difference,
    coverage,
    joint_tv,
    ks,
    patient_spread,
    static_constant,
    switching_ratio,
)
from ..model.config import TrainConfig
from ..model.training import Trainer
from .processes import callbacks, leave_with_parent

SYNTHETIC_PATIENTS = 1000
HOLDOUT = 0.2

_STATIC = [f.name for f in ART_DEMO.static]
_OUTCOME = next(f.name for f in ART_DEMO if f.role == "outcome")
#: What a reader sees for each of the scores.
LABELS = {
    "coverage_month": "groups covered, by month",
    "coverage_patient": "groups covered, by patient",
    "coverage_drawn": "groups by patient, decode=sample",  # the demo's alone: of a second sample
    "joint_tv": "total variation, joint",
    "static_tv": f"total variation, {' x '.join(_STATIC)}",
    "static_groups": f"{' x '.join(_STATIC)} groups covered, of {math.prod(len(f.levels) for f in ART_DEMO.static)}",
    **{f"ks {f.name}": f"Kolmogorov-Smirnov {f.name}" for f in ART_DEMO.real},
    "patient_spread": "spread of patient means, of real",
    "lag_1": f"lag-1 autocorrelation of {_OUTCOME}, of real",
    "switching_ratio": "regimen switches, of real",
    "static_constant": "patients with constant static features",
    "static_changes": "patients whose static features change",
}


def scores(real: CohortArrays, made: CohortArrays) -> dict[str, float]:
    """Score a cohort in the demo's layout against real patients: one value a key of ``LABELS``."""
    pair = (real, made, ART_DEMO)
    distance = ks(*pair)[1].set_index("feature")["value"]
    lagged = autocorrelation_difference(*pair)[1].set_index(["feature", "lag"]).loc[(_OUTCOME, 1)]
    constant = static_constant(*pair)[0]
    found = {
        "coverage_month": coverage(*pair, by="month")[0],
        "coverage_patient": coverage(*pair, by="patient")[0],
        "joint_tv": joint_tv(*pair)[0],
        "static_tv": joint_tv(*pair, features=_STATIC)[0],
        "static_groups": coverage(*pair, features=_STATIC, minimum=0.0)[1]["covered"].sum(),
        **{f"ks {name}": distance[name] for name in distance.index},
        "patient_spread": patient_spread(*pair)[0],
        "lag_1": lagged["synthetic"] / lagged["real"],
        "switching_ratio": switching_ratio(*pair)[0],
        "static_constant": constant,
        "static_changes": 1 - constant,
    }
    return {key: float(value) for key, value in found.items()}


def train_in_process(config: TrainConfig, checkpoint: Path, resume: bool = False) -> tuple[Trainer, pd.DataFrame]:
    """Train on the bundled cohort's training patients, in a process of :func:`.processes.in_processes`.

    Args:
        config: its seed decides the split, too.
        checkpoint: left here where the run ends or is stopped.
        resume: go on from ``checkpoint`` where a run of the same settings was stopped.

    Returns:
        The trainer and the training patients.
    """
    train, _ = split_patients(load_cohort(), HOLDOUT, seed=config.seed)
    trainer = begun(checkpoint, config) if resume else None
    trainer = trainer or Trainer(CohortEncoder(ART_DEMO).fit(train), config, device="cpu")
    trainer.fit(trainer.encoder.transform(train), checkpoint=checkpoint, callbacks=callbacks(), progress=False)
    leave_with_parent()
    return trainer, train


def begun(checkpoint: Path, config: TrainConfig) -> Trainer | None:
    """The run as it was when it was stopped; None where there is none, or one with other settings."""
    try:
        trainer = Trainer.load(checkpoint, device="cpu")
    except (FileNotFoundError, ValueError):
        return None
    return trainer if trainer.config == config else None
