"""The theme's colours are those of the figures, legible, and everything it needs lies here."""

from __future__ import annotations

import re
import tomllib
from itertools import combinations
from pathlib import Path

import plotly.graph_objects as go
import pytest

import core
from app import charts, link
from app.figures import theme
from app.language import texts
from app.parts import slide

ROOT = Path(__file__).resolve().parent.parent
THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
MODES = ("light", "dark")


def linear(colour: str) -> list[float]:
    """Red, green and blue as light, 0 to 1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 has it: 1 to 21."""
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other))]
    return (max(light) + 0.05) / (min(light) + 0.05)


#: Machado et al. (2009), severity 1, on linear light: what two kinds of colour-blind eyes see.
EYES = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
               (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
               (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
               (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def seen(colour: str, eyes: str) -> list[float]:
    light = linear(colour)
    told = [sum(a * b for a, b in zip(row, light, strict=True)) for row in EYES[eyes]]
    return [max(0.0, part) ** (1 / 2.4) for part in told]


@pytest.mark.parametrize("mode", MODES)
def test_page_and_figures_share_their_colours(mode):
    told = THEME[mode]
    assert told["backgroundColor"] == theme.PAPER[mode]
    assert told["textColor"] == theme.INK[mode] and told["primaryColor"] == theme.FUSED[mode]
    assert told["chartCategoricalColors"] == theme.CATEGORIES[mode]
    assert told["chartSequentialColors"] == theme.sequence(mode)
    assert told["chartDivergingColors"] == theme.diverging(mode)
    assert theme.CATEGORIES[mode][:3] == [
        theme.DENSE[mode], theme.PRUNED[mode], theme.FUSED[mode],
    ]  # fmt: skip
    for scale in (theme.CATEGORIES, {mode: theme.sequence(mode)}, {mode: theme.diverging(mode)}):
        assert len(set(scale[mode])) == 10


@pytest.mark.parametrize("mode", MODES)
def test_text_and_categories_stand_out_from_what_lies_behind_them(mode):
    for behind in (THEME[mode]["backgroundColor"], THEME[mode]["secondaryBackgroundColor"]):
        assert contrast(THEME[mode]["textColor"], behind) >= 7
        assert contrast(THEME[mode]["linkColor"], behind) >= 4.5
        for colour in theme.CATEGORIES[mode]:
            assert contrast(colour, behind) >= 3, f"{colour} on {behind}"


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("mode", MODES)
def test_dense_pruned_and_fused_differ_for_every_eye(mode, eyes):
    for one, other in combinations(theme.CATEGORIES[mode][:3], 2):
        apart = sum((a - b) ** 2 for a, b in zip(seen(one, eyes), seen(other, eyes), strict=True))
        assert apart**0.5 > 0.15, (one, other)


def test_the_typeface_lies_here_with_its_licence_and_nothing_is_asked_from_elsewhere():
    there = ROOT / "app" / "static" / "fonts"
    named = {face["url"].rpartition("/")[2] for face in THEME["fontFaces"]}
    assert named == {file.name for file in there.glob("*.woff2")}
    assert all(face["url"].startswith("app/static/fonts/") for face in THEME["fontFaces"])
    assert "SIL OPEN FONT LICENSE" in (there / "LICENSE").read_text()
    assert sum(file.stat().st_size for file in there.iterdir()) < 200_000
    for family in re.findall(r"'([^']+)'", THEME["font"] + THEME["codeFont"]):
        assert family in {face["family"] for face in THEME["fontFaces"]}
    style = (ROOT / "app" / "style.css").read_text()
    assert "http" not in style and "@import" not in style


@pytest.mark.parametrize("height", [190, 634])
def test_a_figures_place_is_as_high_as_the_figure(height, monkeypatch):
    sent = {}
    monkeypatch.setattr(charts, "_chart", lambda **told: sent.update(told))
    figure = theme.layout(go.Figure(go.Bar(x=[1], y=[2])), "light", height=height)
    charts.chart(charts.as_json(figure), "key", "a bar")
    assert sent["height"] == height


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_slide_says_what_was_chosen_in_one_line(language):
    recipe = core.Recipe(
        groups=(2,), sparsity=0.7, rule="repaired", source="importance", epsilon=0.2, seed=4
    )
    line = slide.line(link.Choice("vgg11_bn-digits", 2, recipe, 9), texts(language))
    assert "\n" not in line
    values = [part.rpartition(" ")[2] for part in line.replace("\xa0%", "%").split(" · ")[1:]]
    assert values[:5] == ["2", "70%", "l1", "repaired", "exact"]
    assert sorted(values[5:]) == sorted(["importance", "0.2", "4", "9"])
    plain = slide.line(link.Choice("vgg11_bn-digits", 2, core.Recipe(groups=(2,))), texts(language))
    assert len(plain.split(" · ")) == 6, "what is as always goes without saying"


def test_figures_are_always_sent_whole():
    """What the browser is asked to keep it may have dropped when it is referred to."""
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from streamlit.runtime.forward_msg_cache import populate_hash_if_needed

    message = ForwardMsg()
    message.delta.new_element.markdown.body = "x" * 30_000_000
    populate_hash_if_needed(message)
    assert message.hash and not message.metadata.cacheable
