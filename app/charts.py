"""Put a Plotly figure on the page, so that a new one is drawn over the old one in place.

Streamlit's own `plotly_chart` builds a chart anew whenever anything in its figure changes: it
flickers, forgets where the person has zoomed to, and takes two to four times as long. This one is a
component of Streamlit's second kind: `chart.js` beside this file hands the figure to
`Plotly.react`. The Plotly it draws with is the one that the Python package brings along.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import plotly
import plotly.graph_objects as go
import streamlit as st

from core.errors import ExplorerError

HERE = Path(__file__).parent
#: Streamlit serves this folder as `app/static`.
STATIC = HERE / "static"
#: The figure as it comes back when somebody downloads it: vectors, for slides.
DOWNLOAD = {"format": "svg", "filename": "intra-fusion"}

_chart = st.components.v2.component(
    "chart", js=(HERE / "chart.js").read_text("utf-8"), isolate_styles=False
)


def as_json(figure: go.Figure) -> str:
    """A figure as the browser is sent it."""
    return figure.to_json(validate=False)


def chart(
    figure: str,
    key: str,
    alt: str,
    bar: bool = True,
    clicked: Callable[[object], None] | None = None,
) -> None:
    """Draw `figure`, as `as_json` gives it, under a key of its own; `alt` says what it shows.

    `bar` offers to zoom out, to fill the screen and to download. `clicked` is called with the
    customdata of a point that was clicked.
    """
    told = {
        "plotly": script().name,
        "alt": alt,
        "config": {
            "displaylogo": False,
            "displayModeBar": "hover" if bar else False,
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
            "toImageButtonOptions": DOWNLOAD,
        },
        "full": bar,
    }
    # As bytes: Streamlit would parse and sort a mapping again to tell one component from another.
    sent = f'{json.dumps(told)[:-1]}, "figure": {figure}}}'.encode()
    if clicked is None:
        _chart(key=key, data=sent)
    else:
        _chart(
            key=key, data=sent, on_clicked_change=lambda: clicked(st.session_state[key].clicked)
        )


@cache
def script() -> Path:
    """The package's Plotly script, where the browser can fetch it; it is copied there once.

    Raises
    ------
    ExplorerError
        If the folder can't be written.
    """
    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    with source.open(encoding="utf-8") as file:
        version = re.search(r"v(\d[\w.-]*)", file.read(200))[1]
    target = STATIC / f"plotly-{version}.min.js"
    if target.exists() and target.stat().st_size == source.stat().st_size:
        return target
    try:
        STATIC.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=STATIC, delete=False) as file:
            shutil.copyfileobj(source.open("rb"), file)
        os.chmod(file.name, 0o644)
        os.replace(file.name, target)  # whoever fetches it meanwhile gets a whole one
    except OSError as error:
        raise ExplorerError(
            f"The script that draws the figures can't be copied to {STATIC} ({error.strerror}). "
            "Start the app from a folder that you may write to."
        ) from error
    return target
