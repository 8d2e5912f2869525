"""The whole story in one function: from a network and a recipe to a smaller network.

groups → scores → kept channels and masses → costs → plan → projection → smaller weights
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from core import blocks, evidence, portable, surgery
from core.cost import channel_features, pairwise, to_centres, with_bias
from core.data import ImageSet
from core.errors import RecipeError, WeightsError
from core.groups import DependencyGraph
from core.importance import IMPORTANCES, State, scores
from core.measures import KEEPS, Measures, mass, measures
from core.projection import RULES, Projection, projection, select
from core.recipe import Recipe
from core.repair import Repair, repairs
from core.transport import TransportPlan, transport


class Prepared:
    """A network made ready for many recipes: batch norm folded once, costs remembered.

    Its states are copies; of the module itself it reads the structure alone, when a score needs a
    pass through a copy of the network.

    Raises
    ------
    RecipeError
        If the graph was traced from another network.
    WeightsError
        If a weight is not a finite number, before or after folding: it would spread over all
        channels.
    """

    def __init__(self, module: nn.Module, graph: DependencyGraph) -> None:
        state = module.state_dict()
        graph.check(state)
        self.graph = graph
        # On the processor, wherever the network is: plans are made in float64.
        self.original = {key: t.detach().cpu().clone() for key, t in state.items()}
        self.folded = surgery.fold(self.original, graph.layers)
        for state, when in ((self.original, ""), (self.folded, " once batch norm is folded in")):
            _check_finite(state, when)
        self._module = module
        self._costs: dict[tuple[int, str, bool], Tensor] = {}
        self._evidence: dict[tuple[str, str, int, int], tuple[str, dict[int, Tensor]]] = {}
        self._one_pass = threading.Lock()

    def scores(self, index: int, recipe: Recipe, images: ImageSet | None = None) -> Tensor:
        """The importance of a group's channels: (n,) float64, none negative.

        A score that needs images is made for all groups at once and remembered, so that `images`
        can be left out from then on.

        Raises
        ------
        RecipeError
            If images are needed and there are none, or others than the recipe names.
        WeightsError
            If a score is not finite: the network's outputs are not, on those images.
        """
        group = self.graph.groups[index]
        needs = IMPORTANCES[recipe.importance].needs
        if needs == "nothing":
            return scores(
                self.folded, group, recipe.importance, recipe.seed, self.original,
                self.graph.layers,
            )  # fmt: skip
        key = (recipe.importance, recipe.data, recipe.samples, recipe.seed)
        with self._one_pass:
            fingerprint, found = self._evidence.get(key, ("", None))
            if images is None and found is None:
                kind = "labelled images" if needs == "labels" else "images"
                name = recipe.data or "digits"
                raise RecipeError(
                    f"The importance {recipe.importance!r} needs {kind}: name a set of images in "
                    f"the recipe, data={name!r}, and give it, "
                    f'images=core.images({name!r}, "train").'
                )
            if images is not None and (found is None or fingerprint != images.fingerprint):
                evidence.check(images, recipe.data, self.graph)
                module = surgery.rebuild(self._module, self.folded)
                look = evidence.PASSES[recipe.importance]
                found = look(module, self.graph, images, recipe.samples, recipe.seed)
                if not all(score.isfinite().all() for score in found.values()):
                    raise WeightsError(
                        f"The network's outputs or gradients on the images of {recipe.data!r} are "
                        "not finite numbers. Load the network again, or choose an importance "
                        "without images."
                    )
                self._evidence[key] = (images.fingerprint, found)
        return found[index]

    def costs(self, index: int, cost: str, bias: bool) -> Tensor:
        """The distance of every channel of a group to every other: (n, n) float64."""
        key = (index, cost, bias)
        if key not in self._costs:
            self._costs[key] = pairwise(self.features(index, bias), cost)
        return self._costs[key]

    def features(self, index: int, bias: bool) -> Tensor:
        """The normalised features of a group's channels: (n, d) float64."""
        return channel_features(self.folded, self.graph.groups[index], self.graph.layers, bias)


def _check_finite(state: State, when: str) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(
                f"The weights of layer {name.rpartition('.')[0]!r} are not finite{when}: {name} "
                "holds infinities or NaN. Load the network again."
            )


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


def plan_group(
    prepared: Prepared,
    index: int,
    recipe: Recipe,
    images: ImageSet | None = None,
    stop: Callable[[], bool] | None = None,
) -> Step:
    """Decide for one group of the original network what stays and where the rest goes.

    Raises as `compress` does.
    """
    group = prepared.graph.groups[index]
    score = prepared.scores(index, recipe, images)
    bias = with_bias(recipe.features, recipe.rule)
    features = prepared.features(index, bias) if KEEPS[recipe.keep].cluster else None
    measured = blocks.measured(
        group,
        mass(recipe.source, score, recipe.temperature),
        lambda block: measures(
            score[block], recipe.sparsity, recipe.source, recipe.target, recipe.keep,
            None if features is None else features[block],
            blocks.places(recipe.kept_in(index), block), recipe.temperature, recipe.seed,
        ),
    )  # fmt: skip
    rule = RULES[recipe.rule]
    if rule.project is None:
        return Step(score, measured, None, select(measured.kept, group.width), {})
    if measured.centres is None:
        costs = prepared.costs(index, recipe.cost, bias)[:, measured.kept]
    else:
        costs = to_centres(features, measured.centres, recipe.cost)
    plan = blocks.transported(
        group, measured, costs,
        lambda *problem: transport(
            *problem, recipe.solver, recipe.epsilon, recipe.relaxation, recipe.share, stop
        ),
    )  # fmt: skip
    matrices = replace(projection(recipe.rule, plan, score), kept=measured.kept)
    mended: dict[str, Repair] = {}
    if rule.repaired:
        mended = repairs(
            prepared.original, prepared.folded, group, prepared.graph.layers, matrices.merge,
            matrices.kept,
        )  # fmt: skip
    return Step(score, measured, plan, matrices, mended)


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
    images: ImageSet | None = None,
    stop: Callable[[], bool] | None = None,
) -> Compressed:
    """Shrink the chosen groups of a network, every plan made from the original weights.

    Parameters
    ----------
    module : the network; it is not changed.
    graph : `core.trace(module)`.
    recipe : what to do.
    prepared : `Prepared(module, graph)`, to spare folding and costs when many recipes are tried.
    images : the set the recipe names as `data`, its training split, for an importance that needs
        some: `core.images(recipe.data, "train")`.
    stop : asked now and then by iterative solvers; True ends the work.

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
    with torch.no_grad():
        steps = {
            index: plan_group(prepared, index, recipe, images, stop)
            for index in recipe.chosen(graph)
        }
        return Compressed(shrunk(module, prepared, steps), recipe, steps, module, graph)


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
