"""Numbers for channels: every entry of a value gets the id of the channel it belongs to.

Ids flow through a network beside the values, as a tensor of the same shape (for one image), so that
whatever rearranges values rearranges ids by the very same call. Along axes that don't count
channels the tensor has stride 0: it takes no memory there. Ids that must be one channel are tied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


def varying(ids: Tensor) -> tuple[int, ...]:
    """The dimensions along which `tidy` ids differ."""
    return tuple(d for d in range(ids.ndim) if ids.stride(d) != 0 and ids.shape[d] > 1)


def tidy(ids: Tensor) -> Tensor:
    """The same ids, with stride 0 along every dimension in which nothing differs."""
    return core_of(ids).expand(ids.shape)


def core_of(ids: Tensor) -> Tensor:
    """The ids with size 1 along every dimension in which nothing differs."""
    least = ids
    for d in range(ids.ndim):
        if least.shape[d] > 1:
            first = least.narrow(d, 0, 1)
            if least.stride(d) == 0 or bool((least == first).all()):
                least = first
    return least


def spread(line: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """Ids (k,) along dimension `dim` of a value of that shape."""
    return line.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)


@dataclass(frozen=True)
class Axis:
    """The ids along a tensor's axis, and what the tensor does with them (see `Coupling`)."""

    role: str
    ids: Tensor
    scales: bool = False
    parts: int = 1


class Ledger:
    """All that a walk through a network finds out about ids.

    axes : (tensor's name, axis) → its `Axis`. bare : the same for widths that are only stated.
    fixed : ids that must stay (the input's, the classes'). divided : lists of ids of equal length
    which must keep equally many channels, none of one mixed with one of another.
    `started` are the ids that did not come from others, by what they came with; `known` gives them
    beforehand, from another ledger.
    """

    def __init__(self, known: dict[tuple[str, int], Tensor] | None = None) -> None:
        self.known = known or {}
        self.started: dict[tuple[str, int], Tensor] = {}
        most = (int(ids.max()) for ids in self.known.values() if len(ids))
        self.count = 1 + max(most, default=-1)
        self.ties: list[tuple[Tensor, Tensor]] = []
        self.axes: dict[tuple[str, int], Axis] = {}
        self.bare: dict[tuple[str, int], Axis] = {}
        self.fixed: list[Tensor] = []
        self.divided: list[tuple[Tensor, ...]] = []
        self.gates: list[Tensor] = []
        self.values: list[Tensor] = []

    def fresh(self, key: tuple[str, int], count: int) -> Tensor:
        """New ids, rising, or those that are known."""
        if key not in self.started:
            new = torch.arange(self.count, self.count + count)
            self.started[key] = self.known.get(key, new)
            self.count += count
        return self.started[key]

    def tie(self, left: Tensor, right: Tensor) -> None:
        """Entry by entry, these are the same channel."""
        left, right = (ids.reshape(-1) for ids in torch.broadcast_tensors(left, right))
        self.ties.append((left, right))

    def new(self, key: tuple[str, int], role: str, count: int, parts: int = 1) -> Tensor:
        """The ids of an axis that starts channels, the same at every call of a shared module."""
        if key not in self.axes:
            self.axes[key] = Axis(role, self.fresh(key, count), parts=parts)
        return self.axes[key].ids

    def old(self, key: tuple[str, int], role: str, ids: Tensor, scales=False, parts=1) -> None:
        """An axis along which the channels `ids` are followed or consumed."""
        if key in self.axes:
            self.tie(self.axes[key].ids, ids)
        else:
            self.axes[key] = Axis(role, ids, scales, parts)

    def channels(self) -> np.ndarray:
        """The channel of every id: ids tied to each other are one."""
        pairs = [torch.cat([one[side] for one in self.ties] or [torch.zeros(0)]) for side in (0, 1)]
        return _connected(*(one.long().numpy() for one in pairs), self.count)

    def families(self, channel: np.ndarray, together: list[np.ndarray]) -> np.ndarray:
        """The component of every channel: channels that share a list of ids go together."""
        left = [channel[ids[:-1]] for ids in together]
        right = [channel[ids[1:]] for ids in together]
        none = [np.zeros(0, int)]
        return _connected(
            np.concatenate(left + none), np.concatenate(right + none), channel.max() + 1
        )

    def settled(self) -> dict[tuple[str, int], Axis]:
        """The axes, those of gates marked: channels multiplied by what they produce or hold.

        A tensor that both multiplies channels and is one of them (x·x) is no gate.
        """
        gates, values = (
            np.unique(np.concatenate([one.numpy() for one in many]) if many else [])
            for many in (self.gates, self.values)
        )
        gates = np.setdiff1d(gates, values)
        return {
            key: replace(axis, scales=True)
            if axis.role != "consumes" and len(gates) and np.isin(axis.ids.numpy(), gates).all()
            else axis
            for key, axis in self.axes.items()
        }


def _connected(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    links = coo_matrix((np.ones(len(left), bool), (left, right)), shape=(count, count))
    return connected_components(links, directed=False)[1]
