"""The frame of the explorer: page settings, navigation, and the road an error takes to the page."""

from __future__ import annotations

import sys
from pathlib import Path

# `streamlit run app/main.py` puts app/ on the path, not the folder above it.
ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from app import head, looks  # noqa: E402
from app.speech import speech  # noqa: E402

st.set_page_config(
    page_title="Intra-Fusion Explorer",
    page_icon=str(ROOT / "assets" / "icon.svg"),  # a named icon would be fetched from the internet
    layout="wide",
    initial_sidebar_state="collapsed" if st.context.is_embedded else "auto",
    menu_items={"About": "Pruning by optimal transport (Theus et al., ICLR 2024), live."},
)

looks.dress()

# The pages import PyTorch, which takes seconds: until then the title is there, and the browser has
# something to read.
with st.container():
    head.show(speech())
    if "core" not in sys.modules:
        with st.spinner(speech()("main.starting")):
            import core  # noqa: F401

PAGES = (
    "explorer", "sweep", "whole", "tuning", "divergence", "landscape", "ablations", "splits",
)  # fmt: skip
pages = [
    st.Page(
        f"views/{name}.py", title=speech()(f"pages.{name}"), default=name == "explorer",
        url_path=None if name == "explorer" else name,
    )
    for name in PAGES
]  # fmt: skip
st.navigation(pages, position="hidden" if st.context.is_embedded else "top").run()
