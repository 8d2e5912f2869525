"""What commands that compare several rules share: the network, test images, a result a rule."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import core
from core import provenance, shape
from core.commands.common import add_data_dir, named
from core.compress import Compressed
from core.data import ImageSet
from core.errors import DataError, RecipeError
from core.groups import DependencyGraph
from core.options import add_recipe, chosen_recipe
from core.output import Progress
from core.projection import RULES
from core.recipe import looks
from core.source import Source


@dataclass(frozen=True, eq=False)
class Compared:
    """A network, its test images, and what each rule makes of it, by the rule's name."""

    found: Source
    graph: DependencyGraph
    tested: ImageSet
    smaller: dict[str, Compressed]

    def about(self) -> dict[str, Any]:
        """What was compared, so that nobody takes the results for those of others."""
        return {
            "network": self.found.name,
            "weights": shape.state_hash(self.found.module),
            "images": self.tested.title,
            "fingerprint": self.tested.fingerprint,
            "recipes": {rule: out.recipe.as_dict() for rule, out in self.smaller.items()},
        }


def add(one: argparse.ArgumentParser, rules: str, usual: int) -> None:
    """The options: rules, images, limit, file and those of the recipe."""
    one.add_argument(
        "--rules", default=rules, metavar="RULE,…",
        help=f"rules to compare, by commas, in place of --rule (default: {rules})",
    )  # fmt: skip
    one.add_argument(
        "--images", metavar="NAME", help="the images (default: those it was trained for)"
    )
    one.add_argument(
        "--limit", type=int, default=usual, metavar="N", help=f"the first N test images ({usual})"
    )
    add_data_dir(one)
    add_recipe(one)


def compared(chosen: argparse.Namespace, progress: Progress) -> Compared:
    """Shrink the network that was named by every rule that was named.

    Raises
    ------
    RecipeError
        If a rule does not exist or is named twice, or the network is a saved result.
    DataError
        If images are missing.
    """
    recipe, rules = chosen_recipe(chosen), chosen.rules.split(",")
    if wrong := [rule for rule in rules if rule not in RULES]:
        raise RecipeError(f"There is no rule called {wrong[0]!r}. Known: {', '.join(RULES)}.")
    if len(set(rules)) < len(rules):
        raise RecipeError(f"--rules names a rule twice: {chosen.rules}.")
    found = named(chosen, progress)
    if found.opened:
        raise RecipeError(
            f"{found.name} is a saved result, which is small already. Name the original network."
        )
    name = chosen.images or found.images
    if name is None:
        raise DataError(
            f"It isn't known which images {found.name} was trained for. Name them: --images "
            "digits, --images cifar10, or a folder in the data folder."
        )
    tested = core.images(name, "test", chosen.data_dir, progress.share)
    progress.say(f"Tracing {found.name}")
    graph = core.trace(found.module, found.input_shape)
    prepared = core.Prepared(found.module, graph)
    smaller = {}
    for rule in rules:
        one, seen = recipe.replace(rule=rule), None
        if looks(one.importance, rule):
            one = one.replace(data=one.data or name)
            seen = core.images(one.data, "train", chosen.data_dir, progress.share)
        progress.say(f"Compressing with {rule!r}")
        smaller[rule] = core.compress(
            found.module, graph, one, prepared, seen, progress=progress.share
        )
    return Compared(found, graph, tested, smaller)


def read(file: Path) -> dict[str, Any] | None:
    """What a file of results holds; None if there is none.

    Raises
    ------
    DataError
        If it can't be read.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read ({error}). Name another file.") from error
    if not isinstance(told, dict):
        raise DataError(f"{file} holds something else than results. Name another file.")
    return told


def write(file: Path, told: dict[str, Any]) -> None:
    """Write results whole or not at all.

    Raises
    ------
    DataError
        If the file can't be written.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise DataError(f"{file} can't be written ({error}). Name another file.") from error


def with_run(runs: list[dict], command: str) -> list[dict]:
    """The runs that results come from and this one; the same run of the same day only once."""
    run = provenance.this_run(command)
    return runs if run in runs else [*runs, run]
