"""What a person calls a network → the network: the zoo's, torchvision's, one's own, a result.

vgg11_bn-digits            a network of the zoo
path/to/folder             what `Compressed.save` wrote there
torchvision:resnet18       torchvision's classification networks
package.module:function    any function without arguments that returns a network
"""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from core import portable, zoo
from core.errors import ExplorerError, RecipeError, Unsupported, WeightsError
from core.evaluate import evaluating
from core.shape import TORCHVISION
from core.shape import architecture as architecture_of

FORMS = (
    "a network of the zoo, a folder of a saved result, torchvision:NAME or package.module:FUNCTION"
)


@dataclass(frozen=True)
class Source:
    """A network with what is known of it.

    name : as the person wrote it. module : in evaluation mode. input_shape : of one image.
    images : the set it was trained for, if known. stored : bytes of its weights file, if it has
    one. opened : the whole result, if it is a saved one. random : whether nobody trained it.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    images: str | None = None
    stored: int | None = None
    opened: portable.Opened | None = None
    random: bool = False


def source(
    name: str,
    input_shape: tuple[int, ...] | None = None,
    weights: str | os.PathLike | None = None,
    architecture: str | None = None,
) -> Source:
    """Find the network that a person calls `name`, and check that it takes an image.

    Parameters
    ----------
    input_shape : (channels, height, width); the zoo's and the results' is known, torchvision's is
        (3, 224, 224) and any other's (3, 32, 32) if nothing is said.
    weights : a safetensors file with all tensors of the network.
    architecture : for a saved result that can't be rebuilt by itself, the original network.

    Raises
    ------
    RecipeError
        If there is no such network, or a function fails to make one.
    WeightsError
        If weights or a saved result are missing, damaged, or belong to another network.
    Unsupported
        If it can't take an image of that shape.
    """
    found = _found(name, input_shape, weights, architecture)
    takes(found.module, found.input_shape)
    return found


def _found(name, input_shape, weights, architecture) -> Source:
    if architecture and not os.path.isdir(name):
        raise RecipeError("--architecture belongs to the folder of a saved result. Leave it out.")
    if name in zoo.NETWORKS:
        row = zoo.network(name)
        shape = input_shape or row.input_shape
        if weights:
            file = Path(weights)
            return Source(name, _filled(row.build(), file), shape, row.images, _bytes(file))
        file = zoo.WEIGHTS / f"{name}.safetensors"
        return Source(name, zoo.load(name), shape, row.images, _bytes(file))
    if ":" in name and not os.path.exists(name):
        module = _made(name)
        shape = input_shape or ((3, 224, 224) if name.startswith(TORCHVISION) else (3, 32, 32))
        if weights:
            return Source(name, _filled(module, Path(weights)), shape, None, _bytes(Path(weights)))
        return Source(name, module, shape, random=True)
    if os.path.isdir(name):
        if weights:
            raise RecipeError(f"The result in {name} has its own weights. Leave --weights out.")
        opened = portable.open(name, _made(architecture) if architecture else None)
        row = zoo.NETWORKS.get(opened.network or "")
        return Source(
            name, opened.module, input_shape or opened.input_shape, row and row.images,
            _bytes(Path(name, portable.WEIGHTS)), opened,
        )  # fmt: skip
    near = difflib.get_close_matches(name, zoo.NETWORKS, 1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise RecipeError(
        f"There is no network and no folder called {name!r}.{guess} Expected {FORMS}; the zoo has "
        f"{', '.join(zoo.NETWORKS)}."
    )


def _bytes(file: Path) -> int:
    return file.stat().st_size


def _made(name: str) -> nn.Module:
    """The network that `torchvision:NAME` or `package.module:FUNCTION` makes, evaluation mode."""
    if name.startswith(TORCHVISION) or name in zoo.NETWORKS:
        built = zoo.network(name).build() if name in zoo.NETWORKS else architecture_of(name)
        return built.eval()
    place, _, function = name.partition(":")
    try:
        make = importlib.import_module(place)
        for part in function.split("."):
            make = getattr(make, part)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # weights drawn at random are the same every time
            module = make()
    except ExplorerError:
        raise
    except Exception as error:  # anything: the code that runs here is the user's
        raise RecipeError(
            f"{name} does not make a network ({type(error).__name__}: {_first_line(error)}). It "
            "must name a function without arguments in a module that Python finds from here."
        ) from error
    if not isinstance(module, nn.Module):
        raise RecipeError(f"{name} returns a {type(module).__name__}, not a torch.nn.Module.")
    return module.eval()


def _filled(module: nn.Module, file: Path) -> nn.Module:
    """The network with the tensors of a safetensors file."""
    state = zoo.read_state(file, "Name a safetensors file with the network's tensors.")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        own = module.state_dict()
        wrong = [
            f"{len(names)} {what} ({sorted(names)[0]}{', …' if len(names) > 1 else ''})"
            for what, names in (
                ("tensors are missing", set(own) - set(state)),
                ("tensors are too many", set(state) - set(own)),
                (
                    "tensors have other sizes",
                    {k for k in set(own) & set(state) if own[k].shape != state[k].shape},
                ),
            )
            if names
        ]
        raise WeightsError(
            f"The weights in {file} do not fit the {type(module).__name__}: {'; '.join(wrong)}. "
            "Name the file that belongs to it."
        ) from error
    return module.eval()


def takes(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Run one black image through the network.

    Raises
    ------
    Unsupported
        If it can't take an image of that shape, or what it puts out is no (1, classes) tensor.
    """
    try:
        with torch.inference_mode():
            told = evaluating(module)(torch.zeros(1, *input_shape))
    except Exception as error:  # anything: the code that runs here is the user's
        raise Unsupported(
            f"{type(module).__name__} can't take an image of shape {tuple(input_shape)}: "
            f"{_first_line(error)}. Say the right one: --input-shape channels,height,width."
        ) from error
    if not isinstance(told, torch.Tensor) or told.ndim != 2:
        raise Unsupported(
            f"{type(module).__name__} puts out something other than a row of logits an image. Only "
            "networks that classify are covered."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def original_of(found: Source, architecture: str | None = None) -> nn.Module:
    """The architecture that a saved result was made from, on the processor, to time it.

    Its weights are arbitrary: how long a network takes does not depend on them.
    """
    if architecture:
        return _made(architecture)
    return _made(found.opened.network)
