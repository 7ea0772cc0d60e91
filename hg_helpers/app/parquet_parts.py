"""More synthetic patients than fit into memory, as a folder of Parquet files that can be taken up where it stopped.

>>> import tempfile
>>> model = Synthesizer.pretrained('v1')
>>> with tempfile.TemporaryDirectory() as folder:
...     [path.name for path in write_parts(model, folder, patients=2)]
['part-00000.parquet']
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

from ..model.synthesizer import BLOCK, Progress, Synthesizer
from ..runtime.checkpoint import atomic
from ..runtime.checks import whole_number
from ..runtime.reading import MANIFEST
from .files import write_table


def write_parts(
    synthesizer: Synthesizer,
    folder: str | Path,
    patients: int,
    seed: int = 0,
    decode: str = "argmax",
    per_part: int = 100 * BLOCK,
    progress: Progress = None,
) -> list[Path]:
    """Write the rows of :meth:`Synthesizer.sample` as ``part-00000.parquet`` and so on.

    Parts that are there are kept: stopped and called again with the same model and arguments, it goes on.
    ``pandas.read_parquet(folder)`` reads them all.

    Args:
        folder: made if need be; ``_parts.json`` in it says what the parts are.
        per_part: patients a file, a multiple of 256; memory does not grow with ``patients``.
        progress: called with the number of patients written so far.

    Returns:
        The files, in the order of the patients.

    Raises:
        ValueError: for wrong numbers, or a folder with parts of another model, seed, decoding or size.
    """
    if whole_number("per_part", per_part) % BLOCK:
        raise ValueError(f"per_part must be a multiple of {BLOCK}, not {per_part!r}")
    synthesizer.sample_encoded(patients, seed, decode)  # refuses wrong input
    folder = Path(folder).expanduser()
    asked = {
        "model": _fingerprint(synthesizer),
        "patients": int(patients),
        "seed": int(seed),
        "decode": decode,
        "per_part": int(per_part),
    }
    _agree(folder, asked)
    files = []
    for number, first in enumerate(range(0, patients, per_part)):
        last = min(first + per_part, patients)
        files.append(folder / f"part-{number:05d}.parquet")
        if not files[-1].exists():
            table = pd.concat(synthesizer.sample_blocks(last, seed, decode, start=first), ignore_index=True)
            write_table(table, files[-1])
        if progress is not None:
            progress(last)
    return files


def _agree(folder: Path, asked: dict[str, str | int]) -> None:
    manifest = folder / MANIFEST
    if not manifest.exists():
        if any(folder.glob("*.parquet")):
            raise ValueError(f"{folder} holds Parquet files and no {MANIFEST}: choose an empty folder")
        with atomic(manifest) as temporary:
            temporary.write_text(json.dumps(asked, indent=1), encoding="utf-8")
        return
    try:
        there = json.loads(manifest.read_text(encoding="utf-8"))
        other = [name for name in asked if there[name] != asked[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest} cannot be read ({error}): choose another folder") from None
    if other:
        raise ValueError(
            f"{folder} holds parts made with another {', another '.join(other)}: choose another "
            "folder, or remove this one"
        )


def _fingerprint(synthesizer: Synthesizer) -> str:
    """Of all that decides what is drawn."""
    state = synthesizer.state()
    found = hashlib.sha256(json.dumps([state["config"], state["encoder"]], default=str).encode())
    for part in ("sampling_generator", "source"):
        for name, value in state[part].items():
            found.update(name.encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
