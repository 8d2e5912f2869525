"""Every classification network of torchvision shrinks to exactly the parameters that are left.

Shapes are enough for that: the networks live on the meta device, without numbers. Where numbers
matter a few small ones are compressed with random weights.
"""

from __future__ import annotations

import os
from collections import defaultdict

import pytest
import torch

import core
from core import surgery
from core.compat import torchvision
from core.measures import kept_count
from core.projection import select

#: The smallest member of each family; the others are as many layers of the same kinds.
SMALLEST = (
    "alexnet", "vgg11", "vgg11_bn", "resnet18", "densenet121", "googlenet", "inception_v3",
    "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "efficientnet_b0",
    "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny",
)  # fmt: skip
LARGER = ("resnext50_32x4d", "wide_resnet50_2", "efficientnet_v2_s", "densenet201", "resnet152")
#: As many groups are shrunk alone, give or take.
ALONE = 6
REFUSED = {
    "shufflenet_v2_x0_5": "channel shuffle", "vit_b_32": "MultiheadAttention",
    "swin_t": "shifted_window_attention", "swin_v2_t": "attention", "maxvit_t": "attention",
}  # fmt: skip


#: Everything, not a sample: half an hour, for whoever changes the graph or the surgery.
EVERY_GROUP = bool(os.environ.get("EVERY_GROUP"))
HELPED = ("googlenet", "inception_v3")
NO_HELPERS = {"aux_logits": False, "init_weights": False}  # they help training and are not run


def built(name: str, device: str = "meta"):
    """The network without trained weights, and the side of its images."""
    more = NO_HELPERS if name in HELPED else {}
    # RegNet computes its widths with tensors; everything else can be built without numbers.
    device = "cpu" if name.startswith("regnet") else device
    with torch.device(device):
        net = torchvision.models.get_model(name, weights=None, **more).eval()
    return net.to("meta") if device == "cpu" else net, 299 if name == "inception_v3" else 224


def last_ones(group, sparsity: float) -> torch.Tensor:
    """Channels to keep: the last ones of every block."""
    blocks = group.blocks or (tuple(range(group.width)),)
    kept = [place for b in blocks for place in b[-kept_count(len(b), sparsity) :]]
    return torch.tensor(sorted(kept))


def left(net, graph, kept) -> int:
    """Parameters that are left when each axis loses the entries of its channels."""
    gone: dict = defaultdict(int)
    for index, channels in kept.items():
        stay = set(channels.tolist())
        for c in graph.groups[index].couplings:
            lost = sum(p not in stay for p in range(c.first, c.first + c.count))
            gone[c.tensor, c.axis] += lost * c.repeat // c.parts
    total = 0
    for name, tensor in net.named_parameters():
        sizes = [size - gone[name, axis] for axis, size in enumerate(tensor.shape)]
        total += int(torch.tensor(sizes).prod())
    return total


def shrunk(net, graph, kept):
    matrices = {i: select(k, graph.groups[i].width) for i, k in kept.items()}
    state = surgery.contract_all(net.state_dict(), graph, matrices)
    return surgery.rebuild(net, state, surgery.fewer(graph, matrices))


def some(groups) -> list[int]:
    """Groups from the output to the input, evenly spaced; all of them if $EVERY_GROUP is set."""
    groups = list(groups)
    step = 1 if EVERY_GROUP else max(1, len(groups) // ALONE)
    return groups[::step]


def check(name: str, alone: bool) -> None:
    net, side = built(name)
    graph = core.trace(net, (3, side, side))
    images = torch.zeros(2, 3, side, side, device="meta")
    whole = sum(p.numel() for p in net.parameters())
    for sparsity in (0.3, 0.7):
        kept = {group.index: last_ones(group, sparsity) for group in graph.groups}
        for chosen in [{i: kept[i]} for i in some(kept)] if alone else [kept]:
            small = shrunk(net, graph, chosen)
            count = sum(p.numel() for p in small.parameters())
            assert count == left(net, graph, chosen) < whole, (name, sparsity, list(chosen))
            assert small(images).shape == (2, 1000)


@pytest.mark.parametrize("name", SMALLEST)
def test_all_groups_together_shrink(name):
    check(name, alone=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    SMALLEST + LARGER if EVERY_GROUP else ("resnet18", "squeezenet1_1", "mobilenet_v3_small"),
)
def test_each_group_alone_shrinks(name):
    check(name, alone=True)


def test_half_of_a_wide_networks_inner_channels_is_the_plain_network():
    """torchvision's wide ResNet50 has twice the inner channels of its ResNet50, nothing else."""
    net, _ = built("wide_resnet50_2")
    graph = core.trace(net, (3, 224, 224))
    inner = [g for g in graph.groups if "conv3" not in g.title and "layer" in g.title]
    inner = [g for g in inner if all("conv3" not in p for p in g.producers)]
    assert len(inner) == 32
    small = shrunk(net, graph, {g.index: last_ones(g, 0.5) for g in inner})
    plain, _ = built("resnet50")
    shapes = {key: t.shape for key, t in plain.state_dict().items()}
    assert {key: t.shape for key, t in small.state_dict().items()} == shapes


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_by_module_and_operation(name):
    net, side = built(name)
    with pytest.raises(core.Unsupported, match=REFUSED[name]) as caught:
        core.trace(net, (3, side, side))
    text = str(caught.value)
    assert ("module '" in text) and "\n" not in text and "leave this network out" in text


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name",
    SMALLEST if EVERY_GROUP else ("squeezenet1_1", "mobilenet_v3_small", "convnext_tiny"),
)
def test_with_numbers_every_rule_of_the_two_runs(name):
    """The first groups at 70 %; with $EVERY_GROUP all of them, at 30 % too."""
    torch.manual_seed(0)
    more = NO_HELPERS if name in HELPED else {}
    net = torchvision.models.get_model(name, weights=None, num_classes=10, **more).eval()
    side = 96 if name == "inception_v3" else 64
    graph = core.trace(net, (3, side, side))
    prepared, images = core.Prepared(net, graph), torch.randn(2, 3, side, side)
    groups = tuple(range(len(graph.groups) if EVERY_GROUP else min(6, len(graph.groups))))
    for sparsity in (0.3, 0.7) if EVERY_GROUP else (0.7,):
        for rule in ("select", "preserving"):
            recipe = core.Recipe(groups=groups, sparsity=sparsity, rule=rule)
            out = core.compress(net, graph, recipe, prepared)
            with torch.no_grad():
                assert out.module(images).isfinite().all()
            count = sum(p.numel() for p in out.module.parameters())
            assert count == left(net, graph, out.kept)
