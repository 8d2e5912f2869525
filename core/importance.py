"""One score a channel: how much it is thought to matter.

The score of a group's channel is the mean, over the weights that produce it and the weights that
consume it, of that weight's own score; batch norm is folded in first, biases stay out (Theus et
al. 2024, section 3.2, and its released code).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.groups import CONSUMES, PRODUCES, Coupling, Group

State = Mapping[str, Tensor]


def labelled_generator(seed: int, label: str) -> torch.Generator:
    """A generator drawn from a seed and a label, the same in every process."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{label}".encode()))


def side_by_side(tensor: Tensor, axis: int, parts: int = 1) -> Tensor:
    """The tensor with `axis` first: (axis, …).

    With `parts` groups of a convolution, (g·o, k, …) becomes (g·k, o, …): row j·k + i is what the
    o rows of group j have for its i-th channel.
    """
    if parts == 1:
        return tensor.movedim(axis, 0)
    split = tensor.unflatten(1 - axis, (parts, -1))  # (g, o, k, …) for axis 1
    return split.movedim(axis + 1, 1).flatten(0, 1)


def channel_rows(state: State, coupling: Coupling) -> Tensor:
    """What a coupling holds of each of its channels: (count, everything else), float64."""
    tensor = side_by_side(state[coupling.tensor], coupling.axis, coupling.parts)  # (axis, …)
    stretch = tensor[coupling.start : coupling.stop]
    return stretch.reshape(coupling.count, -1).double()


def weights_of(state: State, group: Group) -> list[Coupling]:
    """The couplings whose weights speak for a channel: producing and consuming, biases out."""
    return [
        coupling
        for coupling in group.of(PRODUCES) + group.of(CONSUMES)
        if state[coupling.tensor].ndim > 1
    ]


@dataclass(frozen=True)
class Importance:
    """A row of `IMPORTANCES`: what it is in one line, and a weight's score, (n, k) → (n,)."""

    about: str
    norm: Callable[[Tensor], Tensor] | None


IMPORTANCES: dict[str, Importance] = {
    "l1": Importance("sum of a channel's absolute weights", lambda rows: rows.abs().sum(1)),
    "l2": Importance("sum of a channel's squared weights", lambda rows: rows.square().sum(1)),
    "linf": Importance("a channel's largest absolute weight", lambda rows: rows.abs().amax(1)),
    "random": Importance("drawn at random with the seed: the baseline", None),
}


def scores(state: State, group: Group, importance: str = "l1", seed: int = 0) -> Tensor:
    """The importance of every channel of a group: (n,) float64, none negative.

    Parameters
    ----------
    state : a network's state with batch norm folded (`core.surgery.fold`).
    importance : a key of `IMPORTANCES`.
    seed : used by `random` alone.
    """
    norm = IMPORTANCES[importance].norm
    if norm is None:
        generator = labelled_generator(seed, f"importance of group {group.index}")
        return torch.rand(group.width, generator=generator, dtype=torch.float64)
    total = torch.zeros(group.width, dtype=torch.float64)
    count = torch.zeros(group.width, dtype=torch.float64)
    for coupling in weights_of(state, group):
        reach = slice(coupling.first, coupling.first + coupling.count)
        total[reach] += norm(channel_rows(state, coupling))
        count[reach] += 1
    return total / count
