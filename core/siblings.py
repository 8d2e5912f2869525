"""Networks like one that ships, trained on this machine: other seeds, other training images.

What several trained networks say together one network can't say. They are kept in the cache folder
and never shipped; training takes a minute or so for one of the digits networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from core import zoo
from core.data import ImageSet, cache_folder
from core.errors import RecipeError
from core.training import SCHEDULES, Schedule, run_key, train

#: Epochs for a digits network, if nothing is said: enough for 98 % of the test images.
EPOCHS = 8


def schedule(name: str, epochs: int | None = None) -> Schedule:
    """How a sibling of the network is trained: as the network was, in one cycle of `epochs`.

    Raises
    ------
    RecipeError
        If nobody knows how the network was trained, or its training takes hours and `epochs` does
        not say that this is meant.
    """
    if name not in SCHEDULES:
        raise RecipeError(
            f"It isn't known how {name!r} was trained. Networks of other seeds can be made of "
            f"{', '.join(SCHEDULES)}."
        )
    if epochs is None:
        if zoo.network(name).images != "digits":
            raise RecipeError(
                f"Training {name} takes hours without a graphics card. Say how many epochs: "
                f"--train-epochs {SCHEDULES[name].epochs} is what the one that ships had; or "
                "choose a digits network."
            )
        epochs = EPOCHS
    if epochs < 1:
        raise RecipeError(f"A network needs at least one epoch of training; got {epochs}.")
    return dataclasses.replace(SCHEDULES[name], crops=((epochs, 32),), restarts=())


def sibling(
    name: str,
    images: ImageSet,
    seed: int,
    epochs: int | None = None,
    folder: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """A network of that name trained on `images` with `seed`: evaluation mode, float32.

    It is trained once and then read from the folder; training that was interrupted goes on.

    Parameters
    ----------
    report : is given lines of progress; what it raises ends the training until the next time.

    Raises as `schedule` does.
    """
    plan = schedule(name, epochs)
    row = zoo.network(name)
    folder = folder or cache_folder() / "siblings"
    stem = f"{name}-{run_key(name, plan, seed, images)}"
    kept = folder / f"{stem}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = row.build()
    if kept.exists():
        module.load_state_dict(zoo.read_state(kept, "Remove it; it is trained again then."))
        return module.eval()
    checkpoint = folder / f"{stem}.pt"
    module = train(module, images, plan, seed, checkpoint, report, bfloat16=False)
    module = module.cpu().to(memory_format=torch.contiguous_format)
    partial = kept.with_suffix(".partial")
    safetensors.torch.save_file(
        {key: t.contiguous() for key, t in module.state_dict().items()}, partial
    )
    partial.replace(kept)
    checkpoint.unlink(missing_ok=True)
    return module
