"""`python -m core divergence`: how far the outputs of smaller networks are from the dense ones."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from core import signatures
from core.commands import variants
from core.commands.common import Told, told_command
from core.divergence import Operation, began, divergences, layer_by_layer
from core.output import Progress, table

ABOUT = "measure how far outputs are from the dense network's, by image, class and layer"
MORE = (
    "The distance of an image is the ℓ2 norm of the difference of the logits. Layer by layer it is "
    "the norm of the difference over the norm of what the dense network puts out, over all images."
)


def add(one: argparse.ArgumentParser) -> None:
    variants.add(one, "select,released", 1000)
    one.add_argument(
        "--layers", type=int, default=200, metavar="N",
        help="the first N test images go through layer by layer (200; 0: none)",
    )  # fmt: skip
    one.add_argument("--out", type=Path, metavar="FILE", help="write the result as JSON, too")


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    found = variants.compared(chosen, progress)
    module, smaller = found.found.module, found.smaller
    for known in divergences(
        module, {rule: out.module for rule, out in smaller.items()}, found.tested, chosen.limit
    ):
        progress.say(f"{known.done} of {known.total} images", passing=True)
    operations: list[Operation] = []
    if chosen.layers:
        looks = layer_by_layer(module, found.graph, smaller, found.tested, chosen.layers)
        for so_far in looks:
            progress.say("layer by layer", passing=True)
            operations = so_far
    signs = signatures.of_divergence(known, "select")
    for rule, out in smaller.items():
        steps = {index: step for index, step in out.steps.items() if step.plan is not None}
        signs += [
            dataclasses.replace(one, where={**one.where, "variant": rule})
            for one in signatures.of_steps(steps)
        ]
    edges, counts = known.histogram()
    told = found.about() | {
        "total": known.total,
        "variants": {
            rule: {
                "mean": dataclasses.asdict(known.mean(rule)),
                "quantiles": dict(zip(("5", "25", "50", "75", "95"), known.quantiles(rule),
                                      strict=True)),
                "by_class": {
                    name: one and dataclasses.asdict(one)
                    for name, one in zip(known.classes, known.by_class(rule), strict=True)
                },
                "histogram": counts[place].tolist(),
                "agreement": known.agreement(rule),
                "beyond": known.beyond(rule),
                "distances": [round(value, 5) for value in known.of(rule).tolist()],
            }
            for place, rule in enumerate(known.names)
        },
        "edges": edges.tolist(),
        "norm": float(known.norms.mean()),
        "layers": [dataclasses.asdict(one) for one in operations],
        "signatures": [dataclasses.asdict(one) for one in signs],
        "runs": variants.with_run([], told_command(chosen)),
    }  # fmt: skip
    if chosen.out:
        variants.write(chosen.out, told)
    rows = [("rule", "mean distance", "95 % interval", "median", "same class named", "starts at")]
    for rule in known.names:
        mean, start = known.mean(rule), began(operations, rule)
        rows.append(
            (
                rule, f"{mean.mean:.3f}", f"{mean.low:.3f} to {mean.high:.3f}",
                f"{known.quantiles(rule, [0.5])[0]:.3f}", f"{100 * known.agreement(rule):.1f} %",
                "-" if start is None else start.name,
            )
        )  # fmt: skip
    text = table(rows)
    text += f"\n\non the first {known.total:,} test images; dense logits have a mean norm of "
    text += f"{told['norm']:.3f}. A rule's failure "
    text += "starts after the first layer of full width that is 10 % off."
    if signs:
        text += "\n\n" + table(signatures.rows(signs))
    return told, text
