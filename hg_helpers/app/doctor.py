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
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

OLDEST_PYTHON = (3, 10)
#: Packages the model path needs and their oldest versions; the same as in pyproject.toml (a test compares them).
REQUIRED = {"torch": "2.4", "numpy": "1.26", "pandas": "2.2", "matplotlib": "3.8", "scipy": "1.11"}
REQUIRED |= {"scikit-learn": "1.4", "tqdm": "4.66", "pooch": "1.8", "requests": "2.28", "threadpoolctl": "3.1"}
REQUIRED |= {"pyarrow": "15", "pyyaml": "6", "jinja2": "3.1"}


Check = namedtuple("Check", ["name", "ok", "detail"])  # one line of `python -m hg_helpers doctor`


def doctor(options: argparse.Namespace | None = None) -> int:
    """Print the checks, as text or JSON; returns 0 if all is in place, else 1."""
    found = checks()
    if options and options.json:
        print(json.dumps([{"check": c.name, "ok": c.ok, "detail": c.detail} for c in found], indent=1))
    else:
        print(*(f"{'OK  ' if c.ok else 'LOOK'}  {c.name}: {c.detail}" for c in found), sep="\n")
    return 0 if all(check.ok for check in found) else 1


def import_failed(error: Exception) -> str:
    """One sentence about an import that failed: which package it is, and the line that installs it."""
    module = (getattr(error, "name", None) or "").split(".")[0]
    package = {"sklearn": "scikit-learn", "yaml": "pyyaml"}.get(module, module)
    if package in REQUIRED:
        return f"hg_helpers cannot import {package}; {_install(package)}"
    return f"hg_helpers cannot be imported ({error}); python -m hg_helpers doctor says what is not in place"


def checks() -> list[Check]:
    """Python, packages, cores, device, bundled and public data (optional, so never a failure), disk and folder."""
    ok, version = sys.version_info[:2] >= OLDEST_PYTHON, platform.python_version()
    advice = "" if ok else f"; install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer"
    python = Check("python", ok, version + advice)
    # in a container, the cores that this process may use are fewer than the machine's
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [python, *map(_package, REQUIRED), Check("cores", True, str(cores)), *_machine()]


def _install(package: str) -> str:
    return f"run: python -m pip install '{package}>={REQUIRED[package]}'"


def _package(name: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed; {_install(name)}")
    # the leading numbers: enough to compare with a lower bound, and without a package that may be absent
    here, least = ([int(n) for n in re.match(r"\d+(?:\.\d+)*", v)[0].split(".")] for v in (version, REQUIRED[name]))
    return Check(name, here >= least, version if here >= least else f"{version} is too old; {_install(name)}")


def _machine() -> Iterator[Check]:
    """The device, both cohorts, disk and folder; a broken torch, pandas, pooch or yaml is a line and no traceback."""
    try:
        import torch

        from ..runtime.environment import available_devices, resolve_device

        there = f"{torch.get_num_threads()} threads; {', '.join(available_devices())}"
        yield Check("device", True, f"{resolve_device('auto')} ({there})")
    except (ImportError, OSError) as error:  # an installed torch whose libraries do not load raises OSError
        yield Check("device", False, f"torch cannot be imported ({error}); install it again")
    try:
        from ..cohort import ART_FULL, load_cohort
        from ..runtime.download import DEMO_NAME, data_folder

        patients = load_cohort()[ART_FULL.patient].nunique()
        yield Check("bundled cohort", True, f"{patients} patients in {data_folder() / DEMO_NAME}")
    except (ImportError, OSError, ValueError) as error:
        advice = "see the packages above, or restore the file from the repository"
        yield Check("bundled cohort", False, f"{error}; {advice}")
    try:
        from ..runtime.download import PUBLIC_NAME, download_cohort, raw_folder

        cached = (raw_folder() / PUBLIC_NAME).is_file()
        how = f"cached as {download_cohort()}" if cached else "not cached, optional; run: python -m hg_helpers download"
        yield Check("public cohort", True, how)
    except (ImportError, OSError) as error:
        yield Check("public cohort", False, str(error))
    folder, free = Path.cwd(), shutil.disk_usage(Path.cwd()).free
    disk, enough = f"{free / 1e9:.1f} GB free in {folder}", free >= 1e9  # for the public cohort, models and tables
    yield Check("disk", enough, disk if enough else f"only {disk}; make room for 1 GB")
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Check("folder", True, f"{folder} can be written to")
    except OSError as error:
        yield Check("folder", False, f"cannot write in {folder} ({error.strerror}); change to a folder of yours")
