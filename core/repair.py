"""Give averaged channels back the variance that averaging took, without any data.

A pre-activation normalised by batch norm has mean β and standard deviation |γ|·√(σ²/(σ²+ε)) on the
training data: |γ|, but for channels that hardly vary. Inputs that are white make its correlations
those of the weight rows, R. With these deviations in D a fused channel a·z then has the variance
aᵀ(D R D)a, where a channel like its parents would have a standard deviation of Σⱼ aⱼDⱼ: rescaling
its row by the ratio, around its mean, restores it (cf. REPAIR, Jordan et al. 2023, which measures
both on data).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.cost import normalised
from core.groups import PRODUCES, Group, Layer
from core.importance import State, channel_rows
from core.projection import Projection, stretch

#: A fused channel is never made louder than this: parents that cancel out leave nothing to repair.
LARGEST_RATIO = 10.0


@dataclass(frozen=True)
class Repair:
    """For one producing layer: `ratio` (m·repeat,) multiplies fused rows around `centre`."""

    ratio: Tensor
    centre: Tensor


def repairs(
    original: State,
    folded: State,
    group: Group,
    layers: Mapping[str, Layer],
    merge: Tensor,
    kept: Tensor | None = None,
) -> dict[str, Repair]:
    """The repair of every layer that produces a group, by the layer's name.

    Parameters
    ----------
    original, folded : the state before and after folding batch norm.
    merge : (m, n) matrix of the fused channels; rows may sum to anything.
    kept : the place each of them takes (`Projection.kept`), for groups of several blocks.

    Where a layer has no batch norm its inputs are taken as white, of mean zero and variance one:
    a row's norm stands in for |γ|, the bias for β.
    """
    found: dict[str, Repair] = {}
    for coupling in sorted(group.of(PRODUCES), key=lambda one: one.start):
        layer = layers[coupling.layer]
        if coupling.tensor != layer.weight:
            continue
        rows = channel_rows(folded, coupling)  # (count, repeat·d)
        rows = rows.reshape(coupling.count * coupling.repeat, -1)  # (count·repeat, d)
        held = stretch(group, Projection(merge, merge.T, kept), coupling)
        part = merge[held, coupling.first : coupling.first + coupling.count]  # (m, count)
        along = slice(coupling.start, coupling.stop)
        if layer.norm:
            variance = original[f"{layer.norm}.running_var"][along].double().clamp_min(0)
            # |γ|·√(σ²/(σ²+ε)): a channel that hardly varies is not made to vary by γ.
            alive = torch.sqrt(variance / (variance + layer.epsilon).clamp_min(1e-300))
            deviation = original[f"{layer.norm}.weight"][along].double().abs() * alive
            centre = original[f"{layer.norm}.bias"][along].double()
        else:
            deviation = rows.norm(dim=1)
            bias = original[layer.bias][along] if layer.bias else torch.zeros(len(rows))
            centre = bias.double()
        # A channel may own a block of rows; the k-th rows of all channels are merged together.
        blocks = [slice(k, None, coupling.repeat) for k in range(coupling.repeat)]
        ratios = [
            variance_ratio(part, deviation[block], normalised(rows[block])) for block in blocks
        ]
        centres = [part @ centre[block] for block in blocks]
        ratio, middle = torch.stack(ratios, 1).flatten(), torch.stack(centres, 1).flatten()
        if layer.name in found:  # its outputs lie in several stretches
            before = found[layer.name]
            ratio, middle = torch.cat([before.ratio, ratio]), torch.cat([before.centre, middle])
        found[layer.name] = Repair(ratio, middle)
    return found


def variance_ratio(merge: Tensor, deviation: Tensor, directions: Tensor) -> Tensor:
    """Wanted over expected standard deviation of each fused channel: (m,) float64.

    Parameters
    ----------
    merge : (m, n). deviation : (n,) standard deviations. directions : (n, d) unit weight rows.
    """
    spread = merge * deviation  # (m, n)
    # √(aᵀ |γ| R |γ| a) with R = directions · directionsᵀ
    expected = (spread @ directions).norm(dim=1)
    wanted = spread.sum(1)
    ratio = torch.where(expected > 0, wanted / expected.clamp_min(1e-300), 1.0)
    return ratio.clamp(0.0, LARGEST_RATIO)
