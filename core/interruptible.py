"""A training step that can be stopped between any two of its layers, and then has not happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

#: Layers that take time, before each of which one may stop.
LAYERS = (nn.Conv2d, nn.Linear)


@contextmanager
def interruptible(module: nn.Module, between: Callable[[], None]) -> Iterator[None]:
    """Within it, `between` is called before each layer, forward and backward.

    What it raises ends the step; the running statistics of batch norm, which a forward pass moves,
    are then put back. Gradients are left as they are, for the next step begins with none. Where it
    raises nothing, the numbers are the same as without.
    """
    before = [buffer.detach().clone() for buffer in module.buffers()]

    def forward(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        between()

    def after(layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(lambda gradient: between())

    held = []
    for layer in module.modules():
        if isinstance(layer, LAYERS):
            held += [
                layer.register_forward_pre_hook(forward), layer.register_forward_hook(after)
            ]  # fmt: skip
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for buffer, was in zip(module.buffers(), before, strict=True):
                buffer.copy_(was)
        raise
    finally:
        for one in held:
            one.remove()
