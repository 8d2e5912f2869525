"""The page in a real Chromium: it opens, follows its slider, and a click chooses a group."""

from __future__ import annotations

import re

import pytest
import server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        server.CHROMIUM is None, reason="needs Chromium (Debian's package chromium)"
    ),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=server.CHROMIUM, args=server.FLAGS)
        yield found
        found.close()


@pytest.fixture(params=["dark"])  # the harder one: the page is drawn in light first
def page(browser, address, request):
    context = browser.new_context(
        viewport={"width": 1440, "height": 1000}, color_scheme=request.param
    )
    page = context.new_page()
    page.set_default_timeout(90_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_text("The channels, before and after").wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    yield page
    server.no_fault_shown(page)
    assert page.get_by_text("Traceback").count() == 0
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not outside, "the page works without a network and tells nobody that it is open"
    context.close()


def plan(page) -> str:
    """The alt text of the plan."""
    alts = page.locator("[aria-label*='plan' i], [alt*='plan' i]")
    return " ".join(
        alts.nth(i).get_attribute("aria-label") or alts.nth(i).get_attribute("alt") or ""
        for i in range(alts.count())
    )


def wait_for_link(page, pattern: str) -> None:
    page.wait_for_url(re.compile(pattern))


def test_the_page_follows_slider_and_click(page):
    wait_for_link(page, r"network=vgg11_bn-digits&group=6&sparsity=0\.5")
    page.get_by_text("all 597 images").wait_for()  # live accuracy, to its end

    before = plan(page)
    assert "32" in before and "16" in before
    page.evaluate("document.querySelectorAll('.js-plotly-plot').forEach(c => { c.same = true })")
    slider = page.get_by_role("slider", name="Sparsity")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    wait_for_link(page, r"sparsity=0\.7")
    page.wait_for_function(
        "old => [...document.querySelectorAll('[aria-label],[alt]')].some(e => {"
        "const t = e.getAttribute('aria-label') || e.getAttribute('alt') || '';"
        "return /plan/i.test(t) && !old.includes(t)})",
        arg=before,
    )

    # Each figure is drawn over the one before: none is built anew.
    charts = page.locator(".js-plotly-plot")
    assert charts.count() == 5 and charts.evaluate_all("all => all.every(c => c.same)")

    # Once UMAP is drawn and all images are counted, the page stands still.
    page.get_by_text("Neighbourhoods mean something").wait_for()
    page.get_by_text("all 597 images").wait_for()
    # Click the layer that produces group 2: its number stands in its circle.
    chart = page.locator(".js-plotly-plot").first
    place = chart.evaluate(
        """chart => {
            const trace = chart._fullData.find(t => t.name === 'layers');
            const i = trace.customdata.findIndex(c => c[0] === 2);
            const box = chart.getBoundingClientRect();
            const {xaxis, yaxis} = chart._fullLayout;
            return [box.left + xaxis._offset + xaxis.d2p(trace.x[i]),
                    box.top + yaxis._offset + yaxis.d2p(trace.y[i])];
        }"""
    )
    page.mouse.click(*place)
    wait_for_link(page, r"group=2&sparsity=0\.7")
    page.locator("[aria-label*='Group 2, 128 channels'], [alt*='Group 2, 128 channels']").wait_for()

    # Click a channel: every view then shows it, and the link remembers it.
    page.get_by_text("PCA, until UMAP is ready").wait_for(state="detached")
    place = page.evaluate(
        """() => {
            const chart = [...document.querySelectorAll('.js-plotly-plot')].find(
                c => c._fullData.some(t => (t.name || '').startsWith('discarded')));
            const trace = chart._fullData.find(t => t.name.startsWith('discarded'));
            chart.scrollIntoView({block: 'center'});
            const box = chart.getBoundingClientRect(), {xaxis, yaxis} = chart._fullLayout;
            return [box.left + xaxis._offset + xaxis.d2p(trace.x[0]),
                    box.top + yaxis._offset + yaxis.d2p(trace.y[0])];
        }"""
    )
    page.mouse.click(*place)
    wait_for_link(page, r"group=2&sparsity=0\.7.*channel=\d+")
    number = re.search(r"channel=(\d+)", page.url)[1]
    page.get_by_role("heading", name=f"Channel {number}", exact=True).wait_for()
    page.locator(f"[aria-label^='Filters as pictures. channel {number}:']").wait_for()
    marked_in_two(page)


def marked_in_two(page) -> None:
    """Wait until plan and channels mark what is chosen; tell what each chart does if they don't."""
    from playwright.sync_api import TimeoutError

    states = """() => [...document.querySelectorAll('.js-plotly-plot')].map(c => ({
        alt: (c.getAttribute('aria-label') || '').slice(0, 60),
        wanted: (c.wanted?.over || []).map(t => t.name),
        marks: (c._fullLayout?.shapes || []).filter(s => s.name === 'chosen').length,
        drawing: c.drawing, current: c.drawn === c.wanted, width: c.clientWidth}))"""
    try:
        page.wait_for_function(f"() => ({states})().filter(c => c.marks > 0).length === 2")
    except TimeoutError as error:
        raise AssertionError(page.evaluate(states)) from error


def test_a_link_opens_the_same_view_on_another_machine(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(
        address + "/?network=resnet18-digits&group=6&sparsity=0.7&importance=l1&rule=repaired"
        "&solver=exact"
    )
    page.get_by_text("all 597 images").wait_for()
    wait_for_link(page, r"network=resnet18-digits&group=6&sparsity=0\.7.*rule=repaired")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "the page must not scroll sideways on a phone"
    context.close()
