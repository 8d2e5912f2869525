"""Landscape: accuracy and loss in the plane of weights through dense, pruned and fused network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import streamlit as st

from app import cache, controls, frame, runs
from app.charts import as_json, chart
from app.figures import landscape as figures
from app.jobs import Job
from app.page import Page, captions
from app.parts import run
from core import landscape, zoo
from core.evaluate import Accuracy
from core.landscape import Frame, Height, Place, Step

#: Points a side of the finest grid.
SIDE = 17
#: Points on each straight line between two networks.
BETWEEN = 7
#: Images: every point is another network, and needs all of them.
IMAGES = 500


@dataclass(frozen=True)
class Known:
    """What was measured so far: the plane's frame and networks, the lines, the grid."""

    frame: Frame
    spots: dict[str, Place]
    lines: dict[Step, Height]
    grid: dict[Place, Height]

    @property
    def whole(self) -> bool:
        return len(self.grid) == SIDE * SIDE


def body(page: Page, told: dict[str, str]) -> None:
    say, loaded, choice = page.say, page.loaded, page.choice
    st.subheader(say("landscape.heading"), anchor=False)
    st.markdown(say("landscape.lead"))
    quantity = controls.pick_view("height", labelled=True)
    key = ("landscape", loaded.name, choice.recipe, IMAGES, page.folder)
    named = f"landscape-{loaded.card.sha256[:12]}-{choice.recipe.key}-{IMAGES}.json"
    file = runs.folder() / named

    def work(job: Job) -> Known:
        job.report(0.0, say("accuracy.multiplying"))
        pruned, fused = (
            cache.compressed(loaded, recipe, page.folder)
            for recipe in (choice.pruning, choice.recipe)
        )
        job.report(0.0, say("accuracy.reading"))
        tested = cache.images(zoo.network(loaded.name).images, page.folder)
        plane = landscape.plane(loaded.module, loaded.graph, pruned, fused)
        surface = landscape.Surface(plane, tested, min(IMAGES, len(tested)))
        before = read(file)
        lines, grid = (dict(before.lines), dict(before.grid)) if before else ({}, {})
        between = lambda done: job.hold()  # noqa: E731

        def tell(sentence: str) -> None:
            known = Known(plane.frame, dict(plane.spots), dict(lines), dict(grid))
            job.result = known
            write(file, known)
            every = SIDE * SIDE + 3 * BETWEEN + 3
            job.report((len(grid) + len(lines)) / every, sentence)

        tell(say("landscape.walking"))
        for step, height in landscape.walk(surface, BETWEEN, lines, between):
            lines[step] = height
            tell(say("landscape.walking"))
        for place, height in landscape.explore(surface, SIDE, grid, between):
            grid[place] = height
            tell(say("landscape.exploring", done=len(grid), all=SIDE * SIDE))
        return job.result

    run.show(
        page, key, work, partial(draw, page, quantity), partial(read, file),
        lambda known: known is not None and known.whole,
    )  # fmt: skip


def draw(page: Page, quantity: str, known: Known | None, drawn_in: str) -> None:
    """The map and the lines between the networks."""
    say = page.say
    if known is None:
        st.info(say("landscape.nothing", images=IMAGES), icon=":material/landscape:")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        if known.grid:
            picture = figures.figure(known.grid, known.frame, known.spots, drawn_in, quantity, say)
            alt = figures.alt(known.grid, known.spots, known.lines, say)
            chart(as_json(picture), page.key("landscape"), alt)
            captions(figures.caption(total(known), say))
        else:
            st.caption(say("landscape.soon"))
    with right:
        if known.lines:
            picture = figures.lines(known.lines, drawn_in, say)
            chart(as_json(picture), page.key("walk"), figures.alt_lines(known.lines, say))
            captions(figures.caption_lines(total(known), say))


def total(known: Known) -> int:
    """How many images each height rests on."""
    return next(iter((known.lines | known.grid).values())).accuracy.total


def write(file: Path, known: Known) -> None:
    """Keep what was measured; the file is whole at any moment."""
    rows = {"lines": known.lines, "grid": known.grid}
    told = {
        "frame": [known.frame.left, known.frame.bottom, known.frame.side],
        "spots": {name: list(place) for name, place in known.spots.items()},
    } | {
        name: [
            [list(at), one.accuracy.correct, one.accuracy.total, one.loss]
            for at, one in held.items()
        ]
        for name, held in rows.items()
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(told), encoding="utf-8")
    partial.replace(file)


def read(file: Path) -> Known | None:
    """What was kept; None if nothing was.."""
    if not file.exists():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    held = [
        {tuple(at): Height(Accuracy(right, total), loss) for at, right, total, loss in told[name]}
        for name in ("lines", "grid")
    ]
    spots = {name: tuple(place) for name, place in told["spots"].items()}
    return Known(Frame(*told["frame"]), spots, *held)


frame.draw(body)
