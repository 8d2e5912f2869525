"""Draw each channel's share of what the next layers miss, the largest first."""

from __future__ import annotations

import plotly.graph_objects as go

from app.figures import theme
from app.language import COMMA, ENGLISH, Texts
from core.unexplained import Unexplained

HEIGHT = 150


def figure(
    known: Unexplained,
    kept: frozenset[int],
    number: int | None,
    mode: str,
    say: Texts = ENGLISH,
) -> go.Figure:
    """A bar a channel, by falling share; the chosen one is marked with a frame and its number.

    `kept` : the channels that stay. The customdata of each bar is [channel].
    """
    order = known.shares.argsort(descending=True, stable=True).tolist()
    shares = known.shares.tolist()
    mean = 1 / len(shares)
    chart = go.Figure()
    for stays in (False, True):
        places = [i for i, channel in enumerate(order) if (channel in kept) == stays]
        chart.add_bar(
            x=places, y=[shares[order[i]] for i in places], width=1.0,
            name=say("channel.row_stays" if stays else "channel.row_gone"),
            customdata=[[order[i]] for i in places], showlegend=True,
            marker=dict(
                color=(theme.FUSED if stays else theme.PRUNED)[mode], line_width=0,
                pattern=dict(shape="" if stays else "/", size=4, solidity=0.5),
            ),
            hovertext=[
                say(
                    "channel.error_hover_stays" if stays else "channel.error_hover_gone",
                    number=order[i], share=shares[order[i]],
                )
                for i in places
            ],
            hoverinfo="text",
        )  # fmt: skip
    chart.add_scatter(
        x=[-0.5, len(order) - 0.5], y=[mean, mean], mode="lines", hoverinfo="skip",
        line=dict(color=theme.INK[mode], width=1, dash="dot"), name=say("channel.error_mean"),
    )  # fmt: skip
    theme.layout(
        chart, mode, HEIGHT, bargap=0.1, showlegend=True, margin=dict(l=8, r=8, t=28, b=4),
        legend=dict(orientation="h", x=1, xanchor="right", y=1.02, yanchor="bottom"),
        separators=",." if say.language in COMMA else ".,",
    )  # fmt: skip
    chart.update_xaxes(showticklabels=False, showgrid=False, zeroline=False, ticks="")
    chart.update_yaxes(tickformat=".2~%", nticks=4, title=None)
    if number is not None:
        place = order.index(number)
        low, high = min(0.0, shares[number]), max(shares[number], mean)
        chart.add_shape(
            type="rect",
            x0=place - 0.5,
            x1=place + 0.5,
            y0=low,
            y1=high,
            line=dict(color=theme.CHOSEN[mode], width=2.5),
            fillcolor="rgba(0,0,0,0)",
        )
        chart.add_annotation(
            x=place, y=high, text=f"<b>{number}</b>", showarrow=False, yshift=10,
            font=dict(color=theme.CHOSEN[mode], size=13),
        )  # fmt: skip
    return chart


def alt(known: Unexplained, kept: frozenset[int], number: int | None, say: Texts = ENGLISH) -> str:
    """What the figure shows, in words: for people who hear the page."""
    order = known.shares.argsort(descending=True, stable=True).tolist()
    together = sum(float(known.shares[channel]) for channel in kept)
    told = say(
        "channel.error_alt", first=order[0], most=float(known.shares[order[0]]), stay=len(kept),
        width=len(order), kept=together,
    )  # fmt: skip
    if number is not None:
        share = float(known.shares[number])
        place = order.index(number) + 1
        told += " " + say("channel.error_alt_chosen", number=number, share=share, place=place)
    return told
