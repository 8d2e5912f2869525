"""Trace a network once and tie its channel axes together: which layers must shrink together.

Every axis that counts channels gets one number ("id") an entry. Walking through the traced network
ties ids: an addition ties those of its inputs entry by entry, a batch norm ties its parameters to
what flows through it, a convolution ties the columns of its weight to what flows in and starts new
ids for what flows out. Ids tied to each other are one *channel*; channels that share a producing
axis must shrink together and form a *group* (Theus et al. 2024, section 3.1). An operation that
isn't in the tables below is refused by name, never guessed.
"""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp

from core.errors import Unsupported
from core.groups import (
    CONSUMES,
    FOLLOWS,
    PRODUCES,
    Coupling,
    DependencyGraph,
    Group,
    Layer,
    Node,
)


def trace(module: nn.Module, input_shape: tuple[int, ...] = (3, 32, 32)) -> DependencyGraph:
    """Find the groups of `module` by tracing it with torch.fx.

    Parameters
    ----------
    module : any network torch.fx can trace; it is not changed.
    input_shape : (channels, height, width) of one image.

    Raises
    ------
    Unsupported
        If torch.fx can't trace it, it can't take such an image, or it holds an operation whose
        effect on channels isn't known. The text names module and operation.
    """
    order = {name: place for place, (name, _) in enumerate(module.named_modules())}
    try:
        # A copy: other threads may be running the network, and tracing needs evaluation mode.
        traced = torch.fx.symbolic_trace(copy.deepcopy(module).eval())
        with torch.no_grad():
            ShapeProp(traced).propagate(torch.zeros(1, *input_shape))
    except Exception as error:  # anything: the code that runs here is the user's
        raise Unsupported(
            f"{type(module).__name__} can't be traced with an image of shape {input_shape}: "
            f"{_first_line(error)}. It must run on such an image and must not branch on values."
        ) from error
    return _Walk(traced).result(tuple(input_shape), order)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@dataclass(frozen=True)
class _Flow:
    """What flows along an edge: one id for each entry of dimension `dim`, which counts channels."""

    ids: np.ndarray
    dim: int = 1


#: Layers that act on every number by itself, so that channels stay what they are.
ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
)  # fmt: skip
#: Layers that act on each channel's picture by itself.
POOL_MODULES = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d,
)  # fmt: skip
ELEMENTWISE = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.sigmoid, F.tanh, F.softplus,
    F.hardtanh, F.hardswish, F.hardsigmoid, F.dropout, torch.relu, torch.relu_, torch.sigmoid,
    torch.tanh, "relu", "relu_", "sigmoid", "tanh", "contiguous", "clone",
}  # fmt: skip
POOLS = {
    F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, torch.max_pool2d,
}  # fmt: skip
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
VIEWS = {"view", "reshape", torch.reshape}
FLATTENS = {torch.flatten, "flatten"} | VIEWS
MEANS = {torch.mean, "mean"}
#: Questions about shapes: their answers are plain numbers, no channels flow through them.
SHAPES = {"size", "dim", getattr, operator.getitem, operator.mul, operator.floordiv, "numel"}


class _Walk:
    """One walk through a traced network; `result` closes it."""

    def __init__(self, traced: torch.fx.GraphModule) -> None:
        self.modules = dict(traced.named_modules())
        self.graph = traced.graph
        self.count = 0
        self.ties: list[tuple[np.ndarray, np.ndarray]] = []
        self.axes: dict[tuple[str, int], tuple[str, np.ndarray]] = {}  # → role, ids
        self.fixed: list[np.ndarray] = []
        self.flows: dict[torch.fx.Node, _Flow | None] = {}
        self.kinds: dict[torch.fx.Node, str] = {}
        self.layers: dict[str, Layer] = {}
        self.calls: dict[str, int] = {}
        for node in self.graph.nodes:
            self.flows[node] = self._visit(node)

    # -- ids ------------------------------------------------------------------------------------

    def _new(self, count: int) -> np.ndarray:
        self.count += count
        return np.arange(self.count - count, self.count)

    def _tie(self, left: np.ndarray, right: np.ndarray) -> None:
        self.ties.append((left, right))

    def _axis(self, tensor: str, axis: int, role: str, count: int) -> np.ndarray:
        """The ids of a tensor's axis, the same at every call of a shared module."""
        if (tensor, axis) not in self.axes:
            self.axes[tensor, axis] = role, self._new(count)
        return self.axes[tensor, axis][1]

    # -- one operation --------------------------------------------------------------------------

    def _visit(self, node: torch.fx.Node) -> _Flow | None:
        if node.op == "placeholder":
            self.kinds[node] = "input"
            flow = _Flow(self._new(_shape(node)[1]))
            self.fixed.append(flow.ids)
            return flow
        if node.op == "output":
            self.kinds[node] = "output"
            for parent in node.all_input_nodes:
                if (flow := self.flows[parent]) is not None:
                    self.fixed.append(flow.ids)
            return None
        if node.op == "call_module":
            return self._call_module(node)
        if node.op in ("call_function", "call_method"):
            return self._call_function(node)
        raise self._refusal(node, f"reads {node.target} directly")

    def _call_module(self, node: torch.fx.Node) -> _Flow:
        name, layer = str(node.target), self.modules[str(node.target)]
        flow = self._inflow(node)
        self.calls[name] = self.calls.get(name, 0) + 1
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            return self._weighted(node, name, layer, flow)
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            return self._batch_norm(node, name, layer, flow)
        if isinstance(layer, ELEMENTWISE_MODULES):
            self.kinds[node] = "dropout" if "Dropout" in type(layer).__name__ else "activation"
            return flow
        if isinstance(layer, POOL_MODULES):
            self.kinds[node] = "pool"
            return flow
        if isinstance(layer, nn.Flatten) and layer.start_dim == 1 and layer.end_dim == -1:
            return self._flatten(node, flow)
        raise self._refusal(node, f"is a {type(layer).__name__}")

    def _weighted(self, node: torch.fx.Node, name: str, layer: nn.Module, flow: _Flow) -> _Flow:
        """A convolution or a linear layer: consumes what flows in, produces what flows out."""
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise self._refusal(node, f"is a convolution with {layer.groups} groups")
        if flow.dim != len(_shape(node)) - 1 and isinstance(layer, nn.Linear):
            raise self._refusal(node, "is a linear layer along another axis than the channels'")
        if not isinstance(layer.weight, nn.Parameter):
            raise self._refusal(node, "computes its weight from other tensors")
        outputs, inputs = layer.weight.shape[:2]
        self.kinds[node] = "conv" if isinstance(layer, nn.Conv2d) else "linear"
        self._tie(self._axis(f"{name}.weight", 1, CONSUMES, inputs), flow.ids)
        produced = self._axis(f"{name}.weight", 0, PRODUCES, outputs)
        bias = None
        if layer.bias is not None:
            bias = f"{name}.bias"
            self._tie(self._axis(bias, 0, PRODUCES, outputs), produced)
        norm, epsilon = self._norm_after(node)
        self.layers[name] = Layer(
            name, self.kinds[node], f"{name}.weight", bias, norm, epsilon
        )  # fmt: skip
        return _Flow(produced)

    def _norm_after(self, node: torch.fx.Node) -> tuple[str | None, float]:
        """The batch norm that can be folded into this layer: it alone reads the layer's output."""
        users = list(node.users)
        if len(users) == 1 and users[0].op == "call_module":
            name = str(users[0].target)
            layer = self.modules[name]
            shared = sum(
                other.op == "call_module" and other.target in (name, node.target)
                for other in self.graph.nodes
            )
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and shared == 2:
                return name, layer.eps
        return None, 0.0

    def _batch_norm(self, node: torch.fx.Node, name: str, layer: nn.Module, flow: _Flow) -> _Flow:
        if layer.running_mean is None or not layer.affine:
            raise self._refusal(node, "is a batch norm without running statistics or scale")
        self.kinds[node] = "norm"
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            self._tie(
                self._axis(f"{name}.{tensor}", 0, FOLLOWS, layer.num_features), flow.ids
            )
        folded = [one for one in self.layers.values() if one.norm == name]
        if not folded:
            raise self._refusal(node, "is a batch norm that does not follow a layer of its own")
        return flow

    def _call_function(self, node: torch.fx.Node) -> _Flow | None:
        target = node.target
        flows = [self.flows[parent] for parent in node.all_input_nodes]
        moving = [flow for flow in flows if flow is not None]
        if target in SHAPES | ADDITIONS and not _is_tensor(node):
            self.kinds[node] = "shape"
            return None
        if target in ELEMENTWISE and len(moving) == 1:
            self.kinds[node] = "activation"
            return moving[0]
        if target in POOLS and len(moving) == 1:
            self.kinds[node] = "pool"
            return moving[0]
        if target in ADDITIONS:
            return self._addition(node, moving)
        if target in FLATTENS and len(moving) == 1:
            return self._flatten(node, moving[0])
        if target in MEANS and len(moving) == 1:
            return self._mean(node, moving[0])
        raise self._refusal(node, f"applies {getattr(target, '__name__', target)}")

    def _addition(self, node: torch.fx.Node, flows: list[_Flow]) -> _Flow:
        self.kinds[node] = "add" if len(flows) == 2 else "activation"
        first = flows[0]
        for flow in flows[1:]:
            if flow.dim != first.dim or len(flow.ids) != len(first.ids):
                raise self._refusal(node, "adds tensors whose channels do not match")
            self._tie(first.ids, flow.ids)
        return first

    def _flatten(self, node: torch.fx.Node, flow: _Flow) -> _Flow:
        """(b, c, h, w) → (b, c·h·w): each channel owns a block of h·w entries."""
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        if flow.dim != 1 or len(after) != 2 or after[0] != before[0]:
            if before == after:
                self.kinds[node] = "shape"
                return flow
            raise self._refusal(node, f"turns the shape {before} into {after}")
        if node.op != "call_module" and node.target in VIEWS:
            width = [*node.args, *node.kwargs.values()][-1]
            width = width[-1] if isinstance(width, (tuple, list)) else width
            if isinstance(width, int) and width != -1:
                raise self._refusal(node, f"is a view with {width} features whatever comes in")
        self.kinds[node] = "flatten"
        return _Flow(np.repeat(flow.ids, after[1] // before[1]))

    def _mean(self, node: torch.fx.Node, flow: _Flow) -> _Flow:
        """A mean over space, with or without the dimensions it leaves behind."""
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        if flow.dim != 1 or after[:2] != before[:2] or any(size != 1 for size in after[2:]):
            raise self._refusal(node, f"is a mean that turns the shape {before} into {after}")
        self.kinds[node] = "pool"
        return flow

    def _inflow(self, node: torch.fx.Node) -> _Flow:
        flows = [self.flows[parent] for parent in node.all_input_nodes]
        if len(flows) != 1 or flows[0] is None:
            raise self._refusal(node, f"reads {len(flows)} inputs")
        return flows[0]

    def _refusal(self, node: torch.fx.Node, what: str) -> Unsupported:
        called = node.op == "call_module"
        where = f"module {node.target!r}" if called else f"operation {node.name!r}"
        inside = list(node.meta.get("nn_module_stack", {}))
        if inside and not called:
            where += f" in module {inside[-1]!r}"
        return Unsupported(
            f"The {where} {what}, whose effect on channels is not known here. Replace it by a "
            "supported operation, or leave this network out."
        )

    # -- the groups -----------------------------------------------------------------------------

    def result(self, input_shape: tuple[int, ...], order: dict[str, int]) -> DependencyGraph:
        """The groups, ordered by their last producing layer's place in `order`, output first."""
        channel = self._channels()  # id → channel
        component = self._components(channel)  # channel → component
        barred = {int(component[channel[i]]) for ids in self.fixed for i in ids}
        last: dict[int, int] = {}  # component → place of its last producing layer
        for (tensor, _), (role, ids) in self.axes.items():
            if role == PRODUCES:
                one = int(component[channel[ids[0]]])
                last[one] = max(last.get(one, -1), order[tensor.rpartition(".")[0]])
        chosen = sorted((c for c in last if c not in barred), key=lambda c: -last[c])
        index = {one: place for place, one in enumerate(chosen)}
        position = np.full(channel.max() + 1, -1)
        widths = [0] * len(chosen)
        axes = sorted(self.axes.items(), key=lambda item: order[item[0][0].rpartition(".")[0]])
        for _, (role, ids) in axes:  # positions follow the first producing axis
            for one in channel[ids] if role == PRODUCES else ():
                if position[one] < 0 and int(component[one]) in index:
                    place = index[int(component[one])]
                    position[one] = widths[place]
                    widths[place] += 1
        couplings: list[list[Coupling]] = [[] for _ in chosen]
        for (tensor, axis), (role, ids) in axes:
            members = [index.get(int(component[one]), -1) for one in channel[ids]]
            for place, start, first, count, repeat in _runs(members, position[channel[ids]]):
                if place >= 0:
                    couplings[place].append(
                        Coupling(tensor, axis, role, count, repeat, start, first)
                    )
        groups = tuple(
            Group(place, widths[place], tuple(couplings[place])) for place in range(len(chosen))
        )

        def group_of(node: torch.fx.Node) -> int | None:
            flow = self.flows[node]
            return None if flow is None else index.get(int(component[channel[flow.ids[0]]]))

        nodes = tuple(
            Node(
                node.name,
                self.kinds[node],
                str(node.target) if node.op == "call_module" else None,
                group_of(node),
                _shape(node)[1:] if _is_tensor(node) else (),
                tuple(p.name for p in node.all_input_nodes if self.kinds[p] != "shape"),
            )
            for node in self.graph.nodes
            if self.kinds[node] != "shape"
        )
        return DependencyGraph(groups, self.layers, nodes, input_shape)

    def _channels(self) -> np.ndarray:
        left = np.concatenate([a for a, _ in self.ties] or [np.zeros(0, int)])
        right = np.concatenate([b for _, b in self.ties] or [np.zeros(0, int)])
        ones = np.ones(len(left), bool)
        ties = coo_matrix((ones, (left, right)), shape=(self.count, self.count))
        return connected_components(ties, directed=False)[1]

    def _components(self, channel: np.ndarray) -> np.ndarray:
        """Channels that share a producing axis, or an input or output, go together."""
        together = [ids for role, ids in self.axes.values() if role == PRODUCES] + self.fixed
        left = np.concatenate([channel[ids[:-1]] for ids in together])
        right = np.concatenate([channel[ids[1:]] for ids in together])
        total = channel.max() + 1
        links = coo_matrix((np.ones(len(left), bool), (left, right)), shape=(total, total))
        return connected_components(links, directed=False)[1]


def _runs(members: list[int], positions: np.ndarray) -> list[tuple[int, int, int, int, int]]:
    """Cut an axis into stretches (group, start, first position, count, repeat).

    Within a stretch each channel owns `repeat` entries in a row and the positions rise by one.
    """
    blocks: list[list[int]] = []  # group, start, position, length
    for entry, (place, position) in enumerate(zip(members, positions, strict=True)):
        if blocks and blocks[-1][0] == place and (place < 0 or blocks[-1][2] == position):
            blocks[-1][3] += 1
        else:
            blocks.append([place, entry, int(position), 1])
    runs: list[list[int]] = []
    for place, start, position, length in blocks:
        if runs and runs[-1][0] == place >= 0:
            _, _, first, count, repeat = runs[-1]
            if repeat == length and position == first + count:
                runs[-1][3] += 1
                continue
        runs.append([place, start, position, 1, length])
    return [tuple(run) for run in runs]


def _is_tensor(node: torch.fx.Node) -> bool:
    return isinstance(node.meta.get("tensor_meta"), torch.fx.passes.shape_prop.TensorMetadata)


def _shape(node: torch.fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape) if _is_tensor(node) else ()


