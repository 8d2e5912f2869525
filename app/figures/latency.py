"""Time that smaller networks take on this machine, against the operations they are left with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import theme
from app.language import ENGLISH, Texts
from core.latency import Latency, Ratio

HEIGHT = 320


@dataclass(frozen=True)
class Timed:
    """One network: what was asked to go, what is left of its operations, and what it takes.

    asked : share of the channels, or of the weights, that went; 0 for the dense network.
    macs, gone : shares of the multiply-accumulates left, and of the weights gone.
    """

    asked: float
    macs: float
    gone: float
    latency: Latency
    ratio: Ratio


def figure(timed: Sequence[Timed], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Traces "time", with its quartiles, and "even", on which time would shrink as operations do.

    `timed` : the dense network first.
    """
    chart = go.Figure()
    chart.add_scatter(
        name="even", x=[0, 100], y=[0, 100], mode="lines", hoverinfo="skip",
        line=dict(color=theme.DENSE[mode], width=1.5, dash="dot"),
    )  # fmt: skip
    colour = theme.CATEGORIES[mode][4]
    chart.add_scatter(
        name="time", mode="lines+markers", x=[100 * one.macs for one in timed],
        y=[100 * one.ratio.median for one in timed],
        error_y=dict(
            type="data", symmetric=False, thickness=1.5, width=5, color=colour,
            array=[100 * (one.ratio.third_quartile - one.ratio.median) for one in timed],
            arrayminus=[100 * (one.ratio.median - one.ratio.first_quartile) for one in timed],
        ),
        line=dict(color=colour, width=2.5), marker=dict(size=8, color=colour),
        hovertemplate=[
            say("latency.hover", macs=one.macs, gone=one.gone, ratio=one.ratio.median,
                low=one.ratio.first_quartile, high=one.ratio.third_quartile,
                milliseconds=1e3 * one.latency.median) + "<extra></extra>"
            for one in timed
        ],
    )  # fmt: skip
    chart.add_annotation(
        x=97, y=88, text=say("latency.even"), showarrow=False, xanchor="right", yanchor="top",
        font_color=theme.DENSE[mode],
    )  # fmt: skip
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    percent = dict(tickvals=[0, 25, 50, 75, 100], ticktext=words, fixedrange=True, zeroline=False)
    # On a busy machine a quartile may lie far above: it leaves the picture, not the table.
    most = max(105.0, *(120 * one.ratio.median for one in timed))
    chart.update_xaxes(percent, range=[0, 105], title_text=say("latency.x"), showgrid=False)
    chart.update_yaxes(percent, range=[0, most], title_text=say("latency.y"))
    return chart


def alt(timed: Sequence[Timed], say: Texts = ENGLISH) -> str:
    """The finding in words: what the dense and the smallest network take."""
    first, last = timed[0], timed[-1]
    return say(
        "latency.alt", count=len(timed) - 1, dense=1e3 * first.latency.median, macs=last.macs,
        ratio=last.ratio.median, milliseconds=1e3 * last.latency.median,
    )  # fmt: skip


def headline(timed: Sequence[Timed], say: Texts = ENGLISH) -> str:
    """One sentence: what half the operations, or as near as was timed, take of the time."""
    near = min(timed[1:], key=lambda one: abs(one.macs - 0.5))
    return say("latency.headline", macs=near.macs, ratio=near.ratio.median)


def rows(timed: Sequence[Timed], say: Texts = ENGLISH) -> list[dict[str, str]]:
    """A row a network, by the columns' names."""
    told = []
    for one in timed:
        mine = one.latency
        spread = say(
            "latency.spread", low=1e3 * mine.first_quartile, high=1e3 * mine.third_quartile
        )
        alone = {} if mine.batch == 1 else {
            say("latency.column_image"): say.number(1e3 * mine.median / mine.batch, ".3f")
        }  # fmt: skip
        told.append(
            {
                say("latency.column_asked"): say.number(one.asked, ".0%"),
                say("latency.column_macs"): say.number(one.macs, ".1%"),
                say("latency.column_batch"): say.number(1e3 * mine.median, ".2f"),
                say("latency.column_quartiles"): spread,
                **alone,
                say("latency.column_ratio"): say.number(one.ratio.median, ".1%"),
            }
        )
    return told


def caption(timed: Sequence[Timed], say: Texts = ENGLISH) -> tuple[str, str]:
    """What the figure shows, and what not to read into it."""
    how = timed[0].latency
    told = dict(runs=how.runs, batch=how.batch, threads=how.threads)
    return say("latency.caption", **told), say("latency.caution")
