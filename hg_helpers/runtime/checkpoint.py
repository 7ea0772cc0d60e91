"""Files that survive: written to a temporary name and renamed, checked on the way in, never run as code.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     save_checkpoint(f'{folder}/a.pt', {'kind': 'synthesizer', 'numbers': torch.arange(3)})
...     load_checkpoint(f'{folder}/a.pt', 'synthesizer')['numbers'].tolist()
[0, 1, 2]
"""

from __future__ import annotations

import errno
import glob
import os
import pickle
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

FORMAT = 1  # raised when the content of a checkpoint changes meaning


def _places(path: str | Path) -> tuple[Path, Path]:
    """The file that a path means (`~`: the home folder; a link: its target), a temporary one; makes their folder."""
    path = Path(path).expanduser()
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write to the path that is given; it becomes ``path`` only when the block ends without an error.

    A crash, a full disk or Ctrl-C leaves whatever stood at ``path`` before. The temporary file of a process that was
    killed is removed by the next one that writes to ``path``, an hour later or more.
    """
    path, temporary = _places(path)
    # by age: whether a process is alive cannot be asked on another machine, and on Windows not without harming it
    for left in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*.part"):
        with suppress(OSError):  # gone by now, or not ours to remove: no reason not to write
            if time.time() - left.stat().st_mtime > 3600:  # seconds since anybody has written to it
                left.unlink()
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: str | Path) -> None:
    """Raise now the OSError that would otherwise be found out after an hour of training."""
    try:
        path, temporary = _places(path)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        what = "a shorter name" if error.errno == errno.ENAMETOOLONG else "another folder"
        raise OSError(f"{path} could not be written: {error.strerror}; choose {what}") from None
    if path.is_dir():
        raise OSError(f"{path} is a folder; what is written here needs the name of a file")


def not_finite(tensors: Mapping[str, Any]) -> str | None:
    """The name of the first tensor, or number, that is infinite or NaN; None where all are finite."""
    return next((name for name, value in tensors.items() if not torch.isfinite(torch.as_tensor(value)).all()), None)


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries; ``state["kind"]`` says what it is.

    An OSError names a file that cannot be written; one that stood there stays as it was.
    """
    try:
        with atomic(path) as temporary:
            torch.save({"format": FORMAT, **state}, temporary)
    except (OSError, RuntimeError) as error:
        why = str(error)
        if isinstance(error, RuntimeError):  # torch's words for a full disk: "unexpected pos 64 vs 0"
            why = f"not all of it could be written, as where the disk is full ({why.splitlines()[0]})"
        advice = "What stood there before is untouched; make room or choose another folder."
        raise OSError(f"could not write {path}: {why}. {advice}") from error


def load_checkpoint(path: str | Path, *kinds: str) -> dict[str, Any]:
    """Read a checkpoint of one of these kinds (``"trainer"``, ``"synthesizer"``), on the CPU, running no code in it.

    A FileNotFoundError or ValueError names a file that is missing, damaged, or of another format or kind.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}: look at the name, or train first")
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\x03\x04":  # torch would read what stands before the archive that is checked here
                raise ValueError("it does not begin as an archive")
        with zipfile.ZipFile(path) as archive:
            # the mark of a folder, which torch reads as nothing, leaving a tensor's memory as it found it
            if any(part.external_attr & 0x10 for part in archive.infolist()):
                raise ValueError("its table of contents is damaged")
            if damaged := archive.testzip():  # every part carries a checksum, which torch itself does not look at
                raise ValueError(f"its part {damaged} does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not {"format", "kind"} <= state.keys():
            raise ValueError("it was not written by hg_helpers")
    except Exception as error:  # zip, unpickling and tensor errors have no common base
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in why:  # torch advises to run it
            why = "it holds more than numbers and text, which could be code"
        fault = "The file is damaged or not a checkpoint; use an older copy or train again."
        raise ValueError(f"{path} cannot be loaded: {why}. {fault}") from error
    if state["format"] != FORMAT:
        formats = f"has checkpoint format {state['format']}, this version of hg_helpers reads {FORMAT}"
        raise ValueError(f"{path} {formats}: use the version that wrote it, or train again")
    if state["kind"] not in kinds:
        held = f"holds a {state['kind']}, not a {' or '.join(kinds)}"
        raise ValueError(f"{path} {held}: give the file that training wrote")
    return state


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put a model together from what ``path`` held; what goes wrong becomes a ValueError that names the file."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:  # nothing is wrong with the file
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()[:40])
        fault = f"{path} holds a model that this version of hg_helpers cannot put together: {why}."
        raise ValueError(f"{fault} Use the version that wrote it, or train again.") from error
