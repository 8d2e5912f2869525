"""The dependency graph is drawn without overlaps and brings out exactly the chosen group."""

from __future__ import annotations

import itertools
import json
import math

import networkx as nx
import pytest
from torch import nn

from app.figures import graph as drawing
from app.figures import graph_words, theme
from app.figures.layout import simplify
from core import graph, zoo
from core.errors import RecipeError

MODES = ("light", "dark")
#: The plot's width in pixels on a phone and on a page.
WIDTHS = (350, 744)


@pytest.fixture(scope="module")
def traced():
    """Traces a network of the zoo, once."""
    known: dict[str, graph.DependencyGraph] = {}

    def trace(name: str) -> graph.DependencyGraph:
        if name not in known:
            network = zoo.network(name)
            known[name] = graph.trace(network.build(), network.input_shape)
        return known[name]

    return trace


@pytest.fixture(params=list(zoo.NETWORKS))
def net(request, traced):
    """The graph of each network of the zoo in turn."""
    return traced(request.param)


def figure_of(net: graph.DependencyGraph, chosen: int | None, mode: str, height=None):
    """The figure with every layer in it."""
    return drawing.figure(drawing.arrange(net, chosen, "unfolded"), mode, height)


@pytest.fixture(scope="module")
def drawn():
    """Draws a figure, once: Plotly takes its time."""
    known = {}

    def draw(net: graph.DependencyGraph, chosen: int | None, mode: str):
        if (id(net), chosen, mode) not in known:  # the nets live as long as the module's fixtures
            known[id(net), chosen, mode] = figure_of(net, chosen, mode)
        return known[id(net), chosen, mode]

    return draw


class Skips(nn.Module):
    """Two skips on one line, over one layer and over four, and a branch of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 4, 1)
        self.four = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(4)))
        self.long = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(4)))
        self.side = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        self.other = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.one(x)
        x = x + self.four(x)
        return self.long(x) + self.side(x) + self.other(x)


class Plain(nn.Module):
    """Fifteen convolutions in a row, and one that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Sequential(nn.Conv2d(3, 4, 1), *(nn.Conv2d(4, 4, 1) for _ in range(14)))
        self.dead = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.all(x)
        self.dead(x)
        return x


class Strided(nn.Module):
    """Four blocks that shrink the picture in their middle, each with a shortcut convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 4, 1))
            for _ in range(4)
        )
        self.shortcuts = nn.ModuleList(nn.Conv2d(4, 4, 2, 2) for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            x = block(x) + shortcut(x)
        return x


def named(figure, name):
    """The trace of that name."""
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


def courses(figure):
    """Every edge drawn, as a list of points."""
    found = []
    for trace in figure.data:
        if "edges" not in trace.name:
            continue
        points = []
        for x, y in zip(trace.x, trace.y, strict=True):
            if x is None:
                found.append(points)
                points = []
            else:
                points.append((x, y))
        assert not points, "an edge runs into the next"
    return found


def pixels(figure, width):
    """What turns a point of the figure into pixels at that width."""
    (left, right), (low, high) = figure.layout.xaxis.range, figure.layout.yaxis.range
    tall = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b

    def place(point):
        return (
            (point[0] - left) / (right - left) * width,
            (point[1] - low) / (high - low) * tall,
        )

    return place


def distance(point, start, end):
    """From a point to a stretch of line."""
    (px, py), (ax, ay), (bx, by) = point, start, end
    length = (bx - ax) ** 2 + (by - ay) ** 2
    share = ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length if length else 0
    share = min(1, max(0, share))
    return math.dist(point, (ax + share * (bx - ax), ay + share * (by - ay)))


def assert_no_collisions(figure, width):
    """No two nodes touch, and no edge touches a node that is not one of its ends.

    Boxes are looked at by `assert_boxes_stand_alone`.
    """
    layers, place = named(figure, "layers"), pixels(figure, width)
    nodes = [
        ((x, y), size / 2)
        for x, y, size in zip(layers.x, layers.y, layers.marker.size, strict=True)
    ]
    for (one, r), (other, s) in itertools.combinations(nodes, 2):
        assert math.dist(place(one), place(other)) > r + s, (one, other)
    edges = courses(figure)
    assert edges
    for points in edges:
        for node, radius in nodes:
            if node in (points[0], points[-1]):
                continue
            for start, end in itertools.pairwise(points):
                gap = distance(place(node), place(start), place(end))
                assert gap > radius + 1.5, (points[0], points[-1], "through", node)


# What is kept


def test_every_layer_is_one_node_with_its_groups(net):
    simple = simplify(net)
    layers = {n: a for n, a in simple.nodes.items() if a["kind"] in ("conv", "linear")}
    assert sorted(a["title"] for a in layers.values()) == sorted(net.layers)
    for group in net.groups:
        assert {a["title"] for a in layers.values() if group.index in a["makes"]} == set(
            group.producers
        )
        assert {a["title"] for a in layers.values() if group.index in a["consumes"]} == set(
            group.consumers
        )
    others = sorted(a["kind"] for n, a in simple.nodes.items() if n not in layers)
    additions = sum(node.kind == "add" for node in net.nodes)
    assert others == ["add"] * additions + ["input", "output"]


def test_what_lies_between_layers_is_contracted_into_edges(traced):
    simple = simplify(traced("resnet18-cifar10"))
    assert set(simple.pred["layer1_0_conv1"]) == {"conv1"}
    assert set(simple.pred["add_2"]) == {"layer2_0_conv2", "layer2_0_downsample_0"}
    assert set(simple.pred["add_3"]) == {"layer2_1_conv2", "add_2"}
    assert set(simple.pred["fc"]) == {"add_7"}
    assert set(simple.pred["output"]) == {"fc"}
    assert nx.is_directed_acyclic_graph(simple)


# Where things go


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overlaps(net, drawn, width):
    assert_no_collisions(drawn(net, None, "light"), width)


@pytest.mark.parametrize("network", [Skips, Plain, Strided])
def test_nothing_overlaps_in_networks_outside_the_zoo(network):
    assert_no_collisions(figure_of(graph.trace(network()), None, "light"), 744)


def test_the_backbone_of_a_row_is_one_line_and_shortcuts_lie_above_it(traced):
    simple = simplify(traced("resnet18-cifar10"))
    at = drawing.positions(simple)
    shortcuts = {name for name in simple if "downsample" in name}
    rows: dict[float, list[str]] = {}
    for name in sorted(set(simple) - shortcuts, key=lambda name: at[name]):
        rows.setdefault(at[name][1], []).append(name)
    assert max(rows) == 0
    assert [len(rows[y]) for y in sorted(rows, reverse=True)] == [8, 6, 6, 8]
    order = [name for y in sorted(rows, reverse=True) for name in rows[y]]
    assert order == nx.dag_longest_path(simple.subgraph(set(simple) - shortcuts))
    for names in rows.values():
        assert [at[name][0] for name in names] == list(range(len(names)))
        # One picture size a row, apart from the vectors at the end.
        assert len({simple.nodes[name]["shape"][1:] for name in names} - {()}) == 1
    for name in shortcuts:
        (join,) = simple.succ[name]
        (x, y), (joined, line) = at[name], at[join]
        assert 0 <= x < joined and line < y < line + 60


def test_a_short_network_is_one_row_and_a_long_one_is_cut_evenly(traced):
    at = drawing.positions(simplify(traced("vgg11_bn-cifar10")))
    assert {y for _, y in at.values()} == {0}
    simple = simplify(graph.trace(Plain()))
    lines = [y for name, (_, y) in drawing.positions(simple).items() if name != "dead"]
    assert sorted(lines.count(y) for y in set(lines)) == [8, 9]


def test_rows_are_cut_between_blocks_even_where_pictures_shrink_inside_them():
    simple = simplify(graph.trace(Strided()))
    at = drawing.positions(simple)
    lines = {at[name][1] for name in nx.dag_longest_path(simple)}
    row = {name: max(line for line in lines if line <= y) for name, (_, y) in at.items()}
    assert len(lines) > 1
    crossing = [(u, v) for u, v in simple.edges if row[u] != row[v]]
    assert crossing
    for u, _ in crossing:  # only a row's last node leads on, so no edge but the connector does
        assert at[u] == max(place for place in at.values() if place[1] == row[u])


def test_edges_that_skip_layers_are_arcs_that_grow_with_the_root_of_their_span():
    simple = simplify(graph.trace(Skips()))
    at = drawing.positions(simple)
    figure = figure_of(graph.trace(Skips()), None, "light")
    drawn = {(points[0], points[-1]): points for points in courses(figure)}
    peaks = {}
    for u, v in simple.edges:
        points, (x, y), (end, other) = drawn[at[u], at[v]], at[u], at[v]
        over = [n for n in at if at[n][1] == y == other and x < at[n][0] < end]
        if over:
            assert len(points) > 10
            peaks[end - x] = max(p for _, p in points) - y
        elif y == other:
            assert len(points) == 2
    assert set(peaks) == {2, 5}
    assert peaks[5] / peaks[2] == pytest.approx(math.sqrt(5 / 2), rel=0.02)


def assert_boxes_stand_alone(figure, width):
    """No box touches another node, and no edge runs through one that it does not lead to."""
    place, layers = pixels(figure, width), named(figure, "layers")
    nodes = [
        ((x, y), size / 2)
        for x, y, size in zip(layers.x, layers.y, layers.marker.size, strict=True)
    ]
    boxes = {}
    for trace in figure.data:
        if trace.name in ("producers", "consumers", "stacks", "reading stacks"):
            for at, middle in zip(range(0, len(trace.x), 6), middles_of(trace), strict=True):
                x, y = trace.x[at : at + 4], trace.y[at : at + 4]
                boxes[middle] = (*place((min(x), min(y))), *place((max(x), max(y))))
    for middle, (left, low, right, high) in boxes.items():
        for node, radius in nodes:
            px, py = place(node)
            near = min(max(px, left), right), min(max(py, low), high)
            if math.dist(node, middle) > 1e-6:
                assert math.dist((px, py), near) > radius + 1, (middle, node)
        for other, (a, b, c, d) in boxes.items():
            apart = left - c > 2 or a - right > 2 or low - d > 2 or b - high > 2
            assert other == middle or apart, (middle, other)
        for points in courses(figure):
            if any(math.dist(end, middle) < 1e-6 for end in (points[0], points[-1])):
                continue
            for (ax, ay), (bx, by) in itertools.pairwise(map(place, points)):
                for share in (n / 20 for n in range(21)):
                    px, py = ax + share * (bx - ax), ay + share * (by - ay)
                    assert not (left < px < right and low < py < high), (points, middle)
    return len(boxes)


@pytest.mark.parametrize("width", WIDTHS)
def test_boxes_touch_nothing(net, drawn, width):
    for group in net.groups:
        found = assert_boxes_stand_alone(drawn(net, group.index, "light"), width)
        assert found == len({*group.producers, *group.consumers})


def test_arrows_point_at_the_edges_of_boxes(traced):
    figure = drawing.figure(drawing.arrange(traced("resnet18-cifar10"), 6, "unfolded"), "light")
    drawn = drawing.arrange(traced("resnet18-cifar10"), 6, "unfolded")
    seen = 0
    for trace in figure.data[:2]:
        points = list(zip(trace.x, trace.y, trace.marker.size, strict=True))
        for end in (place for place, (x, _, _) in enumerate(points) if x is None):
            (name,) = (n for n, at in drawn.layout.at.items() if at == points[end - 1][:2])
            if drawn.boxed(name):
                x, y, size = points[end - 2]
                left, right, low, high = drawn.box(name)
                on = [abs(x - left), abs(x - right), abs(y - low), abs(y - high)]
                assert size and min(on) < 1e-6
                seen += 1
            else:
                assert points[end - 1][2]
    assert seen >= 6


# What is told


@pytest.mark.parametrize("mode", MODES)
def test_all_nodes_are_one_trace_a_click_can_be_read_from(net, drawn, mode):
    figure = drawn(net, 0, mode)
    assert not hasattr(named(figure, "layers").customdata, "dtype")  # breaks in Streamlit
    sent = json.loads(figure.to_json())["data"]
    (layers,) = (trace for trace in sent if "customdata" in trace)
    assert layers["name"] == "layers"
    assert isinstance(layers["customdata"], list)
    groups = {title: group for group, title in layers["customdata"] if title != "+"}
    producer = {name: group.index for group in net.groups for name in group.producers}
    assert groups == {name: producer.get(name, -1) for name in [*net.layers, "input", "output"]}
    assert layers["hoverinfo"] != "skip"
    for trace in sent:
        assert trace is layers or trace["hoverinfo"] == "skip"


def test_a_selected_point_does_not_fade_the_others(traced):
    for trace in figure_of(traced("resnet18-cifar10"), 3, "light").data:
        if "markers" not in trace.mode:  # there is nothing to select
            assert trace.hoverinfo == "skip"
            continue
        assert trace.selected.marker.opacity == trace.unselected.marker.opacity == 1
        # Without a colour for selected letters, Plotly fades those of all other points.
        assert trace.mode == "lines+markers" or trace.selected.textfont.color


@pytest.mark.parametrize("mode", MODES)
def test_exactly_the_chosen_groups_layers_are_brought_out(net, drawn, mode):
    for group in net.groups:
        figure, hue = drawn(net, group.index, mode), drawing.colour(group.index, mode)
        layers = named(figure, "layers")
        middles = {
            (x, y): title
            for x, y, (_, title) in zip(layers.x, layers.y, layers.customdata, strict=True)
        }
        for who, fill, line in (
            ("producers", hue, theme.INK[mode]), ("consumers", theme.PAPER[mode], hue),
        ):  # fmt: skip
            boxes = named(figure, who)
            found = {nearest(middles, middle) for middle in middles_of(boxes)}
            assert found == set(getattr(group, who))
            assert (boxes.fillcolor, boxes.line.color) == (fill, line)
        # Nothing of the circles beneath is seen.
        for (_, title), fill in zip(layers.customdata, layers.marker.color, strict=True):
            assert (fill == drawing.CLEAR) == (title in {*group.producers, *group.consumers})


def middles_of(boxes) -> list[tuple[float, float]]:
    """Where the middles of a trace's rectangles are."""
    assert len(boxes.x) % 6 == 0
    return [
        (sum(boxes.x[at : at + 4]) / 4, sum(boxes.y[at : at + 4]) / 4)
        for at in range(0, len(boxes.x), 6)
    ]


def nearest(places: dict, point: tuple[float, float]):
    """What lies at a point."""
    at = min(places, key=lambda place: math.dist(place, point))
    assert math.dist(at, point) < 1e-6
    return places[at]


def test_the_way_of_the_chosen_channels_is_drawn_in_their_colour(traced):
    net = traced("resnet18-cifar10")
    simple, figure = simplify(net), figure_of(net, 6, "light")
    at, trace = drawing.positions(simple), named(figure, "chosen edges")
    assert trace.line.color == drawing.colour(6, "light")
    drawn = {(p[0], p[-1]) for p in courses(_only(figure, trace))}
    expected = {
        (at[u], at[v])
        for u, v in simple.edges
        if u.startswith(("add_2", "add_3", "layer2_0_conv2", "layer2_0_down", "layer2_1_conv2"))
    }
    assert drawn == expected


def _only(figure, trace):
    """The figure with one trace left."""
    return type(figure)([trace], figure.layout)


def test_without_a_choice_every_layer_is_filled_with_its_groups_colour(net, drawn):
    figure = drawn(net, None, "dark")
    layers = named(figure, "layers")
    assert [trace.name for trace in figure.data] == ["edges", "layers"]
    for (group, title), fill in zip(layers.customdata, layers.marker.color, strict=True):
        if group >= 0 and title != "+":
            assert fill == drawing.colour(group, "dark")
    assert theme.INK["dark"] not in layers.marker.line.color


def test_groups_and_kinds_are_told_without_colour(net, drawn):
    layers = named(drawn(net, 0, "light"), "layers")
    kinds = [a["kind"] for a in simplify(net).nodes.values()]
    for kind, (group, title), text, symbol in zip(
        kinds, layers.customdata, layers.text, layers.marker.symbol, strict=True
    ):
        wanted = "+" if title == "+" else str(group) if group >= 0 else ""
        assert text == wanted
        assert (symbol == "square") == (kind == "linear")
        assert (symbol == "circle") == (kind in ("conv", "add"))


def test_hover_names_layer_shape_and_groups(traced):
    layers = named(figure_of(traced("resnet18-cifar10"), None, "light"), "layers")
    texts = {t: text for (_, t), text in zip(layers.customdata, layers.hovertext, strict=True)}
    text = texts["layer3.0.conv1"]
    for part in ("layer3.0.conv1", "convolution", "256 × 8 × 8", "produces group 5, 256 channels"):
        assert part in text
    assert "consumes group 6, 128 channels" in text
    assert "produces" not in texts["fc"] and "consumes group 0, 512 channels" in texts["fc"]


# Letters


def boxes(figure, width):
    """(left, bottom, right, top, text) in pixels of every label, by a sans-serif's mean width."""
    place = pixels(figure, width)
    for note in figure.layout.annotations:
        x, y = place((note.x, note.y))
        x, y = x + (note.xshift or 0), y + (note.yshift or 0)
        wide, tall = 0.47 * note.font.size * len(note.text), 0.75 * note.font.size
        left = x - {"left": 0, "right": wide}.get(note.xanchor, wide / 2)
        yield left, y - tall / 2, left + wide, y + tall / 2, note.text


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_touch_neither_each_other_nor_nodes_nor_connectors(net, drawn, width):
    for chosen in (None, *range(len(net.groups))):
        figure = drawn(net, chosen, "light")
        place, layers = pixels(figure, width), named(figure, "layers")
        found = list(boxes(figure, width))
        for one, other in itertools.combinations(found, 2):
            apart = one[2] <= other[0] or other[2] <= one[0]
            assert apart or one[3] <= other[1] or other[3] <= one[1], (one, other)
        for left, low, right, high, text in found:
            assert left >= 0 and right <= width, text
            for x, y, size in zip(layers.x, layers.y, layers.marker.size, strict=True):
                px, py = place((x, y))
                near = min(max(px, left), right), min(max(py, low), high)
                assert math.dist((px, py), near) >= size / 2, (text, (x, y))
            for points in courses(figure):
                for (ax, ay), (bx, by) in itertools.pairwise(map(place, points)):
                    if ay == by:  # level stretches: rows and connectors
                        crosses = min(ax, bx) < right and max(ax, bx) > left and low < ay < high
                        assert not crosses, (text, points)


def test_labels_name_the_chosen_groups_layers_and_no_others(net, drawn):
    for group in net.groups:
        figure = drawn(net, group.index, "light")
        names = [note.text for note in figure.layout.annotations if "×" not in note.text]
        assert len(names) == len(set(names))
        assert set(group.producers) <= set(names)
        assert set(names) <= {*group.producers, *group.consumers, "input", "output"}
        assert all(note.font.size >= 11 for note in figure.layout.annotations)


def test_sizes_of_pictures_stand_where_they_change(traced):
    figure = figure_of(traced("resnet20-cifar10"), None, "light")
    sizes = [note.text for note in figure.layout.annotations if "×" in note.text]
    assert sizes == ["32×32", "16×16", "8×8"]


def test_rows_pushed_together_keep_one_line_of_labels(traced):
    net = traced("resnet18-cifar10")
    lines = [
        {n.yshift for n in figure_of(net, 9, "light", height).layout.annotations}
        for height in (None, 330)
    ]
    assert min(lines[0]) < min(lines[1]) < 0


def contrast(one, other):
    """WCAG's ratio of two colours' luminances."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chosen", [None, *range(12)])
def test_numbers_and_edges_can_be_read(traced, drawn, mode, chosen):
    figure = drawn(traced("resnet18-cifar10"), chosen, mode)
    layers = named(figure, "layers")
    boxes = {
        middle: trace.fillcolor
        for trace in figure.data
        if trace.name in ("producers", "consumers")
        for middle in middles_of(trace)
    }
    for x, y, fill, letters in zip(
        layers.x, layers.y, layers.marker.color, layers.textfont.color, strict=True
    ):
        fill = nearest(boxes, (x, y)) if fill == drawing.CLEAR else fill
        assert contrast(fill, letters) >= 4.5, (fill, letters)
    for trace in figure.data[:-1]:
        assert contrast(trace.line.color, theme.PAPER[mode]) >= 3


def test_hues_differ_from_one_group_to_the_next():
    for mode in MODES:
        hues = [drawing.colour(group, mode) for group in range(12)]
        assert all(one != other for one, other in itertools.pairwise(hues))
        assert len(set(hues)) == 7


# In words


def test_alt_states_the_finding(traced):
    assert graph_words.alt(drawing.arrange(traced("resnet18-cifar10"), 6)) == (
        "Dependency graph of 21 layers in 12 groups. Group 6, 128 channels, is produced by "
        "layer2.0.conv2, layer2.0.downsample.0 and layer2.1.conv2 and consumed by "
        "layer2.1.conv1, layer3.0.conv1 and layer3.0.downsample.0."
    )
    assert "produced by features.4 and consumed by features.8." in graph_words.alt(
        drawing.arrange(traced("vgg11_bn-cifar10"), 6)
    )
    assert graph_words.alt(drawing.arrange(traced("vgg11_bn-cifar10"), None)).endswith(
        "No group is chosen."
    )


def test_a_layer_that_nobody_reads_is_drawn_and_has_no_group():
    net = graph.trace(Plain())
    assert all("dead" not in group.producers and group.consumers for group in net.groups)
    assert "dead" in drawing.positions(simplify(net))


def test_captions_are_a_sentence_each(traced):
    shows, caution = graph_words.caption(drawing.arrange(traced("resnet18-cifar10"), 6))
    assert "128 channels of group 6" in shows
    assert "filled" not in graph_words.caption(drawing.arrange(traced("resnet18-cifar10"), None))[0]
    for text in (shows, caution):
        assert text.endswith(".") and text.count(". ") == 0


@pytest.mark.parametrize("chosen", [-1, 12])
def test_a_group_that_does_not_exist_is_refused(traced, chosen):
    net = traced("resnet18-cifar10")
    for ask in (lambda: figure_of(net, chosen, "dark"), lambda: drawing.arrange(net, chosen)):
        with pytest.raises(RecipeError, match=f"no group {chosen}; .* 0 to 11"):
            ask()
