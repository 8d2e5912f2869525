"""What moves in the browser, above the picture of the channels: the sparsity played, the story.

The story is told once in a browser's session: points travel from the discarded channels along their
lines to where their mass goes. Both need no more than the figures the page shows anyway.
`motion.js` holds what they share, `story.js` and `player.js` each one of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

from app.language import Texts

HERE = Path(__file__).parent

_motion = st.components.v2.component(
    "motion",
    js="".join((HERE / name).read_text("utf-8") for name in ("motion.js", "story.js", "player.js")),
    isolate_styles=False,
)


@dataclass(frozen=True)
class Played:
    """What a chart is given at one sparsity (`app.charts.chart`): its figure as JSON, and so on."""

    sparsity: float
    figure: str
    alt: str
    over: Sequence[go.Scatter]


def motion(
    key: str,
    around: str,
    say: Texts,
    sparsity: float,
    preparing: bool,
    played: Sequence[Played],
    story: str | None,
    asked: Callable[[], None],
    stopped: Callable[[], None],
) -> None:
    """A button that plays frames in the chart that stands in the container of the key `around`.

    Parameters
    ----------
    sparsity : the slider's, to which the chart goes back.
    preparing : whether frames are being made. played : the frames, none until they are asked for.
    story : what the story's caption says; None for no story.
    asked, stopped : called when somebody presses Play and there are no frames yet, and when they
        want them no longer.
    """
    told = {
        "around": "st-key-" + re.sub(r"[^a-zA-Z0-9_-]", "-", around.strip()),
        "preparing": preparing,
        "story": story,
        "words": {
            "play": say("scatter.play"),
            "pause": say("scatter.pause"),
            "stop": say("scatter.stop"),
            "back": say("scatter.back", share=sparsity),
        },
    }
    sent = frames(played, say)
    # The frames' name stands first: the browser reads what follows only if it has others.
    name = hashlib.blake2b(sent.encode(), digest_size=8).hexdigest()
    whole = "\n".join((name, json.dumps(told), sent)).encode()
    _motion(key=key, data=whole, on_asked_change=asked, on_stopped_change=stopped)


def frames(played: Sequence[Played], say: Texts) -> str:
    """Frames as the browser is sent them: a list of figures with what is laid over each."""
    told = []
    for frame in played:
        label = json.dumps(say("scatter.at", share=frame.sparsity))
        over = ", ".join(trace.to_json() for trace in frame.over)
        told.append(
            f'{{"label": {label}, "alt": {json.dumps(frame.alt)}, "over": [{over}], '
            f'"figure": {frame.figure}}}'
        )
    return f"[{', '.join(told)}]"
