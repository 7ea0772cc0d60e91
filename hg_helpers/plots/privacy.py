"""Distances of synthetic patients to the patients they were made from, and to others.

>>> import dataclasses, hg_helpers as hg
>>> schema = dataclasses.replace(hg.ART_DEMO, length=3)
>>> cohorts = [hg.simulate_cohort(20, months=3, seed=seed) for seed in (0, 1, 2)]
>>> _, found = hg.metrics.dcr_share(*cohorts, schema)
>>> _, table = privacy_distances(found)
>>> sorted(set(table['set']))
['held-out patient', 'training patient']
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from .features import named, require
from .style import WIDTH, Picture, canvas, finish, looks, picture

SETS = {"to train, equal numbers": "training patient", "to holdout, equal numbers": "held-out patient"}


@picture
def privacy_distances(
    tables: pd.DataFrame | dict[str, pd.DataFrame], label: str = "synthetic"
) -> tuple[Picture, pd.DataFrame]:
    """How far the closest training and the closest held-out patient are: cumulative shares of synthetic patients.

    A cohort that copies its training patients starts at distance 0. The larger of the two real sets would lie closer by
    its size alone, so curves and the share written above each panel are of both sets at equal numbers, the curves of a
    random part of the larger one. 0.5 is ideal; real patients in the cohort's place (the floor) show what chance does.

    Args:
        tables: from :func:`hg_helpers.metrics.privacy.dcr_share`: columns ``to train``, ``closer to train`` and
            the two ``..., equal numbers``, one row a synthetic patient; one table, or ``{name: table}``.
        label: name of a single table.

    Returns:
        The figure, and a table with the columns ``source, set, distance, share``: the steps of each curve.

    Raises:
        KeyError, ValueError: for a table without these columns, without rows, or with undefined distances.
    """
    tables = named(tables, label)
    across = min(len(tables), 3)
    down = math.ceil(len(tables) / across)
    figure = canvas(WIDTH, 3.6 * down)
    panels = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(tables) :]:
        axes.remove()
    drawn, told = [], []
    for axes, (name, look) in zip(panels, looks(tables).items(), strict=False):
        table = tables[name]
        require(table, [*SETS, "to train", "closer to train"], name)
        for column, style in zip(SETS, (look, {"color": "black", "linestyle": (0, (1, 1))}), strict=True):
            distance = np.sort(table[column].to_numpy(float))
            if np.isnan(distance).any():
                raise ValueError(f"table {name!r}: column {column!r} holds undefined distances")
            share = np.arange(1, len(distance) + 1) / len(distance)
            steps = np.r_[distance[0], distance], np.r_[0.0, share]
            look_of_line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2.4}
            axes.step(*steps, where="post", label=SETS[column], **look_of_line)
            drawn.append(pd.DataFrame({"source": name, "set": SETS[column], "distance": distance, "share": share}))
        closer, copies = float(table["closer to train"].mean()), float((table["to train"] == 0).mean())
        axes.set_title(f"{name}\ncloser to training: {closer:.2f}", fontweight="bold")
        axes.set_xlabel("distance to the closest patient")
        axes.legend(loc="lower right", handlelength=2.4)
        told.append(f"{name} {closer:.2f} (copies {copies:.1%}, median distance {table['to train'].median():.3f})")
    for place, axes in enumerate(panels[: len(tables)]):
        axes.tick_params(labelbottom=place + across >= len(tables))
        axes.set_ylabel("" if place % across else "share at most this far")
    alt = (
        "Distances of synthetic patients to the closest training and held-out patient; share closer to training, 0.5 "
        f"being ideal: {'; '.join(told)}."
    )
    return finish(figure, pd.concat(drawn), alt)
