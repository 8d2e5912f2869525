"""`python -m core ablation KIND NETWORK`: the paper's ablations and open questions."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from core import ablation
from core.ablation import ABLATIONS, grouped, spread
from core.book import Book, Entry
from core.commands.common import Told, add_images, bench, shares, told_command
from core.errors import RecipeError
from core.experiments import Bench
from core.options import add_recipe, chosen_recipe
from core.output import Progress, table
from core.ready import NUMBERS
from core.recipe import Recipe
from core.zoo import NETWORKS

ABOUT = "one of the paper's ablations, or of the questions it leaves open"
MORE = (
    "masses, random, solvers and quality shrink one group at a time, each that is named; "
    "corruption and spoiled shrink all that are named together. With --out every entry is written "
    "as soon as it is counted, and the same command started again goes on from the file. Networks "
    "that are trained for it are kept in the cache directory."
)
#: Networks that are trained where nothing is said.
TRAINED = {"masses": 5, "spoiled": 3}


def before(one: argparse.ArgumentParser) -> None:
    lines = [f"  {name:<12} {line}" for name, line in ABLATIONS.items()]
    one.add_argument(
        "kind", metavar="KIND", choices=ABLATIONS, help="\n".join(["which one", *lines])
    )


def add(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--sparsities", type=shares, metavar="SHARES",
        help="several sparsities, by commas, in place of --sparsity",
    )  # fmt: skip
    one.add_argument(
        "--networks", type=int, metavar="N",
        help="masses, spoiled: networks to train, with the seeds 1 to N\n"
        "(masses: 5 for a digits network, else none: the network itself; spoiled: 3)",
    )  # fmt: skip
    one.add_argument(
        "--train-epochs", type=int, metavar="N", help="epochs of their training (8 for digits)"
    )
    one.add_argument(
        "--seeds", type=int, default=len(ablation.SEEDS), metavar="N",
        help=f"random, quality: how many seeds are drawn with ({len(ablation.SEEDS)})",
    )  # fmt: skip
    one.add_argument(
        "--numbers", default="float32", choices=NUMBERS, help="in which numbers networks run"
    )
    one.add_argument(
        "--out", type=Path, metavar="FILE", help="a JSON file of entries; it is made or continued"
    )
    add_images(one)
    add_recipe(one)


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    recipe = chosen_recipe(chosen)
    if chosen.kind == "quality" and "recipe_importance" not in chosen and not chosen.recipe:
        recipe = recipe.replace(importance="taylor")
    sparsities = chosen.sparsities or (recipe.sparsity,)
    if isinstance(sparsities[0], tuple):
        raise RecipeError("An ablation shrinks by one sparsity at a time; several: --sparsities.")
    if chosen.seeds < 1:
        raise RecipeError(f"At least one seed is needed; got {chosen.seeds}.")
    known = bench(chosen, progress, recipe.seed)
    book = Book(chosen.kind, known, chosen.out, told_command(chosen))
    wanted = _wanted(chosen, known, recipe, sparsities, progress)
    entries = book.counted(wanted, chosen.numbers, progress.share)
    told = {
        "ablation": chosen.kind, "network": known.name, "images": known.tested.title,
        "numbers": chosen.numbers, "entries": [entry.as_dict() for entry in entries],
    }  # fmt: skip
    text = TABLES[chosen.kind](entries)
    if chosen.kind == "masses":
        tests = {over: ablation.kruskal(entries, over) for over in ("networks", "groups")}
        told["tests"] = {k: [dataclasses.asdict(one) for one in v] for k, v in tests.items()}
        text += "".join(_tests(over, found) for over, found in tests.items() if found)
    text += f"\n\non {known.tested.title}; 95 % intervals"
    return told, text + (f"\n\nWrote {chosen.out}" if chosen.out else "")


def _wanted(chosen, known: Bench, recipe: Recipe, sparsities, progress: Progress) -> list:
    kind, seeds = chosen.kind, range(recipe.seed, recipe.seed + chosen.seeds)
    if kind in TRAINED:
        count = chosen.networks
        if count is None:
            digits = known.name in NETWORKS and NETWORKS[known.name].images == "digits"
            count = TRAINED[kind] if digits or kind == "spoiled" else 0
        if kind == "masses" and not count:
            return ablation.masses([known], recipe, sparsities)
        if count < 1:
            raise RecipeError(f"At least one network must be trained; got {count}.")
        kinds = ablation.SPOILED if kind == "spoiled" else ablation.SPOILED[:1]
        benches = ablation.trained(known, count, chosen.train_epochs, kinds, report=progress.share)
        if kind == "masses":
            return ablation.masses([one for _, one in benches], recipe, sparsities)
        return ablation.of_spoiled(benches, recipe, _one(sparsities))
    if kind == "random":
        return ablation.random(known, recipe, sparsities, seeds)
    if kind == "solvers":
        return ablation.solvers(known, recipe, sparsities)
    if kind == "quality":
        return ablation.quality(known, recipe, sparsities, seeds=seeds)
    return ablation.corruption(known, recipe, _one(sparsities))


def _one(sparsities) -> float:
    if len(sparsities) > 1:
        raise RecipeError("This ablation takes one sparsity: --sparsity 0.5.")
    return sparsities[0]


# -- the tables, one a kind


def _told(entries: list[Entry]) -> str:
    """A mean with its interval, and of how many it is."""
    if not entries:
        return "-"
    one = spread(entries)
    of = f", {one.count}" if one.count > 1 else ""
    return f"{100 * one.mean:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f}{of})"


def _place(entry: Entry) -> tuple[str, str]:
    groups = entry.recipe.groups
    where = "all" if groups == "all" else ",".join(map(str, groups))
    return where, f"{100 * entry.recipe.sparsity:g} %"


def _of(entries: list[Entry], kind: str, variant: str | None = None) -> list[Entry]:
    return [e for e in entries if e.kind == kind and variant in (None, e.variant)]


def _dense(entries: list[Entry]) -> str:
    return f"dense: {_told(_of(entries, 'dense'))}\n\n"


def _by_place(entries: list[Entry]) -> dict:
    return grouped([e for e in entries if e.recipe], _place)


def _masses(entries: list[Entry]) -> str:
    rows = [("group", "sparsity", "pruned", "fused, uniform masses", "fused, by importance")]
    for place, held in _by_place(entries).items():
        sides = (_told(_of(held, "fused", name)) for name in ("uniform", "importance"))
        rows.append((*place, _told(_of(held, "pruned")), *sides))
    return _dense(entries) + table(rows)


def _tests(over: str, tests: list) -> str:
    rows = [("group", "sparsity", "samples a side", "by importance − uniform", "H", "p")]
    rows += [
        (
            "all" if one.group is None else str(one.group), f"{100 * one.sparsity:g} %",
            str(one.samples), f"{100 * one.difference:+.2f} points", f"{one.statistic:.2f}",
            f"{one.p:.3f}",
        )
        for one in tests
    ]  # fmt: skip
    title = {
        "networks": "Kruskal–Wallis over trained networks",
        "groups": "Kruskal–Wallis over the groups of one network (no independent draws), a row a "
        "network and sparsity",
    }[over]
    return f"\n\n{title}\n{table(rows)}"


def _pairs(title: str):
    def told(entries: list[Entry]) -> str:
        rows = [("group", "sparsity", title, "pruned", "fused")]
        for place, held in _by_place(entries).items():
            for variant, pair in grouped(held, lambda e: e.variant).items():
                if title == "quality":
                    known = [e.more["correlation"] for e in pair if e.kind == "fused"]
                    variant = f"{variant} (rank correlation {sum(known) / len(known):.2f})"
                rows.append((*place, variant, *(_told(_of(pair, k)) for k in ("pruned", "fused"))))
        return _dense(entries) + table(rows)

    return told


def _solvers(entries: list[Entry]) -> str:
    rows = [
        ("group", "sparsity", "solver", "accuracy", "cost", "source error", "target error",
         "iterations", "seconds")
    ]  # fmt: skip
    for place, held in _by_place(entries).items():
        rows.append((*place, "none: pruned", _told(_of(held, "pruned")), *("-",) * 5))
        for one in _of(held, "fused"):
            more = one.more
            count = f"{more['iterations']:.0f}" if more["iterations"] else "-"
            rows.append(
                (
                    *place, one.variant, _told([one]), f"{more['cost']:.4f}",
                    f"{more['source_error']:.1e}", f"{more['target_error']:.1e}",
                    count + ("" if more["converged"] else " (not converged)"),
                    f"{more['seconds']:.3f}",
                )
            )  # fmt: skip
    return _dense(entries) + table(rows)


def _three(title: str):
    def told(entries: list[Entry]) -> str:
        rows = [(title, "dense", "pruned", "fused")]
        for variant, held in grouped(entries, lambda e: e.variant).items():
            rows.append((variant, *(_told(_of(held, k)) for k in ("dense", "pruned", "fused"))))
        return table(rows)

    return told


TABLES = {
    "masses": _masses,
    "random": _pairs("scores"),
    "solvers": _solvers,
    "quality": _pairs("quality"),
    "corruption": _three("test images"),
    "spoiled": _three("trained on"),
}
