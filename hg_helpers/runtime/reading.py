"""From a file to a table as it stands there: separators, decimal marks, encodings, workbooks, folders of parts.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / 'visits.csv'
...     _ = path.write_text('id;lab\\n007;12,5\\n')
...     read_table(path, ids='id').values.tolist()
[['007', 12.5]]
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

log = logging.getLogger("hg_helpers")

# What pandas reads as missing; a column may have one of them ("None", "NA") as a value.
_MISSING_TEXT = frozenset(("", "NA", "N/A", "n/a", "#NA", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"))
_ENDINGS = (".csv", ".csv.gz", ".parquet", ".xlsx")

#: What a folder of parts is of: how many patients, and how many a part. Readers of Parquet pass over such a name.
MANIFEST = "_parts.json"


def read_table(
    path: Path,
    columns: Mapping[str, Collection[Any]] | None = None,
    ids: str | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    """Read a table from a ``.csv``, ``.csv.gz``, ``.parquet`` or ``.xlsx`` file, or from a folder of Parquet files.

    ``columns`` are those wanted, with the values of those that are to stay text, even where it looks like a number
    ("01"), a truth value or a missing one ("None"). ``ids`` is a column of names, which are numbers only where each is
    written as that number would be. A CSV file's ``separator`` and ``decimal`` mark are by default as it looks, its
    ``encoding`` is UTF-8; ``sheet`` is a workbook's, by default its first. Errors name the file and what is wrong.
    """
    if path.is_dir():
        return _read_parts(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} (the current folder is {Path.cwd()})")
    with open(path, "rb") as file:
        first = file.read(2)
    usual = "utf-16" if first in (b"\xff\xfe", b"\xfe\xff") else "utf-8"  # Excel's "Unicode text" begins so
    name, encoding, columns = path.name.lower(), encoding or usual, columns or {}
    if not name.endswith(_ENDINGS):
        raise ValueError(f"{path}: a table must be a {', '.join(_ENDINGS)} file; save it as one of these")
    text = [c for c in columns if columns[c]] + ([] if ids is None else [ids])
    options: dict[str, Any] = {"dtype": dict.fromkeys(text, str)}
    if any(_MISSING_TEXT.intersection(values) for values in columns.values()):
        missing = {c: sorted(_MISSING_TEXT.difference(values)) for c, values in columns.items()}
        options |= {"keep_default_na": False, "na_values": missing}
    try:
        if name.endswith(".parquet"):
            return pd.read_parquet(path)
        if name.endswith(".xlsx"):
            sheets = pd.ExcelFile(path).sheet_names
            if len(sheets) > 1 and sheet not in sheets:
                log.warning("%s has the sheets %s: the first is read unless a sheet is named", path.name, sheets)
            table = pd.read_excel(path, sheet_name=sheet or 0, **options)
        else:
            options |= {"low_memory": False, "encoding": encoding, **_marks(path, encoding, separator, decimal)}
            table = pd.read_csv(path, **options)
            gaps = [c for c in table if table[c].dtype.kind == "f" and table[c].hasnans and table[c].notna().any()]
            places = [*map(table.columns.get_loc, gaps if columns else table)]
            texts = pd.read_csv(path, **options | {"dtype": str, "usecols": places}) if places else table
            # pandas reads whole numbers as 12.0 where some are missing; not those that are written so
            whole = [c for c in gaps if texts[c].str.fullmatch(r"\s*[-+]?\d{1,15}\s*", na=True).all()]
            table = table.astype(dict.fromkeys(whole, "Int64"))
            if not columns:  # nobody has said which are text: 01 is a code, and not 1
                padded = [c for c in table if texts[c].str.fullmatch(r"0\d+", na=False).any()]
                table[padded] = texts[padded]
        if not isinstance(table.index, pd.RangeIndex):  # pandas has made an index of the first, shifting all columns
            raise ValueError("its rows have more values than its header has names")
    except ImportError as error:
        raise ValueError(f"{path}: a workbook needs the package openpyxl; install it, or save it as .csv") from error
    except (ValueError, OSError, EOFError, LookupError, zlib.error) as error:  # also of parser and Arrow
        hint = "; say its encoding, often cp1252 where Excel wrote it (--encoding cp1252, or encoding= in load_cohort)"
        said = f"{error}{hint if isinstance(error, UnicodeError) else ''}" if first else "it is empty"
        form = "" if name.endswith((".parquet", ".xlsx")) else f" in {encoding.upper()}"
        raise ValueError(f"{path} cannot be read as a table{form}: {said}") from error
    if ids in table.columns:  # as numbers where each is written so; 007 is a text, or it would be the patient 7
        texts = table[ids].drop_duplicates()
        values = pd.to_numeric(texts, errors="coerce")
        if texts.notna().all() and (values.astype(str) == texts.str.strip()).all():
            table[ids] = pd.to_numeric(table[ids])
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
    """Separator and decimal mark: as asked for, else as the first 64 kB have them."""
    if separator and len(separator) > 1:
        raise ValueError(f"the separator {separator!r} is not one character; left out, it is found in the header")
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rt", encoding=encoding) as file:
        lines = file.read(2**16).splitlines()
    found = separator or max(",;\t|", key="".join(lines[:1]).count)  # the comma where there is none of them
    with_comma = re.compile(r'(?:^|[;\t|])"?[-+]?\d+,\d+"?(?=$|[;\t|])')
    mark = decimal or ("," if found != "," and any(map(with_comma.search, lines[1:])) else ".")
    if (separator is None and found != ",") or (decimal is None and mark != "."):
        log.info("%s is read with the separator %r and the decimal mark %r", path.name, found, mark)
    return {"sep": found, "decimal": mark}
