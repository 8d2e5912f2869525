"""Divergence: how far the outputs of the pruned and the fused network are from the dense ones."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import cache, controls, frame
from app.charts import as_json, chart
from app.figures import divergence as figures
from app.jobs import Job
from app.page import Page, captions
from app.parts import run
from core import signatures, zoo
from core.divergence import Divergence, Operation, divergences, layer_by_layer

#: What is known of a run: distances of the outputs, then layer by layer.
Known = tuple[Divergence, list[Operation]]
#: Images that are looked at layer by layer: all layers of three networks are in memory at once.
FEWER = 200


def body(page: Page, told: dict[str, str]) -> None:
    say, loaded, choice = page.say, page.loaded, page.choice
    st.subheader(say("divergence.heading"), anchor=False)
    st.markdown(say("divergence.lead"))
    with st.container(horizontal=True):
        count = controls.pick_view("images", labelled=True)
        shown = controls.pick_view("far", labelled=True)
    limit = None if count == "all" else int(count)
    key = ("divergence", loaded.name, choice.recipe, limit, page.folder)

    def work(job: Job) -> Known:
        job.report(0.0, say("accuracy.multiplying"))
        variants = {}
        for name, recipe in (("pruned", choice.pruning), ("fused", choice.recipe)):
            variants[name] = cache.compressed(loaded, recipe, page.folder)
            job.hold()
        job.report(0.05, say("accuracy.reading"))
        tested = cache.images(zoo.network(loaded.name).images, page.folder)
        modules = {name: one.module for name, one in variants.items()}
        between = lambda done: job.hold()  # noqa: E731
        for known in divergences(loaded.module, modules, tested, limit, between=between):
            job.result = known, []
            done = say("divergence.counting", done=known.done, total=known.total)
            job.report(0.05 + 0.75 * known.done / known.total, done)
        some = min(FEWER, known.total)
        layers = layer_by_layer(
            loaded.module, loaded.graph, variants, tested, some, between=between
        )
        for operations in layers:
            job.result = known, operations
            job.report(0.9, say("divergence.walking", total=some))
        return job.result

    run.show(
        page, key, work, partial(draw, page, shown), complete=lambda found: bool(found and found[1])
    )


def draw(page: Page, shown: str, known: Known | None, drawn_in: str) -> None:
    """The histogram or the classes on the left, the layers on the right, what is noticed below."""
    say = page.say
    if known is None:
        st.info(say("divergence.nothing"), icon=":material/query_stats:")
        return
    distances, operations = known
    pruned, fused = (distances.mean(name).mean for name in ("pruned", "fused"))
    st.markdown(f"#### {say('divergence.headline', pruned=pruned, fused=fused)}")
    left, right = st.columns(2, gap="large")
    with left:
        if shown == "class":
            picture, alt = figures.by_class(distances, drawn_in, say), figures.alt_by_class
            told = figures.caption_by_class(say)
        else:
            picture, alt = figures.histogram(distances, drawn_in, say), figures.alt
            told = figures.caption(distances, say)
        chart(as_json(picture), page.key("far"), alt(distances, say))
        captions(told)
    with right:
        if operations:
            picture = figures.layers(operations, drawn_in, say)
            chart(as_json(picture), page.key("layers"), figures.alt_layers(operations, say))
            captions(figures.caption_layers(say))
    # What is far off after plain pruning is no plan's fault: it is there to be compared with.
    for one in signatures.of_divergence(distances, "pruned", {"group": page.choice.group}):
        if one.where["variant"] != "pruned":
            st.warning(figures.sign(one, say), icon=":material/troubleshoot:")


frame.draw(body)
