"""Centres are means of what is alike, their channels differ and stand near.

Above all: of channels that come twice one of each pair stays, and fusing restores the outputs.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import nn

import core
from core.clusters import gaussian_mixture, k_means
from core.compress import plan_group
from core.cost import COSTS, normalised, pairwise, to_centres
from core.measures import KEEPS, MASSES, measures
from core.projection import RULES

CLUSTERINGS = {name: row.cluster for name, row in KEEPS.items() if row.cluster}


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return normalised(torch.randn(n, d, generator=draw, dtype=torch.float64))


def clouds(count: int, each: int, d: int, seed: int = 0):
    """Features (count·each, d) close around `count` far points, shuffled, and whose they are."""
    draw = torch.Generator().manual_seed(seed)
    whose = torch.arange(count).repeat(each)[torch.randperm(count * each, generator=draw)]
    noise = torch.randn(len(whose), d, generator=draw, dtype=torch.float64)
    return normalised(features(count, d, seed)[whose] + 0.01 * noise), whose


@pytest.mark.parametrize("cluster", CLUSTERINGS.values(), ids=CLUSTERINGS)
@pytest.mark.parametrize("d", [3, 200], ids=["fewer features than channels", "more"])
def test_centres_of_clouds_are_their_means_and_stand_for_each(cluster, d):
    rows, whose = clouds(4, 6, d)
    centres, kept = cluster(rows, 4, 0)
    assert sorted(whose[kept].tolist()) == [0, 1, 2, 3]
    assert (kept[1:] > kept[:-1]).all() and kept.dtype == torch.int64
    for centre, channel in zip(centres, kept, strict=True):
        own = rows[whose == whose[channel]]
        torch.testing.assert_close(centre, own.mean(0), rtol=0, atol=1e-9)
        distances = (rows - centre).norm(dim=1)
        assert int(distances.argmin()) == int(channel)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 14), d=st.integers(1, 30), data=st.data(), kinds=st.integers(1, 14),
    name=st.sampled_from(list(CLUSTERINGS)), seed=st.integers(0, 100),
)  # fmt: skip
def test_any_features_have_as_many_centres_as_asked_for(n, d, data, kinds, name, seed):
    """Few channels, all alike, twins, zeros, one centre, as many as channels."""
    count = data.draw(st.integers(1, n))
    draw = np.random.default_rng(seed)
    rows = normalised(features(kinds, d, seed) * (torch.arange(kinds) > 0)[:, None])
    rows = rows[torch.from_numpy(draw.integers(0, kinds, n))]
    centres, kept = CLUSTERINGS[name](rows, count, seed)
    assert centres.shape == (count, d) and centres.dtype == torch.float64
    assert centres.isfinite().all() and (centres.norm(dim=1) <= 1 + 1e-9).all()
    assert kept.shape == (count,) and len(set(kept.tolist())) == count
    assert (kept[1:] > kept[:-1]).all() and 0 <= int(kept.min()) and int(kept.max()) < n
    again = CLUSTERINGS[name](rows, count, seed)
    assert torch.equal(again[0], centres) and torch.equal(again[1], kept)
    if count == n:
        assert torch.equal(centres, rows) and kept.tolist() == list(range(n))
    if count == 1 < n:
        torch.testing.assert_close(centres[0], rows.mean(0), rtol=0, atol=1e-7)
    different = len(np.unique(rows.numpy().round(9), axis=0))
    if count >= different:  # every kind of channel stays, and is its own centre
        assert len(np.unique(rows[kept].numpy().round(9), axis=0)) == different
        torch.testing.assert_close(centres, rows[kept], rtol=0, atol=1e-9)


def test_k_means_is_no_worse_than_the_most_important_channels():
    """Its sum of squared distances, against that to as many channels."""
    rows = features(60, 20)
    for count in (5, 20, 40):
        centres, _ = k_means(rows, count, 0)
        found = to_centres(rows, centres, "l2").min(1).values.square().sum()
        channels = pairwise(rows, "l2")[:, :count].min(1).values.square().sum()
        assert found < channels


def test_another_seed_may_find_other_clusters():
    rows = features(60, 20)
    found = {tuple(k_means(rows, 9, seed)[1].tolist()) for seed in range(5)}
    assert len(found) > 1


def test_a_mixture_lets_channels_belong_to_several_clusters():
    """Between two wide clouds nobody is in one alone, so that centres are no means of members."""
    draw = np.random.default_rng(0)
    rows = np.r_[draw.normal(-0.6, 1, 200), draw.normal(0.6, 1, 200)][:, None]
    centres, _ = gaussian_mixture(torch.from_numpy(rows), 2, 0)
    nearest = cdist(rows, centres.numpy()).argmin(1)
    hard = np.array([rows[nearest == k].mean() for k in range(2)])
    assert np.abs(hard - centres.numpy()[:, 0]).max() > 0.05


@pytest.mark.parametrize("cost", COSTS)
def test_costs_are_distances_to_the_centres_themselves(cost):
    torch.manual_seed(0)
    net, graph = doubled(False)
    prepared = core.Prepared(net, graph)
    recipe = core.Recipe(sparsity=0.6, rule="preserving", keep="k-means", cost=cost)
    step = plan_group(prepared, 0, recipe)
    rows = prepared.features(0, True).numpy()
    centres, kept = k_means(torch.from_numpy(rows), len(step.measures.kept), 0)
    assert torch.equal(step.measures.kept, kept) and torch.equal(step.measures.centres, centres)
    metric = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}[cost]
    told = cdist(rows, centres.numpy(), metric)
    np.testing.assert_allclose(step.plan.costs.numpy(), told, rtol=1e-9, atol=1e-12)
    assert not np.allclose(step.plan.costs.numpy(), prepared.costs(0, cost, True)[:, kept])


def doubled(twice: bool = True, d: int = 6) -> tuple[nn.Module, core.DependencyGraph]:
    """A network with a group of 6 channels (or 12, every one twice, consumers halved), float64."""
    torch.manual_seed(0)
    first, norm, last = nn.Conv2d(3, d, 3), nn.BatchNorm2d(d), nn.Linear(d * 4, 5)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, name).copy_(torch.rand(d) + 0.2)
    if twice:
        whose = torch.arange(d).repeat(2)[torch.randperm(2 * d)]
        for part, names in ((first, ("weight", "bias")), (norm, dict(norm.named_buffers()))):
            for name in names:
                if name != "num_batches_tracked":
                    value = getattr(part, name).data[whose].clone()
                    kind = nn.Parameter(value) if name in ("weight", "bias") else value
                    setattr(part, name, kind)
        norm.weight, norm.bias = (nn.Parameter(p.data[whose]) for p in (norm.weight, norm.bias))
        columns = (whose[:, None] * 4 + torch.arange(4)).flatten()
        last.weight = nn.Parameter(last.weight.data[:, columns] / 2)
        last.in_features, norm.num_features, first.out_channels = 8 * d, 2 * d, 2 * d
    net = nn.Sequential(first, norm, nn.ReLU(), nn.Flatten(), last).eval()
    return net.double(), core.trace(nn.Sequential(*net).float(), (3, 4, 4))


@pytest.mark.parametrize("solver", ["exact", "semi-relaxed", "partial", "unbalanced"])
@pytest.mark.parametrize("rule", ["preserving", "repaired"])
@pytest.mark.parametrize("keep", CLUSTERINGS)
def test_one_of_each_pair_stays_and_fusing_restores_the_outputs(keep, rule, solver):
    net, graph = doubled()
    net.double()
    images = torch.randn(4, 3, 4, 4, dtype=torch.float64)
    recipe = core.Recipe(
        sparsity=0.5, rule=rule, keep=keep, solver=solver, share=1.0, epsilon=0.01
    )  # fmt: skip
    prepared = core.Prepared(net, graph)
    out = core.compress(net, graph, recipe, prepared)
    rows = prepared.features(0, True)
    assert len(out.kept[0]) == 6
    assert (pairwise(rows)[out.kept[0]][:, out.kept[0]] > 1e-6).sum() == 30  # no two are twins
    with torch.no_grad():
        before, after = net(images), out.module(images)
    torch.testing.assert_close(after, before, rtol=1e-8, atol=1e-8)
    # Which the most important channels do not: they keep both of one pair and none of another.
    if rule == "preserving" and solver == "exact":
        plain = core.compress(net, graph, recipe.replace(keep="most-important"), prepared).module
        with torch.no_grad():
            assert not torch.allclose(plain(images), before, rtol=1e-3)


def test_plain_pruning_keeps_the_channels_that_stand_for_the_clusters():
    net, graph = doubled()
    out = core.compress(net, graph, core.Recipe(rule="select", keep="k-means"))
    kept = out.kept[0]
    assert out.plans == {} and len(kept) == 6
    # Twice what half of each pair gives: pruning does not know that a twin is gone.
    assert torch.equal(out.module[0].weight, net[0].weight[kept])


# By hand


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if not rule.images])
def test_channels_kept_by_hand_stay_whatever_the_sparsity(rule):
    net, graph = doubled(False)
    recipe = core.Recipe(keep="by-hand", kept=((4, 0, 3),), sparsity=0.9, rule=rule)
    out = core.compress(net, graph, recipe)
    assert out.kept[0].tolist() == [0, 3, 4] and out.kept[0].dtype == torch.int64
    assert core.trace(out.module.float(), (3, 4, 4)).groups[0].width == 3
    # Listing the most important ones is choosing them.
    first = core.compress(net, graph, core.Recipe(sparsity=0.5, rule=rule))
    again = core.compress(
        net, graph, core.Recipe(keep="by-hand", kept=(tuple(first.kept[0].tolist()),), rule=rule)
    )
    for key, tensor in first.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[key], tensor)


def test_channels_that_are_not_there_cannot_be_kept_by_hand():
    net, graph = doubled(False)
    for kept in ((), ((6,),), ((0,), (1,))):
        with pytest.raises(core.RecipeError, match="kept|channel 6"):
            core.compress(net, graph, core.Recipe(keep="by-hand", kept=kept))
    for kept in ((), (6,)):
        with pytest.raises(core.RecipeError, match="some of 0 to 5"):
            measures(torch.ones(6), 0.5, keep="by-hand", kept=kept)


# Softmax masses


def test_softmax_masses_do_not_depend_on_the_unit_or_the_zero_of_the_scores():
    told = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = measures(told, 0.5, "softmax", "softmax")
    for scale, shift in ((1e6, 0), (1e-6, 0), (1, 100), (3, -7)):
        other = measures(told * scale + shift, 0.5, "softmax", "softmax")
        torch.testing.assert_close(other.source, one.source, rtol=1e-6, atol=0)
        torch.testing.assert_close(other.target, one.target, rtol=1e-6, atol=0)


def test_softmax_masses_are_exponentials_of_standard_scores():
    told = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)
    found = measures(told, 0.0, "softmax", temperature=0.5).source
    powers = np.exp((told.numpy() - 2.0) / told.numpy().std() / 0.5)
    np.testing.assert_allclose(found.numpy(), powers / powers.sum(), rtol=1e-12)


def test_a_high_temperature_is_uniform_and_a_low_one_still_gives_everybody_a_mass():
    told = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = measures(told, 0.5, "softmax", temperature=1e9).source
    torch.testing.assert_close(
        flat, torch.full((20,), 0.05, dtype=torch.float64), rtol=1e-6, atol=0
    )
    steep = measures(told, 0.5, "softmax", "softmax", temperature=1e-9)
    assert int(steep.source.argmax()) == int(told.argmax()) and (steep.source > 0).all()
    assert float(steep.source.max()) > 0.99 and (steep.target > 0).all()


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("scores", [[0.0], [2.0], [0.0, 0.0], [3.0, 3.0, 3.0], [0.0, 1e-300]])
def test_masses_of_scores_that_tell_nothing_are_finite(mass, scores):
    found = measures(torch.tensor(scores, dtype=torch.float64), 0.5, mass, mass)
    for part in (found.source, found.target):
        assert part.isfinite().all() and (part > 0).all() and float(part.sum()) == pytest.approx(1)


# The cosine


def test_the_cosine_of_a_row_of_zeros_is_defined():
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [-2.0, 0.0], [0.0, 0.0]]).double()
    told = [[0, 1, 1, 1, 0], [1, 0, 1, 2, 1], [1, 1, 0, 1, 1], [1, 2, 1, 0, 1], [0, 1, 1, 1, 0]]
    torch.testing.assert_close(pairwise(rows, "cosine"), torch.tensor(told).double())
    torch.testing.assert_close(to_centres(rows, 7 * rows, "cosine"), torch.tensor(told).double())
