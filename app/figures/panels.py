"""Accuracy against sparsity for several ways to fuse: a panel for each group and importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import plotly.graph_objects as go

from app.figures import curves, ends, theme
from app.figures.accuracy import COLOURS
from app.language import ENGLISH, Texts
from core.evaluate import Accuracy
from core.signatures import Signature, of_curve

#: Pixels of a panel that stands among many.
SMALL = 230
#: Ways to fuse in their order, told apart without colour, too.
LOOKS = ("circle", "solid"), ("square", "dash"), ("diamond", "dot"), ("triangle-up", "dashdot"), (
    "star", "longdash"
)  # fmt: skip
#: Places in `theme.CATEGORIES` of those after the first, which is blue as whatever is fused.
OTHERS = (4, 5, 6, 8)


@dataclass(frozen=True)
class Spot:
    """One point of a line: the accuracy with each seed."""

    seeds: tuple[Accuracy, ...]

    @property
    def mean(self) -> float:
        return fmean(one.mean for one in self.seeds)

    @property
    def low(self) -> float:
        """The lowest end of the seeds' 95 % intervals."""
        return min(one.low for one in self.seeds)

    @property
    def high(self) -> float:
        """The highest end of the seeds' 95 % intervals."""
        return max(one.high for one in self.seeds)

    @property
    def total(self) -> int:
        return min(one.total for one in self.seeds)


@dataclass(frozen=True)
class Line:
    """One way to shrink a group: its points by sparsity, rising.

    name : of what tells it from others in the panel; "" where nothing has to. pruned : plain
    pruning.
    """

    name: str
    spots: Mapping[float, Spot]
    pruned: bool

    def title(self, say: Texts) -> str:
        """What stands behind the line."""
        return self.name or say(f"accuracy.name.{'pruned' if self.pruned else 'fused'}")


def _looks(lines: Sequence[Line], mode: str) -> list[tuple[str, str, str]]:
    """Colour, symbol and dash of each line."""
    told, place = [], 0
    for line in lines:
        if line.pruned:
            told.append((COLOURS["pruned"][mode], curves.SYMBOLS["pruned"], "solid"))
            continue
        own = COLOURS["fused"][mode] if not place else theme.CATEGORIES[mode][OTHERS[place - 1]]
        told.append((own, *LOOKS[place]))
        place += 1
    return told


def figure(
    lines: Sequence[Line], dense: Accuracy | None, mode: str, say: Texts = ENGLISH,
    small: bool = False,
) -> go.Figure:  # fmt: skip
    """Lines with the bands of their intervals; the dense network as a line across.

    Traces are called as the lines, "dense", and "band". `small` : one of many, without titles of
    its axes.
    """
    chart, names = go.Figure(), []
    for line, (colour, symbol, dash) in zip(lines, _looks(lines, mode), strict=True):
        x, title = [100 * share for share in line.spots], line.title(say)
        spots = list(line.spots.values())
        chart.add_scatter(
            name="band", x=[*x, *x[::-1]], mode="lines", line_width=0, fill="toself",
            y=[100 * one.high for one in spots] + [100 * one.low for one in spots[::-1]],
            fillcolor=theme.faded(colour, 0.2), hoverinfo="skip",
        )  # fmt: skip
        chart.add_scatter(
            name=title, x=x, y=[100 * one.mean for one in spots], mode="lines+markers",
            line=dict(color=colour, width=2 if small else 2.5, dash=dash),
            marker=dict(symbol=symbol, size=6 if small else 8, color=colour, line_width=1.5),
            hovertemplate=[
                _hover(title, share, one, say) + "<extra></extra>"
                for share, one in line.spots.items()
            ],
        )  # fmt: skip
        names.append((100 * spots[-1].mean, x[-1], title, colour))
    # A name is as high as 9 points of the whole axis in the large figure.
    ends.name(chart, names, gap=9.0 * (1.5 if small else 1.0))
    if dense:
        last = max((x for _, x, _, _ in names), default=100)  # names stand clear of it
        chart.add_scatter(
            name="dense", x=[0, last], y=[100 * dense.mean] * 2, mode="lines", hoverinfo="skip",
            line=dict(color=theme.DENSE[mode], width=1.5, dash="dot"),
        )  # fmt: skip
        if not small:
            chart.add_annotation(
                x=0, y=100 * dense.mean, text=say("accuracy.name.dense"), showarrow=False,
                xanchor="left", yanchor="bottom", font_color=theme.DENSE[mode],
            )  # fmt: skip
    curves.frame(chart, mode, say)
    chart.update_xaxes(range=[0, 115])
    if small:
        chart.update_layout(height=SMALL)
        chart.layout.xaxis.title = chart.layout.yaxis.title = None
    return chart


def _hover(title: str, share: float, spot: Spot, say: Texts) -> str:
    told = say("curves.hover", name=title, sparsity=share, mean=spot.mean, low=spot.low,
               high=spot.high, total=spot.total)  # fmt: skip
    if len(spot.seeds) == 1:
        return told
    means = [one.mean for one in spot.seeds]
    seeds = say("panels.seeds", count=len(means), least=min(means), most=max(means))
    return f"{told}<br>{seeds}"


def alt(lines: Sequence[Line], of: str, say: Texts = ENGLISH) -> str:
    """The finding in words: where each line begins and ends. `of` : the panel's title."""
    told = [say("panels.alt", of=of)]
    for line in lines:
        (first, begins), (last, ended) = list(line.spots.items())[0], list(line.spots.items())[-1]
        told.append(
            say("curves.told", name=line.title(say), begins=begins.mean, first=first,
                ends=ended.mean, last=last)
        )  # fmt: skip
    return " ".join(told)


def falls(lines: Sequence[Line]) -> list[tuple[Line, Signature]]:
    """The lines on which accuracy falls suddenly, each with its steepest fall.

    Of several seeds the first is looked at: a mean over seeds smooths what each of them does.
    """
    found = []
    for line in lines:
        curve = {share: spot.seeds[0] for share, spot in line.spots.items()}
        found += [(line, one) for one in of_curve(curve)]
    return found


def sign(line: Line, fall: Signature, say: Texts = ENGLISH) -> str:
    """A sudden fall as a sentence."""
    key = "panels.drop_pruned" if line.pruned else "panels.drop_fused"
    where = dict(fall.where)
    return say(key, name=line.title(say), before=where["before"], after=where["after"],
               points=100 * fall.value, least=100 * fall.threshold)  # fmt: skip


def signs(lines: Sequence[Line], say: Texts = ENGLISH) -> str:
    """All sudden falls of a small panel in one line; "" where there is none."""
    told = [
        say("panels.drop", name=line.title(say), before=one.where["before"],
            after=one.where["after"])
        for line, one in falls(lines)
    ]  # fmt: skip
    return say("panels.drops", listed="; ".join(told)) if told else ""


def caption(
    panels: Sequence[Sequence[Line]], note: str, say: Texts = ENGLISH
) -> tuple[str, str]:  # fmt: skip
    """What the panels show, and what not to read into them; `note` says where they are from."""
    spots = [spot for lines in panels for line in lines for spot in line.spots.values()]
    totals = sorted({spot.total for spot in spots})
    shown = [say("panels.caption", note=note, images=totals[0] if totals else 0)]
    if any(len(spot.seeds) > 1 for spot in spots):
        shown.append(say("panels.caption_seeds", count=max(len(spot.seeds) for spot in spots)))
    doubt = [say("curves.caution")]
    if len(totals) > 1:
        doubt.append(say("panels.mixed", fewest=totals[0], most=totals[-1]))
    return " ".join(shown), " ".join(doubt)
