"""A network as tensors and plain sizes: hash it, compare it, build it again.

What a network is, apart from its weights, is its *shape* here: the layers' names and kinds and the
sizes of their tensors.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings

import torch
from torch import Tensor, nn

from core import zoo
from core.errors import RecipeError

TORCHVISION = "torchvision:"

#: Attributes that change what a layer does although no tensor's shape shows them.
TELLING = ("kernel_size", "stride", "padding", "dilation", "output_padding", "ceil_mode", "eps")


def architecture(network: str | None) -> nn.Module | None:
    """A network of that name with arbitrary weights, or None if it can't be built from a name.

    Raises
    ------
    RecipeError
        If torchvision has no network of that name.
    """
    if network in zoo.NETWORKS:
        with torch.device("meta"):  # no memory and no random numbers for weights that go at once
            return zoo.network(network).build()
    if network and network.startswith(TORCHVISION):
        from core.compat import torchvision  # here, for it takes a second and few need it

        name = network.removeprefix(TORCHVISION)
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise RecipeError(
                f"torchvision has no network called {name!r} for classification. Known: "
                f"{', '.join(known)}."
            )
        # The caller's random numbers are left alone, and the same weights come every time.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on how slowly some of them draw their weights
            torch.manual_seed(0)
            return torchvision.models.get_model(name, weights=None)
    return None


def recognised(module: nn.Module) -> str | None:
    """The network of the zoo that has the shape of `module`, if there is one."""
    shape = shape_of(module)
    return next((name for name in zoo.NETWORKS if shape_of(architecture(name)) == shape), None)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, also those that a state leaves out."""
    return dict(module.named_parameters(remove_duplicate=False)) | dict(
        module.named_buffers(remove_duplicate=False)
    )


def state_hash(module: nn.Module) -> str:
    """The SHA-256 of all tensors of a network with their names, kinds and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors_of(module).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(raw.numpy())
    return digest.hexdigest()


def shape_of(module: nn.Module) -> str:
    """A SHA-256 of what a network is apart from its weights: layers, kinds, tensors' shapes."""
    told = [
        [
            name,
            type(part).__name__,
            [[key, list(t.shape)] for key, t in sorted(part.named_parameters(recurse=False))],
            [[key, list(t.shape)] for key, t in sorted(part.named_buffers(recurse=False))],
            [[key, repr(vars(part).get(key))] for key in TELLING],
        ]
        for name, part in module.named_modules()
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def changes(original: nn.Module, smaller: nn.Module) -> dict[str, dict]:
    """Sizes that layers state beside their tensors, where they changed: layer → name → value."""
    before = dict(original.named_modules())
    found = {}
    for name, part in smaller.named_modules():
        was = vars(before[name]) if name in before else {}
        changed = {
            key: value
            for key, value in vars(part).items()
            if key != "training" and is_plain(value) and value != was.get(key)
        }
        if changed:
            found[name] = changed
    return found


def is_plain(value: object) -> bool:
    """Whether JSON can hold it (a tuple as a list)."""
    if isinstance(value, (tuple, list)):
        return all(is_plain(part) for part in value)
    return isinstance(value, (bool, int, float, str, type(None)))


def rebuilt(original: nn.Module, state: dict[str, Tensor], layers: dict[str, dict]) -> nn.Module:
    """A copy of `original` with the tensors of `state` and the sizes of `layers`.

    The tensors may have other shapes. The copy is in evaluation mode.

    Raises
    ------
    LookupError, AttributeError
        If a name is none of the network's.
    """
    smaller = copy.deepcopy(original).eval()
    for key, tensor in state.items():
        name, _, attribute = key.rpartition(".")
        part = smaller.get_submodule(name)
        # Copies: in the file's own memory tensors lie unaligned, and sums come out another way.
        if attribute in part._parameters:  # None where the layer had no bias and got one
            old = part._parameters[attribute]
            fresh = nn.Parameter(tensor.clone(), old is None or old.requires_grad)
            setattr(part, attribute, fresh)
        elif attribute in part._buffers:
            setattr(part, attribute, tensor.clone())
        else:
            raise KeyError(key)
    for name, sizes in layers.items():
        part = smaller.get_submodule(name)
        for attribute, value in sizes.items():
            old = vars(part)[attribute]
            if not is_plain(old):
                raise KeyError(f"{name}.{attribute}")
            setattr(part, attribute, tuple(value) if isinstance(old, tuple) else value)
    return smaller
