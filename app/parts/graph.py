"""The dependency graph: a click on a layer chooses its group, one on a stack opens it."""

from __future__ import annotations

import streamlit as st

from app import controls, pictures, values
from app.charts import chart
from app.figures import graph_marks, graph_words
from app.page import Page, captions, mode
from core.compress import Step


def show(page: Page, step: Step | None = None) -> None:
    """Draw the graph with the chosen group brought out, and what a step takes from its layers."""
    loaded, choice, say = page.loaded, page.choice, page.say

    def clicked(layer: object) -> None:
        index = layer[0] if isinstance(layer, list) and layer else None
        if type(index) is int and 0 <= index < len(loaded.graph.groups):
            values.put("group", index)

    st.subheader(say("graph.title"), anchor=False)
    # Beside the pinned setting's, one row of buttons serves both graphs.
    fold = controls.view("graph") if page.suffix else controls.pick_view("graph")
    drawn = pictures.graph_drawing(loaded, choice.group, fold)
    over, kept = [], None
    if step is not None:
        stays = step.measures.kept.tolist()
        over, kept = graph_marks.marks(drawn, stays, choice.channel, mode(), say), len(stays)
    chart(
        pictures.graph_picture(loaded, choice.group, fold, mode(), say),
        page.key("graph"),
        graph_words.alt(drawn, kept, say),
        clicked=clicked, over=over, zoom=say("graph.zoom"),
    )  # fmt: skip
    captions(graph_words.caption(drawn, say))
