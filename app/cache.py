"""Caches: recipe → results, shared by everybody, never changed; `app.pictures` has the drawn ones.

Tensors and modules stand in `cache_resource`: they are handed out as they are, and by the rule of
this house nobody writes into them. What workers ask for stands in `lru_cache`, for no Streamlit
call may be made off the page. Every cache is bounded; errors are never remembered.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import streamlit as st
import torch

import core
from app import jobs, take
from app.lesson import Lesson, LessonError, read
from app.link import sees_images
from core import budget, channel, data, embedding, results, signatures, split_store, zoo
from core.compress import Step, outline, plan_group
from core.divergence import divergences
from core.errors import DataMissing, Unsupported
from core.experiments import Bench
from core.fuse import Fused
from core.measures import KEEPS, kept_count
from core.projection import RULES
from core.recipe import plain
from core.regression import Refit
from core.replay import Replay
from core.unexplained import Unexplained, unexplained

#: Seconds that heavy work in the background leaves to the page to be drawn.
AFTER_THE_PAGE = 2.0


@dataclass(frozen=True, eq=False)
class Loaded:
    """A network with all that is known of it before any recipe; `empty` has no numbers in it."""

    name: str
    module: torch.nn.Module
    card: core.ModelCard
    graph: core.DependencyGraph
    prepared: core.Prepared
    empty: torch.nn.Module


@st.cache_resource(max_entries=8, show_spinner="Loading the network …")
def network(name: str) -> Loaded:
    """A network of the zoo, traced and folded."""
    module = core.load(name)
    graph = core.trace(module, zoo.network(name).input_shape)
    empty = copy.deepcopy(module).to("meta")
    return Loaded(name, module, zoo.card(name), graph, core.Prepared(module, graph), empty)


@lru_cache(maxsize=2)
def bench(name: str, limit: int | None, folder: str | None) -> Bench:
    """A network with its test images, for experiments that count many of its variants."""
    return Bench(name, limit, folder=folder or os.environ.get(data.FOLDER_VARIABLE))


@lru_cache(maxsize=96)
def step(loaded: Loaded, index: int, recipe: core.Recipe) -> Step:
    """What is decided for one group; the smaller network itself is made where it is measured."""
    return plan_group(loaded.prepared, index, recipe)


def takes_long(recipe: core.Recipe) -> bool:
    """Whether deciding for a group takes seconds: passes through the network, or clusters."""
    clusters = KEEPS[recipe.keep].cluster is not None
    return sees_images(recipe) or clusters or needs_network(recipe)


def draws_fit(recipe: core.Recipe) -> bool:
    """Whether the picture is what the next layer was fitted to."""
    return RULES[recipe.rule].regressed and RULES[recipe.rule].project is None


def needs_network(recipe: core.Recipe) -> bool:
    """Whether a group is decided only once the smaller network is made."""
    return draws_fit(recipe) or recipe.rounds > 1


@st.cache_resource(max_entries=64, show_spinner=False)
def deciding(name: str, index: int, recipe: core.Recipe, folder: str | None) -> jobs.Job:
    """The job that decides for one group where `takes_long`; its result is a `Step`.

    Images that choose channels come from the training split.
    """
    loaded = network(name)

    def work(job: jobs.Job) -> Step:
        return decided_slowly(loaded, index, recipe, folder, job, job.report)

    return jobs.Job(work).start("decide")


def decided_slowly(
    loaded: Loaded,
    index: int,
    recipe: core.Recipe,
    folder: str | None,
    job: jobs.Job,
    report: Callable[[float, str], None],
) -> Step:
    """What is decided for one group where `takes_long`; for workers."""
    if needs_network(recipe):
        return compressed(loaded, recipe, folder, report).steps[index]
    seen = chosen_by(recipe, folder, report)
    report(0.3, "Deciding what stays and where the rest goes")
    return plan_group(loaded.prepared, index, recipe, seen, lambda: job.cancelled)


def chosen_by(
    recipe: core.Recipe, folder: str | None, report: Callable[[float, str], None]
) -> core.ImageSet | None:
    """The training images that choose something, if any do."""
    if not sees_images(recipe):
        return None
    report(0.0, "Reading the training images")
    return images(recipe.data, folder, "train")


@dataclass(frozen=True, eq=False)
class Examined:
    """A closer look at what was decided for a group, for the channels one by one.

    missed : what the next layers miss, None where that can't be known; `refusal` then says why.
    weights : of the smaller network, batch norm folded in, of the layers that produce the group.
    refits : `Compressed.refits`.
    """

    missed: Unexplained | None
    refusal: str
    weights: dict[str, torch.Tensor]
    refits: Mapping[str, Refit]


@st.cache_resource(max_entries=24, show_spinner=False)
def examining(
    name: str, index: int, recipe: core.Recipe, folder: str | None, _step: Step
) -> jobs.Job:
    """The job that looks closer at a group: `Examined`. `_step` is what was decided for it."""
    loaded = network(name)

    def work(job: jobs.Job) -> Examined:
        job.hold()  # a slider on its way passes many values
        smaller = compressed(loaded, recipe, folder, job.report)
        weights = channel.folded(smaller.module, loaded.graph, index)
        job.hold()
        try:
            told = unexplained(loaded.prepared, index, _step, recipe, smaller.refits)
        except Unsupported as error:
            return Examined(None, str(error), weights, smaller.refits)
        return Examined(told, "", weights, smaller.refits)

    return jobs.Job(work).start("examine")


#: Test images on which the outputs of two networks are compared in passing.
SOME = 200


@st.cache_resource(max_entries=32, show_spinner=False)
def noticing(name: str, recipe: core.Recipe, folder: str | None) -> jobs.Job:
    """The job that looks for signs of failure of one group at one sparsity: a list of `Signature`.

    Where there are no images its outputs say nothing, and the plan alone is looked at.
    """
    loaded = network(name)

    def work(job: jobs.Job) -> list[signatures.Signature]:
        job.hold()  # a slider on its way passes many values
        fused = compressed(loaded, recipe, folder, job.report)
        found = signatures.of_steps(fused.steps)
        job.hold()
        try:
            tested = images(zoo.network(name).images, folder)
        except DataMissing:
            return found
        pruned = compressed(loaded, plain(recipe), folder, job.report)
        both = {"pruned": pruned.module, "fused": fused.module}
        between = lambda done: job.hold()  # noqa: E731
        for known in divergences(loaded.module, both, tested, SOME, between=between):
            job.report(known.done / known.total, "")
        return found + signatures.of_divergence(known, "pruned")

    return jobs.Job(work).start("examine")


@st.cache_resource(max_entries=8, show_spinner=False)
def fusing(stages: Path, key: str, folder: str | None) -> jobs.Job:
    """The job that fuses once more what a run of split-data training has fused: a `Fused`."""

    def work(job: jobs.Job) -> Fused:
        job.hold()
        return split_store.fusion(stages, key, folder)

    return jobs.Job(work).start("decide")


_compressed: OrderedDict[tuple, core.Compressed] = OrderedDict()
#: Smaller networks that are remembered.
MOST_COMPRESSED = 12


def compressed(
    loaded: Loaded,
    recipe: core.Recipe,
    folder: str | None = None,
    report: Callable[[float, str], None] = lambda share, what: None,
) -> core.Compressed:
    """`core.compress`, with what the recipes of a network share computed once; for workers."""
    key = (loaded, recipe, folder)
    known = _compressed.get(key)
    if known is None:
        seen = chosen_by(recipe, folder, report)
        known = core.compress(
            loaded.module, loaded.graph, recipe, loaded.prepared, seen, progress=report
        )
        _compressed[key] = known
        while len(_compressed) > MOST_COMPRESSED:
            _compressed.popitem(last=False)
    return known


@st.cache_resource(max_entries=4, show_spinner=False)
def packing(name: str, recipe: core.Recipe, folder: str | None) -> jobs.Job:
    """The job that packs a smaller network for download; its result are a zip's bytes."""
    loaded = network(name)

    def work(job: jobs.Job) -> bytes:
        known = compressed(loaded, recipe, folder, lambda share, _: job.report(0.8 * share, ""))
        job.report(0.8, "")
        return take.packed(known, name)

    return jobs.Job(work).start("decide")


def hollow(loaded: Loaded, kept: tuple[tuple[int, tuple[int, ...]], ...]) -> torch.nn.Module:
    """The smaller network without numbers, from the channels that `(group, channels)` keeps."""
    stays = {index: torch.tensor(channels) for index, channels in kept}
    return outline(loaded.empty, loaded.graph, stays)


@st.cache_data(max_entries=256, show_spinner=False)
def size(name: str, kept: tuple[tuple[int, tuple[int, ...]], ...]) -> core.Size:
    """Parameters and multiply-accumulates of a network that keeps `(group, channels)`, …"""
    loaded = network(name)
    smaller = hollow(loaded, kept)
    return core.size(smaller, zoo.network(name).input_shape)


def size_of(name: str, recipe: core.Recipe) -> core.Size:
    """The same of what a recipe leaves, without making it: which channels stay doesn't matter."""
    graph = network(name).graph
    shares = recipe.sparsities(graph)
    kept = {
        index: tuple(range(kept_count(graph.groups[index].width, share)))
        for index, share in shares.items()
    }
    return size(name, tuple(kept.items()))


@lru_cache(maxsize=128)
def budgeted(loaded: Loaded, recipe: core.Recipe, keep: float, folder: str | None) -> core.Recipe:
    """The recipe with a sparsity a group, so that a share of the weights stays; for workers."""
    seen = chosen_by(recipe, folder, lambda share, sentence: None)
    return budget.budgeted(loaded.prepared, recipe, keep, images=seen)


@lru_cache(maxsize=16)
def recorded(name: str) -> results.Results | None:
    """What is recorded of a network; None where nothing is."""
    return results.read(name, results.FOLDER)


@lru_cache(maxsize=4)
def images(name: str, folder: str | None, split: str = "test") -> core.ImageSet:
    """A set of images (None: of the default folder); for workers, reading may take a while."""
    return core.images(name, split, folder or os.environ.get(data.FOLDER_VARIABLE))


@lru_cache(maxsize=1)
def replay(network: torch.nn.Module, of: core.ImageSet) -> Replay:
    """What variants of a network have in common on a set of images: 256 MB of it at most."""
    return Replay(network, of)


@lru_cache(maxsize=16)
def tally(
    made: torch.nn.Module | core.Compressed, of: core.ImageSet, network: torch.nn.Module
) -> jobs.Tally:
    """The shared count of a network's right answers on a set of images, by identity of all.

    made : the network itself or a smaller one made of it; for workers, the quick copy takes a
        moment.
    """
    module = made if isinstance(made, torch.nn.Module) else made.module
    return jobs.Tally(module, of, replay(network, of).counter(made))


def clear() -> None:
    """Forget everything, for tests."""
    st.cache_resource.clear()
    st.cache_data.clear()
    for cached in (step, recorded, bench, budgeted, images, replay, tally):
        cached.cache_clear()
    _compressed.clear()


@st.cache_resource(max_entries=16, show_spinner=False)
def pca(name: str, index: int, recipe: core.Recipe) -> embedding.Embedding:
    """The PCA picture of a group; `recipe` is that of all pictures of it (`embedding.of_all`)."""
    return embedding.embed(network(name).prepared, index, recipe, "pca")


@st.cache_resource(max_entries=16, show_spinner=False)
def umap(name: str, index: int, recipe: core.Recipe) -> jobs.Job:
    """The job that fits the UMAP picture of a group, started when first asked for.

    `recipe` is that of all pictures of it (`embedding.of_all`): sparsities, rules and solvers share
    one.
    """
    loaded = network(name)

    def work(job: jobs.Job) -> embedding.Embedding:
        job.pause(AFTER_THE_PAGE)
        job.report(0.0, "Fitting UMAP")
        return embedding.embed(loaded.prepared, index, recipe, "umap")

    return jobs.Job(work).start("picture")


@st.cache_resource(show_spinner=False)
def warm_up() -> threading.Thread:
    """Compile UMAP once, in the background, a moment after the server's first page is drawn."""
    thread = threading.Timer(AFTER_THE_PAGE, embedding.warm)
    thread.name, thread.daemon = "warm-up", True
    thread.start()
    return thread


@st.cache_resource(show_spinner=False)
def download_job() -> dict[str, jobs.Job | None]:
    """The one download of this server, whoever started it: {"job": Job or None}."""
    return {"job": None}


#: Where the lessons that ship lie; a file that is put there is a lesson, too.
LESSONS = Path(__file__).parent / "lessons"


@lru_cache(maxsize=64)
def _lesson(file: Path, changed: int) -> Lesson | tuple[str, ...]:
    """A lesson, or what is wrong with its file; read again when the file has `changed`."""
    try:
        return read(file)
    except LessonError as error:
        return tuple(error.problems)


def lessons() -> tuple[dict[str, Lesson], list[str]]:
    """The lessons by their names, and a sentence for everything that is wrong with others."""
    found, broken = {}, []
    for file in sorted(LESSONS.glob("*.toml")):
        lesson = _lesson(file, file.stat().st_mtime_ns)
        if isinstance(lesson, Lesson):
            found[lesson.name] = lesson
        else:
            broken += lesson
    return found, broken
