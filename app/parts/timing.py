"""Latency of whole networks: dense and smaller ones in turns, on the machine of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import streamlit as st

from app import cache, controls, runs
from app.charts import as_json, chart
from app.figures import latency as figures
from app.figures.latency import Timed
from app.jobs import Job
from app.page import Page, captions
from app.parts import run
from core import zoo
from core.latency import Turns, turns
from core.recipe import Recipe

#: Rounds that count, by images at once: a round of many images takes seconds.
RUNS = {1: 50, 32: 15}
#: What was asked to go, and the plain pruning that makes the widths.
Wanted = Sequence[tuple[float, Recipe]]


@dataclass(frozen=True)
class Known:
    """What was timed so far, with what was asked of each network, its parameters and operations."""

    timed: Turns
    asked: tuple[float, ...]
    sizes: tuple[tuple[int, int], ...]

    def rows(self) -> list[Timed]:
        """As the figure takes them, the dense network first."""
        parameters, macs = self.sizes[0]
        return [
            Timed(
                asked, size[1] / macs, 1 - size[0] / parameters, self.timed.latency(place),
                self.timed.ratio(place),
            )
            for place, (asked, size) in enumerate(zip(self.asked, self.sizes, strict=True))
        ]  # fmt: skip


def show(page: Page, name: str, wanted: Callable[[Job], Wanted]) -> None:
    """The section of the page. `wanted` is called in the worker, `name` tells it from others."""
    say, loaded = page.say, page.loaded
    st.markdown(f"#### {say('latency.title')}")
    st.markdown(say("latency.lead"))
    batch = int(controls.pick_view("batch", labelled=True))
    file = runs.folder() / f"latency-{loaded.card.sha256[:12]}-{name}-{batch}.json"

    def work(job: Job) -> Known:
        pairs = wanted(job)
        job.report(0.0, say("latency.making"))
        modules, sizes = [loaded.module], [cache.size(loaded.name, ())]
        for _, recipe in pairs:
            modules.append(cache.compressed(loaded, recipe, page.folder).module)
            sizes.append(cache.size_of(loaded.name, recipe))
            job.hold()
        asked = (0.0, *(share for share, _ in pairs))
        costs = tuple((one.parameters, one.macs) for one in sizes)
        shape = zoo.network(loaded.name).input_shape
        for timed in turns(modules, shape, RUNS[batch], batch, between=job.hold):
            job.result = Known(timed, asked, costs)
            told = say("latency.running", done=timed.runs, all=RUNS[batch])
            job.report(timed.runs / RUNS[batch], told)
        write(file, job.result)
        return job.result

    run.show(
        page, ("latency", loaded.name, name, batch), work, partial(draw, page),
        partial(read, file), lambda known: bool(known) and known.timed.runs == RUNS[batch],
        start="latency.start",
    )  # fmt: skip


def draw(page: Page, known: Known | None, drawn_in: str) -> None:
    """Time against operations, and both with the spread as a table."""
    if not known:
        return
    say, rows = page.say, known.rows()
    st.markdown(f"**{figures.headline(rows, say)}**")
    left, right = st.columns(2, gap="large")
    with left:
        picture = as_json(figures.figure(rows, drawn_in, say))
        chart(picture, page.key("latency"), figures.alt(rows, say))
        captions(figures.caption(rows, say))
    with right:
        told = figures.rows(rows, say)
        narrow = {name: st.column_config.Column(width="small") for name in told[0]}
        del narrow[say("latency.column_quartiles")]
        st.dataframe(
            told, hide_index=True, key=page.key("latency_table"), alt=figures.alt(rows, say),
            column_config=narrow,
        )  # fmt: skip


def write(file: Path, known: Known) -> None:
    """Keep what was timed, run by run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    timed = known.timed
    told = {
        "asked": known.asked, "sizes": known.sizes, "seconds": timed.seconds.tolist(),
        "batch": timed.batch, "threads": timed.threads, "warmup": timed.warmup,
    }  # fmt: skip
    partly = file.with_suffix(".partial")
    partly.write_text(json.dumps(told), encoding="utf-8")
    partly.replace(file)


def read(file: Path) -> Known | None:
    """What was kept; None if there is nothing."""
    if not file.exists():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    timed = Turns(np.array(told["seconds"]), told["batch"], told["threads"], told["warmup"])
    return Known(timed, tuple(told["asked"]), tuple(map(tuple, told["sizes"])))
