"""Files that survive: written to a temporary name and renamed, checked on the way in, never run as code."""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

#: Raised when the content of a checkpoint changes meaning.
FORMAT = 1


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write to the path that is given; it becomes ``path`` only when the block ends without an error.

    A crash, a full disk or Ctrl-C leaves whatever stood at ``path`` before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: str | Path) -> None:
    """Raise now what would otherwise be found out after an hour of training.

    Raises:
        OSError: naming the file and its folder, where it could not be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror}; choose another folder") from None
    if path.is_dir():
        raise OSError(f"{path} is a folder; a checkpoint needs the name of a file")


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: file to write, usually ``.pt``.
        state: tensors, numbers, strings, lists and dictionaries; ``"kind"`` says what it is.

    Raises:
        OSError: naming the file, where it cannot be written; an older file of that name stays as it was.
    """
    try:
        with atomic(path) as temporary:
            torch.save({"format": FORMAT, **state}, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OSError(f"could not write {path}: {error}. What stood there before is untouched.") from error


def load_checkpoint(path: str | Path, *kinds: str) -> dict[str, Any]:
    """Read a checkpoint written by :func:`save_checkpoint`, on the CPU, without running any code in it.

    Args:
        path: the file.
        kinds: what it may be (``"trainer"``, ``"synthesizer"``).

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming the file, where it is damaged, of another format or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # every part carries a checksum, which torch itself does not look at
        if damaged is not None:
            raise ValueError(f"its part {damaged} does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not {"format", "kind"} <= state.keys():
            raise ValueError("it was not written by hg_helpers")
    except Exception as error:  # zip, unpickling and tensor errors have no common base
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):  # torch's own words are advice on how to run the code in the file
            why = "it holds more than numbers and text, which could be code"
        raise ValueError(
            f"{path} cannot be loaded: {why}. The file is damaged or not a checkpoint; use an older copy or train "
            "again."
        ) from error
    if state["format"] != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {state['format']}, this version of hg_helpers reads {FORMAT}: "
            "use the version that wrote it, or train again"
        )
    if state["kind"] not in kinds:
        raise ValueError(f"{path} holds a {state['kind']}, not a {' or '.join(kinds)}")
    return state
