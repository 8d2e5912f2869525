"""Take the README's pictures of the pages again: `python tests/take_pictures.py`.

Starts the app as the README does and writes `assets/pictures/NAME.png`, twice as fine as a screen.
What the pages draw is what is recorded in `assets/results/`; no images are needed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import server
from playwright.sync_api import Page, sync_playwright

FOLDER = server.ROOT / "assets" / "pictures"
#: By name: the link, and what the picture reaches from and to, as selectors.
PICTURES = {
    "gains": (
        "/sweep?network=resnet18-cifar10&group=9&sparsity=0.5",
        ("h4:has-text('Gain of')", ".st-key-gains_ours", ".st-key-gains_paper"),
    ),
    "panels": (
        "/sweep?network=resnet18-cifar10&group=9&sparsity=0.5&groups=1,3,6,8,10&rules=best",
        ("h4:has-text('Side by side')", ".st-key-panel_9_l1", ".st-key-panel_1_l1",
         ".st-key-panel_10_l1", ".st-key-panel_6_l1"),
    ),
    "splits": (
        "/splits?network=vgg11_bn-cifar10",
        (".st-key-timeline", ".st-key-splits_table"),
    ),
}  # fmt: skip
#: CSS pixels left around what is taken.
EDGE = 12


def take(page: Page, address: str, name: str) -> Path:
    """Open a page as high as it needs, wait until all is drawn, and cut the picture out."""
    link, wanted = PICTURES[name]
    page.goto(address + link)
    places = [page.locator(selector).first for selector in wanted]
    for place in places:
        place.wait_for()
    page.wait_for_function(
        "count => document.querySelectorAll('.js-plotly-plot').length >= count", arg=2
    )
    page.wait_for_timeout(4000)  # the last figures, and the typeface
    boxes = [place.bounding_box() for place in places]
    left, top = min(b["x"] for b in boxes), min(b["y"] for b in boxes)
    right = max(b["x"] + b["width"] for b in boxes)
    bottom = max(b["y"] + b["height"] for b in boxes)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    clip = {
        "x": left - EDGE, "y": top - EDGE,
        "width": right - left + 2 * EDGE, "height": bottom - top + 2 * EDGE,
    }  # fmt: skip
    page.screenshot(path=path, clip=clip)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(PICTURES), help="of all if none is given")
    names = parser.parse_args().names
    with tempfile.TemporaryDirectory() as home:
        surroundings = {k: v for k, v in os.environ.items() if k != "INTRA_FUSION_DATA"}
        surroundings["XDG_CACHE_HOME"] = home
        with (
            server.serving(surroundings, Path(home) / "log") as address,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=server.CHROMIUM, args=server.FLAGS)
            for name in names:
                page = browser.new_page(
                    viewport={"width": 1440, "height": 3200}, device_scale_factor=2,
                    color_scheme="light",
                )  # fmt: skip
                print(take(page, address, name).relative_to(server.ROOT))
                page.close()


if __name__ == "__main__":
    main()
