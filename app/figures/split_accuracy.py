"""Split-data training: accuracy along the way, and what fusion alone gives.

Networks are drawn as in the timeline (`app.figures.splits`): grey while dense, orange once pruned,
blue once fused, hollow where they have been pruned.
"""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import ends, theme
from app.figures.accuracy import COLOURS
from app.figures.splits import AXIS, GAP, called, looks, network, working
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.split_result import Run, Timeline

HEIGHT = 380
#: Methods told apart without colour.
DASHES = {"whole": "solid", "fap": "dash", "paf": "dot"}


def along(run: Run, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Accuracy after each stage, at the time when it ends; lines follow what builds on what.

    Traces are called as the methods for lines, and `dense`, `pruned`, `fused`, `fused pruned` for
    points.
    """
    chart, spots, names = go.Figure(), {}, []
    for method, told in run.timelines.items():
        x, y = [], []
        for place, stage in enumerate(told.stages):
            end = told.starts[place] + stage.seconds
            for before in stage.after:
                x += [told.starts[before] + told.stages[before].seconds, end, None]
                y += [100 * told.stages[before].accuracy.mean, 100 * stage.accuracy.mean, None]
            # Methods that begin with the same networks have the same points.
            spots[(stage.key, round(end, 3))] = (method, stage, end)
        chart.add_scatter(
            name=method, mode="lines", x=x, y=y, hoverinfo="skip",
            line=dict(color=theme.DENSE[mode], width=1.8, dash=DASHES[method]),
        )  # fmt: skip
        last = told.stages[-1]
        colour = COLOURS[looks(last)[0]][mode]
        title = say(f"splits.method.{method}")
        names.append((100 * last.accuracy.mean, told.parallel, title, colour))
    groups: dict[tuple[str, bool], list] = {}
    for one in spots.values():
        groups.setdefault(looks(one[1]), []).append(one)
    for (kind, gone), some in sorted(groups.items()):
        colour = COLOURS[kind][mode]
        chart.add_scatter(
            name=called(kind, gone), mode="markers",
            x=[end for _, _, end in some], y=[100 * stage.accuracy.mean for _, stage, _ in some],
            error_y=_bars([stage.accuracy for _, stage, _ in some], colour),
            marker=dict(
                symbol="circle-open" if gone else "circle", size=9, color=colour, line_width=2
            ),
            hovertemplate=[
                say("splits.hover_point", method=say(f"splits.method.{method}"),
                    network=network(stage, say), stage=working(stage, say), end=end,
                    mean=stage.accuracy.mean, low=stage.accuracy.low, high=stage.accuracy.high,
                    total=stage.accuracy.total) + "<extra></extra>"
                for method, stage, end in some
            ],
        )  # fmt: skip
    low = min(100 * one[1].accuracy.low for one in spots.values())
    floor = max(0.0, 10 * (low // 10))
    ends.name(chart, names, gap=(104 - floor) / 14, top=102, bottom=floor + 2)
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    # Nothing is known before the first stage ends, which takes most of the time.
    first = min(one[2] for one in spots.values())
    room = max(one.parallel for one in run.timelines.values()) - first
    chart.update_xaxes(
        range=[first - 0.06 * room, first + 1.35 * room], title_text=say("splits.x"),
        fixedrange=True, zeroline=False, showgrid=False,
    )  # fmt: skip
    chart.update_yaxes(
        range=[floor, 104], title_text=say("curves.y"), fixedrange=True, zeroline=False
    )
    return chart


def alt_along(run: Run, say: Texts = ENGLISH) -> str:
    """The finding in words: what each method begins with and ends with."""
    told = [say("splits.alt_along")]
    for method, one in run.timelines.items():
        first = [stage.accuracy.mean for stage in one.of("train")]
        told.append(
            say("splits.told_along", method=say(f"splits.method.{method}"), low=min(first),
                high=max(first), end=one.accuracy.mean, least=one.accuracy.low,
                most=one.accuracy.high)
        )  # fmt: skip
    return " ".join(told)


@dataclass(frozen=True)
class Spot:
    """A network that is compared: its name, its accuracy, `kind` and `symbol` to draw it."""

    method: str
    name: str
    accuracy: Accuracy
    kind: str
    symbol: str


def compared(told: Timeline, say: Texts = ENGLISH) -> list[Spot]:
    """Of a method that fuses: the networks, what becomes of them without transport, and with it."""
    fused, found = told.fused, []
    for place in fused.after:
        stage = told.stages[place]
        kind, gone = looks(stage)
        symbol = "circle-open" if gone else "circle"
        found.append(Spot(told.method, network(stage, say), stage.accuracy, kind, symbol))
    for name, symbol in (("average", "x-thin-open"), ("ensemble", "square-open")):
        text = say(f"splits.beside.{name}")
        found.append(Spot(told.method, text, fused.beside[name], "dense", symbol))
    text = say("splits.beside.fused")
    found.append(Spot(told.method, text, fused.accuracy, "fused", "diamond"))
    symbol = "circle-open" if looks(told.stages[-1])[1] else "circle"
    found.append(Spot(told.method, say("splits.beside.end"), told.accuracy, "fused", symbol))
    return found


def alone(run: Run, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """A row for each network: before fusion, averaged, as an ensemble, fused, at the end.

    Traces are called as the methods; "whole" is a line down, where whole-data training ends.
    """
    chart, texts, places, y = go.Figure(), [], [], 0.0
    for method, told in run.timelines.items():
        if told.fused is None:
            continue
        spots = compared(told, say)
        at = [y + place for place in range(len(spots))]
        title = say(f"splits.method.{method}")
        chart.add_scatter(
            name=method, mode="markers", x=[100 * one.accuracy.mean for one in spots], y=at,
            error_x=_bars([one.accuracy for one in spots], theme.INK[mode]),
            marker=dict(
                symbol=[one.symbol for one in spots], size=11, line_width=2,
                color=[COLOURS[one.kind][mode] for one in spots],
            ),
            hovertemplate=[
                say("splits.hover_alone", method=title, network=one.name, mean=one.accuracy.mean,
                    low=one.accuracy.low, high=one.accuracy.high, total=one.accuracy.total)
                + "<extra></extra>"
                for one in spots
            ],
        )  # fmt: skip
        texts += [f"<b>{title}</b>  {spots[0].name}", *(one.name for one in spots[1:])]
        places += at
        y = at[-1] + 1 + GAP
    if "whole" in run.timelines and places:
        end = run.timelines["whole"].accuracy
        chart.add_scatter(
            name="whole", x=[100 * end.mean] * 2, y=[-0.6, places[-1] + 0.6], mode="lines",
            hoverinfo="skip", line=dict(color=COLOURS["pruned"][mode], width=1.5, dash="dot"),
        )  # fmt: skip
        chart.add_annotation(
            x=100 * end.mean, y=-0.6, yanchor="bottom", xanchor="right", showarrow=False,
            text=say("splits.method.whole"), font_color=COLOURS["pruned"][mode],
        )  # fmt: skip
    tall = max(HEIGHT, AXIS + 24 * len(places))
    theme.layout(chart, mode, tall, dragmode=False, hovermode="closest")
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    chart.update_xaxes(
        range=[0, 104], tickvals=[0, 25, 50, 75, 100], ticktext=words, fixedrange=True,
        zeroline=False, title_text=say("curves.y"),
    )  # fmt: skip
    chart.update_yaxes(
        range=[(places or [0])[-1] + 0.6, -1.5], tickvals=places, ticktext=texts, fixedrange=True,
        zeroline=False, tickfont=dict(size=13),
    )  # fmt: skip
    return chart


def alt_alone(run: Run, say: Texts = ENGLISH) -> str:
    """The finding in words: fused against averaged, and against the ensemble."""
    told = [say("splits.alt_alone")]
    for method, one in run.timelines.items():
        if one.fused:
            beside = {name: found.mean for name, found in one.fused.beside.items()}
            told.append(
                say("splits.told_alone", method=say(f"splits.method.{method}"), **beside,
                    fused=one.fused.accuracy.mean, end=one.accuracy.mean)
            )  # fmt: skip
    return " ".join(told)


def _bars(some: list[Accuracy], colour: str) -> dict:
    """The 95 % intervals of accuracies, as Plotly has error bars."""
    return dict(
        type="data", symmetric=False, color=colour, thickness=1.5, width=4,
        array=[100 * (one.high - one.mean) for one in some],
        arrayminus=[100 * (one.mean - one.low) for one in some],
    )  # fmt: skip


def caption_along(run: Run, say: Texts = ENGLISH) -> tuple[str, str]:
    """What is shown along the way, and what not to read into it."""
    total = min(stage.accuracy.total for one in run.timelines.values() for stage in one.stages)
    return say("splits.caption_along", total=total), say("splits.caution_along")


def caption_alone(say: Texts = ENGLISH) -> tuple[str, str]:
    """What is shown of fusion alone, and what not to read into it."""
    return say("splits.caption_alone"), say("splits.caution_alone")
