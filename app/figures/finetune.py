"""Fine-tuning as it goes on: test accuracy after each epoch, and training loss, by network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import ends, theme
from app.figures.accuracy import COLOURS, apart, points
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.finetune import History

HEIGHT = 300
#: Told apart without colour, too: pruned points are hollow; a second fused network has squares.
SYMBOLS = {"pruned": ("circle-open", "square-open"), "fused": ("circle", "square", "diamond")}
DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Line:
    """One network's curves.

    kind : `pruned` or `fused`. history : of fine-tuning, as far as it is. rule : beside the name,
    where there are several of a kind. place : how many of its kind stand before it.
    """

    kind: str
    history: History
    rule: str = ""
    place: int = 0

    def title(self, say: Texts) -> str:
        """What the line is called."""
        name = say(f"accuracy.name.{self.kind}")
        return f"{name} ({self.rule})" if self.rule else name


def lines(histories: Mapping[str, History]) -> list[Line]:
    """Histories by rule as lines: `select` is pruned, any other rule fused."""
    kinds = {rule: "pruned" if rule in ("select", "pruned") else "fused" for rule in histories}
    told: list[Line] = []
    for rule, history in histories.items():
        kind = kinds[rule]
        several = list(kinds.values()).count(kind) > 1
        before = sum(line.kind == kind for line in told)
        told.append(Line(kind, history, rule if several else "", before))
    return told


def _looks(line: Line, mode: str) -> dict:
    colour, symbols = COLOURS[line.kind][mode], SYMBOLS[line.kind]
    return dict(
        line=dict(color=colour, width=2.5, dash=DASHES[line.place % len(DASHES)]),
        marker=dict(
            symbol=symbols[line.place % len(symbols)],
            size=9,
            color=colour,
            line=dict(color=colour, width=2),
        ),
    )


def accuracy(
    shown: Sequence[Line], dense: Accuracy | None, mode: str, say: Texts = ENGLISH
) -> go.Figure:
    """Accuracy after each epoch, with 95 % intervals; the dense network as a line across.

    Traces are called as the lines' kinds, with the rule behind where there is one, and "dense".
    """
    chart = go.Figure()
    epochs = max((line.history.epochs for line in shown), default=1)
    for line in shown:
        counted = line.history.accuracies
        chart.add_scatter(
            name=f"{line.kind} {line.rule}".strip(), mode="lines+markers",
            x=list(range(len(counted))), y=[100 * one.mean for one in counted],
            error_y=dict(
                type="data", symmetric=False, thickness=1.5, width=5,
                array=[100 * (one.high - one.mean) for one in counted],
                arrayminus=[100 * (one.mean - one.low) for one in counted],
            ),
            hovertemplate=[
                say("finetune.hover", name=line.title(say), epoch=epoch, mean=one.mean,
                    low=one.low, high=one.high, total=one.total) + "<extra></extra>"
                for epoch, one in enumerate(counted)
            ],
            **_looks(line, mode),
        )  # fmt: skip
    if dense:
        chart.add_scatter(
            name="dense", x=[0, epochs], y=[100 * dense.mean] * 2, mode="lines", hoverinfo="skip",
            line=dict(color=theme.DENSE[mode], width=1.5, dash="dot"),
        )  # fmt: skip
        chart.add_annotation(
            x=0, y=100 * dense.mean, text=say("accuracy.name.dense"), showarrow=False,
            xanchor="left", yanchor="bottom", font_color=theme.DENSE[mode],
        )  # fmt: skip
    _named(chart, shown, mode, say, [
        (100 * line.history.accuracies[-1].mean, len(line.history.accuracies) - 1, line)
        for line in shown
        if line.history.accuracies
    ])  # fmt: skip
    _frame(chart, epochs, mode, say)
    words = ["0", "25", "50", "75", say.number(1, ".0%")]
    chart.update_yaxes(
        range=[0, 108], tickvals=[0, 25, 50, 75, 100], ticktext=words, fixedrange=True,
        zeroline=False, title_text=say("finetune.y"),
    )  # fmt: skip
    return chart


def loss(shown: Sequence[Line], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Mean training loss against epochs; traces are called as those of `accuracy`."""
    chart = go.Figure()
    epochs = max((line.history.epochs for line in shown), default=1)
    most = max((loss for line in shown for _, loss in line.history.losses), default=1.0)
    for line in shown:
        looks = _looks(line, mode)
        looks["marker"]["size"] = 5
        told = line.history.losses
        chart.add_scatter(
            name=f"{line.kind} {line.rule}".strip(), mode="lines+markers",
            x=[step / line.history.per_epoch for step, _ in told], y=[one for _, one in told],
            hovertemplate=[
                say("finetune.hover_loss", name=line.title(say), step=step, loss=one)
                + "<extra></extra>"
                for step, one in told
            ],
            **looks,
        )  # fmt: skip
    _named(chart, shown, mode, say, [
        (line.history.losses[-1][1], line.history.losses[-1][0] / line.history.per_epoch, line)
        for line in shown
        if line.history.losses
    ], gap=0.09 * most, top=1.05 * most, bottom=0.04 * most)  # fmt: skip
    _frame(chart, epochs, mode, say)
    chart.update_yaxes(
        range=[0, 1.1 * most], fixedrange=True, zeroline=False, title_text=say("finetune.y_loss")
    )
    return chart


def _named(chart, shown, mode, say, told, **room) -> None:
    ends.name(
        chart, ((y, x, line.title(say), COLOURS[line.kind][mode]) for y, x, line in told), **room
    )  # fmt: skip


def _frame(chart: go.Figure, epochs: int, mode: str, say: Texts) -> None:
    theme.layout(chart, mode, HEIGHT, dragmode=False, hovermode="closest")
    step = max(1, epochs // 10)
    # To the right of the last epoch there is room for the lines' names.
    chart.update_xaxes(
        range=[-0.03 * epochs, 1.45 * epochs], tickvals=list(range(0, epochs + 1, step)),
        title_text=say("finetune.x"), fixedrange=True, zeroline=False, showgrid=False,
    )  # fmt: skip


def alt(shown: Sequence[Line], dense: Accuracy | None, say: Texts = ENGLISH) -> str:
    """The finding in words: where each network stood before, where it stands, and who is ahead."""
    counted = [line for line in shown if line.history.accuracies]
    if not counted:
        return say("finetune.unknown")
    told = [
        say("finetune.told", name=line.title(say), begins=line.history.accuracies[0].mean,
            now=line.history.accuracies[-1].mean, epochs=len(line.history.accuracies) - 1)
        for line in counted
    ]  # fmt: skip
    if dense:
        told.append(say("finetune.told_dense", mean=dense.mean))
    return " ".join([say("finetune.alt"), *told, headline(shown, say)]).strip()


def headline(shown: Sequence[Line], say: Texts = ENGLISH) -> str:
    """One sentence: whether the first fused network is ahead of the first pruned one."""
    first = {line.kind: line.history.accuracies for line in reversed(shown)}
    both = min((len(first.get(kind, ())) for kind in ("pruned", "fused")), default=0)
    if not both:
        return ""
    pruned, fused = first["pruned"][both - 1], first["fused"][both - 1]
    known = dict(epochs=both - 1, points=points(abs(fused.mean - pruned.mean), say))
    if not apart(pruned, fused):
        return say("finetune.headline.alike", total=fused.total, **known)
    ahead = fused.mean > pruned.mean
    return say("finetune.headline.fused" if ahead else "finetune.headline.pruned", **known)


def caption(
    shown: Sequence[Line], images: int, note: str = "", say: Texts = ENGLISH
) -> tuple[str, str]:
    """What the figures show, and what not to read into them.

    `images` is how many training images were learned from, `note` where the result is from.
    """
    total = max((one.total for line in shown for one in line.history.accuracies), default=0)
    return (
        say("finetune.caption", images=images, total=total, note=f" ({note})" if note else ""),
        say("finetune.caution"),
    )
