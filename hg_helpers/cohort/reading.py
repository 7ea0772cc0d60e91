"""From a file to a table as it stands there; what it means is :mod:`hg_helpers.cohort.load`'s to find out.

>>> import tempfile
>>> from hg_helpers.cohort.art import ART_DEMO
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / 'visits.csv'
...     _ = path.write_text('PatientID,VL\\n007,12.5\\n')
...     read_table(path, ART_DEMO)['PatientID'].tolist()
['007']
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from .schema import Schema

# What pandas reads as missing; a schema may name one of them ("None", "NA") as a level.
_MISSING_TEXT = frozenset(("", "NA", "N/A", "n/a", "#NA", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"))


def read_table(path: Path, schema: Schema) -> pd.DataFrame:
    """Read a table from a ``.csv``, ``.csv.gz`` or ``.parquet`` file, or from a folder of Parquet files.

    Raises:
        FileNotFoundError: naming the file that is not there.
        ValueError: naming the file and what is wrong with it.
    """
    if path.is_dir():
        return _read_parts(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (the current folder is {Path.cwd()})")
    name = path.name.lower()
    if not name.endswith((".csv", ".csv.gz", ".parquet")):
        raise ValueError(f"{path}: a table must be a .csv, .csv.gz or .parquet file; save it as one of these")
    try:
        if name.endswith(".parquet"):
            return pd.read_parquet(path)
        # Levels that are text stay text even where they look like numbers ("01"), booleans or missing values ("None").
        as_text = {f.name: set(f.codes) for f in schema.discrete if isinstance(f.codes[0], str)}
        long = [f.name for f in schema.discrete if any(isinstance(c, int) and abs(c) > 2**53 for c in f.codes)]
        options: dict[str, Any] = {"low_memory": False, "dtype": dict.fromkeys([*as_text, *long, schema.patient], str)}
        if any(codes & _MISSING_TEXT for codes in as_text.values()):
            options["keep_default_na"] = False
            options["na_values"] = {c: sorted(_MISSING_TEXT - as_text.get(c, set())) for c in schema.columns}
        table = pd.read_csv(path, **options)
        if not isinstance(table.index, pd.RangeIndex):  # pandas has made an index of the first, shifting all columns
            raise ValueError("its rows have more values than its header has names")
    except (ValueError, OSError, EOFError, zlib.error) as error:  # parser, encoding and Arrow errors are ValueErrors
        raise ValueError(f"{path} cannot be read as a table in UTF-8: {error}") from error
    if schema.patient in table.columns:
        table[schema.patient] = _numbers_if_written_so(table[schema.patient])
    return table


def _read_parts(folder: Path) -> pd.DataFrame:
    """The table whose parts `sample --parts` wrote."""
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise ValueError(f"{folder} is a folder without Parquet files; name a table, or a folder of its parts")
    try:
        return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    except (ValueError, OSError) as error:
        raise ValueError(f"the parts in {folder} cannot be read: {error}") from error


def _numbers_if_written_so(column: pd.Series) -> pd.Series:
    """Ids as numbers where each is written as that number would be; 007 is a text, or it would be the patient 7."""
    place, texts = pd.factorize(column)
    values = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    written = (values.astype(str) == pd.Series(texts, dtype=object).str.strip()).all()
    return pd.Series(values.to_numpy()[place], index=column.index) if written and (place >= 0).all() else column
