"""Splits of a training set into parts, by class and seed: folds, halves, parts that overlap.

A split is a few numbers (`Splits`); the lists of indices follow from them and from the labels, and
have a hash, so that a note can say which images a network has seen and anybody can check it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.data import ImageSet
from core.errors import DataError, RecipeError
from core.importance import labelled_generator
from core.recipe import refuse_unknown

#: Kinds of splits: name → what the parts are, in a line; k is the count.
KINDS = {
    "folds": "k parts without a common image, all images together",
    "halves": "every choice of k/2 of k folds, k = 2 or 4: 2 or 6 halves",
    "overlapping": "k parts of a chosen share, each begun a k-th of the images after the last one",
}


@dataclass(frozen=True)
class Splits:
    """How a training set is split: with the labels, this says which images each part holds.

    Attributes
    ----------
    kind : a key of `KINDS`.
    count : k; the number of folds, or of parts that overlap.
    share : of all images that an overlapping part holds, 0 < share ≤ 1. With share > 1/k parts
        that follow each other have share − 1/k of the images in common and no image is left out,
        with share < 1/k they have none in common and images are left out. Other kinds ignore it.
    seed : seed of the order in which images are dealt out.
    """

    kind: str = "halves"
    count: int = 2
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RecipeError(f"Images can't be split by {self.kind!r}. Known: {', '.join(KINDS)}.")
        if type(self.count) is not int or self.count < 2:
            raise RecipeError(
                f"A split has at least two parts, as a whole number; got {self.count!r}."
            )
        if self.kind == "halves" and self.count not in (2, 4):
            raise RecipeError(
                f"Halves are made of 2 or 4 folds; got {self.count}. Other numbers of parts: the "
                "kind 'folds'."
            )
        number = isinstance(self.share, (int, float)) and not isinstance(self.share, bool)
        if not number or not 0 < self.share <= 1:
            raise RecipeError(f"share must lie between 0 and 1 (0 excluded); got {self.share!r}.")
        object.__setattr__(self, "share", float(self.share))
        if type(self.seed) is not int or self.seed < 0:
            raise RecipeError(f"seed must be a whole number of at least 0; got {self.seed!r}.")

    def __len__(self) -> int:
        """How many parts there are."""
        return 6 if (self.kind, self.count) == ("halves", 4) else self.count

    @property
    def fraction(self) -> float:
        """The share of all images that a part holds, but for rounding."""
        return {"folds": 1 / self.count, "halves": 0.5, "overlapping": self.share}[self.kind]

    def parts(self, labels: Tensor) -> tuple[Tensor, ...]:
        """The indices of each part's images, rising: len(self) of (nᵢ,) int64.

        Each class is dealt out by itself: of a class with n images a part of share s holds s·n,
        rounded up or down, and in a half of four folds at most one more or less.

        Parameters
        ----------
        labels : (n,) int64, of all images.

        Raises
        ------
        DataError
            If a part would lack a class.
        """
        if self.kind == "overlapping":
            found = self._windows(labels)
        else:
            dealt = self._by_class(labels)
            folds = [dealt[place :: self.count] for place in range(self.count)]
            found = folds
            if self.kind == "halves":
                chosen = itertools.combinations(range(self.count), self.count // 2)
                found = [torch.cat([folds[place] for place in some]) for some in chosen]
        classes = labels.unique()
        for place, indices in enumerate(found):
            lacking = set(classes.tolist()) - set(labels[indices].unique().tolist())
            if lacking:
                raise DataError(
                    f"Part {place + 1} of {len(self)} has no image of class {min(lacking)}: there "
                    f"are only {int((labels == min(lacking)).sum())} of it. Make fewer or larger "
                    "parts."
                )
        return tuple(indices.sort().values for indices in found)

    def _by_class(self, labels: Tensor) -> Tensor:
        """All indices, class after class, in a drawn order within each: (n,) int64."""
        generator = labelled_generator(self.seed, "split of training images")
        drawn = torch.randperm(len(labels), generator=generator)
        return drawn[labels[drawn].argsort(stable=True)]

    def _windows(self, labels: Tensor) -> list[Tensor]:
        """Parts that overlap: of each class a window of its drawn order, going round at its end."""
        dealt, found = self._by_class(labels), [[] for _ in range(self.count)]
        counts = torch.bincount(labels)
        for ordered in dealt.split(counts[counts > 0].tolist()):
            size = len(ordered)
            for place in range(self.count):
                first = place * size // self.count
                window = torch.arange(first, first + round(self.share * size)) % size
                found[place].append(ordered[window])
        return [torch.cat(windows) for windows in found]

    def subsets(self, images: ImageSet) -> tuple[ImageSet, ...]:
        """Each part's images, in the order in which the whole set has them.

        Their fingerprints tell parts apart, so that what is kept of a training run is never taken
        for that of another part.

        Raises
        ------
        DataError
            If they are test images, or a part would lack a class.
        """
        if images.split == "test":
            raise DataError(
                "Only training images are split; what is tested on stays whole. Give "
                'core.images(name, "train").'
            )
        return tuple(
            subset(images, indices, f"part {place + 1} of {len(self)}")
            for place, indices in enumerate(self.parts(images.labels))
        )

    def reseeded(self, seed: int) -> Splits:
        """The same kind of split, drawn with another seed."""
        return dataclasses.replace(self, seed=seed)

    def as_dict(self) -> dict:
        """Plain values, as JSON keeps them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping) -> Splits:
        """The splits of `as_dict`.

        Raises
        ------
        RecipeError
            If a field is unknown or a value not allowed.
        """
        refuse_unknown(cls, told, "A split")
        return cls(**told)

    def written(self, images: ImageSet) -> dict:
        """What a file says of a split: its numbers, the images, each part's size and hash.

        {"kind", "count", "share", "seed", "images": fingerprint, "parts": [{"size", "hash"}, …]}
        """
        parts = [
            {"size": len(indices), "hash": index_hash(indices)}
            for indices in self.parts(images.labels)
        ]
        return self.as_dict() | {"images": images.fingerprint, "parts": parts}


def recomputed(told: Mapping, images: ImageSet) -> tuple[ImageSet, ...]:
    """The parts of a split that was written down, drawn again and compared with what was written.

    Raises
    ------
    DataError
        If the images are others, or the parts come out differently.
    """
    numbers = {key: value for key, value in told.items() if key not in ("images", "parts")}
    splits = Splits.from_dict(numbers)
    here = splits.written(images)
    if here["images"] != told["images"]:
        raise DataError(
            f"The split was made of other images than those of {images.title} that are here "
            f"(fingerprints {told['images']} and {here['images']})."
        )
    if here["parts"] != told["parts"]:
        raise DataError(
            "The split comes out otherwise than it was written down: another version of PyTorch "
            "may draw other numbers. Split and train again."
        )
    return splits.subsets(images)


def subset(images: ImageSet, indices: Tensor, about: str) -> ImageSet:
    """Some of the images, in the order of `indices` (m,); `about` is added to the title."""
    told = f"{images.fingerprint} {index_hash(indices)}"
    return dataclasses.replace(
        images,
        title=f"{images.title}, {about}",
        images=images.images[indices],
        labels=images.labels[indices],
        fingerprint=hashlib.sha256(told.encode()).hexdigest()[:16],
    )


def index_hash(indices: Tensor) -> str:
    """Sixteen digits that change with any index or their order."""
    raw = indices.to(torch.int64).contiguous().numpy().astype("<i8").tobytes()
    return hashlib.sha256(raw).hexdigest()[:16]
