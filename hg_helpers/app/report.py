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

from ..cohort.schema import Schema
from ..metrics import METRICS
from .files import write_text

NUMBERS = ["value", "floor", "best", "low", "high"]
#: What each group of metrics asks, and what each metric says and hides.
GROUPS = {
    "fidelity": "Do values and pairs of features look alike?",
    "diversity": "Who is there, and who is missing?",
    "dynamics": "Does time pass as it does in real patients?",
    "visits": "Do visits come, and values lack, as in real patients?",
    "privacy": "Is anybody copied?",
    "disclosure": "What could be learnt about a real person?",
    "utility": "Can one learn from it?",
    "two_sample": "Can synthetic patients be told from real ones?",
}
MEANING = {
    "ks": ("widest gap between two distributions", "time, rare values, and how features go together"),
    "wasserstein": ("mean distance between two distributions", "time, rare values, and how features go together"),
    "tv": ("share of months that would have to change level", "time, and how features go together"),
    "association_difference": ("mean difference of correlations", "time; one wrong pair among many right ones"),
    "contingency_similarity": ("likeness of two features' joint shares", "time; groups of three or more features"),
    "coverage_month": ("share of real groups that are there, by month", "patients who change group; values in a group"),
    "coverage_patient": ("share of real groups that are there, by patient", "whether a group's values are right"),
    "joint_tv": ("share that would have to change group", "which groups: see the picture of coverage"),
    "log_cluster": ("unevenness of real and synthetic over clusters", "which patients are clustered apart"),
    "prdc_density": ("how crowded synthetic patients are near real ones", "who is missing; copies score well"),
    "prdc_coverage": ("share of real patients with a synthetic neighbour", "how good a neighbour; copies score well"),
    "patient_spread": ("spread of patients' means, as a share of the real", "which patients are alike"),
    "trend_difference": ("difference of the correlations of trends", "short ups and downs; how strong a trend is"),
    "cycle_difference": ("difference of the correlations of ups and downs", "trends; how strong the ups and downs are"),
    "autocorrelation_difference": (
        "difference of values' memory over visits",
        "rare events; how features move together",
    ),
    "switching_ratio": ("changes of regimen, as a share of the real", "from what to what, and when"),
    "dwell_times": ("difference of the lengths of stays, in visits", "the order of stays"),
    "static_constant": ("share of patients whose static features stay", "whether they are the right ones"),
    "length_ks": ("widest gap between the distributions of courses' lengths", "why a course ends"),
    "step_ks": ("widest gap between the distributions of times between visits", "who comes often, and when"),
    "gap_shares": ("largest difference of the shares of missing values", "why a value is missing, and of whom"),
    "gap_clustering": ("difference of how often a gap follows a gap", "which patients have the gaps"),
    "dcr_share": ("share of synthetic patients nearer to training patients", "single copies among many others"),
    "nndr": ("how alone the nearest real patient stands", "copies of crowded patients"),
    "copies": ("share that is nearer to a training patient than chance allows", "copies with larger changes"),
    "membership_auc": (
        "how well distance tells who was trained on",
        "attacks on the model's file; single persons at risk",
    ),
    "disclosure_risk": (
        "chance to link a record by what others may know",
        "risk from other knowledge than was assumed",
    ),
    "tstr_auc": ("prediction learnt from synthetic patients", "groups that are missing from real and synthetic alike"),
    "trtr_auc": ("the same, learnt from real patients", "nothing of the synthetic patients: it is the floor"),
    "c2st_auc": ("how well a classifier tells them from real ones", "copies, which cannot be told"),
    "c2st_other_auc": ("the same, by summaries that no model was trained on", "copies, which cannot be told"),
}
INTRODUCTION = """<p>Each number stands beside its floor: what real patients score in the place of the synthetic ones.
Near its floor, a cohort is as good as other real patients of that number. The page gives no verdict, and no number
proves that a cohort is safe. It holds no row of any table and no course of a single person; but where few patients
stand behind a share, the share may point to a person: in a set of 200, 0.5 % is one of them.</p>"""
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;max-width:62rem;margin:0 auto;padding:1rem}
h2{border-top:1px solid #8c8c8c;padding-top:1rem;margin-top:2.5rem} figure{margin:1.5rem 0;break-inside:avoid}
img{max-width:100%;height:auto} .wide{overflow-x:auto} table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}
caption{text-align:left;font-weight:bold} th,td{padding:.25rem .6rem;text-align:left;vertical-align:top;
border-bottom:1px solid #ccc;max-width:22rem;overflow-wrap:break-word} thead{display:table-header-group}
figcaption{font-style:italic} @media print{body{font-size:9pt;max-width:none} .wide{overflow:visible}
h2,caption{break-after:avoid} tr{break-inside:avoid}}"""


def report_text(report: pd.DataFrame, discrete: int, width: int = 79) -> str:
    """The report in lines of at most ``width`` characters; its notes and full names stand in report.csv.

    Args:
        report: from :func:`hg_helpers.evaluate`.
        discrete: how many discrete features there are: the joint of all of them is called "all 5".
    """
    joint = report["feature"].str.count(" x ") + 1 == discrete
    features = report["feature"].mask(joint & (discrete > 1), f"all {discrete}")
    cells = report[NUMBERS].map(lambda cell: "-" if pd.isna(cell) else f"{cell:.3f}")
    rows = [("metric", "feature", *NUMBERS), *zip(report["metric"], features, *cells.T.to_numpy(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[1] = min(widths[1], max(8, width - sum(widths) + widths[1] - 2 * (len(widths) - 1)))
    lines = []
    for metric, feature, *numbers in rows:
        feature = feature if len(feature) <= widths[1] else feature[: widths[1] - 2] + ".."
        right = (f"{cell:>{w}}" for cell, w in zip(numbers, widths[2:], strict=True))
        lines.append("  ".join([f"{metric:{widths[0]}}", f"{feature:{widths[1]}}", *right]))
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

    Args:
        report: from :func:`hg_helpers.evaluate`.
        sets: the compared tables by name; the page holds their sizes and gaps, none of their rows.
        schema: what their columns mean.
        pictures: by name, a PNG and its alternative text.
        said: what was left out or filled, one sentence each.
        settings: what the run was asked for.
    """
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pandas", "scikit-learn")}
    ours = {"hg_helpers": sys.modules["hg_helpers"].__version__, "python": platform.python_version()}
    made = {"made": f"{datetime.now():%Y-%m-%d %H:%M}", **ours, **versions}
    parts = [
        "<h1>Synthetic patients beside real ones</h1>",
        INTRODUCTION,
        "<h2>Who was compared</h2>",
        _sizes(sets, schema),
        _features(sets, schema),
        "<h2>What was left out or filled</h2>",
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in list(said) or ["Nothing."]) + "</ul>",
    ]
    for group, question in GROUPS.items():
        part = report[[metric in METRICS and METRICS[metric].group == group for metric in report["metric"]]]
        parts += _numbers(part, question) if len(part) else []
    other = report[~report["metric"].isin(METRICS)]
    parts += _numbers(other, "What else was compared") if len(other) else []
    parts.append("<h2>Pictures</h2>")
    for name, (png, alt) in pictures.items():
        image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        parts.append(f"<figure>{image}<figcaption>{escape(name.replace('_', ' '))}</figcaption></figure>")
    parts += [
        "<h2>How it was made</h2>",
        table(["setting", "value"], [*settings.items(), *made.items()], "Settings"),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    head += f"<title>Synthetic patients beside real ones</title><style>{STYLE}</style>"
    page = f'<html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>'
    write_text(f"<!DOCTYPE html>\n{page}\n", path)


def table(head: list[str], rows: Iterable[Iterable[Any]], caption: str) -> str:
    """A table of HTML, everything in it escaped; the first cell of a row is its head."""
    region = f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">'  # a phone scrolls in it
    lines = [f"{region}<table><caption>{escape(caption)}</caption><thead><tr>"]
    lines += [f'<th scope="col">{escape(name)}</th>' for name in head]
    lines.append("</tr></thead><tbody>")
    for first, *cells in rows:
        lines.append(f'<tr><th scope="row">{escape(_written(first))}</th>')
        lines.append("".join(f"<td>{escape(_written(cell))}</td>" for cell in cells) + "</tr>")
    return "".join([*lines, "</tbody></table></div>"])


def _written(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return "undefined" if np.isnan(cell) else f"{cell:.3f}"


def _sizes(sets: dict[str, pd.DataFrame], schema: Schema) -> str:
    rows = []
    for name, part in sets.items():
        visits, gaps = part.groupby(schema.patient).size(), part[schema.names].isna().to_numpy().mean()
        rows.append((name, f"{len(visits):,}", f"{len(part):,}", f"{visits.min()} to {visits.max()}", f"{gaps:.1%}"))
    return table(["set", "patients", "rows", "rows of a patient", "missing values"], rows, "Sizes of the sets")


def _features(sets: dict[str, pd.DataFrame], schema: Schema) -> str:
    rows = []
    for each in schema:
        gaps = [f"{part[each.name].isna().mean():.1%}" for part in sets.values()]
        rows.append((each.name, each.kind, each.unit if each.is_real else ", ".join(map(str, each.levels)), *gaps))
    head = ["feature", "kind", "unit or levels", *(f"missing, {name}" for name in sets)]
    return table(head, rows, "Missing values by feature")


def _numbers(part: pd.DataFrame, question: str) -> list[str]:
    """The metrics of a group beside their floors, and what each of them says and hides."""
    rows = []
    for row in part.itertuples():
        interval = "" if np.isnan(row.low) else f"{row.low:.3f} to {row.high:.3f}"
        best = row.best if np.isfinite(row.best) else "the lower"
        rows.append((row.metric, row.feature, row.value, row.floor, best, interval, row.note))
    head = ["metric", "feature", "synthetic", "floor", "best", "95 % interval", "note"]
    meaning = [(metric, *MEANING[metric]) for metric in dict.fromkeys(part["metric"]) if metric in MEANING]
    hides = table(["metric", "what it says", "what it hides"], meaning, "How to read them") if meaning else ""
    return [f"<h2>{escape(question)}</h2>", table(head, rows, "Synthetic patients and the floor"), hides]
