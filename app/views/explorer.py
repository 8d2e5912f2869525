"""The explorer: one network, one group, one recipe; graph, accuracy, plan and channels."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import frame, jobs
from app.page import Page, decide, live
from app.parts import (
    accuracy,
    channel,
    curves,
    graph,
    lesson,
    pin,
    plan,
    scatter,
    sizes,
    slide,
    strip,
    take,
)  # fmt: skip
from core.compress import Step


def draw() -> None:
    """The whole page, for the person whose session this is."""

    def body(page: Page, told: dict[str, str]) -> None:
        slide.show(page)
        with lesson.beside(told):
            step = show(page)
        take.show(page, told, step)

    frame.draw(body, lesson.pick, lesson.wants_images)


def show(page: Page) -> Step | None:
    """Everything below the title, for a choice that is valid; what was decided, if it is yet."""
    other = pin.pinned(page)
    step = decide(page)
    decided = None if isinstance(step, jobs.Job) else step
    lesson.framed(page, "strip", lambda: strip.show(page, decided))
    if decided is None:
        lesson.framed(page, "graph", lambda: graph.show(page, None))
        if step.error:
            st.info(step.error, icon=":material/image_not_supported:")
        else:
            live(
                step, 0.5,
                lambda drawn_in: st.progress(
                    step.share, step.sentence or page.say("page.waiting")
                ),
            )  # fmt: skip
        return None
    place = lesson.places(other is not None)

    def draw(name: str, part: Callable[[], None]) -> None:
        with place[name]:
            lesson.framed(page, name, part)

    def above() -> None:
        draw("graph", lambda: graph.show(page, decided))
        draw("accuracy", lambda: accuracy.show(page, other))

    # At the first view from the top, so that nothing is pushed down; afterwards what a move of the
    # slider changes most is sent first.
    opening = "shown" not in st.session_state
    st.session_state["shown"] = True
    if opening:
        above()
    if other is None:
        draw("plan", lambda: plan.show(page, decided))
        draw("scatter", lambda: scatter.show(page, decided))
    else:
        both = (
            lambda one, its: lesson.framed(one, "plan", lambda: plan.show(one, its)),
            lambda one, its: lesson.framed(one, "scatter", lambda: scatter.show(one, its)),
        )
        with place["plan"]:
            pin.side_by_side(page, decided, other, both)
    if not opening:
        above()
    draw("curves", lambda: curves.show(page, other))
    draw("channel", lambda: channel.show(page, decided))
    # Last: PyTorch takes a second to count the first time.
    draw("sizes", lambda: sizes.show(page, decided, other))
    return decided


draw()
