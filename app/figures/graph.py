"""Draw a network's dependency graph: which layers put out the same channels, and who reads them.

The layout reads like a page: the longest path from input to output (the backbone) runs from left to
right in rows, one for each picture size, and a thin line leads from the end of a row to the start
of the next. Layers off the backbone get a lane above it; an edge that skips layers is an arc.
Positions count columns across and, up the page, pixels at the height the figure asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import plotly.graph_objects as go

from app.figures import theme
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
#: What one row holds at most: more would touch each other on a phone.
LONGEST_ROW = 12
#: The plot's width on a phone, for which the labels are placed; a wider one has more room.
NARROW = 350

#: Heights in pixels: of the first lane above the backbone and of each further one, of an arc over
#: one layer, of what is kept free above the highest of them and below the backbone for labels.
LANE, ARC, ABOVE, BELOW = 36, 16, 8, 44
#: Columns kept free left and right of a row, and how far from the row connectors run there.
SIDE, MARGIN = 0.9, 0.6
#: Markers' and letters' sizes in pixels.
NODE, PRODUCER, JOINT, TEXT, SMALL = 22, 26, 15, 12, 11

KINDS = ("conv", "linear", "add", "input", "output")
SYMBOLS = {
    "conv": "circle", "linear": "square", "add": "circle",
    "input": "triangle-right", "output": "diamond",
}  # fmt: skip
WORDS = {
    "conv": "convolution", "linear": "linear layer", "add": "addition",
    "input": "input of the network", "output": "output of the network",
}  # fmt: skip


def simplify(graph: DependencyGraph) -> nx.DiGraph:
    """The graph with one node a layer with weights, an addition, the input and the output.

    What lies between (batch norm, activations, pooling, flattening) is absorbed into the edges. A
    node's key is its name in the traced network; its attributes are `kind` (one of `KINDS`),
    `title` (the module's path, "+" for an addition), `group` (index of the group of channels it
    puts out, or None), `consumes` (of the group a layer reads, or None) and `shape`.
    """
    simple = nx.DiGraph()
    group_of = {node.name: node.group for node in graph.nodes}
    origins: dict[str, tuple[str, ...]] = {}  # operation → the kept nodes its value comes from
    for node in graph.nodes:
        parents = tuple(dict.fromkeys(one for name in node.parents for one in origins[name]))
        if node.kind not in KINDS:
            origins[node.name] = parents
            continue
        origins[node.name] = (node.name,)
        consumes = group_of[node.parents[0]] if node.kind in ("conv", "linear") else None
        simple.add_node(
            node.name,
            kind=node.kind,
            title="+" if node.kind == "add" else node.module or node.kind,
            group=node.group,
            consumes=consumes,
            shape=node.shape,
        )
        simple.add_edges_from((parent, node.name) for parent in parents)
    return simple


def positions(simple: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Where each node goes: (column, pixels up from the first row), for `simplify`'s graph."""
    return _Layout(simple).at


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
    layout = _Layout(simple)
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


# -- where things go ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Branch:
    """Nodes off the backbone that hang together, in generations, and where on it they are tied.

    `source` and `target` are places on the backbone: of the first node they read, of the last that
    reads them (None: nothing does).
    """

    generations: tuple[tuple[str, ...], ...]
    source: int
    target: int | None


class _Layout:
    """The place of every node (`at`) and the course of every edge (`course`)."""

    def __init__(self, simple: nx.DiGraph) -> None:
        self.simple = simple
        (output,) = (name for name, kind in simple.nodes(data="kind") if kind == "output")
        leading = simple.subgraph(nx.ancestors(simple, output) | {output})
        self.backbone: list[str] = nx.dag_longest_path(leading)
        self.place = {name: place for place, name in enumerate(self.backbone)}
        self.branches = self._branches()
        self.rows = self._rows()
        self.row = {name: row for row, names in enumerate(self.rows) for name in names}
        self.right = max(map(len, self.rows)) - 1
        self.lane: dict[str, int] = {}  # node off the backbone → its lane, 1 is the lowest
        columns = {name: float(c) for names in self.rows for c, name in enumerate(names)}
        self._put_branches(columns)
        lift = {name: LANE * self.lane.get(name, 0) for name in columns}
        self.arcs = self._arcs(columns, lift)
        self.lines = self._lines(lift)
        self.at = {
            name: (columns[name], self.lines[self.row[name]] + lift[name]) for name in simple.nodes
        }
        self.top = self.lines[0] + self._room(0, lift)
        self.bottom = self.lines[-1] - BELOW

    def _branches(self) -> list[_Branch]:
        off = self.simple.subgraph(set(self.simple) - set(self.backbone))
        branches = []
        for names in nx.weakly_connected_components(off):
            sources = [self.place[p] for n in names for p in self.simple.pred[n] if p in self.place]
            targets = [self.place[s] for n in names for s in self.simple.succ[n] if s in self.place]
            generations = tuple(
                tuple(sorted(one)) for one in nx.topological_generations(off.subgraph(names))
            )
            branches.append(
                _Branch(generations, min(sources, default=0), max(targets, default=None))
            )
        return sorted(branches, key=lambda branch: (branch.source, branch.generations))

    def _rows(self) -> list[list[str]]:
        """The backbone cut into rows: one a picture size, where that is neither short nor long.

        A row may end only where everything that bypasses the cut starts at its last node, so that
        no edge but the connector leads from one row to another.
        """
        total = len(self.backbone)
        if total <= LONGEST_ROW:
            return [self.backbone]
        bypasses = [(branch.source, branch.target or 0) for branch in self.branches]
        bypasses += [
            (self.place[u], self.place[v])
            for u, v in self.simple.edges
            if u in self.place and v in self.place
        ]
        clean = [
            cut
            for cut in range(1, total)
            if not any(source < cut - 1 and cut <= target for source, target in bypasses)
        ]
        cuts = {0}
        for place in self.changes()[1:]:  # a change within a block moves to the block's start
            cuts.add(max((cut for cut in clean if cut <= place), default=0))
        edges = [*sorted(cuts), total]
        stages = [range(start, stop) for start, stop in pairwise(edges)]
        stages = [part for stage in stages for part in _shorter(stage, clean)]
        longest = min(max(map(len, stages)), LONGEST_ROW)
        rows: list[range] = []
        for stage in stages:
            if rows and stage.stop - rows[-1].start <= longest:
                rows[-1] = range(rows[-1].start, stage.stop)
            else:
                rows.append(stage)
        return [self.backbone[row.start : row.stop] for row in rows]

    def changes(self) -> list[int]:
        """Places on the backbone at which pictures get another size, the first one included."""
        places, before = [], None
        for place, name in enumerate(self.backbone):
            size = self.simple.nodes[name]["shape"][1:]
            if size and size != before:
                places.append(place)
                before = size
        return places

    def _put_branches(self, columns: dict[str, float]) -> None:
        """Each branch between where it leaves the backbone and where it joins, on a free lane."""
        taken: dict[tuple[int, int], float] = {}  # (row, lane) → column up to which it is taken
        for branch in self.branches:
            end = branch.source if branch.target is None else branch.target
            row = self.row[self.backbone[end]]
            stop = columns[self.backbone[end]] + (branch.target is None)
            source = self.backbone[branch.source]
            # From the row before, its edge comes in at the row's start.
            start = columns[source] if self.row[source] == row else -MARGIN
            lanes, lowest = range(max(map(len, branch.generations))), 1
            while any(taken.get((row, lowest + lane), -1) > start for lane in lanes):
                lowest += 1
            first = max(start, 0)
            steps = len(branch.generations) + 1
            for step, names in enumerate(branch.generations, start=1):
                for lane, name in enumerate(names, start=lowest):
                    columns[name] = first + (stop - first) * step / steps
                    self.row[name], self.lane[name] = row, lane
                    taken[row, lane] = stop

    def _arcs(
        self, columns: dict[str, float], lift: dict[str, float]
    ) -> dict[tuple[str, str], float]:
        """Height of the edges that pass over nodes of their own line, above that line."""
        heights = {}
        for u, v in self.simple.edges:
            start = columns[u] if self.row[u] == self.row[v] else -MARGIN
            if lift[v] != (lift[u] if self.row[u] == self.row[v] else 0):
                continue
            between = [
                name
                for name in self.simple.nodes
                if self.row[name] == self.row[v] and start < columns[name] < columns[v]
            ]
            if not any(lift[name] == lift[v] for name in between):
                continue
            height = ARC * math.sqrt(columns[v] - start)
            for name in between:  # high enough to clear the layers in the lanes below it
                if lift[name] > lift[v]:
                    share = (columns[name] - start) / (columns[v] - start)
                    clear = (lift[name] - lift[v] + NODE) / (4 * share * (1 - share))
                    height = max(height, clear)
            heights[u, v] = height
        return heights

    def _room(self, row: int, lift: dict[str, float]) -> float:
        """What a row needs above its backbone."""
        lanes = [lift[name] + NODE / 2 for name in self.lane if self.row[name] == row]
        arcs = [lift[v] + height for (_, v), height in self.arcs.items() if self.row[v] == row]
        return max([NODE, *lanes, *arcs]) + ABOVE

    def _lines(self, lift: dict[str, float]) -> list[float]:
        lines = [0.0]
        for row in range(1, len(self.rows)):
            lines.append(lines[-1] - BELOW - self._room(row, lift))
        return lines

    def course(self, u: str, v: str) -> list[tuple[float, float]]:
        """The points through which the edge from `u` to `v` runs, both ends included."""
        (ux, uy), (vx, vy) = self.at[u], self.at[v]
        if self.row[u] != self.row[v]:
            margin, between = -MARGIN, self.lines[self.row[u]] - BELOW
            end = len(self.rows[self.row[u]]) - 1 + MARGIN
            way = [(ux, uy), (end, uy), (end, between), (margin, between)]
            return way + self._within((margin, vy), (vx, vy), self.arcs.get((u, v)))
        if uy != vy:
            on, off = self.lines[self.row[u]], max(uy, vy)
            if uy == on:
                bend = min(ux + 1, vx)
                return [(ux, uy), *([(bend, off)] if bend < vx else []), (vx, vy)]
            if vy == on:
                bend = max(vx - 1, ux)
                return [(ux, uy), *([(bend, off)] if bend > ux else []), (vx, vy)]
        return self._within((ux, uy), (vx, vy), self.arcs.get((u, v)))

    @staticmethod
    def _within(
        start: tuple[float, float], end: tuple[float, float], height: float | None
    ) -> list[tuple[float, float]]:
        """A straight line, or a parabola of that height."""
        if height is None:
            return [start, end]
        steps = [step / 24 for step in range(25)]
        return [
            (
                start[0] + (end[0] - start[0]) * t,
                start[1] + (end[1] - start[1]) * t + 4 * height * t * (1 - t),
            )
            for t in steps
        ]


def _shorter(stage: range, clean: list[int]) -> list[range]:
    """Cut a stage that is too long for a row into even parts, as far as clean cuts allow."""
    parts = math.ceil(len(stage) / LONGEST_ROW)
    inside = [cut for cut in clean if stage.start < cut < stage.stop]
    wanted = [stage.start + len(stage) * part / parts for part in range(1, parts)]
    cuts = {min(inside, key=lambda cut: abs(cut - want)) for want in wanted if inside}
    edges = [stage.start, *sorted(cuts), stage.stop]
    return [range(start, stop) for start, stop in pairwise(edges)]


# -- what is drawn --------------------------------------------------------------------------------


def _edges(simple: nx.DiGraph, layout: _Layout, chosen: int | None, mode: str) -> list[go.Scatter]:
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
    graph: DependencyGraph, simple: nx.DiGraph, layout: _Layout, chosen: int | None, mode: str
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


def _sizes(simple: nx.DiGraph, layout: _Layout, mode: str) -> list[dict]:
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
    simple: nx.DiGraph, layout: _Layout, chosen: int | None, mode: str, squeezed: bool
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
