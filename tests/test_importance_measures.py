"""Scores are what a plain loop computes; masses are probabilities; ties fall the same way."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

import core
from core import surgery
from core.importance import IMPORTANCES, scores, weights_of
from core.measures import MASSES, measures, most_important
from core.projection import RULES


class Residual(nn.Module):
    """A stream of 4 channels with two producers, an inner convolution, two consumers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn3(self.conv3(torch.relu(self.conv2(x)))) + x)
        return self.fc(x.mean((2, 3)))


class Flattening(nn.Module):
    """A convolution whose channels own 4 columns each, and a hidden linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.fc1 = nn.Linear(24, 5)
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x))).flatten(1)
        return self.fc2(torch.relu(self.fc1(x)))


@functools.cache
def specimen(kind: type[nn.Module]):
    """(network, graph, folded state) with random batch norm; to be looked at only."""
    torch.manual_seed(0)
    module = kind().eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(part, name).copy_(torch.rand(part.num_features) + 0.2)
                part.weight[0] *= -1
    graph = core.trace(module, (3, 2, 2))
    return module, graph, surgery.fold(module.state_dict(), graph.layers)


#: (network, group, its producing weights, its consuming weights with the columns a channel owns)
CASES = [
    (Residual, 0, ["conv1", "conv3"], [("conv2", 1), ("fc", 1)]),
    (Residual, 1, ["conv2"], [("conv3", 1)]),
    (Flattening, 0, ["fc1"], [("fc2", 1)]),
    (Flattening, 1, ["conv"], [("fc1", 4)]),
]
DATA_FREE = [name for name, row in IMPORTANCES.items() if row.needs == "nothing"]
NORMS = {
    "l1": lambda numbers: sum(abs(number) for number in numbers),
    "l2": lambda numbers: sum(number * number for number in numbers),
    "linf": lambda numbers: max(abs(number) for number in numbers),
}


@pytest.mark.parametrize("importance", NORMS)
@pytest.mark.parametrize(("kind", "index", "producing", "consuming"), CASES)
def test_a_score_is_the_mean_over_weights_of_each_weights_own(
    kind, index, producing, consuming, importance
):
    _, graph, state = specimen(kind)
    group = graph.groups[index]
    found = scores(state, group, importance)
    assert found.shape == (group.width,) and found.dtype == torch.float64
    for channel in range(group.width):
        told = []
        for layer in producing:
            told.append(NORMS[importance](state[f"{layer}.weight"][channel].flatten().tolist()))
        for layer, repeat in consuming:
            block = state[f"{layer}.weight"][:, channel * repeat : (channel + 1) * repeat]
            told.append(NORMS[importance](block.flatten().tolist()))
        assert float(found[channel]) == pytest.approx(sum(told) / len(told), rel=1e-12)


@pytest.mark.parametrize("importance", NORMS)
def test_biases_do_not_count_and_batch_norm_does(importance):
    _, graph, state = specimen(Flattening)
    before = scores(state, graph.groups[1], importance)
    shifted = state | {"bn.bias": state["bn.bias"] + 5, "conv.bias": state["conv.bias"] + 5}
    assert torch.equal(scores(shifted, graph.groups[1], importance), before)
    module, _, _ = specimen(Flattening)
    unfolded = scores(module.state_dict(), graph.groups[1], importance)
    assert not torch.allclose(unfolded, before)


def test_the_weights_that_speak_for_a_group():
    _, graph, state = specimen(Residual)
    told = [(c.tensor, c.axis) for c in weights_of(state, graph.groups[0])]
    assert sorted(told) == [
        ("conv1.weight", 0), ("conv2.weight", 1), ("conv3.weight", 0), ("fc.weight", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("importance", DATA_FREE)
def test_scores_are_finite_and_not_negative(importance):
    for kind in (Residual, Flattening):
        module, graph, state = specimen(kind)
        for group in graph.groups:
            found = scores(state, group, importance, 0, module.state_dict(), graph.layers)
            assert found.isfinite().all() and (found >= 0).all()


def test_random_scores_follow_the_seed_and_differ_by_group():
    _, graph, state = specimen(Residual)
    group, other = graph.groups
    one = scores(state, group, "random", seed=1)
    torch.manual_seed(123)  # the global generator has no say
    assert torch.equal(scores(state, group, "random", seed=1), one)
    assert not torch.equal(scores(state, group, "random", seed=2), one)
    width = min(group.width, other.width)
    assert not torch.equal(scores(state, other, "random", seed=1)[:width], one[:width])


def test_random_scores_leave_the_global_generator_alone():
    _, graph, state = specimen(Residual)
    before = torch.random.get_rng_state()
    scores(state, graph.groups[0], "random", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_seed_changes_random_scores_alone():
    _, graph, state = specimen(Residual)
    for importance in NORMS:
        one = scores(state, graph.groups[0], importance, seed=1)
        assert torch.equal(one, scores(state, graph.groups[0], importance, seed=2))


# Which channels stay


def test_the_most_important_stay_in_rising_order():
    told = torch.tensor([0.3, 5.0, 0.1, 2.0, 4.0])
    assert most_important(told, 3).tolist() == [1, 3, 4]
    assert most_important(told, 1).tolist() == [1]
    assert most_important(told, 5).tolist() == [0, 1, 2, 3, 4]


def test_of_equal_scores_the_first_stay():
    told = torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0, 1.0] * 40)
    twos = [i for i in range(240) if i % 6 in (1, 4)]
    ones = [i for i in range(240) if i % 6 not in (1, 4)]
    assert most_important(told, 80).tolist() == twos
    assert most_important(told, 90).tolist() == sorted(twos + ones[:10])
    assert most_important(torch.zeros(500), 3).tolist() == [0, 1, 2]


def test_fewer_kept_channels_are_among_the_more():
    told = torch.rand(50, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with ties
    for count in range(1, 50):
        assert set(most_important(told, count).tolist()) < set(
            most_important(told, count + 1).tolist()
        )


# Masses


@pytest.mark.parametrize("target", MASSES)
@pytest.mark.parametrize("source", MASSES)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.99])
def test_masses_are_probabilities_of_the_right_length(source, target, sparsity):
    told = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = measures(told, sparsity, source, target)
    count = max(1, round(20 * (1 - sparsity)))
    assert found.kept.shape == (count,) and found.kept.dtype == torch.int64
    assert (found.kept[1:] > found.kept[:-1]).all()
    for mass, length in ((found.source, 20), (found.target, count)):
        assert mass.shape == (length,) and mass.dtype == torch.float64
        assert float(mass.sum()) == pytest.approx(1, abs=1e-12) and (mass > 0).all()


def test_uniform_masses_are_equal_and_importance_masses_are_in_proportion():
    told = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    found = measures(told, 0.5, "uniform", "importance")
    assert found.source.tolist() == pytest.approx([0.25] * 4)
    assert found.kept.tolist() == [2, 3] and found.target.tolist() == pytest.approx([3 / 7, 4 / 7])
    assert measures(told, 0.5, "importance").source.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_channels_without_importance_still_carry_mass():
    """A mass of exactly zero would leave a channel without a row in the plan."""
    told = torch.tensor([0.0, 3.0, 0.0, 1.0], dtype=torch.float64)
    found = measures(told, 0.25, "importance", "importance")
    assert (found.source > 0).all() and (found.target > 0).all()
    assert float(found.source[0]) < 1e-5 * float(found.source[1])
    nothing = measures(torch.zeros(4, dtype=torch.float64), 0.5, "importance", "importance")
    assert nothing.source.tolist() == [0.25] * 4 and nothing.target.tolist() == [0.5] * 2


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if not rule.images])
def test_a_network_with_dead_channels_shrinks_under_importance_masses(rule):
    """Every row of the plan keeps its mass, and what comes out is finite."""
    torch.manual_seed(0)
    module = Flattening().eval()
    with torch.no_grad():
        module.conv.weight[2] = 0
        module.fc1.weight[:, 8:12] = 0
    graph = core.trace(module, (3, 2, 2))
    recipe = core.Recipe(groups=(1,), rule=rule, source="importance", target="importance")
    out = core.compress(module, graph, recipe)
    assert float(out.steps[1].scores[2]) == 0
    assert all(t.isfinite().all() for t in out.module.state_dict().values())
    if RULES[rule].project:
        assert (out.plans[1].mass.sum(1) > 0).all() and (out.plans[1].mass.sum(0) > 0).all()
