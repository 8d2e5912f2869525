"""Accuracy and loss in the plane of weights through a dense, a pruned and a fused network.

The smaller networks are put into the dense network's space (`core.lifting`); batch norm is folded
into the weights. The plane is spanned as Garipov et al. (2018) do: from the dense network towards
the pruned one, and towards what of the fused one is orthogonal to that (Gram-Schmidt). Coordinates
are in units of the distance between dense and pruned: dense is (0, 0), pruned (1, 0). This is
figure 6 of Theus et al. (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call

from core import surgery
from core.data import ImageSet
from core.divergence import Variant
from core.errors import DataError, RecipeError, Unsupported
from core.evaluate import Accuracy, check_classes, device_of, evaluating
from core.graph import symbolic
from core.groups import DependencyGraph
from core.lifting import lift
from core.prefix import first_change
from core.ready import prepared_images, ready

#: The three networks of a plane.
NETWORKS = ("dense", "pruned", "fused")
#: The straight lines between them.
LINES = (("dense", "pruned"), ("dense", "fused"), ("pruned", "fused"))
#: Kept free around the three networks, as a share of how far they lie apart.
MARGIN = 0.4
#: What runs before the first change is remembered if it takes no more bytes than this.
HELD = 512 * 2**20
#: Points a side that a grid can have; each holds the points of the ones before.
SIDES = (3, 5, 9, 17, 33, 65)

Place = tuple[float, float]


@dataclass(frozen=True)
class Height:
    """What a point of the plane is worth: accuracy, and mean cross entropy on the same images."""

    accuracy: Accuracy
    loss: float


@dataclass(frozen=True)
class Frame:
    """The square of the plane that is looked at: its lower left corner and its side."""

    left: float
    bottom: float
    side: float

    def at(self, place: Place) -> Place:
        """The coordinates of a place of the square, (0, 0) to (1, 1)."""
        return self.left + place[0] * self.side, self.bottom + place[1] * self.side


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane: origin + x · along + y · across, by the name of a parameter.

    network : the dense one, made quick (`core.ready`). spots : the coordinates of the three
    networks. unit : ℓ2 distance between dense and pruned. start : the first operation that is not
    the same all over the plane, in the network's graph.
    """

    network: fx.GraphModule
    origin: Mapping[str, Tensor]
    along: Mapping[str, Tensor]
    across: Mapping[str, Tensor]
    spots: Mapping[str, Place]
    unit: float
    start: fx.Node = field(repr=False)

    def at(self, x: float, y: float) -> dict[str, Tensor]:
        """The parameters that differ from the dense network's, at these coordinates."""
        return {
            name: (self.origin[name] + x * self.along[name] + y * self.across[name]).float()
            for name in self.origin
        }

    @property
    def frame(self) -> Frame:
        """A square around the three networks with a margin."""
        xs, ys = zip(*self.spots.values(), strict=True)
        side = (1 + 2 * MARGIN) * max(max(xs) - min(xs), max(ys) - min(ys))
        centre = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
        return Frame(centre[0] - side / 2, centre[1] - side / 2, side)


def plane(module: nn.Module, graph: DependencyGraph, pruned: Variant, fused: Variant) -> Plane:
    """The plane through a network and two smaller ones made of it.

    Raises
    ------
    RecipeError
        If the three don't span a plane: two are the same, or all lie on one line.
    Unsupported
        If a smaller network can't be put into the dense network's space (`core.lifting`), or holds
        a batch norm that can't be folded, whose variance could become negative in the plane.
    """
    module = evaluating(module)
    traced = symbolic(module)
    # Folded as the others are, so that what is the same in all of them is so bit for bit.
    folded = surgery.rebuild(module, surgery.fold(module.state_dict(), graph.layers))
    dense = ready(folded, traced)
    others = [ready(lift(module, graph, one.module, one.kept), traced) for one in (pruned, fused)]
    for name, buffer in dense.named_buffers():
        if not all(torch.allclose(buffer, one.get_buffer(name)) for one in others):
            raise Unsupported(
                f"{name.rpartition('.')[0]} is a batch norm that can't be folded into one layer. "
                "Its statistics are no weights, so that there is no plane through these networks."
            )
    start = min(
        (first_change(dense.graph, dense, one) for one in others),
        key=list(dense.graph.nodes).index,
    )
    base = {name: p.detach().double() for name, p in dense.named_parameters()}
    first, second = (
        {name: p.detach().double() - base[name] for name, p in one.named_parameters()}
        for one in others
    )
    unit = math.sqrt(_dot(first, first))
    if not unit > 0 or not _dot(second, second) > 0:
        raise RecipeError(
            "There is no plane: a smaller network is the dense one. Choose a larger sparsity."
        )
    x = _dot(second, first) / unit**2
    rest = {name: second[name] - x * first[name] for name in base}
    y = math.sqrt(_dot(rest, rest)) / unit
    if y < 1e-6:
        raise RecipeError(
            "There is no plane: dense, pruned and fused lie on one line. Choose another rule."
        )
    moving = [name for name in base if first[name].any() or second[name].any()]
    return Plane(
        dense,
        {name: base[name] for name in moving},
        {name: first[name] for name in moving},
        {name: rest[name] / y for name in moving},
        {"dense": (0.0, 0.0), "pruned": (1.0, 0.0), "fused": (x, y)},
        unit,
        start,
    )


def _dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return sum(float((one[name] * other[name]).sum()) for name in one)


class Surface:
    """Measures points of a plane on the first `limit` images of a set, in batches.

    What runs before the first change runs once for all points, where there is room for it.

    Raises
    ------
    DataError
        If there are no images, or the network tells another number of classes apart.
    """

    def __init__(
        self, plane: Plane, images: ImageSet, limit: int | None = 500, batch: int = 125
    ) -> None:
        check_classes(plane.network, images)
        total = len(images) if limit is None else min(limit, len(images))
        if total < 1:
            raise DataError(f"There are no images to measure on: the limit is {limit}.")
        self.plane, self.total = plane, total
        self._images = images
        self._bounds = [(at, min(at + batch, total)) for at in range(0, total, batch)]
        self._rest, self._needed = _rest(plane.network, plane.start)
        self._held: dict[int, list[Tensor]] = {}
        self._bytes = 0

    @torch.inference_mode()
    def measure(
        self, x: float, y: float, between: Callable[[int], None] = lambda done: None
    ) -> Height:
        """The height at these coordinates.

        `between` is told before each batch how many images are done; what it raises ends the work.
        """
        moved = self.plane.at(x, y)
        right, loss = 0, 0.0
        for place, (start, stop) in enumerate(self._bounds):
            between(start)
            # Copies: the network may write into its inputs.
            given = tuple(one.clone() for one in self._before(place, start, stop))
            logits = functional_call(self._rest, moved, given).float()
            labels = self._images.labels[start:stop].to(logits.device)
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        return Height(Accuracy(right, self.total), loss / self.total)

    def _before(self, place: int, start: int, stop: int) -> list[Tensor]:
        """What the first operation that changes, and all after it, read of those before."""
        if place in self._held:
            return self._held[place]
        network = self.plane.network
        pixels = self._images.normalised(self._images.images[start:stop])
        pixels = prepared_images(pixels.to(device_of(network)), "float32")
        told = _Until(network, self.plane.start, self._needed).run(pixels)
        size = sum(one.nbytes for one in told)
        if self._bytes + size <= HELD:
            self._held[place] = told
            self._bytes += size
        return told


class _Until(fx.Interpreter):
    """Runs a network up to an operation; `run` returns what is needed from there on."""

    def __init__(self, network: fx.GraphModule, start: fx.Node, needed: list[fx.Node]) -> None:
        super().__init__(network)
        self.start, self.needed = start, needed
        self.told: list[Tensor] | None = None

    def run_node(self, node: fx.Node):
        if node is self.start:  # from here on nothing runs, and what was needed is let go
            self.told = [self.env[one] for one in self.needed]
        return super().run_node(node) if self.told is None else self.told


def _rest(network: fx.GraphModule, start: fx.Node) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The network from an operation on, as a function of those it reads that come before."""
    nodes = list(network.graph.nodes)
    at = nodes.index(start)
    before, after = nodes[:at], nodes[at:]
    needed = [one for one in before if any(user in after for user in one.users)]
    graph, known = fx.Graph(), {}
    for one in needed:
        known[one] = graph.placeholder(one.name)
    for one in after:
        known[one] = graph.node_copy(one, known.__getitem__)
    graph.lint()
    return fx.GraphModule(network, graph), needed


# -- the order in which points are measured -------------------------------------------------------


def grid(side: int) -> list[Place]:
    """Places of the square, (0, 0) to (1, 1), with `side` a side: 3 × 3 first, then those between.

    Raises
    ------
    RecipeError
        If `side` is none of `SIDES`.
    """
    if side not in SIDES:
        raise RecipeError(
            f"A grid that refines has {', '.join(map(str, SIDES))} points a side; got {side}."
        )
    found: dict[Place, None] = {}
    for count in SIDES[: SIDES.index(side) + 1]:
        steps = [step / (count - 1) for step in range(count)]
        found |= dict.fromkeys((s, t) for t in steps for s in steps)
    return list(found)


def explore(
    surface: Surface,
    side: int = 9,
    known: Mapping[Place, Height] | None = None,
    between: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Place, Height]]:
    """Measure a grid, coarse first; each point as soon as it is known.

    Places are keys of a plain dict, (0, 0) to (1, 1) in the plane's frame. Those in `known` are not
    measured again, so that one can go on later, or with a finer grid: all is reproducible.
    """
    known, frame = known or {}, surface.plane.frame
    for place in grid(side):
        if place not in known:
            yield place, surface.measure(*frame.at(place), between)


Step = tuple[str, str, float]


def walk(
    surface: Surface,
    count: int = 9,
    known: Mapping[Step, Height] | None = None,
    between: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Step, Height]]:
    """Measure the three networks and `count` points on each straight line between two of them.

    Keys are (from, to, share of the way). What is in `known` is not measured again.
    """
    known, met = dict(known or {}), {}
    for (a, b, share), height in known.items():
        met |= {name: height for name, end in ((a, 0.0), (b, 1.0)) if share == end}
    for a, b in LINES:
        (ax, ay), (bx, by) = (surface.plane.spots[name] for name in (a, b))
        for share in (step / (count + 1) for step in range(count + 2)):
            if (a, b, share) in known:
                continue
            name = {0.0: a, 1.0: b}.get(share)
            height = met.get(name) if name else None
            if height is None:
                x, y = ax + share * (bx - ax), ay + share * (by - ay)
                height = surface.measure(x, y, between)
            if name:
                met[name] = height
            yield (a, b, share), height


def barrier(walked: Mapping[Step, Height], a: str, b: str) -> float | None:
    """By how much the loss between two networks rises above the straight line between theirs.

    The largest such rise, 0 if there is none (Frankle et al. 2020); None until both ends and a
    point between them are known.
    """
    line = {share: one.loss for (c, d, share), one in walked.items() if (c, d) == (a, b)}
    if not {0.0, 1.0} <= line.keys() or len(line) < 3:
        return None
    return max(loss - (1 - share) * line[0.0] - share * line[1.0] for share, loss in line.items())
