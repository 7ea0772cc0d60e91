"""Who is there and who is missing: joint shares of several features, and the coverage of groups."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from ..cohort.schema import Feature, Schema
from .features import column, discrete, level_names, named, percent, require, row_noun
from .style import (
    REAL,
    SHARES,
    Picture,
    bar_text,
    canvas,
    finish,
    heat,
    legend_of,
    looks,
    percent_axis,
    picture,
    root_ticks,
)

MOST_COLUMNS = 16
COVERAGE = ["real share", "synthetic share", "covered"]
WIDE_BAR = "#C4C4C4"
WIDEST = 14.0  # inches


@picture
def joint_shares(
    tables: dict[str, pd.DataFrame], schema: Schema, features: Sequence[str] = ("Gender", "Ethnic")
) -> tuple[Picture, pd.DataFrame]:
    """Heat maps of joint shares of two or more features, one a table, on one colour scale, the shares written in.

    The feature with most levels makes the rows, all combinations of the others the columns, in the schema's order. A
    group that has nobody is shown as absent. The colour grows with the square root of the share, so that rare groups
    can be seen.

    Args:
        tables: ``{name: table}``; the others are compared with the first, which should be the real cohort.
        schema: names the levels.
        features: two or more discrete features.

    Returns:
        The figure, and a table with the columns ``source``, one a feature (level names), and ``share`` (of months).

    Raises:
        KeyError, ValueError: for fewer than two features, a real one, more than 16 columns, or a table that does not
            fit the schema.
    """
    tables, features = named(tables), list(features)
    if len(features) < 2 or len(set(features)) < len(features):
        raise ValueError(f"joint shares need two or more different features, not {features}")
    chosen = [discrete(schema, name) for name in features]
    longest = max(chosen, key=lambda f: len(f.levels))
    chosen = [longest, *(f for f in chosen if f is not longest)]
    across = math.prod(len(f.levels) for f in chosen[1:])
    if across > MOST_COLUMNS:
        raise ValueError(
            f"{features} make {across} columns, more than {MOST_COLUMNS} cannot be read; choose fewer features"
        )
    shares = {name: _joint(table, [schema[f] for f in features], name) for name, table in tables.items()}
    grids = {name: _grid(share, chosen) for name, share in shares.items()}
    first = next(iter(tables))
    told = {name: _summary(share, None if name == first else shares[first]) for name, share in shares.items()}
    figure, panels = _panels(grids)
    norm = PowerNorm(0.5, 0.0, max(share.max() for share in shares.values()))
    for (name, grid), axes in zip(grids.items(), panels, strict=True):
        image = heat(axes, grid.replace(0.0, np.nan), norm, SHARES, percent, size=15, empty="absent")
        axes.set_title(name, loc="left", fontweight="bold", size=17, pad=42)
        axes.annotate(
            "\n".join([*told[name], ""][:2]), (0, 1), (0, 6), "axes fraction", "offset points", va="bottom", size=13
        )
        axes.set_xlabel(" × ".join(f.name for f in chosen[1:]), size=14)
        axes.set_ylabel(chosen[0].name, size=14)
        axes.label_outer()
    width, height = figure.get_size_inches()
    bar = figure.colorbar(image, ax=panels, location="bottom", aspect=width / 0.25, pad=0.12 / height)
    bar.set_label(f"share of {row_noun(schema)} (colour grows with its square root)")
    bar.set_ticks(root_ticks(norm.vmax))
    percent_axis(bar.ax.xaxis)
    table = pd.concat(shares, names=["source"]).rename("share").reset_index()
    alt = "; ".join(f"{name} has {', '.join(lines)}, most in {_largest(shares[name])}" for name, lines in told.items())
    return finish(figure, table, f"Joint shares of {' and '.join(features)} over {row_noun(schema)}: {alt}.", 13)


def _joint(table: pd.DataFrame, chosen: list[Feature], name: str) -> pd.Series:
    """Share of each combination of levels among the months in which all features are known."""
    table = table.reset_index(drop=True)
    values = pd.concat({f.name: column(table, f, name).cat.codes for f in chosen}, axis=1, join="inner")
    if values.empty:
        raise ValueError(f"table {name!r} has no row in which all of {list(values)} are known")
    every = pd.MultiIndex.from_product([level_names(f) for f in chosen], names=list(values))
    flat = np.ravel_multi_index(tuple(values.to_numpy().T), every.levshape)
    return pd.Series(np.bincount(flat, minlength=len(every)) / len(flat), every)


def _grid(shares: pd.Series, chosen: list[Feature]) -> pd.DataFrame:
    """Levels of the first of the chosen features by combinations of the others."""
    rows, *rest = [level_names(f) for f in chosen]
    every = pd.MultiIndex.from_product([rows, *rest])
    ordered = shares.reorder_levels([f.name for f in chosen]).reindex(every).to_numpy()
    across = ["\n".join(names) for names in pd.MultiIndex.from_product(rest)]
    return pd.DataFrame(ordered.reshape(len(rows), -1), rows, across)


def _summary(shares: pd.Series, reference: pd.Series | None) -> list[str]:
    lines = [f"{int((shares > 0).sum())} of {len(shares)} groups"]
    return lines if reference is None else [*lines, f"total variation {(shares - reference).abs().sum() / 2:.2f}"]


def _largest(shares: pd.Series) -> str:
    return f"{' '.join(shares.idxmax())} ({percent(shares.max())})"


def _panels(grids: dict[str, pd.DataFrame]) -> tuple[Picture, list[Axes]]:
    """One panel a table, side by side as far as a page is wide."""
    grid = next(iter(grids.values()))
    rows, across = grid.shape
    longest = max(len(line) for names in grid.columns for line in names.split("\n"))
    wide = max(0.3 + across * max(0.95, 0.1 * longest + 0.2), 2.6)
    tall = 1.55 + 0.8 * rows + 0.2 * grid.columns[0].count("\n")
    side = 0.7 + 0.1 * max(map(len, grid.index))
    down = math.ceil(len(grids) / max(1, int((WIDEST - side) // wide)))
    beside = math.ceil(len(grids) / down)
    figure = canvas(side + beside * wide, 0.9 + down * tall)
    panels = list(figure.subplots(down, beside, squeeze=False).flat)
    for axes in panels[len(grids) :]:
        axes.remove()
    return figure, panels[: len(grids)]


@picture
def coverage_bars(
    tables: pd.DataFrame | dict[str, pd.DataFrame], label: str = "synthetic", most: int = 30
) -> tuple[Picture, pd.DataFrame]:
    """The share of each group of patients, real and synthetic, largest first, and which groups are not covered.

    Bars start at 0 and grow with the square root of the share, so that rare groups can be seen beside common ones. A
    group that is not covered is marked ``absent``, or ``too few`` where somebody is there, but fewer than ``coverage``
    was asked to count (by default a quarter of the real share).

    Args:
        tables: from :func:`hg_helpers.metrics.diversity.coverage`: columns of levels, ``real share``, ``synthetic
            share``, ``covered``; one table, or ``{name: table}`` of several models against the same real cohort.
        label: name of a single table.
        most: groups that are drawn; the others stand in the returned table.

    Returns:
        The figure, and a table with the columns of levels, ``group, source, share, covered, drawn``.

    Raises:
        KeyError, ValueError: for a table without these columns, or of other groups than the first.
    """
    tables = named(tables, label)
    long = _long_coverage(tables, most)
    if long.empty:
        raise ValueError("the coverage table has no group to draw")
    drawn = long[long["drawn"]].set_index(["source", "group"])
    groups, look = drawn.loc["real"].index, looks(["real", *tables])
    tall, wide = len(groups) * (0.12 + 0.17 * max(len(tables), 1.3)) + 1.0, 0.085 * max(map(len, groups)) + 6.0
    figure = canvas(wide, tall + 0.45)
    head, body = figure.subfigures(2, 1, height_ratios=[0.45, tall])
    legend_of(head, {"real": {**REAL, "color": WIDE_BAR}, **{n: look[n] for n in tables}})
    axes = body.subplots()
    axes.barh(groups, drawn.loc["real", "share"], 0.88, color=WIDE_BAR)
    for number, name in enumerate(tables):
        thickness = 0.72 / len(tables)
        at = np.arange(len(groups)) + (number - (len(tables) - 1) / 2) * thickness
        _thin_bars(axes, at, thickness, drawn.loc[name], drawn.loc["real", "share"], look[name])
    reach = float(drawn["share"].max())
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.clip(x, 0, None)), np.square))
    axes.set_xlim(0, (np.sqrt(reach) * 1.12) ** 2)
    axes.set_xticks(root_ticks(reach))
    percent_axis(axes.xaxis)
    hidden = len(long) // (len(tables) + 1) - len(groups)
    note = f"\nthe {hidden} smallest groups are not drawn" if hidden else ""
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel=f"share (the axis grows with its square root){note}")
    axes.tick_params(axis="y", length=0)
    names = " · ".join(c for c in long.columns if c not in ("group", "source", "share", "covered", "drawn"))
    axes.annotate(names, (0, 1), (-6, 2), "axes fraction", "offset points", ha="right", va="bottom", style="italic")
    return finish(figure, long, _coverage_alt(long, list(tables)))


def _long_coverage(tables: dict[str, pd.DataFrame], most: int) -> pd.DataFrame:
    """All groups of the real cohort, largest first, then of each model in the same order."""
    name, first = next(iter(tables.items()))
    require(first, COVERAGE, name)
    levels = [c for c in first.columns if c not in COVERAGE]
    order = first.sort_values("real share", ascending=False, kind="stable")[[*levels, "real share"]]
    # numeric levels such as (0, 0.5, 1) come as floats; they read 0, 0.5, 1
    names = order[levels].map(lambda level: f"{level:g}" if isinstance(level, float) else str(level))
    group = names.agg(" · ".join, axis=1)
    base = order[levels].assign(group=group, drawn=np.arange(len(group)) < most)
    parts = [base.assign(source="real", share=order["real share"], covered=pd.array([None] * len(base), "boolean"))]
    for name, table in tables.items():
        require(table, [*levels, *COVERAGE], name)
        same = order.merge(table, how="left", on=levels, suffixes=("", " here"), validate="one_to_one")
        if len(table) != len(order) or not np.allclose(same["real share"], same["real share here"]):
            raise ValueError(f"table {name!r} has other groups or other real shares than {next(iter(tables))!r}")
        found = {"share": same["synthetic share"].to_numpy(), "covered": same["covered"].astype("boolean").to_numpy()}
        parts.append(base.assign(source=name, **found))
    return pd.concat(parts, ignore_index=True)[[*levels, "group", "source", "share", "covered", "drawn"]]


def _thin_bars(axes: Axes, at: np.ndarray, thickness: float, part: pd.DataFrame, real: pd.Series, look: dict) -> None:
    axes.barh(at, part["share"], thickness, color=look["color"], hatch=look["hatch"], edgecolor="white", linewidth=0.5)
    ends = np.maximum(part["share"], real)
    for place, end, share, covered in zip(at, ends, part["share"], part["covered"], strict=True):
        if not covered:
            bar_text(axes, end, place, look["color"], "absent" if share == 0 else "too few")


def _coverage_alt(long: pd.DataFrame, names: list[str]) -> str:
    real = long[long["source"] == "real"]
    told = []
    for name in names:
        part = long[long["source"] == name]
        lacks = part.loc[~part["covered"].astype(bool), "group"]
        largest = ""
        if len(lacks):
            share = real.loc[real["group"] == lacks.iloc[0], "share"].iloc[0]
            largest = f", the largest uncovered one {lacks.iloc[0]} ({percent(share)} of the real cohort)"
        told.append(f"{name} covers {len(part) - len(lacks)} of {len(part)} groups{largest}")
    return f"Shares of groups, real and synthetic: {'; '.join(told)}."
