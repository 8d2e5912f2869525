"""What commands share: the network a person names, and the option for the folder of images."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from core import data
from core.errors import DataError
from core.experiments import Bench
from core.output import Progress
from core.source import Source, source

#: What a command tells: plain values for --json, and the same as text.
Told = tuple[Any, str]


def named(chosen: argparse.Namespace, progress: Progress) -> Source:
    """The network that was named, with a word where nobody trained it."""
    progress.say(f"Loading {chosen.network}")
    found = source(chosen.network, chosen.input_shape, chosen.weights, chosen.architecture)
    if found.random:
        progress.clear()
        print(
            f"{found.name} has the weights it is made with. Name trained ones: --weights "
            "FILE.safetensors", file=sys.stderr,
        )  # fmt: skip
    return found


def bench(chosen: argparse.Namespace, progress: Progress, seed: int = 0) -> Bench:
    """The network that was named with its test images, of which the first `--limit` count.

    Raises
    ------
    DataError
        If it isn't known which images it was trained for.
    """
    found = named(chosen, progress)
    name = chosen.images or found.images
    if name is None:
        raise DataError(
            f"It isn't known which images {found.name} was trained for. Name them: --images "
            "digits, --images cifar10, or a folder in the data folder."
        )
    tested = data.images(name, "test", chosen.data_dir, progress.share)
    limit = len(tested) if chosen.limit is None else min(chosen.limit, len(tested))
    progress.say(f"Tracing {found.name}")
    return Bench.of(
        found.name, found.module, tested, found.input_shape, limit, seed, chosen.data_dir
    )


def add_images(one: argparse.ArgumentParser) -> None:
    """The options that `bench` reads, apart from the network's own."""
    one.add_argument(
        "--images", metavar="NAME", help="the images (default: those it was trained for)"
    )
    one.add_argument("--limit", type=int, metavar="N", help="test on the first N images (all)")
    add_data_dir(one)


def told_command(chosen: argparse.Namespace) -> str:
    """The command as it was given, for the note on where results come from."""
    return shlex.join(["python", "-m", "core", *chosen.words])


def shares(text: str) -> tuple[float, ...]:
    """`0.3,0.5` → (0.3, 0.5)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0.3,0.5") from error


def add_data_dir(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--data-dir", metavar="FOLDER",
        help=f"folder of images (${data.FOLDER_VARIABLE}, else the cache directory)",
    )  # fmt: skip
