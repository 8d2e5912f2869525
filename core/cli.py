"""The command line: `python -m core compress …`; what it can choose is read from the recipe.

Results go to standard output, as text or (`--json`) as JSON; progress goes to standard error. It
ends with 0, with 1 after a sentence on what is wrong, with 2 if the command was not understood, and
with 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import core
from core import budget, commands, portable, zoo
from core.commands.common import Told, add_data_dir, named
from core.errors import Cancelled, DataError, ExplorerError, RecipeError
from core.evaluate import running_accuracy
from core.export import largest_difference
from core.latency import latencies
from core.options import add_recipe, chosen_recipe, shape
from core.output import Progress, ratio, size_table, table
from core.source import original_of, takes

EXAMPLES = """\
examples:
  python -m core networks
  python -m core groups vgg11_bn-digits
  python -m core compress vgg11_bn-digits --groups 6 --sparsity 0.5 --rule repaired --save small
  python -m core compress vgg11_bn-digits --groups all --budget 0.3 --rule best
  python -m core compress torchvision:resnet18 --input-shape 3,224,224 --groups all --rule select
  python -m core accuracy small --limit 500
  python -m core size small --latency
  python -m core export small --onnx small.onnx
  python -m core sweep --network vgg11_bn-digits --groups 0,6 --sparsities 0.5 --out r.parquet
  python -m core reproduce --network vgg11_bn-digits --out results
  python -m core fine-tune vgg11_bn-digits --groups all --sparsity 0.5 --rules select,released
  python -m core fuse vgg11_bn-digits --seeds 0,1
  python -m core ablation solvers vgg11_bn-digits --groups 6 --out solvers.json
  python -m core divergence vgg11_bn-digits --groups 6 --rules select,released
  python -m core landscape vgg11_bn-digits --groups 2 --points 5 --out plane.json
  python -m core latency vgg11_bn-digits --sparsities 0.3,0.5,0.7
  python -m core splits --preset digits-minute --out splits

`python -m core COMMAND --help` explains a command and its choices. Networks are trained by
`python -m core.training`, images fetched by `python -m core.download`.

A command ends with 0 if all went well, 1 after a sentence on what is wrong, 2 if it was not
understood, 130 if it was interrupted.
"""

NETWORK = """\
NETWORK is one of
  a network of the zoo       vgg11_bn-digits; `python -m core networks` lists them
  a folder                   that `compress --save` wrote
  torchvision:NAME           torchvision:resnet18, one of torchvision's classification networks
  package.module:FUNCTION    a function without arguments that returns a torch.nn.Module
"""


# -- the commands: each returns plain values for --json, and the same as text


def networks(chosen: argparse.Namespace, progress: Progress) -> Told:
    told = []
    for name, row in zoo.NETWORKS.items():
        known = zoo.card(name) if name in zoo.shipped() else None
        told.append(
            {
                "name": name, "shape": row.shape, "input_shape": list(row.input_shape),
                "images": row.images, "ships": known is not None,
                "accuracy": known and known.accuracy, "tested": known and known.tested,
                "parameters": known and known.parameters,
            }
        )  # fmt: skip
    rows = [
        (
            one["name"], one["shape"],
            f"{one['parameters']:,} parameters" if one["ships"] else "no weights yet",
            f"{100 * one['accuracy']:.2f} % of {one['tested']:,} {one['images']} images"
            if one["ships"]
            else f"python -m core.training {one['name']}",
        )
        for one in told
    ]  # fmt: skip
    return told, table(rows)


def groups(chosen: argparse.Namespace, progress: Progress) -> Told:
    found = named(chosen, progress)
    progress.say(f"Tracing {found.name}")
    graph = core.trace(found.module, found.input_shape)
    told = [
        {
            "index": group.index, "width": group.width,
            "producers": list(group.producers), "consumers": list(group.consumers),
        }
        for group in graph.groups
    ]  # fmt: skip
    rows = [("group", "channels", "produced by", "consumed by")]
    rows += [
        (
            str(group["index"]), str(group["width"]),
            ", ".join(group["producers"]), ", ".join(group["consumers"]),
        )
        for group in told
    ]  # fmt: skip
    return told, table(rows)


def compress(chosen: argparse.Namespace, progress: Progress) -> Told:
    recipe = chosen_recipe(chosen)
    if chosen.save:
        portable.free_place(chosen.save, chosen.replace)  # before the work, not after it
    found = named(chosen, progress)
    if found.opened:
        raise RecipeError(
            f"{found.name} is a saved result, which is small already. Name the original network."
        )
    progress.say(f"Tracing {found.name}")
    graph = core.trace(found.module, found.input_shape)
    count = len(recipe.chosen(graph))
    progress.say(f"Compressing {count} group{'s' if count > 1 else ''} with {recipe.rule!r}")
    begun = time.monotonic()
    images = None
    if recipe.data:
        images = core.images(recipe.data, "train", chosen.data_dir, progress.share)
    prepared = core.Prepared(found.module, graph)
    if chosen.budget is not None:
        progress.say(f"Spreading the budget of {chosen.count}")
        share, count, spread = chosen.budget, chosen.count, chosen.spread
        recipe = budget.budgeted(prepared, recipe, share, count, spread, images)
    out = core.compress(
        found.module, graph, recipe, prepared, images, progress=progress.share
    )  # fmt: skip
    seconds = time.monotonic() - begun
    before, after = (core.size(m, found.input_shape) for m in (found.module, out.module))
    told = {
        "network": found.name,
        "recipe": recipe.as_dict(),
        "groups": [
            {
                "index": index, "title": graph.groups[index].title,
                "width": graph.groups[index].width, "kept": len(kept),
                "cost": out.plans[index].cost if index in out.plans else None,
            }
            for index, kept in out.kept.items()
        ],
        "size": {"before": dataclasses.asdict(before), "after": dataclasses.asdict(after)},
        "seconds": seconds,
        "folder": None,
    }  # fmt: skip
    rows = [("group", "channels", "cost of transport", "produced by")]
    rows += [
        (
            str(one["index"]), f"{one['width']} → {one['kept']}",
            "-" if one["cost"] is None else f"{one['cost']:.4f}", one["title"].split(" · ")[-1],
        )
        for one in told["groups"]
    ]  # fmt: skip
    text = table(rows) + "\n\n" + size_table(before, after)
    if chosen.save:
        progress.say("Saving and reading back")
        place = out.save(
            chosen.save, network=found.name, plans=chosen.store_plans, replace=chosen.replace
        )
        told["folder"] = str(place)
        text += f"\n\nSaved in {place}"
    return told, text


def accuracy(chosen: argparse.Namespace, progress: Progress) -> Told:
    found = named(chosen, progress)
    name = chosen.images or found.images
    if name is None:
        raise DataError(
            f"It isn't known which images {found.name} was trained for. Name them: --images "
            "digits, --images cifar10, or a folder in the data folder."
        )
    images = core.images(name, "test", chosen.data_dir, progress.share)
    takes(found.module, tuple(images.images.shape[1:]))
    total = len(images) if chosen.limit is None else min(chosen.limit, len(images))
    for counted in running_accuracy(found.module, images, chosen.limit):
        progress.say(f"{counted.total} of {total} images: {100 * counted.mean:.1f} %", passing=True)
    told = {
        "network": found.name, "images": images.title, "correct": counted.correct,
        "total": counted.total, "mean": counted.mean, "low": counted.low, "high": counted.high,
        "interval": "95 % Wilson",
    }  # fmt: skip
    return told, f"{counted}\non {images.title}, with its 95 % interval"


def size(chosen: argparse.Namespace, progress: Progress) -> Told:
    found = named(chosen, progress)
    after = core.size(found.module, found.input_shape)
    before = found.opened.before if found.opened else None
    told: dict = {
        "network": found.name,
        "size": {
            "before": before and dataclasses.asdict(before),
            "after": dataclasses.asdict(after),
        },
        "stored_bytes": found.stored,
    }
    text = size_table(before, after)
    if found.stored is not None:
        text += f"\n\nThe weights file holds {found.stored:,} bytes."
    if chosen.latency:
        progress.say(f"Timing {chosen.runs} runs")
        pair = [original_of(found, chosen.architecture)] if found.opened else []
        measured = latencies(
            [*pair, found.module],
            found.input_shape,
            runs=chosen.runs,
            batch=chosen.batch,
            threads=chosen.threads,
        )
        words = ("before", "after")[-len(measured) :] if found.opened else ("latency",)
        told["latency"] = {
            word: dataclasses.asdict(one) for word, one in zip(words, measured, strict=True)
        }
        text += "\n\n" + table([(w, str(m)) for w, m in zip(words, measured, strict=True)])
        if found.opened:
            text += f"\nOn this machine it takes {ratio(*measured)} of the time."
    return told, text


def export(chosen: argparse.Namespace, progress: Progress) -> Told:
    found = named(chosen, progress)
    progress.say("Exporting to ONNX")
    path = core.to_onnx(found.module, chosen.onnx, found.input_shape)
    progress.say("Comparing with onnxruntime")
    apart = largest_difference(found.module, path, found.input_shape)
    told = {"file": str(path), "bytes": path.stat().st_size, "largest_difference": apart}
    return told, (
        f"Wrote {path} ({told['bytes']:,} bytes)\n"
        f"onnxruntime's outputs differ from PyTorch's by at most {apart:.1e}"
    )


# -- the parser

COMMANDS: dict[str, tuple[Callable[[argparse.Namespace, Progress], Told], str, str]] = {
    "networks": (networks, "list the networks of the zoo", ""),
    "groups": (
        groups, "list the groups of layers that must shrink together",
        "Group 0 is nearest the output. The indices are those that `compress --groups` takes.",
    ),
    "compress": (
        compress, "make a network smaller and, with --save, keep it",
        "Channels of the chosen groups are scored, the less important ones are transported onto "
        "those that stay, and the weights are made smaller. No images and no training are needed "
        "unless a choice below says so.",
    ),
    "accuracy": (
        accuracy, "count the test images a network names right, with a 95 % interval",
        "Images are looked for in the data folder; `python -m core.download cifar10` fetches some, "
        "`digits` needs no folder. The first images are a fair sample of all classes.",
    ),
    "size": (
        size, "count parameters, multiply-accumulates and bytes, and measure latency",
        "Of a saved result the original is told beside it.",
    ),
    "export": (
        export, "write a network as an ONNX file for other programs",
        "Needs the packages of requirements-onnx.txt. The batch may be of any size; the file's "
        "outputs are compared with PyTorch's.",
    ),
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    shape_of_help = dict(formatter_class=argparse.RawTextHelpFormatter)
    top = argparse.ArgumentParser(
        prog="python -m core", epilog=EXAMPLES, **shape_of_help,
        description="Make neural networks smaller by optimal transport, and see what it costs.",
    )  # fmt: skip
    known = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, about, more) in COMMANDS.items():
        text = about[0].upper() + about[1:] + ". " + more
        one = known.add_parser(
            name, help=about.replace("%", "%%"), description=textwrap.fill(text, 90),
            epilog=NETWORK if takes_network(name) else None, **shape_of_help,
        )  # fmt: skip
        one.add_argument("--json", action="store_true", help="print the result as JSON")
        if not takes_network(name):
            ADD.get(name, lambda _: None)(one)
            continue
        getattr(commands.COMMANDS.get(name), "before", lambda _: None)(one)
        one.add_argument("network", metavar="NETWORK", help="see below")
        one.add_argument(
            "--input-shape", type=shape, metavar="C,H,W",
            help="channels, height and width of an image\n"
            "(default: the network's own; torchvision 3,224,224; any other 3,32,32)",
        )  # fmt: skip
        one.add_argument(
            "--weights", type=Path, metavar="FILE",
            help="a safetensors file with the network's tensors (the zoo's come with it)",
        )  # fmt: skip
        one.add_argument(
            "--architecture", metavar="NETWORK",
            help="for a folder whose original neither the zoo nor torchvision has:\n"
            "package.module:FUNCTION that makes it, with any weights",
        )  # fmt: skip
        ADD.get(name, lambda _: None)(one)
    return top


def add_compress(one: argparse.ArgumentParser) -> None:
    one.add_argument("--save", metavar="FOLDER", help="write the result to this folder")
    one.add_argument(
        "--store-plans", action="store_true", help="with --save: write the transport plans too"
    )
    one.add_argument(
        "--replace", action="store_true", help="with --save: a result that is there may go"
    )
    one.add_argument(
        "--budget", type=float, metavar="SHARE",
        help="share of the network that may stay, such as 0.3; in place of one --sparsity",
    )  # fmt: skip
    for option, usual, known in (
        ("--count", "weights", budget.COUNTS), ("--spread", "explained", budget.SPREADS),
    ):  # fmt: skip
        lines = [f"with --budget (default: {usual})"]
        lines += [f"  {name:<12} {line}" for name, line in known.items()]
        one.add_argument(option, default=usual, choices=known, help="\n".join(lines))
    add_data_dir(one)
    add_recipe(one)


def add_accuracy(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--images", metavar="NAME", help="the images (default: those it was trained for)"
    )
    one.add_argument("--limit", type=int, metavar="N", help="test on the first N images (all)")
    add_data_dir(one)


def add_size(one: argparse.ArgumentParser) -> None:
    one.add_argument("--latency", action="store_true", help="measure how long an image takes, too")
    one.add_argument("--runs", type=int, default=50, help="runs of each network (50)")
    one.add_argument("--batch", type=int, default=1, help="images at once (1)")
    one.add_argument("--threads", type=int, default=1, help="threads of the processor (1)")


def add_export(one: argparse.ArgumentParser) -> None:
    one.add_argument("--onnx", required=True, type=Path, metavar="FILE", help="the file to write")


ADD = {"compress": add_compress, "accuracy": add_accuracy, "size": add_size, "export": add_export}

for name, module in commands.COMMANDS.items():
    COMMANDS[name] = (module.run, module.ABOUT, module.MORE)
    ADD[name] = module.add


def takes_network(name: str) -> bool:
    """Whether a command is about one network, which is its first argument."""
    module = commands.COMMANDS.get(name)
    return getattr(module, "NETWORK", name != "networks")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal without an arrow shows a question mark
    try:
        chosen = parser().parse_args(arguments)
    except SystemExit as done:  # argparse has printed help (0) or usage (2)
        return int(done.code or 0)
    chosen.words = sys.argv[1:] if arguments is None else list(arguments)  # to be noted
    progress = Progress()
    try:
        told, text = COMMANDS[chosen.command][0](chosen, progress)
        progress.clear()
        print(json.dumps(told, indent=1, ensure_ascii=False) if chosen.json else text, flush=True)
        return 0
    except (KeyboardInterrupt, Cancelled):
        progress.clear()
        print("Stopped.", file=sys.stderr)
        return 130
    except ExplorerError as error:
        progress.clear()
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
