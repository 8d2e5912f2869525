"""Fixtures that several test files share."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import pickle
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

# Two files of tests run at once: before PyTorch comes, each is given one thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Streamlit puts the folder of its script on the path while a test's page runs, and takes it off
# again: a thread that looks for a package at that moment misses some. What is there stays there.
sys.path.append(str(Path(__file__).resolve().parent.parent / "app"))

import numpy as np
import pytest
import server

from core.compat import torchvision
from core.data import CIFAR10_CLASSES, FOLDER_VARIABLE


@pytest.fixture
def isolated_home(tmp_path, monkeypatch):
    """An empty cache directory of the test's own, and no word from outside on data or proxies."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    if jobs := sys.modules.get("app.jobs"):
        # No browser draws what a test's page sends: workers need not wait for it.
        monkeypatch.setattr(jobs, "AFTERWARDS", 0.0)
        monkeypatch.setattr(jobs, "PATIENCE", 0.05)
        # What other tests have begun, which may not stop soon, is not in this one's way.
        monkeypatch.setattr(jobs, "_pools", jobs._new_pools())
    return cache


@pytest.fixture(scope="session", autouse=True)
def components_found_once():
    """A test's page looks through all installed packages for components; a server does so once."""
    from streamlit.components.v2 import manifest_scanner

    found = functools.cache(manifest_scanner.scan_component_manifests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", found)
        yield


@pytest.fixture
def own_workers(monkeypatch):
    """Workers of the test's own: it waits for nothing that other tests have begun."""
    from app import jobs

    monkeypatch.setattr(jobs, "_pools", jobs._new_pools())


@pytest.fixture
def no_images(isolated_home):
    """A machine without CIFAR-10, and caches of the app that remember nothing of other tests."""
    from app import cache, pictures

    for one in (cache, pictures):
        one.clear()
    yield isolated_home
    for one in (cache, pictures):
        one.clear()


@pytest.fixture(scope="module")
def one_thread():
    """Threads that wait for each other in work this small cost more than they bring."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class FakeCifar:
    """A tiny CIFAR whose checksums torchvision takes for the published ones."""

    kind: type
    files: dict[str, bytes]

    def put(self, root: Path) -> Path:
        """Write the files in their official layout below `root`."""
        place = root / self.kind.base_folder
        place.mkdir(parents=True)
        for name, content in self.files.items():
            (place / name).write_bytes(content)
        return place

    def archive(self) -> bytes:
        """The files as the official `.tar.gz`."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in self.files.items():
                info = tarfile.TarInfo(f"{self.kind.base_folder}/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return packed.getvalue()


@pytest.fixture
def fake_cifar(monkeypatch):
    """Makes a FakeCifar: 4 images in each training file, 20 to test on.

    In every image, green is the label and blue is 200, so that a test can tell whether pixels and
    labels stayed together; red is noise, which doesn't compress.
    """

    def make(name: str) -> FakeCifar:
        kind = {
            "cifar10": torchvision.datasets.CIFAR10,
            "cifar100": torchvision.datasets.CIFAR100,
        }[name]
        classes = list(CIFAR10_CLASSES) if name == "cifar10" else [f"c{i:02}" for i in range(100)]
        noise = np.random.default_rng(0)

        def batch(count: int) -> bytes:
            labels = [(7 * i) % len(classes) for i in range(count)]
            pixels = np.empty((count, 3, 1024), np.uint8)
            pixels[:, 0] = noise.integers(0, 256, (count, 1024))
            pixels[:, 1] = np.array(labels)[:, None]
            pixels[:, 2] = 200
            key = "labels" if name == "cifar10" else "fine_labels"
            return pickle.dumps({"data": pixels.reshape(count, 3072), key: labels})

        files = {file: batch(4) for file, _ in kind.train_list}
        files |= {file: batch(20) for file, _ in kind.test_list}
        files[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: classes})
        md5 = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
        monkeypatch.setattr(kind, "train_list", [[file, md5[file]] for file, _ in kind.train_list])
        monkeypatch.setattr(kind, "test_list", [[file, md5[file]] for file, _ in kind.test_list])
        monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5[kind.meta["filename"]]})
        return FakeCifar(kind, files)

    return make


@pytest.fixture(scope="session")
def cifar10():
    """CIFAR-10's test images from the data folder; the test is skipped where there are none."""
    import core

    try:
        return core.images("cifar10")
    except core.DataError as error:
        pytest.skip(f"needs CIFAR-10 in the folder of ${FOLDER_VARIABLE}: {error}")


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """The app, started as the README says, on a machine without CIFAR-10: once for all browsers."""
    home = tmp_path_factory.mktemp("home")
    surroundings = {k: v for k, v in os.environ.items() if k != "INTRA_FUSION_DATA"}
    surroundings["XDG_CACHE_HOME"] = str(home)
    log = home / "server.log"
    with server.serving(surroundings, log) as url:
        yield url
    assert "Traceback" not in log.read_text(), log.read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that drive a browser first: each takes a minute, and none may be alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)
