"""Split-data training: the stages of its methods on a time axis (the paper's Figure 22).

A network is grey while it is dense, orange once it is pruned, blue once it is fused; whatever has
been pruned is hatched, or hollow where it is a point. Where bars begin is computed as if there were
a worker for each network; how long they are was measured (`core.split_result`).
"""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import theme
from app.figures.accuracy import COLOURS, apart, points
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.published import SPEEDUPS
from core.split_result import Result, Run, Stage

#: Pixels of a lane, of the gap between methods, and of the axis.
LANE, GAP, AXIS = 30, 0.55, 58


def looks(stage: Stage) -> tuple[str, bool]:
    """What the network is after a stage: `dense`, `pruned` or `fused`; and whether it is pruned."""
    gone = stage.sparsity > 0
    return ("fused" if stage.network == "fused" else "pruned" if gone else "dense"), gone


def called(kind: str, gone: bool) -> str:
    """What the trace of such networks is called."""
    return "fused pruned" if gone and kind == "fused" else kind


def network(stage: Stage, say: Texts = ENGLISH) -> str:
    """What a stage's network is called."""
    kind, _, number = stage.network.partition(" ")
    return say(f"splits.network.{kind}", number=number)


def working(stage: Stage, say: Texts = ENGLISH) -> str:
    """What is done in a stage."""
    return say(f"splits.stage.{stage.name.replace('-', '_')}")


@dataclass(frozen=True)
class Lane:
    """A network of a method: its stages, one after the other. y : its place from above."""

    method: str
    network: str
    stages: tuple[int, ...]
    y: float


def lanes(run: Run) -> list[Lane]:
    """A lane for each network of each method, in the order in which they are trained."""
    found, y = [], 0.0
    for method, timeline in run.timelines.items():
        for name in dict.fromkeys(stage.network for stage in timeline.stages):
            places = [at for at, one in enumerate(timeline.stages) if one.network == name]
            found.append(Lane(method, name, tuple(places), y))
            y += 1
        y += GAP
    return found


def timeline(run: Run, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Bars on a time axis in seconds, a lane for each network.

    Traces are called `dense`, `pruned`, `fused` and `fused pruned`, after what networks are in a
    stage; `prune` and `fuse` mark where that happens.
    """
    chart, rows = go.Figure(), lanes(run)
    whole = max(one.parallel for one in run.timelines.values())
    bars: dict[tuple[str, bool], list] = {}
    marks: dict[str, list] = {"prune": [], "fuse": []}
    for lane in rows:
        told = run.timelines[lane.method]
        for place in lane.stages:
            stage, start = told.stages[place], told.starts[place]
            bars.setdefault(looks(stage), []).append((lane, stage, start))
            if stage.name in marks:
                marks[stage.name].append((lane, stage, start))
    for (kind, gone), some in sorted(bars.items()):
        colour = COLOURS[kind][mode]
        chart.add_bar(
            name=called(kind, gone), orientation="h",
            base=[start for _, _, start in some], x=[stage.seconds for _, stage, _ in some],
            y=[lane.y for lane, _, _ in some], width=0.72,
            marker=dict(
                color=theme.faded(colour, 0.55 if gone else 1), line=dict(color=colour, width=1.5),
                pattern=dict(
                    shape="/" if gone else "", solidity=0.2, fgcolor=theme.INK[mode],
                    fillmode="overlay",
                ),
            ),
            # Letters on hatching can't be read; Plotly leaves out those that a bar has no room for.
            text=["" if gone or not one.epochs else working(one, say) for _, one, _ in some],
            textposition="inside", insidetextanchor="middle", textangle=0,
            insidetextfont=dict(size=12, color=theme.PAPER[mode]), constraintext="none",
            hovertemplate=[hover(lane, stage, start, say) for lane, stage, start in some],
        )  # fmt: skip
    for name, some in marks.items():
        chart.add_scatter(
            name=name, mode="markers", x=[start for _, _, start in some],
            y=[lane.y for lane, _, _ in some],
            marker=dict(
                symbol={"prune": "x", "fuse": "diamond"}[name], size=12,
                color=COLOURS["pruned" if name == "prune" else "fused"][mode],
                line=dict(color=theme.PAPER[mode], width=1.5),
            ),
            hovertemplate=[hover(lane, stage, start, say) for lane, stage, start in some],
        )  # fmt: skip
    for lane, _, start in marks["fuse"]:  # the networks that are fused come together here
        top = min(one.y for one in rows if one.method == lane.method)
        chart.add_shape(
            type="line", x0=start, x1=start, y0=top - 0.4, y1=lane.y, layer="below",
            line=dict(color=COLOURS["fused"][mode], width=1.5, dash="dot"),
        )  # fmt: skip
    for method, told in run.timelines.items():
        last = max((one for one in rows if one.method == method), key=lambda one: one.y)
        chart.add_annotation(
            x=told.parallel, y=last.y, xanchor="left", xshift=8, showarrow=False,
            text=f"<b>{say('splits.seconds', seconds=told.parallel)}</b>", font=dict(size=14),
        )  # fmt: skip
    height = AXIS + LANE * (rows[-1].y + 1)
    theme.layout(chart, mode, round(height), barmode="overlay", dragmode=False, hovermode="closest")
    chart.update_xaxes(
        range=[0, 1.2 * whole], title_text=say("splits.x"), fixedrange=True, zeroline=False
    )
    chart.update_yaxes(
        range=[rows[-1].y + 0.6, -0.6], fixedrange=True, zeroline=False, showgrid=False,
        tickvals=[one.y for one in rows], ticktext=[_row(one, rows, run, say) for one in rows],
        tickfont=dict(size=13),
    )  # fmt: skip
    return chart


def _row(lane: Lane, rows: list[Lane], run: Run, say: Texts) -> str:
    """A lane's name; the first of a method has the method's before it."""
    first = next(one for one in rows if one.method == lane.method) is lane
    head = f"<b>{say(f'splits.method.{lane.method}')}</b>" if first else ""
    if lane.network == "whole":
        return head
    name = network(run.timelines[lane.method].stages[lane.stages[0]], say)
    return f"{head}  {name}" if head else name


def hover(lane: Lane, stage: Stage, start: float, say: Texts) -> str:
    """What is said of a bar."""
    text = say(
        "splits.hover", method=say(f"splits.method.{lane.method}"), network=network(stage, say),
        stage=working(stage, say), start=start, seconds=stage.seconds, gone=stage.sparsity,
        parameters=stage.parameters, mean=stage.accuracy.mean, low=stage.accuracy.low,
        high=stage.accuracy.high, total=stage.accuracy.total,
    )  # fmt: skip
    if stage.epochs:
        more = say("splits.hover_epochs", epochs=stage.epochs, images=stage.images)
        text += f"<br>{more}"
    return f"{text}<extra></extra>"


def headline(run: Run, say: Texts = ENGLISH) -> str:
    """One sentence on the time, one on the accuracy, for each method beside whole-data training."""
    told = []
    whole = run.timelines.get("whole")
    for method, one in run.timelines.items():
        faster = run.speedup(method)
        if method == "whole" or faster is None:
            continue
        known = dict(
            method=say(f"splits.method.{method}"), faster=faster, mean=one.accuracy.mean,
            points=points(abs(one.accuracy.mean - whole.accuracy.mean), say),
        )  # fmt: skip
        if not apart(one.accuracy, whole.accuracy):
            found = "splits.headline.alike"
        elif one.accuracy.mean < whole.accuracy.mean:
            found = "splits.headline.below"
        else:
            found = "splits.headline.above"
        told.append(say(found, **known))
    return " ".join(told)


def alt(run: Run, say: Texts = ENGLISH) -> str:
    """The finding in words: how long each method takes, and how much faster that is."""
    told = [say("splits.alt")]
    for method, one in run.timelines.items():
        known = dict(
            method=say(f"splits.method.{method}"), parallel=one.parallel, total=one.total,
            faster=run.speedup(method),
        )  # fmt: skip
        beside = method != "whole" and known["faster"] is not None
        told.append(say("splits.alt_faster" if beside else "splits.alt_method", **known))
    return " ".join(told)


def caption(result: Result, run: Run, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the timeline shows, and what not to read into it."""
    several = sorted({one.threads for told in run.timelines.values() for one in told.stages})
    threads = several[0] if len(several) == 1 else ", ".join(map(str, several))
    shown = say("splits.caption", threads=threads)
    return shown, say("splits.caution", count=result.workers["count"])


def rows(run: Run, say: Texts = ENGLISH) -> list[dict[str, str]]:
    """A row for each method: times, how much faster, as published, accuracies."""
    found = []
    for method, one in run.timelines.items():
        faster = run.speedup(method) if method != "whole" else None
        theirs = SPEEDUPS.get(method)
        found.append(
            {
                say("splits.column.method"): say(f"splits.method.{method}"),
                say("splits.column.parallel"): say("splits.seconds", seconds=one.parallel),
                say("splits.column.total"): say("splits.seconds", seconds=one.total),
                say("splits.column.measured"): say("splits.seconds", seconds=one.measured),
                say("splits.column.faster"): "–" if faster is None else say.number(faster, ".2f"),
                say("splits.column.paper"): "–" if theirs is None else say.number(theirs, ".2f"),
                say("splits.column.accuracy"): _interval(one.accuracy, say),
                say("splits.column.fused"): (
                    _interval(one.fused.accuracy, say) if one.fused else "–"
                ),
            }
        )  # fmt: skip
    return found


def _interval(one: Accuracy, say: Texts) -> str:
    return say("splits.interval", mean=one.mean, low=one.low, high=one.high)
