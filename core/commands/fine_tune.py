"""`python -m core fine-tune`: smaller networks by several rules, fine-tuned side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import core
from core import data, provenance
from core.commands.common import Told, add_images, bench, told_command
from core.errors import RecipeError
from core.finetune import AUGMENTS, SCHEDULES, FineTuning, Tuning
from core.options import add_recipe, chosen_recipe
from core.output import Progress, table
from core.recipe import CHOICES

ABOUT = "fine-tune smaller networks side by side: same seed, same images, same order"
MORE = (
    "One smaller network a rule; each learns from the same training images in the same order, so "
    "that only what compression left differs. A checkpoint is written after every epoch: started "
    "again, the same command goes on from it. The accuracies after each epoch are told for the "
    "curves; nothing is chosen by them."
)
#: The fields of `Tuning` that are options of the same name, with what they mean.
OPTIONS = {
    "epochs": "how often the training images are gone through",
    "rate": "full learning rate of stochastic gradient descent",
    "batch": "images a step",
    "momentum": "of stochastic gradient descent",
    "weight_decay": "of weights; biases and batch norm don't decay",
}


def add(one: argparse.ArgumentParser) -> None:
    usual = Tuning()
    one.add_argument(
        "--rules", default="select,released", help="rules, by commas (select,released)"
    )
    for name, about in OPTIONS.items():
        default = getattr(usual, name)
        one.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, metavar="N",
            help=f"{about} ({default:g})",
        )  # fmt: skip
    one.add_argument(
        "--train-images", type=int, default=usual.images, metavar="N",
        help=f"how many of the training images, 0 for all ({usual.images})",
    )  # fmt: skip
    for name, rows in (("schedule", SCHEDULES), ("augment", AUGMENTS)):
        lines = [f"(default: {getattr(usual, name)})"]
        lines += [f"  {key:<12} {row.about}" for key, row in rows.items()]
        one.add_argument(
            f"--{name}", choices=rows, default=getattr(usual, name), help="\n".join(lines)
        )
    one.add_argument(
        "--checkpoints", type=Path, metavar="FOLDER",
        help="folder for the checkpoint of each epoch (the cache directory)",
    )  # fmt: skip
    one.add_argument("--out", type=Path, metavar="FILE", help="write the result to a JSON file")
    add_images(one)
    add_recipe(one)


def run(chosen: argparse.Namespace, progress: Progress) -> Told:
    recipe = chosen_recipe(chosen)
    rules = [rule.strip() for rule in chosen.rules.split(",") if rule.strip()]
    for rule in rules:
        if rule not in CHOICES["rule"]:
            raise RecipeError(f"There is no rule {rule!r}. Known: {', '.join(CHOICES['rule'])}.")
    tuning = Tuning(
        images=chosen.train_images, schedule=chosen.schedule, augment=chosen.augment,
        seed=recipe.seed, **{name: getattr(chosen, name) for name in OPTIONS},
    )  # fmt: skip
    known = bench(chosen, progress, recipe.seed)
    recipes = {rule: recipe.replace(rule=rule) for rule in rules}
    networks = {}
    for rule, one in recipes.items():
        progress.say(f"Compressing with {rule!r}")
        networks[rule] = known.small(one).module
    progress.say("Counting the dense network")
    (dense,) = core.accuracies(known.module, [known.module], known.tested, known.limit)
    folder = chosen.checkpoints or data.cache_folder() / "fine-tuning"
    tuned = FineTuning(networks, known.training, known.tested, tuning, known.limit, folder)
    if tuned.share:
        progress.say(f"Going on from {folder}")
    for seen in tuned.run():
        now = f"{seen.accuracy}" if seen.accuracy else f"loss {seen.loss:.3f}"
        progress.share(
            tuned.share, f"{seen.name}, epoch {seen.epoch}/{tuning.epochs}, step {seen.step}: {now}"
        )
    sizes = {rule: core.size(one, known.input_shape).parameters for rule, one in networks.items()}
    told = {
        "network": known.name, "weights": known.weights, "images": known.tested.title,
        "trained_on": f"{known.training.title}, training images",
        "tuning": dataclasses.asdict(tuning),
        "dense": {"right": dense.correct, "total": dense.total},
        "parameters": {"dense": sum(p.numel() for p in known.module.parameters())} | sizes,
        "recipes": {rule: one.as_dict() for rule, one in recipes.items()},
        "histories": {rule: one.as_dict() for rule, one in tuned.histories.items()},
        "run": provenance.this_run(told_command(chosen)),
    }  # fmt: skip
    text = table(
        [("epochs", *rules)]
        + [
            (str(epoch), *(str(tuned.histories[rule].accuracies[epoch]) for rule in rules))
            for epoch in range(tuning.epochs + 1)
        ]
    )
    text += f"\n\ndense: {dense}\non {known.tested.title}; fine-tuned on "
    text += f"{min(tuning.images or len(known.training), len(known.training)):,} training images"
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        partial = chosen.out.with_name(chosen.out.name + ".partial")
        partial.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(chosen.out)
        text += f"\n\nWrote {chosen.out}"
    return told, text
