"""A run on the page: start it, see how far it is, cancel it, go on; what it found is drawn live."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import streamlit as st

from app import runs
from app.jobs import Job
from app.page import Page, live, mode
from core.errors import DataMissing


def show(
    page: Page,
    key: tuple[Hashable, ...],
    work: Callable[[Job], object],
    draw: Callable[[object, str], None],
    saved: Callable[[], object] = lambda: None,
    complete: Callable[[object], bool] = lambda result: False,
    pauses: bool = False,
    above: bool = False,
    start: str = "run.start",
) -> None:
    """Draw what is known of a run, and its buttons.

    Parameters
    ----------
    key : all that its outcome depends on; whoever looks at the same sees the same run.
    work : the run itself. It sets `job.result` as it goes, to values that nobody changes.
    draw : given what is known (None for nothing) and the theme.
    saved : what a former run has left, while there is none now.
    complete : whether that is all there is to measure. pauses : whether a run that is stopped goes
    on from the very step it stands at; its button says so. above : whether the buttons stand above
    what is drawn, where that is long. start : key of the text of the button that starts it.
    """
    job = runs.found(key)
    before = saved() if job is None else None

    def part(drawn_in: str) -> None:
        known = before if job is None else job.result
        told = (page, key, work, job, before is not None, complete(known), pauses, start)
        if above:
            _buttons(*told)
        draw(known, drawn_in)
        if not above:
            _buttons(*told)

    if job is None:
        part(mode())
    else:
        live(_Watched(job), 0.4 if job.stopping else 0.8, part)


class _Watched:
    """A run, drawn again and again until its worker has put its last piece of work down."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def running(self) -> bool:
        return self._job.running or self._job.stopping

    def look(self) -> None:
        self._job.look()


def _buttons(
    page: Page,
    key: tuple[Hashable, ...],
    work: Callable[[Job], object],
    job: Job | None,
    begun: bool,
    whole: bool,
    pauses: bool,
    first: str,
) -> None:
    say, name = page.say, page.key(f"run_{key[0]}")

    def start() -> None:
        runs.start(key, work)

    if job is not None and job.running:
        st.progress(job.share, job.sentence or say("run.waiting"))
        label, icon = ("run.pause", "pause") if pauses else ("run.cancel", "stop")
        if st.button(say(label), key=f"{name}_cancel", icon=f":material/{icon}:"):
            job.cancel()
            st.rerun()
        return
    if job is not None and job.stopping:
        st.progress(job.share, say("run.pausing" if pauses else "run.stopping"))
        return
    if job is not None and job.error:
        if isinstance(job.fault, DataMissing):
            st.info(job.error, icon=":material/image_not_supported:")
        else:
            st.warning(job.error, icon=":material/error:")
    if whole:
        st.caption(f":material/check: {say('run.done')}")
        return
    going = begun or (job is not None and job.cancelled)
    st.button(
        say("run.go_on" if going else first), key=f"{name}_start", on_click=start,
        type="primary", icon=":material/play_arrow:",
    )  # fmt: skip
