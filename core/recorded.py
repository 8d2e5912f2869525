"""What recorded accuracies of one network say together: rules compared, and the paper beside them.

    python -m core.recorded summary assets/results/vgg11_bn-cifar10.parquet

compares `best` and `released` with each other and with plain pruning, one group at a time, and with
the paper's table if it is given: `--paper data_free_cifar10.csv`. Files are those of `core.store`;
`python -m core sweep` makes them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from core import store
from core.errors import DataError, ExplorerError
from core.evaluate import Accuracy
from core.gains import Gain
from core.recipe import Recipe
from core.sweep import SPARSITIES

#: Points below plain pruning that a rule may lose at a group and sparsity.
ALLOWED = 0.5


@dataclass(frozen=True)
class Point:
    """One group at one sparsity: what each rule keeps, by its name."""

    group: int
    sparsity: float
    kept: dict[str, Accuracy]

    def gain(self, rule: str, over: str) -> float:
        """By how many points of accuracy one rule is better than another."""
        return Gain(self.kept[over], self.kept[rule]).points

    def allowance(self, rule: str, over: str) -> float:
        """What the intervals of two accuracies leave open of their difference, in points."""
        return Gain(self.kept[over], self.kept[rule]).allowance


def points(rows: Iterable[store.Row], importance: str = "l1", seed: int = 0) -> list[Point]:
    """Groups that shrank alone and their sparsities, with all rules that were measured there.

    Every other choice is at its default. Where a recipe was measured more than once, float32 stands
    before other numbers, and more images before fewer.
    """
    kept: dict[tuple[int, float], dict[str, Accuracy]] = {}
    for row in sorted(rows, key=store.worth):
        one = row.recipe
        usual = Recipe(
            one.groups, one.sparsity, importance, one.rule, seed=seed, data=one.data
        )  # fmt: skip
        if one == usual and one.groups != "all" and len(one.groups) == 1 and one.sparsity:
            kept.setdefault((one.groups[0], one.sparsity), {})[one.rule] = row.right
    return [Point(*key, rules) for key, rules in sorted(kept.items())]


def summary(found: list[Point], rule: str, over: str) -> list[str]:
    """What one rule gains over another and over plain pruning, in sentences."""
    both = [point for point in found if {rule, over, "select"} <= point.kept.keys()]
    if not both:
        return [f"Nothing is recorded yet of {rule}, {over} and select together."]
    images = min(point.kept[rule].total for point in both)
    gains = [point.gain(rule, over) for point in both]
    worst = min(both, key=lambda point: point.gain(rule, "select"))
    below = [
        point
        for point in both
        if point.gain(rule, "select") < -ALLOWED - point.allowance(rule, "select")
    ]
    return [
        f"{len(both)} groups and sparsities, {images:,} test images each.",
        f"{rule} − {over}: {fmean(gains):+.2f} points on the mean, "
        f"{min(gains):+.1f} to {max(gains):+.1f}.",
        f"{rule} − select: {fmean(p.gain(rule, 'select') for p in both):+.2f} on the mean; worst "
        f"{worst.gain(rule, 'select'):+.1f} (group {worst.group}, {worst.sparsity:.0%}, interval "
        f"±{worst.allowance(rule, 'select'):.1f}).",
        f"More than {ALLOWED} points below plain pruning beyond the interval: {len(below)}.",
    ]


def against(found: list[Point], paper: Path, model: str, importance: str = "l1") -> list[str]:
    """Gains of `released` over plain pruning beside the paper's, group by group, in Markdown.

    Raises
    ------
    DataError
        If the paper's table lacks a column.
    """
    with paper.open(newline="", encoding="utf-8") as file:
        named = csv.DictReader(file).fieldnames or ()
    needed = ("model", "group", "sparsity", importance, f"if_{importance}")
    if missing := [name for name in needed if name not in named]:
        raise DataError(
            f"{paper} has no column {missing[0]}; it needs {', '.join(needed)}. Name the paper's "
            "table, or another --importance."
        )
    theirs: dict[tuple[int, float], float] = {}
    with paper.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model"] == model:
                key = int(row["group"]), round(float(row["sparsity"]) / 100, 2)
                theirs[key] = float(row[f"if_{importance}"]) - float(row[importance])
    ours = {
        (point.group, point.sparsity): point.gain("released", "select")
        for point in found
        if {"released", "select"} <= point.kept.keys()
    }
    lines = [
        "| group | " + " | ".join(f"{100 * s:.0f} %" for s in SPARSITIES) + " |",
        "|---" * (len(SPARSITIES) + 1) + "|",
    ]
    for group in sorted({group for group, _ in ours}):
        cells = [
            f"{ours[group, s]:+.1f} "
            + (f"({theirs[group, s]:+.1f})" if (group, s) in theirs else "(–)")
            if (group, s) in ours
            else "…"
            for s in SPARSITIES
        ]
        lines.append(f"| {group} | " + " | ".join(cells) + " |")
    shared = ours.keys() & theirs.keys()
    clear = [key for key in shared if abs(theirs[key]) >= 2 and abs(ours[key]) >= 2]
    same = sum(theirs[key] * ours[key] > 0 for key in clear)
    lines += [
        "",
        f"Where both differ from plain pruning by 2 points or more the sign is the same in {same} "
        f"of {len(clear)}.",
    ]
    return lines


def parser() -> argparse.ArgumentParser:
    """The command's options, each with its help."""
    told = argparse.ArgumentParser(
        "python -m core.recorded",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = told.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("summary", help="what a file says")
    one.add_argument("file", type=Path, help="a file that a sweep has made")
    one.add_argument("--importance", default="l1", help="what decided who stays")
    one.add_argument("--seed", type=int, default=0, help="seed of what was drawn")
    one.add_argument("--rule", default="best", help="compared …")
    one.add_argument("--over", default="released", help="… with this one")
    one.add_argument("--paper", type=Path, help="the paper's table, for signs and sizes")
    return told


def main(arguments: list[str] | None = None) -> int:
    """Tell; 1 if something was wrong, said in a sentence."""
    options = parser().parse_args(arguments)
    try:
        rows = store.read(options.file)
        if not rows:
            raise DataError(f"There are no results in {options.file}. Name a file that holds some.")
        found = points(rows.values(), options.importance, options.seed)
        print("\n".join(summary(found, options.rule, options.over)))
        if options.paper:
            model = next(iter(rows.values())).network.partition("-")[0]
            print("\nreleased − select (the paper's), points:\n")
            print("\n".join(against(found, options.paper, model, options.importance)))
    except (ExplorerError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
