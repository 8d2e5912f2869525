"""What the README promises: its commands, its rooms, its example and its table of networks."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import core
from core import cli, zoo

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ci_calls_the_test_command():
    command = next(line for line in README.splitlines() if line.endswith("-m pytest"))
    said = (ROOT / ".ci" / "run").read_text().replace("install -q", "install")
    assert command in said


def test_every_module_is_in_the_table_of_rooms():
    rooms = set(re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE))
    there = {f"core/{f.name}" for f in (ROOT / "core").glob("*.py")} | {
        f"app/{f.name}" for f in (ROOT / "app").glob("*.py")
    }
    there -= {"core/__init__.py", "app/__init__.py"}
    assert there <= rooms, f"not in the README: {sorted(there - rooms)}"
    for room in rooms:
        if "/" in room:
            assert (ROOT / room).exists(), f"the README names {room}, which does not exist"


def test_the_example_runs_as_printed():
    example = README.split("```python\n")[1].split("```")[0]
    held: dict = {}
    exec(example, held)
    out = held["out"]
    assert out.module is not held["net"]
    assert out.plans[6].mass.shape == (32, 16) and len(out.kept[6]) == 16


def test_a_result_is_kept_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [part.split("```")[0] for part in README.split("```python\n")[1:]]
    example, keeping = blocks[0], next(block for block in blocks if "out.save(" in block)
    held: dict = {}
    exec(example + keeping, held)
    for key, tensor in held["out"].module.state_dict().items():
        assert torch.equal(tensor, held["again"].module.state_dict()[key])
    assert torch.equal(held["again"].kept[6], held["out"].kept[6])


def test_networks_are_fused_as_printed(monkeypatch):
    """With the network that ships in place of two that take a minute each to train."""
    monkeypatch.setattr("core.siblings.sibling", lambda name, images, seed: core.load(name))
    held: dict = {"core": core}
    exec(
        next(part.split("```")[0] for part in README.split("```python\n") if "core.fuse(" in part),
        held,
    )
    plan = held["fused"].plans[6][1].mass
    assert torch.equal(plan, torch.eye(32, dtype=plan.dtype) / 32)


@pytest.mark.slow
def test_the_commands_run_as_printed(tmp_path, monkeypatch, capsys):
    """In this process: starting Python and PyTorch six times takes longer than the commands."""
    monkeypatch.chdir(tmp_path)
    section = README.split("## From the command line")[1].split("\n## ")[0]
    start = ".venv/bin/python -m core "
    commands = [line for line in section.splitlines() if line.startswith(start)]
    assert {line.split()[3] for line in commands} == set(cli.COMMANDS)
    for line in commands:
        if "--onnx" in line:
            for name in ("onnx", "onnxscript", "onnxruntime"):
                pytest.importorskip(name, reason=f"needs {name}: requirements-onnx.txt")
        assert cli.main(shlex.split(line.removeprefix(start))) == 0, line
        assert capsys.readouterr().out


def test_the_table_of_networks_is_what_their_cards_say():
    for name in zoo.shipped():
        card = zoo.card(name)
        row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
        assert f"{100 * card.accuracy:.2f} %" in row and f"{card.tested:,}" in row
        assert f"{card.parameters:,}" in row and f"{card.epochs} epochs" in row


def test_every_choice_is_explained():
    from core.recipe import CHOICES

    for table in CHOICES.values():
        for key, about in table.items():
            assert len(about) > 10 and about != key


def test_public_names_exist():
    assert all(hasattr(core, name) for name in core.__all__)
