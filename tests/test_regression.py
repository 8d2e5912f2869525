"""Rules with regression: nothing removed changes nothing, duplicates return, nothing is NaN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import core
from core import budget, cover, regression, statistics, synthetic
from core.errors import RecipeError
from core.projection import RULES

DATA_FREE = [name for name, rule in RULES.items() if rule.regressed and not rule.images]
SHAPE = (3, 12, 12)


class Small(nn.Module):
    """A stem, a residual block with an inner group, a flatten that keeps 3×3 positions."""

    def __init__(self, norm: bool = True, bias: bool = True, width: int = 12) -> None:
        super().__init__()
        make = nn.BatchNorm2d if norm else lambda n: nn.Identity()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1, bias=bias), make(width)
        self.conv2, self.bn2 = nn.Conv2d(width, 16, 3, padding=1, bias=bias), make(16)
        self.conv3, self.bn3 = nn.Conv2d(16, width, 3, padding=1, bias=bias), make(width)
        self.pool = nn.MaxPool2d(4)
        self.fc = nn.Linear(width * 9, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(x))))) + x)
        return self.fc(torch.flatten(self.pool(x), 1))


def trained(net: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with the statistics of some pictures, and random scales."""
    torch.manual_seed(seed)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
            part.momentum = None
    net.train()(pictures(64, seed=5))
    return net.eval()


def pictures(count: int, seed: int = 7) -> torch.Tensor:
    return synthetic.synthetic_images("leaves", count, SHAPE, seed)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return trained(Small())


def shrunk(net: nn.Module, images=None, **recipe) -> core.Compressed:
    graph = core.trace(net, SHAPE)
    return core.compress(
        net, graph, core.Recipe(**{"groups": "all", "samples": 64} | recipe), images=images
    )


def error(net: nn.Module, small: nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        dense = net(images)
        return float((small(images) - dense).square().mean() / dense.var())


@pytest.mark.parametrize("rule", DATA_FREE)
def test_nothing_removed_changes_nothing(net, rule):
    out = shrunk(net, rule=rule, sparsity=0.0)
    assert out.refits == {}
    torch.testing.assert_close(out.module(pictures(8)), net(pictures(8)), rtol=1e-4, atol=1e-4)


def test_regression_on_all_channels_is_the_identity():
    torch.manual_seed(1)
    h = torch.randn(4000, 6) * torch.arange(1, 7)
    matrix, shift = regression.ridge(h, h, torch.arange(4000) % 4 == 3)
    torch.testing.assert_close(matrix, torch.eye(6).double(), rtol=0, atol=5e-3)
    assert shift.abs().max() < 5e-3


def test_regression_finds_a_linear_map_and_its_shift():
    torch.manual_seed(2)
    h, true = torch.randn(4000, 5), torch.randn(7, 5)
    told = h @ true.T + 3
    matrix, shift = regression.ridge(h, told, torch.arange(4000) % 4 == 3)
    torch.testing.assert_close(matrix.float(), true, rtol=0, atol=2e-3)
    torch.testing.assert_close(shift.float(), torch.full((7,), 3.0), rtol=0, atol=2e-3)


def doubled(net: Small) -> Small:
    """The inner group's 16 channels are 8 twice over: each pair consumed with half the weight."""
    with torch.no_grad():
        for tensor in (net.conv2.weight, net.conv2.bias, net.bn2.weight, net.bn2.bias,
                       net.bn2.running_mean, net.bn2.running_var):  # fmt: skip
            tensor[8:] = tensor[:8]
        net.conv3.weight[:, :8] /= 2
        net.conv3.weight[:, 8:] = net.conv3.weight[:, :8]
    return net


def test_best_keeps_one_channel_of_each_pair_and_the_outputs_return(net):
    doubled(net)
    graph = core.trace(net, SHAPE)
    inner = next(g.index for g in graph.groups if g.producers == ("conv2",))
    out = core.compress(net, graph, core.Recipe(groups=(inner,), sparsity=0.5, rule="best"))
    assert sorted(int(k) % 8 for k in out.kept[inner]) == list(range(8))
    assert error(net, out.module, pictures(16)) < 1e-5
    # The chosen pairs matter: importance takes both of one pair and none of another.
    other = core.compress(net, graph, core.Recipe(groups=(inner,), sparsity=0.5, rule="select"))
    assert error(net, other.module, pictures(16)) > 1e-2


@pytest.mark.parametrize("rule", DATA_FREE)
def test_regression_beats_plain_pruning_on_pictures_it_has_not_seen(net, rule):
    plain = shrunk(net, rule="select", sparsity=0.5)
    fitted = shrunk(net, rule=rule, sparsity=0.5)
    assert error(net, fitted.module, pictures(64)) < error(net, plain.module, pictures(64))


def test_more_images_are_not_worse(net):
    held = pictures(64, seed=11)
    errors = [
        error(net, shrunk(net, images=pictures(128), rule="calibrated", samples=n).module, held)
        for n in (2, 128)
    ]
    assert errors[1] < errors[0]


def test_unmerge_and_refits_are_what_surgery_used(net):
    graph = core.trace(net, SHAPE)
    inner = next(g.index for g in graph.groups if g.producers == ("conv2",))
    prepared = core.Prepared(net, graph)
    out = core.compress(
        net, graph, core.Recipe(groups=(inner,), sparsity=0.5, rule="best"), prepared
    )
    refit = out.refits["conv3"]
    assert out.steps[inner].projection.unmerge is refit.unmerge
    columns = torch.einsum("onhw,nm->omhw", prepared.folded["conv3.weight"].double(), refit.unmerge)
    wanted = (columns * refit.ratio.view(-1, 1, 1, 1)).float()
    torch.testing.assert_close(out.module.conv3.weight, wanted)


@pytest.mark.parametrize("rule", DATA_FREE)
def test_the_same_seed_gives_the_same_network(net, rule):
    one, two = (shrunk(net, rule=rule, seed=3).module.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = shrunk(net, rule=rule, seed=4).module.state_dict()
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_the_network_is_left_alone(net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    shrunk(net, rule="best")
    assert not net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


EDGES = {
    "dead channels": lambda net: (net.bn2.weight[:8].zero_(), net.bn2.bias[:8].fill_(-1)),
    "variance of zero": lambda net: net.bn1.running_var.zero_(),
    "rows of zeros": lambda net: net.conv1.weight.zero_(),
    "nothing at all": lambda net: [t.zero_() for t in net.state_dict().values()],
}


@pytest.mark.parametrize("sparsity", [0.3, 0.99])
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("rule", DATA_FREE)
def test_every_number_is_finite(net, rule, edge, sparsity):
    with torch.no_grad():
        EDGES[edge](net)
    out = shrunk(net, rule=rule, sparsity=sparsity)
    assert all(value.isfinite().all() for value in out.module.state_dict().values())
    assert out.module(pictures(4)).isfinite().all()


@pytest.mark.parametrize("norm,bias", [(False, True), (False, False)])
def test_networks_without_batch_norm_and_without_bias(norm, bias):
    torch.manual_seed(4)
    net = Small(norm, bias).eval()
    best, plain = (shrunk(net, rule=rule).module for rule in ("best", "select"))
    assert error(net, best, pictures(32)) < error(net, plain, pictures(32))


def test_calibrated_asks_for_images(net):
    with pytest.raises(RecipeError, match="unlabelled images"):
        shrunk(net, rule="calibrated")
    with pytest.raises(RecipeError, match="shape"):
        shrunk(net, rule="calibrated", images=torch.zeros(8, 1, 12, 12))


def test_progress_rises_and_can_end_the_work(net):
    told = []
    graph = core.trace(net, SHAPE)
    recipe = core.Recipe(groups="all", rule="best")
    core.compress(net, graph, recipe, progress=lambda share, what: told.append(share))
    assert told == sorted(told) and 0 <= told[0] and told[-1] <= 1

    def stop(share, what):
        raise core.Cancelled("enough")

    with pytest.raises(core.Cancelled):
        core.compress(net, graph, recipe, progress=stop)


# Choice of channels


def test_cover_explains_what_the_covariance_says():
    """Against the textbook formula C − C·S C_SS⁻¹ C_S·, and against all pairs."""
    torch.manual_seed(5)
    inputs, weight = torch.randn(500, 7) @ torch.randn(7, 7), torch.randn(4, 7, 3, 3)
    seen = cover.consumer(inputs, weight)

    def by_formula(kept):
        c = seen.covariance
        part = c[:, kept] @ torch.linalg.solve(c[kept][:, kept], c[kept])
        return float((seen.gram * part).sum())

    order, added = cover.cover([seen], 7)
    for m in (1, 3, 7):
        assert float(added[:m].sum()) == pytest.approx(by_formula(order[:m].tolist()), rel=1e-6)
        assert cover.explained([seen], order[:m]) == pytest.approx(float(added[:m].sum()), rel=1e-6)
    assert float(added.sum()) == pytest.approx(1.0)
    assert by_formula([int(order[0])]) == pytest.approx(max(by_formula([j]) for j in range(7)))


def test_batch_norm_statistics_are_those_of_the_training_data(net):
    """Whatever the pictures, channels have mean β and standard deviation |γ|."""
    graph = core.trace(net, SHAPE)
    seen = statistics.observe(net, graph, torch.randn(64, *SHAPE) * 3 + 1)
    for conv, norm in (("conv1", net.bn1), ("conv2", net.bn2), ("conv3", net.bn3)):
        torch.testing.assert_close(seen.means[conv].float(), norm.bias, rtol=0, atol=1e-3)
        torch.testing.assert_close(
            seen.deviations[conv].float(), norm.weight.abs(), rtol=1e-2, atol=0
        )


@pytest.mark.parametrize("kind", synthetic.SYNTHETIC)
def test_synthetic_images_are_standard_and_seeded(kind):
    one, two, other = (synthetic.synthetic_images(kind, 16, SHAPE, seed) for seed in (0, 0, 1))
    assert one.shape == (16, *SHAPE) and torch.equal(one, two) and not torch.equal(one, other)
    assert abs(float(one.mean())) < 0.1 and abs(float(one.std()) - 1) < 0.1


# Order, several sparsities, budgets


def test_one_sparsity_a_group(net):
    graph = core.trace(net, SHAPE)
    out = core.compress(net, graph, core.Recipe(groups=(0, 1), sparsity=(0.25, 0.5), rule="select"))
    widths = [graph.groups[index].width for index in (0, 1)]
    assert len(out.kept[0]) == int(widths[0] * 0.75) and len(out.kept[1]) == int(widths[1] * 0.5)
    with pytest.raises(RecipeError, match="2 sparsities for 1 groups"):
        core.Recipe(groups=(0,), sparsity=(0.1, 0.2))
    with pytest.raises(RecipeError, match="3 sparsities"):
        core.Recipe(groups="all", sparsity=(0.1, 0.2, 0.3)).sparsities(graph)
    recipe = core.Recipe(groups=(0, 1), sparsity=(0.25, 0.5))
    assert core.Recipe.from_dict(recipe.as_dict()) == recipe


@pytest.mark.parametrize("rule", ["select", "released", "repaired", "merged"])
def test_sequential_plans_are_made_from_the_smaller_weights(net, rule):
    """The group nearest the input is planned alike; others see what became of it."""
    one, two = (shrunk(net, rule=rule, order=order) for order in ("original", "sequential"))
    assert list(one.kept) == list(two.kept)
    last = max(one.steps)
    assert torch.equal(one.steps[last].scores, two.steps[last].scores)
    assert not torch.equal(one.steps[0].scores, two.steps[0].scores)
    assert two.module(pictures(2)).isfinite().all()


@pytest.mark.parametrize("count", budget.COUNTS)
@pytest.mark.parametrize("spread", budget.SPREADS)
def test_a_budget_is_kept_and_nearly_used(net, count, spread):
    graph = core.trace(net, SHAPE)
    prepared = core.Prepared(net, graph)
    recipe = budget.budgeted(prepared, core.Recipe(groups="all", rule="best"), 0.4, count, spread)
    out = core.compress(net, graph, recipe, prepared)
    dense, small = core.size(net, SHAPE), core.size(out.module, SHAPE)
    share = small.parameters / dense.parameters if count == "weights" else small.macs / dense.macs
    assert 0.25 < share <= 0.4


def test_a_budget_that_cannot_be_met_is_refused(net):
    prepared = core.Prepared(net, core.trace(net, SHAPE))
    with pytest.raises(RecipeError, match="one channel a group"):
        budget.budgeted(prepared, core.Recipe(groups="all"), 0.001)
    with pytest.raises(RecipeError, match="keep must be"):
        budget.budgeted(prepared, core.Recipe(groups="all"), 1.5)
