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
import yaml

from .checkpoint import atomic

log = logging.getLogger("hg_helpers")

DEMO_NAME = "art_hiv_demo.csv.gz"  # the simulated cohort that comes with the package
#: Kuo 2023, doi 10.6084/m9.figshare.22827878.v1. Its size is known to three digits only, its rows exactly.
PUBLIC_URL = "https://figshare.com/ndownloader/files/40584980"
PUBLIC_NAME = "HealthGymV2_CbdrhDatathon_ART4HIV.csv"
PUBLIC_BYTES, PUBLIC_ROWS = 44_700_000, 534_960
OLDER_NAMES = {"Timepoints": "Timestep"}  # the columns that an older release calls otherwise


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
    force: bool = False, url: str = PUBLIC_URL, folder: str | Path | None = None, *, timeout: float = 30.0
) -> Path:
    """Fetch the public ART-for-HIV cohort once and return where it lies.

    A copy that is there already is checked and used, unless ``force`` asks for another. A download gets its final name
    only once header, number of rows and size have been checked, so that a broken one never looks like data and never
    replaces a good one; else a DownloadError says what happened and how to place the file by hand. ``folder`` is by
    default ``data/raw/`` in a checkout, else the user's cache; ``timeout`` is in seconds, to the next sign of life.
    """
    target = Path(folder if folder is not None else raw_folder()).expanduser().resolve() / PUBLIC_NAME
    if target.is_file() and not force:
        try:
            _check(target)
        except ValueError as error:
            advice = "Delete it, or download again with force=True (on the command line: --force)."
            raise DownloadError(f"{target} is not the public cohort: {error}. {advice}") from error
        log.info("public cohort: using the copy %s", target)
        return target
    try:
        with atomic(target) as part:
            pooch.HTTPDownloader(progressbar=True, chunk_size=2**16, timeout=timeout)(url, str(part), None)
            _check(part)
            if abs((size := part.stat().st_size) - PUBLIC_BYTES) > 0.15 * PUBLIC_BYTES:
                raise ValueError(f"it has {size:,} bytes, not about {PUBLIC_BYTES:,}")
    except (OSError, ValueError) as error:  # OSError on Windows also where another program has the old copy open
        if isinstance(error, requests.RequestException):
            why = f"cannot download {url}: {_reason(error, timeout)}"
        elif isinstance(error, OSError):
            why = f"cannot write {target} ({error.strerror or error})"
        else:
            why = f"what {url} sent is not the public cohort: {error}"
        by_hand = f"open {url} in a browser, save it as {target.name} in the folder {target.parent} and run this again."
        raise DownloadError(f"{why}. To place the file by hand: {by_hand}") from error
    log.info("public cohort: downloaded to %s", target)
    return target


def _reason(error: requests.RequestException, timeout: float) -> str:
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no answer within {timeout:g} seconds"
    reasons = {
        requests.HTTPError: f"the server answered {error}",
        requests.exceptions.SSLError: f"the secure connection failed ({error})",
        requests.exceptions.ChunkedEncodingError: "the connection broke off before the file was complete",
        requests.ConnectionError: "no connection to the server, or it closed at once (a firewall or proxy in the way?)",
    }
    return next((reason for kind, reason in reasons.items() if isinstance(error, kind)), str(error))


def _check(path: Path) -> None:
    """Refuse, by a ValueError, a file that is not the public cohort."""
    with path.open("rb") as file:
        start = file.read(2048).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise ValueError("the file is empty (some sites answer so where they want a browser)")
    if start.startswith(b"<"):
        raise ValueError("it is a web page (HTML), not a CSV; the site may ask for a login or a confirmation")
    try:  # an older release has other names, and an unnamed index column in front
        table = pd.read_csv(path).rename(columns=OLDER_NAMES)
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"it cannot be read as a CSV ({error})") from error
    layout = yaml.safe_load((data_folder() / "art_full.yaml").read_text(encoding="utf-8"))
    wanted = [*(feature["name"] for feature in layout["features"]), layout["patient"], layout["time"]]
    if absent := [name for name in wanted if name not in table.columns]:
        raise ValueError(f"its header lacks {', '.join(absent)} (it begins {', '.join(map(str, table.columns[:4]))})")
    rows = int(table.iloc[:, -1].notna().sum())  # a last line that breaks off has nothing in the last column
    if not len(table) == rows == PUBLIC_ROWS:
        raise ValueError(f"it has {rows:,} complete rows, not {PUBLIC_ROWS:,}; the download may have broken off")
