"""What gives synthetic patients away: how near they are to those they were made from, and what they are told by.

>>> found = pd.DataFrame([('CD4', 'mean', 0.9, 0.4, 0.5), ('VL', 'spread', 0.6, 0.1, 0.1)], columns=COLUMNS)
>>> _, table = giveaways(found)
>>> table['summary'].tolist()
['mean', 'spread']
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import style
from .features import named, require
from .style import Drawn, Tables, picture

SETS = {"to train, equal numbers": "training patient", "to holdout, equal numbers": "held-out patient"}
COLUMNS = ["feature", "summary", "auc", "real", "synthetic"]


@picture
def privacy_distances(tables: Tables, label: str = "synthetic") -> Drawn:
    """How far the closest training and the closest held-out patient are: cumulative shares of synthetic patients.

    A cohort that copies its training patients starts at distance 0. The larger of the two real sets would lie closer by
    its size alone, so curves and the share written above each panel are of both sets at equal numbers, the curves of a
    random part of the larger one. 0.5 is ideal; real patients in the cohort's place (the floor) show what chance does.

    ``tables`` come from :func:`hg_helpers.metrics.privacy.dcr_share`, one or ``{name: table}``; the returned one has
    the columns ``source, set, distance, share``: the steps of each curve.
    """
    tables = named(tables, label)
    figure, panels = style.panels(len(tables), 3, 3.6, sharex=True, sharey=True)
    drawn, told = [], []
    for axes, (name, look) in zip(panels, style.looks(tables).items(), strict=True):
        table = tables[name]
        require(table, [*SETS, "to train", "closer to train"], name)
        for (column, who), seen in zip(SETS.items(), (look, {"color": "black", "linestyle": (0, (1, 1))}), strict=True):
            distance = np.sort(table[column].to_numpy(float))
            if np.isnan(distance).any():
                raise ValueError(f"table {name!r}: column {column!r} holds undefined distances")
            line = {"color": seen["color"], "linestyle": seen["linestyle"], "linewidth": 2.4, "label": who}
            axes.ecdf(distance, **line)
            share = np.arange(1, len(distance) + 1) / len(distance)
            drawn.append(pd.DataFrame({"source": name, "set": who, "distance": distance, "share": share}))
        closer, copies = table["closer to train"].mean(), (table["to train"] == 0).mean()
        axes.set(title=f"{name}\ncloser to training: {closer:.2f}", xlabel="distance to the closest patient")
        axes.set_ylabel("share at most this far")
        axes.label_outer()
        axes.legend(loc="lower right", handlelength=2.4)
        told.append(f"{name} {closer:.2f} (copies {copies:.1%}, median distance {table['to train'].median():.3f})")
    what = "Distances of synthetic patients to the closest training and held-out patient"
    alt = f"{what}; share closer to training, 0.5 being ideal: {'; '.join(told)}."
    return style.finish(figure, pd.concat(drawn), alt)


@picture
def giveaways(tables: Tables, label: str = "synthetic", most: int = 10) -> Drawn:
    """The summaries that give synthetic patients away, worst first: how well each one alone tells them from real ones.

    An AUC of 0.5 tells nothing, 1 everything. Below each name stand its means, of real and of
    synthetic patients: labs on their encoded scale from 0 to 1, all else as shares of months.

    ``tables`` come from :func:`hg_helpers.metrics.c2st_auc`, one or ``{name: table}`` of several models against the
    same real patients, ordered by the first. ``most`` summaries are drawn; the returned table has all, in the columns
    ``source, feature, summary, auc, real, synthetic, drawn``.
    """
    tables = named(tables, label)
    first, parts, told = next(iter(tables)), {}, []
    for name, table in tables.items():
        require(table, COLUMNS, name)
        part = table.set_index(["feature", "summary"])[["auc", "real", "synthetic"]]
        if not parts:
            keys = part.sort_values("auc", ascending=False, kind="stable").index
        if len(part) != len(keys) or set(part.index) != set(keys):
            raise ValueError(f"table {name!r} has other summaries than {first!r}")
        parts[name], top = part.loc[keys], part.loc[part["auc"].idxmax()]
        means = f"mean {top['real']:.3g} real, {top['synthetic']:.3g} synthetic"
        many = f"{(part['auc'] > 0.75).sum()} of {len(part)} summaries above 0.75"
        told.append(f"{name} is told best by {', '.join(top.name)} (AUC {top['auc']:.2f}; {means}), {many}")
    long = pd.concat(parts, names=["source"]).reset_index()
    long["drawn"] = np.tile(np.arange(len(keys)) < most, len(tables))
    shown, names = keys[:most], []
    for key in shown:
        means = {n if len(parts) > 1 else "synthetic": part.loc[key, "synthetic"] for n, part in parts.items()}
        means = {"real": parts[first].loc[key, "real"], **means}
        names.append(f"{': '.join(key)}\n" + ", ".join(f"{name} {mean:.2g}" for name, mean in means.items()))
    figure, look = style.canvas(style.WIDTH, 0.42 * len(shown) + 1.6), style.looks(tables)
    axes = figure.subplots()
    style.bars_beside(axes, names, {name: part.loc[shown, "auc"] - 0.5 for name, part in parts.items()}, look, left=0.5)
    axes.set(xlim=(0.5, 1.0), xlabel="AUC of this summary alone: 0.5 tells nothing")
    style.legend_of(figure, look)
    return style.finish(figure, long, f"Summaries of single patients that tell synthetic from real: {'; '.join(told)}.")
