"""Quick copies give the network's logits, hold equal tensors once and leave it as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import core
from core.graph import symbolic
from core.ready import has_bfloat16, prepared_images, ready


class Odd(nn.Module):
    """What a folding must leave alone, and what channels-last would trip over."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.once, self.twice = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.read = nn.Conv2d(3, 5, 3, padding=1)
        self.of_read = nn.BatchNorm2d(5)
        self.batchwise = nn.BatchNorm2d(5, track_running_stats=False)
        self.head = nn.Linear(5 * 4 * 4, 6, bias=False)
        self.last = nn.BatchNorm1d(6)

    def forward(self, x):
        x = self.once(self.shared(x)) + self.shared(x)  # one layer, two calls
        x = self.twice(self.twice(x))
        y = self.read(x)
        y = self.batchwise(self.of_read(y) + y)  # somebody reads it before its norm
        return self.last(self.head(nn.functional.max_pool2d(y, 2).view(-1, 80)))


def shaken(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)) and part.running_mean is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.normal_()
    return net.eval()


@pytest.mark.parametrize("name", ["vgg11_bn-digits", "resnet18-digits"])
def test_every_batch_norm_of_ours_is_folded(name):
    net = core.load(name)
    quick = ready(net, symbolic(net))
    assert not [part for part in quick.modules() if isinstance(part, nn.BatchNorm2d)]
    pixels = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(quick(prepared_images(pixels, "float32")), net(pixels))


def test_what_can_not_be_folded_stays():
    net = shaken(Odd())
    before = copy.deepcopy(net.state_dict())
    quick = ready(net, symbolic(net))
    left = {name for name, part in quick.named_modules() if "Norm" in type(part).__name__}
    assert left == {"once", "twice", "of_read", "batchwise"}
    pixels = torch.randn(7, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(quick(prepared_images(pixels, "float32")), net(pixels))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_equal_tensors_are_held_once():
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    small = core.compress(net, graph, core.Recipe(groups=(6,))).module
    first = ready(net, symbolic(net))
    second = ready(small, symbolic(net), like=first)
    places = {p.data_ptr() for p in first.parameters()}
    own = [name for name, p in second.named_parameters() if p.data_ptr() not in places]
    changed = set(graph.groups[6].producers) | set(graph.groups[6].consumers)
    assert {name.rpartition(".")[0] for name in own} == changed


class Hasty(nn.Module):
    """ReLUs that may run behind poolings, and some that must not: somebody else reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.padded = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x):
        a = self.pool(self.relu(self.first(x)))  # may be turned round
        b = self.second(a)
        c = self.relu(b)
        d = self.pool(c) + self.padded(self.relu(self.second(a)))
        return d.sum((2, 3)) + c.mean((2, 3)) + b.mean((2, 3)) + nn.functional.relu(x).mean()


@torch.inference_mode()
def test_hastening_changes_no_output_and_no_input():
    torch.manual_seed(0)
    net = Hasty().eval()
    slow, fast = (ready(net, symbolic(net), hasten=one) for one in (False, True))
    pixels = torch.randn(6, 3, 8, 8)
    held = pixels.clone()
    given = prepared_images(pixels, "float32")
    torch.testing.assert_close(fast(given), slow(given), rtol=0, atol=1e-6)
    torch.testing.assert_close(fast(given), net(pixels))
    assert torch.equal(pixels, held)
    names = [[str(node.name) for node in one.graph.nodes] for one in (slow, fast)]
    assert sorted(names[0]) == sorted(names[1]) and names[0] != names[1]
    assert names[1].index("pool") < names[1].index("relu")
    assert names[1].index("relu_1") < names[1].index("pool_1")  # others read it


def test_whether_bfloat16_is_quick_is_a_plain_answer():
    assert has_bfloat16() in (True, False)
