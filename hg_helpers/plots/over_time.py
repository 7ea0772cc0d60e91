"""Cohorts over time: labs of all and of single patients, and who takes what.

>>> import hg_helpers as hg
>>> _, table = regimen_shares({'real': hg.simulate_cohort(40, months=3)}, hg.ART_DEMO)
>>> round(float(table['share'].sum()), 6)  # three months, each 1
3.0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..cohort.schema import Feature, Schema
from .features import column, discrete, is_logarithmic, level_names, named, percent, require, row_noun, with_real
from .style import (
    GREY,
    WIDTH,
    Picture,
    canvas,
    category_looks,
    finish,
    legend_columns,
    logarithmic_axis,
    looks,
    outlined,
    percent_axis,
    picture,
)

QUARTILES = {"quartile 1": 0.25, "median": 0.5, "quartile 3": 0.75}


@picture
def trajectories(
    real: pd.DataFrame,
    synthetic: pd.DataFrame | dict[str, pd.DataFrame],
    schema: Schema,
    feature: str | Sequence[str] | None = None,
    label: str = "synthetic",
    real_label: str = "real",
    patients: int = 4,
    seed: int = 0,
) -> tuple[Picture, pd.DataFrame]:
    """Median and interquartile band over the months with a few single patients, real beside synthetic.

    The real median stands in the synthetic panels too, a thin black line. Where visits are irregular, the n-th visits
    of all patients who have one are taken together.

    Args:
        real, synthetic, schema, label, real_label: as for :func:`distributions`.
        feature: a real feature, a list of them, or None for all.
        patients: number of single patients, drawn at random.
        seed: draws them.

    Returns:
        The figure, and a table with the columns ``feature, source, line, time, value``; ``line`` is ``quartile 1``,
        ``median``, ``quartile 3`` or ``patient ID``.

    Raises:
        KeyError, ValueError: naming the table and column that do not fit the schema.
    """
    tables = with_real(real, synthetic, label, real_label)
    chosen = reals_to_draw(schema, feature)
    figure = canvas(WIDTH, 2.7 * len(chosen) + 0.4)
    grid = figure.subplots(len(chosen), len(tables), sharex=True, sharey="row", squeeze=False)
    drawn = []
    for row, each in zip(grid, chosen, strict=True):
        lines = pd.concat(
            [_lines(table, schema, each, name, patients, seed) for name, table in tables.items()], ignore_index=True
        )
        for axes, (name, look) in zip(row, looks(tables).items(), strict=True):
            _path_panel(axes, lines, name, look, real_label)
        if is_logarithmic(each, [column(table, each, name) for name, table in tables.items()]):
            logarithmic_axis(row[0].yaxis, lines["value"].min() / 1.2, lines["value"].max() * 1.2)
        row[0].set_ylabel(each.label)
        drawn.append(lines.assign(feature=each.name))
    for axes, name in zip(grid[0], tables, strict=True):
        axes.set_title(name, fontweight="bold")
    for axes in grid[-1]:
        axes.set_xlabel(time_label(schema))
    figure.legend(handles=_keys(real_label), loc="outside lower center", ncols=2, handlelength=2.5)
    table = pd.concat(drawn)[["feature", "source", "line", "time", "value"]]
    return finish(figure, table, _paths_alt(table, schema))


def reals_to_draw(schema: Schema, feature: str | Sequence[str] | None) -> list[Feature]:
    chosen = (
        schema.real if feature is None else [schema[n] for n in ([feature] if isinstance(feature, str) else feature)]
    )
    discrete_ones = [f.name for f in chosen if not f.is_real]
    if discrete_ones or not chosen:
        raise ValueError(
            f"feature {discrete_ones[0]!r} has levels; regimen_shares draws it"
            if discrete_ones
            else "no real feature to draw; trajectories need at least one"
        )
    return chosen


def time_label(schema: Schema) -> str:
    return "month" if schema.regular else "visit"


def visit_of(table: pd.DataFrame, schema: Schema, name: str) -> pd.Series:
    """Month of each row; where time is irregular, the visit's rank within its patient."""
    require(table, [schema.patient, schema.time], name)
    if table[schema.time].isna().any():
        raise ValueError(f"table {name!r}: column {schema.time!r} has missing values; clean it with validate_cohort")
    if schema.regular:
        return table[schema.time]
    return table.groupby(schema.patient)[schema.time].rank(method="first").sub(1).astype(int)


def _lines(table: pd.DataFrame, schema: Schema, feature: Feature, name: str, patients: int, seed: int) -> pd.DataFrame:
    table = table.reset_index(drop=True)
    values = column(table, feature, name)
    known = pd.DataFrame({"value": values, "time": visit_of(table, schema, name), "patient": table[schema.patient]})
    known = known[known["value"].notna() & (known["time"] < schema.length)]
    bands = (
        known.groupby("time")["value"].quantile(list(QUARTILES.values())).rename_axis(["time", "line"]).reset_index()
    )
    bands["line"] = bands["line"].map({share: line for line, share in QUARTILES.items()})
    ids = np.sort(known["patient"].unique())
    some = np.random.default_rng(seed).choice(ids, min(patients, len(ids)), replace=False)
    single = known[known["patient"].isin(some)].sort_values(["patient", "time"])
    single = single.assign(line="patient " + single["patient"].astype(str))
    return pd.concat([bands, single], ignore_index=True).assign(source=name)[["source", "line", "time", "value"]]


def _path_panel(axes: Axes, lines: pd.DataFrame, name: str, look: dict, first: str) -> None:
    own = {line: part.sort_values("time") for line, part in lines[lines["source"] == name].groupby("line")}
    low, middle, high = (own.pop(line) for line in QUARTILES)
    axes.fill_between(middle["time"], low["value"], high["value"], facecolor=look["color"], alpha=0.25, linewidth=0)
    for part in own.values():
        axes.plot(part["time"], part["value"], color=look["color"], linewidth=0.9, alpha=0.9)
    if name != first:
        truth = lines[(lines["source"] == first) & (lines["line"] == "median")].sort_values("time")
        axes.plot(truth["time"], truth["value"], color="black", linewidth=1.6, zorder=3)
    outlined(axes, middle["time"], middle["value"], color=look["color"], linewidth=3.2, linestyle=look["linestyle"])


def _keys(first: str) -> list[Artist]:
    return [
        Line2D([], [], color=GREY, linewidth=3.2, label="median"),
        Patch(facecolor=GREY, alpha=0.35, label="middle half of patients"),
        Line2D([], [], color=GREY, linewidth=0.9, label="single patients"),
        Line2D([], [], color="black", linewidth=1.6, label=f"median of {first}"),
    ]


def _paths_alt(table: pd.DataFrame, schema: Schema) -> str:
    middle = table[table["line"] == "median"].sort_values("time", kind="stable")
    told = []
    for (feature, source), part in middle.groupby(["feature", "source"], sort=False):
        first, last = part["value"].iloc[[0, -1]]
        told.append(f"{feature} {source} from {first:,.4g} to {last:,.4g} {schema[feature].unit}".rstrip())
    end = int(table["time"].max()) + 1
    return f"Median over {end} {row_noun(schema)} with interquartile band and single patients: {'; '.join(told)}."


@picture
def regimen_shares(
    tables: pd.DataFrame | dict[str, pd.DataFrame], schema: Schema, feature: str | None = None
) -> tuple[Picture, pd.DataFrame]:
    """Shares of a feature's levels over the months, stacked to 100 %, one panel a table.

    Args:
        tables: one table or ``{name: table}``.
        schema: names the levels; their order is that of the stack.
        feature: a discrete feature; None takes the first of the schema's regimen.

    Returns:
        The figure, and a table with the columns ``source, time, level, share``, absent levels with share 0.

    Raises:
        KeyError, ValueError: naming the table and column that do not fit the schema, or a feature without levels.
    """
    tables = named(tables, "cohort")
    if feature is None and not schema.regimen:
        raise ValueError("the schema has no feature with role 'regimen'; name a feature to draw")
    chosen = discrete(schema, schema.regimen[0].name if feature is None else feature)
    levels = level_names(chosen)
    figure = canvas(WIDTH, 4.2)
    panels, drawn = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0], {}
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        table = table.reset_index(drop=True)
        values, time = column(table, chosen, name), visit_of(table, schema, name)
        shares = pd.crosstab(time[values.index], values, normalize="index").reindex(columns=levels, fill_value=0.0)
        drawn[name] = shares[shares.index < schema.length].rename_axis(index="time", columns="level")
        _stack(axes, drawn[name])
        axes.set_title(name, fontweight="bold")
        axes.set_xlabel(time_label(schema))
    percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("share of patients")
    handles = [
        Patch(facecolor=look["color"], hatch=look["hatch"], edgecolor="white", label=level)
        for level, look in zip(levels, category_looks(len(levels)), strict=True)
    ]
    ncols = legend_columns(levels)
    figure.legend(handles=handles, title=chosen.name, loc="outside lower center", ncols=ncols, handlelength=2.2)
    table = pd.concat({n: s.stack() for n, s in drawn.items()}, names=["source"]).rename("share").reset_index()
    return finish(figure, table, _regimen_alt(drawn, chosen, schema))


def _stack(axes: Axes, shares: pd.DataFrame) -> None:
    layers = axes.stackplot(shares.index, shares.to_numpy().T, edgecolor="white", linewidth=0.4)
    for layer, look in zip(layers, category_looks(len(layers)), strict=True):
        layer.set(facecolor=look["color"], hatch=look["hatch"])
    absent = list(shares.columns[shares.max() == 0])
    if absent:
        words = "\n".join(["absent:", *absent] if len(absent) < 9 else [f"{len(absent)} levels absent"])
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 3}
        axes.text(0.5, 0.03, words, transform=axes.transAxes, ha="center", style="italic", size=11, bbox=box)
    axes.set(ylim=(0, 1), xlim=(shares.index.min(), max(shares.index.max(), shares.index.min() + 1)))


def _regimen_alt(drawn: dict[str, pd.DataFrame], feature: Feature, schema: Schema) -> str:
    told = []
    for name, shares in drawn.items():
        top, there = shares.mean().idxmax(), int((shares.max() > 0).sum())
        first, last = percent(shares[top].iloc[0]), percent(shares[top].iloc[-1])
        told.append(f"{name} shows {there} of {shares.shape[1]} levels, most often {top}, from {first} to {last}")
    return f"Shares of {feature.name} over {max(map(len, drawn.values()))} {row_noun(schema)}: {'; '.join(told)}."
