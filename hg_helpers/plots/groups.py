"""Who is there and who is missing: joint shares of several features, and the coverage of groups.

>>> import hg_helpers as hg
>>> _, table = joint_shares({'real': hg.simulate_cohort(200, months=2)}, hg.ART_DEMO)
>>> len(table), list(table)
(8, ['source', 'Gender', 'Ethnic', 'share'])
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from ..cohort.schema import Feature, Schema
from ..metrics.metric import apart
from .features import column, discrete, level_names, named, percent, require, row_noun
from .style import (
    SHARES,
    WIDTH,
    Picture,
    canvas,
    finish,
    heat,
    ink,
    legend_columns,
    looks,
    percent_axis,
    picture,
    root_ticks,
)

MOST_COLUMNS = 16
COVERAGE = ["real share", "synthetic share", "covered"]
LONG = ["group", "source", "share", "covered", "drawn"]
WIDE_BAR = "#C4C4C4"


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
        image = heat(axes, grid.replace(0.0, np.nan), norm, SHARES, percent, size=12, empty="absent")
        axes.set_title(name, loc="left", fontweight="bold", pad=36)
        axes.annotate(
            "\n".join([*told[name], ""][:2]), (0, 1), (0, 6), "axes fraction", "offset points", va="bottom", size=11
        )
        axes.set_xlabel(" × ".join(f.name for f in chosen[1:]))
        axes.set_ylabel(chosen[0].name)
        axes.label_outer()
    width, height = figure.get_size_inches()
    bar = figure.colorbar(image, ax=panels, location="bottom", aspect=width / 0.25, pad=0.12 / height)
    bar.set_label(f"share of {row_noun(schema)} (colour grows with its square root)")
    bar.set_ticks(root_ticks(norm.vmax))
    percent_axis(bar.ax.xaxis)
    table = pd.concat(shares, names=["source"]).rename("share")
    table = table.rename_axis(index=["source", *apart(table.index.names[1:], ["source", "share"])]).reset_index()
    alt = "; ".join(f"{name} has {', '.join(lines)}, most in {_largest(shares[name])}" for name, lines in told.items())
    return finish(figure, table, f"Joint shares of {' and '.join(features)} over {row_noun(schema)}: {alt}.")


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
    wide = max(0.2 + across * max(0.8, 0.08 * longest + 0.15), 1.8)
    tall = 1.4 + 0.6 * rows + 0.2 * grid.columns[0].count("\n")
    side = 0.5 + 0.085 * max(map(len, grid.index))
    down = math.ceil(len(grids) / max(1, int((WIDTH - side) // wide)))
    beside = math.ceil(len(grids) / down)
    figure = canvas(WIDTH, 0.9 + down * tall)
    panels = list(figure.subplots(down, beside, squeeze=False).flat)
    for axes in panels[len(grids) :]:
        axes.remove()
    return figure, panels[: len(grids)]


@picture
def coverage_bars(
    tables: pd.DataFrame | dict[str, pd.DataFrame],
    label: str = "synthetic",
    most: int = 40,
    real_label: str = "real",
) -> tuple[Picture, pd.DataFrame]:
    """The share of each group of patients: real as bars, largest first, synthetic as marks, and who is not covered.

    The axis starts at 0 and grows with the square root of the share, so that rare groups can be seen beside common
    ones. Beside a group that is not covered stands ``absent``, or ``too few`` where somebody is there, but fewer than
    ``coverage`` was asked to count (by default a quarter of the real share), in a column for each table.

    Args:
        tables: from :func:`hg_helpers.metrics.coverage`: columns of levels, ``real share``, ``synthetic share``,
            ``covered``; one table, or ``{name: table}`` of several models against the same real cohort.
        label, real_label: names of a single table and of the real cohort.
        most: groups that are drawn; the others stand in the returned table.

    Returns:
        The figure, and a table with the columns of levels, ``group, source, share, covered, drawn``.

    Raises:
        KeyError, ValueError: for a table without these columns, or of other groups than the first.
    """
    tables = named(tables, label)
    long = _long_coverage(tables, most, real_label)
    if long.empty:
        raise ValueError("the coverage table has no group to draw")
    drawn = long[long["drawn"]].set_index(["source", "group"])
    groups, look = drawn.loc[real_label].index, looks(tables)
    figure = canvas(WIDTH, 0.22 * len(groups) + 1.6)
    room = WIDTH - 0.075 * max(map(len, groups)) - 0.5  # beside the names
    axes, strip = figure.subplots(1, 2, sharey=True, width_ratios=[room - 0.62 * len(tables), 0.62 * len(tables)])
    handles: list = [axes.barh(groups, drawn.loc[real_label, "share"], 0.8, color=WIDE_BAR, label=real_label)]
    reach, rows = float(drawn["share"].max()), np.arange(len(groups))
    for number, name in enumerate(tables):
        part = drawn.loc[name]
        mark = {k: look[name][k] for k in ("color", "marker")} | {"linestyle": "", "markersize": 8}
        at = rows + 0.5 * ((number + 0.5) / len(tables) - 0.5)
        (marks,) = axes.plot(part["share"], at, markeredgecolor="white", label=name, **mark)
        handles.append(marks)
        strip.plot([number], [-1.1], clip_on=False, **mark)
        for row in rows[~part["covered"].astype(bool)]:
            words = "absent" if part["share"].iloc[row] == 0 else "too few"
            text = {"ha": "center", "va": "center", "size": 10, "style": "italic", "color": ink(look[name]["color"])}
            strip.text(number, row, words, **text)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.clip(x, 0, None)), np.square))
    axes.set_xlim(0, (np.sqrt(reach) * 1.05) ** 2)
    axes.set_xticks(root_ticks(reach, 0.17))
    percent_axis(axes.xaxis)
    strip.set_xlim(-0.5, len(tables) - 0.5)
    strip.set_axis_off()
    hidden = len(long) // (len(tables) + 1) - len(groups)
    note = f"\nthe {hidden} smallest groups are not drawn" if hidden else ""
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel=f"share (the axis grows with its square root){note}")
    axes.tick_params(axis="y", length=0)
    names = " · ".join(c for c in long.columns if c not in LONG)
    axes.annotate(names, (0, 1), (-6, 2), "axes fraction", "offset points", ha="right", va="bottom", style="italic")
    figure.legend(handles=handles, loc="outside upper center", ncols=legend_columns([real_label, *tables]))
    return finish(figure, long, _coverage_alt(long, real_label, *tables), 10.5)


def _long_coverage(tables: dict[str, pd.DataFrame], most: int, real_label: str) -> pd.DataFrame:
    """All groups of the real cohort, largest first, then of each model in the same order."""
    name, first = next(iter(tables.items()))
    require(first, COVERAGE, name)
    levels = [c for c in first.columns if c not in COVERAGE]
    order = first.sort_values("real share", ascending=False, kind="stable")[[*levels, "real share"]]
    # numeric levels such as (0, 0.5, 1) come as floats; they read 0, 0.5, 1
    names = order[levels].map(lambda level: f"{level:g}" if isinstance(level, float) else str(level))
    group = names.agg(" · ".join, axis=1)
    own = dict(zip(levels, apart(levels, LONG), strict=True))
    base = order[levels].rename(columns=own).assign(group=group, drawn=np.arange(len(group)) < most)
    nobody = pd.array([None] * len(base), "boolean")
    parts = [base.assign(source=real_label, share=order["real share"], covered=nobody)]
    for name, table in tables.items():
        require(table, [*levels, *COVERAGE], name)
        same = order.merge(table, how="left", on=levels, suffixes=("", " here"), validate="one_to_one")
        if len(table) != len(order) or not np.allclose(same["real share"], same["real share here"]):
            raise ValueError(f"table {name!r} has other groups or other real shares than {next(iter(tables))!r}")
        found = {"share": same["synthetic share"].to_numpy(), "covered": same["covered"].astype("boolean").to_numpy()}
        parts.append(base.assign(source=name, **found))
    return pd.concat(parts, ignore_index=True)[[*own.values(), *LONG]]


def _coverage_alt(long: pd.DataFrame, first: str, *names: str) -> str:
    real = long[long["source"] == first]
    told = []
    for name in names:
        part = long[long["source"] == name]
        lacks = part.loc[~part["covered"].astype(bool), "group"]
        largest = ""
        if len(lacks):
            share = real.loc[real["group"] == lacks.iloc[0], "share"].iloc[0]
            largest = f", the largest uncovered one {lacks.iloc[0]} ({percent(share)} of {first})"
        told.append(f"{name} covers {len(part) - len(lacks)} of {len(part)} groups{largest}")
    return f"Shares of groups: {'; '.join(told)}."
