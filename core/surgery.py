"""Fold batch norm into the weights, contract axes with a projection, rebuild a smaller module.

Nothing here changes what it is given: states are dictionaries of new tensors, modules are copies.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from core.groups import CONSUMES, Coupling, Group, Layer
from core.importance import State
from core.projection import Projection
from core.repair import Repair


def fold(state: State, layers: Mapping[str, Layer]) -> dict[str, Tensor]:
    """Fold every batch norm into the layer it normalises; the network's outputs stay the same.

    w′ = w·γ/√(σ²+ε), b′ = (b−μ)·γ/√(σ²+ε)+β. The batch norm stays in place and from then on adds
    b′ alone (γ = 1, μ = 0, σ² = 1−ε), so that a layer without a bias of its own needs no new
    tensor; a bias before it becomes 0. ε counts: with variances near 0 leaving it out, as the
    paper's formula does, doubles outputs or makes them NaN.
    """
    folded = dict(state)
    for layer in layers.values():
        if layer.norm is None:
            continue
        gamma, beta, mean, variance = (
            state[f"{layer.norm}.{name}"].double()
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / torch.sqrt(variance + layer.epsilon)  # (n,)
        weight = state[layer.weight]
        along = (-1,) + (1,) * (weight.ndim - 1)
        folded[layer.weight] = (weight.double() * scale.view(along)).to(weight.dtype)
        before = state[layer.bias].double() if layer.bias else torch.zeros_like(mean)
        kind = state[f"{layer.norm}.bias"].dtype
        folded[f"{layer.norm}.bias"] = ((before - mean) * scale + beta).to(kind)
        folded[f"{layer.norm}.weight"] = torch.ones_like(gamma, dtype=kind)
        folded[f"{layer.norm}.running_mean"] = torch.zeros_like(mean, dtype=kind)
        folded[f"{layer.norm}.running_var"] = torch.full_like(mean, 1 - layer.epsilon, dtype=kind)
        if layer.bias:
            folded[layer.bias] = torch.zeros_like(state[layer.bias])
    return folded


def shrink(
    state: State,
    group: Group,
    layers: Mapping[str, Layer],
    projection: Projection,
    repairs: Mapping[str, Repair] | None = None,
) -> dict[str, Tensor]:
    """The state with a group's n channels turned into m.

    Parameters
    ----------
    state : folded (`fold`).
    projection : merge (m, n) and unmerge (n, m).
    repairs : from `core.repair.repairs`, by the producing layer's name.
    """
    smaller = dict(state)
    norms = {layer.norm for layer in layers.values()}
    for coupling in group.couplings:
        tensor = smaller[coupling.tensor]
        if coupling.role == CONSUMES:
            matrix = projection.unmerge.T  # (m, n)
        elif coupling.layer in norms and not coupling.tensor.endswith(".bias"):
            # A folded batch norm scales by one; its three vectors only have to get shorter.
            length = projection.merge.shape[0] * coupling.repeat
            smaller[coupling.tensor] = tensor[:length].clone()
            continue
        else:
            matrix = projection.merge
        smaller[coupling.tensor] = contract(tensor, coupling, matrix, group.width)
    for name, repair in (repairs or {}).items():
        layer = layers[name]
        weight = smaller[layer.weight]
        along = (-1,) + (1,) * (weight.ndim - 1)
        smaller[layer.weight] = (weight.double() * repair.ratio.view(along)).to(weight.dtype)
        bias = f"{layer.norm}.bias" if layer.norm else layer.bias
        if bias:  # b″ = r(b′ − β′) + β′: louder around the same mean
            value = smaller[bias].double()
            louder = repair.ratio * (value - repair.centre) + repair.centre
            smaller[bias] = louder.to(smaller[bias].dtype)
    return smaller


def contract(tensor: Tensor, coupling: Coupling, matrix: Tensor, width: int) -> Tensor:
    """Replace a coupling's stretch of `tensor`'s axis by `matrix` (m, n) times it.

    Raises
    ------
    ValueError
        If the coupling holds a part of the group only: such groups need one matrix a part.
    """
    if coupling.count != width:
        raise ValueError(f"{coupling.tensor} holds {coupling.count} of {width} channels")
    moved = tensor.movedim(coupling.axis, 0)
    stretch = moved[coupling.start : coupling.stop]
    rows = stretch.reshape(coupling.count, -1).double()
    # (m, n) @ (n, repeat·rest) -> (m·repeat, rest)
    mixed = (matrix @ rows).reshape(-1, *moved.shape[1:]).to(tensor.dtype)
    parts = [moved[: coupling.start], mixed, moved[coupling.stop :]]
    return torch.cat(parts).movedim(0, coupling.axis).contiguous()


def rebuild(module: nn.Module, state: State) -> nn.Module:
    """A copy of `module` that holds `state`, whose tensors may have other sizes.

    The sizes its layers state (`in_channels`, `num_features`, …) follow; the copy is in evaluation
    mode.
    """
    smaller = copy.deepcopy(module).eval()
    for name, part in smaller.named_modules():
        prefix = f"{name}." if name else ""
        for key, old in part.named_parameters(recurse=False):
            fresh = state[prefix + key].detach().clone()
            setattr(part, key, nn.Parameter(fresh, requires_grad=old.requires_grad))
        for key, _ in part.named_buffers(recurse=False):
            if prefix + key in state:
                setattr(part, key, state[prefix + key].detach().clone())
        if isinstance(part, nn.Conv2d):
            part.out_channels = part.weight.shape[0]
            part.in_channels = part.weight.shape[1] * part.groups
        elif isinstance(part, nn.Linear):
            part.out_features, part.in_features = part.weight.shape
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.num_features = len(part.running_mean)
    return smaller
