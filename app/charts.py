"""Put a Plotly figure on the page, so that a new one is drawn over the old one in place.

Streamlit's own `plotly_chart` builds a chart anew whenever anything in its figure changes: it
flickers, forgets where the person has zoomed to, and takes two to four times as long. This one is a
component of Streamlit's second kind: `chart.js` beside this file hands the figure to
`Plotly.react`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import plotly.graph_objects as go
import streamlit as st

from app.language import Texts
from app.plotly_script import code, script
from app.speech import speech

#: What the figure comes back as when somebody downloads it: vectors for slides, pixels for chats.
FORMATS = ("svg", "png")

#: Buttons of Plotly's that are not offered; `sendChartToCloud` would hand the figure to a server.
UNWANTED = ["select2d", "lasso2d", "autoScale2d", "toImage", "sendChartToCloud"]
#: Where a figure's JSON tells how high it is, in pixels; the layout stands behind the traces.
_HEIGHT = re.compile(r'"height":(\d+)')


@dataclass(frozen=True)
class Mark:
    """How the browser marks a channel that is clicked.

    of : whose channels the chart shows. place : where a point's customdata name the channel.
    color : of the marks.
    """

    of: str
    place: int
    color: str


_chart = st.components.v2.component(
    "chart",
    js=code("chart_plan.js", "chart_keys.js", "chart_marks.js", "chart.js"),
    isolate_styles=False,
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
    over: Sequence[go.Scatter] = (),
    zoom: str = "",
    mark: Mark | None = None,
) -> None:
    """Draw `figure`, as `as_json` gives it, under a key of its own; `alt` says what it shows.

    `bar` offers to zoom out, to fill the screen and to download, as `intra-fusion-KEY`. `clicked`
    is called with the customdata of a point that was clicked, or reached with the arrow keys and
    chosen. `over`: traces that are drawn on top, such as marks of what is chosen, so that the
    figure itself can be remembered without them. `zoom` is the title of a button to zoom with the
    wheel and move by dragging, if there is to be one; until it is pressed the wheel scrolls the
    page. A double click shows everything again. `mark`: how a channel is marked as soon as it is
    clicked, here and in the other charts of its group, before `over` comes.
    """
    say = speech()
    told = {
        "plotly": script().name,
        "alt": alt,
        "config": {
            "displaylogo": False,
            "displayModeBar": "hover" if bar else False,
            "modeBarButtonsToRemove": UNWANTED,
            "plotlyServerURL": "",
            **({"scrollZoom": True, "doubleClick": "reset"} if zoom else {}),
            "locale": say.language,
            "locales": {say.language: _locale(say)},
        },
        "full": say("chart.full") if bar else None,
        "zoom": zoom,
        "save": {
            "name": "intra-fusion-" + re.sub(r"[^\w.-]+", "-", key),
            "as": {kind: say("chart.save", kind=kind.upper()) for kind in FORMATS if bar},
        },
        "keys": say("chart.keys" if clicked is None else "chart.keys_choose"),
        "mark": asdict(mark) if mark else None,
        "over": [json.loads(trace.to_json()) for trace in over],
    }
    # As bytes: Streamlit would parse and sort a mapping again to tell one component from another.
    sent = f'{json.dumps(told)[:-1]}, "figure": {figure}}}'.encode()
    # Its place on the page is there before the browser has drawn it, so that nothing jumps.
    height = int(_HEIGHT.findall(figure)[-1])
    if clicked is None:
        _chart(key=key, data=sent, height=height)
    else:
        _chart(
            key=key,
            data=sent,
            height=height,
            on_clicked_change=lambda: clicked(st.session_state[key].clicked),
        )


def _locale(say: Texts) -> dict:
    """What Plotly itself writes, in our language, and how it writes numbers."""
    buttons = ("Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes")
    names = {name: say(f"chart.{name.lower().replace(' ', '_')}") for name in buttons}
    point = say.number(0.5, ".1f")[1]
    return {
        "dictionary": names,
        "format": {"decimal": point, "thousands": "." if point == "," else ","},
    }
