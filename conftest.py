"""How the notebooks run beside the unit tests: at the root, because it must hold for `tests` and for `notebooks`.

    pytest -n2 --nbval-lax tests notebooks

A notebook's cells share one kernel, so they belong on one worker and in order; a module's tests share what its fixtures
made, such as reports that take half a minute, and two workers would each make them. So a worker is given whole files,
whatever `--dist` says.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

# Two workers on two cores get one thread each, and so do the kernels that they start: numpy and torch read this when
# they are loaded, which is why it stands here and not in a fixture. A value set by hand is left alone.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
if _workers:
    _cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // _workers)))


#: Modules of more than half a minute, which at the end would leave the other worker idle.
LONGEST = ("test_exercises", "test_main", "test_workshop")


def notebook_of(nodeid: str) -> str | None:
    """The notebook that a cell belongs to; None for a unit test."""
    path = nodeid.split("::")[0]
    return path if path.endswith(".ipynb") else None


def with_other_ports(start: Callable, times: int = 3) -> Callable:
    """Start a kernel, and if it dies while it starts, another one with other ports.

    jupyter_client looks for free ports and lets go of them before the kernel takes them, so that two workers now and
    then choose the same one, and one kernel dies (jupyter_client issue 276).
    """

    @functools.wraps(start)
    def patient(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(1, times + 1):
            try:
                return start(*args, **kwargs)
            except RuntimeError as error:
                if attempt == times or "died" not in str(error):
                    raise
                logging.getLogger(__name__).warning("kernel %d of %d: %s", attempt, times, error)

    return patient


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than some seconds; leave out with -m 'not slow'")
    if config.pluginmanager.hasplugin("nbval"):
        from nbval import kernel

        config.option.nbval_current_env = True  # what is tested is this environment's, whatever a notebook calls it
        kernel.start_new_kernel = with_other_ports(kernel.start_new_kernel)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks in front, then the longest modules: the short ones fill the gaps. The sort keeps what is in a file."""
    items.sort(key=lambda item: (notebook_of(item.nodeid) is None, item.path.stem not in LONGEST))


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One unit of work a file, in that order and not in that of the number of tests."""
    if not (getattr(config.option, "nbval", False) or getattr(config.option, "nbval_lax", False)):
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
