"""Is everything in place? What `python -m hg_helpers doctor` checks, and what a failed import means.

Packages are imported where they are looked at, so that one that is absent or broken can be named.

>>> import_failed(ModuleNotFoundError(name='yaml'))
"hg_helpers cannot import pyyaml; run: python -m pip install 'pyyaml>=6'"
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

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


def doctor(options: argparse.Namespace) -> int:
    """Print the checks, as text or JSON; returns 0 if all is in place, else 1."""
    found = checks()
    if options.json:
        print(json.dumps([{"check": c.name, "ok": c.ok, "detail": c.detail} for c in found], indent=1))
    else:
        for check in found:
            print(f"{'OK  ' if check.ok else 'LOOK'}  {check.name}: {check.detail}")
    return 0 if all(check.ok for check in found) else 1


def import_failed(error: Exception) -> str:
    """One sentence about an import that failed: which package it is, and the line that installs it."""
    module = (getattr(error, "name", None) or "").split(".")[0]
    package = {"sklearn": "scikit-learn", "yaml": "pyyaml"}.get(module, module)
    if package in REQUIRED:
        return f"hg_helpers cannot import {package}; run: python -m pip install '{package}>={REQUIRED[package]}'"
    return f"hg_helpers cannot be imported ({error}); python -m hg_helpers doctor says what is not in place"


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

        from ..runtime.environment import available_devices, resolve_device

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
