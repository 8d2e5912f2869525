"""`python -m core fuse …`: several networks of one architecture made into one."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import safetensors.torch
from torch import nn

from core import data, siblings, zoo
from core.commands.common import Told, add_data_dir, shares, told_command
from core.data import ImageSet
from core.errors import DataError, RecipeError
from core.evaluate import Accuracy, accuracy
from core.fuse import COSTS, IMAGES, ROUNDS, SOLVERS, Fused, fuse
from core.mixtures import average, ensemble
from core.options import shape
from core.output import Progress, table
from core.reestimate import re_estimated
from core.source import source

NETWORK = False
ABOUT = "fuse networks of one architecture into one by transport, without training"
MORE = (
    "Either one network of the zoo: networks like it are trained with other seeds (kept in the "
    "cache directory) and fused. Or two or more files of weights of one architecture, which "
    "--network names, first the one whose channels the result has. Files alone are fused by their "
    "weights, without images; with --images accuracies are counted and batch norm is measured anew."
)


def add(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "sources", nargs="+", metavar="NETWORK|FILE",
        help="a network of the zoo, or safetensors files with weights of one architecture",
    )  # fmt: skip
    one.add_argument(
        "--network", metavar="NETWORK",
        help="the architecture of the files: a network of the zoo, torchvision:NAME or\n"
        "package.module:FUNCTION",
    )  # fmt: skip
    one.add_argument(
        "--input-shape", type=shape, metavar="C,H,W",
        help="channels, height and width of an image (default: the network's own)",
    )  # fmt: skip
    one.add_argument(
        "--seeds", type=_seeds, metavar="SEEDS", help="of the networks to train, by commas (0,1)"
    )
    one.add_argument(
        "--train-epochs", type=int, metavar="N", help="epochs of their training (8 for digits)"
    )
    one.add_argument(
        "--shares", type=shares, metavar="SHARES",
        help="of each network in the mixture, by commas, such as 0.7,0.3 (equal)",
    )  # fmt: skip
    one.add_argument(
        "--into", type=int, default=0, metavar="I",
        help="the network whose channels the result has, counted from 0 (0)",
    )  # fmt: skip
    lines = [f"  {name:<12} {line}" for name, line in COSTS.items()]
    one.add_argument(
        "--cost", choices=COSTS,
        help="\n".join(["what channels are compared by (all that are possible)", *lines]),
    )  # fmt: skip
    one.add_argument("--solver", default="exact", choices=SOLVERS, help="of the transport (exact)")
    one.add_argument(
        "--epsilon", type=float, default=0.05, help="of sinkhorn, a share of the mean cost (0.05)"
    )
    one.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N",
        help=f"of comparing weights, at most; 1 is the method as published ({ROUNDS})",
    )  # fmt: skip
    one.add_argument(
        "--images", metavar="NAME", help="the images (default: those of a network of the zoo)"
    )
    one.add_argument(
        "--samples", type=int, default=IMAGES, metavar="N",
        help=f"training images that are looked at without their labels ({IMAGES})",
    )  # fmt: skip
    one.add_argument("--limit", type=int, metavar="N", help="test on the first N images (all)")
    one.add_argument(
        "--out", type=Path, metavar="FILE",
        help="write the weights of the network fused by the first cost to this safetensors file",
    )  # fmt: skip
    add_data_dir(one)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0,1") from error


@dataclasses.dataclass(frozen=True)
class Brought:
    """The networks to fuse, with their names for the table and the images that are known."""

    names: list[str]
    networks: list[nn.Module]
    input_shape: tuple[int, ...]
    images: str | None


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    if chosen.out and chosen.out.exists():
        raise RecipeError(f"{chosen.out} is there already. Remove it or name another file.")
    brought = _brought(chosen, progress)
    tested = training = None
    if brought.images:
        tested = data.images(brought.images, "test", chosen.data_dir, progress.share)
        training = data.images(brought.images, "train", chosen.data_dir, progress.share)
        if chosen.samples < 2:
            raise DataError(f"Two images or more must be looked at; got {chosen.samples}.")
    looked = training and training.normalised(training.images[: chosen.samples])
    costs = [chosen.cost] if chosen.cost else [c for c in COSTS if training or c == "weights"]
    fused = {
        cost: fuse(
            brought.networks, brought.input_shape, shares=chosen.shares, cost=cost, images=looked,
            solver=chosen.solver, epsilon=chosen.epsilon, into=chosen.into, statistics=False,
            rounds=chosen.rounds, report=progress.share,
        )
        for cost in costs
    }  # fmt: skip
    told: dict = {
        "command": told_command(chosen), "networks": brought.names, "into": chosen.into,
        "shares": list(next(iter(fused.values())).shares), "solver": chosen.solver,
        "images": tested and tested.title, "samples": len(looked) if training else 0,
        "fused": {cost: _groups(one) for cost, one in fused.items()},
    }  # fmt: skip
    text = _differences(fused)
    if tested:
        rows = _accuracies(chosen, brought, fused, tested, looked, progress)
        told["accuracies"] = [
            {"network": name, "statistics": which, **_plain(one)} for name, which, one in rows
        ]
        lines = [("network", "batch norm", "accuracy")]
        lines += [(name, which, str(one)) for name, which, one in rows]
        text = f"{table(lines)}\non {tested.title}, with 95 % intervals\n\n{text}"
    if chosen.out:
        module = fused[costs[0]].module
        if training:
            module = re_estimated(module, looked)
        _write(module, chosen.out)
        told["file"] = str(chosen.out)
        text += f"\n\nWrote {chosen.out}, fused by {costs[0]}"
    return told, text


def _brought(chosen: argparse.Namespace, progress: Progress) -> Brought:
    first = chosen.sources[0]
    if len(chosen.sources) == 1 and first in zoo.NETWORKS:
        row = zoo.network(first)
        seeds = (0, 1) if chosen.seeds is None else chosen.seeds
        if len(seeds) < 2 or len(set(seeds)) < len(seeds):
            raise RecipeError(f"Two different seeds or more are needed; got {seeds}.")
        if chosen.network:
            raise RecipeError("--network belongs to files of weights. Leave it out.")
        name = chosen.images or row.images
        training = data.images(name, "train", chosen.data_dir, progress.share)
        made = []
        for seed in seeds:
            progress.say(f"Training {first} with seed {seed}, if it isn't there")
            made.append(
                siblings.sibling(first, training, seed, chosen.train_epochs, report=progress.say)
            )
        names = [f"seed {seed}" for seed in seeds]
        return Brought(names, made, chosen.input_shape or row.input_shape, name)
    if chosen.seeds is not None or chosen.train_epochs is not None:
        raise RecipeError(
            "--seeds and --train-epochs belong to one network of the zoo, which is trained. Leave "
            "them out, or name one network of the zoo."
        )
    if not chosen.network:
        raise RecipeError(
            f"It isn't known of which architecture {first} is. Name it: --network vgg11_bn-digits, "
            "torchvision:NAME or package.module:FUNCTION."
        )
    found = []
    for file in chosen.sources:
        progress.say(f"Loading {file}")
        found.append(source(chosen.network, chosen.input_shape, file))
    names = [Path(one).name for one in chosen.sources]
    images = chosen.images or found[0].images
    if images and not chosen.images and not chosen.cost == "activations":
        # Files alone need no images; where they are missing accuracies are not counted.
        images = images if _there(images, chosen.data_dir) else None
    return Brought(names, [one.module for one in found], found[0].input_shape, images)


def _there(name: str, folder: str | os.PathLike | None) -> bool:
    return name in data.available(folder)


def _groups(one: Fused) -> dict:
    """What the plans say, group by group, in plain values; a list a network."""
    return {
        "seconds": one.seconds,
        "groups": [
            {
                "index": index,
                "channels": [list(plan.mass.shape) for plan in plans],
                "costs": [plan.cost for plan in plans],
                "converged": [plan.converged for plan in plans],
                "differences": [dataclasses.asdict(d) for d in one.differences[index]],
            }
            for index, plans in one.plans.items()
        ],
    }


def _differences(fused: dict[str, Fused]) -> str:
    rows = [("compared by", "group", "channels", "apart before", "apart after")]
    for cost, one in fused.items():
        for index, plans in one.plans.items():
            others = [at for at in range(len(plans)) if at != one.into]
            pairs = [one.differences[index][at] for at in others]
            before = ", ".join("-" if d.before is None else f"{d.before:.2f}" for d in pairs)
            widths = ", ".join("×".join(map(str, plans[at].mass.shape)) for at in others)
            rows.append(
                (cost, str(index), widths, before, ", ".join(f"{d.after:.2f}" for d in pairs))
            )
    return (
        f"{table(rows)}\nHow far channels are from the target's, relative to these (root mean "
        "square of the features), in their own order and as the plan has them"
    )


def _accuracies(
    chosen: argparse.Namespace, brought: Brought, fused: dict[str, Fused], tested: ImageSet,
    looked, progress: Progress,
) -> list[tuple[str, str, Accuracy]]:  # fmt: skip
    """Rows: the network, how its batch norm has its statistics, its accuracy."""
    own, anew = "as stored", f"measured on {len(looked)} images"
    rows: list[tuple[str, str, nn.Module]] = [
        (name, own, one) for name, one in zip(brought.names, brought.networks, strict=True)
    ]
    rows.append(("ensemble", own, ensemble(brought.networks, chosen.shares)))
    mixed = {f"fused by {cost}": one.module for cost, one in fused.items()}
    for name, one in {
        "plain average": average(brought.networks, chosen.shares),
        **mixed,
    }.items():
        rows += [(name, own, one), (name, anew, re_estimated(one, looked))]
    told = []
    for name, which, one in rows:
        progress.say(f"Counting {name}, batch norm {which}", passing=True)
        told.append((name, which, accuracy(one, tested, chosen.limit)))
    return told


def _plain(one: Accuracy) -> dict:
    return {"correct": one.correct, "total": one.total, "mean": one.mean, "low": one.low,
            "high": one.high}  # fmt: skip


def _write(module: nn.Module, file: Path) -> None:
    """The state as safetensors, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    state = {key: t.contiguous() for key, t in module.state_dict().items()}
    safetensors.torch.save_file(state, partial)
    partial.replace(file)
