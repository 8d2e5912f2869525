"""How the page looks beyond its theme: its style, the size of its letters, in a slide.

Imports nothing heavy: the page is styled before PyTorch is there.
"""

from __future__ import annotations

import streamlit as st

from app import values
from app.plotly_script import HERE
from app.speech import speech

#: Pixels of the page's letters, which all else is measured in, and of the projector's.
LARGE = """:root { font-size: 21px !important; --letters: 1.3; }"""
#: Where the page stands in a slide: no controls, no title, no margins but small ones.
SLIDE = """
[data-testid="stSidebar"], [data-testid="stExpandSidebarButton"], .st-key-head, .st-key-take,
.st-key-tools { display: none !important; }
[data-testid="stMainBlockContainer"] {
  padding: 1.25rem !important; max-width: none;
}
"""


def dress() -> None:
    """Style the page; first of all, so that nothing moves afterwards."""
    st.html(HERE / "style.css")
    more = (LARGE if letters() == "large" else "") + (SLIDE if st.context.is_embedded else "")
    if more:
        st.html(f"<style>{more}</style>")
    if not st.context.is_embedded:
        # The sidebar stands there from the start then, and pushes nothing aside later.
        st.sidebar.header(speech()("take.settings_title"), anchor=False)


def letters() -> str:
    """`normal` or `large`: as chosen, else as the link says."""
    state = st.session_state
    chosen = state.get(values.key("view_text")) or state.get("kept_choices", {}).get("view_text")
    return chosen or values.first("view_text") or st.query_params.get("text", "normal")
