"""The main job: v1 collapses, v2 recovers, v2_plus recovers most; three models, two tables, two pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ..cohort.arrays import Trajectories, said_once, trajectories
from ..cohort.art import ART_DEMO
from ..cohort.encoding import CohortEncoder
from ..cohort.load import load_cohort, split_patients
from ..metrics import diversity, dynamics, fidelity
from ..model.config import TrainConfig
from ..model.synthesizer import Synthesizer
from ..model.training import Trainer
from ..plots import distributions, joint_shares
from ..runtime.checkpoint import atomic
from .processes import callbacks, in_processes, leave_with_parent

MODELS: dict[str, Callable[..., TrainConfig]] = {
    "v1": TrainConfig.v1,
    "v2": TrainConfig.v2,
    "v2_plus": TrainConfig.v2_plus,
}
SYNTHETIC_PATIENTS = 1000
HOLDOUT = 0.2


def run_demo(folder: str | Path, seed: int = 0, progress: bool = True, **changes: Any) -> dict[str, Any]:
    """Train v1, v2 and v2_plus on the bundled cohort and show who is missing.

    Args:
        folder: checkpoints, synthetic cohorts, tables and figures go here.
        seed: of the split, the training and the sampling.
        progress: show progress bars.
        changes: settings of :class:`TrainConfig` for all three models, other than the workshop preset's.

    Returns:
        ``"summary"`` (DataFrame, one column a cohort), ``"seconds"`` and ``"files"``.
    """
    started = time.perf_counter()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train, holdout = split_patients(load_cohort(), HOLDOUT, seed=seed)
    patients = {"train": train["PatientID"].nunique(), "holdout": holdout["PatientID"].nunique()}
    seconds = _train_all(folder, {"seed": seed, **changes}, patients["train"], progress)
    summary = _evaluate(folder, train, holdout, seed)
    files = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    return {
        "summary": summary,
        "seconds": {**seconds, "all": time.perf_counter() - started},
        "patients": patients,
        "files": [str(folder / name) for name in files],
    }


def _evaluate(folder: Path, train: pd.DataFrame, holdout: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sample each model, and write synthetic cohorts, tables and pictures; returns the summary."""
    encoder = CohortEncoder(ART_DEMO).fit(train)

    def arrays(name: str, table: pd.DataFrame) -> Trajectories:
        with said_once(name):
            return trajectories(table, ART_DEMO, encoder)

    real, cohorts = arrays("train", train), {"holdout": arrays("holdout", holdout)}
    synthetic: dict[str, pd.DataFrame] = {}
    by_sampling: dict[str, float] = {}
    for name in MODELS:
        synthesizer = Synthesizer.load(folder / f"{name}.pt")
        synthetic[name] = synthesizer.sample(SYNTHETIC_PATIENTS, seed=seed)
        _write(synthetic[name], folder / f"{name}.csv", index=False, float_format="%.7g")
        cohorts[name] = arrays(name, synthetic[name])
        # a model that only spreads its chances covers groups by sampling; its patients still do not
        drawn = synthesizer.sample(SYNTHETIC_PATIENTS, seed=seed, decode="sample")
        by_sampling[name] = _covered(real, arrays(f"{name}, decode=sample", drawn), "patient")
    summary = pd.DataFrame({name: _scores(real, cohort) for name, cohort in cohorts.items()})
    summary.loc["groups covered by patient, decode=sample"] = pd.Series(by_sampling)
    _write(summary, folder / "summary.csv")
    _write(_who_is_covered(real, cohorts), folder / "coverage.csv", index=False)
    shown = {"real": train, **synthetic}
    figure, _ = joint_shares(shown, ART_DEMO, features=("Gender", "Ethnic"))
    figure.savefig(folder / "gender_ethnic.png", dpi=150)
    figure, _ = distributions(train, synthetic, schema=ART_DEMO)
    figure.savefig(folder / "distributions.png", dpi=150)
    return summary


def _train_all(folder: Path, changes: dict[str, Any], patients: int, progress: bool) -> dict[str, float]:
    """Train the models side by side, which keeps two cores busier than one model on both; returns their seconds."""
    runs = {name: (name, folder, changes) for name in ("v2", "v2_plus", "v1")}
    configs = [model(preset="workshop", **changes) for model in MODELS.values()]
    total = sum(config.epochs * config.steps_per_epoch(patients, ART_DEMO.length) for config in configs)
    seconds: dict[str, float] = {}
    with tqdm(desc="training v1, v2, v2_plus", total=total, unit="batch", disable=not progress) as bar:
        in_processes(_train, runs, len(runs), bar, lambda name, job: seconds.update({name: job.result()}))
        bar.update(bar.total - bar.n)
    return seconds


def _train(name: str, folder: Path, changes: dict[str, Any]) -> float:
    started = time.perf_counter()
    train, _ = split_patients(load_cohort(), HOLDOUT, seed=changes["seed"])
    encoder = CohortEncoder(ART_DEMO).fit(train)
    trainer = Trainer(encoder, MODELS[name](preset="workshop", **changes), device="cpu")
    checkpoint = folder / f"{name}.pt"
    trainer.fit(encoder.transform(train), checkpoint=checkpoint, callbacks=callbacks(), progress=False)
    leave_with_parent()
    return time.perf_counter() - started


def _scores(train: Trajectories, cohort: Trajectories) -> dict[str, float]:
    distance = fidelity.ks(train, cohort, ART_DEMO)[1].set_index("feature")["value"]
    _, sexes = diversity.coverage(train, cohort, ART_DEMO, features=["Gender", "Ethnic"], minimum=0.0)
    return {
        "groups covered by month": _covered(train, cohort, "month"),
        "groups covered by patient": _covered(train, cohort, "patient"),
        "groups covered by patient, decode=sample": float("nan"),
        "total variation of the joint": diversity.joint_tv(train, cohort, ART_DEMO)[0],
        "Gender x Ethnic groups covered, of 8": float(sexes["covered"].sum()),
        "Kolmogorov-Smirnov VL": distance["VL"],
        "Kolmogorov-Smirnov CD4": distance["CD4"],
        "spread of patient means / real": diversity.patient_spread(train, cohort, ART_DEMO)[0],
        "regimen switches / real": dynamics.switching_ratio(train, cohort, ART_DEMO)[0],
        "patients changing sex or ethnicity": 1 - dynamics.static_constant(train, cohort, ART_DEMO)[0],
    }


def _covered(train: Trajectories, cohort: Trajectories, by: str) -> float:
    return diversity.coverage(train, cohort, ART_DEMO, by=by)[0]


def _who_is_covered(train: Trajectories, cohorts: dict[str, Trajectories]) -> pd.DataFrame:
    """One row a group of real patients: its real share and each cohort's, by month and by patient."""
    parts = []
    for by in ("month", "patient"):
        merged: pd.DataFrame | None = None
        for name, cohort in cohorts.items():
            _, table = diversity.coverage(train, cohort, ART_DEMO, by=by)
            table = table.rename(columns={"real share": "train", "synthetic share": name, "covered": f"{name} covered"})
            keys = [c for c in table.columns if c not in (name, f"{name} covered")]
            merged = table if merged is None else merged.merge(table, on=keys)
        parts.append(merged.assign(by=by))
    return pd.concat(parts, ignore_index=True)


def _write(table: pd.DataFrame, path: Path, index: bool = True, float_format: str = "%.5f") -> None:
    with atomic(path) as temporary:
        table.to_csv(temporary, index=index, float_format=float_format)


def summary_text(result: dict[str, Any]) -> str:
    """The demo's result as a small table of fixed width."""
    summary, seconds, patients = result["summary"], result["seconds"], result["patients"]
    head = f"{'against ' + str(patients['train']) + ' training patients':42}" + "".join(
        f"{name:>10}" for name in summary.columns
    )
    lines = [head]
    for label, row in summary.iterrows():
        cells = "".join(f"{'-' if pd.isna(v) else format(v, '.2f'):>10}" for v in row)
        lines.append(f"{label:42}{cells}")
    lines.append(
        f"{'seconds of training, one thread each':42}{'':>10}" + "".join(f"{seconds[m]:10.0f}" for m in MODELS)
    )
    return "\n".join(lines)
