"""Scores that see images, and the other importances, against computations written out by hand."""

from __future__ import annotations

import copy
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import core
from core import evidence, surgery
from core.evidence import drawn, nuclear_drops
from core.importance import IMPORTANCES, scores
from core.measures import most_important

NEEDS_IMAGES = [name for name, row in IMPORTANCES.items() if row.needs != "nothing"]


class Small(nn.Module):
    """A stream of 4 channels (two producers), an inner group of 5, and a flatten at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv3 = nn.Conv2d(5, 4, 1)
        self.bn3 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4, 3)

    def forward(self, x):
        x = F.silu(self.bn1(self.conv1(x)))  # smooth: slopes by differences meet no kink
        x = F.silu(self.bn3(self.conv3(F.silu(self.conv2(x)))) + x)
        return self.fc(F.avg_pool2d(x, 2).flatten(1))


@functools.cache
def specimen() -> tuple[nn.Module, core.DependencyGraph]:
    """The network in float64 with random batch norm, to be looked at only, and its graph."""
    torch.manual_seed(0)
    net = Small().eval()
    with torch.no_grad():
        for norm in (net.bn1, net.bn3):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, name).copy_(torch.rand(4) + 0.2)
        net.bn1.weight[0] *= -1
    graph = core.trace(net, (3, 4, 4))
    return net.double(), graph


def pictures(count: int = 40, name: str = "noise", classes: int = 3, **fields) -> core.ImageSet:
    """Random images of 4×4 pixels, none of them for testing."""
    draw = torch.Generator().manual_seed(1)
    told = dict(
        name=name, title=name, classes=tuple(map(str, range(classes))), mean=(0.4,) * 3,
        std=(0.3,) * 3, fingerprint=f"{name}{count}", split="train",
        images=torch.randint(0, 256, (count, 3, 4, 4), generator=draw, dtype=torch.uint8),
        labels=torch.randint(0, classes, (count,), generator=draw),
    )  # fmt: skip
    return core.ImageSet(**(told | fields))


def recipe(importance: str, **fields) -> core.Recipe:
    told = dict(importance=importance, data="noise", samples=40, groups="all")
    return core.Recipe(**(told | fields))


def folded_copy() -> tuple[nn.Module, dict]:
    """The network with batch norm folded in, apart from the original; and its state."""
    net, graph = specimen()
    state = surgery.fold(net.state_dict(), graph.layers)
    net = copy.deepcopy(net)
    net.load_state_dict(state)
    return net, state


# taylor


def slopes(state: dict, name: str, pictures_: core.ImageSet) -> torch.Tensor:
    """∂L/∂w by central differences, one weight after the other."""
    net, _ = folded_copy()
    net.load_state_dict(state)
    pixels = pictures_.normalised(pictures_.images).double()
    weight = dict(net.named_parameters())[name]
    found = torch.zeros_like(weight).flatten()
    flat = weight.data.view(-1)
    with torch.no_grad():
        for i in range(len(flat)):
            told, kept = [], float(flat[i])
            for step in (1e-6, -1e-6):
                flat[i] = kept + step
                told.append(float(F.cross_entropy(net(pixels), pictures_.labels)))
            flat[i] = kept
            found[i] = (told[0] - told[1]) / 2e-6
    return found.view(weight.shape)


def test_taylor_is_weights_times_slopes_found_by_differences():
    net, graph = specimen()
    prepared = core.Prepared(net, graph)
    _, state = folded_copy()
    part = {
        name: state[f"{name}.weight"] * slopes(state, f"{name}.weight", pictures())
        for name in ("conv1", "conv2", "conv3", "fc")
    }
    stream = [part["conv1"].sum((1, 2, 3)), part["conv3"].sum((1, 2, 3))]
    stream += [part["conv2"].sum((0, 2, 3)), part["fc"].reshape(3, 4, 4).sum((0, 2))]
    inner = [part["conv2"].sum((1, 2, 3)), part["conv3"].sum((0, 2, 3))]
    index = {group.width: group.index for group in graph.groups}
    for width, parts in ((4, stream), (5, inner)):
        told = torch.stack([one.abs() for one in parts]).mean(0)
        found = prepared.scores(index[width], recipe("taylor"), pictures())
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, told, rtol=1e-5, atol=1e-9)


def test_taylor_does_not_depend_on_how_images_are_batched(monkeypatch):
    net, graph = specimen()
    one = core.Prepared(net, graph).scores(0, recipe("taylor"), pictures())
    monkeypatch.setattr(evidence, "BATCH", 7)
    other = core.Prepared(net, graph).scores(0, recipe("taylor"), pictures())
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


# chip


def nuclear(matrix: np.ndarray) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False).sum())


def drops_by_hand(maps: np.ndarray) -> np.ndarray:
    """‖A‖∗ − ‖A without row i‖∗, by singular values."""
    told = []
    for i in range(len(maps)):
        without = maps.copy()
        without[i] = 0
        told.append(nuclear(maps) - nuclear(without))
    return np.array(told)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (4, 9), (9, 4), (6, 6), (30, 25)])
def test_the_drop_of_the_nuclear_norm_is_that_of_the_singular_values(shape):
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps[0] = maps[-1]
    found = nuclear_drops(maps)
    assert found.dtype == torch.float64 and (found >= 0).all()
    np.testing.assert_allclose(found.numpy(), drops_by_hand(maps.numpy()), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_a_dead_channel_drops_nothing(shape):
    maps = torch.rand(shape, dtype=torch.float64)
    maps[2] = 0
    assert float(nuclear_drops(maps)[2]) == 0
    assert (nuclear_drops(torch.zeros(shape, dtype=torch.float64)) == 0).all()


def test_chip_is_the_mean_drop_over_images_of_what_consumers_read():
    net, graph = specimen()
    prepared = core.Prepared(net, graph)
    images = pictures(9)
    with torch.no_grad():  # the forward pass written out, in the network as it was
        x = images.normalised(images.images).double()
        first = F.silu(net.bn1(net.conv1(x)))
        inside = F.silu(net.conv2(first))
        last = F.avg_pool2d(F.silu(net.bn3(net.conv3(inside)) + first), 2)

    def mean_drop(maps):
        return np.mean([drops_by_hand(one.flatten(1).numpy()) for one in maps], axis=0)

    stream = (mean_drop(first) + mean_drop(last)) / 2
    index = {group.width: group.index for group in graph.groups}
    for width, told in ((4, stream), (5, mean_drop(inside))):
        found = prepared.scores(index[width], recipe("chip"), images)
        np.testing.assert_allclose(found.numpy(), told, rtol=1e-6, atol=1e-7)


def test_chip_looks_at_a_map_once_however_many_read_it(monkeypatch):
    """And a layer that writes into what it read does not change what the others read."""

    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.left, self.right = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
            self.last = nn.Conv2d(4, 2, 1)
            self.fc = nn.Linear(2, 3)

        def forward(self, x):
            x = self.stem(x)
            x = self.left(x) + self.right(x) + self.last(torch.relu_(x))
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    net = Fork().eval()
    graph = core.trace(net, (3, 4, 4))
    seen = []
    monkeypatch.setattr(
        evidence, "nuclear_drops", lambda maps: seen.append(maps.clone()) or nuclear_drops(maps)
    )
    core.Prepared(net, graph).scores(0, recipe("chip", samples=1), pictures(1))
    of_stem = [maps for maps in seen if len(maps) == 4]
    assert len(of_stem) == 2 and (of_stem[0] < 0).any() and (of_stem[1] >= 0).all()


def test_chip_refuses_a_group_whose_maps_nobody_reads_whole():
    """As where all that consumes it are grouped convolutions."""
    net, graph = specimen()
    module = copy.deepcopy(net)
    module.conv2 = nn.Conv2d(4, 6, 3, padding=1, groups=2).double()
    module.conv3 = nn.Conv2d(6, 4, 1).double()
    group = next(g for g in graph.groups if g.width == 4)
    couplings = tuple(c for c in group.couplings if c.tensor != "fc.weight")
    only = replace(graph, groups=(replace(group, couplings=couplings),))
    with pytest.raises(core.Unsupported, match=f"feature maps of group {group.index}"):
        evidence.chip(module, only, pictures(2), 2, 0)


# Whose images, and how many


@pytest.mark.parametrize("importance", NEEDS_IMAGES)
def test_images_that_are_missing_are_asked_for(importance):
    net, graph = specimen()
    for data in ("", "noise"):
        with pytest.raises(core.RecipeError, match=f"'{importance}' needs .*images") as caught:
            core.compress(net, graph, recipe(importance, data=data))
        assert '"train")' in str(caught.value)


@pytest.mark.parametrize("importance", NEEDS_IMAGES)
@pytest.mark.parametrize(
    ("images", "text"),
    [
        (pictures(name="other"), "the images given are 'other'"),
        (pictures(split="test"), "test images of 'noise'"),
        (pictures(images=torch.zeros(40, 3, 8, 8, dtype=torch.uint8)), r"\(3, 8, 8\)"),
        (pictures(0), "no image in 'noise'"),
    ],
)
def test_images_that_do_not_fit_are_refused(importance, images, text):
    net, graph = specimen()
    with pytest.raises(core.RecipeError, match=text):
        core.compress(net, graph, recipe(importance), images=images)


def test_labels_of_other_classes_are_refused_where_labels_count():
    net, graph = specimen()
    ten = pictures(classes=10)
    with pytest.raises(core.RecipeError, match="have 10 classes"):
        core.compress(net, graph, recipe("taylor"), images=ten)
    assert core.compress(net, graph, recipe("chip"), images=ten).steps


def test_labels_matter_to_taylor_alone():
    net, graph = specimen()
    other = pictures(labels=(pictures().labels + 1) % 3, fingerprint="other")
    for importance in NEEDS_IMAGES:
        one, two = (
            core.Prepared(net, graph).scores(0, recipe(importance), images)
            for images in (pictures(), other)
        )
        assert torch.equal(one, two) == (IMPORTANCES[importance].needs == "images")


def test_images_are_drawn_with_the_seed_and_never_twice():
    images = pictures(30)
    one, labels = drawn(images, 12, 3)
    assert one.shape == (12, 3, 4, 4) and one.dtype == torch.uint8 and labels.shape == (12,)
    torch.manual_seed(99)
    assert torch.equal(drawn(images, 12, 3)[0], one)
    assert not torch.equal(drawn(images, 12, 4)[0], one)
    assert torch.equal(drawn(images, 5, 3)[0], one[:5])  # fewer are among the more
    every, labels = drawn(images, 1000, 3)
    assert len(every) == 30 and sorted(labels.tolist()) == sorted(images.labels.tolist())
    assert len({tuple(image.flatten().tolist()) for image in every}) == 30


@pytest.mark.parametrize("importance", NEEDS_IMAGES)
def test_scores_follow_seed_and_count(importance):
    net, graph = specimen()
    prepared = core.Prepared(net, graph)

    def ask(**fields):
        return prepared.scores(0, recipe(importance, **fields), pictures())

    one = ask(samples=8, seed=1)
    assert torch.equal(ask(samples=8, seed=1), one)
    assert not torch.equal(ask(samples=8, seed=2), one)
    assert not torch.equal(ask(samples=9, seed=1), one)


# One pass, remembered, on a copy


@pytest.mark.parametrize("importance", NEEDS_IMAGES)
def test_one_pass_serves_all_groups_and_threads_and_later_calls_without_images(
    importance, monkeypatch
):
    net, graph = specimen()
    prepared = core.Prepared(net, graph)
    calls, look, started = [], evidence.PASSES[importance], threading.Barrier(3)

    def counted(*arguments):
        calls.append(1)
        return look(*arguments)

    def work(_):
        started.wait()
        return core.compress(net, graph, recipe(importance), prepared, pictures()).kept

    monkeypatch.setitem(evidence.PASSES, importance, counted)
    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(work, range(3)))
    assert all(torch.equal(one[i], told[0][i]) for one in told for i in one)
    core.compress(net, graph, recipe(importance, sparsity=0.3), prepared)
    assert len(calls) == 1
    # Other images of the same name are looked at anew.
    prepared.scores(0, recipe(importance), pictures(20))
    assert len(calls) == 2


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_the_network_is_left_alone(importance):
    net, graph = specimen()
    net = copy.deepcopy(net).train()
    net.conv2.weight.requires_grad_(False)
    before = {key: t.clone() for key, t in net.state_dict().items()}
    images = pictures()
    pixels = images.images.clone()
    core.compress(net, graph, recipe(importance), images=images)
    assert all(torch.equal(t, before[key]) for key, t in net.state_dict().items())
    assert net.training and net.bn1.training and not net.conv2.weight.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert all(not part._forward_pre_hooks for part in net.modules())
    assert torch.equal(images.images, pixels)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_dead_channels_and_narrow_groups_have_finite_scores(importance):
    """All of a group dead; a group of one channel; a channel without any weight."""
    torch.manual_seed(0)
    for width, dead in ((1, ()), (1, (0,)), (4, (2,)), (4, (0, 1, 2, 3))):
        net = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * width, 3),
        ).eval()  # fmt: skip
        with torch.no_grad():
            for i in dead:
                net[0].weight[i] = net[0].bias[i] = net[1].weight[i] = net[1].bias[i] = 0
                net[4].weight[:, 4 * i : 4 * i + 4] = 0
        graph = core.trace(net, (3, 4, 4))
        told = recipe(importance, rule="preserving", source="softmax", target="importance")
        out = core.compress(net, graph, told, images=pictures())
        found = out.steps[0].scores
        assert found.shape == (width,) and found.isfinite().all() and (found >= 0).all()
        if importance not in ("random", "fpgm"):
            assert all(float(found[i]) == 0 for i in dead)
        assert all(t.isfinite().all() for t in out.module.state_dict().values())


@pytest.mark.parametrize("importance", [name for name in IMPORTANCES if name != "random"])
def test_scores_go_with_the_channels(importance):
    """In another order of a group's channels every channel keeps its score."""
    net, graph = specimen()
    group = next(g for g in graph.groups if g.width == 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.conv2.weight.copy_(net.conv2.weight[order])
        other.conv2.bias.copy_(net.conv2.bias[order])
        other.conv3.weight.copy_(net.conv3.weight[:, order])
    one, two = (
        core.Prepared(module, graph).scores(group.index, recipe(importance), pictures())
        for module in (net, other)
    )
    torch.testing.assert_close(two, one[order], rtol=1e-6, atol=1e-8)


def test_a_network_whose_outputs_overflow_is_refused():
    net, graph = specimen()
    net = copy.deepcopy(net).float()
    with torch.no_grad():
        net.conv1.weight.mul_(1e30)
        net.conv2.weight.mul_(1e30)
    for importance in NEEDS_IMAGES:
        with pytest.raises(core.WeightsError, match="not finite"):
            core.compress(net, graph, recipe(importance), images=pictures())


# Those that see weights alone


def test_lamp_is_each_share_of_what_is_at_least_as_large_and_keeps_the_order_of_l2():
    net, graph = specimen()
    _, state = folded_copy()
    for group in graph.groups:
        base = scores(state, group, "l2")
        told = [float(b / sum(o for o in base if o >= b)) for b in base]
        found = scores(state, group, "lamp")
        assert found.tolist() == pytest.approx(told, rel=1e-12)
        assert float(found.max()) == pytest.approx(1)
        assert found.argsort().tolist() == base.argsort().tolist()
        for count in range(1, group.width):
            assert torch.equal(most_important(found, count), most_important(base, count))


def test_bn_scale_is_the_mean_size_of_gamma_and_a_rows_length_where_there_is_none():
    net, graph = specimen()
    index = {group.width: group.index for group in graph.groups}
    prepared = core.Prepared(net, graph)
    stream = prepared.scores(index[4], recipe("bn-scale"))
    told = (net.bn1.weight.detach().abs() + net.bn3.weight.detach().abs()) / 2
    torch.testing.assert_close(stream, told)
    inner = prepared.scores(index[5], recipe("bn-scale"))
    torch.testing.assert_close(inner, net.conv2.weight.detach().flatten(1).norm(dim=1))
    with pytest.raises(ValueError, match="before folding"):
        scores(prepared.folded, graph.groups[0], "bn-scale")


def test_fpgm_is_the_sum_of_distances_to_all_other_channels():
    _, graph = specimen()
    _, state = folded_copy()
    group = next(g for g in graph.groups if g.width == 5)
    told = torch.zeros(5, dtype=torch.float64)
    for rows in (state["conv2.weight"].flatten(1), state["conv3.weight"][:, :, 0, 0].T):
        for i in range(5):
            told[i] += sum((rows[i] - rows[j]).square().sum().sqrt() for j in range(5)) / 2
    torch.testing.assert_close(scores(state, group, "fpgm"), told)


def test_what_needs_images_is_not_scored_from_weights():
    _, graph = specimen()
    for importance in NEEDS_IMAGES:
        with pytest.raises(core.RecipeError, match="needs images"):
            scores({}, graph.groups[0], importance)


# With a network that ships


def test_training_images_choose_and_test_images_never_do():
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    train, test = core.images("digits", "train"), core.images("digits")
    assert (train.split, test.split) == ("train", "test")
    for importance in NEEDS_IMAGES:
        told = recipe(importance, data="digits", samples=8, rule="select")
        with pytest.raises(core.RecipeError, match="tested on"):
            core.compress(net, graph, told, images=test)
        out = core.compress(net, graph, told, images=train)
        assert all(len(step.scores.unique()) > 2 for step in out.steps.values())
