"""What is left unexplained is what the next layers miss, and every channel's part adds up to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import core
from core import Prepared, Recipe, Unsupported
from core.compress import plan_group
from core.cover import Consumer
from core.unexplained import unexplained

NAMES = ("vgg11_bn-digits", "resnet18-digits")
FEW = dict(samples=16)
WHITE = dict(samples=64, synthetic="white")


@pytest.fixture(scope="module", params=NAMES)
def bench(request):
    net = core.load(request.param)
    graph = core.trace(net)
    return net, graph, Prepared(net, graph)


@pytest.mark.parametrize("rule", ["select", "released", "average", "preserving", "best", "merged"])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_the_parts_add_up(bench, rule, index):
    net, graph, prepared = bench
    recipe = Recipe((index,), 0.6, rule=rule, **FEW)
    out = core.compress(net, graph, recipe, prepared)
    told = unexplained(prepared, index, out.steps[index], recipe, out.refits)
    assert told.shares.shape == (graph.groups[index].width,)
    assert float(told.shares.sum()) == pytest.approx(1, abs=1e-12)
    assert 0 < told.total
    if rule in ("select", "best"):  # what stays is read as it was
        kept = out.kept[index]
        assert told.shares[kept].abs().max() < (1e-12 if rule == "select" else 0.2)
    if rule == "best":
        assert told.total < 1


def test_fitting_consumers_leaves_less_unexplained_than_deleting(bench):
    net, graph, prepared = bench
    totals = {}
    for rule in ("select", "regressed"):  # the same channels stay
        recipe = Recipe((3,), 0.5, rule=rule, **FEW)
        out = core.compress(net, graph, recipe, prepared)
        totals[rule] = unexplained(prepared, 3, out.steps[3], recipe, out.refits).total
    assert totals["regressed"] < totals["select"]


class Straight(nn.Module):
    """Two linear layers with nothing in between: what is said holds to the letter."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, width), nn.Linear(width, 4)

    def forward(self, x):
        return self.second(self.first(x))


class Flattened(nn.Module):
    """A convolution whose channels own nine inputs each of two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)
        self.one, self.other = nn.Linear(54, 4), nn.Linear(54, 4)

    def forward(self, x):
        flat = self.conv(x).flatten(1)
        return self.one(flat) + self.other(flat)


@pytest.mark.parametrize("rule", ["select", "released", "average", "preserving"])
def test_it_is_what_a_straight_network_misses_on_gaussian_inputs(rule, monkeypatch):
    torch.manual_seed(3)
    net = Straight().eval()
    graph = core.trace(net, (5,))
    prepared = Prepared(net, graph)
    # White inputs in the place of synthetic pictures: the covariance is then known exactly.
    weight = net.first.weight.detach().double()
    white = torch.randn(200_000, 5)
    exact = weight @ weight.T
    gram = net.second.weight.detach().double().T @ net.second.weight.detach().double()
    known = Consumer(exact, gram / (gram * exact).sum())
    monkeypatch.setattr(prepared, "consumers", lambda *_: [known])
    recipe = Recipe((0,), 0.5, rule=rule)
    out = core.compress(net, graph, recipe, prepared)
    told = unexplained(prepared, 0, out.steps[0], recipe)
    with torch.no_grad():
        dense, small = net(white), out.module(white)
    missed = (dense - small).double()
    measured = float(missed.var(0).sum() / dense.double().var(0).sum())
    assert told.total == pytest.approx(measured, rel=0.02)
    # A channel's part: what is missed less where its residual alone is taken back, and half of
    # what it shares with others, measured on the same inputs.
    through = out.steps[0].projection.unmerge @ out.steps[0].projection.merge
    residual = (white.double() @ weight.T) @ (torch.eye(6).double() - through).T  # (k, n)
    apart = residual[:, :, None] * net.second.weight.detach().double().T  # (k, n, out)
    together = apart.sum(1)
    parts = ((apart - apart.mean(0)) * (together - together.mean(0))[:, None]).sum(2).mean(0)
    torch.testing.assert_close(told.shares, parts / parts.sum(), rtol=0.05, atol=0.01)


def test_duplicates_are_missed_by_nobody():
    torch.manual_seed(4)
    net = Straight().eval()
    with torch.no_grad():
        for tensor in (net.first.weight, net.first.bias):
            tensor[3:] = tensor[:3]
    graph = core.trace(net, (5,))
    prepared = Prepared(net, graph)
    told = {}
    for rule in ("preserving", "select"):
        recipe = Recipe((0,), 0.5, rule=rule, keep="by-hand", kept=((0, 1, 2),), **WHITE)
        step = plan_group(prepared, 0, recipe)
        told[rule] = unexplained(prepared, 0, step, recipe)
    assert told["preserving"].total == 0 and not told["preserving"].shares.any()
    assert told["select"].total > 0.1 and float(told["select"].shares.sum()) == pytest.approx(1)
    # One channel differs from its double: it and the double are to blame, the others are not.
    with torch.no_grad():
        net.first.weight[5] += 0.01 * torch.randn(5)
    prepared = Prepared(net, graph)
    recipe = Recipe((0,), 0.5, rule="preserving", keep="by-hand", kept=((0, 1, 2),), **WHITE)
    shares = unexplained(prepared, 0, plan_group(prepared, 0, recipe), recipe).shares
    assert shares[[0, 1, 3, 4]].abs().max() < 1e-5
    assert float(shares[[2, 5]].sum()) == pytest.approx(1)


def test_flattened_inputs_and_several_consumers_are_counted():
    torch.manual_seed(5)
    net = Flattened().eval()
    graph = core.trace(net, (3, 3, 3))
    prepared = Prepared(net, graph)
    recipe = Recipe((0,), 0.5, rule="preserving", **FEW)
    step = plan_group(prepared, 0, recipe)
    both = unexplained(prepared, 0, step, recipe)
    assert float(both.shares.sum()) == pytest.approx(1) and both.total > 0
    # A consumer that reads nothing counts for nothing; the other one alone decides.
    with torch.no_grad():
        net.other.weight.zero_()
    prepared = Prepared(net, graph)
    alone = unexplained(prepared, 0, step, recipe)
    assert not torch.allclose(alone.shares, both.shares)
    known = prepared.consumers(0, Recipe(rule="best", **FEW), None)
    assert [bool(one.gram.any()) for one in known] == [True, False]


def test_repair_counts_where_one_layer_produces_and_is_refused_where_several_do():
    net = core.load("resnet18-digits")
    graph = core.trace(net)
    prepared = Prepared(net, graph)
    recipe = Recipe((7,), 0.6, rule="repaired", **FEW)
    step = plan_group(prepared, 7, recipe)
    louder = unexplained(prepared, 7, step, recipe)
    plain = unexplained(prepared, 7, replace(step, repairs={}), recipe)
    assert louder.total != plain.total
    step = plan_group(prepared, 6, recipe.replace(groups=(6,)))
    with pytest.raises(Unsupported, match="3 layers add up"):
        unexplained(prepared, 6, step, recipe.replace(groups=(6,)))


class Grouped(nn.Module):
    """A convolution in groups reads what another one produces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=2)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.head(self.second(self.first(x)))


def test_what_cannot_be_known_is_a_sentence():
    net = Grouped().eval()
    graph = core.trace(net, (3, 5, 5))
    prepared = Prepared(net, graph)
    index = next(i for i, g in enumerate(graph.groups) if "second" in g.consumers)
    recipe = Recipe((index,), 0.5, rule="average", **FEW)
    with pytest.raises(Unsupported, match="second reads its channels in another way"):
        unexplained(prepared, index, plan_group(prepared, index, recipe), recipe)
    net = Straight().eval()
    prepared = Prepared(net, core.trace(net, (5,)))
    recipe = Recipe((0,), 0.5, rule="best", **WHITE)
    with pytest.raises(Unsupported, match="was fitted to"):
        unexplained(prepared, 0, plan_group(prepared, 0, recipe), recipe)
