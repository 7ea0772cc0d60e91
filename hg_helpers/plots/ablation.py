"""What an ablation found: every configuration in every metric.

>>> import pandas as pd
>>> rows = [(name, seed, 'ks', value) for name, seed, value in [('v1', 0, 0.5), ('v1', 1, 0.4), ('v2', 0, 0.2)]]
>>> _, table = ablation(pd.DataFrame(rows, columns=['configuration', 'seed', 'metric', 'value']))
>>> table['median'].round(2).tolist()
[0.45, 0.45, 0.2]
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..metrics import METRICS
from .features import require
from .style import SYNTHETIC, WIDTH, Picture, canvas, finish, ink, picture

FLOOR = {"color": "black", "linewidth": 1.4, "linestyle": (0, (5, 2)), "zorder": 1}
#: Metrics as a reader says them.
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


@picture
def ablation(results: pd.DataFrame, floor: dict[str, float] | None = None) -> tuple[Picture, pd.DataFrame]:
    """What each configuration reaches in each metric: one point a seed, a bar at their median.

    Args:
        results: columns ``configuration, seed, metric, value``; ``decode`` where both decodings were tried; where a
            metric stands for several features, ``feature``, which then has a panel each. All stand in the order in
            which they first appear.
        floor: value of real against real patients, a dashed line, for metrics (``"ks"``) or a metric's feature
            (``"ks: VL"``).

    Returns:
        The figure, and the results with the columns ``panel`` and ``median`` (over the seeds).

    Raises:
        KeyError, ValueError: for a column that is missing, or no row.
    """
    require(results, ["configuration", "seed", "metric", "value"], "results")
    if results.empty:
        raise ValueError("the results hold no row to draw")
    table = _with_panels(results)
    configurations, decodings, names = (list(table[c].unique()) for c in ("configuration", "decode", "panel"))
    down = math.ceil(len(names) / 4)
    across = math.ceil(len(names) / down)
    figure = canvas(WIDTH, down * (0.26 * len(configurations) + 1.2) + 0.5)
    panels = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        _ablation_panel(axes, table[table["panel"] == name], configurations, decodings)
        if floor and name in floor:
            axes.axvline(floor[name], **FLOOR)
        axes.set_title(in_words(name), size=12)
        axes.set_xlabel(_better(name), size=11)
    for axes in panels[len(names) :]:
        axes.remove()
    panels[0].set_ylim(len(configurations) - 0.5, -0.5)
    handles = [Line2D([], [], linestyle="", label=d or "one seed", **_seed_look(i)) for i, d in enumerate(decodings)]
    bar = {"marker": "|", "markersize": 14, "markeredgewidth": 2.5}
    handles.append(Line2D([], [], color="black", linestyle="", label="median over seeds", **bar))
    if floor:
        handles.append(Line2D([], [], label="real against real", **FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return finish(figure, table, _ablation_alt(table))


def in_words(panel: str) -> str:
    """What a panel shows, in words and at most three lines: a metric, or a metric and its feature."""
    metric, _, feature = panel.partition(": ")
    return WORDS.get(metric, metric.replace("_", " ")) + f"\n({feature})" * bool(feature)


def _better(panel: str) -> str:
    """Where the better values lie; a metric that is best in the middle of its range says where."""
    metric = METRICS.get(panel.partition(": ")[0])
    if metric is None:
        return ""
    ends = dict(zip(metric.limits, ("← better", "better →"), strict=True))
    return ends.get(metric.best, f"best at {metric.best:g}")


def _with_panels(results: pd.DataFrame) -> pd.DataFrame:
    """The results with the panel of each row, and the median over the seeds of its configuration."""
    table = results.reset_index(drop=True)
    if "decode" not in table:
        table["decode"] = ""
    table["panel"] = table["metric"].astype(str)
    if "feature" in table:
        single = table["feature"].isna() | (table["feature"] == "all")
        table["panel"] = table["panel"].where(single, table["panel"] + ": " + table["feature"].astype(str))
    table["median"] = table.groupby(["configuration", "panel", "decode"])["value"].transform("median")
    return table


def _seed_look(number: int) -> dict:
    look = SYNTHETIC[(1, 0, 2, 3, 4)[number % 5]]
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
            text = {"size": 10, "va": "center", "style": "italic", "color": ink(_seed_look(number)["color"])}
            axes.annotate("undefined", (0, place), (4, 0), ("axes fraction", "data"), "offset points", **text)
        axes.plot(chosen["value"], at, linestyle="", zorder=4, alpha=0.85, **_seed_look(number))
    axes.set_yticks(range(len(configurations)), [str(c) for c in configurations])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.08)


def _ablation_alt(table: pd.DataFrame) -> str:
    told = []
    for name, part in table.dropna(subset=["value"]).groupby("panel", sort=False):
        low, high = part.loc[part["median"].idxmin()], part.loc[part["median"].idxmax()]
        who = [" ".join([str(r["configuration"]), str(r["decode"])]).strip() for r in (low, high)]
        told.append(f"{name} from {low['median']:.3g} ({who[0]}) to {high['median']:.3g} ({who[1]})")
    undefined = int(table["value"].isna().sum())
    return (
        f"{table['configuration'].nunique()} configurations with {table['seed'].nunique()} seeds, medians: "
        f"{'; '.join(told) or 'none defined'}" + (f"; {undefined} values undefined." if undefined else ".")
    )
