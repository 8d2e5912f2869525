"""How far smaller networks are from the dense one: by image, by class, and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from app.figures import theme
from app.figures.accuracy import COLOURS, NAMES, PATTERNS
from app.language import ENGLISH, Texts
from core.divergence import Divergence, Mean, Operation, began
from core.signatures import Signature

#: Heights in pixels; of the figure by class: of each class, and of the axis below.
HEIGHT, CLASS, AXIS = 320, 30, 64
#: Told apart without colour, too: symbols and dashes, in the order in which variants come.
SYMBOLS = ("square", "circle", "diamond", "triangle-up", "cross")
DASHES = ("dot", "solid", "dash", "dashdot", "longdash")
#: The other variants than pruned and fused take these of the theme's categories.
FURTHER = (3, 4, 6, 7)
#: Room a mean's number takes, as a share of the height of the tallest bar.
LINE = 0.13
#: Names of operations that the axis shows at most; the pointer tells all.
MOST_NAMES = 7


def title(name: str, say: Texts) -> str:
    """What a variant is called: pruned, fused, or by its rule."""
    return say(f"accuracy.name.{name}") if name in NAMES else name


def _look(names: Sequence[str], name: str, mode: str) -> tuple[str, str, str]:
    """A variant's colour, symbol and dash."""
    if name in COLOURS:
        own = NAMES.index(name) - 1  # pruned, fused: the same in every figure
        return COLOURS[name][mode], SYMBOLS[own], DASHES[own]
    place = [one for one in names if one not in COLOURS].index(name)
    colour = theme.CATEGORIES[mode][FURTHER[place % len(FURTHER)]]
    further = 2 + place % (len(SYMBOLS) - 2)
    return colour, SYMBOLS[further], DASHES[further]


def histogram(known: Divergence, mode: str, say: Texts = ENGLISH, bins: int = 40) -> go.Figure:
    """How many images are how far from the dense outputs; a line at each variant's mean.

    Traces are called as the variants, those of the means "mean NAME".
    """
    chart = go.Figure()
    edges, counts = known.histogram(bins)
    edges, tallest = edges.tolist(), int(counts.max())
    middles = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
    for place, name in enumerate(known.names):
        colour, _, _ = _look(known.names, name, mode)
        chart.add_bar(
            name=name, x=middles, y=counts[place].tolist(), width=edges[1],
            marker=dict(
                color=theme.faded(colour, 0.5), line=dict(color=colour, width=1),
                pattern=dict(
                    shape=PATTERNS.get(name, "."), solidity=0.25, fgcolor=theme.INK[mode], size=6
                ),
            ),
            hovertemplate=[
                say("divergence.hover", name=title(name, say), low=low, high=high, count=count)
                + "<extra></extra>"
                for low, high, count in zip(edges, edges[1:], counts[place].tolist(), strict=False)
            ],
        )  # fmt: skip
    means = sorted((known.mean(name).mean, name) for name in known.names)
    for line, (mean, name) in enumerate(means):
        colour, _, dash = _look(known.names, name, mode)
        height = tallest * (1.05 + LINE * (len(means) - line - 0.5))
        chart.add_scatter(
            name=f"mean {name}", x=[mean] * 2, y=[0, height], mode="lines", hoverinfo="skip",
            line=dict(color=colour, width=2.5, dash=dash),
        )  # fmt: skip
        right = mean > edges[-1] / 2
        chart.add_annotation(
            x=mean, y=height, showarrow=False, xanchor="right" if right else "left",
            xshift=-6 if right else 6, font=dict(color=colour, size=13),
            text="<b>" + say("divergence.mean", name=title(name, say), mean=mean) + "</b>",
        )  # fmt: skip
    theme.layout(chart, mode, HEIGHT, barmode="overlay", bargap=0, dragmode=False)
    chart.update_xaxes(
        title_text=say("divergence.x"), fixedrange=True, range=[0, edges[-1]], showgrid=False
    )
    top = tallest * (1.05 + LINE * len(means))
    chart.update_yaxes(title_text=say("divergence.y"), fixedrange=True, range=[0, top])
    return chart


def by_class(known: Divergence, mode: str, say: Texts = ENGLISH) -> go.Figure:
    """The mean distance of the images of each class with its interval, a line a class."""
    chart = go.Figure()
    order = list(known.classes)
    for name in known.names:
        colour, symbol, _ = _look(known.names, name, mode)
        there: list[tuple[str, Mean]] = [
            (one, mean)
            for one, mean in zip(known.classes, known.by_class(name), strict=True)
            if mean is not None
        ]
        half = [mean.high - mean.mean if mean.total > 1 else 0.0 for _, mean in there]
        chart.add_scatter(
            name=name, mode="markers", y=[one for one, _ in there],
            x=[mean.mean for _, mean in there],
            error_x=dict(type="data", array=half, color=colour, thickness=2, width=5),
            marker=dict(symbol=symbol, size=10, color=colour),
            hovertemplate=[
                say("divergence.hover_class", name=title(name, say), label=one, mean=mean.mean,
                    low=mean.low, high=mean.high, count=mean.total) + "<extra></extra>"
                for one, mean in there
            ],
        )  # fmt: skip
    theme.layout(chart, mode, AXIS + CLASS * len(order), dragmode=False)
    _legend(chart, known.names, say)
    chart.update_xaxes(title_text=say("divergence.x_mean"), fixedrange=True, rangemode="tozero")
    chart.update_yaxes(categoryorder="array", categoryarray=order[::-1], fixedrange=True)
    return chart


def layers(operations: Sequence[Operation], mode: str, say: Texts = ENGLISH) -> go.Figure:
    """The relative distance after every operation, in network order; hollow: on kept channels."""
    chart = go.Figure()
    names = tuple(operations[0].distances) if operations else ()
    places = list(range(len(operations)))
    for name in names:
        colour, symbol, dash = _look(names, name, mode)
        chart.add_scatter(
            name=name, mode="lines+markers", x=places, connectgaps=False,
            y=[one.distances[name] for one in operations], line=dict(color=colour, dash=dash),
            marker=dict(
                size=8, color=colour, line=dict(color=colour, width=2),
                symbol=[f"{symbol}-open" if name in one.kept else symbol for one in operations],
            ),
            hovertemplate=[
                say("divergence.hover_kept" if name in one.kept else "divergence.hover_layer",
                    name=title(name, say), layer=one.name, share=one.distances[name] or 0.0)
                + "<extra></extra>"
                for one in operations
            ],
        )  # fmt: skip
    theme.layout(chart, mode, HEIGHT, dragmode=False)
    _legend(chart, names, say)
    step = max(1, -(-len(places) // MOST_NAMES))
    shown = places[::step]
    chart.update_xaxes(
        title_text=say("divergence.x_layers"), fixedrange=True, showgrid=False, tickvals=shown,
        ticktext=[operations[place].name for place in shown], tickangle=-35,
    )  # fmt: skip
    chart.update_yaxes(
        title_text=say("divergence.y_layers"), fixedrange=True, rangemode="tozero", tickformat=".0%"
    )
    return chart


def _legend(chart: go.Figure, names: Sequence[str], say: Texts) -> None:
    for trace in chart.data:
        trace.update(name=title(trace.name, say), meta=trace.name)
    chart.update_layout(
        showlegend=len(names) > 0, margin_t=36,
        legend=dict(orientation="h", x=0, y=1, yanchor="bottom", bgcolor="rgba(0,0,0,0)"),
    )  # fmt: skip


# -- words ----------------------------------------------------------------------------------------


def alt(known: Divergence, say: Texts = ENGLISH) -> str:
    """The finding of the histogram in words."""
    told = [
        say("divergence.told", name=title(name, say), mean=(mean := known.mean(name)).mean,
            low=mean.low, high=mean.high, share=known.agreement(name))
        for name in known.names
    ]  # fmt: skip
    return " ".join([say("divergence.alt", done=known.done, total=known.total), *told])


def alt_by_class(known: Divergence, say: Texts = ENGLISH) -> str:
    """The finding by class in words: where each variant is nearest and farthest."""
    told = []
    for name in known.names:
        there = [
            (mean.mean, label)
            for label, mean in zip(known.classes, known.by_class(name), strict=True)
            if mean is not None
        ]
        (least, near), (most, far) = min(there), max(there)
        told.append(
            say("divergence.told_class", name=title(name, say), near=near, least=least, far=far,
                most=most)
        )  # fmt: skip
    return " ".join([say("divergence.alt_class"), *told])


def alt_layers(operations: Sequence[Operation], say: Texts = ENGLISH) -> str:
    """The finding layer by layer in words: where each variant starts to be off, and its end."""
    told = []
    for name in operations[0].distances if operations else ():
        start, end = began(operations, name), operations[-1].distances[name] or 0.0
        if start is None:
            told.append(say("divergence.told_never", name=title(name, say), end=end))
        else:
            told.append(
                say("divergence.told_layer", name=title(name, say), layer=start.name, end=end)
            )
    return " ".join([say("divergence.alt_layers"), *told])


def caption(known: Divergence, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the histogram shows, and what not to read into it."""
    norm = float(known.norms.mean())
    return say("divergence.caption", done=known.done, norm=norm), say("divergence.caution")


def caption_by_class(say: Texts = ENGLISH) -> tuple[str, str]:
    return say("divergence.caption_class"), say("divergence.caution_class")


def caption_layers(say: Texts = ENGLISH) -> tuple[str, str]:
    return say("divergence.caption_layers"), say("divergence.caution_layers")


def sign(one: Signature, say: Texts = ENGLISH) -> str:
    """A signature of failure as a sentence, with its numbers."""
    place = []
    if "group" in one.where:
        place.append(say("divergence.sign.group", group=one.where["group"]))
    if "variant" in one.where:
        place.append(title(one.where["variant"], say))
    told = dict(one.where) | {"value": one.value, "threshold": one.threshold}
    text = say(f"divergence.sign.{one.name}", **told)
    return f"{', '.join(place)}: {text}" if place else text
