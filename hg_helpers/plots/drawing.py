"""The three models side by side, as boxes and arrows: the map that README and the notebooks share.

>>> _, table = models(only=['v1', 'v2'])
>>> table.attrs['alt'].split(':')[0]
'v1'
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from . import style
from .style import Drawn, picture

#: Where each part stands in a panel: left, bottom, width, height, in tenths of an inch. One part, one place, in all.
PLACES = {
    "noise": (0, 42, 23, 6),
    "memory": (26, 36, 12, 12),
    "mix": (0, 34, 23, 4.5),
    "generator": (0, 25, 23, 5.5),
    "heads": (0, 11.5, 23, 10.5),
    "autoencoder": (26, 17, 12, 13),
    "synthetic": (0, 4, 23, 4),
    "real": (26, 4, 12, 4),
    "critic": (0, -6, 38, 6.5),
}
#: What stands in each box; a list is several boxes, one below the other.
V1 = {
    "noise": "noise z\nnew for each month",
    "generator": "generator\nLSTM that reads both ways",
    "heads": "heads\nnumbers: sigmoid\nlevels: softmax",
    "synthetic": "synthetic patients",
    "real": "real patients",
    "critic": "critic\nsoft embedding, LSTM, one score a patient",
}
V2 = V1 | {
    "memory": "memory\na prototype\na patient;\nT_SD",
    "mix": "z' = z · T_SD + prototype",
    "autoencoder": "auto-\nencoder\na month in,\na latent\nvector out",
}
PLUS = V2 | {
    "heads": ["sex, ethnicity: drawn once", "drugs: hold or switch", "laboratory: own noise"],
    "critic": "two critics\nof months (convolutions), of summaries",
}
MODELS = {
    "v1": (V1, "nothing stays with a patient"),
    "v2": (V2, "a memory tells patients apart"),
    "v2_plus": (PLUS, "a head for each kind of data"),
}
NEW = {"v2": ("memory", "mix", "autoencoder"), "v2_plus": ("heads", "critic")}
ARROWS = [
    *(("noise", "mix"), ("mix", "generator"), ("generator", "heads"), ("heads", "synthetic"), ("synthetic", "critic")),
    *(("real", "critic"), ("real", "autoencoder"), ("autoencoder", "memory")),
]
ALT = {
    "v1": "v1: noise, new each month, goes through generator and heads to synthetic patients; the critic compares them "
    "with real ones.",
    "v2": "v2: an autoencoder turns real patients into prototypes; a memory keeps them, and one is added to all of a "
    "synthetic patient's noise.",
    "v2_plus": "v2_plus: as v2, with a head for each kind of data: sex and ethnicity drawn once, drugs held or "
    "switched, laboratory values with noise of their own; a second critic reads summaries of whole patients.",
}
PLAIN = {"facecolor": "#F2F2F2", "edgecolor": "#595959"}
FRESH = {
    "v2": {"facecolor": "#E1EEF7", "edgecolor": style.BLUE, "linewidth": 2.6},
    "v2_plus": {"facecolor": "#FBE6DA", "edgecolor": style.VERMILLION, "linewidth": 2.6},
}
TODAY = {"facecolor": "#FFE98A", "edgecolor": "#000000", "linewidth": 3.2}


@picture
def models(mark: str | Sequence[str] = (), only: Sequence[str] = tuple(MODELS)) -> Drawn:
    """v1, v2 and v2_plus as boxes and arrows; what a model adds to the one before has a colour and a thick frame.

    Args:
        mark: parts to show as today's: ``noise``, ``memory``, ``mix``, ``generator``, ``heads``, ``autoencoder``,
            ``synthetic``, ``real``, ``critic``.
        only: which of the models, in this order.

    Returns:
        The figure, and a table with the columns ``model``, ``part``, ``words``, ``new``, ``today``.
    """
    mark, only = [mark] if isinstance(mark, str) else list(mark), list(only)
    if strange := [m for m in mark if m not in PLACES] + [m for m in only if m not in MODELS]:
        raise KeyError(f"the drawing has no {strange}; parts: {', '.join(PLACES)}; models: {', '.join(MODELS)}")
    figure, rows = style.canvas(4.05 * len(only), 6.1), []
    figure.set_dpi(74)  # three models are 900 pixels wide in a notebook
    for name, axes in zip(only, figure.subplots(1, len(only), squeeze=False)[0], strict=True):
        parts, motto = MODELS[name]
        axes.set(xlim=(-1, 39), ylim=(-7, 55), aspect="equal")
        axes.axis("off")
        axes.text(0, 53, name, size=18, weight="bold", va="center")
        axes.text(0, 50, motto, size=13, va="center", style="italic")
        for part, words in parts.items():
            boxes, new = words if isinstance(words, list) else [words], part in NEW.get(name, ())
            look = TODAY if part in mark else FRESH[name] if new else PLAIN
            left, bottom, width, height = PLACES[part]
            each = (height - 0.9 * (len(boxes) - 1)) / len(boxes)
            for number, text in enumerate(reversed(boxes)):  # one below the other
                low, corners = bottom + number * (each + 0.9), "round,pad=0,rounding_size=0.9"
                axes.add_patch(FancyBboxPatch((left, low), width, each, boxstyle=corners, **look))
                axes.text(left + width / 2, low + each / 2, text, ha="center", va="center", size=11, linespacing=1.15)
            rows.append((name, part, "; ".join(boxes).replace("-\n", "").replace("\n", " "), new, part in mark))
        for start, end in ARROWS if "mix" in parts else [*ARROWS, ("noise", "generator")]:
            if start in parts and end in parts:
                _arrow(axes, PLACES[start], PLACES[end])
        if "mix" in parts:
            (left, *_), (_, y, width, height) = PLACES["memory"], PLACES["mix"]
            _line(axes, (left, y + height / 2 + 2), (width, y + height / 2))
    table = pd.DataFrame(rows, columns=["model", "part", "words", "new", "today"])
    said, today = [ALT[name] for name in only], ", ".join(dict.fromkeys(table.loc[table["today"], "part"]))
    return style.finish(figure, table, " ".join([*said, f"Marked as today's part: {today}."] if today else said))


def _arrow(axes: Axes, start: tuple, end: tuple) -> None:
    """From the one box to the other, up or down in the middle of the narrower."""
    narrow = start if start[2] <= end[2] else end
    across, down = narrow[0] + narrow[2] / 2, start[1] > end[1]
    tail, head = (start[1], end[1] + end[3]) if down else (start[1] + start[3], end[1])
    _line(axes, (across, tail), (across, head))


def _line(axes: Axes, tail: tuple[float, float], head: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 14, "color": "#404040", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(tail, head, **look))
