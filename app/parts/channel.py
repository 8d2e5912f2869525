"""One channel: where it stands, what it is made with, where its mass goes, what it becomes."""

from __future__ import annotations

import streamlit as st

from app import channel_text
from app.charts import as_json, chart
from app.figures import filters as filters_figure
from app.page import Page, captions, mode
from core import channel
from core.compress import Step


def show(page: Page, step: Step) -> None:
    """Everything about the chosen channel; nothing where none is chosen."""
    loaded, choice, number = page.loaded, page.choice, page.choice.channel
    if number is None:
        return
    told = channel.channel(loaded.prepared, choice.recipe, choice.group, step, number)
    st.subheader(f"Channel {number}", anchor=False)
    st.markdown(channel_text.fate(told))
    left, right = st.columns([2, 3], gap="large")
    with left:
        tables = (channel_text.HEIRS, told.heirs), (channel_text.PARENTS, told.parents)
        for title, ties in tables:
            if ties:
                st.markdown(title[step.plan is not None])
                st.dataframe(channel_text.table(ties), hide_index=True, width="stretch")
    with right:
        sums = {}
        stays = number if told.place is not None else next((t.channel for t in told.heirs), None)
        if step.plan is not None and stays is not None:
            sums = channel.fused(loaded.prepared, choice.group, step, stays)
        for layer, own in told.filters.items():
            filters = {f"channel {number}": own}
            if layer in sums:
                if stays != number:
                    heir = channel.filters(
                        loaded.prepared.folded, loaded.graph, choice.group, stays
                    )  # fmt: skip
                    filters[f"heir {stays}"] = heir[layer]
                filters[f"fused, in the place of {stays}"] = sums[layer].total
            st.markdown(f"**{layer}**")
            picture = as_json(filters_figure.figure(filters, mode()))
            chart(picture, page.key(f"filters {layer}"), filters_figure.alt(filters), bar=False)
            if layer in sums:
                st.latex(channel_text.formula(sums[layer]))
        captions(filters_figure.caption(filters))
