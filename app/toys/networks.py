"""The puzzle's networks, and what comes of removing channels in some layers only. No Streamlit.

Nothing about the answers is written down here: which layers belong together is what `core.trace`
finds, and what breaks is found by running what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

import core
from app.toys.stage import Field, number, read
from core import surgery
from core.errors import RecipeError
from core.graph import symbolic
from core.groups import CONSUMES, FOLLOWS, PRODUCES, Coupling, DependencyGraph, Group
from core.projection import select
from core.walk import first_line

IMAGE, CLASSES = (3, 8, 8), 4
#: Channels of the puzzles' layers: few enough to count.
WIDTH = 8


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Chain(nn.Module):
    """Three convolutions one after the other, and a linear layer behind a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, WIDTH), nn.BatchNorm2d(WIDTH)
        self.conv2, self.bn2 = _conv(WIDTH, WIDTH), nn.BatchNorm2d(WIDTH)
        self.conv3, self.bn3 = _conv(WIDTH, WIDTH), nn.BatchNorm2d(WIDTH)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(2), nn.Linear(4 * WIDTH, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        flow = self.bn1(self.conv1(image)).relu()
        flow = self.bn2(self.conv2(flow)).relu()
        flow = self.bn3(self.conv3(flow)).relu()
        return self.fc(self.pool(flow).flatten(1))


class Block(nn.Module):
    """Two convolutions, and a way past them to which their result is added."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        if stride == 1 and inputs == outputs:
            self.shortcut, self.bn = nn.Identity(), nn.Identity()
        else:
            self.shortcut, self.bn = _conv(inputs, outputs, stride, 1), nn.BatchNorm2d(outputs)

    def forward(self, flow: Tensor) -> Tensor:
        through = self.bn2(self.conv2(self.bn1(self.conv1(flow)).relu()))
        return (through + self.bn(self.shortcut(flow))).relu()


class Residual(nn.Module):
    """A first convolution, residual blocks of the given (outputs, stride), a linear layer."""

    def __init__(self, *blocks: tuple[int, int]) -> None:
        super().__init__()
        self.stem, self.bn = _conv(3, WIDTH), nn.BatchNorm2d(WIDTH)
        inputs, names = WIDTH, "ab" if len(blocks) > 1 else ("block",)
        self.names = tuple(names)
        for name, (outputs, stride) in zip(self.names, blocks, strict=True):
            self.add_module(name, Block(inputs, outputs, stride))
            inputs = outputs
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        flow = self.bn(self.stem(image)).relu()
        for name in self.names:
            flow = getattr(self, name)(flow)
        return self.fc(self.pool(flow).flatten(1))


#: Name in a lesson → (what it is, how it is built).
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "chain": ("convolutions one after the other", Chain),
    "residual": ("a residual block", lambda: Residual((WIDTH, 1))),
    "blocks": ("two residual blocks", lambda: Residual((WIDTH, 1), (WIDTH, 1))),
    "projection": (
        "a residual block with a convolution in its shortcut", lambda: Residual((2 * WIDTH, 2))
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Network:
    """A puzzle's network, and what tracing it has found."""

    module: nn.Module
    graph: DependencyGraph

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that can be picked; their batch norms go with them."""
        return tuple(name for name, layer in self.graph.layers.items() if layer.kind != "norm")

    def produced(self, layer: str) -> Group | None:
        """The group of channels that a layer puts out; None where those are not free to shrink."""
        return next((g for g in self.graph.groups if layer in g.producers), None)

    def outputs(self, layer: str) -> int:
        """How many channels a layer puts out."""
        own = self.graph.layers[layer]
        return self.graph.shapes[own.weight][own.axis]


@lru_cache(maxsize=len(NETWORKS))
def network(name: str) -> Network:
    """A network by its name, with weights from a fixed seed. Nobody writes into it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NETWORKS[name][1]().eval()
    return Network(module, core.trace(module, IMAGE))


@dataclass(frozen=True)
class Puzzle:
    """“`layer` of `network` loses `remove` channels: which layers must shrink with it?”"""

    network: str
    layer: str
    remove: int

    @property
    def group(self) -> Group:
        return network(self.network).produced(self.layer)

    @property
    def choices(self) -> tuple[str, ...]:
        """The layers that can be picked."""
        return tuple(name for name in network(self.network).layers if name != self.layer)

    @property
    def answer(self) -> frozenset[str]:
        """The layers that must shrink with it: what else produces or consumes its channels."""
        return frozenset({*self.group.producers, *self.group.consumers} - {self.layer})


FIELDS = {
    "network": Field(
        "the network: " + "; ".join(f"{key}, {about}" for key, (about, _) in NETWORKS.items()),
        "residual", str,
    ),
    "layer": Field(
        "the layer that loses channels, by its name; empty: the first that others depend on", "",
        str,
    ),
    "remove": Field("how many channels it loses", "4", number(1, 2 * WIDTH, whole=True)),
}  # fmt: skip


def puzzle(settings: Mapping[str, str]) -> Puzzle:
    """What a lesson's settings say.

    Raises
    ------
    RecipeError
        If there is no such network or layer, or the layer can't lose so many channels.
    """
    told = read("puzzle", FIELDS, settings)
    if told["network"] not in NETWORKS:
        raise RecipeError(
            f"The toy 'puzzle' has no network {told['network']!r}. It has {', '.join(NETWORKS)}."
        )
    net = network(told["network"])
    free = [name for name in net.layers if net.produced(name) is not None]
    layer = told["layer"] or free[0]
    if layer not in free:
        raise RecipeError(
            f"The network {told['network']!r} of the toy 'puzzle' has no layer {layer!r} that can "
            f"lose channels. It has {', '.join(free)}."
        )
    most = net.outputs(layer) - 2  # a single channel would be added to all, and nothing break
    if told["remove"] > most:
        raise RecipeError(
            f"The layer {layer!r} of the toy 'puzzle' has {most + 2} channels; at most {most} can "
            f"be removed, not {told['remove']}."
        )
    return Puzzle(told["network"], layer, told["remove"])


# -- what is missing or too many, and why ---------------------------------------------------------


@dataclass(frozen=True)
class Remark:
    """Why a layer must shrink with the puzzle's, or need not.

    `kind`: "adds" (produces channels that are added to them, at the operation `where`), "reads"
    (consumes them), "other" (has nothing to do with them; `where` then is the layer they belong
    to) or "fixed" (its outputs are the classes).
    """

    layer: str
    kind: str
    where: str = ""


def remark(puzzle: Puzzle, layer: str) -> Remark:
    """What the traced groups say about a layer."""
    net, group = network(puzzle.network), puzzle.group
    if layer in group.producers:
        return Remark(layer, "adds", _joined(net.graph, layer, group.index))
    if layer in group.consumers:
        return Remark(layer, "reads")
    if net.produced(layer) is None:
        return Remark(layer, "fixed")
    return Remark(layer, "other")


def _joined(graph: DependencyGraph, layer: str, group: int) -> str:
    """The first addition that a layer's channels reach."""
    reached = {node.name for node in graph.nodes if node.module == layer}
    for node in graph.nodes:
        if reached & set(node.parents) and node.group == group:
            if node.kind == "add":
                return node.name
            reached.add(node.name)
    raise ValueError(f"{layer!r} produces channels of group {group} that reach no addition")


def check(puzzle: Puzzle, picked: frozenset[str]) -> tuple[list[Remark], list[Remark]]:
    """What is missing and what is too many, with the reasons; both empty if it is right."""
    order = puzzle.choices
    missing = [remark(puzzle, name) for name in order if name in puzzle.answer - picked]
    extra = [remark(puzzle, name) for name in order if name in picked - puzzle.answer]
    return missing, extra


# -- trying it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """What happened when channels were removed in the picked layers alone.

    operation, kind : where the network broke, or None. wants, gets : channels it was built for and
    channels that came, or, at an addition, those of its two sides. error : PyTorch's own words.
    outputs : numbers put out for an image where it ran. parameters : before and after.
    """

    parameters: tuple[int, int]
    operation: str | None = None
    kind: str = ""
    wants: int = 0
    gets: int = 0
    error: str = ""
    outputs: int = 0

    @property
    def runs(self) -> bool:
        """Whether it puts out a number for each class, as before."""
        return self.operation is None and self.outputs == CLASSES


class _Stopped(Exception):
    """An operation failed: where, with what, and in PyTorch's own words."""

    def __init__(self, node: torch.fx.Node, given: list[Tensor], error: str) -> None:
        super().__init__(error)
        self.node, self.given, self.error = node, given, error


class _Runner(torch.fx.Interpreter):
    """Runs a network operation by operation and says which one breaks."""

    extra_traceback = False

    def run_node(self, node: torch.fx.Node):
        try:
            return super().run_node(node)
        except (RuntimeError, ValueError) as error:  # how PyTorch refuses sizes that do not match
            args, _ = self.fetch_args_kwargs_from_env(node)
            given = [one for one in args if isinstance(one, Tensor)]
            raise _Stopped(node, given, first_line(error)) from error


def _pieces(puzzle: Puzzle, layers: frozenset[str]) -> list[Group]:
    """What shrinks if just these do: parts of the puzzle's group, and layers of their own."""
    net, group = network(puzzle.network), puzzle.group
    members = {*group.producers, *group.consumers}
    norms = {net.graph.layers[name].norm for name in layers} - {None}
    # A batch norm follows the layer before it, whatever else of the group is picked.
    touched = tuple(
        c
        for c in group.couplings
        if (c.layer in layers and c.role in (PRODUCES, CONSUMES))
        or (c.layer in norms and c.role == FOLLOWS)
    )
    return [replace(group, couplings=touched)] + [
        _alone(net, name) for name in sorted(layers - members)
    ]


def _alone(net: Network, name: str) -> Group:
    """The outputs of one layer, as if nobody else held them."""
    layer, width = net.graph.layers[name], net.outputs(name)
    held = [Coupling(layer.weight, layer.axis, PRODUCES, width)]
    if layer.bias:
        held.append(Coupling(layer.bias, 0, PRODUCES, width))
    if layer.norm:
        held += [Coupling(f"{layer.norm}.{key}", 0, FOLLOWS, width) for key in surgery.NORM]
    return Group(-1, width, tuple(held))


def removed(puzzle: Puzzle, picked: frozenset[str]) -> nn.Module:
    """The network without the last channels of the puzzle's layer and of the picked ones alone.

    Layers that do not hold the puzzle's channels lose outputs of their own: as many, or all but
    one.
    """
    net = network(puzzle.network)
    state: Mapping[str, Tensor] = net.module.state_dict()
    for piece in _pieces(puzzle, picked | {puzzle.layer}):
        kept = torch.arange(max(1, piece.width - puzzle.remove))
        state = surgery.shrink(state, piece, net.graph.layers, select(kept, piece.width))
    return surgery.rebuild(net.module, state)


def attempt(puzzle: Puzzle, picked: frozenset[str]) -> Tried:
    """Remove the channels in the picked layers alone, and run what is left on an image."""
    net = network(puzzle.network)
    smaller = removed(puzzle, picked)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (net.module, smaller))
    image = torch.zeros(1, *IMAGE)
    runner = _Runner(torch.fx.GraphModule(smaller, symbolic(smaller)))
    try:
        with torch.no_grad():
            out = runner.run(image)
    except _Stopped as stop:
        node, given = stop.node, stop.given
        kind = next(n.kind for n in net.graph.nodes if n.name == node.name)
        if node.op == "call_module":
            wants, gets = _built_for(smaller.get_submodule(node.target)), given[0].shape[1]
        else:
            wants, gets = given[0].shape[1], given[1].shape[1]
        name = str(node.target) if node.op == "call_module" else node.name
        return Tried((before, after), name, kind, wants, gets, stop.error)
    return Tried((before, after), outputs=out.shape[1])


def _built_for(layer: nn.Module) -> int:
    """How many inputs a layer states."""
    for name in ("in_channels", "in_features", "num_features"):
        if hasattr(layer, name):
            return getattr(layer, name)
    raise ValueError(f"a {type(layer).__name__} states no number of inputs")
