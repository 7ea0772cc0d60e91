"""From a table of patients to a tensor, and back.

Real features: a power transform towards a normal shape, then min-max to [0, 1] with the training patients' minimum and
range. Discrete features: one-hot in the schema's level order.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import optimize, special, stats

from .columns import TableLog
from .load import validate_cohort
from .schema import Feature, Schema

#: Added before Box-Cox, so that a laboratory value of exactly zero has a logarithm.
OFFSET = 0.001


def box_cox_lambda(x: np.ndarray) -> float:
    """Maximum-likelihood Box-Cox parameter of positive values (Box & Cox 1964, equation 8).

    Same value as ``scipy.stats.boxcox_normmax(x, method="mle")`` to 1e-6, several times faster on half a million
    values: one logarithm a value is taken once and kept.
    """
    log_x = np.log(x)
    centre = log_x.mean()
    deviation = log_x - centre

    def cost(lam: float) -> float:
        # x**lam / lam divided by its geometric mean, so that nothing overflows
        shaped = deviation if abs(lam) < 1e-8 else np.expm1(lam * deviation) / lam
        variance = shaped.var()
        return 0.5 * np.log(variance) if variance > 0 else np.inf

    return float(optimize.minimize_scalar(cost, bracket=(-1.0, 1.0), method="brent", options={"xtol": 1e-9}).x)


class _RealCode:
    """How one real feature is brought to [0, 1]; a few numbers that live in the checkpoint.

    Box-Cox is taken of values in units of their geometric mean. Min-max then gives the same [0, 1] in any unit, but of
    a body temperature in degrees, with lambda -30, nothing would be left beside rounding.
    """

    def __init__(self, kind: str, lam: float, minimum: float, span: float, unit: float) -> None:
        self.kind, self.lam, self.minimum, self.span, self.unit = kind, lam, minimum, span, unit

    @classmethod
    def fit(cls, feature: Feature, x: np.ndarray) -> _RealCode:
        kind, lam, unit = feature.transform, 1.0, 1.0
        if x.min() == x.max():
            kind = "none"  # a constant has no shape to mend
        lost = np.inf
        with np.errstate(all="ignore"), suppress(ValueError):  # what overflows is found by the way back
            if kind == "box-cox":
                x = np.maximum(x, 0.0)  # rounding dust below zero is let in, and comes back as zero
                lam, unit = box_cox_lambda(x + OFFSET), float(np.exp(np.log(x + OFFSET).mean()))
            elif kind == "yeo-johnson":
                lam = float(stats.yeojohnson_normmax(x))  # refuses what it cannot fit
            code = cls(kind, lam, 0.0, 1.0, unit)
            y = code._power(x)
            code.minimum, code.span = float(y.min()), float(y.max() - y.min())
            lost = np.abs(code.inverse(code.forward(x)) - x).max() / (np.ptp(x) or 1.0)
        if not lost < 1e-6:
            otherwise = "" if kind == "none" else ", or set transform='none' for it in the schema"
            raise ValueError(
                f"column {feature.name!r}: values from {x.min():g} to {x.max():g} do not survive the {kind} transform; "
                f"look for one that is wrong{otherwise}"
            )
        return code

    def _power(self, x: np.ndarray) -> np.ndarray:
        if self.kind == "box-cox":
            return special.boxcox((x + OFFSET) / self.unit, self.lam)
        if self.kind == "yeo-johnson":
            return np.where(
                x >= 0, special.boxcox1p(np.maximum(x, 0), self.lam), -special.boxcox1p(np.maximum(-x, 0), 2 - self.lam)
            )
        return x

    def forward(self, x: np.ndarray) -> np.ndarray:
        # a constant has no range: any other value lies outside it
        return (self._power(x) - self.minimum) / (self.span or 1e-9)

    def inverse(self, u: np.ndarray) -> np.ndarray:
        y = u * self.span + self.minimum
        if self.kind == "box-cox":
            return np.maximum(special.inv_boxcox(y, self.lam) * self.unit - OFFSET, 0.0)
        if self.kind == "yeo-johnson":
            return np.where(
                y >= 0,
                special.inv_boxcox1p(np.maximum(y, 0), self.lam),
                -special.inv_boxcox1p(np.maximum(-y, 0), 2 - self.lam),
            )
        return y


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
        self._codes: dict[str, _RealCode] | None = None
        self._first_time: int = 0

    def fit(self, cohort: pd.DataFrame) -> CohortEncoder:
        """Learn each real feature's transform from the training patients.

        Raises:
            ValueError, KeyError: as :func:`hg_helpers.validate_cohort`, naming column and patient.
        """
        return self.fit_validated(validate_cohort(cohort, self.schema))

    def fit_validated(self, table: pd.DataFrame) -> CohortEncoder:
        """As :meth:`fit`, of a table that :func:`hg_helpers.validate_cohort` returned."""
        self.columns = list(table.columns)
        self._codes = {f.name: _RealCode.fit(f, table[f.name].to_numpy(np.float64)) for f in self.schema.real}
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
            first_patient: id of the first patient; ids count upwards from it.

        Raises:
            ValueError: where the number of channels is not the schema's.
        """
        codes = self._fitted()
        if x.ndim != 3 or x.shape[-1] != self.schema.channels:
            raise ValueError(f"expected (patients, months, {self.schema.channels}) channels, got {tuple(x.shape)}")
        n, months = x.shape[:2]
        values = x.detach().reshape(n * months, -1).cpu().numpy()
        columns: dict[str, Any] = {
            self.schema.patient: np.repeat(np.arange(first_patient, first_patient + n), months),
            self.schema.time: np.tile(np.arange(months) + self._first_time, n),
        }
        for feature in self.schema:
            block = values[:, self.schema.spans[feature.name]]
            if feature.is_real:
                columns[feature.name] = codes[feature.name].inverse(block[:, 0].astype(np.float64).clip(0.0, 1.0))
            else:
                columns[feature.name] = np.asarray(feature.codes)[block.argmax(axis=1)]
        return pd.DataFrame({name: columns[name] for name in self.columns})

    def _fitted(self) -> dict[str, _RealCode]:
        if self._codes is None:
            raise RuntimeError("this encoder has seen no table yet: call fit(train) first")
        return self._codes

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Plain numbers and strings, so that a checkpoint with an encoder loads without running code."""
        codes = {name: [c.kind, c.lam, c.minimum, c.span, c.unit] for name, c in self._fitted().items()}
        return {
            "schema": self.schema.to_dict(),
            "columns": self.columns,
            "codes": codes,
            "first_time": self._first_time,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CohortEncoder:
        """Inverse of :meth:`state`."""
        encoder = cls(Schema.from_dict(state["schema"]))
        encoder.columns = list(state["columns"])
        encoder._codes = {name: _RealCode(*numbers) for name, numbers in state["codes"].items()}
        encoder._first_time = int(state["first_time"])
        return encoder
