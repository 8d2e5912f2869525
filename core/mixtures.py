"""What several networks come to without transport: the mean of their weights, and an ensemble.

Fusion (`core.fuse`) is compared with both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core import surgery
from core.errors import RecipeError
from core.shape import tensors_of


def mixture(shares: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """The shares of `count` networks, divided by their sum.

    Raises
    ------
    RecipeError
        If there are more or fewer, one is negative or not finite, or all are 0.
    """
    given = [1.0] * count if shares is None else [float(one) for one in shares]
    if len(given) != count:
        raise RecipeError(f"There are {count} networks and {len(given)} shares; give each its own.")
    if any(one < 0 or not math.isfinite(one) for one in given) or not sum(given) > 0:
        raise RecipeError(f"Shares must be 0 or more, and not all 0; got {given}.")
    return tuple(one / sum(given) for one in given)


def average(networks: Sequence[nn.Module], shares: Sequence[float] | None = None) -> nn.Module:
    """The plain mean of the tensors of networks, channel i with channel i: a new network.

    Batch norm's parameters and statistics are averaged like all others; `core.reestimate`
    measures the statistics anew.

    Raises
    ------
    RecipeError
        If there is none, tensors differ in name or shape, or shares don't fit.
    """
    networks = list(networks)
    if not networks:
        raise RecipeError("There is no network to average.")
    weights = mixture(shares, len(networks))
    states = [tensors_of(one) for one in networks]
    for at, state in enumerate(states[1:], start=2):
        for name in {**states[0], **state}:
            ours, theirs = (one.get(name) for one in (states[0], state))
            if ours is None or theirs is None or ours.shape != theirs.shape:
                raise RecipeError(
                    f"Network {at} can't be averaged with network 1: their tensors {name} differ "
                    "in shape or only one has it. Average networks of one architecture and width."
                )
    mixed = {}
    for name, tensor in states[0].items():
        if tensor.is_floating_point():
            parts = (
                share * state[name].detach().to(tensor.device).double()
                for share, state in zip(weights, states, strict=True)
            )
            mixed[name] = sum(parts).to(tensor.dtype)
    return surgery.rebuild(networks[0], mixed)


class Ensemble(nn.Module):
    """Several networks that vote: the logarithm of the mean of their class probabilities.

    (b, c, h, w) → (b, classes); the softmax of what it puts out is that mean.
    """

    def __init__(self, networks: Sequence[nn.Module], shares: Sequence[float]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shares = tuple(shares)

    def forward(self, x: Tensor) -> Tensor:
        voices = zip(self.networks, self.shares, strict=True)
        return torch.stack(
            [one(x).log_softmax(1) + math.log(share) for one, share in voices if share > 0]
        ).logsumexp(0)


def ensemble(networks: Sequence[nn.Module], shares: Sequence[float] | None = None) -> Ensemble:
    """Copies of the networks side by side, their probabilities averaged; see `Ensemble`.

    Raises
    ------
    RecipeError
        If there is none, or shares don't fit.
    """
    if not networks:
        raise RecipeError("There is no network to ask.")
    copies = [surgery.replica(one, {}) for one in networks]
    return Ensemble(copies, mixture(shares, len(copies))).eval()
