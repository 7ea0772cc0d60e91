"""How the models in data/pretrained/ were made: ``python -m tests.bench.pretrained``, some 50 minutes of one core.

Stopped and started again, each model goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pandas as pd
import torch

from hg_helpers.app.demo import LABELS, STATIC, scores
from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import autocorrelation_difference, joint_tv
from hg_helpers.metrics.arrays import as_arrays
from hg_helpers.model.config import TrainConfig
from hg_helpers.model.training import Trainer
from hg_helpers.runtime.download import data_folder

#: The patients that the shipped models have seen, and the seeds of others from the same truth.
PATIENTS, SEED, HOLDOUT_SEED = 4000, 1, 2
CONFIGS = {
    "v1": TrainConfig.v1(preset="workshop", epochs=1),
    "v2": TrainConfig.v2(preset="workshop", epochs=1),
    "v2_plus": TrainConfig.v2_plus(preset="workshop", epochs=32, ema=0.999),
}
OUTCOME = next(f.name for f in ART_DEMO if f.role == "outcome")
#: The rows of the data card's table that the demo has, too.
ROWS = ["coverage_month", "coverage_patient", "joint_tv", *(f"ks {f.name}" for f in ART_DEMO.real)]
ROWS += ["switching_ratio", "static_constant"]


def training_cohort() -> pd.DataFrame:
    """The 4,000 simulated patients that the shipped models were trained on."""
    return simulate_cohort(PATIENTS, seed=SEED)


def make(name: str, folder: Path, work: Path) -> None:
    """Train one model, on one thread, going on from where an earlier call stopped, and export it.

    Args:
        name: a key of ``CONFIGS``.
        folder: receives ``NAME.pt``, with at most 2,000 prototypes.
        work: keeps the trainer's checkpoint.
    """
    torch.set_num_threads(1)
    cohort, checkpoint = training_cohort(), work / f"{name}.pt"
    if checkpoint.is_file():
        trainer = Trainer.load(checkpoint, device="cpu")
    else:
        trainer = Trainer(CohortEncoder(ART_DEMO).fit(cohort), CONFIGS[name], device="cpu")
    x = trainer.encoder.transform(cohort)
    trainer.fit(x, checkpoint=checkpoint, progress=logging.root.level <= logging.INFO)
    trainer.synthesizer().match_margins(x).export(folder / f"{name}.pt")


def card(real: pd.DataFrame, made: pd.DataFrame) -> dict[str, float]:
    """The data card's rows of a shipped model, against real patients whom it has not seen."""
    encoder = CohortEncoder(ART_DEMO).fit(real)
    pair = [as_arrays(table, ART_DEMO, encoder) for table in (real, made)]
    found = scores(*pair)
    lagged = autocorrelation_difference(*pair, ART_DEMO)[1].set_index(["feature", "lag"]).loc[(OUTCOME, 1)]
    return {LABELS[key]: found[key] for key in ROWS} | {
        f"total variation, {' x '.join(STATIC)}": joint_tv(*pair, ART_DEMO, features=STATIC)[0],
        f"lag-1 autocorrelation of {OUTCOME}, of real": float(lagged["synthetic"] / lagged["real"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[*CONFIGS, []], help="default: all")
    parser.add_argument("--out", type=Path, default=data_folder() / "pretrained")
    parser.add_argument("--work", type=Path, default=Path("runs/pretrained"), help="folder of the checkpoints")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO)
    for name in options.models or CONFIGS:
        make(name, options.out, options.work)


if __name__ == "__main__":
    main()
