"""The report of `evaluate` for readers: lines for a terminal, and one page that can be mailed and printed.

The page is put together by hand: pandas' own tables have neither caption nor scope, and no template engine is needed.

>>> table(["metric", "value"], [["<b>", 0.5]], "Numbers").split("<tbody>")[1]
'<tr><th scope="row">&lt;b&gt;</th><td>0.500</td></tr></tbody></table></div>'
"""

from __future__ import annotations

import base64
import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..cohort import Schema, data_folder
from ..metrics import METRICS
from .files import write_text

NUMBERS = ["value", "floor", "best", "low", "high"]
#: Title, introduction and style of the page; what each group of metrics asks, and what each metric says and hides.
WORDS = yaml.safe_load((data_folder() / "report.yaml").read_text(encoding="utf-8"))


def report_text(report: pd.DataFrame, discrete: int, width: int = 79) -> str:
    """The report in lines of at most ``width`` characters; its notes and full names stand in report.csv.

    The joint of all features, of which ``discrete`` are discrete, is called "all 5".
    """
    joint = report["feature"].str.count(" x ") + 1 == discrete
    features = report["feature"].mask(joint & (discrete > 1), f"all {discrete}")
    cells = report[NUMBERS].map(lambda cell: "-" if pd.isna(cell) else f"{cell:.3f}")
    rows = [("metric", "feature", *NUMBERS), *zip(report["metric"], features, *cells.T.to_numpy(), strict=True)]
    metric, feature, *numbers = (max(map(len, column)) for column in zip(*rows, strict=True))
    feature = min(feature, max(8, width - metric - sum(numbers) - 2 * (len(numbers) + 1)))
    lines = []
    for row in rows:
        name = row[1] if len(row[1]) <= feature else row[1][: feature - 2] + ".."
        right = (f"{cell:>{w}}" for cell, w in zip(row[2:], numbers, strict=True))
        lines.append("  ".join([f"{row[0]:{metric}}", f"{name:{feature}}", *right]))
    return "\n".join(lines)


def write_page(
    path: Path,
    report: pd.DataFrame,
    sets: dict[str, pd.DataFrame],
    schema: Schema,
    pictures: dict[str, tuple[bytes, str]],
    said: Iterable[str],
    settings: dict[str, Any],
) -> None:
    """Write the report as one page of HTML that needs nothing else: no script, no other file, no network.

    Of the compared tables, ``sets`` by name, it holds sizes and gaps and no row. ``pictures`` are a PNG and its
    alternative text by name; ``said`` is what was left out or filled, ``settings`` what the run was asked for.
    """
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pandas", "scikit-learn")}
    ours = {"hg_helpers": sys.modules["hg_helpers"].__version__, "python": platform.python_version()}
    made = {"made": f"{datetime.now():%Y-%m-%d %H:%M}", **ours, **versions}
    notes = "".join(f"<li>{escape(line)}</li>" for line in list(said) or ["Nothing."])
    parts = [f"<h1>{WORDS['title']}</h1>{WORDS['introduction']}<h2>Who was compared</h2>", *_patients(sets, schema)]
    parts.append(f"<h2>What was left out or filled</h2><ul>{notes}</ul>")
    groups = report["metric"].map(lambda metric: METRICS[metric].group if metric in METRICS else None)
    for group, question in {**WORDS["groups"], None: "What else was compared"}.items():
        part = report[groups.isna() if group is None else groups == group]
        parts += _numbers(part, question) if len(part) else []
    parts.append("<h2>Pictures</h2>")
    for name, (png, alt) in pictures.items():
        image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        parts.append(f"<figure>{image}<figcaption>{escape(name.replace('_', ' '))}</figcaption></figure>")
    parts.append("<h2>How it was made</h2>")
    parts.append(table(["setting", "value"], [*settings.items(), *made.items()], "Settings"))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    head += f"<title>{WORDS['title']}</title><style>{WORDS['style']}</style>"
    page = f'<html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>'
    write_text(f"<!DOCTYPE html>\n{page}\n", path)


def table(head: list[str], rows: Iterable[Iterable[Any]], caption: str) -> str:
    """A table of HTML, everything in it escaped; the first cell of a row is its head."""
    region = f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">'  # a phone scrolls in it
    lines = [f"{region}<table><caption>{escape(caption)}</caption><thead><tr>"]
    lines += [f'<th scope="col">{escape(name)}</th>' for name in head]
    lines.append("</tr></thead><tbody>")
    for row in rows:
        first, *cells = (escape(_written(cell)) for cell in row)
        lines += [f'<tr><th scope="row">{first}</th>', *(f"<td>{cell}</td>" for cell in cells), "</tr>"]
    return "".join([*lines, "</tbody></table></div>"])


def _written(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return "undefined" if np.isnan(cell) else f"{cell:.3f}"


def _patients(sets: dict[str, pd.DataFrame], schema: Schema) -> list[str]:
    """How many there are in each set, and what is missing of whom."""
    sizes = []
    for name, part in sets.items():
        visits, gaps = part.groupby(schema.patient).size(), part[schema.names].isna().to_numpy().mean()
        sizes.append((name, f"{len(visits):,}", f"{len(part):,}", f"{visits.min()} to {visits.max()}", f"{gaps:.1%}"))
    features = []
    for each in schema:
        gaps = [f"{part[each.name].isna().mean():.1%}" for part in sets.values()]
        levels = each.unit if each.is_real else ", ".join(map(str, each.levels))
        features.append((each.name, each.kind, levels, *gaps))
    head = ["feature", "kind", "unit or levels", *(f"missing, {name}" for name in sets)]
    of_sets = table(["set", "patients", "rows", "rows of a patient", "missing values"], sizes, "Sizes of the sets")
    return [of_sets, table(head, features, "Missing values by feature")]


def _numbers(part: pd.DataFrame, question: str) -> list[str]:
    """The metrics of a group beside their floors, and what each of them says and hides."""
    rows = []
    for row in part.itertuples():
        interval = "" if np.isnan(row.low) else f"{row.low:.3f} to {row.high:.3f}"
        best = row.best if np.isfinite(row.best) else "the lower"
        rows.append((row.metric, row.feature, row.value, row.floor, best, interval, row.note))
    head = ["metric", "feature", "synthetic", "floor", "best", "95 % interval", "note"]
    known = [metric for metric in part["metric"].unique() if metric in WORDS["metrics"]]
    meaning = [(metric, *WORDS["metrics"][metric]) for metric in known]
    hides = table(["metric", "what it says", "what it hides"], meaning, "How to read them") if meaning else ""
    return [f"<h2>{escape(question)}</h2>", table(head, rows, "Synthetic patients and the floor"), hides]
