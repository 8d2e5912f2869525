"""The page without a mouse, in a real Chromium; and what a click on the plan chooses."""

from __future__ import annotations

import re

import pytest
from test_browser import browser, pytestmark, wait_for_link  # noqa: F401

BASE = "/?network=vgg11_bn-digits&group=6&sparsity=0.5&picture=pca"
#: What the tests ask of the page: who has the focus, and what it is called.
HELPERS = """
window.focused = () => {
    let e = document.activeElement;
    while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
    return e?.closest('canvas') ?? e ?? document.body; // nobody, for a moment
};
window.named = e => e.getAttribute('aria-label') || [...(e.labels || [])].map(l => l.textContent)
    .join(' ') || e.textContent.trim();
true;  // a function in the end would be called
"""


@pytest.fixture
def opened(browser, address):  # noqa: F811
    """Opens the page at a link, and waits until nothing on it moves any more."""
    contexts = []

    def open_page(more: str = ""):
        context = browser.new_context(
            viewport={"width": 1440, "height": 1700}, color_scheme="light", reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(address + BASE + more)
        page.get_by_text("all 597 images").wait_for()
        page.locator(".js-plotly-plot").nth(2).wait_for()
        page.get_by_text(re.compile(r"PCA 0\.\d+, UMAP 0\.")).wait_for()
        page.evaluate(HELPERS)
        page.set_default_timeout(30_000)
        return page

    yield open_page
    for context in contexts:
        context.close()


def tab_to(page, selector: str) -> None:
    """Press Tab until something of that selector has the focus."""
    seen = []
    for _ in range(160):
        page.keyboard.press("Tab")
        there, name = page.evaluate(
            "where => { const e = focused(); return [e.matches(where), named(e).slice(0, 40)]; }",
            selector,
        )
        if there:
            return
        seen.append(name)
    raise AssertionError(f"Tab never reached {selector}: {seen}")


def focus_in(page, selector: str) -> None:
    page.wait_for_function("where => focused().matches(where)", arg=selector)


def words(page, key: str) -> str:
    """What is said of the point that the arrow keys have reached."""
    said = f".st-key-{key} [aria-live=polite]"
    page.wait_for_function("s => document.querySelector(s)?.textContent", arg=said)
    return page.locator(said).first.text_content()


def walked(page, key: str, pattern: str) -> str:
    """Walk with the arrow keys to a point of which something is said; what the pattern holds."""
    before = None
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            """([s, old]) => { const t = document.querySelector(s)?.textContent;
                return t && t !== old; }""",
            arg=[f".st-key-{key} [aria-live=polite]", before],
        )
        before = words(page, key)
        if found := re.search(pattern, before):
            return found[1]
    raise AssertionError(f"no point of {key} says {pattern}; the last: {before}")


def marked(page, channel: str | int) -> None:
    """Wait until link, heading, field and both pictures show a channel."""
    wait_for_link(page, rf"[?&]channel={channel}(&|$)")
    page.get_by_role("heading", name=f"Channel {channel}", exact=True).wait_for()
    page.wait_for_function(
        """channel => document.querySelector('[class*=st-key-channel] input').value === `${channel}`
            && [...document.querySelectorAll('.st-key-plan .chart, .st-key-scatter .chart')]
                .every(c => (c._fullLayout?.shapes ?? []).some(s => s.name === 'chosen'))""",
        arg=channel,
    )


def test_group_rule_sparsity_and_channel_are_chosen_by_keyboard(opened):
    page = opened()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    focus_in(page, "main, main *")  # what skips the sidebar
    tab_to(page, "[class*=st-key-group] input")
    page.keyboard.press("ArrowDown")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_link(page, r"group=(?!6)\d")
    tab_to(page, "[class*=st-key-percent] input")
    page.keyboard.press("ArrowRight")
    wait_for_link(page, r"sparsity=0\.55")
    tab_to(page, "[class*=st-key-rule] input")
    page.keyboard.type("repaired")
    page.get_by_role("option", name="repaired").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_link(page, "rule=repaired")
    tab_to(page, "[class*=st-key-channel] input")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    marked(page, 3)


def test_figures_are_walked_with_arrow_keys_and_enter_chooses(opened):
    page = opened()
    tab_to(page, ".st-key-scatter .chart")
    channel = walked(page, "scatter", r"^channel (\d+)")
    page.keyboard.press("Enter")
    marked(page, channel)
    focus_in(page, ".st-key-scatter .chart")  # and walking goes on from there
    tab_to(page, ".st-key-plan .chart")
    other = walked(page, "plan", rf"channel (?!{channel}\b)(\d+)")
    page.keyboard.press("Enter")
    marked(page, other)
    tab_to(page, "[class*=st-key-view_plan] button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    wait_for_link(page, "plan=ribbons")
    tab_to(page, ".st-key-graph .chart")
    group = walked(page, "graph", r"(?:carries|produces) group (?!6\b)(\d+)")
    page.keyboard.press("Enter")
    wait_for_link(page, rf"group={group}&")


def test_a_row_of_a_table_is_chosen_with_shift_and_space(opened):
    page = opened("&plan=table")
    page.get_by_text("by keyboard: Shift and space").wait_for()
    tab_to(page, ".st-key-plan-table canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Space")
    wait_for_link(page, r"channel=\d+")
    first = re.search(r"channel=(\d+)", page.url)[1]
    page.get_by_role("heading", name=f"Channel {first}", exact=True).wait_for()
    page.get_by_text("By keyboard: arrows to the row").first.wait_for()
    tab_to(page, "[class*='st-key-nearest-of'] canvas")
    page.keyboard.press("Shift+Space")
    wait_for_link(page, rf"channel=(?!{first}\b)\d+")


def test_pinning_and_lessons_need_no_mouse(opened):
    page = opened()
    tab_to(page, ".st-key-pin_now button")
    page.keyboard.press("Enter")
    page.locator(".st-key-pin_bar").wait_for()
    wait_for_link(page, "pin=")
    tab_to(page, ".st-key-unpin button")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "pin=" not in url)

    dialog = page.get_by_role("dialog")
    tab_to(page, ".st-key-lessons button")
    page.keyboard.press("Enter")
    dialog.wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    tab_to(page, ".st-key-lessons button")
    page.keyboard.press("Enter")
    dialog.wait_for()
    focus_in(page, "[role=dialog], [role=dialog] *")
    tab_to(page, "[class*='st-key-open-'] button")
    page.keyboard.press("Enter")
    wait_for_link(page, "lesson=what-is-a-group")
    dialog.wait_for(state="detached")
    tab_to(page, ".st-key-lesson_next button")
    page.keyboard.press("Enter")
    wait_for_link(page, "step=2")
    tab_to(page, ".st-key-lesson_leave button")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "lesson=" not in url)


#: Where a point of the plan lies in the window, and the channel it is of.
POINT = """name => {
    const chart = document.querySelector('.st-key-plan .chart');
    const trace = chart._fullData.find(t => t.name === name), {xaxis, yaxis} = chart._fullLayout;
    const box = chart.getBoundingClientRect();
    let x, y, channel;
    if (name === 'plan') {
        y = trace.z.findIndex(row => [...row.keys()].some(x => row[x] > 0.5));
        x = [...trace.z[y].keys()].find(x => trace.z[y][x] > 0.5);
        channel = trace.customdata[y][x][0];
    } else [x, y, channel] = [trace.x[0], trace.y[0], trace.customdata[0][0]];
    const [across, up] = [xaxis._offset + xaxis.d2p(x), yaxis._offset + yaxis.d2p(y)];
    return [box.left + across, box.top + up, channel];
}"""


def test_a_click_on_the_plan_chooses_the_channel_everywhere(opened):
    page = opened()
    page.locator(".st-key-plan .chart").scroll_into_view_if_needed()
    x, y, channel = page.evaluate(POINT, "plan")
    page.mouse.click(x, y)
    marked(page, channel)

    page.get_by_role("button", name="Look at no channel").click()
    page.wait_for_url(lambda url: "channel=" not in url)
    page.get_by_role("radio", name="Ribbons").click()
    page.wait_for_function(
        "document.querySelector('.st-key-plan .chart')._fullData?.some(t => t.name === 'ties')"
    )
    page.locator(".st-key-plan .chart").scroll_into_view_if_needed()
    x, y, channel = page.evaluate(POINT, "ties")
    page.mouse.click(x, y)
    marked(page, channel)
