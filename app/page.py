"""What all parts of the page share: who looks at what, in which theme and language, drawn live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from app import cache, jobs, values
from app.charts import Mark
from app.figures import theme
from app.language import Texts
from app.link import Choice
from core.compress import Step
from core.groups import Group


def mode() -> str:
    """`light` or `dark`, as the browser shows it."""
    return "dark" if st.context.theme.type == "dark" else "light"


@dataclass(frozen=True)
class Page:
    """One choice, as one person looks at it.

    loaded : the network. choice : what is chosen of it. folder : where images are looked for, None
    for the default. say : the texts. suffix : of the keys of figures, "" but for the pinned
    setting, whose figures stand beside the chosen one's.
    """

    loaded: cache.Loaded
    choice: Choice
    folder: str | None
    say: Texts
    suffix: str = ""

    @property
    def group(self) -> Group:
        return self.loaded.graph.groups[self.choice.group]

    def key(self, name: str) -> str:
        """The key of a figure or widget."""
        return name + self.suffix


def decide(page: Page) -> Step | jobs.Job:
    """What is decided for the chosen group, or the job that does where that takes its time."""
    loaded, choice = page.loaded, page.choice
    if not cache.takes_long(choice.recipe):
        with st.spinner(page.say("page.solving")):
            return cache.step(loaded, choice.group, choice.recipe)
    wanted = (loaded.name, choice.group, choice.recipe, page.folder)
    job = cache.deciding(*wanted)
    if job.cancelled:
        cache.deciding.clear(*wanted)
        job = cache.deciding(*wanted)
    key = page.key("deciding")
    before, st.session_state[key] = st.session_state.get(key), job
    if before is not None and before is not job and before.running:
        before.cancel()  # nobody here waits for it any more; whoever else does starts it anew
    if not job.running and job.error is None:
        return job.result
    if job.error:
        cache.deciding.clear(*wanted)  # an error is not remembered
    return job


def live(job: jobs.Job | jobs.Several, every: float, draw: Callable[[str], None]) -> None:
    """Draw a part of the page again and again while a job runs, and the whole page at its end.

    `draw` is given the theme to draw in. The browser tells its theme only after the first run, so
    a part that finds it changed has the whole page drawn again; so does one in which a channel was
    clicked, for other parts show it, too.
    """
    polling, drawn_in = job.running, mode()
    channel_drawn = values.get("channel")

    def part() -> None:
        # Before it is drawn: what was just clicked would lose its mark until the page is drawn.
        if mode() != drawn_in or values.get("channel") != channel_drawn:
            st.rerun()
        ended = polling and not job.running
        job.look()
        draw(drawn_in)
        if ended:
            st.rerun()

    st.fragment(part, run_every=every if polling else None)()


def mark(page: Page, place: int, drawn_in: str) -> Mark:
    """How a clicked channel is marked at once; `place`: where customdata name it."""
    return Mark(f"{page.loaded.name} {page.choice.group}", place, theme.CHOSEN[drawn_in])


def captions(sentences: tuple[str, str]) -> None:
    """What a figure shows, and what not to read into it."""
    st.caption(f"{sentences[0]} *{sentences[1]}*")
