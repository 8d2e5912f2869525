"""The whole story in one function: from a network and a recipe to a smaller network.

groups → scores → kept channels and masses → costs → plan → projection → smaller weights
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core import blocks, surgery
from core.cost import channel_features, pairwise, with_bias
from core.groups import DependencyGraph
from core.importance import scores
from core.measures import Measures, measures
from core.projection import RULES, Projection, projection, select
from core.recipe import Recipe
from core.repair import Repair, repairs
from core.transport import TransportPlan, transport


class Prepared:
    """A network made ready for many recipes: batch norm folded once, costs remembered.

    Holds no reference to the module's tensors that could be written through: the state is a copy.

    Raises
    ------
    RecipeError
        If the graph was traced from another network.
    """

    def __init__(self, module: nn.Module, graph: DependencyGraph) -> None:
        state = module.state_dict()
        graph.check(state)
        self.graph = graph
        # On the processor, wherever the network is: plans are made in float64.
        self.original = {key: t.detach().cpu().clone() for key, t in state.items()}
        self.folded = surgery.fold(self.original, graph.layers)
        self._costs: dict[tuple[int, str, bool], Tensor] = {}

    def costs(self, index: int, cost: str, bias: bool) -> Tensor:
        """The distance of every channel of a group to every other: (n, n) float64."""
        key = (index, cost, bias)
        if key not in self._costs:
            self._costs[key] = pairwise(self.features(index, bias), cost)
        return self._costs[key]

    def features(self, index: int, bias: bool) -> Tensor:
        """The normalised features of a group's channels: (n, d) float64."""
        return channel_features(self.folded, self.graph.groups[index], self.graph.layers, bias)


@dataclass(frozen=True, eq=False)
class Step:
    """What was decided for one group: scores (n,), measures, plan (None for `select`), matrices."""

    scores: Tensor
    measures: Measures
    plan: TransportPlan | None
    projection: Projection
    repairs: dict[str, Repair]


@dataclass(frozen=True, eq=False)
class Compressed:
    """A smaller network and how it came about; the dictionaries are keyed by group index."""

    module: nn.Module
    recipe: Recipe
    steps: dict[int, Step]

    @property
    def plans(self) -> dict[int, TransportPlan]:
        """The transport plan of each group; empty for `select`, which moves nothing."""
        return {index: step.plan for index, step in self.steps.items() if step.plan is not None}

    @property
    def kept(self) -> dict[int, Tensor]:
        """The channels of each group that stay, (m,) int64, rising."""
        return {index: step.measures.kept for index, step in self.steps.items()}


def plan_group(prepared: Prepared, index: int, recipe: Recipe) -> Step:
    """Decide for one group of the original network what stays and where the rest goes."""
    group = prepared.graph.groups[index]
    score = scores(prepared.folded, group, recipe.importance, recipe.seed)
    measured = blocks.measured(
        group, score, lambda some: measures(some, recipe.sparsity, recipe.source, recipe.target)
    )
    rule = RULES[recipe.rule]
    if rule.project is None:
        return Step(score, measured, None, select(measured.kept, group.width), {})
    costs = prepared.costs(index, recipe.cost, with_bias(recipe.features, recipe.rule))
    plan = blocks.transported(
        group, measured, costs[:, measured.kept],
        lambda *problem: transport(*problem, recipe.solver, recipe.epsilon),
    )  # fmt: skip
    matrices = replace(projection(recipe.rule, plan, score), kept=measured.kept)
    mended: dict[str, Repair] = {}
    if rule.repaired:
        mended = repairs(
            prepared.original, prepared.folded, group, prepared.graph.layers, matrices.merge,
            matrices.kept,
        )  # fmt: skip
    return Step(score, measured, plan, matrices, mended)


def compress(
    module: nn.Module,
    graph: DependencyGraph,
    recipe: Recipe,
    prepared: Prepared | None = None,
) -> Compressed:
    """Shrink the chosen groups of a network, every plan made from the original weights.

    Parameters
    ----------
    module : the network; it is not changed.
    graph : `core.trace(module)`.
    recipe : what to do.
    prepared : `Prepared(module, graph)`, to spare folding and costs when many recipes are tried.

    Raises
    ------
    RecipeError
        If the recipe names a group the network does not have, or the graph is another network's.
    TransportError
        If a transport problem has no usable solution.
    """
    prepared = prepared or Prepared(module, graph)
    for traced in (graph, prepared.graph):
        traced.check(module.state_dict())
    with torch.no_grad():
        steps = {index: plan_group(prepared, index, recipe) for index in recipe.chosen(graph)}
        return Compressed(shrunk(module, prepared, steps), recipe, steps)


def shrunk(module: nn.Module, prepared: Prepared, steps: Mapping[int, Step]) -> nn.Module:
    """The smaller network that follows from what was decided for each group.

    Where every step only selects channels the network's own tensors are sliced, statistics of
    batch norm included, bit for bit.
    """
    graph = prepared.graph
    matrices = {index: step.projection for index, step in steps.items()}
    mended = {name: repair for step in steps.values() for name, repair in step.repairs.items()}
    if not mended and all(projection.selects for projection in matrices.values()):
        state = surgery.contract_all(prepared.original, graph, matrices)
    else:
        state = surgery.contract_all(prepared.folded, graph, matrices, mended)
        state = surgery.trainable(state, prepared.original, graph, matrices)
    return surgery.rebuild(module, state, surgery.fewer(graph, matrices))
