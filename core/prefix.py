"""Accuracies of many variants of one network: what comes before the first change runs once.

Thirty ways to shrink one group leave every layer before it as it was. A batch of images goes
through the network once; wherever a variant begins to differ, it goes on from there by itself. All
run as quick copies (`core.ready`); what they have in common is in memory once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, fx, nn

from core.data import ImageSet
from core.errors import DataError
from core.evaluate import Accuracy, check_classes, device_of, evaluating
from core.graph import symbolic
from core.mixing import mixing
from core.ready import Quick, alike, prepared_images, ready, written_into


class Variant(Protocol):
    """A smaller network, and by layer the matrix (m, n) that its outputs were merged with."""

    module: nn.Module

    @property
    def merged(self) -> Mapping[str, Tensor]: ...


#: Images that go through the networks at once.
BATCH = 100


def accuracies(
    module: nn.Module,
    variants: Iterable[nn.Module | Variant],
    images: ImageSet,
    limit: int | None = None,
    batch: int = BATCH,
    between: Callable[[int], None] = lambda done: None,
    numbers: str = "float32",
) -> list[Accuracy]:
    """Top-1 accuracy of each variant on the first `limit` images, as `core.accuracy` counts it.

    Parameters
    ----------
    module : the network they come from; it is not changed.
    variants : results of `core.compress` for it, their modules, or the network itself; taken one by
        one. Of results more can be shared than of modules (`core.mixing`).
    between : told before each batch how many images are done; what it raises ends the counting.
    numbers : in which numbers the networks run, a key of `core.ready.NUMBERS`.

    Raises
    ------
    DataError
        If the set is empty, or the network tells another number of classes apart.
    Unsupported
        If torch.fx can't trace the network.
    RecipeError
        If there are no such numbers.
    """
    module = evaluating(module)
    total = counted_images(module, images, limit)
    together = Together(module, variants, numbers)
    counting = running(together, images, total, batch)
    done, right = 0, []
    while done < total:
        between(done)
        done, right = next(counting)
    return [Accuracy(correct, total) for correct in right]


def counted_images(module: nn.Module, images: ImageSet, limit: int | None = None) -> int:
    """How many images there are to count on, once the network is known to fit them.

    Raises
    ------
    DataError
        If the set is empty, or the network tells another number of classes apart.
    """
    check_classes(module, images)
    total = len(images) if limit is None else min(limit, len(images))
    if total < 1:
        raise DataError(f"There are no images to test on: the limit is {limit}.")
    return total


def running(
    together: Together,
    images: ImageSet,
    total: int,
    batch: int = BATCH,
    done: int = 0,
    right: Sequence[int] = (),
) -> Iterator[tuple[int, list[int]]]:
    """After each batch: how many images are done, and how many of them each variant names right.

    Parameters
    ----------
    total : count on the first so many images.
    done, right : what a count that was interrupted has told last; it goes on from there. If it was
        made in batches of the same size, the same numbers come out as without the interruption.
    """
    right = list(right) or [0] * len(together)
    if len(right) != len(together):
        raise ValueError(f"{len(right)} counts do not belong to {len(together)} variants.")
    for start in range(done, total, batch):
        stop = min(start + batch, total)
        pixels, labels = images.normalised(images.images[start:stop]), images.labels[start:stop]
        for place, logits in enumerate(together(pixels)):
            right[place] += int((logits.argmax(1).cpu() == labels).sum())
        yield stop, list(right)


@dataclass(frozen=True)
class Leaving:
    """A variant's quick copy, and the first operation of the network's graph where it differs.

    mixing : what makes the outputs of this operation of the network's own; None where it has to run
        anew.
    """

    module: Quick
    start: fx.Node
    mixing: nn.Module | None


class Together:
    """Variants of a network as one function: images (b, c, h, w) → the logits of each, in order.

    `starts` tells where each variant goes on by itself: the operation's name in the traced network.
    `between` is called before each variant goes its own way: what it raises ends the run.
    """

    def __init__(
        self,
        module: nn.Module,
        variants: Iterable[nn.Module | Variant] = (),
        numbers: str = "float32",
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._numbers, self._between = numbers, between
        module = evaluating(module)
        self._traced = symbolic(module)
        self.network = ready(module, self._traced, numbers, hasten=True)
        nodes = self.network.graph.nodes
        #: Values that somebody who reads them may write into.
        self.written = {node for node in nodes if written_into(self.network, node)}
        self._variants: list[Quick] = []
        self._starting: dict[fx.Node, list[int]] = defaultdict(list)
        #: By variant: what makes its first changed layer's outputs of the network's own.
        self._mixing: dict[int, nn.Module] = {}
        self._calls = Counter(str(n.target) for n in nodes if n.op == "call_module")
        for one in variants:
            self.add(one)

    def add(self, variant: nn.Module | Variant) -> None:
        """One variant more. What it shares with the network is held once; it may be let go of."""
        one = self.leaving(variant)
        if one.mixing is not None:
            self._mixing[len(self)] = one.mixing
        self._starting[one.start].append(len(self))
        self._variants.append(one.module)

    def leaving(self, variant: nn.Module | Variant) -> Leaving:
        """Where a variant goes its own way; it does not become one of those that run together."""
        module, merged = variant, {}
        if not isinstance(variant, nn.Module):
            module, merged = variant.module, variant.merged
        quick = ready(evaluating(module), self._traced, self._numbers, like=self.network)
        start = first_change(self.network.graph, self.network, quick)
        name, layer = str(start.target), None
        if start.op == "call_module" and name in merged and self._calls[name] == 1:
            pair = (one.get_submodule(name) for one in (self.network, quick))
            if (layer := mixing(*pair, merged[name])) is not None:
                quick.set_submodule(name, nn.Identity())  # nobody calls it any more
        return Leaving(quick, start, layer)

    def __len__(self) -> int:
        return len(self._variants)

    @property
    def starts(self) -> list[str]:
        """Where each variant begins to differ; `output` for one that does not."""
        found = {place: node.name for node, places in self._starting.items() for place in places}
        return [found[place] for place in range(len(found))]

    @property
    def mixed(self) -> list[bool]:
        """Of which variants the first changed layer mixes what the network's own puts out."""
        return [place in self._mixing for place in range(len(self))]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> list[Tensor]:
        common = _Common(self)
        common.run(prepared_images(images.to(device_of(self.network)), self._numbers))
        return [common.told[place].float() for place in range(len(self))]


class _Common(fx.Interpreter):
    """The network itself, as far as anybody shares it; each variant leaves where it differs."""

    def __init__(self, of: Together) -> None:
        super().__init__(of.network)
        self.of = of
        self.told: dict[int, Tensor] = {}
        self._passed: list[fx.Node] = []

    def run_node(self, node: fx.Node):
        leaving = self.of._starting.get(node, ())
        mixed = [place for place in leaving if place in self.of._mixing]
        for place in leaving:
            if place not in mixed:
                self._alone(place)
        if len(self.told) == len(self.of):
            return None  # all are on their own: nobody needs the rest
        value = super().run_node(node)
        for place in mixed:
            self._alone(place, {node: self.of._mixing[place](value)})
        self._passed.append(node)
        return value

    def _alone(self, place: int, more: Mapping[fx.Node, Tensor] | None = None) -> None:
        """Run a variant from here to its end; `more` is what it knows besides what has passed."""
        self.of._between()
        # Copies, if what follows may write into them. What nobody needs any more is None.
        known = dict(more or {})
        for one in self._passed:
            value = self.env.get(one)
            known[one] = copied(value) if one in self.of.written else value
        alone = fx.Interpreter(self.of._variants[place], graph=self.graph)
        self.told[place] = alone.run(initial_env=known)


def copied(value):
    return fx.node.map_aggregate(value, lambda v: v.clone() if isinstance(v, Tensor) else v)


def first_change(graph: fx.Graph, module: nn.Module, variant: nn.Module) -> fx.Node:
    """The first operation whose numbers differ; the output if none does."""
    for node in graph.nodes:
        if node.op == "call_module":
            pair = (one.get_submodule(node.target) for one in (module, variant))
            before, after = (dict([*p.named_parameters(), *p.named_buffers()]) for p in pair)
            if before.keys() != after.keys():
                return node
            if not all(alike(before[key], after[key]) for key in before):
                return node
        elif node.op == "get_attr":
            home, _, name = node.target.rpartition(".")
            pair = (getattr(one.get_submodule(home), name) for one in (module, variant))
            if not alike(*pair):
                return node
    return node
