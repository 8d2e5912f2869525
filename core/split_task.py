"""A piece of the work of split-data training: train, prune or fuse, for any worker.

A task is plain values and the keys of the tasks whose networks it takes, so that it can be written
down, sent to another machine and recognised when it is done: its key changes with anything that
changes its network, back to the first training.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from core import data, shape, zoo
from core.compress import compress
from core.data import ImageSet
from core.errors import ClusterError
from core.evaluate import accuracy
from core.fuse import Fused, fuse
from core.graph import trace
from core.importance import labelled_generator
from core.measures import kept_count
from core.mixtures import average, ensemble
from core.recipe import Recipe, looks
from core.reestimate import re_estimated
from core.rounds import widths
from core.split_plan import Fusion
from core.splits import Splits, subset
from core.training import Epoch, Schedule, train

#: What can be done: name → what it is.
KINDS = {
    "train": "train a new network, or one that is given, on some of the images",
    "prune": "shrink a network by a recipe, or a step of the way there",
    "fuse": "fuse several networks into one",
}


@dataclass(frozen=True)
class Task:
    """A piece of work. Fields that its kind doesn't need are None.

    Attributes
    ----------
    kind : a key of `KINDS`.
    network : of the zoo. images, tested : fingerprints of its training and of its test images.
    limit : count on the first so many test images; None for all.
    inputs : keys of the tasks whose networks it takes.
    splits, part : the images it may look at are this part of the split, counted from 0; None: all.
    start : seed of the initial weights. seed : of whatever else is drawn.
    schedule, numbers : of training.
    recipe : of pruning, for the way to the end; step, steps : which part of the way this is.
    fusion : how networks are fused.
    """

    kind: str
    network: str
    images: str
    tested: str
    limit: int | None = None
    inputs: tuple[str, ...] = ()
    splits: Splits | None = None
    part: int | None = None
    start: int | None = None
    seed: int = 0
    schedule: Schedule | None = None
    numbers: str | None = None
    recipe: Recipe | None = None
    step: int | None = None
    steps: int | None = None
    fusion: Fusion | None = None

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        told = dataclasses.asdict(self)
        if self.recipe:
            told["recipe"] = self.recipe.as_dict()
        return json.loads(json.dumps(told))

    @classmethod
    def from_dict(cls, told: Mapping) -> Task:
        """The task of `as_dict`."""
        made = dict(told) | {"inputs": tuple(told["inputs"])}
        if made["splits"]:
            made["splits"] = Splits.from_dict(made["splits"])
        if made["recipe"]:
            made["recipe"] = Recipe.from_dict(made["recipe"])
        if made["fusion"]:
            made["fusion"] = Fusion(**made["fusion"])
        if made["schedule"]:
            lists = {"crops", "restarts"}
            made["schedule"] = Schedule(
                **{
                    name: tuple(map(tuple, value)) if name in lists else value
                    for name, value in made["schedule"].items()
                }
            )
        return cls(**made)

    @property
    def key(self) -> str:
        """Sixteen digits that change with whatever changes the network that comes out."""
        told = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def epochs(self) -> int:
        """Epochs of training; 0 for other kinds."""
        return self.schedule.epochs if self.schedule else 0


@dataclass(frozen=True, eq=False)
class Done:
    """What a task has come to.

    network : in evaluation mode, on the processor. told : plain values: `seconds`, `spans`,
    `threads`, `accuracy`, `losses`, `parameters`, `images`, `beside`, `weights` as a stage of a
    result has them (`core.split_result.Stage`), and `sizes`, with which `opened` builds the
    network.
    """

    network: nn.Module
    told: dict


def perform(
    task: Task,
    given: Sequence[nn.Module],
    folder: str | None = None,
    checkpoint: Path | None = None,
    until: int | None = None,
    report: Callable[[str, float], None] = lambda line, share: None,
) -> Done | None:
    """Do a task. None if it is training and `until` epochs are done, but not all.

    Parameters
    ----------
    given : the networks that `task.inputs` name; they are not changed.
    folder : where images are looked for, as `core.images` takes it.
    checkpoint : of training, written after every epoch; what is there is gone on with.
    report : is given a line of progress and the share of the work in whole epochs that is done;
        what it raises ends the work.

    Raises
    ------
    ClusterError
        If the images here are not those the task means.
    ExplorerError
        Whatever training, `core.compress` and `core.fuse` raise.
    """
    training, testing = images_of(task.network, folder)
    same_images(task, training, testing)
    if task.part is not None:
        indices = task.splits.parts(training.labels)[task.part]
        training = subset(training, indices, f"part {task.part + 1} of {len(task.splits)}")
    beside: dict[str, nn.Module] = {}
    losses: list[float] = []
    if task.kind == "train":
        epochs: list[Epoch] = []
        module = _trained(task, given, training, checkpoint, until, report, epochs)
        if len(epochs) < task.epochs:
            return None
        spans = [(one.began, one.began + one.seconds) for one in epochs]
        seconds, losses = sum(one.seconds for one in epochs), [one.loss for one in epochs]
    else:
        clock, begun = time.time(), time.monotonic()
        if task.kind == "prune":
            module = _pruned(task, given[0], training)
        else:
            module = fused(task, given, training).module
        seconds = time.monotonic() - begun
        spans = [(clock, clock + seconds)]
    if task.kind == "fuse":
        beside = _beside(task, given, training)
    report("counting test images", 1.0)
    counted = {"": _counted(module, testing, task.limit)}
    counted |= {name: _counted(one, testing, task.limit) for name, one in beside.items()}
    told = {
        "key": task.key, "seconds": seconds, "spans": spans, "threads": torch.get_num_threads(),
        "accuracy": counted.pop(""), "losses": losses,
        "parameters": sum(p.numel() for p in module.parameters()),
        "images": len(training) if task.kind == "train" else 0,
        "beside": counted, "weights": shape.state_hash(module),
        "sizes": shape.changes(shape.architecture(task.network), module),
    }  # fmt: skip
    return Done(module, json.loads(json.dumps(told)))


def opened(network: str, told: Mapping, state: dict[str, torch.Tensor]) -> nn.Module:
    """The network of a task that is done, from what was told of it and its tensors."""
    return shape.rebuilt(initial(network, 0), state, told["sizes"])


@lru_cache(maxsize=2)
def images_of(network: str, folder: str | None = None) -> tuple[ImageSet, ImageSet]:
    """The training and the test images of a network; read once by a worker, not once a task."""
    name = zoo.network(network).images
    return data.images(name, "train", folder), data.images(name, "test", folder)


def initial(network: str, seed: int) -> nn.Module:
    """A network of the zoo with initial weights drawn from the seed; nobody else's are drawn on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return zoo.network(network).build()


def same_images(task: Task, training: ImageSet, testing: ImageSet) -> None:
    """Raise ClusterError if these are not the images that the task means."""
    for images, meant, what in (
        (training, task.images, "training"), (testing, task.tested, "test"),
    ):  # fmt: skip
        if images.fingerprint != meant:
            raise ClusterError(
                f"A worker has other {what} images of {images.title} than the machine that asked "
                f"(fingerprints {images.fingerprint} and {meant}). Give both the same."
            )


def _trained(task, given, training, checkpoint, until, report, epochs) -> nn.Module:
    if given:
        module = copy.deepcopy(given[0]).requires_grad_(True)
    else:
        module = initial(task.network, task.start)
    # A part with fewer images than a batch is one batch.
    schedule = dataclasses.replace(task.schedule, batch=min(task.schedule.batch, len(training)))
    module = train(
        module, training, schedule, task.seed, checkpoint,
        lambda line: report(line, len(epochs) / task.epochs), task.numbers == "bfloat16", until,
        epochs,
    )  # fmt: skip
    return module.cpu().to(memory_format=torch.contiguous_format)


def _pruned(task: Task, module: nn.Module, training: ImageSet) -> nn.Module:
    """The network after this step of the way to the recipe's sparsity.

    The widths on the way fall by about the same factor in each step, as those of
    `core.rounds.widths` do.
    """
    input_shape = zoo.network(task.network).input_shape
    original = trace(zoo.network(task.network).build(), input_shape)
    graph = trace(module, input_shape)
    groups, sparsities = [], []
    for index, share in task.recipe.sparsities(original).items():
        full = original.groups[index].width
        way = [full, *widths(full, kept_count(full, share), task.steps)]
        groups.append(index)
        sparsities.append(1 - way[task.step] / graph.groups[index].width)
    recipe = task.recipe.replace(groups=tuple(groups), sparsity=tuple(sparsities), seed=task.seed)
    seen = None
    if looks(recipe.importance, recipe.rule):
        recipe, seen = recipe.replace(data=training.name), training
    return compress(module, graph, recipe, images=seen).module


def _looked_at(task: Task, training: ImageSet) -> torch.Tensor:
    """The images, without their labels, that fusion looks at: (k, c, h, w)."""
    generator = labelled_generator(task.seed, "images to fuse with")
    chosen = torch.randperm(len(training), generator=generator)[: task.fusion.samples]
    return training.normalised(training.images[chosen])


def fused(task: Task, given: Sequence[nn.Module], training: ImageSet) -> Fused:
    """What a task of fusion comes to, with its plans; `training` are all training images."""
    fusion = task.fusion
    return fuse(
        given, zoo.network(task.network).input_shape, cost=fusion.cost,
        images=_looked_at(task, training), solver=fusion.solver, epsilon=fusion.epsilon,
        into=fusion.into, statistics=fusion.statistics,
    )  # fmt: skip


def _beside(task: Task, given: Sequence[nn.Module], training: ImageSet) -> dict[str, nn.Module]:
    """What else becomes of the networks that are fused; the mean gets the same statistics."""
    mean = average(given)
    if task.fusion.statistics:
        mean = re_estimated(mean, _looked_at(task, training))
    return {"average": mean, "ensemble": ensemble(given)}


def _counted(module: nn.Module, testing: ImageSet, limit: int | None) -> list[int]:
    counted = accuracy(module, testing, limit)
    return [counted.correct, counted.total]
