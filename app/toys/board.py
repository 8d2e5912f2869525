"""Put points on the page that can be dragged, or moved with the arrow keys (`board.js`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import streamlit as st

_board = st.components.v2.component(
    "board", js=(Path(__file__).parent / "board.js").read_text("utf-8"), isolate_styles=False
)


def board(
    told: dict,
    key: str,
    answer: int,
    moved: Callable[[int, float, float, int], None],
    chosen: Callable[[int], None],
) -> None:
    """Draw `app.figures.toys.board`.

    `moved` is called with a point's place, where it is now, and the number of the move; `answer` is
    the number of the last move that `told` knows of. `chosen` is called with a point's place.
    """
    count = len(told["points"])

    def on_moved() -> None:  # what a browser sends is checked
        match st.session_state[key].moved:
            case [int(place), (int() | float()) as x, (int() | float()) as y, int(number)]:
                if 0 <= place < count and math.isfinite(x) and math.isfinite(y):
                    moved(place, float(x), float(y), number)

    def on_chosen() -> None:
        place = st.session_state[key].chosen
        if type(place) is int and 0 <= place < count:
            chosen(place)

    sent = json.dumps(told | {"answer": answer}).encode()
    _board(key=key, data=sent, on_moved_change=on_moved, on_chosen_change=on_chosen)
