"""What commands share: the network a person names, and the option for the folder of images."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from core import data
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


def add_data_dir(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--data-dir", metavar="FOLDER",
        help=f"folder of images (${data.FOLDER_VARIABLE}, else the cache directory)",
    )  # fmt: skip
