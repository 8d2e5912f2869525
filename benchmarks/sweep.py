"""How much quicker a sweep is than the straightforward way, group by group, in one run.

    INTRA_FUSION_DATA=FOLDER python benchmarks/sweep.py vgg11_bn-cifar10 --images 1000

Straightforward: for each recipe copy the network, compress it, run all images through it in batches
of 128. Ours: what `python -m core sweep` does with all recipes of a group (`core.sweep.count`), in
float32 and, where the processor has it, in bfloat16. Each group is measured in turns, so that a
noisy machine is noisy for all. Making the smaller networks and counting images are timed apart:
making takes the same however many images there are, so that the last column can tell how much
quicker it would be with `--fit` images. Also told: multiply-accumulates a second against what a
large matrix product reaches, peak memory, and how time grows with images, groups and width.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import core
from core import sweep
from core.experiments import Bench
from core.provenance import processor
from core.ready import has_bfloat16

RULES = ("select", "released")
WIDTHS = (0.25, 0.5, 1.0)


@dataclass
class Spent:
    """Seconds for making networks and for counting; how many of the images each names right.

    images : how many were counted. moments : (images counted, seconds since the first) on the way.
    """

    images: int
    making: float = 0.0
    counting: float = 0.0
    right: Sequence[int] = ()
    moments: list[tuple[int, float]] = field(default_factory=list)

    @property
    def whole(self) -> float:
        return self.making + self.counting

    def fit(self, images: int) -> float:
        """Seconds with another number of images, if counting takes as long for each of them."""
        return self.making + self.counting * images / self.images

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.images, self.making + other.making, self.counting + other.counting)


def straightforward(bench: Bench, recipes: Sequence[core.Recipe]) -> Spent:
    """Every recipe by itself, from the beginning."""
    spent, right = Spent(bench.limit), []
    for recipe in recipes:
        made, smaller = timed(core.compress, bench.module, bench.graph, recipe)
        counted, told = timed(core.accuracy, smaller.module, bench.tested, bench.limit, batch=128)
        spent.making += made
        spent.counting += counted
        right.append(told.correct)
    spent.right = right
    return spent


def ours(bench: Bench, recipes: Sequence[core.Recipe], numbers: str) -> Spent:
    """All recipes of a group at once; nothing is known of the group before."""
    begun = time.perf_counter()
    spent = Spent(bench.limit)
    bench.prepared = core.Prepared(bench.module, bench.graph)
    for step in sweep.count(bench, recipes, numbers):
        now = time.perf_counter() - begun
        if not step.counted:
            spent.making = now
            continue
        spent.counting, spent.right = now - spent.making, step.right
        spent.moments.append((step.counted, spent.counting))
    return spent


def timed(work: Callable, *given, **named) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    begun = time.perf_counter()
    told = work(*given, **named)
    return time.perf_counter() - begun, told


def peak(dtype: torch.dtype) -> float:
    """Multiply-accumulates a second of a large matrix product, the best of five."""
    size = 2048
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    best = min(timed(torch.matmul, a, b)[0] for _ in range(5))
    return size**3 / best


def forget_peak() -> None:
    """Measure the peak memory anew from here, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("(peak memory is that of the whole run: this system can't measure it anew)")


def memory() -> float:
    """The most memory this process has held since `forget_peak`, in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = (line.split() for line in status.read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "VmHWM:") / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--groups", default="", help="indices by commas (all)")
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--fit", type=int, default=10_000, help="images of the last columns")
    chosen = parser.parse_args()
    bench = Bench(chosen.network, chosen.images)
    every = [group.index for group in bench.graph.groups]
    groups = [int(g) for g in chosen.groups.split(",") if g] or every
    ways = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    print(
        f"{chosen.network}, {chosen.images} images, {processor()}, {os.cpu_count()} cores, ", end=""
    )
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{memory():.0f} MB before the first sweep: PyTorch, the network, the images")
    print("Seconds, of them for making the networks; how many times quicker, and with "
          f"{chosen.fit} images by the fit")  # fmt: skip
    print("| group | straightforward | " + " | ".join(f"{w} | times | fit" for w in ways) + " |")
    print("|---" * (2 + 3 * len(ways)) + "|")
    # What PyTorch does once, it does here.
    core.accuracy(bench.module, bench.tested, 256, batch=128)
    for way in ways:
        core.accuracies(bench.module, [bench.module], bench.tested, 200, numbers=way)
    sums = {way: Spent(chosen.images) for way in ("straightforward", *ways)}
    most, apart = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    least = dict.fromkeys(ways, float("inf"))
    last = {}
    for group in groups:
        recipes = sweep.entries([group], rules=RULES)[1:]
        found = {}
        for way in ways:
            forget_peak()
            found[way] = last[way] = ours(bench, recipes, way)
            sums[way] += found[way]
            most[way] = max(most[way], memory())
        plain = straightforward(bench, recipes)
        sums["straightforward"] += plain
        print(line(group, plain, found, chosen.fit), flush=True)
        for way, one in found.items():
            off = max(abs(a - b) for a, b in zip(plain.right, one.right, strict=True))
            apart[way] = max(apart[way], off)
            least[way] = min(least[way], plain.whole / one.whole)
    print(line("all", sums["straightforward"], {way: sums[way] for way in ways}, chosen.fit))
    for way in ways:
        print(
            f"{way}: at most {apart[way]} of {chosen.images} images from the straightforward "
            f"counts; the slowest group {least[way]:.1f} times; peak memory {most[way]:.0f} MB"
        )
    macs = core.size(bench.module, bench.input_shape).macs
    for way in ways:
        spent, _ = timed(
            core.accuracies, bench.module, [bench.module], bench.tested, chosen.images, numbers=way
        )
        rate = macs * chosen.images / spent
        print(f"dense network in {way}: {rate / 1e9:.0f} billion multiply-accumulates a second, "
              f"{rate / peak(getattr(torch, way)):.0%} of a large matrix product's")  # fmt: skip
    for way in ways:
        moments = last[way].moments
        told = ", ".join(f"{n} images {s:.2f} s" for n, s in moments[:: max(1, len(moments) // 4)])
        print(f"growth with images, {way}, group {groups[-1]}, counting alone: {told}")
    for width in WIDTHS:
        narrow = bench
        if width < 1:
            less = core.Recipe(groups="all", sparsity=1 - width, rule="select")
            smaller = core.compress(bench.module, bench.graph, less).module
            narrow = Bench.of(
                bench.name, smaller, bench.tested, bench.input_shape, min(500, bench.limit)
            )
        else:
            narrow = Bench(chosen.network, min(500, bench.limit))
        spent = ours(narrow, sweep.entries([groups[-1]], rules=RULES)[1:], "float32")
        print(
            f"growth with width, {width:.0%} of the channels, group {groups[-1]}: making "
            f"{spent.making:.2f} s, counting {narrow.limit} images {spent.counting:.2f} s"
        )
    return 0


def line(name: object, plain: Spent, found: dict[str, Spent], images: int) -> str:
    """A row of the table."""
    cells = [str(name), f"{plain.whole:.1f} ({plain.making:.1f})"]
    for one in found.values():
        cells += [
            f"{one.whole:.1f} ({one.making:.1f})",
            f"{plain.whole / one.whole:.1f}",
            f"{plain.fit(images) / one.fit(images):.1f}",
        ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
