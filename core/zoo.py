"""Name → network, its weights and its card: where they come from and how good they are.

Two shapes are built here, both for 32×32 images: the VGG11 with batch norm and the residual
networks of the paper (Theus et al. 2024, Appendix B). A network that ships is a row of `NETWORKS`,
a float16 safetensors file and a JSON card in `assets/weights/`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from core.errors import RecipeError, WeightsError

WEIGHTS = Path(__file__).resolve().parent.parent / "assets" / "weights"

#: VGG11 of Simonyan & Zisserman (2015), configuration A; "M" is a 2×2 max-pool.
VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


class VGG(nn.Module):
    """Convolutions with bias, batch norm and ReLU, then one linear layer.

    `layers` lists the widths, with "M" for a 2×2 max-pool. (b, 3, 32, 32) → (b, classes).
    """

    def __init__(self, layers: tuple[int | str, ...], classes: int) -> None:
        super().__init__()
        features: list[nn.Module] = []
        width = 3
        for layer in layers:
            if layer == "M":
                features.append(nn.MaxPool2d(2))
                continue
            features += [
                nn.Conv2d(width, layer, 3, padding=1),
                nn.BatchNorm2d(layer),
                nn.ReLU(),
            ]
            width = layer
        self.features = nn.Sequential(*features)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResidualNetwork(nn.Module):
    """ResNet for small images (He et al. 2016): 3×3 stem, no max-pool, one stage a width.

    (b, 3, h, w) → (b, classes). Module names are torchvision's: `layer1.0.conv1`, ….
    """

    def __init__(self, widths: tuple[int, ...], blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        inputs = widths[0]
        for stage, width in enumerate(widths, start=1):
            layer = []
            for block in range(blocks):
                layer.append(ResidualBlock(inputs, width, 2 if stage > 1 and block == 0 else 1))
                inputs = width
            setattr(self, f"layer{stage}", nn.Sequential(*layer))
        self.stages = len(widths)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _quarter(layers: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(layer if layer == "M" else layer // 4 for layer in layers)


@dataclass(frozen=True)
class Network:
    """One row of the zoo: how to build it, and what it tells apart.

    `images` names the set of images it was trained on (`core.images`), `input_shape` is
    (channels, height, width).
    """

    title: str
    shape: str
    images: str
    classes: int
    widths: tuple[int | str, ...]
    blocks: int | None = None
    input_shape: tuple[int, int, int] = (3, 32, 32)

    def build(self) -> nn.Module:
        """A fresh network with PyTorch's random initial weights."""
        if self.blocks is None:
            return VGG(self.widths, self.classes)
        return ResidualNetwork(self.widths, self.blocks, self.classes)


NETWORKS: dict[str, Network] = {
    "vgg11_bn-cifar10": Network(
        "VGG11-BN, CIFAR-10",
        "the paper's: 8 convolutions with bias and batch norm, one linear layer",
        "cifar10", 10, VGG11,
    ),
    "resnet18-cifar10": Network(
        "ResNet18, CIFAR-10",
        "the paper's: 3×3 stem, no max-pool, widths 64 to 512",
        "cifar10", 10, (64, 128, 256, 512), 2,
    ),
    "resnet20-cifar10": Network(
        "ResNet20, CIFAR-10",
        "widths 16, 32 and 64, projection shortcuts",
        "cifar10", 10, (16, 32, 64), 3,
    ),
    "vgg11_bn-digits": Network(
        "VGG11-BN ¼, digits",
        "VGG11-BN at a quarter of the width",
        "digits", 10, _quarter(VGG11),
    ),
    "resnet18-digits": Network(
        "ResNet18 ¼, digits",
        "ResNet18 at a quarter of the width",
        "digits", 10, (16, 32, 64, 128), 2,
    ),
}  # fmt: skip


def shipped(folder: Path = WEIGHTS) -> tuple[str, ...]:
    """Names of the networks whose weights are there, in the order of `NETWORKS`."""
    return tuple(name for name in NETWORKS if (folder / f"{name}.safetensors").exists())


def network(name: str) -> Network:
    """The row of `NETWORKS` called `name`.

    Raises
    ------
    RecipeError
        If there is none; the text lists what there is.
    """
    if name not in NETWORKS:
        raise RecipeError(f"There is no network called {name!r}. Known: {', '.join(NETWORKS)}.")
    return NETWORKS[name]


@dataclass(frozen=True)
class ModelCard:
    """What is known about a network that ships: how it was trained, and how good it is.

    `accuracy` is the share of the `tested` test images it names right, measured on the weights as
    stored (float16 widened to float32). `data` says on which images, in words.
    """

    name: str
    command: str
    data: str
    images: str
    seed: int
    epochs: int
    schedule: dict
    versions: dict
    date: str
    machine: str
    parameters: int
    accuracy: float
    tested: int
    sha256: str


def card(name: str, folder: Path = WEIGHTS) -> ModelCard:
    """The card beside the weights of `name`.

    Raises
    ------
    RecipeError
        If no network has that name.
    WeightsError
        If the card is missing or can't be read.
    """
    network(name)
    path = folder / f"{name}.json"
    try:
        known = ModelCard(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise WeightsError(
            f"The card of {name} is missing: {path.name} is not in {folder}. Restore it from the "
            f"repository, or train the network: python -m core.training {name}"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, OSError) as error:
        raise WeightsError(
            f"The card {path} can't be read ({error}). Restore it from the repository."
        ) from error
    if known.name != name:
        raise WeightsError(
            f"The card {path} is that of {known.name}, not of {name}. Restore it from the "
            "repository."
        )
    return known


#: What to do about a broken file of a network that ships.
RESTORE = "Restore it from the repository."


def read_state(path: Path, instead: str = RESTORE) -> dict[str, Tensor]:
    """The tensors of a safetensors file, floating ones widened to float32.

    Parameters
    ----------
    instead : what to do on failure; the last sentence of the error.

    Raises
    ------
    WeightsError
        If the file is missing, truncated or no safetensors file.
    """
    try:
        state = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"The weights file {path.name} is not in {path.parent}. {instead}"
        ) from error
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"The weights file {path} is damaged ({error}). {instead}") from error
    return {key: t.float() if t.is_floating_point() else t for key, t in state.items()}


def load(name: str, folder: Path = WEIGHTS) -> nn.Module:
    """The trained network `name`, in evaluation mode, float32, on the CPU.

    Raises
    ------
    RecipeError
        If no network has that name.
    WeightsError
        If its weights are missing, damaged, belong to another network, or are not those that the
        card beside them speaks of.
    """
    module = network(name).build()
    path = folder / f"{name}.safetensors"
    try:
        module.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise WeightsError(
            f"The weights in {path} do not belong to {name}: its tensors have other names or "
            "sizes. Restore the file from the repository."
        ) from error
    # Without a card there is nothing to compare with: weights fresh from training have none yet.
    if (folder / f"{name}.json").exists() and file_hash(path) != card(name, folder).sha256:
        raise WeightsError(
            f"The weights in {path} are not those that the card beside them speaks of: their "
            "SHA-256 differs, so its accuracy is not theirs. Restore both from the repository, or "
            f"train the network again: python -m core.training {name}"
        )
    return module.eval()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(module: nn.Module, path: Path) -> None:
    """Write the state of `module` as float16 safetensors; whole numbers keep their type."""
    state = {
        key: (t.half() if t.is_floating_point() else t).contiguous()
        for key, t in module.state_dict().items()
    }
    partial = path.with_suffix(".partial")
    safetensors.torch.save_file(state, partial)
    partial.replace(path)
