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

from core.groups import Group
from core.measures import Measures
from core.transport import TransportPlan


def measured(group: Group, scores: Tensor, measure: Callable[[Tensor], Measures]) -> Measures:
    """The channels that stay and both measures of a group.

    Parameters
    ----------
    scores : (n,). measure : scores of some channels → their `Measures`.

    A block's share of the source mass is what it has of the whole group's; what stays of it gets
    the same share.
    """
    whole = measure(scores)
    if not group.blocks:
        return whole
    target = torch.full_like(whole.source, -1.0)  # of channels that don't stay
    for block in map(torch.tensor, group.blocks):
        part = measure(scores[block])
        target[block[part.kept]] = part.target * whole.source[block].sum()
    kept = (target >= 0).nonzero()[:, 0]
    return Measures(kept, whole.source, target[kept] / target[kept].sum())


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
