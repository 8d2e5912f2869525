"""Fine-tune smaller networks side by side: same seed, images and order (Theus 2024, Table 1).

A checkpoint is written after every epoch and whenever a run is stopped between two steps; the same
run started again goes on from it and ends with the same numbers, bit for bit on one machine. What
is drawn comes from (seed, epoch, step) alone. Test images are looked at for the curves and choose
nothing. No network that was given is changed.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from core.data import SIZE, ImageSet
from core.errors import RecipeError, WeightsError
from core.evaluate import Accuracy, device_of
from core.importance import labelled_generator
from core.interruptible import interruptible
from core.prefix import accuracies
from core.shape import state_hash
from core.training import augmented, descent, order, store


@dataclass(frozen=True)
class Choice:
    """A row of a table of choices: what it is in one line, and what it does."""

    about: str
    of: Callable


#: How the learning rate goes: (step, steps) → its share of the full rate.
SCHEDULES: dict[str, Choice] = {
    "constant": Choice("the same rate in every step", lambda step, steps: 1.0),
    "cosine": Choice(
        "half a cosine from the full rate to zero (Loshchilov & Hutter 2017)",
        lambda step, steps: (1 + math.cos(math.pi * step / steps)) / 2,
    ),
    "tenth": Choice(
        "a tenth of the rate in the last third of the steps",
        lambda step, steps: 1.0 if 3 * step < 2 * steps else 0.1,
    ),
}
#: What is done to training images: (images are moved, images are mirrored).
AUGMENTS: dict[str, Choice] = {
    "none": Choice("images as they are", lambda: (False, False)),
    "move": Choice("moved by up to four pixels", lambda: (True, False)),
    "move-mirror": Choice(
        "moved by up to four pixels, half of them mirrored", lambda: (True, True)
    ),
}


@dataclass(frozen=True)
class Tuning:
    """Everything about fine-tuning that changes the outcome, apart from networks and images.

    epochs : how often all images are gone through. images : how many of the training images, the
    first ones; 0 for all of them. rate : the full learning rate. schedule : how it goes, a key of
    `SCHEDULES`. augment : what is done to images, a key of `AUGMENTS`. What an epoch's images don't
    fill a last batch with is left out of that epoch.
    """

    epochs: int = 3
    images: int = 5000
    rate: float = 0.01
    schedule: str = "constant"
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("images", 0), ("batch", 2), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise RecipeError(
                    f"{name} must be a whole number of at least {least}; got {value!r}."
                )
        for name, low, high in (("rate", 0, 10), ("momentum", 0, 1), ("weight_decay", 0, 1)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low <= value < high or (name == "rate" and not value):
                raise RecipeError(f"{name} must lie between {low} and {high}; got {value!r}.")
        for name, table in (("schedule", SCHEDULES), ("augment", AUGMENTS)):
            if getattr(self, name) not in table:
                raise RecipeError(
                    f"There is no {name} called {getattr(self, name)!r}. Known: {', '.join(table)}."
                )


@dataclass(frozen=True)
class Seen:
    """What happened in one network: `step` of `steps` is done, `epoch` epochs are.

    loss : the mean training loss since it was last told; None where only images were counted.
    accuracy : on the test images, before the first step and after every epoch, else None.
    """

    name: str
    epoch: int
    step: int
    steps: int
    loss: float | None = None
    accuracy: Accuracy | None = None


@dataclass
class History:
    """The curves of one network.

    losses : (step, mean training loss of the steps up to it that no earlier entry covers).
    accuracies : after 0, 1, … epochs. per_epoch : steps in an epoch. epochs : asked for.
    """

    per_epoch: int
    epochs: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    accuracies: list[Accuracy] = field(default_factory=list)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        return {
            "per_epoch": self.per_epoch, "epochs": self.epochs,
            "losses": [[step, loss] for step, loss in self.losses],
            "accuracies": [[one.correct, one.total] for one in self.accuracies],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping) -> History:
        """The history of `as_dict`."""
        return cls(
            told["per_epoch"], told["epochs"],
            [(int(step), float(loss)) for step, loss in told["losses"]],
            [Accuracy(right, total) for right, total in told["accuracies"]],
        )  # fmt: skip


#: Losses are told about so often in an epoch.
TELLS = 20


class FineTuning:
    """Networks fine-tuned side by side, an epoch each in turn.

    Parameters
    ----------
    networks : by name; they are copied. All see the same images in the same order.
    training : the training split; the first `tuning.images` of it are used.
    testing : the test images, of which the first `limit` are counted for the curves.
    folder : where checkpoints are; what is found there goes on. None: nothing is kept.

    Raises
    ------
    RecipeError
        If the training images are test images, or there are fewer than a batch of two.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        training: ImageSet,
        testing: ImageSet,
        tuning: Tuning,
        limit: int | None = None,
        folder: Path | None = None,
    ) -> None:
        if training.split == "test":
            raise RecipeError(
                "Networks are fine-tuned on training images, never on those they are tested on: "
                'give core.images(name, "train").'
            )
        if len(training) < 2:
            raise RecipeError(f"{training.title} has too few training images: {len(training)}.")
        self.tuning = tuning
        self._runs = {
            name: _Run(name, module, training, testing, tuning, limit, folder)
            for name, module in networks.items()
        }

    @property
    def histories(self) -> dict[str, History]:
        """The curves so far, by network."""
        return {name: run.history for name, run in self._runs.items()}

    @property
    def share(self) -> float:
        """The share of all steps that is done."""
        done = sum(run.step for run in self._runs.values())
        return done / max(1, sum(run.steps for run in self._runs.values()))

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return all(run.done for run in self._runs.values())

    def modules(self) -> dict[str, nn.Module]:
        """The networks as they stand, in evaluation mode: copies."""
        return {name: copy.deepcopy(run.module).eval() for name, run in self._runs.items()}

    def run(self, between: Callable[[], None] = lambda: None) -> Iterator[Seen]:
        """Go on to the end, telling what happens.

        `between` is called between any two layers of a step, and between batches of images that are
        counted: a step that it ends has not happened. To pause, let it raise, or stop iterating:
        where the run stands is written to the folder, and another `run`, of this object or of one
        made anew, goes on from there.

        Raises
        ------
        WeightsError
            If a loss is no finite number any more.
        """
        for epoch in range(self.tuning.epochs + 1):
            for run in self._runs.values():
                yield from run.until(epoch, between)

    def forget(self) -> None:
        """Remove the checkpoints: what is left of a run that was cancelled for good."""
        for run in self._runs.values():
            if run.checkpoint:
                run.checkpoint.unlink(missing_ok=True)


class _Run:
    """One network on its way."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        training: ImageSet,
        testing: ImageSet,
        tuning: Tuning,
        limit: int | None,
        folder: Path | None,
    ) -> None:
        self.name, self.tuning = name, tuning
        self.training, self.testing, self.limit = training, testing, limit
        self.count = min(tuning.images or len(training), len(training))
        self.batch = min(tuning.batch, self.count)
        self.per_epoch = self.count // self.batch
        self.steps = self.per_epoch * tuning.epochs
        self.every = max(1, self.per_epoch // TELLS)
        key = run_key(module, training, testing, tuning, limit)
        self.checkpoint = folder / f"{key}.pt" if folder else None
        self.module = copy.deepcopy(module).requires_grad_(True).train()
        self.optimiser = descent(self.module, tuning.rate, tuning.momentum, tuning.weight_decay)
        self.history = History(self.per_epoch, tuning.epochs)
        self.step, self.window = 0, 0.0
        self._kept = 0
        self._whole = True
        if self.checkpoint and self.checkpoint.exists():
            self._read()

    @property
    def done(self) -> bool:
        return len(self.history.accuracies) > self.tuning.epochs

    def until(self, epoch: int, between: Callable[[], None]) -> Iterator[Seen]:
        """Go on until `epoch` epochs are done and the test images are counted after them."""
        try:
            while self.step < epoch * self.per_epoch:
                told = self._forward(between)
                if told is not None:
                    yield self._seen(loss=told)
            if len(self.history.accuracies) <= epoch:
                (counted,) = accuracies(
                    self.module, [self.module], self.testing, self.limit,
                    between=lambda done: between(),
                )  # fmt: skip
                self.history.accuracies.append(counted)
                self._write()
                yield self._seen(accuracy=counted)
        except BaseException:
            if self._whole:  # with half of its weights moved a network is not worth keeping
                self._write()
            raise

    def _seen(self, **more) -> Seen:
        return Seen(self.name, self.step // self.per_epoch, self.step, self.steps, **more)

    def _forward(self, between: Callable[[], None]) -> float | None:
        """One step. The mean loss where it is time to tell it."""
        tuning, device = self.tuning, device_of(self.module)
        epoch, place = divmod(self.step, self.per_epoch)
        shuffled, _ = order(self.count, tuning.seed, epoch)
        chosen = shuffled[place * self.batch : (place + 1) * self.batch]
        pixels = self.training.images[chosen]
        moved, mirrored = AUGMENTS[tuning.augment].of()
        if moved:
            # A generator a step: a run that goes on in the middle of an epoch draws the same.
            generator = labelled_generator(tuning.seed, f"fine-tuning {epoch}/{place}")
            turned = torch.rand(len(chosen), generator=generator) < (0.5 if mirrored else 0.0)
            pixels = augmented(pixels, SIZE, turned, generator)
        share = SCHEDULES[tuning.schedule].of(self.step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = tuning.rate * share
        self.module.train()
        self.optimiser.zero_grad()
        with interruptible(self.module, between):
            logits = self.module(self.training.normalised(pixels.to(device)))
            loss = F.cross_entropy(logits, self.training.labels[chosen].to(device))
            number = loss.item()
            if math.isfinite(number):
                loss.backward()
        if not math.isfinite(number):
            raise WeightsError(
                f"The loss of the network {self.name!r} is no finite number any more in step "
                f"{self.step + 1}. Choose a smaller rate than {tuning.rate:g}."
            )
        self._whole = False
        self.optimiser.step()
        self.step += 1
        self.window += number
        self._whole = True
        since = self.step - (self.history.losses[-1][0] if self.history.losses else 0)
        if self.step % self.every and self.step % self.per_epoch:
            return None
        mean = self.window / since
        self.history.losses.append((self.step, mean))
        self.window = 0.0
        return mean

    def _write(self) -> None:
        stands = (self.step, len(self.history.accuracies))
        if self.checkpoint is None or stands == self._kept:
            return
        store(
            {
                "module": self.module.state_dict(),
                # Of a run that is done nobody needs the momentum: half of the file.
                "optimiser": None if self.done else self.optimiser.state_dict(),
                "step": self.step,
                "window": self.window,
                "history": self.history.as_dict(),
            },
            self.checkpoint,
        )
        self._kept = stands

    def _read(self) -> None:
        try:
            saved = torch.load(
                self.checkpoint, map_location=device_of(self.module), weights_only=True
            )
            self.module.load_state_dict(saved["module"])
            if saved["optimiser"] is not None:
                self.optimiser.load_state_dict(saved["optimiser"])
            self.history = History.from_dict(saved["history"])
            self.step, self.window = saved["step"], saved["window"]
        except (
            OSError,
            RuntimeError,
            LookupError,
            ValueError,
            EOFError,
            pickle.PickleError,
        ) as error:
            raise WeightsError(
                f"The checkpoint {self.checkpoint} can't be read ({type(error).__name__}). Remove "
                "it; the run then starts from the beginning."
            ) from error
        self._kept = (self.step, len(self.history.accuracies))


def run_key(
    module: nn.Module,
    training: ImageSet,
    testing: ImageSet,
    tuning: Tuning,
    limit: int | None = None,
) -> str:
    """Sixteen digits that change with the network, the images and whatever changes the outcome."""
    told = json.dumps(
        [
            state_hash(module), training.fingerprint, testing.fingerprint, limit,
            dataclasses.asdict(tuning),
        ]
    )  # fmt: skip
    return hashlib.sha256(told.encode()).hexdigest()[:16]
