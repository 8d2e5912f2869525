"""The channels as points, before and after: PCA at once, UMAP when it is there."""

from __future__ import annotations

import streamlit as st

from app import cache, controls, link
from app.charts import chart
from app.figures import scatter as scatter_figure
from app.page import Page, captions, live, mode
from core.compress import Step
from core.errors import Unsupported


def show(page: Page, step: Step) -> None:
    """Draw the channels; while UMAP is fitted, again and again."""
    say, loaded, choice = page.say, page.loaded, page.choice
    st.subheader(say("scatter.title"), anchor=False)
    base = choice.recipe.replace(sparsity=0.0)  # one picture serves all sparsities
    ahead = link.SPARSITIES if step.plan is not None and not cache.takes_long(base) else ()
    job = cache.umap(loaded.name, choice.group, base, ahead, mode())

    def draw(drawn_in: str) -> None:
        fitted = None if job.running else job.result
        try:
            picture = fitted or cache.pca(loaded.name, choice.group, base)
            drawn = cache.scatter_picture(loaded, choice.group, picture, step, drawn_in)
        except Unsupported as error:  # the rest of the page needs no picture of the channels
            st.info(str(error), icon=":material/scatter_plot:")
            return
        st.session_state[page.key("picture_shown")] = picture  # for whoever takes its data along
        over = []
        if choice.channel is not None:
            over = scatter_figure.marks(picture, step, choice.channel, drawn_in)
        chart(
            drawn, page.key("scatter"), scatter_figure.alt(picture, step, page.group), over=over,
            clicked=lambda at: controls.clicked_channel(loaded, choice.group, at, 1),
        )  # fmt: skip
        captions(scatter_figure.caption(picture, step, page.group))
        if job.running:
            st.caption(f":material/hourglass: {say('scatter.waiting')}")
        if job.error:
            st.caption(say("scatter.failed", error=job.error))

    live(job, 1.0, draw)
