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
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..cohort.schema import Feature, Schema
from . import style
from .features import column, discrete, is_logarithmic, level_names, named, percent, require, row_noun, with_real
from .style import Drawn, Tables, picture

QUARTILES = {0.25: "quartile 1", 0.5: "median", 0.75: "quartile 3"}


@picture
def trajectories(
    real: pd.DataFrame,
    synthetic: Tables,
    schema: Schema,
    feature: str | Sequence[str] | None = None,
    label: str = "synthetic",
    real_label: str = "real",
    patients: int = 4,
    seed: int = 0,
) -> Drawn:
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
    """
    tables = with_real(real, synthetic, label, real_label)
    chosen = reals_to_draw(schema, feature)
    figure = style.canvas(style.WIDTH, 2.7 * len(chosen) + 0.4)
    grid = figure.subplots(len(chosen), len(tables), sharex=True, sharey="row", squeeze=False)
    drawn = []
    for row, each in zip(grid, chosen, strict=True):
        parts = [_lines(table, schema, each, name, patients, seed) for name, table in tables.items()]
        lines = pd.concat(parts, ignore_index=True)
        for axes, (name, look) in zip(row, style.looks(tables).items(), strict=True):
            _path_panel(axes, lines, name, look, real_label)
        if is_logarithmic(each, [column(table, each, name) for name, table in tables.items()]):
            style.logarithmic_axis(row[0].yaxis, lines["value"].min() / 1.2, lines["value"].max() * 1.2)
        row[0].set_ylabel(each.label)
        drawn.append(lines.assign(feature=each.name))
    for top, bottom, name in zip(grid[0], grid[-1], tables, strict=True):
        top.set_title(name, fontweight="bold")
        bottom.set_xlabel(row_noun(schema)[:-1])
    keys = [
        Line2D([], [], color=style.GREY, linewidth=3.2, label="median"),
        Patch(facecolor=style.GREY, alpha=0.35, label="middle half of patients"),
        Line2D([], [], color=style.GREY, linewidth=0.9, label="single patients"),
        Line2D([], [], color="black", linewidth=1.6, label=f"median of {real_label}"),
    ]
    if not patients:
        del keys[2]
    figure.legend(handles=keys, loc="outside lower center", ncols=2, handlelength=2.5)
    table = pd.concat(drawn)[["feature", "source", "line", "time", "value"]]
    middle, told = table[table["line"] == "median"], []
    for (name, source), part in middle.groupby(["feature", "source"], sort=False):
        first, last = part["value"].iloc[[0, -1]]
        told.append(f"{name} {source} from {first:,.4g} to {last:,.4g} {schema[name].unit}".rstrip())
    single = " and single patients" if patients else ""
    span = f"{int(table['time'].max()) + 1} {row_noun(schema)}"
    return style.finish(figure, table, f"Median over {span} with interquartile band{single}: {'; '.join(told)}.")


def reals_to_draw(schema: Schema, feature: str | Sequence[str] | None) -> list[Feature]:
    """The real features asked for, or all."""
    names = [feature] if isinstance(feature, str) else feature
    chosen = schema.real if names is None else [schema[name] for name in names]
    for each in chosen:
        if not each.is_real:
            raise ValueError(f"feature {each.name!r} has levels; regimen_shares draws it")
    if not chosen:
        raise ValueError("no real feature to draw; trajectories need at least one")
    return list(chosen)


def visit_of(table: pd.DataFrame, schema: Schema, name: str) -> pd.Series:
    """Month of each row; where time is irregular, the visit's rank within its patient."""
    require(table, [schema.patient, schema.time], name)
    if table[schema.time].isna().any():
        raise ValueError(f"table {name!r}: column {schema.time!r} has missing values; clean it with validate_cohort")
    if schema.regular:
        return table[schema.time]
    return table.groupby(schema.patient)[schema.time].rank(method="first").sub(1).astype(int)


def some_patients(patients: pd.Series, number: int, seed: int) -> pd.Series:
    """Which rows are of ``number`` patients drawn at random, whatever the order of the rows."""
    ids = np.sort(patients.unique())
    return patients.isin(np.random.default_rng(seed).choice(ids, min(number, len(ids)), replace=False))


def _lines(table: pd.DataFrame, schema: Schema, feature: Feature, name: str, patients: int, seed: int) -> pd.DataFrame:
    """Quartiles of each month, then the courses of a few patients."""
    table = table.reset_index(drop=True)
    time, patient = visit_of(table, schema, name), table[schema.patient]
    known = pd.DataFrame({"value": column(table, feature, name), "time": time, "patient": patient})
    known = known[known["value"].notna() & (known["time"] < (schema.length or np.inf))]
    bands = known.groupby("time")["value"].quantile(list(QUARTILES)).rename_axis(["time", "line"]).reset_index()
    bands["line"] = bands["line"].map(QUARTILES)
    single = known[some_patients(known["patient"], patients, seed)].sort_values(["patient", "time"])
    single = single.assign(line="patient " + single["patient"].astype(str))
    return pd.concat([bands, single], ignore_index=True).assign(source=name)[["source", "line", "time", "value"]]


def _path_panel(axes: Axes, lines: pd.DataFrame, name: str, look: dict, first: str) -> None:
    own = {line: part.sort_values("time") for line, part in lines[lines["source"] == name].groupby("line")}
    low, middle, high = (own.pop(line) for line in QUARTILES.values())
    axes.fill_between(middle["time"], low["value"], high["value"], facecolor=look["color"], alpha=0.25, linewidth=0)
    for part in own.values():
        axes.plot(part["time"], part["value"], color=look["color"], linewidth=0.9, alpha=0.9)
    if name != first:
        truth = lines[(lines["source"] == first) & (lines["line"] == "median")].sort_values("time")
        axes.plot(truth["time"], truth["value"], color="black", linewidth=1.6, zorder=3)
    style.outlined(
        axes, middle["time"], middle["value"], color=look["color"], linewidth=3.2, linestyle=look["linestyle"]
    )


@picture
def regimen_shares(tables: Tables, schema: Schema, feature: str | None = None) -> Drawn:
    """Shares of a feature's levels over the months, stacked to 100 %, one panel a table.

    ``feature`` is discrete; None takes the first of the schema's regimen. The table has the columns ``source, time,
    level, share``, absent levels with share 0.
    """
    tables = named(tables, "cohort")
    if feature is None and not schema.regimen:
        raise ValueError("the schema has no feature with role 'regimen'; name a feature to draw")
    chosen = discrete(schema, schema.regimen[0].name if feature is None else feature)
    levels = level_names(chosen)
    figure = style.canvas(style.WIDTH, 4.2)
    panels, drawn, told = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0], {}, []
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        table = table.reset_index(drop=True)
        values, time = column(table, chosen, name), visit_of(table, schema, name)
        shares = pd.crosstab(time[values.index], values, normalize="index").reindex(columns=levels, fill_value=0.0)
        shares = shares[shares.index < (schema.length or np.inf)].rename_axis(index="time", columns="level")
        _stack(axes, shares)
        axes.set_title(name, fontweight="bold")
        axes.set_xlabel(row_noun(schema)[:-1])
        top, there = shares.mean().idxmax(), int((shares.max() > 0).sum())
        first, last = percent(shares[top].iloc[0]), percent(shares[top].iloc[-1])
        told.append(f"{name} shows {there} of {len(levels)} levels, most often {top}, from {first} to {last}")
        drawn[name] = shares
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("share of patients")
    shape = {"ncols": style.legend_columns(levels), "handlelength": 2.2}
    figure.legend(handles=style.level_keys(levels), title=chosen.name, loc="outside lower center", **shape)
    table = pd.concat({n: s.stack() for n, s in drawn.items()}, names=["source"]).rename("share").reset_index()
    span = f"{max(map(len, drawn.values()))} {row_noun(schema)}"
    return style.finish(figure, table, f"Shares of {chosen.name} over {span}: {'; '.join(told)}.")


def _stack(axes: Axes, shares: pd.DataFrame) -> None:
    layers = axes.stackplot(shares.index, shares.to_numpy().T, edgecolor="white", linewidth=0.4)
    for layer, look in zip(layers, style.category_looks(len(layers)), strict=True):
        layer.set(facecolor=look["color"], hatch=look["hatch"])
    absent = list(shares.columns[shares.max() == 0])
    if absent:
        words = "\n".join(["absent:", *absent] if len(absent) < 9 else [f"{len(absent)} levels absent"])
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 3}
        axes.text(0.5, 0.03, words, transform=axes.transAxes, ha="center", style="italic", size=11, bbox=box)
    axes.set(ylim=(0, 1), xlim=(shares.index.min(), max(shares.index.max(), shares.index.min() + 1)))
