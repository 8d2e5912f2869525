"""The lessons' toys: small live pictures that a viewer plays with, each computed by `core`.

A lesson's step names one and gives it settings, strings all of them (`FIELDS`); what the viewer
then does stands in `st.session_state["facts"]` as {fact: True} (`FACTS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.language import Texts
from app.toys import folding, networks, norm, problem, puzzle, transport
from core.errors import RecipeError

#: Name → (texts, settings) → draws it where it is called.
TOYS: dict[str, Callable[[Texts, Mapping[str, str]], None]] = {
    "transport": transport.show,
    "puzzle": puzzle.show,
    "folding": folding.show,
}
#: Facts that each toy can write.
FACTS: dict[str, tuple[str, ...]] = {
    "transport": transport.FACTS,
    "puzzle": puzzle.FACTS,
    "folding": folding.FACTS,
}
#: Toy → setting → what it means, and what it is unless said.
FIELDS: dict[str, dict[str, str]] = {
    toy: {
        name: f"{field.about} (unless said: {field.default or 'empty'})"
        for name, field in fields.items()
    }
    for toy, fields in (
        ("transport", problem.FIELDS), ("puzzle", networks.FIELDS), ("folding", norm.FIELDS)
    )
}  # fmt: skip
_READERS = {"transport": problem.scene, "puzzle": networks.puzzle, "folding": norm.layer}


def check(toy: str, settings: Mapping[str, str]) -> None:
    """Refuse settings that a toy could not be drawn with, before a lesson shows it.

    Raises
    ------
    RecipeError
        If there is no such toy or setting, or a value can't be read.
    """
    if toy not in TOYS:
        raise RecipeError(f"There is no toy {toy!r}. There are {', '.join(TOYS)}.")
    _READERS[toy](settings)
