"""Models from inside: how a training went, what many of them reached, and the prototypes in a memory.

>>> history = pd.DataFrame({'step': [0, 1, 2], 'epoch': 1, 'length': 60, 'wasserstein': [0.4, 0.3, 0.2]})
>>> _, table = training_curves(history)
>>> list(table)
['curve', 'step', 'epoch', 'length', 'value', 'median']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA

from ..cohort.schema import Feature
from ..metrics import METRICS
from . import style
from .features import column, is_logarithmic, require
from .style import Drawn, picture

FLOOR = {"color": "black", "linewidth": 1.4, "linestyle": (0, (5, 2)), "zorder": 1}


@picture
def training_curves(history: pd.DataFrame) -> Drawn:
    """Each loss over the generator steps: one point a batch, shaded by its months per patient, and a running median.

    The median runs over one epoch where there are at least five, so that it does not follow the curriculum's lengths up
    and down. Axes end where 98 % of the batches lie; how many lie outside is written in the panel. Losses stand without
    their weights. ``history`` is that of :meth:`Trainer.fit`; columns that are absent or empty get no panel, nor does a
    learning rate that stays as it is. Columns of the table: ``curve, step, epoch, length, value, median``.
    """
    require(history, ["step", "epoch", "length"], "history")
    titles = style.WORDS["curves"]
    curves = [c for c in titles if c in history and history[c].notna().any()]
    curves = [c for c in curves if c != "learning_rate" or history[c].nunique() > 1]
    if not curves:
        raise ValueError(f"the history has no batch, or none of the columns {', '.join(titles)}")
    batches, epochs = len(history), history["epoch"].nunique()
    window = max(1, batches // (epochs if epochs >= 5 else 10))
    figure, all_axes = style.panels(len(curves), 3, 2.4, 0.7)
    lengths = np.sort(history["length"].unique())
    shades = dict(zip(lengths, style.SHARES(np.linspace(0.25, 0.85, len(lengths))), strict=True))  # darker the longer
    drawn, told = [], []
    for curve, axes in zip(curves, all_axes, strict=True):
        part = history[["step", "epoch", "length"]].assign(curve=curve, value=history[curve].astype(float))
        part["median"] = part["value"].rolling(window, center=True, min_periods=1).median()
        axes.scatter(part["step"], part["value"], s=14, c=[shades[length] for length in part["length"]], linewidths=0)
        style.outlined(axes, part["step"], part["median"], color="black", linewidth=1.8)
        ends = [*part["value"].quantile([0.01, 0.99]), part["median"].min(), part["median"].max()]
        margin = 0.08 * (max(ends) - min(ends)) or 0.05 * abs(max(ends)) or 1.0
        ends = min(ends) - margin, max(ends) + margin
        axes.set_ylim(ends)
        if outside := int((~part["value"].dropna().between(*ends)).sum()):
            place = {"transform": axes.transAxes, "ha": "right", "va": "top", "size": 10.5}
            axes.text(0.99, 0.97, f"{outside} outside", bbox=style.BOX, **place)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set(title=titles[curve], xlabel="generator step")
        drawn.append(part[["curve", "step", "epoch", "length", "value", "median"]])
        first, last = part["median"].dropna().iloc[[0, -1]]
        told.append(f"{curve.replace('_', ' ')} from {first:.3g} to {last:.3g}")
    shown = lengths[np.unique(np.linspace(0, len(lengths) - 1, 6).round().astype(int))]
    handles = [Line2D([], [], linestyle="", label="months per patient:")]
    handles += [Line2D([], [], linestyle="", marker="o", color=shades[n], label=f"{n:g}") for n in shown]
    handles.append(Line2D([], [], color="black", linewidth=1.8, label=f"median over {window} batches"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, handletextpad=0.3)
    time = f" in {history['seconds'].sum():,.0f} seconds" if "seconds" in history else ""
    alt = f"Training over {epochs} epochs, {batches} batches{time}; running medians: {', '.join(told)}."
    return style.finish(figure, pd.concat(drawn), alt)


@picture
def ablation(results: pd.DataFrame, floor: dict[str, float] | None = None) -> Drawn:
    """What each configuration reaches in each metric: one point a seed, a bar at their median.

    ``results`` has the columns ``configuration, seed, metric, value``, perhaps ``decode``, and ``feature`` where a
    metric has a panel each; all in the order of the rows. ``floor`` is real against real, a dashed line, by metric
    (``"ks"``) or a metric's feature (``"ks: VL"``). The table is the results with ``panel`` and ``median`` over seeds.
    """
    require(results, ["configuration", "seed", "metric", "value"], "results")
    if results.empty:
        raise ValueError("the results hold no row to draw")
    table, floor, told = results.reset_index(drop=True), floor or {}, []
    table["decode"] = table.get("decode", "")
    table["panel"] = table["metric"].astype(str)
    if "feature" in table:
        single = table["feature"].isna() | (table["feature"] == "all")
        table["panel"] = table["panel"].where(single, table["panel"] + ": " + table["feature"].astype(str))
    table["median"] = table.groupby(["configuration", "panel", "decode"])["value"].transform("median")
    rows = {name: row for row, name in enumerate(table["configuration"].unique())}
    looks = {}
    for number, decode in enumerate(table["decode"].unique()):
        look = style.SYNTHETIC[(1, 0, 2, 3, 4)[number % 5]]
        look = {"marker": look["marker"], "color": look["color"], "markersize": 6, "linestyle": ""}
        # later decodings are open, so that both show where they meet
        looks[decode] = {**look, "markerfacecolor": "none" if number else look["color"]}
    panels = table.groupby("panel", sort=False)
    figure, all_axes = style.panels(len(panels), 4, 0.26 * len(rows) + 1.2, 0.5, sharey=True)
    for axes, (name, part) in zip(all_axes, panels, strict=True):
        _ablation_panel(axes, part, rows, looks)
        if name in floor:
            axes.axvline(floor[name], **FLOOR)
        metric, _, feature = name.partition(": ")
        words = style.WORDS["metrics"].get(metric, metric.replace("_", " ")) + f"\n({feature})" * bool(feature)
        axes.set_title(words, size=12, weight="normal")
        if metric in METRICS:  # one that is best in the middle of its range says where
            best, ends = METRICS[metric].best, zip(METRICS[metric].limits, ("← better", "better →"), strict=True)
            axes.set_xlabel(dict(ends).get(best, f"best at {best:g}"), size=11)
        if not (ordered := part.dropna(subset=["value"]).sort_values("median", kind="stable")).empty:
            ends = [f"{r.median:.3g} ({f'{r.configuration} {r.decode}'.strip()})" for r in ordered.itertuples()]
            told.append(f"{name} from {ends[0]} to {ends[-1]}")
    handles = [Line2D([], [], label=decode or "one seed", **look) for decode, look in looks.items()]
    bar = {"marker": "|", "markersize": 14, "markeredgewidth": 2.5}
    handles.append(Line2D([], [], color="black", linestyle="", label="median over seeds", **bar))
    if floor:
        handles.append(Line2D([], [], label="real against real", **FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    told = told or ["none defined"]
    if undefined := int(table["value"].isna().sum()):
        told.append(f"{undefined} values undefined")
    alt = f"{len(rows)} configurations with {table['seed'].nunique()} seeds, medians: {'; '.join(told)}."
    return style.finish(figure, table, alt)


def _ablation_panel(axes: Axes, part: pd.DataFrame, rows: dict[str, int], looks: dict[str, dict]) -> None:
    for row in range(0, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F0F0F0", zorder=0, linewidth=0)
    for number, (decode, look) in enumerate(looks.items()):
        chosen = part[part["decode"] == decode]
        at = chosen["configuration"].map(rows).astype(float) + 0.34 * ((2 * number + 1) / len(looks) - 1)
        axes.vlines(chosen["median"], at - 0.2, at + 0.2, color="black", linewidth=2.5, zorder=5)
        for place in at[chosen["median"].isna()].unique():
            text = {"size": 10, "va": "center", "style": "italic", "color": style.ink(look["color"])}
            axes.annotate("undefined", (0, place), (4, 0), ("axes fraction", "data"), "offset points", **text)
        axes.plot(chosen["value"], at, zorder=4, alpha=0.85, **look)
    style.name_rows(axes, list(rows))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.08)


@picture
def prototypes(points: Any, values: Sequence[Any], name: str | Feature) -> Drawn:
    """The two main directions of prototype vectors, coloured by a feature of their patients.

    ``points`` is (n, Z) or (n, 1, Z), array or tensor; ``values`` (n,) the patients' values of the feature. ``name``
    says what they are: a :class:`Feature` gives unit and levels (``values`` hold its codes); with text, numbers of more
    than eight values are real. Columns: ``first, second, value``; ``attrs["explained"]``: shares of the variance.
    """
    points = np.asarray(points.detach().cpu() if hasattr(points, "detach") else points, dtype=float)
    points = points[:, 0] if points.ndim == 3 and points.shape[1] == 1 else points
    if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2 or len(points) != len(values):
        needs = "at least 3 points of at least 2 dimensions and a value each"
        raise ValueError(f"prototypes need {needs}, not {points.shape} and {len(values)} values")
    if not np.isfinite(points).all():
        raise ValueError("prototypes hold values that are not finite")
    values = pd.Series(np.asarray(values))
    if not isinstance(name, Feature):
        several = pd.api.types.is_numeric_dtype(values) and values.nunique() > len(style.COLOURS)
        values = values if several else values.astype(str)
        name = Feature(name, "real") if several else Feature(name, "categorical", tuple(np.unique(values)))
    value = column(pd.DataFrame({name.name: values}), name, "values")
    if len(value) < len(values):
        raise ValueError(f"{len(values) - len(value)} of the values of {name.name!r} are missing")
    pca = PCA(2, svd_solver="full").fit(points)
    shares = [float(s) for s in np.nan_to_num(pca.explained_variance_ratio_)]
    table = pd.DataFrame(pca.transform(points), columns=["first", "second"]).assign(value=value)
    figure = style.canvas(style.WIDTH, 5.0)
    axes = figure.subplots()
    if name.is_real:
        norm = (LogNorm if is_logarithmic(name, value) else Normalize)(value.min(), value.max())
        look = {"cmap": "cividis", "norm": norm, "edgecolors": "#404040", "linewidths": 0.3}
        dots = axes.scatter(table["first"], table["second"], s=26, c=value, **look)
        figure.colorbar(dots, ax=axes, label=name.label).ax.yaxis.set_major_formatter("{x:,.10g}")
        told = f"values from {value.min():,.4g} to {value.max():,.4g}, median {value.median():,.4g}"
    else:
        counts = value.value_counts()  # rare levels lie on top
        for level, look in zip(value.cat.categories, style.category_looks(len(counts)), strict=True):
            part, count = table[value == level], counts[level]
            look = {"color": look["color"], "marker": look["marker"], "edgecolors": "white", "linewidths": 0.4}
            look |= {"label": f"{level} ({count:,})" if count else f"{level} (absent)"}
            axes.scatter(part["first"], part["second"], s=26, alpha=0.85, zorder=3 - count / len(value), **look)
        figure.legend(title=name.name, loc="outside right center", markerscale=1.6)
        told = ", ".join(f"{level} {count:,}" for level, count in counts.items())
    axes.set_xlabel(f"first principal direction ({shares[0]:.0%} of variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})")
    hold = f"which hold {shares[0]:.0%} and {shares[1]:.0%} of the variance"
    alt = f"{len(table)} prototypes along their two main directions, {hold}, coloured by {name.name}: {told}."
    table.attrs["explained"] = shares
    return style.finish(figure, table, alt)
