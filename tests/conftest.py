"""What the tests of the model path share: a small cohort, its tensor, and a configuration that trains in an instant."""

import functools
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.schema import Schema
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model.config import TrainConfig


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Results are promised bit for bit only for an equal number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def schema() -> Schema:
    """The published example's seven features, six months."""
    return replace(ART_DEMO, length=6)


@pytest.fixture(scope="session")
def cohort(schema) -> pd.DataFrame:
    """Forty simulated patients, all fifteen published columns."""
    return simulate_cohort(40, months=schema.length, seed=1)


@pytest.fixture(scope="session")
def encoder(cohort, schema) -> CohortEncoder:
    return CohortEncoder(schema).fit(cohort)


@pytest.fixture(scope="session")
def x(encoder, cohort) -> torch.Tensor:
    """(40, 6, 22)"""
    return encoder.transform(cohort)


@pytest.fixture(scope="session")
def tiny():
    """``tiny("v2", epochs=3)``: that model at the smallest sensible size, six batches an epoch on 40 patients."""

    def make(model: str = "v1", **changes) -> TrainConfig:
        small = {"hidden": 8, "latent": 8, "batch_size": 16, "lengths": (3,), "epochs": 2, "n_critic": 2}
        return getattr(TrainConfig, model)(**{**small, **changes})

    return make


@pytest.fixture(scope="session")
def quick_report() -> Callable[[pytest.MonkeyPatch], None]:
    """``quick_report(monkeypatch)``: `evaluate` takes one draw, few bootstraps, few dots, where no number is read.

    One test in test_main takes the default numbers.
    """
    from hg_helpers.app import commands  # and with it matplotlib, which most tests do not need
    from hg_helpers.metrics import evaluate

    def quick(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(commands, "evaluate_tables", functools.partial(evaluate, draws=1, bootstrap=20))
        patch.setattr(commands, "FILE_DPI", 40)

    return quick
