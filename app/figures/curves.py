"""Accuracy against sparsity, pruned and fused, with interval bands; and what was expected of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import ends, theme
from app.figures.accuracy import COLOURS, NAMES
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.published import Pair

HEIGHT = 300
#: Told apart without colour, too: pruned points are hollow, a pinned setting's lines dashed.
SYMBOLS = {"pruned": "circle-open", "fused": "circle"}


@dataclass(frozen=True)
class Curves:
    """One setting's accuracies by sparsity, rising. setting : "A" or "B" where two are compared."""

    pruned: Mapping[float, Accuracy]
    fused: Mapping[float, Accuracy]
    setting: str = ""


#: What a person expects: sparsity → (pruned, fused) as shares.
Expected = Mapping[float, tuple[float, float]]


def figure(
    settings: Sequence[Curves], dense: Accuracy | None, mode: str, say: Texts = ENGLISH
) -> go.Figure:
    """Lines with the bands of their 95 % intervals; the dense network as a line across.

    Traces are called "pruned", "fused" and "dense", with the setting's letter behind; bands "band".
    """
    chart = go.Figure()
    for one in settings:
        for name in NAMES[1:]:
            curve, colour = getattr(one, name), COLOURS[name][mode]
            x = [100 * sparsity for sparsity in curve]
            title = f"{say(f'accuracy.name.{name}')} {one.setting}".strip()
            chart.add_scatter(
                name="band", x=[*x, *x[::-1]], mode="lines", line_width=0, fill="toself",
                y=[100 * a.high for a in curve.values()]
                + [100 * a.low for a in reversed(curve.values())],
                fillcolor=theme.faded(colour, 0.2), hoverinfo="skip",
            )  # fmt: skip
            chart.add_scatter(
                name=f"{name} {one.setting}".strip(), x=x, mode="lines+markers",
                y=[100 * a.mean for a in curve.values()],
                line=dict(color=colour, width=2.5, dash="dash" if one.setting == "A" else "solid"),
                marker=dict(symbol=SYMBOLS[name], size=8, color=colour, line_width=2),
                hovertemplate=[
                    say("curves.hover", name=title, sparsity=sparsity, mean=a.mean, low=a.low,
                        high=a.high, total=a.total) + "<extra></extra>"
                    for sparsity, a in curve.items()
                ],
            )  # fmt: skip
    _name(chart, settings, mode, say)
    if dense:
        chart.add_scatter(
            name="dense", x=[0, 100], y=[100 * dense.mean] * 2, mode="lines", hoverinfo="skip",
            line=dict(color=theme.DENSE[mode], width=1.5, dash="dot"),
        )  # fmt: skip
        chart.add_annotation(
            x=0, y=100 * dense.mean, text=say("accuracy.name.dense"), showarrow=False,
            xanchor="left", yanchor="bottom", font_color=theme.DENSE[mode],
        )  # fmt: skip
    return frame(chart, mode, say)


def _name(chart: go.Figure, settings: Sequence[Curves], mode: str, say: Texts) -> None:
    """Write the names behind the ends of the lines, each clear of the one above."""
    ends.name(
        chart,
        (
            (
                100 * list(curve.values())[-1].mean, 100 * list(curve)[-1],
                f"{say(f'accuracy.name.{name}')} {one.setting}", COLOURS[name][mode],
            )
            for one in settings
            for name in NAMES[1:]
            if (curve := getattr(one, name))
        ),
    )  # fmt: skip


def frame(chart: go.Figure, mode: str, say: Texts) -> go.Figure:
    """The axes of sparsity and accuracy, both in percent; the chart is changed."""
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    percent = dict(tickvals=[0, 25, 50, 75, 100], fixedrange=True, zeroline=False)
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    chart.update_xaxes(
        percent, range=[0, 105], title_text=say("curves.x"), ticktext=words, showgrid=False
    )
    chart.update_yaxes(percent, range=[0, 104], title_text=say("curves.y"), ticktext=words)
    return chart


def present(sparsity: float, mode: str) -> list[go.Scatter]:
    """A line at the sparsity that is looked at: trace "now", to be laid over the figure."""
    return [
        go.Scatter(
            name="now", x=[100 * sparsity] * 2, y=[0, 104], mode="lines", hoverinfo="skip",
            line=dict(color=theme.CHOSEN[mode], width=2),
        )
    ]  # fmt: skip


def of_paper(theirs: Mapping[float, Pair], mode: str, say: Texts = ENGLISH) -> list[go.Scatter]:
    """The paper's points, on its own network: traces "paper pruned" and "paper fused"."""
    return [
        go.Scatter(
            name=f"paper {name}", x=[100 * sparsity for sparsity in theirs],
            y=[100 * getattr(pair, name) for pair in theirs.values()], mode="markers",
            marker=dict(symbol=symbol, size=9, color=COLOURS[name][mode], line_width=2),
            hovertemplate=[
                say("curves.hover_paper", name=say(f"accuracy.name.{name}"), sparsity=sparsity,
                    share=getattr(pair, name)) + "<extra></extra>"
                for sparsity, pair in theirs.items()
            ],
        )
        for name, symbol in (("pruned", "x-thin-open"), ("fused", "cross-thin-open"))
    ]  # fmt: skip


def guesses(expected: Expected, mode: str, say: Texts = ENGLISH) -> list[go.Scatter]:
    """What a person expects: traces "expected pruned", hollow, and "expected fused", solid."""
    traces = []
    for place, (name, symbol) in enumerate((("pruned", "diamond-open"), ("fused", "diamond"))):
        traces.append(
            go.Scatter(
                name=f"expected {name}", x=[100 * sparsity for sparsity in expected],
                y=[100 * both[place] for both in expected.values()], mode="lines+markers",
                line=dict(color=theme.GUESS[mode], width=1.5, dash="dot"),
                marker=dict(symbol=symbol, size=13, color=theme.GUESS[mode], line_width=2),
                hovertemplate=[
                    say("predict.hover", name=say(f"accuracy.name.{name}"), share=both[place])
                    + "<extra></extra>"
                    for both in expected.values()
                ],
            )
        )  # fmt: skip
    return traces


def alt(settings: Sequence[Curves], now: float, expected: Expected, say: Texts = ENGLISH) -> str:
    """The finding in words: where each curve begins and ends, and what was expected."""
    told = []
    for one in settings:
        for name in NAMES[1:]:
            curve = getattr(one, name)
            (first, begins), (last, ends) = list(curve.items())[0], list(curve.items())[-1]
            told.append(
                say("curves.told", name=f"{say(f'accuracy.name.{name}')} {one.setting}".strip(),
                    begins=begins.mean, first=first, ends=ends.mean, last=last)
            )  # fmt: skip
    guessed = [
        say("curves.guessed", sparsity=sparsity, pruned=pruned, fused=fused)
        for sparsity, (pruned, fused) in expected.items()
    ]
    return " ".join([say("curves.alt", now=now), *told, *guessed])


def caption(settings: Sequence[Curves], note: str, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the figure shows, and what not to read into it; `note` says where it is from."""
    images = min((a.total for one in settings for a in one.fused.values()), default=0)
    return say("curves.caption", note=note, images=images), say("curves.caution")
