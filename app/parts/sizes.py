"""Parameters and multiply-accumulates, before and after; beside a pinned setting as differences."""

from __future__ import annotations

import streamlit as st

import core
from app import cache
from app.page import Page
from app.parts import pin
from core.compress import Step


def show(page: Page, step: Step, other: Page | None = None) -> None:
    """Two numbers and what share of the dense network's they are, or how far they are from A's."""
    say = page.say
    before, after = cache.size(page.loaded.name, ()), _size(page, step)
    parameters = say("sizes.of", share=after.parameters / before.parameters, all=before.parameters)
    macs = say("sizes.macs_of", share=after.macs / before.macs, all=before.macs / 1e6)
    arrow, notes = "off", ("", "")
    if other is not None and (decided := pin.decided(other)) is not None:
        theirs = _size(other, decided)
        arrow, notes = "auto", (parameters, macs)
        fewer = after.parameters - theirs.parameters
        parameters = say("pin.difference", difference=fewer) if fewer else say("pin.as_many")
        fewer = after.macs - theirs.macs
        macs = say("pin.as_many")
        if fewer:
            macs = say("pin.difference_millions", difference=fewer / 1e6)
    left, right = st.columns(2)
    left.metric(
        say("sizes.parameters"),
        say.number(after.parameters, ","),
        parameters,
        delta_color="off",
        delta_arrow=arrow,
        help=notes[0] or None,
    )
    right.metric(
        say("sizes.macs"),
        say("sizes.millions", count=after.macs / 1e6),
        macs,
        delta_color="off",
        delta_arrow=arrow,
        help=notes[1] or None,
    )


def _size(page: Page, step: Step) -> core.Size:
    kept = tuple(step.measures.kept.tolist())
    return cache.size(page.loaded.name, ((page.choice.group, kept),))
