"""What a table of patients means: the one place that knows names, kinds, levels, codes, units and channel positions.

A cohort is a table with one row a patient and month (or visit). A :class:`Schema` describes it, so that every other
module can stay free of column names: somebody else's table works by describing it, not by editing code.

>>> schema = Schema([Feature('lab', 'real'), Feature('sex', 'binary', levels=['f', 'm'])], patient='id', time='visit')
>>> schema.columns, schema.channels, schema.spans['sex']
(['id', 'visit', 'lab', 'sex'], 3, slice(1, 3, None))
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from .feature import COURSE, Feature, normal

#: Most rows used of a patient where the schema gives no length.
MOST_VISITS = 120


@dataclass(frozen=True)
class Schema:
    """All that the package needs to know of a table.

    Args:
        features: the columns that are modelled, in any order.
        patient: name of the column that identifies the patient.
        time: name of the column that orders a patient's rows (month number, day, date).
        length: most months (or visits) used of a patient; None for the longest course of the table, at most 120.
        regular: True where times follow each other in equal steps, from the same time for all, so that a gap is an
            error; False where each visit has a time of its own, which is then modelled too.
        missing: ``"error"`` refuses missing values; ``"measured"`` takes them for what they are, and synthetic tables
            have gaps too; ``"forward"`` carries a patient's last value forward, then fills what is left with the
            column's median (real) or most frequent level (static features from the same patient alone), and says what
            share it made up.
        shorter: what patients with fewer rows than ``length`` are: ``"keep"``, whole courses that end; ``"drop"``, left
            out with a count; ``"error"``.
        date_format: how text dates are written, as in ``"%d.%m.%Y"``; ISO dates need none.

    Raises:
        ValueError: naming the part that is wrong.
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
        features = tuple(self.features) if isinstance(self.features, Iterable) else ()
        object.__setattr__(self, "features", features)
        for name in ("patient", "time"):
            object.__setattr__(self, name, normal(getattr(self, name)))
        if not features or not all(isinstance(f, Feature) for f in features):
            raise ValueError("a schema needs a list of at least one Feature")
        names = [self.patient, self.time, *(f.name for f in features)]
        for name in names:
            if not isinstance(name, str) or not name:
                raise ValueError(f"patient, time and feature names must be non-empty strings, not {name!r}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} stands twice in the schema (features, patient and time together)")
        if self.length is not None and (
            isinstance(self.length, bool) or not isinstance(self.length, int) or self.length < 1
        ):
            raise ValueError(f"length {self.length!r} must be a whole number of months of at least 1")
        if not isinstance(self.regular, bool):
            raise ValueError(f"regular {self.regular!r} must be true or false")
        for name, allowed in (("missing", ("error", "measured", "forward")), ("shorter", ("keep", "drop", "error"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(map(repr, allowed))}")
        if not isinstance(self.date_format, (str, type(None))):
            raise ValueError(f"date_format {self.date_format!r} must be text such as '%d.%m.%Y'")

    # --- finding features -------------------------------------------------------------------------------------------

    def __iter__(self):
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(f"no feature {name!r} in the schema; it has {', '.join(self.names)}")

    @property
    def names(self) -> list[str]:
        return [f.name for f in self.features]

    @property
    def real(self) -> list[Feature]:
        return [f for f in self.features if f.is_real]

    @property
    def discrete(self) -> list[Feature]:
        """Binary and categorical features."""
        return [f for f in self.features if not f.is_real]

    @property
    def static(self) -> list[Feature]:
        return [f for f in self.features if f.static]

    @property
    def regimen(self) -> list[Feature]:
        return [f for f in self.features if f.role == "regimen"]

    @property
    def course(self) -> Feature | None:
        """The hidden feature that says how many rows a course has; an encoder adds it where some end early."""
        return next((f for f in self.features if f.role == COURSE), None)

    @property
    def columns(self) -> list[str]:
        """Columns of a sampled table: patient, time, then the features."""
        return [self.patient, self.time, *self.names]

    # --- positions in the encoded tensor ----------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        """Width of the encoded tensor."""
        return sum(f.channels for f in self.features)

    @property
    def width(self) -> int:
        """Width after the critic's soft embedding."""
        return sum(f.embedding for f in self.features)

    @property
    def spans(self) -> dict[str, slice]:
        """Where each feature's channels stand in the encoded tensor."""
        return _spans(self.features, [f.channels for f in self.features])

    @property
    def embedded_spans(self) -> dict[str, slice]:
        """Where each feature stands after the soft embedding."""
        return _spans(self.features, [f.embedding for f in self.features])

    # --- other schemas from this one --------------------------------------------------------------------------------

    def select(self, names: list[str]) -> Schema:
        """The same schema with only these features, in this order."""
        return replace(self, features=tuple(self[name] for name in names))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, for checkpoints and YAML; :meth:`from_dict` is the inverse."""
        out = asdict(self)
        out["features"] = [
            {k: list(v) if isinstance(v, tuple) else v for k, v in feature.items()} for feature in out["features"]
        ]
        return out

    @classmethod
    def from_dict(cls, described: dict[str, Any]) -> Schema:
        """Build a schema from plain data.

        Raises:
            ValueError: naming a key that is unknown or missing.
        """
        _known_keys(described, cls, "the schema")
        if not isinstance(described.get("features"), list):
            raise ValueError("the schema needs a list `features:`")
        features = []
        for position, entry in enumerate(described["features"]):
            _known_keys(entry, Feature, f"feature number {position + 1}")
            for key in ("name", "kind"):
                if key not in entry:
                    raise ValueError(f"feature number {position + 1} ({entry.get('name', 'unnamed')}) has no `{key}:`")
            features.append(Feature(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}))
        return cls(**{**described, "features": tuple(features)})

    @classmethod
    def from_yaml(cls, path: str | Path) -> Schema:
        """Read a schema from a YAML file with the keys of :class:`Schema` and a list of :class:`Feature` entries.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: naming the file and what is wrong in it.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no schema file {path}")
        try:
            described = yaml.load(path.read_text(encoding="utf-8"), Loader=_SchemaLoader)
            return cls.from_dict(described)
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise ValueError(f"schema file {path}: {error}") from error


def _spans(features: tuple[Feature, ...], widths: list[int]) -> dict[str, slice]:
    out, start = {}, 0
    for feature, width in zip(features, widths, strict=True):
        out[feature.name] = slice(start, start + width)
        start += width
    return out


def _known_keys(described: Any, cls: type, where: str) -> None:
    if not isinstance(described, dict):
        raise ValueError(f"{where} must be a list of `key: value` lines, not {type(described).__name__}")
    allowed = [f.name for f in fields(cls)]
    for key in described:
        if key not in allowed:
            raise ValueError(f"{where} has an unknown key {key!r}; known keys are {', '.join(allowed)}")


class _SchemaLoader(yaml.SafeLoader):
    """YAML 1.1 reads a bare yes / no as a boolean; in a table of patients those are levels, so they stay text."""


_SchemaLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
