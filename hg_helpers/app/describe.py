"""A first draft of a schema, read off a table: commented YAML, to be read and put right by somebody who knows it.

>>> visits = pd.DataFrame({"who": [1, 1, 2], "day": [0, 30, 0], "sex": ["f", "f", "m"], "bili": [1.2, None, 0.8]})
>>> print(*describe(visits, "who", "day").splitlines()[-2:], sep="\\n")
  - {name: bili, kind: real, unit: '', static: true}
    # 0.8 to 1.2, 1 decimal, 33% missing
"""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype

from ..cohort.courses import Courses, grid_of, time_values
from ..cohort.schema import MOST_VISITS, Feature, Schema
from ..runtime.columns import decimals, ids, is_blank, numbers, plain
from ..runtime.reading import read_table

#: Most different values of a code or a level; with more, numbers are quantities and texts are names.
MOST_CODES, MOST_LEVELS = 10, 30
FEW = 5  # a level that fewer patients have than this stands for single people
#: A column's keys in the schema and a comment; or no key, and why it is left out.
Draft = tuple[dict[str, Any], str]
#: How dates are written where not as ISO has it, the commoner first; where two fit, the draft says so.
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y %H:%M", "%Y/%m/%d")


def describe(source: str | Path | pd.DataFrame, patient: str, time: str, **reading: Any) -> str:
    """Draft the schema of a table: YAML with comments, which :meth:`hg_helpers.Schema.from_yaml` reads.

    What cannot be modelled, or should not (names, free text, dates such as birth dates), is left out with the reason.
    ``patient`` and ``time`` are columns; ``reading`` may hold ``separator``, ``decimal``, ``encoding`` or ``sheet``.
    """
    name, table = "a DataFrame", source
    if not isinstance(source, pd.DataFrame):
        name, table = Path(source).name, read_table(Path(source).expanduser(), ids=patient, **reading)
    for column in (patient, time):
        if column not in table.columns:
            raise ValueError(f"the table has no column {column!r}; it has {', '.join(map(str, table.columns))}")
    table = table[table[patient].notna() & table[time].notna()]
    if table.empty:
        raise ValueError(f"no row of the table has both {patient!r} and {time!r}")
    table = table.assign(**{patient: ids(table[patient])}).sort_values(patient, kind="stable", ignore_index=True)
    courses = Courses.of(table[patient])
    drafted = [(c, *_draft(table[c], courses)) for c in table.columns if c not in (patient, time)]
    keys = [("patient", patient, ""), ("time", time, ""), *_times(table, courses, patient, time)]
    if any(entry and is_blank(plain(table[c])).any() for c, entry, _ in drafted):
        keys.append(("missing", "measured", "gaps are reproduced; `forward` fills them, `error` refuses them"))
    entries = [(f"  - {_yaml({'name': str(c)} | entry)}", comment) for c, entry, comment in drafted if entry]
    left_out = [_below(f"{c}: {reason}", "#   ", "#     ") for c, entry, reason in drafted if not entry]
    head = [(f"{key}: {_yaml(value)}", comment) for key, value, comment in keys]
    title = f"# Draft of the schema of {name}: {len(courses.sizes)} patients, {len(table)} rows."
    lines = [title, "# Read it, put it right.", *_aligned(head), "features:", *_aligned(entries)]
    lines += ["# Left out:", *left_out] if left_out else []
    return "\n".join(lines) + "\n"


def _times(table: pd.DataFrame, courses: Courses, patient: str, time: str) -> list[tuple[str, Any, str]]:
    """The lines on times and lengths: key, value, comment."""
    column, forms = table[time], []
    if isinstance(column.iloc[0], str) and numbers(column)[1].any() and _share(column, "ISO8601") < 1:
        forms = [form for form in DATE_FORMATS if _share(column, form) == 1]
    found = [("date_format", forms[0], f"or {forms[1]}?" if len(forms) > 1 else "")] if forms else []
    schema = Schema([Feature("x", "real")], patient, time, regular=False, date_format=forms[0] if forms else None)
    values = time_values(table, schema)
    values = values[np.lexsort((values, courses.number))]
    first, step = grid_of(values, courses.rank)
    regular = bool((np.abs((values - first) / (step or 1) - courses.rank) < 1e-6).all())
    comment = "equal steps from the same time for all" if regular else "each visit has a time of its own"
    if twice := int(((np.diff(values) == 0) & (courses.rank[1:] > 0)).sum()):
        comment += f"; CORRECT FIRST: {twice} rows repeat a time; a visit is one row, a measurement one column"
    found.append(("regular", regular, comment))
    sizes = courses.sizes
    if sizes.max() > MOST_VISITS:
        found.append(("length", MOST_VISITS, "longer courses are cut there; a smaller number trains faster"))
    if sizes.min() < sizes.max():
        rows = f"{sizes.min()} to {sizes.max()} rows a patient, median {np.median(sizes):g}"
        found.append(("shorter", "keep", f"{rows}; `drop` leaves out who has fewer than `length`"))
    return found


def _share(column: pd.Series, form: str) -> float:
    """The share of the values that are dates of this form; four digits alone are a code, though pandas 3 reads 0800."""
    text = column.map(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dates = pd.to_datetime(text, errors="coerce", format=form, utc=form == "ISO8601")
    return (dates.notna() & ~text.str.fullmatch(r"\d{1,4}")).mean()


def _draft(column: pd.Series, courses: Courses) -> Draft:
    column = plain(column)
    blank = is_blank(column)
    known = column[~blank]
    kinds = known.nunique()
    if kinds < 2:
        return {}, f"constant, {known.iloc[0]}" if kinds else "no value at all"
    place = pd.Series(pd.factorize(column.where(~blank))[0]).replace(-1, np.nan).to_numpy(float)
    static = bool((courses.sizes > 1).any() and not courses.changing(place))
    gap = f", {blank.mean():.0%} missing" if blank.any() else ""
    x, bad = numbers(known)
    # 01 is not 1, and longer numbers than floats tell apart are none: codes both
    code = pd.Series(known.unique()).map(str).str.fullmatch(r"0\d+|-?\d{16,}").any()
    if is_bool_dtype(known) or set(map(str, known.unique())) == {"True", "False"}:
        entry, comment = _levels(known.map(str) == "True", [False, True], courses, static, gap)
    elif not (bad.any() or code):
        entry, comment = _number(pd.Series(x, known.index), courses, static, gap)
    elif is_datetime64_any_dtype(known) or any(_share(known, form) > 0.95 for form in ("ISO8601", *DATE_FORMATS)):
        return {}, "dates; birth dates do not belong into a model, others can be turned into days"
    elif bad.mean() < 0.5 and not code:
        odd = ", ".join(map(repr, known[bad].unique()[:3]))
        return {}, f"numbers but for {odd}; replace these, and describe it anew"
    elif kinds > MOST_LEVELS or (kinds > MOST_CODES and kinds > len(courses.sizes) / 4):
        return {}, f"text with {kinds} different values; names and free text do not belong into a model"
    else:
        entry, comment = _levels(known, sorted(known.unique().tolist(), key=str), courses, static, gap)
    return (entry | {"static": True} if static and entry else entry), comment


def _number(x: pd.Series, courses: Courses, static: bool, gap: str) -> Draft:
    values, places = np.sort(x.unique()), decimals(x.to_numpy())
    if places == 0 and static and len(values) == len(courses.sizes) > MOST_CODES:
        return {}, "another whole number for each patient, hence probably an identifier"
    if places == 0 and len(values) == len(courses.number) > MOST_CODES and np.ptp(values) < 1.1 * len(values):
        return {}, "the numbers of the rows"
    repeated = len(x) >= 5 * len(values) or (len(values) == 2 and places == 0)
    if len(values) <= MOST_CODES and repeated and places in (0, 1):
        levels = [int(v) if v.is_integer() else v for v in values.tolist()]
        hint = "; if it is a quantity: kind: real" if len(levels) > 2 else ""
        return _levels(x, levels, courses, static, gap, hint)
    written = {None: "no limit of decimals", 0: "whole numbers", 1: "1 decimal"}.get(places, f"{places} decimals")
    zeros = f", {(x == 0).mean():.0%} zeros" if (x == 0).mean() >= 0.05 else ""
    ends = (values[0], values[1:]), (values[-1], values[:-1])
    far = [end for end, rest in ends if np.abs(rest - end).min() > np.ptp(rest)]
    lone = f"; {far[0]:g} STANDS ALONE: if it means missing, leave these cells empty" if far and len(values) > 3 else ""
    negative = {"transform": "yeo-johnson"} if values[0] < 0 else {}
    return {"kind": "real", "unit": ""} | negative, f"{values[0]:g} to {values[-1]:g}, {written}{zeros}{gap}{lone}"


def _levels(known: pd.Series, levels: list[Any], courses: Courses, static: bool, gap: str, hint: str = "") -> Draft:
    rows = {str(level): known.index[known == level] for level in levels}
    people = {level: len(np.unique(courses.number[index])) for level, index in rows.items()}
    counts = [f"{level}: {people[level] if static else len(index)}" for level, index in rows.items()]
    said = ("patients " if static else "") + ", ".join(counts[:8])
    said += f", and {len(counts) - 8} more" if len(counts) > 8 else ""
    rare = ", ".join(level for level, n in people.items() if n < FEW)
    alone = f"; RARE: fewer than {FEW} patients have {rare}" if rare else ""
    return {"kind": "binary" if len(levels) == 2 else "categorical", "levels": levels}, said + gap + alone + hint


def _yaml(value: Any) -> str:
    """In the middle of a line of 80 columns, going on below it where need be."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=60)
    return text.removesuffix("...\n").strip().replace("\n", "\n    ")


def _below(comment: str, first: str = "    # ", others: str = "    # ") -> str:
    return textwrap.fill(comment, 80, initial_indent=first, subsequent_indent=others)


def _aligned(lines: list[tuple[str, str]]) -> list[str]:
    """Lines with their comments, these below each other, or below their own lines where 80 columns are not enough."""
    width = max((len(line) for line, _ in lines if len(line) <= 50), default=0)
    lines = [(line, " ".join(comment.split())) for line, comment in lines]  # a level may hold the end of a line
    whole = [f"{line:{width}}  # {comment}" if comment else line for line, comment in lines]
    return [w if len(w) <= 80 or not c else f"{line}\n{_below(c)}" for w, (line, c) in zip(whole, lines, strict=True)]
