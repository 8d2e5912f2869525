"""Fetch CIFAR-10 or CIFAR-100 in its official layout into the data folder, whole or not at all.

    python -m core.download cifar10 --data-dir FOLDER

Everything happens in a folder `<archive>.partial-…` inside the data folder: the archive is written
there, its MD5 compared, unpacked, and torchvision checks every file. Only then is the result
renamed into place. So a download that was cut, cancelled or wrong leaves nothing behind, and two
at the same time don't disturb each other.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from core import data
from core.errors import Cancelled, DataError, ExplorerError

#: What can be fetched: torchvision's name for it.
SETS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}

#: Seconds a connection may be silent before it counts as dead.
TIMEOUT = 15
#: Bytes between two looks at `cancelled`.
CHUNK = 1 << 16
MEGABYTE = 10**6

#: The share of the whole that is done once the archive is here, and once it is unpacked.
FETCHED, UNPACKED = 0.9, 0.97


def published(name: str) -> type:
    """torchvision's class for a set: it knows address, checksums and layout."""
    from core.compat import torchvision  # here: it takes a second, and the page fetches rarely

    return getattr(torchvision.datasets, SETS[name])


def download(
    name: str,
    folder: str | os.PathLike | None = None,
    progress: data.Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    url: str | None = None,
) -> Path:
    """Fetch, check and unpack the official files of `name`; return the folder that holds them.

    Returns at once if they are there and intact.

    Parameters
    ----------
    name : `cifar10` or `cifar100`.
    folder : the data folder, see `core.data.data_folder`; the default one is created.
    progress : called with a share between 0 and 1, which never falls, and a sentence.
    cancelled : asked at every 64 KiB whether to stop.
    url : address of the archive; the official one if left out.

    Raises
    ------
    DataError
        If the archive can't be fetched, stored or unpacked, or isn't the published one; if
        damaged files are in its place already. Nothing is left behind, nothing is deleted.
    Cancelled
        If `cancelled` said so; nothing is left behind.
    """
    if name not in SETS:
        raise DataError(f"{name!r} can't be downloaded; {' and '.join(SETS)} can.")
    report = progress or (lambda share, sentence: None)
    title, source = data.OFFICIAL[name], published(name)
    root = data.data_folder(folder)
    place = root / source.base_folder

    def go_on() -> None:
        if cancelled():
            raise Cancelled(f"The download of {title} was stopped; nothing of it was kept.")

    if place.exists():
        data.images(name, "test", root)  # checks the files of both splits
    else:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f"{source.filename}.partial-", dir=root) as new:
                archive = Path(new, source.filename)
                _fetch(name, url or source.url, archive, root, report, go_on)
                report(FETCHED, f"Unpacking {title}")
                _unpack(name, archive, go_on)
                report(UNPACKED, f"Checking {title}")
                _check(name, archive.parent)
                go_on()
                _install(name, archive.parent / source.base_folder, root)
        except OSError as error:
            raise DataError(
                f"{title} can't be stored in {root} ({error.strerror or error}). Make room there "
                "or allow writing, or name another data folder."
            ) from error
    report(1.0, f"{title} is in {place}")
    return place


def _fetch(
    name: str,
    url: str,
    archive: Path,
    root: Path,
    report: data.Progress,
    go_on: Callable[[], None],
) -> None:
    """Write what `url` answers into the file `archive`, and compare its MD5.

    Raises
    ------
    DataError
        If the answer doesn't come, breaks off, or isn't the published archive.
    Cancelled
        From `go_on`.
    OSError
        If the file can't be written.
    """
    title, expected = data.OFFICIAL[name], published(name).tgz_md5
    instead = (
        f"try again, or unpack {url} in {root} yourself, or put images into {root} as "
        f"{name}/test/<class>/<file>."
    )
    digest = hashlib.md5(usedforsecurity=False)
    received, told = 0, -1
    go_on()
    report(0.0, f"Downloading {title}")
    with open(archive, "wb") as file:
        for chunk, total in _chunks(title, url, instead):
            go_on()
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if received // MEGABYTE > told:  # a page that draws every report can't take more
                told = received // MEGABYTE
                share, of = (received / total, f" of {total // MEGABYTE}") if total else (0.0, "")
                report(FETCHED * share, f"Downloading {title}: {told}{of} MB")
    if digest.hexdigest() != expected:
        raise DataError(
            f"{title} could not be downloaded: what came from {url} is not the published archive "
            f"(its MD5 is {digest.hexdigest()}, not {expected}). Check whether something on the "
            f"way answers in its place and {instead}"
        )


def _chunks(title: str, url: str, instead: str) -> Iterator[tuple[bytes, int | None]]:
    """What `url` answers, piece by piece, each with the bytes announced in all, if they were.

    Parameters
    ----------
    instead : what to do on failure; the end of the sentence.

    Raises
    ------
    DataError
        If no answer comes, it is a refusal, or it is shorter than announced.
    """
    host = urlsplit(url).netloc
    received, total = 0, None
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "intra-fusion-explorer"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            announced = response.headers.get("Content-Length", "")
            total = int(announced) if announced.isdigit() else None
            while chunk := response.read(CHUNK):
                received += len(chunk)
                yield chunk, total
        # http.client ends a body that broke off like one that is complete.
        if total is not None and received < total:
            raise http.client.IncompleteRead(b"", total - received)
    except urllib.error.HTTPError as error:
        with error:  # it is the open response as well
            raise DataError(
                f"{title} could not be downloaded: {host} answered {error.code} ({error.reason}) "
                f"to {url}. Wait a while and {instead}"
            ) from error
    except (OSError, http.client.HTTPException) as error:
        if received:
            size = f"{received / MEGABYTE:.1f}" + (f" of {total / MEGABYTE:.1f}" if total else "")
            wrong = f"the connection to {host} broke off after {size} MB"
        else:
            reason = getattr(error, "reason", error)
            wrong = f"this machine can't reach {host} ({getattr(reason, 'strerror', 0) or reason})"
        raise DataError(
            f"{title} could not be downloaded: {wrong}. Check the network and {instead}"
        ) from error


def _unpack(name: str, archive: Path, go_on: Callable[[], None]) -> None:
    """Unpack `archive` beside itself.

    Raises
    ------
    DataError
        If it is no archive, or one that wants to write elsewhere.
    Cancelled
        From `go_on`.
    OSError
        If a file can't be written.
    """
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                go_on()
                packed.extract(member, archive.parent, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"The archive of {data.OFFICIAL[name]} can't be unpacked ({error}). Try again."
        ) from error


def _check(name: str, where: Path) -> None:
    """Let torchvision compare the MD5 of every file that was unpacked in `where`.

    Raises
    ------
    DataError
        If a file is missing or damaged.
    """
    try:
        published(name)(where, train=False)
    except RuntimeError as error:
        raise DataError(
            f"{data.OFFICIAL[name]} was damaged while it was unpacked: a file is missing or its "
            "checksum is wrong. Check the disk and try again."
        ) from error


def _install(name: str, ready: Path, root: Path) -> None:
    """Rename the folder `ready` into place in `root`, unless another download was faster.

    Raises
    ------
    DataError
        If another one put damaged files there.
    OSError
        If it can't be renamed.
    """
    try:
        ready.rename(root / ready.name)
    except OSError:
        if not (root / ready.name).exists():
            raise
        data.images(name, "test", root)  # checks the files of both splits


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m core.download",
        description="Fetch a set of images, checked, into the data folder.",
    )
    parser.add_argument("name", choices=list(SETS), help="the images to fetch")
    parser.add_argument(
        "--data-dir", help=f"folder of images (${data.FOLDER_VARIABLE}, else the cache directory)"
    )
    chosen = parser.parse_args(arguments)
    wrong = None
    try:
        download(
            chosen.name, chosen.data_dir,
            lambda share, line: print(f"\r{100 * share:3.0f} %  {line:<40}", end="", flush=True),
        )  # fmt: skip
    except KeyboardInterrupt:
        wrong = "The download was stopped; nothing of it was kept."
    except ExplorerError as error:
        wrong = error
    print(flush=True)  # ends the line of the progress
    if wrong:
        print(wrong, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
