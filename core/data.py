"""Labelled images as tensors in a fixed order: find them and read them.

Where images come from, in this order (`folder` is the argument, else $INTRA_FUSION_DATA, else the
user's cache directory):

* `digits` ships with scikit-learn and needs no folder;
* `cifar10` and `cifar100` in the official layout, checked against their published checksums
  (`core.download` fetches them);
* any folder of images laid out as `test/<class>/<file>` (and `train/<class>/<file>`): the folder
  itself, or a folder of that name inside it. Images are read as RGB of 32×32 pixels, whatever
  their size, palette or alpha. Names that begin with a dot are passed over.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.decoded import SIZE, Progress, decoded
from core.errors import DataError, DataMissing

#: The environment variable that names the folder of images.
FOLDER_VARIABLE = "INTRA_FUSION_DATA"

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

#: What figures call the sets that have an official layout, and the folder they unpack to.
OFFICIAL = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
UNPACKED = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}

#: Channel means and standard deviations of the training images, of values between 0 and 1.
#: Those of the digits are of the 8×8 originals: resizing smooths, and leaves a deviation of 0.32.
#: The stored networks were trained with these numbers, so they stay.
NORMALISATION = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "digits": ((0.3053,) * 3, (0.3760,) * 3),
}
#: Used for a folder of images of unknown statistics; batch norm makes the choice matter little.
NEUTRAL = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"}


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, always in the same order.

    Attributes
    ----------
    name : the name it was asked for by, `cifar10`.
    title : what a figure calls it, with what is special about it.
    images : (n, 3, 32, 32) uint8.
    labels : (n,) int64, indices into `classes`.
    classes : the classes' names.
    mean, std : per colour channel, of values between 0 and 1; what networks are fed is
        (images / 255 − mean) / std.
    fingerprint : changes when an image, a label or the order does.
    split : `test` or `train`; empty for images put together by hand.
    """

    name: str
    title: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fingerprint: str
    split: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def normalised(self, pixels: Tensor) -> Tensor:
        """What a network is fed: (b, 3, h, w) uint8 → (b, 3, h, w) float32, channels last."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        # A copy even of pixels that are float32 already: they stay the caller's.
        scaled = pixels.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)
        return scaled.contiguous(memory_format=torch.channels_last)

    def batches(self, size: int = 250, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and labels, `size` at a time, of the first `limit`."""
        end = len(self) if limit is None else min(limit, len(self))
        for start in range(0, end, size):
            stop = min(start + size, end)
            yield self.normalised(self.images[start:stop]), self.labels[start:stop]


def cache_folder() -> Path:
    """The user's cache directory for this project ($XDG_CACHE_HOME or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "intra-fusion-explorer"


def data_folder(folder: str | os.PathLike | None = None) -> Path:
    """Where images are looked for: `folder`, else $INTRA_FUSION_DATA, else the cache directory.

    Raises
    ------
    DataError
        If a folder was named and does not exist or is not a folder.
    """
    variable = os.environ.get(FOLDER_VARIABLE)
    named = folder or variable
    if not named:
        return cache_folder() / "data"
    # Absolute: "." has no name to call the images by, and means another folder elsewhere, which
    # the cache of decoded images must not mistake for this one.
    path = Path(os.path.expanduser(named)).absolute()
    if not os.path.isdir(path):
        said = "" if folder else f" (named by the environment variable {FOLDER_VARIABLE})"
        wrong = "is not a folder" if os.path.lexists(path) else "does not exist"
        raise DataError(
            f"The data folder {path}{said} {wrong}. Create it, name another one, or leave it out "
            "to use the cache directory."
        )
    return path


@contextmanager
def _readable(what: str | os.PathLike) -> Iterator[None]:
    """Turn an error of the file system into a sentence that says which file or folder it was.

    Raises
    ------
    DataError
        In place of every OSError.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or what} can't be read ({error.strerror or error}). Check that it "
            "is there and that you are allowed to read it."
        ) from error


def images(
    name: str,
    split: str = "test",
    folder: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """The labelled images called `name`, as (n, 3, 32, 32) tensors in a fixed, shuffled order.

    The order is a permutation drawn from the name and the split, the same in every process, so
    that the first k images are a fair sample of all classes.

    Parameters
    ----------
    name : `digits`, `cifar10`, `cifar100`, or the name of a folder of images in the data folder.
    split : `test` or `train`.
    folder : the data folder, see `data_folder`.
    progress : called with a share between 0 and 1 and a sentence.

    Raises
    ------
    DataMissing
        If nothing of that name is there.
    DataError
        If what is there is damaged or not laid out as expected.
    """
    if split not in ("test", "train"):
        raise DataError(f"There is no split called {split!r}; there are 'test' and 'train'.")
    if name == "digits":
        return _shuffled(_digits(split), split)
    root = data_folder(folder)
    with _readable(root):
        if (official := _official(name, root)) is not None:
            found = official(split)
        else:
            found = _from_folder(name, _image_folder(name, root), split, progress)
    return _shuffled(found, split)


def available(folder: str | os.PathLike | None = None) -> dict[str, str]:
    """Names of the sets of images on this machine, each with a word on where it comes from.

    Raises
    ------
    DataError
        If a data folder was named and does not exist, or it can't be read.
    """
    root = data_folder(folder)
    found = {"digits": "ships with scikit-learn"}
    with _readable(root):
        for name in OFFICIAL:
            if _official(name, root) is not None:
                found[name] = f"official files in {root}"
        # Folders inside come first, as in `_image_folder`.
        for place in _entries(root) if root.is_dir() else []:
            if os.path.isdir(place / "test"):  # False, no error, in a folder of somebody else's
                found.setdefault(place.name, f"folder of images {place}")
        if (root / "test").is_dir():
            name = "cifar10" if _classes(root / "test") == CIFAR10_CLASSES else root.name
            found.setdefault(name, f"folder of images {root}")
    return found


def _shuffled(found: ImageSet, split: str) -> ImageSet:
    """The same images in an order drawn from their name, and a fingerprint of the outcome."""
    label = f"{found.name}/{split}".encode()
    generator = torch.Generator().manual_seed(zlib.crc32(label))
    order = torch.randperm(len(found), generator=generator)
    pixels, labels = found.images[order], found.labels[order]
    digest = hashlib.sha256(pixels.numpy().tobytes())
    digest.update(labels.numpy().tobytes())
    digest.update(os.fsencode("/".join(found.classes)))
    return ImageSet(
        found.name, found.title, pixels, labels, found.classes, found.mean, found.std,
        digest.hexdigest()[:16], split,
    )  # fmt: skip


def _digits(split: str) -> ImageSet:
    """scikit-learn's handwritten digits, 8×8 grey, resized to 32×32 and three equal channels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    loaded = load_digits()
    train, test = train_test_split(
        np.arange(len(loaded.target)), test_size=597, random_state=0, stratify=loaded.target
    )
    chosen = test if split == "test" else train
    grey = torch.from_numpy(loaded.images[chosen]).float()[:, None] / 16  # (n, 1, 8, 8) in [0, 1]
    large = torch.nn.functional.interpolate(
        grey, (SIZE, SIZE), mode="bilinear", align_corners=False
    )
    pixels = large.mul(255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(loaded.target[chosen]).long()
    names = tuple(str(digit) for digit in range(10))
    return ImageSet(
        "digits", "scikit-learn's digits, resized to 32×32", pixels, labels, names,
        *NORMALISATION["digits"], "",
    )  # fmt: skip


def _official(name: str, root: Path) -> Callable[[str], ImageSet] | None:
    """A reader of CIFAR in its official layout below `root`; None if it isn't there.

    torchvision checks every file against its published MD5. A folder that is there and fails that
    check is an error, never an empty or a partial data set.
    """
    if name not in OFFICIAL or not (place := root / UNPACKED[name]).exists():
        return None
    from core.compat import torchvision  # here: it takes a second, and not everybody has these

    kind = {
        "cifar10": torchvision.datasets.CIFAR10,
        "cifar100": torchvision.datasets.CIFAR100,
    }[name]

    def read(split: str) -> ImageSet:
        try:
            loaded = kind(root, train=split == "train", download=False)
        except RuntimeError as error:
            raise DataError(
                f"The {name} files in {place} are incomplete or damaged: a file is missing or its "
                f"checksum is wrong. Delete {place} and download it again "
                f"(`python -m core.download {name}`)."
            ) from error
        pixels = torch.from_numpy(np.asarray(loaded.data)).permute(0, 3, 1, 2).contiguous()
        labels = torch.tensor(loaded.targets)
        return ImageSet(
            name, OFFICIAL[name], pixels, labels, tuple(loaded.classes), *NORMALISATION[name], ""
        )

    return read


def _image_folder(name: str, root: Path) -> Path:
    """The folder below `root` that holds `name` as `test/<class>/<file>`."""
    if (root / name / "test").is_dir():
        return root / name
    if (root / "test").is_dir():
        if name == root.name or (name == "cifar10" and _classes(root / "test") == CIFAR10_CLASSES):
            return root
    fetch = f" `python -m core.download {name}` fetches them." if name in OFFICIAL else ""
    raise DataMissing(
        f"There are no images called {name!r} in {root}. Expected the official files of CIFAR or "
        f"a folder of images laid out as {name}/test/<class>/<file>.{fetch}"
    )


def _entries(place: Path) -> list[Path]:
    """What is in a folder, by name, without what systems hide there (`._a.png`, `.DS_Store`)."""
    shown = (inside for inside in place.iterdir() if not inside.name.startswith("."))
    return sorted(shown, key=lambda inside: inside.name)  # Windows sorts paths in its own way


def _classes(place: Path) -> tuple[str, ...]:
    """The names of the class folders in `test/` or `train/`, by name."""
    return tuple(sub.name for sub in _entries(place) if sub.is_dir())


def _from_folder(name: str, place: Path, split: str, progress: Progress | None) -> ImageSet:
    """Read `place`/<split>/<class>/<file>, through a cache of decoded pixels."""
    base = place / split
    if not base.is_dir():
        raise DataMissing(f"The folder {place} has no {split}/ folder inside.")
    classes = _classes(base)
    if len(classes) < 2:
        raise DataError(
            f"The folder {base} holds {len(classes)} class folders; at least two are needed, laid "
            "out as <class>/<file>."
        )
    _same_classes(place)
    files: list[Path] = []
    labels: list[int] = []
    for label, klass in enumerate(classes):
        inside = [f for f in _entries(base / klass) if f.suffix.lower() in IMAGE_SUFFIXES]
        if not inside:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise DataError(
                f"The class folder {base / klass} holds no image ({suffixes}). Put images in, or "
                "remove the folder."
            )
        files += inside
        labels += [label] * len(inside)
    pixels = torch.from_numpy(decoded(files, cache_folder() / "decoded", progress))
    lossy = any(f.suffix.lower() in (".jpg", ".jpeg") for f in files)
    if name == "cifar10" and classes == CIFAR10_CLASSES:
        title = "JPEG-recompressed CIFAR-10" if lossy else "CIFAR-10, from image files"
        mean, std = NORMALISATION["cifar10"]
    else:
        title, (mean, std) = f"the folder {place.name}", NORMALISATION.get(name, NEUTRAL)
    return ImageSet(name, title, pixels, torch.tensor(labels), classes, mean, std, "")


def _same_classes(place: Path) -> None:
    """Refuse test/ and train/ whose classes differ: the labels of one would be wrong in the other.

    Raises
    ------
    DataError
        If both folders are there and their class folders are not called the same.
    """
    if not ((place / "test").is_dir() and (place / "train").is_dir()):
        return
    test, train = set(_classes(place / "test")), set(_classes(place / "train"))
    only = {"test": sorted(test - train), "train": sorted(train - test)}
    if test != train:
        told = "; ".join(
            f"only {split}/ has {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
            for split, names in only.items()
            if names
        )
        raise DataError(
            f"The class folders in {place / 'test'} and {place / 'train'} differ: {told}. Give "
            "both the same class folders."
        )
