"""Training, batch by batch.

>>> import pandas as pd
>>> history = pd.DataFrame({'step': [0, 1, 2], 'epoch': 1, 'length': 60, 'wasserstein': [0.4, 0.3, 0.2]})
>>> _, table = training_curves(history)
>>> list(table)
['curve', 'step', 'epoch', 'length', 'value', 'median']
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .features import require
from .style import SHARES, WIDTH, Picture, canvas, finish, outlined, picture

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


@picture
def training_curves(history: pd.DataFrame) -> tuple[Picture, pd.DataFrame]:
    """Each loss over the generator steps: one point a batch, shaded by its months per patient, and a running median.

    The median runs over one epoch where there are at least five, so that it does not follow the curriculum's lengths up
    and down. Axes end where 98 % of the batches lie; how many lie outside is written in the panel.

    Gradient penalty and correlation loss stand without their weights, as the trainer reports them.

    Args:
        history: of :meth:`Trainer.fit`; columns that are absent or empty (v1 has no autoencoder) get no panel, nor does
            a learning rate that stays as it is.

    Returns:
        The figure, and a table with the columns ``curve, step, epoch, length, value, median``.

    Raises:
        KeyError, ValueError: for a history without its columns, or without a batch.
    """
    require(history, ["step", "epoch", "length"], "history")
    curves = [c for c in CURVES if c in history and history[c].notna().any()]
    curves = [c for c in curves if c != "learning_rate" or history[c].nunique() > 1]
    if not curves:
        raise ValueError(f"the history has no batch, or none of the columns {', '.join(CURVES)}")
    window = _window(history)
    down = math.ceil(len(curves) / 3)
    across = math.ceil(len(curves) / down)
    figure = canvas(WIDTH, 2.4 * down + 0.7)
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    lengths = np.sort(history["length"].unique())
    shades = dict(zip(lengths, SHARES(np.linspace(0.25, 0.85, len(lengths))), strict=True))  # darker the longer
    drawn = []
    for curve, axes in zip(curves, panels, strict=False):
        part = history[["step", "epoch", "length"]].assign(curve=curve, value=history[curve].astype(float))
        part["median"] = part["value"].rolling(window, center=True, min_periods=1).median()
        axes.scatter(part["step"], part["value"], s=14, c=[shades[length] for length in part["length"]], linewidths=0)
        outlined(axes, part["step"], part["median"], color="black", linewidth=1.8)
        _robust_limits(axes, part)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set(title=CURVES[curve], xlabel="generator step")
        drawn.append(part)
    for axes in panels[len(curves) :]:
        axes.remove()
    shown = lengths[np.unique(np.linspace(0, len(lengths) - 1, min(6, len(lengths))).round().astype(int))]
    handles = [Line2D([], [], linestyle="", marker="o", color=shades[n], label=f"{n:g}") for n in shown]
    handles = [Line2D([], [], linestyle="", label="months per patient:"), *handles]
    handles.append(Line2D([], [], color="black", linewidth=1.8, label=f"median over {window} batches"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, handletextpad=0.3)
    table = pd.concat(drawn)[["curve", "step", "epoch", "length", "value", "median"]]
    return finish(figure, table, _training_alt(history, table))


def _window(history: pd.DataFrame) -> int:
    batches, epochs = len(history), history["epoch"].nunique()
    return max(1, batches // epochs if epochs >= 5 else batches // 10)


def _robust_limits(axes: Axes, part: pd.DataFrame) -> None:
    low, high = part["value"].quantile([0.01, 0.99])
    low, high = min(low, part["median"].min()), max(high, part["median"].max())
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    outside = int((~part["value"].between(low - margin, high + margin) & part["value"].notna()).sum())
    axes.set_ylim(low - margin, high + margin)
    if outside:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axes.text(0.99, 0.97, f"{outside} outside", transform=axes.transAxes, ha="right", va="top", size=10.5, bbox=box)


def _training_alt(history: pd.DataFrame, table: pd.DataFrame) -> str:
    ends = table.dropna(subset=["median"]).groupby("curve", sort=False)["median"].agg(["first", "last"])
    told = [f"{curve.replace('_', ' ')} from {first:.3g} to {last:.3g}" for curve, first, last in ends.itertuples()]
    time = f" in {history['seconds'].sum():,.0f} seconds" if "seconds" in history else ""
    return (
        f"Training over {history['epoch'].nunique()} epochs, {len(history)} batches{time}; running medians: "
        f"{', '.join(told)}."
    )
