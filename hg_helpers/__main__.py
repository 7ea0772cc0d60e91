"""The command line, `python -m hg_helpers`. Results go to standard output, progress and messages to standard error."""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import logging
import sys
from pathlib import Path
from typing import Any

DESCRIPTION = "Health Gym v2: make synthetic longitudinal cohorts, and see which patients a generator loses."
EXITS = (
    "exit codes: 0 done; 1 something in the input, the files or the machine is not right (said on standard error); "
    "2 the command line itself is wrong; 130 stopped by Ctrl-C"
)


class UserError(Exception):
    """Something that the user can put right; shown without a traceback."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("hg_helpers").setLevel(logging.WARNING if options.quiet else logging.INFO)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except KeyError as error:  # str() of a KeyError would put quotes round the sentence
        print(f"error: {error.args[0]}", file=sys.stderr)
    except (UserError, ValueError, OSError, RuntimeError, MemoryError) as error:
        if options.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
    return 1


# --- commands -------------------------------------------------------------------------------------------------------


def doctor(options: argparse.Namespace) -> int:
    from .environment import checks

    found = checks()
    if options.json:
        print(json.dumps([{"check": c.name, "ok": c.ok, "detail": c.detail} for c in found], indent=1))
    else:
        for check in found:
            print(f"{'OK  ' if check.ok else 'LOOK'}  {check.name}: {check.detail}")
    return 0 if all(check.ok for check in found) else 1


def simulate(options: argparse.Namespace) -> int:
    from .simulate import simulate_cohort

    out = _output(options, ".csv", ".csv.gz", ".parquet")
    table = simulate_cohort(options.patients, months=options.months, seed=options.seed)
    _write_table(table, out)
    return _say(options, {"file": str(out), "patients": options.patients, "rows": len(table)})


def download(options: argparse.Namespace) -> int:
    from .cohort import download_cohort

    return _say(options, {"file": str(download_cohort(force=options.force))})


def train(options: argparse.Namespace) -> int:
    from .cohort import load_cohort, split_patients
    from .encoding import CohortEncoder
    from .training import Trainer

    if options.resume:
        return _resume(options)
    out = _output(options, ".pt")
    split_file = _split_file(out)
    schema = _schema(options.schema)
    changes: dict[str, Any] = {"seed": options.seed}
    if options.epochs is not None:
        changes["epochs"] = options.epochs
    config = _models()[options.model](preset=options.preset, **changes)
    cohort = load_cohort(options.data, schema=schema)
    split: dict[str, Any] = {"data": options.data, "holdout": options.holdout, "seed": options.seed}
    if options.holdout:
        cohort, held_out = split_patients(cohort, options.holdout, seed=options.seed, schema=schema)
        split["holdout_patients"] = held_out[schema.patient].unique().tolist()
    split["train_patients"] = cohort[schema.patient].unique().tolist()
    encoder = CohortEncoder(schema).fit(cohort)
    trainer = Trainer(encoder, config, device=options.device)
    _write_json(split, split_file)
    return _fit(trainer, encoder.transform(cohort), out, options)


def _resume(options: argparse.Namespace) -> int:
    from .cohort import load_cohort
    from .training import Trainer

    trainer = Trainer.load(options.out, device=options.device)
    split = _read_split(Path(options.out))
    cohort = load_cohort(options.data or split["data"], schema=trainer.schema)
    cohort = cohort[cohort[trainer.schema.patient].isin(split["train_patients"])]
    return _fit(trainer, trainer.encoder.transform(cohort), Path(options.out), options)


def _fit(trainer: Any, x: Any, out: Path, options: argparse.Namespace) -> int:
    history = trainer.fit(
        x,
        epochs=options.epochs,
        checkpoint=out,
        checkpoint_every=options.checkpoint_every,
        progress=not options.quiet,
    )
    last = history.iloc[-1] if len(history) else {}
    _say(
        options,
        {
            "model": str(out),
            "patients": len(x),
            "epochs": trainer.epoch,
            "generator steps": trainer.step,
            "seconds": round(float(history["seconds"].sum()), 1) if len(history) else 0.0,
            **{k: round(float(last[k]), 4) for k in ("wasserstein", "correlation_loss", "reconstruction") if k in last},
        },
    )
    target = trainer.config.epochs if options.epochs is None else options.epochs
    return 0 if trainer.epoch >= target else 130


def sample(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from .synthesizer import Synthesizer

    out = _output(options, ".csv", ".csv.gz", ".parquet")
    synthesizer = Synthesizer.load(options.model)
    write = synthesizer.to_parquet if out.suffix == ".parquet" else synthesizer.to_csv
    with tqdm(total=options.patients, unit="patient", disable=options.quiet) as bar:
        write(out, options.patients, options.seed, options.decode, progress=lambda done: bar.update(done - bar.n))
    rows = options.patients * synthesizer.encoder.schema.length
    return _say(options, {"file": str(out), "patients": options.patients, "rows": rows})


def evaluate(options: argparse.Namespace) -> int:
    from . import plots
    from .cohort import load_cohort
    from .metrics import coverage
    from .metrics import evaluate as evaluate_tables

    schema = _schema(options.schema)
    real = load_cohort(options.real, schema=schema)
    if options.holdout:
        holdout = load_cohort(options.holdout, schema=schema)
    elif options.model:
        split = _read_split(Path(options.model))
        if "holdout_patients" not in split:
            raise UserError(f"{options.model} was trained on all patients; give other real ones with --holdout TABLE")
        holdout = real[real[schema.patient].isin(split["holdout_patients"])]
        real = real[real[schema.patient].isin(split["train_patients"])]
    else:
        raise UserError(
            "evaluation needs real patients whom the model has not seen: --holdout TABLE, or --model FILE.pt"
        )
    synthetic = load_cohort(options.synthetic, schema=dataclasses.replace(schema, missing="error"))
    folder = Path(options.out)
    _refuse_existing(folder / "report.csv", options.force)
    report = evaluate_tables(real, holdout, synthetic, schema=schema, seed=options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    _write_table(report, folder / "report.csv")
    drawn = {
        "distributions": plots.distributions(holdout, synthetic, schema=schema),
        "association": plots.association(holdout, synthetic, schema=schema),
    }
    if schema.discrete:
        drawn["coverage"] = plots.coverage_bars(coverage(holdout, synthetic, schema)[1])
    for name, (figure, _) in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    if options.json:
        print(report.to_json(orient="records", indent=1))
    else:
        print(report.round(3).to_string(index=False))
    return 0


def demo(options: argparse.Namespace) -> int:
    from .demo import MODELS, run_demo, summary_text

    folder = Path(options.out)
    for name in MODELS:
        _refuse_existing(folder / f"{name}.pt", options.force)
    result = run_demo(folder, seed=options.seed, epochs=options.epochs, progress=not options.quiet)
    if options.json:
        print(json.dumps({**result, "summary": json.loads(result["summary"].to_json())}, indent=1))
    else:
        print(summary_text(result))
        print(f"{result['seconds']['all'] / 60:.1f} minutes; pictures, tables, models in {folder}/")
    return 0


# --- what the commands share ----------------------------------------------------------------------------------------


def _models() -> dict[str, Any]:
    from .demo import MODELS

    return MODELS


def _schema(name: str) -> Any:
    from .schema import ART_DEMO, ART_FULL, Schema

    named = {"art-demo": ART_DEMO, "art-full": ART_FULL}
    return named[name] if name in named else Schema.from_yaml(name)


def _output(options: argparse.Namespace, *endings: str) -> Path:
    """The output path, refused before any work is done where it could not be written."""
    out = Path(options.out)
    if not out.name.endswith(endings):
        raise UserError(f"--out {out}: the name must end in {' or '.join(endings)}")
    _refuse_existing(out, options.force)
    return out


def _refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise UserError(f"{path} exists already; choose another name, or --force to replace it")


def _split_file(model: Path) -> Path:
    return model.with_name(f"{model.stem}.split.json")


def _read_split(model: Path) -> dict[str, Any]:
    path = _split_file(model)
    if not path.is_file():
        raise UserError(f"no {path}: `train` writes it beside its model, with the patients that it trained on")
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(content: dict[str, Any], path: Path) -> None:
    from .checkpoint import atomic

    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _write_table(table: Any, path: Path) -> None:
    from .checkpoint import atomic

    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        elif path.suffix == ".gz":  # without name and time stamp in its head, the same table gives the same file
            with open(temporary, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
                table.to_csv(zipped, index=False, lineterminator="\n")
        else:
            table.to_csv(temporary, index=False, lineterminator="\n")


def _say(options: argparse.Namespace, result: dict[str, Any]) -> int:
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    return 0


# --- the parser -----------------------------------------------------------------------------------------------------


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not at least 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a share of at least 0 and below 1")
    return number


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(
        "python -m hg_helpers", description=DESCRIPTION, epilog=EXITS, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Any, summary: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            run.__name__,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  python -m hg_helpers {example}\n\n{EXITS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print the result as JSON")
        added.add_argument("--quiet", action="store_true", help="no progress, only warnings and errors")
        added.add_argument("--traceback", action="store_true", help="show where an error came from")
        return added

    def writes(added: argparse.ArgumentParser, default: str | None, what: str) -> None:
        added.add_argument("--out", default=default, required=default is None, help=what)
        added.add_argument("--force", action="store_true", help="replace what exists already")

    command(doctor, "check versions, machine, data and disk", "doctor")

    added = command(
        simulate, "write a simulated cohort with known truth", "simulate --patients 1000 --out cohort.csv.gz"
    )
    added.add_argument("--patients", type=_count, default=1000, help="how many (default 1000)")
    added.add_argument("--months", type=_count, default=60, help="months each (default 60)")
    added.add_argument("--seed", type=_seed, default=0)
    writes(added, None, "file: .csv, .csv.gz or .parquet")

    added = command(download, "fetch the public cohort (44.7 MB) into data/raw/", "download")
    added.add_argument("--force", action="store_true", help="fetch it again")

    added = command(
        train,
        "train a model on a table",
        "train --data data/art_hiv_demo.csv.gz --model v2 --preset workshop --out runs/v2.pt\n"
        "  python -m hg_helpers train --data visits.csv --schema visits.yaml --model v2_plus --out runs/mine.pt\n"
        "  python -m hg_helpers train --out runs/v2.pt --resume --epochs 40",
    )
    added.add_argument("--data", help="table: .csv, .csv.gz, .parquet or `figshare` (default: the bundled cohort)")
    added.add_argument("--schema", default="art-demo", help="art-demo (default), art-full or a YAML file")
    added.add_argument("--model", choices=["v1", "v2", "v2_plus"], default="v2_plus")
    added.add_argument("--preset", choices=["published", "workshop"], default="workshop")
    added.add_argument("--epochs", type=_count, help="default: the preset's")
    added.add_argument("--seed", type=_seed, default=0, help="of the split, the weights and the noise")
    added.add_argument(
        "--holdout", type=_share, default=0.2, help="share of patients kept for evaluation (default 0.2)"
    )
    added.add_argument("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    added.add_argument("--checkpoint-every", type=_count, default=1, metavar="EPOCHS")
    added.add_argument("--resume", action="store_true", help="go on with the model in --out, up to --epochs")
    writes(added, None, "model file (.pt); the split is written beside it")

    added = command(
        sample, "draw synthetic patients from a model", "sample --model runs/v2.pt --patients 1000 --out s.csv"
    )
    added.add_argument("--model", required=True, help="file from `train`")
    added.add_argument("--patients", type=_count, default=1000, help="how many (default 1000)")
    added.add_argument("--seed", type=_seed, default=0)
    added.add_argument(
        "--decode", choices=["argmax", "sample"], default="argmax", help="most probable level, or a draw"
    )
    writes(added, None, "file: .csv, .csv.gz or .parquet")

    added = command(
        evaluate,
        "compare synthetic with real patients",
        "evaluate --real data/art_hiv_demo.csv.gz --model runs/v2.pt --synthetic s.csv --out runs/report",
    )
    added.add_argument("--real", required=True, help="table that the model was trained on")
    added.add_argument("--holdout", help="table of real patients whom the model has not seen")
    added.add_argument("--model", help="instead of --holdout: the model, beside which `train` wrote its split")
    added.add_argument("--synthetic", required=True, help="table from `sample`")
    added.add_argument("--schema", default="art-demo", help="art-demo (default), art-full or a YAML file")
    added.add_argument("--seed", type=_seed, default=0, help="of the draws behind floors and intervals")
    writes(added, None, "folder for report.csv and figures")

    added = command(demo, "train v1, v2 and v2_plus on the bundled cohort and show who is missing", "demo")
    added.add_argument("--seed", type=_seed, default=0)
    added.add_argument("--epochs", type=_count, help="fewer for a quick look (default: the workshop preset's)")
    writes(added, "runs/demo", "folder (default runs/demo)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
