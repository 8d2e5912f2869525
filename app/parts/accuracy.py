"""The accuracy of the dense, the pruned and the fused network, measured while one watches."""

from __future__ import annotations

import streamlit as st

from app import cache, jobs
from app.charts import as_json, chart
from app.figures import accuracy as accuracy_figure
from app.page import Page, live
from core import zoo
from core.errors import DataMissing


def show(page: Page) -> None:
    """Start (or find again) the run for this choice, and draw it while it grows."""
    st.subheader(page.say("accuracy.title"), anchor=False)
    state, run_key, for_key = st.session_state, page.key("run"), page.key("run_for")
    wanted = (page.loaded.name, page.choice.recipe, page.folder)
    if state.get(for_key) != wanted or state[run_key].abandoned:
        if run_key in state:
            state[run_key].cancel()  # what it has counted stays counted
        state[run_key] = start(page)
        state[for_key] = wanted
    run: jobs.Job = state[run_key]
    live(run, 0.8, lambda drawn_in: draw(run, page, drawn_in))


def start(page: Page) -> jobs.Job:
    """A job that measures dense, pruned and fused on the network's test images."""
    loaded, choice, folder = page.loaded, page.choice, page.folder
    wanted = zoo.network(loaded.name).images

    def tallies(job: jobs.Job) -> dict[str, jobs.Tally]:
        # A slider on its way passes many values: the pictures come first, then the counting.
        job.hold()
        job.report(0.0, page.say("accuracy.multiplying"))
        modules = {"dense": loaded.module}
        for name, recipe in (("pruned", choice.pruning), ("fused", choice.recipe)):
            modules[name] = cache.compressed(loaded, recipe, folder).module
            job.hold()
        job.report(0.0, page.say("accuracy.reading"))
        images = cache.images(wanted, folder)
        return {name: cache.tally(module, images) for name, module in modules.items()}

    return jobs.measuring(tallies, page.say).start()


def draw(run: jobs.Job, page: Page, drawn_in: str) -> None:
    """What is counted so far."""
    say = page.say
    if run.error:
        apart = isinstance(run.fault, DataMissing)
        more = " " + say("accuracy.rest_works") if apart else ""
        st.info(run.error + more, icon=":material/image_not_supported:")
        card = page.loaded.card
        st.caption(
            say("accuracy.recorded", share=card.accuracy, tested=card.tested, data=card.data)
        )
        return
    tallies: dict[str, jobs.Tally] = run.result or {}
    known = {name: tally.accuracy for name, tally in tallies.items()}
    title = next(iter(tallies.values())).images.title if tallies else ""
    picture = as_json(accuracy_figure.figure(known, drawn_in))
    chart(picture, page.key("accuracy"), accuracy_figure.alt(known, title), bar=False)
    st.markdown(f"**{accuracy_figure.finding(known) or say('accuracy.measuring')}**")
    st.progress(run.share, run.sentence or say("accuracy.waiting"))
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.caption(say("accuracy.caption", title=title) if title else say("accuracy.starting"))
    if run.running:
        if right.button(say("accuracy.cancel"), key=page.key("cancel"), width="stretch"):
            run.cancel()
            st.rerun()
    elif run.cancelled:
        if right.button(say("accuracy.go_on"), key=page.key("go_on"), width="stretch"):
            st.session_state[page.key("run")] = start(page)
            st.rerun()
