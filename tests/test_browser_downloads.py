"""What the page gives away, in a real Chromium: each download is clicked, opened and read."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from test_browser import browser, pytestmark  # noqa: F401

import core
from app.figures import theme
from app.language import ENGLISH as SAY

LINK = "/?network=vgg11_bn-digits&group=6&sparsity=0.75&rule=repaired&picture=pca&channel=5"
RECIPE = core.Recipe(groups=(6,), sparsity=0.75, rule="repaired")
#: The page's figures that can be saved, and words that stand in them.
FIGURES = {
    "graph": ("feature", "channel 5"),
    "scatter": ("most variance", "fused (8)"),
    "plan": ("8 channels stay", "share of the row's mass"),
    "curves": ("sparsity of the group, in percent", "pruned"),
}


@pytest.fixture(scope="module")
def context(browser):  # noqa: F811
    context = browser.new_context(
        viewport={"width": 1440, "height": 1700}, color_scheme="light", reduced_motion="reduce"
    )
    yield context
    context.close()


@pytest.fixture(scope="module")
def page(context, address):
    """The page at one setting, all its images counted, the section to take things along open."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(address + LINK)
    page.get_by_text("all 597 images").wait_for()
    page.locator(".js-plotly-plot").nth(4).wait_for()
    page.locator(".st-key-take summary").click()
    page.get_by_text("reproduce.py").first.wait_for()
    return page


def fetched(page, button) -> tuple[str, bytes]:
    """The name and the content of the file that a button gives."""
    with page.expect_download() as waiting:
        button.click()
    assert waiting.value.failure() is None
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def taken(page, key: str) -> tuple[str, bytes]:
    """What a button of the section gives, by the key of its text."""
    label = SAY(f"take.{key}")
    return fetched(page, page.locator(".st-key-take").get_by_role("button", name=label))


def rows(page, key: str) -> list[dict[str, str]]:
    name, content = taken(page, key)
    assert name == f"vgg11_bn-digits-group6-0.75-{key}.csv"
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def shown(page) -> dict[str, str]:
    """The accuracies that stand in the figure, by network: `96.0 %`."""
    alt = page.locator(".st-key-accuracy .chart").get_attribute("aria-label")
    return dict(re.findall(r"(dense|pruned|fused) (\d+\.\d) ?%", alt.replace("\u00a0", " ")))


def test_tables_hold_the_rows_the_page_shows(page):
    plan = rows(page, "plan")
    cells = page.evaluate(
        """() => {
            const plan = document.querySelector('.st-key-plan .chart')
                ._fullData.find(t => t.name === 'plan');
            return plan.z.flatMap((row, y) => [...row.keys()].filter(x => row[x] > 0)
                .map(x => [...plan.customdata[y][x], row[x]]));
        }"""
    )
    told = {(int(r["source"]), int(r["target"])): float(r["share"]) for r in plan}
    assert told.keys() == {(source, target) for source, target, _ in cells} and len(told) >= 32
    for source, target, share in cells:
        assert told[source, target] == pytest.approx(share, abs=1e-6)
    assert sum(float(r["mass"]) for r in plan) == pytest.approx(1)

    channels = rows(page, "channels")
    points = page.evaluate(
        """() => document.querySelector('.st-key-scatter .chart')._fullData
            .filter(t => ['kept', 'discarded'].includes(t.meta))
            .flatMap(t => Array.from(t.x, (x, i) => [t.customdata[i][1], t.meta, x, t.y[i]]))"""
    )
    assert sorted(int(r["channel"]) for r in channels) == list(range(32))
    by_number = {int(r["channel"]): r for r in channels}
    assert len(points) == 32
    for number, role, x, y in points:
        row = by_number[number]
        assert row["role"] == role and row["picture"] == "pca"
        assert [float(row["x_before"]), float(row["y_before"])] == pytest.approx([x, y], rel=1e-4)

    accuracies = {r["name"]: f"{100 * float(r['mean']):.1f}" for r in rows(page, "accuracies")}
    assert accuracies == shown(page) and accuracies.keys() == {"dense", "pruned", "fused"}

    left = page.get_by_test_id("stMetricValue").first.inner_text()
    sizes = {r["name"]: int(r["parameters"]) for r in rows(page, "sizes")}
    assert f"{sizes['smaller']:,}" == left
    layers = rows(page, "layers")
    assert sum(int(r["parameters_after"]) for r in layers) == sizes["smaller"]
    assert sum(int(r["parameters"]) for r in layers) == sizes["dense"]


def test_the_state_opens_the_same_page(page, context, address):
    name, content = taken(page, "save")
    assert name.endswith(".json")
    held = json.loads(content)["intra-fusion"]
    asked = {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}
    assert held == asked and held["rule"] == "repaired" and held["channel"] == "5"

    # A page of somebody else's is given the file, and says first what it holds.
    other = context.new_page()
    other.set_default_timeout(60_000)
    other.goto(f"{address}/?network=vgg11_bn-digits&group=3")
    other.get_by_text("all 597 images").wait_for()
    other.locator(".st-key-take summary").click()
    given = {"name": name, "mimeType": "application/json", "buffer": content}
    other.locator(".st-key-take input[type=file]").set_input_files(given)
    other.get_by_role("button", name=SAY("take.go")).click()
    other.wait_for_url(page.url)
    alt = "document.querySelector('.st-key-plan .chart').getAttribute('aria-label')"
    other.wait_for_function(f"alt => {alt} === alt", arg=page.evaluate(alt))
    other.get_by_text("all 597 images").wait_for()
    assert shown(other) == shown(page)
    other.close()


def test_the_script_prints_what_the_page_tells(page, tmp_path):
    name, content = taken(page, "script_button")
    file = tmp_path / name
    file.write_bytes(content)
    root = Path(core.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, str(file)], cwd=root, env={"PYTHONPATH": str(root), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = dict(re.findall(r"^(dense|pruned|fused) +(\d+\.\d) ?%", done.stdout, re.M))
    assert printed == shown(page) and len(printed) == 3, done.stdout


def test_the_smaller_network_loads_and_is_smaller(page, tmp_path):
    page.get_by_role("button", name=SAY("take.network_button")).click()
    ready = page.get_by_role("button", name="Download the smaller network")
    ready.wait_for()
    name, content = fetched(page, ready)
    assert name == "vgg11_bn-digits-group6-0.75-smaller.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    place = tmp_path / "vgg11_bn-digits-smaller"
    (weights,) = place.glob("*.safetensors")
    shapes = {key: array.shape for key, array in load_file(weights).items()}
    net = core.load("vgg11_bn-digits")
    before = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    kept = 8  # of 32: the producing layer loses rows, the consuming one columns
    assert before["features.4.weight"][0] == 32 and shapes["features.4.weight"][0] == kept
    consumer = next(key for key, shape in before.items() if len(shape) == 4 and shape[1] == 32)
    assert shapes[consumer] == (before[consumer][0], kept, *before[consumer][2:])
    again = core.open(place)
    assert again.recipe == RECIPE
    told = {key: tuple(tensor.shape) for key, tensor in again.module.state_dict().items()}
    assert {key: told[key] for key in shapes} == shapes
    text = page.get_by_test_id("stMetricValue").first.inner_text()
    assert f"{core.size(again.module).parameters:,}" == text


def saved(page, key: str, kind: str) -> tuple[dict, bytes]:
    """A figure as its own button saves it, and its size on the page in pixels."""
    chart = page.locator(f".st-key-{key} .chart")
    chart.scroll_into_view_if_needed()
    chart.hover()
    name, content = fetched(page, chart.locator(f"[data-title='Save as {kind}']"))
    assert name == f"intra-fusion-{key}.{kind.lower()}"
    return chart.evaluate("c => ({width: c.clientWidth, height: c.clientHeight})"), content


def test_figures_are_drawn_whole_on_the_pages_own_ground(page):
    """On a slide of any colour: letters are drawn for the ground they are saved with."""
    paper = theme.PAPER["light"]
    ground = tuple(int(paper[i : i + 2], 16) for i in (1, 3, 5))
    for key, words in FIGURES.items():
        size, content = saved(page, key, "SVG")
        root = ElementTree.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert (float(root.get("width")), float(root.get("height"))) == tuple(size.values())
        said = " ".join(
            "".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")
        ).replace("\u00a0", " ")
        assert all(word in said for word in words), (key, said)
        behind = next(root.iter("{http://www.w3.org/2000/svg}rect"))
        assert f"rgb{ground}" in behind.get("style") and "fill-opacity: 1" in behind.get("style")
        assert float(behind.get("width")) == size["width"]

        size, content = saved(page, key, "PNG")
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        picture = Image.open(io.BytesIO(content))
        picture.load()
        assert picture.size == (2 * size["width"], 2 * size["height"])
        pixels = np.asarray(picture.convert("RGBA"))
        assert pixels[..., 3].min() == 255, "nothing shines through"
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3]
        assert (corners == ground).all()
        drawn = (np.abs(pixels[..., :3].astype(int) - ground).max(-1) > 40).mean()
        assert 0.005 < drawn < 0.9, "it is neither empty nor full"
