"""One visual language for all figures: who is which colour, and what all layouts share.

Categories use Okabe & Ito's palette (safe for colour-blind eyes), magnitudes Cividis, and nothing
is told by colour alone: pruned things are also hollow or hatched, fused ones solid.
"""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.colors import find_intermediate_color, sample_colorscale, unlabel_rgb

#: What each network is drawn in, in light and in dark surroundings.
DENSE = {"light": "#5B6470", "dark": "#AEB7C2"}
PRUNED = {"light": "#C44E00", "dark": "#F28E3C"}
FUSED = {"light": "#0072B2", "dark": "#56B4E9"}
#: What the person has chosen: marked with frames and rings of this.
CHOSEN = {"light": "#8A3FC7", "dark": "#C79BF2"}
#: What the person expected before they saw it: marked with diamonds of this.
GUESS = {"light": "#00735C", "dark": "#3FD0A4"}
#: Lines and letters.
INK = {"light": "#1F2933", "dark": "#E8ECF1"}
FAINT = {"light": "#C9CFD6", "dark": "#4A5361"}
#: What lies behind it all, as `.streamlit/config.toml` has it: for edges and letters cut out of it.
PAPER = {"light": "#FFFFFF", "dark": "#11161C"}

MAGNITUDE = "Cividis"
#: Signed numbers: below zero and above it.
BELOW = {"light": "#A3477F", "dark": "#E08FBF"}
ABOVE = FUSED
#: Ten colours for things that are neither: each has at least 3:1 to the paper, and to the sidebar.
CATEGORIES = {
    "light": [
        DENSE["light"], PRUNED["light"], FUSED["light"], CHOSEN["light"], "#00785A",
        BELOW["light"], "#8A6D00", "#007C8A", "#B3261E", "#5A7A00",
    ],
    "dark": [
        DENSE["dark"], PRUNED["dark"], FUSED["dark"], CHOSEN["dark"], "#3CC79A",
        BELOW["dark"], "#F0E442", "#4FC3D0", "#FF8A80", "#B5D16B",
    ],
}  # fmt: skip


def _hex(colour: str) -> str:
    return "#" + "".join(f"{round(part):02X}" for part in unlabel_rgb(colour))


def sequence(mode: str) -> list[str]:
    """Ten colours for magnitudes; the largest stands out most from the paper."""
    colours = [_hex(c) for c in sample_colorscale(MAGNITUDE, [i / 9 for i in range(10)])]
    return colours[::-1] if mode == "light" else colours


def diverging(mode: str) -> list[str]:
    """Ten colours for signed numbers, from far below zero to far above it."""
    ends = [tuple(int(c[mode][at : at + 2], 16) for at in (1, 3, 5)) for c in (BELOW, PAPER, ABOVE)]
    low, zero, high = ends
    below = [find_intermediate_color(low, zero, i / 4.5) for i in range(5)]
    above = [find_intermediate_color(zero, high, (i - 4.5) / 4.5) for i in range(5, 10)]
    return ["#" + "".join(f"{round(part):02X}" for part in colour) for colour in below + above]


def _template(mode: str) -> go.layout.Template:
    """What all figures of a mode share. The browser adds the page's own typeface."""
    axis = dict(
        gridcolor=FAINT[mode], linecolor=FAINT[mode], zerolinecolor=FAINT[mode], automargin=True
    )
    return go.layout.Template(
        layout=dict(
            xaxis=axis,
            yaxis=axis,
            hoverlabel=dict(
                bgcolor=PAPER[mode], bordercolor=FAINT[mode], font=dict(size=13, color=INK[mode])
            ),
            modebar=dict(
                bgcolor="rgba(0,0,0,0)", color=DENSE[mode], activecolor=INK[mode], orientation="h"
            ),
        )
    )


def faded(colour: str, opacity: float) -> str:
    """A colour (#rrggbb) that lets through what is behind it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


TEMPLATES = {mode: _template(mode) for mode in ("light", "dark")}


def layout(figure: go.Figure, mode: str, height: int, **more) -> go.Figure:
    """Give a figure the common layout: transparent, quiet, small margins; it is changed."""
    settings = dict(
        template=TEMPLATES[mode],
        height=height,
        margin=dict(l=8, r=8, t=8, b=8),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font=dict(color=INK[mode], size=13),
        showlegend=False,
    )
    figure.update_layout(**(settings | more))
    return figure
