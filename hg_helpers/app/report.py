"""The report of `evaluate` for readers: lines for a terminal, and one page that can be mailed and printed.

>>> report = pd.DataFrame([("ks", "VL", 0.25, 0.1, 0, None, None)], columns=["metric", "feature", *NUMBERS])
>>> report_text(report, discrete=5).splitlines()[1]
'ks      VL       0.250  0.100  0.000    -     -'
"""

from __future__ import annotations

import base64
import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
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
    """The report in lines of at most ``width`` characters; the joint of all ``discrete`` features is called "all 5"."""
    joint = report["feature"].str.count(" x ") + 1 == discrete
    features = report["feature"].mask(joint & (discrete > 1), f"all {discrete}")
    cells = report[NUMBERS].map(lambda cell: "-" if pd.isna(cell) else f"{cell:.3f}")
    rows = [("metric", "feature", *NUMBERS), *zip(report["metric"], features, *cells.T.to_numpy(), strict=True)]
    metric, feature, *numbers = (max(map(len, column)) for column in zip(*rows, strict=True))
    feature = min(feature, max(8, width - metric - sum(numbers) - 2 * (len(numbers) + 1)))
    line = f"{{:{metric}}}  {{:{feature}}}" + "".join(f"  {{:>{width}}}" for width in numbers)
    shorter = {name: name if len(name) <= feature else name[: feature - 2] + ".." for _, name, *_ in rows}
    return "\n".join(line.format(metric, shorter[name], *cells) for metric, name, *cells in rows)


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
    sizes, features = [], []
    for name, part in sets.items():
        visits, gaps = part.groupby(schema.patient).size(), part[schema.names].isna().to_numpy().mean()
        sizes.append((name, f"{len(visits):,}", f"{len(part):,}", f"{visits.min()} to {visits.max()}", f"{gaps:.1%}"))
    for each in schema:
        levels = each.unit if each.is_real else ", ".join(map(str, each.levels))
        gaps = [f"{part[each.name].isna().mean():.1%}" for part in sets.values()]
        features.append((each.name, each.kind, levels, *gaps))
    limits = zip(report["low"], report["high"], strict=True)
    report = report.assign(interval=["" if np.isnan(low) else f"{low:.3f} to {high:.3f}" for low, high in limits])
    report["best"] = [best if np.isfinite(best) else "the lower" for best in report["best"]]
    report["says"], report["hides"] = zip(*(WORDS["metrics"][metric] for metric in report["metric"]), strict=True)
    parts = dict(list(report.groupby(report["metric"].map(lambda metric: METRICS[metric].group))))
    packages = ("torch", "numpy", "pandas", "scikit-learn")
    made = {"made": f"{datetime.now():%Y-%m-%d %H:%M}", "hg_helpers": sys.modules["hg_helpers"].__version__}
    made |= {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
    shown = {"words": WORDS, "sizes": sizes, "features": features, "said": list(said), "settings": settings | made}
    shown["missing"] = [f"missing, {name}" for name in sets]
    shown["groups"] = [(question, parts[group]) for group, question in WORDS["groups"].items() if group in parts]
    shown["pictures"] = {name: (base64.b64encode(png).decode(), alt) for name, (png, alt) in pictures.items()}
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    pages = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, finalize=_written)
    write_text(pages.get_template("report.html.j2").render(shown) + "\n", path)


def _written(cell: Any) -> Any:
    """Numbers with three decimals, anything else as it is."""
    return cell if not isinstance(cell, float) else "undefined" if np.isnan(cell) else f"{cell:.3f}"
