"""Counts of one variant after the other, whose common beginning is remembered for some images.

Somebody who moves a slider asks for one variant of a group after the other. What comes before the
group is the same in all of them: for the first images it stays in memory, and a move pays for the
rest of the network alone. The page counts with this; a sweep, which knows all its variants
beforehand, with `core.prefix`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from core.data import ImageSet
from core.evaluate import device_of
from core.prefix import Leaving, Together, Variant, copied
from core.ready import prepared_images

#: Bytes that what is remembered may take together.
MEMORY = 256_000_000
#: Images, from the first, for which anything is remembered.
FIRST = 1000

#: Where a variant leaves the network, and whether the operation there has run already.
Place = tuple[str, bool]


class Replay:
    """A network's beginnings on a set of images, in float32; any thread may ask.

    `bytes` tells how much is remembered, at most `memory`; `found` and `missed` count how often
    something was.

    Raises
    ------
    Unsupported
        If torch.fx can't trace the network.
    """

    def __init__(self, module: nn.Module, images: ImageSet, memory: int = MEMORY) -> None:
        self._together, self._images, self._memory = Together(module), images, memory
        self._held: dict[Place, dict[tuple[int, int], dict[fx.Node, object]]] = {}
        self._sizes: dict[Place, int] = {}
        self._lock = threading.Lock()
        self.found = self.missed = 0

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    def counter(self, variant: nn.Module | Variant) -> Callable[[int, int], int]:
        """(start, stop) → how many of the images `start` to `stop` the variant names right.

        `variant` : as `core.accuracies` takes it; it may be let go of.
        """
        leaving = self._together.leaving(variant)

        def count(start: int, stop: int) -> int:
            logits = self._logits(leaving, start, stop)
            return int((logits.argmax(1).cpu() == self._images.labels[start:stop]).sum())

        return count

    @torch.inference_mode()
    def _logits(self, leaving: Leaving, start: int, stop: int) -> Tensor:
        place = leaving.start.name, leaving.mixing is not None
        needed = self._remembered(place, start, stop)
        if needed is None:
            needed = self._before(leaving, start, stop)
            self._remember(place, start, stop, needed)
        # Copies, if what follows may write into them. What nobody needs any more is None.
        known = {}
        for node in self._together.network.graph.nodes:
            if node is leaving.start:
                break
            value = needed.get(node)
            known[node] = copied(value) if node in self._together.written else value
        if leaving.mixing is not None:
            known[leaving.start] = leaving.mixing(needed[leaving.start])
        alone = fx.Interpreter(leaving.module, graph=self._together.network.graph)
        return alone.run(initial_env=known)

    def _before(self, leaving: Leaving, start: int, stop: int) -> dict[fx.Node, object]:
        """What a variant needs of all that the network itself computes for it."""
        pixels = self._images.normalised(self._images.images[start:stop])
        pixels = pixels.to(device_of(self._together.network))
        until = _Until(self._together.network, leaving.start, leaving.mixing is not None)
        return until.run(prepared_images(pixels, "float32"))

    def _remembered(self, place: Place, start: int, stop: int) -> dict[fx.Node, object] | None:
        with self._lock:
            known = self._held.get(place, {}).get((start, stop))
            if known is None:
                self.missed += 1
                return None
            self._held[place] = self._held.pop(place)  # used last
            self.found += 1
            return known

    def _remember(self, place: Place, start: int, stop: int, needed: dict[fx.Node, object]) -> None:
        """Keep it if there is room, or if beginnings asked for longer ago can make some."""
        size = _size(needed)
        if stop > FIRST:
            return
        with self._lock:
            if (start, stop) in self._held.get(place, {}):
                return  # another thread was quicker
            if self._sizes.get(place, 0) + size > self._memory:
                return
            self._held[place] = self._held.pop(place, {})
            while self.bytes + size > self._memory:
                oldest = next(iter(self._held))
                del self._held[oldest], self._sizes[oldest]
            self._held[place][start, stop] = needed
            self._sizes[place] = self._sizes.get(place, 0) + size


class _Until(fx.Interpreter):
    """Runs the network up to an operation, that one included or not; tells what is needed later."""

    def __init__(self, network: fx.GraphModule, start: fx.Node, included: bool) -> None:
        super().__init__(network)
        self.start, self.included = start, included
        self.told: dict[fx.Node, object] | None = None

    def run_node(self, node: fx.Node):
        if self.told is not None:
            return self.told  # the rest is not run, and this is what the last operation returns
        if node is self.start and not self.included:
            self.told = dict(self.env)
            return self.told
        value = super().run_node(node)
        if node is self.start:
            # What this operation was the last to read is not needed.
            gone = self.user_to_last_uses.get(node, [])
            self.told = {one: known for one, known in self.env.items() if one not in gone}
            self.told[node] = value
            return self.told
        return value


def _size(values: dict[fx.Node, object]) -> int:
    """Bytes of all tensors, each memory once."""
    memory: dict[int, int] = {}

    def look(value):
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            memory[storage.data_ptr()] = storage.nbytes()
        return value

    for value in values.values():
        fx.node.map_aggregate(value, look)
    return sum(memory.values())
