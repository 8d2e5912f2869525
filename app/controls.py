"""Widgets and the link → a choice of network, images and recipe, always valid.

The link carries the choices under the recipe's own names. It is read once, when a session opens;
afterwards it follows the widgets. A widget's limits hold in the browser only, so everything that
comes in is checked here before it reaches any work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import streamlit as st

import core
from app import cache
from core import zoo
from core.errors import ExplorerError
from core.importance import IMPORTANCES
from core.measures import KEEPS
from core.projection import RULES
from core.recipe import CHOICES
from core.transport import SOLVERS

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
    """A number of the recipe that some choices read: its slider's label, ends and step."""

    label: str
    least: float
    most: float
    step: float
    format: str


SETTINGS = {
    "epsilon": Setting("ε, as a share of the mean cost", 0.005, 1.0, 0.005, "%.3f"),
    "relaxation": Setting("What missing a mass costs, in mean costs", 0.05, 5.0, 0.05, "%.2f"),
    "share": Setting("Share of the mass that is moved", 0.05, 1.0, 0.05, "%.2f"),
    "temperature": Setting("Temperature of the softmax", 0.1, 5.0, 0.1, "%.1f"),
}
#: The session's choices that are widgets' values.
CHOSEN = ("group", "percent", *TABLES, *SETTINGS, "rounds", "seed")
#: Rounds at most: each takes as long as one.
MOST_ROUNDS = 8
#: Always in the link; the others only where they differ from the default.
ALWAYS = ("network", "group", "sparsity", "importance", "rule", "solver")


@dataclass(frozen=True)
class Choice:
    """What the person has chosen: a network, a recipe for one of its groups, perhaps a channel."""

    network: str
    group: int
    recipe: core.Recipe
    channel: int | None = None

    @property
    def pruning(self) -> core.Recipe:
        """The same with plain pruning, its fields for transport at their defaults.

        They change nothing for pruning, so that all fusions of a group share one pruned network.
        """
        same = ["sparsity", "importance", "rounds", "seed"]
        if IMPORTANCES[self.recipe.importance].needs != "nothing":
            same += ["data", "samples"]
        kept = {name: getattr(self.recipe, name) for name in same}
        return core.Recipe(groups=self.recipe.groups, rule="select", **kept)


def read_link(default_network: str) -> list[str]:
    """Read what the session opens with from the link, once; return a note for all not taken.

    The choices become the widgets' own defaults. Written into the session's state instead they
    could be lost: a browser that misses the first run (a theme noticed late has the page drawn
    again) answers with defaults of its own.
    """
    if "opened" in st.session_state:
        return []
    state: dict = {}
    st.session_state["opened"] = state
    notes: list[str] = []
    given = st.query_params

    def choice(name: str, allowed, default):
        value = given.get(name, default)
        if value not in allowed:
            notes.append(
                f"The link asks for {name} “{_shown(value)}”, which does not exist; “{default}” is "
                f"shown instead. Possible: {', '.join(map(str, allowed))}."
            )
            value = default
        state[name] = value

    def number(name: str, low: float, high: float, default, whole: bool):
        text = given.get(name, str(default))
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # also if it is not a number
            instead = "none" if default is None else default
            notes.append(
                f"The link asks for {name} “{_shown(text)}”; it must lie between {low} and {high}. "
                f"{instead} is shown instead."
            )
            value = default
        return value

    choice("network", zoo.shipped(), default_network)
    for name, table in TABLES.items():
        choice(name, tuple(table), getattr(DEFAULT, name))
    share = number("sparsity", LEAST / 100, MOST / 100, DEFAULT.sparsity, whole=False)
    state["percent"] = round(100 * share / STEP) * STEP
    if abs(state["percent"] - 100 * share) > 1e-6:
        notes.append(
            f"The link asks for a sparsity of {share}; the slider moves in steps of {STEP} %, "
            f"{state['percent'] / 100} is shown."
        )
    for name, setting in SETTINGS.items():
        default = getattr(DEFAULT, name)
        state[name] = number(name, setting.least, setting.most, default, whole=False)
    state["rounds"] = number("rounds", 1, MOST_ROUNDS, DEFAULT.rounds, whole=True)
    state["seed"] = number("seed", 0, 9999, DEFAULT.seed, whole=True)
    try:
        groups = len(cache.network(state["network"]).graph.groups)
    except ExplorerError:
        groups = 0  # the page says what is wrong with the network
    if groups:
        fallback = min(6, groups - 1)
        state["group"] = number("group", 0, groups - 1, fallback, whole=True)
    else:
        state["group"] = 0
    state["channel"] = None
    if groups and "channel" in given:
        width = cache.network(state["network"]).graph.groups[state["group"]].width
        state["channel"] = number("channel", 0, width - 1, None, whole=True)
    known = {*ALWAYS, *TABLES, *SETTINGS, "channel", "rounds", "seed", "embed", "embed_options"}
    for name in given:
        if name not in known:
            notes.append(f"The link holds “{_shown(name)}”, which means nothing here.")
    return notes


def _shown(text: object) -> str:
    text = "".join(c for c in str(text) if c.isprintable() and c not in "`*_[]<>$\\")
    return text if len(text) <= 40 else text[:40] + "…"


def write_link(choice: Choice) -> None:
    """Let the link follow the choices."""
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
    extra = {k: v for k, v in st.query_params.items() if k in ("embed", "embed_options")}
    if dict(st.query_params) != link | extra:
        st.query_params.from_dict(link | extra)


def network_title(name: str) -> str:
    """A network with its data and its accuracy, as its card tells it."""
    try:
        card = zoo.card(name)
    except ExplorerError:
        return f"{zoo.network(name).title} (card missing)"
    return f"{zoo.network(name).title} · {100 * card.accuracy:.1f} %"


def pick_network() -> str:
    """The network's select box."""
    with st.sidebar:
        return st.selectbox(
            "Network",
            zoo.shipped(),
            index=zoo.shipped().index(st.session_state["opened"]["network"]),
            format_func=network_title,
            key="network",
            help="With the images it was trained on and its recorded accuracy on the test images.",
        )


def _select(label: str, name: str) -> str:
    table = TABLES[name]
    return st.selectbox(
        label,
        list(table),
        index=list(table).index(st.session_state["opened"][name]),
        key=name,
        help="  \n".join(f"**{key}**: {about}" for key, about in table.items()),
    )


def _slider(name: str) -> None:
    setting = SETTINGS[name]
    st.slider(
        setting.label, setting.least, setting.most, st.session_state["opened"][name], setting.step,
        format=setting.format, key=name,
    )  # fmt: skip


#: Less frequent choices, and their labels.
MORE = {
    "keep": "What stays",
    "source": "Source masses",
    "target": "Target masses",
    "cost": "Cost",
    "features": "Features",
}


def pick_recipe(loaded: cache.Loaded) -> Choice:
    """All other widgets; the returned recipe is valid for the network."""
    state = st.session_state
    groups = loaded.graph.groups
    # Streamlit forgets the value of a widget it did not draw: another solver's, or all of them
    # after an error. Here nothing is forgotten.
    kept = state.setdefault("kept_choices", {})
    for name in CHOSEN:
        if name not in state and name in kept:
            state[name] = kept[name]
    opened = state["opened"]
    first = min(opened["group"], len(groups) - 1)
    if "group" in state and state["group"] not in range(len(groups)):
        state["group"] = min(6, len(groups) - 1)  # the new network has fewer
    with st.sidebar:
        group = st.selectbox(
            "Group of layers that shrink together",
            range(len(groups)),
            index=first,
            format_func=lambda index: f"{index} · {groups[index].title}",
            key="group",
            help="Group 0 is nearest the output. Clicking a layer in the graph chooses its group.",
        )
        percent = st.slider(
            "Sparsity",
            LEAST,
            MOST,
            opened["percent"],
            STEP,
            format="%d %%",
            key="percent",
            help="Share of the group's channels that are discarded.",
        )
        importance = _select("Importance", "importance")
        st.caption(TABLES["importance"][importance])
        rule = _select("Fusion rule", "rule")
        st.caption(TABLES["rule"][rule])
        solver = kept.get("solver", opened["solver"])
        if RULES[rule].project is not None:
            solver = _select("Solver", "solver")
            st.caption(TABLES["solver"][solver])
            for name in SOLVERS[solver].reads:
                _slider(name)
        channel = _pick_channel(loaded, int(group))
        with st.expander("More choices"):
            more = {name: _select(label, name) for name, label in MORE.items()}
            if "softmax" in (more["source"], more["target"]):
                _slider("temperature")
            rounds = st.number_input(
                "Rounds", 1, MOST_ROUNDS, opened["rounds"], 1, key="rounds",
                help="In how many rounds the group shrinks; each looks anew at the importance of "
                "the channels that the one before has left.",
            )  # fmt: skip
            seed = st.number_input("Seed", 0, 9999, opened["seed"], 1, key="seed")
    kept |= {name: state[name] for name in CHOSEN if name in state}
    settings = {name: float(kept.get(name, opened[name])) for name in SETTINGS}
    recipe = core.Recipe(
        groups=(int(group),), sparsity=percent / 100, importance=importance, rule=rule,
        solver=solver, seed=int(seed), rounds=int(rounds), **more, **settings,
    )  # fmt: skip
    if cache.sees_images(recipe):
        recipe = recipe.replace(data=zoo.network(loaded.name).images)
    return Choice(loaded.name, int(group), recipe, channel)


def _pick_channel(loaded: cache.Loaded, group: int) -> int | None:
    """The channel to look at closely; another group's numbers mean other channels."""
    state, opened = st.session_state, st.session_state["opened"]
    before, now = state.get("channel_of"), (loaded.name, group)
    first = opened["channel"] if before in (None, now) else None
    if before not in (None, now):
        state["channel"] = opened["channel"] = None
    state["channel_of"] = now
    chosen = st.number_input(
        "Channel", 0, loaded.graph.groups[group].width - 1, first, 1, key="channel",
        placeholder="none",
        help="One channel to look at closely, in all pictures. Clicking it in a picture chooses "
        "it, too.",
    )  # fmt: skip
    if chosen is None:
        return None

    def none() -> None:
        state["channel"] = opened["channel"] = None

    st.button("Look at no channel", on_click=none, type="tertiary", icon=":material/close:")
    return int(chosen)


def choose_channel(loaded: cache.Loaded, group: int, channel: object) -> None:
    """Let a click in a picture choose a channel; what a browser sends is checked."""
    if type(channel) is int and 0 <= channel < loaded.graph.groups[group].width:
        st.session_state["channel"] = channel
