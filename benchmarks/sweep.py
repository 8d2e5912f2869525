"""How much quicker a sweep is than the straightforward way, group by group, in one run.

    INTRA_FUSION_DATA=FOLDER python benchmarks/sweep.py vgg11_bn-cifar10 --images 1000

Straightforward: for each recipe copy the network, compress it, run all images through it in batches
of 128. Ours: `core.accuracies` on all recipes of a group, in float32 and, where the processor has
it, in bfloat16. Each group is measured in turns, so that a noisy machine is noisy for all. Also
told: how many multiply-accumulates a second against what a large matrix product reaches, peak
memory, and how time grows with the images.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import core
from core.provenance import processor
from core.ready import has_bfloat16

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
RULES = ("select", "released")


def straightforward(net, graph, recipes, images, limit: int) -> list[core.Accuracy]:
    """Every recipe by itself, from the beginning."""
    return [
        core.accuracy(core.compress(net, graph, recipe).module, images, limit, batch=128)
        for recipe in recipes
    ]


def together(net, graph, recipes, images, limit: int, numbers: str) -> list[core.Accuracy]:
    """All recipes of a group at once."""
    prepared = core.Prepared(net, graph)
    smaller = [core.compress(net, graph, recipe, prepared).module for recipe in recipes]
    return core.accuracies(net, smaller, images, limit, numbers=numbers)


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


def memory() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--groups", default="", help="indices by commas (all)")
    parser.add_argument("--images", type=int, default=1000, help="test images")
    chosen = parser.parse_args()
    net = core.load(chosen.network)
    graph = core.trace(net)
    images = core.images(core.zoo.network(chosen.network).images, "test")
    groups = [int(g) for g in chosen.groups.split(",") if g] or [g.index for g in graph.groups]
    ways = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    print(
        f"{chosen.network}, {chosen.images} images, {processor()}, {os.cpu_count()} cores, ", end=""
    )
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{memory():.0f} MB before the first sweep: PyTorch, the network, the images")
    print("| group | straightforward, s | " + " | ".join(f"{w}, s | times" for w in ways) + " |")
    print("|---" * (2 + 2 * len(ways)) + "|")
    core.accuracy(net, images, 256)  # what PyTorch does once, it does here
    sums, done = dict.fromkeys(["straightforward", *ways], 0.0), dict.fromkeys(ways, 0.0)
    apart = dict.fromkeys(ways, 0.0)
    for group in groups:
        recipes = [
            core.Recipe(groups=(group,), sparsity=sparsity, rule=rule)
            for sparsity in SPARSITIES
            for rule in RULES
        ]
        cells = []
        for way in ways:
            spent, told = timed(together, net, graph, recipes, images, chosen.images, way)
            sums[way] += spent
            cells.append((way, spent, told))
            done[way] = max(done[way], memory())
        plain, exact = timed(straightforward, net, graph, recipes, images, chosen.images)
        sums["straightforward"] += plain
        line = f"| {group} | {plain:.1f} |"
        for way, spent, told in cells:
            line += f" {spent:.1f} | {plain / spent:.1f} |"
            worst = max(abs(a.mean - b.mean) for a, b in zip(exact, told, strict=True))
            apart[way] = max(apart[way], 100 * worst)
        print(line, flush=True)
    line = f"| all | {sums['straightforward']:.1f} |"
    for way in ways:
        line += f" {sums[way]:.1f} | {sums['straightforward'] / sums[way]:.1f} |"
    print(line)
    for way in ways:
        print(f"{way}: accuracies at most {apart[way]:.2f} points from the straightforward ones; "
              f"peak memory {done[way]:.0f} MB")  # fmt: skip
    macs = core.size(net).macs
    for way in ways:
        dtype = getattr(torch, way)
        spent, _ = timed(core.accuracies, net, [net], images, chosen.images, numbers=way)
        rate = macs * chosen.images / spent
        print(f"dense network in {way}: {rate / 1e9:.0f} billion multiply-accumulates a second, "
              f"{rate / peak(dtype):.0%} of a large matrix product's")  # fmt: skip
    recipe = [core.Recipe(groups=(groups[-1],), sparsity=s) for s in SPARSITIES]
    for count in (chosen.images // 4, chosen.images // 2, chosen.images):
        spent, _ = timed(together, net, graph, recipe, images, count, "float32")
        print(f"group {groups[-1]}, {count} images: {spent:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
