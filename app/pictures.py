"""Pictures that are remembered, and drawn before anybody asks for them; all as JSON.

Like `app.cache`: shared by everybody, bounded, and never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

import core
from app import cache, jobs
from app.charts import as_json
from app.figures import curves as curves_figure
from app.figures import graph as graph_figure
from app.figures import plan as plan_figure
from app.figures import ribbons as ribbons_figure
from app.figures import scatter as scatter_figure
from app.language import ENGLISH, Texts, texts
from core import embedding
from core.compress import Step


@lru_cache(maxsize=64)
def graph_drawing(loaded: cache.Loaded, index: int, fold: str) -> graph_figure.Drawing:
    """What of the dependency graph is drawn where: the same for every sparsity."""
    return graph_figure.arrange(loaded.graph, index, fold)


@lru_cache(maxsize=64)
def graph_picture(loaded: cache.Loaded, index: int, fold: str, mode: str, say: Texts) -> str:
    """The dependency graph, drawn: the same for every sparsity. As JSON, like all pictures here."""
    return as_json(graph_figure.figure(graph_drawing(loaded, index, fold), mode, say=say))


@lru_cache(maxsize=64)
def plan_picture(
    loaded: cache.Loaded, index: int, decided: Step, mode: str, kind: str = "heatmap",
    order: str = "structure", near: int | None = None, say: Texts = ENGLISH,
) -> str:  # fmt: skip
    """The plan of a step, drawn as `heatmap` or as `ribbons`."""
    draw = ribbons_figure.figure if kind == "ribbons" else plan_figure.figure
    return as_json(draw(decided, loaded.graph.groups[index], mode, order, near, say))


@lru_cache(maxsize=96)
def scatter_picture(
    loaded: cache.Loaded,
    index: int,
    picture: embedding.Embedding,
    decided: Step,
    mode: str,
    say: Texts = ENGLISH,
) -> str:
    """The channels before a step and after it, drawn."""
    group = loaded.graph.groups[index]
    return as_json(scatter_figure.figure(picture, decided, group, mode, say))


@lru_cache(maxsize=64)
def curves_picture(
    settings: tuple[tuple[str, str, core.Recipe, core.Recipe], ...], mode: str, say: Texts
) -> str:
    """Recorded accuracies against sparsity, drawn; `settings`: (letter, network, pruning, fusion),
    both recipes with sparsity 0: one picture serves them all.
    """
    drawn, dense = [], None
    for letter, name, pruning, fusion in settings:
        found = cache.recorded(name)
        drawn.append(curves_figure.Curves(found.curve(pruning), found.curve(fusion), letter))
        dense = found.dense
    return as_json(curves_figure.figure(drawn, dense, mode, say))


@st.cache_resource(max_entries=32, show_spinner=False)
def decided_ahead(
    name: str, index: int, recipe: core.Recipe, sparsities: tuple[float, ...], _now: float
) -> None:
    """Solve the transport problems of these sparsities in the background, those near `_now` first.

    They take longest of all that a move of the slider asks for, and need no picture: it is begun
    while UMAP is still being fitted. One at a time, for somebody may wait for another group's.
    """
    loaded = cache.network(name)

    def solve(left: list[float]) -> None:
        def one(job: jobs.Job) -> None:
            job.hold()
            cache.step(loaded, index, recipe.replace(sparsity=left[0]))
            solve(left[1:])

        if left:
            jobs.Job(one).start("examine")

    solve(sorted(sparsities, key=lambda sparsity: abs(sparsity - _now)))


@st.cache_resource(max_entries=32, show_spinner=False)
def ahead(
    name: str,
    index: int,
    recipe: core.Recipe,
    sparsities: tuple[float, ...],
    mode: str,
    language: str,
    _picture: embedding.Embedding,
) -> None:
    """Draw both pictures of these sparsities in the background, so that a slider waits for nothing.

    One at a time, for somebody may wait for another group's. `_picture`: UMAP's, which all recipes
    of a group share.
    """
    loaded, say = cache.network(name), texts(language)

    def draw(left: tuple[float, ...]) -> None:
        def one(job: jobs.Job) -> None:
            job.hold()
            decided = cache.step(loaded, index, recipe.replace(sparsity=left[0]))
            _picture.after(decided)
            job.hold()
            # As the page asks for it: what is remembered is found by its arguments as they are.
            plan_picture(loaded, index, decided, mode, "heatmap", "structure", None, say)
            scatter_picture(loaded, index, _picture, decided, mode, say)
            draw(left[1:])

        if left:
            jobs.Job(one).start("picture")

    draw(sparsities)


@dataclass(frozen=True, eq=False)
class Frame:
    """What the page shows of the channels at one sparsity: what is decided, and the figure."""

    sparsity: float
    decided: Step
    drawn: str


@st.cache_resource(max_entries=6, show_spinner=False)
def frames(
    name: str,
    index: int,
    recipe: core.Recipe,
    sparsities: tuple[float, ...],
    method: str,
    mode: str,
    language: str,
    folder: str | None,
    _picture: embedding.Embedding,
) -> jobs.Job:
    """The job that draws the channels at each of these sparsities; its result is a list of `Frame`.

    `_picture`: the group's, by `method`.
    """
    loaded, say = cache.network(name), texts(language)

    def work(job: jobs.Job) -> list[Frame]:
        return [frame(job, number) for number in range(len(sparsities))]

    def frame(job: jobs.Job, number: int) -> Frame:
        wanted = recipe.replace(sparsity=sparsities[number])

        def report(within: float, what: str) -> None:
            told = say("scatter.preparing", share=sparsities[number])
            job.report((number + within) / len(sparsities), told)

        report(0.0, "")
        job.hold()
        if cache.takes_long(wanted):
            decided = cache.decided_slowly(loaded, index, wanted, folder, job, report)
        else:
            decided = cache.step(loaded, index, wanted)
        drawn = scatter_picture(loaded, index, _picture, decided, mode, say)
        return Frame(sparsities[number], decided, drawn)

    return jobs.Job(work).start("decide")


def clear() -> None:
    """Forget every picture that Streamlit's own caches don't hold, for tests."""
    for cached in (graph_drawing, graph_picture, plan_picture, scatter_picture, curves_picture):
        cached.cache_clear()
