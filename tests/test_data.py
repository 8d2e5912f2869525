"""Images are read whole, in a fixed order, or refused with a sentence; core.data."""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core import data, decoded
from core.compat import torchvision
from core.errors import Cancelled, DataError, DataMissing

pytestmark = pytest.mark.usefixtures("isolated_home")

REPOSITORY = Path(__file__).parents[1]


def fill(folder, classes=("cat", "dog"), count=3, suffix=".png", size=(32, 32)):
    """`count` images in each class folder; the class is in green, the number in red."""
    for label, klass in enumerate(classes):
        (folder / klass).mkdir(parents=True)
        for number in range(count):
            colour = (number, 10 * label, 200)
            Image.new("RGB", size, colour).save(folder / klass / f"{number:03}{suffix}")
    return folder


@pytest.fixture
def pets(tmp_path):
    """A folder `pets` with cats and dogs to test on."""
    fill(tmp_path / "pets" / "test")
    return tmp_path / "pets"


def cache_files(cache):
    return sorted((cache / "intra-fusion-explorer" / "decoded").iterdir())


def refused(*args, **kwargs) -> str:
    """The sentence with which `images` refuses what is there; not for being absent."""
    with pytest.raises(DataError) as caught:
        data.images(*args, **kwargs)
    assert type(caught.value) is DataError
    return str(caught.value)


# The official layout


@pytest.mark.parametrize(
    "name, title, trained", [("cifar10", "CIFAR-10", 20), ("cifar100", "CIFAR-100", 4)]
)
def test_official_files_are_read(tmp_path, fake_cifar, name, title, trained):
    fake = fake_cifar(name)
    fake.put(tmp_path)
    found = data.images(name, "test", tmp_path)
    assert (found.name, found.title, len(found)) == (name, title, 20)
    assert len(data.images(name, "train", tmp_path)) == trained
    assert found.images.shape == (20, 3, 32, 32) and found.images.dtype == torch.uint8
    assert found.labels.dtype == torch.int64
    assert sorted(found.labels.tolist()) == sorted((7 * i) % len(found.classes) for i in range(20))
    # Green is the label in every image, blue is 200: pixels, channels and labels fit together.
    assert (found.images[:, 1] == found.labels[:, None, None]).all()
    assert (found.images[:, 2] == 200).all()
    stored = pickle.loads(fake.files[fake.kind.test_list[0][0]])["data"]  # (20, 3·32·32)
    assert sorted(map(bytes, stored)) == sorted(image.numpy().tobytes() for image in found.images)
    assert len(found.classes) == int(title.removeprefix("CIFAR-"))


@pytest.mark.parametrize("split", ["test", "train"])
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", ["truncated", "tampered", "absent"])
def test_damaged_official_files_are_refused(tmp_path, fake_cifar, split, file, damage):
    damaged = fake_cifar("cifar10").put(tmp_path) / file
    content = damaged.read_bytes()
    damaged.unlink()
    if damage == "truncated":
        damaged.write_bytes(content[:-100])
    elif damage == "tampered":
        damaged.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    sentence = refused("cifar10", split, tmp_path)
    assert "incomplete or damaged" in sentence
    assert f"Delete {damaged.parent}" in sentence and "core.download cifar10" in sentence


def test_a_file_in_place_of_the_official_folder_is_refused(tmp_path):
    place = tmp_path / torchvision.datasets.CIFAR10.base_folder
    place.write_bytes(b"")
    assert f"Delete {place}" in refused("cifar10", "test", tmp_path)


def test_an_official_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path, fake_cifar, monkeypatch
):
    place = fake_cifar("cifar10").put(tmp_path)

    def denied(path, md5):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", denied)
    sentence = refused("cifar10", "test", tmp_path)
    assert str(place) in sentence and "Permission denied" in sentence
    assert "damaged" not in sentence


# Which folder


def test_what_is_not_there_is_missing_and_says_how_to_get_it(tmp_path):
    with pytest.raises(DataMissing, match=r"python -m core\.download cifar10"):
        data.images("cifar10", "test", tmp_path)
    with pytest.raises(DataMissing, match=r"pets/test/<class>/<file>") as caught:
        data.images("pets", "test", tmp_path)
    assert "core.download" not in str(caught.value)


def test_the_default_folder_need_not_exist(isolated_home):
    with pytest.raises(DataMissing, match=re.escape(str(isolated_home))):
        data.images("cifar10")
    assert list(data.available()) == ["digits"]


def test_a_variable_that_names_a_missing_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRA_FUSION_DATA", str(tmp_path / "gone"))
    for ask in (data.data_folder, data.available, lambda: data.images("pets")):
        with pytest.raises(DataError, match=r"gone \(named by .* INTRA_FUSION_DATA\) does not ex"):
            ask()
    # The argument goes before the variable.
    assert data.data_folder(tmp_path) == tmp_path


def test_a_file_is_not_a_data_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="file is not a folder"):
        data.data_folder(tmp_path / "file")


def test_relative_folders_of_the_same_files_are_not_mistaken_for_each_other(tmp_path, monkeypatch):
    seen = []
    for place, colour in (("one", "red"), ("two", "blue")):
        for klass in ("cat", "dog"):
            file = tmp_path / place / "test" / klass / "0.bmp"
            file.parent.mkdir(parents=True)
            Image.new("RGB", (32, 32), colour).save(file)
            os.utime(file, (1, 1))
        monkeypatch.chdir(tmp_path / place)
        assert list(data.available(".")) == ["digits", place]
        seen.append(data.images(place, "test", ".").images[0, :, 0, 0].tolist())
    assert seen == [[255, 0, 0], [0, 0, 255]]


def test_available_lists_what_images_finds(tmp_path, fake_cifar):
    fake_cifar("cifar10").put(tmp_path)
    fill(tmp_path / "pets" / "test")
    fill(tmp_path / "test")
    (tmp_path / "no images").mkdir()
    listed = data.available(tmp_path)
    assert set(listed) == {"digits", "cifar10", "pets", tmp_path.name}
    assert listed["cifar10"] == f"official files in {tmp_path}"
    assert listed["pets"] == f"folder of images {tmp_path / 'pets'}"
    for name in listed:
        assert data.images(name, "test", tmp_path).name == name


def test_there_is_no_third_split(pets):
    assert "'valid'" in refused("pets", "valid", pets)


# Folders of images


def test_a_folder_of_images_is_read(pets):
    for folder in (pets, pets.parent):  # the folder itself, or one that it is in
        found = data.images("pets", "test", folder)
        assert found.title == "the folder pets" and found.classes == ("cat", "dog")
        pairs = {(*image[:, 5, 7].tolist(), int(y)) for image, y in zip(*_both(found), strict=True)}
        assert pairs == {(n, 10 * label, 200, label) for n in range(3) for label in (0, 1)}


def _both(found):
    return found.images, found.labels


def test_one_image_in_each_of_two_classes_is_enough(tmp_path):
    fill(tmp_path / "test", count=1)
    assert len(data.images(tmp_path.name, "test", tmp_path)) == 2


@pytest.mark.parametrize(
    "names, title",
    [
        ([".jpg"], "JPEG-recompressed CIFAR-10"),
        ([".JPEG"], "JPEG-recompressed CIFAR-10"),
        ([".png"], "CIFAR-10, from image files"),
        ([".png", ".jpg"], "JPEG-recompressed CIFAR-10"),  # some of it is
    ],
)
def test_a_folder_of_cifar10_says_what_it_is(tmp_path, names, title):
    for number, suffix in enumerate(names):
        fill(tmp_path / f"{number}" / "test", data.CIFAR10_CLASSES, 1, suffix)
        for file in (tmp_path / f"{number}" / "test").rglob(f"*{suffix}"):
            moved = tmp_path / "images" / "test" / file.parent.name / f"{number}{suffix}"
            moved.parent.mkdir(parents=True, exist_ok=True)
            file.rename(moved)
    found = data.images("cifar10", "test", tmp_path / "images")
    assert found.title == title and found.classes == data.CIFAR10_CLASSES
    assert (found.mean, found.std) == data.NORMALISATION["cifar10"]
    assert list(data.available(tmp_path / "images")) == ["digits", "cifar10"]


def test_other_classes_are_not_taken_for_cifar10(tmp_path):
    fill(tmp_path / "cifar10" / "test")
    assert data.images("cifar10", "test", tmp_path).title == "the folder cifar10"
    fill(tmp_path / "other" / "test")
    with pytest.raises(DataMissing):
        data.images("cifar10", "test", tmp_path / "other")


@pytest.mark.parametrize(
    "mode, colour, suffix, rgb",
    [
        ("L", 90, ".png", (90, 90, 90)),
        ("LA", (90, 10), ".png", (90, 90, 90)),
        ("1", 1, ".png", (255, 255, 255)),
        ("P", 0, ".png", (0, 0, 0)),
        ("P", 0, ".bmp", (0, 0, 0)),
        ("RGBA", (9, 80, 200, 3), ".png", (9, 80, 200)),
        ("CMYK", (255, 0, 0, 0), ".jpg", (0, 255, 255)),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (31, 200)])
def test_any_size_and_mode_is_read_as_rgb_of_32(pets, mode, colour, suffix, rgb, size):
    fill(pets / "train")
    Image.new(mode, size, colour).save(pets / "train" / "dog" / f"added{suffix}")
    found = data.images("pets", "train", pets)
    solid = torch.tensor(rgb).view(3, 1, 1)
    distance = (found.images.int() - solid).abs().amax(dim=(1, 2, 3))  # (7,)
    assert len(found) == 7 and (distance <= 2).sum() == 1  # JPEG may be off by one or two


def test_a_large_image_keeps_its_place(pets):
    """Left half black, right half white: still so after it was made smaller."""
    image = np.zeros((100, 64), np.uint8)
    image[:, 32:] = 255
    Image.fromarray(image).save(pets / "test" / "cat" / "large.png")
    found = data.images("pets", "test", pets)
    halves = (found.images[:, :, :, :15] == 0).all(3) & (found.images[:, :, :, 17:] == 255).all(3)
    assert halves.all(dim=(1, 2)).sum() == 1


def test_names_that_begin_with_a_dot_are_passed_over(pets):
    before = data.images("pets", "test", pets).fingerprint
    (pets / "test" / ".ipynb_checkpoints").mkdir()
    (pets / "test" / "cat" / "._0.png").write_bytes(b"what macOS leaves on other disks")
    (pets / "test" / "cat" / "notes.txt").write_bytes(b"no image by its name")
    assert data.images("pets", "test", pets).fingerprint == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes such file names")
def test_file_names_that_are_not_utf8_are_read(pets):
    name = os.fsdecode(b"\xe9t\xe9.png")
    (pets / "test" / "cat" / "000.png").rename(pets / "test" / "cat" / name)
    (pets / "test" / "cat").rename(pets / "test" / os.fsdecode(b"b\xeate"))
    assert len(data.images("pets", "test", pets)) == 6


def test_class_folders_that_differ_are_refused(pets):
    fill(pets / "train", ("cat", "dogs"))
    for split in ("test", "train"):
        sentence = refused("pets", split, pets)
        assert "only test/ has dog; only train/ has dogs." in sentence
    fill(pets / "test", ("dogs",))
    assert "only test/ has dog. Give" in refused("pets", "train", pets)


def test_folders_without_train_can_be_tested_on(pets):
    assert len(data.images("pets", "test", pets)) == 6
    with pytest.raises(DataMissing, match="no train/ folder"):
        data.images("pets", "train", pets)


def test_a_file_in_place_of_the_test_folder_is_missing(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "test").write_bytes(b"")
    with pytest.raises(DataMissing):
        data.images("pets", "test", tmp_path)


def test_an_empty_class_folder_is_refused(pets):
    (pets / "test" / "eel").mkdir()
    assert f"{pets / 'test' / 'eel'} holds no image" in refused("pets", "test", pets)


def test_one_class_is_refused(tmp_path):
    fill(tmp_path / "pets" / "test", ("cat",))
    assert "holds 1 class folders; at least two" in refused("pets", "test", tmp_path)


def _broken_png():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()[:-1500]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"no image"),
        lambda file: file.write_bytes(_broken_png()),
        lambda file: file.mkdir(),
        lambda file: file.symlink_to("nowhere.png"),
        lambda file: Image.fromarray(np.full((32, 32), 30000, np.uint16)).save(file),
    ],
    ids=["empty", "text", "truncated", "folder", "dangling link", "16 bits"],
)
def test_an_image_that_can_not_be_read_is_named(pets, spoil):
    file = pets / "test" / "cat" / "bad.png"
    spoil(file)
    assert f"{file} can't be read" in refused("pets", "test", pets)


def test_a_huge_image_is_refused(pets, monkeypatch):
    """Pillow refuses images that would fill the memory, with an error of its own kind."""
    Image.new("RGB", (60, 60)).save(pets / "test" / "cat" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40)
    assert "huge.png can't be read" in refused("pets", "test", pets)


def test_a_folder_that_may_not_be_read_is_named(pets, monkeypatch):
    closed, iterdir = pets / "test" / "dog", Path.iterdir

    def denied(self):
        if self == closed:
            raise PermissionError(13, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", denied)  # root may read everything: no chmod here
    sentence = refused("pets", "test", pets)
    assert f"{closed} can't be read (Permission denied)" in sentence and "allowed" in sentence


# The order


def test_the_order_is_the_same_in_every_process(pets):
    fill(pets.parent / "more" / "test", ("a", "b", "c"), 7)
    expected = data.images("more", "test", pets.parent).fingerprint
    told = "from core.data import images; import sys; print(images('more', 'test', sys.argv[1])"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = subprocess.run(
        [sys.executable, "-c", told + ".fingerprint)", str(pets.parent)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONHASHSEED": seed, "XDG_CACHE_HOME": str(pets.parent / "elsewhere")},
    )
    assert (other.stdout.strip(), other.stderr) == (expected, "")


def test_the_first_images_are_of_all_classes(tmp_path):
    fill(tmp_path / "many" / "test", ("a", "b", "c"), 40)
    labels = data.images("many", "test", tmp_path).labels
    assert labels[:20].bincount().min() >= 3
    assert labels.bincount().tolist() == [40, 40, 40]
    assert labels.tolist() != sorted(labels.tolist())


def test_fingerprints_tell_sets_apart(pets):
    fill(pets / "train")
    first = data.images("pets", "test", pets)
    assert re.fullmatch("[0-9a-f]{16}", first.fingerprint)
    assert data.images("pets", "test", pets).fingerprint == first.fingerprint
    assert data.images("pets", "train", pets).fingerprint != first.fingerprint  # another order
    (pets / "test" / "dog").rename(pets / "test" / "eel")
    (pets / "train" / "dog").rename(pets / "train" / "eel")
    assert data.images("pets", "test", pets).fingerprint != first.fingerprint  # other classes


# The cache of decoded images


def test_images_are_decoded_once_and_again_after_an_edit(pets, monkeypatch):
    read, pixels = [], decoded._pixels
    monkeypatch.setattr(decoded, "_pixels", lambda file: read.append(file) or pixels(file))
    first = data.images("pets", "test", pets)
    assert len(read) == 6
    again = data.images("pets", "test", pets)
    assert len(read) == 6 and torch.equal(again.images, first.images)

    edited = pets / "test" / "cat" / "001.png"
    Image.new("RGB", (32, 32), (99, 98, 97)).save(edited)
    os.utime(edited, (1, 1))  # the clock of a file system may be too coarse to see the edit
    changed = data.images("pets", "test", pets)
    assert len(read) == 12 and changed.fingerprint != first.fingerprint
    differ = (changed.images != first.images).flatten(1).any(1)
    assert changed.images[differ][:, :, 0, 0].tolist() == [[99, 98, 97]]


def test_a_cache_that_can_not_be_written_is_done_without(pets, monkeypatch, tmp_path, caplog):
    expected = data.images("pets", "test", pets).fingerprint
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert data.images("pets", "test", pets).fingerprint == expected
    assert "can't be kept" in caplog.text


def test_a_cache_on_a_full_disk_leaves_no_partial_file(pets, monkeypatch, isolated_home):
    def full(file, pixels):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    assert len(data.images("pets", "test", pets)) == 6
    assert cache_files(isolated_home) == []


class Bomb:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _npy(array, **how):
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


def _zip():
    file = io.BytesIO()
    np.savez(file, np.zeros((6, 3, 32, 32), np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"no array",
        b"PK\x03\x04 no zip",
        _zip(),
        _npy(np.zeros((6, 3, 32, 32), np.uint8))[:-1],
        _npy(np.zeros((5, 3, 32, 32), np.uint8)),
        _npy(np.zeros((6, 3, 32, 32), np.int8)),
        _npy(np.zeros(1, np.uint8)).replace(b"(1,), }", b"(10**18,"),
        _npy(np.zeros(1, np.uint8)).replace(b"(1,), }      ", b"(9" + b"0" * 8 + b",),}"),
    ],
    ids="empty header text nozip zip truncated shape dtype expression enormous".split(),
)
def test_a_damaged_cache_is_made_again(pets, isolated_home, content):
    expected = data.images("pets", "test", pets).fingerprint
    (kept,) = cache_files(isolated_home)
    good = kept.read_bytes()
    kept.write_bytes(content)
    assert data.images("pets", "test", pets).fingerprint == expected
    assert cache_files(isolated_home) == [kept] and kept.read_bytes() == good


def test_a_cache_is_never_unpickled(pets, isolated_home, tmp_path):
    expected = data.images("pets", "test", pets).fingerprint
    (kept,) = cache_files(isolated_home)
    trace = tmp_path / "trace"
    bomb = np.array([Bomb(trace)], dtype=object)
    for content in (_npy(bomb, allow_pickle=True), pickle.dumps(Bomb(trace))):
        kept.write_bytes(content)
        assert data.images("pets", "test", pets).fingerprint == expected
        assert not trace.exists()
    np.load(io.BytesIO(_npy(bomb, allow_pickle=True)), allow_pickle=True)
    assert trace.exists()  # the bomb does go off where pickles are allowed


def test_readers_at_the_same_time_do_not_disturb_each_other(
    pets, isolated_home, monkeypatch, caplog
):
    save, all_wrote = np.save, threading.Barrier(4, timeout=20)

    def slow(file, pixels):
        save(file, pixels)
        all_wrote.wait()  # nobody renames before everybody has written

    monkeypatch.setattr(np, "save", slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: data.images("pets", "test", pets).fingerprint, range(4)))
    assert len(set(found)) == 1 and caplog.text == ""
    (kept,) = cache_files(isolated_home)
    assert np.load(kept).shape == (6, 3, 32, 32)


def test_reading_can_be_stopped_from_its_progress(tmp_path, isolated_home, monkeypatch):
    fill(tmp_path / "many" / "test", count=100, suffix=".bmp")
    read, pixels = [], decoded._pixels
    monkeypatch.setattr(decoded, "_pixels", lambda file: read.append(file) or pixels(file))

    def stop(share, sentence):
        assert share == 0 and sentence == "Reading images: 0 of 200"
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        data.images("many", "test", tmp_path, stop)
    assert len(read) < 200
    assert not (isolated_home / "intra-fusion-explorer").exists()


# Digits


def test_digits_are_split_fairly():
    test, train = data.images("digits", "test"), data.images("digits", "train")
    assert (len(test), len(train)) == (597, 1200)
    for found in (test, train):
        assert found.images.dtype == torch.uint8 and found.images.shape[1:] == (3, 32, 32)
        assert found.images.min() == 0 and found.images.max() == 255
        assert (found.images[:, :1] == found.images).all()  # grey
        assert found.classes == tuple("0123456789")
    tested = test.labels.bincount()
    fair = (tested + train.labels.bincount()) * 597 / 1797
    assert (tested - fair).abs().max() <= 1
    everything = {image.numpy().tobytes() for found in (test, train) for image in found.images}
    assert len(everything) == 1797  # no two digits are alike, so none is in both


def test_digits_need_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRA_FUSION_DATA", str(tmp_path / "gone"))
    assert len(data.images("digits")) == 597


# What networks are fed


def test_normalised_normalises():
    train = data.images("digits", "train")
    fed = train.normalised(train.images)
    assert fed.dtype == torch.float32 and fed.shape == (1200, 3, 32, 32)
    assert fed.is_contiguous(memory_format=torch.channels_last)
    assert fed.mean(dim=(0, 2, 3)).abs().max() < 0.01
    assert 0.8 < fed.std(dim=(0, 2, 3)).min() <= fed.std(dim=(0, 2, 3)).max() < 1.05


def test_each_channel_is_normalised_with_its_own_numbers(tmp_path, fake_cifar):
    fake_cifar("cifar10").put(tmp_path)
    found = data.images("cifar10", "test", tmp_path)
    pixels = torch.tensor([0, 100, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(0 - 0.4914) / 0.2470, (100 / 255 - 0.4822) / 0.2435, (1 - 0.4465) / 0.2616]
    assert torch.allclose(found.normalised(pixels).flatten(), torch.tensor(expected), atol=1e-6)
    # Pixels that are numbers already stay as they are.
    numbers = pixels.float()
    found.normalised(numbers)
    assert numbers.flatten().tolist() == [0, 100, 255]


@pytest.mark.parametrize(
    "size, limit, sizes",
    [
        (250, None, [250, 250, 97]),
        (250, 300, [250, 50]),
        (597, 10**6, [597]),
        (100, 100, [100]),
        (250, 0, []),
    ],
)
def test_batches_are_the_first_images_in_order(size, limit, sizes):
    found = data.images("digits")
    batches = list(found.batches(size, limit))
    assert [len(y) for _, y in batches] == sizes
    if sizes:
        end = sum(sizes)
        assert torch.equal(torch.cat([y for _, y in batches]), found.labels[:end])
        fed = torch.cat([x for x, _ in batches])
        assert torch.equal(fed, found.normalised(found.images[:end]))
