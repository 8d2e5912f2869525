"""Where the layers of a network go in a picture of its dependency graph.

It reads like a page: the longest path from input to output (the backbone) runs from left to right
in rows, one for each picture size, and a thin line leads from the end of a row to the start of the
next. Layers off the backbone get a lane above it; an edge that skips layers is an arc. Positions
count columns across and, up the page, pixels at the height the figure asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from core.groups import CONSUMES, DependencyGraph

#: What is drawn: all else is absorbed into the edges.
KINDS = ("conv", "linear", "add", "concat", "input", "output")
#: Those of them that have weights.
LAYERS = ("conv", "linear")
#: What layers with weights, joints and ends are called where they have no module's name.
SIGNS = {"add": "+", "concat": "‖"}
#: What one row holds at most: more would touch each other on a phone.
LONGEST_ROW = 12
#: Heights in pixels: of the first lane above the backbone and of each further one, of an arc over
#: one layer, of what is kept free above the highest of them and below the backbone for labels.
LANE, ARC, ABOVE, BELOW = 36, 16, 8, 44
#: And above the first row, for the chosen channel's number; in a row with stacks, for their sheets.
FIRST, STACK = 14, 6
#: How far above a row an arc begins that comes in from the row before.
EARLY = 20
#: Columns kept free left and right of a row, and how far from the row connectors run there.
SIDE, MARGIN = 0.9, 0.7
#: A layer's size in pixels.
NODE = 22


def simplify(graph: DependencyGraph) -> nx.DiGraph:
    """The graph with one node a layer with weights, an addition, a concatenation, and both ends.

    What lies between (batch norm, activations, pooling, flattening) is absorbed into the edges. A
    node's key is its name in the traced network; its attributes are `kind` (one of `KINDS`),
    `title` (the module's path, "+" for an addition, "‖" for a concatenation), `group` (index of
    the group of channels it puts out, or None), `holds` (all of them: a concatenation puts out
    several), `makes` and `consumes` (indices of the groups whose
    channels a layer has rows and columns for, rising) and `shape`. A concatenation that adds to
    what an earlier one has put together reads that one, so that DenseNets read like ResNets.
    """
    simple = nx.DiGraph()
    makes, reads = _roles(graph)
    origins: dict[str, tuple[str, ...]] = {}  # operation → the kept nodes its value comes from
    joined: dict[tuple[str, ...], str] = {}  # what concatenations put together → their names
    for node in graph.nodes:
        parents = tuple(dict.fromkeys(one for name in node.parents for one in origins[name]))
        if node.kind not in KINDS or (node.kind == "concat" and len(parents) < 2):
            origins[node.name] = parents
            continue
        if node.kind == "concat":
            joined[parents] = node.name
            for end in range(len(parents) - 1, 1, -1):
                if parents[:end] in joined:
                    parents = (joined[parents[:end]], *parents[end:])
                    break
        origins[node.name] = (node.name,)
        layer = node.module if node.kind in LAYERS else None
        holds = () if node.group is None else (node.group,)
        if node.kind == "concat":
            found = {group for name in parents for group in simple.nodes[name]["holds"]}
            holds = tuple(sorted(found))
        simple.add_node(
            node.name,
            kind=node.kind,
            title=SIGNS.get(node.kind) or node.module or node.kind,
            group=node.group,
            holds=holds,
            makes=makes.get(layer, ()),
            consumes=reads.get(layer, ()),
            shape=node.shape,
        )
        simple.add_edges_from((parent, node.name) for parent in parents)
    return simple


#: By layer: indices of groups.
Groups = dict[str, tuple[int, ...]]


def _roles(graph: DependencyGraph) -> tuple[Groups, Groups]:
    """The groups for which a layer has rows (depthwise convolutions too), and columns."""
    makes: Groups = {}
    reads: Groups = {}
    for group in graph.groups:
        for coupling in group.couplings:
            found = reads if coupling.role == CONSUMES else makes
            known = found.get(coupling.layer, ())
            if group.index not in known:
                found[coupling.layer] = (*known, group.index)
    return makes, reads


@dataclass(frozen=True)
class _Branch:
    """Nodes off the backbone that hang together, in generations, and where on it they are tied.

    `source` and `target` are places on the backbone: of the first node they read, of the last that
    reads them (None: nothing does).
    """

    generations: tuple[tuple[str, ...], ...]
    source: int
    target: int | None


class Layout:
    """The place of every node (`at`) and the course of every edge (`course`)."""

    def __init__(self, simple: nx.DiGraph) -> None:
        self.simple = simple
        (output,) = (name for name, kind in simple.nodes(data="kind") if kind == "output")
        leading = simple.subgraph(nx.ancestors(simple, output) | {output})
        self.backbone: list[str] = nx.dag_longest_path(leading)
        self.place = {name: place for place, name in enumerate(self.backbone)}
        self.branches = self._branches()
        #: Places before which the backbone may be cut: nothing bypasses the cut.
        self.clean = self._clean()
        #: The backbone cut where pictures get another size, as far as clean cuts allow.
        self.stages = self._stages()
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
        self.top = self.lines[0] + max(self._room(0, lift), NODE + ABOVE + FIRST)
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
        if len(self.backbone) <= LONGEST_ROW:
            return [self.backbone]
        stages = [part for stage in self.stages for part in _shorter(stage, self.clean)]
        longest = min(max(map(len, stages)), LONGEST_ROW)
        rows: list[range] = []
        for stage in stages:
            if rows and stage.stop - rows[-1].start <= longest:
                rows[-1] = range(rows[-1].start, stage.stop)
            else:
                rows.append(stage)
        return [self.backbone[row.start : row.stop] for row in rows]

    def _clean(self) -> list[int]:
        bypasses = [(branch.source, branch.target or 0) for branch in self.branches]
        bypasses += [
            (self.place[u], self.place[v])
            for u, v in self.simple.edges
            if u in self.place and v in self.place
        ]
        return [
            cut
            for cut in range(1, len(self.backbone))
            if not any(source < cut - 1 and cut <= target for source, target in bypasses)
        ]

    def _stages(self) -> list[range]:
        cuts = {0}
        for place in self.changes()[1:]:  # a change within a block moves to the block's start
            cuts.add(max((cut for cut in self.clean if cut <= place), default=0))
        return [range(start, stop) for start, stop in pairwise([*sorted(cuts), len(self.backbone)])]

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
        kinds = (self.simple.nodes[name]["kind"] for name in self.rows[row])
        return max([NODE + STACK * ("fold" in kinds), *lanes, *arcs]) + ABOVE

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
            height = self.arcs.get((u, v))
            if height is None:
                return [*way, (margin, vy), (vx, vy)]
            # Off to the arc above the row's first node, and no higher than others for all that.
            return way + self._within((margin, vy + EARLY), (vx, vy), height - 0.4 * EARLY)
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
