"""The link: everything a page shows, as a query, and back. No Streamlit in it.

A link carries the choices under the recipe's own names, and what is looked at. Whatever comes in is
checked here before it reaches any work: what is not allowed falls back, with a note.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import core
from app.language import LANGUAGES, Texts
from core import zoo
from core.measures import KEEPS
from core.projection import RULES
from core.recipe import CHOICES, looks, plain

#: Rules the page compares with plain pruning, which it always shows.
FUSIONS = {name: rule for name, rule in RULES.items() if name != "select"}

#: Sparsity in percent: the slider's ends and step. Nine tenths is where groups are all but gone.
LEAST, MOST, STEP = 5, 95, 5
SPARSITIES = tuple(percent / 100 for percent in range(LEAST, MOST + 1, STEP))

#: The choices of a recipe that have a table: field → {key: one line}. Channels are kept by hand
#: where they can be listed: in the library and on the command line.
TABLES: dict[str, dict[str, str]] = {
    name: table for name, table in CHOICES.items() if name not in ("order", "synthetic")
} | {
    "rule": {name: row.about for name, row in FUSIONS.items()},
    "keep": {name: row.about for name, row in KEEPS.items() if name != "by-hand"},
}
DEFAULT = core.Recipe(groups=(6,), sparsity=0.5)


@dataclass(frozen=True)
class Setting:
    """A number of the recipe that some choices read: its slider's ends and step."""

    least: float
    most: float
    step: float
    format: str


SETTINGS = {
    "epsilon": Setting(0.005, 1.0, 0.005, "%.3f"),
    "relaxation": Setting(0.05, 5.0, 0.05, "%.2f"),
    "share": Setting(0.05, 1.0, 0.05, "%.2f"),
    "temperature": Setting(0.1, 5.0, 0.1, "%.1f"),
}
#: Rounds at most: each takes as long as one.
MOST_ROUNDS = 8
#: The largest seed of the page's field.
MOST_SEED = 9999
#: Always in the link; the others only where they differ from the default.
ALWAYS = ("network", "group", "sparsity", "importance", "rule", "solver")
#: What is looked at, and how: name → what it may be, the default first. They change no number.
VIEWS: dict[str, tuple[str, ...]] = {
    "plan": ("heatmap", "ribbons", "table"),
    "order": ("structure", "channel", "cost"),
    "zoom": ("no", "yes"),
    "picture": ("umap", "pca"),
    "graph": ("auto", "folded", "unfolded"),
    "predict": ("no", "yes"),
    "text": ("normal", "large"),
    "seeds": ("1", "3", "5"),
    "numbers": ("recorded", "here"),
    "images": ("1000", "all"),
    "spread": ("even", "budget"),
    "batch": ("1", "32"),
    "shrunk": ("all", "group"),
    "far": ("histogram", "class"),
    "height": ("accuracy", "loss"),
    "epochs": ("3", "1", "10"),
    "trained_on": ("5000", "1000", "all"),
    "split": ("halves-2", "halves-4", "folds-3", "folds-4"),
    "inside": ("fusion", "pruning"),
    "fused_in": ("fap", "paf"),
    "ablation": ("masses", "random", "solvers", "quality", "corruption", "spoiled"),
}
#: What is drawn beside the choice on the page Sweep: name → what the list may hold; groups are the
#: network's.
BESIDE: dict[str, tuple[str, ...]] = {
    "groups": (),
    "rules": tuple(FUSIONS),
    "importances": tuple(TABLES["importance"]),
    "solvers": tuple(TABLES["solver"]),
}
#: Of rules, importances and solvers at most so many: more lines nobody tells apart.
MOST_BESIDE = 2
#: Streamlit's own, which are left as they are.
STREAMLIT = ("embed", "embed_options")


@dataclass(frozen=True)
class Choice:
    """What the person has chosen: a network, a recipe for one of its groups, perhaps a channel."""

    network: str
    group: int
    recipe: core.Recipe
    channel: int | None = None

    @property
    def pruning(self) -> core.Recipe:
        """The same with plain pruning."""
        return plain(self.recipe)


def sees_images(recipe: core.Recipe) -> bool:
    """Whether images choose something: then they come from the training split."""
    return looks(recipe.importance, recipe.rule)


def choice_of(state: Mapping) -> Choice:
    """What a state says: its network, its recipe, its channel."""
    recipe = core.Recipe(
        groups=(state["group"],), sparsity=state["percent"] / 100, rounds=state["rounds"],
        seed=state["seed"],
        **{name: state[name] for name in (*TABLES, *SETTINGS)},
    )  # fmt: skip
    if sees_images(recipe):
        recipe = recipe.replace(data=zoo.network(state["network"]).images)
    return Choice(state["network"], state["group"], recipe, state["channel"])


def read(
    given: Mapping[str, str],
    default_network: str,
    widths: Callable[[str], tuple[int, ...]],
    say: Texts,
    lessons: Mapping[str, int] | None = None,
) -> tuple[dict, list[str]]:
    """A state from a link, and a note for everything that was not taken.

    `widths` tells how many channels each group of a network has; none where that can't be known.
    `lessons` tells how many steps each lesson has. The state holds the widgets' values by their
    keys, `percent` for the sparsity, `pin` as a `Choice` or None, `lesson` and `step` or None.
    """
    state: dict = {}
    notes: list[str] = []

    def choice(name: str, allowed, default):
        value = given.get(name, default)
        if value not in allowed:
            notes.append(
                say("link.no_choice", name=name, value=_shown(value), instead=default,
                    possible=", ".join(map(str, allowed)))
            )  # fmt: skip
            value = default
        state[name] = value

    def number(name: str, low: float, high: float, default, whole: bool):
        text = given.get(name, str(default))
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = default if text == "None" and default is None else math.nan
        if value is not None and not low <= value <= high:  # also if it is not a number
            instead = say("link.none") if default is None else default
            notes.append(
                say("link.no_number", name=name, value=_shown(text), low=low, high=high,
                    instead=instead)
            )  # fmt: skip
            value = default
        return value

    choice("network", zoo.shipped(), default_network)
    for name, table in TABLES.items():
        choice(name, tuple(table), getattr(DEFAULT, name))
    share = number("sparsity", LEAST / 100, MOST / 100, DEFAULT.sparsity, whole=False)
    state["percent"] = round(100 * share / STEP) * STEP
    if abs(state["percent"] - 100 * share) > 1e-6:
        notes.append(say("link.step", share=share, step=STEP, instead=state["percent"] / 100))
    for name, setting in SETTINGS.items():
        default = getattr(DEFAULT, name)
        state[name] = number(name, setting.least, setting.most, default, whole=False)
    state["rounds"] = number("rounds", 1, MOST_ROUNDS, DEFAULT.rounds, whole=True)
    state["seed"] = number("seed", 0, MOST_SEED, DEFAULT.seed, whole=True)
    there = widths(state["network"])
    state["group"], state["channel"] = 0, None
    if there:
        fallback = min(6, len(there) - 1)
        state["group"] = number("group", 0, len(there) - 1, fallback, whole=True)
        if "channel" in given:
            last = there[state["group"]] - 1
            state["channel"] = number("channel", 0, last, None, whole=True)
    for name, allowed in VIEWS.items():
        choice(name, allowed, allowed[0])
    for name, allowed in BESIDE.items():
        allowed = allowed or tuple(map(str, range(len(there))))
        most = len(allowed) if name == "groups" else MOST_BESIDE
        asked = list(filter(None, given.get(name, "").split(",")))
        state[name] = [one for one in dict.fromkeys(asked) if one in allowed][:most]
        if state[name] != asked:
            notes.append(
                say("link.no_choice", name=name, value=_shown(given[name]),
                    instead=",".join(state[name]) or say("link.none"),
                    possible=", ".join(allowed))
            )  # fmt: skip
    choice("lang", tuple(LANGUAGES), say.language)
    state["lesson"] = state["step"] = None
    if "lesson" in given:
        choice("lesson", tuple(lessons or ()), None)
    if state["lesson"]:
        state["step"] = number("step", 1, (lessons or {})[state["lesson"]], 1, whole=True)
    state["pin"] = None
    if "pin" in given:
        pinned = {k: v for k, v in from_query(given["pin"]).items() if k in PINNED}
        told, more = read(pinned, state["network"], widths, say)
        state["pin"] = choice_of(told)
        notes += [say("link.of_pin", note=note) for note in more]
    known = {*ALWAYS, *TABLES, *SETTINGS, *VIEWS, *BESIDE, *STREAMLIT, *ELSEWHERE}
    for name in given:
        if name not in known:
            notes.append(say("link.unknown", name=_shown(name)))
    return state, notes


#: Read above one by one, not from a table.
ELSEWHERE = ("channel", "rounds", "seed", "lang", "lesson", "step", "pin")
#: What a pinned setting holds.
PINNED = {*ALWAYS, *TABLES, *SETTINGS, "rounds", "seed"}


def _shown(text: object) -> str:
    text = "".join(c for c in str(text) if c.isprintable() and c not in "`*_[]<>$\\")
    return text if len(text) <= 40 else text[:40] + "…"


def write(choice: Choice, views: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The link of a choice and of what differs from the default in how it is looked at.

    `views`: also the language, lesson, step and pin, each as it stands in the link, or None.
    """
    recipe = choice.recipe
    link = {
        "network": choice.network,
        "group": str(choice.group),
        "sparsity": f"{recipe.sparsity:g}",
        "importance": recipe.importance,
        "rule": recipe.rule,
        "solver": recipe.solver,
    }
    if choice.channel is not None:
        link["channel"] = str(choice.channel)
    for name in (*(name for name in TABLES if name not in ALWAYS), *SETTINGS, "rounds", "seed"):
        if (value := getattr(recipe, name)) != getattr(DEFAULT, name):
            link[name] = f"{value:g}" if isinstance(value, float) else str(value)
    for name, value in (views or {}).items():
        if value and value != VIEWS.get(name, ("",))[0]:
            link[name] = value
    return link


def as_query(link: Mapping[str, str]) -> str:
    """A link as what stands behind the question mark."""
    return urlencode(dict(link))


def from_query(query: str) -> dict[str, str]:
    """What stands behind the question mark, as a mapping; of what is named twice, the last."""
    return dict(parse_qsl(query, keep_blank_values=True))


def as_json(link: Mapping[str, str]) -> str:
    """A page's state as a file."""
    return json.dumps({"intra-fusion": dict(link)}, indent=2) + "\n"
