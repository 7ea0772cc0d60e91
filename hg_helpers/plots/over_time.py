"""Cohorts over time: labs of all and of single patients, and who takes what.

>>> import hg_helpers as hg
>>> _, table = regimen_shares({'real': hg.simulate_cohort(40, months=3)}, hg.ART_DEMO)
>>> round(float(table['share'].sum()), 6)  # three months, each 1
3.0
"""

from __future__ import annotations

import itertools
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
#: Of a single patient, the first real feature on the left axis, the second on the right.
LABS = ({"color": style.BLUE, "linestyle": "-"}, {"color": style.VERMILLION, "linestyle": (0, (4, 1))})
BAR = 0.16  # of a single patient's panel, for the regimen


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

    The real median stands in the synthetic panels too, a thin black line. Irregular visits are counted: the n-th ones
    are taken together. ``feature`` is a real feature, a list of them, or None for all; ``seed`` draws as many single
    ``patients``. Columns: ``feature, source, line, time, value``; a line is a quartile, the median or a patient.
    """
    tables = with_real(real, synthetic, label, real_label)
    names = [feature] if isinstance(feature, str) else feature
    chosen, looks = list(schema.real) if names is None else [schema[n] for n in names], style.looks(tables)
    if not chosen:
        raise ValueError("no real feature to draw; trajectories need at least one")
    for each in chosen:
        if not each.is_real:
            raise ValueError(f"feature {each.name!r} has levels; regimen_shares draws it")
    each_panel = list(itertools.product(chosen, tables))
    parts = [_lines(tables[name], schema, each, name, patients, seed) for each, name in each_panel]
    table = pd.concat(parts)[["feature", "source", "line", "time", "value"]]
    figure, panels = style.panels(len(parts), len(tables), 2.7, 0.4, sharex=True, sharey="row")
    middle, told = table[table["line"] == "median"].groupby(["feature", "source"]), []
    for axes, part, (each, name) in zip(panels, parts, each_panel, strict=True):
        own, look = dict(iter(part.groupby("line"))), looks[name]
        low, median, high = (own.pop(line) for line in QUARTILES.values())
        axes.fill_between(median["time"], low["value"], high["value"], facecolor=look["color"], alpha=0.25, linewidth=0)
        for single in own.values():
            axes.plot(single["time"], single["value"], color=look["color"], linewidth=0.9, alpha=0.9)
        if name != real_label:
            truth = middle.get_group((each.name, real_label))
            axes.plot(truth["time"], truth["value"], color="black", linewidth=1.6, zorder=3)
        shown = {"color": look["color"], "linewidth": 3.2, "linestyle": look["linestyle"]}
        style.outlined(axes, median["time"], median["value"], **shown)
        values = table.loc[table["feature"] == each.name, "value"]
        if is_logarithmic(each, values):
            style.logarithmic_axis(axes.yaxis, values.min() / 1.2, values.max() * 1.2)
        axes.set(title=name if each is chosen[0] else "", xlabel=row_noun(schema)[:-1], ylabel=each.label)
        axes.label_outer()
        first, last = median["value"].iloc[[0, -1]]
        told.append(f"{each.name} {name} from {first:,.4g} to {last:,.4g} {each.unit}".rstrip())
    keys = [
        Line2D([], [], color=style.GREY, linewidth=3.2, label="median"),
        Patch(facecolor=style.GREY, alpha=0.35, label="middle half of patients"),
        *[Line2D([], [], color=style.GREY, linewidth=0.9, label="single patients")] * bool(patients),
        Line2D([], [], color="black", linewidth=1.6, label=f"median of {real_label}"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=2, handlelength=2.5)
    single = " and single patients" if patients else ""
    span = f"{int(table['time'].max()) + 1} {row_noun(schema)}"
    return style.finish(figure, table, f"Median over {span} with interquartile band{single}: {'; '.join(told)}.")


def _visits(table: pd.DataFrame, schema: Schema, feature: Feature, name: str) -> pd.DataFrame:
    """A feature's known values by patient and month; where time is irregular, by the visit's rank in its patient."""
    require(table, [schema.patient, schema.time], name)
    table = table.reset_index(drop=True)
    time, known = table[schema.time], column(table, feature, name)
    if time.isna().any():
        raise ValueError(f"table {name!r}: column {schema.time!r} has missing values; clean it with validate_cohort")
    if not schema.regular:
        time = time.groupby(table[schema.patient]).rank(method="first").sub(1).astype(int)
    rows = {"source": name, "patient": table[schema.patient], "time": time, "feature": feature.name}
    return pd.DataFrame(rows).loc[known.index].assign(value=known)


def _some(patients: pd.Series, number: int, seed: int) -> np.ndarray:
    """Patients drawn at random, whatever the order of the rows."""
    ids = np.sort(patients.unique())
    return np.random.default_rng(seed).choice(ids, min(number, len(ids)), replace=False)


def _lines(table: pd.DataFrame, schema: Schema, feature: Feature, name: str, patients: int, seed: int) -> pd.DataFrame:
    """Quartiles of each month, then the courses of a few patients."""
    known = _visits(table, schema, feature, name)
    known = known[known["time"] < (schema.length or np.inf)]
    bands = known.groupby("time")["value"].quantile(list(QUARTILES)).rename_axis(["time", "line"]).reset_index()
    bands["line"] = bands["line"].map(QUARTILES)
    single = known[known["patient"].isin(_some(known["patient"], patients, seed))].sort_values(["patient", "time"])
    single = single.assign(line="patient " + single["patient"].astype(str))
    return pd.concat([bands, single], ignore_index=True).assign(source=name, feature=feature.name)


@picture
def regimen_shares(tables: Tables, schema: Schema, feature: str | None = None) -> Drawn:
    """Shares of a feature's levels over the months, stacked to 100 %, one panel a table.

    ``feature`` is discrete; None: the first of the regimen. Columns: ``source, time, level, share``, 0 where absent.
    """
    tables = named(tables, "cohort")
    if feature is None and not schema.regimen:
        raise ValueError("the schema has no feature with role 'regimen'; name a feature to draw")
    chosen = discrete(schema, schema.regimen[0].name if feature is None else feature)
    levels = level_names(chosen)
    looks = dict(zip(levels, style.category_looks(len(levels)), strict=True))
    figure, panels = style.panels(len(tables), len(tables), 4.2, sharey=True)
    drawn, told = {}, []
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        known = _visits(table, schema, chosen, name)
        shares = pd.crosstab(known["time"], known["value"], normalize="index").reindex(columns=levels, fill_value=0.0)
        shares = shares[shares.index < (schema.length or np.inf)].rename_axis(columns="level")
        layers = axes.stackplot(shares.index, shares.to_numpy().T, edgecolor="white", linewidth=0.4)
        for layer, look in zip(layers, looks.values(), strict=True):
            layer.set(facecolor=look["color"], hatch=look["hatch"])
        if absent := list(shares.columns[shares.max() == 0]):
            words = "\n".join(["absent:", *absent] if len(absent) < 9 else [f"{len(absent)} levels absent"])
            place = {"transform": axes.transAxes, "ha": "center", "style": "italic", "size": 11}
            axes.text(0.5, 0.03, words, bbox=style.BOX, **place)
        months = shares.index
        axes.set(ylim=(0, 1), xlim=(months.min(), max(months.max(), months.min() + 1)), title=name)
        axes.set(xlabel=row_noun(schema)[:-1], ylabel="share of patients")
        axes.label_outer()
        top, there = shares.mean().idxmax(), int((shares.max() > 0).sum())
        first, last = percent(shares[top].iloc[0]), percent(shares[top].iloc[-1])
        told.append(f"{name} shows {there} of {len(levels)} levels, most often {top}, from {first} to {last}")
        drawn[name] = shares
    panels[0].yaxis.set_major_formatter(style.PERCENT)
    shape = {"ncols": style.legend_columns(levels), "handlelength": 2.2}
    figure.legend(handles=style.keys(looks), title=chosen.name, loc="outside lower center", **shape)
    table = pd.concat({n: s.stack() for n, s in drawn.items()}, names=["source"]).rename("share").reset_index()
    span = f"{max(map(len, drawn.values()))} {row_noun(schema)}"
    return style.finish(figure, table, f"Shares of {chosen.name} over {span}: {'; '.join(told)}.")


@picture
def patients(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    label: str = "synthetic",
    real_label: str = "real",
    number: int = 10,
    seed: int = 0,
) -> Drawn:
    """Single patients at random, real on the left and synthetic on the right: labs as lines, the regimen as a bar.

    Drawn are the first two real features, and the first of the regimen, else the first that may change; a smaller
    schema (:meth:`Schema.select`) draws others. Columns: ``source, patient, time, feature, value, level``.
    """
    tables, labs = with_real(real, synthetic, label, real_label), list(schema.real)[:2]
    moving = [*schema.regimen, *(f for f in schema.discrete if not f.static), *schema.discrete]
    if not moving:
        raise ValueError("the schema has no feature with levels to draw as a bar")
    regimen = moving[0]
    looks = dict(zip(level_names(regimen), style.category_looks(len(regimen.levels)), strict=True))
    long = pd.concat([_long(t, schema, [*labs, regimen], name, number, seed) for name, t in tables.items()])
    people = long.groupby("source", sort=False)["patient"].unique()
    rows, told = people.map(len).max(), []
    figure, panels = style.panels(2 * rows, 2, 0.85, 1.5, sharex=True)
    for place, (name, ids) in enumerate(people.items()):
        source, below = long[long["source"] == name], panels[place::2]
        own = (source[source["patient"] == patient] for patient in ids)
        stays = [_course(axes, part, labs, long, looks, place) for axes, part in zip(below, own, strict=False)]
        for axes in below[len(ids) :]:
            axes.set_visible(False)
        below[0].set_title(name)
        below[len(ids) - 1].set_xlabel(row_noun(schema)[:-1])
        below[len(ids) - 1].tick_params(labelbottom=True)
        medians = source.groupby("feature")["value"].median()
        labs_of = [f"{lab.name} median {medians[lab.name]:,.3g}" for lab in labs]
        told.append(", ".join([f"{len(ids)} {name} patients", *labs_of, f"{np.mean(stays):.1f} stays each"]))
    keys = [Line2D([], [], linewidth=2, label=lab.label, **look) for lab, look in zip(labs, LABS, strict=False)]
    keys += style.keys(looks)
    figure.legend(handles=keys, loc="outside lower center", ncols=4, handlelength=2.6)
    lines = f"{' and '.join(lab.name for lab in labs)} as lines, " if labs else ""
    alt = f"Single patients over {row_noun(schema)}, {lines}{regimen.name} as a bar: {'; '.join(told)}."
    return style.finish(figure, long, alt, 10)


def _long(t: pd.DataFrame, schema: Schema, features: list[Feature], name: str, number: int, seed: int) -> pd.DataFrame:
    """The chosen patients' visits, one row a feature; labs have a value, the bar's feature a level."""
    parts = [_visits(t, schema, feature, name) for feature in features]
    parts[-1] = parts[-1].assign(level=parts[-1]["value"].astype(str), value=np.nan)
    long = pd.concat(parts).fillna({"level": ""})
    long = long[long["patient"].isin(_some(t[schema.patient], number, seed))]
    columns = ["source", "patient", "time", "feature", "value", "level"]
    return long.sort_values(["patient", "time"], kind="stable")[columns]


def _course(axes: Axes, own: pd.DataFrame, labs: list, long: pd.DataFrame, looks: dict, place: int) -> int:
    """One patient: a line a lab on a scale for all patients, below it the regimen; returns the number of stays."""
    for side, (lab, look) in enumerate(zip(labs, LABS, strict=False)):
        part, values = (t.loc[t["feature"] == lab.name] for t in (own, long))
        panel, edge = (axes.twinx(), "right") if side else (axes, "left")
        panel.plot(part["time"], part["value"], linewidth=1.5, marker="." if len(part) == 1 else "", **look)
        logarithmic = is_logarithmic(lab, values["value"])
        ends = values["value"].agg(["min", "max"])
        low, high = np.log10(ends) if logarithmic else ends
        span = (high - low) or 1.0
        low, high = low - span * (BAR + 0.12), high + 0.05 * span
        style.logarithmic_axis(panel.yaxis, 10**low, 10**high) if logarithmic else panel.set_ylim(low, high)
        outside = {edge: place == side, f"label{edge}": place == side}
        panel.tick_params(axis="y", colors=style.ink(look["color"]), **outside)
        panel.minorticks_off()
    levels = own[own["value"].isna()]
    new = (levels["level"] != levels["level"].shift()) | (levels["time"].diff() > 1)  # nobody knows what a gap hides
    stays = levels.groupby(new.cumsum())
    for _, stay in stays:
        look = looks[stay["level"].iloc[0]]
        ends = stay["time"].min() - 0.5, stay["time"].max() + 0.5
        axes.axvspan(*ends, 0.0, BAR, linewidth=0, facecolor=look["color"], hatch=look["hatch"], edgecolor="white")
    axes.margins(x=0.01)
    return stays.ngroups
