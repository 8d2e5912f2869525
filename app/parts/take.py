"""Take it with you: the data of all figures, the page's state, a script, the smaller network.

Nothing is built before somebody asks for it: the section is closed at first, and each file is made
when its button is pressed.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import cache, controls, jobs, link, take
from app.page import Page, live
from app.parts import slide
from core import zoo
from core.compress import Step
from core.errors import ExplorerError
from core.evaluate import Accuracy


def show(page: Page, told: dict[str, str], step: Step | None) -> None:
    """The section; `told` is the page's link, `step` None while it is being decided."""
    st.fragment(section)(page, told, step)


def section(page: Page, told: dict[str, str], step: Step | None) -> None:
    """The section by itself: opening it draws nothing else anew."""
    say = page.say
    box = st.expander(
        say("take.title"), key="take", on_change="rerun", icon=":material/download:"
    )  # fmt: skip
    with box:
        if not box.open:
            return
        left, right = st.columns(2, gap="large")
        with left:
            if step is None:
                st.info(say("take.deciding"))
            else:
                _data(page, step)
        with right:
            _program(page)
            _network(page)
        _state(page, told)


def name_of(page: Page, what: str) -> str:
    """The name of a file: what it holds, of which network, group and sparsity."""
    choice = page.choice
    return f"{choice.network}-group{choice.group}-{choice.recipe.sparsity:g}-{what}"


def _button(page: Page, what: str, make: Callable[[], bytes], ending: str = "csv") -> None:
    mime = "application/json" if ending == "json" else "text/csv"
    st.download_button(
        page.say(f"take.{what}"), make, name_of(page, f"{what}.{ending}"), mime,
        key=page.key(f"take_{what}"), on_click="ignore", icon=":material/table:", width="stretch",
    )  # fmt: skip


def known(run: jobs.Job | None) -> dict[str, Accuracy]:
    """The accuracies that a run has measured so far, by network."""
    tallies = (run.result if run is not None else None) or {}
    return {name: tally.accuracy for name, tally in tallies.items() if tally.accuracy}


def _data(page: Page, step: Step) -> None:
    say, loaded, choice = page.say, page.loaded, page.choice
    st.markdown(f"**{say('take.data')}**")
    _button(page, "plan", lambda: take.plan(step))
    picture = st.session_state.get(page.key("picture_shown"))
    if picture is not None and len(picture.before) == page.group.width:
        _button(page, "channels", lambda: take.channels(picture, step))
    run = st.session_state.get(page.key("run"))
    if run is not None and not run.error:
        _button(page, "accuracies", lambda: take.accuracies(known(run)))
    kept = ((choice.group, tuple(step.measures.kept.tolist())),)
    _button(
        page, "layers",
        lambda: take.layers(loaded.graph, loaded.empty, cache.hollow(loaded, kept)),
    )  # fmt: skip
    _button(
        page, "sizes",
        lambda: take.sizes(cache.size(loaded.name, ()), cache.size(loaded.name, kept)),
    )  # fmt: skip
    st.caption(say("take.data_note"))


def _program(page: Page) -> None:
    say, choice = page.say, page.choice
    network = zoo.network(choice.network)
    st.markdown(f"**{say('take.script')}**")
    file = "reproduce.py"
    run = st.session_state.get(page.key("run"))
    st.download_button(
        say("take.script_button"),
        lambda: take.script(
            choice, network.images, network.input_shape, page.folder, known(run), file, say
        ),
        file, "text/x-python", key=page.key("take_script"), on_click="ignore",
        icon=":material/code:", width="stretch",
    )  # fmt: skip
    st.caption(say("take.script_note", file=file))


def _network(page: Page) -> None:
    """The smaller network: made off the page, then there to be downloaded."""
    say, choice = page.say, page.choice
    st.markdown(f"**{say('take.network')}**")
    wanted = (choice.network, choice.recipe, page.folder)
    state, key = st.session_state, page.key("packing")
    if state.get(key, (None,))[0] != wanted:
        if state.pop(key, None) is not None:
            state.pop(page.key("take_network"), None)
        if st.button(
            say("take.network_button"), key=page.key("take_pack"), icon=":material/inventory_2:",
            width="stretch",
        ):  # fmt: skip
            state[key] = (wanted, cache.packing(*wanted))
            st.rerun(scope="fragment")
        st.caption(say("take.network_note"))
        return
    job: jobs.Job = state[key][1]
    live(job, 0.5, lambda drawn_in: _packing(page, job, wanted))


def _packing(page: Page, job: jobs.Job, wanted: tuple) -> None:
    say, key = page.say, page.key("packing")
    if job.running:
        st.progress(job.share, say("take.packing"))
        if st.button(say("take.cancel"), key=page.key("take_cancel")):
            job.cancel()
            st.rerun()
        return
    if job.error or job.cancelled:
        st.info(job.error or say("take.cancelled"))
        if st.button(say("take.again"), key=page.key("take_again")):
            cache.packing.clear(*wanted)  # neither errors nor cancelled work are remembered
            del st.session_state[key]
            st.rerun()
        return
    st.download_button(
        say("take.network_ready", size=len(job.result) / 1e6), job.result,
        name_of(page, "smaller.zip"), "application/zip", key=page.key("take_network"),
        on_click="ignore", icon=":material/download:", width="stretch", type="primary",
    )  # fmt: skip
    st.caption(say("take.network_how"))


def _state(page: Page, told: dict[str, str]) -> None:
    say = page.say
    st.markdown(f"**{say('take.state')}**")
    left, right = st.columns(2, gap="large")
    with left:
        _button(page, "save", lambda: link.as_json(told).encode(), "json")
        st.caption(say("take.state_note"))
    with right:
        file = st.file_uploader(
            say("take.open"), "json", key=page.key("take_open"), max_upload_size=1
        )
        if file is not None:
            _opened(page, file.getvalue())


def _opened(page: Page, content: bytes) -> None:
    """Say what an uploaded state holds, and go there if the person wants to."""
    say = page.say
    try:
        given = take.read_state(content, say)
    except ExplorerError as error:
        st.error(str(error), icon=":material/error:")
        return
    state, notes = link.read(given, page.choice.network, controls.widths, say)
    for note in notes:
        st.info(note, icon=":material/link:")
    st.markdown(say("take.holds", state=slide.line(link.choice_of(state), say)))
    if st.button(
        say("take.go"), key=page.key("take_go"), type="primary",
        on_click=controls.open_state, args=(state,),
    ):  # fmt: skip
        st.rerun()  # the page: the section redraws only itself
