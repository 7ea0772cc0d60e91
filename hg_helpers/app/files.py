"""What the commands leave beside their models: tables, and which patients a model was trained on.

>>> split_file(Path('runs/v2.pt')).as_posix()
'runs/v2.split.json'
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..cohort.schema import Schema
from ..runtime.checkpoint import atomic


def write_table(table: pd.DataFrame, path: Path, index: bool = False, float_format: str | None = None) -> None:
    """Write a .csv, .csv.gz or .parquet file: the same table gives the same bytes, a crash leaves what was there."""
    text = {"index": index, "float_format": float_format, "lineterminator": "\n"}
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=index)
        elif path.suffix == ".gz":  # without name and time stamp in its head
            with open(temporary, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
                table.to_csv(zipped, **text)
        else:
            table.to_csv(temporary, **text)


def split_file(model: Path) -> Path:
    """Where the split of a model's file stands."""
    model = model.expanduser()
    return model.with_name(f"{model.stem}.split.json")


def split_of(
    data: str | None, share: float | int, seed: int, schema: Schema, train: pd.DataFrame, holdout: pd.DataFrame
) -> dict[str, Any]:
    """Who is in which group of the table ``data`` (None: the bundled cohort), and a fingerprint of whom it trains."""
    split: dict[str, Any] = {"data": data, "holdout": share, "seed": seed}
    if len(holdout):
        split["holdout_patients"] = holdout[schema.patient].unique().tolist()
    return {**split, "train_patients": train[schema.patient].unique().tolist(), "values": values_of(train, schema)}


def values_of(table: pd.DataFrame, schema: Schema) -> str:
    """A fingerprint of a checked table's values, from which none of them can be read.

    Of nine digits, so that it does not depend on how a file was parsed.
    """
    text = table[schema.columns].to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def read_split(model: Path) -> dict[str, Any]:
    """The table (`data`), the `train_patients` and, where some were held out, the `holdout_patients` of a model.

    Raises:
        FileNotFoundError, ValueError: naming the file, where it is missing or damaged.
    """
    path = split_file(model)
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: `train` writes it beside its model, with the patients that it trained on")
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(split, dict) or not {"data", "train_patients"} <= split.keys():
            raise ValueError("it does not say which table and which patients")
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}. Use an older copy, or train again.") from error
    return split


def write_split(split: dict[str, Any], model: Path) -> None:
    """Write a model's split; a model of other patients that stands there goes first.

    Killed before the first checkpoint, `train --force` would otherwise leave the old model with a new split.
    """
    path = split_file(model)
    try:
        same = json.loads(path.read_text(encoding="utf-8")) == split
    except (FileNotFoundError, ValueError):
        same = False
    if not same:
        model.expanduser().unlink(missing_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(split, indent=1), encoding="utf-8")
