"""The words of the dependency graph: what stands in a node, what it tells, alt text and caption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.figures.layout import LAYERS, SIGNS
from app.language import ENGLISH, Texts
from core.extent import Extent

if TYPE_CHECKING:
    from app.figures.graph import Drawing

#: Groups that a stack's hover text lists at most.
MOST_GROUPS = 8


def inscription(node: dict) -> str:
    """What stands in a node."""
    if node["kind"] in SIGNS:
        return SIGNS[node["kind"]]
    if node["kind"] == "fold":
        return f"×{len(node['layers'])}"
    return "" if node["group"] is None else str(node["group"])


def label(node: dict) -> str:
    """The name below a node: of a stage its last part, the hover text has all of it."""
    title = node["title"]
    return title.rpartition(".")[2] if node["kind"] == "fold" and "–" not in title else title


def hover(drawn: Drawing, name: str, left: Mapping[str, Extent], say: Texts = ENGLISH) -> str:
    """All about one node. `left`: the sizes of layers that the compression made smaller."""
    node = drawn.simple.nodes[name]
    shape = " × ".join(map(str, node["shape"]))
    lines = [f"<b>{node['title']}</b>"]
    if node["kind"] == "fold":
        lines.append(say("graph.stage", count=len(node["layers"]), shape=shape))
    else:
        lines.append(say("graph.puts_out", kind=say(f"graph.kind.{node['kind']}"), shape=shape))
    layers = node["layers"] if node["kind"] == "fold" else [node["title"]]
    if node["kind"] in LAYERS:
        lines += _weight(drawn.sizes[node["title"]], left.get(node["title"]), say)
        if node["group"] is None:
            lines.append(say("graph.no_group"))
    if node["kind"] in (*LAYERS, "fold"):
        before = sum(drawn.sizes[layer].parameters for layer in layers)
        after = sum(left.get(layer, drawn.sizes[layer]).parameters for layer in layers)
        if after == before:
            lines.append(say("graph.parameters", before=before))
        else:
            lines.append(
                say("graph.parameters_left", after=after, before=before, share=after / before)
            )
    if node["kind"] in SIGNS and node["group"] is not None:
        lines.append(_of_group(drawn, "carries", node["group"], say))
    if node["kind"] != "fold":
        lines += [_of_group(drawn, "produces", index, say) for index in node["makes"]]
    lines += _consumed(drawn, node, say)
    if node["kind"] == "fold":
        lines.append(say("graph.click"))
    return "<br>".join(lines)


def _weight(whole: Extent, less: Extent | None, say: Texts) -> list[str]:
    def shape(size: Extent) -> str:
        return " × ".join(map(str, (size.rows, size.columns, *size.kernel)))

    lines = [say("graph.weight", shape=shape(whole), kernel="×".join(map(str, whole.kernel)))]
    if not whole.kernel:
        lines = [say("graph.matrix", shape=shape(whole))]
    if less is not None and less != whole:
        lines.append(say("graph.weight_left", shape=shape(less)))
    return lines


def _of_group(drawn: Drawing, how: str, index: int, say: Texts) -> str:
    return say(f"graph.{how}", group=index, count=drawn.graph.groups[index].width)


def _consumed(drawn: Drawing, node: dict, say: Texts) -> list[str]:
    """The groups that a layer reads, one by one unless there are many."""
    groups = node["consumes"]
    if node["kind"] == "fold":
        return [_of_group(drawn, "consumes", g, say) for g in groups if g == drawn.chosen]
    if len(groups) > MOST_GROUPS:
        return [say("graph.consumes_many", count=len(groups))]
    return [_of_group(drawn, "consumes", index, say) for index in groups]


def alt(drawn: Drawing, kept: int | None = None, say: Texts = ENGLISH) -> str:
    """What the figure shows, in words: for people who hear the page.

    `kept`: how many of the chosen group's channels stay, None before that is decided.
    """
    graph, group = drawn.graph, drawn.group
    told = [say("graph.alt", layers=len(graph.layers), groups=len(graph.groups))]
    if group is None:
        told.append(say("graph.alt_none"))
    else:
        told.append(
            say("graph.alt_group", group=group.index, count=group.width,
                producers=_listed(group.producers, say), consumers=_listed(group.consumers, say))
        )  # fmt: skip
        if kept is not None and kept < group.width:
            told.append(say("graph.alt_taken", kept=kept, count=group.width))
    folded = [node for node in drawn.simple.nodes.values() if node["kind"] == "fold"]
    if folded:
        hidden = sum(len(node["layers"]) for node in folded)
        told.append(say("graph.alt_folded", layers=hidden, stages=len(folded)))
    return " ".join(told)


def caption(drawn: Drawing, say: Texts = ENGLISH) -> tuple[str, str]:
    """What the figure shows, and what not to read into it: a sentence each."""
    group = drawn.group
    shows = say("graph.shows")
    if any(node["kind"] == "fold" for node in drawn.simple.nodes.values()):
        shows += say("graph.shows_folded")
    if group is not None:
        shows += say("graph.shows_group", count=group.width, group=group.index)
    return shows + ".", say("graph.caution")


def _listed(names: tuple[str, ...], say: Texts) -> str:
    *most, last = names
    return say("graph.and", most=", ".join(most), last=last) if most else last
