"""One column of a table: its kind, levels, codes, unit and role, and what is wrong with a description of it.

>>> Feature('sex', 'binary', levels=['f', 'm'], static=True).channels
2
>>> Feature('CD4', 'real', unit='cells/µL').label
'CD4 (cells/µL)'
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

KINDS = ("real", "binary", "categorical")
TRANSFORMS = ("box-cox", "yeo-johnson", "none")
ROLES = ("regimen", "outcome")
#: The role of a feature that no table has: an encoder's, which says how many rows a patient's course has.
COURSE = "course"
EMBEDDING_WIDTH = {"real": 1, "binary": 2, "categorical": 4}


def normal(text: Any) -> Any:
    """Text with each accented letter in its one form (Unicode NFC); anything else as it is."""
    return unicodedata.normalize("NFC", text) if isinstance(text, str) else text


@dataclass(frozen=True)
class Feature:
    """One column of a cohort.

    Args:
        name: column name as it stands in the table.
        kind: ``"real"``, ``"binary"`` (two levels) or ``"categorical"``.
        levels: the category names in their order; also the values in the table unless ``codes`` says otherwise.
        codes: the values that the table holds in place of ``levels``, e.g. ``(1, 2)`` for ``("Male", "Female")``.
        unit: unit of a real feature, for axis labels.
        static: True where the value belongs to the patient and cannot change from month to month.
        role: ``"regimen"`` (part of what is prescribed), ``"outcome"`` (what treatment aims at) or None.
        transform: how a real feature is brought towards a normal shape before min-max scaling: ``"box-cox"`` (values of
            zero or more), ``"yeo-johnson"`` (any sign) or ``"none"``.
        threshold: for an outcome, the value below which it counts as reached (viral suppression: 1000 copies/mL).
        embedding: width of the critic's soft embedding; by default 1 for real, 2 for binary, 4 for categorical.

    Raises:
        ValueError: naming the feature, what is wrong with it and what is allowed.
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
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a feature's name must be a non-empty string, not {self.name!r}")

        def refuse(problem: str) -> None:
            raise ValueError(f"feature {self.name!r}: {problem}")

        if self.kind not in KINDS:
            refuse(f"kind {self.kind!r} is not one of {', '.join(KINDS)}")
        for label, values in (("levels", self.levels), ("codes", self.codes)):
            if isinstance(values, str) or not isinstance(values, Iterable):
                refuse(f"{label} must be a list of values, not {values!r}")
            if isinstance(values, Set):
                refuse(f"{label} must be a list, not a set, which has no order: write [a, b] or sorted(...)")
        # numpy's numbers become Python's, so that a schema can be written to a checkpoint or a YAML file
        levels, codes = (
            tuple(normal(getattr(v, "item", lambda v=v: v)()) for v in vs) for vs in (self.levels, self.codes)
        )
        codes = codes or levels
        if self.kind == "real":
            if levels or codes:
                refuse("a real feature has no levels; use kind='categorical' for a column of categories")
        else:
            if self.kind == "binary" and len(levels) != 2:
                refuse(f"a binary feature has exactly two levels, not {len(levels)}: {list(levels)}")
            if len(levels) < 2:
                refuse(f"a categorical feature needs at least two levels, not {len(levels)}")
            if len(codes) != len(levels):
                refuse(f"{len(codes)} codes for {len(levels)} levels; give one code a level")
            for label, values in (("level", levels), ("code", codes)):
                if any(v is None or (isinstance(v, float) and math.isnan(v)) for v in values):
                    refuse("a missing value cannot be a level; see the schema's missing='forward'")
                for value in values:
                    if not isinstance(value, (int, float, str)):
                        refuse(f"{label} {value!r} must be a number or text; write it in quotes")
                if len(set(values)) != len(values):
                    refuse(f"a {label} is listed twice in {list(values)}")
            numeric = [isinstance(v, (int, float)) for v in codes]
            if any(numeric) and not all(numeric):
                refuse(f"levels in the table must be all numbers or all text, not a mixture: {list(codes)}")
        if self.transform not in TRANSFORMS:
            refuse(f"transform {self.transform!r} is not one of {', '.join(TRANSFORMS)}")
        if self.role is not None and self.role not in (*ROLES, COURSE):
            refuse(f"role {self.role!r} is not one of {', '.join(ROLES)} or None")
        if self.role == "regimen" and self.kind == "real":
            refuse("role 'regimen' is for binary and categorical features")
        if self.threshold is not None and not (self.kind == "real" and self.role == "outcome"):
            refuse("threshold belongs to a real feature with role 'outcome'")
        if self.threshold is not None and not isinstance(self.threshold, (int, float)):
            refuse(f"threshold {self.threshold!r} must be a number (in YAML, 1000 and not 1e3, which is text there)")
        if not isinstance(self.static, bool):
            refuse(f"static {self.static!r} must be true or false")  # a bare `no` in YAML is text here, hence truthy
        width = self.embedding or EMBEDDING_WIDTH[self.kind]
        if not isinstance(width, int) or width < 1 or (self.kind == "real" and width != 1):
            refuse(f"embedding {self.embedding!r} must be a whole number of at least 1 (exactly 1 for a real feature)")
        object.__setattr__(self, "name", normal(self.name))
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "embedding", width)

    @property
    def is_real(self) -> bool:
        return self.kind == "real"

    @property
    def channels(self) -> int:
        """Width of the feature in the encoded tensor: 1 for a real one, else one channel a level."""
        return 1 if self.is_real else len(self.levels)

    @property
    def label(self) -> str:
        """Name with unit, for axes."""
        return f"{self.name} ({self.unit})" if self.unit else self.name
