"""A merged layer that puts out mixtures of what the network's own layer puts out anyway.

Fusion multiplies the producing layer's weight by a matrix, W′ = M·W. Its inputs are the dense
network's, so that W′·x = M·(W·x): where W·x is known, M alone is left to multiply, an eighteenth of
the work for a 3×3 convolution of 256 channels whose group loses half of them. Pruning is the same
with rows of the identity as M.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.ready import CONVOLUTIONS

#: How far M·W may be from W′, of the length that a row could have: rounding, and no more.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


def mixing(dense: nn.Module, merged: nn.Module, matrix: Tensor) -> nn.Module | None:
    """The layer that makes the merged layer's outputs of the dense layer's; None if there is none.

    Parameters
    ----------
    dense, merged : quick copies of a layer (`core.ready`), with n and m outputs, of equal inputs.
    matrix : (m, n), what the outputs are said to have been merged with, but for a factor each
        (`repaired` has some). It is believed only as far as the weights bear it out.
    """
    if type(dense) is not type(merged) or not isinstance(dense, (*CONVOLUTIONS, nn.Linear)):
        return None
    if getattr(dense, "groups", 1) > 1:
        return None
    rows, wanted = dense.weight.detach().flatten(1), merged.weight.detach().flatten(1)
    if rows.shape[1] != wanted.shape[1] or tuple(matrix.shape) != (len(wanted), len(rows)):
        return None
    if 2 * len(rows) > rows.shape[1]:
        return None  # not much less work than the layer itself
    matrix = matrix.to(rows.device, torch.float32)
    rows, wanted = rows.float(), wanted.float()
    made = matrix @ rows  # (m, d)
    length = made.square().sum(1, keepdim=True)
    factor = (made * wanted).sum(1, keepdim=True) / length.clamp_min(torch.finfo(length.dtype).tiny)
    apart = (factor * made - wanted).norm(dim=1)
    allowed = (factor * matrix).abs() @ rows.norm(dim=1)
    if not (apart <= TOLERANCE[dense.weight.dtype] * allowed).all():
        return None
    return _layer(dense, factor * matrix, dense.bias, merged.bias)


def _layer(dense: nn.Module, matrix: Tensor, before: Tensor | None, after: Tensor | None):
    """A layer of the same kind that multiplies channels by `matrix` and brings in the bias."""
    count, width = matrix.shape
    # M·(W·x + b) + (b′ − M·b)
    shift = torch.zeros_like(matrix[:, 0]) if after is None else after.detach().float()
    if before is not None:
        shift = shift - matrix @ before.detach().float()
    size = () if isinstance(dense, nn.Linear) else (1,)
    with torch.device("meta"):
        layer = type(dense)(width, count, *size)
    for name, value in (("weight", matrix.view(count, width, *_ones(dense))), ("bias", shift)):
        setattr(layer, name, nn.Parameter(value.to(dense.weight.dtype), requires_grad=False))
    if layer.weight.dim() == 4:
        layer.to(memory_format=torch.channels_last)
    return layer.eval()


def _ones(dense: nn.Module) -> tuple[int, ...]:
    return (1,) * (dense.weight.dim() - 2)
