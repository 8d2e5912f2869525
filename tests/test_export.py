"""An ONNX file gives the same outputs in onnxruntime, for batches of any size."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

import core
from core.export import largest_difference


@pytest.fixture(scope="module")
def packages():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"needs {name}: pip install -r requirements-onnx.txt")


@pytest.fixture(scope="module")
def exported(packages, tmp_path_factory):
    """A smaller network and its file."""
    net = core.load("resnet18-digits")
    out = core.compress(net, core.trace(net), core.Recipe(groups="all", rule="repaired"))
    path = core.to_onnx(out.module, tmp_path_factory.mktemp("onnx") / "small.onnx")
    return out.module, path


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnxruntime_agrees_for_any_batch(exported, batch):
    module, path = exported
    assert largest_difference(module, path, (3, 32, 32), batch) < 1e-4


@pytest.mark.slow
def test_the_difference_is_measured(exported):
    """Of another network's weights it is not small."""
    module, path = exported
    with torch.no_grad():
        module.fc.bias[0] += 1
    try:
        assert largest_difference(module, path, (3, 32, 32)) == pytest.approx(1, abs=1e-3)
    finally:
        with torch.no_grad():
            module.fc.bias[0] -= 1


@pytest.mark.slow
def test_the_file_is_whole_in_itself_and_says_what_it_takes(exported):
    import onnx

    _, path = exported
    assert [file.name for file in path.parent.iterdir()] == ["small.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (given,), (put,) = model.graph.input, model.graph.output
    assert (given.name, put.name) == ("images", "logits")
    first, *others = given.type.tensor_type.shape.dim
    assert first.dim_param and [one.dim_value for one in others] == [3, 32, 32]
    assert put.type.tensor_type.shape.dim[0].dim_param == first.dim_param


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_is_a_sentence(packages, tmp_path):
    class Branching(nn.Module):
        def forward(self, x):
            return x.flatten(1) if float(x.sum()) > 0 else x.flatten(1) + 1

    with pytest.raises(core.Unsupported, match="Branching") as caught:
        core.to_onnx(Branching(), tmp_path / "a.onnx", (3, 4, 4))
    assert "\n" not in str(caught.value) and not any(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_package_is_a_sentence(missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(core.PackageMissing, match=r"requirements-onnx\.txt"):
        core.to_onnx(nn.Flatten(), tmp_path / "a.onnx", (3, 4, 4))


def test_a_missing_runtime_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(core.PackageMissing, match="onnxruntime"):
        largest_difference(nn.Flatten(), tmp_path / "a.onnx", (3, 4, 4))


def test_a_place_that_is_not_there_is_named_before_the_work(packages, tmp_path):
    for path in (tmp_path / "nowhere" / "a.onnx", tmp_path):
        with pytest.raises(core.WeightsError, match="can't be written"):
            core.to_onnx(nn.Flatten(), path, (3, 4, 4))
