"""Variance repair gives a fused channel the spread of its parents, around the same mean.

Where a test samples, inputs are white and batch norm holds the true statistics, so a channel's
pre-activation has mean β and standard deviation |γ|, as `core.repair` supposes.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import core
from core import surgery
from core.projection import Projection
from core.repair import LARGEST_RATIO, repairs, variance_ratio

#: Images drawn. A standard deviation estimated from them is off by 1/√(2·SAMPLES) = 0.35 %.
SAMPLES = 40_000
FIVE_SIGMA = 5 / math.sqrt(2 * SAMPLES)


def network(norm: bool = True, bias: bool = True, width: int = 6, seed: int = 0) -> nn.Module:
    """A convolution whose pictures are one pixel, batch norm with the true statistics for white
    images, some γ negative, and a linear layer; float64.
    """
    torch.manual_seed(seed)
    conv = nn.Conv2d(2, width, 3, bias=bias)
    parts = [conv, nn.BatchNorm2d(width)] if norm else [conv]
    net = nn.Sequential(*parts, nn.ReLU(), nn.Flatten(), nn.Linear(width, 3)).double().eval()
    with torch.no_grad():
        if norm:
            net[1].weight.copy_(torch.rand(width) + 0.5)
            net[1].weight[::2] *= -1
            net[1].bias.copy_(torch.randn(width))
            net[1].running_mean.copy_(conv.bias if bias else torch.zeros(width))
            net[1].running_var.copy_(conv.weight.flatten(1).square().sum(1))
    return net


def graph_of(net: nn.Module, shape=(2, 3, 3)) -> core.DependencyGraph:
    double = next(net.parameters()).dtype == torch.float64
    graph = core.trace(net.float(), shape)
    if double:
        net.double()
    return graph


def averaging(m: int, n: int) -> torch.Tensor:
    """(m, n) rows of random shares that sum to 1."""
    shares = torch.rand(m, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return shares / shares.sum(1, keepdim=True)


def fused(net: nn.Module, merge: torch.Tensor, repaired: bool) -> nn.Module:
    """The network with its only group merged by `merge`."""
    graph = graph_of(net)
    (group,) = graph.groups
    prepared = core.Prepared(net, graph)
    mended = repairs(prepared.original, prepared.folded, group, graph.layers, merge)
    state = surgery.shrink(
        prepared.folded, group, graph.layers, Projection(merge, merge.T), mended if repaired else {}
    )
    return surgery.rebuild(net, state)


@torch.no_grad()
def pre_activations(net: nn.Module, layers: int) -> torch.Tensor:
    """(SAMPLES, channels) of the first `layers` parts of the network on white images."""
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(SAMPLES, 2, 3, 3, generator=generator, dtype=torch.float64)
    return net[:layers](images).flatten(1)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_repair_restores_the_spread_and_keeps_the_mean(bias):
    """Standard deviation Σ aⱼ|γⱼ| and mean Σ aⱼβⱼ, where averaging alone is much quieter."""
    net, merge = network(bias=bias), averaging(3, 6)
    spread, mean = net[1].weight.abs().detach(), net[1].bias.detach()
    parents = pre_activations(net, 2)
    torch.testing.assert_close(parents.std(0), spread, rtol=FIVE_SIGMA, atol=0)  # as supposed
    wanted = merge @ spread

    plain = pre_activations(fused(net, merge, repaired=False), 2)
    torch.testing.assert_close(plain, parents @ merge.T)  # averaged weights average channels
    assert (plain.std(0) < 0.8 * wanted).all()  # what averaging took

    mended = pre_activations(fused(net, merge, repaired=True), 2)
    torch.testing.assert_close(mended.std(0), wanted, rtol=FIVE_SIGMA, atol=0)
    off = (mended.mean(0) - merge @ mean).abs()
    assert (off < 5 * wanted / math.sqrt(SAMPLES)).all()


@torch.no_grad()
def test_channels_that_hardly_vary_count_as_much_as_they_vary():
    """ε keeps them quieter than |γ|; taken for |γ| they would make the fused channel too loud."""
    net, merge = network(), averaging(3, 6)
    net[0].weight[:3] *= 1e-3
    net[1].running_var.copy_(net[0].weight.flatten(1).square().sum(1))
    parents = pre_activations(net, 2)
    assert (parents.std(0)[:3] < 0.9 * net[1].weight.abs()[:3]).all()
    mended = pre_activations(fused(net, merge, repaired=True), 2)
    torch.testing.assert_close(mended.std(0), merge @ parents.std(0), rtol=2 * FIVE_SIGMA, atol=0)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_without_batch_norm_the_rows_norm_stands_for_the_spread(bias):
    net, merge = network(norm=False, bias=bias), averaging(3, 6)
    wanted = merge @ net[0].weight.detach().flatten(1).norm(dim=1)
    mean = merge @ net[0].bias.detach() if bias else torch.zeros(3, dtype=torch.float64)
    assert (pre_activations(fused(net, merge, repaired=False), 1).std(0) < 0.8 * wanted).all()
    mended = pre_activations(fused(net, merge, repaired=True), 1)
    torch.testing.assert_close(mended.std(0), wanted, rtol=FIVE_SIGMA, atol=0)
    assert ((mended.mean(0) - mean).abs() < 5 * wanted / math.sqrt(SAMPLES)).all()


def test_repair_moves_a_channel_around_its_mean_only():
    """The repaired pre-activation is r(z′ − β′) + β′, image by image."""
    net, merge = network(), averaging(3, 6)
    prepared = core.Prepared(net, graph_of(net))
    (group,) = prepared.graph.groups
    found = repairs(prepared.original, prepared.folded, group, prepared.graph.layers, merge)["0"]
    plain = pre_activations(fused(net, merge, repaired=False), 2)
    mended = pre_activations(fused(net, merge, repaired=True), 2)
    centre = merge @ net[1].bias.detach()
    torch.testing.assert_close(found.centre, centre)
    torch.testing.assert_close(mended, found.ratio * (plain - centre) + centre)


class Residual(nn.Module):
    """A stream with three producers: two with batch norm, one without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 5, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 5, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(5)
        self.conv3 = nn.Conv2d(5, 5, 1)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)) + x)
        x = torch.relu(self.conv3(x) + x)
        return self.fc(x.mean((2, 3)))


def residual() -> nn.Module:
    torch.manual_seed(1)
    net = Residual().eval()
    with torch.no_grad():
        for norm in (net.bn1, net.bn2):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, name).copy_(torch.rand(5) + 0.3)
            norm.weight[1] *= -1
    return net.double()


def test_in_a_stream_every_producer_has_its_own_ratio():
    net = residual()
    prepared = core.Prepared(net, graph_of(net))
    (group,) = prepared.graph.groups
    merge = averaging(2, 5)
    found = repairs(prepared.original, prepared.folded, group, prepared.graph.layers, merge)
    assert sorted(found) == ["conv1", "conv2", "conv3"]
    for name, norm in (("conv1", net.bn1), ("conv2", net.bn2), ("conv3", None)):
        rows = net.get_submodule(name).weight.detach().flatten(1)
        for i in range(2):
            if norm is None:
                spread, signs = rows.norm(dim=1), torch.ones(5)
            else:
                alive = (norm.running_var / (norm.running_var + norm.eps)).sqrt()
                spread, signs = norm.weight.detach().abs() * alive, norm.weight.detach().sign()
            variance = 0.0
            for j in range(5):
                for k in range(5):
                    cosine = torch.cosine_similarity(rows[j], rows[k], dim=0) * signs[j] * signs[k]
                    variance += merge[i, j] * spread[j] * cosine * spread[k] * merge[i, k]
            ratio = float((merge[i] @ spread) / variance.sqrt())
            assert float(found[name].ratio[i]) == pytest.approx(ratio, rel=1e-9)
    ratios = torch.stack([repair.ratio for repair in found.values()])
    assert (ratios.std(0) > 1e-3).all()


def test_each_producers_rows_and_bias_take_their_own_ratio():
    net = residual()
    graph = graph_of(net)
    prepared = core.Prepared(net, graph)
    out = core.compress(net, graph, core.Recipe(sparsity=0.5, rule="repaired"), prepared)
    plain = core.compress(net, graph, core.Recipe(sparsity=0.5, rule="preserving"), prepared)
    step = out.steps[0]
    for name, repair in step.repairs.items():
        rows = out.module.get_submodule(name).weight.flatten(1)
        before = plain.module.get_submodule(name).weight.flatten(1)
        torch.testing.assert_close(rows, before * repair.ratio[:, None])
    for name, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        repair = step.repairs[name]
        before = plain.module.get_submodule(norm).bias
        after = out.module.get_submodule(norm).bias
        expected = repair.ratio * (before - repair.centre) + repair.centre
        torch.testing.assert_close(after, expected)
    repair, before = step.repairs["conv3"], plain.module.conv3.bias
    expected = repair.ratio * (before - repair.centre) + repair.centre
    torch.testing.assert_close(out.module.conv3.bias, expected)


def test_only_the_rule_repaired_repairs():
    net = residual()
    graph = graph_of(net)
    for rule in ("select", "released", "average", "preserving"):
        assert core.compress(net, graph, core.Recipe(rule=rule)).steps[0].repairs == {}


# Ratios at the edges


def test_parents_that_agree_need_no_repair():
    merge = averaging(2, 4)
    alike = torch.ones(4, 1, dtype=torch.float64)
    spread = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(
        variance_ratio(merge, spread, alike), torch.ones(2, dtype=torch.float64)
    )


def test_a_single_parent_needs_no_repair_however_loud():
    directions = torch.eye(3, dtype=torch.float64)
    spread = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    merge = torch.tensor([[0.0, 2.0, 0.0], [0.3, 0.0, 0.0]], dtype=torch.float64)
    assert variance_ratio(merge, spread, directions).tolist() == pytest.approx([1, 1])


def test_independent_equal_parents_are_made_louder_by_the_root_of_their_number():
    directions = torch.eye(4, dtype=torch.float64)
    merge = torch.full((1, 4), 0.25, dtype=torch.float64)
    found = variance_ratio(merge, torch.ones(4, dtype=torch.float64), directions)
    assert found.tolist() == pytest.approx([2.0])


@pytest.mark.parametrize("nearly", [0.0, 1e-12, 1e-3])
def test_parents_that_cancel_out_are_not_blown_up(nearly):
    directions = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    merge = torch.tensor([[0.5 + nearly, 0.5]], dtype=torch.float64)
    found = variance_ratio(merge, torch.ones(2, dtype=torch.float64), directions)
    assert found.isfinite().all() and (found <= LARGEST_RATIO).all() and (found >= 1).all()


EDGES = {
    "γ of zero": lambda net: net[1].weight.zero_(),
    "one γ of zero": lambda net: net[1].weight[1:2].zero_(),
    "a row of zeros": lambda net: net[0].weight[1].zero_(),
    "rows of zeros": lambda net: net[0].weight.zero_(),
    "variance of zero": lambda net: net[1].running_var.zero_(),
    "rows that cancel": lambda net: net[0].weight[1].copy_(-net[0].weight[0]),
    "nothing at all": lambda net: [t.zero_() for t in net.state_dict().values()],
}


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("edge", EDGES)
def test_what_is_repaired_is_finite(edge, sparsity):
    net = network()
    with torch.no_grad():
        EDGES[edge](net)
    out = core.compress(net, graph_of(net), core.Recipe(sparsity=sparsity, rule="repaired"))
    assert all(t.isfinite().all() for t in out.module.state_dict().values())
    assert len(out.kept[0]) == max(1, math.floor(6 * (1 - sparsity)))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_layer_without_batch_norm_and_with_rows_of_zeros_is_finite(bias):
    net = network(norm=False, bias=bias)
    with torch.no_grad():
        net[0].weight[:3].zero_()
    out = core.compress(net, graph_of(net), core.Recipe(sparsity=0.5, rule="repaired"))
    assert all(t.isfinite().all() for t in out.module.state_dict().values())
