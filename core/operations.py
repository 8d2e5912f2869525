"""What each function and method does to channels. What isn't in these tables is refused.

`read(walk, node, args, kwargs, value)` gets the operation's arguments with ids in the place of the
values they belong to, and returns the ids of what comes out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from core.ids import core_of, tidy, varying
from core.layers import normed_over, over_space

#: They act on every number by itself, so that channels stay what they are.
ELEMENTWISE = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.sigmoid, F.tanh,
    F.logsigmoid, F.softplus, F.softsign, F.hardtanh, F.hardswish, F.hardsigmoid, F.dropout,
    F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, torch.relu, torch.relu_, torch.sigmoid,
    torch.tanh, torch.clamp, torch.abs, torch.neg, torch.exp, torch.sqrt, torch.rsqrt, torch.square,
    torch.pow, operator.neg, operator.pow, "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "clamp",
    "clamp_", "abs", "neg", "exp", "sqrt", "rsqrt", "square", "pow", "contiguous", "clone",
    "detach", "float",
}  # fmt: skip
#: The same, for functions of packages that are not imported here.
ELEMENTWISE_ELSEWHERE = {("torchvision.ops.stochastic_depth", "stochastic_depth")}
ADDITIONS = {
    operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, torch.maximum,
    torch.minimum, "add", "add_", "sub", "sub_", "maximum", "minimum",
}  # fmt: skip
PRODUCTS = {
    operator.mul, operator.imul, operator.truediv, operator.itruediv, torch.mul, torch.multiply,
    torch.div, torch.true_divide, "mul", "mul_", "multiply", "div", "div_",
}  # fmt: skip
#: They act on each channel's picture by itself: how many dimensions it has (None: all but two).
SPATIAL: dict[Any, int | None] = {
    F.max_pool1d: 1, F.avg_pool1d: 1, F.adaptive_avg_pool1d: 1, F.adaptive_max_pool1d: 1,
    F.max_pool2d: 2, F.avg_pool2d: 2, F.adaptive_avg_pool2d: 2, F.adaptive_max_pool2d: 2,
    F.max_pool3d: 3, F.avg_pool3d: 3, F.adaptive_avg_pool3d: 3, F.adaptive_max_pool3d: 3,
    torch.max_pool2d: 2, F.lp_pool2d: 2, F.interpolate: None, F.upsample: None,
}  # fmt: skip
REDUCTIONS = {
    torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin",
}  # fmt: skip
#: They move values about, or name their places anew: ids go the same way.
FLATTENS = {torch.flatten, "flatten", torch.unflatten, "unflatten"}
VIEWS = {"view", "reshape", torch.reshape, "expand", torch.broadcast_to} | FLATTENS
PERMUTATIONS = {
    torch.permute, torch.transpose, torch.swapaxes, torch.swapdims, torch.movedim, torch.moveaxis,
    torch.unsqueeze, torch.squeeze, torch.flip, "permute", "transpose", "swapaxes", "swapdims",
    "movedim", "moveaxis", "unsqueeze", "squeeze", "flip", operator.getitem,
}  # fmt: skip
CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate, torch.stack}
SPLITS = {torch.chunk, torch.split, "chunk", "split"}
SOFTMAXES = {
    torch.softmax, torch.log_softmax, F.softmax, F.log_softmax, "softmax", "log_softmax",
}  # fmt: skip
#: Questions about shapes: their answers are plain numbers, no channels flow through them.
SHAPES = {
    "size", "dim", "numel", "ndimension", getattr, len, int, float, bool, operator.getitem,
    operator.floordiv, operator.mod, operator.eq, operator.ne, operator.lt, operator.le,
    operator.gt, operator.ge, operator.add, operator.sub, operator.mul, operator.truediv,
    operator.neg, operator.pow, operator.not_, math.sqrt, math.floor, math.ceil, max, min,
    torch._assert, torch.sym_int,
}  # fmt: skip


def tensors(given: Any) -> list[Tensor]:
    """All tensors among arguments, which may lie in tuples and lists."""
    found: list[Tensor] = []
    torch.fx.node.map_aggregate(given, lambda one: found.append(one) if _is_ids(one) else None)
    return found


def _is_ids(one: Any) -> bool:
    return isinstance(one, Tensor)


def _only(walk, node: Node, args, kwargs) -> Tensor:
    flows = tensors((args, kwargs))
    if len(flows) != 1:
        raise walk.refusal(node, f"reads {len(flows)} tensors")
    return flows[0]


def elementwise(walk, node: Node, args, kwargs, value) -> Tensor:
    walk.kinds[node.name] = "activation"
    ids = _only(walk, node, args, kwargs)
    if not isinstance(value, Tensor) or value.shape != ids.shape:
        raise walk.refusal(node, f"turns the shape {tuple(ids.shape)} into another")
    return ids


def addition(walk, node: Node, args, kwargs, value) -> Tensor:
    return _pairwise(walk, node, args, kwargs, value, "add")


def product(walk, node: Node, args, kwargs, value) -> Tensor:
    return _pairwise(walk, node, args, kwargs, value, "multiply")


def _pairwise(walk, node: Node, args, kwargs, value, kind: str) -> Tensor:
    """Two tensors, entry by entry, one of which may be narrower; or a tensor and a number."""
    flows = tensors((args, kwargs))
    if len(flows) == 1:
        return elementwise(walk, node, args, kwargs, value)
    walk.kinds[node.name] = kind
    left, right = flows
    if left.ndim != right.ndim:  # the network's own parameters have the shape their author chose
        left, right = _lifted(walk, node, left, right), _lifted(walk, node, right, left)
    for own, other in ((left, right), (right, left)):
        along = varying(own)
        if along and walk.is_own(own):  # a parameter that differs over the picture alone
            if all(other.shape[d] > 1 and d not in varying(other) for d in along):
                return other.expand(value.shape)
    pairs = list(enumerate(zip(left.shape, right.shape, strict=True)))
    outer = [
        [d for d, sizes in pairs if sizes[side] == 1 < sizes[1 - side] and d in varying(wide)]
        for side, wide in ((0, right), (1, left))
    ]
    if outer[0] and outer[1] or outer[0] and varying(left) or outer[1] and varying(right):
        raise walk.refusal(
            node, f"combines the shapes {tuple(left.shape)} and {tuple(right.shape)}, whose "
            "channels lie along different dimensions"
        )  # fmt: skip
    if outer[0] or outer[1]:  # one number for all channels, such as a map of attention: no tie
        return (right if outer[0] else left).expand(value.shape)
    walk.ledger.tie(core_of(left), core_of(right))
    if kind == "multiply" and left.shape != right.shape:
        gate, stream = (left, right) if left.numel() < right.numel() else (right, left)
        walk.ledger.gates.append(core_of(gate).reshape(-1))
        walk.ledger.values.append(core_of(stream).reshape(-1))
    elif kind == "add":
        walk.ledger.values += [core_of(left).reshape(-1), core_of(right).reshape(-1)]
    wide = max((left, right), key=lambda one: (len(varying(one)), one.numel()))
    return tidy(core_of(wide).expand(value.shape))


def _lifted(walk, node: Node, one: Tensor, other: Tensor) -> Tensor:
    """A parameter of the network's own with as many dimensions as what it meets."""
    if one.ndim >= other.ndim:
        return one
    if not walk.is_own(one):
        raise walk.refusal(
            node, f"combines the shapes {tuple(one.shape)} and {tuple(other.shape)}, which differ "
            "in their number of dimensions"
        )  # fmt: skip
    return one[(None,) * (other.ndim - one.ndim)]


def spatial(walk, node: Node, args, kwargs, value) -> Tensor:
    walk.kinds[node.name] = "pool"
    ids = _only(walk, node, args, kwargs)
    shape = value.shape if isinstance(value, Tensor) else None
    return over_space(walk, node, ids, shape, SPATIAL[node.target])


def padding(walk, node: Node, args, kwargs, value) -> Tensor:
    """Padding in space; channels can't be padded."""
    walk.kinds[node.name] = "pool"
    ids = _only(walk, node, args, kwargs)
    changed = [d for d in range(ids.ndim) if ids.shape[d] != value.shape[d]]
    return over_space(walk, node, ids, value.shape, ids.ndim - min(changed, default=ids.ndim))


def reduction(walk, node: Node, args, kwargs, value) -> Tensor:
    """A mean, a sum or an extreme over dimensions that don't count channels."""
    walk.kinds[node.name] = "pool"
    ids = _only(walk, node, args, kwargs)
    rest = list(args[1:])
    dims = kwargs.get("dim", rest[0] if rest else None)
    keep = kwargs.get("keepdim", rest[1] if len(rest) > 1 else False)
    dims = (dims,) if isinstance(dims, int) else dims
    over = range(ids.ndim) if not dims else [d % ids.ndim for d in dims]
    if any(d in varying(ids) for d in over):
        raise walk.refusal(node, "mixes channels of different kinds into one number")
    return tidy(torch.amax(ids, tuple(over), bool(keep)))


def view(walk, node: Node, args, kwargs, value) -> Tensor:
    walk.kinds[node.name] = "flatten"
    ids = _only(walk, node, args, kwargs)
    return walk.undivided(node, ids, _same(node, args, kwargs))


def permutation(walk, node: Node, args, kwargs, value) -> Any:
    walk.kinds[node.name] = "permute"
    if isinstance(args[0], (tuple, list)):  # one of the parts of a split
        walk.kinds[node.name] = "split"
        return args[0][args[1]]
    ids = _only(walk, node, args, kwargs)
    found = _same(node, args, kwargs)
    if set(core_of(found).reshape(-1).tolist()) != set(core_of(ids).reshape(-1).tolist()):
        raise walk.refusal(node, "takes some of the channels by their numbers")
    return found


def concatenation(walk, node: Node, args, kwargs, value) -> Tensor:
    walk.kinds[node.name] = "concat"
    flows = tensors((args, kwargs))
    if node.target is torch.stack:
        return _same(node, args, kwargs)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % value.ndim
    same = [d for d in range(value.ndim) if d != dim and not any(d in varying(f) for f in flows)]
    for d in same:  # ids that differ nowhere need no memory
        flows = [flow.narrow(d, 0, 1) for flow in flows]
    return tidy(torch.cat(flows, dim).expand(value.shape))


def split(walk, node: Node, args, kwargs, value) -> tuple[Tensor, ...]:
    """Equal parts of the channels, which must stay equal; parts of a picture."""
    walk.kinds[node.name] = "split"
    ids = _only(walk, node, args, kwargs)
    parts = tuple(tidy(part) for part in _same(node, args, kwargs, keep=True))
    if core_of(parts[0]).numel() < core_of(ids).numel():
        if any(part.shape != parts[0].shape for part in parts):
            raise walk.refusal(node, "splits the channels into unequal parts")
        walk.ledger.divided.append(tuple(core_of(part).reshape(-1) for part in parts))
    return parts


def softmax(walk, node: Node, args, kwargs, value) -> Tensor:
    """What is normalised over channels holds all of them: they stay."""
    walk.kinds[node.name] = "softmax"
    ids = _only(walk, node, args, kwargs)
    walk.ledger.fixed.append(core_of(ids).reshape(-1))
    return ids


def layer_norm(walk, node: Node, args, kwargs, value) -> Tensor:
    walk.kinds[node.name] = "norm"
    named = dict(zip(("input", "normalized_shape", "weight", "bias"), node.args, strict=False))
    named |= node.kwargs
    held = [named.get("weight"), named.get("bias")]
    if any(one is not None and one.op != "get_attr" for one in held):
        raise walk.refusal(node, "computes its weight from other tensors")
    ids = walk.flows[named["input"].name]
    names = [None if one is None else str(one.target) for one in held]
    if held[0] is not None:
        walk.ledger.gates.append(core_of(walk.flows[held[0].name]).reshape(-1))
    normed_over(walk, node, ids, tuple(named["normalized_shape"]), *names)
    return ids


def _same(node: Node, args, kwargs, keep: bool = False) -> Any:
    """The operation itself, on ids."""
    if node.op == "call_method":
        name = "reshape" if node.target == "view" else str(node.target)
        found = getattr(args[0], name)(*args[1:], **kwargs)
    else:
        found = node.target(*args, **kwargs)
    return found if keep else tidy(found)


READERS: list[tuple[Any, Callable]] = [
    (ELEMENTWISE, elementwise),
    (ADDITIONS, addition),
    (PRODUCTS, product),
    (SPATIAL, spatial),
    ({F.pad}, padding),
    (REDUCTIONS, reduction),
    (VIEWS, view),
    (PERMUTATIONS, permutation),
    (CONCATENATIONS, concatenation),
    (SPLITS, split),
    (SOFTMAXES, softmax),
    ({F.layer_norm}, layer_norm),
]


def reader(target: Any) -> Callable | None:
    """The row of `READERS` for a function or a method's name, or None."""
    place = getattr(target, "__module__", None), getattr(target, "__name__", None)
    if place in ELEMENTWISE_ELSEWHERE:
        return elementwise
    return next((read for kinds, read in READERS if target in kinds), None)
