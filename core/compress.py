"""The whole story in one function: from a network and a recipe to a smaller network.

    groups → scores → kept channels and masses → costs → plan → projection → smaller weights
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core import portable, surgery
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
    """

    def __init__(self, module: nn.Module, graph: DependencyGraph) -> None:
        self.graph = graph
        self.original = {key: t.detach().clone() for key, t in module.state_dict().items()}
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


@dataclass(frozen=True)
class Step:
    """What was decided for one group: scores (n,), measures, plan (None for `select`), matrices."""

    scores: Tensor
    measures: Measures
    plan: TransportPlan | None
    projection: Projection
    repairs: dict[str, Repair]


@dataclass(frozen=True)
class Compressed:
    """A smaller network and how it came about; the dictionaries are keyed by group index.

    `original` and `graph` are what `compress` was given, for `save`.
    """

    module: nn.Module
    recipe: Recipe
    steps: dict[int, Step]
    original: nn.Module | None = None
    graph: DependencyGraph | None = None

    def save(self, folder: str | os.PathLike, **options) -> Path:
        """Write everything to a folder that `core.open` reads; see `core.portable.save`."""
        return portable.save(self, folder, **options)

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
    measured = measures(score, recipe.sparsity, recipe.source, recipe.target)
    rule = RULES[recipe.rule]
    if rule.project is None:
        return Step(score, measured, None, select(measured.kept, group.width), {})
    costs = prepared.costs(index, recipe.cost, with_bias(recipe.features, recipe.rule))
    plan = transport(
        measured.source, measured.target, costs[:, measured.kept], recipe.solver, recipe.epsilon
    )
    matrices = projection(recipe.rule, plan, score)
    mended: dict[str, Repair] = {}
    if rule.repaired:
        mended = repairs(
            prepared.original, prepared.folded, group, prepared.graph.layers, matrices.merge
        )
    return Step(score, measured, plan, matrices, mended)


def outline(module: nn.Module, graph: DependencyGraph, kept: Mapping[int, int]) -> nn.Module:
    """The smaller network without any numbers in it: layers of the right sizes, on device "meta".

    For sizes and operations, at once: nothing is planned and nothing multiplied.

    Parameters
    ----------
    module : the network, on any device; it is not changed.
    kept : how many channels of a group stay, by the group's index.
    """
    empty = copy.deepcopy(module).to("meta")
    state: Mapping[str, Tensor] = empty.state_dict()
    for index, count in kept.items():
        merge = torch.empty(count, graph.groups[index].width, dtype=torch.float64, device="meta")
        hollow = Projection(merge, merge.T)
        state = surgery.shrink(state, graph.groups[index], graph.layers, hollow)
    return surgery.rebuild(empty, state)


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
        If the recipe names a group the network does not have.
    TransportError
        If a transport problem has no usable solution.
    """
    prepared = prepared or Prepared(module, graph)
    state = prepared.folded
    steps: dict[int, Step] = {}
    with torch.no_grad():
        for index in recipe.chosen(graph):
            step = plan_group(prepared, index, recipe)
            state = surgery.shrink(
                state, graph.groups[index], graph.layers, step.projection, step.repairs
            )
            steps[index] = step
        return Compressed(surgery.rebuild(module, state), recipe, steps, module, graph)
