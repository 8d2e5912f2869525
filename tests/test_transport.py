"""Plans are optimal, keep their marginals and say when they don't; costs are what scipy says."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist
from torch import nn

import core
from core import surgery, transport
from core.cost import COSTS, channel_features, normalised, pairwise, with_bias
from core.measures import measures
from core.projection import RULES
from core.transport import SOLVERS

REPOSITORY = Path(__file__).parents[1]

#: Solvers whose plans keep both measures, and those that move all of the source's mass.
BALANCED = [name for name, row in SOLVERS.items() if row.misses == "none"]
ALL_MOVED = [name for name, row in SOLVERS.items() if row.misses != "both"]
#: Distances by their names in scipy, which knows no angle of a row of zeros.
METRICS = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}


def uniform(count: int) -> torch.Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


def problem(n: int, m: int, seed: int, even: bool = False):
    """Masses and costs drawn at random: (n,), (m,), (n, m)."""
    random = torch.Generator().manual_seed(seed)
    draw = functools.partial(torch.rand, generator=random, dtype=torch.float64)
    costs = draw(n, m)
    if even:
        return uniform(n), uniform(m), costs
    source, target = draw(n) + 0.05, draw(m) + 0.05
    return source / source.sum(), target / target.sum(), costs


def least_cost(source, target, costs) -> float:
    """The optimum of the linear programme, written out."""
    n, m = costs.shape
    sums = np.zeros((n + m, n * m))
    for i in range(n):
        sums[i, i * m : (i + 1) * m] = 1
    for j in range(m):
        sums[n + j, j::m] = 1
    found = linprog(costs.numpy().ravel(), A_eq=sums, b_eq=np.r_[source.numpy(), target.numpy()])
    assert found.success
    return found.fun


# Plans


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "m"), [(5, 3), (6, 6), (7, 1), (8, 4)])
@pytest.mark.parametrize("even", [True, False], ids=["uniform", "uneven"])
def test_the_exact_plan_costs_the_least(n, m, seed, even):
    source, target, costs = problem(n, m, seed, even)
    plan = transport.transport(source, target, costs, "exact")
    assert plan.cost == pytest.approx(least_cost(source, target, costs), abs=1e-10)
    assert plan.cost == pytest.approx(float((plan.mass * costs).sum()), abs=1e-12)
    assert plan.converged and plan.iterations is None and plan.solver == "exact"


@pytest.mark.parametrize("seed", range(4))
def test_as_many_targets_as_sources_is_an_assignment(seed):
    source, target, costs = problem(9, 9, seed, even=True)
    plan = transport.transport(source, target, costs, "exact")
    rows, columns = linear_sum_assignment(costs.numpy())
    assert plan.cost == pytest.approx(costs.numpy()[rows, columns].sum() / 9, abs=1e-10)
    assert sorted(plan.mass.flatten().tolist()) == pytest.approx([0.0] * 72 + [1 / 9] * 9)


@pytest.mark.parametrize("solver", BALANCED)
@pytest.mark.parametrize(("n", "m"), [(5, 3), (6, 6), (7, 1), (1, 1), (40, 13)])
@pytest.mark.parametrize("even", [True, False], ids=["uniform", "uneven"])
def test_plans_keep_both_marginals(solver, n, m, even):
    source, target, costs = problem(n, m, 7, even)
    plan = transport.transport(source, target, costs, solver, epsilon=0.5)
    assert plan.mass.shape == (n, m) and plan.mass.dtype == torch.float64
    assert (plan.mass >= 0).all()
    torch.testing.assert_close(plan.mass.sum(1), source, rtol=0, atol=1e-8)
    torch.testing.assert_close(plan.mass.sum(0), target, rtol=0, atol=1e-8)
    assert plan.source_error == pytest.approx(float((plan.mass.sum(1) - source).abs().max()))
    assert plan.target_error == pytest.approx(float((plan.mass.sum(0) - target).abs().max()))
    assert plan.converged


def test_sinkhorn_tends_to_the_exact_plan_as_epsilon_falls():
    source, target, costs = problem(8, 3, 0)
    exact = transport.transport(source, target, costs, "exact")
    plans = [
        transport.transport(source, target, costs, "sinkhorn", epsilon)
        for epsilon in (1.0, 0.3, 0.1, 0.03, 0.01)
    ]
    told = [plan.cost for plan in plans]
    assert told == sorted(told, reverse=True)
    assert exact.cost <= told[-1] + 1e-9
    assert told[-1] == pytest.approx(exact.cost, rel=1e-3)
    distances = [float((plan.mass - exact.mass).abs().sum()) for plan in plans]
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.01


def test_sinkhorn_tends_to_the_independent_plan_as_epsilon_grows():
    source, target, costs = problem(8, 3, 0)
    independent = torch.outer(source, target)
    off = [
        float((transport.transport(source, target, costs, "sinkhorn", e).mass - independent)
              .abs().max())
        for e in (1.0, 10.0, 100.0, 1e4)
    ]  # fmt: skip
    assert off == sorted(off, reverse=True) and off[-1] < 1e-3 * off[0]


def test_epsilon_is_relative_to_the_mean_cost():
    """Costs in another unit give the same plan."""
    source, target, costs = problem(8, 3, 0)
    one = transport.transport(source, target, costs, "sinkhorn", 0.1)
    other = transport.transport(source, target, 1000 * costs, "sinkhorn", 0.1)
    torch.testing.assert_close(one.mass, other.mass, rtol=0, atol=1e-8)


@pytest.fixture
def impatient(monkeypatch):
    """Every solver stops long before it is done."""
    monkeypatch.setattr(transport, "PIVOTS", 1)
    monkeypatch.setattr(transport, "LIMIT", 30)


@pytest.mark.parametrize("solver", ["sinkhorn", "unbalanced"])
def test_a_solver_that_did_not_converge_says_so_in_the_plan_and_not_on_the_console(
    impatient, solver
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = transport.transport(*problem(20, 7, 0), solver, 1e-3, relaxation=100)
    assert not plan.converged and plan.iterations == 30
    assert plan.target_error > 1e-9


@pytest.mark.filterwarnings("ignore:numItermax")
def test_the_exact_solver_that_did_not_finish_says_so(impatient):
    assert not transport.transport(*problem(20, 7, 0), "exact").converged


@pytest.mark.slow
def test_the_exact_solver_that_did_not_finish_says_nothing_on_the_console():
    """In a process of its own: pytest sets up warnings anew for every test."""
    code = (
        "import torch\nfrom core import transport\ntransport.PIVOTS = 1\n"
        "half = torch.full((20,), 1 / 20, dtype=torch.float64)\n"
        "costs = torch.rand(20, 20, dtype=torch.float64)\n"
        "print(transport.transport(half, half, costs).converged)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == "False" and told.stderr == ""


def test_sinkhorn_is_the_same_however_often_somebody_may_stop_it(monkeypatch):
    whole = transport.transport(*problem(20, 7, 0), "sinkhorn", 0.02)
    monkeypatch.setattr(transport, "STEP", 10)
    parts = transport.transport(*problem(20, 7, 0), "sinkhorn", 0.02, stop=lambda: False)
    assert whole.iterations > 100 and whole.converged and parts.converged
    torch.testing.assert_close(parts.mass, whole.mass, rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", ["sinkhorn", "unbalanced"])
def test_an_iterative_solver_can_be_stopped(solver):
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(core.Cancelled):
        transport.transport(*problem(20, 7, 0), solver, 1e-5, relaxation=1e4, stop=stop)
    assert len(asked) == 3


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["source", "target", "costs"])
def test_numbers_that_are_not_finite_are_refused(where, number, solver):
    parts = dict(zip(("source", "target", "costs"), problem(5, 3, 0), strict=True))
    parts[where].view(-1)[0] = number
    with pytest.raises(core.TransportError, match="not finite"):
        transport.transport(**parts, solver=solver)


def test_a_plan_that_is_not_finite_is_refused(monkeypatch):
    broken = transport.Solver("gives up", lambda mu, nu, c, e: (np.full(c.shape, np.nan), 3, True))
    monkeypatch.setitem(SOLVERS, "broken", broken)
    with pytest.raises(core.TransportError, match="'broken'"):
        transport.transport(*problem(5, 3, 0), solver="broken")


@pytest.mark.parametrize("solver", BALANCED)
def test_channels_that_are_all_alike_cost_nothing(solver):
    features = torch.ones(6, 4, dtype=torch.float64)
    costs = pairwise(features)[:, :2]
    plan = transport.transport(uniform(6), uniform(2), costs, solver)
    assert plan.cost == 0 and plan.converged
    torch.testing.assert_close(plan.mass.sum(1), uniform(6))
    torch.testing.assert_close(plan.mass.sum(0), uniform(2))


@pytest.mark.parametrize("solver", ALL_MOVED)
def test_one_channel_left_takes_everything(solver):
    source, target, costs = problem(6, 1, 0)
    plan = transport.transport(source, target, costs, solver)
    torch.testing.assert_close(plan.mass[:, 0], source)


def test_nothing_discarded_moves_nothing():
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plan = transport.transport(uniform(7), uniform(7), pairwise(features), "exact")
    assert plan.cost == 0
    torch.testing.assert_close(plan.mass, torch.eye(7, dtype=torch.float64) / 7)


@pytest.mark.parametrize("solver", ALL_MOVED)
def test_a_group_of_one_channel(solver):
    plan = transport.transport(uniform(1), uniform(1), pairwise(torch.ones(1, 3)), solver)
    assert plan.mass.tolist() == [[1.0]] and plan.cost == 0 and plan.converged


def test_the_arguments_are_left_alone():
    source, target, costs = problem(6, 3, 0)
    copies = [t.clone() for t in (source, target, costs)]
    for solver in SOLVERS:
        transport.transport(source, target, costs, solver)
    assert all(torch.equal(a, b) for a, b in zip(copies, (source, target, costs), strict=True))


# Costs


class Mixed(nn.Module):
    """A residual stream (two producers with batch norm, one consumer) that ends in a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 5, 3, padding=1)
        self.fc = nn.Linear(20, 4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x) + x)
        return self.fc(x.flatten(1))


def mixed():
    """The network above with random batch norm, its graph and folded state."""
    torch.manual_seed(0)
    module = Mixed().eval()
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(module.bn1, name).copy_(torch.rand(5) + 0.2)
    graph = core.trace(module, (3, 2, 2))
    return module, graph, surgery.fold(module.state_dict(), graph.layers)


def naive_features(state, bias: bool) -> np.ndarray:
    """The features of the stream of `Mixed`, channel by channel."""
    rows = []
    for i in range(5):
        parts = [state["conv1.weight"][i].ravel(), state["conv2.weight"][i].ravel()]
        parts += [state["conv2.weight"][:, i].ravel(), state["fc.weight"][:, 4 * i : 4 * i + 4]]
        if bias:
            parts += [state["bn1.bias"][i : i + 1], state["conv2.bias"][i : i + 1]]
        row = np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
        rows.append(row / np.sqrt((row**2).sum()))
    return np.array(rows)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("cost", "metric"), METRICS.items())
def test_costs_are_scipys_on_features_put_together_by_hand(cost, metric, bias):
    """The order in which weights follow each other changes no distance."""
    module, graph, state = mixed()
    (group,) = graph.groups
    rows = naive_features(state, bias)
    found = core.Prepared(module, graph).costs(0, cost, bias)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), cdist(rows, rows, metric), rtol=1e-12, atol=1e-14)
    lengths = channel_features(state, group, graph.layers, bias).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 17, 64, 65])
def test_costs_are_symmetric_with_a_diagonal_of_zeros(count, cost):
    """Whatever strips the matrix is computed in."""
    features = normalised(torch.randn(count, 6, dtype=torch.float64))
    matrix = pairwise(features, cost)
    assert torch.equal(matrix, matrix.T)
    assert (matrix.diagonal() == 0).all() and (matrix >= 0).all()
    expected = cdist(features.numpy(), features.numpy(), METRICS[cost])
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cost", COSTS)
def test_a_column_for_each_kept_channel_is_the_cost_of_the_smaller_problem(cost):
    features = normalised(torch.randn(12, 6, dtype=torch.float64))
    kept = torch.tensor([1, 4, 5, 11])
    again = cdist(features.numpy(), features[kept].numpy(), METRICS[cost])
    np.testing.assert_allclose(pairwise(features, cost)[:, kept].numpy(), again, atol=1e-14)


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.project])
def test_the_plans_costs_are_the_columns_of_the_kept_channels(rule):
    module, graph, _ = mixed()
    prepared = core.Prepared(module, graph)
    out = core.compress(module, graph, core.Recipe(sparsity=0.4, rule=rule), prepared)
    whole = prepared.costs(0, "l1", with_bias("by-rule", rule))
    assert torch.equal(out.plans[0].costs, whole[:, out.kept[0]])


def test_a_channel_without_any_weight_has_features_of_zero_and_finite_costs():
    module, graph, _ = mixed()
    with torch.no_grad():
        module.conv1.weight[2] = module.conv2.weight[2] = 0
        module.conv2.weight[:, 2] = 0
        module.fc.weight[:, 8:12] = 0
        module.bn1.bias[2] = module.conv2.bias[2] = module.bn1.running_mean[2] = 0
    prepared = core.Prepared(module, graph)
    for bias in (True, False):
        assert (prepared.features(0, bias)[2] == 0).all()
        for cost in COSTS:
            assert prepared.costs(0, cost, bias).isfinite().all()
    for rule in [name for name, row in RULES.items() if not row.images]:
        out = core.compress(module, graph, core.Recipe(sparsity=0.5, rule=rule)).module
        assert all(t.isfinite().all() for t in out.state_dict().values())


def test_biases_count_for_every_rule_but_released():
    """A shifted β changes the costs where the features hold biases, and nowhere else."""
    module, graph, _ = mixed()
    shifted = copy.deepcopy(module)
    with torch.no_grad():
        shifted.bn1.bias[0] += 3
    one, other = core.Prepared(module, graph), core.Prepared(shifted, graph)
    for rule in RULES:
        bias = with_bias("by-rule", rule)
        assert bias == (rule != "released")
        same = torch.equal(one.costs(0, "l1", bias), other.costs(0, "l1", bias))
        assert same == (rule == "released")
    assert with_bias("weights+bias", "released") and not with_bias("weights", "preserving")


@pytest.mark.parametrize("features", ["weights", "weights+bias"])
def test_a_recipes_features_decide_over_biases(features):
    module, graph, _ = mixed()
    prepared = core.Prepared(module, graph)
    recipe = core.Recipe(sparsity=0.4, features=features)
    out = core.compress(module, graph, recipe, prepared)
    whole = prepared.costs(0, "l1", features == "weights+bias")
    assert torch.equal(out.plans[0].costs, whole[:, out.kept[0]])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_their_layer(number, rule):
    """Not spread over the smaller network; plain pruning would do so, too, by 0 · NaN."""
    module, graph, _ = mixed()
    with torch.no_grad():
        module.conv2.weight[1, 0, 0, 0] = number
    with pytest.raises(core.WeightsError, match="'conv2' are not finite: conv2.weight"):
        core.compress(module, graph, core.Recipe(rule=rule))


def test_weights_that_folding_makes_infinite_are_refused():
    module, graph, _ = mixed()
    with torch.no_grad():
        module.bn1.running_var.fill_(-1)
    with pytest.raises(core.WeightsError, match="'conv1' are not finite once batch norm"):
        core.Prepared(module, graph)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_group_of_a_network_that_ships_has_a_plan_that_converged(solver):
    module = core.load("resnet18-digits")
    graph = core.trace(module)
    recipe = core.Recipe(groups="all", solver=solver, source="importance", target="importance")
    out = core.compress(module, graph, recipe)
    assert set(out.plans) == set(range(len(graph.groups)))
    for index, plan in out.plans.items():
        assert plan.converged and plan.mass.isfinite().all()
        if solver in BALANCED:
            assert max(plan.source_error, plan.target_error) < 1e-6
        expected = measures(out.steps[index].scores, 0.5, "importance", "importance")
        assert torch.equal(plan.source, expected.source)
        assert torch.equal(plan.target, expected.target)
