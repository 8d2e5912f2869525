"""Rounds are told as one: what their joined matrices do to the original is what they did."""

from __future__ import annotations

import pytest
import torch

import core
from core import rounds, surgery
from core.measures import kept_count
from core.transport import transport

NAMES = ("vgg11_bn-digits", "resnet18-digits")


@pytest.fixture(scope="module", params=NAMES)
def bench(request):
    net = core.load(request.param).double()
    return net, core.trace(net, (3, 32, 32))


def pixels(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("full", "final", "count", "widths"),
    [
        (512, 64, 3, [256, 128, 64]),
        (10, 5, 2, [7, 5]),
        (5, 5, 3, [5, 5, 5]),
        (3, 1, 4, [2, 2, 1, 1]),
    ],
)
def test_widths_shrink_by_the_same_factor(full, final, count, widths):
    assert rounds.widths(full, final, count) == widths


@pytest.mark.parametrize("rule", ["released", "preserving", "average"])
def test_joined_matrices_do_what_the_rounds_did(bench, rule):
    net, graph = bench
    choices = dict(groups=(0, 2, 4), sparsity=0.6, rule=rule, rounds=3)
    out = core.compress(net, graph, core.Recipe(**choices))
    matrices = {index: step.projection for index, step in out.steps.items()}
    state = surgery.fold(net.state_dict(), graph.layers)
    state = surgery.contract_all(state, graph, matrices)
    at_once = surgery.rebuild(net, state, surgery.fewer(graph, matrices))
    with torch.no_grad():
        torch.testing.assert_close(out.module(pixels()), at_once(pixels()), rtol=1e-6, atol=1e-6)


def test_channels_that_stay_are_the_originals_and_are_sliced(bench):
    net, graph = bench
    out = core.compress(net, graph, core.Recipe("all", 0.7, rule="select", rounds=3))
    for group in graph.groups:
        kept = out.kept[group.index]
        assert len(kept) == kept_count(group.width, 0.7)
        assert torch.equal(kept, kept.unique())
    by_hand = tuple(tuple(out.kept[group.index].tolist()) for group in graph.groups)
    again = core.compress(
        net, graph, core.Recipe("all", rule="select", keep="by-hand", kept=by_hand)
    )
    for name, tensor in again.module.state_dict().items():
        assert torch.equal(tensor, out.module.state_dict()[name])


def test_importance_is_looked_at_anew_in_every_round():
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    once, thrice = (
        core.compress(net, graph, core.Recipe("all", 0.6, rule="released", rounds=r)).kept
        for r in (1, 3)
    )
    assert any(not torch.equal(once[index], thrice[index]) for index in once)


@pytest.mark.parametrize("rule", ["repaired", "best", "merged"])
def test_rounds_of_every_kind_keep_their_promise_and_change_nothing(rule):
    net = core.load("resnet18-digits")
    graph = core.trace(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    told: list[float] = []
    recipe = core.Recipe("all", 0.5, rule=rule, rounds=2, samples=16)
    out = core.compress(net, graph, recipe, progress=lambda share, what: told.append(share))
    assert out.recipe == recipe and out.original is net
    assert told == sorted(told) and 0.5 in told
    for group in graph.groups:
        step = out.steps[group.index]
        m = kept_count(group.width, 0.5)
        assert step.projection.merge.shape == (m, group.width)
        assert step.projection.unmerge.shape == (group.width, m)
        assert step.scores.shape == step.measures.source.shape == (group.width,)
        if rule == "repaired":
            assert step.plan.mass.shape == step.plan.costs.shape == (group.width, m)
    with torch.no_grad():
        assert out.module(pixels().float()).isfinite().all()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_mass_follows_both_plans():
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(6, 6, generator=generator, dtype=torch.float64)
    even = [torch.full((k,), 1 / k, dtype=torch.float64) for k in (6, 4, 2)]
    first = transport(even[0], even[1], costs[:, :4])
    then = transport(even[1], even[2], costs[:4, :2])
    plan = rounds.glued(first, then, costs[:, :2])
    by_hand = torch.zeros(6, 2, dtype=torch.float64)
    for i in range(6):
        for k in range(4):
            for j in range(2):
                by_hand[i, j] += first.mass[i, k] * then.mass[k, j] / even[1][k]
    torch.testing.assert_close(plan.mass, by_hand)
    torch.testing.assert_close(plan.mass.sum(1), even[0])
    torch.testing.assert_close(plan.mass.sum(0), even[2])
    assert plan.source_error < 1e-12 and plan.target_error < 1e-12
    assert plan.cost == pytest.approx(float((by_hand * costs[:, :2]).sum()))


def test_a_target_that_is_missed_is_told():
    """With masses by importance the second round's sources are not the first one's targets."""
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    choices = dict(groups=(3,), rule="preserving", source="importance", target="importance")
    plan = core.compress(net, graph, core.Recipe(**choices, rounds=2)).plans[3]
    assert plan.source_error < 1e-9
    missed = (plan.mass.sum(0) - plan.target).abs().max()
    assert plan.target_error == pytest.approx(float(missed))
    assert plan.mass.sum() == pytest.approx(1)


def test_a_result_of_rounds_is_kept_and_opened(tmp_path):
    net = core.load("vgg11_bn-digits")
    out = core.compress(net, core.trace(net), core.Recipe("all", rule="repaired", rounds=2))
    again = core.open(out.save(tmp_path / "small", network="vgg11_bn-digits", plans=True))
    assert again.recipe.rounds == 2
    assert torch.equal(again.plans[3], out.plans[3].mass)
    for name, tensor in out.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name])


def test_what_rounds_cannot_do_is_a_sentence():
    with pytest.raises(core.RecipeError, match="rounds must be"):
        core.Recipe(rounds=0)
    with pytest.raises(core.RecipeError, match="by hand"):
        core.Recipe(rounds=2, keep="by-hand", kept=((0, 1),))
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 1, groups=2), torch.nn.Conv2d(8, 4, 1)
    ).eval()
    graph = core.trace(net, (3, 4, 4))
    with pytest.raises(core.RecipeError, match="2 blocks"):
        core.compress(net, graph, core.Recipe("all", rounds=2))
