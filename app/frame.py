"""What every page has around its own: the settings, notes on the link, errors, the speed told."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable

import streamlit as st

from app import cache, controls, jobs
from app.page import Page
from app.parts import download
from app.speech import speech
from core import data, zoo
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


def draw(
    body: Callable[[Page, dict[str, str]], None],
    tools: Callable[[], None] = lambda: None,
    wants_images: Callable[[], bool] = lambda: True,
) -> None:
    """Draw a page: its settings, then `body`, given the choice and its link.

    `tools` are drawn in the row under the title, before the offer to download images, which is made
    where somebody `wants_images`.
    """
    begun = time.monotonic()
    with jobs.page_first():
        _draw(body, tools, wants_images)
    log.info("page drawn in %.0f ms", 1000 * (time.monotonic() - begun))


def _draw(body, tools, wants_images) -> None:
    folder = data_dir()
    try:
        available, trouble = data.available(folder), None
    except ExplorerError as error:
        available, trouble = {"digits": ""}, str(error)
    here = "cifar10" in available and "vgg11_bn-cifar10" in zoo.shipped()
    notes = controls.read_link("vgg11_bn-cifar10" if here else "vgg11_bn-digits")

    with st.container(horizontal=True, vertical_alignment="center", key="tools"):
        tools()
        if "cifar10" not in available and wants_images():
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
        body(Page(loaded, choice, None if trouble else folder, speech()), told)
    except ExplorerError as error:
        st.error(str(error), icon=":material/error:")
    cache.warm_up()
