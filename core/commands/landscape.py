"""`python -m core landscape`: accuracy and loss in the plane through dense, pruned and fused."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from core import landscape
from core.commands import variants
from core.commands.common import Told, told_command
from core.errors import DataError, RecipeError
from core.evaluate import Accuracy
from core.landscape import LINES, NETWORKS, Height, Surface
from core.output import Progress, table

ABOUT = "measure accuracy and loss in the plane of weights through dense, pruned and fused"
MORE = (
    "Smaller networks are put into the dense network's space, zeros for what is gone. The grid is "
    "coarse first; each point is written as soon as it is known, and what stands in the file is "
    "not measured again: stop it and start it as you like, with more points, too."
)


def add(one: argparse.ArgumentParser) -> None:
    variants.add(one, "select,released", 500)
    one.add_argument(
        "--points", type=int, default=9, choices=landscape.SIDES, help="points a side (9)"
    )
    one.add_argument(
        "--between", type=int, default=9, metavar="N",
        help="points on each straight line between two networks (9)",
    )  # fmt: skip
    one.add_argument("--out", required=True, type=Path, metavar="FILE", help="a JSON file")


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    if chosen.rules.count(",") != 1:
        raise RecipeError(
            "A plane goes through the dense network and two others: name two rules, the first for "
            f"the axis, such as --rules select,released; got {chosen.rules}."
        )
    landscape.grid(chosen.points)
    held = variants.read(chosen.out)
    found = variants.compared(chosen, progress)
    pruned, fused = found.smaller.values()
    progress.say("Putting the smaller networks into the dense network's space")
    flat = landscape.plane(found.found.module, found.graph, pruned, fused)
    surface = Surface(flat, found.tested, chosen.limit)
    frame = flat.frame
    told = found.about() | {
        "total": surface.total,
        "spots": {name: list(flat.spots[name]) for name in NETWORKS},
        "unit": flat.unit,
        "frame": {"left": frame.left, "bottom": frame.bottom, "side": frame.side},
    }
    points, walked = _known(chosen.out, held, told)
    runs = variants.with_run((held or {}).get("runs", []), told_command(chosen))

    def keep() -> None:
        told["walked"] = [[*key, *_plain(one)] for key, one in walked.items()]
        told["points"] = [[*place, *_plain(one)] for place, one in points.items()]
        told["runs"] = runs
        variants.write(chosen.out, told)

    for key, height in landscape.walk(surface, chosen.between, walked):
        walked[key] = height
        progress.say(f"{key[0]} to {key[1]}: {height.accuracy}", passing=True)
        keep()
    for place, height in landscape.explore(surface, chosen.points, points):
        points[place] = height
        progress.say(f"{len(points)} of {chosen.points**2} points", passing=True)
        keep()
    keep()
    rows = [("network", "x", "y", "accuracy", "loss")]
    ends = {name: one for (a, b, s), one in walked.items() for name in ((a,), (b,))[int(s)]
            if s in (0.0, 1.0)}  # fmt: skip
    for name in NETWORKS:
        x, y = flat.spots[name]
        rows.append(
            (name, f"{x:.3f}", f"{y:.3f}", str(ends[name].accuracy), f"{ends[name].loss:.3f}")
        )
    lines = [("from", "to", "loss rises above the line by")]
    told["barriers"] = {f"{a}-{b}": landscape.barrier(walked, a, b) for a, b in LINES}
    lines += [(a, b, f"{told['barriers'][f'{a}-{b}']:.3f}") for a, b in LINES]
    text = "\n\n".join([table(rows), table(lines), f"{len(points)} points in {chosen.out}"])
    return told, text


def _plain(height: Height) -> tuple[int, float]:
    return height.accuracy.correct, height.loss


def _known(file: Path, held: dict | None, told: dict) -> tuple[dict, dict]:
    """Points and lines that the file holds, if they are of the same plane.

    Raises
    ------
    DataError
        If it holds another plane's, or something else.
    """
    if held is None:
        return {}, {}
    try:
        exact = ("network", "weights", "fingerprint", "recipes", "total")
        same = all(held[key] == told[key] for key in exact) and all(
            math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3)
            for name in NETWORKS
            for a, b in zip(held["spots"][name], told["spots"][name], strict=True)
        )
        if not same:
            raise DataError(
                f"{file} holds the landscape of another network, recipe, or set of images. Name "
                "another file."
            )

        def height(correct: int, loss: float) -> Height:
            return Height(Accuracy(correct, told["total"]), loss)

        points = {(s, t): height(*rest) for s, t, *rest in held["points"]}
        walked = {(a, b, share): height(*rest) for a, b, share, *rest in held["walked"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} does not hold a landscape ({error!r}). Name another.") from error
    return points, walked
