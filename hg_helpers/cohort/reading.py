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

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from .columns import TableLog
from .schema import Schema

# What pandas reads as missing; a schema may name one of them ("None", "NA") as a level.
_MISSING_TEXT = frozenset(("", "NA", "N/A", "n/a", "#NA", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"))
_ENDINGS = (".csv", ".csv.gz", ".parquet", ".xlsx")
_LOOKED_AT = 2**16  # characters from which separator and decimal mark are guessed

#: What a folder of parts is of: how many patients, and how many a part. Readers of Parquet pass over such a name.
MANIFEST = "_parts.json"


def read_table(
    path: Path,
    schema: Schema | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    """Read a table from a ``.csv``, ``.csv.gz``, ``.parquet`` or ``.xlsx`` file, or from a folder of Parquet files.

    Args:
        schema: says which columns are to stay text; without one, pandas decides.
        separator, decimal: of a CSV file; by default what its first lines look like, with a word in the log.
        encoding: of a CSV file, by default UTF-8.
        sheet: of a workbook, by default its first.

    Raises:
        FileNotFoundError: naming the file that is not there.
        ValueError: naming the file and what is wrong with it.
    """
    if path.is_dir():
        return _read_parts(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (the current folder is {Path.cwd()})")
    name, encoding = path.name.lower(), encoding or "utf-8"
    if not name.endswith(_ENDINGS):
        raise ValueError(f"{path}: a table must be a {', '.join(_ENDINGS)} file; save it as one of these")
    try:
        if name.endswith(".parquet"):
            return pd.read_parquet(path)
        options = _text_columns(schema) if schema else {}
        if name.endswith(".xlsx"):
            table = pd.read_excel(path, sheet_name=sheet or 0, **options)
        else:
            found = _marks(path, encoding, separator, decimal)
            table = pd.read_csv(path, low_memory=False, encoding=encoding, **found, **options)
        if not isinstance(table.index, pd.RangeIndex):  # pandas has made an index of the first, shifting all columns
            raise ValueError("its rows have more values than its header has names")
    except UnicodeError as error:
        raise ValueError(
            f"{path} cannot be read as a table in {encoding.upper()}: {error}; say its encoding, often cp1252 where "
            "Excel wrote it (--encoding cp1252, or encoding= in load_cohort)"
        ) from error
    except ImportError as error:
        raise ValueError(f"{path}: a workbook needs the package openpyxl; install it, or save it as .csv") from error
    except (ValueError, OSError, EOFError, KeyError, LookupError, zlib.error) as error:  # also of parser and Arrow
        raise ValueError(f"{path} cannot be read as a table in {encoding.upper()}: {error}") from error
    if schema and schema.patient in table.columns:
        table[schema.patient] = _numbers_if_written_so(table[schema.patient])
    return table


def _read_parts(folder: Path) -> pd.DataFrame:
    """The table whose parts `sample --parts` wrote."""
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        raise ValueError(f"{folder} is a folder without Parquet files; name a table, or a folder of its parts")
    try:
        made = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) if (folder / MANIFEST).exists() else None
        wanted = len(parts) if made is None else -(-made["patients"] // made["per_part"])
        if len(parts) != wanted:
            raise ValueError(f"there are {len(parts)} of {wanted}; give `sample --parts` again, and it goes on")
        return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ValueError(f"the parts in {folder} cannot be read: {error}") from error


def _marks(path: Path, encoding: str, separator: str | None, decimal: str | None) -> dict[str, str]:
    """Separator and decimal mark: as asked for, else as the first lines have them."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rt", encoding=encoding) as file:
        lines = file.read(_LOOKED_AT).splitlines()
    header = lines[0] if lines else ""
    found = separator or max(",;\t|", key=header.count)  # the comma where there is none of them
    with_comma = re.compile(r'(?:^|[;\t|])"?[-+]?\d+,\d+"?(?=$|[;\t|])')
    comma = found != "," and any(with_comma.search(line) for line in lines[1:])
    mark = decimal or ("," if comma else ".")
    if (separator is None and found != ",") or (decimal is None and mark != "."):
        TableLog().info("%s is read with the separator %r and the decimal mark %r", path.name, found, mark)
    return {"sep": found, "decimal": mark}


def _text_columns(schema: Schema) -> dict[str, Any]:
    """Levels that are text stay text even where they look like numbers ("01"), booleans or missing values ("None")."""
    as_text = {f.name: set(f.codes) for f in schema.discrete if isinstance(f.codes[0], str)}
    long = [f.name for f in schema.discrete if any(isinstance(c, int) and abs(c) > 2**53 for c in f.codes)]
    options: dict[str, Any] = {"dtype": dict.fromkeys([*as_text, *long, schema.patient], str)}
    if any(codes & _MISSING_TEXT for codes in as_text.values()):
        options["keep_default_na"] = False
        options["na_values"] = {c: sorted(_MISSING_TEXT - as_text.get(c, set())) for c in schema.columns}
    return options


def _numbers_if_written_so(column: pd.Series) -> pd.Series:
    """Ids as numbers where each is written as that number would be; 007 is a text, or it would be the patient 7."""
    place, texts = pd.factorize(column)
    values = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
    written = (values.astype(str) == pd.Series(texts, dtype=object).str.strip()).all()
    return pd.Series(values.to_numpy()[place], index=column.index) if written and (place >= 0).all() else column
