"""The graph in a real Chromium: the wheel scrolls the page until somebody asks to zoom."""

from __future__ import annotations

import pytest
import server
from test_browser import browser  # noqa: F401

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        server.CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"
    ),
]


def test_zooming_waits_until_it_is_asked_for_and_a_double_click_ends_it(browser, address):  # noqa: F811
    page = browser.new_page(viewport={"width": 1440, "height": 500})
    page.set_default_timeout(60_000)
    page.goto(f"{address}/?network=resnet18-digits&group=6")
    graph = page.locator(".chart[aria-label^='Dependency graph']")
    graph.locator(".main-svg").first.wait_for()
    page.get_by_text("The channels, before and after").wait_for()

    def seen() -> list[float]:
        return graph.evaluate("box => [...box._fullLayout.xaxis.range]")

    def scrolled() -> float:
        return page.get_by_test_id("stMain").evaluate("main => main.scrollTop")

    def wheel(by: int) -> None:
        graph.hover(position={"x": 300, "y": 40})
        page.mouse.wheel(0, by)
        page.wait_for_timeout(700)

    page.get_by_text("all 597 images").wait_for()  # a busy page scrolls late
    graph.hover(position={"x": 300, "y": 40})  # brings it into view
    whole, top = seen(), scrolled()
    wheel(60)
    wheel(60)
    assert scrolled() > top and seen() == whole
    wheel(-400)
    graph.locator("[data-title='Zoom with the wheel, move by dragging']").click()
    page.wait_for_timeout(500)
    top = scrolled()
    wheel(-200)
    closer = seen()
    assert closer[1] - closer[0] < whole[1] - whole[0] and scrolled() == top
    page.get_by_role("slider", name="Sparsity").press("ArrowRight")
    page.wait_for_url("**sparsity=0.55**")
    page.wait_for_timeout(1500)
    assert seen() == closer, "a new setting keeps what somebody has zoomed to"
    graph.dblclick(position={"x": 20, "y": 385})  # not on a layer, nor on a button
    page.wait_for_timeout(700)
    assert seen() == pytest.approx(whole)
    page.close()
