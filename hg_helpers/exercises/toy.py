"""The three patients that run through all notebooks: a cohort small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..cohort.schema import Feature, Schema


def toy_schema() -> Schema:
    """Three features, four months: viral load, sex, base drugs. 6 channels, embedded width 7."""
    return Schema(
        [
            Feature("VL", "real", unit="copies/mL", role="outcome", threshold=1000),
            Feature("Gender", "binary", levels=("Male", "Female"), codes=(1, 2), static=True),
            Feature("Base Drug Combo", "categorical", levels=("A", "B", "C"), codes=(0, 1, 2), role="regimen"),
        ],
        patient="PatientID",
        time="Timestep",
        length=4,
    )


def toy_cohort() -> pd.DataFrame:
    """Three patients, four months each: one who is suppressed, one who fails and switches, one who rebounds."""
    viral_load = [100_000, 10_000, 1_000, 100, 10_000, 10_000, 1_000, 100, 1_000, 100, 10_000, 100_000]
    return pd.DataFrame(
        {
            "VL": np.array(viral_load, dtype=float),
            "Gender": np.repeat([1, 2, 1], 4),
            "Base Drug Combo": [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2],
            "PatientID": np.repeat([0, 1, 2], 4),
            "Timestep": np.tile(np.arange(4), 3),
        }
    )


def toy_latents() -> Tensor:
    """A hand-made encoding of the three toy patients, (3, 4, 2): log10 of the viral load less 2, and the drug code."""
    cohort = toy_cohort()
    values = np.stack([np.log10(cohort["VL"]) - 2, cohort["Base Drug Combo"]], axis=-1)
    return torch.tensor(values.reshape(3, 4, 2), dtype=torch.float32)
