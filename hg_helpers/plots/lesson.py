"""Pictures of the lesson: the map of the three models, a GAN among points, and an LSTM, step by step.

>>> _, table = lstm_steps([0.0, 1.0, 0.0], {'forgets': ([0, 8, 0, 2], [0] * 4, [2, -4, 0, 0])})
>>> [round(c, 2) for c in table['c']]
[0.0, 0.95, 0.47]
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Bbox

from . import style
from .style import Drawn, Picture, picture

MODELS, PLACES, ARROWS = (style.WORDS[part] for part in ("models", "places", "arrows"))
PLAIN = {"facecolor": "#F2F2F2", "edgecolor": "#595959"}
TODAY = {"facecolor": "#FFE98A", "edgecolor": "#000000", "linewidth": 3.2}
APART = 30.1  # from model to model, tenths of an inch


@picture
def models(mark: str | Sequence[str] = (), only: Sequence[str] = tuple(MODELS)) -> Drawn:
    """v1, v2 and v2_plus as boxes and arrows; what a model adds to the one before has its colour and a thick frame.

    ``mark``: today's parts, one or a list; ``only``: which models. Columns: ``model, part, words, new, today``.
    """
    mark, only = [mark] if isinstance(mark, str) else list(mark), list(only)
    if strange := [m for m in mark if m not in PLACES] + [m for m in only if m not in MODELS]:
        raise KeyError(f"the drawing has no {strange}; parts: {', '.join(PLACES)}; models: {', '.join(MODELS)}")
    figure, rows = style.canvas(style.WIDTH, 5.8), []
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.25, 89.75), ylim=(-1.9, 56.1))
    axes.axis("off")
    known = dict(zip(MODELS, itertools.accumulate((m["parts"] for m in MODELS.values()), dict.__or__), strict=True))
    for left, name in zip((0, APART, 2 * APART), only, strict=False):
        model, places = MODELS[name], {}
        axes.text(left, 54.2, name, size=18, weight="bold", va="center")
        axes.text(left, 51.6, model["motto"], size=12, va="center", style="italic")
        fresh = {"edgecolor": style.MODELS[name]["color"], "linewidth": 2.6}
        fresh["facecolor"] = to_rgba(fresh["edgecolor"], 0.12)
        for part, words in known[name].items():
            new = name != "v1" and part in model["parts"]
            places[part] = Bbox.from_bounds(*PLACES[part]).translated(left, 0)
            _boxes(axes, places[part], words, TODAY if part in mark else fresh if new else PLAIN)
            rows.append((name, part, "; ".join(words).replace("-\n", "").replace("\n", " "), new, part in mark))
        for start, end in ARROWS[1:] if "mix" in places else ARROWS:
            if start in places and end in places:
                _arrow(axes, places[start], places[end])
    table = pd.DataFrame(rows, columns=["model", "part", "words", "new", "today"])
    told = [f"{name}: {MODELS[name]['alt']}" for name in only]
    if table["today"].any():
        told.append(f"Marked as today's part: {', '.join(table.loc[table['today'], 'part'].unique())}.")
    return style.finish(figure, table, " ".join(told))


def _boxes(axes: Axes, place: Bbox, words: list[str], look: dict) -> None:
    """One below the other, as high as their lines of text."""
    lines = [text.count("\n") + 1.7 for text in words]
    line, top = (place.height - 0.8 * (len(words) - 1)) / sum(lines), place.y1
    for text, number in zip(words, lines, strict=True):
        height, style_of_it = line * number, "round,pad=0,rounding_size=0.8"
        axes.add_patch(FancyBboxPatch((place.x0, top - height), place.width, height, boxstyle=style_of_it, **look))
        axes.text(place.x0 + place.width / 2, top - height / 2, text, ha="center", va="center", size=10)
        top -= height + 0.8


def _arrow(axes: Axes, start: Bbox, end: Bbox) -> None:
    """Up or down where the boxes stand one above the other, else to the left, in the middle of what they share."""
    x, y = (max(start.x0, end.x0) + min(start.x1, end.x1)) / 2, (max(start.y0, end.y0) + min(start.y1, end.y1)) / 2
    tail, head = ((x, start.y0), (x, end.y1)) if start.y0 > end.y0 else ((x, start.y1), (x, end.y0))
    if start.x0 > end.x1:
        tail, head = (start.x0, y), (end.x1, y)
    look = {"arrowstyle": "-|>", "mutation_scale": 12, "color": "#404040", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", head, tail, arrowprops=look)


@picture
def gan_steps(points: Any, runs: dict[str, list], frames: Sequence[int] = (0, 2, 4, 8)) -> Drawn:
    """Real points (n, 2), fakes, the critic's scores (darker: higher) and, as arrows, its slope at the fakes.

    ``runs`` are of ``exercises.toy_gan``. The table has the columns ``run, step``; ``spread``, the fakes' root mean
    squared distance from their mean; ``reached``, the share of real points with a fake within 0.15 of them.
    """
    points, rows, many = np.asarray(points), [], len(frames) > 1
    down, across = (len(runs), len(frames)) if many else (1, len(runs))  # a single frame: the runs side by side
    figure = style.canvas(style.WIDTH, 0.4 + down * style.WIDTH / max(2, across))
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for line, (name, run) in zip(grid if many else grid.T, runs.items(), strict=True):
        for axes, frame in zip(line, [run[number] for number in frames], strict=True):
            fakes, some, ends = frame.fakes, slice(None, None, 16), (frame.side[0], frame.side[-1])
            axes.contourf(frame.side, frame.side, frame.scores, 12, cmap=style.SHARES, alpha=0.45)
            axes.plot(*points.T, "s", color="#404040", markersize=2)
            arrows = {"angles": "xy", "scale_units": "xy", "scale": 2.5, "width": 0.008, "zorder": 3}
            axes.quiver(*fakes[some].T, *frame.arrows[some].T, **arrows)
            axes.scatter(*fakes.T, 18, style.VERMILLION, edgecolors="w", linewidths=0.4, zorder=4)
            axes.set(xlim=ends, ylim=ends, xticks=[], yticks=[], aspect="equal", title=f"step {frame.step}")
            spread = np.sqrt(((fakes - fakes.mean(0)) ** 2).sum(1).mean())
            apart = np.linalg.norm(points[:, None] - fakes, axis=2).min(1)  # from each real point to the nearest fake
            rows.append((name, frame.step, spread, (apart < 0.15).mean()))
        line[0].set_ylabel(name)
    table = pd.DataFrame(rows, columns=["run", "step", "spread", "reached"])
    last = table.groupby("run", sort=False).tail(1)
    told = [f"with {r.run}, {r.reached:.0%} are reached at step {r.step}" for r in last.itertuples()]
    alt = f"Real points in groups, fakes, and arrows up the critic's landscape: {'; '.join(told)}."
    return style.finish(figure, table, alt)


@picture
def lstm_steps(inputs: Sequence[float], runs: dict[str, tuple], until: int | None = None) -> Drawn:
    """One LSTM unit that reads one number a month: its four gates as a table, cell and hidden state as lines.

    ``runs`` gives (weight, hidden weight, bias) by name, four numbers each in the order o, i, f, a. Months after
    ``until`` stay blank. The table has the columns ``run, month, input, o, i, f, a, c, h``.
    """
    months, rows = len(inputs), []
    for name, weights in runs.items():
        weight, hidden_weight, bias = (torch.as_tensor(part, dtype=torch.float64) for part in weights)
        h = c = torch.zeros((), dtype=torch.float64)
        for month, x in enumerate(inputs):
            o, i, f, a = x * weight + h * hidden_weight + bias
            o, i, f, a = o.sigmoid(), i.sigmoid(), f.sigmoid(), a.tanh()
            c = f * c + i * a
            h = o * c.tanh()
            rows.append((name, month, x, *(float(part) for part in (o, i, f, a, c, h))))
    table = pd.DataFrame(rows, columns=["run", "month", "input", "o", "i", "f", "a", "c", "h"])
    figure, told = style.canvas(style.WIDTH, 4.4), []
    above, below = figure.subplots(2, len(runs), squeeze=False, sharex=True, sharey="row", height_ratios=[3, 2])
    for top, low, (name, part) in zip(above, below, table.groupby("run", sort=False), strict=True):
        seen = part[part["month"] <= (months if until is None else until)]
        matrix = part.set_index("month")[["input", "o", "i", "f", "a"]].T
        matrix.index = ["input x", "o shown", "i let in", "f kept", "a new"]
        hidden = np.broadcast_to(matrix.columns > seen["month"].max(), matrix.shape)
        style.heat(top, matrix, {"cmap": style.SIGNED, "vmin": -1, "vmax": 1}, "{:.2g}".format, 10, hidden)
        low.plot(seen["month"], seen["c"], "o-", color=style.BLUE, label="cell c")
        low.plot(seen["month"], seen["h"], "s--", color=style.VERMILLION, label="hidden state h")
        top.set_title(name)
        low.set(xlabel="month", ylim=(-0.1, 1.1), xlim=(-0.5, months - 0.5))
        told.append(f"{name}: of a largest cell of {seen['c'].max():.2f}, {seen['c'].iloc[-1]:.2f} is left")
    below[0].legend(loc="upper right")
    return style.finish(figure, table, f"Four gates of an LSTM over {months} months. {'; '.join(told)}.", 10)


def play(draw: Callable[[int], Picture], frames: int, pause: int = 800) -> None:
    """Show pictures 0 to ``frames`` - 1 under play and a slider; print a sentence where there is no ipywidgets."""
    try:
        import ipywidgets
        from IPython.display import display
    except ImportError:
        print("ipywidgets is not installed: the still pictures have to do. To move them: pip install ipywidgets")
        return
    shown, html = ipywidgets.HTML(), functools.cache(lambda frame: draw(frame)._repr_mimebundle_()[0]["text/html"])
    button, slider = ipywidgets.Play(max=frames - 1, interval=pause), ipywidgets.IntSlider(max=frames - 1)
    ipywidgets.jslink((button, "value"), (slider, "value"))
    slider.observe(lambda change: setattr(shown, "value", html(change["new"])), "value")
    display(ipywidgets.VBox([ipywidgets.HBox([button, slider]), shown]))
    shown.value = html(0)
