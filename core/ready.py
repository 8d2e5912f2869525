"""A copy of a network made to be run many times: batch norm folded in, channels last, bfloat16.

The copy gives the network's logits up to rounding; in bfloat16, where the processor has it, the
rounding is coarser (8 bits) and a convolution takes about half the time.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from core.errors import RecipeError

#: In which numbers a network is run: name → what it means, in a line.
NUMBERS = {
    "float32": "as the network was trained; the reference",
    "bfloat16": "half the bits: about twice as quick where the processor knows it",
}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def ready(
    module: nn.Module, graph: fx.Graph, numbers: str = "float32", like: nn.Module | None = None
) -> fx.GraphModule:
    """A quick copy of `module`, an evaluating network that `graph` was traced from.

    Parameters
    ----------
    numbers : a key of NUMBERS.
    like : another such copy; what is equal in both is held once. Nobody may change either.

    Raises
    ------
    RecipeError
        If `numbers` is none of NUMBERS.
    """
    if numbers not in NUMBERS:
        raise RecipeError(
            f"A network can't be run in {numbers!r}: choose one of {', '.join(NUMBERS)}."
        )
    quick = copy.deepcopy(fx.GraphModule(module, graph))
    _fold(quick)
    for node in quick.graph.nodes:
        # What is folded out of a channels-last tensor has to be copied; `view` refuses to.
        if node.op == "call_method" and node.target == "view":
            if not any(isinstance(one, torch.dtype) for one in node.args):
                node.target = "reshape"
    quick.graph.lint()
    quick.recompile()
    quick.to(dtype=getattr(torch, numbers))
    if any(p.dim() == 4 for p in quick.parameters()):
        quick.to(memory_format=torch.channels_last)
    if like is not None:
        _share(quick, like)
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


def _fold(quick: fx.GraphModule) -> None:
    """Put every batch norm into the convolution or linear layer that alone feeds it."""
    used: dict[str, int] = {}
    for node in quick.graph.nodes:
        if node.op == "call_module":
            used[node.target] = used.get(node.target, 0) + 1
    for node in list(quick.graph.nodes):
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node):
            continue
        norm = quick.get_submodule(node.target)
        if not isinstance(norm, NORMS) or norm.running_mean is None:
            continue  # without running statistics it looks at the batch
        if source.op != "call_module" or len(source.users) > 1:
            continue
        if used[source.target] > 1 or used[node.target] > 1:
            continue
        layer = quick.get_submodule(source.target)
        if isinstance(layer, CONVOLUTIONS):
            folded = fuse_conv_bn_eval(layer, norm)
        elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            folded = fuse_linear_bn_eval(layer, norm)
        else:
            continue
        _put(quick, source.target, folded)
        node.replace_all_uses_with(source)
        quick.graph.erase_node(node)
    quick.delete_all_unused_submodules()


def _share(quick: nn.Module, like: nn.Module) -> None:
    """Let both hold the same tensors where their numbers are equal."""
    theirs = dict(like.named_parameters()) | dict(like.named_buffers())
    for name, mine in [*quick.named_parameters(), *quick.named_buffers()]:
        other = theirs.get(name)
        if other is not None and other.shape == mine.shape and torch.equal(other, mine):
            mine.data = other.data


def _put(quick: nn.Module, target: str, part: nn.Module) -> None:
    home, _, name = target.rpartition(".")
    setattr(quick.get_submodule(home), name, part)
