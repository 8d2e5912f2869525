"""The page for everybody, in a real Chromium: axe-core's rules, the language, the clipboard.

axe-core 4.14.1 (Deque Systems, MPL-2.0) lies in `tests/vendor/`, as it was published.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import server
from test_browser import browser, wait_for_link  # noqa: F401

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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, scheme):
    page = opened("&group=2&channel=5", scheme=scheme)
    take(page)
    page.evaluate(AXE.read_text("utf-8"))
    told = faults(page)
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_timeout(1000)  # charts are drawn again at their new width
    told += faults(page)
    assert not told, "\n".join(told)


def faults(page) -> list[str]:
    """What axe finds that is serious, and not Streamlit's own."""
    found = page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
    )
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:300]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not any(
            rule["id"] == name and part in f"{node['target']} {node['html']}"
            for name, part in STREAMLITS
        )
    ]


def test_the_document_says_its_language(opened):
    page = opened("&lang=de")
    page.wait_for_function("document.documentElement.lang === 'de'")
    page.get_by_role("heading", name="Einstellungen").wait_for()


def test_the_link_is_copied_and_said_so(opened, address):
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
