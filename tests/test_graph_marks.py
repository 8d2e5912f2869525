"""What is laid over the graph says how much of each layer a compression leaves, to the channel."""

from __future__ import annotations

import json

import pytest
from torch import nn

import core
from app.figures import graph as drawing
from app.figures import graph_marks, graph_words, theme
from app.language import texts
from core import zoo

NAME = "resnet18-digits"


@pytest.fixture(scope="module")
def net():
    return core.load(NAME)


@pytest.fixture(scope="module")
def graph(net):
    return core.trace(net, zoo.network(NAME).input_shape)


@pytest.fixture(scope="module")
def compressed(net, graph):
    return core.compress(net, graph, core.Recipe(groups=(6,), sparsity=0.7))


@pytest.fixture(scope="module")
def kept(compressed):
    return compressed.kept[6].tolist()


def marked(graph, kept, channel=None, mode="light", chosen=6, fold="auto"):
    drawn = drawing.arrange(graph, chosen, fold)
    return drawn, {t.name: t for t in graph_marks.marks(drawn, kept, channel, mode)}


def area(xs, ys) -> float:
    """Of a polygon, by the shoelace formula."""
    pairs = list(zip(xs, ys, strict=True))
    turns = zip(pairs, pairs[1:] + pairs[:1], strict=True)
    return abs(sum(a * d - c * b for (a, b), (c, d) in turns)) / 2


def polygons(trace):
    xs: list = []
    ys: list = []
    for x, y in zip(trace.x, trace.y, strict=True):
        if x is None:
            yield xs, ys
            xs, ys = [], []
        else:
            xs.append(x)
            ys.append(y)


def owner(drawn, xs, ys) -> str:
    """The node whose box a polygon lies in."""
    (name,) = (
        name
        for name in filter(drawn.boxed, drawn.simple)
        if drawn.box(name)[0] - 1e-9 <= min(xs) and max(xs) <= drawn.box(name)[1] + 1e-9
        and drawn.box(name)[2] - 1e-9 <= min(ys) and max(ys) <= drawn.box(name)[3] + 1e-9
    )  # fmt: skip
    return name


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_what_is_hatched_is_the_share_that_the_compressed_layer_lacks(
    graph, kept, compressed, mode
):
    drawn, traces = marked(graph, kept, mode=mode)
    group, found = graph.groups[6], set()
    assert traces["taken"].fillpattern.shape == "/"  # not by colour alone
    assert traces["taken"].line.color == theme.PRUNED[mode]
    for xs, ys in polygons(traces["taken"]):
        title = drawn.simple.nodes[name := owner(drawn, xs, ys)]["title"]
        left, right, low, high = drawn.box(name)
        before = graph.shapes[f"{title}.weight"]
        after = compressed.module.get_submodule(title).weight.shape
        share = area(xs, ys) / (right - left) / (high - low)
        assert share == pytest.approx(1 - after[0] * after[1] / before[0] / before[1])
        if title in group.producers:  # rows: the bottom goes, from side to side
            assert (min(xs), max(xs), min(ys)) == pytest.approx((left, right, low))
        else:  # columns: the right goes, from top to bottom
            assert (max(xs), min(ys), max(ys)) == pytest.approx((right, low, high))
        found.add(title)
    assert found == {*group.producers, *group.consumers}


def test_the_pointer_is_told_the_parameters_that_the_compressed_layer_has(graph, kept, compressed):
    drawn, traces = marked(graph, kept)
    told = {
        title: text
        for (_, title), text in zip(
            traces["left"].customdata, traces["left"].hovertext, strict=True
        )
    }
    assert set(told) == {*graph.groups[6].producers, *graph.groups[6].consumers}
    for title, text in told.items():
        parts = [compressed.module.get_submodule(title)]
        if graph.layers[title].norm:
            parts.append(compressed.module.get_submodule(graph.layers[title].norm))
        left = sum(p.numel() for part in parts for p in part.parameters(recurse=False))
        whole = drawn.sizes[title].parameters
        assert f"{left:,} of {whole:,} parameters stay" in text
        assert " × ".join(map(str, parts[0].weight.shape)) in text
        assert "3×3" in text or "1×1" in text
    # What the base tells is what was there before.
    for name, node in drawn.simple.nodes.items():
        if node["kind"] in ("conv", "linear"):
            text = graph_words.hover(drawn, name, {})
            assert f"{drawn.sizes[node['title']].parameters:,} parameters" in text
            assert "stay" not in text


def test_nothing_is_hatched_where_everything_stays(graph):
    _, traces = marked(graph, range(graph.groups[6].width))
    assert not traces


@pytest.mark.parametrize("stays", [True, False])
def test_the_chosen_channel_is_a_row_of_producers_and_a_column_of_consumers(graph, kept, stays):
    group = graph.groups[6]
    channel = next(c for c in range(group.width) if (c in kept) is stays)
    drawn, traces = marked(graph, kept, channel)
    assert traces["channel"].line.color == theme.CHOSEN["light"]
    rows, columns = set(), set()
    for xs, ys in polygons(traces["channel"]):
        name = owner(drawn, xs, ys)
        title, (left, right, low, high) = drawn.simple.nodes[name]["title"], drawn.box(name)
        share = len(kept) / group.width
        if ys[0] == ys[1]:
            assert xs == [left, right]
            rows.add(title)
            assert ((high - ys[0]) / (high - low) < share) is stays
        else:
            assert ys == [low, high]
            columns.add(title)
            assert ((xs[0] - left) / (right - left) < share) is stays
    assert rows == set(group.producers) and columns == set(group.consumers)
    assert traces["named"].text and set(traces["named"].text) == {f"channel {channel}"}


def test_channels_stand_in_the_order_of_what_stays(graph, kept):
    group = graph.groups[6]
    heights = []
    for channel in [*kept, *sorted(set(range(group.width)) - set(kept))]:
        _, traces = marked(graph, kept, channel)
        heights.append(next(ys[0] for _, ys in polygons(traces["channel"])))
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == group.width


def test_a_flattened_consumer_has_a_column_for_every_pixel_of_a_channel():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Linear(4 * 16, 5)

        def forward(self, x):
            return self.head(self.conv(x).flatten(1))

    net = core.trace(Flat(), (3, 4, 4))
    drawn, traces = marked(net, [0, 2], 3, chosen=0)
    lines = {owner(drawn, xs, ys): (xs, ys) for xs, ys in polygons(traces["channel"])}
    left, right, low, high = drawn.box("head")
    assert lines["head"][0] == pytest.approx([left + 0.875 * (right - left)] * 2)
    taken = {owner(drawn, xs, ys): (xs, ys) for xs, ys in polygons(traces["taken"])}
    assert min(taken["head"][0]) == pytest.approx((left + right) / 2)
    assert max(taken["conv"][1]) == pytest.approx(sum(drawn.box("conv")[2:]) / 2)


def test_a_stack_that_reads_the_channels_shows_its_share_of_parameters(graph, kept):
    index = next(
        g.index for g in graph.groups
        if any("layer2" in p for p in g.producers) and any("layer3" in c for c in g.consumers)
    )  # fmt: skip
    drawn, traces = marked(graph, kept, 5, chosen=index, fold="folded")
    stacks = [n for n, node in drawn.simple.nodes.items() if node["kind"] == "fold"]
    reading = [n for n in stacks if drawn.reads(n)]
    assert reading and len(reading) < len(stacks)
    hatched = {owner(drawn, xs, ys) for xs, ys in polygons(traces["taken"])}
    assert hatched & set(stacks) == set(reading)
    texts_by = {t: h for (_, t), h in zip(
        traces["left"].customdata, traces["left"].hovertext, strict=True)}  # fmt: skip
    for name in reading:
        assert "parameters stay" in texts_by[drawn.simple.nodes[name]["title"]]


def test_a_move_of_the_slider_sends_little(graph, kept):
    """The marks are a small part of the figure, which is remembered."""
    drawn, traces = marked(graph, kept, 5)
    figure = drawing.figure(drawn, "light").to_json(validate=False)
    sent = json.dumps([json.loads(trace.to_json()) for trace in traces.values()])
    assert len(sent) < 12_000 and len(sent) < len(figure)


def test_the_words_are_german_in_german(graph, kept):
    say = texts("de")
    drawn = drawing.arrange(graph, 6)
    (label,) = {t for trace in graph_marks.marks(drawn, kept, 5, "light", say)
                if trace.name == "named" for t in trace.text}  # fmt: skip
    assert label == "Kanal 5"
    assert "Faltung" in drawing.figure(drawn, "light", say=say).data[-1].hovertext[1]
    text = graph_words.alt(drawn, len(kept), say)
    assert "Abhängigkeitsgraph" in text and f"{len(kept)} ihrer 32 Kanäle bleiben" in text
