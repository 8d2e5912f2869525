"""The page for everybody, in a real Chromium: axe-core's rules, the keyboard, the clipboard.

axe-core 4.14.1 (Deque Systems, MPL-2.0) lies in `tests/vendor/`, as it was published.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
import server
from test_browser import address, browser, wait_for_link  # noqa: F401

import core

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        server.CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"
    ),
]

#: What Streamlit itself does, by rule and a part of the selector or HTML of what it is found on.
STREAMLITS: dict[tuple[str, str], str] = {}

#: Adds up how far what stands still on the page is pushed about (Cumulative Layout Shift), from the
#: moment our title is there: before it Streamlit shows a skeleton of its own.
SHIFTS = """() => {
    window.shifts = [];
    new PerformanceObserver(list => {
        const ours = [...document.querySelectorAll('h1')].some(h => h.offsetHeight);
        for (const e of list.getEntries())
            if (ours && !e.hadRecentInput) window.shifts.push(e.value);
    }).observe({type: 'layout-shift', buffered: true});
}"""


@pytest.fixture
def opened(browser, address):  # noqa: F811
    """Opens the page at a link, in a window of its own; all are closed at the end."""
    contexts = []

    def open(query: str = "", width: int = 1440, scheme: str = "light", **more):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **more
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.add_init_script(f"({SHIFTS})()")
        page.goto(f"{address}/?network=vgg11_bn-digits{query}")
        page.get_by_text(re.compile("all 597 images|alle 597 Bilder")).first.wait_for()
        page.locator(".js-plotly-plot").nth(3).wait_for()
        return page

    yield open
    for context in contexts:
        context.close()


def take(page):
    """The section to take things along, opened."""
    summary = page.locator(".st-key-take summary")
    summary.click()
    page.get_by_text("reproduce.py").first.wait_for()
    return page.locator(".st-key-take")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme, width):
    page = opened("&group=2&channel=5", width, scheme)
    take(page)
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
    )
    told = [
        f"{rule['id']}: {rule['help']}: {node['html'][:300]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not any(
            rule["id"] == name and part in f"{node['target']} {node['html']}"
            for name, part in STREAMLITS
        )
    ]
    assert not told, "\n".join(told)


def test_the_document_says_its_language(opened):
    page = opened("&lang=de")
    page.wait_for_function("document.documentElement.lang === 'de'")
    page.get_by_role("heading", name="Einstellungen").wait_for()


def test_nothing_jumps(opened):
    page = opened("&group=2")
    page.wait_for_timeout(1500)
    assert sum(page.evaluate("window.shifts")) < 0.1
    page.evaluate("window.shifts.length = 0")
    slider = page.get_by_role("slider", name="Sparsity")
    slider.focus()
    slider.press("ArrowRight")
    wait_for_link(page, r"sparsity=0\.55")
    page.wait_for_timeout(2500)
    assert sum(page.evaluate("window.shifts")) < 0.1


def test_a_group_a_sparsity_and_a_channel_are_chosen_by_keyboard_alone(opened):
    page = opened("&group=6")
    reached = []

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            label = page.evaluate(
                """() => {
                    const e = document.activeElement, by = e.getAttribute('aria-labelledby');
                    const named = by && document.getElementById(by);
                    return [e.getAttribute('aria-label'), named && named.textContent,
                        ...[...(e.labels || [])].map(l => l.textContent)].join(' ');
                }"""
            )
            reached.append(label)
            if name in label:
                return
        raise AssertionError(f"Tab never reached {name}: {reached}")

    tab_to("Group of layers")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_link(page, r"group=(?!6)\d")
    tab_to("Sparsity")
    page.keyboard.press("ArrowRight")
    wait_for_link(page, r"sparsity=0\.55")
    tab_to("Channel")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    wait_for_link(page, r"channel=3")
    page.get_by_role("heading", name="Channel 3", exact=True).wait_for()


def test_the_link_is_copied_and_said_so(opened, address):  # noqa: F811
    page = opened("&group=2&rule=repaired", permissions=["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy link")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("The link is copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert "rule=repaired" in page.url


def test_where_the_clipboard_is_not_allowed_the_link_can_be_selected(opened):
    page = opened("&group=2")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})"
    )
    page.get_by_role("button", name="Copy link").click()
    field = page.get_by_label("Copy this link")
    field.wait_for()
    assert field.input_value() == page.url
    assert page.evaluate("getSelection().toString()") in ("", page.url)
    chosen = field.evaluate("f => f.value.slice(f.selectionStart, f.selectionEnd)")
    assert chosen == page.url, "it is selected, so that one key copies it"


def test_what_is_downloaded_is_what_the_page_shows(opened, tmp_path):
    page = opened("&group=6&rule=preserving")
    section = take(page)

    def fetch(name: str) -> bytes:
        with page.expect_download() as waiting:
            section.get_by_role("button", name=name).click()
        return Path(waiting.value.path()).read_bytes()

    rows = list(csv.DictReader(io.StringIO(fetch("Plan: source").decode())))
    assert {int(row["source"]) for row in rows} == set(range(32))
    assert sum(float(row["mass"]) for row in rows) == pytest.approx(1)
    held = json.loads(fetch("Save the page"))["intra-fusion"]
    assert held["group"] == "6" and held["rule"] == "preserving"
    section.get_by_role("button", name="Pack the smaller network").click()
    with zipfile.ZipFile(io.BytesIO(fetch("Download the smaller network"))) as archive:
        archive.extractall(tmp_path)
    recipe = core.Recipe(groups=(6,), sparsity=0.5, rule="preserving")
    assert core.open(tmp_path / "vgg11_bn-digits-smaller").recipe == recipe


def test_a_slide_has_no_controls_and_larger_letters(opened):
    page = opened("&group=2&embed=true&text=large")
    page.get_by_text("VGG11-BN ¼, digits · group 2 · sparsity 50").wait_for()
    assert page.get_by_role("slider", name="Sparsity").count() == 0
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == "21px"
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot')]"
        ".every(c => c._fullLayout && Math.abs(c._fullLayout.font.size - 13 * 1.3) < 0.01)"
    )
    wait_for_link(page, "embed=true")
