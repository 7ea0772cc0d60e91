"""Features one by one and in pairs, real beside synthetic: the picture of the collapse and of its cure.

>>> import hg_helpers as hg
>>> real, other = (hg.simulate_cohort(20, months=3, seed=seed) for seed in (0, 1))
>>> _, table = distributions(real, other, hg.ART_DEMO)
>>> sorted(set(table['source']))
['real', 'synthetic']
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..cohort.schema import Feature, Schema
from ..metrics import association_difference, cycle_difference, trend_difference
from ..metrics.arrays import Given
from . import style
from .features import column, is_logarithmic, level_names, percent, row_noun, with_real
from .style import Drawn, Picture, Tables, picture

WIDE = 3  # panels side by side
SPIKE = 2.5  # a histogram this many times as high as the real one is cut off, for it would squash all others
BARELY = 0.02  # shares below this are written beside their bar, which is too short to be seen
#: One scale for all correlations and for their differences, the same in every picture, so that models compare.
SCALE = {"cmap": style.SIGNED, "vmin": -1.0, "vmax": 1.0}
FEW = 8  # features whose correlations are written with two decimals


@picture
def distributions(
    real: pd.DataFrame, synthetic: Tables, schema: Schema, label: str = "synthetic", real_label: str = "real"
) -> Drawn:
    """Every feature's distribution over all months: step histograms for reals, grouped bars for categories.

    ``synthetic`` is one table, called ``label``, or several as ``{name: table}``. A lab whose transform is Box-Cox gets
    a log10 axis, unless a value is zero or negative or the range is under a decade. A collapsed model's spike is cut
    off, its height written on the panel. A row a bar or bin: ``feature, source, level, left, right, share`` (of known).
    """
    tables = with_real(real, synthetic, label, real_label)
    look, drawn, told = style.looks(tables), [], []
    figure, panels = _panels(schema, look)
    for feature, axes in panels.items():
        values = {name: column(table, schema[feature], name) for name, table in tables.items()}
        draw = _histogram if schema[feature].is_real else _bars
        drawn += [part.assign(feature=feature) for part in draw(axes, values, schema[feature], look)]
        axes.set_title(feature)
        (axes.set_ylabel if schema[feature].is_real else axes.set_xlabel)(f"share of {row_noun(schema)}")
    table = pd.concat(drawn, ignore_index=True)
    table = table.reindex(columns=["feature", "source", "level", "left", "right", "share"])
    wide = table.pivot_table("share", ["feature", table.groupby(["feature", "source"]).cumcount()], "source")
    levels = table[table["level"].notna()].pivot_table("share", ["feature", "level"], "source")
    first, *others = tables
    for name in others:
        distance = (wide[name] - wide[first]).abs().groupby("feature").sum() / 2
        far, lacks = distance.idxmax(), ""
        if not levels.empty:
            there = levels[first] > 0
            lacks = f"lacks {(levels[name][there] == 0).sum()} of the {there.sum()} levels seen in {first} and "
        told.append(f"{name} {lacks}is furthest from it in {far} (total variation {distance[far]:.2f})")
    alt = f"Distributions of {len(schema)} features over {row_noun(schema)}: {'; '.join(told)}."
    return style.finish(figure, table, alt)


def _panels(schema: Schema, look: dict[str, dict]) -> tuple[Picture, dict[str, Axes]]:
    """Reals in rows on top, below them categories, those with most levels first, so that bars of a row are as thick."""
    kinds = [features for features in (schema.real, sorted(schema.discrete, key=lambda f: -len(f.levels))) if features]
    thick = 0.12 + 0.17 * len(look)
    tall = [[2.5 if f.is_real else 0.7 + len(f.levels) * thick for f in features[::WIDE]] for features in kinds]
    sums = list(map(sum, tall))
    figure = style.canvas(style.WIDTH, sum(sums) + 0.45)
    style.legend_of(figure, look, bool(schema.real))
    parts = figure.subfigures(len(kinds), 1, squeeze=False, height_ratios=sums)
    panels: dict[str, Axes] = {}
    for part, features, heights in zip(parts.flat, kinds, tall, strict=True):
        axes = style.even_rows(part, len(features), WIDE, height_ratios=heights)
        panels |= zip((feature.name for feature in features), axes, strict=True)
    return figure, {name: panels[name] for name in schema.names}


def _histogram(axes: Axes, values: dict[str, pd.Series], feature: Feature, look: dict) -> list[pd.DataFrame]:
    logarithmic = is_logarithmic(feature, *values.values())
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(2 * min(map(len, values.values())) ** (1 / 3), 8, 36))  # Rice's rule
    edges = (np.geomspace if logarithmic else np.linspace)(low, high, bins + 1)
    edges[[0, -1]] = low, high  # geomspace may end a rounding error inside the data
    shares = {name: np.histogram(numbers, edges)[0] / len(numbers) for name, numbers in values.items()}
    axes.stairs(next(iter(shares.values())), edges, fill=True, color="#CFCFCF")
    for name, share in shares.items():
        axes.stairs(share, edges, color=look[name]["color"], linestyle=look[name]["linestyle"], linewidth=2.2)
    if logarithmic:
        style.logarithmic_axis(axes.xaxis, low, high)
    axes.set_xlabel(f"{feature.label}, log scale" if logarithmic else feature.label)
    axes.yaxis.set_major_formatter(style.PERCENT)
    tops = {name: share.max() for name, share in shares.items()}
    if cut := [name for name in tops if tops[name] > SPIKE * next(iter(tops.values()))]:
        axes.set_ylim(0, 1.25 * max(top for name, top in tops.items() if name not in cut))
    for line, name in enumerate(cut):  # on the side where the first spike is not
        left = shares[cut[0]].argmax() > bins / 2
        at = (0 if left else 1, 1), (4 if left else -4, -4 - 15 * line), "axes fraction", "offset points"
        text = {"color": style.ink(look[name]["color"]), "size": 10.5, "va": "top", "ha": "left" if left else "right"}
        axes.annotate(f"{name} cut off, up to {percent(tops[name])}", *at, bbox=style.BOX, **text)
    bars = {"left": edges[:-1], "right": edges[1:]}
    return [pd.DataFrame({"source": name, **bars, "share": share}) for name, share in shares.items()]


def _bars(axes: Axes, values: dict[str, pd.Series], feature: Feature, look: dict) -> list[pd.DataFrame]:
    levels = level_names(feature)
    shares = {n: known.value_counts(normalize=True).reindex(levels).to_numpy() for n, known in values.items()}
    style.bars_beside(axes, levels, shares, look)
    for bars, (name, share) in zip(axes.containers, shares.items(), strict=True):
        # a bar of no length would not be seen to be missing
        words = ["" if part >= BARELY else percent(part) if part else "absent" for part in share]
        for text in axes.bar_label(bars, words, padding=4, size=10.5, color=style.ink(look[name]["color"])):
            text.set_style("italic" if text.get_text() == "absent" else "normal")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(style.PERCENT)
    return [pd.DataFrame({"source": name, "level": levels, "share": share}) for name, share in shares.items()]


@picture
def association(
    real: Given, synthetic: Given, schema: Schema, label: str = "synthetic", real_label: str = "real"
) -> Drawn:
    """Association of every pair of features, real beside synthetic, and synthetic minus real, on one colour scale.

    They are those of :func:`hg_helpers.metrics.fidelity.association_matrix`; undefined, and hatched, where a feature
    never varies. The table has the columns ``first, second, real, synthetic, difference``.
    """
    if len(schema) < 2:
        raise ValueError("associations need a schema of at least two features")
    value, table = association_difference(real, synthetic, schema)
    table["difference"] = table["synthetic"] - table["real"]
    largest = table.dropna(subset=["difference"])
    largest = largest.sort_values("difference", key=np.abs, ascending=False, kind="stable")
    titles = {"real": real_label, "synthetic": label, "difference": "synthetic − real"}
    few, what = len(schema) <= FEW, "Pearson's r, correlation ratio or Cramér's V"
    matrices = [(title, table, source) for source, title in titles.items()]
    figure, panels = _triangles(schema.names, matrices, 3 if few else 2, what, 10)
    if not few:
        panels[1].tick_params(labelbottom=True)  # no matrix stands below it
        _largest_differences(panels[3], largest[:10], label, real_label)
    lost = int((table["synthetic"].isna() & table["real"].notna()).sum())
    told = [f"mean absolute difference {value:.2f}"]
    for pair in largest[:1].itertuples():
        both = f"{pair.real:.2f} real, {pair.synthetic:.2f} {label}"
        told.append(f"largest for {pair.first} and {pair.second}: {both}")
    told.append(f"{lost} pairs undefined in {label} only")
    alt = f"Associations of {len(table)} pairs of features, real against {label}: {'; '.join(told)}."
    return style.finish(figure, table, alt)


def _triangles(names: Sequence[str], matrices: list, across: int, what: str, size: float) -> tuple[Picture, list[Axes]]:
    """Lower triangles of symmetric matrices without their diagonals, each a title, a table of pairs and its column."""
    room = 0.085 * max(map(len, names)) + 0.5
    tall = min(max((style.WIDTH - room) / across - 0.15, 2.4), (len(names) - 1) * 0.6 + 0.1) + 0.5
    figure, panels = style.panels(-(-len(matrices) // across) * across, across, tall, 0.75 * room + 0.7)
    few = len(names) <= FEW
    for axes, (title, pairs, source) in zip(panels, matrices, strict=False):
        grid = pairs.pivot(index="second", columns="first", values=source).reindex(index=names[1:], columns=names[:-1])
        above = np.triu(np.ones(grid.shape, bool), 1)
        image = style.heat(axes, grid, SCALE, partial(_written, few=few), size, above)
        if max(map(len, names)) * 0.09 > style.WIDTH / 3 / len(names):
            axes.set_xticks(axes.get_xticks(), names[:-1], rotation=40, ha="right", rotation_mode="anchor")
        axes.set_title(title)
        axes.label_outer()
    note = "" if few else ", written in hundredths"
    style.bar_below(figure, image, panels, f"{what}{note}; hatched: undefined", (-1, -0.5, 0, 0.5, 1))
    return figure, panels


def _written(number: float, few: bool) -> str:
    """Two decimals without the zero before the point (.43, −.43, 1), or hundredths where there is no room for more."""
    if np.isnan(number):
        return ""
    number = round(number, 2) + 0.0  # no minus before a zero
    text = f"{100 * number:.0f}" if not few else f"{number:.2f}" if abs(number) < 1 else f"{number:.0f}"
    return text.replace("0.", ".").replace("-", "−")


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
    real: Given, synthetic: Given, schema: Schema, label: str = "synthetic", real_label: str = "real"
) -> Drawn:
    """How features move together within patients: trends above, cycles below, real on the left, synthetic on the right.

    Of all real features, as :func:`hg_helpers.metrics.dynamics.within_patient_correlation` has them; undefined, and
    hatched, where no patient's values vary. Columns: ``part, source, first, second, correlation, patients``.
    """
    names = [feature.name for feature in schema.real]
    if len(names) < 2:
        raise ValueError(f"trends and cycles need at least two features, not {names}")
    matrices, drawn, told = [], [], []
    for part, metric in {"trend": trend_difference, "cycle": cycle_difference}.items():
        value, pairs = metric(real, synthetic, schema)
        top = pairs.iloc[0]
        pair = f"{top['first']} with {top['second']} {top['real']:.2f} real, {top['synthetic']:.2f} {label}"
        told.append(f"{part}s differ by {value:.2f} on average ({pair})")
        for source, name in {"real": real_label, "synthetic": label}.items():
            matrices.append((f"{name}: {part}s", pairs, source))
            long = pairs[["first", "second"]].assign(part=part, source=source, correlation=pairs[source])
            drawn.append(long.assign(patients=pairs[f"{source} patients"]))
    figure, _ = _triangles(names, matrices, 2, "correlation within patients", 13 if len(names) <= FEW else 10)
    table = pd.concat(drawn)[["part", "source", "first", "second", "correlation", "patients"]]
    alt = f"Correlations of {len(names)} features within patients, real against {label}: {'; '.join(told)}."
    return style.finish(figure, table, alt)
