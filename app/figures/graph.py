"""Draw a network's dependency graph: which layers put out the same channels, and who reads them.

Where everything goes is decided in `app.figures.layout`; here it gets its colours, its letters and
its words.
"""

from __future__ import annotations

import networkx as nx
import plotly.graph_objects as go

from app.figures import theme
from app.figures.layout import MARGIN, NODE, SIDE, Layout, simplify
from core.errors import RecipeError
from core.graph import DependencyGraph, Group

#: Okabe & Ito's hues, darkened for white paper and lightened for dark: (light, dark). The blue and
#: the vermilion, which mean fused and pruned elsewhere, come late.
HUES = (
    ("#00795A", "#2DC49A"),  # green
    ("#A3477F", "#E08FBF"),  # purple
    ("#9A6200", "#E69F00"),  # orange
    ("#0058A3", "#6FA3F2"),  # blue
    ("#6B6300", "#F0E442"),  # yellow
    ("#1B7C9E", "#8AD3F5"),  # sky
    ("#C44E00", "#FF8140"),  # vermilion
)
#: The plot's width on a phone, for which the labels are placed; a wider one has more room.
NARROW = 350

#: Other markers' and letters' sizes in pixels.
PRODUCER, JOINT, TEXT, SMALL = 26, 15, 12, 11

SYMBOLS = {
    "conv": "circle", "linear": "square", "add": "circle",
    "input": "triangle-right", "output": "diamond",
}  # fmt: skip
WORDS = {
    "conv": "convolution", "linear": "linear layer", "add": "addition",
    "input": "input of the network", "output": "output of the network",
}  # fmt: skip


def positions(simple: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Where each node goes: (column, pixels up from the first row), for `simplify`'s graph."""
    return Layout(simple).at


def figure(
    graph: DependencyGraph, chosen: int | None, mode: str, height: int | None = None
) -> go.Figure:
    """The dependency graph, with one group brought out.

    The layers that produce the `chosen` group are filled, larger and ringed, those that consume it
    are hollow, and the way of its channels is drawn in its colour; without a choice every layer is
    filled. All nodes are one trace, "layers", whose customdata is [group or -1, title] for each.
    `mode` is "light" or "dark"; `height` in pixels is chosen to fit unless given.

    Raises
    ------
    RecipeError
        If there is no group `chosen`.
    """
    _group(graph, chosen)
    simple = simplify(graph)
    layout = Layout(simple)
    drawn = go.Figure(
        [
            *_edges(simple, layout, chosen, mode),
            _nodes(graph, simple, layout, chosen, mode),
        ]
    )
    natural = round(layout.top - layout.bottom) + 16  # both margins
    squeezed = height is not None and height < 0.95 * natural
    theme.layout(
        drawn, mode, height or natural,
        annotations=[
            *_sizes(simple, layout, mode), *_labels(simple, layout, chosen, mode, squeezed)
        ],
        dragmode=False, hovermode="closest",
    )  # fmt: skip
    drawn.update_xaxes(visible=False, fixedrange=True, range=[-SIDE, layout.right + SIDE])
    drawn.update_yaxes(visible=False, fixedrange=True, range=[layout.bottom, layout.top])
    return drawn


def alt(graph: DependencyGraph, chosen: int | None) -> str:
    """What the figure shows, in words: for people who hear the page."""
    text = f"Dependency graph of {len(graph.layers)} layers in {len(graph.groups)} groups."
    group = _group(graph, chosen)
    if group is None:
        return text + " No group is chosen."
    return (
        f"{text} Group {group.index}, {group.width} channels, is produced by "
        f"{_listed(group.producers)} and consumed by {_listed(group.consumers)}."
    )


def caption(graph: DependencyGraph, chosen: int | None) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    group = _group(graph, chosen)
    shows = (
        "Layers from input to output, row by row; the number in a layer is the group of channels "
        "it puts out, and layers with the same number must shrink together"
    )
    if group is not None:
        shows += (
            f": the filled, ringed ones produce the {group.width} channels of group {group.index}, "
            "the hollow ones consume them"
        )
    caution = (
        "Distances and heights of arcs mean nothing, and colours repeat: only the numbers say "
        "which layers belong together."
    )
    return shows + ".", caution


def colour(group: int, mode: str) -> str:
    """The colour of a group."""
    return HUES[group % len(HUES)][mode == "dark"]


def _group(graph: DependencyGraph, chosen: int | None) -> Group | None:
    if chosen is None:
        return None
    if not 0 <= chosen < len(graph.groups):
        raise RecipeError(
            f"There is no group {chosen}; this network has groups 0 to {len(graph.groups) - 1}."
        )
    return graph.groups[chosen]


def _listed(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


# -- what is drawn --------------------------------------------------------------------------------


def _edges(simple: nx.DiGraph, layout: Layout, chosen: int | None, mode: str) -> list[go.Scatter]:
    """The edges that carry the chosen group's channels are a trace of their own, on top."""
    plain = _blend(theme.DENSE[mode], mode, 0.7)
    wanted = [("edges", False, plain)]
    if chosen is not None:
        wanted.append(("chosen edges", True, colour(chosen, mode)))
    traces = []
    for name, ours, line in wanted:
        x: list[float | None] = []
        y: list[float | None] = []
        size, standoff = [], []
        for u, v in simple.edges:
            carries = chosen is not None and simple.nodes[u]["group"] == chosen
            if carries is not ours:
                continue
            points = layout.course(u, v)
            x += [point[0] for point in points] + [None]
            y += [point[1] for point in points] + [None]
            size += [0] * (len(points) - 1) + [9 if ours else 7, 0]
            radius = _size(simple.nodes[v], chosen) / 2 + 1
            standoff += [0] * (len(points) - 1) + [radius, 0]
        traces.append(
            go.Scatter(
                x=x, y=y, name=name, mode="lines+markers", hoverinfo="skip",
                line=dict(color=line, width=3 if ours else 1.5),
                marker=dict(
                    symbol="arrow", angleref="previous", color=line, opacity=1,
                    size=size, standoff=standoff, line_width=0,
                ),
                selected_marker_opacity=1, unselected_marker_opacity=1,
            )
        )  # fmt: skip
    return traces


def _nodes(
    graph: DependencyGraph, simple: nx.DiGraph, layout: Layout, chosen: int | None, mode: str
) -> go.Scatter:
    nodes = [simple.nodes[name] for name in simple.nodes]
    looks = [_look(node, chosen, mode) for node in nodes]
    return go.Scatter(
        x=[layout.at[name][0] for name in simple.nodes],
        y=[layout.at[name][1] for name in simple.nodes],
        name="layers",
        mode="markers+text",
        text=[_inscription(node) for node in nodes],
        textfont=dict(
            size=[TEXT + 2 * _produces(node, chosen) for node in nodes],
            color=[look["text"] for look in looks],
        ),
        customdata=[[-1 if n["group"] is None else n["group"], n["title"]] for n in nodes],
        hovertext=[_hover(graph, node) for node in nodes],
        hoverinfo="text",
        marker=dict(
            symbol=[SYMBOLS[node["kind"]] for node in nodes],
            size=[_size(node, chosen) for node in nodes],
            color=[look["fill"] for look in looks],
            opacity=1,
            line=dict(
                color=[look["line"] for look in looks], width=[look["width"] for look in looks]
            ),
        ),
        # A click selects one point, and Plotly would fade all others until the page is drawn anew.
        selected=dict(marker_opacity=1, textfont_color=theme.PAPER[mode]),
        unselected=dict(marker_opacity=1),
    )


def _produces(node: dict, chosen: int | None) -> bool:
    return chosen is not None and node["kind"] in ("conv", "linear") and node["group"] == chosen


def _size(node: dict, chosen: int | None) -> int:
    if node["kind"] in ("add", "input", "output"):
        return JOINT
    return PRODUCER if _produces(node, chosen) else NODE


def _look(node: dict, chosen: int | None, mode: str) -> dict:
    """Fill, outline and letters of one node.

    Colours are mixed with the paper's instead of made transparent, so that no edge shines through.
    """
    ink, paper = theme.INK[mode], theme.PAPER[mode]
    own = theme.DENSE[mode] if node["group"] is None else colour(node["group"], mode)
    if node["kind"] == "add":
        ours = chosen is None or node["group"] == chosen
        line = own if ours else _blend(own, mode, 0.4)
        return dict(fill=paper, line=line, width=1.5, text=ink if ours else _blend(ink, mode, 0.7))
    if _produces(node, chosen):
        return dict(fill=own, line=ink, width=2.5, text=paper)
    if chosen is not None and node["consumes"] == chosen:
        return dict(fill=paper, line=colour(chosen, mode), width=3.5, text=ink)
    if chosen is None:
        return dict(fill=own, line=paper, width=1, text=paper)
    faded = _blend(own, mode, 0.35)
    return dict(fill=faded, line=faded, width=1, text=_blend(ink, mode, 0.9))


def _blend(one: str, mode: str, share: float) -> str:
    """`share` of a colour on the paper's."""
    pairs = ((one[at : at + 2], theme.PAPER[mode][at : at + 2]) for at in (1, 3, 5))
    return "#" + "".join(
        f"{round(int(a, 16) * share + int(b, 16) * (1 - share)):02X}" for a, b in pairs
    )


def _inscription(node: dict) -> str:
    if node["kind"] == "add":
        return "+"
    return "" if node["group"] is None else str(node["group"])


def _hover(graph: DependencyGraph, node: dict) -> str:
    shape = " × ".join(map(str, node["shape"]))
    lines = [f"<b>{node['title']}</b>", f"{WORDS[node['kind']]}, puts out {shape}"]
    if node["kind"] in ("input", "output"):
        return "<br>".join(lines)
    if node["group"] is None:
        lines.append("no group: tied to the network's input or its classes")
    else:
        verb = "carries" if node["kind"] == "add" else "produces"
        lines.append(f"{verb} group {node['group']}, {graph.groups[node['group']].width} channels")
    if node["consumes"] is not None:
        width = graph.groups[node["consumes"]].width
        lines.append(f"consumes group {node['consumes']}, {width} channels")
    return "<br>".join(lines)


def _sizes(simple: nx.DiGraph, layout: Layout, mode: str) -> list[dict]:
    """Above the first layer that puts out pictures of a size, that size where it fits."""
    pitch = NARROW / (layout.right + 2 * SIDE)
    notes, before = [], (0, 0.0)  # the row and the end of the one before
    for place in layout.changes():
        name = layout.backbone[place]
        size = "×".join(map(str, simple.nodes[name]["shape"][1:]))
        row, middle, wide = layout.row[name], layout.at[name][0] * pitch, 0.56 * SMALL * len(size)
        if notes and before[0] == row and middle - wide / 2 < before[1]:
            continue
        before = row, middle + wide / 2
        notes.append(_note(layout.at[name], size, theme.DENSE[mode], SMALL, yshift=NODE / 2 + 11))
    return notes


def _note(at: tuple[float, float], text: str, ink: str, size: int, **more) -> dict:
    settings = dict(x=at[0], y=at[1], text=text, showarrow=False, font=dict(size=size, color=ink))
    return settings | dict(borderpad=0) | more


def _labels(
    simple: nx.DiGraph, layout: Layout, chosen: int | None, mode: str, squeezed: bool
) -> list[dict]:
    """Names of the chosen group's layers and of both ends, wherever they fit on a phone.

    Below the backbone are two lines for them (one where rows are `squeezed` together, so that no
    name touches the connector); beside a layer in a lane is one.
    """

    def rank(name: str) -> int:
        node = simple.nodes[name]
        if _produces(node, chosen):
            return 0
        if chosen is not None and node["consumes"] == chosen:
            return 1
        return 2 if node["kind"] in ("input", "output") else 3

    pitch = NARROW / (layout.right + 2 * SIDE)
    taken: dict[tuple[int, int], list[tuple[float, float]]] = {}  # (row, line) → stretches
    for row, names in enumerate(layout.rows[:-1]):  # the connector to the next row
        x = (len(names) - 1 + MARGIN + SIDE) * pitch
        taken[row, -1], taken[row, -2] = [(x - 2, x + 2)], [(x - 2, x + 2)]
    notes = []
    for name in sorted(simple.nodes, key=rank):
        if rank(name) == 3:
            break
        node, (x, _), row = simple.nodes[name], layout.at[name], layout.row[name]
        wide, middle = 0.47 * TEXT * len(node["title"]) + 3, (x + SIDE) * pitch
        radius = _size(node, chosen) / 2
        shifts = {"center": 0, "left": -radius, "right": radius}
        lines = (-1,) if squeezed else (-1, -2)
        if name in layout.lane:
            shifts, lines = {"left": radius + 3}, (layout.lane[name],)
        for line, anchor in ((line, anchor) for anchor in shifts for line in lines):
            start = middle + shifts[anchor] - {"center": wide / 2, "left": 0, "right": wide}[anchor]
            others = taken.setdefault((row, line), [])
            if start < 0 or start + wide > NARROW:
                continue
            if any(start < b and a < start + wide for a, b in others):
                continue
            others.append((start, start + wide))
            up = {-1: -21, -2: -33}.get(line, 3)
            ink = theme.INK[mode] if rank(name) < 2 else theme.DENSE[mode]
            notes.append(
                _note(
                    layout.at[name], node["title"], ink, TEXT,
                    xanchor=anchor, xshift=shifts[anchor], yshift=up,
                )
            )  # fmt: skip
            break
    return notes
