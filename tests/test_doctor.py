"""The doctor's checks, and what is said where a package cannot be imported."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hg_helpers.app import doctor
from hg_helpers.app.doctor import REQUIRED, checks, import_failed
from hg_helpers.runtime import download

ROOT = Path(__file__).resolve().parent.parent


def by_name() -> dict:
    found = checks()
    assert len({check.name for check in found}) == len(found)
    assert all(isinstance(check.ok, bool) and check.detail for check in found)
    return {check.name: check for check in found}


def test_a_machine_that_runs_these_tests_is_fit_in_every_line():
    found = by_name()
    wanted = ["python", *REQUIRED, "cores", "device", "bundled cohort", "public cohort", "disk", "folder"]
    assert list(found) == wanted
    assert [check for check in found.values() if not check.ok] == []
    assert "1000 patients" in found["bundled cohort"].detail


def test_absent_and_old_packages_are_named_with_the_command_that_helps(monkeypatch):
    versions = {"pooch": None, "pandas": "1.9.5", "numpy": "1.26.0rc1", "torch": "2.10.0+cu121", "scipy": "1.9.3"}

    def version(name):
        if name in versions and versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name, "99.0")

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = by_name()
    assert not found["pooch"].ok and "not installed; run: python -m pip install 'pooch>=1.8'" in found["pooch"].detail
    assert not found["pandas"].ok and "1.9.5 is too old" in found["pandas"].detail
    assert not found["scipy"].ok, "1.9 is older than 1.11, though not as text"
    assert found["torch"].ok and found["numpy"].ok


def test_an_old_python_is_named(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 18))
    assert not by_name()["python"].ok and "install Python 3.10 or newer" in by_name()["python"].detail


def test_a_missing_or_broken_bundled_cohort_is_named(monkeypatch, tmp_path):
    package = tmp_path / "hg_helpers"
    (package / "data").mkdir(parents=True)
    monkeypatch.setattr(download, "__file__", str(package / "runtime" / "download.py"))
    check = by_name()["bundled cohort"]
    assert not check.ok and str(package / "data") in check.detail and "simulate" in check.detail
    (package / "data" / "art_hiv_demo.csv.gz").write_bytes(b"not gzip")
    check = by_name()["bundled cohort"]
    assert not check.ok and "cannot be read" in check.detail


def test_the_public_cohort_is_optional_but_a_broken_copy_is_not_passed_over(monkeypatch, tmp_path):
    (tmp_path / "hg_helpers").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(download, "__file__", str(tmp_path / "hg_helpers" / "runtime" / "download.py"))
    check = by_name()["public cohort"]
    assert check.ok and "python -m hg_helpers download" in check.detail
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / download.PUBLIC_NAME).write_text("<html>")
    check = by_name()["public cohort"]
    assert not check.ok and "web page" in check.detail


def test_a_full_disk_and_a_folder_that_cannot_be_written_to_are_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2e8}))

    def denied(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", denied)
    found = by_name()
    assert not found["disk"].ok and "only 0.2 GB free" in found["disk"].detail
    assert (
        not found["folder"].ok
        and "Permission denied" in found["folder"].detail
        and str(tmp_path) in found["folder"].detail
    )


def test_the_doctor_asks_for_the_same_versions_as_the_package_itself():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert dict(re.findall(r'"([\w-]+)>=([\d.]+)"', block)) == REQUIRED
    assert '">=3.10"' in text and doctor.OLDEST_PYTHON == (3, 10)


# --- a package that is not there --------------------------------------------------------------------------------------


# Not as None in sys.modules: scipy looks there for packages that somebody else has imported.
ABSENT = """
import sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent)
"""


def without(package: str, code: str) -> subprocess.CompletedProcess:
    """Run a program on a Python that has no such package."""
    code = ABSENT.format(package=package) + code
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(("module", "package"), {"torch": "torch", "sklearn": "scikit-learn", "yaml": "pyyaml"}.items())
def test_whoever_uses_the_package_without_one_it_needs_is_told_which_and_how_to_get_it(module, package):
    said = without(module, "import hg_helpers as hg\nhg.simulate_cohort(3)\nhg.evaluate").stderr.splitlines()[-1]
    remedy = f"python -m pip install '{package}>={REQUIRED[package]}'"
    assert said == f"ImportError: hg_helpers cannot import {package}; run: {remedy}"


@pytest.mark.parametrize("command", ["doctor", "train"])
def test_the_doctor_works_without_the_package_and_speaks_for_every_command(command):
    said = without(
        "torch", f"sys.argv = ['', {command!r}]\nimport runpy\nrunpy.run_module('hg_helpers', None, '__main__')"
    )
    assert said.returncode == 1
    assert "LOOK  device: torch cannot be imported" in said.stdout and "folder: " in said.stdout
    assert said.stderr.startswith("error: hg_helpers cannot import torch; run: python -m pip install 'torch>=")
    assert "Traceback" not in said.stderr


def test_a_fault_of_our_own_is_not_put_down_to_a_package():
    try:
        from hg_helpers.cohort import nothing_of_the_kind  # noqa: F401
    except ImportError as error:
        assert "nothing_of_the_kind" in import_failed(error) and "pip install" not in import_failed(error)


def test_names_that_python_itself_looks_for_are_absent_and_no_error():
    code = "import hg_helpers as hg\nprint(hasattr(hg, '__wrapped__'), hg.__version__)"
    assert without("torch", code).stdout.startswith("False 2.")
