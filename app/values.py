"""The values of widgets that code sets, too: by a click in a picture, a lesson, a link.

Streamlit lets code set a widget's value through its key, but two things can undo that on a busy
machine. The new value is sent to the browser once, and dropped with the rest of its run if another
run begins before; and reruns that the browser had asked for before it heard of the value still tell
the old one. So whoever sets a value gives the widget another key: the new widget begins with the
value, however often it is drawn, and what is still said of the old one is not heard.
"""

from __future__ import annotations

import streamlit as st


def key(name: str) -> str:
    """The key of the widget of a choice."""
    times = st.session_state.get("times_set", {}).get(name, 0)
    return f"{name}-{times}" if times else name


def selector(name: str) -> str:
    """A CSS selector of the widget of a choice, however often it was set."""
    return f':is(.st-key-{name}, [class*="st-key-{name}-"])'


def plain(name: str) -> str:
    """What a widget's choice is called in the link."""
    return name.removeprefix("view_").removeprefix("beside_")


def first(name: str) -> object:
    """The value that the widget begins with."""
    return st.session_state.get("opened", {}).get(plain(name))


def get(name: str) -> object:
    """The value of a choice: its widget's, or what that will begin with."""
    state = st.session_state
    return state[key(name)] if key(name) in state else first(name)


def put(name: str, value: object) -> None:
    """Set a choice: before its widget is drawn in this run, such as in a callback."""
    state = st.session_state
    if get(name) != value:
        state.setdefault("times_set", {})[name] = state.get("times_set", {}).get(name, 0) + 1
    state["opened"][plain(name)] = value
    if name in state.get("kept_choices", {}):
        state["kept_choices"][name] = value
