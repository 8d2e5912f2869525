"""What split-data training does: methods, epochs, rates, compression, fusion, as plain values.

whole   train on all images → prune and fine-tune, in steps → fine-tune
fap     train on each part → fuse → fine-tune → prune and fine-tune, in steps
paf     train on each part → prune and fine-tune each on its part, in steps → fuse → fine-tune

Along each way the same epochs of training, of fine-tuning after each step of pruning, and of
fine-tuning besides: the methods differ in how many images an epoch has and in what is done at the
same time. Fine-tuning of what is fused is on all images (Theus et al. 2024, section 5 and Appendix
D; the paper's epochs are `PAPER`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from core import zoo
from core.errors import RecipeError
from core.recipe import Recipe, refuse_unknown
from core.splits import Splits
from core.training import SCHEDULES, Schedule

#: name → what is done, in a line.
METHODS = {
    "whole": "train on all images, prune, fine-tune",
    "fap": "train on parts, fuse, fine-tune, prune, fine-tune (fuse and prune)",
    "paf": "train on parts, prune each, fine-tune, fuse, fine-tune (prune and fuse)",
}
#: What networks are trained in: name → what it is, in a line.
NUMBERS = {
    "float32": "forward and backward pass in float32",
    "bfloat16": "products in bfloat16, sums and weights in float32",
}


def _whole(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise RecipeError(f"{name} must be a whole number of at least {least}; got {value!r}.")


@lru_cache
def _takes(network: str, side: int) -> bool:
    """Whether a network of the zoo takes images of that side."""
    with torch.device("meta"):
        module = zoo.network(network).build().eval()
        try:
            module(torch.empty(1, 3, side, side))
        except RuntimeError:
            return False
    return True


@dataclass(frozen=True)
class Fusion:
    """How networks are fused; the fields of `core.fuse` that change its result.

    cost : `weights` or `activations`, what channels are compared by. samples : for activations,
    and for the statistics of batch norm afterwards, how many training images are looked at without
    their labels. solver, epsilon : of the transport problem, as in a recipe. into : the network
    whose channels the others' are brought onto. statistics : whether the statistics of batch norm
    are estimated again.
    """

    cost: str = "activations"
    samples: int = 200
    solver: str = "exact"
    epsilon: float = 0.05
    into: int = 0
    statistics: bool = True

    def __post_init__(self) -> None:
        if self.cost not in ("weights", "activations"):
            raise RecipeError(
                f"Networks are fused by their weights or their activations; got {self.cost!r}."
            )
        _whole("samples", self.samples, 2)
        _whole("into", self.into, 0)
        if not isinstance(self.statistics, bool):
            raise RecipeError(f"statistics must be true or false; got {self.statistics!r}.")
        Recipe(solver=self.solver, epsilon=self.epsilon)  # says what is wrong with them


@dataclass(frozen=True)
class Plan:
    """Everything that changes the outcome, apart from the images themselves.

    Attributes
    ----------
    network : of the zoo (`core.zoo.NETWORKS`); its images are trained and tested on.
    splits : how the training images are split; each run puts its own seed in.
    methods : keys of `METHODS`.
    crops : (epochs, side) of training, as in `core.training.Schedule`: the same for the whole data
        and for parts. An epoch on half of the images takes half of the time.
    steps : in how many steps the sparsity is reached.
    pruned_epochs : of fine-tuning after each of them. fused_epochs : of fine-tuning after fusion;
        the whole-data network has as many after its last step. tuned_side : side of their crops.
    rate : the largest learning rate of training, None for the network's own.
    tuned_rate : of each fine-tuning. Each rises and falls once, as `Schedule` does.
    recipe : the compression, of all the groups it names; its sparsity is that after the last step.
    fusion : how networks are fused.
    seeds : of each run: of the split, of initial weights, of the images' order.
    same_start : whether the networks of a run begin with the same weights. They don't in the paper,
        nor by default.
    numbers : a key of `NUMBERS`.
    limit : count the first so many test images; None for all.
    """

    network: str = "vgg11_bn-digits"
    splits: Splits = Splits()
    methods: tuple[str, ...] = ("whole", "fap", "paf")
    crops: tuple[tuple[int, int], ...] = ((8, 32),)
    steps: int = 1
    pruned_epochs: int = 2
    fused_epochs: int = 2
    tuned_side: int = 32
    rate: float | None = None
    tuned_rate: float = 0.02
    recipe: Recipe = field(default_factory=lambda: Recipe(groups="all", sparsity=0.5))
    fusion: Fusion = Fusion()
    seeds: tuple[int, ...] = (0,)
    same_start: bool = False
    numbers: str = "float32"
    limit: int | None = None

    def __post_init__(self) -> None:
        for name in ("methods", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "crops", tuple(tuple(one) for one in self.crops))
        zoo.network(self.network)
        if self.network not in SCHEDULES:
            raise RecipeError(
                f"It isn't known how {self.network!r} is trained. Known: {', '.join(SCHEDULES)}."
            )
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise RecipeError(f"methods must name each method once; got {self.methods}.")
        for name in self.methods:
            if name not in METHODS:
                raise RecipeError(f"There is no method {name!r}. Known: {', '.join(METHODS)}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise RecipeError(f"seeds must name each seed once; got {self.seeds}.")
        for seed in self.seeds:
            _whole("a seed", seed, 0)
        if not self.crops:
            raise RecipeError("A network needs at least one epoch of training; crops is empty.")
        for pair in self.crops:
            if len(pair) != 2:
                raise RecipeError(f"crops holds pairs of epochs and side; got {pair}.")
            _whole("epochs", pair[0], 1)
        for side in (self.tuned_side, *(side for _, side in self.crops)):
            _whole("the side of a crop", side, 8)
            if side > 32 or not _takes(self.network, side):
                raise RecipeError(
                    f"{self.network} can't be trained on crops of {side}. Choose another side of "
                    "at most 32; a network that halves it five times takes no other than 32."
                )
        _whole("steps", self.steps, 1)
        _whole("pruned_epochs", self.pruned_epochs, 0)
        _whole("fused_epochs", self.fused_epochs, 0)
        if self.limit is not None:
            _whole("limit", self.limit, 1)
        for name in ("rate", "tuned_rate"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (name == "rate" and value is None) and (not number or not 0 < value < 10):
                raise RecipeError(f"{name} must lie between 0 and 10; got {value!r}.")
        if self.numbers not in NUMBERS:
            raise RecipeError(
                f"Networks can't be trained in {self.numbers!r}. Known: {', '.join(NUMBERS)}."
            )
        if self.recipe.keep == "by-hand" or self.recipe.rounds > 1:
            raise RecipeError(
                "Parts are pruned by importance, in `steps`: channels kept by hand or several "
                "rounds don't go with it."
            )
        if self.fusion.into >= len(self.splits):
            raise RecipeError(
                f"There is no part {self.fusion.into} to fuse into: parts are counted from 0 to "
                f"{len(self.splits) - 1}."
            )

    @property
    def epochs(self) -> int:
        """Epochs of training, without fine-tuning."""
        return sum(epochs for epochs, _ in self.crops)

    def schedule(self) -> Schedule:
        """How a network is trained from its beginning."""
        own = SCHEDULES[self.network]
        return dataclasses.replace(
            own, crops=self.crops, restarts=(), peak=own.peak if self.rate is None else self.rate
        )

    def tuning(self, epochs: int) -> Schedule:
        """How a network is fine-tuned."""
        return dataclasses.replace(
            SCHEDULES[self.network], crops=((epochs, self.tuned_side),), restarts=(),
            peak=self.tuned_rate,
        )  # fmt: skip

    def replace(self, **changes) -> Plan:
        """The same plan with some fields changed."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        told = dataclasses.asdict(self)
        told["splits"], told["recipe"] = self.splits.as_dict(), self.recipe.as_dict()
        told["methods"], told["seeds"] = list(self.methods), list(self.seeds)
        told["crops"] = [list(pair) for pair in self.crops]
        return told

    @classmethod
    def from_dict(cls, told: Mapping) -> Plan:
        """The plan of `as_dict`.

        Raises
        ------
        RecipeError
            If a field is unknown or a value not allowed.
        """
        refuse_unknown(cls, told, "A plan")
        made = dict(told)
        for name, kind in (("splits", Splits.from_dict), ("recipe", Recipe.from_dict)):
            if name in made:
                made[name] = kind(made[name])
        if "fusion" in made:
            made["fusion"] = Fusion(**made["fusion"])
        return cls(**made)

    @property
    def key(self) -> str:
        """Sixteen digits that change with any field."""
        told = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


#: Plans by name. A minute and hours are meant on two cores.
PRESETS: dict[str, Plan] = {
    # Of 0.02 and 0.05 the rate after which the training loss was lower, in all three methods.
    "digits-minute": Plan(tuned_rate=0.05),
    "cifar-hours": Plan(
        network="vgg11_bn-cifar10", crops=((8, 32),), pruned_epochs=1, fused_epochs=2,
        seeds=(0, 1), numbers="bfloat16",
    ),
}  # fmt: skip
#: The paper's: 300 epochs of training, four steps of pruning with 10 epochs each, 80 epochs more.
PAPER = {"epochs": 300, "steps": 4, "pruned_epochs": 10, "fused_epochs": 80}
