"""What must hold for any network of supported layers: small ones drawn at random.

A drawn network is a list of steps on pictures of 4×4 (convolutions with and without bias and batch
norm, activations, pools, residual additions), then a flatten or a mean over space, then linear
layers. Each identity is exact but for rounding and is checked in float64.
"""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

import core
from core import surgery
from core.cost import COSTS, FEATURES
from core.groups import CONSUMES
from core.importance import IMPORTANCES
from core.measures import KEEPS, MASSES, kept_count
from core.projection import RULES, Projection, projection, select
from core.repair import repairs
from core.transport import SOLVERS, transport

CLOSE = dict(rtol=1e-8, atol=1e-8)

DATA_FREE = [name for name, row in IMPORTANCES.items() if row.needs == "nothing"]

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # the same networks on every run: a failure is a failure, not luck
    suppress_health_check=[HealthCheck.too_slow],
)


class Residual(nn.Module):
    """x + inner(x), the shortcut through `shortcut`."""

    def __init__(self, inner: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x):
        return self.inner(x) + self.shortcut(x)


def conv(inputs: int, width: int, kernel: int, bias: bool, norm: bool) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=bias)
    return [layer, nn.BatchNorm2d(width)] if norm else [layer]


widths = st.integers(1, 6)
kernels = st.sampled_from([1, 3])
activations = st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.Identity])


@st.composite
def networks(draw) -> nn.Sequential:
    """A network (float64, evaluation mode) for images (2, 4, 4), with random batch norm."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    side, width = 4, draw(widths)
    steps = conv(2, width, draw(kernels), draw(st.booleans()), draw(st.booleans()))
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["conv", "activation", "pool", "residual", "projected"]))
        bias, norm = draw(st.booleans()), draw(st.booleans())
        if kind == "activation":
            steps.append(draw(activations)())
        elif kind == "pool" and side > 1:
            steps.append(draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(2))
            side //= 2
        elif kind == "residual":
            inner = draw(widths)
            inside = conv(width, inner, draw(kernels), bias, norm)
            inside += [draw(activations)(), *conv(inner, width, draw(kernels), norm, bias)]
            steps += [Residual(nn.Sequential(*inside), nn.Identity()), draw(activations)()]
        elif kind in ("conv", "projected"):
            before, width = width, draw(widths)
            layers = nn.Sequential(*conv(before, width, draw(kernels), bias, norm))
            if kind == "projected":
                shortcut = nn.Sequential(*conv(before, width, 1, norm, bias))
                steps.append(Residual(layers, shortcut))
            else:
                steps += list(layers)
    if draw(st.booleans()):
        steps += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    else:
        steps.append(nn.Flatten())
        width *= side * side
    if draw(st.booleans()):
        hidden = draw(widths)
        steps.append(nn.Linear(width, hidden, bias=draw(st.booleans())))
        steps += [nn.BatchNorm1d(hidden)] * draw(st.integers(0, 1)) + [draw(activations)()]
        width = hidden
    net = nn.Sequential(*steps, nn.Linear(width, 3)).double().eval()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.weight.copy_(torch.randn(part.num_features))
                part.bias.copy_(torch.randn(part.num_features))
                part.running_mean.copy_(torch.randn(part.num_features))
                part.running_var.copy_(torch.rand(part.num_features) + 0.05)
    return net


def traced(net: nn.Module) -> core.DependencyGraph:
    return core.trace(copy.deepcopy(net).float(), (2, 4, 4))


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)


@torch.no_grad()
def outputs(net: nn.Module, state: dict | None = None) -> torch.Tensor:
    return functional_call(net, state or {}, images())


def chosen(state: dict, group, channels: torch.Tensor) -> dict:
    """The state with a group's channels replaced by those named, by plain indexing."""
    state = dict(state)
    for coupling in group.couplings:
        assert coupling.count == group.width
        blocks = channels[:, None] * coupling.repeat + torch.arange(coupling.repeat)
        state[coupling.tensor] = state[coupling.tensor].index_select(
            coupling.axis, blocks.reshape(-1)
        )
    return state


@few
@given(net=networks(), seed=st.integers(0, 1000))
def test_permuting_any_group_leaves_the_outputs_alone(net, seed):
    graph = traced(net)
    state = surgery.fold(net.state_dict(), graph.layers)
    before = outputs(net)
    generator = torch.Generator().manual_seed(seed)
    for group in graph.groups:
        order = torch.randperm(group.width, generator=generator)
        identity = torch.eye(group.width, dtype=torch.float64)
        state = surgery.shrink(
            state, group, graph.layers, Projection(identity[order], identity[:, order])
        )
        torch.testing.assert_close(outputs(net, state), before, **CLOSE)


@few
@given(net=networks(), rule=st.sampled_from(["preserving", "repaired"]), seed=st.integers(0, 1000))
def test_duplicates_of_any_group_fuse_back(net, rule, seed):
    graph = traced(net)
    before = outputs(net)
    generator = torch.Generator().manual_seed(seed)
    for group in graph.groups:
        n = 2 * group.width
        whose = torch.arange(group.width).repeat(2)[torch.randperm(n, generator=generator)]
        state = chosen(net.state_dict(), group, whose)
        for coupling in group.of(CONSUMES):
            state[coupling.tensor] = state[coupling.tensor] / 2
        large = surgery.rebuild(net, state)
        torch.testing.assert_close(outputs(large), before, **CLOSE)

        again = traced(large)
        prepared = core.Prepared(large, again)
        kept = torch.stack([(whose == i).nonzero()[0, 0] for i in range(group.width)])
        masses = (torch.full((k,), 1 / k, dtype=torch.float64) for k in (n, group.width))
        plan = transport(*masses, prepared.costs(group.index, "l1", True)[:, kept])
        scores = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
        matrices = projection(rule, plan, scores)
        mended = {}
        if RULES[rule].repaired:
            mended = repairs(
                prepared.original, prepared.folded, again.groups[group.index], again.layers,
                matrices.merge,
            )  # fmt: skip
        small = surgery.shrink(
            prepared.folded, again.groups[group.index], again.layers, matrices, mended
        )
        torch.testing.assert_close(outputs(large, small), before, **CLOSE)


@few
@given(net=networks(), seed=st.integers(0, 1000), sparsity=st.floats(0, 0.99))
def test_select_equals_slicing_any_group(net, seed, sparsity):
    graph = traced(net)
    state = surgery.fold(net.state_dict(), graph.layers)
    generator = torch.Generator().manual_seed(seed)
    for group in graph.groups:
        count = kept_count(group.width, sparsity)
        kept = torch.randperm(group.width, generator=generator)[:count].sort().values
        smaller = surgery.shrink(state, group, graph.layers, select(kept, group.width))
        sliced = chosen(state, group, kept)
        assert list(smaller) == list(sliced)
        assert all(torch.equal(smaller[key], sliced[key]) for key in sliced)
        # Slicing the network that was never folded does the same.
        unfolded = chosen(net.state_dict(), group, kept)
        torch.testing.assert_close(outputs(net, smaller), outputs(net, unfolded), **CLOSE)


@few
@given(net=networks())
def test_folding_any_network_keeps_its_outputs(net):
    graph = traced(net)
    folded = surgery.fold(net.state_dict(), graph.layers)
    torch.testing.assert_close(outputs(net, folded), outputs(net), **CLOSE)


@st.composite
def recipes(draw) -> core.Recipe:
    return core.Recipe(
        groups="all",
        sparsity=draw(st.floats(0, 0.99)),
        epsilon=draw(st.floats(0.2, 10)),
        seed=draw(st.integers(0, 1000)),
        importance=draw(st.sampled_from(DATA_FREE)),
        keep=draw(st.sampled_from([name for name in KEEPS if name != "by-hand"])),
        solver=draw(st.sampled_from(list(SOLVERS))),
        source=draw(st.sampled_from(list(MASSES))),
        target=draw(st.sampled_from(list(MASSES))),
        cost=draw(st.sampled_from(list(COSTS))),
        features=draw(st.sampled_from(list(FEATURES))),
    )


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if not rule.images])
@settings(few, max_examples=15)
@given(net=networks(), recipe=recipes(), dead=st.integers(0, 5))
def test_every_rule_gives_a_finite_network_of_the_asked_size(rule, net, recipe, dead):
    """Whatever the importance, solver and masses, and with a dead channel in every group."""
    graph = traced(net)
    with torch.no_grad():
        for group in graph.groups:
            for coupling in group.couplings:
                if coupling.tensor.endswith("weight"):
                    axis = net.state_dict()[coupling.tensor].movedim(coupling.axis, 0)
                    start = coupling.start + (dead % group.width) * coupling.repeat
                    axis[start : start + coupling.repeat] = 0
    out = core.compress(net, graph, recipe.replace(rule=rule))
    assert all(t.isfinite().all() for t in out.module.state_dict().values())
    after = outputs(out.module)
    assert after.shape == (3, 3) and after.isfinite().all()
    expected = [kept_count(group.width, recipe.sparsity) for group in graph.groups]
    assert [group.width for group in traced(out.module).groups] == expected
    assert [len(out.kept[group.index]) for group in graph.groups] == expected


@few
@given(net=networks())
def test_every_group_has_producers_and_consumers_and_every_axis_is_used_once(net):
    graph = traced(net)
    assert graph.groups
    claimed = []
    for group in graph.groups:
        assert group.producers and group.consumers and group.width >= 1
        for coupling in group.couplings:
            length = net.state_dict()[coupling.tensor].shape[coupling.axis]
            assert (coupling.start, coupling.stop, coupling.first) == (0, length, 0)
            assert coupling.count == group.width
            claimed.append((coupling.tensor, coupling.axis))
    assert len(set(claimed)) == len(claimed)
