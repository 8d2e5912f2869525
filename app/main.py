"""The frame of the explorer: page settings, navigation, and the road an error takes to the page."""

from __future__ import annotations

import sys
from pathlib import Path

# `streamlit run app/main.py` puts app/ on the path, not the folder above it.
ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

st.set_page_config(
    page_title="Intra-Fusion Explorer",
    page_icon=":material/hub:",
    layout="wide",
    initial_sidebar_state="expanded",
    menu_items={"About": "Pruning by optimal transport (Theus et al., ICLR 2024), live."},
)

explorer = st.Page("views/explorer.py", title="Explorer", icon=":material/hub:", default=True)
st.navigation([explorer], position="hidden").run()
