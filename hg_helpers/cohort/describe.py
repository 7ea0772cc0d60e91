"""A first draft of a schema, read off a table: commented YAML, to be read and put right by somebody who knows it.

>>> visits = pd.DataFrame({"who": [1, 1, 2], "day": [0, 30, 0], "sex": ["f", "f", "m"], "bili": [1.2, None, 0.8]})
>>> print(describe(visits, "who", "day").splitlines()[-1])
  - {name: bili, kind: real, unit: '', static: true}         # 0.8 to 1.2, 1 decimal, 33% missing
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from .columns import ids, is_blank, plain
from .courses import Courses
from .feature import Feature
from .reading import read_table
from .scaling import decimals
from .schema import MOST_VISITS, Schema
from .times import grid_of, time_values

#: Most different values of a code or a level; with more, numbers are quantities and texts are names.
MOST_CODES, MOST_LEVELS = 10, 30
#: A level that fewer patients have than this stands for single people.
FEW = 5
#: How dates are written where not as ISO has it, the commoner first; where two fit, the draft says so.
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y %H:%M", "%Y/%m/%d")


def describe(source: str | Path | pd.DataFrame, patient: str, time: str, **reading: Any) -> str:
    """Draft the schema of a table.

    What cannot be modelled, or should not (names, free text, dates such as birth dates), is left out with the reason.

    Args:
        source: a DataFrame, or a file as :func:`hg_helpers.load_cohort` reads it.
        patient, time: its columns of patients and of times.
        reading: ``separator``, ``decimal``, ``encoding`` or ``sheet`` of a file.

    Returns:
        YAML with comments, which :meth:`hg_helpers.Schema.from_yaml` reads.

    Raises:
        ValueError, FileNotFoundError: for a table without these columns or without rows, or one that cannot be read.
    """
    if isinstance(source, pd.DataFrame):
        table, name = source, "a DataFrame"
    else:
        table, name = read_table(Path(source).expanduser(), **reading), Path(source).name
    for column in (patient, time):
        if column not in table.columns:
            raise ValueError(f"the table has no column {column!r}; it has {', '.join(map(str, table.columns))}")
    table = table[table[patient].notna() & table[time].notna()]
    if table.empty:
        raise ValueError(f"no row of the table has both {patient!r} and {time!r}")
    table = table.assign(**{patient: ids(table[patient])}).sort_values(patient, kind="stable", ignore_index=True)
    courses = Courses.of(table[patient])
    drafted = [_feature(table[c], courses) for c in table.columns if c not in (patient, time)]
    features = [(line, comment) for line, comment, _ in drafted if line]
    gaps = any(gap for line, _, gap in drafted if line)
    lines = [
        f"# Draft of the schema of {name}: {len(courses.sizes)} patients, {len(table)} rows. Read it, put it right."
    ]
    keys = [("patient", patient, ""), ("time", time, ""), *_times(table, courses, patient, time)]
    if gaps:
        keys.append(("missing", "measured", "gaps are reproduced; `forward` fills them, `error` refuses them"))
    lines += _aligned([(f"{key}: {_yaml(value)}", comment) for key, value, comment in keys])
    lines += ["features:", *_aligned([(f"  - {line}", comment) for line, comment in features])]
    left_out = [comment for line, comment, _ in drafted if not line]
    if left_out:
        lines += ["# Left out:", *(f"#   {comment}" for comment in left_out)]
    return "\n".join(lines) + "\n"


def _times(table: pd.DataFrame, courses: Courses, patient: str, time: str) -> list[tuple[str, Any, str]]:
    """The lines on times and lengths: key, value, comment."""
    form, note = _date_format(table[time])
    schema = Schema([Feature("x", "real")], patient, time, regular=False, date_format=form)
    values = time_values(table, schema)
    order = np.lexsort((values, courses.number))
    values = values[order]
    first, step = grid_of(values, courses.rank)
    regular = bool((np.abs((values - first) / (step or 1) - courses.rank) < 1e-6).all())
    twice = int(((np.diff(values) == 0) & (courses.rank[1:] > 0)).sum())
    sizes = courses.sizes
    found = [("date_format", form, note)] if form else []
    what = "equal steps from the same time for all" if regular else "each visit has a time of its own"
    found.append(("regular", regular, f"{what}{f'; CORRECT FIRST: {twice} rows repeat a time' if twice else ''}"))
    if sizes.max() > MOST_VISITS:
        found.append(("length", MOST_VISITS, "longer courses are cut there; a smaller number trains faster"))
    if sizes.min() < sizes.max():
        rows = f"{sizes.min()} to {sizes.max()} rows a patient, median {np.median(sizes):g}"
        found.append(("shorter", "keep", f"{rows}; `drop` leaves out who has fewer than `length`"))
    return found


def _date_format(column: pd.Series) -> tuple[str | None, str]:
    if not isinstance(column.iloc[0], str) or pd.to_numeric(column, errors="coerce").notna().all():
        return None, ""
    if pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True).notna().all():
        return None, ""
    fits = [f for f in DATE_FORMATS if pd.to_datetime(column, errors="coerce", format=f).notna().all()]
    return (fits[0], f"or {fits[1]}?" if len(fits) > 1 else "") if fits else (None, "")


def _feature(column: pd.Series, courses: Courses) -> tuple[str, str, bool]:
    """A column's line, its comment, and whether it has gaps; without a line, the comment says why it is left out."""
    name, column = str(column.name), plain(column)
    blank = is_blank(column)
    known = column[~blank]
    gap = f", {blank.mean():.0%} missing" if blank.any() else ""
    if known.empty:
        return "", f"{name}: no value at all", False
    kinds = known.nunique()
    if kinds == 1:
        return "", f"{name}: constant, {known.iloc[0]}", False
    place = pd.Series(pd.factorize(column.where(~blank))[0]).replace(-1, np.nan).to_numpy(float)
    static = (courses.sizes > 1).any() and not courses.changing(place)
    numbers = (
        pd.to_numeric(known, errors="coerce") if not is_datetime64_any_dtype(known) else known.map(lambda _: np.nan)
    )
    if is_bool_dtype(known) or set(map(str, known.unique())) == {"True", "False"}:
        return _levels(name, known, [False, True], courses, static, gap)
    if is_numeric_dtype(known) or numbers.notna().all():
        return _number(name, numbers.astype(float), courses, static, gap)
    if _is_date(known):
        return "", f"{name}: dates; birth dates do not belong into a model, others can be turned into days", False
    if numbers.notna().mean() > 0.5:
        odd = ", ".join(map(repr, known[numbers.isna()].unique()[:3]))
        return "", f"{name}: numbers but for {odd}; replace these, and describe it anew", False
    if kinds > MOST_LEVELS or (kinds > MOST_CODES and kinds > len(courses.sizes) / 4):
        return "", f"{name}: text with {kinds} different values; names and free text do not belong into a model", False
    return _levels(name, known, sorted(known.unique(), key=str), courses, static, gap)


def _number(name: str, x: pd.Series, courses: Courses, static: bool, gap: str) -> tuple[str, str, bool]:
    values, whole = np.sort(x.unique()), decimals(x.to_numpy())
    written = [int(v) if float(v).is_integer() else float(v) for v in values]
    people, rows = len(courses.sizes), len(courses.number)
    if whole == 0 and static and len(values) == people > MOST_CODES:
        return "", f"{name}: another whole number for each patient, hence probably an identifier", False
    if whole == 0 and len(values) == rows > MOST_CODES and np.ptp(values) == rows - 1:
        return "", f"{name}: the numbers of the rows", False
    repeated = len(x) >= 5 * len(values) or (len(values) == 2 and whole == 0)
    if len(values) <= MOST_CODES and repeated and whole in (0, 1):
        return _levels(
            name, x, written, courses, static, gap, "if it is a quantity: kind: real" if len(values) > 2 else ""
        )
    digits = (
        "no limit of decimals" if whole is None else f"{whole} decimal{'s' * (whole > 1)}" if whole else "whole numbers"
    )
    zeros = f", {(x == 0).mean():.0%} zeros" if (x == 0).mean() >= 0.05 else ""
    line = {"name": name, "kind": "real", "unit": ""} | ({"static": True} if static else {})
    if values[0] < 0:
        line["transform"] = "yeo-johnson"
    return _yaml(line), f"{values[0]:g} to {values[-1]:g}, {digits}{zeros}{gap}", bool(gap)


def _levels(
    name: str, known: pd.Series, levels: list[Any], courses: Courses, static: bool, gap: str, hint: str = ""
) -> tuple[str, str, bool]:
    text = isinstance(levels[0], (str, bool))
    of_level = {
        level: known.index[(known.map(str) if text else known) == (str(level) if text else level)] for level in levels
    }
    people = {level: len(np.unique(courses.number[rows])) for level, rows in of_level.items()}
    shown = [f"{level}: {people[level] if static else len(rows)}" for level, rows in of_level.items()]
    rare = [level for level in levels if people[level] < FEW]
    line = {"name": name, "kind": "binary" if len(levels) == 2 else "categorical", "levels": levels}
    line |= {"static": True} if static else {}
    alone = f"; RARE: fewer than {FEW} patients have {', '.join(map(str, rare))}" if rare else ""
    more = [f"and {len(shown) - 8} more"] if len(shown) > 8 else []
    counted = "patients " if static else ""
    return _yaml(line), counted + ", ".join(shown[:8] + more) + gap + alone + (f"; {hint}" if hint else ""), bool(gap)


def _is_date(known: pd.Series) -> bool:
    if is_datetime64_any_dtype(known):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return any(
            pd.to_datetime(known.map(str), errors="coerce", format=form).notna().mean() > 0.95
            for form in ("ISO8601", *DATE_FORMATS)
        )


def _yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**20)
        .removesuffix("...\n")
        .strip()
    )


def _aligned(lines: list[tuple[str, str]]) -> list[str]:
    """Lines with their comments below each other, where that does not push them far out."""
    width = max((len(line) for line, _ in lines if len(line) <= 60), default=0)
    return [f"{line:{width}}  # {comment}" if comment else line for line, comment in lines]
