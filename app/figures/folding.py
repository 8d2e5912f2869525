"""Fold a large dependency graph: one node for each stage but the one that is looked at.

A stage is a stretch of the network whose pictures have one size, a block a stretch that nothing
bypasses. What is folded becomes a node of the kind "fold"; the result is drawn like any graph.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import networkx as nx

from app.figures.layout import LAYERS, Layout

#: Graphs with more nodes than this are folded unless somebody asks for every layer.
MOST = 60
#: An open stage with more nodes than this keeps the blocks folded that do not hold the group.
MOST_OPEN = 36


def arranged(simple: nx.DiGraph, chosen: int | None, fold: str) -> nx.DiGraph:
    """The graph as it is drawn: `fold` is "auto", "folded" or "unfolded".

    The stages in which the `chosen` group is produced stay open.
    """
    if fold == "unfolded" or (fold == "auto" and len(simple) <= MOST):
        return simple
    layout = Layout(simple)
    parts = []
    for stage in _stages(layout):
        members = _members(layout, stage)
        if not _holds(simple, members, chosen):
            parts.append(members)
        elif len(members) > MOST_OPEN:
            cuts = [cut for cut in layout.clean if stage.start < cut < stage.stop]
            for start, stop in pairwise([stage.start, *cuts, stage.stop]):
                block = _members(layout, range(start, stop))
                if not _holds(simple, block, chosen):
                    parts.append(block)
    return _contracted(simple, [part for part in parts if _layers(simple, part) > 1])


def _stages(layout: Layout) -> list[range]:
    """Those of the layout, and one more for the layers that put out vectors."""
    *stages, last = layout.stages
    shapes = [layout.simple.nodes[name]["shape"] for name in layout.backbone]
    flat = next((place for place in last if len(shapes[place]) < 2), last.stop)
    if flat not in layout.clean:
        return [*stages, last]
    return [*stages, range(last.start, flat), range(flat, last.stop)]


def _members(layout: Layout, stage: range) -> list[str]:
    """The nodes of a stretch of the backbone and of the branches that end in it, in order.

    Without the network's input and output, which are never folded.
    """
    names = set(layout.backbone[stage.start : stage.stop])
    for branch in layout.branches:
        end = branch.source if branch.target is None else branch.target
        if end in stage:
            names.update(name for generation in branch.generations for name in generation)
    kinds = layout.simple.nodes(data="kind")
    return [name for name, kind in kinds if name in names and kind not in ("input", "output")]


def _holds(simple: nx.DiGraph, members: list[str], chosen: int | None) -> bool:
    return any(chosen in simple.nodes[name]["makes"] for name in members)


def _layers(simple: nx.DiGraph, members: list[str]) -> int:
    return sum(simple.nodes[name]["kind"] in LAYERS for name in members)


def _contracted(simple: nx.DiGraph, parts: list[list[str]]) -> nx.DiGraph:
    """The graph with one node for each part."""
    into = {name: f"fold {part[0]}" for part in parts for name in part}
    inside = {f"fold {part[0]}": part for part in parts}
    folded = nx.DiGraph()
    for name in simple:
        node = into.get(name, name)
        if node not in folded:
            told = _told(simple, inside[node]) if name in into else simple.nodes[name]
            folded.add_node(node, **told)
    ends = ((into.get(u, u), into.get(v, v)) for u, v in simple.edges)
    folded.add_edges_from((u, v) for u, v in ends if u != v)
    return folded


def _told(simple: nx.DiGraph, members: list[str]) -> dict:
    """A folded node's attributes: those of any node, and the `layers` in it.

    `group` is the group that most of its layers produce, for a click to choose; nothing is in
    `makes`, for a stage in which the chosen group is produced is open.
    """
    nodes = [simple.nodes[name] for name in members]
    layers = [node for node in nodes if node["kind"] in LAYERS]
    made = Counter(group for node in layers for group in node["makes"])
    consumed = {group for node in layers for group in node["consumes"]}
    inside = {node["title"] for node in layers}
    outside = {node["title"] for node in simple.nodes.values() if node["kind"] in LAYERS} - inside
    return dict(
        kind="fold",
        title=_title([node["title"] for node in layers], outside),
        group=made.most_common(1)[0][0] if made else None,
        holds=nodes[-1]["holds"],
        makes=(),
        consumes=tuple(sorted(consumed)),
        shape=nodes[-1]["shape"],
        layers=[node["title"] for node in layers],
    )


def _title(names: list[str], outside: set[str]) -> str:
    """The module that holds most of these layers and none of the others; else first and last."""

    def own(name: str) -> str:
        parts = name.split(".")
        heads = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        alone = (h for h in heads if not any(f"{o}.".startswith(f"{h}.") for o in outside))
        return next(alone)

    common, count = Counter(map(own, names)).most_common(1)[0]
    if 2 * count > len(names):
        return common
    return f"{own(names[0])} – {own(names[-1])}"
