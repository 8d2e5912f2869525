"""CIFAR is fetched whole or not at all, and every failure is a sentence; core.download."""

from __future__ import annotations

import hashlib
import io
import runpy
import socket
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core import data, download
from core.errors import Cancelled, DataError

pytestmark = pytest.mark.usefixtures("isolated_home")


@dataclass
class Server:
    """A server on this machine: `body` at /archive, or less than it announces, or nothing."""

    url: str = ""
    body: bytes = b""
    cut: int = 0  # bytes at the end that are announced and never sent
    announce: bool = True
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server():
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            if state.silent:
                state.closing.wait(20)
                return
            if self.path != "/archive":
                self.send_error(404)
                return
            self.send_response(200)
            if state.announce:
                self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            try:
                self.wfile.write(state.body[: len(state.body) - state.cut])
            except (BrokenPipeError, ConnectionResetError):
                pass  # the download was cancelled, which closes the connection

        def log_message(self, *args):
            """Say nothing; a test's output is the test's."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    state.url = f"http://127.0.0.1:{listening.server_port}/archive"
    yield state
    state.closing.set()
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def published(server, fake_cifar, monkeypatch):
    """A tiny CIFAR-10, published on the server; its chunks are small as well."""
    fake = fake_cifar("cifar10")
    publish(server, fake.kind, fake.archive(), monkeypatch)
    return fake


def publish(server, kind, body, monkeypatch):
    server.body = body
    monkeypatch.setattr(kind, "url", server.url)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(body).hexdigest())
    monkeypatch.setattr(download, "CHUNK", 4096)
    monkeypatch.setattr(download, "MEGABYTE", 1000)


@pytest.fixture
def root(tmp_path):
    """A data folder that holds something of the user's own."""
    root = tmp_path / "data"
    root.mkdir()
    (root / "mine.txt").write_text("mine")
    return root


def refused(root, name="cifar10", **how) -> str:
    """The sentence of the failure; whatever failed, `root` is as it was."""
    with pytest.raises(DataError) as caught:
        download.download(name, root, **how)
    untouched(root)
    return str(caught.value)


def untouched(root):
    assert [inside.name for inside in root.iterdir()] == ["mine.txt"]
    assert (root / "mine.txt").read_text() == "mine"


# It works


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_what_was_fetched_can_be_read(root, server, fake_cifar, monkeypatch, name):
    fake = fake_cifar(name)
    publish(server, fake.kind, fake.archive(), monkeypatch)
    place = download.download(name, root)
    assert place == root / fake.kind.base_folder
    assert {f.name: f.read_bytes() for f in place.iterdir()} == fake.files
    assert sorted(f.name for f in root.iterdir()) == sorted([place.name, "mine.txt"])
    assert len(data.images(name, "test", root)) == 20
    assert data.available(root)[name] == f"official files in {root}"
    assert server.asked == ["/archive"]


def test_the_default_folder_is_created(published, isolated_home):
    place = download.download("cifar10")
    assert place.is_relative_to(isolated_home) and len(data.images("cifar10")) == 20


def test_progress_never_falls_and_ends_at_one(root, published):
    told = []
    download.download("cifar10", root, lambda share, sentence: told.append((share, sentence)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert len({share for share in shares if 0.1 < share < 0.9}) > 5
    sentences = [sentence for _, sentence in told]
    size = len(published.archive()) // 1000
    assert f"Downloading CIFAR-10: 12 of {size} MB" in sentences
    assert sentences[-3:-1] == ["Unpacking CIFAR-10", "Checking CIFAR-10"]


def test_an_archive_of_unknown_size_is_fetched_too(root, server, published):
    server.announce = False
    told = []
    download.download("cifar10", root, lambda share, sentence: told.append((share, sentence)))
    assert (0.0, "Downloading CIFAR-10: 12 MB") in told
    assert told[-1][0] == 1 and len(data.images("cifar10", "test", root)) == 20


def test_what_is_there_is_not_fetched_again(root, server, published):
    published.put(root)
    told = []
    place = download.download("cifar10", root, lambda share, sentence: told.append(share))
    assert place.is_dir() and server.asked == [] and told == [1]


def test_what_is_there_and_damaged_is_refused_and_not_deleted(root, server, published):
    place = published.put(root)
    (place / "test_batch").write_bytes(b"half")
    with pytest.raises(DataError, match="incomplete or damaged.* Delete"):
        download.download("cifar10", root)
    assert (place / "test_batch").read_bytes() == b"half"
    assert len(list(place.iterdir())) == len(published.files) and server.asked == []


def test_two_downloads_at_the_same_time_both_succeed(root, published, monkeypatch):
    check, both = download._check, threading.Barrier(2, timeout=20)

    def together(name, where):
        check(name, where)
        both.wait()

    monkeypatch.setattr(download, "_check", together)
    with ThreadPoolExecutor(2) as pool:
        places = list(pool.map(lambda _: download.download("cifar10", root), range(2)))
    assert places[0] == places[1] and len(data.images("cifar10", "test", root)) == 20
    assert sorted(f.name for f in root.iterdir()) == sorted([places[0].name, "mine.txt"])


# The network fails


def test_another_archive_is_refused(root, server, published):
    server.body = server.body[:-1] + bytes([server.body[-1] ^ 1])
    sentence = refused(root)
    assert "is not the published archive" in sentence
    assert hashlib.md5(server.body).hexdigest() in sentence
    assert hashlib.md5(published.archive()).hexdigest() in sentence


@pytest.mark.parametrize("announce", [True, False])
def test_a_connection_that_is_cut_is_refused(root, server, published, announce):
    server.cut, server.announce = 5000, announce
    sentence = refused(root)
    if announce:
        size = len(server.body) / 1000
        assert f"broke off after {size - 5:.1f} of {size:.1f} MB. Check the network" in sentence
    else:  # nobody can tell that it was cut, only that something is wrong
        assert "is not the published archive" in sentence


def test_a_connection_that_is_reset_is_refused(root, server, published, monkeypatch):
    read, done = download.http.client.HTTPResponse.read, []

    def reset(self, size):
        done.append(size)
        if len(done) > 3:
            raise ConnectionResetError(104, "Connection reset by peer")
        return read(self, size)

    monkeypatch.setattr(download.http.client.HTTPResponse, "read", reset)
    assert f"broke off after 12.3 of {len(server.body) / 1000:.1f} MB" in refused(root)


def test_an_answer_of_the_server_is_passed_on(root, server, published):
    sentence = refused(root, url=server.url + "s")
    assert "answered 404 (Not Found)" in sentence and server.url + "s" in sentence


def test_nothing_listening_is_refused(root, published):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and never listening
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        sentence = refused(root, url=f"http://{host}/archive")
    assert sentence.startswith(
        f"CIFAR-10 could not be downloaded: this machine can't reach {host} ("
    )
    assert "refused). Check the network and try again, or unpack " in sentence
    assert f"put images into {root} as cifar10/test/<class>/<file>." in sentence


def test_an_unknown_host_is_refused(root, published, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    sentence = refused(root, url="http://nowhere.invalid/archive")
    assert "can't reach nowhere.invalid (Name or service not known)" in sentence


def test_a_silent_server_is_given_up(root, server, published, monkeypatch):
    server.silent = True
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    begun = time.monotonic()
    sentence = refused(root)
    assert "can't reach 127.0.0.1" in sentence and "timed out" in sentence
    assert time.monotonic() - begun < 5


# The archive or the disk fails


def test_what_is_no_archive_is_refused(root, server, published, monkeypatch):
    publish(server, published.kind, b"no archive", monkeypatch)
    assert "can't be unpacked" in refused(root)


def test_an_archive_can_not_write_elsewhere(root, server, published, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../evil"))
    publish(server, published.kind, packed.getvalue(), monkeypatch)
    assert "can't be unpacked" in refused(root)
    assert not (root.parent / "evil").exists()


def test_files_that_are_damaged_while_unpacking_are_refused(root, published, monkeypatch):
    monkeypatch.setattr(published.kind, "train_list", [["data_batch_2", "0" * 32]])
    assert "damaged while it was unpacked" in refused(root)


@pytest.mark.parametrize("limit", [20_000, 59_000])
def test_a_full_disk_is_refused(root, server, published, limit):
    """No file may be larger than `limit`: too little for the archive, or for a file inside."""
    resource = pytest.importorskip("resource")
    assert 20_000 < len(server.body) < 59_000 < len(published.files["test_batch"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        sentence = refused(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"CIFAR-10 can't be stored in {root} (File too large). Make room" in sentence


def test_a_folder_that_can_not_be_made_is_refused(tmp_path, published, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="can't be stored in .*Not a directory"):
        download.download("cifar10")


def test_a_named_folder_is_never_created(tmp_path, published):
    with pytest.raises(DataError, match="does not exist"):
        download.download("cifar10", tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_only_what_is_published_can_be_downloaded(root):
    assert refused(root, "digits") == "'digits' can't be downloaded; cifar10 and cifar100 can."


# It is stopped


def test_it_can_be_stopped_at_any_time(root, published):
    asked = []
    download.download("cifar10", root, cancelled=lambda: bool(asked.append(1)))
    for file in (root / published.kind.base_folder).iterdir():
        file.unlink()
    (root / published.kind.base_folder).rmdir()
    assert len(asked) > 15
    for last in {1, 2, len(asked) // 2, *range(len(asked) - 8, len(asked) + 1)}:
        calls = []

        def stop(calls=calls, last=last):
            calls.append(1)
            return len(calls) == last

        with pytest.raises(Cancelled, match="CIFAR-10 was stopped"):
            download.download("cifar10", root, cancelled=stop)
        assert len(calls) == last  # it stopped when told, not later
        untouched(root)


@pytest.mark.parametrize("stage", ["Downloading", "Unpacking", "Checking"])
def test_it_can_be_stopped_at_every_stage(root, published, stage):
    told = [""]
    with pytest.raises(Cancelled):
        download.download(
            "cifar10",
            root,
            lambda share, sentence: told.append(sentence),
            lambda: told[-1].startswith(stage),
        )
    assert told[-1].startswith(stage)
    untouched(root)


# From the command line


def test_the_command_fetches(root, published, capsys):
    assert download.main(["cifar10", "--data-dir", str(root)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and "\r100 %  CIFAR-10 is in" in out and err == ""
    assert len(data.images("cifar10", "test", root)) == 20


def test_the_command_reports_an_error(root, server, published, capsys):
    server.cut = 1
    assert download.main(["cifar10", "--data-dir", str(root)]) == 1
    assert capsys.readouterr().err.startswith("CIFAR-10 could not be downloaded: the connection")
    untouched(root)


def test_ctrl_c_stops_the_command(root, published, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_unpack", interrupted)
    assert download.main(["cifar10", "--data-dir", str(root)]) == 1
    assert capsys.readouterr().err == "The download was stopped; nothing of it was kept.\n"
    untouched(root)


@pytest.mark.parametrize("cut, code", [(0, 0), (1, 1)])
def test_the_module_can_be_run(root, server, published, monkeypatch, cut, code):
    server.cut = cut
    monkeypatch.setattr(sys, "argv", ["download", "cifar10", "--data-dir", str(root)])
    monkeypatch.delitem(sys.modules, "core.download")  # as in a process of its own
    with pytest.raises(SystemExit) as left:
        runpy.run_module("core.download", run_name="__main__")
    assert left.value.code == code
    assert (root / published.kind.base_folder).is_dir() == (code == 0)
