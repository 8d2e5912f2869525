"""Variants counted together are counted as each by itself; what they share is never touched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import core
from core.prefix import Together, accuracies

SOME = ("select", "released", "repaired", "best")


@pytest.fixture(scope="module", params=["vgg11_bn-digits", "resnet18-digits"])
def bench(request):
    net = core.load(request.param)
    return net, core.trace(net, (3, 32, 32)), core.images("digits")


def smaller(net, graph, group, **choices) -> nn.Module:
    return core.compress(net, graph, core.Recipe(groups=(group,), **choices)).module


def test_each_variant_is_counted_as_by_itself(bench):
    net, graph, images = bench
    last = len(graph.groups) - 1
    variants = [
        *(smaller(net, graph, index, rule=rule) for index in (0, 3, last) for rule in SOME),
        net,
        core.compress(net, graph, core.Recipe(groups="all", sparsity=0.7)).module,
    ]
    told = accuracies(net, variants, images, 150, batch=64)
    assert told == [core.accuracy(variant, images, 150, 64) for variant in variants]
    assert len(set(told)) > 3


def test_logits_are_the_same_but_for_rounding_and_nobody_is_changed(bench):
    net, graph, images = bench
    variants = [smaller(net, graph, index, rule="released") for index in range(len(graph.groups))]
    variants += [smaller(net, graph, 1, sparsity=s) for s in (0.2, 0.8)] + [net]
    before = [copy.deepcopy(one.state_dict()) for one in (net, *variants)]
    pixels = images.normalised(images.images[:20])
    told = Together(net, variants)(pixels)
    with torch.inference_mode():
        for logits, variant in zip(told, variants, strict=True):
            torch.testing.assert_close(logits, variant(pixels))
    for held, one in zip(before, (net, *variants), strict=True):
        assert all(torch.equal(held[key], tensor) for key, tensor in one.state_dict().items())


def test_a_variant_goes_on_from_its_first_changed_layer():
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    runs: list[str] = []
    for name, part in net.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda *_, name=name: runs.append(name))
    convolutions = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]
    variants = [smaller(net, graph, 2, rule=rule) for rule in SOME]
    together = Together(net, variants)
    assert together.starts == [graph.groups[2].producers[0].replace(".", "_")] * len(SOME)
    together(torch.zeros(2, 3, 32, 32))
    assert runs == convolutions[: convolutions.index(graph.groups[2].producers[0])]


class Overwriting(nn.Module):
    """Activations write into what a shortcut still needs."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.inner, self.outer = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        x = self.norm(self.first(x))
        y = self.inner(x)
        x = self.relu(x)  # the same tensor from here on
        x += self.outer(self.relu(y))
        return self.head((x * self.scale).mean((2, 3)))


def test_writing_in_place_and_bare_parameters():
    torch.manual_seed(0)
    net = Overwriting().eval()
    graph = core.trace(net, (3, 8, 8))
    scaled = copy.deepcopy(net)
    scaled.scale.data *= 2
    inner = next(g.index for g in graph.groups if g.producers == ("inner",))
    variants = [smaller(net, graph, inner, sparsity=s) for s in (0.3, 0.5, 0.9)] + [scaled, net]
    together = Together(net, variants)
    assert together.starts == ["inner"] * 3 + ["scale", "output"]
    pixels = torch.randn(5, 3, 8, 8)
    with torch.inference_mode():
        alone = [variant(pixels.clone()) for variant in variants]
    for one, other in zip(together(pixels), alone, strict=True):
        torch.testing.assert_close(one, other)


def test_a_network_in_training_mode_is_not_moved():
    net = core.load("vgg11_bn-digits").train()
    held = copy.deepcopy(net.state_dict())
    images = core.images("digits")
    told = accuracies(net, [net], images, 60)
    assert told == [core.accuracy(net, images, 60)]
    assert all(torch.equal(held[key], tensor) for key, tensor in net.state_dict().items())


def test_counting_can_be_stopped_and_watched():
    net, images = core.load("vgg11_bn-digits"), core.images("digits")
    told: list[int] = []
    accuracies(net, [net], images, 130, batch=50, between=told.append)
    assert told == [0, 50, 100]

    def stop(done: int) -> None:
        if done:
            raise core.Cancelled("Stopped.")

    with pytest.raises(core.Cancelled):
        accuracies(net, [net], images, 130, batch=50, between=stop)


def test_nothing_to_count_is_a_sentence():
    net, images = core.load("vgg11_bn-digits"), core.images("digits")
    with pytest.raises(core.DataError, match="no images"):
        accuracies(net, [net], images, 0)


def test_bfloat16_tells_nearly_the_same(bench):
    net, graph, images = bench
    variants = [net, *(smaller(net, graph, 2, rule=rule) for rule in SOME)]
    exact = accuracies(net, variants, images)
    rough = accuracies(net, variants, images, numbers="bfloat16")
    assert all(abs(a.mean - b.mean) < 0.01 for a, b in zip(exact, rough, strict=True))
    pixels = images.normalised(images.images[:20])
    apart = Together(net, [net], "bfloat16")(pixels)[0] - net(pixels)
    assert 0 < apart.detach().abs().max() < 0.3  # it really ran in other numbers


def test_unknown_numbers_are_a_sentence():
    net, images = core.load("vgg11_bn-digits"), core.images("digits")
    with pytest.raises(core.RecipeError, match="float32, bfloat16"):
        accuracies(net, [net], images, 10, numbers="float8")
