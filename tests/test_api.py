"""The library as a notebook uses it, its weights files, and its terms with other packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import core
from core import compat, zoo

REPOSITORY = Path(__file__).parents[1]


def run(code: str, *folders: Path) -> str:
    """What a fresh Python prints, with `folders` first on its path."""
    path = os.pathsep.join(map(str, [*folders, REPOSITORY]))
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The calls of a notebook


def test_the_notebooks_calls():
    net = core.load("vgg11_bn-digits")
    dep = core.trace(net, input_shape=(3, 32, 32))
    assert dep.groups[0].width == 128 and len(dep.groups[0].couplings) == 7
    recipe = core.Recipe(groups=(0,), sparsity=0.5, importance="l1", rule="released")
    out = core.compress(net, dep, recipe)
    n, m = 128, 64
    assert isinstance(out.module, torch.nn.Module) and out.recipe == recipe
    assert out.plans[0].mass.shape == (n, m) and out.plans[0].mass.dtype == torch.float64
    assert out.kept[0].shape == (m,) and out.kept[0].dtype == torch.int64
    assert 0 <= int(out.kept[0].min()) and int(out.kept[0].max()) < n
    found = core.accuracy(out.module, core.images("digits"), limit=100)
    assert found.total == 100 and 0 <= found.low <= found.mean <= found.high <= 1
    assert found.mean > 0.5  # it still reads digits: a tenth would be guessing
    assert core.size(out.module).parameters < core.size(net).parameters


def test_select_has_no_plan_and_says_what_it_kept():
    net = core.load("vgg11_bn-digits")
    dep = core.trace(net, input_shape=(3, 32, 32))
    out = core.compress(net, dep, core.Recipe(groups=(2, 5), sparsity=0.5, rule="select"))
    assert out.plans == {} and set(out.kept) == {2, 5} and set(out.steps) == {2, 5}


def test_a_group_that_is_not_there_is_refused():
    net = core.load("vgg11_bn-digits")
    with pytest.raises(core.RecipeError, match="group 8"):
        core.compress(net, core.trace(net), core.Recipe(groups=(8,)))


def test_everything_the_library_promises_is_there():
    assert all(hasattr(core, name) for name in core.__all__)
    for name in ("RecipeError", "Unsupported", "WeightsError", "DataError", "TransportError"):
        assert issubclass(getattr(core, name), core.ExplorerError)


def test_preparation_gives_the_same_result_as_none():
    net = core.load("resnet18-digits")
    dep = core.trace(net)
    prepared = core.Prepared(net, dep)
    for rule in ("released", "repaired"):
        recipe = core.Recipe(groups=(0, 9), sparsity=0.5, rule=rule)
        fresh = core.compress(net, dep, recipe).module.state_dict()
        for _ in range(2):
            again = core.compress(net, dep, recipe, prepared).module.state_dict()
            assert all(torch.equal(again[key], fresh[key]) for key in fresh)


def test_one_preparation_serves_several_threads():
    net = core.load("resnet18-digits")
    dep = core.trace(net)
    recipes = [
        core.Recipe(groups="all", sparsity=s, rule=rule)
        for s in (0.3, 0.6)
        for rule in ("released", "repaired")
    ]
    alone = [core.compress(net, dep, recipe).module.state_dict() for recipe in recipes]
    prepared = core.Prepared(net, dep)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda r: core.compress(net, dep, r, prepared), recipes))
    for one, other in zip(alone, together, strict=True):
        state = other.module.state_dict()
        assert all(torch.equal(state[key], one[key]) for key in one)


# Weights and cards


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the weights and cards that ship."""
    for file in zoo.WEIGHTS.glob("*-digits.*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def refusal(load, name: str, folder: Path) -> str:
    """The sentence with which `load` refuses: short enough to be read."""
    with pytest.raises(core.WeightsError) as caught:
        load(name, folder)
    text = str(caught.value)
    assert len(text) < 800 and "\n" not in text
    return text


@pytest.mark.parametrize("name", ["vgg11_bn-digits", "resnet18-digits"])
def test_weights_that_ship_load_in_float32_and_evaluation_mode(name, folder):
    module, card = core.load(name, folder), core.card(name, folder)
    assert all(p.dtype == torch.float32 for p in module.parameters())
    assert all(t.isfinite().all() for t in module.state_dict().values())
    assert not any(part.training for part in module.modules())
    assert card.name == name and card.images == zoo.network(name).images
    assert card.parameters == sum(p.numel() for p in module.parameters())


def test_loading_twice_gives_two_networks():
    one, two = core.load("vgg11_bn-digits"), core.load("vgg11_bn-digits")
    with torch.no_grad():
        one.classifier.weight.zero_()
    assert (two.classifier.weight != 0).any()


def test_weights_saved_and_loaded_are_the_same_after_rounding(tmp_path):
    module = zoo.network("vgg11_bn-digits").build()
    zoo.save(module, tmp_path / "vgg11_bn-digits.safetensors")
    again = core.load("vgg11_bn-digits", tmp_path).state_dict()
    for key, tensor in module.state_dict().items():
        rounded = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(again[key], rounded)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_weights_file_is_named(folder, share):
    file = folder / "vgg11_bn-digits.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    text = refusal(core.load, "vgg11_bn-digits", folder)
    assert str(file) in text and "damaged" in text and "Restore" in text


def test_a_file_that_holds_something_else_is_named(folder):
    (folder / "vgg11_bn-digits.safetensors").write_bytes(b"<html>not found</html>" * 100)
    assert "damaged" in refusal(core.load, "vgg11_bn-digits", folder)


def test_a_missing_weights_file_is_named(folder):
    (folder / "vgg11_bn-digits.safetensors").unlink()
    text = refusal(core.load, "vgg11_bn-digits", folder)
    assert "vgg11_bn-digits.safetensors" in text and str(folder) in text and "Restore" in text


@pytest.mark.parametrize(
    ("name", "other"),
    [("resnet18-digits", "vgg11_bn-digits"), ("vgg11_bn-cifar10", "vgg11_bn-digits")],
    ids=["other layers", "other widths"],
)
def test_weights_of_another_network_are_refused_in_a_readable_sentence(folder, name, other):
    shutil.copy(folder / f"{other}.safetensors", folder / f"{name}.safetensors")
    text = refusal(core.load, name, folder)
    assert f"do not belong to {name}" in text and f"{name}.safetensors" in text


def test_weights_that_are_not_the_cards_are_refused(folder):
    """Sound weights of the same shape, but not those whose accuracy the card tells."""
    module = core.load("vgg11_bn-digits", folder)
    with torch.no_grad():
        module.classifier.bias[0] += 1
    zoo.save(module, folder / "vgg11_bn-digits.safetensors")
    text = refusal(core.load, "vgg11_bn-digits", folder)
    assert "SHA-256" in text and str(folder / "vgg11_bn-digits.safetensors") in text


def test_weights_beside_a_broken_card_are_refused(folder):
    (folder / "vgg11_bn-digits.json").write_text("{")
    assert "vgg11_bn-digits.json" in refusal(core.load, "vgg11_bn-digits", folder)


def test_a_missing_card_is_named(folder):
    (folder / "vgg11_bn-digits.json").unlink()
    text = refusal(core.card, "vgg11_bn-digits", folder)
    assert "vgg11_bn-digits.json" in text and "Restore" in text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"3", b'{"name": "vgg11_bn-digits"}', b"\xff\xfe\x00"],
    ids=["empty", "cut", "list", "null", "number", "fields missing", "no text"],
)
def test_a_broken_card_is_named(folder, content):
    file = folder / "vgg11_bn-digits.json"
    file.write_bytes(content)
    assert str(file) in refusal(core.card, "vgg11_bn-digits", folder)


def test_a_card_with_a_field_nobody_knows_is_refused(folder):
    file = folder / "vgg11_bn-digits.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mood": "good"}))
    assert "mood" in refusal(core.card, "vgg11_bn-digits", folder)


def test_the_card_of_another_network_is_refused(folder):
    shutil.copy(folder / "vgg11_bn-digits.json", folder / "resnet18-digits.json")
    assert "resnet18-digits" in refusal(core.card, "resnet18-digits", folder)


def test_a_folder_in_the_place_of_a_card_is_named(folder):
    file = folder / "vgg11_bn-digits.json"
    file.unlink()
    file.mkdir()
    assert str(file) in refusal(core.card, "vgg11_bn-digits", folder)


@pytest.mark.parametrize("load", [core.load, core.card])
def test_an_unknown_network_is_refused_with_those_that_are_known(load):
    with pytest.raises(core.RecipeError, match="'vgg12'") as caught:
        load("vgg12")
    assert all(name in str(caught.value) for name in zoo.NETWORKS)


# Other packages


@pytest.mark.slow
def test_the_library_imports_no_streamlit():
    """Not one of its modules does."""
    told = run(
        "import importlib, pkgutil, sys, core\n"
        "names = [m.name for m in pkgutil.walk_packages(core.__path__, 'core.')]\n"
        "for name in names:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        "print(len(names), 'streamlit' in sys.modules, 'app' in sys.modules)\n"
    )
    files = [*(REPOSITORY / "core").rglob("*.py")]
    count = len(files) - 1  # core itself is imported already
    assert told.split() == [str(count), "False", "False"]


BROKEN = """
import torch
declared = [hasattr(torch.ops.torchvision, name) for name in ("nms", "qnms")]
if not all(declared):
    raise RuntimeError("operator torchvision::nms does not exist")
mended = True
"""
HEALTHY = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
mended = False
"""
# Only the file, not the package around it: nothing else may import torchvision first.
IMPORT = f"""
import importlib.util, torch
spec = importlib.util.spec_from_file_location("compat", {str(REPOSITORY / "core/compat.py")!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
schema = str(torch.ops.torchvision.nms.default._schema)
print(compat.torchvision.mended, compat._library is not None, schema)
"""


def fake(folder: Path, content: str) -> Path:
    """A folder with a package `torchvision` in it."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(content)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "mended"), [(BROKEN, True), (HEALTHY, False)], ids=["broken", "healthy"]
)
def test_torchvisions_operators_are_declared_where_they_are_missing_and_only_there(
    tmp_path, content, mended
):
    """A second declaration of the same operators would be an error of torch's."""
    told = run(IMPORT, fake(tmp_path, content)).split(maxsplit=2)
    assert told[:2] == [str(mended), str(mended)]
    assert told[2].startswith("torchvision::nms(Tensor dets, Tensor scores, float iou_threshold)")


def test_torchvision_that_is_not_installed_is_an_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError):
        compat.import_torchvision()


def test_another_failure_of_torchvision_is_not_hidden(tmp_path, monkeypatch):
    fake(tmp_path, "raise RuntimeError('something else is wrong')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision")
    before = compat._library
    with pytest.raises(RuntimeError, match="something else"):
        compat.import_torchvision()
    assert compat._library is before


def test_torchvision_is_there_and_works():
    pixels = torch.zeros(3, 4, 4, dtype=torch.uint8)
    assert compat.torchvision.transforms.functional.hflip(pixels).shape == (3, 4, 4)
    assert compat.import_torchvision() is compat.torchvision
