"""What gives synthetic patients away: the summaries by which each one alone can be told from a real one.

>>> import pandas as pd
>>> found = pd.DataFrame([('CD4', 'mean', 0.9, 0.4, 0.5), ('VL', 'spread', 0.6, 0.1, 0.1)], columns=COLUMNS)
>>> _, table = giveaways(found)
>>> table['summary'].tolist()
['mean', 'spread']
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from .features import named, require
from .style import WIDTH, Picture, canvas, finish, legend_columns, legend_of, looks, picture

COLUMNS = ["feature", "summary", "auc", "real", "synthetic"]


@picture
def giveaways(
    tables: pd.DataFrame | dict[str, pd.DataFrame], label: str = "synthetic", most: int = 10
) -> tuple[Picture, pd.DataFrame]:
    """The summaries that give synthetic patients away, worst first: how well each one alone tells them from real ones.

    An AUC of 0.5 tells nothing, 1 everything. Below each name stand its means, of real and of
    synthetic patients: labs on their encoded scale from 0 to 1, all else as shares of months.

    Args:
        tables: from :func:`hg_helpers.metrics.c2st_auc`: columns ``feature, summary, auc, real, synthetic``; one table,
            or ``{name: table}`` of several models against the same real patients, ordered by the first.
        label: name of a single table.
        most: summaries that are drawn; the others stand in the returned table.

    Returns:
        The figure, and a table with the columns ``source, feature, summary, auc, real, synthetic, drawn``.

    Raises:
        KeyError, ValueError: for a table without these columns or rows, or of other summaries than the first.
    """
    tables = named(tables, label)
    first = next(iter(tables))
    for name, table in tables.items():
        require(table, COLUMNS, name)
        if set(zip(table["feature"], table["summary"], strict=True)) != set(
            zip(tables[first]["feature"], tables[first]["summary"], strict=True)
        ):
            raise ValueError(f"table {name!r} has other summaries than {first!r}")
    order = tables[first].sort_values("auc", ascending=False, kind="stable")
    keys = pd.MultiIndex.from_frame(order[["feature", "summary"]])
    parts = {name: table.set_index(["feature", "summary"])[COLUMNS[2:]].loc[keys] for name, table in tables.items()}
    long = pd.concat(parts, names=["source"]).reset_index()
    long["drawn"] = np.tile(np.arange(len(keys)) < most, len(tables))
    shown = keys[:most]
    look = looks(tables)
    heights = [0.2 + 0.25 * math.ceil(len(tables) / legend_columns(tables)), 0.42 * len(shown) + 1.1]
    figure = canvas(WIDTH, sum(heights))
    head, body = figure.subfigures(2, 1, height_ratios=heights)
    axes = body.subplots()
    legend_of(head, look)
    thickness = 0.8 / len(tables)
    for number, (name, part) in enumerate(parts.items()):
        at = np.arange(len(shown)) + (number - (len(tables) - 1) / 2) * thickness
        width = part.loc[shown, "auc"].to_numpy() - 0.5
        bar = {"color": look[name]["color"], "hatch": look[name]["hatch"], "edgecolor": "white", "linewidth": 0.5}
        axes.barh(at, width, thickness, left=0.5, **bar)
    names = []
    for key in shown:
        means = {"real": parts[first].loc[key, "real"]}
        means |= {n if len(parts) > 1 else "synthetic": part.loc[key, "synthetic"] for n, part in parts.items()}
        names.append(f"{': '.join(key)}\n" + ", ".join(f"{name} {mean:.2g}" for name, mean in means.items()))
    axes.set_yticks(range(len(shown)), names)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0.5, 1.0), ylim=(len(shown) - 0.5, -0.5), xlabel="AUC of this summary alone: 0.5 tells nothing")
    return finish(figure, long, _alt(parts))


def _alt(parts: dict[str, pd.DataFrame]) -> str:
    told = []
    for name, part in parts.items():
        (feature, summary), row = part["auc"].idxmax(), part.loc[part["auc"].idxmax()]
        told.append(
            f"{name} is told best by {feature}, {summary} (AUC {row['auc']:.2f}; mean {row['real']:.3g} real, "
            f"{row['synthetic']:.3g} synthetic), {int((part['auc'] > 0.75).sum())} of {len(part)} summaries above 0.75"
        )
    return f"Summaries of single patients that tell synthetic from real: {'; '.join(told)}."
