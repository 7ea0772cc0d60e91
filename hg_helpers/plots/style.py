"""What all figures share: colours, line styles, the canvas and the parts that several of them are made of.

Figures are made without pyplot, so that drawing a hundred leaks none and a reader's settings are neither used nor
changed. A :class:`Picture` shows itself: as the last value of a cell it appears once, with its alternative text.

>>> list(looks(['real', 'v1', 'v2_plus'])['real'])
['color', 'linestyle', 'hatch', 'marker']
"""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image  # comes with matplotlib

#: Okabe and Ito's palette, told apart by readers with any common colour vision.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8C8C8C"

#: All pictures are 900 pixels wide, a notebook's page on a laptop of 1366 x 768; files have 150 dots an inch.
WIDTH, DPI, FILE_DPI = 9.0, 100, 150

#: What pictures say of models, curves and metrics, and how they look.
WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
STYLE = {**WORDS["style"], "figure.dpi": DPI}

#: The look of the real cohort, and of another one beside it; then of each synthetic one in turn.
REAL, OTHER_REAL, *SYNTHETIC = (
    {**look, "linestyle": (0, tuple(look["linestyle"])) if look["linestyle"] else "-"} for look in WORDS["looks"]
)
MODELS = dict(zip(("v1", "v2", "v2_plus"), SYNTHETIC, strict=False))
#: Categories of one feature in the schema's order: colours, hatchings and markers.
COLOURS, MARKERS = (BLUE, ORANGE, GREEN, VERMILLION, SKY, GREY, PURPLE, YELLOW), "os^DvXP*"
HATCHES = ("", "///", "...", "\\\\\\", "xx", "", "++", "oo")
#: Both colour scales get evenly darker away from white; the signed one is never read without its written numbers.
SHARES = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", "#9CCBE8", BLUE, "#00243D"])
SIGNED = LinearSegmentedColormap.from_list("signed", ["#00243D", BLUE, "#FFFFFF", VERMILLION, "#4A1E00"])
#: What lies under words that stand on a drawing.
BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.5}
#: Shares on an axis.
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g}%")
#: What a picture is drawn of: one table, or several by name.
Tables = pd.DataFrame | dict[str, pd.DataFrame]


class Picture(Figure):
    """A figure that shows itself in a notebook, once, with its alternative text, in 240 colours to be small."""

    alt: str = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png", dpi="figure")
        Image.open(drawn).convert("RGB").quantize(240, dither=Image.Dither.NONE).save(small, "png", optimize=True)
        png = small.getvalue()
        # a page reads words aloud only from <img alt>; image/png is for what shows no HTML
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        page = f'<img alt="{escape(self.alt)}" src="{source}" style="max-width: 100%">'
        return {"image/png": png, "text/html": page}, {"image/png": {"alt": self.alt}}


#: A picture, and the table of what it shows.
Drawn = tuple[Picture, pd.DataFrame]
#: Decorates a drawing function: it runs under matplotlib's defaults and :data:`STYLE`, whatever the reader has set.
picture = style.context(["default", STYLE, {"axes.titleweight": "bold"}])


def canvas(width: float, height: float) -> Picture:
    """An empty picture, sizes in inches."""
    return Picture(figsize=(width, height), layout="constrained")


def panels(number: int, most: int, height: float, beside: float = 0.0, **shared: Any) -> tuple[Picture, list[Axes]]:
    """A picture with panels in even rows of at most ``most``, each row of ``height`` inches, and room ``beside``."""
    down = math.ceil(number / most)
    figure = canvas(WIDTH, down * height + beside)
    return figure, even_rows(figure, number, math.ceil(number / down), **shared)


def even_rows(figure: FigureBase, number: int, across: int, **shared: Any) -> list[Axes]:
    """Panels in rows of ``across``; the last row may have fewer."""
    grid = figure.subplots(math.ceil(number / across), min(number, across), squeeze=False, **shared).flat
    for spare in grid[number:]:
        spare.remove()
    return list(grid[:number])


def finish(figure: Picture, table: pd.DataFrame, alt: str, size: float = 11) -> Drawn:
    """Fix what would otherwise be read from the reader's settings at drawing time, and attach the alternative text."""
    for axes in figure.axes:
        axes.tick_params(which="both", labelsize=size)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a level may be called $10k-$50k
    table = table.reset_index(drop=True)
    table.attrs["alt"] = figure.alt = alt
    return figure, table


def looks(names: Iterable[str]) -> dict[str, dict]:
    """Greys where a name says real, holdout or training; the series' models keep theirs; others take a free look."""
    names = list(names)
    reals = [n for n in names if n not in MODELS and re.search(r"\b(real|holdout|training)\b", n, re.IGNORECASE)]
    found = dict(zip(reals, itertools.cycle((REAL, OTHER_REAL)))) | {n: MODELS[n] for n in names if n in MODELS}
    free = [look for look in SYNTHETIC if look not in found.values()] or list(SYNTHETIC)
    found |= dict(zip((n for n in names if n not in found), itertools.cycle(free)))
    return {name: found[name] for name in names}


def contrast(first: Any, second: Any) -> float:
    """Contrast of two colours, 1 to 21 (Web Content Accessibility Guidelines 2.2); text needs 4.5."""
    colours = np.array([to_rgb(first), to_rgb(second)])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722] + 0.05
    return light.max() / light.min()


def ink(colour: Any) -> str:
    """The colour, as much darker as words in it need to be read on white."""
    shades = (to_hex([(1 - dark) * c for c in to_rgb(colour)]) for dark in np.linspace(0, 1, 21))
    return next(shade for shade in shades if contrast(shade, "white") >= 4.5)


def category_looks(number: int) -> list[dict]:
    """Looks for the levels of one feature; past the eighth, colours come again with another hatching."""
    places = ((i % 8, (i + i // 8) % 8) for i in range(number))
    return [{"color": COLOURS[i], "hatch": HATCHES[other], "marker": MARKERS[i]} for i, other in places]


def legend_columns(names: Iterable[str], lines: bool = False) -> int:
    """Entries of a legend that stand side by side on a page."""
    names = list(names)
    return max(1, min(len(names), int(WIDTH / (0.1 * max(map(len, names)) + (1.3 if lines else 0.8)))))


def legend_of(figure: Picture, look: dict[str, dict], lines: bool = False) -> None:
    """A legend above all, of hatched patches, and the line that belongs to each where there are lines too."""
    handles: list[Any] = keys(look)
    if lines:
        both = zip(handles, look.values(), strict=True)
        handles = [(p, Line2D([], [], color=s["color"], linestyle=s["linestyle"], linewidth=2.5)) for p, s in both]
    shape = {"ncols": legend_columns(look, lines), "handlelength": 5.0 if lines else 2.5, "columnspacing": 1.2}
    shape["handler_map"] = {tuple: HandlerTuple(ndivide=None)}
    figure.legend(handles, list(look), loc="outside upper center", **shape)


def keys(look: dict[str, dict]) -> list[Patch]:
    """Hatched legend entries."""
    return [Patch(facecolor=s["color"], edgecolor="white", hatch=s["hatch"], label=name) for name, s in look.items()]


def bars_beside(axes: Axes, names: Sequence[str], widths: dict[str, Any], look: dict, left: float = 0) -> None:
    """Groups of horizontal bars from ``left``, one group a name and one bar a table."""
    thick = 0.84 / len(widths)
    for place, (name, width) in enumerate(widths.items()):
        at = np.arange(len(names)) + (place - (len(widths) - 1) / 2) * thick
        shown = {"color": look[name]["color"], "hatch": look[name]["hatch"], "edgecolor": "white", "linewidth": 0.5}
        axes.barh(at, width, thick, left=left, **shown)
    name_rows(axes, names)


def name_rows(axes: Axes, names: Sequence[Any]) -> None:
    """Names at the left, the first one on top."""
    axes.set_yticks(range(len(names)), [str(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def outlined(axes: Axes, x: Any, y: Any, **look: Any) -> None:
    """A line with a white edge, so that it stands out from what lies under it."""
    axes.plot(x, y, color="white", linewidth=look["linewidth"] + 1.4, solid_capstyle="round")
    axes.plot(x, y, **look)


def logarithmic_axis(axis: Axis, low: float, high: float) -> None:
    """A log10 axis with plain numbers, and enough of them where there are few decades."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    decades = np.log10(high / low)
    few = {"subs": (1, 3) if decades > 1.5 else (1, 2, 5)}
    axis.set_major_locator(LogLocator(**(few if decades < 3.5 else {"numticks": 4})))
    axis.set_major_formatter("{x:,.10g}")
    axis.set_minor_formatter(NullFormatter())


def root_ticks(highest: float, step: float = 0.09) -> list[float]:
    """Round shares from 0, at least ``step`` of an axis apart that grows with the square root of the share."""
    ticks = [0.0]
    for share in (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0):
        if share <= highest and np.sqrt(share) - np.sqrt(ticks[-1]) >= step * np.sqrt(highest):
            ticks.append(share)
    return ticks


def heat(
    axes: Axes, values: pd.DataFrame, scale: dict, write: Callable, size: float = 12, hidden: np.ndarray | None = None
) -> Any:
    """Draw a matrix with its names; ``scale`` is for imshow; cells without number are hatched, ``hidden`` blank."""
    numbers = values.to_numpy(float)
    hidden = np.zeros(numbers.shape, bool) if hidden is None else hidden
    image = axes.imshow(np.ma.masked_where(hidden | np.isnan(numbers), numbers), **scale, aspect="auto")
    for row, place in np.argwhere(~hidden):
        number, missing = numbers[row, place], np.isnan(numbers[row, place])
        frame = {"fill": False, "edgecolor": "#C8C8C8", "hatch": "///" if missing else "", "linewidth": 0.8}
        axes.add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, **frame))
        under = image.to_rgba(number)
        light = not missing and contrast("w", under) >= contrast("k", under)
        look = {"color": "w" if light else "k", "bbox": BOX if missing else None, "size": size}
        axes.text(place, row, write(number), ha="center", va="center", **look)
    axes.set_xticks(range(values.shape[1]), [str(c) for c in values.columns])
    axes.set_yticks(range(values.shape[0]), [str(i) for i in values.index])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def bar_below(figure: Picture, image: Any, panels: list[Axes], label: str, ticks: Sequence[float]) -> Axis:
    """One colour bar for all heat maps, a thin line below them; returns its axis."""
    width, height = figure.get_size_inches()
    bar = figure.colorbar(image, ax=panels, location="bottom", aspect=width / 0.23, pad=0.11 / height, ticks=ticks)
    bar.set_label(label)
    return bar.ax.xaxis
