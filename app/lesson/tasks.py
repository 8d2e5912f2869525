"""When a lesson's task is done: conditions on what the page shows and on what a toy noticed."""

from __future__ import annotations

from collections.abc import Mapping

from app.link import ALWAYS, DEFAULT, SETTINGS, TABLES, VIEWS

#: Link values a task may ask for.
ASKED = (*dict.fromkeys((*ALWAYS, *TABLES, *SETTINGS, *VIEWS)), "channel", "rounds", "seed")
#: Of these, the numbers: they may also be asked for with a least or a most.
NUMBERS = ("group", "sparsity", "channel", "rounds", "seed", *SETTINGS)
LEAST, MOST, NOT = "_at_least", "_at_most", "_not"


def split(key: str) -> tuple[str, str]:
    """A condition's key as the name of a link value and how it is compared ("" for equality)."""
    for how in (LEAST, MOST, NOT):
        if key.endswith(how):
            return key.removesuffix(how), how
    return key, ""


def shown(link: Mapping[str, str]) -> dict[str, str]:
    """All values of a link, also those that are left out because they are the default."""
    recipe = {
        name: str(getattr(DEFAULT, name)) for name in (*TABLES, *SETTINGS, "rounds", "seed")
    }  # fmt: skip
    return recipe | {name: allowed[0] for name, allowed in VIEWS.items()} | dict(link)


def met(done: Mapping[str, object], link: Mapping[str, str], facts: Mapping[str, object]) -> bool:
    """Whether every condition holds for a link, as `app.link.write` gives it, and a toy's facts."""
    now = shown(link)
    return all(_holds(key, wanted, now, facts) for key, wanted in done.items())


def _holds(key: str, wanted: object, now: Mapping[str, str], facts: Mapping[str, object]) -> bool:
    if key == "fact":
        return bool(facts.get(str(wanted)))
    name, how = split(key)
    value = now.get(name)
    if wanted == "any":
        return value is not None
    if value is None:
        return False
    if name in NUMBERS:
        apart = float(value) - float(wanted)  # type: ignore[arg-type]
        return {
            LEAST: apart > -1e-9, MOST: apart < 1e-9, NOT: abs(apart) > 1e-9, "": abs(apart) < 1e-9,
        }[how]  # fmt: skip
    return (value == wanted) != (how == NOT)
