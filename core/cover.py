"""Choose the channels from which the others' effect on their consumers is told best.

With the covariance C (n, n) of a group's channels at a consumer and that consumer's weights W, the
best linear guess of all channels from a subset S leaves Σ_{C|S} = C − C·S C_SS⁻¹ C_S· unexplained,
and trace(W Σ_{C|S} Wᵀ) of the consumer's output with it. S grows greedily, by the channel that
explains most of what is left: a pivoted Cholesky factorisation whose pivot looks at the consumer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: A channel with less than this share of the mean variance left is explained already.
EXPLAINED = 1e-9


@dataclass(frozen=True, eq=False)
class Consumer:
    """What a consumer sees of a group: `covariance` (n, n), and the Gram matrix WᵀW (n, n).

    The Gram matrix is scaled so that the output's variance, trace(gram·covariance), is 1: where a
    group has several consumers they count alike.
    """

    covariance: Tensor
    gram: Tensor


def consumer(inputs: Tensor, weight: Tensor) -> Consumer:
    """From samples (k, n) of what it consumes and its weight (out, n, …), all taps counted."""
    centred = (inputs - inputs.mean(0)).double()
    covariance = centred.T @ centred / len(centred)
    columns = weight.double().transpose(0, 1).flatten(1)  # (n, out·taps)
    gram = columns @ columns.T
    total = float((gram * covariance).sum())
    return Consumer(covariance, gram / total if total > 0 else torch.zeros_like(gram))


class _Residual:
    """What is left of one consumer's covariance, without ever forming it: O(n²) a channel."""

    def __init__(self, seen: Consumer, most: int) -> None:
        self.seen = seen
        self.factor = seen.covariance.new_zeros(len(seen.covariance), most)
        self.used = 0
        self.left = seen.covariance.diagonal().clone()  # diagonal of R
        self.least = EXPLAINED * float(self.left.mean()) + 1e-300
        half = seen.gram @ seen.covariance
        self.effect = (seen.covariance * half).sum(0)  # diagonal of R·G·R

    def times(self, vector: Tensor) -> Tensor:
        """R·vector, with R = C − L·Lᵀ."""
        factor = self.factor[:, : self.used]
        return self.seen.covariance @ vector - factor @ (factor.T @ vector)

    def gains(self) -> Tensor:
        """(n,) the share of the output that each channel would explain."""
        return torch.where(
            self.left > self.least, self.effect / self.left.clamp_min(self.least), 0.0
        ).clamp_min(0.0)

    def take(self, channel: int) -> None:
        if not self.left[channel] > self.least:
            return
        factor = self.factor[:, : self.used]
        column = self.seen.covariance[:, channel] - factor @ factor[channel]  # (n,) of R
        pivot = column[channel].clamp_min(self.least)
        scaled = column / pivot.sqrt()
        pulled = self.seen.gram @ scaled
        self.effect = (
            self.effect - 2 * scaled * self.times(pulled) + (scaled @ pulled) * scaled.square()
        )
        self.factor[:, self.used] = scaled
        self.used += 1
        self.left = (self.left - scaled.square()).clamp_min(0.0)


def cover(consumers: list[Consumer], count: int) -> tuple[Tensor, Tensor]:
    """Channels in the order they are taken, (count,) int64, and what each adds, (count,) float64.

    What they add is a share of the consumers' output; the sum over all n channels is the number of
    consumers that put out anything.
    """
    residuals = [_Residual(seen, count) for seen in consumers]
    order, added = [], []
    for _ in range(count):
        gains = sum(residual.gains() for residual in residuals)
        gains[order] = -1.0
        best = int(gains.argmax())
        order.append(best)
        added.append(float(gains[best]))
        for residual in residuals:
            residual.take(best)
    return torch.tensor(order), torch.tensor(added, dtype=torch.float64)


def explained(consumers: list[Consumer], kept: Tensor) -> float:
    """The share of the consumers' outputs that the kept channels (m,) explain, summed over them."""
    total = 0.0
    for seen in consumers:
        residual = _Residual(seen, len(kept))
        for channel in kept.tolist():
            total += float(residual.gains()[channel])
            residual.take(channel)
    return total
