"""The command line, `python -m hg_helpers`. Results go to standard output, progress and messages to standard error.

>>> options = build_parser().parse_args(['sample', '--model', 'v2_plus', '--out', 's.csv'])
>>> options.run.__name__, options.patients, options.decode
('sample', 1000, 'argmax')
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from .commands import UserError, demo, describe, download, evaluate, sample, simulate, train
from .doctor import doctor

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
    except BrokenPipeError as error:
        return _reader_gone(error)
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


def _reader_gone(error: BrokenPipeError) -> int:
    """Be quiet where who reads the results has seen enough, as in `doctor | head -1`; any other pipe is an error."""
    try:
        print(flush=True)  # what could not be written is dropped already: write again
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at the end
        return 0
    print(f"error: {error}", file=sys.stderr)
    return 1


# --- the parser -----------------------------------------------------------------------------------------------------


class Help(argparse.HelpFormatter):
    """Lines end between words, also in what stands below the options; examples go on behind a backslash."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            example = line.startswith("  ")
            options = {"subsequent_indent": "      ", "initial_indent": "  "} if example else {}
            room = width - 2 if example else width
            parts = textwrap.wrap(line.strip(), room, break_long_words=False, break_on_hyphens=False, **options)
            lines.append((" \\\n" if example else "\n").join(parts))
        return "\n".join(lines)


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


def _path(text: str) -> Path:
    return Path(text).expanduser()  # no shell expands --out=~/runs


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a share of at least 0 and below 1")
    return number


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(
        "python -m hg_helpers", description=DESCRIPTION, epilog=EXITS, formatter_class=Help
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Any, summary: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            run.__name__,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  python -m hg_helpers {example}\n\n{EXITS}",
            formatter_class=Help,
        )
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print the result as JSON")
        added.add_argument("--quiet", action="store_true", help="no progress, only warnings and errors")
        added.add_argument("--traceback", action="store_true", help="show where an error came from")
        return added

    def writes(added: argparse.ArgumentParser, default: str | None, what: str) -> None:
        added.add_argument("--out", type=_path, default=default, required=default is None, help=what)
        added.add_argument("--force", action="store_true", help="replace what exists already")

    def reads(added: argparse.ArgumentParser) -> None:
        added.add_argument("--separator", help="between the values of a .csv file (default: as its header looks)")
        added.add_argument("--decimal", metavar="MARK", help="decimal mark of a .csv file (default: as its rows look)")
        added.add_argument("--encoding", help="of a .csv file, such as cp1252 (default: utf-8)")
        added.add_argument("--sheet", help="of a workbook (default: the first)")

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
        describe,
        "draft the schema of a table, with comments, to be put right and given to `train`",
        "describe --data visits.csv --patient id --time day --out visits.yaml",
    )
    added.add_argument("--data", required=True, help="table: .csv, .csv.gz, .parquet or .xlsx")
    added.add_argument("--patient", required=True, metavar="COLUMN", help="column that identifies the patient")
    added.add_argument("--time", required=True, metavar="COLUMN", help="column of months, days, dates or time stamps")
    reads(added)
    added.add_argument("--out", type=_path, help="file (.yaml); without it the draft is printed")
    added.add_argument("--force", action="store_true", help="replace what exists already")

    added = command(
        train,
        "train a model on a table",
        "train --data data/art_hiv_demo.csv.gz --model v2 --preset workshop --out runs/v2.pt\n"
        "  python -m hg_helpers train --data visits.csv --schema visits.yaml --model v2_plus --out runs/mine.pt\n"
        "  python -m hg_helpers train --out runs/v2.pt --resume --epochs 40",
    )
    added.add_argument(
        "--data", help="table: .csv, .csv.gz, .parquet, .xlsx or `figshare` (default: the bundled cohort)"
    )
    reads(added)
    # without defaults here, so that --resume can tell what was asked for
    added.add_argument("--schema", help="art-demo (default), art-full or a YAML file")
    added.add_argument("--model", choices=["v1", "v2", "v2_plus"], help="default v2_plus")
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
    added.add_argument("--model", required=True, help="file from `train`, or v1, v2, v2_plus of the package")
    added.add_argument("--patients", type=_count, default=1000, help="how many (default 1000)")
    added.add_argument("--seed", type=_seed, default=0)
    added.add_argument(
        "--decode", choices=["argmax", "sample"], default="argmax", help="most probable level, or a draw"
    )
    added.add_argument(
        "--parts",
        type=_count,
        metavar="PATIENTS",
        help="write a folder of Parquet files of so many patients each, a multiple of 256; stopped, it goes on",
    )
    writes(added, None, "file: .csv, .csv.gz or .parquet; with --parts a folder")

    added = command(
        evaluate,
        "compare synthetic with real patients",
        "evaluate --real data/art_hiv_demo.csv.gz --model runs/v2.pt --synthetic s.csv --out runs/report",
    )
    added.add_argument("--real", required=True, help="table that the model was trained on")
    reads(added)
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
