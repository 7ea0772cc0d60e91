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

from .app.doctor import doctor, import_failed


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and return the exit code; where a package is absent or broken, say what is not in place."""
    try:
        parser = build_parser()
    except (ImportError, OSError) as error:  # OSError: a torch whose libraries do not load
        doctor()
        print(f"error: {import_failed(error)}", file=sys.stderr)
        return 1
    arguments = sys.argv[1:] if arguments is None else arguments
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
        return code or 0
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


class Help(argparse.RawDescriptionHelpFormatter):
    """Lines of an option's help end between words; other text stands as it is written."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _number(kind: type, least: int, below: float, wanted: str) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if not least <= (value := kind(text)) < below:
            raise argparse.ArgumentTypeError(f"{value} is not {wanted}")
        return value

    number.__name__ = "share" if kind is float else "whole number"  # in argparse's message about what is none
    return number


#: What an option's text is read as, by the names that app/words.yaml has for it.
TYPES = {
    "count": _number(int, 1, math.inf, "at least 1"),
    "seed": _number(int, 0, math.inf, "at least 0"),
    "share": _number(float, 0, 1, "a share of at least 0 and below 1"),
    "path": lambda text: Path(text).expanduser(),  # no shell expands --out=~/runs
}


def build_parser() -> argparse.ArgumentParser:
    """All commands and options, as app/words.yaml describes them."""
    from .app import commands
    from .app.demo import WORDS

    ends = {"description": WORDS["description"], "epilog": WORDS["exits"], "formatter_class": Help}
    parser = argparse.ArgumentParser("python -m hg_helpers", **ends)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in WORDS["commands"].items():
        summary = command["summary"]
        long = {"description": textwrap.fill(f"{summary[0].upper()}{summary[1:]}.", 78)}
        long["epilog"] = f"example:\n{textwrap.indent(command['example'], '  ')}\n{WORDS['exits']}"
        added = subparsers.add_parser(name, help=summary, formatter_class=Help, **long)
        added.set_defaults(run=getattr(commands, name))
        for option, how in {**WORDS["everywhere"], **command["options"]}.items():
            how = how or WORDS["options"][option]
            added.add_argument(option, **how | ({"type": TYPES[how["type"]]} if "type" in how else {}))
    return parser


if __name__ == "__main__":
    sys.exit(main())
