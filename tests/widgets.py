"""Widgets of the page by the name of their choice, however often code has set it."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def key(at: AppTest, name: str) -> str:
    """The key of the choice's widget."""
    times = at.session_state["times_set"] if "times_set" in at.session_state else {}
    return f"{name}-{times[name]}" if name in times else name


def drawn(at: AppTest, kind: str, name: str):
    """The widget of a choice; `kind` as AppTest calls it."""
    return getattr(at, kind)(key=key(at, name))
