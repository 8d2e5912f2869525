"""A saved result gives the same network again, bit for bit, or says in a sentence why it can't."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import core
from core import portable, shape, zoo
from core.compress import Compressed


class Own(nn.Module):
    """A network of the user's, with a buffer that its state leaves out."""

    def __init__(self, width: int = 12, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, stride)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 8, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)
        self.fc.register_buffer("apart", torch.rand(3), persistent=False)

    def forward(self, x):
        x = self.pool(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))
        return self.fc(torch.flatten(x, 1))


def compressed(net: nn.Module, input_shape=(3, 32, 32), **recipe) -> Compressed:
    recipe = core.Recipe(**{"groups": "all", "rule": "repaired"} | recipe)
    return core.compress(net, core.trace(net, input_shape), recipe)


def same(one: nn.Module, other: nn.Module, input_shape=(3, 32, 32)) -> bool:
    """Whether two networks hold the same tensors and give the same outputs, bit for bit."""
    left, right = shape.tensors_of(one), shape.tensors_of(other)
    x = torch.randn(4, *input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (
            left.keys() == right.keys()
            and all(
                torch.equal(left[k], right[k]) and left[k].dtype == right[k].dtype for k in left
            )
            and torch.equal(one(x), other(x))
            and not any(part.training for part in other.modules())
        )


@pytest.fixture(scope="module")
def made() -> Compressed:
    return compressed(core.load("vgg11_bn-digits"), groups=(3, 6))


@pytest.fixture
def result(made) -> Compressed:
    """A result whose networks a test may change."""
    return dataclasses.replace(
        made, module=copy.deepcopy(made.module), original=copy.deepcopy(made.original)
    )


@pytest.fixture(scope="module")
def saved(made, tmp_path_factory) -> Path:
    return made.save(tmp_path_factory.mktemp("saved") / "small", plans=True)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A saved result that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "small"))


# The same network again


@pytest.mark.parametrize("name", ["vgg11_bn-digits", "resnet18-digits"])
@pytest.mark.parametrize("rule", ["select", "repaired"])
def test_a_network_of_the_zoo_comes_back_from_the_folder_alone(name, rule, tmp_path, monkeypatch):
    out = compressed(core.load(name), rule=rule, sparsity=0.7)
    place = out.save(tmp_path / "a" / "small")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "nowhere")
    monkeypatch.setattr(zoo, "load", None)  # the original weights are not asked for
    again = core.open(place)
    assert same(out.module, again.module) and again.network == name and again.recipe == out.recipe
    assert again.input_shape == (3, 32, 32)


def test_a_result_that_was_trained_further_is_saved_as_it_is(result, tmp_path):
    with torch.no_grad():
        for tensor in result.module.parameters():
            tensor.add_(torch.randn_like(tensor), alpha=0.01)
    result.module.train()(torch.randn(8, 3, 32, 32))  # moves batch norm's statistics
    again = core.open(result.save(tmp_path / "small")).module
    assert same(result.module.eval(), again)


def test_what_was_kept_and_moved_is_told(result, folder):
    again = core.open(folder)
    assert set(again.kept) == {3, 6} == set(again.plans)
    for index, step in result.steps.items():
        assert torch.equal(again.kept[index], step.measures.kept)
        assert torch.equal(again.source[index], step.measures.source)  # to the last bit
        assert torch.equal(again.target[index], step.measures.target)
        assert torch.equal(again.plans[index], step.plan.mass)
        told = again.about["groups"][str(index)]
        assert told["width"] == len(step.scores) and told["plan"]["cost"] == step.plan.cost
        assert told["plan"]["converged"] is True
    assert again.before == core.size(result.original) and again.after == core.size(result.module)
    assert again.about["versions"]["torch"] == torch.__version__
    assert again.about["sha256"]["original"] == shape.state_hash(core.load("vgg11_bn-digits"))
    assert again.about["sha256"]["smaller"] == shape.state_hash(again.module)


def test_plans_are_stored_on_demand_alone(result, tmp_path):
    place = result.save(tmp_path / "small")
    assert sorted(f.name for f in place.iterdir()) == ["result.json", "weights.safetensors"]
    assert core.open(place).plans == {}


def test_every_file_is_safetensors_or_json(folder):
    names = {file.name for file in folder.iterdir()}
    assert names == {"weights.safetensors", "plans.safetensors", "result.json"}
    for file in folder.glob("*.safetensors"):
        assert safetensors.torch.load_file(file)
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["version"] == 1


def test_the_folder_may_move(folder, result, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    assert same(result.module, core.open(str(moved)).module)


def test_a_layer_that_got_a_bias_comes_back_with_it(tmp_path):
    out = compressed(core.load("resnet18-digits"), groups=(1,))
    conv = out.module.layer1[0].conv1
    assert conv.bias is None
    conv.bias = nn.Parameter(torch.randn(conv.out_channels))
    assert same(out.module, core.open(out.save(tmp_path / "small")).module)


def test_random_numbers_are_left_alone(result, tmp_path):
    before = torch.get_rng_state()
    core.open(result.save(tmp_path / "small"))
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_changes_neither_network(result, tmp_path):
    networks = (result.original, result.module)
    before = [shape.state_hash(net) for net in networks]
    result.module.train()
    result.save(tmp_path / "small")
    assert before == [shape.state_hash(net) for net in networks] and result.module.training


# Networks the zoo does not know


def test_a_network_of_ones_own_comes_back_with_its_architecture(tmp_path):
    out = compressed(Own(), (3, 20, 20))
    place = out.save(tmp_path / "small", network="a note to the reader")
    fresh = Own()
    before = shape.state_hash(fresh)
    again = core.open(place, module=fresh)
    assert same(out.module, again.module, (3, 20, 20)) and again.network == "a note to the reader"
    assert again.input_shape == (3, 20, 20) and shape.state_hash(fresh) == before


def test_a_network_of_ones_own_is_asked_for(tmp_path):
    place = compressed(Own()).save(tmp_path / "small")
    with pytest.raises(core.RecipeError) as caught:
        core.open(place)
    assert "test_portable.Own" in str(caught.value) and "module=" in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [Own(width=14), Own(stride=2), zoo.network("resnet18-digits").build(), nn.Linear(3, 5)],
    ids=["other width", "other stride", "other layers", "one layer"],
)
def test_another_architecture_is_refused(other, tmp_path):
    place = compressed(Own()).save(tmp_path / "small")
    with pytest.raises(core.WeightsError, match="not the architecture"):
        core.open(place, module=other)


@pytest.mark.slow
def test_a_network_of_torchvisions_comes_back_by_its_name(tmp_path):
    net = shape.architecture("torchvision:resnet18").eval()
    out = compressed(net, (3, 64, 64), rule="select")
    place = out.save(tmp_path / "small", network="torchvision:resnet18")
    assert same(out.module, core.open(place).module, (3, 64, 64))


@pytest.mark.parametrize("name", ["resnet18-digits", "vgg11_bn-cifar10"])
def test_a_wrong_name_is_refused_when_saving(result, name, tmp_path):
    with pytest.raises(core.RecipeError, match=name):
        result.save(tmp_path / "small", network=name)
    assert not any(tmp_path.iterdir())


def test_torchvision_without_such_a_network_says_so(result, tmp_path):
    with pytest.raises(core.RecipeError, match="'resnet19'"):
        result.save(tmp_path / "small", network="torchvision:resnet19")


def test_a_result_without_its_network_is_refused(result, tmp_path):
    with pytest.raises(core.RecipeError, match="came from"):
        dataclasses.replace(result, original=None).save(tmp_path / "small")


def test_a_network_with_other_layers_is_refused(result, tmp_path):
    result.module.classifier = nn.Sequential(result.module.classifier, nn.ReLU())
    with pytest.raises(core.WeightsError, match="other layers"):
        result.save(tmp_path / "small")


def test_what_tensors_do_not_show_is_found_when_it_is_read_back(result, tmp_path):
    """A hook is neither a tensor nor a size: the network that comes back gives other outputs."""
    result.module.classifier.forward = lambda x: 2 * nn.Linear.forward(result.module.classifier, x)
    with pytest.raises(core.WeightsError, match="other outputs"):
        result.save(tmp_path / "small")
    assert not any(tmp_path.iterdir())


# Whole or not at all


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["_write", "_to_disk", "_install"])
def test_a_save_that_breaks_off_leaves_nothing(result, tmp_path, monkeypatch, fault, where):
    def broken(*_):
        raise fault

    monkeypatch.setattr(portable, where, broken)
    with pytest.raises((core.WeightsError, KeyboardInterrupt)) as caught:
        result.save(tmp_path / "small")
    assert not any(tmp_path.iterdir())
    if isinstance(fault, OSError):
        assert "No space left" in str(caught.value) and str(tmp_path / "small") in str(caught.value)


def test_a_result_is_replaced_on_demand_alone(folder, tmp_path):
    other = compressed(core.load("resnet18-digits"), groups=(1,))
    with pytest.raises(core.RecipeError, match="already"):
        other.save(folder)
    assert core.open(folder).network == "vgg11_bn-digits"
    other.save(folder, replace=True)
    assert same(other.module, core.open(folder).module)
    assert [file.name for file in tmp_path.iterdir()] == ["small"]
    assert not (folder / "plans.safetensors").exists()


def test_a_replacement_that_fails_leaves_the_former(folder, result, monkeypatch, tmp_path):
    rename = Path.rename

    def failing(self, target):
        if (
            Path(target) == folder
            and self.parent.name.startswith(".small")
            and "former" not in str(self)
        ):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(core.WeightsError, match="Permission denied"):
        result.save(folder, replace=True)
    assert core.open(folder).plans and [file.name for file in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_result_is_never_replaced(result, tmp_path, replace):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "result.json").write_text("{}")
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    (tmp_path / "file").write_text("x")
    for name in ("letters", "file"):
        with pytest.raises(core.RecipeError, match=name):
            result.save(tmp_path / name, replace=replace)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear"


def test_an_empty_folder_may_be_filled(result, tmp_path):
    (tmp_path / "small").mkdir()
    assert same(result.module, core.open(result.save(tmp_path / "small")).module)


def test_a_folder_below_a_file_is_refused(result, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(core.WeightsError, match="can't be stored"):
        result.save(tmp_path / "file" / "small")


# Damage


def refusal(folder: Path, error: type = core.WeightsError, **options) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(error) as caught:
        core.open(folder, **options)
    text = str(caught.value)
    assert len(text) < 800 and "\n" not in text and text.endswith(".")
    return text


@pytest.mark.parametrize("name", ["weights.safetensors", "plans.safetensors", "result.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "deleted", "a folder", "longer"])
def test_damage_to_any_file_is_named(folder, name, damage):
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if damage == "flipped":
        middle = content.rindex(b"0.0" if name.endswith("json") else content[-9:]) + 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "a folder":
        file.mkdir()
    elif damage == "longer":
        file.write_bytes(content + b"x")
    assert name in refusal(folder)


def test_no_folder_and_a_folder_of_something_else_are_named(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("nowhere", "", "file"):
        assert str(tmp_path / name) in refusal(tmp_path / name)


def test_files_of_two_results_do_not_mix(folder, result, tmp_path):
    with torch.no_grad():
        result.module.classifier.bias.add_(1)
    other = result.save(tmp_path / "other", plans=True)
    shutil.copy(other / "weights.safetensors", folder)
    assert "weights.safetensors" in refusal(folder)


def rewritten(folder: Path, change) -> None:
    """Change what a folder tells and make its own hash fit, as only a program would."""
    file = folder / "result.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    change(told)
    if isinstance(told.get("sha256"), dict):
        told["sha256"]["result"] = portable._text_hash(told)
    file.write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused_by_number(folder, version):
    rewritten(folder, lambda told: told.update(version=version))
    text = refusal(folder)
    assert repr(version) in text and "reads format 1" in text


def test_a_file_of_another_project_is_refused(folder):
    (folder / "result.json").write_text('{"format": "letters", "version": 1}')
    assert "not a result" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "null", "3", "[" * 100_000, "\ufeff{}"])
def test_json_of_another_kind_is_refused(folder, content):
    (folder / "result.json").write_text(content, encoding="utf-8")
    assert "result.json" in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("layers"),
        lambda told: told.pop("recipe"),
        lambda told: told.update(layers={"features.0": {"forward": 3}}),
        lambda told: told.update(layers={"features.0": {"_parameters": {}}}),
        lambda told: told.update(layers={"nowhere": {"in_channels": 3}}),
        lambda told: told.update(groups={"six": {}}),
        lambda told: told.update(groups=[1]),
        lambda told: told["groups"]["6"].update(kept=[10**30]),
        lambda told: told.update(size={"before": {}, "after": {}}),
        lambda told: told.update(sha256=[]),
        lambda told: told["sha256"].update(smaller="0" * 64),
        lambda told: told.update(network=["vgg11_bn-digits"]),
    ],
)
def test_contents_that_make_no_sense_are_a_sentence(folder, change):
    rewritten(folder, change)
    refusal(folder)


@pytest.mark.parametrize("recipe", [{"rule": "magic"}, {"mood": "good"}, {"sparsity": 2}])
def test_a_recipe_this_version_does_not_know_is_refused(folder, recipe):
    rewritten(folder, lambda told: told["recipe"].update(recipe))
    refusal(folder, core.RecipeError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(folder):
    (folder / "weights.safetensors").chmod(0)
    assert "weights.safetensors" in refusal(folder)


def test_the_hash_of_a_network_changes_with_everything():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    told = {shape.state_hash(net)}
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] += 1e-6
        told.add(shape.state_hash(net))
        net[1].running_mean[0] = 1
        told.add(shape.state_hash(net))
        told.add(shape.state_hash(net.double()))
        told.add(shape.state_hash(nn.Sequential(net)))
    assert len(told) == 5
