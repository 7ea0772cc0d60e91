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

MOST_BINS = 36
WIDE = 3  # panels side by side
SPIKE = 2.5  # a histogram this many times as high as the real one is cut off, for it would squash all others
BARELY = 0.02  # shares below this are written beside their bar, which is too short to be seen


@picture
def distributions(
    real: pd.DataFrame, synthetic: Tables, schema: Schema, label: str = "synthetic", real_label: str = "real"
) -> Drawn:
    """Every feature's distribution over all months: step histograms for reals, grouped bars for categories.

    A lab whose transform is Box-Cox gets a log10 axis, unless a value is zero or negative or the range is under a
    decade. The spike of a collapsed model (more than 2.5 times as high as the real histogram) is cut off, and its
    height written on the panel. Shares are of the known values.

    Args:
        real, synthetic: cohort tables; several synthetic ones as ``{name: table}``.
        schema: features to draw; use :meth:`Schema.select` for fewer.
        label, real_label: names of a single synthetic table and of the real one.

    Returns:
        The figure, and a table with the columns ``feature, source, level, left, right, share``, one row a bar or bin.
    """
    tables = with_real(real, synthetic, label, real_label)
    look, drawn = style.looks(tables), []
    figure, panels = _panels(schema, look)
    for feature, axes in panels.items():
        values = {name: column(table, schema[feature], name) for name, table in tables.items()}
        draw = _histogram if schema[feature].is_real else _bars
        drawn.append(draw(axes, values, schema[feature], look).assign(feature=feature))
        axes.set_title(feature, fontweight="bold")
        (axes.set_ylabel if schema[feature].is_real else axes.set_xlabel)(f"share of {row_noun(schema)}")
    table = pd.concat(drawn, ignore_index=True)
    table = table.reindex(columns=["feature", "source", "level", "left", "right", "share"])
    return style.finish(figure, table, _alt(table, schema, *tables))


def _panels(schema: Schema, look: dict[str, dict]) -> tuple[Picture, dict[str, Axes]]:
    """Reals in rows on top; below them categories in columns of about equal height, so that all bars are as thick."""
    stacks: list[list[tuple[str, float]]] = [[] for _ in range(min(WIDE, len(schema.discrete)))]
    for feature in schema.discrete:
        height = 0.7 + len(feature.levels) * (0.12 + 0.17 * len(look))
        min(stacks, key=lambda stack: sum(h for _, h in stack)).append((feature.name, height))
    deep = max((sum(h for _, h in stack) for stack in stacks), default=0.0)
    across = min(WIDE, len(schema.real))
    down = math.ceil(len(schema.real) / across) if across else 0
    legend = 0.2 + 0.25 * math.ceil(len(look) / style.legend_columns(look, bool(schema.real)))
    heights = [h for h in (legend, 2.5 * down, deep) if h]
    figure = style.canvas(style.WIDTH, sum(heights))
    head, *parts = figure.subfigures(len(heights), 1, height_ratios=heights)
    style.legend_of(head, look, lines=bool(schema.real))
    panels: dict[str, Axes] = {}
    if across:
        grid = parts[0].subplots(down, across, squeeze=False)
        panels.update(zip((f.name for f in schema.real), grid.flat, strict=False))
        for axes in grid.flat[len(schema.real) :]:
            axes.remove()
    if stacks:
        # so that the bars of all stacks are about as long, whatever the names of their levels
        wide = [1.4 + 0.08 * max(len(n) for name, _ in stack for n in level_names(schema[name])) for stack in stacks]
        beside = parts[-1].subfigures(1, len(stacks), squeeze=False, width_ratios=wide)
        for part, stack in zip(beside.flat, stacks, strict=True):
            spare = deep - sum(h for _, h in stack)
            grid = part.subplots(len(stack) + 1, 1, height_ratios=[*(h for _, h in stack), max(spare, 1e-3)])
            panels.update(zip((name for name, _ in stack), grid, strict=False))
            grid[-1].remove()
    return figure, panels


def _histogram(axes: Axes, values: dict[str, pd.Series], feature: Feature, look: dict) -> pd.DataFrame:
    logarithmic = is_logarithmic(feature, list(values.values()))
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(2 * min(map(len, values.values())) ** (1 / 3), 8, MOST_BINS))  # Rice's rule
    edges = (np.geomspace if logarithmic else np.linspace)(low, high, bins + 1)
    edges[[0, -1]] = low, high  # geomspace may end a rounding error inside the data
    shares = {name: np.histogram(numbers, edges)[0] / len(numbers) for name, numbers in values.items()}
    axes.stairs(next(iter(shares.values())), edges, fill=True, color="#CFCFCF")
    for name, share in shares.items():
        axes.stairs(share, edges, color=look[name]["color"], linestyle=look[name]["linestyle"], linewidth=2.2)
    if logarithmic:
        style.logarithmic_axis(axes.xaxis, low, high)
    axes.set_xlabel(f"{feature.label}, log scale" if logarithmic else feature.label)
    style.percent_axis(axes.yaxis)
    _cut_spikes(axes, shares, look)
    bars = {"left": edges[:-1], "right": edges[1:]}
    return pd.concat([pd.DataFrame({"source": name, **bars, "share": share}) for name, share in shares.items()])


def _cut_spikes(axes: Axes, shares: dict[str, np.ndarray], look: dict[str, dict]) -> None:
    """End the axis a little above the histograms that are not spikes, and say how high the others go."""
    tops = {name: share.max() for name, share in shares.items()}
    cut = [name for name in tops if tops[name] > SPIKE * next(iter(tops.values()))]
    if cut:
        axes.set_ylim(0, 1.25 * max(top for name, top in tops.items() if name not in cut))
    for line, name in enumerate(cut):  # on the side where the first spike is not
        left = shares[cut[0]].argmax() > len(shares[name]) / 2
        at = (0 if left else 1, 1), (4 if left else -4, -4 - 15 * line), "axes fraction", "offset points"
        look_of_it = {
            "color": style.ink(look[name]["color"]),
            "size": 10.5,
            "ha": "left" if left else "right",
            "va": "top",
        }
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
        axes.annotate(f"{name} cut off, up to {percent(tops[name])}", *at, bbox=box, **look_of_it)


def _bars(axes: Axes, values: dict[str, pd.Series], feature: Feature, look: dict) -> pd.DataFrame:
    levels = level_names(feature)
    shares = {n: known.value_counts(normalize=True).reindex(levels).to_numpy() for n, known in values.items()}
    style.bars_beside(axes, levels, shares, look)
    for bars, (name, share) in zip(axes.containers, shares.items(), strict=True):
        for bar, part in zip(bars, share, strict=True):
            if part < BARELY:  # a bar of no length would not be seen to be missing
                at = (part, bar.get_y() + bar.get_height() / 2), (4, 0)
                look_of_it = {"color": style.ink(look[name]["color"]), "style": "normal" if part else "italic"}
                words = percent(part) if part else "absent"
                axes.annotate(words, *at, textcoords="offset points", size=10.5, va="center", **look_of_it)
    axes.set_xlim(0, 1)
    style.percent_axis(axes.xaxis)
    return pd.concat([pd.DataFrame({"source": n, "level": levels, "share": share}) for n, share in shares.items()])


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
            missing = int((levels[name][there] == 0).sum())
            lacks = f"lacks {missing} of the {int(there.sum())} levels seen in {first} and "
        told.append(f"{name} {lacks}is furthest from it in {far} (total variation {distance[far]:.2f})")
    return f"Distributions of {len(schema)} features over {row_noun(schema)}: {'; '.join(told)}."
