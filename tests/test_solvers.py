"""Relaxed solvers agree with the exact one where they must, with brute force, and with POT."""

from __future__ import annotations

import itertools

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

import core
from core.projection import RULES, projection
from core.transport import SOLVERS, transport

few = settings(max_examples=40, deadline=None, derandomize=True)


def problem(n: int, m: int, seed: int, even: bool = False):
    """Masses and costs drawn at random: (n,), (m,), (n, m), float64."""
    draw = np.random.default_rng(seed)
    source = np.ones(n) if even else draw.random(n) + 0.05
    target = np.ones(m) if even else draw.random(m) + 0.05
    parts = source / source.sum(), target / target.sum(), draw.random((n, m))
    return tuple(torch.from_numpy(part) for part in parts)


sizes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000), st.booleans())


# All of them


@few
@given(sizes, st.sampled_from(list(SOLVERS)), st.floats(0.05, 5), st.floats(0.01, 1))
def test_plans_are_finite_none_negative_and_miss_only_what_they_may(size, solver, price, share):
    source, target, costs = problem(*size)
    plan = transport(source, target, costs, solver, 0.3, price, share)
    assert plan.mass.shape == costs.shape and plan.mass.dtype == torch.float64
    assert plan.mass.isfinite().all() and (plan.mass >= 0).all() and plan.converged
    assert plan.cost == pytest.approx(float((plan.mass * costs).sum()), abs=1e-12)
    off_source = float((plan.mass.sum(1) - source).abs().max())
    off_target = float((plan.mass.sum(0) - target).abs().max())
    assert plan.source_error == pytest.approx(off_source, abs=1e-15)
    assert plan.target_error == pytest.approx(off_target, abs=1e-15)
    misses = SOLVERS[solver].misses
    assert misses == "both" or off_source < 1e-7
    assert misses != "none" or off_target < 1e-7
    assert (plan.iterations is None) == (solver not in ("sinkhorn", "unbalanced"))


@few
@given(sizes, st.sampled_from(list(SOLVERS)))
def test_another_order_of_the_channels_is_another_order_of_the_plan(size, solver):
    """Costs are drawn at random: the best plan is the only one."""
    source, target, costs = problem(*size)
    draw = torch.Generator().manual_seed(size[2])
    rows = torch.randperm(size[0], generator=draw)
    columns = torch.randperm(size[1], generator=draw)
    plan = transport(source, target, costs, solver, 0.3)
    again = transport(source[rows], target[columns], costs[rows][:, columns], solver, 0.3)
    torch.testing.assert_close(again.mass, plan.mass[rows][:, columns], rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", range(3))
def test_no_solver_beats_the_cheapest_move_of_what_it_moves(solver, seed):
    source, target, costs = problem(6, 4, seed)
    plan = transport(source, target, costs, solver)
    assert plan.cost >= float((plan.mass.sum(1) * costs.min(1).values).sum()) - 1e-12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [2, 3, 5])
def test_square_problems_of_even_masses_have_the_best_permutation(count, seed):
    """By trying them all; a relaxed solver comes near as its relaxation is taken back."""
    source, target, costs = problem(count, count, seed, even=True)
    best = min(
        sum(float(costs[i, j]) for i, j in enumerate(order)) / count
        for order in itertools.permutations(range(count))
    )
    assert transport(source, target, costs).cost == pytest.approx(best, abs=1e-12)
    assert transport(source, target, costs, "partial", share=1).cost == pytest.approx(best)
    near = transport(source, target, costs, "sinkhorn", 0.005)
    assert near.cost == pytest.approx(best, rel=0.02)
    near = transport(source, target, costs, "unbalanced", 0.005, relaxation=1e4)
    assert near.cost == pytest.approx(best, rel=0.02)


# Partial


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.9, 0.999999])
@pytest.mark.parametrize("seed", range(3))
def test_partial_plans_cost_the_least_of_all_that_move_their_share(share, seed):
    """Against the linear programme, written out."""
    source, target, costs = problem(5, 4, seed)
    plan = transport(source, target, costs, "partial", share=share)
    rows = np.kron(np.eye(5), np.ones(4))
    columns = np.kron(np.ones(5), np.eye(4))
    best = linprog(
        costs.numpy().ravel(), A_ub=np.r_[rows, columns], b_ub=np.r_[source, target],
        A_eq=np.ones((1, 20)), b_eq=[share],
    )  # fmt: skip
    assert best.success and plan.cost == pytest.approx(best.fun, abs=1e-8)
    assert plan.moved == pytest.approx(share, abs=1e-9)
    assert (plan.mass.sum(1) <= source + 1e-12).all() and (plan.mass.sum(0) <= target + 1e-12).all()


@few
@given(sizes)
def test_partial_plans_that_move_all_are_the_exact_ones(size):
    source, target, costs = problem(*size)
    whole = transport(source, target, costs, "partial", share=1.0)
    assert torch.equal(whole.mass, transport(source, target, costs).mass)


def test_a_partial_plan_leaves_the_dearest_channel_behind():
    costs = torch.tensor([[0.0, 1.0], [1.0, 0.0], [9.0, 9.0]], dtype=torch.float64)
    third, half = (torch.full((k,), 1 / k, dtype=torch.float64) for k in (3, 2))
    plan = transport(third, half, costs, "partial", share=2 / 3)
    assert plan.dropped.tolist() == [False, False, True] and plan.cost == pytest.approx(0)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_partial_plan_of_costs_that_are_all_alike(share):
    for price in (0.0, 1.0):
        costs = torch.full((6, 2), price, dtype=torch.float64)
        source, target, _ = problem(6, 2, 0)
        plan = transport(source, target, costs, "partial", share=share)
        assert plan.moved == pytest.approx(share) and plan.converged
        assert plan.cost == pytest.approx(share * price)


# Semi-relaxed


@few
@given(sizes)
def test_semi_relaxed_plans_cost_what_the_nearest_do_and_never_more_than_exact_ones(size):
    source, target, costs = problem(*size)
    plan = transport(source, target, costs, "semi-relaxed")
    assert plan.cost == pytest.approx(float((source * costs.min(1).values).sum()))
    assert plan.cost <= transport(source, target, costs).cost + 1e-12
    # With the target it comes to by itself the exact plan costs the same.
    again = transport(source, plan.mass.sum(0), costs)
    assert again.cost == pytest.approx(plan.cost, abs=1e-12)


def test_what_is_equally_near_gets_the_same():
    costs = torch.tensor([[0.0, 0.0, 1.0], [2.0, 1.0, 1.0]], dtype=torch.float64)
    source, target, _ = problem(2, 3, 0, even=True)
    plan = transport(source, target, costs, "semi-relaxed")
    assert plan.mass.tolist() == [[0.25, 0.25, 0.0], [0.0, 0.25, 0.25]]


# Unbalanced


def divergence(mass: np.ndarray, asked: np.ndarray) -> float:
    positive = mass > 0
    told = (mass[positive] * np.log(mass[positive] / asked[positive])).sum()
    return float(told - mass.sum() + asked.sum())


def objective(mass: np.ndarray, source, target, costs, strength: float, price: float) -> float:
    """What an unbalanced plan is to make small."""
    off = divergence(mass.sum(1), source) + divergence(mass.sum(0), target)
    return float((mass * costs).sum() + strength * divergence(mass, np.outer(source, target))) + (
        price * off
    )


@pytest.mark.parametrize("relaxation", [0.05, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_unbalanced_plans_are_those_of_pot(relaxation, seed):
    source, target, costs = problem(7, 4, seed)
    plan = transport(source, target, costs, "unbalanced", 0.3, relaxation)
    mean = float(costs.mean())
    told = ot.unbalanced.sinkhorn_unbalanced(
        source.numpy(), target.numpy(), costs.numpy(), 0.3 * mean, relaxation * mean,
        reg_type="kl", numItermax=100_000, stopThr=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(plan.mass.numpy(), told, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0.01, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_no_plan_near_an_unbalanced_one_is_better(epsilon, seed):
    source, target, costs = (part.numpy() for part in problem(6, 4, seed))
    plan = transport(*(torch.from_numpy(p) for p in (source, target, costs)), "unbalanced", epsilon)
    settings_ = source, target, costs, epsilon * costs.mean(), costs.mean()
    best = objective(plan.mass.numpy(), *settings_)
    draw = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(20):
            other = plan.mass.numpy() * np.exp(size * draw.normal(size=costs.shape))
            assert objective(other, *settings_) > best


@few
@given(sizes)
def test_strong_relaxation_penalties_give_the_balanced_plan(size):
    source, target, costs = problem(*size)
    strict = transport(source, target, costs, "sinkhorn", 0.2)
    plan = transport(source, target, costs, "unbalanced", 0.2, relaxation=1e7)
    assert plan.converged
    torch.testing.assert_close(plan.mass, strict.mass, rtol=0, atol=1e-6)


def test_unbalanced_plans_tend_to_the_exact_cost_as_both_strengths_go():
    source, target, costs = problem(8, 3, 0)
    exact = transport(source, target, costs).cost
    off = [
        abs(transport(source, target, costs, "unbalanced", e, r).cost - exact)
        for e, r in ((1, 1), (0.1, 10), (0.03, 100), (0.01, 1e4))
    ]
    assert off == sorted(off, reverse=True) and off[-1] < 0.01 * exact


def test_an_unbalanced_plan_moves_less_the_cheaper_it_is_to_miss_a_mass():
    source, target, costs = problem(8, 3, 0)
    moved = [transport(source, target, costs, "unbalanced", 0.1, r).moved for r in (100, 5, 1, 0.1)]
    assert moved == sorted(moved, reverse=True) and moved[0] > 0.99 and moved[-1] < 0.7


def test_an_unbalanced_plan_drops_a_channel_that_is_far_from_all():
    costs = torch.tensor([[0.0, 1.0], [1.0, 0.0], [500.0, 500.0]], dtype=torch.float64)
    third, half = (torch.full((k,), 1 / k, dtype=torch.float64) for k in (3, 2))
    plan = transport(third, half, costs, "unbalanced", 0.01, 0.02)
    assert plan.dropped.tolist() == [False, False, True]
    assert plan.converged and (plan.mass[:2].sum(1) > 0.1).all()


@pytest.mark.parametrize(("epsilon", "relaxation"), [(1e-6, 1.0), (0.05, 1e-9), (1e-4, 1e9)])
def test_extreme_strengths_give_a_finite_plan_that_says_whether_it_converged(epsilon, relaxation):
    """At an infinite one POT returns NaN; here strengths are finite and worked on as logarithms."""
    plan = transport(*problem(20, 7, 0), "unbalanced", epsilon, relaxation)
    assert plan.mass.isfinite().all() and (plan.iterations < 2000 or not plan.converged)


# What is no transport problem


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source": -1.0}, "source masses hold negative numbers"),
        ({"target": -1.0}, "target masses hold negative numbers"),
        ({"costs": -1.0}, "costs hold negative numbers"),
        ({"source": 3.0}, "source masses sum to"),
        ({"target": 3.0}, "target masses sum to"),
    ],
)
def test_masses_and_costs_that_cannot_be_are_refused(change, text, solver):
    parts = dict(zip(("source", "target", "costs"), problem(5, 3, 0), strict=True))
    for name, number in change.items():
        parts[name].view(-1)[0] = number
    with pytest.raises(core.TransportError, match=text) as caught:
        transport(**parts, solver=solver)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(("n", "m"), [(4, 3), (5, 2), (3, 5), (0, 3), (5, 0)])
def test_masses_of_another_length_are_refused(n, m):
    source, target = torch.full((n,), 0.2).double(), torch.full((m,), 0.2).double()
    with pytest.raises(core.TransportError, match=rf"\(5, 3\) do not fit {n} source and {m}"):
        transport(source, target, torch.ones(5, 3).double())


@pytest.mark.parametrize("name", ["epsilon", "relaxation", "share"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_settings_out_of_their_range_are_refused(name, value):
    with pytest.raises(core.TransportError, match=f"{name} must be a positive number"):
        transport(*problem(5, 3, 0), "exact", **{name: value})
    with pytest.raises(core.TransportError, match="share must be a positive number of at most 1"):
        transport(*problem(5, 3, 0), "partial", share=1.1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_mass_of_zero_is_a_row_or_a_column_of_zeros(solver):
    source, target, costs = problem(5, 3, 0)
    source[1] = target[2] = 0
    plan = transport(source / source.sum(), target / target.sum(), costs, solver)
    assert plan.mass.isfinite().all() and plan.converged
    assert plan.dropped[1] and (plan.mass[1] == 0).all()
    assert SOLVERS[solver].misses == "target" or (plan.mass[:, 2] == 0).all()


# What becomes of channels that are not moved


@pytest.mark.parametrize("rule", [name for name, row in RULES.items() if row.project])
def test_a_channel_that_is_not_moved_is_deleted(rule):
    costs = torch.tensor([[0.0, 1.0], [1.0, 0.0], [9.0, 9.0]], dtype=torch.float64)
    third, half = (torch.full((k,), 1 / k, dtype=torch.float64) for k in (3, 2))
    plan = transport(third, half, costs, "partial", share=2 / 3)
    matrices = projection(rule, plan, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert (matrices.unmerge[2] == 0).all() and (matrices.merge[:, 2] == 0).all()
    assert matrices.merge.isfinite().all() and matrices.unmerge.isfinite().all()
    torch.testing.assert_close(matrices.unmerge[:2], torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if not rule.images])
@pytest.mark.parametrize(
    "fields",
    [
        {"solver": "partial", "share": 0.02},
        {"solver": "unbalanced", "relaxation": 0.01, "epsilon": 0.01},
        {"solver": "semi-relaxed", "target": "importance", "keep": "k-means"},
    ],
    ids=lambda fields: fields["solver"],
)
def test_networks_stay_finite_where_plans_leave_channels_out(rule, fields):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 5),
    ).eval()  # fmt: skip
    graph = core.trace(net, (3, 8, 8))
    out = core.compress(net, graph, core.Recipe(groups="all", rule=rule, **fields))
    if fields["solver"] == "partial" and RULES[rule].project:
        assert any(plan.dropped.any() for plan in out.plans.values())
    with torch.no_grad():
        after = out.module(torch.randn(2, 3, 8, 8))
    assert after.isfinite().all() and after.shape == (2, 5)
