"""The only place with caches: recipe → results, shared by everybody, never changed.

Tensors and modules stand in `cache_resource`: they are handed out as they are, and by the rule of
this house nobody writes into them. What workers ask for stands in `lru_cache`, for no Streamlit
call may be made off the page. Every cache is bounded; errors are never remembered.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st
import torch

import core
from app import jobs, take
from app.charts import as_json
from app.figures import graph as graph_figure
from app.figures import plan as plan_figure
from app.figures import scatter as scatter_figure
from app.link import sees_images
from core import data, embedding, zoo
from core.compress import Step, outline, plan_group
from core.measures import KEEPS
from core.projection import RULES

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
        if needs_network(recipe):
            return compressed(loaded, recipe, folder, job.report).steps[index]
        seen = chosen_by(recipe, folder, job.report)
        job.report(0.3, "Deciding what stays and where the rest goes")
        return plan_group(loaded.prepared, index, recipe, seen, lambda: job.cancelled)

    return jobs.Job(work).start("decide")


def chosen_by(
    recipe: core.Recipe, folder: str | None, report: Callable[[float, str], None]
) -> core.ImageSet | None:
    """The training images that choose something, if any do."""
    if not sees_images(recipe):
        return None
    report(0.0, "Reading the training images")
    return images(recipe.data, folder, "train")


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


@lru_cache(maxsize=64)
def graph_picture(loaded: Loaded, index: int, mode: str) -> str:
    """The dependency graph, drawn: the same for every sparsity. As JSON, like all pictures here."""
    return as_json(graph_figure.figure(loaded.graph, index, mode))


@lru_cache(maxsize=64)
def plan_picture(loaded: Loaded, index: int, decided: Step, mode: str) -> str:
    """The plan of a step, drawn."""
    return as_json(plan_figure.figure(decided, loaded.graph.groups[index], mode))


@lru_cache(maxsize=64)
def scatter_picture(
    loaded: Loaded, index: int, picture: embedding.Embedding, decided: Step, mode: str
) -> str:
    """The channels before a step and after it, drawn."""
    return as_json(scatter_figure.figure(picture, decided, loaded.graph.groups[index], mode))


@lru_cache(maxsize=4)
def images(name: str, folder: str | None, split: str = "test") -> core.ImageSet:
    """A set of images (None: of the default folder); for workers, reading may take a while."""
    return core.images(name, split, folder or os.environ.get(data.FOLDER_VARIABLE))


@lru_cache(maxsize=16)
def tally(module: torch.nn.Module, of: core.ImageSet) -> jobs.Tally:
    """The shared count of a network's right answers on a set of images, by identity of both."""
    return jobs.Tally(module, of)


def clear() -> None:
    """Forget everything, for tests."""
    st.cache_resource.clear()
    st.cache_data.clear()
    for cached in (step, graph_picture, plan_picture, scatter_picture):
        cached.cache_clear()
    _compressed.clear()
    images.cache_clear()
    tally.cache_clear()


@st.cache_resource(max_entries=16, show_spinner=False)
def pca(name: str, index: int, recipe: core.Recipe) -> embedding.Embedding:
    """The PCA picture of a group; `recipe` has sparsity 0, for one picture serves them all."""
    return embedding.embed(network(name).prepared, index, recipe, "pca")


@st.cache_resource(max_entries=16, show_spinner=False)
def umap(
    name: str,
    index: int,
    recipe: core.Recipe,
    sparsities: tuple[float, ...] = (),
    _mode: str = "light",
) -> jobs.Job:
    """The job that fits the UMAP picture of a group, started when first asked for.

    Once it can be drawn, the fused channels of `sparsities` are placed in it and both pictures of
    each drawn, so that a slider has to wait for nothing; one at a time, for somebody may wait for
    another group's. `_mode`: of whoever asked first.
    """
    loaded = network(name)

    def work(job: jobs.Job) -> embedding.Embedding:
        job.pause(AFTER_THE_PAGE)
        job.report(0.0, "Fitting UMAP")
        picture = embedding.embed(loaded.prepared, index, recipe, "umap")
        settle(picture, sparsities)
        return picture

    def settle(picture: embedding.Embedding, left: tuple[float, ...]) -> None:
        def place(job: jobs.Job) -> None:
            job.hold()
            decided = step(loaded, index, recipe.replace(sparsity=left[0]))
            picture.settle(decided)
            job.hold()
            plan_picture(loaded, index, decided, _mode)
            scatter_picture(loaded, index, picture, decided, _mode)
            settle(picture, left[1:])

        if left:
            jobs.Job(place).start("picture")

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
