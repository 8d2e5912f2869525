"""The explorer: one network, one group, one recipe; graph, accuracy, plan and channels."""

from __future__ import annotations

import argparse
import sys

import streamlit as st

from app import cache, controls, jobs
from app.page import Page, decide, live
from app.parts import accuracy, channel, curves, download, graph, pin, plan, scatter, sizes
from app.speech import speech
from core import data, zoo
from core.errors import ExplorerError


def data_dir() -> str | None:
    """The folder named on the command line: `streamlit run app/main.py -- --data-dir FOLDER`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data-dir")
    return parser.parse_known_args(sys.argv[1:])[0].data_dir


def main() -> None:
    with jobs.page_first():
        draw()


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

    for note in notes:
        st.info(note, icon=":material/link:")
    if trouble:
        st.warning(trouble, icon=":material/folder_off:")
    if "cifar10" not in available:
        download.offer(None if trouble else folder, speech())

    try:
        loaded = cache.network(controls.pick_network())
        choice = controls.pick_recipe(loaded)
        controls.pick_language()
        controls.write_link(choice)
        show(Page(loaded, choice, None if trouble else folder, speech()))
    except ExplorerError as error:
        st.error(str(error), icon=":material/error:")
    cache.warm_up()


def show(page: Page) -> None:
    """Everything below the title, for a choice that is valid."""
    other = pin.pinned(page)
    step = decide(page)
    if isinstance(step, jobs.Job):
        graph.show(page)
        if step.error:
            st.info(step.error, icon=":material/image_not_supported:")
        else:
            live(
                step, 0.5,
                lambda drawn_in: st.progress(
                    step.share, step.sentence or page.say("page.waiting")
                ),
            )  # fmt: skip
        return
    left, right = st.columns([3, 2], gap="large")
    # What a move of the slider changes most is sent first.
    if other is None:
        below_left, below_right = st.columns(2, gap="large")
        with below_left:
            plan.show(page, step)
        with below_right:
            scatter.show(page, step)
    else:
        with st.container():
            pin.side_by_side(page, step, other, (plan.show, scatter.show))
    with left:
        graph.show(page)
    with right:
        accuracy.show(page, other)
    channel.show(page, step)
    with left:
        sizes.show(page, step, other)  # last: PyTorch takes a second to count the first time
        curves.show(page, other)


main()
