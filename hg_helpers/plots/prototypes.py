"""Models from inside: their prototypes.

>>> import numpy as np
>>> points = np.random.default_rng(0).normal(size=(30, 4))
>>> _, table = prototypes(points, points[:, 0], 'viral load')
>>> len(table)
30
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from sklearn.decomposition import PCA

from ..cohort.schema import Feature
from . import style
from .features import column, is_logarithmic
from .style import Drawn, picture


@picture
def prototypes(points: Any, values: Sequence[Any], name: str | Feature) -> Drawn:
    """The two main directions of prototype vectors, coloured by a feature of their patients.

    Args:
        points: (n, Z) or (n, 1, Z), array or tensor: one prototype a patient.
        values: (n,) the patients' values of the feature: numbers, or categories.
        name: what the values are; a :class:`Feature` gives unit, order and names of levels (``values`` then hold its
            codes), and without one, numbers with more than eight different values count as real.

    Returns:
        The figure, and a table with the columns ``first, second, value``; ``attrs["explained"]`` holds the two
        directions' shares of the variance.
    """
    points = np.asarray(points.detach().cpu() if hasattr(points, "detach") else points, dtype=float)
    points = points[:, 0] if points.ndim == 3 and points.shape[1] == 1 else points
    if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2 or len(points) != len(values):
        raise ValueError(
            f"prototypes need at least 3 points of at least 2 dimensions and a value each, not {points.shape} and "
            f"{len(values)} values"
        )
    if not np.isfinite(points).all():
        raise ValueError("prototypes hold values that are not finite")
    pca = PCA(2, svd_solver="full").fit(points)
    shares = [float(s) for s in np.nan_to_num(pca.explained_variance_ratio_)]
    table = pd.DataFrame(pca.transform(points), columns=["first", "second"]).assign(value=_values(values, name))
    figure = style.canvas(style.WIDTH, 5.0)
    axes = figure.subplots()
    called = name.name if isinstance(name, Feature) else name
    if isinstance(table["value"].dtype, pd.CategoricalDtype):
        told = _colour_levels(axes, table)
        figure.legend(title=called, loc="outside right center", markerscale=1.6)
    else:
        numbers, feature = table["value"], name if isinstance(name, Feature) else Feature(name, "real")
        norm = (LogNorm if is_logarithmic(feature, [numbers]) else Normalize)(numbers.min(), numbers.max())
        look = {"cmap": "cividis", "norm": norm, "edgecolors": "#404040", "linewidths": 0.3}
        dots = axes.scatter(table["first"], table["second"], s=26, c=numbers, **look)
        figure.colorbar(dots, ax=axes, label=feature.label).ax.yaxis.set_major_formatter(style.plain_numbers)
        told = f"values from {numbers.min():,.4g} to {numbers.max():,.4g}, median {numbers.median():,.4g}"
    axes.set_xlabel(f"first principal direction ({shares[0]:.0%} of variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})")
    alt = (
        f"{len(table)} prototypes along their two main directions, which hold {shares[0]:.0%} and {shares[1]:.0%} of "
        f"the variance, coloured by {called}: {told}."
    )
    figure, table = style.finish(figure, table, alt)
    table.attrs["explained"] = shares
    return figure, table


def _values(values: Sequence[Any], name: str | Feature) -> pd.Series:
    """The values as floats or as an ordered categorical of level names."""
    values = pd.Series(np.asarray(values))
    if isinstance(name, Feature):
        known = column(pd.DataFrame({name.name: values}), name, "values")
        if len(known) < len(values):
            raise ValueError(f"{len(values) - len(known)} of the values of {name.name!r} are missing")
        return known
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > len(style.CATEGORIES):
        return values.astype(float)
    return values.astype(str).astype("category")


def _colour_levels(axes: Axes, table: pd.DataFrame) -> str:
    """One colour and marker a level, rare levels on top; absent ones stay in the legend."""
    counts = table["value"].value_counts(sort=False)
    ranks = counts.rank(ascending=False)
    for (level, count), look in zip(counts.items(), style.category_looks(len(counts)), strict=True):
        part = table[table["value"] == level]
        look = {"color": look["color"], "marker": look["marker"], "edgecolors": "white", "linewidths": 0.4}
        text = f"{level} ({count:,})" if count else f"{level} (absent)"
        axes.scatter(part["first"], part["second"], s=26, alpha=0.85, zorder=2 + ranks[level], label=text, **look)
    return ", ".join(f"{level} {count:,}" for level, count in table["value"].value_counts().items())
