"""Who is there and who is missing: joint shares of several features, and the coverage of groups.

>>> import hg_helpers as hg
>>> _, table = joint_shares({'real': hg.simulate_cohort(200, months=2)}, hg.ART_DEMO)
>>> len(table), list(table)
(8, ['source', 'Gender', 'Ethnic', 'share'])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm

from ..cohort.schema import Schema
from ..metrics.metric import apart
from . import style
from .features import column, discrete, level_names, named, percent, require, row_noun
from .style import Drawn, Tables, picture

MOST_COLUMNS = 16
COVERAGE = ["real share", "synthetic share", "covered"]
LONG = ["group", "source", "share", "covered", "drawn"]


@picture
def joint_shares(
    tables: dict[str, pd.DataFrame], schema: Schema, features: Sequence[str] = ("Gender", "Ethnic")
) -> Drawn:
    """Heat maps of joint shares of two or more features, one a table, on one colour scale, the shares written in.

    The feature with most levels makes the rows, all combinations of the others the columns, at most 16. The colour
    grows with the square root of the share, so that rare groups can be seen. The first of ``tables`` should be the real
    cohort: the others are compared with it. The table has the columns ``source``, one a feature (level names), and
    ``share`` (of the months in which all are known).
    """
    tables, features = named(tables), list(features)
    if len(features) < 2 or len(set(features)) < len(features):
        raise ValueError(f"joint shares need two or more different features, not {features}")
    chosen = {name: level_names(discrete(schema, name)) for name in features}
    longest = max(chosen, key=lambda name: len(chosen[name]))
    rest = [name for name in features if name != longest]
    heads = ["\n".join(names) for names in pd.MultiIndex.from_product([chosen[name] for name in rest])]
    if len(heads) > MOST_COLUMNS:
        why = f"more than {MOST_COLUMNS} cannot be read; choose fewer features"
        raise ValueError(f"{features} make {len(heads)} columns, {why}")
    shares = pd.DataFrame({name: _joint(table, schema, chosen, name) for name, table in tables.items()})
    told = {name: [f"{int((share > 0).sum())} of {len(share)} groups"] for name, share in shares.items()}
    for name in list(tables)[1:]:
        told[name].append(f"total variation {(shares[name] - shares.iloc[:, 0]).abs().sum() / 2:.2f}")
    widest = max(len(line) for head in heads for line in head.split("\n"))
    wide = max(0.2 + len(heads) * max(0.8, 0.08 * widest + 0.15), 1.8)
    tall = 1.2 + 0.6 * len(chosen[longest]) + 0.2 * len(rest)
    beside = max(1, int((style.WIDTH - 0.5 - 0.085 * max(map(len, chosen[longest]))) // wide))
    figure, panels = style.panels(len(tables), beside, tall, 0.9)
    cells = pd.MultiIndex.from_product([chosen[name] for name in [longest, *rest]])
    norm = PowerNorm(0.5, 0.0, shares.max(axis=None))
    for axes, (name, share) in zip(panels, shares.items(), strict=True):
        ordered = share.reorder_levels([longest, *rest]).reindex(cells).to_numpy().reshape(-1, len(heads))
        grid = pd.DataFrame(ordered, chosen[longest], heads).replace(0.0, np.nan)
        image = style.heat(axes, grid, norm, style.SHARES, percent, empty="absent")
        axes.set_title(name, loc="left", pad=36)
        words = "\n".join([*told[name], ""][:2])
        axes.annotate(words, (0, 1), (0, 6), "axes fraction", "offset points", va="bottom", size=11)
        axes.set(xlabel=" × ".join(rest), ylabel=longest)
        axes.label_outer()
    what = f"share of {row_noun(schema)} (colour grows with its square root)"
    style.percent_axis(style.bar_below(figure, image, panels, what, style.root_ticks(norm.vmax)))
    long = pd.concat(dict(shares.items()), names=["source"]).rename("share")
    long = long.rename_axis(index=["source", *apart(features, ["source", "share"])]).reset_index()
    most = {n: f"{' '.join(share.idxmax())} ({percent(share.max())})" for n, share in shares.items()}
    alt = "; ".join(f"{name} has {', '.join(lines)}, most in {most[name]}" for name, lines in told.items())
    return style.finish(figure, long, f"Joint shares of {' and '.join(features)} over {row_noun(schema)}: {alt}.")


def _joint(table: pd.DataFrame, schema: Schema, chosen: dict[str, list[str]], name: str) -> pd.Series:
    """Share of each combination of levels among the months in which all features are known."""
    table = table.reset_index(drop=True)
    values = pd.concat({n: column(table, schema[n], name).astype(str) for n in chosen}, axis=1, join="inner")
    if values.empty:
        raise ValueError(f"table {name!r} has no row in which all of {list(values)} are known")
    every = pd.MultiIndex.from_product(chosen.values(), names=list(chosen))
    return values.value_counts(normalize=True).reindex(every, fill_value=0.0)


@picture
def coverage_bars(tables: Tables, label: str = "synthetic", most: int = 40, real_label: str = "real") -> Drawn:
    """The share of each group of patients: real as bars, largest first, synthetic as marks, and who is not covered.

    The axis grows with the square root of the share, so that rare groups can be seen. Beside a group that is not
    covered stands ``absent``, or ``too few`` where somebody is there, but fewer than ``coverage`` was asked to count.

    Args:
        tables: from :func:`hg_helpers.metrics.coverage`, of one or several models against the same real cohort.
        label, real_label: names of a single table and of the real cohort.
        most: groups that are drawn; the others stand in the returned table.

    Returns:
        The figure, and a table with the columns of levels, ``group, source, share, covered, drawn``.
    """
    tables = named(tables, label)
    long = _long_coverage(tables, most, real_label)
    if long.empty:
        raise ValueError("the coverage table has no group to draw")
    of_source = {name: part.set_index("group") for name, part in long.groupby("source", sort=False)}
    real, told = of_source[real_label]["share"], []
    groups, look, reach = real.index[:most], style.looks(tables), float(long.loc[long["drawn"], "share"].max())
    figure = style.canvas(style.WIDTH, 0.22 * len(groups) + 1.6)
    strip_width = 0.72 * len(tables)  # words of two tables do not touch, also where the picture is shown small
    room = style.WIDTH - 0.075 * max(map(len, groups)) - 0.5 - strip_width  # beside the names
    axes, strip = figure.subplots(1, 2, sharey=True, width_ratios=[room, strip_width])
    handles: list = [axes.barh(groups, real[groups], 0.8, color="#C4C4C4", label=real_label)]
    for number, name in enumerate(tables):
        every = of_source[name]
        lacks = every.index[~every["covered"].astype(bool)]
        largest = [
            f", the largest uncovered one {group} ({percent(real[group])} of {real_label})" for group in lacks[:1]
        ]
        told.append(f"{name} covers {len(every) - len(lacks)} of {len(every)} groups{''.join(largest)}")
        share = every.loc[groups, "share"]
        mark = {k: look[name][k] for k in ("color", "marker")} | {"linestyle": "", "markersize": 8}
        at = np.arange(len(groups)) + 0.5 * ((number + 0.5) / len(tables) - 0.5)
        handles += axes.plot(share, at, markeredgecolor="white", label=name, **mark)
        strip.plot([number], [-1.1], clip_on=False, **mark)
        text = {"ha": "center", "va": "center", "size": 10, "style": "italic", "color": style.ink(look[name]["color"])}
        for group in groups.intersection(lacks):
            strip.text(number, groups.get_loc(group), "too few" if share[group] else "absent", **text)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.clip(x, 0, None)), np.square))
    axes.set_xlim(0, (np.sqrt(reach) * 1.05) ** 2)
    axes.set_xticks(style.root_ticks(reach, 0.5 / room))
    style.percent_axis(axes.xaxis)
    strip.set_xlim(-0.5, len(tables) - 0.5)
    strip.set_axis_off()
    hidden = len(real) - len(groups)
    note = f"\nthe {hidden} smallest groups are not drawn" if hidden else ""
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel=f"share (the axis grows with its square root){note}")
    axes.tick_params(axis="y", length=0)
    names = " · ".join(c for c in long.columns if c not in LONG)
    axes.annotate(names, (0, 1), (-6, 2), "axes fraction", "offset points", ha="right", va="bottom", style="italic")
    figure.legend(handles=handles, loc="outside upper center", ncols=style.legend_columns([real_label, *tables]))
    return style.finish(figure, long, f"Shares of groups: {'; '.join(told)}.", 10.5)


def _long_coverage(tables: dict[str, pd.DataFrame], most: int, real_label: str) -> pd.DataFrame:
    """All groups of the real cohort, largest first, then of each model in the same order."""
    name, first = next(iter(tables.items()))
    require(first, COVERAGE, name)
    levels = [c for c in first.columns if c not in COVERAGE]
    order = first.sort_values("real share", ascending=False, kind="stable")[[*levels, "real share"]]
    # numeric levels such as (0, 0.5, 1) come as floats; they read 0, 0.5, 1
    names = order[levels].map(lambda level: f"{level:g}" if isinstance(level, float) else str(level))
    own = dict(zip(levels, apart(levels, LONG), strict=True))
    base = order[levels].rename(columns=own)
    base = base.assign(group=names.agg(" · ".join, axis=1), drawn=np.arange(len(order)) < most)
    nobody = pd.array([None] * len(base), "boolean")
    parts = [base.assign(source=real_label, share=order["real share"], covered=nobody)]
    for name, table in tables.items():
        require(table, [*levels, *COVERAGE], name)
        same = order.merge(table, how="left", on=levels, suffixes=("", " here"), validate="one_to_one")
        if len(table) != len(order) or not np.allclose(same["real share"], same["real share here"]):
            raise ValueError(f"table {name!r} has other groups or other real shares than {next(iter(tables))!r}")
        found = {"share": same["synthetic share"].to_numpy(), "covered": same["covered"].astype("boolean").to_numpy()}
        parts.append(base.assign(source=name, **found))
    return pd.concat(parts, ignore_index=True)[[*own.values(), *LONG]]
