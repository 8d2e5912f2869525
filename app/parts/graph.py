"""The dependency graph: a click on a layer chooses its group."""

from __future__ import annotations

import streamlit as st

from app import cache
from app.charts import chart
from app.figures import graph as graph_figure
from app.page import Page, captions, mode


def show(page: Page) -> None:
    """Draw the graph with the chosen group brought out."""
    loaded, chosen = page.loaded, page.choice.group

    def clicked(layer: object) -> None:
        index = layer[0] if isinstance(layer, list) and layer else None
        if type(index) is int and 0 <= index < len(loaded.graph.groups):
            st.session_state["group"] = index

    st.subheader(page.say("graph.title"), anchor=False)
    chart(
        cache.graph_picture(loaded, chosen, mode()),
        page.key("graph"),
        graph_figure.alt(loaded.graph, chosen),
        clicked=clicked,
    )
    captions(graph_figure.caption(loaded.graph, chosen))
