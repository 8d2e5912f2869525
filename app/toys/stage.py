"""What the toys share: settings read from a lesson, what the viewer has achieved, what they hold.

A lesson hands a toy strings. They are read and checked here, so that a teacher who mistypes one
gets a sentence and no broken page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.errors import RecipeError


@dataclass(frozen=True)
class Field:
    """A setting of a toy: what it means, what it is unless said, and string → value.

    `read` raises ValueError with what is needed ("a number from 0 to 1").
    """

    about: str
    default: str
    read: Callable[[str], Any]


def read(toy: str, fields: Mapping[str, Field], settings: Mapping[str, str]) -> dict[str, Any]:
    """All settings of a toy by their names, those not given at their defaults.

    Raises
    ------
    RecipeError
        If there is no such setting, or its value can't be read.
    """
    for name in settings:
        if name not in fields:
            raise RecipeError(
                f"The toy {toy!r} has no setting {name!r}. It has {', '.join(fields)}."
            )
    values = {}
    for name, field in fields.items():
        given = settings.get(name, field.default)
        try:
            values[name] = field.read(str(given).strip())
        except ValueError as error:
            raise RecipeError(
                f"The setting {name!r} of the toy {toy!r} is {given!r}; it must be {error}."
            ) from error
    return values


def one_of(*allowed: str) -> Callable[[str], str]:
    """Reads one of some words."""

    def reads(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return reads


def some_of(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """Reads some of some words, with commas between them."""

    def reads(text: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        if not words or any(word not in allowed for word in words):
            raise ValueError(f"some of {', '.join(allowed)}, with commas between them")
        return words

    return reads


def number(low: float, high: float, whole: bool = False) -> Callable[[str], float]:
    """Reads a number from `low` to `high`."""
    what = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}"

    def reads(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # also if it is not a number
            raise ValueError(what)
        return value

    return reads


def numbers(low: float, high: float, whole: bool = False) -> Callable[[str], tuple[float, ...]]:
    """Reads numbers with commas between them; none from an empty text."""
    single = number(low, high, whole)

    def reads(text: str) -> tuple[float, ...]:
        try:
            return tuple(single(part) for part in text.split(",")) if text else ()
        except ValueError as error:
            what = str(error).removeprefix("a ").replace("number", "numbers", 1)
            raise ValueError(f"{what}, with commas between them") from error

    return reads


def achieved(fact: str) -> None:
    """Remember what the viewer has done, where lessons look for it."""
    st.session_state.setdefault("facts", {})[fact] = True


def held(toy: str, scene: object, make: Callable[[], dict]) -> dict:
    """What a viewer has made of a toy: `make()` at first, and anew where a lesson sets another.

    Streamlit forgets the values of widgets it does not draw; here they stay.
    """
    state, key = st.session_state, f"toy_{toy}"
    if key not in state or state[key]["scene"] != scene:
        version = state[key]["version"] + 1 if key in state else 0
        state[key] = make() | {"scene": scene, "version": version}
    return state[key]


def playing(draw: Callable[[], None]) -> None:
    """Draw a toy as a part of its own: a move redraws it alone, and all else once a fact is new."""
    known = set(st.session_state.setdefault("facts", {}))

    def part() -> None:
        draw()
        if set(st.session_state["facts"]) != known:
            st.rerun()

    st.fragment(part)()
