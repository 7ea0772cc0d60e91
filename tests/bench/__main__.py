"""Time the package beside the obvious way to write it, in one run, in turn.

Each side runs in a fresh process, ours and the reference one after the other, as often as --repeat says; medians are
shown, and ratios of neighbours. Arithmetic: the floating point operations of our matrix products over the rate that
this machine reaches in a product of two 1024 x 1024 matrices.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from hg_helpers.cohort.simulate import simulate_cohort

from .rows import ROWS, loss_difference, matmul_rate, measure

#: Losses of the two sides may differ by this much after the first batches.
TOLERANCE = 1e-4


def alone(function: Any, *arguments: Any) -> Any:
    """Call in a fresh process, so that nothing before it counts, neither warm caches nor memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def bench(rows: list[str], repeat: int, threads: int, device: str, small: bool) -> list[dict[str, Any]]:
    """Measure the rows asked for; one dictionary each."""
    results = []
    rate = alone(matmul_rate, threads, device)
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "cohort.csv")
        if "encoding" in rows:
            simulate_cohort(20 if small else 8916, seed=0).to_csv(table, index=False)
        for row in rows:
            sides = {"ours": [], "reference": []}
            for _ in range(repeat):
                for side, runs in sides.items():
                    print(f"{row}: {side}", file=sys.stderr)
                    runs.append(alone(measure, row, side, small, threads, device, table))
            pairs = zip(sides["reference"], sides["ours"], strict=True)
            found = {
                "row": row,
                "what": ROWS[row],
                **{side: statistics.median(r["seconds"] for r in runs) for side, runs in sides.items()},
                "ratio": statistics.median(theirs["seconds"] / ours["seconds"] for theirs, ours in pairs),
                **{f"{side}_gib": max(r["gib"] for r in runs) for side, runs in sides.items()},
            }
            if row.endswith("epoch"):
                flop = alone(measure, row, "flop", small, threads, device, table)["flop"]
                found |= {
                    "gflop": flop / 1e9,
                    "times_arithmetic": found["ours"] * rate / flop,
                    "loss_difference": alone(loss_difference, row, small, threads, device),
                }
            results.append(found)
    for found in results:
        found["gflop_per_second"] = rate / 1e9
    return results


def as_table(results: list[dict[str, Any]]) -> str:
    """The results as a table in Markdown."""
    lines = [
        "| | ours | reference | reference / ours | ours / arithmetic | peak memory, ours and reference |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        times = f"{r['times_arithmetic']:.1f}" if "times_arithmetic" in r else ""
        lines.append(
            f"| {r['row']} | {r['ours']:.1f} s | {r['reference']:.1f} s | {r['ratio']:.2f} | {times} "
            f"| {r['ours_gib']:.1f} and {r['reference_gib']:.1f} GiB |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--small", action="store_true", help="a few patients, to see that it works; times mean nothing")
    parser.add_argument("--json", action="store_true", help="for scripts")
    options = parser.parse_args(arguments)
    unknown = set(options.rows) - set(ROWS)
    if unknown or options.repeat < 1 or options.threads < 1:
        parser.error(
            f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}"
            if unknown
            else "--repeat and --threads start at 1"
        )
    results = bench(options.rows or list(ROWS), options.repeat, options.threads, options.device, options.small)
    machine = f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    if options.json:
        print(json.dumps({"machine": machine, "device": options.device, "rows": results}, indent=2))
    else:
        rate = results[0]["gflop_per_second"]
        print(f"{machine}; matrix products at {rate:.0f} GFLOP/s, float32\n\n{as_table(results)}\n")
        for r in results:
            print(f"{r['row']}: {r['what']}")
    wrong = [r for r in results if r.get("loss_difference", 0) > TOLERANCE]
    for r in wrong:
        print(f"{r['row']}: the two sides' losses differ by {r['loss_difference']:.2g}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
