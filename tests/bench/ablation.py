"""What does the work? Each repair alone, at equal generator steps and equal everything else, over several seeds.

``python -m tests.bench.ablation`` trains v1, v2, v2_plus and each repair alone, and prints medians; what the table
holds is not trained again, a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from hg_helpers.app.demo import HOLDOUT, LABELS, SYNTHETIC_PATIENTS, in_processes, scores, train_in_process
from hg_helpers.app.files import write_table
from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.load import load_cohort, split_patients
from hg_helpers.metrics import autocorrelation_difference, c2st_auc
from hg_helpers.metrics.arrays import CohortArrays, as_arrays
from hg_helpers.model.config import MODELS, WORKSHOP, TrainConfig
from hg_helpers.model.training import Trainer
from hg_helpers.plots import ablation as draw
from hg_helpers.plots.style import FILE_DPI

log = logging.getLogger("hg_helpers")

#: Name: what it starts from (a model, or another configuration), and the one thing that differs.
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "v1": ("v1", {}),
    "v1 + persistent noise": ("v1", {"latent_source": "persistent"}),
    "v2": ("v2", {}),
    "v2, Gaussian prototypes": ("v2", {"latent_source": "gaussian"}),
    "v2, variational autoencoder": ("v2", {"autoencoder": "variational"}),
    "v2 + Gumbel heads": ("v2", {"heads": "gumbel"}),
    "v2 + Gumbel heads, patient draw": ("v2 + Gumbel heads", {"gumbel_noise": "patient"}),
    "v2 + straight-through heads": ("v2", {"heads": "straight_through"}),
    "v2 + moment loss": ("v2", {"moment_weight": 0.03}),
    "v2 + static heads": ("v2", {"static_heads": True}),
    "v2 + real weight": ("v2", {"real_weight": 5.0}),
    "v2 + weight averaging": ("v2", {"ema": 0.99}),
    "v2 + beta1 0.5": ("v2", {"betas": (0.5, 0.99)}),
    "v2 + three critic steps": ("v2", {"n_critic": 3}),
    "v2, constant rate": ("v2", {"lr_decay": False}),  # the workshop preset's falls
    "v2 + He start": ("v2", {"start": "he"}),
    "v2 + hold or switch": ("v2", {"hold_or_switch": True}),
    "v2 + measurement noise": ("v2", {"measurement_noise": True}),
    "v2 + chained features": ("v2", {"chain": True}),
    "v2 + convolutional critic": ("v2", {"critic": "convolutional"}),
    "v2 + critic of summaries": ("v2", {"summary_weight": 3.0}),
    "v2.5, transformer": ("v2", {"generator": "transformer"}),
    "v1 + He start": ("v1", {"start": "he"}),
    "v2_plus": ("v2_plus", {}),
    "v2_plus, soft heads": ("v2_plus", {"heads": "gumbel"}),
    "v2_plus, no moment loss": ("v2_plus", {"moment_weight": 0.0}),
    "v2_plus, no hold or switch": ("v2_plus", {"hold_or_switch": False}),
    "v2_plus, no measurement noise": ("v2_plus", {"measurement_noise": False}),
    "v2_plus, no switch response": ("v2_plus", {"switch_response": False}),
    "v2_plus, no chain": ("v2_plus", {"chain": False}),
    "v2_plus, recurrent critic": ("v2_plus", {"critic": "recurrent"}),
    "v2_plus, no critic of summaries": ("v2_plus", {"summary_weight": 0.0}),
    "v2_plus, transformer": ("v2_plus", {"generator": "transformer"}),
    # Three seeds of these stand at full length, which is why their base is what v2_plus was then. Without a buffer
    # nobody asks the autoencoder: it goes with it.
    "v2_plus, v2's noise": ("v2_plus, no switch response", {"latent_source": "buffer"}),
    "v2_plus, uniform noise": ("v2_plus, no switch response", {"latent_source": "uniform", "autoencoder": None}),
    "v2_plus, persistent noise": ("v2_plus, no switch response", {"latent_source": "persistent", "autoencoder": None}),
}
FLOOR = "real holdout"
COLUMNS = ["configuration", "seed", "decode", "metric", "feature", "value", "steps", "seconds", "settings"]
#: Scores that the table holds; "ks VL" is metric "ks" of feature "VL", the others are of all.
KEPT = ["coverage_month", "coverage_patient", "joint_tv", *(f"ks {f.name}" for f in ART_DEMO.real)]
KEPT += ["patient_spread", "switching_ratio", "static_constant"]
#: Scores that only this table has, beside the demo's.
MORE = {"autocorrelation": autocorrelation_difference, "two_sample": c2st_auc}
#: What the figure shows, as metric and feature.
PANELS = [("coverage_patient", "all"), ("joint_tv", "all"), ("ks", "CD4"), ("switching_ratio", "all")]
#: Checkpoints of runs that are not finished.
UNFINISHED = Path("runs/ablation")


def configuration(name: str, **common: Any) -> TrainConfig:
    """The settings of one configuration, on those that all share.

    Raises:
        ValueError: for an unknown name, with the list of names.
    """
    if name not in CONFIGURATIONS:
        raise ValueError(f"no configuration {name!r}; there are:\n  " + "\n  ".join(CONFIGURATIONS))
    base, changes = CONFIGURATIONS[name]
    while base not in MODELS:
        base, more = CONFIGURATIONS[base]
        changes = {**more, **changes}
    common = {**{name: WORKSHOP[name] for name in ("epochs", "batch_size")}, **common}  # v2_plus has others of its own
    return MODELS[base](preset="workshop", **{**common, **changes})


def run_ablation(
    out: str | Path,
    seeds: int = 3,
    only: Sequence[str] | None = None,
    jobs: int = 2,
    progress: bool = True,
    **common: Any,
) -> dict[str, Any]:
    """Train each configuration with each seed on the bundled cohort's training patients, and keep its scores.

    What ``out`` holds with the same settings is not trained again; a run that was stopped goes on from its last batch.

    Args:
        out: the table (.csv), rewritten after each run: 1,000 synthetic patients against the training patients.
        seeds: seeds 0 to ``seeds - 1`` of the split, the training and the sampling.
        only: names of configurations; None for all.
        jobs: processes, each on one thread, so that no value depends on their number.
        progress: show a progress bar.
        common: settings of :class:`TrainConfig` for all, other than the workshop preset's.

    Returns:
        ``"results"`` (the rows of the configurations and seeds asked for, and the floor's), ``"trained"`` and
        ``"kept"`` (numbers of runs), ``"failed"`` (``{run: reason}``).

    Raises:
        ValueError: for an unknown name, a wrong setting, or an ``out`` that is another table.
    """
    out, names = Path(out), list(CONFIGURATIONS if only is None else dict.fromkeys(only))
    wanted = {(name, seed): configuration(name, seed=seed, **common) for seed in range(seeds) for name in names}
    todo, cohort = _to_do(_read(out), wanted), load_cohort()
    for seed in range(seeds):
        _add(out, _floor(cohort, seed))
    batches = len(todo) * _steps(cohort, configuration("v1", **common))
    with tqdm(total=batches, unit="batch", disable=not progress or not todo) as bar:
        trained, failed = _train_all(out, {run: wanted[run] for run in todo}, jobs, bar)
    results = _read(out)
    results = results[results["configuration"].isin([*names, FLOOR]) & (results["seed"] < seeds)]
    return {"results": results, "trained": trained, "kept": len(wanted) - len(todo), "failed": failed}


def _train_all(out: Path, runs: dict[tuple[str, int], TrainConfig], jobs: int, bar: tqdm) -> tuple[int, dict[str, str]]:
    """Train in processes of their own; returns how many runs were finished, and why the others were not."""
    failed: dict[str, str] = {}
    ended: list[tuple[str, int]] = []

    def finished(run: tuple[str, int], job: Future) -> None:
        _finish(out, job, run, failed)
        ended.append(run)
        bar.set_description(f"{len(ended)} of {len(runs)} runs", refresh=False)

    tasks = {run: (*run, config, _unfinished(run)) for run, config in runs.items()}
    in_processes(_train, tasks, jobs, bar, finished)
    return len(runs) - len(failed), failed


def _finish(out: Path, job: Future, run: tuple[str, int], failed: dict[str, str]) -> None:
    """Keep a run's rows; where it broke off, say so and let the others go on."""
    error = job.exception()
    if isinstance(error, (ValueError, RuntimeError)) and not isinstance(error, BrokenExecutor):
        failed[f"{run[0]}, seed {run[1]}"] = str(error)
        log.error("%s, seed %d: %s", *run, error)
        return
    rows = job.result()
    if rows is None:
        raise KeyboardInterrupt
    _add(out, rows)
    _unfinished(run).unlink(missing_ok=True)


def medians(results: pd.DataFrame, decode: str = "argmax") -> pd.DataFrame:
    """Median over the seeds: one row a configuration, one column a metric."""
    part = results[results["decode"].isin([decode, "none"])].copy()
    part["metric"] = part["metric"].where(part["feature"] == "all", part["metric"] + " " + part["feature"])
    wide = part.pivot_table("value", "configuration", "metric", "median").loc[part["configuration"].unique()]
    wide = wide[part["metric"].unique()]
    wide["seconds"] = part.groupby("configuration")["seconds"].median()
    return wide.rename_axis(columns=None)


def panels(results: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """What :func:`hg_helpers.plots.ablation` draws: a few metrics of the models, and their floors by panel."""
    shown = pd.concat([results[(results["metric"] == m) & (results["feature"] == f)] for m, f in PANELS])
    # levels drawn anew each month switch some sixty times too often, and would squash all else
    switching = shown["metric"] == "switching_ratio"
    shown = shown[~switching | (shown["decode"] != "sample")]
    shown = shown.assign(feature=shown["feature"].mask(switching, "argmax"))
    names = shown["metric"].where(shown["feature"] == "all", shown["metric"] + ": " + shown["feature"])
    real = shown["configuration"] == FLOOR
    return shown[~real], shown[real].groupby(names[real])["value"].median().to_dict()


# --- one run, in a process of its own -------------------------------------------------------------------------------


def _train(name: str, seed: int, config: TrainConfig, checkpoint: Path) -> pd.DataFrame | None:
    """The rows of a run; None where it was stopped, which leaves a checkpoint."""
    trainer, train = train_in_process(config, checkpoint, begun(checkpoint, config))
    if trainer.epoch < config.epochs:
        return None
    real, rows = as_arrays(train, ART_DEMO, trainer.encoder), []
    for decode in ("argmax", "sample"):
        drawn = trainer.synthesizer().sample(SYNTHETIC_PATIENTS, seed=seed, decode=decode)
        rows += _scores(real, as_arrays(drawn, ART_DEMO, trainer.encoder), decode)
    return _table(name, seed, rows, trainer.step, float(trainer.history["seconds"].sum()), config.to_dict())


def begun(checkpoint: Path, config: TrainConfig) -> Trainer | None:
    """The run as it was when it was stopped; None where there is none, or one with other settings."""
    try:
        trainer = Trainer.load(checkpoint, device="cpu")
    except (FileNotFoundError, ValueError):
        return None
    return trainer if trainer.config == config else None


def _unfinished(run: tuple[str, int]) -> Path:
    return UNFINISHED / f"{re.sub('[^a-z0-9]+', '_', run[0].lower())}-{run[1]}.pt"


def _steps(cohort: pd.DataFrame, config: TrainConfig) -> int:
    """Generator steps, the same for every configuration."""
    patients = split_patients(cohort, HOLDOUT)[0][ART_DEMO.patient].nunique()
    return config.epochs * config.steps_per_epoch(patients, ART_DEMO.length)


def _floor(cohort: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Held-out patients in the place of the synthetic ones."""
    train, holdout = split_patients(cohort, HOLDOUT, seed=seed)
    encoder = CohortEncoder(ART_DEMO).fit(train)
    real, others = (as_arrays(table, ART_DEMO, encoder) for table in (train, holdout))
    return _table(FLOOR, seed, _scores(real, others, "none"), 0, 0.0, {})


def _scores(train: CohortArrays, cohort: CohortArrays, decode: str) -> list[tuple[str, str, str, float]]:
    """Decoding, metric, feature and value of a cohort against the training patients."""
    found = scores(train, cohort) | {name: metric(train, cohort, ART_DEMO)[0] for name, metric in MORE.items()}
    return [(decode, *(key.split(" ") if " " in key else (key, "all")), found[key]) for key in [*KEPT, *MORE]]


# --- the table ------------------------------------------------------------------------------------------------------


def _table(name: str, seed: int, rows: list, steps: int, seconds: float, settings: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS[2:6])
    return table.assign(
        configuration=name, seed=seed, steps=steps, seconds=round(seconds, 1), settings=json.dumps(settings)
    )[COLUMNS]


def _read(out: Path) -> pd.DataFrame:
    if not out.exists():
        return pd.DataFrame(columns=COLUMNS)
    table = pd.read_csv(out)
    if list(table.columns) != COLUMNS:
        raise ValueError(f"{out} is no table of an ablation: it has the columns {', '.join(table.columns)}")
    return table


def _to_do(results: pd.DataFrame, wanted: dict[tuple[str, int], TrainConfig]) -> list[tuple[str, int]]:
    """The runs that the results lack, or hold with other settings."""
    there = results.drop_duplicates(["configuration", "seed"]).set_index(["configuration", "seed"])["settings"]
    todo = []
    for run, config in wanted.items():
        before, now = json.loads(there.get(run, "null")), config.to_dict()
        if before is not None and before.pop("steady", 1) == 1:  # of before hold-or-switch heads: what is new was off
            before = TrainConfig(**before).to_dict()
        if before is not None and before != now:
            changed = ", ".join(f"{k} {before.get(k)} -> {v}" for k, v in now.items() if before.get(k) != v)
            log.warning("%s, seed %d is there with other settings (%s): done again", *run, changed)
        if before != now:
            todo.append(run)
    return todo


def _add(out: Path, rows: pd.DataFrame) -> None:
    """Put a run's rows in the place of older ones, in the order of the configurations; a crash leaves the old file."""
    name, seed = rows["configuration"].iloc[0], rows["seed"].iloc[0]
    results = _read(out)
    others = results[(results["configuration"] != name) | (results["seed"] != seed)]
    table = pd.concat([others, rows], ignore_index=True) if len(others) else rows
    place = {known: number for number, known in enumerate([*CONFIGURATIONS, FLOOR])}
    order = pd.DataFrame({"place": table["configuration"].map(place).fillna(-1), "seed": table["seed"]})
    table = table.loc[order.sort_values(["place", "seed"], kind="stable").index]
    write_table(table, out, float_format="%.6g")


# --- the command ----------------------------------------------------------------------------------------------------

#: Heads of the printed table: width, what it is called, and the score.
HEADS = [(5, "month", "coverage_month"), (6, "person", "coverage_patient"), (5, "joint", "joint_tv")]
HEADS += [(4, f.name, f"ks {f.name}") for f in ART_DEMO.real]
HEADS += [(6, "spread", "patient_spread"), (6, "switch", "switching_ratio"), (5, "const", "static_constant")]


def medians_text(summary: pd.DataFrame) -> str:
    """The medians in lines of at most 80 characters, and what their short heads stand for."""
    shown = [head for head in HEADS if head[2] in summary]
    lines = [f"{'configuration':31} " + " ".join(f"{head:>{width}}" for width, head, _ in shown)]
    for name, row in summary.iterrows():
        cells = ("-" if pd.isna(row[key]) else f"{row[key]:.2f}" for _, _, key in shown)
        lines.append(f"{name:31} " + " ".join(f"{c:>{head[0]}}" for c, head in zip(cells, shown, strict=True)))
    return "\n".join([*lines, *textwrap.wrap("; ".join(f"{head}: {LABELS[key]}" for _, head, key in shown), 79)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ablation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N - 1 (default 3)")
    # short and narrow: some seventy runs of about a minute; the rest is the workshop preset's
    parser.add_argument("--epochs", type=int, default=3, help="default 3")
    parser.add_argument("--hidden", type=int, default=32, help="width of the networks and of the noise (default 32)")
    parser.add_argument("--learning-rate", type=float, default=0.002, help="default 0.002")
    parser.add_argument("--batch-size", type=int, help="default: the workshop preset's")
    parser.add_argument("--lengths", type=int, nargs="+", metavar="MONTHS", help="curriculum; 60 is always in")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these configurations (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each (default 2)")
    parser.add_argument("--out", type=Path, default=Path("data/results/ablation.csv"), help="default %(default)s")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the results: .png, .pdf or .svg")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    if options.figure and options.figure.suffix not in (".png", ".pdf", ".svg"):
        parser.error(f"--figure {options.figure}: the name must end in .png, .pdf or .svg")
    if min(options.seeds, options.jobs) < 1:
        parser.error("--seeds and --jobs start at 1")
    changes = {"epochs": options.epochs, "hidden": options.hidden, "latent": options.hidden}
    changes |= {"batch_size": options.batch_size, "lengths": options.lengths, "learning_rate": options.learning_rate}
    changes = {name: value for name, value in changes.items() if value is not None}
    try:
        found = run_ablation(options.out, options.seeds, options.only, options.jobs, not options.quiet, **changes)
    except ValueError as error:
        parser.error(str(error))
    results, counts = found["results"], {k: found[k] for k in ("trained", "kept", "failed")}
    summary = medians(results)
    if options.figure:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(*panels(results))[0].savefig(options.figure, dpi=FILE_DPI)
    if options.json:
        medians_of = json.loads(summary.to_json(orient="index"))
        print(json.dumps({"file": str(options.out), **counts, "medians": medians_of}, indent=1))
    else:
        print(medians_text(summary))
        print(f"medians of {options.seeds} seed(s), argmax; trained {found['trained']}, kept {found['kept']} runs")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
