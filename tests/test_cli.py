"""The command line does what the library does, explains every choice, and fails in sentences."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import core
from core import cli, options, output, shape, zoo
from core.options import value_of
from core.recipe import CHOICES, Recipe

REPOSITORY = Path(__file__).parents[1]
NET = "vgg11_bn-digits"


def own() -> nn.Module:
    """A network of the user's, for the command line to find by name."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )


def failing() -> nn.Module:
    raise RuntimeError("no such luck\nin two lines")


def needing(width: int) -> nn.Module:
    return nn.Linear(3, width)


def number() -> int:
    return 3


OWN = f"{__name__}:own"


@pytest.fixture
def run(capsys):
    """Runs a command: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err + out
        return code, out, err

    return run


@pytest.fixture
def told(run):
    """Runs a command that works, with --json: what it says."""

    def told(*arguments: object):
        code, out, err = run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return told


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A saved result."""
    folder = tmp_path_factory.mktemp("cli") / "small"
    assert cli.main(["compress", NET, "--groups", "3,6", "--save", str(folder)]) == 0
    return folder


# Help


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0 and "--json" in out and out.startswith(f"usage: python -m core {command}")
    assert command in run("--help")[1]


def test_help_explains_every_field_and_every_choice(run):
    _, out, _ = run("compress", "--help")
    words = " ".join(out.split())
    for field in dataclasses.fields(Recipe):
        assert f"--{field.name.replace('_', '-')} " in out
        assert options.field_help()[field.name] in words, field.name
        for name, about in CHOICES.get(field.name, {}).items():
            assert f"{name} {about}" in words


def test_every_field_of_the_recipe_is_documented():
    about = options.field_help()
    for field in dataclasses.fields(Recipe):
        assert len(about[field.name]) > 15, field.name


def test_a_new_choice_is_an_option_by_itself(run, monkeypatch):
    monkeypatch.setitem(CHOICES["rule"], "magic", "turns lead into gold, 100 % of it")
    code, out, _ = run("compress", "--help")
    assert code == 0 and "turns lead into gold, 100 % of it" in out


def test_the_examples_of_the_help_are_commands(run):
    lines = [line.strip() for line in cli.EXAMPLES.splitlines() if line.startswith("  python")]
    assert {line.split()[3] for line in lines} == set(cli.COMMANDS)
    for line in lines:
        cli.parser().parse_args(line.split()[3:])


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("shrink",), ("groups",), ("compress", NET, "--rule", "magic"), ("export", NET),
        ("groups", NET, "--input-shape", "3,x"), ("groups", NET, "--input-shape", "3,0,4"),
        ("compress", NET, "--groups", "first"), ("accuracy", NET, "--limit", "many"),
        ("networks", "--mood"),
    ],
)  # fmt: skip
def test_what_is_not_understood_ends_with_2_and_usage(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and err.startswith("usage: python -m core")


# What the commands say


def test_networks_are_those_of_the_zoo(run, told):
    found = told("networks")
    assert [one["name"] for one in found] == list(zoo.NETWORKS)
    for one in found:
        assert one["ships"] == (one["name"] in zoo.shipped())
        if one["ships"]:
            assert one["accuracy"] == zoo.card(one["name"]).accuracy
    out = run("networks")[1]
    assert all(name in out for name in zoo.NETWORKS)


def test_groups_are_those_of_the_graph(run, told):
    graph = core.trace(core.load(NET))
    found = told("groups", NET)
    assert [(g["index"], g["width"]) for g in found] == [(g.index, g.width) for g in graph.groups]
    assert found[6]["producers"] == list(graph.groups[6].producers)
    out = run("groups", NET)[1].splitlines()
    assert len(out) == 1 + len(graph.groups) and out[7].split()[:3] == ["6", "32", "features.4"]


def test_compress_does_what_the_library_does(told, tmp_path):
    place = tmp_path / "small"
    found = told(
        "compress", NET, "--groups", "6,0", "--sparsity", "0.7", "--rule", "repaired",
        "--importance", "l2", "--seed", 3, "--save", place, "--store-plans",
    )  # fmt: skip
    recipe = Recipe(groups=(6, 0), sparsity=0.7, rule="repaired", importance="l2", seed=3)
    assert Recipe.from_dict(found["recipe"]) == recipe
    net = core.load(NET)
    out = core.compress(net, core.trace(net), recipe)
    again = core.open(found["folder"])
    assert shape.state_hash(out.module) == shape.state_hash(again.module)
    assert again.recipe == recipe and set(again.plans) == {0, 6}
    assert found["size"]["after"] == dataclasses.asdict(core.size(out.module))
    by_index = {group["index"]: group for group in found["groups"]}
    assert by_index[6]["kept"] == len(out.kept[6]) and by_index[6]["cost"] == out.plans[6].cost


@pytest.mark.parametrize(("count", "key"), [("weights", "parameters"), ("operations", "macs")])
def test_a_budget_is_kept_and_stands_in_the_recipe(told, count, key):
    said = told("compress", NET, "--groups", "all", "--budget", 0.4, "--count", count,
                "--spread", "uniform", "--rule", "select")  # fmt: skip
    left = said["size"]["after"][key] / said["size"]["before"][key]
    assert 0.37 < left <= 0.4
    shares = said["recipe"]["sparsity"]
    assert len(shares) == len(said["groups"]) == 8
    for share, group in zip(shares, said["groups"], strict=True):
        assert group["kept"] == round((1 - share) * group["width"])


def test_a_budget_nobody_can_keep_is_a_sentence(run):
    code, _, err = run("compress", NET, "--groups", 0, "--budget", 0.1, "--rule", "select")
    assert code == 1 and "Even one channel a group leaves more than 10 %" in err


def test_compress_alone_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("compress", NET, "--groups", "all", "--rule", "select")
    assert code == 0 and "145,898" in out and not any(tmp_path.iterdir())


def test_a_recipe_from_a_file_is_overridden_by_options(told, tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text('{"groups": [7], "rule": "select", "sparsity": 0.25}')
    found = told("compress", NET, "--recipe", file)["recipe"]
    assert found == Recipe(groups=(7,), rule="select", sparsity=0.25).as_dict()
    found = told("compress", NET, "--recipe", file, "--sparsity", "0.5")["recipe"]
    assert found == Recipe(groups=(7,), rule="select", sparsity=0.5).as_dict()


def test_a_saved_results_file_is_a_recipe(told, small):
    found = told("compress", NET, "--recipe", small / "result.json", "--rule", "select")
    assert found["recipe"] == Recipe(groups=(3, 6), rule="select").as_dict()


def test_a_result_is_replaced_on_demand_alone(run, told, small, tmp_path):
    place = Path(shutil.copytree(small, tmp_path / "small"))
    code, _, err = run("compress", NET, "--groups", "7", "--save", place)
    assert code == 1 and "--replace" in err
    told("compress", NET, "--groups", "7", "--save", place, "--replace")
    assert set(core.open(place).kept) == {7}


@pytest.mark.parametrize("which", ["network", "folder"])
def test_accuracy_is_the_librarys(which, run, told, small):
    name, module = (NET, core.load(NET)) if which == "network" else (small, core.open(small).module)
    expected = core.accuracy(module, core.images("digits"), limit=100)
    found = told("accuracy", name, "--limit", 100)
    assert (found["correct"], found["total"]) == (expected.correct, 100)
    assert (found["low"], found["high"]) == (expected.low, expected.high)
    assert str(expected) in run("accuracy", name, "--limit", 100)[1]


def test_accuracy_reads_the_data_folder(run, tmp_path):
    code, _, err = run("accuracy", "vgg11_bn-cifar10", "--data-dir", tmp_path / "nowhere")
    assert code == 1 and str(tmp_path / "nowhere") in err


def test_size_tells_both_networks_of_a_result(run, told, small):
    found = told("size", small, "--latency", "--runs", 3, "--batch", 2)
    opened = core.open(small)
    assert found["size"]["before"] == dataclasses.asdict(core.size(core.load(NET)))
    assert found["size"]["after"] == dataclasses.asdict(core.size(opened.module))
    assert found["stored_bytes"] == (small / "weights.safetensors").stat().st_size
    for word in ("before", "after"):
        assert found["latency"][word]["runs"] == 3 and found["latency"][word]["batch"] == 2
        assert found["latency"][word]["median"] > 0
    out = run("size", small, "--latency", "--runs", 2)[1]
    assert "bytes as float32" in out and "2 runs, batch of 1, 1 thread)" in out


def test_size_of_a_network_tells_its_file(told):
    found = told("size", NET)
    assert found["size"]["before"] is None
    assert found["size"]["after"]["bytes"] == core.size(core.load(NET)).bytes
    assert found["stored_bytes"] == (zoo.WEIGHTS / f"{NET}.safetensors").stat().st_size
    assert found["stored_bytes"] < 0.6 * found["size"]["after"]["bytes"]  # stored as float16


@pytest.mark.slow
def test_export_writes_a_file_that_agrees(told, small, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"needs {name}: pip install -r requirements-onnx.txt")
    found = told("export", small, "--onnx", tmp_path / "small.onnx")
    assert found["largest_difference"] < 1e-4
    assert found["bytes"] == (tmp_path / "small.onnx").stat().st_size


# Other networks


def test_a_network_of_ones_own_with_its_weights(run, told, tmp_path):
    net = own()
    safetensors.torch.save_file(net.state_dict(), tmp_path / "own.safetensors")
    place = tmp_path / "small"
    told(
        "compress", OWN, "--weights", tmp_path / "own.safetensors", "--input-shape", "3,16,16",
        "--rule", "select", "--save", place,
    )  # fmt: skip
    out = core.compress(net, core.trace(net, (3, 16, 16)), Recipe(rule="select"))
    again = core.open(place, own())
    assert shape.state_hash(out.module) == shape.state_hash(again.module)
    assert again.input_shape == (3, 16, 16)
    code, _, err = run("size", place)
    assert code == 1 and "--architecture" in err and OWN in err
    found = told("size", place, "--architecture", OWN, "--latency", "--runs", 2)
    assert found["size"]["after"]["parameters"] == core.size(out.module).parameters
    images = ("--images", "digits", "--limit", 20)
    assert told("accuracy", place, "--architecture", OWN, *images)["total"] == 20


def test_weights_nobody_trained_are_mentioned_and_the_same_every_time(run):
    first, again = (run("compress", OWN, "--json") for _ in range(2))
    assert "weights it is made with" in first[2]
    cost = [json.loads(out)["groups"][0]["cost"] for _, out, _ in (first, again)]
    assert cost[0] == cost[1] > 0


@pytest.mark.slow
def test_a_network_of_torchvisions(told):
    found = told("groups", "torchvision:resnet18")
    assert len(found) == 12 and found[0]["width"] == 512
    found = told("size", "torchvision:resnet18", "--input-shape", "3,64,64")
    assert found["size"]["after"]["parameters"] == 11_689_512


# Bad input


@pytest.fixture
def broken(tmp_path, small) -> Path:
    """A folder with all sorts of files that are not what they should be."""
    net = own()
    with torch.no_grad():
        safetensors.torch.save_file(net.state_dict(), tmp_path / "own.safetensors")
        safetensors.torch.save_file({"0.weight": net[0].weight}, tmp_path / "part.safetensors")
    (tmp_path / "text").write_text("nothing of use")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "mood.json").write_text('{"mood": "good"}')
    (tmp_path / "steep.json").write_text('{"sparsity": 1.5}')
    shutil.copytree(small, tmp_path / "cut")
    file = tmp_path / "cut" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    return tmp_path


BAD = {
    "groups vgg11_bn-digit": "Did you mean vgg11_bn-digits?",
    "groups nowhere/at/all": "no network and no folder",
    "groups " + 300 * "x": "no network and no folder",
    "groups text": "no network and no folder",
    "groups empty": "result.json is missing",
    "accuracy cut": "weights.safetensors",
    "groups torchvision:resnet19": "'resnet19'",
    "groups torchvision:": "torchvision has no network",
    "groups nowhere.at:all": "nowhere",
    f"groups {__name__}:nothing": "nothing",
    f"groups {__name__}:": "does not make a network",
    f"groups {__name__}:failing": "no such luck",
    f"groups {__name__}:needing": "width",
    f"groups {__name__}:number": "not a torch.nn.Module",
    f"groups {OWN} --input-shape 1,8,8": "(1, 8, 8)",
    f"groups {OWN} --input-shape 3,1,1": "(3, 1, 1)",
    f"size {OWN} --input-shape 3,9999999,9999999": "can't take an image",
    f"groups {OWN} --weights nowhere": "nowhere",
    f"groups {OWN} --weights text": "damaged",
    f"groups {OWN} --weights empty": "empty",
    f"groups {OWN} --weights part.safetensors": "3 tensors are missing (0.bias, …)",
    f"groups {NET} --weights own.safetensors": "do not fit",
    f"groups {NET} --architecture {OWN}": "--architecture",
    f"groups SMALL --architecture {OWN}": "not the architecture",
    "groups SMALL --weights own.safetensors": "--weights",
    "compress SMALL": "small already",
    f"compress {NET} --groups 99": "no group 99",
    f"compress {NET} --groups -1": "no group -1",
    f"compress {NET} --groups 0,0": "twice",
    f"compress {NET} --sparsity 1.4": "sparsity",
    f"compress {NET} --sparsity nan": "sparsity",
    f"compress {NET} --sparsity half": "sparsity",
    f"compress {NET} --epsilon 0": "epsilon",
    f"compress {NET} --seed 1.5": "seed",
    f"compress {NET} --recipe nowhere.json": "nowhere.json",
    f"compress {NET} --recipe empty": "empty",
    f"compress {NET} --recipe text": "text",
    f"compress {NET} --recipe list.json": "list.json",
    f"compress {NET} --recipe mood.json": "mood",
    f"compress {NET} --recipe steep.json": "sparsity",
    f"compress {NET} --save text": "text",
    f"compress {NET} --save text/below": "text/below",
    f"compress {NET} --save cut": "--replace",
    f"accuracy {NET} --limit 0": "limit is 0",
    f"accuracy {NET} --limit -3": "limit is -3",
    f"accuracy {NET} --images nothing --data-dir empty": "nothing",
    f"accuracy {OWN}": "--images",
    f"size {NET} --latency --runs 0": "runs",
    f"size {NET} --latency --batch 99999999999": "batch",
    f"size {NET} --latency --threads 99999": "threads",
    f"export {NET} --onnx nowhere/a.onnx": "nowhere",
}


@pytest.mark.parametrize("command", BAD, ids=lambda command: command[:60])
def test_bad_input_ends_with_1_and_one_sentence(command, run, broken, small, monkeypatch):
    monkeypatch.chdir(broken)
    before = sorted(broken.rglob("*"))
    code, out, err = run(*command.replace("SMALL", str(small)).split())
    assert code == 1 and out == ""
    sentence = err.splitlines()[-1]
    assert BAD[command] in sentence and sentence.endswith(".")
    assert sorted(broken.rglob("*")) == before, "it left something behind"


def test_a_network_of_other_images_is_refused(run):
    code, _, err = run("accuracy", "torchvision:resnet18", "--images", "digits", "--limit", 5)
    assert code == 1 and "1000 classes" in err


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_package_is_a_sentence(run, monkeypatch, missing, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    code, _, err = run("export", NET, "--onnx", tmp_path / "a.onnx")
    assert code == 1 and "requirements-onnx.txt" in err


# Progress and interruption


def test_an_interruption_ends_with_130_and_leaves_nothing(run, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(core, "compress", interrupted)
    code, out, err = run("compress", NET, "--save", tmp_path / "small")
    assert code == 130 and out == "" and err.endswith("Stopped.\n")
    assert not any(tmp_path.iterdir())


def test_progress_is_lines_off_a_terminal(run):
    _, out, err = run("compress", NET, "--rule", "select")
    assert err.splitlines()[0] == f"Loading {NET}" and "\r" not in err and "\x1b" not in err
    assert "Loading" not in out


def test_progress_is_one_line_on_a_terminal(run, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    _, _, err = run("accuracy", NET, "--limit", 600)
    assert "\n" not in err and err.endswith("\r\x1b[K")  # a clean line for the result
    shown = err.split("\r\x1b[K")[1:]
    assert shown[0] == f"Loading {NET}" and "250 of 597" in " ".join(shown)
    assert max(map(len, shown)) < 30


def test_a_line_that_passes_is_not_repeated_off_a_terminal(capsys):
    progress = output.Progress()
    for index in range(100):
        progress.share(index / 100, "reading")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5), ("3", 3), ("true", True), ("null", None), ("exact", "exact"),
        ("0.3,0.5", [0.3, 0.5]), ("[1, 2]", [1, 2]), ("a,b", ["a", "b"]), ("3,", [3]),
    ],
)  # fmt: skip
def test_values_of_options(text, value):
    found = value_of(text)
    assert found == value and type(found) is type(value)


# As a process


def process(*arguments: str, **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii"}
    return subprocess.Popen(
        [sys.executable, "-m", "core", *arguments], env=environment | options.pop("env", {}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_as_a_process(tmp_path):
    """From another folder, on a terminal that knows no arrow."""
    out, err = (done := process("compress", NET, "--rule", "select", cwd=tmp_path)).communicate()
    assert done.returncode == 0, err
    assert "128 ? 64" in out and "Traceback" not in err
    _, err = (done := process("groups", "nothing", cwd=tmp_path)).communicate()
    assert done.returncode == 1 and "Traceback" not in err


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_fault(tmp_path):
    done = process("networks", cwd=tmp_path)
    done.stdout.close()
    assert "Traceback" not in (err := done.stderr.read()) and "BrokenPipe" not in err
    assert done.wait() in (0, 1)
    done.stderr.close()


def test_latency_tells_dense_and_smaller_networks_in_turns(told, run, tmp_path):
    place = tmp_path / "times.json"
    found = told("latency", NET, "--sparsities", "0.5,0.8", "--runs", 2, "--batch", 4)
    dense, half, least = found["networks"]
    assert [one["sparsity"] for one in found["networks"]] == [0.0, 0.5, 0.8]
    assert dense["parameters"] > half["parameters"] > least["parameters"]
    assert dense["ratio"]["median"] == 1 and 0 < least["ratio"]["median"]
    assert half["latency"]["runs"] == 2 and half["latency"]["batch"] == 4
    out = run("latency", NET, "--sparsities", "0.5", "--runs", 1, "--out", place)[1]
    assert "time against dense" in out and "50 %" in out
    kept = json.loads(place.read_text())
    assert "latency" in kept["runs"][0]["command"] and len(kept["networks"]) == 2
    code, _, trouble = run("latency", NET, "--sparsities", "1.5")
    assert code == 1 and "parsity" in trouble
