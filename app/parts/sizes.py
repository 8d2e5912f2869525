"""Parameters and multiply-accumulates, before and after."""

from __future__ import annotations

import streamlit as st

from app import cache
from app.page import Page
from core.compress import Step


def show(page: Page, step: Step) -> None:
    """Two numbers and what share of the dense network's they are."""
    say, name = page.say, page.loaded.name
    before = cache.size(name, ())
    after = cache.size(name, ((page.choice.group, tuple(step.measures.kept.tolist())),))
    left, right = st.columns(2)
    left.metric(
        say("sizes.parameters"),
        say.number(after.parameters, ","),
        say("sizes.of", share=after.parameters / before.parameters, all=before.parameters),
        delta_color="off",
        delta_arrow="off",
    )
    right.metric(
        say("sizes.macs"),
        say("sizes.millions", count=after.macs / 1e6),
        say("sizes.macs_of", share=after.macs / before.macs, all=before.macs / 1e6),
        delta_color="off",
        delta_arrow="off",
    )
