"""`python -m core reproduce`: all that ships in assets/results, measured again."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import zoo
from core.commands.common import Told
from core.commands.sweep import add_choices, add_running, measured, prepared
from core.output import Progress

NETWORK = False
ABOUT = "measure again what ships in assets/results, a file a network"
MORE = (
    "Each group alone, 10 to 70 % of its channels gone, three importances, three rules; an hour or "
    "a day, by network and machine. It may be stopped or killed at any moment and goes on from "
    "there when it is started again."
)


def add(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--network", action="append", choices=tuple(zoo.NETWORKS), metavar="NETWORK",
        help="a network that ships; may be given several times (all of them)",
    )  # fmt: skip
    one.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER",
        help="the folder of the files, NETWORK.parquet each",
    )  # fmt: skip
    add_choices(one, "select,released,best", "l1,taylor,lamp")
    add_running(one)


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    told, texts = [], []
    for name in dict.fromkeys(chosen.network or zoo.shipped()):
        bench, recipes = prepared(chosen, name, progress)
        out = chosen.out / f"{name}.parquet"
        values, text = measured(chosen, bench, recipes, out, progress)
        told.append(values)
        texts.append(text)
    return told, "\n\n\n".join(texts)
