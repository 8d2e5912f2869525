"""Shrink in several rounds: how wide each leaves a group, and what all of them do, told as one.

Each round scores and transports the channels of the network that the one before has left, as
iterative pruning does. What is told at the end is about the original's channels: a channel's mass
goes where its heirs' mass goes, and the matrices of the rounds are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.cost import with_bias
from core.errors import RecipeError
from core.graph import trace
from core.measures import kept_count
from core.prepared import Prepared
from core.projection import Projection
from core.recipe import Recipe

if TYPE_CHECKING:
    from core.compress import Compressed, Step
    from core.transport import TransportPlan


def repeated(
    once: Callable[..., Compressed],
    module: nn.Module,
    prepared: Prepared,
    recipe: Recipe,
    progress: Callable[[float, str], None] | None = None,
) -> Compressed:
    """The smaller network after `recipe.rounds` rounds, told as one.

    Parameters
    ----------
    once : shrinks in one round: (module, its `Prepared`, recipe, progress) → `Compressed`.

    Raises
    ------
    RecipeError
        If a group consists of blocks that can't be mixed.
    """
    graph, count = prepared.graph, recipe.rounds
    narrowing: dict[int, list[int]] = {}
    for index, share in recipe.sparsities(graph).items():
        group = graph.groups[index]
        if group.blocks:
            raise RecipeError(
                f"Group {index} consists of {len(group.blocks)} blocks of channels that can't be "
                "mixed, which shrink in one round only. Set rounds to 1, or leave the group out."
            )
        final = kept_count(group.width, share)
        narrowing[index] = [group.width, *widths(group.width, final, count)]
    bias = with_bias(recipe.features, recipe.rule)
    known, told = prepared, None
    for done in range(count):

        def report(share: float, what: str, done: int = done) -> None:
            if progress:
                progress((done + share) / count, f"round {done + 1} of {count}: {what}")

        pairs = [narrow[done : done + 2] for narrow in narrowing.values()]
        shares = tuple(1 - after / before for before, after in pairs)
        one = recipe.replace(groups=tuple(narrowing), sparsity=shares, rounds=1)
        if told is None:
            told = once(module, prepared, one, report)
            continue
        known = Prepared(told.module, trace(told.module, graph.input_shape))
        out = once(told.module, known, one, report)
        steps = {
            index: joined(told.steps[index], step, prepared.costs(index, recipe.cost, bias))
            for index, step in out.steps.items()
        }
        told = replace(out, steps=steps)
    return replace(told, recipe=recipe, original=module, graph=graph)


def widths(full: int, final: int, rounds: int) -> list[int]:
    """The width after each round, from `full` to `final`, by about the same factor each time."""
    steps = [round(full * (final / full) ** (done / rounds)) for done in range(1, rounds)]
    return [*steps, final]


def joined(first: Step, then: Step, costs: Tensor) -> Step:
    """Two rounds of one group as one step: n channels → k → m.

    Parameters
    ----------
    first, then : what the rounds decided, (n) → (k) and (k) → (m).
    costs : (n, n), the original's.

    Scores and source masses are the first round's, target masses and repairs the last one's.
    """
    kept = first.measures.kept[then.measures.kept]
    merge = then.projection.merge @ first.projection.merge  # (m, k) @ (k, n)
    unmerge = first.projection.unmerge @ then.projection.unmerge  # (n, k) @ (k, m)
    plan = None
    if first.plan is not None and then.plan is not None:
        plan = glued(first.plan, then.plan, costs[:, kept])
    return replace(
        first,
        measures=replace(
            then.measures, kept=kept, source=first.measures.source, centres=None
        ),
        plan=plan,
        projection=Projection(merge, unmerge, kept),
        repairs=then.repairs,
    )  # fmt: skip


def glued(first: TransportPlan, then: TransportPlan, costs: Tensor) -> TransportPlan:
    """Where mass ends that is moved by one plan and then by another; `costs` (n, m).

    The mass that reaches a channel in between leaves it in the shares of its own row of the second
    plan (the gluing of couplings; Villani, Optimal Transport, 2009, chapter 1). Where the second
    round gave a channel another mass than the first had brought it, the target measure is missed,
    and `target_error` says by how much.
    """
    leaving = then.mass.sum(1, keepdim=True)
    shares = torch.where(leaving > 0, then.mass / leaving.clamp_min(1e-300), 0.0)
    mass = first.mass @ shares  # (n, k) @ (k, m)
    counts = [plan.iterations for plan in (first, then) if plan.iterations is not None]
    return replace(
        then,
        mass=mass,
        costs=costs,
        source=first.source,
        cost=float((mass * costs).sum()),
        source_error=float((mass.sum(1) - first.source).abs().max()),
        target_error=float((mass.sum(0) - then.target).abs().max()),
        iterations=sum(counts) if counts else None,
        converged=first.converged and then.converged,
    )
