"""The nouns of the dependency graph: couplings, groups, layers and operations, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

PRODUCES, FOLLOWS, CONSUMES = "produces", "follows", "consumes"


@dataclass(frozen=True)
class Coupling:
    """A stretch of a tensor's axis that belongs to a group.

    Entries `start` to `start + count·repeat` of axis `axis` of the state's `tensor` are the group's
    channels `first` to `first + count`, `repeat` entries each (after a flatten a channel owns a
    block of inputs). `role`: the tensor *produces* the channels (rows of a weight, its bias),
    *follows* them (batch norm) or *consumes* them (columns of the next weight).
    """

    tensor: str
    axis: int
    role: str
    count: int
    repeat: int = 1
    start: int = 0
    first: int = 0

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
    """Axes that must shrink together. `index` 0 is nearest the output; `width` counts channels."""

    index: int
    width: int
    couplings: tuple[Coupling, ...]

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
    its output and nothing else, or None.
    """

    name: str
    kind: str
    weight: str
    bias: str | None
    norm: str | None
    epsilon: float = 0.0


@dataclass(frozen=True)
class Node:
    """One operation of the traced network, for pictures.

    `kind` is what it does (`conv`, `linear`, `norm`, `add`, `activation`, …), `module` the module
    it calls, `group` the index of the group of the channels it puts out (None: the network's input
    or its classes), `shape` what it puts out for one image, `parents` the nodes it reads.
    """

    name: str
    kind: str
    module: str | None
    group: int | None
    shape: tuple[int, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class DependencyGraph:
    """The groups of a network (0 is nearest the output), its layers and its operations."""

    groups: tuple[Group, ...]
    layers: dict[str, Layer]
    nodes: tuple[Node, ...]
    input_shape: tuple[int, ...]
