"""What is downloaded is what the page shows, and opens again."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest
from test_app import fine, finish, link, opened, said  # noqa: F401

import core
from app import cache, take
from app import link as links
from app.language import texts
from core import embedding, zoo

ROOT = Path(__file__).resolve().parent.parent
SAY = texts("en")


@pytest.fixture(scope="module")
def loaded():
    return cache.network("vgg11_bn-digits")


def step_of(loaded, **changes):
    recipe = core.Recipe(groups=(6,), **({"sparsity": 0.5} | changes))
    return cache.step(loaded, 6, recipe)


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.mark.parametrize("solver", ["exact", "partial"])
def test_the_plan_is_all_of_its_mass(loaded, solver):
    step = step_of(loaded, rule="preserving", solver=solver)
    rows = table(take.plan(step))
    mass = torch.zeros_like(step.plan.mass)
    places = {channel: j for j, channel in enumerate(step.measures.kept.tolist())}
    for row in rows:
        if row["target"]:
            mass[int(row["source"]), places[int(row["target"])]] = float(row["mass"])
            cost = step.plan.costs[int(row["source"]), places[int(row["target"])]]
            assert float(row["cost"]) == float(cost)
        else:
            assert bool(step.plan.dropped[int(row["source"])])
    assert torch.equal(mass, step.plan.mass), "all digits, and no pair is left out"
    assert {int(row["source"]) for row in rows} == set(range(32)), "no channel is left out"
    for source in range(32):
        shares = [float(row["share"]) for row in rows if int(row["source"]) == source]
        assert sum(shares) == pytest.approx(0.0 if step.plan.dropped[source] else 1.0)
    assert solver == "exact" or any(not row["target"] for row in rows)


def test_guesses_are_told_as_shares_without_mass(loaded):
    recipe = core.Recipe(groups=(6,), sparsity=0.5, rule="best")
    step = cache.compressed(loaded, recipe).steps[6]
    rows = table(take.plan(step))
    assert step.plan is None and all(row["mass"] == row["cost"] == "" for row in rows)
    told = {(int(row["source"]), int(row["target"])): float(row["share"]) for row in rows
            if row["target"]}  # fmt: skip
    kept = step.measures.kept.tolist()
    for (source, target), share in told.items():
        assert share == float(step.projection.unmerge[source, kept.index(target)])
    assert len(told) == int((step.projection.unmerge != 0).sum())


def test_channels_lie_where_the_picture_has_them(loaded):
    step = step_of(loaded, rule="preserving")
    picture = embedding.embed(loaded.prepared, 6, core.Recipe(groups=(6,)), "pca")
    rows = table(take.channels(picture, step))
    kept, after = step.measures.kept.tolist(), picture.after(step)
    assert [int(row["channel"]) for row in rows] == list(range(32))
    for row, before in zip(rows, picture.before, strict=True):
        assert (float(row["x_before"]), float(row["y_before"])) == tuple(before.tolist())
        assert (row["role"] == "kept") == (int(row["channel"]) in kept)
        if row["role"] == "kept":
            place = after[kept.index(int(row["channel"]))].tolist()
            assert [float(row["x_after"]), float(row["y_after"])] == place
        else:
            assert row["x_after"] == row["y_after"] == ""


def test_the_graphs_parameters_add_up_before_and_after(loaded):
    step = step_of(loaded)
    kept = ((6, tuple(step.measures.kept.tolist())),)
    rows = table(take.layers(loaded.graph, loaded.empty, cache.hollow(loaded, kept)))
    assert len(rows) == len(loaded.graph.nodes)
    before, after = cache.size("vgg11_bn-digits", ()), cache.size("vgg11_bn-digits", kept)
    assert sum(int(row["parameters"]) for row in rows) == before.parameters
    assert sum(int(row["parameters_after"]) for row in rows) == after.parameters
    sizes = {row["name"]: row for row in table(take.sizes(before, after))}
    assert int(sizes["smaller"]["macs"]) == after.macs < int(sizes["dense"]["macs"])


def test_accuracies_come_with_their_intervals():
    known = {"dense": core.Accuracy(594, 597), "fused": core.Accuracy(500, 597)}
    rows = table(take.accuracies(known))
    assert [row["name"] for row in rows] == ["dense", "fused"]
    for row, value in zip(rows, known.values(), strict=True):
        assert core.Accuracy(int(row["right"]), int(row["total"])) == value
        assert float(row["low"]) == value.low < float(row["mean"]) < float(row["high"])


@pytest.mark.slow
def test_the_smaller_network_opens_from_its_zip_bit_for_bit(loaded, tmp_path):
    recipe = core.Recipe(groups=(6,), sparsity=0.5, rule="repaired")
    job = cache.packing("vgg11_bn-digits", recipe, None)
    assert job._done.wait(60) and not job.error, job.error
    with zipfile.ZipFile(io.BytesIO(job.result)) as archive:
        archive.extractall(tmp_path)
    again = core.open(tmp_path / "vgg11_bn-digits-smaller")
    meant = core.compress(loaded.module, loaded.graph, recipe).module.state_dict()
    there = again.module.state_dict()
    assert again.recipe == recipe and there.keys() == meant.keys()
    assert all(torch.equal(there[key], meant[key]) for key in meant)


@pytest.mark.slow
def test_the_script_gives_the_pages_numbers(no_images, tmp_path):  # noqa: F811
    at = finish(opened(group="5", sparsity="0.7", rule="repaired", source="importance"))
    fine(at)
    tallies = at.session_state["run"].result
    known = {name: tally.accuracy for name, tally in tallies.items()}
    recipe = core.Recipe(groups=(5,), sparsity=0.7, rule="repaired", source="importance")
    choice = links.Choice("vgg11_bn-digits", 5, recipe)
    network = zoo.network(choice.network)
    file = tmp_path / "reproduce.py"
    content = take.script(choice, network.images, network.input_shape, None, known, file.name, SAY)
    file.write_bytes(content)
    assert b"streamlit" not in content and b"app" not in content.replace(b"apart", b"")
    done = subprocess.run(
        [sys.executable, str(file)], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, value in known.items():
        line = next(line for line in done.stdout.splitlines() if line.startswith(name))
        assert line.removeprefix(name).strip() == str(value)
        assert str(value) in content.decode(), "the script says what the page showed"


def test_a_script_holds_every_choice_that_differs():
    recipe = core.Recipe(
        groups=(3,), sparsity=0.25, importance="taylor", rule="calibrated", data="digits",
        rounds=3, temperature=0.5, keep="k-means", seed=7,
    )  # fmt: skip
    choice = links.Choice("vgg11_bn-digits", 3, recipe)
    content = take.script(choice, "digits", (3, 32, 32), "/x y", {}, "a.py", SAY).decode()
    compile(content, "a.py", "exec")
    held = {"core": core}
    start = content.index("recipes = ")
    exec(content[start : content.index("\nprint", start)], held)
    assert held["recipes"] == {"pruned": choice.pruning, "fused": recipe}
    assert "FOLDER = '/x y'" in content


# -- the state ----------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was():
    told = links.write(links.Choice("vgg11_bn-digits", 2, core.Recipe(groups=(2,), seed=4), 3))
    assert take.read_state(links.as_json(told).encode(), SAY) == told


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe\x00", "not JSON"),
        (b"", "not JSON"),
        (b"{" * 15_000, "not JSON"),
        (b"[" * 15_000, "not JSON"),
        (b"[1, 2]", "no state of this page"),
        (b'{"intra-fusion": 3}', "no state of this page"),
        (b'{"intra-fusion": {"group": [6]}}', "group is neither"),
        (b'{"intra-fusion": {"group": true}}', "neither a text nor a number"),
        (b" " * 20_001, "20,001 bytes"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(content, sentence):
    with pytest.raises(core.ExplorerError, match=sentence):
        take.read_state(content, SAY)


def opened_section(**chosen) -> AppTest:
    at = finish(opened(**chosen))
    at.session_state["take"] = True
    return at.run()


def upload(at: AppTest, content: bytes) -> AppTest:
    at.file_uploader(key="take_open").upload("state.json", content, "application/json")
    return at.run()


def test_nothing_is_built_before_the_section_is_opened(no_images):  # noqa: F811
    at = finish(opened())
    fine(at)
    assert not at.get("download_button") and not at.get("file_uploader")
    at.session_state["take"] = True
    at.run()
    fine(at)
    labels = [button.proto.label for button in at.get("download_button")]
    for key in ("plan", "channels", "accuracies", "layers", "sizes", "script_button", "save"):
        assert SAY(f"take.{key}") in labels


def test_an_uploaded_state_is_shown_on_demand_and_nonsense_changes_nothing(
    no_images,  # noqa: F811
):
    at = opened_section(group="3", sparsity="0.2", rule="preserving", seed="5")
    before = link(at)
    upload(at, b"nonsense")
    fine(at)
    assert any("not JSON" in error.value for error in at.error) and link(at) == before

    wanted = {
        "network": "resnet18-digits", "group": "2", "sparsity": "0.7", "importance": "l2",
        "rule": "repaired", "solver": "sinkhorn", "channel": "9", "epsilon": "0.2",
        "source": "importance", "text": "large", "lang": "de",
    }  # fmt: skip
    upload(at, links.as_json(wanted | {"solver": "magic", "more": "x"}).encode())
    fine(at)
    assert "magic" in said(at) and "“more”" in said(at) and link(at) == before
    upload(at, links.as_json(wanted).encode())
    assert link(at) == before, "nothing changes before the person says so"
    at.button(key="take_go").click().run()
    fine(at)
    assert link(at) == wanted
