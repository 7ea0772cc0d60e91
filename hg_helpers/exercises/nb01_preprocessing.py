"""Exercises of notebook 1: switches, Box-Cox and its likelihood, scaling, decoding, sequences."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from .judging import exercise


def _table(ids: int | list[int], months: int, columns: list[str], below: int) -> pd.DataFrame:
    """Whole numbers in rows sorted by patient and month; other ids than 0, 1, 2 where there is a list of them."""
    ids = list(range(ids)) if isinstance(ids, int) else ids
    numbers = np.random.default_rng(len(ids) + months)
    keys = {"PatientID": np.repeat(ids, months), "Timestep": np.tile(np.arange(months), len(ids))}
    return pd.DataFrame({**keys, **{name: numbers.integers(0, below, len(ids) * months) for name in columns}})


def _regimens(ids: int | list[int], months: int, columns: list[str], drugs: int = 3) -> tuple[pd.DataFrame, list[str]]:
    return _table(ids, months, [*columns, "Other"], drugs), columns


_IDS, _THREE = [3, 7, 20, 21], ["Drug", "Dose", "Route"]
_PAIR = ["Base Drug Combo", "Extra pk-En"]


@exercise(
    _regimens,
    [(3, 4, _PAIR), (1, 5, ["Drug", "Dose"]), (2, 1, _PAIR), (_IDS, 6, _PAIR), (12, 9, _THREE), (3, 4, _PAIR, 1)],
)
def check_switches(table, columns):
    codes = table[columns].to_numpy().reshape(table["PatientID"].nunique(), -1, len(columns))
    changes = codes[:, 1:] != codes[:, :-1]  # (patients, months - 1, columns)
    return changes.any(axis=2).sum(axis=1).tolist()


def _positive(lam: float, n: int) -> tuple[np.ndarray, float]:
    return (np.array([2.0, 50.0, 700.0]) if n == 3 else np.exp(np.random.default_rng(n).normal(2, 2, n))), lam


@exercise(_positive, [(lam, n) for lam in (0.5, 1, -0.25, 0, 0.0, 2, -1.5) for n in (3, 2, 40)])
def check_box_cox(x, lam):
    return np.log(x) if lam == 0 else (x**lam - 1) / lam


@exercise(_positive, [(lam, n) for lam in (0.4, 0, -0.3, 2, 1) for n in (3, 2, 40)])
def check_log_likelihood(x, lam):
    y, n = special.boxcox(x, lam), len(x)
    return float(-n / 2 * np.log(y.var()) + (lam - 1) * np.log(x).sum())


@exercise(
    {
        "beyond both ends": ([2.0, 4, 10], [1.0, 4, 8, 14]),
        "all inside": ([0.0, 5, 20], [5.0, 10, 19]),
        "one new value": ([-3.0, 1, 5], [2.0]),
        "all beyond": ([1.0, 3], [-2.0, 7, 8]),
        "negative values": tuple(np.random.default_rng(n).normal(-50, 30 - n / 2, n) for n in (30, 12)),
    }
)
def check_scale(train_values, new_values):
    low, span = train_values.min(), np.ptp(train_values)
    return np.clip((new_values - low) / span, 0, 1)


def _block(rows: int, codes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(rows).dirichlet(np.ones(len(codes)), rows), np.array(codes)


@exercise(_block, [(4, [1, 2, 7]), (6, [5, 0, 3, 9]), (1, [2, 1]), (9, [1, 2]), (5, [4, 3, 2, 8, 6]), (20, [0, 1, 2])])
def check_decode(block, codes):
    return np.asarray(codes)[block.argmax(axis=1)]


def _shuffled(ids: int | list[int], months: int, column: str, order: str = "in no order") -> tuple:
    table = _table(ids, months, ["VL", "CD4"], 1)
    table[["VL", "CD4"]] = np.random.default_rng(months).permutation(20 * len(table)).reshape(-1, 2)[: len(table)]
    table = table.sort_values(["Timestep", "PatientID"]) if order == "by month" else table
    table = table.sample(frac=1, random_state=5) if order == "in no order" else table
    return table.reset_index(drop=True), column, months


_SORTED = [(3, 2, "VL", "by patient"), (3, 4, "VL", "by month")]


@exercise(_shuffled, [*_SORTED, (2, 3, "VL"), (3, 1, "VL"), (_IDS, 3, "CD4"), (12, 5, "CD4")])
def check_sequences(table, column, months):
    return table.sort_values(["PatientID", "Timestep"])[column].to_numpy().reshape(-1, months)
