"""What each sub-command of `python -m hg_helpers` does; each takes the parsed options and returns the exit code.

>>> from types import SimpleNamespace as Options
>>> try:
...     simulate(Options(out='cohort.txt', force=False))
... except UserError as error:
...     print(error)
--out cohort.txt: the name must end in .csv or .csv.gz or .parquet
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ..cohort.art import ART_DEMO, ART_FULL
from ..cohort.download import download_cohort
from ..cohort.load import load_cohort
from ..cohort.schema import Schema
from ..cohort.simulate import simulate_cohort
from ..metrics import evaluate as evaluate_tables
from ..model.config import MODELS
from ..model.synthesizer import Synthesizer
from ..model.training import Trainer
from ..plots.report import report_figures
from ..plots.style import FILE_DPI
from ..runtime.checkpoint import atomic, require_writable
from ..runtime.distributed import Peers, join_torchrun
from .demo import DEMO, run_demo, summary_text, too_short
from .describe import describe as describe_table
from .files import read_split, values_of, write_parts, write_split, write_table, write_text
from .report import report_text, write_page
from .shorthand import prepare, warn_if_cut_short
from .workshop import write_editions

log = logging.getLogger("hg_helpers")


class UserError(Exception):
    """Something that the user can put right; shown without a traceback."""


def simulate(options: argparse.Namespace) -> int:
    out = _output(options, ".csv", ".csv.gz", ".parquet")
    table = simulate_cohort(options.patients, months=options.months, seed=options.seed)
    write_table(table, out)
    _show(options, {"file": str(out), "patients": options.patients, "rows": len(table)})
    return 0


def download(options: argparse.Namespace) -> int:
    _show(options, {"file": str(download_cohort(force=options.force))})
    return 0


def describe(options: argparse.Namespace) -> int:
    out = _output(options, ".yaml", ".yml") if options.out else None
    draft = describe_table(options.data, options.patient, options.time, **_reading(options))
    if out is None:
        print(draft, end="")
        return 0
    write_text(draft, out)
    _show(options, {"file": str(out)})
    return 0


def train(options: argparse.Namespace) -> int:
    options.device = join_torchrun(options.device)
    if options.resume:
        return _resume(options)
    out = _output(options, ".pt")
    what = options.data, options.model or "v2_plus", _schema(options.schema or "art-demo"), options.holdout
    how = options.seed, options.epochs, options.device, options.preset
    begun = prepare(*what, *how, Peers(), _reading(options))
    if begun.trainer.peers.rank == 0:
        write_split(begun.split, out)
    return _fit(begun.trainer, begun.encoder.transform(begun.train), out, options)


def _resume(options: argparse.Namespace) -> int:
    trainer = Trainer.load(options.out, device=options.device, peers=Peers())
    _refuse_another(trainer, options)
    split = read_split(options.out)
    data = options.data or split["data"]
    try:
        schema = trainer.encoder.schema
        cohort = load_cohort(data, schema=schema, **(_reading(options) or split.get("reading", {})))
        cohort = cohort[cohort[schema.patient].isin(split["train_patients"])]
        return _fit(trainer, trainer.encoder.transform(cohort), options.out, options)
    except (KeyError, ValueError) as error:
        raise UserError(f"{options.out} cannot go on with {data or 'the bundled cohort'}: {error.args[0]}") from error


def _refuse_another(trainer: Any, options: argparse.Namespace) -> None:
    """Refuse to go on with another model or schema than was asked for."""
    remedy = "leave the option out to go on with it, or train another model with another --out"
    if options.model is not None:
        asked, kind = MODELS[options.model](), ("latent_source", "autoencoder", "heads")
        if any(getattr(trainer.config, k) != getattr(asked, k) for k in kind):
            found = ", ".join(f"{k} {getattr(trainer.config, k)!r}" for k in kind)
            raise UserError(f"{options.out} is no --model {options.model}, it has {found}: {remedy}")
    schema = trainer.encoder.schema  # its length is a number, also where the file leaves it to the table
    asked = schema if options.schema is None else _schema(options.schema)
    if dataclasses.replace(asked, length=asked.length or schema.length) != schema:
        raise UserError(f"{options.out} was not trained with --schema {options.schema}: {remedy}")


def _fit(trainer: Any, x: Any, out: Path, options: argparse.Namespace) -> int:
    saving = {"checkpoint": out, "checkpoint_every": options.checkpoint_every}
    history = trainer.fit(x, epochs=options.epochs, progress=not options.quiet, **saving)
    if trainer.peers.rank > 0:
        return 0
    done = {"model": str(out), "patients": len(x), "epochs": trainer.epoch, "generator steps": trainer.step}
    done["seconds"] = round(float(history["seconds"].sum()), 1) if len(history) else 0.0
    last = history.iloc[-1] if len(history) else {}
    losses = ("wasserstein", "correlation_loss", "reconstruction")
    _show(options, done | {name: round(float(last[name]), 4) for name in losses if name in last})
    if trainer.epoch < (trainer.config.epochs if options.epochs is None else options.epochs):
        return 130
    warn_if_cut_short(history)
    return 0


def sample(options: argparse.Namespace) -> int:
    if options.parts:  # a folder that is there is taken up, if it holds parts of the same
        out, synthesizer = options.out, _model(options.model)
        write = functools.partial(write_parts, synthesizer, out, per_part=options.parts)
    else:
        out = _output(options, ".csv", ".csv.gz", ".parquet")
        synthesizer = _model(options.model)
        write = functools.partial(synthesizer.to_parquet if out.suffix == ".parquet" else synthesizer.to_csv, out)
    what = {"patients": options.patients, "seed": options.seed, "decode": options.decode}
    with tqdm(total=options.patients, unit="patient", disable=options.quiet) as bar:
        write(**what, progress=lambda done: bar.update(done - bar.n))
    done = {"file": str(out), "patients": options.patients}
    if synthesizer.encoder.layout.course is None:  # else courses have lengths of their own
        done["rows"] = options.patients * synthesizer.encoder.schema.length
    _show(options, done)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    schema, folder = _schema(options.schema), options.out
    _refuse_existing(folder / "report.csv", options.force)
    with _messages() as said:
        real, holdout, asked = _real_patients(options, schema)
        # a synthetic table is not filled: it has gaps where the schema measures them, and nowhere else
        gaps = "measured" if schema.missing == "measured" else "error"
        synthetic = load_cohort(options.synthetic, schema=dataclasses.replace(schema, missing=gaps))
        report = evaluate_tables(real, holdout, synthetic, schema=schema, seed=options.seed)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(report, folder / "report.csv")
    pictures = {}
    with _messages() as of_figures:
        for name, figure in report_figures(real, holdout, synthetic, schema, seed=options.seed):
            with atomic(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=FILE_DPI, format="png")
            if name != "patients":  # it shows courses of single real patients, and the page is made to be passed on
                pictures[name] = (folder / f"{name}.png").read_bytes(), figure.alt
    said += [line for line in of_figures if line.startswith("figure ")]
    sets = {"training": real, "holdout": holdout, "synthetic": synthetic}
    write_page(folder / "report.html", report, sets, schema, pictures, dict.fromkeys(said), asked)
    if options.json:
        print(report.to_json(orient="records", indent=1))
    else:
        print(report_text(report, len(schema.discrete)))
        print("- is undefined; report.csv says why")
        print(f"report.html, report.csv and {len(list(folder.glob('*.png')))} pictures are in {folder}/")
    return 0


def _real_patients(options: argparse.Namespace, schema: Schema) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Training and held-out patients, and what the report says of where they and the synthetic ones come from."""
    if not (options.holdout or options.model):
        need = "evaluation needs real patients whom the model has not seen"
        raise UserError(f"{need}: --holdout TABLE, or --model FILE.pt")
    asked = {name: getattr(options, name) for name in ("real", "holdout", "model", "synthetic", "schema")}
    asked = {name: Path(path).name for name, path in asked.items() if path} | {"seed": options.seed}
    real = load_cohort(options.real, schema=schema, **_reading(options))
    if options.holdout:
        return real, load_cohort(options.holdout, schema=schema, **_reading(options)), asked
    split = read_split(Path(options.model))
    if "holdout_patients" not in split:
        raise UserError(f"{options.model} was trained on all patients; give other real ones with --holdout TABLE")
    real, holdout = (_those(real, split, group, schema, options) for group in ("train", "holdout"))
    if "values" in split and split["values"] != values_of(real, schema):
        raise UserError(
            f"{options.real} has the patients of {options.model}, but other values: give the table that it was "
            f"trained on, {split['data'] or 'the bundled cohort'}"
        )
    if Path(options.model).is_file():
        asked |= {f"model: {name}": value for name, value in Synthesizer.load(options.model).config.to_dict().items()}
    return real, holdout, asked


@contextlib.contextmanager
def _messages() -> Iterator[list[str]]:
    """What is logged meanwhile: what was left out or filled belongs into the report."""
    said: list[str] = []
    keeper = logging.Handler()
    keeper.emit = lambda record: said.append(record.getMessage())
    log.addHandler(keeper)
    try:
        yield said
    finally:
        log.removeHandler(keeper)


def demo(options: argparse.Namespace) -> int:
    folder, caution = options.out, too_short(options.epochs)
    if caution:
        log.warning("%s", caution)
    for name in DEMO:
        _refuse_existing(folder / f"{name}.pt", options.force)
    changes = {} if options.epochs is None else {"epochs": options.epochs}
    result = run_demo(folder, seed=options.seed, progress=not options.quiet, **changes)
    if options.json:
        print(json.dumps({**result, "summary": json.loads(result["summary"].to_json())}, indent=1))
    else:
        print(summary_text(result))
        if caution:
            print(caution)
        print(f"{result['seconds']['all'] / 60:.1f} minutes; pictures, tables, models in {folder}/")
    return 0


def workshop(options: argparse.Namespace) -> int:
    for edition in ("student", "html"):
        _refuse_existing(options.out / edition, options.force)
    _show(options, {"notebooks": write_editions(options.notebooks, options.out), "folder": str(options.out)})
    return 0


def _reading(options: argparse.Namespace) -> dict[str, str]:
    """How a table's file is to be read, as far as it was said."""
    named = {name: getattr(options, name) for name in ("separator", "decimal", "encoding", "sheet")}
    return {name: value for name, value in named.items() if value is not None}


def _schema(name: str) -> Schema:
    named = {"art-demo": ART_DEMO, "art-full": ART_FULL}
    return named[name] if name in named else Schema.from_yaml(name)


def _output(options: argparse.Namespace, *endings: str) -> Path:
    """The output path, refused before any work is done where it could not be written."""
    out = Path(options.out)
    if not out.name.endswith(endings):
        raise UserError(f"--out {out}: the name must end in {' or '.join(endings)}")
    _refuse_existing(out, options.force)
    require_writable(out)
    return out


def _model(name: str) -> Synthesizer:
    """A model from a file, or by name one that comes with the package."""
    if name in MODELS and not Path(name).exists():
        return Synthesizer.pretrained(name)
    return Synthesizer.load(name)


def _those(
    table: pd.DataFrame, split: dict[str, Any], group: str, schema: Schema, options: argparse.Namespace
) -> pd.DataFrame:
    """The rows of a group of patients of a model's split, all of whom must be there."""
    ids, words = split[f"{group}_patients"], {"train": "training", "holdout": "held-out"}[group]
    absent = sorted(set(ids) - set(table[schema.patient]), key=str)
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(ids)} {words} patients of {options.model} are not in {options.real} (such as "
            f"{absent[0]}): give the table that it was trained on, {split['data'] or 'the bundled cohort'}"
        )
    return table[table[schema.patient].isin(ids)]


def _refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise UserError(f"{path} exists already; choose another name, or --force to replace it")


def _show(options: argparse.Namespace, result: dict[str, Any]) -> None:
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
