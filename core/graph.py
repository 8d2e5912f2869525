"""Trace a network once and tie its channel axes together: which layers must shrink together.

Every axis that counts channels gets one number ("id") an entry (`core.ids`). Walking through the
traced network ties ids (`core.walk`): an addition ties those of its inputs entry by entry, a batch
norm follows what flows through it, a convolution consumes what flows in and starts new ids for what
flows out. Ids tied to each other are one *channel*; channels that share a producing axis must
shrink together and form a *group* (Theus et al. 2024, section 3.1). An operation that isn't in the
tables is refused by name, never guessed; and what was found is proved by walking through the
network once more, with channels removed.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from itertools import chain

import numpy as np
import torch
import torch.fx
from torch import Tensor, nn

from core import surgery
from core.errors import Unsupported
from core.groups import CONSUMES, PRODUCES, Coupling, DependencyGraph, Group, Node
from core.ids import Axis, core_of, varying
from core.walk import ADVICE, Stopped, Walk, first_line, where

#: Images of so many numbers at most run through the network on the processor: the "meta" device,
#: which knows shapes alone, first imports parts of PyTorch that take longer than the images.
SMALL = 3 * 64 * 64


def trace(module: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> DependencyGraph:
    """Find the groups of `module` by tracing it with torch.fx, as it runs in evaluation mode.

    Layers that only training runs (the auxiliary classifiers of GoogLeNet and Inception) stay as
    they are and no longer fit what shrinks before them: build the network without them.

    Parameters
    ----------
    module : any network torch.fx can trace; it is not changed, and its hooks are not run.
    input_shape : (channels, height, width) of one image.

    Raises
    ------
    Unsupported
        If torch.fx can't trace it, it can't take such an image, or it holds an operation whose
        effect on channels isn't known. The text names module and operation.
    """
    input_shape = tuple(input_shape)
    _refuse_shared(module)
    try:
        # A copy without numbers: sizes are all that is asked for.
        empty = surgery.replica(module, surgery.emptied(module, _device(input_shape)))
        first = _walk(empty, input_shape)
    except Unsupported:
        raise
    except Exception as error:  # anything: the code that runs here is the user's
        raise Unsupported(
            f"{type(module).__name__} can't be traced with an image of shape {input_shape}: "
            f"{first_line(error)}. It must run on such an image and must not branch on values."
        ) from error
    order = {name: place for place, (name, _) in enumerate(module.named_modules())}
    found = _Families(first, order)
    _prove(empty, first, found, input_shape)
    return found.graph(input_shape)


def _device(input_shape: tuple[int, ...]) -> str:
    return "cpu" if math.prod(input_shape) <= SMALL else "meta"


def _refuse_shared(module: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, tensor in module.named_parameters():
        names[id(tensor)] = name
    for name, tensor in module.named_parameters(remove_duplicate=False):
        owners = {id(module.get_submodule(n.rpartition(".")[0])) for n in (name, names[id(tensor)])}
        if len(owners) > 1:
            raise Unsupported(
                f"The layers of {names[id(tensor)]!r} and {name!r} share one tensor, whose effect "
                f"on channels is not known here. {ADVICE}"
            )


#: While torch.fx traces, it replaces how modules are called, for all threads and all modules.
_ONE_TRACE = threading.Lock()


class _Tracer(torch.fx.Tracer):
    """torch.fx's, that leaves alone the networks which other threads run meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m, forward, args, kwargs):
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def symbolic(module: nn.Module) -> torch.fx.Graph:
    """The network's operations in the order in which they run, whatever other threads do."""
    with _ONE_TRACE:
        return _Tracer().trace(module)


def _walk(module: nn.Module, input_shape: tuple[int, ...], known=None) -> Walk:
    held = chain(module.parameters(), module.buffers())
    dtype = next((t.dtype for t in held if t.is_floating_point()), torch.float32)
    image = torch.zeros(1, *input_shape, dtype=dtype, device=_device(input_shape))
    return Walk(torch.fx.GraphModule(module, symbolic(module)), image, known)


class _Families:
    """The groups that follow from what a walk found out. `order`: places of modules by name."""

    def __init__(self, walk: Walk, order: dict[str, int]) -> None:
        self.walk = walk
        ledger = walk.ledger
        self.channel = ledger.channels()  # id → channel
        axes = sorted(ledger.settled().items(), key=lambda item: order[_owner(item[0][0])])
        self.axes: dict[tuple[str, int], Axis] = dict(axes)
        ids = {key: axis.ids.numpy() for key, axis in self.axes.items()}
        fixed = [one.numpy() for one in ledger.fixed]
        divided = [torch.cat(parts).numpy() for parts in ledger.divided]
        produced = [ids[key] for key, axis in axes if axis.role == PRODUCES]
        component = ledger.families(self.channel, produced + fixed + divided)
        self.family = component[self.channel]  # id → component
        barred = {int(one) for ids in fixed for one in self.family[ids]}
        read = {
            int(one)
            for key, axis in axes
            if axis.role == CONSUMES
            for one in np.unique(self.family[ids[key]])
        }
        last: dict[int, int] = {}  # component → place of its last producing layer
        for key, axis in axes:
            if axis.role == PRODUCES:
                one = int(self.family[ids[key][0]])
                last[one] = max(last.get(one, -1), order[_owner(key[0])])
        chosen = sorted((read & last.keys()) - barred, key=lambda c: -last[c])
        self.index = np.full(component.max() + 2, -1)  # component → group
        self.index[chosen] = range(len(chosen))
        self._number(produced, len(chosen))
        self._couple(ids)
        self._divide()

    def _number(self, produced: list[np.ndarray], groups: int) -> None:
        """Positions of channels in their groups follow the producing axes."""
        self.position = np.full(self.channel.max() + 2, -1)  # channel → position
        self.members: list[list[int]] = [[] for _ in range(groups)]  # channels by position
        for ids in produced:
            place = int(self.index[self.family[ids[0]]])
            for one in self.channel[ids] if place >= 0 else ():
                if self.position[one] < 0:
                    self.position[one] = len(self.members[place])
                    self.members[place].append(int(one))

    def _couple(self, ids: dict[tuple[str, int], np.ndarray]) -> None:
        self.couplings: list[list[Coupling]] = [[] for _ in self.members]
        for (tensor, axis), kind in self.axes.items():
            for place, *stretch in self._runs(ids[tensor, axis]):
                self.couplings[place].append(_coupling(tensor, axis, kind, stretch))
        self.bare = tuple(
            (place, _coupling(tensor, axis, kind, stretch))
            for (tensor, axis), kind in self.walk.ledger.bare.items()
            for place, *stretch in self._runs(kind.ids.numpy())
        )

    def _runs(self, ids: np.ndarray) -> list[tuple[int, int, int, int, int]]:
        """Cut an axis into stretches (group, start, first position, count, repeat).

        Within a stretch each channel owns `repeat` entries in a row and the positions rise by one.
        """
        places, positions = self.index[self.family[ids]], self.position[self.channel[ids]]
        new = (np.diff(places) != 0) | (np.diff(positions) != 0)
        starts = np.flatnonzero(np.concatenate([[True], new]))
        lengths = np.diff(np.append(starts, len(ids)))
        runs: list[list[int]] = []
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            place, position = int(places[start]), int(positions[start])
            if place < 0:
                continue
            if runs:
                before, begun, first, count, repeat = runs[-1]
                joined = begun + count * repeat == start and first + count == position
                if before == place and joined and repeat == length:
                    runs[-1][3] += 1
                    continue
            runs.append([place, start, position, 1, length])
        return [tuple(run) for run in runs]

    def _divide(self) -> None:
        """Blocks: channels are mixed only where every axis holds them in the same way."""
        labels = [np.zeros(len(members), int) for members in self.members]

        def refine(place: int, inside: np.ndarray) -> None:
            mask = np.zeros(len(labels[place]), int)
            mask[inside] = 1
            labels[place] = np.unique(2 * labels[place] + mask, return_inverse=True)[1]

        for place, couplings in enumerate(self.couplings):
            for c in couplings:
                if c.count < len(labels[place]):
                    refine(place, np.arange(c.first, c.first + c.count))
        parted = [[self._places(part) for part in parts] for parts in self.walk.ledger.divided]
        for parts in parted:
            for part in parts:
                for place, positions in part.items():
                    refine(place, positions)
        for divided, parts in zip(self.walk.ledger.divided, parted, strict=True):
            sizes = [
                Counter(
                    (place, int(size))
                    for place, positions in part.items()
                    for size in np.bincount(labels[place])[labels[place][positions]]
                )
                for part in parts
            ]
            if any(one != sizes[0] for one in sizes):
                raise Unsupported(
                    f"The network divides {sum(map(len, divided))} channels into {len(parts)} "
                    "parts that would not shrink alike, because other layers hold parts of them. "
                    f"{ADVICE}"
                )
        self.blocks = [_partition(one) for one in labels]

    def _places(self, ids: Tensor) -> dict[int, np.ndarray]:
        """Positions of ids by group."""
        ids = ids.numpy()
        found = defaultdict(list)
        for place, position in zip(
            self.index[self.family[ids]], self.position[self.channel[ids]], strict=True
        ):
            if place >= 0:
                found[int(place)].append(int(position))
        return {place: np.array(positions) for place, positions in found.items()}

    def graph(self, input_shape: tuple[int, ...]) -> DependencyGraph:
        walk = self.walk
        groups = tuple(
            Group(place, len(members), tuple(self.couplings[place]), self.blocks[place])
            for place, members in enumerate(self.members)
        )
        shown = {name for name, kind in walk.kinds.items() if kind != "shape"}
        nodes = tuple(
            Node(
                node.name,
                walk.kinds[node.name],
                str(node.target) if node.op == "call_module" else None,
                self._group_of(walk.flows[node.name]),
                walk.shapes[node.name][1:],
                tuple(parent.name for parent in node.all_input_nodes if parent.name in shown),
            )
            for node in walk.module.graph.nodes
            if node.name in shown
        )
        shapes = {name: tuple(tensor.shape) for name, tensor in walk.state.items()}
        return DependencyGraph(groups, walk.layers, nodes, input_shape, shapes, self.bare)

    def _group_of(self, flow) -> int | None:
        if not isinstance(flow, Tensor):
            return None
        places = self.index[self.family[core_of(flow).reshape(-1).numpy()]]
        return int(places[places >= 0][0]) if (places >= 0).any() else None


def _owner(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _coupling(tensor: str, axis: int, kind: Axis, stretch: list[int]) -> Coupling:
    start, first, count, repeat = stretch
    return Coupling(
        tensor, axis, kind.role, count, repeat, start, first, kind.scales, kind.parts
    )  # fmt: skip


def _partition(labels: np.ndarray) -> tuple[tuple[int, ...], ...]:
    blocks: dict[int, list[int]] = {}
    for position, label in enumerate(labels.tolist()):
        blocks.setdefault(label, []).append(position)
    return tuple(map(tuple, blocks.values())) if len(blocks) > 1 else ()


# -- the proof ------------------------------------------------------------------------------------


def _prove(empty: nn.Module, first: Walk, found: _Families, input_shape: tuple[int, ...]) -> None:
    """Remove channels at both ends of every block and see that the others flow as they did.

    Finds numbers of channels written into the network, and slices that take other channels then.
    """
    kept = np.ones(found.channel.max() + 1, bool)
    for members, blocks in zip(found.members, found.blocks, strict=True):
        for block in blocks or (tuple(range(len(members))),):
            if len(block) > 1:
                kept[members[block[0]]] = False
            if len(block) > 2:
                kept[members[block[-1]]] = False
    if kept.all():
        return
    state = dict(first.state)
    known = {
        key: ids[torch.from_numpy(kept[found.channel[ids.numpy()]])]
        for key, ids in first.ledger.started.items()
    }
    less = {}
    for key, axis in found.axes.items():
        stay = torch.from_numpy(kept[found.channel[axis.ids.numpy()]])
        if not stay.all():
            state[key[0]] = surgery.take(state[key[0]], key[1], axis.parts, stay.nonzero()[:, 0])
    for (attribute, _), axis in first.ledger.bare.items():
        less[attribute] = int((~kept[found.channel[axis.ids.numpy()]]).sum())
    try:
        second = _walk(surgery.rebuild(empty, state, less), input_shape, known)
    except Stopped as error:
        raise Unsupported(
            f"With fewer channels, {error}. A number of channels is written into the network, "
            "which can't follow: ask the tensor for its size there, or leave this network out."
        ) from error
    names = [node.name for node in first.module.graph.nodes]
    if names != [node.name for node in second.module.graph.nodes]:
        raise Unsupported(
            "The network takes another course with fewer channels, so that it can't be followed. "
            f"{ADVICE}"
        )
    for node in first.module.graph.nodes:
        before, after = first.flows[node.name], second.flows[node.name]
        if isinstance(before, Tensor):
            still = set(range(before.ndim)) - set(varying(before))
            same = not still & set(varying(after))
            for d in still:
                after = after.narrow(d, 0, 1)
            then = found.channel[core_of(before).reshape(-1).numpy()]
            now = found.channel[after.reshape(-1).numpy()]
            if not same or not np.array_equal(then[kept[then]], now):
                raise Unsupported(
                    f"The {where(node)} treats channels by their numbers: with fewer of them it "
                    f"takes others. {ADVICE}"
                )
