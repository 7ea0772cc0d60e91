"""Single patients, real beside synthetic: would you know which are which?

>>> import hg_helpers as hg
>>> real, other = (hg.simulate_cohort(20, months=3, seed=seed) for seed in (0, 1))
>>> _, table = patients(real, other, hg.ART_DEMO, number=2)
>>> table.groupby('source')['patient'].nunique().tolist()
[2, 2]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..cohort.schema import Feature, Schema
from . import style
from .features import column, discrete, is_logarithmic, level_names, row_noun, with_real
from .over_time import reals_to_draw, some_patients, visit_of
from .style import Drawn, picture

#: The first real feature on the left axis, the second on the right.
LINES = ({"color": style.BLUE, "linestyle": "-"}, {"color": style.VERMILLION, "linestyle": (0, (4, 1))})
BAR = 0.16  # of a panel's height


@picture
def patients(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    features: Sequence[str] | None = None,
    bar: str | None = None,
    label: str = "synthetic",
    real_label: str = "real",
    number: int = 10,
    seed: int = 0,
) -> Drawn:
    """Single patients at random, real on the left and synthetic on the right: labs as lines, the regimen as a bar.

    Args:
        real, synthetic, schema, label, real_label: as for :func:`distributions`, one synthetic table.
        features: one or two real features; None takes the first two.
        bar: a discrete feature; None takes the first of the regimen, else the first that may change.
        number: patients of each table, or all where there are fewer.
        seed: draws them.

    Returns:
        The figure, and a table with the columns ``source, patient, time, feature, value, level``.
    """
    tables = with_real(real, synthetic, label, real_label)
    labs = list(schema.real if features is None else reals_to_draw(schema, features))[:2]
    moving = [*schema.regimen, *(f for f in schema.discrete if not f.static), *schema.discrete]
    if bar is None and not moving:
        raise ValueError("the schema has no feature with levels to draw as a bar")
    regimen = discrete(schema, moving[0].name if bar is None else bar)
    long = pd.concat([_long(t, schema, [*labs, regimen], name, number, seed) for name, t in tables.items()])
    people = {name: list(dict.fromkeys(part["patient"])) for name, part in long.groupby("source", sort=False)}
    rows, told = max(map(len, people.values())), []
    figure = style.canvas(style.WIDTH, 0.85 * rows + 1.5)
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False)
    scales = {lab.name: _scale(lab, long.loc[long["feature"] == lab.name, "value"]) for lab in labs}
    for place, (name, ids) in enumerate(people.items()):
        source, stays = long[long["source"] == name], []
        for axes, patient in zip(grid[:, place], ids, strict=False):
            own = source[source["patient"] == patient]
            stays.append(_panel(axes, own, labs, regimen, scales, outer=(place == 0, place == 1)))
        for axes in grid[len(ids) :, place]:
            axes.set_visible(False)
        grid[0, place].set_title(name, fontweight="bold")
        grid[len(ids) - 1, place].set_xlabel(row_noun(schema)[:-1])
        grid[len(ids) - 1, place].tick_params(labelbottom=True)
        medians = source.groupby("feature")["value"].median()
        labs_of = [f"{lab.name} median {medians[lab.name]:,.3g}" for lab in labs]
        told.append(", ".join([f"{len(ids)} {name} patients", *labs_of, f"{np.mean(stays):.1f} stays each"]))
    keys = [Line2D([], [], linewidth=2, label=lab.label, **look) for lab, look in zip(labs, LINES, strict=False)]
    keys += style.level_keys(level_names(regimen))
    figure.legend(handles=keys, loc="outside lower center", ncols=4, handlelength=2.6)
    lines = f"{' and '.join(lab.name for lab in labs)} as lines, " if labs else ""
    alt = f"Single patients over {row_noun(schema)}, {lines}{regimen.name} as a bar: {'; '.join(told)}."
    return style.finish(figure, long, alt, 10)


def _long(
    table: pd.DataFrame, schema: Schema, features: list[Feature], name: str, number: int, seed: int
) -> pd.DataFrame:
    """The chosen patients' visits, one row a feature; labs have a value, the bar's feature a level."""
    table = table.reset_index(drop=True)
    time, chosen, parts = visit_of(table, schema, name), some_patients(table[schema.patient], number, seed), []
    for feature in features:
        known = column(table, feature, name)
        known = known[chosen[known.index]]
        part = {"source": name, "patient": table.loc[known.index, schema.patient], "time": time[known.index]}
        part |= {"feature": feature.name, "value": known if feature.is_real else np.nan}
        parts.append(pd.DataFrame(part | {"level": "" if feature.is_real else known.astype(str)}))
    return pd.concat(parts).sort_values(["patient", "time"], kind="stable")


def _scale(lab: Feature, values: pd.Series) -> tuple[float, float, bool]:
    """Limits that leave the bar's room below, and whether they are logarithmic; the same in all panels."""
    logarithmic = is_logarithmic(lab, [values])
    low, high = np.log10([values.min(), values.max()]) if logarithmic else (values.min(), values.max())
    span = (high - low) or 1.0
    low, high = low - span * (BAR + 0.12), high + 0.05 * span
    return (10**low, 10**high, True) if logarithmic else (low, high, False)


def _panel(
    axes: Axes, own: pd.DataFrame, labs: list[Feature], regimen: Feature, scales: dict, outer: tuple[bool, bool]
) -> int:
    """One patient: a line a lab, below them what the regimen was, visit by visit; returns the number of stays."""
    sides = [axes, axes.twinx()][: len(labs)]
    for side, lab, look, seen in zip(sides, labs, LINES, outer, strict=False):
        part = own[own["feature"] == lab.name]
        side.plot(part["time"], part["value"], linewidth=1.5, marker="." if len(part) == 1 else "", **look)
        low, high, logarithmic = scales[lab.name]
        style.logarithmic_axis(side.yaxis, low, high) if logarithmic else side.set_ylim(low, high)
        left, right = seen and side is axes, seen and side is not axes
        side.tick_params(
            axis="y", colors=style.ink(look["color"]), left=left, labelleft=left, right=right, labelright=right
        )
        side.minorticks_off()
    levels = own[own["feature"] == regimen.name]
    places = dict(zip(level_names(regimen), style.category_looks(len(regimen.levels)), strict=True))
    new = (levels["level"] != levels["level"].shift()) | (levels["time"].diff() > 1)  # nobody knows what a gap hides
    stays = levels.groupby(new.cumsum())
    for _, stay in stays:
        look = places[stay["level"].iloc[0]]
        ends = stay["time"].min() - 0.5, stay["time"].max() + 0.5
        axes.axvspan(*ends, 0.0, BAR, linewidth=0, facecolor=look["color"], hatch=look["hatch"], edgecolor="white")
    axes.margins(x=0.01)
    return stays.ngroups
