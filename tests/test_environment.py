"""Seeds, devices, the notebooks' set-up and the doctor's checks."""

import importlib.metadata
import logging
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hg_helpers.cohort import download
from hg_helpers.runtime import environment
from hg_helpers.runtime.environment import (
    REQUIRED,
    available_devices,
    checks,
    describe_environment,
    in_colab,
    resolve_device,
    seed_everything,
    setup,
)

ROOT = Path(__file__).resolve().parent.parent
log = logging.getLogger("hg_helpers")


@pytest.fixture(autouse=True)
def as_before():
    """Logging and the global generators are left as they were found."""
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def drawn() -> tuple:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_seed_fixes_all_three_global_generators_and_the_one_returned():
    first, second, other = ((seed_everything(seed), drawn()) for seed in (7, 7, 8))
    assert first[1] == second[1] and all(a != b for a, b in zip(first[1], other[1], strict=True))
    draws = [torch.rand(3, generator=generator) for generator, _ in (first, second, other)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1", None, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match="whole number from 0 to 4294967295"):
        seed_everything(seed)


def test_the_cpu_is_always_there_and_auto_is_one_that_works():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in available_devices():
        assert (torch.ones(2, device=resolve_device(name)) * 2).sum().item() == 4


def test_auto_takes_cuda_where_there_is_one_but_mps_only_when_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto").type == "cuda" and resolve_device("cuda:1").index == 1
    with pytest.raises(ValueError, match="'cuda:2' is not available here"):
        resolve_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto").type == "cpu" and resolve_device("mps").type == "mps"


@pytest.mark.parametrize("device", ["cuda", "mps", "gpu", "", None, 1.5])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"use 'auto' or one of: cpu$"):
        resolve_device(device)


def test_the_environment_is_described_with_every_package_in_use():
    facts = describe_environment()["value"]
    assert (
        facts["torch"] == torch.__version__ and facts["pandas"] == pd.__version__ and facts["numpy"] == np.__version__
    )
    assert set(REQUIRED) < set(facts.index) and facts.index.name == "item"
    assert facts["cores"] >= 1 and facts["torch threads"] >= 1 and facts["colab"] is False
    assert facts["memory (GB)"] is None or facts["memory (GB)"] > 0.1


def test_colab_is_recognised(monkeypatch):
    assert not in_colab()
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-20260101")
    assert in_colab()


def test_setup_prints_one_line_seeds_and_shows_messages_in_the_cell_once(capsys, monkeypatch):
    assert setup(seed=3) is None
    first = drawn()
    setup(seed=3)
    assert drawn() == first
    out, err = capsys.readouterr()
    assert out == "hg_helpers is ready (seed 3)\n" * 2 and err == ""
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler()])  # as Colab has one
    log.info("kept %d patients", 153)
    log.warning("left out 159")
    out, err = capsys.readouterr()
    assert (out, err) == ("kept 153 patients\nleft out 159\n", "")


# --- doctor ---------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 18))
    assert not by_name()["python"].ok and "install Python 3.10 or newer" in by_name()["python"].detail


def test_a_missing_or_broken_bundled_cohort_is_named(monkeypatch, tmp_path):
    package = tmp_path / "hg_helpers"
    (package / "data").mkdir(parents=True)
    monkeypatch.setattr(download, "__file__", str(package / "cohort" / "download.py"))
    check = by_name()["bundled cohort"]
    assert not check.ok and str(package / "data") in check.detail and "simulate" in check.detail
    (package / "data" / "art_hiv_demo.csv.gz").write_bytes(b"not gzip")
    check = by_name()["bundled cohort"]
    assert not check.ok and "cannot be read" in check.detail


def test_the_public_cohort_is_optional_but_a_broken_copy_is_not_passed_over(monkeypatch, tmp_path):
    (tmp_path / "hg_helpers").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(download, "__file__", str(tmp_path / "hg_helpers" / "cohort" / "download.py"))
    check = by_name()["public cohort"]
    assert check.ok and "python -m hg_helpers download" in check.detail
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / download.PUBLIC_NAME).write_text("<html>")
    check = by_name()["public cohort"]
    assert not check.ok and "web page" in check.detail


def test_a_full_disk_and_a_folder_that_cannot_be_written_to_are_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2e8}))

    def denied(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(environment.tempfile, "TemporaryFile", denied)
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
    assert '">=3.10"' in text and environment.OLDEST_PYTHON == (3, 10)
