"""A pinned setting, A, beside the present one, B: what differs, both in every figure, and buttons.

The pinned choice stands in the session's state (`pin`) and in the link. Its parts are drawn with
the same functions as the present ones, under keys of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st

from app import cache, controls, jobs
from app.language import Texts
from app.link import SETTINGS, TABLES, Choice
from app.page import Page, decide, live
from core.compress import Step
from core.errors import ExplorerError

#: The keys' suffix of everything that is drawn of the pinned setting.
SUFFIX = "-a"
#: What tells settings apart, as headers name it.
FIELDS = ("network", "group", "sparsity", "importance", "rule", "solver")


def button(page: Page) -> None:
    """Pin the present setting; nothing where one is pinned, for then there is a bar."""
    if st.session_state.get("pin") is None:
        st.button(
            page.say("pin.button"), help=page.say("pin.button_help"), key="pin_now",
            icon=":material/push_pin:", on_click=pin, args=(page.choice,),
        )  # fmt: skip


def pinned(page: Page) -> Page | None:
    """The page of the pinned setting, below a bar that tells it from the present one; or None.

    The chosen channel is that of the present setting, where both are of the same group.
    """
    choice: Choice | None = st.session_state.get("pin")
    if choice is None:
        return None
    say, now = page.say, page.choice
    heads = titles(choice, now, say)
    with st.container(border=True, key="pin_bar"):
        for head in heads:
            st.markdown(f"**{head}**")
        with st.container(horizontal=True):
            st.button(
                say("pin.swap"), key="pin_swap", icon=":material/swap_horiz:",
                on_click=swap, args=(now,),
            )  # fmt: skip
            st.button(
                say("pin.again"), key="pin_again", icon=":material/push_pin:",
                on_click=pin, args=(now,),
            )  # fmt: skip
            st.button(say("pin.unpin"), key="unpin", icon=":material/close:", on_click=unpin)
        same = (choice.network, choice.group) == (now.network, now.group)
        if not same:
            st.caption(say("pin.other"))
        try:
            loaded = cache.network(choice.network)
        except ExplorerError as error:
            st.warning(say("pin.failed", error=error))
            return None
    choice = replace(choice, channel=now.channel if same else None)
    return Page(loaded, choice, page.folder, say, SUFFIX)


def pin(choice: Choice) -> None:
    """Let a choice be A. What looks at one channel belongs to the present setting alone."""
    unpin()
    st.session_state["pin"] = replace(choice, channel=None)


def unpin() -> None:
    """Forget A; what was counted of it stays counted."""
    state = st.session_state
    state["pin"] = None
    if (run := state.pop("run" + SUFFIX, None)) is not None:
        run.cancel()
        del state["run_for" + SUFFIX]


def swap(now: Choice) -> None:
    """Let A be looked at, and pin what was looked at until now."""
    before = st.session_state["pin"]
    same = (before.network, before.group) == (now.network, now.group)
    pin(now)
    controls.choose(replace(before, channel=now.channel if same else None))


def titles(a: Choice, b: Choice, say: Texts) -> tuple[str, str]:
    """The headers of both settings: what differs, and the same of each."""
    told_a, told_b = _fields(a, say), _fields(b, say)
    differ = [name for name in told_a if told_a[name] != told_b[name]]
    if not differ:
        return say("pin.a", told=say("pin.same")), say("pin.b", told=say("pin.same"))
    return (
        say("pin.a", told=", ".join(told_a[name] for name in differ)),
        say("pin.b", told=", ".join(told_b[name] for name in differ)),
    )


def _fields(choice: Choice, say: Texts) -> dict[str, str]:
    recipe = choice.recipe
    told = {"network": choice.network, "group": choice.group, "sparsity": recipe.sparsity}
    told |= {name: getattr(recipe, name) for name in ("importance", "rule", "solver")}
    words = {name: say(f"pin.field.{name}", value=value) for name, value in told.items()}
    for name in (*TABLES, *SETTINGS, "rounds", "seed"):
        if name not in words:
            value = getattr(recipe, name)
            shown = value if isinstance(value, str) else say.number(value, "g")
            words[name] = say("pin.field.else", label=say(f"controls.{name}"), value=shown)
    return words


def decided(other: Page) -> Step | None:
    """What is decided of the pinned setting, where that is known."""
    step = decide(other)
    return None if isinstance(step, jobs.Job) else step


def side_by_side(
    page: Page, step: Step, other: Page, parts: Sequence[Callable[[Page, Step], None]]
) -> None:
    """Each part of both settings in two columns, A on the left; what is present is drawn first."""
    heads = titles(other.choice, page.choice, page.say)
    before = decide(other)
    for number, part in enumerate(parts):
        # At the bottom, so that the pictures stand side by side: buttons stand above one of them.
        left, right = st.columns(2, gap="large", vertical_alignment="bottom")
        with right:
            st.markdown(f"**{heads[1]}**")
            part(page, step)
        with left:
            st.markdown(f"**{heads[0]}**")
            if isinstance(before, Step):
                part(other, before)
            elif before.error:
                st.info(before.error, icon=":material/image_not_supported:")
            elif number == 0:
                _wait(before, page.say)


def _wait(job: jobs.Job, say: Texts) -> None:
    def draw(drawn_in: str) -> None:
        st.progress(job.share, say("pin.waiting", sentence=job.sentence or say("page.waiting")))

    live(job, 0.5, draw)
