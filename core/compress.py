"""The whole story in one function: from a network and a recipe to a smaller network.

groups → scores → kept channels and masses → costs → plan → projection → smaller weights
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from core import surgery
from core.cost import channel_features, pairwise, with_bias
from core.cover import Consumer, consumer, cover, explained
from core.data import ImageSet
from core.errors import RecipeError
from core.groups import CONSUMES, DependencyGraph
from core.importance import State, labelled_generator, scores
from core.measures import Measures, measures
from core.projection import RULES, Projection, projection, select
from core.recipe import Recipe
from core.regression import Refit, fitted, regress
from core.repair import Repair, repairs
from core.statistics import Statistics, observe
from core.synthetic import synthetic_images
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
        self._module = module
        self._seen: dict[tuple, Statistics] = {}
        self._consumers: dict[tuple, list[Consumer]] = {}

    def seen(self, recipe: Recipe, images: ImageSet | Tensor | None) -> Statistics:
        """What flows through the dense network, on the images that the recipe's rule looks at."""
        key, pixels = looked_at(self.graph, recipe, images)
        if key not in self._seen:
            # Some 100 MB for a ResNet18: the last two looks are enough for a page of comparisons.
            for old in list(self._seen)[:-1]:
                del self._seen[old]
                self._consumers = {k: v for k, v in self._consumers.items() if k[0] != old}
            module = surgery.rebuild(self._module, self.original)
            self._seen[key] = observe(module, self.graph, pixels(), recipe.seed)
        return self._seen[key]

    def consumers(self, index: int, recipe: Recipe, images) -> list[Consumer]:
        """What each regressed consumer of a group sees of it: covariances and Gram matrices."""
        key, _ = looked_at(self.graph, recipe, images)
        seen = self.seen(recipe, images)
        if (key, index) not in self._consumers:
            group = self.graph.groups[index]
            found = []
            for coupling in group.of(CONSUMES):
                if coupling.layer not in seen.inputs or coupling.axis != 1:
                    continue
                weight = seen.state[coupling.tensor][:, coupling.start : coupling.stop]
                weight = weight.unflatten(1, (coupling.count, coupling.repeat))
                first = coupling.start // coupling.repeat
                place = slice(coupling.first, coupling.first + coupling.count)
                inputs = torch.zeros(len(seen.inputs[coupling.layer]), group.width)
                inputs[:, place] = seen.inputs[coupling.layer][:, first : first + coupling.count]
                wide = weight.new_zeros(weight.shape[0], group.width, *weight.shape[2:])
                wide[:, place] = weight
                found.append(consumer(inputs, wide))
            self._consumers[key, index] = found
        return self._consumers[key, index]

    def costs(self, index: int, cost: str, bias: bool) -> Tensor:
        """The distance of every channel of a group to every other: (n, n) float64."""
        key = (index, cost, bias)
        if key not in self._costs:
            self._costs[key] = pairwise(self.features(index, bias), cost)
        return self._costs[key]

    def features(self, index: int, bias: bool) -> Tensor:
        """The normalised features of a group's channels: (n, d) float64."""
        return channel_features(self.folded, self.graph.groups[index], self.graph.layers, bias)


def looked_at(
    graph: DependencyGraph, recipe: Recipe, images: ImageSet | Tensor | None
) -> tuple[tuple, Callable[[], Tensor]]:
    """What a rule with regression looks at: a key, and how to get it, (b, c, h, w) float32.

    Raises
    ------
    RecipeError
        If the rule needs images and there are none, fewer than two, or of another shape.
    """
    count, seed = recipe.samples, recipe.seed
    if not RULES[recipe.rule].images:
        shape, kind = graph.input_shape, recipe.synthetic
        return (kind, count, seed), lambda: synthetic_images(kind, count, shape, seed)
    if images is None:
        raise RecipeError(
            f"The rule {recipe.rule!r} looks at unlabelled images: give it some, "
            'images=core.images("cifar10", "train"), or choose the rule "best", which needs none.'
        )
    pixels = images if isinstance(images, Tensor) else images.images
    if len(pixels) < 2 or tuple(pixels.shape[1:]) != tuple(graph.input_shape):
        raise RecipeError(
            f"The rule {recipe.rule!r} needs at least two images of shape {graph.input_shape}; got "
            f"{len(pixels)} of shape {tuple(pixels.shape[1:])}."
        )
    if isinstance(images, Tensor):
        # The tensor itself is part of the key, so that it lives as long as what was seen in it.
        return (Same(images), count, seed), lambda: images[:count]

    def drawn() -> Tensor:
        generator = labelled_generator(seed, "images to calibrate with")
        return images.normalised(
            images.images[torch.randperm(len(images), generator=generator)[:count]]
        )

    return (images.fingerprint, count, seed), drawn


class Same:
    """A key that equals another only where both hold the very same tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.tensor is other.tensor

    def __hash__(self) -> int:
        return id(self.tensor)


@dataclass(frozen=True)
class Step:
    """What was decided for one group: scores (n,), measures, plan (None where channels are only
    selected), matrices.

    Where consumers are regressed `projection.unmerge` is that of the first of them; all of them
    stand in `Compressed.refits`.
    """

    scores: Tensor
    measures: Measures
    plan: TransportPlan | None
    projection: Projection
    repairs: dict[str, Repair]


@dataclass(frozen=True)
class Compressed:
    """A smaller network and how it came about; `steps` are keyed by group index.

    `refits`, by layer: what regression changed, matrices and biases; empty for other rules.
    """

    module: nn.Module
    recipe: Recipe
    steps: dict[int, Step]
    refits: Mapping[str, Refit] = field(default_factory=dict)

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
    sparsity: float | None = None,
    state: State | None = None,
    images: ImageSet | Tensor | None = None,
) -> Step:
    """Decide for one group what stays and where the rest goes.

    Parameters
    ----------
    sparsity : the group's own, where a recipe holds several.
    state : the folded weights to plan from, the original network's if None.
    images : for rules that look at given images.
    """
    group, layers = prepared.graph.groups[index], prepared.graph.layers
    sparsity = recipe.sparsities(prepared.graph)[index] if sparsity is None else sparsity
    score = scores(state or prepared.folded, group, recipe.importance, recipe.seed)
    measured = measures(score, sparsity, recipe.source, recipe.target)
    rule = RULES[recipe.rule]
    if rule.covers:
        kept = covering(prepared.consumers(index, recipe, images), measured.kept)
        measured = replace(measured, kept=kept)
    if rule.project is None:
        return Step(score, measured, None, select(measured.kept, group.width), {})
    bias = with_bias(recipe.features, recipe.rule)
    if state is None:
        costs = prepared.costs(index, recipe.cost, bias)
    else:
        costs = pairwise(channel_features(state, group, layers, bias), recipe.cost)
    plan = transport(
        measured.source, measured.target, costs[:, measured.kept], recipe.solver, recipe.epsilon
    )
    matrices = projection(recipe.rule, plan, score)
    mended: dict[str, Repair] = {}
    if rule.repaired:
        mended = repairs(prepared.original, state or prepared.folded, group, layers, matrices.merge)
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


def compress(
    module: nn.Module,
    graph: DependencyGraph,
    recipe: Recipe,
    prepared: Prepared | None = None,
    images: ImageSet | Tensor | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Compressed:
    """Shrink the chosen groups of a network.

    Parameters
    ----------
    module : the network; it is not changed.
    graph : `core.trace(module)`.
    recipe : what to do.
    prepared : `Prepared(module, graph)`, to spare folding and costs when many recipes are tried.
    images : unlabelled, for the rule `calibrated`: a set, of which `recipe.samples` are drawn, or
        (b, c, h, w) float32 as the network is fed, of which the first are taken.
    progress : told the share done and what is being done; what it raises ends the work.

    Raises
    ------
    RecipeError
        If the recipe names a group the network does not have, or images are missing.
    TransportError
        If a transport problem has no usable solution.
    """
    prepared = prepared or Prepared(module, graph)
    regressed = RULES[recipe.rule].regressed
    sequential = recipe.order == "sequential"
    state = prepared.folded
    steps: dict[int, Step] = {}
    shares = recipe.sparsities(graph)
    with torch.no_grad():
        # Groups are numbered from the output; going through them sequentially starts at the input.
        for done, index in enumerate(sorted(shares, reverse=True) if sequential else shares):
            if progress:
                progress(done / len(shares) / (2 if regressed else 1), f"group {index}")
            current = state if sequential else None
            step = plan_group(prepared, index, recipe, shares[index], current, images)
            if not regressed or sequential:
                state = surgery.shrink(
                    state, graph.groups[index], graph.layers, step.projection, step.repairs
                )
            steps[index] = step
        steps = {index: steps[index] for index in shares}
        if not regressed:
            return Compressed(surgery.rebuild(module, state), recipe, steps)
        return _regressed(module, prepared, recipe, steps, images, progress)


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
    shrunk = {
        index: step.projection
        for index, step in steps.items()
        if len(step.measures.kept) < graph.groups[index].width
    }

    def merged(state: State) -> State:
        for index, matrices in shrunk.items():
            left = tuple(
                c
                for c in graph.groups[index].couplings
                if c.role != CONSUMES or c.layer not in seen.readers
            )
            group = replace(graph.groups[index], couplings=left)
            state = surgery.shrink(state, group, graph.layers, matrices)
        return state

    def report(share: float, layer: str) -> None:
        if progress:
            progress(0.5 + share / 2, f"layer {layer}")

    refits = regress(module, graph, seen, merged(seen.state), shrunk, report)
    state = merged(prepared.folded)
    for name, refit in refits.items():
        state = fitted(state, name, graph, refit)
    for index in shrunk:
        steps[index] = _as_fitted(steps[index], graph, index, refits, seen)
    return Compressed(surgery.rebuild(module, state), recipe, steps, refits)


def _as_fitted(
    step: Step, graph: DependencyGraph, index: int, refits: Mapping[str, Refit], seen: Statistics
) -> Step:
    """The step with the unmerge matrix of the group's first consumer that reads it alone."""
    width = graph.groups[index].width
    for coupling in graph.groups[index].of(CONSUMES):
        refit = refits.get(coupling.layer)
        if refit is None or refit.unmerge is None or coupling.count != width:
            continue
        if refit.unmerge.shape == (width, len(step.measures.kept)):
            return replace(step, projection=replace(step.projection, unmerge=refit.unmerge))
    return step
