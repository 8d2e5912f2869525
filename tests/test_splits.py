"""Splits of training images: what parts hold, what they share, and that they come out the same."""

import dataclasses
import itertools

import pytest
import torch

from core import data
from core.errors import DataError, RecipeError
from core.splits import Splits, index_hash, recomputed, subset

#: Of unequal classes, none of them divisible by all counts that are tested.
LABELS = torch.cat([torch.full((size,), label) for label, size in enumerate((40, 23, 17, 9))])
ALL = [Splits("folds", 2), Splits("folds", 5), Splits("halves", 2), Splits("halves", 4)]
ALL += [Splits("overlapping", 3, 0.5), Splits("overlapping", 2, 0.3), Splits("overlapping", 4, 1.0)]


def shuffled():
    return LABELS[torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("splits", ALL, ids=str)
def test_a_part_holds_its_share_of_every_class_and_no_image_twice(splits):
    labels = shuffled()
    parts = splits.parts(labels)
    assert len(parts) == len(splits)
    # Folds are rounded up or down, windows to the nearest; a half of four folds holds two of them.
    most = {"folds": 1, "halves": splits.count / 2, "overlapping": 0.5 + 1e-9}[splits.kind]
    for indices in parts:
        assert indices.dtype == torch.int64
        assert torch.equal(indices, indices.unique()), "rising, each once"
        for label, size in enumerate((40, 23, 17, 9)):
            mine = int((labels[indices] == label).sum())
            assert abs(mine - splits.fraction * size) < most


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_folds_are_disjoint_and_cover(count):
    parts = Splits("folds", count).parts(shuffled())
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(LABELS)))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_halves_of_four_folds_are_all_pairs():
    parts = [set(part.tolist()) for part in Splits("halves", 4).parts(shuffled())]
    folds = [set(part.tolist()) for part in Splits("folds", 4).parts(shuffled())]
    assert [one | two for one, two in itertools.combinations(folds, 2)] == parts
    assert Splits("halves", 2).parts(shuffled())[1].tolist() == (
        Splits("folds", 2).parts(shuffled())[1].tolist()
    )


def test_parts_overlap_as_they_say():
    labels = torch.arange(10).repeat(40)  # 40 of each class: shares come out even
    for share in (0.2, 0.25, 0.5, 0.6):
        parts = [set(p.tolist()) for p in Splits("overlapping", 4, share).parts(labels)]
        assert {len(part) for part in parts} == {round(400 * share)}
        common = len(parts[0] & parts[1]), len(parts[3] & parts[0])
        assert common == (max(0, round(400 * (share - 0.25))),) * 2
        assert (len(set.union(*parts)) == 400) == (share >= 0.25)


def test_the_seed_decides_and_nothing_else_does():
    labels, splits = shuffled(), Splits("folds", 3, seed=5)
    torch.manual_seed(0)
    first = splits.parts(labels)
    torch.manual_seed(1)
    again = Splits.from_dict(splits.as_dict()).parts(labels)
    assert all(map(torch.equal, first, again))
    other = splits.reseeded(6).parts(labels)
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_what_is_written_down_can_be_drawn_again_and_is_compared():
    images = data.images("digits", "train")
    splits = Splits("overlapping", 3, 0.4, seed=2)
    told = splits.written(images)
    parts = recomputed(told, images)
    assert [len(part) for part in parts] == [part["size"] for part in told["parts"]]
    for part, indices in zip(parts, splits.parts(images.labels), strict=True):
        assert torch.equal(part.images, images.images[indices])
        assert torch.equal(part.labels, images.labels[indices])
    assert len({images.fingerprint, *(part.fingerprint for part in parts)}) == 4
    with pytest.raises(DataError, match="comes out otherwise"):
        recomputed(told | {"parts": told["parts"][:2]}, images)
    with pytest.raises(DataError, match="other images"):
        recomputed(told, dataclasses.replace(images, fingerprint="0" * 16))


def test_a_subset_is_told_apart_by_its_images_and_their_order():
    images = data.images("digits", "train")
    some = torch.tensor([3, 1, 2])
    keys = {subset(images, one, "").fingerprint for one in (some, some.flip(0), some[:2])}
    assert len(keys) == 3
    assert index_hash(some) == index_hash(some.clone()) != index_hash(some.flip(0))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"kind": "thirds"}, "Known: folds, halves, overlapping"),
        ({"count": 1}, "at least two parts"),
        ({"count": 2.0}, "whole number"),
        ({"kind": "halves", "count": 6}, "2 or 4 folds"),
        ({"kind": "overlapping", "share": 0}, "between 0 and 1"),
        ({"kind": "overlapping", "share": 1.1}, "between 0 and 1"),
        ({"share": "half"}, "between 0 and 1"),
        ({"seed": -1}, "seed"),
        ({"fold": 2}, "no field fold"),
    ],
)
def test_what_is_no_split_is_refused_by_a_sentence(told, said):
    with pytest.raises(RecipeError, match=said) as caught:
        Splits.from_dict(told)
    assert str(caught.value).endswith(".")


def test_a_part_without_a_class_is_refused():
    labels = torch.tensor([0] * 20 + [1] * 3)
    with pytest.raises(DataError, match="Part 4 of 4 has no image of class 1: there are only 3"):
        Splits("folds", 4).parts(labels)


def test_test_images_are_never_split():
    with pytest.raises(DataError, match="tested on stays whole"):
        Splits().subsets(data.images("digits"))
