"""The nouns of the dependency graph: couplings, groups, layers and operations, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from core.errors import RecipeError

PRODUCES, FOLLOWS, CONSUMES = "produces", "follows", "consumes"


@dataclass(frozen=True)
class Coupling:
    """A stretch of a tensor's axis that belongs to a group.

    Entries `start` to `start + count·repeat` of axis `axis` of the state's `tensor` are the group's
    channels `first` to `first + count`, `repeat` entries each (after a flatten a channel owns a
    block of inputs). `role`: the tensor *produces* the channels (rows of a weight, its bias),
    *follows* them (batch norm, the filters of a depthwise convolution) or *consumes* them (columns
    of the next weight). `scales`: channels are multiplied by what the tensor holds or produces
    (scales, slopes, depthwise filters, a gate), so that a sum of channels takes its mean.

    `parts`: a convolution with that many groups has, along axis 1, the channels of all of them in
    one place: entry i of the axis, for the rows of group j, is the channel in place j·k + i of k
    a group. Entries are then counted as if the groups lay one after the other
    (`core.importance.side_by_side`).
    """

    tensor: str
    axis: int
    role: str
    count: int
    repeat: int = 1
    start: int = 0
    first: int = 0
    scales: bool = False
    parts: int = 1

    @property
    def layer(self) -> str:
        """The module the tensor belongs to."""
        return self.tensor.rpartition(".")[0]

    @property
    def stop(self) -> int:
        """One past the last entry of the axis."""
        return self.start + self.count * self.repeat


@dataclass(frozen=True)
class Group:
    """Axes that must shrink together. `index` 0 is nearest the output; `width` counts channels.

    `blocks`: the channels that may be mixed with each other, where not all may (a grouped
    convolution, a concatenation): a partition of them, each block rising, in the order of their
    first channels. Empty where all channels are one block.
    """

    index: int
    width: int
    couplings: tuple[Coupling, ...]
    blocks: tuple[tuple[int, ...], ...] = ()

    def of(self, role: str) -> tuple[Coupling, ...]:
        """The couplings of one role."""
        return tuple(c for c in self.couplings if c.role == role)

    @property
    def producers(self) -> tuple[str, ...]:
        """Names of the layers that produce the channels, in module order."""
        return tuple(dict.fromkeys(c.layer for c in self.of(PRODUCES)))

    @property
    def consumers(self) -> tuple[str, ...]:
        """Names of the layers that consume the channels, in module order."""
        return tuple(dict.fromkeys(c.layer for c in self.of(CONSUMES)))

    @property
    def title(self) -> str:
        """The group as a person would name it: its width and the layers that produce it."""
        first, *others = self.producers
        more = f" + {len(others)} more" if others else ""
        return f"{self.width} ch · {first}{more}"


@dataclass(frozen=True)
class Layer:
    """A layer with weights: its tensors' names in the state, and the batch norm folded into it.

    `bias` is None where the layer has none; `norm` is the module of the batch norm that normalises
    its output and nothing else, or None. `axis` of its weight counts what it puts out, in `parts`
    groups where that axis isn't the first (transposed convolutions). A batch norm that can't be
    folded into a layer is a layer itself, of the kind `norm`.
    """

    name: str
    kind: str
    weight: str
    bias: str | None
    norm: str | None
    epsilon: float = 0.0
    axis: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Node:
    """One operation of the traced network, for pictures.

    `kind` is what it does (`conv`, `linear`, `norm`, `add`, `multiply`, `concat`, `split`,
    `activation`, `pool`, `dropout`, `flatten`, `permute`, `softmax`, `input`, `output`), `module`
    the module it calls, `group` the index of the group of the channels it puts out, the first of
    them where it puts out several (None: the network's input or its classes), `shape` what it puts
    out for one image, `parents` the nodes it reads.
    """

    name: str
    kind: str
    module: str | None
    group: int | None
    shape: tuple[int, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class DependencyGraph:
    """The groups of a network (0 is nearest the output), its layers and its operations.

    `shapes` are those of all its tensors, by name. `bare` are layers that state a width without
    holding a tensor of it (a layer norm without weights): the index of the group and a coupling
    whose `tensor` is the layer's attribute.
    """

    groups: tuple[Group, ...]
    layers: dict[str, Layer]
    nodes: tuple[Node, ...]
    input_shape: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    bare: tuple[tuple[int, Coupling], ...] = ()

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Refuse the state of a network that this graph was not traced from.

        Raises
        ------
        RecipeError
            If a tensor is missing, too many, or of another shape.
        """
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if found == self.shapes:
            return
        name = next(n for n in {**self.shapes, **found} if found.get(n) != self.shapes.get(n))
        told = [
            "no tensor of that name" if shape is None else f"a tensor of shape {shape}"
            for shape in (self.shapes.get(name), found.get(name))
        ]
        raise RecipeError(
            f"This dependency graph belongs to another network: for {name} it knows {told[0]}, the "
            f"network has {told[1]}. Trace the network itself: core.trace(module, input_shape)."
        )
