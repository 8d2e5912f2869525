"""What a smaller group leaves unexplained in the next layers' outputs, channel by channel.

A consumer that read channels x reads U·M·x instead (M merges, U unmerges), so its output misses
W·r with the residual r = R·x, R = I − U·M. With the covariance C of the channels and G = WᵀW, both
known without data (`core.statistics`, `core.cover`), the variance of what is missed is
trace(G·R·C·Rᵀ). Channel j's part of it is entry j of the diagonal, E[r_j·(G·r)_j]: what its own
residual and half of each pair that it is in add. That is its Shapley value: what it adds on average
when residuals are put in one after the other, in any order.

Two things are left out: activations are taken to pass sums of channels on as they are, and a shift
that is the same for all images does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.compress import Step
from core.cover import Consumer
from core.errors import Unsupported
from core.groups import CONSUMES, PRODUCES, Coupling, Group
from core.prepared import Prepared
from core.projection import RULES
from core.recipe import Recipe
from core.regression import Refit

#: Less than this share of the consumers' outputs is rounding: nothing is left unexplained.
NOTHING = 1e-9


@dataclass(frozen=True, eq=False)
class Unexplained:
    """What a group leaves unexplained.

    total : the share of the variance of its consumers' outputs, all consumers alike. Above 1 where
    what they read has little to do with what they read before.
    shares : (n,) float64, each channel's part of the total; they sum to 1. One below zero takes
    away from what others miss: rebuilt without fault, it would leave more unexplained. All are zero
    where nothing is left unexplained.
    """

    total: float
    shares: Tensor


def unexplained(
    prepared: Prepared,
    index: int,
    step: Step,
    recipe: Recipe,
    refits: Mapping[str, Refit] | None = None,
) -> Unexplained:
    """How much each channel of group `index` has to do with what its consumers miss; data-free.

    Parameters
    ----------
    step : what was decided for the group. recipe : its rule, and which synthetic images stand in
    for data (`samples`, `synthetic`, `seed`). refits : `Compressed.refits`, for rules with
    regression.

    The first call for a network shows it the synthetic images, which takes seconds.

    Raises
    ------
    Unsupported
        If it can't be known for this group.
    """
    group = prepared.graph.groups[index]
    look = Recipe(
        rule="best", samples=recipe.samples, synthetic=recipe.synthetic, seed=recipe.seed
    )  # of the rules with regression that need no images
    couplings = group.of(CONSUMES)
    consumers = prepared.consumers(index, look, None)
    if not couplings or len(consumers) < len(couplings):
        known = prepared.seen(look, None).inputs
        names = [c.layer for c in couplings if c.layer not in known or c.axis != 1]
        raise Unsupported(
            f"What is left unexplained behind group {index} can't be told: "
            + (
                f"{', '.join(dict.fromkeys(names))} reads its channels in another way than a "
                "linear layer or an ungrouped convolution does. Choose another group."
                if names
                else "no layer with weights reads its channels. Choose another group."
            )
        )
    merge = _merge(step, group)
    parts, counted = merge.new_zeros(group.width), 0
    for coupling, seen in zip(couplings, consumers, strict=True):
        unmerge = _unmerge(step, group, coupling, recipe, refits or {})
        parts += _parts(seen, unmerge @ merge)
        counted += bool(seen.gram.any())
    total = float(parts.sum()) / max(1, counted)
    if total < NOTHING:
        return Unexplained(0.0, torch.zeros_like(parts))
    return Unexplained(total, parts / parts.sum())


def _parts(seen: Consumer, through: Tensor) -> Tensor:
    """The diagonal of G·R·C·Rᵀ for R = I − `through` (n, n): (n,)."""
    residual = torch.eye(len(through), dtype=through.dtype) - through
    left = residual @ seen.covariance @ residual.T  # covariance of what is missed
    return (seen.gram * left).sum(1)


def _merge(step: Step, group: Group) -> Tensor:
    """The matrix that makes the fused channels, (m, n), made louder where they were repaired."""
    merge = step.projection.merge
    if not step.repairs:
        return merge
    ratios = [step.repairs[c.layer].ratio for c in group.of(PRODUCES) if c.layer in step.repairs]
    alike = all(ratio.shape == (len(merge),) for ratio in ratios)
    if not alike or any(not torch.equal(ratio, ratios[0]) for ratio in ratios):
        raise Unsupported(
            f"What is left unexplained behind group {group.index} can't be told: "
            f"{len(group.producers)} layers add up to its channels, and variance repair makes each "
            "of them louder by another factor. Choose a rule without repair."
        )
    return merge * ratios[0].double()[:, None]


def _unmerge(
    step: Step, group: Group, coupling: Coupling, recipe: Recipe, refits: Mapping[str, Refit]
) -> Tensor:
    """The matrix with which one consumer reads the fused channels: (n, m)."""
    unmerge = step.projection.unmerge
    if not RULES[recipe.rule].regressed or unmerge.shape[0] == unmerge.shape[1]:
        return unmerge
    refit = refits.get(coupling.layer)
    if refit is None or refit.unmerge is None or refit.unmerge.shape != unmerge.shape:
        raise Unsupported(
            f"What is left unexplained behind group {group.index} can't be told: it takes what "
            f"{coupling.layer} was fitted to, from these channels alone. Choose a rule without "
            "regression."
        )
    return refit.unmerge
