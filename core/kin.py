"""Whether networks are of one architecture: the same operations, whatever their widths are.

A `Kin` is one of several such networks with what fusing them reads. Layers may have other numbers
of channels; everything else (operations and their order, kernels, strides, the image, the classes)
is the same, or the network is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor, nn

from core import surgery
from core.errors import RecipeError, Unsupported, WeightsError
from core.evaluate import evaluating
from core.graph import trace
from core.groups import Coupling, DependencyGraph
from core.shape import TELLING, tensors_of


@dataclass(frozen=True, eq=False)
class Kin:
    """One of several networks of one architecture.

    name : for sentences. original : its tensors, float64 where they are floating, on the processor.
    state : the same after folding batch norm. axes : tensor → axis → the places (group, coupling in
    it) of the channels along it, the same for all kin.
    """

    name: str
    module: nn.Module
    graph: DependencyGraph
    original: dict[str, Tensor]
    state: dict[str, Tensor]
    axes: dict[str, dict[int, list[tuple[int, int]]]]

    def coupling(self, place: tuple[int, int]) -> Coupling:
        return self.graph.groups[place[0]].couplings[place[1]]


def kin(networks: Sequence[tuple[str, nn.Module]], input_shape: tuple[int, ...]) -> list[Kin]:
    """The networks, traced and found to be of the architecture of the first.

    Raises
    ------
    Unsupported
        If one can't be traced.
    RecipeError
        If one tells other classes apart or is of another architecture; the first difference is
        named.
    WeightsError
        If a weight is not a finite number.
    """
    found: list[Kin] = []
    for name, module in networks:
        module = evaluating(module)
        try:
            graph = trace(module, input_shape)
        except Unsupported as error:
            raise Unsupported(f"{name} can't be fused. {error}") from error
        if found:
            _alike(found[0], name, module, graph)
        original = {
            key: t.detach().cpu().double() if t.is_floating_point() else t.detach().cpu()
            for key, t in tensors_of(module).items()
            if key in graph.shapes
        }
        for key, tensor in original.items():
            if not tensor.isfinite().all():
                raise WeightsError(
                    f"The weights {key} of {name} are not finite numbers. Load the network again."
                )
        state = surgery.fold(original, graph.layers)
        axes: dict[str, dict[int, list[tuple[int, int]]]] = {}
        for group in graph.groups:
            for place, one in enumerate(group.couplings):
                if one.tensor in state:
                    held = axes.setdefault(one.tensor, {}).setdefault(one.axis, [])
                    held.append((group.index, place))
        found.append(Kin(name, module, graph, original, state, axes))
    return found


def _alike(first: Kin, name: str, module: nn.Module, graph: DependencyGraph) -> None:
    """Refuse a network that differs from the first by more than its widths."""

    def refusal(what: str) -> RecipeError:
        return RecipeError(
            f"{name} can't be fused with {first.name}: {what}. Fuse networks of one architecture."
        )

    classes = [one.nodes[-1].shape for one in (first.graph, graph)]
    if classes[0] != classes[1]:
        ours, theirs = ("×".join(map(str, shape)) for shape in classes)
        raise refusal(f"it tells {theirs} classes apart, the other {ours}")
    for a, b in zip_longest(first.graph.nodes, graph.nodes):
        told = [one and (one.name, one.kind, one.module, one.parents) for one in (a, b)]
        if told[0] != told[1]:
            ours, theirs = (
                "nothing" if one is None else one.module or f"{one.name} ({one.kind})"
                for one in (a, b)
            )
            raise refusal(f"where the other has {ours}, it has {theirs}")
    theirs = dict(module.named_modules())
    for place, part in first.module.named_modules():
        other = theirs.get(place)
        same = type(other) is type(part) and all(
            repr(vars(part).get(key)) == repr(vars(other).get(key)) for key in TELLING
        )
        if not same:
            raise refusal(f"its layer {place or 'as a whole'} is {other}, the other's is {part}")
    _same_groups(first.graph, graph, refusal)


def _same_groups(ours: DependencyGraph, theirs: DependencyGraph, refusal) -> None:
    for a, b in zip_longest(ours.groups, theirs.groups):
        if a is None or b is None:
            raise refusal(f"it has {len(theirs.groups)} groups of layers, not {len(ours.groups)}")
        tied = [
            [(c.tensor, c.axis, c.role, c.repeat, c.scales) for c in one.couplings]
            for one in (a, b)
        ]
        if tied[0] != tied[1] or len(a.blocks) != len(b.blocks):
            raise refusal(f"other layers shrink together in its group {b.index}, {b.title}")
    free = {(c.tensor, c.axis) for group in ours.groups for c in group.couplings}
    for key in {**ours.shapes, **theirs.shapes}:
        a, b = ours.shapes.get(key), theirs.shapes.get(key)
        told = [
            shape and [None if (key, axis) in free else n for axis, n in enumerate(shape)]
            for shape in (a, b)
        ]
        if told[0] != told[1]:
            raise refusal(f"its tensor {key} has the shape {b}, the other's {a}")
