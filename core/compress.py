"""The whole story in one function: from a network and a recipe to a smaller network.

groups → scores → kept channels and masses → costs → plan → projection → smaller weights
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from core import blocks, portable, rounds, surgery
from core.cost import channel_features, pairwise, to_centres, with_bias
from core.cover import Consumer, cover, explained
from core.data import ImageSet
from core.groups import CONSUMES, PRODUCES, DependencyGraph
from core.importance import IMPORTANCES, State, partly_known, scores
from core.measures import KEEPS, Measures, mass, measures
from core.prepared import Prepared
from core.projection import RULES, Projection, projection, select
from core.recipe import Recipe
from core.regression import Refit, fitted, regress
from core.repair import Repair, repairs
from core.transport import TransportPlan, transport


@dataclass(frozen=True, eq=False)
class Step:
    """What was decided for one group: scores (n,), measures, plan, matrices.

    The plan is None where channels are only selected. Where consumers are regressed
    `projection.unmerge` is that of the first of them; all of them stand in `Compressed.refits`.
    """

    scores: Tensor
    measures: Measures
    plan: TransportPlan | None
    projection: Projection
    repairs: dict[str, Repair]


@dataclass(frozen=True, eq=False)
class Compressed:
    """A smaller network and how it came about; `steps` are keyed by group index.

    `original` and `graph` are what `compress` was given, for `save`. `refits`, by layer: what
    regression changed, matrices and biases, in the last round; empty for other rules.
    """

    module: nn.Module
    recipe: Recipe
    steps: dict[int, Step]
    original: nn.Module | None = None
    graph: DependencyGraph | None = None
    refits: Mapping[str, Refit] = field(default_factory=dict)

    def save(self, folder: str | os.PathLike, **options) -> Path:
        """Write everything to a folder that `core.open` reads; see `core.portable.save`."""
        return portable.save(self, folder, **options)

    @property
    def plans(self) -> dict[int, TransportPlan]:
        """The transport plan of each group; empty for `select`, which moves nothing."""
        return {index: step.plan for index, step in self.steps.items() if step.plan is not None}

    @property
    def merged(self) -> dict[str, Tensor]:
        """By layer: the matrix (m, n) that its outputs were merged with (`core.mixing`)."""
        found = {}
        for index, step in self.steps.items():
            for coupling in self.graph.groups[index].of(PRODUCES) if self.graph else ():
                layer = self.graph.layers.get(coupling.layer)
                whole = coupling.count == len(step.projection.merge.T) and coupling.start == 0
                if layer is not None and coupling.tensor == layer.weight and whole:
                    found[layer.name] = step.projection.merge
        return found

    @property
    def kept(self) -> dict[int, Tensor]:
        """The channels of each group that stay, (m,) int64, rising."""
        return {index: step.measures.kept for index, step in self.steps.items()}


def plan_group(
    prepared: Prepared,
    index: int,
    recipe: Recipe,
    images: ImageSet | Tensor | None = None,
    stop: Callable[[], bool] | None = None,
    before: Mapping[int, Step] | None = None,
) -> Step:
    """Decide for one group what stays and where the rest goes.

    Parameters
    ----------
    before : what was decided for other groups, to plan from the weights that it leaves; None: from
        the original network's.

    Raises as `compress` does.
    """
    graph, rule = prepared.graph, RULES[recipe.rule]
    group = graph.groups[index]
    bias = with_bias(recipe.features, recipe.rule)
    state, within = prepared.folded, group
    if before:
        matrices, mended = _decided(before)
        state = surgery.contract_all(state, graph, matrices, mended)
        within = surgery.moved(group, graph, matrices)
    if not before or IMPORTANCES[recipe.importance].needs != "nothing":
        score = prepared.scores(index, recipe, images)
    else:
        score = scores(
            state, within, recipe.importance, recipe.seed, prepared.original, graph.layers
        )
        score = partly_known(score, recipe.quality, recipe.seed, index)

    def features() -> Tensor:
        return channel_features(state, within, graph.layers, bias)

    seen = features() if KEEPS[recipe.keep].cluster else None
    measured = blocks.measured(
        group,
        mass(recipe.source, score, recipe.temperature),
        lambda block: measures(
            score[block], recipe.sparsities(graph)[index], recipe.source, recipe.target,
            recipe.keep, None if seen is None else seen[block],
            blocks.places(recipe.kept_in(index), block), recipe.temperature, recipe.seed,
        ),
    )  # fmt: skip
    if rule.covers and recipe.keep == "most-important" and not group.blocks:
        kept = covering(prepared.consumers(index, recipe, images), measured.kept)
        measured = replace(measured, kept=kept)
    if rule.project is None:
        return Step(score, measured, None, select(measured.kept, group.width), {})
    if measured.centres is not None:
        costs = to_centres(seen, measured.centres, recipe.cost)
    elif before:
        costs = pairwise(features(), recipe.cost)[:, measured.kept]
    else:
        costs = prepared.costs(index, recipe.cost, bias)[:, measured.kept]
    plan = blocks.transported(
        group, measured, costs,
        lambda *problem: transport(
            *problem, recipe.solver, recipe.epsilon, recipe.relaxation, recipe.share, stop
        ),
    )  # fmt: skip
    matrices = replace(projection(recipe.rule, plan, score), kept=measured.kept)
    mended = {}
    if rule.repaired:
        mended = repairs(
            prepared.original, state if within is group else prepared.folded, group, graph.layers,
            matrices.merge, matrices.kept,
        )  # fmt: skip
    return Step(score, measured, plan, matrices, mended)


def covering(consumers: list[Consumer], important: Tensor) -> Tensor:
    """As many channels as `important` (m,), rising, that explain at least as much of the consumers.

    Greedy choice is not optimal: where the important channels explain more they stay.
    """
    if not consumers:
        return important
    order, added = cover(consumers, len(important))
    if float(added.sum()) < explained(consumers, important):
        return important
    return order.sort().values


def _decided(steps: Mapping[int, Step]) -> tuple[dict[int, Projection], dict[str, Repair]]:
    """The matrices of steps, by group, and their repairs, by layer."""
    matrices = {index: step.projection for index, step in steps.items()}
    return matrices, {name: one for step in steps.values() for name, one in step.repairs.items()}


def outline(module: nn.Module, graph: DependencyGraph, kept: Mapping[int, Tensor]) -> nn.Module:
    """The smaller network without any numbers in it: layers of the right sizes, on device "meta".

    For sizes and operations, at once: nothing is planned and nothing multiplied.

    Parameters
    ----------
    module : the network, on any device; it is not changed.
    kept : the channels of a group that stay (m,), rising, by the group's index.
    """
    tensors = surgery.emptied(module)
    matrices: dict[int, Projection] = {}
    for index, stays in kept.items():
        merge = torch.empty(len(stays), graph.groups[index].width, device="meta").double()
        matrices[index] = Projection(merge, merge.T, stays)
    state = surgery.contract_all(tensors, graph, matrices)
    hollow = surgery.replica(module, tensors)
    return surgery.rebuild(hollow, state, surgery.fewer(graph, matrices))


def compress(
    module: nn.Module,
    graph: DependencyGraph,
    recipe: Recipe,
    prepared: Prepared | None = None,
    images: ImageSet | Tensor | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Compressed:
    """Shrink the chosen groups of a network.

    Parameters
    ----------
    module : the network; it is not changed.
    graph : `core.trace(module)`.
    recipe : what to do.
    prepared : `Prepared(module, graph)`, to spare folding and costs when many recipes are tried.
    images : the set the recipe names as `data`, its training split, for an importance or a rule
        that needs some: `core.images(recipe.data, "train")`. For a rule also (b, c, h, w) float32
        as the network is fed, of which the first are taken.
    stop : asked now and then by iterative solvers; True ends the work.
    progress : told the share done and what is being done; what it raises ends the work.

    Raises
    ------
    RecipeError
        If the recipe names a group or a channel the network does not have, images are missing or
        not those it names, or the graph is another network's.
    WeightsError
        If weights are not finite.
    TransportError
        If a transport problem has no usable solution.
    Cancelled
        If `stop` said so.
    """
    prepared = prepared or Prepared(module, graph)
    for traced in (graph, prepared.graph):
        traced.check(module.state_dict())
    chosen = recipe.chosen(graph)
    if recipe.rounds > 1:

        def once(module: nn.Module, known: Prepared, recipe: Recipe, report) -> Compressed:
            return compress(module, known.graph, recipe, known, images, stop, report)

        return rounds.repeated(once, module, prepared, recipe, progress)
    sequential = recipe.order == "sequential"
    regressed = RULES[recipe.rule].regressed
    steps: dict[int, Step] = {}
    with torch.no_grad():
        # Groups are numbered from the output; going through them sequentially starts at the input.
        for done, index in enumerate(sorted(chosen, reverse=True) if sequential else chosen):
            if progress:
                share = done / len(chosen)
                progress(share / 2 if regressed else share, f"planning group {index}")
            before = steps if sequential else None
            steps[index] = plan_group(prepared, index, recipe, images, stop, before)
        steps = {index: steps[index] for index in chosen}
        if regressed:
            return _regressed(module, prepared, recipe, steps, images, progress)
        return Compressed(shrunk(module, prepared, steps), recipe, steps, module, graph)


def shrunk(module: nn.Module, prepared: Prepared, steps: Mapping[int, Step]) -> nn.Module:
    """The smaller network that follows from what was decided for each group.

    Where every step only selects channels the network's own tensors are sliced, statistics of
    batch norm included, bit for bit.
    """
    graph = prepared.graph
    matrices, mended = _decided(steps)
    if not mended and all(projection.selects for projection in matrices.values()):
        state = surgery.contract_all(prepared.original, graph, matrices)
    else:
        state = surgery.contract_all(prepared.folded, graph, matrices, mended)
        state = surgery.trainable(state, prepared.folded, prepared.original, graph, matrices)
    return surgery.rebuild(module, state, surgery.fewer(graph, matrices))


def _regressed(
    module: nn.Module,
    prepared: Prepared,
    recipe: Recipe,
    steps: dict[int, Step],
    images: ImageSet | Tensor | None,
    progress: Callable[[float, str], None] | None,
) -> Compressed:
    """The smaller network whose consumers are fitted to what the producers were decided to be."""
    graph = prepared.graph
    seen = prepared.seen(recipe, images)
    narrower = {
        index: step.projection
        for index, step in steps.items()
        if len(step.measures.kept) < graph.groups[index].width
    }
    # Consumers that are regressed keep their columns until they are.
    others = tuple(
        replace(
            group,
            couplings=tuple(
                c for c in group.couplings if c.role != CONSUMES or c.layer not in seen.readers
            ),
        )
        for group in graph.groups
    )
    left = replace(graph, groups=others)

    def merged(state: State) -> State:
        return surgery.contract_all(state, left, narrower)

    def report(share: float, layer: str) -> None:
        if progress:
            progress(0.5 + share / 2, f"fitting layer {layer}")

    refits = regress(module, graph, seen, merged(seen.state), narrower, report)
    state = merged(prepared.folded)
    for name, refit in refits.items():
        state = fitted(state, name, graph, refit)
    for index in narrower:
        steps[index] = _as_fitted(steps[index], graph, index, refits)
    matrices, _ = _decided(steps)
    state = surgery.trainable(state, prepared.folded, prepared.original, graph, matrices)
    smaller = surgery.rebuild(module, state, surgery.fewer(graph, matrices))
    return Compressed(smaller, recipe, steps, module, graph, refits)


def _as_fitted(step: Step, graph: DependencyGraph, index: int, refits: Mapping[str, Refit]) -> Step:
    """The step with the unmerge matrix of the group's first consumer that reads it alone."""
    width = graph.groups[index].width
    for coupling in graph.groups[index].of(CONSUMES):
        refit = refits.get(coupling.layer)
        if refit is None or refit.unmerge is None or coupling.count != width:
            continue
        if refit.unmerge.shape == (width, len(step.measures.kept)):
            return replace(step, projection=replace(step.projection, unmerge=refit.unmerge))
    return step
