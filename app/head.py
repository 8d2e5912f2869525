"""The head of the page: title, lead, and a button that copies the address of what is chosen.

The first thing a browser gets: `head.js` also says which language the page is in, and loads the
script of the figures ahead of them. One component, so that nothing moves when it is there.
"""

from __future__ import annotations

import streamlit as st

from app.language import Texts
from app.plotly_script import ahead, code

#: Streamlit gives a component the theme's colours; the rest is in here.
STYLE = """
button, input {
  font: inherit; font-size: 0.875rem; color: var(--st-text-color);
  background: var(--st-background-color); border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, 6px); min-height: 2rem; padding: 0 0.75rem;
}
button { cursor: pointer; white-space: nowrap; }
button:hover { border-color: var(--st-primary-color); color: var(--st-link-color); }
button:focus-visible, input:focus-visible {
  outline: 2px solid var(--st-primary-color); outline-offset: 2px;
}
.copy { display: flex; flex-wrap: wrap; justify-content: flex-end; align-items: center; gap: 0.5rem;
  padding: 3px; }
.copy span { font-size: 0.875rem; color: var(--st-text-color); }
.copy label { display: flex; gap: 0.5rem; align-items: center; flex: 1 1 16rem;
  font-size: 0.875rem; }
.copy input { flex: 1 1 8rem; min-width: 0; }
[hidden] { display: none !important; }
"""

_head = st.components.v2.component("head", js=code("head.js"), css=STYLE)


def show(say: Texts) -> None:
    """Draw it; what the button copies is the browser's address at that moment."""
    words = {key: say(f"take.{key}") for key in ("copy", "copied", "copy_by_hand")}
    told = {"language": say.language, "plotly": ahead(), "words": words}
    with st.container(key="head"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.title("Intra-Fusion Explorer", anchor=False)
            _head(key="copy", data=told, width="content")
        st.markdown(say("main.lead"))
