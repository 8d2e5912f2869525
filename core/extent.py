"""How large each layer is, before and after groups lose channels: shapes and parameters.

Nothing is computed with weights: the shapes that tracing found and the axes it tied together say
it all. A layer that produces a channel has a row for it, one that consumes it a column.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from core.groups import DependencyGraph, Layer

#: What a batch norm learns; its running statistics are no parameters.
LEARNED = ("weight", "bias")


@dataclass(frozen=True)
class Extent:
    """The size of one layer.

    `rows` counts what it puts out, `columns` what one row of its weight reads (a convolution in
    groups: the channels of one of them), `kernel` is what is left of the weight's shape, such as
    (3, 3), and `parameters` counts weight, bias and the batch norm that follows it.
    """

    rows: int
    columns: int
    kernel: tuple[int, ...]
    parameters: int


def extents(
    graph: DependencyGraph, kept: Mapping[int, Collection[int]] | None = None
) -> dict[str, Extent]:
    """The size of every layer, by its name, when groups keep only some of their channels.

    Parameters
    ----------
    kept : the channels of a group that stay, by the group's index; the others keep all.

    Regression may add a bias to a consumer that had none; it is not counted here.
    """
    lost: Counter[tuple[str, int]] = Counter()  # (tensor, axis) → entries that go
    for index, channels in (kept or {}).items():
        stays = set(channels)
        gone = [place for place in range(graph.groups[index].width) if place not in stays]
        for c in graph.groups[index].couplings:
            count = sum(c.first <= place < c.first + c.count for place in gone)
            lost[c.tensor, c.axis] += count * c.repeat // c.parts

    def shape(tensor: str) -> tuple[int, ...]:
        return tuple(n - lost[tensor, axis] for axis, n in enumerate(graph.shapes[tensor]))

    return {name: _extent(graph, layer, shape) for name, layer in graph.layers.items()}


def _extent(graph: DependencyGraph, layer: Layer, shape) -> Extent:
    weight = shape(layer.weight)
    tensors = [layer.weight, *([layer.bias] if layer.bias else [])]
    if layer.norm:
        tensors += [f"{layer.norm}.{key}" for key in LEARNED]
    return Extent(
        rows=weight[layer.axis] * layer.parts,
        columns=weight[1 - layer.axis] if len(weight) > 1 else 1,
        kernel=weight[2:],
        parameters=sum(math.prod(shape(name)) for name in tensors if name in graph.shapes),
    )
