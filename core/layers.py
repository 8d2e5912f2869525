"""What each kind of layer (`nn.Module`) does to channels: which axes of its tensors belong to them.

`read(walk, node, layer, ids, shape)` ties what the layer holds to the ids that flow into it and
returns those that flow out, in the shape of what it puts out. A layer of a kind that isn't in these
tables is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx import Node

from core.groups import CONSUMES, FOLLOWS, PRODUCES, Layer
from core.ids import Axis, spread, tidy, varying

#: Layers that act on every number by itself, so that channels stay what they are.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.RReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink,
    nn.Tanhshrink, nn.Threshold, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity,
)  # fmt: skip
#: They do nothing to a trained network.
DROPOUTS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
#: Layers that act on each channel's picture by itself, and how many dimensions a picture has
#: (None: all behind the channels').
SPATIAL: dict[type[nn.Module], int | None] = {
    kind: dims
    for dims, kinds in {
        1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.LPPool1d),
        2: (
            nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d,
            nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ConstantPad2d,
        ),
        3: (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d),
        None: (nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d),
    }.items()
    for kind in kinds
}  # fmt: skip
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
WEIGHTED = CONVOLUTIONS + TRANSPOSED + (nn.Linear,)


def weighted(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """A convolution or a linear layer: consumes what flows in, produces what flows out."""
    name = str(node.target)
    linear = isinstance(layer, nn.Linear)
    walk.kinds[node.name] = "linear" if linear else "conv"
    for key in ("weight", "bias"):
        tensor = getattr(layer, key)
        if tensor is not None and not isinstance(tensor, nn.Parameter):
            raise walk.refusal(node, f"computes its {key} from other tensors")
    dim = ids.ndim - 1 if linear else 1
    entering = walk.along(node, ids, dim)
    groups = 1 if linear else layer.groups
    transposed = isinstance(layer, TRANSPOSED)
    inputs, outputs = len(entering), shape[dim]
    out, into = (1, 0) if transposed else (0, 1)
    weight, bias = f"{name}.weight", f"{name}.bias"
    ledger = walk.ledger
    own = groups > 1 and groups == inputs and (weight, out) not in ledger.known
    if own:  # each channel has filters of its own: it stays itself
        leaving = entering.repeat_interleave(outputs // inputs)
        rows = entering if transposed else leaving
        ledger.old((weight, 0), FOLLOWS, rows, scales=True)
        if layer.bias is not None:
            ledger.old((bias, 0), FOLLOWS, leaving)
    else:
        ledger.values.append(entering)
        split_in, split_out = (1, groups) if transposed else (groups, 1)
        ledger.old((weight, into), CONSUMES, entering, parts=split_in)
        leaving = ledger.new((weight, out), PRODUCES, outputs, parts=split_out)
        if groups > 1:
            ledger.divided += [entering.chunk(groups), leaving.chunk(groups)]
        if layer.bias is not None:
            ledger.old((bias, 0), PRODUCES, leaving)
    norm = _norm_after(walk, node)
    epsilon = walk.submodules[norm].eps if norm else 0.0
    held = bias if layer.bias is not None else None
    walk.layers[name] = Layer(
        name, walk.kinds[node.name], weight, held, norm, epsilon, out, groups if transposed else 1
    )
    return spread(leaving, dim, shape)


def _norm_after(walk, node: Node) -> str | None:
    """The batch norm that can be folded into this layer: it alone reads the layer's output."""
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    name = str(users[0].target)
    norm = walk.submodules[name]
    calls = [other.target for other in node.graph.nodes if other.op == "call_module"]
    alone = calls.count(name) == 1 and calls.count(node.target) == 1
    whole = isinstance(norm, BATCH_NORMS) and norm.affine and norm.running_mean is not None
    return name if alone and whole else None


def batch_norm(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """Batch norm, and instance norm: each channel is shifted and scaled by itself."""
    name = str(node.target)
    walk.kinds[node.name] = "norm"
    instance = isinstance(layer, INSTANCE_NORMS)
    if layer.running_mean is None and not instance:
        raise walk.refusal(
            node, "is a batch norm without running statistics, so that images change each other"
        )
    channels = walk.along(node, ids, 1)
    if not instance and len(channels) != layer.num_features:
        raise walk.refusal(node, f"normalises {layer.num_features} of {len(channels)} channels")
    for tensor, scales in (
        ("weight", True), ("bias", False), ("running_mean", False), ("running_var", True)
    ):  # fmt: skip
        if getattr(layer, tensor) is not None:
            walk.ledger.old((f"{name}.{tensor}", 0), FOLLOWS, channels, scales)
    if layer.running_mean is None and not layer.affine:
        walk.ledger.bare[f"{name}.num_features", 0] = Axis(FOLLOWS, channels)
    folded = any(one.norm == name for one in walk.layers.values())
    if layer.affine and layer.running_mean is not None and not folded:
        walk.layers[name] = Layer(name, "norm", f"{name}.weight", f"{name}.bias", None, layer.eps)
    return ids


def layer_norm(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """Layer norm over the last dimensions, of which one counts channels."""
    name = str(node.target)
    walk.kinds[node.name] = "norm"
    names = [
        f"{name}.{key}" if getattr(layer, key, None) is not None else None
        for key in ("weight", "bias")
    ]
    normed_over(walk, node, ids, layer.normalized_shape, *names)
    if names[0] is None:
        if len(layer.normalized_shape) > 1:
            raise walk.refusal(node, "is a layer norm over several dimensions without weights")
        channels = walk.along(node, ids, ids.ndim - 1)
        walk.ledger.bare[f"{name}.normalized_shape", 0] = Axis(FOLLOWS, channels)
    return ids


def normed_over(walk, node, ids: Tensor, over, weight: str | None, bias: str | None) -> None:
    """Tie the tensors of a layer norm over the last `len(over)` dimensions to what flows in."""
    first = ids.ndim - len(over)
    for axis in range(len(over)):
        dim = first + axis
        if dim not in varying(ids) and ids.shape[dim] > 1:
            continue  # a dimension of the picture
        channels = walk.along(node, ids, dim)
        for tensor, scales in ((weight, True), (bias, False)):
            if tensor is not None:
                walk.ledger.old((tensor, axis), FOLLOWS, channels, scales)


def group_norm(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """Group norm: channels of a group are normalised together, so that no group may vanish."""
    name = str(node.target)
    walk.kinds[node.name] = "norm"
    channels = walk.along(node, ids, 1)
    if 1 < layer.num_groups < len(channels):
        walk.ledger.divided.append(channels.chunk(layer.num_groups))
    if layer.affine:
        walk.ledger.old((f"{name}.weight", 0), FOLLOWS, channels, scales=True)
        walk.ledger.old((f"{name}.bias", 0), FOLLOWS, channels)
    else:
        walk.ledger.bare[f"{name}.num_channels", 0] = Axis(FOLLOWS, channels)
    return ids


def prelu(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """One slope for all channels, or one for each."""
    walk.kinds[node.name] = "activation"
    if layer.num_parameters > 1:
        channels = walk.along(node, ids, 1)
        walk.ledger.old((f"{node.target}.weight", 0), FOLLOWS, channels, scales=True)
    return ids


def elementwise(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    walk.kinds[node.name] = "dropout" if isinstance(layer, DROPOUTS) else "activation"
    return ids


def spatial(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    walk.kinds[node.name] = "pool"
    dims = next(dims for kind, dims in SPATIAL.items() if isinstance(layer, kind))
    return over_space(walk, node, ids, shape, dims)


def over_space(walk, node: Node, ids: Tensor, shape, dims: int | None) -> Tensor:
    """Ids after an operation on each channel's picture, the last `dims` dimensions."""
    dims = ids.ndim - 2 if dims is None else dims
    lead = ids.ndim - dims
    still = shape is not None and shape[:lead] == ids.shape[:lead]
    if lead < 1 or not still or any(d >= lead for d in varying(ids)):
        raise walk.refusal(
            node, f"acts on the last {dims} dimensions of {tuple(ids.shape)}, which hold channels"
        )
    for d in range(lead, ids.ndim):
        ids = ids.narrow(d, 0, 1)
    return ids.expand(shape)


def flatten(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """`nn.Flatten` and `nn.Unflatten` do to ids what they do to values."""
    walk.kinds[node.name] = "flatten"
    return walk.undivided(node, ids, tidy(layer(ids)))


def softmax(walk, node: Node, layer: nn.Module, ids: Tensor, shape: torch.Size) -> Tensor:
    """What is normalised over channels holds all of them: they stay."""
    walk.kinds[node.name] = "softmax"
    walk.ledger.fixed.append(ids.reshape(-1))
    return ids


#: They put out what comes in in the same shape: nothing needs to run to know it.
SHAPELESS = BATCH_NORMS + ELEMENTWISE + DROPOUTS
READERS: dict[tuple[type[nn.Module], ...], Callable] = {
    WEIGHTED: weighted,
    BATCH_NORMS + INSTANCE_NORMS: batch_norm,
    (nn.LayerNorm,): layer_norm,
    (nn.GroupNorm,): group_norm,
    (nn.PReLU,): prelu,
    ELEMENTWISE + DROPOUTS: elementwise,
    tuple(SPATIAL): spatial,
    (nn.Flatten, nn.Unflatten): flatten,
    (nn.Softmax, nn.LogSoftmax, nn.Softmax2d): softmax,
}


def reader(layer: nn.Module) -> Callable | None:
    """The row of `READERS` for a layer, or None."""
    return next((read for kinds, read in READERS.items() if isinstance(layer, kinds)), None)
