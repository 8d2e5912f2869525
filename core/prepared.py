"""A network made ready for many recipes: what they share is computed once and remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from core import evidence, surgery
from core.cost import channel_features, pairwise
from core.cover import Consumer, consumer
from core.data import ImageSet
from core.errors import RecipeError, WeightsError
from core.groups import CONSUMES, DependencyGraph
from core.importance import IMPORTANCES, State, labelled_generator, partly_known, scores
from core.projection import RULES
from core.recipe import Recipe
from core.statistics import Statistics, observe
from core.synthetic import synthetic_images


class Prepared:
    """A network's folded weights, distances between channels, and looks at images.

    Its states are copies; of the module itself it reads the structure alone, when something needs
    a pass through a copy of the network.

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
        for held, when in ((self.original, ""), (self.folded, " once batch norm is folded in")):
            _check_finite(held, when)
        self._module = module
        self._costs: dict[tuple[int, str, bool], Tensor] = {}
        self._scores: dict[tuple[int, str, int], Tensor] = {}
        self._evidence: dict[tuple[str, str, int, int], tuple[str, dict[int, Tensor]]] = {}
        self._seen: dict[tuple, Statistics] = {}
        self._consumers: dict[tuple, list[Consumer]] = {}
        self._one_pass = threading.RLock()

    def features(self, index: int, bias: bool) -> Tensor:
        """The normalised features of a group's channels: (n, d) float64."""
        return channel_features(self.folded, self.graph.groups[index], self.graph.layers, bias)

    def costs(self, index: int, cost: str, bias: bool) -> Tensor:
        """The distance of every channel of a group to every other: (n, n) float64."""
        key = (index, cost, bias)
        if key not in self._costs:
            self._costs[key] = pairwise(self.features(index, bias), cost)
        return self._costs[key]

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
        known = self._known_scores(index, recipe, images)
        return partly_known(known, recipe.quality, recipe.seed, index)

    def _known_scores(self, index: int, recipe: Recipe, images: ImageSet | None) -> Tensor:
        """The importance itself, whatever the recipe's quality."""
        group = self.graph.groups[index]
        needs = IMPORTANCES[recipe.importance].needs
        if needs == "nothing":
            known = (index, recipe.importance, recipe.seed)
            if known not in self._scores:
                self._scores[known] = scores(
                    self.folded, group, recipe.importance, recipe.seed, self.original,
                    self.graph.layers,
                )  # fmt: skip
            return self._scores[known]
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

    def seen(self, recipe: Recipe, images: ImageSet | Tensor | None) -> Statistics:
        """What flows through the dense network, on the images that the recipe's rule looks at.

        Raises
        ------
        RecipeError
            If the rule needs images and there are none, too few, or others than the recipe names.
        """
        key, pixels = self._looked_at(recipe, images)
        with self._one_pass:
            if key not in self._seen:
                # Some 100 MB for a ResNet18: two looks are enough for a page of comparisons.
                for old in list(self._seen)[:-1]:
                    del self._seen[old]
                    self._consumers = {k: v for k, v in self._consumers.items() if k[0] != old}
                module = surgery.rebuild(self._module, self.original)
                self._seen[key] = observe(module, self.graph, pixels(), recipe.seed)
            return self._seen[key]

    def consumers(
        self, index: int, recipe: Recipe, images: ImageSet | Tensor | None
    ) -> list[Consumer]:
        """What each regressed consumer of a group sees of it: covariances and Gram matrices."""
        key, _ = self._looked_at(recipe, images)
        with self._one_pass:
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
                    read = seen.inputs[coupling.layer][:, first : first + coupling.count]
                    inputs = torch.zeros(len(read), group.width)
                    inputs[:, place] = read
                    wide = weight.new_zeros(weight.shape[0], group.width, *weight.shape[2:])
                    wide[:, place] = weight
                    found.append(consumer(inputs, wide))
                self._consumers[key, index] = found
            return self._consumers[key, index]

    def _looked_at(
        self, recipe: Recipe, images: ImageSet | Tensor | None
    ) -> tuple[tuple, Callable[[], Tensor]]:
        """What a rule with regression looks at: a key, and how to get it, (b, c, h, w) float32."""
        count, seed, shape = recipe.samples, recipe.seed, tuple(self.graph.input_shape)
        if count < 2:
            raise RecipeError(
                f"The rule {recipe.rule!r} compares images with each other: samples must be at "
                f"least 2; got {count}."
            )
        if not RULES[recipe.rule].images:
            kind = recipe.synthetic
            return (kind, count, seed), lambda: synthetic_images(kind, count, shape, seed)
        if images is None:
            name = recipe.data or "cifar10"
            raise RecipeError(
                f"The rule {recipe.rule!r} looks at unlabelled images: name a set in the recipe, "
                f'data={name!r}, and give it, images=core.images({name!r}, "train"), or choose the '
                'rule "best", which needs none.'
            )
        if isinstance(images, Tensor):
            if len(images) < 2 or tuple(images.shape[1:]) != shape:
                raise RecipeError(
                    f"The rule {recipe.rule!r} needs at least two images of shape {shape}; got "
                    f"{len(images)} of shape {tuple(images.shape[1:])}."
                )
            # The tensor itself is part of the key: it lives as long as what was seen in it.
            return (_Same(images), count, seed), lambda: images[:count]
        evidence.check(images, recipe.data, self.graph)

        def drawn() -> Tensor:
            generator = labelled_generator(seed, "images to calibrate with")
            chosen = torch.randperm(len(images), generator=generator)[:count]
            return images.normalised(images.images[chosen])

        return (images.fingerprint, count, seed), drawn


class _Same:
    """A key that equals another only where both hold the very same tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.tensor is other.tensor

    def __hash__(self) -> int:
        return id(self.tensor)


def _check_finite(state: State, when: str) -> None:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(
                f"The weights of layer {name.rpartition('.')[0]!r} are not finite{when}: {name} "
                "holds infinities or NaN. Load the network again."
            )
