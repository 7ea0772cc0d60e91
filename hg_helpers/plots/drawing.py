"""The three models side by side, as boxes and arrows: the map that README and the notebooks share.

Its words and places stand in ``words.yaml``.

>>> _, table = models(only=['v1', 'v2'])
>>> table.attrs['alt'].split(':')[0]
'v1'
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Bbox

from . import style
from .style import Drawn, picture

MODELS, PLACES, ARROWS = (style.WORDS[part] for part in ("models", "places", "arrows"))
PLAIN = {"facecolor": "#F2F2F2", "edgecolor": "#595959"}
TODAY = {"facecolor": "#FFE98A", "edgecolor": "#000000", "linewidth": 3.2}
APART = 30.1  # from model to model, tenths of an inch


@picture
def models(mark: str | Sequence[str] = (), only: Sequence[str] = tuple(MODELS)) -> Drawn:
    """v1, v2 and v2_plus as boxes and arrows; what a model adds to the one before has its colour and a thick frame.

    ``mark`` shows parts as today's: ``noise``, ``memory``, ``mix``, ``generator``, ``heads``, ``autoencoder``,
    ``synthetic``, ``real``, ``critic``. ``only`` says which of the models, in this order. The table has the columns
    ``model, part, words, new, today``.
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
