"""The download, against a real HTTP server on loopback that misbehaves in every way that was thought of."""

import logging
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hg_helpers.cohort import load as cohort_module
from hg_helpers.cohort.art import ART_FULL
from hg_helpers.cohort.load import load_cohort
from hg_helpers.runtime import download
from hg_helpers.runtime.download import PUBLIC_NAME, DownloadError, data_folder, download_cohort, raw_folder

PATIENTS = 3
ROWS = PATIENTS * 60


def _public_table() -> pd.DataFrame:
    """A table in the published layout: thirteen features, patient, month."""
    rng = np.random.default_rng(0)
    columns = {f.name: rng.lognormal(4, 1, ROWS).round(3) if f.is_real else rng.choice(f.codes, ROWS) for f in ART_FULL}
    for feature in ART_FULL.static:
        columns[feature.name] = np.repeat(rng.choice(feature.codes, PATIENTS), 60)
    return pd.DataFrame(columns).assign(PatientID=np.arange(ROWS) // 60, Timestep=np.arange(ROWS) % 60)


TABLE = _public_table()
CSV = TABLE.to_csv(index=False).encode()
OLDER = TABLE.rename(columns={"Timestep": "Timepoints"}).to_csv().encode()
BODIES = {
    "/good": CSV,
    "/no-length": CSV,
    "/older": OLDER,
    "/html": b"\n<!DOCTYPE html><html><body>Please log in</body></html>" * 50,
    "/empty": b"",
    "/short": CSV[: CSV.rindex(b"\n", 0, -1) + 1],
    "/half-a-line": CSV[: CSV.rindex(b",")],
    "/other-columns": CSV.replace(b"Gender", b"Sex", 1),
    "/binary": bytes(range(1, 256)) * 20,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests += 1
        path, self.close_connection = self.path, True
        if path == "/silent":
            self.server.released.wait(10)
            return
        if path == "/gone":
            return self.send_error(404)
        if path == "/busy":
            return self.send_error(503)
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200)
        if path == "/cut":
            self.send_header("Content-Length", str(len(CSV)))
            self.end_headers()
            return self.wfile.write(CSV[:4000])
        if path == "/reset":
            self.send_header("Content-Length", str(len(CSV)))
            self.end_headers()
            self.wfile.write(CSV[:4000])
            # A zero linger makes the close an abrupt reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self.connection.close()
        if path == "/stalls":
            self.send_header("Content-Length", str(len(CSV)))
            self.end_headers()
            self.wfile.write(CSV[:4000])
            self.wfile.flush()
            return self.server.released.wait(10)
        body = BODIES.get(path, CSV[:3000])  # "/unannounced": cut short, and no length that would show it
        if path in BODIES and path != "/no-length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self):
        # unannounced, a close would race with the client's next request on the same connection
        self.send_header("Connection", "close")
        super().end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.requests, server.released = True, 0, threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Download a path of the server into an empty folder, expecting the small table."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def call(path="/good", size=None, **options):
        monkeypatch.setattr(download, "PUBLIC_BYTES", size or len(CSV))
        monkeypatch.setattr(download, "PUBLIC_ROWS", ROWS)
        url = f"http://127.0.0.1:{server.server_address[1]}{path}"
        return download_cohort(url=url, **{"folder": tmp_path, "timeout": 5, **options})

    return call


def _refused(fetch, folder: Path, path: str, reason: str, **options) -> None:
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch(path, **options)
    message = str(caught.value)
    assert f"{path} in a browser" in message and PUBLIC_NAME in message and str(folder) in message
    assert list(folder.iterdir()) == [], "nothing may stay behind, least of all under the final name"


def test_a_good_file_arrives_whole_and_alone(fetch, tmp_path):
    path = fetch()
    assert path == tmp_path / PUBLIC_NAME
    assert path.read_bytes() == CSV
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o044, "others on the machine may read it"


def test_a_server_that_does_not_say_how_much_it_sends_is_fine(fetch):
    assert fetch("/no-length").read_bytes() == CSV


def test_a_redirect_is_followed_as_figshare_needs_it(fetch):
    assert fetch("/redirect").read_bytes() == CSV


def test_the_cached_copy_is_used_and_force_fetches_again(fetch, server, tmp_path):
    path = fetch()
    asked = server.requests
    assert fetch("/gone") == path and server.requests == asked
    path.write_bytes(CSV.replace(b"\n", b"\r\n"))
    assert fetch(force=True).read_bytes() == CSV and server.requests == asked + 1


def test_a_failed_forced_download_leaves_the_copy_that_was_there(fetch, tmp_path):
    path = fetch()
    for broken in ("/gone", "/cut", "/html", "/short"):
        with pytest.raises(DownloadError):
            fetch(broken, force=True)
        assert path.read_bytes() == CSV and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gone", "the server answered 404"),
        ("/busy", "the server answered 503"),
        ("/html", "not the public cohort: it is a web page"),
        ("/empty", "not the public cohort: the file is empty"),
        # requests 2.28 with an old urllib3 takes what came for the whole; then the rows are counted
        ("/cut", "the connection broke off before the file was complete|the download may have broken off"),
        ("/reset", "the connection broke off before the file was complete|it closed at once"),
        ("/unannounced", r"it has \d\d complete rows, not 180"),
        ("/short", "it has 179 complete rows, not 180"),
        ("/half-a-line", "it has 179 complete rows, not 180"),
        ("/other-columns", "its header lacks Gender"),
        ("/binary", "not the public cohort"),
    ],
)
def test_what_is_not_the_whole_file_is_refused_with_the_reason_and_the_way_by_hand(fetch, tmp_path, path, reason):
    _refused(fetch, tmp_path, path, reason)


@pytest.mark.parametrize("path", ["/silent", "/stalls"])
def test_a_server_that_falls_silent_is_given_up(fetch, tmp_path, path):
    started = time.monotonic()
    _refused(fetch, tmp_path, path, r"no answer within 0\.3 seconds", timeout=0.3)
    assert time.monotonic() - started < 5


def test_no_server_at_all_is_said_as_no_connection(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/nobody"
    with pytest.raises(DownloadError, match="no connection to the server"):
        download_cohort(url=url, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_none_is_refused_too(tmp_path):
    with pytest.raises(DownloadError, match="nonsense"):
        download_cohort(url="nonsense", folder=tmp_path)


def test_a_size_far_from_the_expected_one_is_refused(fetch, tmp_path):
    _refused(fetch, tmp_path, "/good", "bytes, not about 1,000,000", size=1_000_000)
    assert fetch(size=round(len(CSV) * 1.1)).read_bytes() == CSV


def test_a_folder_that_cannot_be_made_is_said(fetch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot write .*file"):
        fetch(folder=tmp_path / "file" / "raw")


def test_a_full_disk_is_said_and_leaves_nothing(fetch, tmp_path, monkeypatch):
    import pooch

    def full(self, url, output_file, pooch):
        Path(output_file).write_bytes(CSV[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    _refused(fetch, tmp_path, "/good", "No space left on device")


def test_the_final_name_appears_only_by_renaming_a_checked_file(fetch, tmp_path, monkeypatch):
    checked = []

    def not_yet(part, target):
        checked.append(Path(part).read_bytes())
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(download.os, "replace", not_yet)
    with pytest.raises(DownloadError, match=r"cannot write .*Input/output error"):
        fetch()
    assert checked == [CSV] and list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(fetch, tmp_path, monkeypatch):
    import pooch

    def interrupted(self, url, output_file, pooch):
        Path(output_file).write_bytes(CSV[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_placed_by_hand_is_noticed(fetch, tmp_path):
    (tmp_path / PUBLIC_NAME).write_bytes(BODIES["/html"])
    with pytest.raises(DownloadError, match=r"not the public cohort: it is a web page.*force=True"):
        fetch()
    (tmp_path / PUBLIC_NAME).write_bytes(OLDER)
    assert fetch().read_bytes() == OLDER


def test_progress_is_shown_on_stderr_and_nothing_on_stdout(fetch, capfd, caplog):
    with caplog.at_level(logging.INFO, logger="hg_helpers"):
        fetch()
    out, err = capfd.readouterr()
    assert out == "" and "B/s" in err
    assert "downloaded to" in caplog.text


@pytest.mark.parametrize("path", ["/good", "/older"])
def test_figshare_goes_from_the_server_to_a_cohort_in_either_release(fetch, tmp_path, monkeypatch, path):
    monkeypatch.setattr(cohort_module, "download_cohort", lambda: fetch(path))
    table = load_cohort("figshare")
    pd.testing.assert_frame_equal(table, TABLE, check_dtype=False)
    assert (tmp_path / PUBLIC_NAME).is_file()


def test_the_defaults_expect_the_public_file(tmp_path):
    (tmp_path / PUBLIC_NAME).write_bytes(CSV)
    with pytest.raises(DownloadError, match="180 complete rows, not 534,960"):
        download_cohort(folder=tmp_path)


def _pretend_package(monkeypatch, package: Path) -> None:
    package.mkdir(parents=True)
    monkeypatch.setattr(download, "__file__", str(package / "runtime" / "download.py"))


def test_in_a_checkout_data_lies_beside_the_package(monkeypatch, tmp_path):
    _pretend_package(monkeypatch, tmp_path / "hg_helpers")
    (tmp_path / "pyproject.toml").touch()
    assert data_folder() == tmp_path / "data"
    assert raw_folder() == tmp_path / "data" / "raw"


def test_in_an_installed_package_data_lies_inside_it_and_downloads_go_to_the_users_cache(monkeypatch, tmp_path):
    site = tmp_path / "site-packages"
    _pretend_package(monkeypatch, site / "hg_helpers")
    (site / "hg_helpers" / "data").mkdir()
    (site / "data").mkdir()  # another package's
    assert data_folder() == site / "hg_helpers" / "data"
    assert site not in raw_folder().parents and "hg_helpers" in str(raw_folder())
