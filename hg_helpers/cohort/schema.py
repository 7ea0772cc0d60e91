"""What a table of patients means: the one place that knows names, kinds, levels, codes, units and channel positions.

A :class:`Schema` describes a table with one row a patient and month (or visit), and a :class:`Feature` each of its
columns, so that somebody else's table works by describing it, not by editing code.

>>> schema = Schema([Feature('lab', 'real'), Feature('sex', 'binary', levels=['f', 'm'])], patient='id', time='visit')
>>> schema.columns, schema.channels, schema.spans['sex']
(['id', 'visit', 'lab', 'sex'], 3, slice(1, 3, None))
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass, fields, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from ..runtime.checks import LARGEST, one_of, true_or_false, whole_number
from ..runtime.columns import normal

#: Most rows used of a patient where the schema gives no length.
MOST_VISITS = 120
#: The role of a feature that no table has: an encoder's, which says how many rows a patient's course has.
COURSE = "course"
#: The kinds of feature, and how wide the critic's soft embedding of each is.
WIDTHS = {"real": 1, "binary": 2, "categorical": 4}


def _name(what: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} must be a non-empty string, not {name!r}")
    return normal(name)


def _values(what: str, values: Any) -> tuple[Any, ...]:
    """Levels or codes as Python's own numbers and texts, which a checkpoint or a YAML file can hold."""
    if isinstance(values, (str, Set)) or not isinstance(values, Iterable):
        why = " (a set has no order: write [a, b] or sorted(...))" if isinstance(values, Set) else ""
        raise ValueError(f"{what}s must be a list of values, not {values!r}{why}")
    values = tuple(normal(v.item() if isinstance(v, np.generic) else v) for v in values)
    for value in values:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise ValueError("a missing value cannot be a level; see the schema's missing='forward'")
        if not isinstance(value, (int, float, str)):
            raise ValueError(f"{what} {value!r} must be a number or text; write it in quotes")
    if len(set(values)) != len(values):
        raise ValueError(f"a {what} is listed twice in {list(values)}")
    return values


def _spans(names: list[str], widths: list[int]) -> dict[str, slice]:
    return {name: slice(end - width, end) for name, width, end in zip(names, widths, accumulate(widths), strict=True)}


@dataclass(frozen=True)
class Feature:
    """One column of a cohort; a wrong description is a ValueError that names the feature and what is allowed.

    Args:
        name, kind: of the column in the table; ``"real"``, ``"binary"`` (two levels) or ``"categorical"``.
        levels, codes: the category names in their order, and what the table holds in their place, if it is not they,
            e.g. ``(1, 2)`` for ``("Male", "Female")``.
        unit: unit of a real feature; ``label`` is name with unit, for axes.
        static: True where the value belongs to the patient and cannot change from month to month.
        role: ``"regimen"`` (part of what is prescribed), ``"outcome"`` (what treatment aims at) or None.
        transform: of a real feature before min-max scaling: towards a normal shape by ``"box-cox"`` (values of zero or
            more) or ``"yeo-johnson"`` (any sign), even by ``"ranks"`` (where there are several peaks), or ``"none"``.
        threshold: for an outcome, the value below which it counts as reached (viral suppression: 1000 copies/mL).
        embedding: width of the critic's soft embedding; by default 1 for real, 2 for binary, 4 for categorical.

    ``channels`` is the width in the encoded tensor: 1 of a real feature (``is_real``), else one channel a level.
    """

    name: str
    kind: str
    levels: tuple[Any, ...] = ()
    codes: tuple[Any, ...] = ()
    unit: str = ""
    static: bool = False
    role: str | None = None
    transform: str = "box-cox"
    threshold: float | None = None
    embedding: int = 0

    def __post_init__(self) -> None:
        name = _name("a feature's name", self.name)
        try:
            label = f"{name} ({self.unit})" if self.unit else name
            vars(self).update(self._checked(), name=name, label=label)  # past the dataclass's own guard: it is frozen
        except ValueError as error:
            raise ValueError(f"feature {name!r}: {error}") from None

    def _checked(self) -> dict[str, Any]:
        """The attributes, and the fields that are kept in another form than they were given."""
        one_of("kind", self.kind, *WIDTHS)
        one_of("transform", self.transform, "box-cox", "yeo-johnson", "ranks", "none")
        true_or_false("static", self.static)  # a bare `no` in YAML is text here, hence truthy
        if self.role != COURSE:
            one_of("role", self.role, "regimen", "outcome", None)
        real, threshold = self.kind == "real", self.threshold
        width = whole_number("embedding", self.embedding or WIDTHS[self.kind], most=1 if real else LARGEST)
        levels = _values("level", self.levels)
        codes = _values("code", self.codes) or levels
        numbers = sum(isinstance(code, (int, float)) for code in codes)
        outcome = real and self.role == "outcome"
        problems = {
            "a real feature has no levels; use kind='categorical' for a column of categories": real and codes,
            f"a binary feature has exactly two levels, not {len(levels)}": self.kind == "binary" and len(levels) != 2,
            f"a categorical feature needs at least two levels, not {len(levels)}": not real and len(levels) < 2,
            f"{len(codes)} codes for {len(levels)} levels; give one code a level": len(codes) != len(levels),
            f"levels in the table must be all numbers or all text, not a mixture: {codes}": 0 < numbers < len(codes),
            "role 'regimen' is for binary and categorical features": real and self.role == "regimen",
            "threshold belongs to a real feature with role 'outcome'": threshold is not None and not outcome,
        }
        if not isinstance(threshold, (int, float, type(None))):
            raise ValueError(f"threshold {threshold!r} must be a number (in YAML, 1000 and not 1e3, a text there)")
        for problem in (problem for problem, wrong in problems.items() if wrong):
            raise ValueError(problem)
        found = {"is_real": real, "channels": 1 if real else len(levels)}
        return found | {"levels": levels, "codes": codes, "embedding": width}


@dataclass(frozen=True)
class Schema:
    """All that the package needs to know of a table; what is wrong with it is a ValueError that names the part.

    Args:
        features: the columns that are modelled, in any order.
        patient, time: the columns that identify the patient and order a patient's rows (month number, day, date).
        length: most months (or visits) used of a patient; None for the longest course of the table, at most 120.
        regular: True where times follow each other in equal steps, from the same time for all, so that a gap is an
            error; False where each visit has a time of its own, which is then modelled too.
        missing: ``"error"`` refuses missing values; with ``"measured"`` synthetic tables have gaps too; ``"forward"``
            carries a patient's last value forward, fills what is left with the column's median (real) or most frequent
            level (static features from the same patient alone), and says what share it made up.
        shorter: patients with fewer rows than ``length``: ``"keep"``, courses that end; ``"drop"``; or ``"error"``.
        date_format: how text dates are written, as in ``"%d.%m.%Y"``; ISO dates need none.

    Attributes:
        names: of the features; ``columns`` of a sampled table are patient, time, then these.
        real, discrete, static, regimen: features of this kind or role; discrete ones are binary or categorical.
        course: the hidden feature, if any, that says how many rows a course has; an encoder adds it.
        channels, spans: width of the encoded tensor, and where each feature is; width, embedded_spans: in the critic.
    """

    features: tuple[Feature, ...]
    patient: str = "PatientID"
    time: str = "Timestep"
    length: int | None = None
    regular: bool = True
    missing: str = "error"
    shorter: str = "keep"
    date_format: str | None = None

    def __post_init__(self) -> None:
        ordered = isinstance(self.features, Iterable) and not isinstance(self.features, Set)
        features = tuple(self.features) if ordered else ()
        if not features or not all(isinstance(f, Feature) for f in features):
            raise ValueError("a schema needs a list of at least one Feature")
        patient, time = (_name(f"the schema's {key}", getattr(self, key)) for key in ("patient", "time"))
        names = [f.name for f in features]
        columns = [patient, time, *names]
        for name in columns:
            if columns.count(name) > 1:
                raise ValueError(f"column {name!r} stands twice in the schema (features, patient and time together)")
        if self.length is not None:
            whole_number("length", self.length)
        true_or_false("regular", self.regular)
        one_of("missing", self.missing, "error", "measured", "forward")
        one_of("shorter", self.shorter, "keep", "drop", "error")
        if not isinstance(self.date_format, (str, type(None))):
            raise ValueError(f"date_format {self.date_format!r} must be text such as '%d.%m.%Y'")
        real, discrete = [f for f in features if f.is_real], [f for f in features if not f.is_real]
        static, regimen = [f for f in features if f.static], [f for f in features if f.role == "regimen"]
        course = next((f for f in features if f.role == COURSE), None)
        vars(self).update(features=features, patient=patient, time=time, names=names, columns=columns)
        vars(self).update(real=real, discrete=discrete, static=static, regimen=regimen, course=course)
        channels, widths = [f.channels for f in features], [f.embedding for f in features]
        vars(self).update(channels=sum(channels), spans=_spans(names, channels))
        vars(self).update(width=sum(widths), embedded_spans=_spans(names, widths))

    def __iter__(self):
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, name: str) -> Feature:
        if name in self.names:
            return self.features[self.names.index(name)]
        raise KeyError(f"no feature {name!r} in the schema; it has {', '.join(self.names)}")

    def select(self, names: list[str]) -> Schema:
        """The same schema with only these features, in this order."""
        return replace(self, features=tuple(self[name] for name in names))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, for checkpoints and YAML; :meth:`from_dict` is the inverse."""
        return asdict(self, dict_factory=lambda items: {k: list(v) if isinstance(v, tuple) else v for k, v in items})

    @classmethod
    def from_dict(cls, described: dict[str, Any]) -> Schema:
        """Build a schema from plain data; an unknown or missing key is a ValueError that names it."""
        _known_keys(described, cls, "the schema")
        if not isinstance(described.get("features"), list):
            raise ValueError("the schema needs a list `features:`")
        for number, entry in enumerate(described["features"], start=1):
            _known_keys(entry, Feature, f"feature number {number}")
            for key in {"name", "kind"} - set(entry):
                raise ValueError(f"feature number {number} ({entry.get('name', 'unnamed')}) has no `{key}:`")
        return cls(**{**described, "features": [Feature(**entry) for entry in described["features"]]})

    @classmethod
    def from_yaml(cls, path: str | Path) -> Schema:
        """Read a YAML file with the keys of :class:`Schema` and a list of :class:`Feature` entries; errors name it."""
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no schema file {path}")
        try:
            return cls.from_dict(yaml.load(path.read_text(encoding="utf-8"), Loader=_SchemaLoader))
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise ValueError(f"schema file {path}: {error}") from error


def _known_keys(described: Any, cls: type, where: str) -> None:
    if not isinstance(described, dict):
        raise ValueError(f"{where} must be a list of `key: value` lines, not {type(described).__name__}")
    allowed = [f.name for f in fields(cls)]
    for key in described:
        if key not in allowed:
            raise ValueError(f"{where} has an unknown key {key!r}; known keys are {', '.join(allowed)}")


class _SchemaLoader(yaml.SafeLoader):
    """YAML 1.1 reads a bare yes / no as a boolean; in a table of patients those are levels, so they stay text."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
