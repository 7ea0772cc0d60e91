"""From a table of patients to a tensor, and back.

Real features: a power transform towards a normal shape, then min-max to [0, 1] with the training patients' minimum and
range. Discrete features: one-hot in the schema's level order. Behind a course's last visit that visit stands again.

>>> from hg_helpers.cohort.art import ART_DEMO
>>> from hg_helpers.cohort.simulate import simulate_cohort
>>> cohort = simulate_cohort(3, seed=0)
>>> encoder = CohortEncoder(ART_DEMO).fit(cohort)
>>> encoder.transform(cohort).shape, encoder.inverse_transform(encoder.transform(cohort)).shape
(torch.Size([3, 60, 22]), (180, 9))
"""

from __future__ import annotations

from dataclasses import asdict, astuple, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..runtime.columns import Clock, TableLog, as_type, id_pattern, new_ids, type_name
from .columns import checked_values, codes_at
from .courses import Courses, grid_of, time_values
from .layout import NOT_ZERO, layout_of, time_features, with_hidden, without_hidden
from .load import validate_cohort
from .scaling import RealCode
from .schema import Schema


class CohortEncoder:
    """Turns a cohort into a tensor of shape (patients, months, channels) and back.

    Attributes:
        schema: as given; :meth:`fit` puts in the length where it has none.
        layout: what the channels are: features, then hidden ones for gaps, zeros, times and the end of courses, if any.
        columns: the table's own column order, which decoded and sampled tables keep.
        clipped: values outside the training range at the last :meth:`transform`, by feature.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = self.layout = self._described = schema
        self.columns: list[str] = schema.columns
        self.clipped: dict[str, int] = {}
        self._codes: dict[str, RealCode] | None = None
        self._clock = Clock(type="int64")
        self._grid: list[float] = [0, 1]  # first time and step of a regular table
        self._types: dict[str, Any] = {}  # of the training table's columns
        self._ids: list[Any] | None = None  # prefix, first number, digits, suffix; None where ids are numbers

    def fit(self, cohort: pd.DataFrame, validated: bool = False) -> CohortEncoder:
        """Learn from training patients (``validated``: no need to check them again) transforms and the layout."""
        table = cohort if validated else validate_cohort(cohort, self._described)
        courses = Courses.of(table[self.schema.patient])
        self.schema = schema = replace(self._described, length=self._described.length or int(courses.sizes.max()))
        self.columns = list(table.columns)
        types = table.attrs.get("types", {})  # which the table had before it was checked
        self._types = {name: types.get(name) or type_name(table[name]) for name in table.columns}
        times, values = time_values(table, schema), checked_values(table, schema)
        self._ids = id_pattern(table[schema.patient])
        self._clock = Clock.of(table[schema.time], times, schema.date_format)
        if self._clock.kind == "number":  # which checking may have made integers
            self._clock = replace(self._clock, type=self._types[schema.time])
        times = times / self._clock.unit
        self._grid = list(map(float, grid_of(times, courses.rank))) if schema.regular else [0, 1]
        self.layout = layout_of(values, courses, schema)
        values, own = with_hidden(values, times, courses, self.layout, schema)
        self._codes = {}
        for feature in self.layout.real:
            x = values[feature.name][own[feature.name]]
            self._codes[feature.name] = RealCode.fit(feature, x if len(x) else np.ones(1))  # a step that nobody takes
        constant = [name for name in schema.names if table[name].nunique(dropna=False) == 1]
        if constant:
            TableLog().info("constant in the training table, hence in every synthetic one: %s", ", ".join(constant))
        return self

    def transform(self, cohort: pd.DataFrame) -> torch.Tensor:
        """Encode a cohort, patients in the order of their ids: float32 tensor (patients, months, channels)."""
        self._fitted()
        schema, layout, length = self.schema, self.layout, self.schema.length
        table = validate_cohort(cohort, schema)
        courses = Courses.of(table[schema.patient])
        short = courses.sizes < length
        if layout.course is None and short.any():
            patient = table[schema.patient].iloc[int(short[courses.number].argmax())]
            rows = f"fewer than {length} rows ({int(short.sum())} such), and in the training table all courses had"
            raise ValueError(f"patient {patient} has {rows} as many; complete them, or leave these patients out")
        times = time_values(table, schema) / self._clock.unit
        values, own = with_hidden(checked_values(table, schema), times, courses, layout, schema)
        x = np.zeros((len(table), layout.channels), dtype=np.float32)
        self.clipped = {}
        for feature, span in zip(layout, layout.spans.values(), strict=True):
            if feature.is_real:
                x[:, span.start] = self._unit(feature.name, values[feature.name], own[feature.name])
            else:
                x[np.arange(len(table)), span.start + values[feature.name].astype(np.intp)] = 1.0
        self._say_clipped("")
        if layout.course is not None:
            first = np.cumsum(courses.sizes) - courses.sizes
            x = x[first[:, None] + np.minimum(np.arange(length), courses.sizes[:, None] - 1)]
        return torch.from_numpy(x).view(-1, length, layout.channels)

    def scale(self, table: pd.DataFrame, name: str = "") -> list[np.ndarray]:
        """Of a validated table, called ``name`` in the log, each real column on the encoded scale, NaN in a gap."""
        self.clipped, out, columns = {}, [], checked_values(table, self.schema)
        for feature in self.schema.real:
            values = columns[feature.name]
            if feature.name + NOT_ZERO in self.layout.names:  # as its channel speaks of other values than zero alone
                largest = np.abs(self._fitted()[feature.name].inverse(np.array([0.0, 1.0]))).max()
                out.append(np.clip(values / largest, -1, 1))
            else:
                out.append(self._unit(feature.name, values, ~np.isnan(values)))
        self._say_clipped(name)
        return out

    def _unit(self, name: str, values: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Values in [0, 1], at the tensor's precision; those of the table's own that were clipped are counted."""
        u = self._fitted()[name].forward(values)
        # a value at the training extremes may leave [0, 1] by rounding; only more than that is worth a word
        outside = int((((u < -1e-9) | (u > 1 + 1e-9)) & own).sum())
        if outside:
            self.clipped[name] = outside
        return u.clip(0.0, 1.0).astype(np.float32)

    def _say_clipped(self, table: str) -> None:
        if self.clipped:
            said = ", ".join(f"{name} {count}" for name, count in self.clipped.items())
            TableLog(table).info("values outside the range of those who set the scale were clipped to it: %s", said)

    def inverse_transform(self, x: torch.Tensor, first_patient: int = 0) -> pd.DataFrame:
        """Decode a tensor, of any number of months, to a table in the layout, codes and units of the fitted cohort.

        A discrete feature takes the level with the largest channel (the first of equals). Ids count upwards from
        ``first_patient``; text ids follow the training table's pattern, from the first number that nobody has.
        """
        codes, layout, schema = self._fitted(), self.layout, self.schema
        if x.ndim != 3 or x.shape[-1] != layout.channels:
            raise ValueError(f"expected (patients, months, {layout.channels}) channels, got {tuple(x.shape)}")
        n, months = x.shape[:2]
        channels = x.detach().reshape(n * months, -1).cpu().numpy()
        decoded = {}
        for name, span in layout.spans.items():
            if layout[name].is_real:
                decoded[name] = codes[name].inverse(channels[:, span.start].astype(np.float64).clip(0.0, 1.0))
            else:
                decoded[name] = channels[:, span].argmax(axis=1).astype(float)
        there = np.ones((n, months), dtype=bool)
        if layout.course is not None:
            there = np.arange(months) <= decoded[layout.course.name].reshape(n, months)[:, :1]
        times = np.broadcast_to(self._grid[0] + self._grid[1] * np.arange(months), (n, months))
        if set(time_features(schema)) <= set(layout.names):
            first, steps = (decoded[name].reshape(n, months) for name in time_features(schema))
            times = np.cumsum(np.hstack([first[:, :1], steps[:, 1:]]), axis=1)
        columns = {schema.patient: np.repeat(new_ids(self._ids, first_patient, n), there.sum(axis=1))}
        for name, values in without_hidden(decoded, layout, schema).items():
            values = values[there.ravel()]
            columns[name] = values if schema[name].is_real else codes_at(values, schema[name])
        columns = {name: as_type(values, self._types.get(name)) for name, values in columns.items()}
        columns[schema.time] = self._clock.write(times[there])
        return pd.DataFrame({name: columns[name] for name in self.columns})

    def _fitted(self) -> dict[str, RealCode]:
        if self._codes is None:
            raise RuntimeError("this encoder has seen no table yet: call fit(train) first")
        return self._codes

    def state(self) -> dict[str, Any]:
        """Plain numbers and strings, so that a checkpoint with an encoder loads without running code."""
        hidden = self.layout.to_dict()["features"][len(self.schema) :]
        codes = {name: list(astuple(code)) for name, code in self._fitted().items()}
        state = {"schema": self.schema.to_dict(), "hidden": hidden, "columns": self.columns, "codes": codes}
        return state | {"clock": asdict(self._clock), "grid": self._grid, "types": self._types, "ids": self._ids}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CohortEncoder:
        """Inverse of :meth:`state`."""
        schema = state["schema"]
        encoder = cls(Schema.from_dict(schema))
        encoder.layout = Schema.from_dict({**schema, "features": [*schema["features"], *state["hidden"]]})
        encoder._codes = {name: RealCode(*numbers) for name, numbers in state["codes"].items()}
        encoder._clock, encoder.columns, encoder._grid = Clock(**state["clock"]), state["columns"], state["grid"]
        encoder._types, encoder._ids = state["types"], state["ids"]
        return encoder
