"""Accuracies of many recipes in a file that grows line by line, and what they say together.

    python -m core.recorded measure vgg11_bn-cifar10 assets/results/vgg11_bn-cifar10.csv
    python -m core.recorded summary assets/results/vgg11_bn-cifar10.csv

`measure` shrinks one group at a time and counts the test images named right, for all sparsities and
rules of a group together: what comes before the group runs once. What stands in the file already is
not measured again, so that it can be stopped and started as one likes; a file beside it says where
the lines come from (`core.provenance`). `summary` compares `best` and `released` with each other
and with plain pruning, and with the paper's table if it is given: `--paper data_free_cifar10.csv`.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

from core import provenance, zoo
from core.errors import DataError, ExplorerError
from core.evaluate import Accuracy
from core.experiments import Bench
from core.ready import NUMBERS
from core.recipe import Recipe

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
RULES = ("select", "released", "best")
FIELDS = (
    "network", "group", "sparsity", "importance", "rule", "samples", "seed", "numbers", "right",
    "total",
)  # fmt: skip
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
        return 100 * (self.kept[rule].mean - self.kept[over].mean)

    def allowance(self, rule: str, over: str) -> float:
        """What the intervals of two accuracies leave open of their difference, in points.

        As if they were independent; on the same images they tell differences better than that.
        """
        halves = ((one.high - one.low) / 2 for one in (self.kept[rule], self.kept[over]))
        return 100 * sum(half**2 for half in halves) ** 0.5


def read(path: Path) -> dict[tuple[str, ...], Accuracy]:
    """What a file holds: everything but the counts → accuracy.

    Raises
    ------
    DataError
        If it is not such a file.
    """
    if not path.exists():
        return {}
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != FIELDS:
            raise DataError(
                f"{path} does not hold recorded accuracies: its first line must be "
                f"{','.join(FIELDS)}. Name another file."
            )
        for row in table:
            try:
                right, total = int(row["right"]), int(row["total"])
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"Line {table.line_num} of {path} is cut or not a number: remove that line, "
                    "it will be measured again."
                ) from error
            found[tuple(row[name] for name in FIELDS[:-2])] = Accuracy(right, total)
    return found


def points(found: dict[tuple[str, ...], Accuracy]) -> list[Point]:
    """Groups and sparsities with all rules that were measured there."""
    kept: dict[tuple[int, float], dict[str, Accuracy]] = {}
    for (_, group, sparsity, _, rule, *_), right in found.items():
        kept.setdefault((int(group), float(sparsity)), {})[rule] = right
    return [Point(*key, rules) for key, rules in sorted(kept.items())]


def measure(
    bench: Bench,
    path: Path,
    rules: Iterable[str],
    importance: str,
    command: str = "",
    numbers: str = "float32",
) -> Iterator[str]:
    """Append what is missing to the file, a group at a time, and tell each line.

    Raises
    ------
    DataError
        If the file holds something else, or results of other weights.
    """
    known = read(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    for group in bench.graph.groups:
        missing: dict[tuple[str, ...], Recipe] = {}
        for rule, sparsity in product(rules, SPARSITIES):
            recipe = Recipe(
                groups=(group.index,), sparsity=sparsity, importance=importance, rule=rule,
                seed=bench.seed,
            )  # fmt: skip
            about = (
                bench.name, str(group.index), str(sparsity), importance, rule,
                str(recipe.samples), str(recipe.seed), numbers,
            )  # fmt: skip
            if about not in known:
                missing[about] = recipe
        if not missing:
            continue
        told = bench.together(missing.values(), numbers)
        provenance.add(path, bench.name, bench.weights, command or "core.recorded.measure")
        lines = [
            ",".join((*about, str(right.correct), str(right.total)))
            for about, right in zip(missing, told, strict=True)
        ]
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        for line, right in zip(lines, told, strict=True):
            yield f"{line} ({100 * right.mean:.1f} %)"


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


def against(found: list[Point], paper: Path, model: str) -> list[str]:
    """Gains of `released` over plain pruning beside the paper's, group by group, in Markdown."""
    theirs: dict[tuple[int, float], float] = {}
    with paper.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model"] == model:
                key = int(row["group"]), round(float(row["sparsity"]) / 100, 2)
                theirs[key] = float(row["if_l1"]) - float(row["l1"])
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
            f"{ours[group, s]:+.1f} ({theirs[group, s]:+.1f})"
            if (group, s) in ours and (group, s) in theirs
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
    one = commands.add_parser("measure", help="measure what the file does not hold yet")
    one.add_argument("network", choices=tuple(zoo.NETWORKS), help="which network")
    one.add_argument("file", type=Path, help="a file of lines; it is made or continued")
    one.add_argument("--rules", default=",".join(RULES), help="rules, by commas")
    one.add_argument("--importance", default="l1", help="what decides who stays")
    one.add_argument("--images", type=int, default=10_000, help="test images")
    one.add_argument(
        "--numbers", default="float32", choices=NUMBERS, help="in which numbers networks run"
    )
    one.add_argument("--seed", type=int, default=0, help="seed of whatever is drawn")
    one.add_argument("--weights", type=Path, default=zoo.WEIGHTS, help="folder of the weights")
    two = commands.add_parser("summary", help="what a file says")
    two.add_argument("file", type=Path, help="a file that measure has made")
    two.add_argument("--rule", default="best", help="compared …")
    two.add_argument("--over", default="released", help="… with this one")
    two.add_argument("--paper", type=Path, help="the paper's table, for signs and sizes")
    return told


def main(arguments: list[str] | None = None) -> int:
    """Measure or tell; 1 if something was wrong, said in a sentence."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "measure":
            bench = Bench(options.network, options.images, options.weights, options.seed)
            rules = options.rules.split(",")
            words = sys.argv[1:] if arguments is None else arguments
            command = shlex.join(["python", "-m", "core.recorded", *words])
            told = measure(bench, options.file, rules, options.importance, command, options.numbers)
            for line in told:
                print(line, flush=True)
            return 0
        recorded = read(options.file)
        found = points(recorded)
        print("\n".join(summary(found, options.rule, options.over)))
        if options.paper:
            model = next(iter(recorded))[0].partition("-")[0]
            print("\nreleased − select (the paper's), points:\n")
            print("\n".join(against(found, options.paper, model)))
    except (ExplorerError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
