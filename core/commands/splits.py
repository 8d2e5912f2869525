"""`python -m core splits`: whole-data training, FaP and PaF, timed beside each other."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from core import split_shares, zoo
from core.commands.common import Told, add_data_dir, told_command
from core.commands.sweep import whole, words
from core.errors import RecipeError
from core.options import chosen_recipe
from core.output import Progress, table
from core.recipe import CHOICES
from core.split_plan import METHODS, NUMBERS, PRESETS, Plan
from core.split_result import Result, Run
from core.split_training import Event, result_of
from core.split_training import run as run_plan
from core.splits import KINDS, Splits

NETWORK = False
ABOUT = "train on parts of the data, fuse and prune; whole-data training beside it"
MORE = (
    "Networks are trained side by side on parts of the images, fused by transport and pruned: "
    "fused first (fap) or pruned first (paf). A stage that is done is kept in the folder, and "
    "training after each epoch: started again, the same command goes on from there. Times are "
    "those of the stages on one worker each; test images are counted after each stage and choose "
    "nothing."
)
#: What `--preset` is if neither it nor a network is named.
USUAL = "digits-minute"


def add(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER",
        help="folder for the result (splits.json), networks and checkpoints",
    )  # fmt: skip
    lines = [f"plan whose values stand where nothing is said (default: {USUAL})"]
    lines += [f"  {name:<14} {_about(plan)}" for name, plan in PRESETS.items()]
    one.add_argument("--preset", choices=PRESETS, help="\n".join(lines).replace("%", "%%"))
    one.add_argument(
        "--network", choices=tuple(zoo.NETWORKS), metavar="NETWORK",
        help="a network of the zoo; `python -m core networks` lists them",
    )  # fmt: skip
    _add_split(one)
    lines = ["with commas between them", *(f"  {name:<8} {what}" for name, what in METHODS.items())]
    one.add_argument("--methods", type=words, metavar="LIST", help="\n".join(lines))
    one.add_argument("--seeds", type=whole, metavar="LIST", help="of the runs, such as 0,1,2")
    _add_training(one)
    _add_compression(one)
    one.add_argument("--limit", type=int, metavar="N", help="test on the first N images (all)")
    one.add_argument(
        "--workers", type=int, metavar="N",
        help="processes side by side (one a network, as far as there are cores)",
    )  # fmt: skip
    one.add_argument(
        "--threads", type=int, metavar="N", help="of each of them (the cores are shared out)"
    )
    one.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="work on the workers of this Dask scheduler (tcp://HOST:8786)",
    )  # fmt: skip
    one.add_argument(
        "--curve", type=whole, metavar="LIST",
        help="in place of the methods: train on k-ths of the data for each k named, such as\n"
        "2,4,8,16, fuse and fine-tune: the smallest share that still works (shares.json)",
    )  # fmt: skip
    add_data_dir(one)


def _add_split(one: argparse.ArgumentParser) -> None:
    kinds = one.add_mutually_exclusive_group()
    for kind, about in KINDS.items():
        kinds.add_argument(f"--{kind}", type=int, metavar="K", help=about)
    one.add_argument(
        "--share", type=float, metavar="S", help="of the images in each part, with --overlapping"
    )


def _add_training(one: argparse.ArgumentParser) -> None:
    one.add_argument("--epochs", type=int, metavar="N", help="of training, on images of full size")
    one.add_argument(
        "--crops", type=_crops, metavar="LIST",
        help="epochs of training on crops: 4:20,2:24 is 4 epochs of side 20 and 2 of 24",
    )  # fmt: skip
    for name, about in (
        ("pruned-epochs", "of fine-tuning after each step of pruning"),
        ("fused-epochs", "of fine-tuning after fusion, and at the end of whole-data training"),
        ("tuned-side", "side of the crops of fine-tuning"),
    ):
        one.add_argument(f"--{name}", type=int, metavar="N", help=about)
    one.add_argument("--rate", type=float, metavar="R", help="largest learning rate of training")
    one.add_argument("--tuned-rate", type=float, metavar="R", help="of fine-tuning")
    one.add_argument(
        "--numbers", choices=NUMBERS,
        help="networks are trained in\n"
        + "\n".join(f"  {name:<10} {what}" for name, what in NUMBERS.items()),
    )  # fmt: skip
    one.add_argument(
        "--same-start", action="store_true", default=None,
        help="all networks of a run begin with the same weights",
    )  # fmt: skip


def _add_compression(one: argparse.ArgumentParser) -> None:
    one.add_argument("--steps", type=int, metavar="N", help="of pruning up to the sparsity")
    one.add_argument(
        "--recipe", type=Path, metavar="FILE",
        help="a JSON file with the recipe of compression; the next three override it",
    )  # fmt: skip
    for name, about in (
        ("sparsity", "share of the channels to discard"),
        ("rule", "select for plain pruning, released for the paper's Intra-Fusion"),
        ("importance", "how channels are scored"),
    ):
        one.add_argument(
            f"--{name}", dest=f"recipe_{name}", default=argparse.SUPPRESS,
            type=float if name == "sparsity" else str, choices=CHOICES.get(name),
            metavar=name.upper(), help=about,
        )  # fmt: skip
    for name, kind, about in (
        ("cost", str, "weights or activations: what channels are compared by in fusion"),
        ("solver", str, "of the transport in fusion: exact or sinkhorn"),
        ("samples", int, "training images that fusion looks at, without their labels"),
    ):
        one.add_argument(f"--fusion-{name}", type=kind, metavar=name.upper(), help=about)


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    plan = planned(chosen)
    about = {
        "images": chosen.data_dir, "workers": chosen.workers, "threads": chosen.threads,
        "scheduler": chosen.scheduler, "command": told_command(chosen),
    }  # fmt: skip
    if chosen.curve:
        return _curve(chosen, plan, about, progress)
    _follow(run_plan(plan, chosen.out, **about), progress)
    found = result_of(plan, chosen.out)
    text = "\n\n".join(text_of(found, one) for one in found.runs)
    return found.as_dict(), f"{text}\n\non {found.images}; {chosen.out / 'splits.json'}"


def _follow(going: Iterator[Event], progress: Progress) -> None:
    """Tell what happens until all is done; workers end if this is interrupted."""
    with closing(going):
        for event in going:
            if event.line:
                progress.say(f"{100 * event.share:3.0f} %  {event.line}", event.what == "report")


def planned(chosen: argparse.Namespace) -> Plan:
    """The plan of the preset with what the options say.

    Raises
    ------
    RecipeError
        If values don't fit.
    """
    if chosen.preset is None and chosen.network:
        plan = next(
            (one for one in PRESETS.values() if one.network == chosen.network),
            Plan(network=chosen.network),
        )
    else:
        plan = PRESETS[chosen.preset or USUAL]
    changes = {
        name: value
        for name in (
            "network", "methods", "seeds", "crops", "pruned_epochs", "fused_epochs", "tuned_side",
            "rate", "tuned_rate", "numbers", "same_start", "steps", "limit",
        )
        if (value := getattr(chosen, name)) is not None
    }  # fmt: skip
    if chosen.epochs is not None:
        if chosen.crops:
            raise RecipeError("--crops says how many epochs there are; leave --epochs out.")
        changes["crops"] = ((chosen.epochs, 32),)
    for kind in KINDS:
        if (count := getattr(chosen, kind)) is not None:
            changes["splits"] = Splits(kind, count)
    splits = changes.get("splits", plan.splits)
    if chosen.share is not None:
        if splits.kind != "overlapping":
            raise RecipeError("--share is that of parts that overlap: name them, --overlapping K.")
        changes["splits"] = dataclasses.replace(splits, share=chosen.share)
    if chosen.recipe:
        changes["recipe"] = chosen_recipe(chosen)
    else:
        own = {key: value for key, value in vars(chosen).items() if key.startswith("recipe_")}
        changes["recipe"] = plan.recipe.replace(
            **{key.removeprefix("recipe_"): value for key, value in own.items()}
        )
    fusion = {
        name: value
        for name in ("cost", "solver", "samples")
        if (value := getattr(chosen, f"fusion_{name}")) is not None
    }
    changes["fusion"] = dataclasses.replace(plan.fusion, **fusion)
    return plan.replace(**changes)


def text_of(found: Result, run: Run) -> str:
    """A run as a table: a line a method, and what fusion alone gives."""
    rows = [("method", "accuracy", "parallel", "total", "at work", "faster", "fusion alone")]
    for name, one in run.timelines.items():
        faster = run.speedup(name)
        rows.append(
            (
                name, str(one.accuracy), f"{one.parallel:.1f} s", f"{one.total:.1f} s",
                f"{one.measured:.1f} s",
                "-" if name == "whole" or faster is None else f"{faster:.2f} times",
                f"{one.fused.accuracy}" if one.fused else "-",
            )
        )  # fmt: skip
    return f"seed {run.seed}\n{table(rows)}"


def _curve(chosen, plan: Plan, about: dict, progress: Progress) -> Told:
    _follow(split_shares.run(plan, chosen.curve, chosen.out, **about), progress)
    found = split_shares.curve_of(plan, chosen.curve, chosen.out)
    rows = [("seed", "share", "best part", "fused", "fused, fine-tuned", "part 1, fine-tuned")]
    rows += [
        (
            str(one.seed), f"1/{one.count}", str(max(one.parts, key=lambda part: part.mean)),
            str(one.fused), str(one.tuned), str(one.alone),
        )
        for one in found.points
    ]  # fmt: skip
    return found.as_dict(), f"{table(rows)}\n\non {found.images}"


def _about(plan: Plan) -> str:
    return (
        f"{plan.network}, {plan.epochs} epochs, {plan.recipe.sparsity:.0%} of the channels gone, "
        f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    )


def _crops(text: str) -> tuple[tuple[int, int], ...]:
    try:
        pairs = (part.split(":") for part in text.split(","))
        return tuple((int(epochs), int(side)) for epochs, side in pairs)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 4:20,2:24") from error
