"""What images say about channels: the scores that need a pass through the network.

All groups are scored in one pass, on a copy of the network with batch norm folded. Images come from
a training split: what a network is tested on never chooses what stays.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.data import ImageSet
from core.errors import RecipeError, Unsupported
from core.groups import CONSUMES, Coupling, DependencyGraph
from core.importance import channel_rows, labelled_generator, mean_over, weights_of

#: Images that go through the network at once.
BATCH = 32


def drawn(images: ImageSet, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """`samples` images (all, if there are fewer), drawn with the seed: uint8 pixels and labels."""
    order = torch.randperm(len(images), generator=labelled_generator(seed, "images that choose"))
    return images.images[order[:samples]], images.labels[order[:samples]]


def check(images: ImageSet, name: str, graph: DependencyGraph) -> None:
    """Refuse images that are not those a recipe names, or not what the network takes.

    Raises
    ------
    RecipeError
        If they have another name or shape, if there are none, or if they are for testing.
    """
    shape = tuple(images.images.shape[1:])
    if images.name != name:
        raise RecipeError(
            f"The recipe's data are {name!r}, but the images given are {images.name!r}. Give those "
            "the recipe names."
        )
    if images.split == "test":
        raise RecipeError(
            f"These are the test images of {name!r}: what a network is tested on must not choose "
            f'its channels. Give core.images({name!r}, "train").'
        )
    if shape != tuple(graph.input_shape):
        raise RecipeError(
            f"The images of {name!r} have the shape {shape}, but the network was traced with "
            f"{tuple(graph.input_shape)}. Choose images of that shape, or trace it with theirs."
        )
    if not len(images):
        raise RecipeError(f"There is no image in {name!r}. Choose another set.")


def _batches(module: nn.Module, images: ImageSet, samples: int, seed: int):
    """Normalised images in the network's own number format, with their labels."""
    pixels, labels = drawn(images, samples, seed)
    kind = next(module.parameters()).dtype
    for start in range(0, len(labels), BATCH):
        part = slice(start, start + BATCH)
        yield images.normalised(pixels[part]).to(kind), labels[part]


def taylor(
    module: nn.Module, graph: DependencyGraph, images: ImageSet, samples: int, seed: int
) -> dict[int, Tensor]:
    """|Σ w·∂L/∂w| of every channel (Molchanov 2019, eq. 8, unsquared), by group index.

    L is the mean cross-entropy over the drawn images; the sum runs over a channel's weights in one
    tensor, and tensors are averaged as for every other score.

    Parameters
    ----------
    module : a copy with batch norm folded; its gradients are written to.

    Raises
    ------
    RecipeError
        If the labels are not of the classes the network tells apart.
    """
    module.requires_grad_(True).zero_grad(set_to_none=True)
    count = min(samples, len(images))
    with torch.enable_grad():
        for pixels, labels in _batches(module, images, samples, seed):
            outputs = module(pixels)
            if outputs.ndim != 2 or outputs.shape[1] != len(images.classes):
                raise RecipeError(
                    f"The images of {images.name!r} have {len(images.classes)} classes, but the "
                    f"network puts out {tuple(outputs.shape[1:])}. Choose the images it was "
                    "trained on."
                )
            (F.cross_entropy(outputs, labels, reduction="sum") / count).backward()
    state = {name: p.detach() for name, p in module.named_parameters(remove_duplicate=False)}
    slopes = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in module.named_parameters(remove_duplicate=False)
    }
    return {
        group.index: mean_over(
            group,
            (
                (c, (channel_rows(state, c) * channel_rows(slopes, c)).sum(1).abs())
                for c in weights_of(state, group)
            ),
        )
        for group in graph.groups
    }


def chip(
    module: nn.Module, graph: DependencyGraph, images: ImageSet, samples: int, seed: int
) -> dict[int, Tensor]:
    """How independent a channel's feature map is of the others' (Sui 2021), by group index.

    The drop of the nuclear norm of the feature maps (channels × places) when the channel's row is
    set to zero, averaged over the drawn images. The feature maps of a group are what the layers
    that consume it read, behind activation and pooling; several consumers are averaged.

    Raises
    ------
    Unsupported
        If no layer that consumes a group reads it channel by channel.
    """
    modules = dict(module.named_modules())
    wanted: dict[str, list[tuple[int, Coupling]]] = {}  # what a layer's input is to be cut into
    for group in graph.groups:
        for coupling in group.of(CONSUMES):
            wanted.setdefault(coupling.layer, []).append((group.index, coupling))
    drops: dict[int, dict[Coupling, Tensor]] = {group.index: {} for group in graph.groups}
    seen: dict[Coupling, int] = {}
    known: list[tuple[Tensor, tuple, Tensor]] = []  # of this batch: several layers may read one map

    def drop(read: Tensor, maps: Tensor, stretch: tuple[int, int]) -> Tensor:
        what = (read._version, *stretch)  # the version changes with what is written in place
        for other, told, value in known:
            if other is read and told == what:
                return value
        value = sum(nuclear_drops(one) for one in maps)
        known.append((read, what, value))
        return value

    def look(name: str):
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            read = arguments[0]
            maps = read.detach().double()
            maps = maps.movedim(-1, 1) if isinstance(layer, nn.Linear) else maps
            for index, coupling in wanted[name]:
                if maps.shape[1] != layer.weight.shape[coupling.axis]:
                    continue  # a grouped convolution: its weight counts channels of one group only
                part = maps[:, coupling.start : coupling.stop]
                # (images, count·repeat, …) -> (images, count, repeat · places)
                part = part.reshape(len(maps), coupling.count, -1)
                value = drop(read, part, (coupling.start, coupling.stop))
                drops[index][coupling] = drops[index].get(coupling, 0) + value
                seen[coupling] = seen.get(coupling, 0) + len(maps)

        return hook

    handles = [modules[name].register_forward_pre_hook(look(name)) for name in wanted]
    try:
        with torch.no_grad():
            for pixels, _ in _batches(module, images, samples, seed):
                module(pixels)
                known.clear()
    finally:
        for handle in handles:
            handle.remove()
    for group in graph.groups:
        if not drops[group.index]:
            raise Unsupported(
                f"The feature maps of group {group.index} ({group.title}) can't be read: no layer "
                "that consumes it takes all of its channels. Choose an importance without images."
            )
    return {
        group.index: mean_over(
            group, ((c, total / seen[c]) for c, total in drops[group.index].items())
        )
        for group in graph.groups
    }


def nuclear_drops(maps: Tensor) -> Tensor:
    """‖A‖∗ − ‖A with row i set to zero‖∗ for every row of A (c, p): (c,) float64, none negative.

    Singular values are the square roots of the eigenvalues of the smaller of AAᵀ and AᵀA, from
    which setting a row to zero takes away a row and a column, or an outer product.
    """
    if not maps.isfinite().all():  # LAPACK would refuse; who asks looks at the scores
        return torch.full((len(maps),), torch.nan, dtype=maps.dtype)
    rows, places = maps.shape
    wide = rows <= places
    square = maps @ maps.T if wide else maps.T @ maps  # (k, k), k = min(c, p)
    whole = _nuclear(square)
    step = max(1, 2**22 // max(1, square.numel()))  # 32 MiB at once
    parts = []
    for start in range(0, rows, step):
        chosen = torch.arange(start, min(start + step, rows))
        if wide:
            left = torch.ones(len(chosen), rows, dtype=maps.dtype)
            left[torch.arange(len(chosen)), chosen] = 0
            without = square * left[:, :, None] * left[:, None, :]  # (step, k, k)
        else:
            row = maps[chosen]
            without = square - row[:, :, None] * row[:, None, :]
        parts.append(whole - _nuclear(without))
    return torch.cat(parts).clamp_min(0)


def _nuclear(square: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(square).clamp_min(0).sqrt().sum(-1)


#: What a key of `core.importance.IMPORTANCES` that needs images does with them.
PASSES: dict[str, Callable[..., dict[int, Tensor]]] = {"taylor": taylor, "chip": chip}
