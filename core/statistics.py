"""What flows through a network: samples of what layers consume, moments of what they produce.

The network is looked at as it behaves on its training data, whatever images it is shown: every
batch norm takes the images' own mean and variance, so that each channel has exactly the mean β and
the standard deviation |γ| that it has on the training data. The images decide only which channels
move together. That is what lets pictures made of nothing (`core.synthetic`) stand in for data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core import surgery
from core.errors import WeightsError
from core.groups import CONSUMES, DependencyGraph, Layer
from core.importance import labelled_generator

#: Rows (positions of images) sampled of what a layer consumes.
ROWS = 8192
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, eq=False)
class Reader:
    """How to sample what a layer consumes; channels own `repeat` entries each after a flatten.

    `rows` (k,) int64: the positions sampled, rising, of images flattened with their positions.
    `held` (k,) bool: those of every fourth image, kept aside to choose the ridge by.
    """

    repeat: int
    convolution: bool
    rows: Tensor
    held: Tensor

    def read(self, inputs: Tensor) -> Tensor:
        """(b, n, h, w), or (b, …, n·repeat) of a linear layer → (k, n) float32."""
        return _rows(inputs, self.convolution, self.repeat)[self.rows].float()


def _rows(inputs: Tensor, convolution: bool, repeat: int) -> Tensor:
    if convolution:
        return inputs.movedim(1, -1).flatten(0, -2)
    if repeat == 1:
        return inputs.flatten(0, -2)
    return inputs.flatten(0, -2).unflatten(1, (-1, repeat)).movedim(1, -1).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Statistics:
    """One look at the dense network.

    images : (b, c, h, w) it was shown.
    state : its folded state, batch norm taken from the images.
    scales : by layer with batch norm, (n,): the images' standard deviation over the stored one.
    readers, inputs : by consuming layer; inputs are (k, n) float32.
    means, deviations : by layer, (n,) float64, of what it puts out after its batch norm.
    """

    images: Tensor
    state: dict[str, Tensor]
    scales: dict[str, Tensor]
    readers: dict[str, Reader]
    inputs: dict[str, Tensor]
    means: dict[str, Tensor]
    deviations: dict[str, Tensor]


def regressable(module: nn.Module, graph: DependencyGraph) -> dict[str, int]:
    """The layers whose consumed channels can be regressed, and the entries each channel owns.

    Linear layers and ungrouped convolutions all of whose inputs are channels of groups. Others
    (depthwise ones, the first layer) keep the rule's own matrices.
    """
    found: dict[str, int] = {}
    for layer in graph.layers.values():
        part = module.get_submodule(layer.name)
        plain = isinstance(part, nn.Conv2d) and part.groups == 1 or isinstance(part, nn.Linear)
        if not plain or isinstance(part, nn.ConvTranspose2d):
            continue
        stretches = [
            c
            for group in graph.groups
            for c in group.couplings
            if c.tensor == layer.weight and c.axis == 1 and c.role == CONSUMES
        ]
        repeats = {c.repeat for c in stretches}
        covered = sum(c.count * c.repeat for c in stretches)
        if len(repeats) == 1 and covered == part.weight.shape[1]:
            found[layer.name] = repeats.pop()
    return found


@torch.no_grad()
def observe(module: nn.Module, graph: DependencyGraph, images: Tensor, seed: int = 0) -> Statistics:
    """Show a network images and keep what `Statistics` says.

    Parameters
    ----------
    module : the dense network; it is not changed.
    images : (b, c, h, w) float32, b ≥ 2: normalised photographs, or synthetic ones.
    seed : draws the positions.

    Raises
    ------
    WeightsError
        If a weight is not a finite number.
    """
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise WeightsError(
                f"The weights {name} are not finite numbers. Load the network again."
            )
    images = images.to(next(module.parameters()).dtype)
    if images.ndim == 4:  # the faster layout for convolutions
        images = images.contiguous(memory_format=torch.channels_last)
    original = module.state_dict()
    norms = {layer.norm for layer in graph.layers.values() if layer.norm}
    looking = surgery.replica(module, {})
    for name in norms:  # evaluation mode everywhere but where statistics are taken
        norm = looking.get_submodule(name)
        norm.train()
        norm.momentum = 1.0
    looking(images)
    looking.eval()
    state = surgery.fold(looking.state_dict(), graph.layers)
    scales = {
        layer.name: (
            (looking.get_submodule(layer.norm).running_var.double() + layer.epsilon)
            / (original[f"{layer.norm}.running_var"].double() + layer.epsilon)
        ).sqrt()
        for layer in graph.layers.values()
        if layer.norm
    }
    readers: dict[str, Reader] = {}
    inputs: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    deviations: dict[str, Tensor] = {}
    repeats = regressable(module, graph)

    def consumed(name: str):
        def hook(part: nn.Module, given: tuple[Tensor, ...]) -> None:
            if name not in readers:  # a layer called twice is regressed at its first call
                readers[name] = _reader(part, given[0], repeats[name], len(images), seed, name)
                inputs[name] = readers[name].read(given[0])

        return hook

    def produced(name: str):
        def hook(part: nn.Module, given, output: Tensor) -> None:
            if name not in means:
                means[name], deviations[name] = moments(output, is_image(output, part))

        return hook

    folded = surgery.rebuild(module, state)
    with hooks(folded, graph.layers, consumed, produced, repeats):
        folded(images)
    return Statistics(images, state, scales, readers, inputs, means, deviations)


def is_image(output: Tensor, part: nn.Module) -> bool:
    """Whether channels are dimension 1 of what a layer puts out (else the last)."""
    return output.ndim > 2 and not isinstance(part, nn.Linear)


def moments(output: Tensor, image: bool) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel: (n,) float64 each."""
    rows = output.movedim(1, -1).flatten(0, -2) if image else output.flatten(0, -2)
    deviation, mean = torch.std_mean(rows, 0, correction=0)
    return mean.double(), deviation.double()


def _reader(
    part: nn.Module, given: Tensor, repeat: int, images: int, seed: int, name: str
) -> Reader:
    convolution = isinstance(part, nn.Conv2d)
    total = len(_rows(given, convolution, repeat))
    rows = torch.arange(total)
    if total > ROWS:
        generator = labelled_generator(seed, f"positions of {name}")
        rows = torch.randperm(total, generator=generator)[:ROWS].sort().values
    return Reader(repeat, convolution, rows, rows // max(1, total // images) % 4 == 3)


class hooks:  # noqa: N801  (reads as a phrase: with hooks(…))
    """Call `consumed(name)` before and `produced(name)` after each layer while a network runs.

    A layer's product is what its batch norm puts out, where it has one.
    """

    def __init__(self, module: nn.Module, layers: Mapping[str, Layer], consumed, produced, which):
        self.handles = []
        for name, layer in layers.items():
            if name in which:
                part = module.get_submodule(name)
                self.handles.append(part.register_forward_pre_hook(consumed(name)))
            part = module.get_submodule(layer.norm or name)
            self.handles.append(part.register_forward_hook(produced(name)))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()
