"""Decide block by block where only some channels of a group may be mixed with each other.

A grouped convolution, a concatenation or a split cuts a group into blocks (`Group.blocks`). Each
block keeps its own most important channels, as many as its size and the sparsity ask for, and
transports its mass to them alone. A group of one block is decided as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from core.errors import RecipeError
from core.groups import Group
from core.measures import Measures
from core.transport import TransportPlan


def measured(group: Group, source: Tensor, measure: Callable[[Tensor], Measures]) -> Measures:
    """The channels that stay and both measures of a group.

    Parameters
    ----------
    source : (n,) the source masses of the whole group, of which a block has its share; what stays
        of it gets the same share.
    measure : indices of a block's channels (k,) → the block's own `Measures`.

    Raises
    ------
    RecipeError
        If blocks of one size keep unequally many channels, which only a choice by hand can do.
    """
    if not group.blocks:
        return measure(torch.arange(group.width))
    kept, target, centres, counts = [], [], [], {}
    for block in map(torch.tensor, group.blocks):
        part = measure(block)
        kept.append(block[part.kept])
        target.append(part.target * source[block].sum())
        centres.append(part.centres)
        counts.setdefault(len(block), set()).add(len(part.kept))
    if any(len(different) > 1 for different in counts.values()):
        raise RecipeError(
            f"Group {group.index} consists of {len(group.blocks)} blocks of channels that can't be "
            "mixed; blocks of one size must keep equally many. Keep as many in each."
        )
    stays = torch.cat(kept)
    order = stays.argsort()
    middle = None if centres[0] is None else torch.cat(centres)[order]
    masses = torch.cat(target)[order]
    return Measures(stays[order], source, masses / masses.sum(), middle)


def places(kept: tuple[int, ...], block: Tensor) -> tuple[int, ...]:
    """Where channels of a group stand in a block (k,) of it, for those that do."""
    at = {channel: place for place, channel in enumerate(block.tolist())}
    return tuple(at[channel] for channel in kept if channel in at)


def transported(
    group: Group,
    measures: Measures,
    costs: Tensor,
    solve: Callable[[Tensor, Tensor, Tensor], TransportPlan],
) -> TransportPlan:
    """The plan (n, m) from all channels of a group to those that stay.

    Parameters
    ----------
    costs : (n, m). solve : source (n,), target (m,), costs (n, m) → the plan, for one block.

    Between blocks nothing moves. Marginal errors are the largest of any block; the plan has
    converged if every block's has; iterations are the most any took.
    """
    if not group.blocks:
        return solve(measures.source, measures.target, costs)
    mass = torch.zeros_like(costs)
    plans = []
    for block in map(torch.tensor, group.blocks):
        columns = torch.isin(measures.kept, block).nonzero()[:, 0]
        share = measures.source[block].sum()
        source, target = measures.source[block], measures.target[columns]
        plan = solve(source / share, target / target.sum(), costs[block][:, columns])
        mass[block[:, None], columns] = plan.mass * share
        plans.append(plan)
    counts = [plan.iterations for plan in plans if plan.iterations is not None]
    return replace(
        plans[0],
        mass=mass,
        costs=costs,
        source=measures.source,
        target=measures.target,
        cost=float((mass * costs).sum()),
        source_error=float((mass.sum(1) - measures.source).abs().max()),
        target_error=float((mass.sum(0) - measures.target).abs().max()),
        iterations=max(counts, default=None),
        converged=all(plan.converged for plan in plans),
    )
