"""Draw a network's dependency graph: which layers put out the same channels, and who reads them.

Where everything goes is decided in `app.figures.layout`, what is folded in `app.figures.folding`;
here it gets its colours and its letters. Its words stand in `app.figures.graph_words`, what a
compression takes from the layers is laid over it by `app.figures.graph_marks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import plotly.graph_objects as go

from app.figures import folding, graph_words, theme
from app.figures.layout import LAYERS, MARGIN, NODE, SIDE, Layout, simplify
from app.language import ENGLISH, Texts
from core.errors import RecipeError
from core.extent import Extent, extents
from core.groups import DependencyGraph, Group

#: Okabe & Ito's hues, darkened for white paper and lightened for dark: (light, dark). The blue,
#: which means fused elsewhere, comes late; vermilion, which means pruned, is crimson here.
HUES = (
    ("#00795A", "#2DC49A"),  # green
    ("#A3477F", "#E08FBF"),  # purple
    ("#9A6200", "#E69F00"),  # orange
    ("#0058A3", "#6FA3F2"),  # blue
    ("#6B6300", "#F0E442"),  # yellow
    ("#1B7C9E", "#8AD3F5"),  # sky
    ("#9E1B32", "#FF8FA3"),  # crimson
)
#: The plot's width on a phone, for which the labels are placed; a wider one has more room.
NARROW = 350

#: Sizes in pixels: of joints, of letters; of a box, half its width on a phone and half its height.
JOINT, TEXT, SMALL = 15, 12, 11
HALF, TALL = 10, 13
#: How far the sheets of a stack lie behind each other, in pixels.
SHEET = 3

SYMBOLS = {
    "conv": "circle", "linear": "square", "add": "circle", "concat": "circle", "fold": "square",
    "input": "triangle-right", "output": "diamond",
}  # fmt: skip
CLEAR = "rgba(0,0,0,0)"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A graph as it is drawn for a choice: its nodes, their places, the sizes of its layers."""

    graph: DependencyGraph
    chosen: int | None
    simple: nx.DiGraph
    layout: Layout
    sizes: dict[str, Extent]

    @property
    def group(self) -> Group | None:
        return None if self.chosen is None else self.graph.groups[self.chosen]

    @property
    def half(self) -> float:
        """Half the width of a box, in columns."""
        return HALF * (self.layout.right + 2 * SIDE) / NARROW

    def makes(self, name: str) -> bool:
        """Whether the layer has rows for the chosen group's channels."""
        return self.chosen is not None and self.chosen in self.simple.nodes[name]["makes"]

    def reads(self, name: str) -> bool:
        """Whether the layer, or one that is folded into the node, has columns for them."""
        return self.chosen is not None and self.chosen in self.simple.nodes[name]["consumes"]

    def boxed(self, name: str) -> bool:
        """Whether the node is drawn as a box: as its weight matrix, or as a stack of layers."""
        folded = self.simple.nodes[name]["kind"] == "fold"
        return folded or self.makes(name) or self.reads(name)

    def box(self, name: str) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a node's box."""
        x, y = self.layout.at[name]
        return x - self.half, x + self.half, y - TALL, y + TALL


def arrange(graph: DependencyGraph, chosen: int | None, fold: str = "auto") -> Drawing:
    """Decide what is drawn where. `fold` is "auto", "folded" or "unfolded".

    Raises
    ------
    RecipeError
        If there is no group `chosen`.
    """
    if chosen is not None and not 0 <= chosen < len(graph.groups):
        raise RecipeError(
            f"There is no group {chosen}; this network has groups 0 to {len(graph.groups) - 1}."
        )
    simple = folding.arranged(simplify(graph), chosen, fold)
    return Drawing(graph, chosen, simple, Layout(simple), extents(graph))


def positions(simple: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Where each node goes: (column, pixels up from the first row), for `simplify`'s graph."""
    return Layout(simple).at


def figure(drawn: Drawing, mode: str, height: int | None = None, say: Texts = ENGLISH) -> go.Figure:
    """The dependency graph, with one group brought out.

    The layers of the chosen group are drawn as their weight matrices: those that produce its
    channels as filled boxes, those that consume them as outlined ones, and the way of the channels
    in the group's colour; without a choice every layer is filled. All nodes are one trace,
    "layers", whose customdata is [group or -1, title] for each. `mode` is "light" or "dark";
    `height` in pixels is chosen to fit unless given.
    """
    layout = drawn.layout
    chart = go.Figure([*_edges(drawn, mode), *_boxes(drawn, mode), _nodes(drawn, mode, say)])
    natural = round(layout.top - layout.bottom) + 16  # both margins
    squeezed = height is not None and height < 0.95 * natural
    theme.layout(
        chart, mode, height or natural,
        annotations=[*_sizes(drawn, mode), *_labels(drawn, mode, squeezed)],
        dragmode=False, hovermode="closest",
        # What somebody has zoomed to stays, as long as the same nodes are drawn.
        uirevision=f"{len(drawn.simple)} {layout.bottom}",
    )  # fmt: skip
    chart.update_xaxes(visible=False, fixedrange=True, range=[-SIDE, layout.right + SIDE])
    chart.update_yaxes(visible=False, fixedrange=True, range=[layout.bottom, layout.top])
    return chart


def colour(group: int, mode: str) -> str:
    """The colour of a group."""
    return HUES[group % len(HUES)][mode == "dark"]


# -- what is drawn --------------------------------------------------------------------------------


def _edges(drawn: Drawing, mode: str) -> list[go.Scatter]:
    """The edges that carry the chosen group's channels are a trace of their own, on top."""
    simple, chosen = drawn.simple, drawn.chosen
    wanted = [("edges", False, _blend(theme.DENSE[mode], mode, 0.7))]
    if chosen is not None:
        wanted.append(("chosen edges", True, colour(chosen, mode)))
    traces = []
    for name, ours, line in wanted:
        x: list[float | None] = []
        y: list[float | None] = []
        size, standoff = [], []
        for u, v in simple.edges:
            carries = chosen in simple.nodes[u]["holds"]
            if carries is not ours:
                continue
            points = drawn.layout.course(u, v)
            radius, arrow = _size(simple.nodes[v]) / 2 + 1, len(points) - 1
            if drawn.boxed(v):
                points, radius = _entering(points, drawn.box(v)), 1
                arrow = len(points) - 2
            x += [point[0] for point in points] + [None]
            y += [point[1] for point in points] + [None]
            at = [place == arrow for place in range(len(points))] + [False]
            size += [(9 if ours else 7) * here for here in at]
            standoff += [radius * here for here in at]
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


def _entering(
    points: list[tuple[float, float]], box: tuple[float, float, float, float]
) -> list[tuple[float, float]]:
    """A course with one more point: where it enters the box in whose middle it ends."""
    left, right, low, high = box
    at = len(points) - 2
    while at and left < points[at][0] < right and low < points[at][1] < high:
        at -= 1
    (ux, uy), (vx, vy) = points[at], points[-1]
    shares = [(edge - ux) / (vx - ux) for edge in (left, right) if ux != vx]
    shares += [(edge - uy) / (vy - uy) for edge in (low, high) if uy != vy]
    inside = [share for share in shares if 0 <= share < 1]
    share = max(
        (s for s in inside if _holds(box, ux + s * (vx - ux), uy + s * (vy - uy))), default=0
    )
    return [*points[: at + 1], (ux + share * (vx - ux), uy + share * (vy - uy)), (vx, vy)]


def _holds(box: tuple[float, float, float, float], x: float, y: float) -> bool:
    left, right, low, high = box
    return left - 1e-9 <= x <= right + 1e-9 and low - 1e-9 <= y <= high + 1e-9


def outline(left: float, right: float, low: float, high: float) -> tuple[list, list]:
    """A rectangle's corners and a gap, for a trace of many."""
    return [left, right, right, left, left, None], [low, low, high, high, low, None]


def _boxes(drawn: Drawing, mode: str) -> list[go.Scatter]:
    """Boxes beneath the letters: the sheets of stacks, and what produces and consumes."""
    own = None if drawn.chosen is None else colour(drawn.chosen, mode)
    grey = _blend(theme.DENSE[mode], mode, 0.2)
    looks = {  # who → fill, line, width
        "sheets": (grey, theme.DENSE[mode], 1),
        "stacks": (grey, theme.DENSE[mode], 1.5),
        "reading stacks": (grey, own, 3.5),
        "consumers": (theme.PAPER[mode], own, 3.5),
        "producers": (own, theme.INK[mode], 2.5),
    }
    found: dict[str, list[tuple]] = {who: [] for who in looks}
    aside = drawn.half * SHEET / HALF
    for name, node in drawn.simple.nodes.items():
        if not drawn.boxed(name):
            continue
        left, right, low, high = drawn.box(name)
        if node["kind"] == "fold":
            found["sheets"] += [
                (left + n * aside / 2, right + n * aside / 2, low + n * SHEET, high + n * SHEET)
                for n in (2, 1)
            ]
            who = "reading stacks" if drawn.reads(name) else "stacks"
        else:
            who = "producers" if drawn.makes(name) else "consumers"
        found[who].append((left, right, low, high))
    traces = []
    for who, boxes in found.items():
        if boxes:
            fill, line, width = looks[who]
            corners = [outline(*box) for box in boxes]
            traces.append(
                go.Scatter(
                    x=[x for xs, _ in corners for x in xs], y=[y for _, ys in corners for y in ys],
                    name=who, mode="lines", fill="toself", fillcolor=fill, hoverinfo="skip",
                    line=dict(color=line, width=width),
                )
            )  # fmt: skip
    return traces


def _nodes(drawn: Drawing, mode: str, say: Texts) -> go.Scatter:
    names = list(drawn.simple)
    nodes = [drawn.simple.nodes[name] for name in names]
    looks = [_look(drawn, name, mode) for name in names]
    return go.Scatter(
        x=[drawn.layout.at[name][0] for name in names],
        y=[drawn.layout.at[name][1] for name in names],
        name="layers",
        mode="markers+text",
        text=[graph_words.inscription(node) for node in nodes],
        textfont=dict(
            size=[_letters(drawn, name) for name in names],
            color=[look["text"] for look in looks],
        ),
        customdata=[identity(node) for node in nodes],
        hovertext=[graph_words.hover(drawn, name, {}, say) for name in names],
        hoverinfo="text",
        marker=dict(
            symbol=[SYMBOLS[node["kind"]] for node in nodes],
            size=[_size(node) for node in nodes],
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


def identity(node: dict) -> list:
    """What a click on a node tells: its group, or -1, and its title."""
    return [-1 if node["group"] is None else node["group"], node["title"]]


def _letters(drawn: Drawing, name: str) -> int:
    if drawn.simple.nodes[name]["kind"] == "fold":
        return SMALL
    return TEXT + 2 * drawn.makes(name)


def _size(node: dict) -> int:
    return NODE if node["kind"] in (*LAYERS, "fold") else JOINT


def _look(drawn: Drawing, name: str, mode: str) -> dict:
    """Fill, outline and letters of one node; what is boxed has its look from its box.

    Colours are mixed with the paper's instead of made transparent, so that no edge shines through.
    """
    node, chosen = drawn.simple.nodes[name], drawn.chosen
    ink, paper = theme.INK[mode], theme.PAPER[mode]
    if drawn.boxed(name):
        letters = paper if drawn.makes(name) else ink
        return dict(fill=CLEAR, line=CLEAR, width=0, text=letters)
    own = theme.DENSE[mode] if node["group"] is None else colour(node["group"], mode)
    if node["kind"] in ("add", "concat"):
        ours = chosen is None or chosen in node["holds"]
        line = own if ours else _blend(own, mode, 0.4)
        return dict(fill=paper, line=line, width=1.5, text=ink if ours else _blend(ink, mode, 0.7))
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


def _sizes(drawn: Drawing, mode: str) -> list[dict]:
    """Above the first layer that puts out pictures of a size, that size where it fits."""
    layout = drawn.layout
    pitch = NARROW / (layout.right + 2 * SIDE)
    notes, before = [], (0, 0.0)  # the row and the end of the one before
    for place in layout.changes():
        name = layout.backbone[place]
        size = "×".join(map(str, drawn.simple.nodes[name]["shape"][1:]))
        row, middle, wide = layout.row[name], layout.at[name][0] * pitch, 0.56 * SMALL * len(size)
        if notes and before[0] == row and middle - wide / 2 < before[1]:
            continue
        before = row, middle + wide / 2
        up = NODE / 2 + 11 + (4 if drawn.boxed(name) else 0)
        notes.append(_note(layout.at[name], size, theme.DENSE[mode], SMALL, yshift=up))
    return notes


def _note(at: tuple[float, float], text: str, ink: str, size: int, **more) -> dict:
    settings = dict(x=at[0], y=at[1], text=text, showarrow=False, font=dict(size=size, color=ink))
    return settings | dict(borderpad=0) | more


def _labels(drawn: Drawing, mode: str, squeezed: bool) -> list[dict]:
    """Names of the chosen group's layers, of what is folded and of both ends, where they fit.

    Below the backbone are two lines for them (one where rows are `squeezed` together, so that no
    name touches the connector); beside a layer in a lane is one.
    """
    simple, layout = drawn.simple, drawn.layout

    def rank(name: str) -> int:
        if drawn.makes(name):
            return 0
        if drawn.reads(name):
            return 1
        return 2 if simple.nodes[name]["kind"] in ("input", "output", "fold") else 3

    pitch = NARROW / (layout.right + 2 * SIDE)
    taken: dict[tuple[int, int], list[tuple[float, float]]] = {}  # (row, line) → stretches
    for row, names in enumerate(layout.rows[:-1]):  # the connector to the next row
        x = (len(names) - 1 + MARGIN + SIDE) * pitch
        taken[row, -1], taken[row, -2] = [(x - 2, x + 2)], [(x - 2, x + 2)]
    notes = []
    for name in sorted(simple.nodes, key=rank):
        if rank(name) == 3:
            break
        (x, _), row = layout.at[name], layout.row[name]
        title = graph_words.label(simple.nodes[name])
        wide, middle = 0.47 * TEXT * len(title) + 3, (x + SIDE) * pitch
        radius = TALL if drawn.boxed(name) else _size(simple.nodes[name]) / 2
        shifts = {"center": 0, "left": -radius, "right": radius}
        lines = (-1,) if squeezed else (-1, -2)
        at = layout.at[name]
        if name in layout.lane:
            shifts, lines = {"left": radius + 3}, (layout.lane[name],)
            if drawn.boxed(name):  # boxes are as wide as the figure lets them
                at, middle = (drawn.box(name)[1], at[1]), middle + HALF
                shifts = {"left": 4}
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
                    at, title, ink, TEXT, xanchor=anchor, xshift=shifts[anchor], yshift=up,
                )
            )  # fmt: skip
            break
    return notes
