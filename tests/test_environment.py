"""Seeds, devices and the notebooks' set-up."""

import logging
import random

import numpy as np
import pytest
import torch

from hg_helpers.app.shorthand import setup
from hg_helpers.runtime.environment import available_devices, resolve_device, seed_everything

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
    with pytest.raises(ValueError, match="whole number of at least 0"):
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


def test_a_cell_that_ran_too_early_is_told_what_it_lacks_and_a_stored_widget_is_no_riddle(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        setup()
        for code in ("toy + 1", "def early():\n    a = later\n    later = 1\n\nearly()", "1 / 0"):
            assert not shell.run_cell(code).success
        said = capsys.readouterr().out
        assert "NameError" in said and "UnboundLocalError" in said and "ZeroDivisionError" in said
        assert said.count(" yet: ") == 1 and "There is no `toy` yet: a cell above makes it" in said
        shell.run_cell("import ipywidgets")
        shown = shell.display_formatter.format(shell.user_ns["ipywidgets"].IntSlider())[0]
        assert "run this cell" in shown["text/plain"] and "application/vnd.jupyter.widget-view+json" in shown
    finally:
        InteractiveShell.clear_instance()
