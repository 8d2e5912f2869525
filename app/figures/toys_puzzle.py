"""Draw the puzzle's network: layers that can be picked, the one that loses channels, the answer.

Where things go is decided in `app.figures.layout`, as in the explorer's graph; but a layer's group
is what the viewer shall find out, so neither numbers nor colours tell it.
"""

from __future__ import annotations

import plotly.graph_objects as go

from app.figures import theme
from app.figures.layout import SIDE, Layout, simplify
from app.language import ENGLISH, Texts
from app.toys.networks import Puzzle, Tried, network

#: Pixels: layers, letters, lines of names, and how far names lie below.
NODE, TEXT, LINE, BELOW = 34, 14, 15, 30
#: More nodes than this are drawn smaller, or they touch each other on a phone.
MANY, SMALL = 8, 24
SYMBOLS = {
    "conv": "circle", "linear": "square", "add": "circle", "input": "triangle-right",
    "output": "diamond",
}  # fmt: skip


def figure(
    puzzle: Puzzle,
    picked: frozenset[str],
    checked: bool,
    tried: Tried | None,
    mode: str,
    say: Texts = ENGLISH,
) -> go.Figure:
    """The network with what is picked; with what is missing or too many once it is `checked`.

    The layers are one trace, "layers", whose customdata is [name] for each, [None] for what can't
    be picked. Where the network broke when it was `tried`, there is a ring with a cross above it.
    """
    simple = simplify(network(puzzle.network).graph)
    layout = Layout(simple)
    ink, paper = theme.INK[mode], theme.PAPER[mode]
    own = NODE if len(simple) <= MANY else SMALL
    chart = go.Figure()
    for u, v in simple.edges:
        x, y = zip(*layout.course(u, v), strict=True)
        chart.add_scatter(
            x=x, y=y, mode="lines+markers", hoverinfo="skip",
            line=dict(color=theme.DENSE[mode], width=2),
            marker=dict(
                symbol="arrow", angleref="previous", color=theme.DENSE[mode],
                size=[0] * (len(x) - 1) + [11],
                standoff=[0] * (len(x) - 1) + [_size(simple.nodes[v], own) / 2 + 1],
            ),
        )  # fmt: skip
    names = list(simple.nodes)
    nodes = [simple.nodes[name] for name in names]
    fills, lines, widths, signs = [], [], [], []
    for node in nodes:
        title = node["title"]
        # A space, for Plotly never again writes where there was nothing.
        fill, line, width, sign = paper, theme.DENSE[mode], 2.5, " "
        if node["kind"] == "add":
            sign = "+"
        elif title == puzzle.layer:
            fill, line, sign = theme.CHOSEN[mode], theme.CHOSEN[mode], f"−{puzzle.remove}"
        elif title in puzzle.choices:
            right, is_picked = title in puzzle.answer, title in picked
            if is_picked:
                fill = line = theme.FUSED[mode]
                sign = "✓"
            if checked and is_picked and not right:
                fill, line, sign = theme.PRUNED[mode], theme.PRUNED[mode], "✗"
            elif checked and right and not is_picked:
                line, width, sign = theme.PRUNED[mode], 4, "?"
        fills.append(fill), lines.append(line), widths.append(width), signs.append(sign)
    at = [layout.at[name] for name in names]
    chart.add_scatter(
        name="layers", x=[p[0] for p in at], y=[p[1] for p in at], mode="markers+text",
        text=signs, textfont=dict(
            size=TEXT + (own == NODE), color=[ink if fill == paper else paper for fill in fills]
        ),
        customdata=[[n["title"] if n["title"] in puzzle.choices else None] for n in nodes],
        hovertext=[_hover(puzzle, node, say) for node in nodes], hoverinfo="text",
        marker=dict(
            symbol=[SYMBOLS[n["kind"]] for n in nodes], size=[_size(n, own) for n in nodes],
            color=fills, opacity=1, line=dict(color=lines, width=widths),
        ),
        selected=dict(marker_opacity=1), unselected=dict(marker_opacity=1),
    )  # fmt: skip
    at_fault = tried.operation if tried is not None else None
    broke = [n for n in names if at_fault in (n, simple.nodes[n]["title"])]
    if broke:
        chart.add_scatter(
            name="broke", x=[layout.at[n][0] for n in broke], y=[layout.at[n][1] for n in broke],
            mode="markers", hoverinfo="skip",
            marker=dict(
                symbol="circle-open", size=own + 12, color=theme.PRUNED[mode],
                line=dict(color=theme.PRUNED[mode], width=5),
            ),
        )  # fmt: skip
    steps = 3 if len(names) > MANY else 2
    notes = [
        dict(
            x=layout.at[name][0], y=layout.at[name][1], yshift=NODE - 2, showarrow=False, text="✗",
            font=dict(size=TEXT + 8, color=theme.PRUNED[mode]), bgcolor=paper, borderpad=0,
        )
        for name in broke
    ]  # fmt: skip
    for place, name in enumerate(names):
        node, step = simple.nodes[name], place % steps
        if node["kind"] == "add":
            continue
        above = name in layout.lane
        notes.append(
            dict(
                x=layout.at[name][0], y=layout.at[name][1], showarrow=False,
                text=_title(node, say), yshift=BELOW if above else -BELOW - LINE * step,
                font=dict(size=TEXT - 1, color=theme.INK[mode]),
                bgcolor=paper, borderpad=0,
            )
        )  # fmt: skip
    bottom = layout.bottom - LINE * (steps - 1) + 6
    top = layout.top + 24
    theme.layout(
        chart, mode, round(top - bottom) + 16, annotations=notes, dragmode=False,
        hovermode="closest",
    )  # fmt: skip
    chart.update_xaxes(visible=False, fixedrange=True, range=[-SIDE, layout.right + SIDE])
    chart.update_yaxes(visible=False, fixedrange=True, range=[bottom, top])
    return chart


def alt(puzzle: Puzzle, picked: frozenset[str], say: Texts = ENGLISH) -> str:
    """The network and what is picked, in words."""
    simple = simplify(network(puzzle.network).graph)
    ways = "; ".join(
        f"{_title(simple.nodes[u], say)} → {_title(simple.nodes[v], say)}" for u, v in simple.edges
    )
    shown = ", ".join(sorted(picked)) or say("toys.puzzle.nothing")
    return say("toys.puzzle.alt", layer=puzzle.layer, remove=puzzle.remove, picked=shown, ways=ways)


def _size(node: dict, own: int) -> int:
    """A node's size, where layers have their `own`."""
    return {"input": 18, "output": 18, "add": own - 4}.get(node["kind"], own)


def _title(node: dict, say: Texts) -> str:
    ends = {"input": "toys.puzzle.input", "output": "toys.puzzle.output"}
    return say(ends[node["kind"]]) if node["kind"] in ends else node["title"]


def _hover(puzzle: Puzzle, node: dict, say: Texts) -> str:
    shape = " × ".join(map(str, node["shape"]))
    told = f"<b>{_title(node, say)}</b><br>{say('toys.puzzle.puts_out', shape=shape)}"
    if node["title"] == puzzle.layer:
        told += "<br>" + say("toys.puzzle.loses", remove=puzzle.remove)
    elif node["title"] in puzzle.choices:
        told += "<br>" + say("toys.puzzle.click")
    return told
