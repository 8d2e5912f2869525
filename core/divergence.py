"""How far variants of a network are from it: their outputs, image by image, and layer by layer.

The distance of an image is ‖variant(x) − dense(x)‖₂ of the logits (Theus et al. 2024, figure 5).
Layer by layer it is relative, ‖variant − dense‖ / ‖dense‖ over all images together, so that one
sees where the failure starts. Both go batch after batch, so that a page can show what is known so
far and stop.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, fx, nn

from core.data import ImageSet
from core.errors import DataError
from core.evaluate import Z95, check_classes, device_of, evaluating
from core.graph import symbolic
from core.groups import CONSUMES, DependencyGraph, Node
from core.prefix import Together, copied, first_change
from core.ready import prepared_images, ready

#: Operations that move numbers about and change none tell nothing that the one before did not.
SILENT = ("input", "output", "shape", "dropout", "flatten", "permute", "split")


class Variant(Protocol):
    """A smaller network and the channels (m,) of each group that it kept: a `Compressed`."""

    module: nn.Module

    @property
    def kept(self) -> Mapping[int, Tensor]: ...


@dataclass(frozen=True)
class Mean:
    """A mean over images with its 95 % interval (normal approximation)."""

    mean: float
    low: float
    high: float
    total: int


@dataclass(frozen=True, eq=False)
class Divergence:
    """What is known after some of the images, of v variants and k images.

    names : of the variants. distances : (v, k) float64, ℓ2, of the logits to the dense network's.
    norms : (k,) float64, of the dense logits. margins : (k,) the largest dense logit less the
    second. same : (v, k) bool, whether the variant names the class that the dense network names.
    labels : (k,) int64, indices into `classes`. total : how many images there will be.
    """

    names: tuple[str, ...]
    distances: Tensor
    norms: Tensor
    margins: Tensor
    same: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    total: int

    @property
    def done(self) -> int:
        """How many images are known."""
        return len(self.labels)

    def of(self, name: str) -> Tensor:
        """The distances (k,) of one variant."""
        return self.distances[self.names.index(name)]

    def mean(self, name: str) -> Mean:
        return _mean(self.of(name))

    def quantiles(
        self, name: str, shares: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
    ) -> list[float]:
        """The distances below which these shares of the images stay."""
        return torch.quantile(self.of(name), torch.tensor(shares).double()).tolist()

    def histogram(self, bins: int = 40) -> tuple[Tensor, Tensor]:
        """Edges (bins + 1,) from 0 on that all variants share, and counts (v, bins) of images.

        Every image is in a bin: the last one holds its upper edge.
        """
        last = float(self.distances.max()) or 1.0
        edges = torch.linspace(0, last, bins + 1, dtype=torch.float64)
        places = (self.distances / last * bins).long().clamp_max(bins - 1)
        counts = torch.zeros(len(self.names), bins, dtype=torch.int64)
        return edges, counts.scatter_add(1, places, torch.ones_like(places))

    def by_class(self, name: str) -> list[Mean | None]:
        """The mean over the images of each class, in the order of `classes`; None without any."""
        found = (self.of(name)[self.labels == place] for place in range(len(self.classes)))
        return [_mean(one) if len(one) else None for one in found]

    def agreement(self, name: str) -> float:
        """The share of the images on which the variant names the dense network's class."""
        return float(self.same[self.names.index(name)].double().mean())

    def beyond(self, name: str) -> float:
        """The share of the images that moved far enough for another class to be named.

        Two logits move apart by at most √2 times the distance. An image whose distance is below its
        margin over √2 is certain to be named as the dense network names it.
        """
        return float((self.of(name) * math.sqrt(2) >= self.margins).double().mean())


def _mean(values: Tensor) -> Mean:
    mean, count = float(values.mean()), len(values)
    half = Z95 * float(values.std()) / math.sqrt(count) if count > 1 else math.inf
    return Mean(mean, mean - half, mean + half, count)


def divergences(
    module: nn.Module,
    variants: Mapping[str, nn.Module],
    images: ImageSet,
    limit: int | None = None,
    batch: int = 100,
    between: Callable[[int], None] = lambda done: None,
    numbers: str = "float32",
) -> Iterator[Divergence]:
    """The distances of the first `limit` images, after each batch; what is shared runs once.

    Parameters
    ----------
    module : the dense network; it is not changed.
    variants : by name, results of `core.compress` for it.
    between : told before each batch how many images are done; what it raises ends the work.
    numbers : a key of `core.ready.NUMBERS`.

    Raises
    ------
    DataError
        If there are no images or no variants, or the network tells another number of classes apart.
    Unsupported
        If torch.fx can't trace the network.
    """
    module = evaluating(module)
    total = _count(module, variants, images, limit)
    together = Together(module, [module, *variants.values()], numbers)
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, total, batch):
        between(start)
        stop = min(start + batch, total)
        logits = torch.stack(together(images.normalised(images.images[start:stop]))).cpu().double()
        dense, others = logits[0], logits[1:]
        first, second = dense.topk(2, 1).values.T
        parts.append(
            (
                (others - dense).norm(dim=2), dense.norm(dim=1), first - second,
                others.argmax(2) == dense.argmax(1),
            )
        )  # fmt: skip
        distances, norms, margins, same = (torch.cat(held, -1) for held in zip(*parts, strict=True))
        yield Divergence(
            tuple(variants), distances, norms, margins, same, images.labels[:stop], images.classes,
            total,
        )  # fmt: skip


def _count(module: nn.Module, variants: Mapping, images: ImageSet, limit: int | None) -> int:
    check_classes(module, images)
    total = len(images) if limit is None else min(limit, len(images))
    if total < 1:
        raise DataError(f"There are no images to compare on: the limit is {limit}.")
    if not variants:
        raise DataError("There is nothing to compare with the dense network: name a rule.")
    return total


# -- layer by layer -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One operation of the network, and how far each variant is from the dense network after it.

    name : its module's path, else the path of the block it stands in and what it does; a batch norm
    is part of the layer it normalises. node : its name in the traced network. kind : as
    `core.groups.Node` has it. group : the group whose channels it puts out, if any.
    distances : by variant, ‖variant − dense‖ / ‖dense‖; None where they can't be compared, or the
    dense network puts out nothing but zeros. kept : the variants that put out fewer channels here;
    they are compared on those they kept.
    """

    name: str
    node: str
    kind: str
    group: int | None
    distances: Mapping[str, float | None]
    kept: tuple[str, ...] = ()


def layer_by_layer(
    module: nn.Module,
    graph: DependencyGraph,
    variants: Mapping[str, Variant],
    images: ImageSet,
    limit: int | None = 200,
    batch: int = 50,
    between: Callable[[int], None] = lambda done: None,
) -> Iterator[list[Operation]]:
    """All operations in the order in which they run, after each batch of the first `limit` images.

    All networks run side by side, operation after operation, so that no more is held than they
    need. Parameters and errors are those of `divergences`; `graph` is `core.trace(module)`.
    """
    module = evaluating(module)
    total = _count(module, variants, images, limit)
    abreast = _Abreast(module, graph, variants)
    for start in range(0, total, batch):
        between(start)
        abreast.run(images.normalised(images.images[start : min(start + batch, total)]))
        yield abreast.told()


def began(operations: Sequence[Operation], name: str, least: float = 0.1) -> Operation | None:
    """The first operation after which a variant is `least` or more away from the dense network.

    Operations that put out fewer channels don't count: fused channels differ there on purpose.
    """
    return next(
        (
            one
            for one in operations
            if name not in one.kept and (one.distances[name] or 0.0) >= least
        ),
        None,
    )


class _Abreast:
    """The dense network and its variants, run operation by operation; sums of what was seen."""

    def __init__(
        self, module: nn.Module, graph: DependencyGraph, variants: Mapping[str, Variant]
    ) -> None:
        traced = symbolic(module)
        self.dense = ready(module, traced)
        self.traced = self.dense.graph
        self.names = tuple(variants)
        self.kept = [one.kept for one in variants.values()]
        self.others = [
            ready(evaluating(one.module), traced, like=self.dense) for one in variants.values()
        ]
        self.starts = [first_change(self.traced, self.dense, one) for one in self.others]
        self.graph = graph
        self.known = {node.name: node for node in graph.nodes}
        self.titles = _titles(self.traced, self.known)
        self.squares: dict[str, float] = Counter()
        self.parts: dict[tuple[str, str], float] = Counter()
        self.errors: dict[tuple[str, str], float] = Counter()
        self.incomparable: set[tuple[str, str]] = set()
        self.narrower: set[tuple[str, str]] = set()

    @torch.inference_mode()
    def run(self, pixels: Tensor) -> None:
        pixels = prepared_images(pixels.to(device_of(self.dense)), "float32")
        runs = [fx.Interpreter(one, graph=self.traced) for one in (self.dense, *self.others)]
        leader = runs[0]
        leader.args_iter = iter((pixels,))
        running: list[int] = []
        entries: list[dict[fx.Node, Tensor | None]] = [{} for _ in self.others]
        for node in self.traced.nodes:
            for place, start in enumerate(self.starts):
                if start is node:
                    # Copies: what follows may write into its inputs.
                    known = {one: copied(value) for one, value in leader.env.items()}
                    runs[place + 1].env = known
                    running.append(place)
            for place in (-1, *running):
                run = runs[place + 1]
                run.env[node] = run.run_node(node)
            if self.titles.get(node.name):
                dense = leader.env[node]
                self.squares[node.name] += float(dense.double().square().sum())
                widths = {one: leader.env[one] for one in node.all_input_nodes}
                for place in running:
                    value = runs[place + 1].env[node]
                    self._compare(node, dense, value, place, entries[place], widths)
            else:
                for place in running:
                    if any(one in entries[place] for one in node.all_input_nodes):
                        entries[place][node] = _inherited(node, entries[place])
            for place in (-1, *running):
                run = runs[place + 1]
                for gone in run.user_to_last_uses.get(node, ()):
                    run.env.pop(gone, None)

    def _compare(
        self, node: fx.Node, dense: Tensor, value: Tensor, place: int, entries, read
    ) -> None:
        """Add what one batch tells of one operation and variant.

        entries : which of the dense network's channels operations still put out, where they put out
        fewer; None where that isn't known. read : what the dense network's operation reads.
        """
        key = node.name, self.names[place]
        differing = [d for d in range(dense.ndim) if dense.shape[d] != value.shape[d]]
        if differing:
            self.narrower.add(key)
            found = None
            if len(differing) == 1 and dense.ndim == value.ndim:
                found = self._entries(node, dense, differing[0], place, entries, read)
            entries[node] = found
            if found is None or len(found) != value.shape[differing[0]]:
                self.incomparable.add(key)
                return
            dense = dense.index_select(differing[0], found.to(dense.device))
            # Of the dense network only what can be compared counts.
            self.parts[key] += float(dense.double().square().sum())
        self.errors[key] += float((value.double() - dense.double()).square().sum())

    def _entries(
        self, node: fx.Node, dense: Tensor, dim: int, place: int, entries, read
    ) -> Tensor | None:
        """Which of the dense network's entries along `dim` a variant still puts out, rising."""
        layer = self.graph.layers.get(str(node.target)) if node.op == "call_module" else None
        if layer is not None and layer.kind != "norm":
            stays = torch.ones(dense.shape[dim], dtype=torch.bool)
            for index, kept in self.kept[place].items():
                held = torch.zeros(self.graph.groups[index].width, dtype=torch.bool)
                held[kept] = True
                for c in self.graph.groups[index].couplings:
                    if (c.tensor, c.axis) == (layer.weight, layer.axis) and c.role != CONSUMES:
                        mine = held[c.first : c.first + c.count].repeat_interleave(c.repeat)
                        stays[c.start : c.stop] = mine
            return stays.nonzero()[:, 0]
        if self.known[node.name].kind != "concat":
            return _inherited(node, entries)
        found, before = [], 0
        for one in node.all_input_nodes:  # side by side
            width = read[one].shape[dim]
            stays = entries.get(one, torch.arange(width))
            if stays is None:
                return None
            found.append(before + stays)
            before += width
        return torch.cat(found)

    def told(self) -> list[Operation]:
        found = []
        for name, title in self.titles.items():
            node = self.known[name]
            distances: dict[str, float | None] = {}
            for variant in self.names:
                square = self.parts.get((name, variant), self.squares[name])
                if (name, variant) in self.incomparable or not square > 0:
                    distances[variant] = None
                else:
                    distances[variant] = math.sqrt(self.errors[name, variant] / square)
            kept = tuple(one for one in self.names if (name, one) in self.narrower)
            found.append(Operation(title, name, node.kind, node.group, distances, kept))
        return found


def _inherited(node: fx.Node, entries: Mapping[fx.Node, Tensor | None]) -> Tensor | None:
    """The channels of what an operation reads, if all that is narrower kept the same ones."""
    first, *others = (entries[one] for one in node.all_input_nodes if one in entries)
    if first is None or any(one is None or not torch.equal(first, one) for one in others):
        return None
    return first


def _titles(traced: fx.Graph, known: Mapping[str, Node]) -> dict[str, str]:
    """Readable names of the operations that are told, by their names in the traced network."""
    titles: dict[str, str] = {}
    used: Counter[str] = Counter()
    for node in traced.nodes:
        operation = known.get(node.name)
        if operation is None or operation.kind in SILENT:
            continue
        if operation.module:
            title = operation.module
        else:
            block = [path for path, _ in node.meta.get("nn_module_stack", {}).values()][-1:]
            title = " ".join([*(path for path in block if path), operation.kind])
        used[title] += 1
        titles[node.name] = title if used[title] == 1 else f"{title} ({used[title]})"
    return titles
