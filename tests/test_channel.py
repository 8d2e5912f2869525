"""What is told of a channel is what the plan and the smaller network hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import core
from core import surgery
from core.channel import channel, differences, filters, folded, fused, listed, one_sum
from core.compress import plan_group
from core.projection import RULES

NAMES = ("vgg11_bn-digits", "resnet18-digits")
DATA_FREE = [name for name, rule in RULES.items() if not rule.images]


@pytest.fixture(scope="module", params=NAMES)
def bench(request):
    net = core.load(request.param)
    graph = core.trace(net)
    return net, graph, core.Prepared(net, graph)


@pytest.mark.parametrize("rule", ["released", "average", "preserving", "repaired"])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_a_fused_filter_is_the_sum_that_is_told(bench, rule, index):
    """Against the smaller network, folded: not against the same multiplication once more."""
    net, graph, prepared = bench
    out = core.compress(net, graph, core.Recipe((index,), 0.6, rule=rule), prepared)
    state = surgery.fold(out.module.state_dict(), graph.layers)
    step = out.steps[index]
    for place, number in enumerate(out.kept[index].tolist()):
        sums = fused(prepared, index, step, number)
        assert list(sums) == list(graph.groups[index].producers)
        for layer, told in sums.items():
            weight = state[f"{layer}.weight"][place].double()
            torch.testing.assert_close(told.total, weight, rtol=1e-4, atol=1e-6)
            added = sum(c * filter for _, c, filter in told.terms) * told.ratio[0]
            torch.testing.assert_close(added, told.total)
            sizes = [abs(c) for _, c, _ in told.terms]
            assert sizes == sorted(sizes, reverse=True) and sizes[-1] > 0
            assert (told.ratio == 1).all() or rule == "repaired"


def test_mass_leaves_for_heirs_and_arrives_from_parents(bench):
    net, graph, prepared = bench
    recipe = core.Recipe((3,), 0.7)
    step = plan_group(prepared, 3, recipe)
    plan, kept = step.plan, step.measures.kept.tolist()
    told = [channel(prepared, recipe, 3, step, i) for i in range(graph.groups[3].width)]
    assert sorted(one.rank for one in told) == list(range(1, len(told) + 1))
    for one in told:
        assert one.score == float(step.scores[one.index])
        assert sum(tie.mass for tie in one.heirs) == pytest.approx(one.source)
        assert sum(tie.share for tie in one.heirs) == pytest.approx(1)
        for tie in one.heirs:
            assert tie.mass == float(plan.mass[one.index, kept.index(tie.channel)])
            assert tie.cost == float(plan.costs[one.index, kept.index(tie.channel)])
        costs = [tie.cost for tie in one.nearest]
        assert costs == sorted(costs) and costs[0] == float(plan.costs[one.index].min())
        if one.index in kept:
            assert kept[one.place] == one.index
            assert sum(tie.mass for tie in one.parents) == pytest.approx(one.target)
            assert one.rank <= len(kept)
        else:
            assert one.place is None and one.target is None and one.parents == ()
    received = {(p.channel, one.index): p.mass for one in told for p in one.parents}
    left = {(one.index, heir.channel): heir.mass for one in told for heir in one.heirs}
    assert received == left


@pytest.mark.parametrize(
    "choices",
    [
        dict(rule="released"), dict(rule="repaired"), dict(rule="merged", samples=16),
        dict(rule="average", rounds=2),
    ],
    ids=str,
)  # fmt: skip
def test_the_check_is_against_the_smaller_network(bench, choices):
    net, graph, prepared = bench
    recipe = core.Recipe((6,), 0.6, **choices)
    assert one_sum(recipe)
    out = core.compress(net, graph, recipe, prepared)
    state, step = folded(out.module, graph, 6), out.steps[6]
    assert set(state) == {f"{layer}.weight" for layer in graph.groups[6].producers}
    for number in out.kept[6].tolist():
        sums = fused(prepared, 6, step, number, out.refits)
        told = differences(prepared, 6, step, number, sums, state, out.refits)
        assert list(told) == list(sums) and max(told.values()) < 1e-5
    # A weight that is not the sum is found, by as much as it is off.
    layer = graph.groups[6].producers[-1]
    state[f"{layer}.weight"] = state[f"{layer}.weight"].clone()
    state[f"{layer}.weight"][step.measures.kept.tolist().index(number)].view(-1)[0] += 0.5
    told = differences(prepared, 6, step, number, sums, state, out.refits)
    assert told[layer] == pytest.approx(0.5, abs=1e-4)


def test_rounds_that_rescale_are_not_one_sum():
    assert not one_sum(core.Recipe(rule="repaired", rounds=2))
    assert not one_sum(core.Recipe(rule="merged", rounds=2))


@pytest.mark.parametrize("rule", ["average", "select", "best"])
def test_the_list_tells_of_each_channel_what_is_told_of_it_alone(bench, rule):
    net, graph, prepared = bench
    recipe = core.Recipe((6,), 0.6, rule=rule, samples=16)
    step = core.compress(net, graph, recipe, prepared).steps[6]
    rows = listed(step)
    assert [row.index for row in rows] == list(range(graph.groups[6].width))
    for row in rows:
        one = channel(prepared, recipe, 6, step, row.index)
        assert (row.score, row.rank, row.stays) == (one.score, one.rank, one.place is not None)
        heirs = [tie.channel for tie in one.heirs]
        others = [number for number in heirs if number != row.index]
        assert row.heirs == len(others)
        first = heirs[0] if heirs else None
        assert row.heir == (None if first == row.index else first)
        assert row.parents == len([t for t in one.parents if t.channel != row.index])


@pytest.mark.parametrize("rule", ["select", "best"])
def test_without_a_plan_ties_are_coefficients(bench, rule):
    net, graph, prepared = bench
    recipe = core.Recipe((2,), 0.5, rule=rule, samples=16)
    step = core.compress(net, graph, recipe, prepared).steps[2]
    kept = step.measures.kept.tolist()
    for number in range(graph.groups[2].width):
        one = channel(prepared, recipe, 2, step, number)
        assert one.nearest == ()
        row = step.projection.unmerge[number]
        assert {kept.index(t.channel): t.share for t in one.heirs} == {
            i: float(c) for i, c in enumerate(row) if c
        }
        assert all(tie.mass is None and tie.cost is None for tie in one.heirs)
        if rule == "select":
            assert [tie.channel for tie in one.heirs] == [number] * (number in kept)


def test_filters_are_the_folded_weights():
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    prepared = core.Prepared(net, graph)
    last = len(graph.groups) - 1
    (layer,) = graph.groups[last].producers
    found = filters(prepared.folded, graph, last, 5)
    assert list(found) == [layer] and found[layer].shape == (3, 3, 3)
    assert torch.equal(found[layer], prepared.folded[f"{layer}.weight"][5].double())


class Repeating(nn.Module):
    """A hidden linear layer of nine rows a channel, added to a flattened picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.side = nn.Linear(27, 36)
        self.fc = nn.Linear(36, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x).flatten(1) + self.side(x.flatten(1))))


class Joined(nn.Module):
    """Two convolutions make one concatenation: each holds a part of the group of their reader."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.both = nn.Conv2d(3, 10, 1)
        self.head = nn.Conv2d(10, 2, 1)

    def forward(self, x):
        return self.head(torch.relu(torch.cat([self.left(x), self.right(x)], 1) + self.both(x)))


class Adding(nn.Module):
    """A convolution that reads the channels it adds to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.more = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.head(torch.relu(x + self.more(x)))


@pytest.mark.parametrize(
    ("net", "shape"),
    [(Repeating(), (3, 3, 3)), (Joined(), (3, 4, 4)), (Adding(), (3, 4, 4))],
    ids=["rows", "parts", "adds"],
)
@pytest.mark.parametrize("rule", ["preserving", "repaired", "merged"])
def test_the_check_knows_rows_parts_and_layers_that_add(net, shape, rule):
    net = net.eval()
    graph = core.trace(net, shape)
    prepared = core.Prepared(net, graph)
    index = max(range(len(graph.groups)), key=lambda i: len(graph.groups[i].producers))
    recipe = core.Recipe((index,), 0.5, rule=rule, samples=16)
    out = core.compress(net, graph, recipe, prepared)
    state, step = folded(out.module, graph, index), out.steps[index]
    checked = set()
    for number in out.kept[index].tolist():
        sums = fused(prepared, index, step, number, out.refits)
        told = differences(prepared, index, step, number, sums, state, out.refits)
        assert max(told.values()) < 1e-5
        checked |= told.keys()
    assert checked == set(graph.groups[index].producers)


@pytest.mark.parametrize(
    ("net", "shape"), [(Repeating(), (3, 3, 3)), (Joined(), (3, 4, 4))], ids=["rows", "parts"]
)
@pytest.mark.parametrize("rule", ["preserving", "repaired"])
def test_rows_and_parts(net, shape, rule):
    net = net.eval()
    graph = core.trace(net, shape)
    prepared = core.Prepared(net, graph)
    index = max(range(len(graph.groups)), key=lambda i: len(graph.groups[i].producers))
    out = core.compress(net, graph, core.Recipe((index,), 0.5, rule=rule), prepared)
    state, group, step = out.module.state_dict(), graph.groups[index], out.steps[index]
    found: dict[str, list[torch.Tensor]] = {}
    for number in out.kept[index].tolist():
        for layer, told in fused(prepared, index, step, number).items():
            rows = told.total if len(told.ratio) > 1 else told.total[None]
            found.setdefault(layer, []).append(rows)
    assert found.keys() == set(group.producers)
    for layer, rows in found.items():
        torch.testing.assert_close(torch.cat(rows).float(), state[f"{layer}.weight"])


def test_channels_that_are_not_there_are_a_sentence(bench):
    net, graph, prepared = bench
    recipe = core.Recipe((3,), 0.7)
    step = plan_group(prepared, 3, recipe)
    for number in (-1, graph.groups[3].width, "1"):
        with pytest.raises(core.RecipeError, match="has no channel"):
            channel(prepared, recipe, 3, step, number)
    gone = next(i for i in range(999) if i not in step.measures.kept.tolist())
    with pytest.raises(core.RecipeError, match="is discarded"):
        fused(prepared, 3, step, gone)
