"""Accuracy of the dense, the pruned and the fused network, with intervals, as bars.

Live figures are filled bars. Recorded ones are pale bars with an outline and the word beside them;
while the live count still rests on fewer images, the outline of the recorded one stays around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from app.figures import theme
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy

NAMES = ("dense", "pruned", "fused")
COLOURS = {"dense": theme.DENSE, "pruned": theme.PRUNED, "fused": theme.FUSED}
#: Told apart without colour, too: the pruned bar is hatched.
PATTERNS = {"dense": "", "pruned": "/", "fused": ""}
#: Pixels a bar with its room takes, and the axis with its numbers.
ROW, AXIS = 54, 30
#: How far a recorded bar, and the bar of a pinned setting, are faded.
RECORDED, PINNED = 0.22, 0.55


@dataclass(frozen=True)
class Bar:
    """One network's accuracy.

    name : of `NAMES`. live : as counted so far. recorded : as it was counted once. setting : "A" or
    "B" where two are compared. expected : what the person expected, as a share.
    """

    name: str
    live: Accuracy | None = None
    recorded: Accuracy | None = None
    setting: str = ""
    expected: float | None = None

    @property
    def shown(self) -> Accuracy | None:
        """The accuracy that the bar's length tells."""
        return self.live or self.recorded

    def title(self, say: Texts) -> str:
        """What the bar is called."""
        return f"{say(f'accuracy.name.{self.name}')} {self.setting}".strip()


def figure(bars: Sequence[Bar], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """Horizontal bars, one a network, with 95 % intervals; no bar where nothing is known yet.

    Traces are called as their bars; "recorded" are outlines, "expected" what the person expected.
    """
    chart = go.Figure()
    titles = [bar.title(say) for bar in bars]
    for bar, title in zip(bars, titles, strict=True):
        colour, shown = COLOURS[bar.name][mode], bar.shown
        if shown is None:
            chart.add_bar(
                name=title, y=[title], x=[0], orientation="h", text=["…"], textposition="outside"
            )  # fmt: skip
            continue
        mean, word = 100 * shown.mean, ""
        fade = PINNED if bar.setting == "A" else 1.0
        if bar.live is None:
            fade, word = RECORDED, f"<br><i>{say('accuracy.recorded_word')}</i>"
        chart.add_bar(
            name=title,
            y=[title],
            x=[mean],
            orientation="h",
            marker=dict(
                color=theme.faded(colour, fade),
                pattern=dict(shape=PATTERNS[bar.name], solidity=0.25, fgcolor=theme.INK[mode]),
                line=dict(color=colour, width=2 if bar.live is None or bar.setting == "A" else 0),
            ),
            error_x=dict(
                type="data",
                symmetric=False,
                array=[100 * shown.high - mean],
                arrayminus=[mean - 100 * shown.low],
                color=theme.INK[mode],
                thickness=2,
                width=6,
            ),
            hovertemplate=say(
                "accuracy.hover" if bar.live else "accuracy.hover_recorded",
                name=title, mean=shown.mean, low=shown.low, high=shown.high, total=shown.total,
            ) + "<extra></extra>",
        )  # fmt: skip
        if bar.live and bar.recorded and bar.live.total < bar.recorded.total:
            chart.add_bar(
                name="recorded", y=[title], x=[100 * bar.recorded.mean], orientation="h",
                hoverinfo="skip", width=0.86,
                marker=dict(color="rgba(0,0,0,0)", line=dict(color=colour, width=1.5)),
            )  # fmt: skip
        # Beside the bar's end, past the interval and what was expected: none hides another.
        end = shown.high
        if bar.expected is not None and end - 0.03 < bar.expected < end + 0.4:
            end = bar.expected + 0.02
        chart.add_annotation(
            y=title, x=100 * end, showarrow=False, xanchor="left", xshift=10, align="left",
            text=f"<b>{say.number(shown.mean, '.1%')}</b>{word}",
            font=dict(size=16, color=theme.INK[mode]),
        )  # fmt: skip
    if expected := [
        (bar, title) for bar, title in zip(bars, titles, strict=True) if bar.expected is not None
    ]:
        chart.add_scatter(
            name="expected", x=[100 * bar.expected for bar, _ in expected],
            y=[title for _, title in expected], mode="markers",
            marker=dict(
                symbol="diamond", size=16, color=theme.GUESS[mode],
                line=dict(color=theme.PAPER[mode], width=2),
            ),
            hovertemplate=[
                say("predict.hover", name=title, share=bar.expected) + "<extra></extra>"
                for bar, title in expected
            ],
        )  # fmt: skip
    theme.layout(chart, mode, height=AXIS + ROW * len(bars), barmode="overlay", bargap=0.35)
    chart.update_yaxes(
        categoryorder="array", categoryarray=titles[::-1], tickfont=dict(size=16), fixedrange=True
    )
    chart.update_xaxes(
        range=[0, 145],
        tickvals=[0, 25, 50, 75, 100], ticktext=["0", "25", "50", "75", say.number(1, ".0%")],
        fixedrange=True, gridcolor=theme.FAINT[mode], zeroline=False,
    )  # fmt: skip
    return chart


def alt(bars: Sequence[Bar], title: str, say: Texts = ENGLISH) -> str:
    """The finding in words."""
    known = [bar for bar in bars if bar.shown]
    if not known:
        return say("accuracy.unknown")
    told = [
        say("accuracy.told" if bar.live else "accuracy.told_recorded",
            name=bar.title(say), share=bar.shown.mean)
        for bar in known
    ]  # fmt: skip
    finding = headline(telling([bar for bar in bars if bar.setting != "A"])[0], say)
    return f"{say('accuracy.alt', title=title, told=', '.join(told))} {finding}".strip()


def telling(bars: Sequence[Bar]) -> tuple[dict[str, Accuracy], bool]:
    """The accuracies of one setting that rest on most images, and whether they are recorded.

    All live or all recorded, never some of each; nothing until there is one for every bar.
    """
    live = {bar.name: bar.live for bar in bars if bar.live}
    recorded = {bar.name: bar.recorded for bar in bars if bar.recorded}
    whole = len(live) == len(bars)
    if len(recorded) == len(bars):
        fewer = whole and any(live[name].total < one.total for name, one in recorded.items())
        if not whole or fewer:
            return recorded, True
    return (live, False) if whole else ({}, False)


def headline(known: Mapping[str, Accuracy], say: Texts = ENGLISH) -> str:
    """One sentence: what pruning loses, what fusion loses, and whether the images can tell."""
    if not all(known.get(name) for name in NAMES):
        return ""
    dense, pruned, fused = (known[name] for name in NAMES)
    told = dict(
        pruned=points(dense.mean - pruned.mean, say), fused=points(dense.mean - fused.mean, say),
        total=pruned.total,
    )  # fmt: skip
    pruning_loses, fusion_loses = pruned.high < dense.low, fused.high < dense.low
    if not pruning_loses and not fusion_loses:
        return say("accuracy.headline.neither", **told)
    if not apart(pruned, fused):
        return say("accuracy.headline.alike", **told)
    if fused.mean > pruned.mean:
        found = "accuracy.headline.less" if fusion_loses else "accuracy.headline.none"
    else:
        found = "accuracy.headline.more" if pruning_loses else "accuracy.headline.only_fusion"
    return say(found, **told)


def against(a: Accuracy, b: Accuracy, say: Texts = ENGLISH) -> str:
    """One sentence: how far the fused networks of two settings are apart."""
    told = dict(points=points(abs(b.mean - a.mean), say), total=min(a.total, b.total))
    if not apart(a, b):
        return say("pin.alike", **told)
    return say("pin.above" if b.mean > a.mean else "pin.below", **told)


def apart(one: Accuracy, other: Accuracy) -> bool:
    """Whether the 95 % intervals of two accuracies have nothing in common."""
    return one.low > other.high or other.low > one.high


def points(share: float, say: Texts = ENGLISH) -> str:
    """A difference of accuracies in points, with as many digits as mean something."""
    value = 100 * share
    return say.number(value, ".0f" if abs(value) >= 9.95 else ".1f")
