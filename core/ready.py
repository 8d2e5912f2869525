"""A copy of a network made to be run many times: batch norm folded in, channels last, bfloat16.

The copy gives the network's logits up to rounding; in bfloat16, where the processor has it, the
rounding is coarser (8 bits) and a convolution takes about half the time. Copies of variants of one
network hold what is equal in both once, and make anew only what differs.
"""

from __future__ import annotations

import copy
import operator

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from core import surgery
from core.errors import RecipeError

#: In which numbers a network is run: name → what it means, in a line.
NUMBERS = {
    "float32": "as the network was trained; the reference",
    "bfloat16": "half the bits: about twice as quick where the processor knows it",
}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
#: Layers that put what they compute into memory of its own, and write nowhere else.
FRESH = (*CONVOLUTIONS, nn.Linear, *NORMS, *MAXIMA)


class Quick(fx.GraphModule):
    """A network's quick copy, which may be run and looked into, never changed.

    Attributes
    ----------
    folds : by the name of a layer, that of the batch norm that was put into it.
    sources : by the same names and those of all other parts, the tensors they were made of.
    parts : those parts again, without anybody's hooks: what a variant's copy shares.
    """

    folds: dict[str, str]
    sources: dict[str, dict[str, Tensor]]
    parts: dict[str, nn.Module | Tensor]


def ready(
    module: nn.Module,
    graph: fx.Graph,
    numbers: str = "float32",
    like: Quick | None = None,
    hasten: bool = False,
) -> Quick:
    """A quick copy of `module`, an evaluating network that `graph` was traced from.

    Parameters
    ----------
    numbers : a key of NUMBERS.
    like : the copy of another variant, made from the same graph in the same numbers; what is equal
        in both is held once. Nobody may change either.
    hasten : activations may also move behind poolings, and write over what they alone read: the
        outputs are the same, what flows in between is not.

    Raises
    ------
    RecipeError
        If `numbers` is none of NUMBERS.
    """
    if numbers not in NUMBERS:
        raise RecipeError(
            f"A network can't be run in {numbers!r}: choose one of {', '.join(NUMBERS)}."
        )
    if like is None:
        graph, folds = _simpler(module, graph, hasten)
    else:
        graph, folds = like.graph, like.folds
    dtype = getattr(torch, numbers)
    sources, parts, bare = {}, {}, {}
    for node in graph.nodes:
        name = str(node.target)
        if node.op not in ("call_module", "get_attr") or name in parts:
            continue
        sources[name] = held = _tensors(module, name, folds.get(name))
        if like is not None and held and _same(held, like.sources[name]):
            parts[name] = bare[name] = like.parts[name]
        elif node.op == "get_attr":
            parts[name] = bare[name] = _quick_tensor(held[name], dtype)
        else:
            norm = module.get_submodule(folds[name]) if name in folds else None
            parts[name] = _quick_part(module.get_submodule(name), norm, dtype)
            bare[name] = _without_hooks(parts[name])
    quick = Quick(parts, graph)
    quick.eval()
    quick.folds, quick.parts = folds, bare
    # A variant's own tensors need not outlive it: only what others are compared with keeps them.
    quick.sources = sources if like is None else {}
    return quick


def prepared_images(pixels: Tensor, numbers: str) -> Tensor:
    """Images (b, c, h, w) as such a copy takes them."""
    pixels = pixels.to(getattr(torch, numbers))
    return pixels.contiguous(memory_format=torch.channels_last) if pixels.dim() == 4 else pixels


def has_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 by itself, and is therefore quicker in it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


def _simpler(module: nn.Module, graph: fx.Graph, hasten: bool) -> tuple[fx.Graph, dict[str, str]]:
    """The graph without the batch norms that go into the layers before them, and which do."""
    graph = copy.deepcopy(graph)
    folds = {}
    used: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            used[node.target] = used.get(node.target, 0) + 1
    for node in list(graph.nodes):
        source = node.args[0] if node.args else None
        # What is folded out of a channels-last tensor has to be copied; `view` refuses to.
        if node.op == "call_method" and node.target == "view":
            if not any(isinstance(one, torch.dtype) for one in node.args):
                node.target = "reshape"
        if node.op != "call_module" or not isinstance(source, fx.Node):
            continue
        norm = module.get_submodule(node.target)
        if not isinstance(norm, NORMS) or norm.running_mean is None:
            continue  # without running statistics it looks at the batch
        if source.op != "call_module" or len(source.users) > 1:
            continue
        if used[source.target] > 1 or used[node.target] > 1:
            continue
        layer = module.get_submodule(source.target)
        linear = isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
        if linear or isinstance(layer, CONVOLUTIONS):
            folds[source.target] = node.target
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    if hasten:
        _hasten(module, graph)
    graph.lint()
    return graph, folds


def _hasten(module: nn.Module, graph: fx.Graph) -> None:
    """Let ReLUs run behind max poolings, on fewer numbers, and write over what they alone read.

    The largest of some numbers, made 0 if it is negative, is the largest of them made 0: the same
    to the last bit.
    """
    for node in list(graph.nodes):
        if not _relu(module, node):
            continue
        source, users = node.args[0], list(node.users)
        if len(source.users) == 1 and len(users) == 1 and _is(module, users[0], MAXIMA):
            pool = users[0]
            if pool.args != (node,) or module.get_submodule(pool.target).return_indices:
                continue
            node.replace_all_uses_with(source)
            pool.replace_all_uses_with(node)
            pool.args, node.args = (source,), (pool,)
            pool.append(node)
            source = pool
        if len(source.users) == 1 and _is(module, source, FRESH):
            node.op, node.target, node.kwargs = "call_function", torch.relu_, {}


def _relu(module: nn.Module, node: fx.Node) -> bool:
    """Whether this is a ReLU of one node's output."""
    plain = node.target in (torch.relu, nn.functional.relu) and node.op == "call_function"
    known = plain or _is(module, node, (nn.ReLU,))
    return known and len(node.args) == 1 and isinstance(node.args[0], fx.Node)


def _is(module: nn.Module, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> bool:
    return node.op == "call_module" and type(module.get_submodule(node.target)) in kinds


def written_into(quick: Quick, value: fx.Node) -> bool:
    """Whether anything that reads this value might write into it, as far as that can be known."""
    for user in value.users:
        if _is(quick, user, FRESH) or user.op == "output":
            continue
        # What is added to another value stays; that one is written into.
        second = user.op == "call_function" and user.target is operator.iadd
        if second and user.args[0] is not value and isinstance(user.args[0], fx.Node):
            continue
        if user.op == "call_function" and user.target in (operator.add, torch.add):
            continue
        return True
    return False


def _tensors(module: nn.Module, name: str, norm: str | None) -> dict[str, Tensor]:
    """The tensors of a part, and of the batch norm that goes into it."""
    home, _, attribute = name.rpartition(".")
    part = getattr(module.get_submodule(home), attribute)
    if isinstance(part, Tensor):
        return {name: part}
    held = dict([*part.named_parameters(), *part.named_buffers()])
    if norm is not None:
        of = module.get_submodule(norm)
        held |= {f"norm.{key}": t for key, t in [*of.named_parameters(), *of.named_buffers()]}
    return held


def _same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether two parts hold the same numbers, or even the same memory."""
    return mine.keys() == theirs.keys() and all(alike(t, theirs[name]) for name, t in mine.items())


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; at once where they are the same memory."""
    if one is other:
        return True
    told = (one.shape, one.dtype, one.device)
    if told != (other.shape, other.dtype, other.device):
        return False
    return one.is_set_to(other) or torch.equal(one, other)


def _quick_tensor(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of a network's own parameter or buffer, in other numbers if it is no whole number."""
    made = tensor.detach().clone()
    made = made.to(dtype) if made.is_floating_point() else made
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _quick_part(part: nn.Module, norm: nn.Module | None, dtype: torch.dtype) -> nn.Module:
    """A copy of a layer with the batch norm in it, in other numbers and channels last."""
    if norm is None:
        made = copy.deepcopy(part)
    else:
        fuse = fuse_linear_bn_weights if isinstance(part, nn.Linear) else fuse_conv_bn_weights
        with torch.no_grad():
            weight, bias = fuse(
                part.weight, part.bias, norm.running_mean, norm.running_var, norm.eps,
                norm.weight, norm.bias,
            )  # fmt: skip
        # What is replaced is not copied first.
        known = {id(old): new for old, new in ((part.weight, weight), (part.bias, bias))}
        known.pop(id(None), None)
        made = copy.deepcopy(part, known)
        made.weight, made.bias = weight, bias
    made.to(dtype=dtype)
    if any(p.dim() == 4 for p in made.parameters()):
        made.to(memory_format=torch.channels_last)
    return made


def _without_hooks(part: nn.Module) -> nn.Module:
    """A part once more, with the very same tensors and nobody's hooks."""
    held = [*part.parameters(), *part.buffers()]
    return surgery.unhooked(part, {id(tensor): tensor for tensor in held})
