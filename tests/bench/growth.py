"""How time and memory grow with patients, months and width: ``python -m tests.bench.growth --figure growth.png``.

Each point is one fresh process: simulate, load, encode, train v2 for a few batches, sample as many patients as there
were. Exponents are slopes of a line through the logarithms of the larger half of the points, where what is constant
(starting Python, the first batch) counts for little.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import LogLocator

import hg_helpers as hg
from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.schema import Schema
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model.resume import accept
from hg_helpers.plots.style import BLUE, VERMILLION, canvas

from .__main__ import alone
from .rows import peak_memory

START = {"patients": 300, "months": 60, "hidden": 64}
AXES = {
    "patients": [300, 1000, 3000, 10_000, 30_000],
    "months": [12, 24, 60, 120, 240],
    "hidden": [16, 32, 64, 128, 256],
}
#: What is timed, and what each is a time of.
PARTS = {"load and encode": "cohort", "train": "three batches of 32", "sample": "cohort", "memory": "MiB"}


def point(patients: int, months: int, hidden: int) -> dict[str, float]:
    """Seconds of each part, and peak memory in MiB beyond that of Python and torch; one thread."""
    torch.set_num_threads(1)
    empty = peak_memory()
    schema = Schema(list(ART_DEMO), length=months)
    table = simulate_cohort(patients, months=months, seed=0)
    marks = [time.perf_counter()]
    cohort = hg.load_cohort(table, schema=schema)
    encoder = hg.CohortEncoder(schema).fit(cohort)
    x = encoder.transform(cohort)
    marks.append(time.perf_counter())
    config = hg.TrainConfig.v2(preset="workshop", hidden=hidden, latent=hidden, lengths=(months,))
    trainer = hg.Trainer(encoder, config, device="cpu")
    accept(trainer, x)
    for _ in range(3):
        trainer._batch(x[:32])
    marks.append(time.perf_counter())
    for _ in trainer.synthesizer().sample_blocks(patients):
        pass
    marks.append(time.perf_counter())
    return dict(zip(PARTS, [*np.diff(marks), 1024 * (peak_memory() - empty)], strict=True))


def measure(small: bool) -> pd.DataFrame:
    """One row a point and part: axis, size, part, value."""
    rows = []
    for axis, sizes in AXES.items():
        for size in sizes[:2] if small else sizes:
            print(axis, size, file=sys.stderr)
            found = alone(point, *{**START, axis: size}.values())
            rows += [(axis, size, part, value) for part, value in found.items()]
    return pd.DataFrame(rows, columns=["axis", "size", "part", "value"])


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Slope of log value over log size through the larger half of the points: one row a part, one column an axis."""
    slopes = {}
    for (axis, part), points in table.groupby(["axis", "part"], sort=False):
        upper = points.sort_values("size").tail(max(2, (len(points) + 1) // 2))
        slopes[part, axis] = np.polyfit(np.log(upper["size"]), np.log(upper["value"]), 1)[0]
    return pd.Series(slopes).unstack()[list(AXES)].loc[list(PARTS)]


def draw(table: pd.DataFrame):
    """Time and memory over size, both axes logarithmic, one column an axis."""
    figure, slopes = canvas(13, 7.5), exponents(table)
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, axis in enumerate(AXES):
        points = table[table["axis"] == axis]
        for k, part in enumerate(PARTS):
            panel, line = panels[int(part == "memory"), column], points[points["part"] == part]
            colour, style = ((BLUE, "-o"), (VERMILLION, "--s"), ("black", ":^"), ("black", "-o"))[k]
            label = f"{part}: exponent {slopes.loc[part, axis]:.2f}"
            panel.loglog(line["size"], line["value"], style, color=colour, label=label, linewidth=2, markersize=7)
        for panel in panels[:, column]:
            panel.legend(fontsize=13, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
            panel.set_xticks(AXES[axis], [f"{size:,}" for size in AXES[axis]], fontsize=13)
            panel.minorticks_off()
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if panel is panels[1, column] else (1,)))
            panel.yaxis.set_major_formatter("{x:,g}")
            panel.tick_params(axis="y", labelsize=13)
        name = {"patients": "patients", "months": "months a patient", "hidden": "hidden width"}[axis]
        panels[1, column].set_xlabel(name, fontsize=15)
    panels[0, 0].set_ylabel("seconds", fontsize=15)
    panels[1, 0].set_ylabel("peak memory, MiB", fontsize=15)
    return figure


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--figure", metavar="FILE", help="draw it: .png, .pdf or .svg")
    parser.add_argument("--small", action="store_true", help="two points an axis, to see that it works")
    options = parser.parse_args(arguments)
    table = measure(options.small)
    print(exponents(table).round(2).to_string())
    if options.figure:
        draw(table).savefig(options.figure, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main())
