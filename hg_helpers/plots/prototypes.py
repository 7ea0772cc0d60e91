"""Models from inside: their prototypes, and what an ablation found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from sklearn.decomposition import PCA

from ..cohort.schema import Feature
from .features import column, is_logarithmic, require
from .style import CATEGORIES, SYNTHETIC, Picture, canvas, category_looks, finish, picture

FLOOR = {"color": "black", "linewidth": 1.4, "linestyle": (0, (5, 2)), "zorder": 1}


@picture
def prototypes(points: Any, values: Sequence[Any], name: str | Feature) -> tuple[Picture, pd.DataFrame]:
    """The two main directions of prototype vectors, coloured by a feature of their patients.

    Args:
        points: (n, Z) or (n, 1, Z), array or tensor: one prototype a patient.
        values: (n,) the patients' values of the feature: numbers, or categories.
        name: what the values are; a :class:`Feature` gives unit, order and names of levels (``values`` then hold its
            codes), and without one, numbers with more than eight different values count as real.

    Returns:
        The figure, and a table with the columns ``first, second, value``; ``attrs["explained"]`` holds the two
        directions' shares of the variance.

    Raises:
        ValueError: for shapes that do not fit, fewer than three points, or values that the feature does not list.
    """
    points = np.asarray(points.detach().cpu() if hasattr(points, "detach") else points, dtype=float)
    points = points[:, 0] if points.ndim == 3 and points.shape[1] == 1 else points
    if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2 or len(points) != len(values):
        raise ValueError(
            f"prototypes need at least 3 points of at least 2 dimensions and a value each, not {points.shape} and "
            f"{len(values)} values"
        )
    if not np.isfinite(points).all():
        raise ValueError("prototypes hold values that are not finite")
    pca = PCA(2, svd_solver="full").fit(points)
    shares = [float(s) for s in np.nan_to_num(pca.explained_variance_ratio_)]
    table = pd.DataFrame(pca.transform(points), columns=["first", "second"]).assign(value=_values(values, name))
    figure = canvas(8.6, 5.4)
    axes = figure.subplots()
    if isinstance(table["value"].dtype, pd.CategoricalDtype):
        told = _colour_levels(axes, table)
        figure.legend(title=_plain(name), loc="outside right center", markerscale=1.6)
    else:
        dots, told = _colour_numbers(axes, table, name)
        bar = figure.colorbar(dots, ax=axes, label=name.label if isinstance(name, Feature) else name)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel(f"first principal direction ({shares[0]:.0%} of variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})")
    alt = (
        f"{len(table)} prototypes along their two main directions, which hold {shares[0]:.0%} and {shares[1]:.0%} of "
        f"the variance, coloured by {_plain(name)}: {told}."
    )
    figure, table = finish(figure, table, alt)
    table.attrs["explained"] = shares
    return figure, table


def _plain(name: str | Feature) -> str:
    return name.name if isinstance(name, Feature) else name


def _values(values: Sequence[Any], name: str | Feature) -> pd.Series:
    """The values as floats or as an ordered categorical of level names."""
    values = pd.Series(np.asarray(values))
    if isinstance(name, Feature):
        known = column(pd.DataFrame({name.name: values}), name, "values")
        if len(known) < len(values):
            raise ValueError(f"{len(values) - len(known)} of the values of {name.name!r} are missing")
        return known
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > len(CATEGORIES):
        return values.astype(float)
    return values.astype(str).astype("category")


def _colour_levels(axes: Axes, table: pd.DataFrame) -> str:
    """One colour and marker a level, rare levels on top; absent ones stay in the legend."""
    counts = table["value"].value_counts()
    for (level, look), rank in zip(
        zip(counts.index.categories, category_looks(len(counts)), strict=True),
        counts.reindex(counts.index.categories).rank(ascending=False),
        strict=True,
    ):
        part = table[table["value"] == level]
        text = f"{level} ({len(part):,})" if len(part) else f"{level} (absent)"
        axes.scatter(
            part["first"],
            part["second"],
            s=26,
            color=look["color"],
            marker=look["marker"],
            edgecolors="white",
            linewidths=0.4,
            alpha=0.85,
            zorder=2 + rank,
            label=text,
        )
    return ", ".join(f"{level} {count:,}" for level, count in counts.items())


def _colour_numbers(axes: Axes, table: pd.DataFrame, name: str | Feature) -> tuple[Any, str]:
    numbers = table["value"]
    feature = name if isinstance(name, Feature) else Feature(name, "real")
    norm = (LogNorm if is_logarithmic(feature, [numbers]) else Normalize)(numbers.min(), numbers.max())
    dots = axes.scatter(
        table["first"],
        table["second"],
        s=26,
        c=numbers,
        cmap="cividis",
        norm=norm,
        edgecolors="#404040",
        linewidths=0.3,
    )
    return dots, f"values from {numbers.min():,.4g} to {numbers.max():,.4g}, median {numbers.median():,.4g}"


@picture
def ablation(results: pd.DataFrame, floor: dict[str, float] | None = None) -> tuple[Picture, pd.DataFrame]:
    """What each configuration reaches in each metric: one point a seed, a bar at their median.

    Args:
        results: columns ``configuration, seed, metric, value``; ``decode`` where both decodings were tried; where a
            metric stands for several features, ``feature``, which then has a panel each. All stand in the order in
            which they first appear.
        floor: value of real against real patients, a dashed line, for metrics (``"ks"``) or a metric's feature
            (``"ks: VL"``).

    Returns:
        The figure, and the results with the columns ``panel`` and ``median`` (over the seeds).

    Raises:
        KeyError, ValueError: for a column that is missing, or no row.
    """
    require(results, ["configuration", "seed", "metric", "value"], "results")
    if results.empty:
        raise ValueError("the results hold no row to draw")
    table = _with_panels(results)
    configurations, decodings, names = (list(table[c].unique()) for c in ("configuration", "decode", "panel"))
    down = math.ceil(len(names) / 4)
    across = math.ceil(len(names) / down)
    side = 0.09 * max(len(str(c)) for c in configurations) + 0.3
    figure = canvas(max(2.7 * across + side, 7.0), down * (0.42 * len(configurations) + 0.9) + 0.5)
    panels = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        _ablation_panel(axes, table[table["panel"] == name], configurations, decodings)
        if floor and name in floor:
            axes.axvline(floor[name], **FLOOR)
        axes.set_title(name.replace(": ", "\n"))
    for axes in panels[len(names) :]:
        axes.remove()
    panels[0].set_ylim(len(configurations) - 0.5, -0.5)
    handles = [Line2D([], [], linestyle="", label=d or "one seed", **_seed_look(i)) for i, d in enumerate(decodings)]
    bar = {"marker": "|", "markersize": 14, "markeredgewidth": 2.5}
    handles.append(Line2D([], [], color="black", linestyle="", label="median over seeds", **bar))
    if floor:
        handles.append(Line2D([], [], label="real against real", **FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return finish(figure, table, _ablation_alt(table))


def _with_panels(results: pd.DataFrame) -> pd.DataFrame:
    """The results with the panel of each row, and the median over the seeds of its configuration."""
    table = results.reset_index(drop=True)
    if "decode" not in table:
        table["decode"] = ""
    table["panel"] = table["metric"].astype(str)
    if "feature" in table:
        single = table["feature"].isna() | (table["feature"] == "all")
        table["panel"] = table["panel"].where(single, table["panel"] + ": " + table["feature"].astype(str))
    table["median"] = table.groupby(["configuration", "panel", "decode"])["value"].transform("median")
    return table


def _seed_look(number: int) -> dict:
    look = SYNTHETIC[(1, 0, 2, 3, 4)[number % 5]]
    filling = "none" if number else look["color"]  # later decodings are open, so that both show where they meet
    return {"marker": look["marker"], "color": look["color"], "markersize": 7, "markerfacecolor": filling}


def _ablation_panel(axes: Axes, part: pd.DataFrame, configurations: list, decodings: list) -> None:
    for row in range(0, len(configurations), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F0F0F0", zorder=0, linewidth=0)
    for number, decode in enumerate(decodings):
        chosen = part[part["decode"] == decode]
        at = chosen["configuration"].map(configurations.index) + 0.34 * ((number + 0.5) / len(decodings) - 0.5) * 2
        axes.vlines(chosen["median"], at - 0.2, at + 0.2, color="black", linewidth=2.5, zorder=5)
        for place in at[chosen["median"].isna()].unique():
            text = {"size": 10, "va": "center", "style": "italic", "color": _seed_look(number)["color"]}
            axes.annotate("undefined", (0, place), (4, 0), ("axes fraction", "data"), "offset points", **text)
        axes.plot(chosen["value"], at, linestyle="", zorder=4, alpha=0.85, **_seed_look(number))
    axes.set_yticks(range(len(configurations)), [str(c) for c in configurations])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.08)


def _ablation_alt(table: pd.DataFrame) -> str:
    told = []
    for name, part in table.dropna(subset=["value"]).groupby("panel", sort=False):
        low, high = part.loc[part["median"].idxmin()], part.loc[part["median"].idxmax()]
        who = [" ".join([str(r["configuration"]), str(r["decode"])]).strip() for r in (low, high)]
        told.append(f"{name} from {low['median']:.3g} ({who[0]}) to {high['median']:.3g} ({who[1]})")
    undefined = int(table["value"].isna().sum())
    return (
        f"{table['configuration'].nunique()} configurations with {table['seed'].nunique()} seeds, medians: "
        f"{'; '.join(told) or 'none defined'}" + (f"; {undefined} values undefined." if undefined else ".")
    )
