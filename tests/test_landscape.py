"""A lifted network computes what the smaller one does; the plane goes through all three."""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
from test_prefix import Overwriting
from torch import nn

import core
from core import landscape
from core.importance import labelled_generator
from core.landscape import Height, Surface, barrier, explore, grid, plane, walk
from core.lifting import lift
from core.measures import KEEPS
from core.projection import RULES

NET = "vgg11_bn-digits"
#: float32, through at most twenty layers.
CLOSE = dict(rtol=1e-4, atol=1e-4)


@functools.cache
def known(name: str):
    net = core.load(name)
    graph = core.trace(net)
    return net, graph, core.Prepared(net, graph)


def small(name: str, **choices) -> core.Compressed:
    net, graph, prepared = known(name)
    images = core.images("digits", "train") if choices.get("data") else None
    return core.compress(net, graph, core.Recipe(**choices), prepared, images)


@torch.no_grad()
def same(net, graph, out) -> None:
    lifted = lift(net, graph, out.module, out.kept)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    assert {name: tensor.shape for name, tensor in lifted.state_dict().items()} == shapes
    pixels = torch.randn(3, *graph.input_shape, generator=labelled_generator(1, "lifted"))
    torch.testing.assert_close(lifted(pixels), out.module(pixels), **CLOSE)


#: Regression passes through the whole network: one such rule is enough for the second network.
LIFTED = [(NET, rule) for rule in RULES] + [
    ("resnet18-digits", rule) for rule in ("select", "released", "best")
]


@pytest.mark.parametrize(("name", "rule"), LIFTED)
def test_every_rule_can_be_lifted(name, rule):
    data = "digits" if RULES[rule].images else ""
    out = small(name, groups=(0, 3, 6), sparsity=0.6, rule=rule, data=data, samples=16)
    same(*known(name)[:2], out)


@pytest.mark.parametrize(
    "choices",
    [dict(keep=keep) for keep in KEEPS if keep != "by-hand"]
    + [
        dict(keep="by-hand", groups=(7,), kept=((1, 5, 9),)), dict(rounds=2),
        dict(order="sequential", groups="all"), dict(groups="all", rule="best", samples=16),
    ],
)  # fmt: skip
def test_whatever_is_kept_can_be_lifted(choices):
    same(*known(NET)[:2], small(NET, **(dict(groups=(6,), sparsity=0.5) | choices)))


class Varied(nn.Module):
    """Flattening, a depthwise and a grouped convolution, a concatenation, a scale, a norm alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.side = nn.Conv2d(3, 6, 1)
        self.alone = nn.BatchNorm2d(14)
        self.scale = nn.Parameter(torch.rand(14, 1, 1) + 0.5)
        self.fc1, self.fc2 = nn.Linear(14 * 9, 10), nn.Linear(10, 4)

    def forward(self, x):
        y = self.grouped(torch.sigmoid(self.depth(torch.relu(self.norm(self.first(x))))))
        y = torch.sigmoid(self.alone(torch.cat([y, torch.sigmoid(self.side(x))], 1)) * self.scale)
        return self.fc2(torch.sigmoid(self.fc1(y.flatten(1))))


@pytest.mark.parametrize("rule", ["select", "released", "repaired", "best"])
def test_flattened_concatenated_depthwise_and_grouped_channels_can_be_lifted(rule):
    torch.manual_seed(0)
    net = Varied()
    with torch.no_grad():
        for norm in (net.norm, net.alone):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    net = net.eval()
    graph = core.trace(net, (3, 3, 3))
    assert any(group.blocks for group in graph.groups) and len(graph.groups) > 3
    out = core.compress(net, graph, core.Recipe(groups="all", rule=rule, samples=16))
    same(net, graph, out)


def test_channels_normalised_together_are_refused_by_name():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()  # fmt: skip
    graph = core.trace(net, (3, 6, 6))
    out = core.compress(net, graph, core.Recipe(groups=(0,), rule="select"))
    with pytest.raises(core.Unsupported, match="GroupNorm.*normalises channels together"):
        lift(net, graph, out.module, out.kept)


def test_other_channels_than_those_kept_are_refused():
    net, graph, _ = known(NET)
    out = small(NET, groups=(6,), sparsity=0.5)
    with pytest.raises(core.RecipeError, match="doesn't fit"):
        lift(net, graph, out.module, {6: out.kept[6][:-1]})


# The plane


@pytest.fixture(scope="module")
def three():
    net, graph, _ = known(NET)
    pruned, fused = (small(NET, groups=(2,), sparsity=0.7, rule=r) for r in ("select", "released"))
    return net, pruned, fused, plane(net, graph, pruned, fused)


@pytest.fixture(scope="module")
def digits():
    return core.images("digits")


def test_the_three_networks_lie_where_the_plane_says(three, digits):
    net, pruned, fused, flat = three
    surface = Surface(flat, digits, 60, batch=40)
    for name, one in (("dense", net), ("pruned", pruned.module), ("fused", fused.module)):
        height = surface.measure(*flat.spots[name])
        assert height.accuracy == core.accuracy(one, digits, 60)
        with torch.inference_mode():
            logits = one(digits.normalised(digits.images[:60]))
        loss = nn.functional.cross_entropy(logits, digits.labels[:60])
        assert height.loss == pytest.approx(float(loss), rel=1e-4)


def test_directions_are_orthogonal_and_one_unit_long(three):
    *_, flat = three

    def dot(one, other):
        return sum(float((one[name] * other[name]).sum()) for name in one)

    assert dot(flat.along, flat.along) == pytest.approx(flat.unit**2)
    assert dot(flat.across, flat.across) == pytest.approx(flat.unit**2)
    assert dot(flat.along, flat.across) == pytest.approx(0, abs=1e-6 * flat.unit**2)
    assert flat.spots["dense"] == (0, 0) and flat.spots["pruned"] == (1, 0)


def test_distances_in_the_plane_are_those_of_the_lifted_weights(three):
    net, pruned, fused, flat = three
    graph = known(NET)[1]

    def weights(name):
        vector = [p.double().flatten() for p in flat.at(*flat.spots[name]).values()]
        return torch.cat(vector)

    (x, y), apart = flat.spots["fused"], weights("fused") - weights("pruned")
    assert float(apart.norm()) == pytest.approx(math.hypot(x - 1, y) * flat.unit, rel=1e-5)
    group = graph.groups[2]
    assert {name.rpartition(".")[0] for name in flat.origin} == {
        *group.producers, *group.consumers
    }  # fmt: skip
    assert flat.start.target == group.producers[0]


def test_the_frame_holds_all_three_with_a_margin(three):
    *_, flat = three
    frame = flat.frame
    (left, bottom), (right, top) = frame.at((0, 0)), frame.at((1, 1))
    for x, y in flat.spots.values():
        assert left + 0.2 < x < right - 0.2 and bottom + 0.2 < y < top - 0.2


def test_a_residual_network_and_one_whose_prefix_is_not_remembered(digits, monkeypatch):
    net, graph, _ = known("resnet18-digits")
    pruned, fused = (small("resnet18-digits", groups=(6,), rule=r) for r in ("select", "repaired"))
    flat = plane(net, graph, pruned, fused)
    held = Surface(flat, digits, 30, batch=20)
    first = held.measure(0.4, 0.2)
    assert held._held and held.measure(0.4, 0.2) == first  # nothing was written into
    monkeypatch.setattr(landscape, "HELD", 0)
    assert Surface(flat, digits, 30, batch=20).measure(0.4, 0.2) == first
    assert held.measure(*flat.spots["fused"]).accuracy == core.accuracy(fused.module, digits, 30)


def inner(rule: str, net, graph) -> core.Compressed:
    index = next(g.index for g in graph.groups if g.producers == ("inner",))
    return core.compress(net, graph, core.Recipe(groups=(index,), rule=rule))


def test_what_writes_in_place_spoils_nothing_that_is_remembered(digits):
    torch.manual_seed(0)
    net = Overwriting(10).eval()
    graph = core.trace(net, (3, 32, 32))
    flat = plane(net, graph, inner("select", net, graph), inner("repaired", net, graph))
    surface = Surface(flat, digits, 20, batch=10)
    first = [surface.measure(0.3, 0.6) for _ in range(2)]
    assert first[0] == first[1] == Surface(flat, digits, 20, batch=20).measure(0.3, 0.6)


def test_a_norm_that_cannot_be_folded_has_no_plane_unless_it_stays_as_it_is():
    torch.manual_seed(0)
    net = Varied().eval()
    graph = core.trace(net, (3, 3, 3))
    pruned, fused = (
        core.compress(net, graph, core.Recipe(groups="all", rule=rule))
        for rule in ("select", "repaired")
    )
    flat = plane(net, graph, pruned, fused)
    assert "alone.weight" in flat.origin and flat.spots["fused"][1] > 0
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.BatchNorm2d(8, affine=False), nn.Conv2d(8, 4, 3),
        nn.Flatten(),
    )  # fmt: skip
    plain[2].running_var.uniform_(0.5, 2)
    graph = core.trace(plain.eval(), (3, 3, 3))
    pruned, fused = (
        core.compress(plain, graph, core.Recipe(groups=(0,), rule=rule))
        for rule in ("select", "average")
    )
    with pytest.raises(core.Unsupported, match="2 is a batch norm that can't be folded"):
        plane(plain, graph, pruned, fused)


def test_nobody_is_changed(three, digits):
    net, pruned, fused, flat = three
    before = [copy.deepcopy(one.state_dict()) for one in (net, pruned.module, flat.network)]
    Surface(flat, digits, 20).measure(0.5, 0.5)
    for held, one in zip(before, (net, pruned.module, flat.network), strict=True):
        assert all(torch.equal(held[key], tensor) for key, tensor in one.state_dict().items())


def test_no_plane_is_a_sentence():
    net, graph, _ = known(NET)
    pruned = small(NET, groups=(2,), rule="select")
    whole = small(NET, groups=(2,), sparsity=0.0, rule="select")
    with pytest.raises(core.RecipeError, match="larger sparsity"):
        plane(net, graph, whole, pruned)
    with pytest.raises(core.RecipeError, match="one line"):
        plane(net, graph, pruned, pruned)


# The order of points


def test_a_grid_is_coarse_first_and_names_no_point_twice():
    nine = grid(9)
    assert len(nine) == len(set(nine)) == 81
    assert nine[:9] == grid(3) and nine[:25] == grid(5)
    assert set(grid(3)) == {(s, t) for s in (0, 0.5, 1) for t in (0, 0.5, 1)}
    with pytest.raises(core.RecipeError, match="3, 5, 9"):
        grid(4)


def test_known_points_are_not_measured_again(three, digits):
    *_, flat = three
    surface = Surface(flat, digits, 12)
    all_of_it = dict(explore(surface, 3))
    assert list(all_of_it) == grid(3)
    some = dict(list(all_of_it.items())[:5])
    rest = dict(explore(surface, 3, some))
    assert some | rest == all_of_it and not some.keys() & rest.keys()


def test_measuring_can_be_stopped_between_batches(three, digits):
    *_, flat = three

    def stop(done: int) -> None:
        if done:
            raise core.Cancelled("Stopped.")

    with pytest.raises(core.Cancelled):
        next(explore(Surface(flat, digits, 20, batch=10), 3, between=stop))


def test_lines_end_at_the_networks_and_go_on_from_what_is_known(three, digits):
    *_, flat = three
    surface = Surface(flat, digits, 12)
    walked = dict(walk(surface, 1))
    assert len(walked) == 9
    assert walked["dense", "pruned", 0.0] == walked["dense", "fused", 0.0]
    assert walked["pruned", "fused", 1.0] == surface.measure(*flat.spots["fused"])
    half = dict(list(walked.items())[:4])
    assert half | dict(walk(surface, 1, half)) == walked
    assert not dict(walk(surface, 1, walked))


def test_a_barrier_is_what_rises_above_the_straight_line():
    right = core.Accuracy(1, 2)
    losses = {0.0: 1.0, 0.5: 5.0, 1.0: 3.0}
    walked = {("dense", "fused", share): Height(right, loss) for share, loss in losses.items()}
    assert barrier(walked, "dense", "fused") == 3.0
    assert barrier(walked, "dense", "pruned") is None
    walked["dense", "fused", 0.5] = Height(right, 1.5)
    assert barrier(walked, "dense", "fused") == 0.0
