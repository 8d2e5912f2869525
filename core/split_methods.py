"""The stages of whole-data training, FaP and PaF as tasks that build on each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from core import zoo
from core.data import ImageSet
from core.graph import trace
from core.measures import kept_count
from core.recipe import Recipe
from core.rounds import widths
from core.split_plan import Plan
from core.split_task import Task, initial

#: Seeds of a run's networks lie together, those of runs and of later trainings apart.
APART, LATER = 1000, 1_000_000


@dataclass(frozen=True)
class Placed:
    """A task in the timeline of a method.

    name, network, after, sparsity : as `core.split_result.Stage` has them.
    """

    task: Task
    name: str
    network: str
    after: tuple[int, ...]
    sparsity: float


def timelines(
    plan: Plan, seed: int, training: ImageSet, testing: ImageSet
) -> dict[str, list[Placed]]:
    """The stages of each method of a plan, in an order in which they can be done.

    Parameters
    ----------
    seed : of the run. training, testing : all images of the plan's network.
    """
    made = {"whole": whole, "fap": fap, "paf": paf}
    return {name: made[name](Way(plan, seed, training, testing)) for name in plan.methods}


class Way:
    """Stages as they are added, one after the other.

    Places in `placed` name networks: each method of this class takes and returns such a place.
    """

    def __init__(self, plan: Plan, seed: int, training: ImageSet, testing: ImageSet) -> None:
        self.plan, self.seed = plan, seed
        self.about = {
            "network": plan.network, "images": training.fingerprint,
            "tested": testing.fingerprint, "limit": plan.limit,
        }  # fmt: skip
        self.splits = plan.splits.reseeded(seed)
        self.placed: list[Placed] = []
        self._gone = gone(plan.network, plan.recipe, plan.steps)

    def train(self, part: int | None) -> int:
        """A new network, trained on a part of the images, or (None) on all."""
        number = 0 if part is None else part + 1
        own = self.seed * APART + number
        start = self.seed * APART if self.plan.same_start else own
        task = Task(
            "train", **self.about, **self._images(part), start=start, seed=own,
            schedule=self.plan.schedule(), numbers=self.plan.numbers,
        )  # fmt: skip
        return self._add(task, "train", "whole" if part is None else f"part {number}", (), 0.0)

    def tune(self, place: int, epochs: int, part: int | None = None) -> int:
        """A network, fine-tuned; without epochs the network itself."""
        if not epochs:
            return place
        before = self.placed[place]
        tuned = 1 + sum(one.name == "fine-tune" for one in self._line(place))
        task = Task(
            "train", **self.about, **self._images(part), inputs=(before.task.key,),
            seed=before.task.seed % LATER + tuned * LATER, schedule=self.plan.tuning(epochs),
            numbers=self.plan.numbers,
        )  # fmt: skip
        return self._add(task, "fine-tune", before.network, (place,), before.sparsity)

    def prune(self, place: int, part: int | None = None) -> int:
        """A network, pruned to the plan's sparsity in its steps, fine-tuned after each."""
        for step in range(1, self.plan.steps + 1):
            before = self.placed[place]
            task = Task(
                "prune", **self.about, **self._images(part), inputs=(before.task.key,),
                seed=self.seed, recipe=self.plan.recipe, step=step, steps=self.plan.steps,
            )  # fmt: skip
            place = self._add(task, "prune", before.network, (place,), self._gone[step])
            place = self.tune(place, self.plan.pruned_epochs, part)
        return place

    def fuse(self, places: list[int]) -> int:
        """One network of several."""
        before = [self.placed[place] for place in places]
        task = Task(
            "fuse", **self.about, inputs=tuple(one.task.key for one in before),
            seed=self.seed, fusion=self.plan.fusion,
        )  # fmt: skip
        return self._add(task, "fuse", "fused", tuple(places), before[0].sparsity)

    def _images(self, part: int | None) -> dict:
        return {} if part is None else {"splits": self.splits, "part": part}

    def _add(self, task, name, network, after, sparsity) -> int:
        self.placed.append(Placed(task, name, network, after, sparsity))
        return len(self.placed) - 1

    def _line(self, place: int) -> Iterator[Placed]:
        """A stage and those before it, along the first of each one's inputs."""
        yield self.placed[place]
        for before in self.placed[place].after[:1]:
            yield from self._line(before)


def whole(way: Way) -> list[Placed]:
    """One network on all images."""
    pruned = way.prune(way.train(None))
    way.tune(pruned, way.plan.fused_epochs)
    return way.placed


def fap(way: Way) -> list[Placed]:
    """Fuse and prune."""
    parts = [way.train(part) for part in range(len(way.splits))]
    way.prune(way.tune(way.fuse(parts), way.plan.fused_epochs))
    return way.placed


def paf(way: Way) -> list[Placed]:
    """Prune and fuse."""
    trained = [way.train(part) for part in range(len(way.splits))]
    pruned = [way.prune(place, part) for part, place in enumerate(trained)]
    way.tune(way.fuse(pruned), way.plan.fused_epochs)
    return way.placed


@lru_cache
def gone(network: str, recipe: Recipe, steps: int) -> tuple[float, ...]:
    """The share of the channels, of the groups that are pruned, that is gone after each step.

    The first entry, before any step, is 0.
    """
    graph = trace(initial(network, 0), zoo.network(network).input_shape)
    ways = []
    for index, share in recipe.sparsities(graph).items():
        full = graph.groups[index].width
        ways.append([full, *widths(full, kept_count(full, share), steps)])
    left = [sum(step) for step in zip(*ways, strict=True)]
    return tuple(1 - now / left[0] for now in left)


def in_order(ways: dict[str, list[Placed]]) -> list[Placed]:
    """The tasks of all methods, each once, in the order in which workers should take them.

    Parts come before the whole data, so that they are trained side by side; then what waits for
    them.
    """
    found: dict[str, Placed] = {}
    ordered = sorted(ways.items(), key=lambda one: one[0] == "whole")
    for first in (True, False):
        for _, way in ordered:
            for placed in way:
                if (not placed.after) == first:
                    found.setdefault(placed.task.key, placed)
    return list(found.values())
