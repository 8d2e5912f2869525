"""Measure how fast the page is: its first view, a move of the slider, a click on a channel.

    python tests/measure_page.py --network vgg11_bn-cifar10 --group 2 --moves 40 --clicks 40

Starts the app as the README does, opens it in Chromium, and prints medians, 95th percentiles and
ranges. Times are the browser's: from the key press to the first frame that shows both the new plan
and the new channels; from the click on a channel to the frame that marks it in both. What the
server needs of a move is told by the server: from the first to the last line of the page's program.
Run it on a machine that does nothing else; the images are those of $INTRA_FUSION_DATA, if it is
set.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import server
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as Timeout

#: Looks at every frame, and remembers when plan and channels first hold what they did not before.
WATCH = """() => {
    const told = () => {
        const charts = [...document.querySelectorAll('.js-plotly-plot')];
        const named = start => charts.flatMap(chart => (chart._fullData || [])
            .filter(trace => (trace.name || '').startsWith(start)).map(trace => [chart, trace]))[0];
        const plan = named('plan'), fused = named('fused (');
        return {plan: plan && plan[0].layout.xaxis.title.text, channels: fused && fused[1].name};
    };
    const before = told();
    window.drawn = {};
    const look = () => {
        const now = told();
        for (const key of ['plan', 'channels'])
            if (now[key] && now[key] !== before[key] && !window.drawn[key])
                window.drawn[key] = performance.now();
        if (Object.keys(window.drawn).length < 2) requestAnimationFrame(look);
    };
    look();
}"""
MOVED = """() => window.drawn.plan && window.drawn.channels &&
    Math.max(window.drawn.plan, window.drawn.channels) - window.pressed"""


def first_view(page: Page, url: str) -> float:
    """Seconds from asking for the page until plan and channels are drawn."""
    begun = time.monotonic()
    page.goto(url)
    page.wait_for_function(
        """() => { const charts = [...document.querySelectorAll('.js-plotly-plot')];
        return ['layers', 'plan', 'lines'].every(name =>
            charts.some(c => c._fullData && c._fullData.some(t => t.name === name))) }"""
    )
    return time.monotonic() - begun


def move(page: Page, key: str) -> float:
    """Seconds from one key press on the slider until plan and channels are drawn again."""
    page.evaluate(WATCH)
    page.get_by_role("slider", name="Sparsity").focus()
    page.evaluate(
        """() => document.addEventListener('keydown',
            () => { window.pressed = performance.now(); }, {once: true, capture: true})"""
    )
    page.keyboard.press(key)
    page.wait_for_function(MOVED)
    return page.evaluate(MOVED) / 1000


#: Where the point of a discarded channel stands on the page, of those that no other point lies near
#: the `i`th or so. Null if there is none.
PLACE = """i => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(
        c => (c._fullData || []).some(t => t.meta === 'discarded'));
    chart.scrollIntoView({block: 'center', behavior: 'instant'});
    const box = chart.getBoundingClientRect(), {xaxis, yaxis} = chart._fullLayout;
    const points = chart._fullData.filter(t => ['discarded', 'kept', 'fused'].includes(t.meta))
        .flatMap(t => Array.from(t.x, (x, at) => ({role: t.meta,
            x: xaxis._offset + xaxis.d2p(x), y: yaxis._offset + yaxis.d2p(t.y[at])})));
    const near = (a, b) => a !== b && Math.hypot(a.x - b.x, a.y - b.y) < 9;
    const free = points.filter(a => a.role === 'discarded' && !points.some(b => near(a, b)));
    if (!free.length) return null;
    const {x, y} = free[(7 * i) % free.length];
    return [box.left + x, box.top + y];
}"""
#: Looks at every frame, and remembers when both plan and channels mark another channel than before.
MARKS = """() => {
    const told = () => [...document.querySelectorAll('.js-plotly-plot')]
        .filter(c => (c._fullData || []).some(t => /^(plan|fused \\()/.test(t.name || '')))
        .map(c => (c._fullLayout.shapes || []).filter(s => s.name === 'chosen'))
        .map(marks => JSON.stringify(marks.map(s => [s.path, s.xanchor, s.yanchor])));
    const before = told();
    window.marked = null;
    document.addEventListener('mousedown', () => { window.pressed = performance.now(); },
        {once: true, capture: true});
    const look = () => {
        const now = told();
        if (now.length === 2 && now.every((mark, i) => mark !== before[i] && mark !== '[]'))
            window.marked = performance.now();
        else requestAnimationFrame(look);
    };
    look();
}"""


def drawn(log: Path) -> list[float]:
    """Seconds that the server needed for each page so far."""
    return [float(told) / 1000 for told in re.findall(r"page drawn in (\d+) ms", log.read_text())]


def click(page: Page, turn: int) -> float | None:
    """Seconds from a click on a channel until plan and channels mark it; None without any to click.

    Marks are looked for in the frames that the browser draws.
    """
    place = page.evaluate(PLACE, turn)
    if place is None:
        return None
    page.wait_for_timeout(200)
    page.evaluate(MARKS)
    page.mouse.click(*place)
    try:
        page.wait_for_function("() => window.marked", timeout=10_000)
    except Timeout:  # it was chosen already
        return None
    return page.evaluate("(window.marked - window.pressed) / 1000")


def told(what: str, times: list[float]) -> str:
    """Median, 95th percentile and range, and each."""
    if len(times) < 2:
        return f"{what}: not enough measured"
    late = statistics.quantiles(times, n=20)[-1]
    return (
        f"{what}: median {statistics.median(times):.2f} s, 95th percentile {late:.2f} s, "
        f"{min(times):.2f} to {max(times):.2f} s, {len(times)} times: "
        + " ".join(f"{one:.2f}" for one in times)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="vgg11_bn-cifar10")
    parser.add_argument("--group", type=int, default=2, help="group 2 of VGG11 has 512 channels")
    parser.add_argument("--moves", type=int, default=8, help="how often the slider is moved")
    parser.add_argument("--clicks", type=int, default=8, help="how often a channel is clicked")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two of them")
    parser.add_argument("--warm", type=float, default=3.0, help="seconds of rest after UMAP")
    parser.add_argument("--folder", type=Path, help="for screenshots before and after")
    chosen = parser.parse_args()
    if server.CHROMIUM is None:
        print("This needs Chromium (Debian's package chromium).", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        started = time.monotonic()
        with (
            server.serving(os.environ | {"INTRA_FUSION_LOG": "info"}, log) as url,
            sync_playwright() as playwright,
        ):
            healthy = time.monotonic() - started
            browser = playwright.chromium.launch(executable_path=server.CHROMIUM, args=server.FLAGS)
            launched = time.monotonic()
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.set_default_timeout(300_000)
            view = first_view(page, url)
            print(f"server healthy {healthy:.1f} s after the command")
            print(f"first view {view:.1f} s after the browser asked, {healthy + view:.1f} s in all")
            view = first_view(page, f"{url}/?network={chosen.network}&group={chosen.group}")
            print(f"group {chosen.group} of {chosen.network} {view:.1f} s after the browser asked")
            page.get_by_text("Neighbourhoods mean something").wait_for()  # UMAP is drawn
            print(f"UMAP {time.monotonic() - launched:.0f} s after the browser asked")
            page.wait_for_timeout(1000 * chosen.warm)
            if chosen.folder:
                page.screenshot(path=chosen.folder / "before.png", full_page=True)
            times, clicks, served = [], [], []
            for turn in range(chosen.moves):
                before = len(drawn(log))
                times.append(move(page, "ArrowRight" if turn // 4 % 2 == 0 else "ArrowLeft"))
                page.wait_for_timeout(1000 * chosen.pause)
                served += drawn(log)[before : before + 1]
            for turn in range(chosen.clicks):
                clicks.append(click(page, turn))
                page.wait_for_timeout(1000 * chosen.pause)
            if chosen.folder:
                page.screenshot(path=chosen.folder / "after.png", full_page=True)
            browser.close()
        print(told("slider to plan and channels", times))
        print(told("of it in the server, the whole page", served))
        print(told("click to marks in plan and channels", [one for one in clicks if one]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
