"""The distribution of every feature, real and synthetic: the picture of the collapse and of its cure.

>>> import hg_helpers as hg
>>> real, other = (hg.simulate_cohort(20, months=3, seed=seed) for seed in (0, 1))
>>> _, table = distributions(real, other, hg.ART_DEMO)
>>> sorted(set(table['source']))
['real', 'synthetic']
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..cohort.schema import Feature, Schema
from . import style
from .features import column, is_logarithmic, level_names, percent, row_noun, with_real
from .style import Drawn, Picture, Tables, picture

WIDE = 3  # panels side by side
SPIKE = 2.5  # a histogram this many times as high as the real one is cut off, for it would squash all others
BARELY = 0.02  # shares below this are written beside their bar, which is too short to be seen


@picture
def distributions(
    real: pd.DataFrame, synthetic: Tables, schema: Schema, label: str = "synthetic", real_label: str = "real"
) -> Drawn:
    """Every feature's distribution over all months: step histograms for reals, grouped bars for categories.

    ``synthetic`` is one table, called ``label``, or several as ``{name: table}``. A lab whose transform is Box-Cox gets
    a log10 axis, unless a value is zero or negative or the range is under a decade. The spike of a collapsed model
    (2.5 times as high as the real histogram) is cut off, and its height written on the panel. Shares are of the known
    values. The table has the columns ``feature, source, level, left, right, share``, one row a bar or bin.
    """
    tables = with_real(real, synthetic, label, real_label)
    look, drawn = style.looks(tables), []
    figure, panels = _panels(schema, look)
    for feature, axes in panels.items():
        values = {name: column(table, schema[feature], name) for name, table in tables.items()}
        draw = _histogram if schema[feature].is_real else _bars
        drawn += [part.assign(feature=feature) for part in draw(axes, values, schema[feature], look)]
        axes.set_title(feature)
        (axes.set_ylabel if schema[feature].is_real else axes.set_xlabel)(f"share of {row_noun(schema)}")
    table = pd.concat(drawn, ignore_index=True)
    table = table.reindex(columns=["feature", "source", "level", "left", "right", "share"])
    return style.finish(figure, table, _alt(table, schema, *tables))


def _panels(schema: Schema, look: dict[str, dict]) -> tuple[Picture, dict[str, Axes]]:
    """Reals in rows on top, below them categories, those with most levels first, so that bars of a row are as thick."""
    kinds = [features for features in (schema.real, sorted(schema.discrete, key=lambda f: -len(f.levels))) if features]
    thick, lines = 0.12 + 0.17 * len(look), bool(schema.real)
    tall = [[2.5 if f.is_real else 0.7 + len(f.levels) * thick for f in features[::WIDE]] for features in kinds]
    legend = 0.2 + 0.25 * math.ceil(len(look) / style.legend_columns(look, lines))
    figure = style.canvas(style.WIDTH, sum(map(sum, tall)) + legend)
    style.legend_of(figure, look, lines)
    parts = figure.subfigures(len(kinds), 1, squeeze=False, height_ratios=list(map(sum, tall)))
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
    for place, (name, share) in enumerate(shares.items()):
        if place == 0:
            axes.stairs(share, edges, fill=True, color="#CFCFCF")
        axes.stairs(share, edges, color=look[name]["color"], linestyle=look[name]["linestyle"], linewidth=2.2)
    if logarithmic:
        style.logarithmic_axis(axes.xaxis, low, high)
    axes.set_xlabel(f"{feature.label}, log scale" if logarithmic else feature.label)
    style.percent_axis(axes.yaxis)
    _cut_spikes(axes, shares, look)
    bars = {"left": edges[:-1], "right": edges[1:]}
    return [pd.DataFrame({"source": name, **bars, "share": share}) for name, share in shares.items()]


def _cut_spikes(axes: Axes, shares: dict[str, np.ndarray], look: dict[str, dict]) -> None:
    """End the axis a little above the histograms that are not spikes, and say how high the others go."""
    tops = {name: share.max() for name, share in shares.items()}
    cut = [name for name in tops if tops[name] > SPIKE * next(iter(tops.values()))]
    if cut:
        axes.set_ylim(0, 1.25 * max(top for name, top in tops.items() if name not in cut))
    for line, name in enumerate(cut):  # on the side where the first spike is not
        left = shares[cut[0]].argmax() > len(shares[name]) / 2
        at = (0 if left else 1, 1), (4 if left else -4, -4 - 15 * line), "axes fraction", "offset points"
        text = {"color": style.ink(look[name]["color"]), "size": 10.5, "va": "top", "ha": "left" if left else "right"}
        axes.annotate(f"{name} cut off, up to {percent(tops[name])}", *at, bbox=style.BOX, **text)


def _bars(axes: Axes, values: dict[str, pd.Series], feature: Feature, look: dict) -> list[pd.DataFrame]:
    levels = level_names(feature)
    shares = {n: known.value_counts(normalize=True).reindex(levels).to_numpy() for n, known in values.items()}
    style.bars_beside(axes, levels, shares, look)
    for bars, (name, share) in zip(axes.containers, shares.items(), strict=True):
        for bar, part in zip(bars, share, strict=True):
            if part < BARELY:  # a bar of no length would not be seen to be missing
                words, slant = (percent(part), "normal") if part else ("absent", "italic")
                at = (part, bar.get_y() + bar.get_height() / 2), (4, 0), "data", "offset points"
                axes.annotate(words, *at, size=10.5, va="center", style=slant, color=style.ink(look[name]["color"]))
    axes.set_xlim(0, 1)
    style.percent_axis(axes.xaxis)
    return [pd.DataFrame({"source": name, "level": levels, "share": share}) for name, share in shares.items()]


def _alt(table: pd.DataFrame, schema: Schema, first: str, *others: str) -> str:
    """For each other table the levels that it lacks and the feature in which it is furthest from the first one."""
    wide = table.pivot_table("share", ["feature", table.groupby(["feature", "source"]).cumcount()], "source")
    levels = table[table["level"].notna()].pivot_table("share", ["feature", "level"], "source")
    told = []
    for name in others:
        distance = (wide[name] - wide[first]).abs().groupby("feature").sum() / 2
        far, lacks = distance.idxmax(), ""
        if not levels.empty:
            there = levels[first] > 0
            lacks = f"lacks {(levels[name][there] == 0).sum()} of the {there.sum()} levels seen in {first} and "
        told.append(f"{name} {lacks}is furthest from it in {far} (total variation {distance[far]:.2f})")
    return f"Distributions of {len(schema)} features over {row_noun(schema)}: {'; '.join(told)}."
