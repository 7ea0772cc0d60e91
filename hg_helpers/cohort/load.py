"""From a table to a cohort: what a good table is, and every message about a bad one.

>>> cohort = load_cohort()
>>> train, holdout = split_patients(cohort, holdout=0.2, seed=0)
>>> len(train), len(holdout)
(48000, 12000)
"""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..runtime.columns import TableLog, ids, normal, type_name
from ..runtime.download import DEMO_NAME, OLDER_NAMES, data_folder, download_cohort
from ..runtime.reading import read_table
from .art import ART_FULL
from .columns import codes_at, level_positions, real_values
from .courses import Courses, fill_missing, first_rows
from .schema import Schema


def load_cohort(
    source: str | Path | pd.DataFrame | None = None,
    schema: Schema | None = None,
    missing: str | None = None,
    **reading: str,
) -> pd.DataFrame:
    """Load a cohort, and check it against a schema as :func:`validate_cohort` does, which says what comes back.

    Args:
        source: None for the simulated cohort that comes with the package, a path (``.csv``, ``.csv.gz``, ``.parquet``,
            ``.xlsx``), a DataFrame (never changed), or ``"figshare"`` for the public cohort (cached, else downloaded).
        schema: what the table means; by default the published layout, ``ART_FULL``.
        missing: ``"error"``, ``"measured"`` or ``"forward"``, in place of the schema's own.
        reading: of a file, ``separator``, ``decimal`` (both are else found out), ``encoding`` (UTF-8) or ``sheet``.

    A FileNotFoundError, ValueError or DownloadError names file, column, patient and month, and what to do.
    """
    schema = _checked_schema(ART_FULL if schema is None else schema)
    schema = schema if missing is None else replace(schema, missing=missing)
    if isinstance(source, pd.DataFrame):
        return validate_cohort(source, schema)
    if source is None:
        source = data_folder() / DEMO_NAME
        if not source.is_file():
            raise FileNotFoundError(f"the bundled cohort {source} is missing; `python -m hg_helpers simulate` makes it")
    elif isinstance(source, str) and source == "figshare":
        source = download_cohort()
    elif not isinstance(source, (str, Path)):
        raise ValueError(f"source must be a path, a DataFrame, 'figshare' or None, not {type(source).__name__}")
    path, columns = Path(source).expanduser(), dict.fromkeys(schema.columns, ())
    for feature in schema:  # what must not become numbers: text, and codes longer than a float tells apart
        if any(isinstance(code, str) or (isinstance(code, int) and abs(code) > 2**53) for code in feature.codes):
            columns[feature.name] = feature.codes
    table = read_table(path, columns, schema.patient, **reading)
    try:
        return validate_cohort(table, schema)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def validate_cohort(table: pd.DataFrame, schema: Schema, name: str = "") -> pd.DataFrame:
    """Check a table, which is not changed, against a schema, and give it the form that all other functions expect.

    Each patient's first ``schema.length`` rows are used, and values checked, and filled, in these alone. ``name`` is
    what the log calls the table. A ValueError names column, patient, month, value, how many, and what to do.

    Returns the rows sorted by patient and time, index from 0, the schema's columns in the order of ``table``: real ones
    int64 where ``table`` has integers, else float64, the others the schema's codes; measured gaps as pandas has them.
    """
    _checked_schema(schema)
    log = TableLog(name)
    given = _select_columns(table, schema, log)
    table = first_rows(given, schema, log)
    values = {f.name: (real_values if f.is_real else level_positions)(table, f, schema) for f in schema}
    courses = Courses.of(table[schema.patient])
    fill_missing(values, table, schema, log)
    for feature in schema:
        column, people = values[feature.name], len(courses.sizes)
        if feature.static and (changing := courses.changing(column)):  # as the public cohort's generator let happen
            told = "static feature %r changes within %d of %d patients; its values are kept as they are"
            log.warning(told, feature.name, changing, people)
        if not feature.is_real:
            values[feature.name] = codes_at(column, feature)
        elif table[feature.name].dtype.kind in "iu" and not np.isnan(column).any():
            values[feature.name] = column.astype(np.int64)
    out = pd.DataFrame({name: values.get(name, table[name]) for name in table.columns})
    # what synthetic tables are to have; a column that was checked before has its first type noted already
    checked, before = ("int64", "float64", "object", "bool", "str"), given.attrs.get("types", {})
    first = {c: before.get(c) if str(given[c].dtype) in checked else None for c in out}
    out.attrs["types"] = {c: first[c] or type_name(given[c]) for c in out}
    return out


def split_patients(
    cohort: pd.DataFrame, holdout: float | int = 0.2, seed: int = 0, schema: Schema = ART_FULL
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a cohort, any table with the schema's patient column; a patient's rows stay together.

    ``holdout`` is a share of patients or, as a whole number, how many; ``seed`` and the set of ids decide who, not the
    order of rows. Returns ``(train, holdout)``, at least a patient in each, rows in ``cohort``'s order, index from 0.
    """
    if schema.patient not in cohort.columns:
        raise ValueError(f"the table has no patient column {schema.patient!r}; pass schema= if it has another name")
    column = ids(cohort[schema.patient])
    if column.isna().any():
        raise ValueError(f"column {schema.patient!r} has {int(column.isna().sum())} missing values")
    patient, names = pd.factorize(column, sort=True)
    most = len(names) - 1
    if most < 1:
        raise ValueError(f"a split needs at least 2 patients, not {len(names)}")
    if isinstance(holdout, Integral) and not isinstance(holdout, bool) and 1 <= holdout <= most:
        count = int(holdout)
    elif isinstance(holdout, Real) and not isinstance(holdout, Integral) and 0 < holdout < 1:
        count = min(max(round(holdout * len(names)), 1), most)
    else:
        allowed = f"a share between 0 and 1 or a number of patients from 1 to {most}"
        raise ValueError(f"holdout {holdout!r} must be {allowed}")
    held = np.isin(patient, np.random.default_rng(seed).permutation(len(names))[:count])
    return cohort[~held].reset_index(drop=True), cohort[held].reset_index(drop=True)


def _checked_schema(schema: Any) -> Schema:
    if not isinstance(schema, Schema):
        raise ValueError(f"schema must be a Schema, not {schema!r}; Schema.from_yaml(path) reads one from a file")
    return schema


def _select_columns(table: pd.DataFrame, schema: Schema, log: TableLog) -> pd.DataFrame:
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"a cohort is a pandas DataFrame, not {type(table).__name__}")
    if table.columns.nlevels > 1:
        advice = "give each one name, for example by table.columns = table.columns.map('_'.join)"
        raise ValueError(f"the table's columns have {table.columns.nlevels} levels; {advice}")
    table = table.rename(columns=normal)
    if schema.time == ART_FULL.time and schema.time not in table.columns:
        table = table.rename(columns=OLDER_NAMES)
    absent = [name for name in schema.columns if name not in table.columns]
    if absent:
        names, found = ", ".join(map(repr, absent)), ", ".join(map(str, table.columns))
        hint = f"{_column_hint(absent[0], table)}. It has: {found}. If another schema describes it, pass schema="
        raise ValueError(f"the table has no column {names}{hint}")
    if table.empty:
        raise ValueError("the table has no rows")
    kept = [name for name in table.columns if name in schema.columns]
    for twice in (name for name in kept if kept.count(name) > 1):
        raise ValueError(f"the table has {kept.count(twice)} columns {twice!r}; rename or drop all but one")
    others = [repr(name) for name in table.columns if name not in schema.columns]
    if others:
        log.info("left out %d columns that the schema does not name: %s", len(others), ", ".join(others))
    return table[kept]


def _column_hint(absent: str, table: pd.DataFrame) -> str:
    if absent in table.index.names:
        return " (it is the table's index: pass table.reset_index())"
    found = [str(name) for name in table.columns]
    if len(found) == 1 and re.search(r"[;\t|]", found[0]):
        return " (not separated by commas? Read the file with pandas.read_csv(path, sep=...) and pass the table)"
    close = [name for name in found if name.strip().casefold() == absent.strip().casefold()]
    close = close or difflib.get_close_matches(absent, found, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
