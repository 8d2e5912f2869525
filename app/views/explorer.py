"""The explorer: one network, one group, one recipe; graph, accuracy, plan and channels."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable

import streamlit as st

from app import cache, controls, jobs
from app.page import Page, decide, live
from app.parts import (
    accuracy,
    channel,
    curves,
    download,
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
from app.speech import speech
from core import data, zoo
from core.compress import Step
from core.errors import ExplorerError

#: INTRA_FUSION_LOG=info lets the console say how long each page took (tests/measure_page.py).
log = logging.getLogger("intra-fusion")
if level := os.environ.get("INTRA_FUSION_LOG", "").upper():
    logging.basicConfig()
    log.setLevel(level if level in logging.getLevelNamesMapping() else "INFO")


def data_dir() -> str | None:
    """The folder named on the command line: `streamlit run app/main.py -- --data-dir FOLDER`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data-dir")
    return parser.parse_known_args(sys.argv[1:])[0].data_dir


def main() -> None:
    begun = time.monotonic()
    with jobs.page_first():
        draw()
    log.info("page drawn in %.0f ms", 1000 * (time.monotonic() - begun))


def draw() -> None:
    """The whole page, for the person whose session this is."""
    folder = data_dir()
    try:
        available, trouble = data.available(folder), None
    except ExplorerError as error:
        available, trouble = {"digits": ""}, str(error)
    here = "cifar10" in available and "vgg11_bn-cifar10" in zoo.shipped()
    default = "vgg11_bn-cifar10" if here else "vgg11_bn-digits"
    notes = controls.read_link(default)

    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        lesson.pick()
        if "cifar10" not in available and lesson.wants_images():
            download.offer(None if trouble else folder, speech())
    for note in notes:
        st.info(note, icon=":material/link:")
    if trouble:
        st.warning(trouble, icon=":material/folder_off:")

    try:
        loaded = cache.network(controls.pick_network())
        choice = controls.pick_recipe(loaded)
        controls.pick_language()
        told = controls.write_link(choice)
        page = Page(loaded, choice, None if trouble else folder, speech())
        slide.show(page)
        with lesson.beside(told):
            step = show(page)
        take.show(page, told, step)
    except ExplorerError as error:
        st.error(str(error), icon=":material/error:")
    cache.warm_up()


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


main()
