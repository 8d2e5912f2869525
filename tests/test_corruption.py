"""Corrupted test images and spoiled training images: seeded, deterministic, and what they say."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

import core
from core.corruption import BLOCK, CORRUPTIONS, STRENGTHS, corrupted
from core.spoiled import long_tail, spoiled


@pytest.fixture(scope="module")
def test_images() -> core.ImageSet:
    return core.images("digits")


@pytest.fixture(scope="module")
def training() -> core.ImageSet:
    return core.images("digits", "train")


def colourful(count: int = 6) -> core.ImageSet:
    """Images of noise in three colours: nothing is lost in them by accident."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=generator).to(torch.uint8)
    return dataclasses.replace(
        core.images("digits"), images=pixels, labels=torch.arange(count) % 10
    )


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_kind_is_the_same_again_and_worse_with_its_strength(kind, test_images):
    before = test_images.images[:40].clone()
    apart = []
    for strength in STRENGTHS:
        worse = corrupted(test_images, kind, strength, seed=3, limit=40)
        again = corrupted(test_images, kind, strength, seed=3, limit=40)
        assert worse.images.dtype == torch.uint8 and worse.images.shape == before.shape
        assert torch.equal(worse.images, again.images) and worse.fingerprint == again.fingerprint
        assert torch.equal(worse.labels, test_images.labels[:40]) and worse.split == "test"
        assert worse.title.endswith(f"{kind} {strength}")
        apart.append(float((worse.images.float() - before.float()).square().mean()))
    assert apart == sorted(apart) and 0 < apart[0] < apart[-1]
    assert torch.equal(test_images.images[:40], before)


def test_each_change_has_its_fingerprint(test_images):
    prints = {
        corrupted(test_images, kind, strength, seed, 5).fingerprint
        for kind in CORRUPTIONS
        for strength in STRENGTHS
        for seed in (0, 1)
    } | {test_images.fingerprint}
    assert len(prints) == len(CORRUPTIONS) * len(STRENGTHS) * 2 + 1


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_first_images_are_the_same_whatever_the_limit(kind, test_images):
    count = BLOCK + 20  # into a second block
    many = corrupted(test_images, kind, 2, limit=count)
    few = corrupted(test_images, kind, 2, limit=BLOCK + 3)
    assert len(many) == count
    assert torch.equal(many.images[: BLOCK + 3], few.images)


def test_noise_has_the_deviation_it_says_and_another_seed_another_noise():
    grey = dataclasses.replace(
        colourful(40), images=torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    )
    noisy = corrupted(grey, "noise", 2).images.float()
    assert float(noisy.std()) / 255 == pytest.approx(CORRUPTIONS["noise"].values[1], rel=0.02)
    other = corrupted(grey, "noise", 2, seed=1).images.float()
    assert abs(float(torch.corrcoef(torch.stack([noisy.flatten(), other.flatten()]))[0, 1])) < 0.02


def test_contrast_keeps_the_mean_and_scales_what_is_around_it():
    images = colourful()
    pale = corrupted(images, "contrast", 3).images.float()
    pixels = images.images.float()
    mean = pixels.mean((2, 3), keepdim=True)
    assert float((pale - (mean + 0.35 * (pixels - mean))).abs().max()) <= 0.5


def test_blur_keeps_what_is_even_and_spreads_a_point_evenly():
    point = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    point[:, :, 16, 16] = 255
    images = dataclasses.replace(colourful(1), images=point)
    blurred = corrupted(images, "blur", 3).images[0, 0].float()
    assert torch.equal(blurred, blurred.T) and blurred.argmax() == 16 * 32 + 16
    weight = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    assert float(blurred[16, 16]) == pytest.approx(255 * (1 / weight.sum()) ** 2, abs=1)


def test_jpeg_is_pillows():
    images = colourful(2)
    packed = io.BytesIO()
    Image.fromarray(images.images[1].permute(1, 2, 0).numpy()).save(packed, "JPEG", quality=20)
    read = torch.from_numpy(np.asarray(Image.open(packed)).copy()).permute(2, 0, 1)
    assert torch.equal(corrupted(images, "jpeg", 4).images[1], read)


@pytest.mark.parametrize(("kind", "strength"), [("fog", 1), ("noise", 0), ("noise", 6)])
def test_what_is_not_there_is_refused(kind, strength, test_images):
    with pytest.raises(core.DataError, match="noise, blur, contrast, jpeg"):
        corrupted(test_images, kind, strength)


# Training images


def test_a_share_of_the_labels_is_wrong_and_no_image_changes(training):
    noisy = spoiled(training, "labels", 0.3, seed=2)
    assert torch.equal(noisy.images, training.images)
    wrong = noisy.labels != training.labels
    assert int(wrong.sum()) == round(0.3 * len(training))
    assert set(noisy.labels.tolist()) == set(range(10))
    assert torch.equal(spoiled(training, "labels", 0.3, seed=2).labels, noisy.labels)
    assert not torch.equal(spoiled(training, "labels", 0.3, seed=3).labels, noisy.labels)


def test_classes_fall_to_the_ratio_and_fewer_has_as_many_images(training):
    rare = spoiled(training, "imbalance", 10)
    sizes = torch.bincount(rare.labels).tolist()
    assert sizes == sorted(sizes, reverse=True) == long_tail(training.labels, 10, 10)
    assert sizes[0] / sizes[-1] == pytest.approx(10, rel=0.1)
    fewer = spoiled(training, "fewer", 10)
    assert len(fewer) == len(rare) < len(training)
    even = torch.bincount(fewer.labels)
    assert int(even.max() - even.min()) <= 1
    # Each image still has its own label, and the order is the same.
    known = {
        bytes(i.numpy()): int(c) for i, c in zip(training.images, training.labels, strict=True)
    }
    assert all(known[bytes(i.numpy())] == c for i, c in zip(rare.images, rare.labels, strict=True))


def test_what_cannot_be_spoiled_is_refused(training, test_images):
    with pytest.raises(core.DataError, match="stays whole"):
        spoiled(test_images, "labels", 0.1)
    for kind, amount in (("magic", 1), ("labels", 1.5), ("imbalance", 0.5)):
        with pytest.raises(core.DataError, match=kind):
            spoiled(training, kind, amount)
    assert spoiled(training, "clean") is training
