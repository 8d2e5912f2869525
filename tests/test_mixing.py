"""A merged layer's outputs are mixtures of the dense layer's, where its weights bear that out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import core
from core.mixing import mixing
from core.prefix import Together
from core.projection import RULES

NO_IMAGES = [name for name, rule in RULES.items() if not rule.images]


@dataclass
class Told:
    """A network of which somebody says what it was merged with."""

    module: nn.Module
    merged: dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=["vgg11_bn-digits", "resnet18-digits"])
def made(request):
    net = core.load(request.param)
    graph, images = core.trace(net), core.images("digits")
    # A group inside a block of the ResNet, whose producer is a 3×3 convolution of enough channels.
    group = next(g.index for g in graph.groups if g.width >= 64 and len(g.producers) == 1)
    prepared = core.Prepared(net, graph)
    variants = {
        rule: core.compress(net, graph, core.Recipe(groups=(group,), rule=rule), prepared)
        for rule in NO_IMAGES
    }
    return net, graph.groups[group], variants, images.normalised(images.images[:40])


@torch.inference_mode()
def test_the_outputs_are_the_smaller_networks(made):
    net, group, variants, pixels = made
    together = Together(net, variants.values())
    assert all(together.mixed), dict(zip(variants, together.mixed, strict=True))
    for rule, logits in zip(variants, together(pixels), strict=True):
        torch.testing.assert_close(
            logits, variants[rule].module(pixels), msg=lambda told, rule=rule: f"{rule}: {told}"
        )


@torch.inference_mode()
def test_nothing_is_mixed_of_networks_alone_and_the_outputs_are_the_same(made):
    net, group, variants, pixels = made
    alone = Together(net, [one.module for one in variants.values()])
    assert not any(alone.mixed)
    for one, other in zip(alone(pixels), Together(net, variants.values())(pixels), strict=True):
        torch.testing.assert_close(one, other)


@torch.inference_mode()
def test_a_matrix_is_believed_only_as_far_as_the_weights_bear_it_out(made):
    net, group, variants, pixels = made
    layer, small = group.producers[0], variants["released"]
    matrix = small.merged[layer]
    wrong = [
        matrix.roll(1, 0), matrix.roll(1, 1), matrix[:-1], matrix[:, :-1], 0 * matrix,
        matrix + 1e-3 * torch.eye(*matrix.shape),
    ]  # fmt: skip
    together = Together(net, [Told(small.module, {layer: one}) for one in wrong])
    assert not any(together.mixed)
    for logits in together(pixels):
        torch.testing.assert_close(logits, small.module(pixels))
    # A factor an output is found by itself.
    assert Together(net, [Told(small.module, {layer: 3 * matrix})]).mixed == [True]


def test_what_says_nothing_of_the_inputs_is_refused():
    matrix = torch.eye(4)[:2]
    dense, small = nn.Conv2d(8, 4, 3), nn.Conv2d(8, 2, 3)
    small.weight.data, small.bias.data = dense.weight.data[:2], dense.bias.data[:2] + 1
    pixels = torch.rand(2, 8, 5, 5)
    with torch.no_grad():
        told = mixing(dense, small, matrix)(dense(pixels))
        torch.testing.assert_close(told, small(pixels))  # another bias is no hindrance
    assert mixing(nn.Conv2d(8, 4, 3, groups=2), small, matrix) is None
    assert mixing(dense, nn.Conv2d(6, 2, 3), matrix) is None  # reads other channels
    assert mixing(dense, nn.Linear(72, 2), matrix) is None
    assert mixing(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1), matrix) is None  # no less work


@torch.inference_mode()
def test_in_bfloat16_mixed_outputs_are_nearly_the_same(made):
    net, group, variants, pixels = made
    small = variants["select"]
    mixed, alone = (Together(net, [one], "bfloat16")(pixels) for one in (small, small.module))
    assert Together(net, [small], "bfloat16").mixed == [True]
    torch.testing.assert_close(mixed[0], alone[0], rtol=0, atol=0.1)
