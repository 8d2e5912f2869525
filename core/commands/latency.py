"""`python -m core latency`: how long whole networks take on this machine, dense and smaller."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import core
from core.commands import variants
from core.commands.common import Told, named, shares, told_command
from core.errors import RecipeError
from core.latency import turns
from core.output import Progress, table
from core.recipe import Recipe

ABOUT = "time the whole network against smaller ones, in turns"
MORE = (
    "All groups shrink by one sparsity; plain pruning makes the networks, for widths alone decide "
    "how long they take, and fused networks have the same. One run of each in turn, so that what "
    "slows the machine down slows all of them. No images are needed."
)


def add(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--sparsities", type=shares, default=(0.3, 0.5, 0.7), metavar="LIST",
        help="shares of the channels of every group that go (0.3,0.5,0.7)",
    )  # fmt: skip
    one.add_argument("--runs", type=int, default=50, help="runs of each network (50)")
    one.add_argument("--batch", type=int, default=1, help="images at once (1)")
    one.add_argument("--threads", type=int, default=1, help="threads of the processor (1)")
    one.add_argument("--out", type=Path, metavar="FILE", help="write the result as JSON, too")


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    found = named(chosen, progress)
    if found.opened:
        raise RecipeError(
            f"{found.name} is a saved result, which is small already. Name the original network, "
            "or time this one: python -m core size FOLDER --latency."
        )
    progress.say(f"Tracing {found.name}")
    graph = core.trace(found.module, found.input_shape)
    modules = [found.module]
    for sparsity in chosen.sparsities:
        progress.say(f"Pruning {100 * sparsity:g} % of every group", passing=True)
        recipe = Recipe(groups="all", sparsity=sparsity, rule="select")
        modules.append(core.compress(found.module, graph, recipe).module)
    sizes = [core.size(module, found.input_shape) for module in modules]
    timed = turns(modules, found.input_shape, chosen.runs, chosen.batch, chosen.threads)
    for known in timed:
        progress.say(f"{known.runs} of {chosen.runs} runs", passing=True)
    networks = [
        {
            "sparsity": sparsity, "parameters": size.parameters, "macs": size.macs,
            "latency": dataclasses.asdict(known.latency(place)),
            "ratio": dataclasses.asdict(known.ratio(place)),
        }
        for place, (sparsity, size) in enumerate(zip((0.0, *chosen.sparsities), sizes, strict=True))
    ]  # fmt: skip
    told = {
        "network": found.name, "input_shape": list(found.input_shape), "networks": networks,
        "runs": variants.with_run([], told_command(chosen)),
    }  # fmt: skip
    if chosen.out:
        variants.write(chosen.out, told)
    rows = [("channels gone", "weights left", "operations left", "ms a batch", "ms an image",
             "time against dense")]  # fmt: skip
    for place, one in enumerate(networks):
        mine = known.latency(place)
        rows.append(
            (
                f"{100 * one['sparsity']:g} %",
                f"{100 * one['parameters'] / sizes[0].parameters:.1f} %",
                f"{100 * one['macs'] / sizes[0].macs:.1f} %",
                f"{1e3 * mine.median:.2f} ({1e3 * mine.first_quartile:.2f} to "
                f"{1e3 * mine.third_quartile:.2f})",
                f"{1e3 * mine.median / chosen.batch:.3f}", str(known.ratio(place)),
            )
        )  # fmt: skip
    text = f"{found.name}, batches of {chosen.batch}, {known.runs} runs each, medians and quartiles"
    return told, f"{text}\n\n{table(rows)}"
