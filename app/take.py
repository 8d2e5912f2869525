"""What is downloaded: a page's data as CSV, its state, a script, the smaller network. No Streamlit.

Numbers are written as programs read them, with a point and all their digits, in every language.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from app.language import Texts
from app.link import Choice
from core.compress import Compressed, Step
from core.embedding import Embedding
from core.errors import ExplorerError
from core.evaluate import Accuracy, Size
from core.groups import DependencyGraph
from core.recipe import Recipe

#: A page's state is a few hundred bytes; what is larger than this is something else.
MOST_BYTES = 20_000


def as_csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> bytes:
    """A table as comma-separated values (RFC 4180), UTF-8; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def plan(step: Step) -> bytes:
    """A row for every pair of channels between which mass moves; numbers are the original's.

    `share` is of all that leaves the source. A source none of whose mass moves has one row without
    target. Where nothing is transported, `share` is the coefficient with which the next layer
    guesses the source from the target, and there is neither mass nor cost.
    """
    kept = step.measures.kept.tolist()
    moved = step.projection.unmerge if step.plan is None else step.plan.mass
    rows: list[tuple] = []
    for source, row in enumerate(moved):
        targets = row.nonzero()[:, 0].tolist()
        if not targets:
            rows.append((source, None, 0.0, None, None))
        for target in targets:
            value = float(row[target])
            if step.plan is None:
                rows.append((source, kept[target], value, None, None))
            else:
                cost = float(step.plan.costs[source, target])
                rows.append((source, kept[target], value / float(row.sum()), value, cost))
    return as_csv(("source", "target", "share", "mass", "cost"), rows)


def channels(picture: Embedding, step: Step) -> bytes:
    """Where each channel lies in the picture shown, before, and after if it stays.

    `role` is kept or discarded, `importance` the score it was judged by. After is empty for plain
    pruning and regression too where the channel is discarded.
    """
    places = {channel: place for place, channel in enumerate(step.measures.kept.tolist())}
    after = picture.after(step)
    rows = []
    for channel, (x, y) in enumerate(picture.before.tolist()):
        place = places.get(channel)
        there = (None, None) if place is None else after[place].tolist()
        role = "discarded" if place is None else "kept"
        rows.append((channel, role, float(step.scores[channel]), picture.method, x, y, *there))
    names = ("channel", "role", "importance", "picture", "x_before", "y_before")
    return as_csv((*names, "x_after", "y_after"), rows)


def accuracies(known: Mapping[str, Accuracy]) -> bytes:
    """A row a network: right answers, images, their share, and the ends of its 95 % interval."""
    rows = [(name, a.correct, a.total, a.mean, a.low, a.high) for name, a in known.items()]
    return as_csv(("name", "right", "total", "mean", "low", "high"), rows)


def layers(graph: DependencyGraph, before: nn.Module, after: nn.Module) -> bytes:
    """A row for every operation of the graph: its layer, kind, group, shape and parameters.

    `shape` is what it puts out for one image, before; `parameters_after` those of the smaller
    network, of which an outline without numbers is enough.
    """
    counts = [
        {
            name: sum(p.numel() for p in module.parameters(recurse=False))
            for name, module in network.named_modules()
        }
        for network in (before, after)
    ]
    rows = (
        (node.name, node.module, node.kind, node.group, "x".join(map(str, node.shape)),
         *(count.get(node.module, 0) for count in counts), " ".join(node.parents))
        for node in graph.nodes
    )  # fmt: skip
    names = ("operation", "layer", "kind", "group", "shape")
    return as_csv((*names, "parameters", "parameters_after", "reads"), rows)


def sizes(before: Size, after: Size) -> bytes:
    """Parameters, multiply-accumulates an image and bytes of the two networks."""
    fields = [field.name for field in dataclasses.fields(Size)]
    named = (("dense", before), ("smaller", after))
    rows = ((name, *(getattr(size, field) for field in fields)) for name, size in named)
    return as_csv(("name", *fields), rows)


def read_state(content: bytes, say: Texts) -> dict[str, str]:
    """The link that a downloaded state holds; what it asks for is checked by `link.read`.

    Raises
    ------
    ExplorerError
        If it is no such file.
    """
    if len(content) > MOST_BYTES:
        raise ExplorerError(say("take.too_large", size=len(content), most=MOST_BYTES))
    try:
        told = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ExplorerError(say("take.no_json", error=str(error))) from error
    held = told.get("intra-fusion") if isinstance(told, dict) else None
    if not isinstance(held, dict):
        raise ExplorerError(say("take.no_state"))
    wrong = [name for name, value in held.items() if not isinstance(value, (str, int, float))]
    if wrong or any(isinstance(value, bool) for value in held.values()):
        raise ExplorerError(say("take.no_text", name=", ".join(wrong) or "true/false"))
    return {name: str(value) for name, value in held.items()}


SCRIPT = '''"""{title}

Made by the Intra-Fusion Explorer. Put it into the explorer's folder and start it there:

    .venv/bin/python {file}
{shown}"""

import core

# Where the images are; None: $INTRA_FUSION_DATA, or the folder of the system's caches.
FOLDER = {folder}

net = core.load({network})
graph = core.trace(net, {shape})
images = core.images({data}, "test", FOLDER)

recipes = {{
    "pruned": {pruning},
    "fused": {fusion},
}}
print("dense ", core.accuracy(net, images))
for name, recipe in recipes.items():
    # Images that choose channels come from the training split: none is tested on.
    train = core.images(recipe.data, "train", FOLDER) if recipe.data else None
    smaller = core.compress(net, graph, recipe, images=train).module
    print(name.ljust(6), core.accuracy(smaller, images))
    print("      ", core.size(smaller, {shape}))
'''


def script(
    choice: Choice,
    data: str,
    shape: tuple[int, ...],
    folder: str | None,
    known: Mapping[str, Accuracy],
    file: str,
    say: Texts,
) -> bytes:
    """A program that measures the same accuracies with `core` alone.

    `data`: the name of the test images. `known`: what the page has measured so far.
    """
    shown = "".join(f"    {name.ljust(6)} {value}\n" for name, value in known.items())
    return SCRIPT.format(
        title=say("take.script_title", network=choice.network, group=choice.group),
        file=file,
        shown=f"\nThe page showed:\n\n{shown}" if shown else "",
        folder=repr(folder),
        network=repr(choice.network),
        shape=tuple(shape),
        data=repr(data),
        pruning=_as_code(choice.pruning),
        fusion=_as_code(choice.recipe),
    ).encode()


def _as_code(recipe: Recipe) -> str:
    """A recipe as Python makes it, with what differs from the defaults."""
    told = (
        (field.name, getattr(recipe, field.name), field.default)
        for field in dataclasses.fields(Recipe)
    )
    asked = [
        f"        {name}={value!r},\n"
        for name, value, default in told
        if value != default or name in ("groups", "sparsity", "rule")
    ]
    return "core.Recipe(\n" + "".join(asked) + "    )"


def packed(result: Compressed, network: str) -> bytes:
    """The folder that `core.open` reads, as a zip; one folder in it, of the network's name.

    Raises as `Compressed.save` does.
    """
    content = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="intra-fusion-") as folder, torch.no_grad():
        place = result.save(Path(folder) / f"{network}-smaller", network=network)
        # Weights don't compress: stored as they are, a zip is made and opened at once.
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(place.iterdir()):
                archive.write(file, f"{place.name}/{file.name}")
    return content.getvalue()
