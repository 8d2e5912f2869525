"""The channels in a real Chromium: zoom, full screen, the played sparsity, the story told once."""

from __future__ import annotations

import pytest
import server
from test_browser import browser, pytestmark  # noqa: F401

LINK = "/?network=vgg11_bn-digits&group=6&sparsity=0.5&picture=pca"
#: The chart of the channels, as JavaScript.
CHART = "document.querySelector('.st-key-scatter_box .chart')"
#: What its plot shows: trace names, ranges of both axes, and the sparsity's fused points.
SHOWN = f"""(() => {{
    const chart = {CHART};
    return {{
        names: chart._fullData.map(trace => trace.name),
        points: chart._fullData.map(trace => [...trace.x, ...trace.y].map(v => String(v))),
        alt: chart.getAttribute('aria-label'),
    }};
}})()"""
RANGES = f"""(() => {{ const {{xaxis, yaxis}} = {CHART}._fullLayout;
    return [...xaxis.range, ...yaxis.range]; }})()"""


@pytest.fixture
def opened(browser, address):  # noqa: F811
    """Opens the page in a session of its own, in a window that holds the whole chart."""
    contexts = []

    def open_page(motion: str = "no-preference"):
        context = browser.new_context(
            viewport={"width": 1440, "height": 1700}, color_scheme="light", reduced_motion=motion
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(address + LINK)
        drawn(page, 16)
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            server.no_fault_shown(page)
        context.close()


def drawn(page, fused: int) -> None:
    """Wait until the chart shows that many fused channels."""
    page.wait_for_function(
        f"count => {CHART}?._fullData?.some(t => t.name === `fused (${{count}})`)", arg=fused
    )


def move(page, key: str, fused: int) -> None:
    page.get_by_role("slider", name="Sparsity").press(key)
    drawn(page, fused)


def test_a_zoom_stays_while_the_sparsity_moves_and_the_chart_fills_the_screen(opened):
    page = opened("reduce")
    chart = page.locator(".st-key-scatter_box .chart")
    before = page.evaluate(RANGES)
    chart.hover()
    chart.locator("[data-title='Zoom in']").click()
    page.wait_for_function(f"old => {RANGES}[0] > old", arg=before[0])
    page.wait_for_timeout(700)  # the zoom ends
    zoomed = page.evaluate(RANGES)
    assert zoomed[1] - zoomed[0] < 0.8 * (before[1] - before[0])
    for fused in (14, 12, 11):
        move(page, "ArrowRight", fused)
        assert page.evaluate(RANGES) == pytest.approx(zoomed)
    chart.hover()
    chart.locator("[data-title='Show all']").click()
    page.wait_for_function(
        f"old => Math.abs({RANGES}[0] - old) < 1e-6 * Math.abs(old)", arg=before[0]
    )

    size = chart.bounding_box()
    chart.hover()
    chart.locator("[data-title='Fill the screen']").click()
    page.wait_for_function(f"document.fullscreenElement === {CHART}")
    page.wait_for_function(
        f"{CHART}._fullLayout.width === innerWidth && {CHART}._fullLayout.height === innerHeight"
    )
    page.evaluate("document.exitFullscreen()")
    page.wait_for_function(
        f"size => {CHART}._fullLayout.height === size.height && {CHART}.clientWidth === size.width",
        arg={"width": round(size["width"]), "height": round(size["height"])},
    )


def test_the_keyboard_plays_what_the_slider_shows_without_asking_anybody(opened):
    page = opened("reduce")
    own = page.evaluate(SHOWN)
    page.get_by_role("button", name="Play the sparsity").focus()
    page.keyboard.press("Enter")
    label = page.locator(".player output")
    page.get_by_text("Sparsity 10").wait_for()
    page.context.set_offline(True)
    drawn(page, 19)
    page.wait_for_function("document.querySelector('.player output').textContent.includes('40')")
    page.get_by_role("button", name="Pause").press("Enter")
    at_forty = page.evaluate(SHOWN)
    page.wait_for_timeout(2500)
    assert page.evaluate(SHOWN) == at_forty and "40" in label.inner_text(), "paused"
    page.get_by_role("button", name="Play the sparsity").press("Enter")
    drawn(page, 12)
    drawn(page, 3)
    # At its end the chart shows the slider's sparsity again.
    drawn(page, 16)
    assert page.evaluate(SHOWN) == own and label.inner_text() == ""
    page.context.set_offline(False)

    for fused in (17, 19):
        move(page, "ArrowLeft", fused)
    assert page.evaluate(SHOWN) == at_forty


def test_the_story_is_told_once_a_session_and_gives_way(opened):
    page = opened()
    caption = page.locator(".story")
    caption.wait_for()
    said = caption.locator("[role=status]").inner_text()
    assert said == "16 of 32 channels are discarded; watch their mass move to the 16 that stay."
    veiled = """[...document.querySelectorAll('.st-key-scatter_box .trace')].some(
        node => Number(node.style.opacity || 1) !== node.__data__[0].trace.opacity)"""
    assert page.evaluate(veiled)
    under = page.evaluate(
        f"""(() => {{ const b = {CHART}.getBoundingClientRect();
        return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2).tagName; }})()"""
    )
    assert under != "CANVAS", "clicks reach the plot"
    page.keyboard.press("Escape")
    caption.wait_for(state="detached", timeout=1500)
    assert not page.evaluate(veiled), "the picture is as it was"
    page.reload()
    drawn(page, 16)
    page.wait_for_timeout(3000)
    assert caption.count() == 0, "once a session"

    other = opened()  # another session: it ends by itself
    other.locator(".story").wait_for()
    other.locator(".story").wait_for(state="detached", timeout=9000)
    assert not other.evaluate(veiled)

    calm = opened("reduce")
    calm.wait_for_timeout(3000)
    assert calm.locator(".story").count() == 0
