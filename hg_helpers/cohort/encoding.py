"""From a table of patients to a tensor, and back.

Real features: a power transform towards a normal shape, then min-max to [0, 1] with the training patients' minimum and
range. Discrete features: one-hot in the schema's level order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from .columns import TableLog, as_type, id_pattern, new_ids, type_name
from .load import validate_cohort
from .scaling import RealCode
from .schema import Schema


class CohortEncoder:
    """Turns a cohort into a tensor of shape (patients, months, channels) and back.

    Args:
        schema: what the table means.

    Attributes:
        columns: the table's own column order, which decoded and sampled tables keep.
        clipped: values outside the training range at the last :meth:`transform`, by feature.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.columns: list[str] = schema.columns
        self.clipped: dict[str, int] = {}
        self._codes: dict[str, RealCode] | None = None
        self._first_time: int = 0
        self._types: dict[str, Any] = {}  # of the training table's columns
        self._ids: list[Any] | None = None  # prefix, first number, digits, suffix; None where ids are numbers

    def fit(self, cohort: pd.DataFrame) -> CohortEncoder:
        """Learn each real feature's transform from the training patients.

        Raises:
            ValueError, KeyError: as :func:`hg_helpers.validate_cohort`, naming column and patient.
        """
        self.fit_validated(validate_cohort(cohort, self.schema))
        self._types |= {str(name): type_name(cohort[name]) for name in self.columns if name in cohort.columns}
        return self

    def fit_validated(self, table: pd.DataFrame) -> CohortEncoder:
        """As :meth:`fit`, of a table that :func:`hg_helpers.validate_cohort` returned."""
        self.columns = list(table.columns)
        self._types = {name: type_name(table[name]) for name in table.columns}
        self._ids = id_pattern(table[self.schema.patient])
        self._codes = {f.name: RealCode.fit(f, table[f.name].to_numpy(np.float64)) for f in self.schema.real}
        constant = [name for name in self.schema.names if table[name].nunique() == 1]
        if constant:
            TableLog().info("constant in the training table, hence in every synthetic one: %s", ", ".join(constant))
        if self.schema.regular:
            self._first_time = int(table[self.schema.time].iloc[0])
        return self

    def transform(self, cohort: pd.DataFrame) -> torch.Tensor:
        """Encode a cohort.

        Returns:
            float32 tensor (patients, months, channels), patients in the order of their ids.

        Raises:
            RuntimeError: before :meth:`fit`.
            ValueError, KeyError: as :func:`hg_helpers.validate_cohort`.
        """
        self._fitted()
        return self.transform_validated(validate_cohort(cohort, self.schema))

    def transform_validated(self, table: pd.DataFrame, name: str = "") -> torch.Tensor:
        """As :meth:`transform`, of a table that :func:`hg_helpers.validate_cohort` returned, ``name`` for the log."""
        codes = self._fitted()
        x = np.zeros((len(table), self.schema.channels), dtype=np.float32)
        self.clipped = {}
        for feature in self.schema:
            span = self.schema.spans[feature.name]
            if feature.is_real:
                u = codes[feature.name].forward(table[feature.name].to_numpy(np.float64))
                # a value at the training extremes may leave [0, 1] by rounding; only more than that is worth a word
                outside = int(((u < -1e-9) | (u > 1 + 1e-9)).sum())
                if outside:
                    self.clipped[feature.name] = outside
                x[:, span.start] = u.clip(0.0, 1.0)
            else:
                level = pd.Index(feature.codes).get_indexer(table[feature.name])
                x[np.arange(len(table)), span.start + level] = 1.0
        if self.clipped:
            said = ", ".join(f"{name} {count}" for name, count in self.clipped.items())
            TableLog(name).info("values outside the range of the training patients were clipped to it: %s", said)
        return torch.from_numpy(x).view(-1, self.schema.length, self.schema.channels)

    def inverse_transform(self, x: torch.Tensor, first_patient: int = 0) -> pd.DataFrame:
        """Decode a tensor to a table in the layout, codes and units of the cohort that was fitted.

        A discrete feature takes the level with the largest channel (the first of equals).

        Args:
            x: (patients, months, channels), any number of months.
            first_patient: number of the first patient. Ids count upwards from it; where they are text in the training
                table they follow its pattern, from the first number that no training patient has.

        Raises:
            ValueError: where the number of channels is not the schema's.
        """
        codes = self._fitted()
        if x.ndim != 3 or x.shape[-1] != self.schema.channels:
            raise ValueError(f"expected (patients, months, {self.schema.channels}) channels, got {tuple(x.shape)}")
        n, months = x.shape[:2]
        values = x.detach().reshape(n * months, -1).cpu().numpy()
        columns: dict[str, Any] = {
            self.schema.patient: np.repeat(new_ids(self._ids, first_patient, n), months),
            self.schema.time: np.tile(np.arange(months) + self._first_time, n),
        }
        for feature in self.schema:
            block = values[:, self.schema.spans[feature.name]]
            if feature.is_real:
                columns[feature.name] = codes[feature.name].inverse(block[:, 0].astype(np.float64).clip(0.0, 1.0))
            else:
                columns[feature.name] = pd.Index(feature.codes).take(block.argmax(axis=1))
        return pd.DataFrame({name: as_type(columns[name], self._types.get(name)) for name in self.columns})

    def _fitted(self) -> dict[str, RealCode]:
        if self._codes is None:
            raise RuntimeError("this encoder has seen no table yet: call fit(train) first")
        return self._codes

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Plain numbers and strings, so that a checkpoint with an encoder loads without running code."""
        codes = {name: code.state() for name, code in self._fitted().items()}
        return {
            "schema": self.schema.to_dict(),
            "columns": self.columns,
            "codes": codes,
            "first_time": self._first_time,
            "types": self._types,
            "ids": self._ids,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CohortEncoder:
        """Inverse of :meth:`state`."""
        encoder = cls(Schema.from_dict(state["schema"]))
        encoder.columns = list(state["columns"])
        encoder._codes = {name: RealCode(*numbers) for name, numbers in state["codes"].items()}
        encoder._first_time = int(state["first_time"])
        encoder._types, encoder._ids = state.get("types", {}), state.get("ids")  # older checkpoints have neither
        return encoder
