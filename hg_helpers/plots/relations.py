"""How features hang together, real beside synthetic: over all months, and within patients.

>>> import dataclasses, hg_helpers as hg
>>> real, other = (hg.simulate_cohort(20, months=3, seed=seed) for seed in (0, 1))
>>> _, table = association(real, other, dataclasses.replace(hg.ART_DEMO, length=3))
>>> list(table)
['first', 'second', 'real', 'synthetic', 'difference']
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from ..cohort.schema import Schema
from ..metrics.dynamics import cycle_difference, trend_difference
from ..metrics.fidelity import association_difference
from . import style
from .style import Drawn, Picture, picture

#: One scale for all correlations and for their differences, the same in every picture, so that models compare.
SCALE, TICKS = Normalize(-1.0, 1.0), (-1, -0.5, 0, 0.5, 1)
FEW = 8  # features whose correlations are written with two decimals


@picture
def association(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, label: str = "synthetic", real_label: str = "real"
) -> Drawn:
    """Association of every pair of features, real beside synthetic, and synthetic minus real, on one colour scale.

    Pearson's r for two reals, the correlation ratio for a real and a category, Cramér's V for two categories, as
    :func:`hg_helpers.metrics.fidelity.association_matrix` defines them; undefined, and hatched, where a feature never
    varies. The table has the columns ``first, second, real, synthetic, difference``.
    """
    if len(schema) < 2:
        raise ValueError("associations need a schema of at least two features")
    value, table = association_difference(real, synthetic, schema)
    table["difference"] = table["synthetic"] - table["real"]
    largest = table.dropna(subset=["difference"])
    largest = largest.sort_values("difference", key=np.abs, ascending=False, kind="stable")
    few = len(schema) <= FEW
    figure, panels = _triangles(schema.names, 3 if few else 4, 3 if few else 2)
    drawn = {"real": real_label, "synthetic": label, "difference": "synthetic − real"}
    for axes, (source, title) in zip(panels, drawn.items(), strict=False):
        image = _triangle(axes, table, schema.names, source, title, 10)
    if not few:
        panels[1].tick_params(labelbottom=True)  # no matrix stands below it
        _largest_differences(panels[3], largest[:10], label, real_label)
    _bar(figure, image, panels, "Pearson's r, correlation ratio or Cramér's V", schema.names)
    lost = int((table["synthetic"].isna() & table["real"].notna()).sum())
    told = [f"mean absolute difference {value:.2f}"]
    for pair in largest[:1].itertuples():
        both = f"{pair.real:.2f} real, {pair.synthetic:.2f} {label}"
        told.append(f"largest for {pair.first} and {pair.second}: {both}")
    told.append(f"{lost} pairs undefined in {label} only")
    alt = f"Associations of {len(table)} pairs of features, real against {label}: {'; '.join(told)}."
    return style.finish(figure, table, alt)


def _triangles(names: Sequence[str], number: int, across: int) -> tuple[Picture, list[Axes]]:
    """Panels for lower triangles, row names on the left and column names at the bottom only."""
    room = 0.085 * max(map(len, names)) + 0.5
    size = max((style.WIDTH - room) / across - 0.15, 2.4)
    return style.panels(number, across, min(size, (len(names) - 1) * 0.6 + 0.1) + 0.5, 0.75 * room + 0.7)


def _triangle(axes: Axes, pairs: pd.DataFrame, names: Sequence[str], source: str, title: str, size: float) -> object:
    """Lower triangle of a symmetric matrix, without its diagonal, from a table of pairs."""
    grid = pairs.pivot(index="second", columns="first", values=source).reindex(index=names[1:], columns=names[:-1])
    above = np.triu(np.ones(grid.shape, bool), 1)
    write = _short if len(names) <= FEW else lambda number: _signed(f"{100 * number:.0f}")
    image = style.heat(axes, grid, SCALE, style.SIGNED, write, size, hidden=above)
    if max(map(len, names)) * 0.09 > style.WIDTH / 3 / len(names):
        axes.set_xticks(axes.get_xticks(), names[:-1], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_title(title)
    axes.label_outer()
    return image


def _signed(text: str) -> str:
    """With a minus sign as it is printed, and none before a zero."""
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def _short(number: float) -> str:
    """Two decimals without the zero before the point: .43, −.43, 1."""
    return _signed(f"{number:.2f}").replace("0.", ".", 1).replace("1.00", "1")


def _bar(figure: Picture, image: object, panels: list[Axes], what: str, names: Sequence[str]) -> None:
    note = "" if len(names) <= FEW else ", written in hundredths"  # many features leave no room for more
    style.bar_below(figure, image, panels, f"{what}{note}; hatched: undefined", TICKS)


def _largest_differences(axes: Axes, largest: pd.DataFrame, label: str, real_label: str) -> None:
    """The pairs that differ most, as two marks each: what the small numbers of a large matrix would hide."""
    rows = np.arange(len(largest))
    axes.hlines(rows, largest["real"], largest["synthetic"], color=style.GREY, linewidth=2.5, zorder=1)
    for name, source, look in ((real_label, "real", style.REAL), (label, "synthetic", style.looks([label])[label])):
        axes.scatter(largest[source], rows, s=70, color=look["color"], marker=look["marker"], label=name)
    for row, pair in zip(rows, largest["first"] + " × " + largest["second"], strict=True):
        axes.text(0.5, row - 0.45, pair, transform=axes.get_yaxis_transform(), ha="center", va="center", size=11)
    axes.set(title="largest differences", xlabel="association", ylim=(len(rows) + 0.9, -0.9), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.legend(loc="lower center", ncols=2)


@picture
def trends_and_cycles(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    label: str = "synthetic",
    real_label: str = "real",
    features: Sequence[str] | None = None,
) -> Drawn:
    """How features move together within patients: trends above, cycles below, real on the left, synthetic on the right.

    As :func:`hg_helpers.metrics.dynamics.within_patient_correlation` defines them: the smooth course over months, and
    what is left of the months' ups and downs; undefined, and hatched, where no patient's values vary. ``features`` are
    two or more real or binary ones, by default all real. The table has the columns ``part, source, first, second,
    correlation, patients``.
    """
    names = [f.name for f in schema.real] if features is None else list(features)
    if len(names) < 2:
        raise ValueError(f"trends and cycles need at least two features, not {names}")
    figure, panels = _triangles(names, 4, 2)
    drawn, told = [], []
    for row, (part, metric) in enumerate({"trend": trend_difference, "cycle": cycle_difference}.items()):
        value, pairs = metric(real, synthetic, schema, features=features)
        first, second, *both = pairs.iloc[0][["first", "second", "real", "synthetic"]]
        pair = "{} with {} {:.2f} real, {:.2f} {}".format(first, second, *both, label)
        told.append(f"{part}s differ by {value:.2f} on average ({pair})")
        for axes, source, name in zip(panels[2 * row :], ("real", "synthetic"), (real_label, label), strict=False):
            image = _triangle(axes, pairs, names, source, f"{name}: {part}s", 13 if len(names) <= FEW else 10)
            long = pairs[["first", "second"]].assign(part=part, source=source, correlation=pairs[source])
            drawn.append(long.assign(patients=pairs[f"{source} patients"]))
    _bar(figure, image, panels, "correlation within patients", names)
    table = pd.concat(drawn)[["part", "source", "first", "second", "correlation", "patients"]]
    alt = f"Correlations of {len(names)} features within patients, real against {label}: {'; '.join(told)}."
    return style.finish(figure, table, alt)
