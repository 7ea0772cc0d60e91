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
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..cohort.schema import Feature, Schema
from .features import column, discrete, is_logarithmic, level_names, row_noun, with_real
from .over_time import reals_to_draw, time_label, visit_of
from .style import BLUE, VERMILLION, WIDTH, Picture, canvas, category_looks, finish, ink, logarithmic_axis, picture

#: The first real feature on the left axis, the second on the right.
LINES = ({"color": BLUE, "linestyle": "-"}, {"color": VERMILLION, "linestyle": (0, (4, 1))})
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
) -> tuple[Picture, pd.DataFrame]:
    """Single patients at random, real on the left and synthetic on the right: labs as lines, the regimen as a bar.

    Args:
        real, synthetic, schema, label, real_label: as for :func:`distributions`, one synthetic table.
        features: one or two real features; None takes the first two.
        bar: a discrete feature; None takes the first of the regimen, else the first that may change.
        number: patients of each table, or all where there are fewer.
        seed: draws them.

    Returns:
        The figure, and a table with the columns ``source, patient, time, feature, value, level``.

    Raises:
        KeyError, ValueError: naming the table and column that do not fit the schema, or a feature that cannot be drawn.
    """
    tables = with_real(real, synthetic, label, real_label)
    labs = list(schema.real if features is None else reals_to_draw(schema, features))[:2]
    moving = [*schema.regimen, *(f for f in schema.discrete if not f.static), *schema.discrete]
    if bar is None and not moving:
        raise ValueError("the schema has no feature with levels to draw as a bar")
    regimen = discrete(schema, moving[0].name if bar is None else bar)
    long = pd.concat([_long(t, schema, [*labs, regimen], name, number, seed) for name, t in tables.items()])
    people = {name: list(dict.fromkeys(part["patient"])) for name, part in long.groupby("source", sort=False)}
    rows = max(map(len, people.values()))
    figure = canvas(WIDTH, 0.85 * rows + 1.5)
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False)
    scales = {lab.name: _scale(lab, long.loc[long["feature"] == lab.name, "value"]) for lab in labs}
    for place, (name, ids) in enumerate(people.items()):
        for axes, patient in zip(grid[:, place], ids, strict=False):
            own = long[(long["source"] == name) & (long["patient"] == patient)]
            _panel(axes, own, labs, regimen, scales, outer=(place == 0, place == 1))
        for axes in grid[len(ids) :, place]:
            axes.set_visible(False)
        grid[0, place].set_title(name, fontweight="bold")
        grid[len(ids) - 1, place].set_xlabel(time_label(schema))
        grid[len(ids) - 1, place].tick_params(labelbottom=True)
    figure.legend(handles=_keys(labs, regimen), loc="outside lower center", ncols=4, handlelength=2.6)
    return finish(figure, long.reset_index(drop=True), _alt(long, schema, labs, regimen), 10)


def _long(
    table: pd.DataFrame, schema: Schema, features: list[Feature], name: str, number: int, seed: int
) -> pd.DataFrame:
    """The chosen patients' visits, one row a feature; labs have a value, the bar's feature a level."""
    table = table.reset_index(drop=True)
    time, ids = visit_of(table, schema, name), np.sort(table[schema.patient].unique())
    some = np.random.default_rng(seed).choice(ids, min(number, len(ids)), replace=False)
    chosen = table[schema.patient].isin(some)
    parts = []
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
) -> None:
    """One patient: a line a lab, and below them what the regimen was, visit by visit."""
    sides = [axes, axes.twinx()][: len(labs)]
    for side, lab, look, seen in zip(sides, labs, LINES, outer, strict=False):
        part = own[own["feature"] == lab.name]
        side.plot(part["time"], part["value"], linewidth=1.5, **look)
        low, high, logarithmic = scales[lab.name]
        logarithmic_axis(side.yaxis, low, high) if logarithmic else side.set_ylim(low, high)
        left, right = seen and side is axes, seen and side is not axes
        side.tick_params(axis="y", colors=ink(look["color"]), left=left, labelleft=left, right=right, labelright=right)
        side.minorticks_off()
    levels = own[own["feature"] == regimen.name]
    places = dict(zip(level_names(regimen), category_looks(len(regimen.levels)), strict=True))
    for start, stop, level in _runs(levels):
        look = {"facecolor": places[level]["color"], "hatch": places[level]["hatch"], "edgecolor": "white"}
        axes.axvspan(start - 0.5, stop + 0.5, 0.0, BAR, linewidth=0, **look)
    axes.margins(x=0.01)


def _runs(levels: pd.DataFrame) -> list[tuple[float, float, str]]:
    """First visit, last visit and level of each stay."""
    stay = (levels["level"] != levels["level"].shift()).cumsum()
    ends = levels.groupby(stay)["time"].agg(["min", "max"])
    return list(zip(ends["min"], ends["max"], levels.groupby(stay)["level"].first(), strict=True))


def _keys(labs: list[Feature], regimen: Feature) -> list[Artist]:
    lines = [Line2D([], [], linewidth=2, label=lab.label, **look) for lab, look in zip(labs, LINES, strict=False)]
    patches = [
        Patch(facecolor=look["color"], hatch=look["hatch"], edgecolor="white", label=level)
        for level, look in zip(level_names(regimen), category_looks(len(regimen.levels)), strict=True)
    ]
    return lines + patches


def _alt(long: pd.DataFrame, schema: Schema, labs: list[Feature], regimen: Feature) -> str:
    told = []
    for name, part in long.groupby("source", sort=False):
        by_feature = dict(list(part.groupby("feature", sort=False)))
        medians = [f"{lab.name} median {by_feature[lab.name]['value'].median():,.3g}" for lab in labs]
        stays = [len(_runs(own)) for _, own in by_feature[regimen.name].groupby("patient")]
        told.append(", ".join([f"{len(stays)} {name} patients", *medians, f"{np.mean(stays):.1f} stays each"]))
    lines = f"{' and '.join(lab.name for lab in labs)} as lines, " if labs else ""
    return f"Single patients over {row_noun(schema)}, {lines}{regimen.name} as a bar: {'; '.join(told)}."
