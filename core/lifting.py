"""Put a smaller network back into the dense network's space: kept channels at their places.

The lifted network has the dense network's shapes and computes what the smaller one does: zeros
stand wherever a discarded channel had its rows, its bias and its columns, so that it is zero and
nobody reads it. That holds for every rule, every way to choose what stays, flattened channels,
residual streams and several rounds alike, for all of them end in smaller tensors and a place for
each channel. It doesn't hold where channels are normalised together (layer norm, group norm): a
channel of zeros is then not the same as none. Such networks are refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from core import surgery
from core.errors import RecipeError, Unsupported
from core.evaluate import device_of, evaluating
from core.groups import DependencyGraph
from core.importance import labelled_generator
from core.projection import select

#: Images drawn to prove that nothing changed, and the difference that rounding may make of them, as
#: a share of the largest logit.
PROOF, ROUNDING = 4, 1e-4


def lift(
    module: nn.Module, graph: DependencyGraph, small: nn.Module, kept: Mapping[int, Tensor]
) -> nn.Module:
    """A network like `module`, in evaluation mode with batch norm folded, that computes `small`.

    Parameters
    ----------
    module : the dense network. graph : `core.trace(module)`.
    small : what `core.compress` made of it. kept : `Compressed.kept`, (m,) a group.

    Raises
    ------
    RecipeError
        If `small` was not made of `module` by keeping those channels.
    Unsupported
        If it doesn't compute what `small` does: channels are normalised together.
    """
    graph.check(module.state_dict())
    small = evaluating(small)
    state = lifted(module, graph, small, kept)
    large = surgery.rebuild(module, state)
    apart = _apart(small, large, graph.input_shape)
    if not apart <= ROUNDING:
        raise Unsupported(
            "The smaller network can't be put back into the dense network's space: logits change "
            f"by {apart:.1e} of the largest. {_reason(module)}Choose a network with batch norm."
        )
    return large


def lifted(
    module: nn.Module, graph: DependencyGraph, small: nn.Module, kept: Mapping[int, Tensor]
) -> dict[str, Tensor]:
    """The folded tensors of `small` in the shapes of `module`'s; see `lift`, which proves it."""
    dense = surgery.fold(module.state_dict(), graph.layers)
    state = surgery.fold(small.state_dict(), graph.layers)
    learned = {name for name, _ in module.named_parameters()}
    entries = _entries(graph, kept)
    found = {}
    for name, before in dense.items():
        axes = [(axis, *held) for (tensor, axis), held in entries.items() if tensor == name]
        shape = list(before.shape)
        for axis, parts, stays in axes:
            shape[axis] = len(stays) // parts
        if name not in state or list(state[name].shape) != shape:
            raise RecipeError(
                "The smaller network was not made of this one by keeping these channels: its "
                f"tensor {name} doesn't fit. Give the result of core.compress with its own kept."
            )
        tensor = state[name]
        for axis, parts, stays in axes:
            # Statistics of channels that are gone stay as they are: a variance of 0 means more.
            if name in learned:
                into = tensor.new_zeros(_with(tensor.shape, axis, before.shape[axis]))
            else:
                into = before.to(tensor.device)  # statistics have one axis
            tensor = surgery.put(tensor, axis, parts, stays, into)
        found[name] = tensor
    return found


def _with(shape: torch.Size, axis: int, length: int) -> list[int]:
    return [*shape[:axis], length, *shape[axis + 1 :]]


def _entries(
    graph: DependencyGraph, kept: Mapping[int, Tensor]
) -> dict[tuple[str, int], tuple[int, Tensor]]:
    """By tensor and axis: its parts, and the entries (rising) of channels that stay, or of none."""
    stays: dict[tuple[str, int], Tensor] = {}
    parts: dict[tuple[str, int], int] = defaultdict(lambda: 1)
    for index, channels in kept.items():
        group = graph.groups[index]
        held = select(channels, group.width).merge.sum(0) > 0  # (n,)
        for c in group.couplings:
            if c.tensor not in graph.shapes:
                continue
            key = c.tensor, c.axis
            parts[key] = c.parts
            length = graph.shapes[c.tensor][c.axis] * c.parts
            whole = stays.setdefault(key, torch.ones(length, dtype=torch.bool))
            mine = held[c.first : c.first + c.count].repeat_interleave(c.repeat)
            whole[c.start : c.stop] = mine
    return {key: (parts[key], mask.nonzero()[:, 0]) for key, mask in stays.items()}


@torch.no_grad()
def _apart(small: nn.Module, large: nn.Module, shape: tuple[int, ...]) -> float:
    """The largest difference of logits on images that are drawn, as a share of the largest one."""
    generator = labelled_generator(0, "images to prove a lifted network with")
    tensor = next(small.parameters())
    pixels = torch.randn(PROOF, *shape, generator=generator).to(device_of(small), tensor.dtype)
    wanted, got = small(pixels), large(pixels)
    return float((wanted - got).abs().max() / wanted.abs().max().clamp_min(1e-12))


def _reason(module: nn.Module) -> str:
    for name, part in module.named_modules():
        together = isinstance(part, nn.GroupNorm) and part.num_groups < part.num_channels
        if together or isinstance(part, nn.LayerNorm):
            return (
                f"{name} ({type(part).__name__}) normalises channels together, so that a channel "
                "of zeros is not the same as none. "
            )
    return ""
