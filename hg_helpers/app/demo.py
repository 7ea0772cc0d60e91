"""The main job: v1 collapses, v2 recovers, v2_plus recovers most; three models, two tables, two pictures.

>>> result = {"summary": pd.DataFrame({"holdout": [0.5]}), "patients": {"train": 640}}
>>> summary_text({**result, "seconds": dict.fromkeys(DEMO, 60)}).splitlines()[0].split()
['against', '640', 'training', 'patients', 'holdout']
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from tqdm import tqdm

from ..cohort import ART_DEMO, CohortEncoder, load_cohort, split_patients
from ..metrics import CohortArrays, coverage, joint_tv, ks, patient_spread, static_constant, switching_ratio
from ..metrics.arrays import prepare
from ..model import Synthesizer, TrainConfig, Trainer
from ..model.config import MODELS
from ..plots import distributions, joint_shares
from ..plots.style import FILE_DPI
from .files import split_of, write_split, write_table

log = logging.getLogger("hg_helpers")

SYNTHETIC_PATIENTS, HOLDOUT = 1000, 0.2
DEMO = ("v1", "v2", "v2_plus")
STATIC = [f.name for f in ART_DEMO.static]
WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
LABELS = WORDS["scores"]  # what a reader sees for each of the scores


def scores(real: CohortArrays, made: CohortArrays) -> dict[str, float]:
    """Score a cohort in the demo's layout against real patients: one value a key of ``LABELS``."""
    pair = (real, made, ART_DEMO)
    found = {f"coverage_{by}": coverage(*pair, by=by)[0] for by in ("month", "patient")}
    found |= {each.__name__: each(*pair)[0] for each in (joint_tv, patient_spread, switching_ratio, static_constant)}
    found |= {f"ks {row.feature}": row.value for row in ks(*pair)[1].itertuples()}
    found["static_groups"] = coverage(*pair, features=STATIC, minimum=0.0)[1]["covered"].sum()
    found["static_changes"] = 1 - found["static_constant"]
    return {key: float(value) for key, value in found.items()}


def run_demo(folder: str | Path, seed: int = 0, progress: bool = True, **changes: Any) -> dict[str, Any]:
    """Train v1, v2 and v2_plus on the bundled cohort and show who is missing.

    Checkpoints, synthetic cohorts, tables and figures go to the folder; ``changes`` are settings of all three models,
    other than the workshop preset's. Returns the ``"summary"``, ``"seconds"``, how many ``"patients"``, ``"files"``.
    """
    started = time.perf_counter()
    folder = Path(folder).expanduser()
    log.info("training %s, each in a process of its own; then they are sampled and compared", ", ".join(DEMO))
    train, holdout = split_patients(load_cohort(), HOLDOUT, seed=seed)
    split = split_of(None, HOLDOUT, seed, ART_DEMO, train, holdout)
    for name in DEMO:
        write_split(split, folder / f"{name}.pt")  # what `evaluate --model` asks for
    patients = {"train": train[ART_DEMO.patient].nunique(), "holdout": holdout[ART_DEMO.patient].nunique()}
    # side by side, which keeps two cores busier than one model on both
    configs = {name: MODELS[name](preset="workshop", seed=seed, **changes) for name in ("v2", "v2_plus", "v1")}
    runs = {name: (config, folder / f"{name}.pt") for name, config in configs.items()}
    total = sum(c.epochs * c.steps_per_epoch(patients["train"], ART_DEMO.length) for c in configs.values())
    seconds: dict[str, float] = {}
    with tqdm(desc="training v1, v2, v2_plus", total=total, unit="batch", disable=not progress) as bar:
        in_processes(_train, runs, len(runs), bar, lambda name, job: seconds.update({name: job.result()}))
        bar.update(bar.total - bar.n)
    summary = _evaluate(folder, train, holdout, seed)
    seconds["all"] = time.perf_counter() - started
    files = sorted(map(str, folder.glob("[!.]*")))
    return {"summary": summary, "seconds": seconds, "patients": patients, "files": files}


def _train(config: TrainConfig, checkpoint: Path) -> float:
    return float(train_in_process(config, checkpoint)[0].history["seconds"].sum())


def train_in_process(config: TrainConfig, path: Path, begun: Trainer | None = None) -> tuple[Trainer, pd.DataFrame]:
    """Train on the bundled cohort's training patients, who are returned too, in one of :func:`in_processes`.

    A checkpoint is left at ``path`` where the run ends or is stopped; ``begun``, the same run as it was then, goes on.
    """
    train, _ = split_patients(load_cohort(), HOLDOUT, seed=config.seed)
    trainer = begun or Trainer(CohortEncoder(ART_DEMO).fit(train), config, device="cpu")
    trainer.fit(trainer.encoder.transform(train), checkpoint=path, callbacks=callbacks(), progress=False)
    leave_with_parent()
    return trainer, train


def _evaluate(folder: Path, train: pd.DataFrame, holdout: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sample each model, and write synthetic cohorts, tables and pictures; returns the summary."""
    real, others = prepare(ART_DEMO, None, train=train, holdout=holdout)
    cohorts, synthetic, summary = {"holdout": others}, {}, {"holdout": scores(real, others)}
    for name in DEMO:
        synthesizer = Synthesizer.load(folder / f"{name}.pt")
        synthetic[name] = synthesizer.sample(SYNTHETIC_PATIENTS, seed=seed)
        write_table(synthetic[name], folder / f"{name}.csv")
        # a model that only spreads its chances covers groups by sampling; its patients still do not
        drawn = synthesizer.sample(SYNTHETIC_PATIENTS, seed=seed, decode="sample")
        both = {name: synthetic[name], f"{name}, decode=sample": drawn}
        cohorts[name], by_sampling = prepare(ART_DEMO, real.encoder, **both)
        covered = coverage(real, by_sampling, ART_DEMO, by="patient")[0]
        summary[name] = {**scores(real, cohorts[name]), "coverage_drawn": covered}
    covered = []  # a row a group of real patients: its real share and each cohort's
    for by in ("month", "patient"):
        tables = []
        for name, cohort in cohorts.items():
            table = coverage(real, cohort, ART_DEMO, by=by)[1]
            table = table.rename(columns={"real share": "train", "synthetic share": name, "covered": f"{name} covered"})
            tables.append(table.set_index(list(table.columns[:-2])))  # the levels and the real share
        covered.append(pd.concat(tables, axis=1).reset_index().assign(by=by))
    write_table(pd.concat(covered, ignore_index=True), folder / "coverage.csv", float_format="%.5f")
    table = pd.DataFrame(summary).loc[list(LABELS)].drop("static_constant").rename(LABELS)
    write_table(table, folder / "summary.csv", index=True, float_format="%.5f")
    joint_shares({"real": train, **synthetic}, ART_DEMO)[0].savefig(folder / "gender_ethnic.png", dpi=FILE_DPI)
    distributions(train, synthetic, schema=ART_DEMO)[0].savefig(folder / "distributions.png", dpi=FILE_DPI)
    return table


def summary_text(result: dict[str, Any]) -> str:
    """The demo's result as a small table of at most 80 columns."""
    summary, width = result["summary"], max(map(len, LABELS.values())) + 1
    rows = {f"against {result['patients']['train']} training patients": summary.columns}
    for label, row in summary.iterrows():
        rows[label] = ["-" if pd.isna(value) else format(value, ".2f") for value in row]
    rows["seconds of training, one thread each"] = ["", *(f"{result['seconds'][name]:.0f}" for name in DEMO)]
    return "\n".join(f"{label:{width}}" + "".join(f"{cell:>9}" for cell in cells) for label, cells in rows.items())


def in_processes(work: Callable, runs: dict[Any, tuple], jobs: int, bar: tqdm, finished: Callable) -> None:
    """Call ``work(*arguments)`` for each of ``runs`` in a process of one thread: no value depends on how many ``jobs``.

    ``work`` is a function of a module that trains with :func:`callbacks` and ends with :func:`leave_with_parent`.
    ``finished`` is called with name and future of each run that has ended; its error, and Ctrl-C, end the others.
    """
    spawn = multiprocessing.get_context("spawn")
    done, stop = spawn.Queue(), spawn.Event()
    pool = ProcessPoolExecutor(jobs, spawn, _begin, (done, stop))
    try:
        running = {pool.submit(work, *arguments): run for run, arguments in runs.items()}
        while running:
            for job in wait(running, 0.5, FIRST_COMPLETED).done:
                finished(running.pop(job), job)
            while not done.empty():
                bar.update(done.get())
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def callbacks() -> list[Callable[..., Any]]:
    """What a worker's training calls after each batch: count it, and end where the parent asks for that or is gone."""
    return [lambda *_: _done.put(1), lambda *_: _stop.is_set(), _parent_gone]


def leave_with_parent() -> None:
    """End the process where its parent was killed: the executor's would wait for the next task for ever."""
    if _parent_gone():
        os._exit(1)


def _parent_gone(*_: Any) -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _begin(done: Any, stop: Any) -> None:
    """One thread, errors only; Ctrl-C is for the parent, and for the training loop, which ends after its batch."""
    global _done, _stop
    _done, _stop = done, stop
    done.cancel_join_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    log.setLevel(logging.ERROR)
