"""Tables of accuracies for the README and docs/beyond.md, from the command line.

    python -m core.experiments all vgg11_bn-cifar10 --sparsity 0.5 --rules released,repaired,best
    python -m core.experiments single vgg11_bn-cifar10 --sparsity 0.5,0.7 --images 1000
    python -m core.experiments weights resnet18-cifar10 --keep 0.3 --rules best,calibrated

`all` shrinks all groups at once, `single` one group at a time, `weights` all groups to a share of
the weights, with the budget spread uniformly and by unexplained output. Every line is printed as
soon as it is measured. Test images are looked at for accuracy only, training images by rules that
ask for images only.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import nn

from core import budget, zoo
from core.compress import Compressed, compress
from core.data import ImageSet, images
from core.errors import ExplorerError
from core.evaluate import Accuracy, accuracy, size
from core.graph import trace
from core.prefix import accuracies
from core.prepared import Prepared
from core.recipe import CHOICES, Recipe, looks
from core.shape import state_hash


class Bench:
    """A network of the zoo, its images and how many of them to test on (None: all).

    `folder` is where images are looked for, as `core.images` takes it.
    """

    def __init__(
        self, name: str, limit: int | None = None, weights: Path = zoo.WEIGHTS, seed: int = 0,
        folder: str | None = None,
    ) -> None:  # fmt: skip
        row = zoo.network(name)
        module, tested = zoo.load(name, weights), images(row.images, "test", folder)
        self._hold(name, module, tested, row.input_shape, limit, seed, folder)
        self.weights = zoo.file_hash(weights / f"{name}.safetensors")

    @classmethod
    def of(
        cls,
        name: str,
        module: nn.Module,
        tested: ImageSet,
        input_shape: tuple[int, ...] = (3, 32, 32),
        limit: int | None = None,
        seed: int = 0,
        folder: str | None = None,
    ) -> Bench:
        """A bench for any network that takes the images; `folder` holds those to look at."""
        bench = cls.__new__(cls)
        bench._hold(name, module, tested, input_shape, limit, seed, folder)
        bench.weights = state_hash(module)
        return bench

    def _hold(self, name, module, tested, input_shape, limit, seed, folder) -> None:
        self.name, self.module, self.tested, self.input_shape = name, module, tested, input_shape
        self.limit, self.seed, self.folder = limit, seed, folder
        self.graph = trace(module, input_shape)
        self.prepared = Prepared(module, self.graph)
        self._training: ImageSet | None = None

    @property
    def training(self) -> ImageSet:
        """The training split of the images that are tested on."""
        self._training = self._training or images(self.tested.name, "train", self.folder)
        return self._training

    def keep_training(self, training: ImageSet) -> None:
        """Let scores and rules look at these instead: those that the network was trained on."""
        self._training = training

    def named(self, recipe: Recipe) -> Recipe:
        """The recipe with the name of the training images, if its rule or its scores look at some.

        What looks at none names none.
        """
        looking = looks(recipe.importance, recipe.rule)
        return recipe.replace(data=self.tested.name if looking else "")

    def looking(self, recipe: Recipe) -> tuple[Recipe, ImageSet | None]:
        """The recipe, and the training images that its rule or its scores look at, if they do."""
        recipe = self.named(recipe)
        if not recipe.data:
            return recipe, None
        return recipe, self.training

    def budgeted(self, recipe: Recipe, keep: float, spread: str) -> Recipe:
        """The recipe with one sparsity a group, for a share of the weights."""
        recipe, seen = self.looking(recipe)
        return budget.budgeted(self.prepared, recipe, keep, "weights", spread, seen)

    def small(self, recipe: Recipe) -> Compressed:
        """The smaller network that a recipe makes."""
        recipe, seen = self.looking(recipe)
        return compress(self.module, self.graph, recipe, self.prepared, seen)

    def together(self, recipes: Iterable[Recipe], numbers: str = "float32") -> list[Accuracy]:
        """The accuracy under each recipe; what comes before the first change runs once."""
        smaller = (self.small(one) for one in recipes)  # one at a time is in memory
        return accuracies(self.module, smaller, self.tested, self.limit, numbers=numbers)

    def compressed(self, recipe: Recipe) -> tuple[Compressed, Accuracy, float]:
        """The smaller network, its accuracy, and the processor seconds it took to make."""
        started = time.process_time()
        out = self.small(recipe)
        spent = time.process_time() - started
        return out, accuracy(out.module, self.tested, self.limit), spent

    def line(self, what: str, recipe: Recipe) -> str:
        out, right, spent = self.compressed(recipe)
        left = size(out.module, self.input_shape).parameters
        share = 100 * left / sum(p.numel() for p in self.module.parameters())
        return f"| {what} | {recipe.rule} | {share:.1f} | {right} | {spent:.1f} |"


HEADER = "| what | rule | weights left, % | accuracy (95 % interval) | seconds of processor |"


def lines(bench: Bench, options: argparse.Namespace) -> Iterator[str]:
    """The lines of a table in Markdown, one after the other."""
    more = f", {options.rounds} rounds" if options.rounds > 1 else ""
    more += f", order {options.order}" if options.order != "original" else ""
    yield f"{bench.name}, seed {options.seed}{more}, {bench.tested.title}"
    yield ""
    yield HEADER
    yield "|---|---|---|---|---|"
    dense = accuracy(bench.module, bench.tested, bench.limit)
    yield f"| dense | | 100.0 | {dense} | |"
    rules = options.rules.split(",")
    shares = [float(text) for text in options.sparsity.split(",")]
    everything = Recipe(
        groups="all", seed=options.seed, samples=options.samples, rounds=options.rounds,
        order=options.order,
    )  # fmt: skip
    if options.table == "weights":
        for rule in rules:
            for spread in budget.SPREADS:
                recipe = bench.budgeted(everything.replace(rule=rule), options.keep, spread)
                yield bench.line(f"{100 * options.keep:g} % of the weights, {spread}", recipe)
        return
    places = ["all"] if options.table == "all" else [(g.index,) for g in bench.graph.groups]
    for groups in places:
        for share in shares:
            for rule in rules:
                recipe = everything.replace(groups=groups, sparsity=share, rule=rule)
                what = "all groups" if groups == "all" else f"group {groups[0]}"
                yield bench.line(f"{what}, {100 * share:g} % of the channels gone", recipe)


def parser() -> argparse.ArgumentParser:
    """The command's options, each with its help."""
    told = argparse.ArgumentParser(
        "python -m core.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    told.add_argument("table", choices=("all", "single", "weights"), help="which table")
    told.add_argument("network", choices=tuple(zoo.NETWORKS), help="which network")
    told.add_argument("--sparsity", default="0.5", help="shares of channels to discard, by commas")
    told.add_argument("--rules", default="select,released,repaired,best", help="rules, by commas")
    told.add_argument("--keep", type=float, default=0.3, help="share of the weights that stays")
    told.add_argument("--images", type=int, default=10_000, help="test images")
    told.add_argument("--samples", type=int, default=256, help="images that regression looks at")
    told.add_argument("--rounds", type=int, default=1, help="rounds in which groups shrink")
    told.add_argument(
        "--order", default="original", choices=CHOICES["order"], help="what plans are made from"
    )
    told.add_argument("--seed", type=int, default=0, help="seed of whatever is drawn")
    told.add_argument("--weights", type=Path, default=zoo.WEIGHTS, help="folder of the weights")
    return told


def main(arguments: list[str] | None = None) -> int:
    """Print a table; 1 if something was wrong, said in a sentence."""
    options = parser().parse_args(arguments)
    try:
        bench = Bench(options.network, options.images, options.weights, options.seed)
        for line in lines(bench, options):
            print(line, flush=True)
    except (ExplorerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
