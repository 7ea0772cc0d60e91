"""How models learnt: one training batch by batch, and what many of them reached.

>>> import pandas as pd
>>> history = pd.DataFrame({'step': [0, 1, 2], 'epoch': 1, 'length': 60, 'wasserstein': [0.4, 0.3, 0.2]})
>>> _, table = training_curves(history)
>>> list(table)
['curve', 'step', 'epoch', 'length', 'value', 'median']
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..metrics import METRICS
from . import style
from .features import require
from .style import Drawn, picture

CURVES = {
    "wasserstein": "Wasserstein estimate",
    "critic_loss": "Critic loss",
    "generator_loss": "Generator loss",
    "penalty": "Gradient penalty",
    "correlation_loss": "Correlation loss",
    "moment_loss": "Moment loss",
    "reconstruction": "Reconstruction error",
    "kl": "KL divergence",
    "learning_rate": "Learning rate",
}
#: Metrics of an ablation as a reader says them.
WORDS = {
    "coverage_month": "groups covered,\nby month",
    "coverage_patient": "groups covered,\nby patient",
    "joint_tv": "total variation\nof the joint",
    "ks": "distance of\ndistributions",
    "patient_spread": "spread between\npatients, of real",
    "switching_ratio": "switches,\nof real",
    "static_constant": "patients whose sex and\nethnicity stay",
    "dwell_times": "stays on a regimen,\nmonths off",
    "c2st_auc": "told from real\nones (AUC)",
    "autocorrelation_difference": "autocorrelation,\ndifference",
}
FLOOR = {"color": "black", "linewidth": 1.4, "linestyle": (0, (5, 2)), "zorder": 1}


@picture
def training_curves(history: pd.DataFrame) -> Drawn:
    """Each loss over the generator steps: one point a batch, shaded by its months per patient, and a running median.

    The median runs over one epoch where there are at least five, so that it does not follow the curriculum's lengths up
    and down. Axes end where 98 % of the batches lie; how many lie outside is written in the panel. Gradient penalty and
    correlation loss stand without their weights. ``history`` is that of :meth:`Trainer.fit`; columns that are absent or
    empty get no panel, nor does a learning rate that stays as it is. The table has the columns ``curve, step, epoch,
    length, value, median``.
    """
    require(history, ["step", "epoch", "length"], "history")
    curves = [c for c in CURVES if c in history and history[c].notna().any()]
    curves = [c for c in curves if c != "learning_rate" or history[c].nunique() > 1]
    if not curves:
        raise ValueError(f"the history has no batch, or none of the columns {', '.join(CURVES)}")
    batches, epochs = len(history), history["epoch"].nunique()
    window = max(1, batches // (epochs if epochs >= 5 else 10))
    figure, all_axes = style.panels(len(curves), 3, 2.4, 0.7)
    lengths = np.sort(history["length"].unique())
    shades = dict(zip(lengths, style.SHARES(np.linspace(0.25, 0.85, len(lengths))), strict=True))  # darker the longer
    drawn, told = [], []
    for curve, axes in zip(curves, all_axes, strict=True):
        part = history[["step", "epoch", "length"]].assign(curve=curve, value=history[curve].astype(float))
        part["median"] = part["value"].rolling(window, center=True, min_periods=1).median()
        axes.scatter(part["step"], part["value"], s=14, c=[shades[length] for length in part["length"]], linewidths=0)
        style.outlined(axes, part["step"], part["median"], color="black", linewidth=1.8)
        _robust_limits(axes, part)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set(title=CURVES[curve], xlabel="generator step")
        drawn.append(part[["curve", "step", "epoch", "length", "value", "median"]])
        first, last = part["median"].dropna().iloc[[0, -1]]
        told.append(f"{curve.replace('_', ' ')} from {first:.3g} to {last:.3g}")
    shown = lengths[np.unique(np.linspace(0, len(lengths) - 1, min(6, len(lengths))).round().astype(int))]
    handles = [Line2D([], [], linestyle="", label="months per patient:")]
    handles += [Line2D([], [], linestyle="", marker="o", color=shades[n], label=f"{n:g}") for n in shown]
    handles.append(Line2D([], [], color="black", linewidth=1.8, label=f"median over {window} batches"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, handletextpad=0.3)
    time = f" in {history['seconds'].sum():,.0f} seconds" if "seconds" in history else ""
    alt = f"Training over {epochs} epochs, {batches} batches{time}; running medians: {', '.join(told)}."
    return style.finish(figure, pd.concat(drawn), alt)


def _robust_limits(axes: Axes, part: pd.DataFrame) -> None:
    low, high = part["value"].quantile([0.01, 0.99])
    low, high = min(low, part["median"].min()), max(high, part["median"].max())
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    outside = int((~part["value"].between(low - margin, high + margin) & part["value"].notna()).sum())
    axes.set_ylim(low - margin, high + margin)
    if outside:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axes.text(0.99, 0.97, f"{outside} outside", transform=axes.transAxes, ha="right", va="top", size=10.5, bbox=box)


@picture
def ablation(results: pd.DataFrame, floor: dict[str, float] | None = None) -> Drawn:
    """What each configuration reaches in each metric: one point a seed, a bar at their median.

    Args:
        results: columns ``configuration, seed, metric, value``; ``decode`` where both decodings were tried; where a
            metric stands for several features, ``feature``, which then has a panel each. All in the order of the rows.
        floor: real against real patients, a dashed line, for metrics (``"ks"``) or a metric's feature (``"ks: VL"``).

    Returns:
        The figure, and the results with the columns ``panel`` and ``median`` (over the seeds).
    """
    require(results, ["configuration", "seed", "metric", "value"], "results")
    if results.empty:
        raise ValueError("the results hold no row to draw")
    table = results.reset_index(drop=True)
    if "decode" not in table:
        table["decode"] = ""
    table["panel"] = table["metric"].astype(str)
    if "feature" in table:
        single = table["feature"].isna() | (table["feature"] == "all")
        table["panel"] = table["panel"].where(single, table["panel"] + ": " + table["feature"].astype(str))
    table["median"] = table.groupby(["configuration", "panel", "decode"])["value"].transform("median")
    configurations, decodings = list(table["configuration"].unique()), list(table["decode"].unique())
    names, floor, told = list(table["panel"].unique()), floor or {}, []
    height = 0.26 * len(configurations) + 1.2
    figure, all_axes = style.panels(len(names), 4, height, 0.5, sharey=True)
    for axes, name in zip(all_axes, names, strict=True):
        part = table[table["panel"] == name]
        _ablation_panel(axes, part, configurations, decodings)
        if name in floor:
            axes.axvline(floor[name], **FLOOR)
        metric, _, feature = name.partition(": ")
        words = WORDS.get(metric, metric.replace("_", " ")) + f"\n({feature})" * bool(feature)
        axes.set_title(words, size=12)
        axes.set_xlabel(_better(metric), size=11)
        if not (ordered := part.dropna(subset=["value"]).sort_values("median", kind="stable")).empty:
            ends = [f"{r.median:.3g} ({f'{r.configuration} {r.decode}'.strip()})" for r in ordered.itertuples()]
            told.append(f"{name} from {ends[0]} to {ends[-1]}")
    all_axes[0].set_ylim(len(configurations) - 0.5, -0.5)
    handles = [Line2D([], [], linestyle="", label=d or "one seed", **_seed_look(i)) for i, d in enumerate(decodings)]
    bar = {"marker": "|", "markersize": 14, "markeredgewidth": 2.5}
    handles.append(Line2D([], [], color="black", linestyle="", label="median over seeds", **bar))
    if floor:
        handles.append(Line2D([], [], label="real against real", **FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    undefined = int(table["value"].isna().sum())
    alt = (
        f"{len(configurations)} configurations with {table['seed'].nunique()} seeds, medians: "
        f"{'; '.join(told) or 'none defined'}" + (f"; {undefined} values undefined." if undefined else ".")
    )
    return style.finish(figure, table, alt)


def _better(metric: str) -> str:
    """Where the better values lie; a metric that is best in the middle of its range says where."""
    if metric not in METRICS:
        return ""
    ends = dict(zip(METRICS[metric].limits, ("← better", "better →"), strict=True))
    return ends.get(METRICS[metric].best, f"best at {METRICS[metric].best:g}")


def _seed_look(number: int) -> dict:
    look = style.SYNTHETIC[(1, 0, 2, 3, 4)[number % 5]]
    filling = "none" if number else look["color"]  # later decodings are open, so that both show where they meet
    return {"marker": look["marker"], "color": look["color"], "markersize": 6, "markerfacecolor": filling}


def _ablation_panel(axes: Axes, part: pd.DataFrame, configurations: list, decodings: list) -> None:
    for row in range(0, len(configurations), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F0F0F0", zorder=0, linewidth=0)
    for number, decode in enumerate(decodings):
        chosen = part[part["decode"] == decode]
        row = pd.Series(map(configurations.index, chosen["configuration"]), chosen.index, float)  # also of no run
        at = row + 0.34 * ((number + 0.5) / len(decodings) - 0.5) * 2
        axes.vlines(chosen["median"], at - 0.2, at + 0.2, color="black", linewidth=2.5, zorder=5)
        for place in at[chosen["median"].isna()].unique():
            text = {"size": 10, "va": "center", "style": "italic", "color": style.ink(_seed_look(number)["color"])}
            axes.annotate("undefined", (0, place), (4, 0), ("axes fraction", "data"), "offset points", **text)
        axes.plot(chosen["value"], at, linestyle="", zorder=4, alpha=0.85, **_seed_look(number))
    axes.set_yticks(range(len(configurations)), [str(c) for c in configurations])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.08)
