"""The transport plan between two of the networks that a run has fused, for the chosen group."""

from __future__ import annotations

import streamlit as st

from app import cache, controls
from app.charts import as_json, chart
from app.figures import matching as figures
from app.jobs import Job
from app.page import Page, captions, live
from app.parts import splitting
from core import split_store
from core.fuse import Fused
from core.split_result import Result, Run


def show(page: Page, known: Result, run: Run) -> None:
    """Pick a method and a network, and draw its plan; the networks have to be on this machine."""
    say = page.say
    methods = tuple(name for name, one in run.timelines.items() if one.fused)
    if not methods:
        return
    key = {name: run.timelines[name].fused.key for name in methods}
    if not any(split_store.told(splitting.stages(), one) for one in key.values()):
        st.info(say("matching.not_here"), icon=":material/inventory_2:")
        return
    into, count = known.plan.fusion.into, len(known.plan.splits)
    with st.container(horizontal=True):
        method = controls.pick_view("fused_in", methods, labelled=True)
        others = [at for at in range(count) if at != into]
        other = others[0]
        if len(others) > 1:
            other = st.selectbox(
                say("matching.other"), others, key="matching_other", width=220,
                format_func=lambda at: say("splits.network.part", number=at + 1),
            )  # fmt: skip
    wanted = (splitting.stages(), key[method], page.folder)
    job = cache.fusing(*wanted)
    if job.cancelled or job.error:
        cache.fusing.clear(*wanted)  # an error is not remembered

    def part(drawn_in: str) -> None:
        draw(page, job, other, into, drawn_in)

    live(job, 0.4, part)


def draw(page: Page, job: Job, other: int, into: int, drawn_in: str) -> None:
    """The plan that brings a network's channels onto those of the one that is fused into."""
    say, group = page.say, page.group
    if job.error:
        st.warning(job.error, icon=":material/error:")
        return
    fused: Fused | None = job.result
    if fused is None:
        st.caption(say("matching.waiting"))
        return
    plan = fused.plans[group.index][other]
    difference = fused.differences[group.index][other]
    names = tuple(say("splits.network.part", number=at + 1) for at in (other, into))
    st.markdown(say("matching.of", group=group.index, title=group.title))
    picture = as_json(figures.figure(plan, names, drawn_in, say))
    chart(picture, page.key("matching"), figures.alt(plan, difference, say))
    st.markdown(figures.headline(plan, difference, say))
    captions(figures.caption(plan, say))
