"""What a measured file came from: command, commit, versions, date, machine, in a file beside it.

`results.csv` has `results.json` beside it: {"network", "weights", "images", "runs": [{…}, …]}.
`weights` is the SHA-256 of the weights that were measured, so that nobody takes the results for
those of others; `images` likewise the fingerprint of the test images (older notes have none).
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from core.errors import DataError
from core.portable import PACKAGES

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Note:
    """Where results come from. `runs`: of each, its command, commit, versions, date, machine."""

    network: str
    weights: str
    runs: tuple[dict, ...]
    images: str = ""

    @property
    def command(self) -> str:
        """The command of the last run: with it the file can be made again."""
        return self.runs[-1]["command"]

    @property
    def date(self) -> str:
        """The day of the last run, as YYYY-MM-DD."""
        return self.runs[-1]["date"]

    @property
    def machine(self) -> str:
        return self.runs[-1]["machine"]


def beside(file: Path) -> Path:
    """Where the note of a file of results stands."""
    return file.with_suffix(".note.json" if file.suffix == ".json" else ".json")


def read(file: Path) -> Note | None:
    """The note beside a file of results; None if there is none.

    Raises
    ------
    DataError
        If there is one that can't be read.
    """
    path = beside(file)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        note = Note(told["network"], told["weights"], tuple(told["runs"]))
        note = replace(note, images=told.get("images", ""))
        if not all(isinstance(run[key], str) for run in note.runs for key in RUN):
            raise TypeError("a run's command, commit, date and machine are texts")
        if not note.runs:
            raise ValueError("no run is named")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} does not say where {file.name} comes from ({error}). Restore it from the "
            "repository."
        ) from error
    return note


#: What is told of a run, beside its versions.
RUN = ("command", "commit", "date", "machine")


def add(file: Path, network: str, weights: str, command: str, images: str = "") -> None:
    """Add this run to the note beside a file of results; the same run of the same day only once.

    Parameters
    ----------
    images : the fingerprint of the test images; "" if nobody knows.

    Raises
    ------
    DataError
        If the note speaks of another network, other weights or other images.
    """
    run = this_run(command)
    join(file, Note(network, weights, (run,), images))


def join(file: Path, more: Note) -> None:
    """Add the runs of another note to that of a file of results, each only once.

    Raises
    ------
    DataError
        If the notes speak of different networks, weights or images.
    """
    before = fits(file, more.network, more.weights, more.images)
    runs = list(before.runs) if before else []
    runs += [run for run in more.runs if run not in runs]
    images = more.images or (before.images if before else "")
    told = {"network": more.network, "weights": more.weights}
    told |= {"images": images} if images else {}
    path = beside(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    text = json.dumps(told | {"runs": runs}, indent=2, ensure_ascii=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def fits(file: Path, network: str, weights: str, images: str = "") -> Note | None:
    """The note beside a file of results, if results of these may stand in it; None without one.

    Raises
    ------
    DataError
        If the note speaks of another network, other weights or other images.
    """
    note = read(file)
    if note and (note.network, note.weights) != (network, weights):
        raise DataError(
            f"{file} holds results of {note.network} with the weights "
            f"{note.weights[:12]}…, not of {network} with {weights[:12]}…. Name another file."
        )
    if note and note.images and images and note.images != images:
        raise DataError(
            f"{file} was measured on other test images of the same name than those that are here "
            f"(fingerprints {note.images} and {images}). Name another file."
        )
    return note


def this_run(command: str) -> dict:
    """What is told of a run that goes on now: command, commit, versions, date, machine."""
    return {
        "command": command,
        "commit": commit(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "date": datetime.date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
    }


def commit() -> str:
    """The commit this code is of, "+" after it if `core` has been changed since; or "unknown"."""

    def git(*words: str) -> str:
        return subprocess.run(
            ("git", *words), cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "core")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository: a copied folder
        return "unknown"


def processor() -> str:
    """The name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
