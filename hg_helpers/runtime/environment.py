"""What the package runs on: versions, device, seeds, Colab, and whether everything is in place."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import random
import re
import shutil
import sys
import tempfile
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# Packages are imported where they are used, so that `checks` can say which of them is absent.
if TYPE_CHECKING:
    import pandas as pd
    import torch

log = logging.getLogger("hg_helpers")

OLDEST_PYTHON = (3, 10)
#: Packages the model path needs and their oldest versions; the same as in pyproject.toml (a test compares them).
REQUIRED = {
    "torch": "2.4",
    "numpy": "1.26",
    "pandas": "2.1",
    "matplotlib": "3.8",
    "scipy": "1.11",
    "scikit-learn": "1.4",
    "tqdm": "4.66",
    "pooch": "1.8",
    "requests": "2.28",
    "threadpoolctl": "3.1",
    "pyarrow": "15",
    "pyyaml": "6",
}
_FREE_DISK = 1e9  # bytes: the public cohort, a few models and synthetic tables


class Check(NamedTuple):
    """One line of ``python -m hg_helpers doctor``."""

    name: str
    ok: bool
    detail: str


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python's, numpy's and torch's global generators, and return a CPU generator of torch with the same seed.

    For a learner's own cells; the package itself draws only from generators and seeds that it is given.

    Raises:
        ValueError: for anything but a whole number from 0 to 2**32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r} must be a whole number from 0 to {2**32 - 1}")
    import numpy as np
    import torch

    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    return torch.Generator().manual_seed(int(seed))


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device to compute on.

    Args:
        device: ``"auto"`` (CUDA where there is one, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or a
            torch.device. Apple's MPS is used only when asked for: resuming bit for bit is promised on the CPU alone.

    Raises:
        ValueError: for a device that does not exist here, naming those that do.
    """
    import torch

    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = available_devices()
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{device!r} is not a device; use 'auto' or one of: {', '.join(here)}") from error
    index = resolved.index or 0
    if resolved.type not in here or (resolved.type == "cuda" and index >= torch.cuda.device_count()):
        raise ValueError(f"device '{resolved}' is not available here; use 'auto' or one of: {', '.join(here)}")
    return resolved


def available_devices() -> list[str]:
    """Device types that this machine and this build of torch can use."""
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def describe_environment() -> pd.DataFrame:
    """Versions, machine and device in one table, to put beside results.

    Returns:
        One column ``value``, indexed by ``item``; ``None`` where something is absent.
    """
    import pandas as pd
    import torch

    facts: dict[str, object] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "colab": in_colab(),
        "cores": _cores(),
        "memory (GB)": _memory(),
        "device": str(resolve_device("auto")),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "mps": torch.backends.mps.is_available(),
        "torch threads": torch.get_num_threads(),
    }
    facts.update({name: _version(name) for name in ("hg-helpers", *REQUIRED)})
    return pd.DataFrame({"value": pd.Series(facts, dtype=object).rename_axis("item")})


def in_colab() -> bool:
    """Whether this is a Google Colab notebook."""
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def setup(seed: int = 0) -> None:
    """Prepare a notebook: seed everything, and show the package's messages in the cell that causes them.

    Prints one line, the same on every machine; calling it again changes nothing but the seed.
    """
    seed_everything(seed)
    if not any(isinstance(handler, _CellHandler) for handler in log.handlers):
        log.addHandler(_CellHandler())
        log.propagate = False  # else a configured root logger would say everything twice
    log.setLevel(logging.INFO)
    sys.stdout.write(f"hg_helpers is ready (seed {seed})\n")


class _CellHandler(logging.Handler):
    """Writes to whatever ``sys.stdout`` is at the time: a notebook shows stderr as if it were an error."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")


# --- doctor -----------------------------------------------------------------------------------------------------------


def checks() -> list[Check]:
    """Whether everything is in place, each with the facts, or with what to do.

    Returns:
        Python, one line a package, cores, device, bundled data, public data (optional, so never a failure), disk space
        and whether the current folder can be written to.
    """
    return [_check_python(), *map(_check_package, REQUIRED), *_check_machine(), *_check_data(), *_check_folder()]


def _check_python() -> Check:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    return Check("python", ok, platform.python_version() + ("" if ok else f"; install Python {oldest} or newer"))


def _check_package(name: str) -> Check:
    version, oldest = _version(name), REQUIRED[name]
    if version is None:
        return Check(name, False, f"not installed; run: python -m pip install '{name}>={oldest}'")
    if _numbers(version) < _numbers(oldest):
        return Check(name, False, f"{version} is too old; run: python -m pip install '{name}>={oldest}'")
    return Check(name, True, version)


def _check_machine() -> list[Check]:
    cores = Check("cores", True, str(_cores()))
    try:
        import torch

        threads = f"{torch.get_num_threads()} threads"
        return [cores, Check("device", True, f"{resolve_device('auto')} ({threads}; {', '.join(available_devices())})")]
    except (ImportError, OSError) as error:  # an installed torch whose libraries do not load raises OSError
        return [cores, Check("device", False, f"torch cannot be imported ({error}); install it again")]


def _check_data() -> list[Check]:
    try:  # a broken pandas, pooch or yaml shows here and not as a traceback
        from ..cohort.art import ART_FULL
        from ..cohort.download import DEMO_NAME, PUBLIC_NAME, data_folder, download_cohort, raw_folder
        from ..cohort.load import load_cohort

        public = raw_folder() / PUBLIC_NAME
    except (ImportError, OSError) as error:
        return [Check("bundled cohort", False, f"cannot be read ({error}); see the packages above")]
    out = []
    try:
        patients = load_cohort()[ART_FULL.patient].nunique()
        out.append(Check("bundled cohort", True, f"{patients} patients in {data_folder() / DEMO_NAME}"))
    except (ImportError, OSError, ValueError) as error:
        out.append(Check("bundled cohort", False, f"{error}; or restore the file from the repository"))
    if not public.is_file():
        out.append(Check("public cohort", True, "not cached, optional; run: python -m hg_helpers download"))
        return out
    try:
        out.append(Check("public cohort", True, f"cached as {download_cohort()}"))
    except OSError as error:
        out.append(Check("public cohort", False, str(error)))
    return out


def _check_folder() -> list[Check]:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    disk = f"{free / 1e9:.1f} GB free in {folder}"
    out = [Check("disk", free >= _FREE_DISK, disk if free >= _FREE_DISK else f"only {disk}; make room for 1 GB")]
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        out.append(Check("folder", True, f"{folder} can be written to"))
    except OSError as error:
        out.append(Check("folder", False, f"cannot write in {folder} ({error.strerror}); change to a folder of yours"))
    return out


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    """Leading numbers of a version; enough to compare with a lower bound, and without a package that may be absent."""
    return [int(part) for part in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> float | None:
    """Installed memory in GB, where the system tells it without a further package."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
