"""Sizes told from the graph alone are those of the layers that compression really leaves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import core
from core import zoo
from core.compat import torchvision
from core.compress import outline
from core.extent import extents


def measured(module: nn.Module, graph: core.DependencyGraph) -> dict[str, tuple[tuple, int]]:
    """Each layer's weight's shape and parameters, counted in the module itself."""
    found = {}
    for name, layer in graph.layers.items():
        parts = [module.get_submodule(name)]
        parts += [module.get_submodule(layer.norm)] if layer.norm else []
        count = sum(p.numel() for part in parts for p in part.parameters(recurse=False))
        found[name] = (tuple(parts[0].weight.shape), count)
    return found


def told(graph, kept) -> dict[str, tuple[tuple, int]]:
    sizes = {}
    for name, size in extents(graph, kept).items():
        layer = graph.layers[name]
        if layer.kind == "norm":
            sizes[name] = ((size.rows,), size.parameters)
        else:
            pair = [size.rows // layer.parts, size.columns]
            pair = pair[::-1] if layer.axis else pair
            sizes[name] = ((*pair, *size.kernel), size.parameters)
    return sizes


@pytest.mark.parametrize("name", list(zoo.NETWORKS))
def test_every_group_of_the_zoo_leaves_what_its_layers_then_hold(name):
    net = zoo.network(name).build().eval()
    graph = core.trace(net, zoo.network(name).input_shape)
    assert told(graph, None) == measured(net, graph)
    whole = sum(p.numel() for p in net.parameters())
    assert sum(size.parameters for size in extents(graph).values()) == whole
    for group in graph.groups[:: max(1, len(graph.groups) // 4)]:
        kept = torch.arange(group.width)[::3]
        smaller = outline(net, graph, {group.index: kept})
        assert told(graph, {group.index: kept.tolist()}) == measured(smaller, graph)


def test_a_compressed_network_has_the_sizes_that_were_told():
    net = core.load("resnet18-digits")
    graph = core.trace(net, zoo.network("resnet18-digits").input_shape)
    out = core.compress(net, graph, core.Recipe(groups=(0, 6), sparsity=0.7))
    kept = {index: channels.tolist() for index, channels in out.kept.items()}
    assert told(graph, kept) == measured(out.module, graph)
    assert told(graph, kept) != told(graph, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "mobilenet_v2", "resnext50_32x4d"])
def test_concatenations_depthwise_and_grouped_convolutions_are_counted(name):
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None).eval()
    graph = core.trace(net, (3, 224, 224))
    assert sum(s.parameters for s in extents(graph).values()) == sum(
        p.numel() for p in net.parameters()
    )
    for group in graph.groups[:: max(1, len(graph.groups) // 4)]:
        blocks = group.blocks or (tuple(range(group.width)),)
        kept = torch.tensor(sorted(place for block in blocks for place in block[::2]))
        smaller = outline(net, graph, {group.index: kept})
        assert told(graph, {group.index: kept.tolist()}) == measured(smaller, graph)
