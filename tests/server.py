"""The app as the README starts it, and a Chromium to look at it: for tests and measurements."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def serving(surroundings: Mapping[str, str], log: Path) -> Iterator[str]:
    """The address of a server with these environment variables, whose console goes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("w") as out:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "streamlit", "run", "app/main.py",
                "--server.headless", "true", "--server.port", str(port),
            ],
            cwd=ROOT, env=dict(surroundings), stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                if urllib.request.urlopen(url + "/_stcore/health", timeout=2).read() == b"ok":
                    break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(60)  # it ends once its workers have: fitting UMAP cannot be stopped


def no_fault_shown(page) -> None:
    """That Streamlit told of no fault of its own: a lost connection, or a message it can't read."""
    dialogs = page.get_by_test_id("stDialog").all_inner_texts()
    told = [text for text in dialogs if "Connection error" in text or "Bad message" in text]
    assert not told, told
