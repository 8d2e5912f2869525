"""A button that copies the page's address, with everything that is chosen, to the clipboard."""

from __future__ import annotations

import streamlit as st

from app.language import Texts
from app.plotly_script import HERE

#: Streamlit gives a component the theme's colours; the rest is in here.
STYLE = """
button, input {
  font: inherit; font-size: 0.875rem; color: var(--st-text-color);
  background: var(--st-background-color); border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, 6px); min-height: 2.25rem; padding: 0 0.75rem;
}
button { cursor: pointer; white-space: nowrap; }
button:hover { border-color: var(--st-primary-color); color: var(--st-link-color); }
button:focus-visible, input:focus-visible {
  outline: 2px solid var(--st-primary-color); outline-offset: 2px;
}
.copy { display: flex; flex-wrap: wrap; justify-content: flex-end; align-items: center; gap: 0.5rem;
  padding: 4px; }
.copy span { font-size: 0.875rem; color: var(--st-text-color); }
.copy label { display: flex; gap: 0.5rem; align-items: center; flex: 1 1 16rem;
  font-size: 0.875rem; }
.copy input { flex: 1 1 8rem; min-width: 0; }
[hidden] { display: none !important; }
"""

_button = st.components.v2.component(
    "copy_link", js=(HERE / "copy.js").read_text("utf-8"), css=STYLE
)


def show(say: Texts) -> None:
    """Draw it; what it copies is the browser's address at that moment."""
    words = {key: say(f"take.{key}") for key in ("copy", "copied", "copy_by_hand")}
    _button(key="copy_link", data=words, width="content")
