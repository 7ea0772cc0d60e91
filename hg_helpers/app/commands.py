"""What each sub-command of `python -m hg_helpers` does; each takes the parsed options and may return an exit code.

>>> from types import SimpleNamespace as Options
>>> simulate(Options(out='cohort.txt', force=False))
Traceback (most recent call last):
ValueError: --out cohort.txt: the name must end in .csv or .csv.gz or .parquet
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ..cohort import ART_DEMO, ART_FULL, Schema, download_cohort, load_cohort, simulate_cohort
from ..metrics import evaluate as evaluate_tables
from ..model import Synthesizer, Trainer
from ..model.config import MODELS
from ..plots.report import report_figures
from ..plots.style import FILE_DPI
from ..runtime.checkpoint import atomic, require_writable
from ..runtime.distributed import Peers, join_torchrun
from .demo import DEMO, run_demo, summary_text
from .describe import describe as describe_table
from .doctor import doctor as doctor  # a command, like all functions of this module
from .files import read_split, values_of, write_parts, write_split, write_table, write_text
from .report import report_text, write_page
from .shorthand import prepare, warn_if_cut_short
from .workshop import NOTEBOOKS, write_editions

log = logging.getLogger("hg_helpers")


def simulate(options: argparse.Namespace) -> None:
    out = _output(options, ".csv", ".csv.gz", ".parquet")
    table = simulate_cohort(options.patients, months=options.months, seed=options.seed)
    write_table(table, out)
    _show(options, {"file": str(out), "patients": options.patients, "rows": len(table)})


def download(options: argparse.Namespace) -> None:
    _show(options, {"file": str(download_cohort(force=options.force))})


def describe(options: argparse.Namespace) -> None:
    out = options.out and _output(options, ".yaml", ".yml")
    draft = describe_table(options.data, options.patient, options.time, **_reading(options))
    if out:
        write_text(draft, out)
        _show(options, {"file": str(out)})
    else:
        print(draft, end="")


def train(options: argparse.Namespace) -> int:
    options.device = join_torchrun(options.device)
    if options.resume:
        return _resume(options)
    _output(options, ".pt")
    what = options.data, options.model or "v2_plus", _schema(options.schema or "art-demo"), options.holdout
    changes = {name: getattr(options, name) for name in ("seed", "epochs", "preset")}
    begun = prepare(*what, options.device, _reading(options), **changes)
    if begun.trainer.peers.rank == 0:
        write_split(begun.split, options.out)
    return _fit(begun.trainer, begun.train, options)


def _resume(options: argparse.Namespace) -> int:
    """Go on with the model in --out, unless another model, schema or table is asked for."""
    trainer = Trainer.load(options.out, device=options.device, peers=Peers())
    schema, split = trainer.encoder.schema, read_split(options.out)
    remedy = "leave the option out to go on with it, or train another model with another --out"
    if options.model is not None:
        asked, kind = MODELS[options.model](), ("latent_source", "autoencoder", "heads")
        if any(getattr(trainer.config, k) != getattr(asked, k) for k in kind):
            found = ", ".join(f"{k} {getattr(trainer.config, k)!r}" for k in kind)
            raise ValueError(f"{options.out} is no --model {options.model}, it has {found}: {remedy}")
    asked = schema if options.schema is None else _schema(options.schema)
    if dataclasses.replace(asked, length=asked.length or schema.length) != schema:  # a file may leave it to the table
        raise ValueError(f"{options.out} was not trained with --schema {options.schema}: {remedy}")
    data = options.data or split["data"]
    try:
        cohort = load_cohort(data, schema=schema, **(_reading(options) or split.get("reading", {})))
        return _fit(trainer, cohort[cohort[schema.patient].isin(split["train_patients"])], options)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{options.out} cannot go on with {data or 'the bundled cohort'}: {error.args[0]}") from error


def _fit(trainer: Trainer, cohort: pd.DataFrame, options: argparse.Namespace) -> int:
    """Train, save and show; returns the exit code."""
    x, last = trainer.encoder.transform(cohort), options.epochs or trainer.config.epochs
    saving = {"checkpoint": options.out, "checkpoint_every": options.checkpoint_every}
    history = trainer.fit(x, epochs=last, progress=not options.quiet, **saving)
    if trainer.peers.rank > 0:
        return 0
    done = {"model": str(options.out), "patients": len(x), "epochs": trainer.epoch, "generator steps": trainer.step}
    done["seconds"] = round(float(history["seconds"].sum()), 1) if len(history) else 0.0
    losses = [name for name in ("wasserstein", "correlation_loss", "reconstruction") if name in history]
    _show(options, done | {name: round(float(history[name].iloc[-1]), 4) for name in losses})
    if trainer.epoch < last:
        return 130
    if trainer.config.hold_or_switch:
        trainer.save(options.out, trainer.synthesizer().match_margins(x))
    warn_if_cut_short(history)
    return 0


def sample(options: argparse.Namespace) -> None:
    out = options.out if options.parts else _output(options, ".csv", ".csv.gz", ".parquet")
    named = options.model in MODELS and not Path(options.model).exists()
    synthesizer = Synthesizer.pretrained(options.model) if named else Synthesizer.load(options.model)
    what = {"patients": options.patients, "seed": options.seed, "decode": options.decode}
    with tqdm(total=options.patients, unit="patient", disable=options.quiet) as bar:
        what["progress"] = lambda done: bar.update(done - bar.n)
        if options.parts:  # a folder that is there is taken up, if it holds parts of the same
            write_parts(synthesizer, out, per_part=options.parts, **what)
        else:
            (synthesizer.to_parquet if out.suffix == ".parquet" else synthesizer.to_csv)(out, **what)
    done = {"file": str(out), "patients": options.patients}
    if synthesizer.encoder.layout.course is None:  # else courses have lengths of their own
        done["rows"] = options.patients * synthesizer.encoder.schema.length
    _show(options, done)


def evaluate(options: argparse.Namespace) -> None:
    schema, folder, said = _schema(options.schema), options.out, {}
    _refuse_existing(options, folder / "report.csv")

    def once(record: logging.LogRecord) -> bool:  # tables are checked when they are read, and when they are compared
        return said.setdefault(record.getMessage().split(" table: ")[-1], record) is record

    log.addFilter(once)
    try:
        real, holdout, asked = _real_patients(options, schema)
        # a synthetic table is not filled: it has gaps where the schema measures them, and nowhere else
        gaps = "measured" if schema.missing == "measured" else "error"
        synthetic = load_cohort(options.synthetic, schema=dataclasses.replace(schema, missing=gaps))
        require_writable(folder / "report.csv")
        report = evaluate_tables(real, holdout, synthetic, schema=schema, seed=options.seed)
        write_table(report, folder / "report.csv")
        pictures, of_tables = {}, len(said)
        for name, figure in report_figures(real, holdout, synthetic, schema, seed=options.seed):
            with atomic(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=FILE_DPI, format="png")
            if name != "patients":  # it shows courses of single real patients, and the page is made to be passed on
                pictures[name] = (folder / f"{name}.png").read_bytes(), figure.alt
    finally:
        log.removeFilter(once)
    lines = [record.getMessage() for record in said.values()]  # what was left out or filled belongs into the report
    notes = lines[:of_tables] + [line for line in lines[of_tables:] if line.startswith("figure ")]
    sets = {"training": real, "holdout": holdout, "synthetic": synthetic}
    write_page(folder / "report.html", report, sets, schema, pictures, notes, asked)
    if options.json:
        print(report.to_json(orient="records", indent=1))
    else:
        print(report_text(report, len(schema.discrete)))
        print("- is undefined; report.csv says why")
        print(f"report.html, report.csv and {len(list(folder.glob('*.png')))} pictures are in {folder}/")


def _real_patients(options: argparse.Namespace, schema: Schema) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Training and held-out patients, and what the report says of where they and the synthetic ones come from."""
    if not (options.holdout or options.model):
        need = "evaluation needs real patients whom the model has not seen"
        raise ValueError(f"{need}: --holdout TABLE, or --model FILE.pt")
    asked = {name: getattr(options, name) for name in ("real", "holdout", "model", "synthetic", "schema")}
    asked = {name: Path(path).name for name, path in asked.items() if path} | {"seed": options.seed}
    real = load_cohort(options.real, schema=schema, **_reading(options))
    if options.holdout:
        return real, load_cohort(options.holdout, schema=schema, **_reading(options)), asked
    split = read_split(Path(options.model))
    if "holdout_patients" not in split:
        raise ValueError(f"{options.model} was trained on all patients; give other real ones with --holdout TABLE")
    remedy = f"give the table that it was trained on, {split['data'] or 'the bundled cohort'}"
    groups = ("training", "train_patients", "values"), ("held-out", "holdout_patients", "holdout_values")
    parts = []
    for group, key, values in groups:
        if absent := sorted(set(split[key]) - set(real[schema.patient]), key=str):
            who = f"{len(absent)} of the {len(split[key])} {group} patients of {options.model}"
            raise ValueError(f"{who} are not in {options.real} (such as {absent[0]}): {remedy}")
        parts.append(real[real[schema.patient].isin(split[key])])
        if split.get(values) not in (None, values_of(parts[-1], schema)):  # None: older versions wrote one, or neither
            raise ValueError(f"{options.real} has the patients of {options.model}, but other values: {remedy}")
    if Path(options.model).is_file():
        asked |= {f"model: {name}": value for name, value in Synthesizer.load(options.model).config.to_dict().items()}
    return *parts, asked


def demo(options: argparse.Namespace) -> None:
    folder, usual, caution = options.out, max(MODELS[name](preset="workshop").epochs for name in DEMO), ""
    if options.epochs and 2 * options.epochs < usual:
        few = f"{options.epochs} of up to {usual} epochs"
        caution = f"too short to judge the models by: {few}; any of them may look best or worst"
        log.warning("%s", caution)
    _refuse_existing(options, *(folder / f"{name}.pt" for name in DEMO))
    require_writable(folder / "summary.csv")
    changes = {"epochs": options.epochs} if options.epochs else {}
    result = run_demo(folder, seed=options.seed, progress=not options.quiet, **changes)
    if options.json:
        print(json.dumps({**result, "summary": json.loads(result["summary"].to_json())}, indent=1))
    else:
        print(summary_text(result))
        if caution:
            print(caution)
        print(f"{result['seconds']['all'] / 60:.1f} minutes; pictures, tables, models in {folder}/")


def workshop(options: argparse.Namespace) -> None:
    _refuse_existing(options, options.out / "student", options.out / "html")
    made = write_editions(options.notebooks or NOTEBOOKS, options.out)
    _show(options, {"notebooks": made, "folder": str(options.out)})


def _reading(options: argparse.Namespace) -> dict[str, str]:
    """How a table's file is to be read, as far as it was said."""
    return {k: v for k in ("separator", "decimal", "encoding", "sheet") if (v := getattr(options, k)) is not None}


def _schema(name: str) -> Schema:
    return {"art-demo": ART_DEMO, "art-full": ART_FULL}.get(name) or Schema.from_yaml(name)


def _output(options: argparse.Namespace, *endings: str) -> Path:
    """The output path, refused before any work is done where it could not be written."""
    out = Path(options.out)
    if not out.name.endswith(endings):
        raise ValueError(f"--out {out}: the name must end in {' or '.join(endings)}")
    _refuse_existing(options, out)
    require_writable(out)
    return out


def _refuse_existing(options: argparse.Namespace, *paths: Path) -> None:
    for path in paths:
        if path.exists() and not options.force:
            raise ValueError(f"{path} exists already; choose another name, or --force to replace it")


def _show(options: argparse.Namespace, result: dict[str, Any]) -> None:
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
