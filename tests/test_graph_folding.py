"""A large network is folded by stage: nothing is lost, and the chosen group stays open."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from test_figure_graph import assert_boxes_stand_alone, assert_no_collisions, courses, named
from torch import nn

import core
from app.figures import graph as drawing
from app.figures import graph_marks, graph_words
from app.figures.folding import MOST, arranged
from app.figures.layout import LAYERS, SIGNS, simplify
from app.language import texts
from core.compat import torchvision


class Dense(nn.Module):
    """Two dense blocks of convolutions that read all before them, and a transition between."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.ModuleList(nn.Conv2d(8 + 4 * n, 4, 3, padding=1) for n in range(layers))
        wide = 8 + 4 * layers
        self.shrink = nn.Conv2d(wide, 8, 2, 2)
        self.two = nn.ModuleList(nn.Conv2d(8 + 4 * n, 4, 3, padding=1) for n in range(layers))
        self.head = nn.Linear(wide, 5)

    def forward(self, x):
        x = self.block(self.one, self.stem(x))
        x = self.block(self.two, self.shrink(x))
        return self.head(x.mean((2, 3)))

    @staticmethod
    def block(layers, x):
        seen = [x]
        for layer in layers:
            seen.append(layer(torch.cat(seen, 1)))
        return torch.cat(seen, 1)


@pytest.fixture(scope="module")
def dense():
    return core.trace(Dense(), (3, 8, 8))


def test_concatenations_that_add_to_one_another_are_a_chain(dense):
    simple = simplify(dense)
    joints = [name for name, node in simple.nodes.items() if node["title"] == SIGNS["concat"]]
    assert len(joints) == 8  # four a block
    assert all(simple.in_degree(name) == 2 for name in joints)
    reading = {node["title"]: node["consumes"] for node in simple.nodes.values()}
    assert len(reading["head"]) == 5 and len(reading["one.3"]) == 4


def test_every_layer_is_drawn_or_in_exactly_one_stack(dense):
    simple = simplify(dense)
    for chosen in (None, *range(len(dense.groups))):
        folded = arranged(simple, chosen, "folded")
        assert nx.is_directed_acyclic_graph(folded) and len(folded) < len(simple)
        names = []
        for node in folded.nodes.values():
            names += node["layers"] if node["kind"] == "fold" else []
            names += [node["title"]] if node["kind"] in LAYERS else []
        assert sorted(names) == sorted(n for n, la in dense.layers.items() if la.kind in LAYERS)
        open_titles = {n["title"] for n in folded.nodes.values() if n["kind"] in LAYERS}
        if chosen is not None:
            assert set(dense.groups[chosen].producers) <= open_titles
        # Whoever could be reached before can be reached still.
        into = {n: f for f, node in folded.nodes.items() for n in node.get("layers", [])}
        titles = {node["title"]: name for name, node in simple.nodes.items()}
        at = {titles[title]: name for title, name in into.items()}
        for u, v in simple.edges:
            one, other = at.get(u, u), at.get(v, v)
            if one in folded and other in folded:
                assert one == other or folded.has_edge(one, other)


def test_small_graphs_are_folded_only_when_asked_for(dense):
    simple = simplify(dense)
    assert len(simple) <= MOST
    assert arranged(simple, 0, "auto") is simple and arranged(simple, 0, "unfolded") is simple
    large = simplify(core.trace(Dense(16), (3, 8, 8)))
    assert len(large) > MOST
    assert len(arranged(large, 0, "auto")) < len(large)
    assert arranged(large, 0, "unfolded") is large
    ends = [n["kind"] for n in arranged(large, None, "auto").nodes.values()]
    assert ends.count("input") == ends.count("output") == 1


def test_a_click_on_a_stack_chooses_a_group_that_opens_it(dense):
    folded = arranged(simplify(dense), 0, "folded")
    stacks = [node for node in folded.nodes.values() if node["kind"] == "fold"]
    assert stacks
    for stack in stacks:
        index, _ = drawing.identity(stack)
        opened = arranged(simplify(dense), index, "folded")
        open_titles = {node["title"] for node in opened.nodes.values()}
        assert set(stack["layers"]) & open_titles


def test_a_stack_is_named_after_the_module_that_holds_most_of_it(dense):
    titles = {
        node["title"]
        for node in arranged(simplify(dense), None, "folded").nodes.values()
        if node["kind"] == "fold"
    }
    assert titles == {"one", "two"}


@pytest.mark.parametrize("fold", ["folded", "unfolded"])
def test_the_way_of_the_chosen_channels_leads_to_whoever_reads_them(dense, fold):
    for group in dense.groups:
        drawn = drawing.arrange(dense, group.index, fold)
        figure = drawing.figure(drawn, "light")
        chosen = named(figure, "chosen edges")
        way = nx.DiGraph()
        names = {at: name for name, at in drawn.layout.at.items()}
        for points in courses(type(figure)([chosen])):
            way.add_edge(names[points[0]], names[points[-1]])
        producers = {name for name in drawn.simple if drawn.makes(name)}
        readers = {name for name in drawn.simple if drawn.reads(name)}
        reached = producers.union(*(nx.descendants(way, name) for name in producers))
        assert readers and readers | set(way) <= reached


def test_hover_and_alt_tell_what_is_folded(dense):
    drawn = drawing.arrange(dense, 0, "folded")
    (stack,) = (name for name, node in drawn.simple.nodes.items() if node["kind"] == "fold")
    text = graph_words.hover(drawn, stack, {})
    layers = drawn.simple.nodes[stack]["layers"]
    whole = sum(drawn.sizes[layer].parameters for layer in layers)
    assert f"{len(layers)} layers folded into one" in text and f"{whole:,} parameters" in text
    assert f"{len(layers)} layers are folded into 1 stack." in graph_words.alt(drawn)
    assert "stack" in graph_words.caption(drawn)[0]
    assert "Stapel" in graph_words.caption(drawn, texts("de"))[0]
    assert "stack" not in graph_words.caption(drawing.arrange(dense, 0, "unfolded"))[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_torchvisions_large_networks_are_folded_and_nothing_overlaps(name):
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None).eval()
    graph = core.trace(net, (3, 224, 224))
    count = len(graph.groups)
    for chosen in (0, 1, 7, count // 2, count - 2, count - 1):
        drawn = drawing.arrange(graph, chosen, "auto")
        figure = drawing.figure(drawn, "light")
        assert len(drawn.simple) <= MOST and figure.layout.height < 500
        for width in (350, 744):
            assert_no_collisions(figure, width)
            assert assert_boxes_stand_alone(figure, width) >= 2
        kept = range(0, graph.groups[chosen].width, 2)
        marks = {trace.name for trace in graph_marks.marks(drawn, kept, 2, "light")}
        assert {"taken", "left", "channel", "named"} <= marks
    every = drawing.figure(drawing.arrange(graph, 0, "unfolded"), "light")
    assert len(named(every, "layers").x) == len(simplify(graph)) > MOST
    assert len(courses(every)) == simplify(graph).number_of_edges()
