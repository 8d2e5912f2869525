"""Sweep: accuracies of many recipes of one network, measured group by group into a file.

The recipes of a group are made and counted together: what comes before the group runs once a batch
(`core.prefix`), networks that came out equal are counted once, the group's distances are computed
once (`core.prepared`). What stands in the file is not measured again. A sweep may be stopped or
killed at any moment: the counts of the group it is at are kept beside the file every few seconds,
and the next run goes on from them.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from core import provenance, store
from core.errors import DataError
from core.evaluate import Accuracy
from core.experiments import Bench
from core.prefix import Together, counted_images, running
from core.projection import RULES
from core.recipe import Recipe, looks, plain
from core.shape import state_hash
from core.store import Row

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
#: The network as it is, among the entries of a sweep.
DENSE = Recipe(groups="all", sparsity=0.0, rule="select")
#: Bytes that the networks of a chunk may take together, as estimated from what the group touches.
MEMORY = 700_000_000


def entries(
    groups: Iterable[int | str],
    sparsities: Sequence[float] = SPARSITIES,
    importances: Sequence[str] = ("l1",),
    rules: Sequence[str] = ("select", "released"),
    solvers: Sequence[str] = ("exact",),
    seeds: Sequence[int] = (0,),
    data: str = "",
) -> list[Recipe]:
    """Every combination as a recipe, the network itself (DENSE) first, none twice.

    A rule without a plan is there once, not once a solver.

    Parameters
    ----------
    groups : indices of groups that shrink alone, or "all" for all of them together.
    data : the training images for what looks at images.

    Raises
    ------
    RecipeError
        If a choice does not exist.
    """
    found = {DENSE: None}
    for group, seed, sparsity, rule, solver, importance in product(
        groups, seeds, sparsities, rules, solvers, importances
    ):
        recipe = Recipe(
            groups=group if group == "all" else (group,), sparsity=sparsity, rule=rule,
            importance=importance, solver=solver, seed=seed,
        )  # fmt: skip
        if RULES[rule].project is None:
            recipe = recipe.replace(solver=Recipe.solver)
        if looks(importance, rule):
            recipe = recipe.replace(data=data)
        found[plain(recipe) if rule == "select" else recipe] = None
    return list(found)


@dataclass(frozen=True)
class Event:
    """How far a sweep is.

    phase : "making" (networks are made smaller), "counting" (images) or "stored" (rows are in the
    file). groups : whose recipes are at work. step, steps : networks made or images counted of
    those of this chunk. done, entries : recipes in the file, of those asked for. stored : the rows
    that have just come to the file. left : seconds, an estimate; None as long as there is none.
    """

    phase: str
    groups: tuple[int, ...] | str
    step: int
    steps: int
    done: int
    entries: int
    stored: tuple[Row, ...] = ()
    left: float | None = None


def run(
    bench: Bench,
    recipes: Iterable[Recipe],
    path: Path,
    numbers: str = "float32",
    command: str = "",
    every: float = 3.0,
    scheduler: str | None = None,
    between: Callable[[], None] = lambda: None,
) -> Iterator[Event]:
    """Measure what the file does not hold yet, and tell how far it is. Stop whenever you like.

    Parameters
    ----------
    numbers : in which numbers networks run, a key of `core.ready.NUMBERS`.
    command : what the note beside the file says of where the rows come from.
    every : seconds after which the counts in progress are kept.
    between : called between any two pieces of work, fractions of a second; what it raises ends it.
    scheduler : address of a Dask scheduler whose workers count (`core.cluster`).

    Raises
    ------
    DataError
        If the file is damaged, holds results of other weights or images, can't be written, or
        another sweep is at it; if there are no images.
    RecipeError
        If a recipe does not fit the network.
    ClusterError, PackageMissing
        If there is a scheduler, and it can't be worked with.
    """
    blanks = rows_of(bench, recipes, numbers)
    for recipe in blanks:
        recipe.sparsities(bench.graph)
    busy = f"Another sweep is writing to {path}. Wait for it, or name another file."
    with store.locked(path, ".sweep", 0, busy):
        provenance.fits(path, bench.name, bench.weights, bench.tested.fingerprint)
        known = store.read(path)
        parts = [
            missing
            for chunk in chunks(bench, list(blanks), numbers)
            if (missing := [one for one in chunk if blanks[one].key not in known])
        ]
        done = len(blanks) - sum(map(len, parts))
        clock = _Clock(bench, parts)
        note = dict(command=command or "core.sweep.run", images=bench.tested.fingerprint)

        def stored(part: Sequence[Recipe], right: Sequence[int]) -> Event:
            nonlocal done
            rows = tuple(
                replace(blanks[one], right=Accuracy(correct, blanks[one].right.total))
                for one, correct in zip(part, right, strict=True)
            )
            with store.locked(path, ".note"):
                provenance.add(path, bench.name, bench.weights, **note)
            store.append(path, rows)
            done += len(part)
            size, left = len(part), clock.left() if done < len(blanks) else 0.0
            return Event("stored", part[-1].groups, size, size, done, len(blanks), rows, left)

        if scheduler:
            from core import cluster

            for place, right in cluster.counted(scheduler, bench, parts, numbers):
                clock.whole(place)
                yield stored(parts[place], right)
            return
        for place, part in enumerate(parts):
            digest = hashlib.sha256(" ".join(blanks[one].key for one in part).encode()).hexdigest()
            aside = path.with_name(f".{path.name}.{digest[:16]}.counts")
            total = blanks[part[0]].right.total
            for step in count(bench, part, numbers, aside, every, between):
                clock.tick(place, step.made, step.counted / total, step.fresh / total)
                making = ("making", part[-1].groups, step.made, len(part))
                counting = ("counting", part[-1].groups, step.counted, total)
                at = counting if step.counted else making
                yield Event(*at, done, len(blanks), left=clock.left())
            event = stored(part, step.right)
            aside.unlink(missing_ok=True)
            yield event


def rows_of(bench: Bench, recipes: Iterable[Recipe], numbers: str) -> dict[Recipe, Row]:
    """By recipe: the row that it has in a file, with no image right yet.

    Raises
    ------
    DataError
        If there are no images, or the network tells another number of classes apart.
    """
    total = counted_images(bench.module, bench.tested, bench.limit)
    return {
        one: Row(
            bench.name, bench.named(one), Accuracy(0, total), bench.weights, bench.tested.name,
            numbers,
        )
        for one in recipes
    }  # fmt: skip


def found(bench: Bench, recipes: Iterable[Recipe], path: Path, numbers: str) -> dict[Recipe, Row]:
    """What a file holds of these recipes."""
    known = store.read(path)
    rows = rows_of(bench, recipes, numbers)
    return {one: known[row.key] for one, row in rows.items() if row.key in known}


@dataclass(frozen=True)
class Step:
    """How far a chunk is: networks made, images counted, `fresh` of them in this step; how many of
    them each recipe's network names right.
    """

    made: int
    counted: int = 0
    fresh: int = 0
    right: tuple[int, ...] = ()


def count(
    bench: Bench,
    recipes: Sequence[Recipe],
    numbers: str,
    aside: Path | None = None,
    every: float = 3.0,
    between: Callable[[], None] = lambda: None,
) -> Iterator[Step]:
    """Make the networks of a chunk, then count what they name right; the last step tells it all.

    Parameters
    ----------
    aside : the file that keeps the counts every `every` seconds and however this ends; it is gone
        on from if it speaks of the very same networks and images.

    Raises
    ------
    DataError
        If that file is damaged.
    """
    total = counted_images(bench.module, bench.tested, bench.limit)
    together = Together(bench.module, numbers=numbers, between=between)
    places: dict[str, int] = {}  # a network's hash → its place among those that are counted
    mine: list[int] = []
    for made, recipe in enumerate(recipes, 1):
        small = None if recipe == DENSE else bench.small(recipe)
        told = state_hash(small.module if small else bench.module)
        if told not in places:
            places[told] = len(together)
            together.add(small or bench.module)
        mine.append(places[told])
        yield Step(made)
        between()
    of = [*places, bench.tested.fingerprint, numbers]
    same = hashlib.sha256(" ".join(of).encode()).hexdigest()
    done, right = _kept(aside, same, total)
    kept, last = done, time.monotonic()
    if done:
        yield Step(made, done, 0, tuple(right[place] for place in mine))
    try:
        for now, counts in running(together, bench.tested, total, done=done, right=right):
            fresh, done, right = now - done, now, counts
            if aside and time.monotonic() - last >= every:
                _keep(aside, same, done, right)
                kept, last = done, time.monotonic()
            yield Step(made, done, fresh, tuple(right[place] for place in mine))
    finally:
        if aside and kept < done:
            _keep(aside, same, done, right)


def _keep(aside: Path, same: str, done: int, right: Sequence[int]) -> None:
    partial = aside.with_suffix(".partial")
    partial.write_text(json.dumps({"networks": same, "done": done, "right": right}))
    partial.replace(aside)


def _kept(aside: Path | None, same: str, total: int) -> tuple[int, list[int]]:
    """What was counted of the same networks: on how many images, and how many of them right."""
    if aside is None or not aside.exists():
        return 0, []
    try:
        told = json.loads(aside.read_text())
        if told["networks"] != same or not 0 < told["done"] <= total:
            return 0, []  # of other code or fewer images: the count begins anew
        return told["done"], [int(one) for one in told["right"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{aside} does not hold counts of a sweep ({error}). Remove it: what it stood for is "
            "counted again."
        ) from error


def chunks(
    bench: Bench, recipes: Sequence[Recipe], numbers: str = "float32", memory: int = MEMORY
) -> list[list[Recipe]]:
    """The recipes in lots that share what comes before their group and fit into memory together.

    The same recipes always fall into the same lots; DENSE goes with the first.
    """
    state = bench.prepared.original
    width = 4 if numbers == "float32" else 2

    def size(recipe: Recipe) -> float:
        """Bytes of what a recipe changes: the tensors its groups touch, made smaller."""
        touched = {
            c.tensor for g in recipe.chosen(bench.graph) for c in bench.graph.groups[g].couplings
        }
        shares = recipe.sparsities(bench.graph).values()
        return width * (1 - min(shares)) * sum(state[name].numel() for name in touched)

    lots: list[list[Recipe]] = []
    held: dict[tuple | str, tuple[list[Recipe], float]] = {}
    for recipe in (one for one in recipes if one != DENSE):
        lot, bytes_ = held.get(recipe.groups, ([], math.inf))
        own = size(recipe)
        if bytes_ + own > memory:
            lot, bytes_ = [], 0.0
            lots.append(lot)
        lot.append(recipe)
        held[recipe.groups] = lot, bytes_ + own
    if DENSE in recipes:
        lots = [[DENSE, *lots[0]], *lots[1:]] if lots else [[DENSE]]
    return lots


class _Clock:
    """How long the rest takes, from how long making and counting networks have taken so far."""

    def __init__(self, bench: Bench, parts: Sequence[Sequence[Recipe]]) -> None:
        suffixes = _suffixes(bench)
        #: By part: its networks, and what one image costs, in passes through the whole network.
        self.sizes = [len(part) for part in parts]
        self.works = []
        for part in parts:
            shares = [suffixes[g] if g in suffixes else 1.0 for g in (one.groups for one in part)]
            self.works.append(1 - max(shares) + sum(shares))
        self.made = self.counted = self.making = self.counting = 0.0
        self.before = (-1, 0, 0.0)
        self.last = time.monotonic()
        self.ahead = [sum(self.sizes), sum(self.works)]

    def tick(self, place: int, made: int, share: float, fresh: float) -> None:
        """A part's networks made so far; the share of its images counted so far, and just now."""
        now = time.monotonic()
        spent, self.last = now - self.last, now
        made_before, share_before = self.before[1:] if self.before[0] == place else (0, 0.0)
        self.before = place, made, share
        self.ahead[0] -= made - made_before
        self.ahead[1] -= (share - share_before) * self.works[place]
        if fresh:
            self.counted += fresh * self.works[place]
            self.counting += spent
        else:
            self.made += made - made_before
            self.making += spent

    def whole(self, place: int) -> None:
        """A part is done somewhere else, made and counted."""
        self.tick(place, self.sizes[place], 1.0, 1.0)

    def left(self) -> float | None:
        if not self.counted:
            return None
        making = self.making / self.made * self.ahead[0] if self.made else 0.0
        return max(0.0, making + self.counting / self.counted * self.ahead[1])


def _suffixes(bench: Bench) -> dict[tuple[int, ...], float]:
    """By group: the share of the multiply-accumulates that comes with its first layer or later."""
    graph, order, macs = bench.graph, {}, []
    for node in graph.nodes:
        if (layer := graph.layers.get(node.module)) is None or node.module in order:
            continue
        order[node.module] = len(macs)
        weight = bench.prepared.original[layer.weight]
        macs.append(weight.numel() * math.prod(node.shape[1:]))
    return {
        (group.index,): sum(
            macs[min(order[c.layer] for c in group.couplings if c.layer in order) :]
        )
        / sum(macs)
        for group in graph.groups
    }
