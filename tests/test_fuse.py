"""Fusion returns a network from its permuted copies, keeps functions, and refuses by name.

Networks have the zoo's shapes with random weights and random batch-norm statistics, hard ones
included: scales that are negative and exactly 0, variances of 1e-5 and 0.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json

import pytest
import safetensors.torch
import torch
from torch import nn

import core
from core import alignment, cli, kin, siblings, surgery, zoo
from core.errors import DataError, RecipeError, Unsupported, WeightsError
from core.fuse import COSTS, fuse
from core.groups import CONSUMES
from core.mixtures import average, ensemble
from core.projection import Projection
from core.reestimate import re_estimated

pytestmark = pytest.mark.usefixtures("one_thread")

#: What float32 rounds, through at most twenty layers.
CLOSE = dict(rtol=1e-5, atol=1e-5)


class Concatenating(nn.Module):
    """Depthwise and grouped convolutions, a concatenation, a batch norm on its own, a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.slope = nn.PReLU(8)
        self.fc1 = nn.Linear(8 * 9, 7)
        self.bn1 = nn.BatchNorm1d(7)
        self.fc2 = nn.Linear(7, 4)

    def forward(self, x):
        x = torch.cat([torch.relu(self.left(x)), self.right(x)], 1)
        x = self.slope(self.grouped(self.depthwise(self.norm(x))))
        return self.fc2(torch.relu(self.bn1(self.fc1(x.flatten(1)))))


def unsettle(module: nn.Module, seed: int, hard: bool = False) -> nn.Module:
    """Random batch-norm tensors and slopes, in evaluation mode."""
    draw = functools.partial(torch.rand, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.PReLU):
                part.weight.copy_(draw(part.num_parameters))
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                n = part.num_features
                part.weight.copy_(0.5 + draw(n))
                part.bias.copy_(draw(n) - 0.5)
                part.running_mean.copy_(draw(n) - 0.5)
                part.running_var.copy_(0.1 + draw(n))
                part.num_batches_tracked.fill_(seed)
                if hard:
                    part.running_var[0], part.running_var[1] = 1e-5, 0.0
                    part.weight[2], part.weight[3] = -1.5, 0.0
    return module.eval()


def small(name: str, seed: int = 0, hard: bool = False, times: int = 1) -> nn.Module:
    """A network of the zoo's shape with narrow layers and random weights."""
    torch.manual_seed(100 + seed)
    if name == "concatenating":
        return unsettle(Concatenating(), seed, hard)
    widths = {
        "vgg": (8, "M", 12, "M", 12, 10), "residual": (8, 12),
    }[name]  # fmt: skip
    widths = tuple(w if w == "M" else w * times for w in widths)
    row = dataclasses.replace(
        zoo.network("vgg11_bn-digits" if name == "vgg" else "resnet20-cifar10"), widths=widths
    )
    return unsettle(row.build(), seed, hard)


def image_shape(name: str) -> tuple[int, int, int]:
    return {"vgg": (3, 4, 4), "residual": (3, 6, 6), "concatenating": (3, 3, 3)}.get(
        name, (3, 32, 32)
    )


def drawn(name: str, count: int = 6) -> torch.Tensor:
    return torch.randn(count, *image_shape(name), generator=torch.Generator().manual_seed(1))


def permuted(module: nn.Module, shape, seed: int) -> nn.Module:
    """A copy with the channels of every group in another order, within its blocks."""
    graph = core.trace(module, shape)
    matrices = {}
    for group in graph.groups:
        generator = torch.Generator().manual_seed(1000 * seed + group.index)
        order = torch.arange(group.width)
        for block in group.blocks or (tuple(range(group.width)),):
            places = torch.tensor(block)
            order[places] = places[torch.randperm(len(places), generator=generator)]
        identity = torch.eye(group.width, dtype=torch.float64)
        # `kept` says how many of a part's channels stay: all.
        matrices[group.index] = Projection(
            identity[order], identity[:, order], torch.arange(group.width)
        )
    return surgery.rebuild(module, surgery.contract_all(module.state_dict(), graph, matrices))


def logits(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return module(images)


def assert_same(found: nn.Module, wanted: nn.Module, **tolerance) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(
            ours[name], tensor, msg=lambda m, n=name: f"{n}: {m}", **tolerance
        )


SMALL = ["vgg", "residual", "concatenating"]
SHIPPED = ["vgg11_bn-digits", "resnet18-digits"]


def made(name: str, **more) -> nn.Module:
    return small(name, **more) if name in SMALL else core.load(name)


# Permuted copies


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", SMALL + SHIPPED)
def test_permuted_copies_of_a_network_are_fused_into_it(name, cost):
    module, shape, images = made(name), image_shape(name), drawn(name)
    copies = [permuted(module, shape, seed) for seed in (1, 2)]
    wanted = logits(module, images)
    torch.testing.assert_close(logits(copies[0], images), wanted, **CLOSE)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(copies[0].state_dict().values(), module.state_dict().values(), strict=True)
    )
    # The plain average of the same networks is another network: copies do differ.
    assert (logits(average([module, *copies]), images) - wanted).abs().max() > 0.01
    out = fuse(
        [module, *copies], shape, shares=(1, 2, 3), cost=cost, images=images, statistics=False
    )
    torch.testing.assert_close(logits(out.module, images), wanted, **CLOSE)
    assert_same(out.module, module, **CLOSE)
    for index, (own, *others) in out.differences.items():
        assert own.before == own.after == 0.0
        assert all(d.after < 1e-4 for d in others), index
        assert any(d.before > 0.1 for d in others) or len(out.plans[index][0].mass) == 1


@pytest.mark.parametrize("name", SMALL)
def test_batch_norms_that_are_hard_to_take_out_again_come_back(name):
    """Scales of 0 and below, variances of 0: one network, its copy, and no NaN anywhere."""
    module, shape, images = small(name, hard=True), image_shape(name), drawn(name)
    out = fuse([module, permuted(module, shape, 3)], shape)
    wanted = logits(module, images)
    torch.testing.assert_close(
        logits(out.module, images), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max())
    )
    for name_, tensor in module.state_dict().items():
        torch.testing.assert_close(out.module.state_dict()[name_], tensor, **CLOSE)


def test_a_weights_scale_before_batch_norm_does_not_matter():
    """w, b, μ times c and σ² times c² compute the same: so do the fused networks."""
    module, shape, images = small("vgg"), image_shape("vgg"), drawn("vgg")
    other = small("vgg", seed=1)
    louder = copy.deepcopy(other)
    with torch.no_grad():
        for layer, norm in zip(louder.features, louder.features[1:], strict=False):
            if isinstance(layer, nn.Conv2d):
                layer.weight *= 50
                layer.bias *= 50
                norm.running_mean *= 50
                norm.running_var.copy_(50**2 * (norm.running_var + norm.eps) - norm.eps)
    torch.testing.assert_close(logits(louder, images), logits(other, images), **CLOSE)
    found = [logits(fuse([module, one], shape).module, images) for one in (other, louder)]
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["vgg", "residual"])
def test_sinkhorn_returns_permuted_copies_within_a_tolerance(name):
    """With ε = 0.01 of the mean cost logits are within 1 %; with 0.5 they are not."""
    module, shape, images = small(name), image_shape(name), drawn(name)
    copies = [module, permuted(module, shape, 1)]
    wanted = logits(module, images)
    apart = [
        float((logits(out.module, images) - wanted).abs().max() / wanted.abs().max())
        for out in (
            fuse(copies, shape, solver="sinkhorn", epsilon=epsilon, rounds=1)
            for epsilon in (0.01, 0.5)
        )
    ]
    assert apart[0] < 0.01 < apart[1]


# Symmetries


@pytest.mark.parametrize("cost", COSTS)
def test_the_order_of_the_networks_does_not_matter(cost):
    shape, images = image_shape("residual"), drawn("residual")
    first, second, third = (small("residual", seed=seed) for seed in range(3))
    more = dict(cost=cost, images=images, statistics=False)
    one = fuse([first, second, third], shape, shares=(1, 2, 5), **more)
    other = fuse([third, first, second], shape, shares=(5, 1, 2), into=1, **more)
    assert_same(other.module, one.module, rtol=1e-6, atol=1e-6)
    assert one.shares == (1 / 8, 2 / 8, 5 / 8) and (one.into, other.into) == (0, 1)
    for index, plans in one.plans.items():
        for plan, at in zip(plans, (1, 2, 0), strict=True):
            assert torch.equal(plan.mass, other.plans[index][at].mass)
    swapped = fuse([first, second, third], shape, shares=(1, 5, 2), **more)
    assert (logits(swapped.module, images) - logits(one.module, images)).abs().max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_swapping_the_target_of_copies_keeps_the_function(name):
    module, shape, images = small(name), image_shape(name), drawn(name)
    other = permuted(module, shape, 7)
    found = [fuse([module, other], shape, into=into).module for into in (0, 1)]
    torch.testing.assert_close(logits(found[0], images), logits(found[1], images), **CLOSE)
    assert_same(found[1], other, **CLOSE)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", SMALL)
def test_a_share_of_one_is_one_network(name, cost):
    """(1, 0) is the target bit for bit; (0, 1) is the other in the target's order: its function."""
    shape, images = image_shape(name), drawn(name)
    first, second = small(name), small(name, seed=1)
    more = dict(cost=cost, images=images, statistics=False)
    whole = fuse([first, second], shape, shares=(1, 0), **more).module
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), first.state_dict().values(), strict=True)
    )
    aligned = fuse([first, second], shape, shares=(0, 1), **more)
    torch.testing.assert_close(
        logits(aligned.module, images), logits(second, images), rtol=1e-4, atol=1e-5
    )
    for plans in aligned.plans.values():  # a permutation of equal masses
        mass = plans[1].mass * len(plans[1].mass)
        assert ((mass - mass.round()).abs() < 1e-9).all()
        assert torch.equal(mass.round().sum(0), torch.ones(len(mass)).double())


def test_a_mixture_lies_between_the_networks():
    """In one linear layer after another without anything between, it is checked by hand."""
    torch.manual_seed(0)
    first, second = (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)) for _ in range(2))
    with torch.no_grad():
        first[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
        second[0].weight.copy_(torch.tensor([[0.0, 2, 0], [2, 0, 0]]))  # the other way round
        first[0].bias.copy_(torch.tensor([0.1, 0.2]))
        second[0].bias.copy_(torch.tensor([0.4, 0.5]))
    out = fuse([first, second], (3,), shares=(0.75, 0.25)).module
    hidden = torch.tensor([[1.25, 0, 0], [0, 1.25, 0]])
    torch.testing.assert_close(out[0].weight.data, hidden)
    torch.testing.assert_close(out[0].bias.data, torch.tensor([0.1, 0.2]) * 0.75
                               + torch.tensor([0.5, 0.4]) * 0.25)  # fmt: skip
    torch.testing.assert_close(
        out[2].weight.data, 0.75 * first[2].weight.data + 0.25 * second[2].weight.data.flip(1)
    )


# Widths


def duplicated(module: nn.Module, shape, times: int) -> nn.Module:
    """Every channel of every group `times` times, side by side, the consumers divided."""
    graph = core.trace(module, shape)
    matrices = {
        g.index: Projection(
            torch.eye(g.width).double().repeat_interleave(times, 0),
            torch.eye(g.width).double().repeat_interleave(times, 1) / times,
        )
        for g in graph.groups
    }
    assert any(c.role == CONSUMES for g in graph.groups for c in g.couplings)
    return surgery.rebuild(module, surgery.contract_all(module.state_dict(), graph, matrices))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", ["vgg", "residual"])
def test_a_wide_network_of_duplicates_is_fused_into_the_narrow_one(name, cost):
    module, shape, images = small(name), image_shape(name), drawn(name)
    wide = permuted(duplicated(module, shape, 2), shape, 4)
    torch.testing.assert_close(logits(wide, images), logits(module, images), **CLOSE)
    more = dict(cost=cost, images=images, statistics=False)
    out = fuse([wide, module], shape, into=1, **more)
    assert_same(out.module, module, **CLOSE)
    for plans in out.plans.values():
        assert plans[0].mass.shape == (2 * len(plans[1].mass), len(plans[1].mass))
    # The other way round channels are split, which no output feels.
    back = fuse([wide, module], shape, into=0, **more).module
    torch.testing.assert_close(logits(back, images), logits(module, images), **CLOSE)
    # Into a third network, which gives its channels and no weights.
    third = fuse([wide], shape, into=small(name, seed=5), **more)
    assert third.into is None and len(third.plans[0]) == 1
    assert third.module.state_dict()[next(iter(module.state_dict()))].shape[0] == 8


def test_any_wide_network_fits_into_a_narrow_one():
    shape, images = image_shape("vgg"), drawn("vgg")
    narrow, wide = small("vgg"), small("vgg", seed=1, times=2)
    out = fuse([wide, narrow], shape, into=1, images=images)
    assert [t.shape for t in out.module.state_dict().values()] == [
        t.shape for t in narrow.state_dict().values()
    ]
    assert logits(out.module, images).isfinite().all()
    assert all(pair[0].before is None for pair in out.differences.values())


# Statistics


def test_statistics_are_those_of_the_images():
    shape, images = image_shape("residual"), drawn("residual", 64)
    networks = [small("residual", seed=seed) for seed in range(2)]
    plain = fuse(networks, shape, images=images, statistics=False).module
    out = fuse(networks, shape, images=images).module
    seen = []
    out.bn1.register_forward_pre_hook(lambda part, given: seen.append(given[0]))
    logits(out, images)
    torch.testing.assert_close(out.bn1.running_mean, seen[0].mean((0, 2, 3)), **CLOSE)
    torch.testing.assert_close(out.bn1.running_var, seen[0].var((0, 2, 3)), **CLOSE)
    for part in out.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.momentum == 0.1 and part.num_batches_tracked == 0 and not part.training
    assert torch.equal(out.bn1.weight, plain.bn1.weight)
    assert not torch.equal(out.bn1.running_var, plain.bn1.running_var)


def test_a_channel_has_the_mean_size_of_its_parents():
    """γ and β are mixtures of |γ| and β, whatever averaging did to the rows."""
    shape = image_shape("vgg")
    networks = [small("vgg", seed=seed) for seed in range(2)]
    with torch.no_grad():
        networks[0].features[1].weight[1] *= -1
    out = fuse(networks, shape)
    (index,) = [
        i for i, plans in out.plans.items()
        if i == len(out.plans) - 1
    ]  # fmt: skip
    order = out.plans[index][1].mass.argmax(0)
    own, other = (one.features[1] for one in networks)
    wanted = (own.weight.abs() + other.weight.abs()[order]) / 2
    found = out.module.features[1]
    torch.testing.assert_close(found.weight.abs(), wanted)
    assert found.weight[1] < 0 and (found.weight[[0, 2, 3]] > 0).all()
    torch.testing.assert_close(found.bias, (own.bias + other.bias[order]) / 2)


# The networks that were given


@pytest.mark.parametrize("what", ["fuse", "average", "ensemble", "re_estimated"])
def test_no_network_is_changed(what):
    shape, images = image_shape("vgg"), drawn("vgg")
    networks = [small("vgg", seed=seed).train() for seed in range(2)]
    before = copy.deepcopy([one.state_dict() for one in networks])
    if what == "fuse":
        out = fuse(networks, shape, cost="activations", images=images).module
    elif what == "re_estimated":
        out = re_estimated(networks[0], images)
    else:
        out = {"average": average, "ensemble": ensemble}[what](networks)
    assert not out.training and all(one.training for one in networks)
    with torch.no_grad():
        for tensor in out.state_dict().values():
            tensor.zero_()
    for one, state in zip(networks, before, strict=True):
        assert all(torch.equal(t, state[name]) for name, t in one.state_dict().items())


def test_average_and_ensemble_are_what_they_say():
    images = drawn("vgg")
    networks = [small("vgg", seed=seed) for seed in range(2)]
    mean = average(networks, (3, 1)).state_dict()
    first, second = (one.state_dict() for one in networks)
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name])
    voted = logits(ensemble(networks, (3, 1)), images).softmax(1)
    own = [logits(one, images).softmax(1) for one in networks]
    torch.testing.assert_close(voted, 0.75 * own[0] + 0.25 * own[1])
    alone = logits(ensemble(networks, (0, 1)), images).softmax(1)
    torch.testing.assert_close(alone, own[1])


def test_rounds_bring_networks_nearer():
    """Further rounds compare columns as well; the distance of all weights does not grow."""
    shape = image_shape("residual")
    first, second = (small("residual", seed=seed) for seed in range(2))
    target, source = kin.kin([("a", first), ("b", second)], shape)

    def apart(rounds: int) -> float:
        found = alignment.align(source, target, exact, rounds)
        state = alignment.aligned(source, target, found.matrices, source.state)
        return sum(float((state[k] - t).square().sum()) for k, t in target.state.items())

    def exact(mu, nu, costs):
        return core.transport.transport(mu, nu, costs)

    assert apart(10) < apart(1)


def test_progress_is_told_and_can_stop():
    shape, told = image_shape("vgg"), []
    networks = [small("vgg", seed=seed) for seed in range(2)]
    fuse(networks, shape, report=lambda share, line: told.append((share, line)))
    shares = [share for share, _ in told]
    assert 0 <= min(shares) and max(shares) <= 1 and any("group" in line for _, line in told)

    def stop(share, line):
        raise core.Cancelled("enough")

    with pytest.raises(core.Cancelled):
        fuse(networks, shape, report=stop)


# Refusals


def refusals():
    vgg, residual = small("vgg"), small("residual")
    shape = image_shape("vgg")
    fewer = copy.deepcopy(vgg)
    fewer.classifier = nn.Linear(10, 7)
    deeper = zoo.VGG((8, "M", 12, "M", 12, 10, 10), 10)
    kernel, stride, bent, spoiled = (copy.deepcopy(vgg) for _ in range(4))
    kernel.features[4] = nn.Conv2d(8, 12, 5, padding=2)
    stride.features[11] = nn.Conv2d(12, 10, 3, stride=2, padding=1)
    bent.features[2] = nn.Tanh()
    with torch.no_grad():
        spoiled.features[0].weight[0, 0, 0, 0] = torch.nan

    class Branching(nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2

    yield "classes", (vgg, fewer), {}, RecipeError, r"Network 2 .* tells 7 classes apart.* 10"
    yield "another", (vgg, residual), {}, RecipeError, "where the other has"
    yield "deeper", (vgg, deeper), {}, RecipeError, r"the other has flatten.*it has features\.14"
    yield "kernel", (vgg, kernel), {}, RecipeError, r"layer features\.4"
    yield "stride", (vgg, stride), {}, RecipeError, r"layer features\.11"
    yield "activation", (vgg, bent), {}, RecipeError, r"layer features\.2 is Tanh"
    yield "nan", (vgg, spoiled), {}, WeightsError, r"features\.0\.weight of Network 2"
    yield "untraceable", (vgg, Branching()), {}, Unsupported, "Network 2 can't be fused.*branch"
    yield "one", (vgg,), {}, RecipeError, "Two networks or more"
    yield "none", (), {}, RecipeError, "no network 0"
    yield "into", (vgg, vgg), dict(into=2), RecipeError, "no network 2"
    yield "shares", (vgg, vgg), dict(shares=(1, 2, 3)), RecipeError, "2 networks and 3 shares"
    yield "negative", (vgg, vgg), dict(shares=(2, -1)), RecipeError, "0 or more"
    yield "zero", (vgg, vgg), dict(shares=(0, 0)), RecipeError, "not all 0"
    yield "cost", (vgg, vgg), dict(cost="colour"), RecipeError, "no cost 'colour'"
    yield "solver", (vgg, vgg), dict(solver="partial"), RecipeError, "no solver 'partial'"
    yield "rounds", (vgg, vgg), dict(rounds=0), RecipeError, "At least one round"
    yield "unseen", (vgg, vgg), dict(cost="activations"), DataError, "give some, unlabelled"
    yield "images", (vgg, vgg), dict(images=torch.zeros(4, 3, 5, 4)), DataError, r"\(4, 3, 5, 4\)"
    yield "few", (vgg, vgg), dict(images=torch.zeros(1, *shape)), DataError, "Two images or more"


@pytest.mark.parametrize("case", list(refusals()), ids=lambda case: case[0])
def test_what_cannot_be_fused_is_refused_by_name(case):
    _, networks, more, error, words = case
    with pytest.raises(error, match=words):
        fuse(networks, image_shape("vgg"), **more)


@pytest.mark.parametrize("call", [average, ensemble])
def test_what_fusion_is_compared_with_refuses_too(call):
    with pytest.raises(RecipeError, match="no network"):
        call([])
    with pytest.raises(RecipeError, match="shares"):
        call([small("vgg")] * 2, (1, 2, 3))


def test_networks_of_other_widths_have_no_average():
    with pytest.raises(RecipeError, match=r"features\.0\.weight"):
        average([small("vgg"), small("vgg", times=2)])


# The command


@pytest.fixture
def run(capsys, isolated_home):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["fuse", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err + out
        return code, out, err

    return run


@pytest.fixture
def files(tmp_path):
    """Weights of a digits network and of a permuted copy."""
    module = core.load("vgg11_bn-digits")
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path, one in zip(paths, (module, permuted(module, (3, 32, 32), 1)), strict=True):
        safetensors.torch.save_file(one.state_dict(), path)
    return module, paths


def test_files_of_weights_are_fused(run, files, tmp_path):
    module, paths = files
    out = tmp_path / "new" / "fused.safetensors"
    code, text, err = run(
        *paths, "--network", "vgg11_bn-digits", "--cost", "weights", "--limit", 50,
        "--samples", 50, "--json", "--out", out,
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(text)
    assert told["networks"] == ["a.safetensors", "b.safetensors"] and told["shares"] == [0.5, 0.5]
    found = {(one["network"], one["statistics"]): one["mean"] for one in told["accuracies"]}
    own = core.accuracy(module, core.images("digits"), 50).mean
    assert found["fused by weights", "as stored"] == own == found["a.safetensors", "as stored"]
    assert found["plain average", "as stored"] < 0.5 < found["ensemble", "as stored"]
    state = safetensors.torch.load_file(out)
    for name, tensor in module.state_dict().items():
        if "running" not in name:  # measured anew
            torch.testing.assert_close(state[name], tensor, **CLOSE)
    assert not torch.equal(state["features.1.running_var"], module.features[1].running_var)
    code, _, err = run(*paths, "--network", "vgg11_bn-digits", "--out", out)
    assert code == 1 and "is there already" in err


def narrow() -> nn.Module:
    return small("vgg")


def test_files_without_images_are_fused_by_weights(run, tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    networks = [small("vgg", seed=seed) for seed in range(2)]
    for path, one in zip(paths, networks, strict=True):
        safetensors.torch.save_file(one.state_dict(), path)
    out = tmp_path / "fused.safetensors"
    named = ("--network", f"{__name__}:narrow", "--input-shape", "3,4,4", "--shares", "3,1")
    code, text, err = run(*paths, *named, "--out", out, "--into", 1)
    assert code == 0, err
    assert "compared by" in text and "%" not in text
    wanted = fuse(networks, (3, 4, 4), shares=(3, 1), into=1).module.state_dict()
    for name, tensor in safetensors.torch.load_file(out).items():
        assert torch.equal(tensor, wanted[name])
    code, _, err = run(*paths, *named, "--cost", "activations")
    assert code == 1 and "give some, unlabelled" in err


def test_a_network_of_the_zoo_is_trained_and_fused(run, monkeypatch):
    """Training itself is core.siblings' and takes a minute: here it is a random network."""
    asked = []

    def sibling(name, images, seed, epochs=None, folder=None, report=None):
        asked.append((name, images.split, seed, epochs))
        torch.manual_seed(seed)
        return unsettle(zoo.network(name).build(), seed)

    monkeypatch.setattr(siblings, "sibling", sibling)
    code, text, err = run(
        "vgg11_bn-digits", "--seeds", "3,5", "--train-epochs", 2, "--limit", 20, "--samples", 20,
        "--rounds", 1,
    )  # fmt: skip
    assert code == 0, err
    assert asked == [("vgg11_bn-digits", "train", seed, 2) for seed in (3, 5)]
    for word in ("seed 3", "ensemble", "plain average", "fused by weights", "fused by activations"):
        assert word in text
    code, _, err = run("vgg11_bn-digits", "--seeds", "1")
    assert code == 1 and "Two different seeds" in err


def test_the_command_refuses_in_sentences(run, files, tmp_path):
    _, paths = files
    code, _, err = run(*paths)
    assert code == 1 and "--network" in err
    code, _, err = run(*paths, "--network", "vgg11_bn-digits", "--seeds", "0,1")
    assert code == 1 and "--seeds" in err
    code, _, err = run(*paths, "--network", "resnet18-digits")
    assert code == 1 and "do not fit" in err
    code, _, err = run(*paths, tmp_path / "none.safetensors", "--network", "vgg11_bn-digits")
    assert code == 1 and "none.safetensors" in err
    code, _, err = run("vgg11_bn-cifar10", "--seeds", "0,1")
    assert code == 1
