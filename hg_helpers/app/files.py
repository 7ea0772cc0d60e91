"""What commands write: tables, also in parts, and beside a model which patients it was trained on.

>>> split_file(Path('runs/v2.pt')).as_posix()
'runs/v2.split.json'
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..cohort.schema import Schema
from ..model.synthesizer import BLOCK, Progress, Synthesizer
from ..runtime.checkpoint import atomic
from ..runtime.checks import whole_number
from ..runtime.reading import MANIFEST


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


def write_text(text: str, path: Path) -> None:
    """Write a text file; a crash leaves what was there."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def split_file(model: Path) -> Path:
    """Where the split of a model's file stands."""
    return model.expanduser().with_suffix(".split.json")


def split_of(data: Any, share: float, seed: int, schema: Schema, train: pd.DataFrame, holdout: pd.DataFrame) -> dict:
    """Who is in which group of the table ``data`` (None: the bundled cohort), and fingerprints of their values."""
    ids = {"holdout_patients": holdout[schema.patient].unique().tolist()} if len(holdout) else {}
    ids["train_patients"] = train[schema.patient].unique().tolist()
    values = {"values": values_of(train, schema), "holdout_values": values_of(holdout, schema)}
    return {"data": data, "holdout": share, "seed": seed, **ids, **values}


def values_of(table: pd.DataFrame, schema: Schema) -> str:
    """A fingerprint of a checked table's values; of nine digits, as a file may be parsed in more than one way."""
    text = table[schema.columns].to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def read_split(model: Path) -> dict[str, Any]:
    """The table (`data`), the `train_patients` and, where some were held out, the `holdout_patients` of a model."""
    path = split_file(model)
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: `train` writes it beside its model, with the patients that it trained on")
    return _read_json(path, {"data", "train_patients"}, "Use an older copy, or train again")


def _read_json(path: Path, keys: Iterable[str], remedy: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not set(keys) <= found.keys():
            raise ValueError(f"it does not say {' and '.join(sorted(keys))}")
        return found
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}. {remedy}.") from error


def write_split(split: dict[str, Any], model: Path) -> None:
    """Write a model's split; a model of other patients that stands there goes first."""
    path, text = split_file(model), json.dumps(split, indent=1)
    # killed before the first checkpoint, `train --force` would otherwise leave the old model with a new split
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        model.expanduser().unlink(missing_ok=True)
    write_text(text, path)


def write_parts(
    synthesizer: Synthesizer,
    folder: str | Path,
    patients: int,
    seed: int = 0,
    decode: str = "argmax",
    per_part: int = 100 * BLOCK,
    progress: Progress = None,
) -> list[Path]:
    """Write the rows of :meth:`Synthesizer.sample`, more than fit into memory, as ``part-00000.parquet`` ...

    Parts that are there are kept: stopped and called again with the same model and arguments, it goes on. What they are
    of stands in ``_parts.json``; those of another model, seed, decoding or size are a ValueError. A file holds
    ``per_part`` patients, a multiple of 256; memory does not grow with ``patients``, and ``progress`` is told how many
    have been written. Returns the files, in their order; ``pandas.read_parquet(folder)`` reads them all.
    """
    if whole_number("per_part", per_part) % BLOCK:
        raise ValueError(f"per_part must be a multiple of {BLOCK}, not {per_part!r}")
    synthesizer.sample_encoded(patients, seed, decode)  # refuses wrong input
    folder = Path(folder).expanduser()
    asked = {"model": _fingerprint(synthesizer), "decode": decode}
    asked |= {"patients": int(patients), "seed": int(seed), "per_part": int(per_part)}
    manifest = folder / MANIFEST
    if manifest.exists():
        there = _read_json(manifest, asked, "Choose another folder")
        if other := ", another ".join(name for name in asked if there[name] != asked[name]):
            made = f"{folder} holds parts made with another {other}"
            raise ValueError(f"{made}: choose another folder, or remove this one")
    elif any(folder.glob("*.parquet")):
        raise ValueError(f"{folder} holds Parquet files and no {MANIFEST}: choose an empty folder")
    else:
        write_text(json.dumps(asked, indent=1), manifest)
    files = {first: folder / f"part-{number:05d}.parquet" for number, first in enumerate(range(0, patients, per_part))}
    for first, file in files.items():
        last = min(first + per_part, patients)
        if not file.exists():
            write_table(pd.concat(synthesizer.sample_blocks(last, seed, decode, start=first), ignore_index=True), file)
        if progress is not None:
            progress(last)
    return list(files.values())


def _fingerprint(synthesizer: Synthesizer) -> str:
    """Of all that decides what is drawn."""
    state = synthesizer.state()
    found = hashlib.sha256(json.dumps([state["config"], state["encoder"]], default=str).encode())
    weights = state["sampling_generator"] | state["source"] | {k: v for k, v in state.items() if k == "scheduled"}
    for name, value in weights.items():
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
