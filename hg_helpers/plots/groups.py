"""Who is there, who is missing, who is too near to somebody, and what gives synthetic patients away.

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

COVERAGE = ["real share", "synthetic share", "covered"]
LONG = ["group", "source", "share", "covered", "drawn"]
SETS = {"to train, equal numbers": "training patient", "to holdout, equal numbers": "held-out patient"}
GIVEAWAYS = ["feature", "summary", "auc", "real", "synthetic"]


@picture
def joint_shares(
    tables: dict[str, pd.DataFrame], schema: Schema, features: Sequence[str] = ("Gender", "Ethnic")
) -> Drawn:
    """Heat maps of joint shares of two or more features, one a table, on one colour scale, the shares written in.

    The feature with most levels makes the rows, all combinations of the others the columns, at most 16. The colour
    grows with the square root of the share, so that rare groups can be seen. The first of ``tables``, the real cohort,
    is what the others are compared with. Columns: ``source``, the features, ``share`` (of months where all are known).
    """
    tables, features = named(tables), list(features)
    if len(features) < 2 or len(set(features)) < len(features):
        raise ValueError(f"joint shares need two or more different features, not {features}")
    chosen = {name: level_names(discrete(schema, name)) for name in features}
    longest = max(chosen, key=lambda name: len(chosen[name]))
    rest = [name for name in features if name != longest]
    heads = ["\n".join(names) for names in pd.MultiIndex.from_product([chosen[name] for name in rest])]
    if len(heads) > 16:
        raise ValueError(f"{features} make {len(heads)} columns, more than 16 cannot be read; choose fewer features")
    every = pd.MultiIndex.from_product(chosen.values(), names=features)
    shares, told, first = pd.DataFrame(index=every), {}, next(iter(tables))
    for name, table in tables.items():
        known = {n: column(table.reset_index(drop=True), schema[n], name).astype(str) for n in features}
        if (values := pd.concat(known, axis=1, join="inner")).empty:
            raise ValueError(f"table {name!r} has no row in which all of {features} are known")
        shares[name] = values.value_counts(normalize=True).reindex(every, fill_value=0.0)
        told[name] = f"{(shares[name] > 0).sum()} of {len(shares)} groups"
        if name != first:
            told[name] += f", total variation {(shares[name] - shares[first]).abs().sum() / 2:.2f}"
    widest = max(len(line) for head in heads for line in head.split("\n"))
    wide = max(0.2 + len(heads) * max(0.8, 0.08 * widest + 0.15), 1.8)
    tall = 1.2 + 0.6 * len(chosen[longest]) + 0.2 * len(rest)
    beside = max(1, int((style.WIDTH - 0.5 - 0.085 * max(map(len, chosen[longest]))) // wide))
    figure, panels = style.panels(len(tables), beside, tall, 0.9)
    sizes = [len(levels) for levels in chosen.values()]
    scale = {"cmap": style.SHARES, "norm": PowerNorm(0.5, 0.0, shares.max(axis=None))}
    for axes, (name, share) in zip(panels, shares.items(), strict=True):
        cells = np.moveaxis(share.to_numpy().reshape(sizes), features.index(longest), 0).reshape(-1, len(heads))
        grid = pd.DataFrame(cells, chosen[longest], heads).replace(0.0, np.nan)
        image = style.heat(axes, grid, scale, lambda share: percent(share) if share > 0 else "absent")
        axes.set_title(name, loc="left", pad=36)
        words = told[name].replace(", ", "\n") + "\n" * (name == first)
        axes.annotate(words, (0, 1), (0, 6), "axes fraction", "offset points", va="bottom", size=11)
        axes.set(xlabel=" × ".join(rest), ylabel=longest)
        axes.label_outer()
    what = f"share of {row_noun(schema)} (colour grows with its square root)"
    ticks = style.root_ticks(shares.max(axis=None))
    style.bar_below(figure, image, panels, what, ticks).set_major_formatter(style.PERCENT)
    long = pd.concat(dict(shares.items()), names=["source"]).rename("share")
    long = long.rename_axis(index=["source", *apart(features, ["source", "share"])]).reset_index()
    most = {n: f"{' '.join(share.idxmax())} ({percent(share.max())})" for n, share in shares.items()}
    alt = "; ".join(f"{name} has {words}, most in {most[name]}" for name, words in told.items())
    return style.finish(figure, long, f"Joint shares of {' and '.join(features)} over {row_noun(schema)}: {alt}.")


@picture
def coverage_bars(tables: Tables, label: str = "synthetic", most: int = 40, real_label: str = "real") -> Drawn:
    """The share of each group of patients: real as bars, largest first, synthetic as marks, and who is not covered.

    Beside a group that is not covered stands ``absent``, or ``too few`` where somebody is there, but fewer than
    ``coverage`` was asked to count. ``tables`` come from :func:`hg_helpers.metrics.coverage`, one (``label``) or
    several. ``most`` groups are drawn. Columns: the levels' and ``group, source, share, covered, drawn``.
    """
    tables = named(tables, label)
    long = _long_coverage(tables, most, real_label)
    of_source = {name: part.set_index("group") for name, part in long.groupby("source", sort=False)}
    real, look, told = of_source[real_label]["share"], style.looks(tables), []
    groups, reach = real.index[:most], float(long.loc[long["drawn"], "share"].max())
    beside = 0.72 * len(tables)  # words of two tables do not touch, also where the picture is shown small
    room = style.WIDTH - 0.075 * max(map(len, groups)) - 0.5 - beside
    figure = style.canvas(style.WIDTH, 0.22 * len(groups) + 1.6)
    axes, strip = figure.subplots(1, 2, sharey=True, width_ratios=[room, beside])
    handles: list = [axes.barh(groups, real[groups], 0.8, color="#C4C4C4", label=real_label)]
    for number, (name, seen) in enumerate(look.items()):
        share, lacks = of_source[name]["share"], real.index[~of_source[name]["covered"].astype(bool)]
        told.append(f"{name} covers {len(real) - len(lacks)} of {len(real)} groups")
        if len(lacks):
            told[-1] += f", the largest uncovered one {lacks[0]} ({percent(real[lacks[0]])} of {real_label})"
        mark = {"color": seen["color"], "marker": seen["marker"], "linestyle": "", "markersize": 8}
        at = np.arange(len(groups)) + 0.5 * ((number + 0.5) / len(tables) - 0.5)
        handles += axes.plot(share[groups], at, markeredgecolor="white", label=name, **mark)
        strip.plot([number], [-1.1], clip_on=False, **mark)
        text = {"ha": "center", "va": "center", "size": 10, "style": "italic", "color": style.ink(seen["color"])}
        for group in groups.intersection(lacks):
            strip.text(number, groups.get_loc(group), "too few" if share[group] else "absent", **text)
    hidden = len(real) - len(groups)
    note = f"\nthe {hidden} smallest groups are not drawn" if hidden else ""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.clip(x, 0, None)), np.square))
    axes.set(xlim=(0, (np.sqrt(reach) * 1.05) ** 2), xticks=style.root_ticks(reach, 0.5 / room))
    axes.set(ylim=(len(groups) - 0.4, -0.6), xlabel=f"share (the axis grows with its square root){note}")
    axes.xaxis.set_major_formatter(style.PERCENT)
    axes.tick_params(axis="y", length=0)
    strip.set(xlim=(-0.5, len(tables) - 0.5))
    strip.set_axis_off()
    names = " · ".join(c for c in long.columns if c not in LONG)
    axes.annotate(names, (0, 1), (-6, 2), "axes fraction", "offset points", ha="right", va="bottom", style="italic")
    figure.legend(handles=handles, loc="outside upper center", ncols=style.legend_columns([real_label, *tables]))
    return style.finish(figure, long, f"Shares of groups: {'; '.join(told)}.", 10.5)


def _long_coverage(tables: dict[str, pd.DataFrame], most: int, real_label: str) -> pd.DataFrame:
    """All groups of the real cohort, largest first, then of each model in the same order."""
    name, first = next(iter(tables.items()))
    require(first, COVERAGE, name)
    levels = [c for c in first.columns if c not in COVERAGE]
    order = first.sort_values("real share", ascending=False, kind="stable").set_index(levels)
    parts = {real_label: order.assign(share=order["real share"], covered=None)}
    for name, table in tables.items():
        require(table, [*levels, *COVERAGE], name)
        same = table.set_index(levels).reindex(order.index)
        if len(table) != len(order) or not np.allclose(same["real share"], order["real share"]):
            raise ValueError(f"table {name!r} has other groups or other real shares than {next(iter(tables))!r}")
        parts[name] = same.assign(share=same["synthetic share"])
    own = apart(levels, LONG)
    long = pd.concat({name: part[["share", "covered"]].astype({"covered": "boolean"}) for name, part in parts.items()})
    long = long.rename_axis(index=["source", *own]).reset_index()
    # numeric levels such as (0, 0.5, 1) come as floats; they read 0, 0.5, 1
    words = long[own].map(lambda level: f"{level:g}" if isinstance(level, float) else str(level))
    long["group"] = words.agg(" · ".join, axis=1)
    long["drawn"] = np.tile(np.arange(len(order)) < most, len(parts))
    return long[[*own, *LONG]]


@picture
def privacy_distances(tables: Tables, label: str = "synthetic") -> Drawn:
    """How far the closest training and the closest held-out patient are: cumulative shares of synthetic patients.

    A cohort that copies its training patients starts at distance 0. The larger of the two real sets would lie closer by
    its size alone, so curves and the share above each panel (ideal: 0.5) are of both at equal numbers. ``tables`` come
    from :func:`hg_helpers.metrics.dcr_share`, one or ``{name: table}``. Columns: ``source, set, distance, share``.
    """
    tables = named(tables, label)
    figure, panels = style.panels(len(tables), 3, 3.6, sharex=True, sharey=True)
    drawn, told = [], []
    for axes, (name, look) in zip(panels, style.looks(tables).items(), strict=True):
        table = tables[name]
        require(table, [*SETS, "to train", "closer to train"], name)
        for (which, who), seen in zip(SETS.items(), (look, {"color": "black", "linestyle": (0, (1, 1))}), strict=True):
            distance = np.sort(table[which].to_numpy(float))
            if np.isnan(distance).any():
                raise ValueError(f"table {name!r}: column {which!r} holds undefined distances")
            axes.ecdf(distance, color=seen["color"], linestyle=seen["linestyle"], linewidth=2.4, label=who)
            share = np.arange(1, len(distance) + 1) / len(distance)
            drawn.append(pd.DataFrame({"source": name, "set": who, "distance": distance, "share": share}))
        closer, copies = table["closer to train"].mean(), (table["to train"] == 0).mean()
        axes.set(xlabel="distance to the closest patient", ylabel="share at most this far")
        axes.set_title(f"{name}\ncloser to training: {closer:.2f}")
        axes.label_outer()
        axes.legend(loc="lower right", handlelength=2.4)
        told.append(f"{name} {closer:.2f} (copies {copies:.1%}, median distance {table['to train'].median():.3f})")
    what = "Distances of synthetic patients to the closest training and held-out patient"
    alt = f"{what}; share closer to training, 0.5 being ideal: {'; '.join(told)}."
    return style.finish(figure, pd.concat(drawn), alt)


@picture
def giveaways(tables: Tables, label: str = "synthetic", most: int = 10) -> Drawn:
    """The summaries that give synthetic patients away, worst first: how well each one alone tells them from real ones.

    An AUC of 0.5 tells nothing, 1 everything. Below each name stand its means: labs on their encoded scale from 0 to 1,
    all else as shares of months. ``tables`` come from :func:`hg_helpers.metrics.c2st_auc`, one or ``{name: table}`` of
    several models against the same real patients, ordered by the first. ``most`` summaries are drawn; the returned
    table has all, in the columns ``source, feature, summary, auc, real, synthetic, drawn``.
    """
    tables = named(tables, label)
    first, parts, told = next(iter(tables)), {}, []
    for name, table in tables.items():
        require(table, GIVEAWAYS, name)
        part = table.set_index(["feature", "summary"])[["auc", "real", "synthetic"]]
        if not parts:
            keys = part.sort_values("auc", ascending=False, kind="stable").index
        if len(part) != len(keys) or set(part.index) != set(keys):
            raise ValueError(f"table {name!r} has other summaries than {first!r}")
        parts[name], top = part.loc[keys], part.loc[part["auc"].idxmax()]
        means = f"mean {top['real']:.3g} real, {top['synthetic']:.3g} synthetic"
        many = f"{(part['auc'] > 0.75).sum()} of {len(part)} summaries above 0.75"
        told.append(f"{name} is told best by {', '.join(top.name)} (AUC {top['auc']:.2f}; {means}), {many}")
    long = pd.concat(parts, names=["source"]).reset_index()
    long["drawn"] = np.tile(np.arange(len(keys)) < most, len(tables))
    shown, names = keys[:most], []
    for key in shown:
        means = {n if len(parts) > 1 else "synthetic": part.loc[key, "synthetic"] for n, part in parts.items()}
        means = {"real": parts[first].loc[key, "real"], **means}
        names.append(f"{': '.join(key)}\n" + ", ".join(f"{name} {mean:.2g}" for name, mean in means.items()))
    figure, look = style.canvas(style.WIDTH, 0.42 * len(shown) + 1.6), style.looks(tables)
    axes = figure.subplots()
    style.bars_beside(axes, names, {name: part.loc[shown, "auc"] - 0.5 for name, part in parts.items()}, look, left=0.5)
    axes.set(xlim=(0.5, 1.0), xlabel="AUC of this summary alone: 0.5 tells nothing")
    style.legend_of(figure, look)
    return style.finish(figure, long, f"Summaries of single patients that tell synthetic from real: {'; '.join(told)}.")
