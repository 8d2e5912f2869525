"""Measure how fast the page is: its first view, and the pictures after a move of the slider.

    python tests/measure_page.py --network vgg11_bn-cifar10 --group 2 --moves 8

Starts the app as the README does, opens it in Chromium, and prints medians and ranges. Times are
the browser's: from the key press to the first frame that shows both the new plan and the new
channels. Run it on
a machine that does nothing else; the images are those of $INTRA_FUSION_DATA, if it is set.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import server
from playwright.sync_api import Page, sync_playwright

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="vgg11_bn-cifar10")
    parser.add_argument("--group", type=int, default=2, help="group 2 of VGG11 has 512 channels")
    parser.add_argument("--moves", type=int, default=8, help="how often the slider is moved")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two moves")
    parser.add_argument("--folder", type=Path, help="for screenshots before and after")
    chosen = parser.parse_args()
    if server.CHROMIUM is None:
        print("This needs Chromium (Debian's package chromium).", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with (
            server.serving(os.environ, Path(folder) / "log") as url,
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
            page.wait_for_timeout(1000 * chosen.pause)
            if chosen.folder:
                page.screenshot(path=chosen.folder / "before.png", full_page=True)
            times = []
            for turn in range(chosen.moves):
                times.append(move(page, "ArrowRight" if turn < chosen.moves / 2 else "ArrowLeft"))
                page.wait_for_timeout(1000 * chosen.pause)
            if chosen.folder:
                page.screenshot(path=chosen.folder / "after.png", full_page=True)
            browser.close()
        print(
            f"slider to plan and channels: median {statistics.median(times):.2f} s, "
            f"{min(times):.2f} to {max(times):.2f} s, {len(times)} moves"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
