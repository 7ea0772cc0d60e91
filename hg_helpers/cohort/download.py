"""Where the bundled and the public cohort lie on this machine, and how the public one gets there.

>>> (data_folder() / DEMO_NAME).name
'art_hiv_demo.csv.gz'
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd
import pooch
import requests

from ..runtime.checkpoint import atomic
from .art import ART_FULL, OLDER_NAMES

log = logging.getLogger("hg_helpers")

#: The simulated cohort that comes with the package.
DEMO_NAME = "art_hiv_demo.csv.gz"

#: Kuo 2023, doi 10.6084/m9.figshare.22827878.v1.
PUBLIC_URL = "https://figshare.com/ndownloader/files/40584980"
PUBLIC_NAME = "HealthGymV2_CbdrhDatathon_ART4HIV.csv"
PUBLIC_BYTES = 44_700_000
PUBLIC_ROWS = 534_960

# The size is known to three digits only, and an older release carries one column more; the row count is exact.
_SIZE_TOLERANCE = 0.15


class DownloadError(OSError):
    """The public cohort could not be fetched, or what came is not it; the message says how to place it by hand."""


def data_folder() -> Path:
    """The folder of the bundled data: ``data/`` beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data"
    return installed if installed.is_dir() else package.parent / "data"


def raw_folder() -> Path:
    """The folder for downloaded data: ``data/raw/`` in a checkout that can be written to, else the user's cache."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and os.access(checkout, os.W_OK):
        return checkout / "data" / "raw"
    return Path(pooch.os_cache("hg_helpers"))


def download_cohort(
    force: bool = False,
    url: str = PUBLIC_URL,
    folder: str | Path | None = None,
    *,
    expected_bytes: int | None = PUBLIC_BYTES,
    expected_rows: int = PUBLIC_ROWS,
    timeout: float = 30.0,
) -> Path:
    """Fetch the public ART-for-HIV cohort once and return where it lies.

    A copy that is there already is checked and used; otherwise the file is downloaded beside its final name, checked
    for size, header and row count, and only then given that name, so that a broken download never looks like data.

    Args:
        force: download even where there is a copy; that copy stays until the new one has passed the checks.
        url: http or https address of the file.
        folder: where to keep it; by default ``data/raw/`` in a checkout, else the user's cache folder.
        expected_bytes: size of the file, held to within 15 %; None skips this check.
        expected_rows: number of data rows, exactly.
        timeout: seconds to wait for the server's next sign of life.

    Returns:
        Path of the file ``HealthGymV2_CbdrhDatathon_ART4HIV.csv``.

    Raises:
        DownloadError: where there is no network, the server refuses, the body breaks off or is something else, or the
            folder cannot be written to; the message says what happened and how to place the file by hand.
    """
    target = Path(folder if folder is not None else raw_folder()).expanduser().resolve() / PUBLIC_NAME
    if target.is_file() and not force:
        problem = _problem(target, None, expected_rows)
        if problem:
            raise DownloadError(
                f"{target} is not the public cohort: {problem}. Delete it, or download again with force=True "
                "(on the command line: --force)."
            )
        log.info("public cohort: using the copy %s", target)
        return target

    remedy = f"To place the file by hand: open {url} in a browser, save it as {target.name} in the folder "
    remedy += f"{target.parent} and run this again."
    try:
        with atomic(target) as part:
            pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, timeout=timeout)(url, str(part), None)
            problem = _problem(part, expected_bytes, expected_rows)
            if problem:
                raise DownloadError(f"what {url} sent is not the public cohort: {problem}. {remedy}")
    except DownloadError:
        raise
    except requests.RequestException as error:
        raise DownloadError(f"cannot download {url}: {_reason(error, timeout)}. {remedy}") from error
    except OSError as error:  # on Windows also where another program has the old copy open
        raise DownloadError(f"cannot write {target} ({error.strerror or error}). {remedy}") from error
    log.info("public cohort: downloaded to %s", target)
    return target


def _reason(error: Exception, timeout: float) -> str:
    """What a failed request means, in words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no answer within {timeout:g} seconds"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the secure connection failed ({error})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off before the file was complete"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server, or it closed at once (no network, or a firewall or proxy in the way)"
    return str(error)


def _problem(path: Path, expected_bytes: int | None, expected_rows: int) -> str | None:
    """What is wrong with a file that should be the public cohort, or None."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(2048).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return "the file is empty (some sites answer so where they want a browser)"
    if start.startswith(b"<"):
        return "it is a web page (HTML), not a CSV; the site may ask for a login or a confirmation"
    try:
        # An older release has other names, and an unnamed index column in front.
        header = pd.read_csv(path, nrows=0).rename(columns=OLDER_NAMES).columns
        absent = [name for name in ART_FULL.columns if name not in header]
        if absent:
            return f"its header lacks {', '.join(absent)} (it begins {', '.join(map(str, header[:4]))})"
        # The last column in the file: a last line that breaks off has nothing there.
        rows = pd.read_csv(path, usecols=[len(header) - 1]).iloc[:, 0]
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        return f"it cannot be read as a CSV ({error})"
    if len(rows) != expected_rows or rows.isna().any():
        return (
            f"it has {int(rows.notna().sum()):,} complete rows, not {expected_rows:,}; the download may have broken off"
        )
    if expected_bytes and abs(size - expected_bytes) > _SIZE_TOLERANCE * expected_bytes:
        return f"it has {size:,} bytes, not about {expected_bytes:,}"
    return None
