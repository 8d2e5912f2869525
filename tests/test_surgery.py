"""Folding, shrinking and rebuilding keep what they must keep and change nothing they are given.

Networks here have the zoo's shapes with random weights and random batch-norm statistics. Where an
identity is exact but for rounding, it is checked in float64, so that the tolerance can be tight.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import io

import pytest
import torch
from torch import nn
from torch.func import functional_call

import core
from core import surgery, zoo
from core.groups import CONSUMES
from core.projection import RULES, Projection, projection, select
from core.repair import repairs
from core.transport import transport

#: Rules that need no images, and those among them whose groups know nothing of each other.
DATA_FREE = [name for name, rule in RULES.items() if not rule.images]
PLANNED = [name for name, rule in RULES.items() if not rule.regressed]

#: Rounding in float64 (1e-16), through at most twenty layers of sums of a few hundred terms.
CLOSE = dict(rtol=1e-9, atol=1e-9)


class Flattening(nn.Module):
    """Two convolutions, pictures of 3×3 flattened, a hidden linear layer with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 5, 3, padding=1)
        self.fc1 = nn.Linear(45, 7)
        self.bn2 = nn.BatchNorm1d(7)
        self.fc2 = nn.Linear(7, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.tanh(self.conv2(x)).flatten(1)
        return self.fc2(torch.relu(self.bn2(self.fc1(x))))


class Repeating(nn.Module):
    """A hidden linear layer, with batch norm or without, is added to a flattened picture."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.side = nn.Linear(27, 36)
        self.norm = nn.BatchNorm1d(36) if norm else nn.Identity()
        self.fc = nn.Linear(36, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x).flatten(1) + self.norm(self.side(x.flatten(1)))))


def unsettle(module: nn.Module, seed: int, hard: bool = False) -> nn.Module:
    """Random batch-norm statistics and scales, in evaluation mode.

    `hard`: variances of 1e-5 and of exactly 0, scales that are negative and exactly 0.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                draw = functools.partial(torch.rand, part.num_features, generator=generator)
                part.weight.copy_(0.5 + draw())
                part.bias.copy_(draw() - 0.5)
                part.running_mean.copy_(draw() - 0.5)
                part.running_var.copy_(0.1 + draw())
                if hard:
                    part.running_var[0], part.running_var[1] = 1e-5, 0.0
                    part.weight[2], part.weight[3] = -1.5, 0.0
    return module.eval()


@functools.cache
def specimen(name: str):
    """A network (float64), its graph, its folded state and two images; to be looked at only.

    `name` is a network of the zoo, its widths divided by 4 or 8, or `flatten`.
    """
    torch.manual_seed(len(name))
    if name == "flatten":
        module, shape = Flattening(), (3, 3, 3)
    else:
        row = zoo.network(name)
        factor = 8 if name in ("vgg11_bn-cifar10", "resnet18-cifar10") else 4
        widths = tuple(width if width == "M" else width // factor for width in row.widths)
        module, shape = dataclasses.replace(row, widths=widths).build(), row.input_shape
    graph = core.trace(unsettle(module, seed=1), shape)
    module = module.double()
    state = surgery.fold(module.state_dict(), graph.layers)
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return module, graph, state, images


SHAPES = [*zoo.NETWORKS, "flatten"]


@torch.no_grad()
def outputs(module, state, images):
    return functional_call(module, state, images)


def shuffled(width: int, seed: int = 0) -> torch.Tensor:
    """A permutation that moves something."""
    order = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
    return order if width == 1 or not torch.equal(order, torch.arange(width)) else order.flip(0)


def entries(coupling, channels: torch.Tensor) -> torch.Tensor:
    """The entries of a coupling's axis that belong to channels, in their order."""
    assert coupling.first == 0
    blocks = coupling.start + channels[:, None] * coupling.repeat + torch.arange(coupling.repeat)
    return blocks.reshape(-1)


# Folding


@pytest.mark.parametrize("hard", [False, True], ids=["usual", "hard"])
@pytest.mark.parametrize("name", SHAPES)
def test_folding_keeps_the_outputs(name, hard):
    module, graph, _, images = specimen(name)
    module = unsettle(copy.deepcopy(module), seed=3, hard=hard)
    folded = surgery.fold(module.state_dict(), graph.layers)
    before = outputs(module, {}, images)
    # Variances of 0 make outputs large; rounding grows with them.
    scale = before.abs().max()
    assert 0 < scale < torch.inf
    torch.testing.assert_close(outputs(module, folded, images), before, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("hard", [False, True], ids=["usual", "hard"])
@pytest.mark.parametrize("name", SHAPES)
def test_folding_in_float32_rounds_about_as_much_as_the_network_itself(name, hard):
    """Against float64, the folded network may be off by ten times what the network is off."""
    module, graph, _, images = specimen(name)
    exact = unsettle(copy.deepcopy(module), seed=3, hard=hard)
    truth = outputs(exact, {}, images)
    single = copy.deepcopy(exact).float()
    off = (outputs(single, {}, images.float()) - truth).abs().max()
    folded = surgery.fold(single.state_dict(), graph.layers)
    off_folded = (outputs(single, folded, images.float()) - truth).abs().max()
    assert all(folded[key].dtype == t.dtype for key, t in single.state_dict().items())
    assert off_folded <= 10 * off + 1e-6 * truth.abs().max()


def test_a_folded_batch_norm_only_adds():
    _, graph, state, _ = specimen("resnet18-digits")
    for layer in graph.layers.values():
        if layer.norm:
            norm = {k: state[f"{layer.norm}.{k}"] for k in ("weight", "running_mean")}
            assert (norm["weight"] == 1).all() and (norm["running_mean"] == 0).all()
            assert (state[f"{layer.norm}.running_var"] == 1 - layer.epsilon).all()


def test_folding_ignores_no_epsilon():
    """A variance of 1e-5 beside an ε of 1e-5: without ε the scale would be √2 too large."""
    net = unsettle(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)), 0).double()
    with torch.no_grad():
        net[1].running_var.fill_(1e-5)
    graph = core.trace(copy.deepcopy(net).float(), (2,))
    folded = surgery.fold(net.state_dict(), graph.layers)
    scale = net[1].weight / (2e-5) ** 0.5
    torch.testing.assert_close(folded["0.weight"], net[0].weight * scale[:, None], **CLOSE)


# Plain pruning is slicing

NORM = ("weight", "bias", "running_mean", "running_var")


def rows(*names: str) -> dict:
    return {name: ((0, 1),) for name in names}


def norm(name: str) -> dict:
    return rows(*(f"{name}.{key}" for key in NORM))


def columns(name: str, repeat: int = 1) -> dict:
    return {f"{name}.weight": ((1, repeat),)}


#: (network, group) → the axes to slice, written by hand: tensor → (axis, entries a channel owns).
BY_HAND = {
    ("vgg11_bn-digits", 7): rows("features.0.weight", "features.0.bias")
    | norm("features.1")
    | columns("features.4"),
    ("vgg11_bn-digits", 0): rows("features.25.weight", "features.25.bias")
    | norm("features.26")
    | columns("classifier"),
    ("resnet18-digits", 0): rows(
        "layer4.0.conv2.weight", "layer4.0.downsample.0.weight", "layer4.1.conv2.weight"
    )
    | norm("layer4.0.bn2")
    | norm("layer4.0.downsample.1")
    | norm("layer4.1.bn2")
    | columns("layer4.1.conv1")
    | columns("fc"),
    ("resnet18-digits", 4): rows("layer3.1.conv1.weight")
    | norm("layer3.1.bn1")
    | columns("layer3.1.conv2"),
    ("resnet18-digits", 9): rows("conv1.weight", "layer1.0.conv2.weight", "layer1.1.conv2.weight")
    | norm("bn1")
    | norm("layer1.0.bn2")
    | norm("layer1.1.bn2")
    | columns("layer1.0.conv1")
    | columns("layer1.1.conv1")
    | columns("layer2.0.conv1")
    | columns("layer2.0.downsample.0"),
    ("flatten", 0): rows("fc1.weight", "fc1.bias") | norm("bn2") | columns("fc2"),
    ("flatten", 1): rows("conv2.weight", "conv2.bias") | columns("fc1", 9),
    ("flatten", 2): rows("conv1.weight") | norm("bn1") | columns("conv2"),
}


@pytest.mark.parametrize(("name", "index"), BY_HAND)
def test_select_equals_slicing(name, index):
    """Bit for bit, every tensor of the state."""
    module, graph, state, images = specimen(name)
    group = graph.groups[index]
    kept = shuffled(group.width)[: max(1, group.width // 2)].sort().values
    sliced = dict(state)
    for tensor, axes in BY_HAND[name, index].items():
        for axis, repeat in axes:
            chosen = (kept[:, None] * repeat + torch.arange(repeat)).reshape(-1)
            sliced[tensor] = sliced[tensor].index_select(axis, chosen)
    smaller = surgery.shrink(state, group, graph.layers, select(kept, group.width))
    assert list(smaller) == list(sliced)
    for tensor in sliced:
        assert torch.equal(smaller[tensor], sliced[tensor]), tensor
    assert outputs(module, smaller, images).shape == outputs(module, state, images).shape


@pytest.mark.parametrize(("name", "index"), BY_HAND)
def test_pruning_equals_slicing_the_network_that_was_never_folded(name, index):
    """`compress` with the rule `select`: the same outputs as deleting channels, batch norm kept."""
    module, graph, _, images = specimen(name)
    out = core.compress(module, graph, core.Recipe(groups=(index,), sparsity=0.5, rule="select"))
    kept = out.kept[index]
    assert len(kept) == max(1, graph.groups[index].width // 2)
    sliced = dict(module.state_dict())
    for tensor, axes in BY_HAND[name, index].items():
        for axis, repeat in axes:
            chosen = (kept[:, None] * repeat + torch.arange(repeat)).reshape(-1)
            sliced[tensor] = sliced[tensor].index_select(axis, chosen)
    with torch.no_grad():
        torch.testing.assert_close(out.module(images), outputs(module, sliced, images), **CLOSE)


# Permutations


@pytest.mark.parametrize("name", SHAPES)
def test_permuting_the_channels_of_any_group_leaves_the_outputs_alone(name):
    module, graph, state, images = specimen(name)
    before = outputs(module, state, images)
    for group in graph.groups:
        order = shuffled(group.width, group.index)
        identity = torch.eye(group.width, dtype=torch.float64)
        turned = surgery.shrink(
            state, group, graph.layers, Projection(identity[order], identity[:, order])
        )
        for coupling in group.couplings:
            moved = state[coupling.tensor].index_select(coupling.axis, entries(coupling, order))
            assert torch.equal(turned[coupling.tensor], moved)
        torch.testing.assert_close(outputs(module, turned, images), before, **CLOSE)


def test_permuting_the_producers_alone_changes_the_outputs():
    """So the test above looks at channels that differ."""
    module, graph, state, images = specimen("resnet18-digits")
    before = outputs(module, state, images)
    for group in graph.groups:
        identity = torch.eye(group.width, dtype=torch.float64)
        half = Projection(identity[shuffled(group.width, group.index)], identity)
        turned = surgery.shrink(state, group, graph.layers, half)
        assert not torch.allclose(outputs(module, turned, images), before, rtol=1e-3, atol=0)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("rule", DATA_FREE)
def test_a_producer_with_blocks_of_rows_shrinks_like_the_others(rule, norm):
    """A linear layer added to a flattened picture owns 9 rows a channel, its norm 9 values."""
    torch.manual_seed(0)
    module = unsettle(Repeating(norm), seed=0)
    graph = core.trace(module, (3, 3, 3))
    images = torch.randn(2, 3, 3, 3)
    (group,) = graph.groups
    whole = core.compress(module, graph, core.Recipe(sparsity=0.0, rule=rule)).module
    with torch.no_grad():
        torch.testing.assert_close(whole(images), module(images), rtol=1e-4, atol=1e-5)
        out = core.compress(module, graph, core.Recipe(sparsity=0.5, rule=rule)).module
        assert out.side.weight.shape == (18, 27) and out.fc.weight.shape == (5, 18)
        assert out(images).isfinite().all()


# From a plan to two matrices


def shares(mass: list[list[float]]) -> list[list[float]]:
    """Each row divided by its sum; a row of zeros stays zeros."""
    return [[x / sum(row) if sum(row) > 0 else 0.0 for x in row] for row in mass]


def turned(rows: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


#: The table of `core.projection`, with plain lists: (plan P (n, m), scores) → merge, unmerge.
BY_RULE = {
    "released": lambda p, s: (turned(shares(p)), shares(p)),
    "average": lambda p, s: (shares(turned(p)), turned(shares(turned(p)))),
    "preserving": lambda p, s: (
        shares(turned([[x * a for x in row] for row, a in zip(p, s, strict=True)])),
        shares(p),
    ),
}
BY_RULE["repaired"] = BY_RULE["preserving"]


@pytest.mark.parametrize("rule", BY_RULE)
def test_the_two_matrices_of_every_rule(rule):
    plan = transport(*plan_of_seven_to_three(), solver="sinkhorn", epsilon=0.5)
    scores = torch.tensor([3.0, 1.0, 0.5, 2.0, 0.0, 4.0, 1.5], dtype=torch.float64)
    found = projection(rule, plan, scores)
    merge, unmerge = BY_RULE[rule](plan.mass.tolist(), scores.tolist())
    tensor = functools.partial(torch.tensor, dtype=torch.float64)
    torch.testing.assert_close(found.merge, tensor(merge))
    torch.testing.assert_close(found.unmerge, tensor(unmerge))
    assert found.merge.shape == (3, 7) and found.unmerge.shape == (7, 3)


def plan_of_seven_to_three():
    """Uneven masses and costs."""
    draw = functools.partial(
        torch.rand, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    source, target = draw(7) + 0.1, draw(3) + 0.1
    return source / source.sum(), target / target.sum(), draw(7, 3)


def test_targets_whose_sources_have_no_importance_take_their_plain_mean():
    plan = transport(*plan_of_seven_to_three(), solver="sinkhorn", epsilon=0.5)
    nothing = torch.zeros(7, dtype=torch.float64)
    found = projection("preserving", plan, nothing)
    torch.testing.assert_close(found.merge, (plan.mass / plan.mass.sum(0)).T)


@pytest.mark.parametrize("rule", BY_RULE)
def test_masses_of_zero_leave_no_nan(rule):
    """A source or a target without any mass has a row or column of zeros."""
    plan = transport(*plan_of_seven_to_three())
    mass = plan.mass.clone()
    mass[2], mass[:, 1] = 0, 0
    found = projection(rule, dataclasses.replace(plan, mass=mass), torch.ones(7).double())
    assert found.merge.isfinite().all() and found.unmerge.isfinite().all()
    assert (found.unmerge[2] == 0).all() and (found.merge[1] == 0).all()


# Duplicates


def multiplied(module, graph, group, copies: int):
    """The module with every channel of a group `copies` times, consumers divided, and whose copy
    each channel is: (copies·n,) indices in a random order.
    """
    width = group.width
    whose = torch.arange(width).repeat(copies)[shuffled(copies * width, 5)]
    state = dict(module.state_dict())
    for coupling in group.couplings:
        state[coupling.tensor] = state[coupling.tensor].index_select(
            coupling.axis, entries(coupling, whose)
        )
        if coupling.role == CONSUMES:
            state[coupling.tensor] = state[coupling.tensor] / copies
    return surgery.rebuild(module, state), whose


def one_of_each(whose: torch.Tensor, width: int) -> torch.Tensor:
    """For every original channel the index of its copy that comes last, rising."""
    last = [int((whose == channel).nonzero().max()) for channel in range(width)]
    return torch.tensor(sorted(last))


def fused_back(large, graph, index, whose, width, rule, solver="exact"):
    """Shrink `large` to one channel of each set of copies, kept by hand: (state, plan)."""
    large_graph = core.trace(copy.deepcopy(large).float(), graph.input_shape)
    group = large_graph.groups[index]
    prepared = core.Prepared(large, large_graph)
    kept = one_of_each(whose, width)
    n, m = len(whose), width
    uniform = functools.partial(torch.full, dtype=torch.float64)
    costs = prepared.costs(index, "l1", True)[:, kept]
    plan = transport(uniform((n,), 1 / n), uniform((m,), 1 / m), costs, solver)
    scores = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    matrices = projection(rule, plan, scores)
    mended = {}
    if RULES[rule].repaired:
        mended = repairs(
            prepared.original, prepared.folded, group, large_graph.layers, matrices.merge
        )
    smaller = surgery.shrink(prepared.folded, group, large_graph.layers, matrices, mended)
    return smaller, plan


@pytest.mark.parametrize("rule", ["preserving", "repaired"])
@pytest.mark.parametrize("name", ["vgg11_bn-digits", "resnet18-digits", "flatten"])
def test_duplicated_channels_fused_back_restore_the_outputs(name, rule):
    module, graph, _, images = specimen(name)
    before = outputs(module, {}, images)
    for group in graph.groups:
        large, whose = multiplied(module, graph, group, 2)
        torch.testing.assert_close(outputs(large, {}, images), before, **CLOSE)
        state, plan = fused_back(large, graph, group.index, whose, group.width, rule)
        assert plan.cost < 1e-12  # a twin costs nothing to reach
        torch.testing.assert_close(outputs(large, state, images), before, **CLOSE)


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize(("rule", "power"), [("released", 1), ("average", -1), ("preserving", 0)])
def test_the_rules_scale_the_outputs_of_copies(rule, power, copies):
    """With k copies, n/m = k: `released` is k times too loud, `average` k times too quiet.

    In a network that is linear behind the group, apart from its last bias.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    graph = core.trace(unsettle(net, seed=0), (4,))
    net = net.double()
    (group,) = graph.groups
    images = torch.randn(5, 4, dtype=torch.float64)
    large, whose = multiplied(net, graph, group, copies)
    state, _ = fused_back(large, graph, 0, whose, group.width, rule)
    before = outputs(net, {}, images) - net[2].bias
    after = outputs(large, state, images) - net[2].bias
    torch.testing.assert_close(after, before * float(copies) ** power, **CLOSE)


# Nothing mutates


@pytest.mark.parametrize("rule", DATA_FREE)
@pytest.mark.parametrize("name", ["resnet18-digits", "vgg11_bn-digits"])
def test_compressing_changes_nothing_it_is_given(name, rule):
    module, graph, _, _ = specimen(name)
    module = copy.deepcopy(module).float().train()
    frozen = {key: t.clone() for key, t in module.state_dict().items()}
    prepared = core.Prepared(module, graph)
    remembered = {
        "original": {key: t.clone() for key, t in prepared.original.items()},
        "folded": {key: t.clone() for key, t in prepared.folded.items()},
    }
    out = core.compress(module, graph, core.Recipe(groups="all", rule=rule), prepared)
    with torch.no_grad():
        for tensor in out.module.state_dict().values():
            tensor.fill_(7)  # writing to the result must not reach anything else
    assert module.training and all(part.training for part in module.modules())
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, frozen[key]), key
    for kind, tensors in remembered.items():
        for key, tensor in getattr(prepared, kind).items():
            assert torch.equal(tensor, tensors[key]), (kind, key)


def test_module_preparation_and_result_share_no_memory():
    module, graph, _, _ = specimen("vgg11_bn-digits")
    prepared = core.Prepared(module, graph)
    out = core.compress(module, graph, core.Recipe(groups=(0,)), prepared)

    def memory(state) -> set[int]:
        return {t.untyped_storage().data_ptr() for t in state.values()}

    ours = memory(module.state_dict())
    result = memory(out.module.state_dict())
    assert not ours & memory(prepared.original) and not ours & memory(prepared.folded)
    assert not result & ours
    assert not result & (memory(prepared.original) | memory(prepared.folded))


# The rebuilt module


@pytest.mark.parametrize("rule", DATA_FREE)
@pytest.mark.parametrize("name", SHAPES)
def test_the_result_is_a_whole_module(name, rule):
    """Its layers state the sizes of their weights, it runs, and its state can be stored."""
    module, graph, _, images = specimen(name)
    recipe = core.Recipe(groups="all", sparsity=0.4, rule=rule)
    out = core.compress(module, graph, recipe).module
    for part in out.modules():
        if isinstance(part, nn.Conv2d):
            assert part.weight.shape[:2] == (part.out_channels, part.in_channels)
            assert part.bias is None or part.bias.shape == (part.out_channels,)
        elif isinstance(part, nn.Linear):
            assert part.weight.shape == (part.out_features, part.in_features)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for key in NORM:
                assert getattr(part, key).shape == (part.num_features,)
    with torch.no_grad():
        expected = out(images)
        assert expected.isfinite().all() and len(expected) == len(images)
        stored = io.BytesIO()
        torch.save(out.state_dict(), stored)
        stored.seek(0)
        other = copy.deepcopy(out)
        for tensor in other.state_dict().values():
            tensor.zero_()
        assert not torch.equal(other(images), expected)
        other.load_state_dict(torch.load(stored, weights_only=True))
        assert torch.equal(other(images), expected)


def test_the_result_is_in_evaluation_mode_and_keeps_who_learns():
    module, graph, _, _ = specimen("resnet18-digits")
    module = copy.deepcopy(module).train()
    module.fc.weight.requires_grad_(False)
    out = core.compress(module, graph, core.Recipe()).module
    assert not any(part.training for part in out.modules())
    assert not out.fc.weight.requires_grad and out.conv1.weight.requires_grad
    assert all(p.is_leaf and isinstance(p, nn.Parameter) for p in out.parameters())


def test_the_result_can_be_traced_and_compressed_again():
    module, graph, _, images = specimen("resnet20-cifar10")
    recipe = core.Recipe(groups="all", sparsity=0.5)
    once = core.compress(module, graph, recipe).module
    again = core.trace(copy.deepcopy(once).float())
    assert [g.width for g in again.groups] == [g.width // 2 for g in graph.groups]
    twice = core.compress(once, again, recipe).module
    with torch.no_grad():
        assert twice(images).isfinite().all()


@pytest.mark.parametrize("rule", DATA_FREE)
def test_nothing_discarded_is_nothing_changed(rule):
    """Sparsity 0 keeps every channel; each one's mass stays where it is."""
    module, graph, _, images = specimen("resnet18-digits")
    out = core.compress(module, graph, core.Recipe(groups="all", sparsity=0.0, rule=rule))
    with torch.no_grad():
        torch.testing.assert_close(out.module(images), outputs(module, {}, images), **CLOSE)


# Several groups


@pytest.mark.parametrize("rule", PLANNED)
@pytest.mark.parametrize("name", ["resnet18-digits", "vgg11_bn-digits", "flatten"])
def test_all_groups_together_are_the_groups_one_after_the_other(name, rule):
    """Each group's decision is the one made alone, from the original weights."""
    module, graph, state, images = specimen(name)
    recipe = core.Recipe(groups="all", sparsity=0.4, rule=rule)
    prepared = core.Prepared(module, graph)
    together = core.compress(module, graph, recipe, prepared)
    assert sorted(together.steps) == list(range(len(graph.groups)))
    for group in reversed(graph.groups):
        alone = core.compress(module, graph, recipe.replace(groups=(group.index,)), prepared)
        step = alone.steps[group.index]
        assert torch.equal(step.projection.merge, together.steps[group.index].projection.merge)
        assert torch.equal(step.projection.unmerge, together.steps[group.index].projection.unmerge)
        state = surgery.shrink(state, group, graph.layers, step.projection, step.repairs)
    # Batch norms hold other numbers for the same effect, and plain pruning leaves them unfolded.
    folded = {key for layer in graph.layers.values() for key in (layer.weight, layer.bias)}
    for key, tensor in together.module.state_dict().items():
        if key in folded and rule != "select":
            torch.testing.assert_close(tensor, state[key], **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(together.module(images), outputs(module, state, images), **CLOSE)


@pytest.mark.parametrize("rule", ["select", "repaired"])
def test_the_order_in_which_groups_are_named_does_not_matter(rule):
    module, graph, _, images = specimen("resnet18-digits")
    recipe = core.Recipe(sparsity=0.5, rule=rule)
    one = core.compress(module, graph, recipe.replace(groups=(0, 3, 9, 4)))
    two = core.compress(module, graph, recipe.replace(groups=(4, 9, 0, 3)))
    for index in (0, 3, 4, 9):
        assert torch.equal(one.kept[index], two.kept[index])
    with torch.no_grad():
        torch.testing.assert_close(one.module(images), two.module(images), **CLOSE)
    for key, tensor in one.module.state_dict().items():
        torch.testing.assert_close(tensor, two.module.state_dict()[key], **CLOSE)


def test_select_is_the_same_in_any_order_bit_for_bit():
    module, graph, _, _ = specimen("vgg11_bn-digits")
    one = core.compress(module, graph, core.Recipe(groups=(0, 1, 2), rule="select")).module
    two = core.compress(module, graph, core.Recipe(groups=(2, 0, 1), rule="select")).module
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[key]), key


def test_a_part_of_a_group_needs_to_know_what_is_kept():
    group = core.trace(zoo.network("vgg11_bn-digits").build()).groups[0]
    part = dataclasses.replace(group.couplings[0], count=group.width // 2)
    group = dataclasses.replace(group, couplings=(part,))
    eye = torch.eye(group.width, dtype=torch.float64)
    state = {part.tensor: torch.zeros(group.width, 2)}
    with pytest.raises(ValueError, match=part.tensor):
        surgery.shrink(state, group, {}, Projection(eye, eye))
    kept = torch.tensor([0, 1, group.width - 1])
    small = surgery.shrink(state, group, {}, select(kept, group.width))
    assert len(small[part.tensor]) == 2 + group.width // 2


@pytest.mark.parametrize("rule", [rule for rule in DATA_FREE if rule != "select"])
@pytest.mark.parametrize("index", [0, 2])
def test_layers_that_nothing_changed_keep_their_tensors_bit_for_bit(rule, index):
    module, graph, *_ = specimen("resnet18-digits")
    module = module.float()
    out = core.compress(module, graph, core.Recipe(groups=(index,), rule=rule, samples=16))
    layers = {coupling.layer for coupling in graph.groups[index].couplings} | out.refits.keys()
    norms = {graph.layers[name].norm for name in layers if name in graph.layers}
    after = out.module.state_dict()
    kept = [n for n in after if n.rpartition(".")[0] not in layers | norms]
    assert kept and len(kept) < len(after)
    assert all(torch.equal(after[name], module.state_dict()[name]) for name in kept)
    module.double()
