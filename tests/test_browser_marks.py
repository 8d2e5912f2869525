"""A clicked channel is marked at once, in every chart of its group, before the server has heard."""

from __future__ import annotations

from test_browser import browser, pytestmark  # noqa: F401

LINK = "/?network=vgg11_bn-digits&group=6&sparsity=0.5&picture=pca"
#: The marks of plan and channels, as JavaScript: the paths and anchors of what is chosen.
MARKS = """[...document.querySelectorAll('.js-plotly-plot')]
    .filter(c => (c._fullData || []).some(t => t.meta?.rows || t.meta === 'kept'))
    .map(c => (c._fullLayout.shapes || []).filter(s => s.name === 'chosen')
        .map(s => [s.path ?? null, s.xanchor ?? null, s.yanchor ?? null]))"""
#: Where a channel stands on the page that no other lies near, and which it is.
PLACE = """() => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(
        c => (c._fullData || []).some(t => t.meta === 'discarded'));
    const box = chart.getBoundingClientRect(), {xaxis, yaxis} = chart._fullLayout;
    const points = chart._fullData.filter(t => ['discarded', 'kept', 'fused'].includes(t.meta))
        .flatMap(t => Array.from(t.x, (x, at) => ({
            role: t.meta, channel: t.customdata[at][1],
            x: xaxis._offset + xaxis.d2p(x), y: yaxis._offset + yaxis.d2p(t.y[at]),
        })));
    const near = (a, b) => a !== b && Math.hypot(a.x - b.x, a.y - b.y) < 12;
    const {x, y, channel} = points.find(
        a => a.role === 'discarded' && !points.some(b => near(a, b)));
    return [box.left + x, box.top + y, channel];
}"""


def test_a_click_is_marked_before_the_server_hears_and_as_the_server_marks_it(
    browser,  # noqa: F811
    address,
):
    context = browser.new_context(
        viewport={"width": 1440, "height": 1700}, color_scheme="light", reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    held, waiting = [], []

    def between(socket):
        server = socket.connect_to_server()

        socket.on_message(lambda said: waiting.append(said) if held else server.send(said))
        page.let_go = lambda: [held.clear(), *(server.send(one) for one in waiting)]

    page.route_web_socket("**/_stcore/stream", between)
    page.goto(address + LINK)
    page.wait_for_function(f"{MARKS}.length === 2")
    assert page.evaluate(MARKS) == [[], []]
    page.wait_for_timeout(1500)  # the story would have begun; the page is still
    x, y, channel = page.evaluate(PLACE)
    held.append(True)
    page.mouse.click(x, y)
    page.wait_for_function(f"{MARKS}.every(marks => marks.length)", timeout=5000)
    at_once = page.evaluate(MARKS)
    assert waiting, "the server has not heard of it"
    assert page.get_by_label("Channel", exact=True).input_value() == ""
    page.let_go()
    page.wait_for_function(
        "channel => document.querySelector('input[aria-label=Channel]').value === `${channel}`",
        arg=channel,
    )
    page.wait_for_timeout(1000)
    assert page.evaluate(MARKS) == at_once

    # A chart that had no room when its figure came draws it once it has room again.
    page.evaluate(
        """() => {
            const charts = [...document.querySelectorAll('.js-plotly-plot')];
            window.plan = charts.find(c => c._fullData.some(t => t.meta?.rows));
            plan.parentElement.style.display = 'none';
        }"""
    )
    page.locator(".st-key-no_channel button").click()
    page.wait_for_function("plan.wanted.over.length === 0")
    marked = "(plan._fullLayout.shapes || []).some(s => s.name === 'chosen')"
    assert page.evaluate(marked), "it cannot have been drawn"
    page.evaluate("plan.parentElement.style.display = ''")
    page.wait_for_function(f"!{marked}", timeout=5000)
    context.close()
