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
    few = len(schema) <= FEW
    figure, all_axes = _triangles(schema.names, 3 if few else 4, 3 if few else 2)
    for axes, source, title in zip(all_axes, list(table)[2:], (real_label, label, "synthetic − real"), strict=False):
        image = _triangle(axes, table, schema.names, source, title, 10)
    if not few:
        all_axes[1].tick_params(labelbottom=True)  # no matrix stands below it
        _largest_differences(all_axes[3], table, label, real_label)
    what = f"Pearson's r, correlation ratio or Cramér's V{_note(schema.names)}; hatched: undefined"
    style.bar_below(figure, image, all_axes, what, TICKS)
    lost = int((table["synthetic"].isna() & table["real"].notna()).sum())
    largest = _largest(table)[:1].itertuples()
    far = [f"; largest for {p.first} and {p.second}: {p.real:.2f} real, {p.synthetic:.2f} {label}" for p in largest]
    alt = (
        f"Associations of {len(table)} pairs of features, real against {label}: mean absolute difference {value:.2f}"
        f"{''.join(far)}; {lost} pairs undefined in {label} only."
    )
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
    image = style.heat(
        axes, grid, SCALE, style.SIGNED, _short if len(names) <= FEW else _hundredths, size=size, hidden=above
    )
    if max(map(len, names)) * 0.09 > axes.figure.get_figwidth() / 3 / len(names):
        axes.tick_params(axis="x", labelrotation=40)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.label_outer()
    axes.set_title(title, fontweight="bold")
    return image


def _short(number: float) -> str:
    """Two decimals without the zero before the point: .43, −.43, 1."""
    text = f"{number:.2f}" if abs(number) < 0.995 else f"{number:.1f}".replace(".0", "")
    return text.replace("-0.00", "0.00").replace("0.", ".").replace("-", "−")


def _note(names: Sequence[str]) -> str:
    return "" if len(names) <= FEW else ", written in hundredths"


def _hundredths(number: float) -> str:
    """In hundredths: 43, −43, 100; many features leave no room for more."""
    return f"{100 * number:.0f}".replace("-0", "0").replace("-", "−")


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs that differ, most first."""
    return table.dropna(subset=["difference"]).sort_values("difference", key=np.abs, ascending=False, kind="stable")


def _largest_differences(axes: Axes, table: pd.DataFrame, label: str, real_label: str, most: int = 10) -> None:
    """The pairs that differ most, as two marks each: what the small numbers of a large matrix would hide."""
    largest = _largest(table).head(most)
    rows = np.arange(len(largest))
    axes.hlines(rows, largest["real"], largest["synthetic"], color="#8C8C8C", linewidth=2.5, zorder=1)
    for name, source, look in ((real_label, "real", style.REAL), (label, "synthetic", style.looks([label])[label])):
        axes.scatter(largest[source], rows, s=70, color=look["color"], marker=look["marker"], label=name)
    for row, pair in zip(rows, largest["first"] + " × " + largest["second"], strict=True):
        axes.text(0.5, row - 0.45, pair, transform=axes.get_yaxis_transform(), ha="center", va="center", size=11)
    axes.set(ylim=(most + 0.9, -0.9), yticks=[], xlabel="association")
    axes.set_title("largest differences", fontweight="bold")
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
    figure, all_axes = _triangles(names, 4, 2)
    drawn, told = [], []
    for row, (part, metric) in enumerate({"trend": trend_difference, "cycle": cycle_difference}.items()):
        value, pairs = metric(real, synthetic, schema, features=features)
        first, second, *both = pairs.iloc[0][["first", "second", "real", "synthetic"]]
        pair = "{} with {} {:.2f} real, {:.2f} {}".format(first, second, *both, label)
        told.append(f"{part}s differ by {value:.2f} on average ({pair})")
        for axes, source, name in zip(all_axes[2 * row :], ("real", "synthetic"), (real_label, label), strict=False):
            image = _triangle(axes, pairs, names, source, f"{name}: {part}s", 13 if len(names) <= FEW else 10)
            long = pairs[["first", "second"]].assign(part=part, source=source, correlation=pairs[source])
            drawn.append(long.assign(patients=pairs[f"{source} patients"]))
    style.bar_below(figure, image, all_axes, f"correlation within patients{_note(names)}; hatched: undefined", TICKS)
    table = pd.concat(drawn)[["part", "source", "first", "second", "correlation", "patients"]]
    alt = f"Correlations of {len(names)} features within patients, real against {label}: {'; '.join(told)}."
    return style.finish(figure, table, alt)
