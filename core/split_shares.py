"""How small a share of the data still works: networks trained on k-ths, fused, fine-tuned.

    {"format": "intra-fusion shares", "version": 1,
     "plan":      `core.split_plan.Plan.as_dict`; its methods and its split say nothing here,
     "counts":    [2, 4, 8, 16], the k,
     "images":    title of the test images, "classes": how many there are,
     "points":    [{"seed", "count", "images", "parts": [[right, total], …],
                    "average", "ensemble", "fused", "tuned", "alone": [right, total],
                    "seconds": [of training each part, …]}, …],
     "whole":     [{"seed", "accuracy": [right, total], "seconds"}, …],
     "workers":   as `core.split_result` has it,
     "provenance": [`core.provenance.this_run`, …]}

All networks are trained for the same epochs; with a k-th of the images an epoch has a k-th of the
steps. That is the paper's limitation: at some share parts are too small to train on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import split_store
from core.data import ImageSet
from core.errors import DataError, RecipeError
from core.evaluate import Accuracy
from core.split_methods import Placed, Way
from core.split_plan import Plan
from core.split_store import STAGES
from core.split_task import images_of
from core.split_training import Event, Staff, absolute, runs_noted, staff, worked
from core.splits import Splits

FORMAT, VERSION = "intra-fusion shares", 1
FILE = "shares.json"
#: Accuracies that a point has one of.
SINGLE = ("average", "ensemble", "fused", "tuned", "alone")


@dataclass(frozen=True)
class SharePoint:
    """What k networks, each trained on a k-th of the data, come to.

    Attributes
    ----------
    seed : of the run. count : k. images : how many the smallest part has.
    parts : of each network by itself.
    average, ensemble : of all of them without transport.
    fused : of what they are fused to, before any fine-tuning.
    tuned : of the fused network after fine-tuning on all images.
    alone : of the first network after the same fine-tuning on all images: what fine-tuning does
        without fusion.
    seconds : that training each part took, on a worker.
    """

    seed: int
    count: int
    images: int
    parts: tuple[Accuracy, ...]
    average: Accuracy
    ensemble: Accuracy
    fused: Accuracy
    tuned: Accuracy
    alone: Accuracy
    seconds: tuple[float, ...]

    @property
    def share(self) -> float:
        """Of the data that a part holds."""
        return 1 / self.count

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        told = {"seed": self.seed, "count": self.count, "images": self.images}
        told |= {"parts": [_pair(one) for one in self.parts], "seconds": list(self.seconds)}
        return told | {name: _pair(getattr(self, name)) for name in SINGLE}

    @classmethod
    def from_dict(cls, told: Mapping) -> SharePoint:
        """The point of `as_dict`."""
        return cls(
            told["seed"], told["count"], told["images"],
            tuple(Accuracy(*one) for one in told["parts"]),
            **{name: Accuracy(*told[name]) for name in SINGLE}, seconds=tuple(told["seconds"]),
        )  # fmt: skip


@dataclass(frozen=True)
class Whole:
    """A network trained on all of the data with the same seed: what the points are held against."""

    seed: int
    accuracy: Accuracy
    seconds: float


@dataclass(frozen=True)
class ShareCurve:
    """All points that are known so far, by seed and falling share."""

    plan: Plan
    counts: tuple[int, ...]
    images: str
    classes: int
    points: tuple[SharePoint, ...]
    whole: tuple[Whole, ...]
    workers: Mapping
    provenance: tuple[Mapping, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.points) == len(self.counts) * len(self.plan.seeds) and len(
            self.whole
        ) == len(self.plan.seeds)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them: the format above."""
        return {
            "format": FORMAT, "version": VERSION, "plan": self.plan.as_dict(),
            "counts": list(self.counts), "images": self.images, "classes": self.classes,
            "points": [one.as_dict() for one in self.points],
            "whole": [dataclasses.asdict(one) | {"accuracy": _pair(one.accuracy)}
                      for one in self.whole],
            "workers": dict(self.workers), "provenance": [dict(one) for one in self.provenance],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> ShareCurve:
        """The curve of `as_dict`.

        Raises
        ------
        DataError
            If it is something else.
        """
        try:
            if (told["format"], told["version"]) != (FORMAT, VERSION):
                raise DataError(
                    f"This is a result of the format {told['format']!r}, version "
                    f"{told['version']!r}, not of {FORMAT!r}, version {VERSION}."
                )
            return cls(
                Plan.from_dict(told["plan"]), tuple(told["counts"]), told["images"],
                told["classes"], tuple(SharePoint.from_dict(one) for one in told["points"]),
                tuple(
                    Whole(one["seed"], Accuracy(*one["accuracy"]), one["seconds"])
                    for one in told["whole"]
                ),
                told["workers"], tuple(told["provenance"]),
            )  # fmt: skip
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"This is no curve over shares of the data ({type(error).__name__}: {error})."
            ) from error


def run(
    plan: Plan,
    counts: Sequence[int],
    folder: Path,
    images: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    command: str = "",
) -> Iterator[Event]:
    """Do what is left of a curve; parameters and errors as `core.split_training.run` has them.

    A folder may hold a run of the same plan, too: networks that both need are trained once.

    Parameters
    ----------
    plan : its network, training, fusion, `fused_epochs` and seeds are used; nothing is pruned.
    counts : k for each share 1/k.

    Raises
    ------
    RecipeError
        If counts are below 2 or named twice, or there is no fine-tuning after fusion.
    """
    counts, folder, images = _checked(plan, counts), Path(folder), absolute(images)
    training, testing = images_of(plan.network, images)
    for count in counts:
        _splits(count).parts(training.labels)  # before the work: whether it can be split
    ways = {
        (seed, count): _way(plan, seed, count, training, testing)
        for seed in plan.seeds
        for count in (1, *counts)
    }
    tasks = {placed.task.key: (seed, placed) for (seed, _), way in ways.items() for placed in way}
    before = read(folder)
    noted = runs_noted(before if before and before.plan.key == plan.key else None, command)

    def write(who: Staff) -> bool:
        nonlocal before
        known = {
            place: told
            for place, way in ways.items()
            if all(told := [split_store.told(folder / STAGES, one.task.key) for one in way])
        }
        points, whole = [], []
        for (seed, count), told in known.items():
            if count == 1:
                whole.append(Whole(seed, Accuracy(*told[0]["accuracy"]), told[0]["seconds"]))
            else:
                points.append(_point(seed, count, told))
        found = ShareCurve(
            plan, counts, testing.title, len(testing.classes), tuple(points), tuple(whole),
            who.as_dict(), noted,
        )  # fmt: skip
        same = before and (before.plan, before.counts) == (plan, counts)
        if same and (before.points, before.whole) == (found.points, found.whole):
            return False
        text = json.dumps(found.as_dict(), indent=1, ensure_ascii=False) + "\n"
        split_store.write(folder / FILE, text.encode())
        before = found
        return True

    who = staff(max(counts), workers, threads)
    yield from worked(tasks, folder, images, who, scheduler, write)


def curve_of(plan: Plan, counts: Sequence[int], folder: Path) -> ShareCurve | None:
    """The curve of a plan in a folder, as far as it is known; None if there is none."""
    found = read(Path(folder))
    same = found is not None and (found.plan, found.counts) == (plan, tuple(counts))
    return found if same else None


def read(folder: Path) -> ShareCurve | None:
    """The curve in a folder; None if there is none.

    Raises
    ------
    DataError
        If it can't be read.
    """
    return read_file(folder / FILE)


def read_file(file: Path) -> ShareCurve | None:
    """The curve in a file, such as one that ships; None if there is no such file.

    Raises
    ------
    DataError
        If it can't be read.
    """
    told = split_store.json_of(file)
    return None if told is None else ShareCurve.from_dict(told)


def _checked(plan: Plan, counts: Sequence[int]) -> tuple[int, ...]:
    counts = tuple(counts)
    if not counts or len(set(counts)) < len(counts) or min(counts) < 2:
        raise RecipeError(
            f"Shares 1/k are named by different whole numbers k of at least 2; got {counts}."
        )
    if not plan.fused_epochs:
        raise RecipeError("The curve is about fine-tuned networks: fused_epochs must be above 0.")
    return counts


def _splits(count: int) -> Splits:
    # Two folds are the halves that a run has: what was trained for one serves the other.
    return Splits("halves", 2) if count == 2 else Splits("folds", count)


def _way(plan: Plan, seed: int, count: int, training: ImageSet, testing: ImageSet) -> list[Placed]:
    """The parts, what they are fused to, it fine-tuned, the first part fine-tuned."""
    splits = plan.splits if count == 1 else _splits(count)
    way = Way(plan.replace(splits=splits), seed, training, testing)
    if count == 1:
        way.train(None)
        return way.placed
    parts = [way.train(part) for part in range(count)]
    way.tune(way.fuse(parts), plan.fused_epochs)
    way.tune(parts[0], plan.fused_epochs)
    return way.placed


def _point(seed: int, count: int, told: Sequence[Mapping]) -> SharePoint:
    parts, (fused, tuned, alone) = told[:count], told[count:]
    return SharePoint(
        seed, count, min(one["images"] for one in parts),
        tuple(Accuracy(*one["accuracy"]) for one in parts),
        *(Accuracy(*fused["beside"][name]) for name in ("average", "ensemble")),
        *(Accuracy(*one["accuracy"]) for one in (fused, tuned, alone)),
        tuple(one["seconds"] for one in parts),
    )  # fmt: skip


def _pair(one: Accuracy) -> list[int]:
    return [one.correct, one.total]
