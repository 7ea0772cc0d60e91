"""The command line, `python -m hg_helpers`. Results go to standard output, progress and messages to standard error.

>>> options = build_parser().parse_args(['sample', '--model', 'v2_plus', '--out', 's.csv'])
>>> options.run.__name__, options.patients, options.decode
('sample', 1000, 'argmax')
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .commands import demo, describe, download, evaluate, sample, simulate, train, workshop
from .doctor import doctor
from .workshop import NOTEBOOKS

DESCRIPTION = "Health Gym v2: make synthetic longitudinal cohorts, and see which patients a generator loses."
EXITS = (
    "exit codes: 0 done; 1 something in the input, the files or the machine is not right (said on standard error); "
    "2 the command line itself is wrong; 130 stopped by Ctrl-C; 143 ended by SIGTERM"
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser, arguments = build_parser(), sys.argv[1:] if arguments is None else arguments
    if not arguments:  # a newcomer: all commands rather than one line of usage
        parser.print_help(sys.stderr)
        parser.exit(2)
    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a µ that a terminal cannot show is no reason to fail after the work
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("hg_helpers").setLevel(logging.WARNING if options.quiet else logging.INFO)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (KeyError, ValueError, OSError, RuntimeError, MemoryError) as error:
        if isinstance(error, BrokenPipeError):
            try:
                print(flush=True)  # what could not be written is dropped already: write again
            except BrokenPipeError:  # who reads the results has seen enough, as in `doctor | head -1`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at the end
                return 0
        if options.traceback:
            raise
        # str() of a KeyError would put quotes round the sentence
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1


class Help(argparse.HelpFormatter):
    """Lines end between words, also in what stands below the options; examples go on behind a backslash."""

    def _split_lines(self, text: str, width: int, **indents: str) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False, **indents)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for line in text.splitlines():
            if line.startswith("  "):  # an example
                indents = {"initial_indent": "  ", "subsequent_indent": "      "}
                lines.append(" \\\n".join(self._split_lines(line.strip(), width - 2, **indents)))
            else:
                lines.append("\n".join(self._split_lines(line, width)))
        return "\n".join(lines)


def _number(kind: type, least: int, below: float, wanted: str) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if not least <= (value := kind(text)) < below:
            raise argparse.ArgumentTypeError(f"{value} is not {wanted}")
        return value

    number.__name__ = "share" if kind is float else "whole number"  # in argparse's message about what is none
    return number


COUNT, SHARE = _number(int, 1, math.inf, "at least 1"), _number(float, 0, 1, "a share of at least 0 and below 1")
SEED = {"type": _number(int, 0, math.inf, "at least 0"), "default": 0}


def _path(text: str) -> Path:
    return Path(text).expanduser()  # no shell expands --out=~/runs


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    words = {"description": DESCRIPTION, "epilog": EXITS}
    parser = argparse.ArgumentParser("python -m hg_helpers", formatter_class=Help, **words)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable, summary: str, example: str) -> Callable:
        words = {"help": summary, "description": summary[0].upper() + summary[1:] + "."}
        epilog = f"example:\n  python -m hg_helpers {example}\n\n{EXITS}"
        added = commands.add_parser(run.__name__, epilog=epilog, formatter_class=Help, **words)
        added.set_defaults(run=run)
        option = added.add_argument
        option("--json", action="store_true", help="print the result as JSON")
        option("--quiet", action="store_true", help="no progress, only warnings and errors")
        option("--traceback", action="store_true", help="show where an error came from")
        return option

    def writes(option: Callable, what: str, **default: Any) -> None:
        option("--out", type=_path, help=what, **(default or {"required": True}))
        option("--force", action="store_true", help="replace what exists already")

    def reads(option: Callable, what: str, name: str = "--data", **required: Any) -> None:
        option(name, help=what, **required)
        option("--separator", help="between the values of a .csv file (default: as its header looks)")
        option("--decimal", metavar="MARK", help="decimal mark of a .csv file (default: as its rows look)")
        option("--encoding", help="of a .csv file, such as cp1252 (default: utf-8)")
        option("--sheet", help="of a workbook (default: the first)")

    command(doctor, "check versions, machine, data and disk", "doctor")

    option = command(download, "fetch the public cohort (44.7 MB) into data/raw/", "download")
    option("--force", action="store_true", help="fetch it again")

    example = "simulate --patients 1000 --out cohort.csv.gz"
    option = command(simulate, "write a simulated cohort with known truth", example)
    option("--patients", type=COUNT, default=1000, help="how many (default 1000)")
    option("--months", type=COUNT, default=60, help="months each (default 60)")
    option("--seed", **SEED)
    writes(option, "file: .csv, .csv.gz or .parquet")

    example = "describe --data visits.csv --patient id --time day --out visits.yaml"
    summary = "draft the schema of a table, with comments, to be put right and given to `train`"
    option = command(describe, summary, example)
    reads(option, "table: .csv, .csv.gz, .parquet or .xlsx", required=True)
    option("--patient", required=True, metavar="COLUMN", help="column that identifies the patient")
    option("--time", required=True, metavar="COLUMN", help="column of months, days, dates or time stamps")
    writes(option, "file (.yaml); without it the draft is printed", default=None)

    example = """train --data data/art_hiv_demo.csv.gz --model v2 --preset workshop --out runs/v2.pt
  python -m hg_helpers train --data visits.csv --schema visits.yaml --model v2_plus --out runs/mine.pt
  python -m hg_helpers train --out runs/v2.pt --resume --epochs 40"""
    option = command(train, "train a model on a table", example)
    reads(option, "table: .csv, .csv.gz, .parquet, .xlsx or `figshare` (default: the bundled cohort)")
    # without defaults here, so that --resume can tell what was asked for
    option("--schema", help="art-demo (default), art-full or a YAML file")
    option("--model", choices=["v1", "v2", "v2_plus"], help="default v2_plus")
    option("--preset", choices=["published", "workshop"], default="workshop")
    option("--epochs", type=COUNT, help="default: the preset's, more where the table is small")
    option("--seed", **SEED, help="of the split, the weights and the noise")
    option("--holdout", type=SHARE, default=0.2, help="share of patients kept for evaluation (default 0.2)")
    option("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    option("--checkpoint-every", type=COUNT, default=1, metavar="EPOCHS")
    option("--resume", action="store_true", help="go on with the model in --out, up to --epochs")
    writes(option, "model file (.pt); the split is written beside it")

    example = "sample --model v2_plus --patients 1000 --out s.csv"
    option = command(sample, "draw synthetic patients from a model", example)
    option("--model", required=True, help="file from `train`, or v1, v2, v2_plus of the package")
    option("--patients", type=COUNT, default=1000, help="how many (default 1000)")
    option("--seed", **SEED)
    option("--decode", choices=["argmax", "sample"], default="argmax", help="most probable level, or a draw")
    parts = "write a folder of Parquet files of so many patients each, a multiple of 256; stopped, it goes on"
    option("--parts", type=COUNT, metavar="PATIENTS", help=parts)
    writes(option, "file: .csv, .csv.gz or .parquet; with --parts a folder")

    example = "evaluate --real data/art_hiv_demo.csv.gz --model runs/v2.pt --synthetic s.csv --out runs/report"
    option = command(evaluate, "compare synthetic with real patients", example)
    reads(option, "table that the model was trained on", "--real", required=True)
    option("--holdout", help="table of real patients whom the model has not seen")
    option("--model", help="instead of --holdout: the model, beside which `train` wrote its split")
    option("--synthetic", required=True, help="table from `sample`")
    option("--schema", default="art-demo", help="art-demo (default), art-full or a YAML file")
    option("--seed", **SEED, help="of the draws behind floors and intervals")
    writes(option, "folder for report.csv and figures")

    option = command(demo, "train v1, v2 and v2_plus on the bundled cohort and show who is missing", "demo")
    option("--seed", **SEED)
    option("--epochs", type=COUNT, help="fewer for a quick look (default: the workshop preset's)")
    writes(option, "folder (default runs/demo)", default="runs/demo")

    summary = "make the notebooks' editions for a class: without solutions, and as pages to read"
    option = command(workshop, summary, "workshop --out runs/workshop")
    option("--notebooks", type=_path, default=NOTEBOOKS, metavar="FOLDER", help="(default: those of this clone)")
    writes(option, "folder: student/*.ipynb and html/*.html")
    return parser
