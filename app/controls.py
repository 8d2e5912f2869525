"""Widgets → a choice of network, images and recipe, always valid; and the link that follows them.

The link is read once, when a session opens; afterwards it follows the widgets. A widget's limits
hold in the browser only, so everything that comes in is checked (`app.link`) before any work.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app import cache, link, values
from app.language import LANGUAGES, Texts
from app.link import BESIDE, MOST_BESIDE, SETTINGS, TABLES, VIEWS, Choice
from app.speech import browsers, speech
from core import zoo
from core.errors import ExplorerError
from core.projection import RULES
from core.transport import SOLVERS

#: The session's choices that are widgets' values, and the keys of those of how it is looked at.
VIEW_KEYS = {name: f"view_{name}" for name in VIEWS}
BESIDE_KEYS = {name: f"beside_{name}" for name in BESIDE}
CHOSEN = (
    "group", "percent", *TABLES, *SETTINGS, "rounds", "seed", *VIEW_KEYS.values(),
    *BESIDE_KEYS.values(),
)  # fmt: skip


def widths(name: str) -> tuple[int, ...]:
    """How many channels each group of a network has; none where it can't be loaded."""
    try:
        return tuple(group.width for group in cache.network(name).graph.groups)
    except ExplorerError:
        return ()  # the page says what is wrong with the network


def read_link(default_network: str) -> list[str]:
    """Read what the session opens with from the link, once; return a note for all not taken.

    The choices become the widgets' own defaults. Written into the session's state instead they
    could be lost: a browser that misses the first run (a theme noticed late has the page drawn
    again) answers with defaults of its own.
    """
    if "opened" in st.session_state:
        return []
    lessons, _ = cache.lessons()
    given = dict(st.query_params)
    if given.get("lesson") in lessons and "network" not in given:
        # A link that names a step and no choice opens the step's own view.
        lesson, step = lessons[given["lesson"]], given.get("step", "1")
        number = int(step) if step.isdecimal() and 1 <= int(step) <= len(lesson) else 1
        given = dict(lesson.state(number)) | given
    lengths = {name: len(lesson) for name, lesson in lessons.items()}
    opened, notes = link.read(given, default_network, widths, speech(), lengths)
    st.session_state["opened"] = opened
    for name in ("pin", "lesson", "step"):
        st.session_state[name] = opened[name]
    return notes


def open_state(told: dict) -> None:
    """Show another state, as `link.read` gives it; for callbacks, before widgets are drawn."""
    state = st.session_state
    state["channel_of"] = (told["network"], told["group"])
    for name in ("lesson", "step", "pin"):
        state[name] = told[name]
    for name in ("network", "lang", "channel", *CHOSEN):
        values.put(name, told[values.plain(name)])
    state["opened"] = dict(told)
    state["kept_choices"] = {name: told[values.plain(name)] for name in CHOSEN}


def show_link(given: Mapping[str, str]) -> None:
    """Show what a link says from the next run on. For callbacks: before widgets are drawn.

    The size of letters, the language and the open lesson are the viewer's and stay.
    """
    state = st.session_state
    stays = {"text": view("text"), "lang": speech().language}
    told, _ = link.read(dict(given) | stays, state["opened"]["network"], widths, speech())
    open_state(told | {name: state.get(name) for name in ("lesson", "step")})


def link_of(given: Mapping[str, str]) -> dict[str, str]:
    """What `write_link` would tell of the choices that a link makes."""
    told, _ = link.read(given, st.session_state["opened"]["network"], widths, speech())
    views = {name: told[name] for name in VIEWS}
    return link.write(link.choice_of(told), views | {name: ",".join(told[name]) for name in BESIDE})


def write_link(choice: Choice) -> dict[str, str]:
    """Let the link follow the choices; returns it."""
    state = st.session_state
    views: dict[str, str | None] = {name: view(name) for name in VIEWS}
    chosen = {name: getattr(choice.recipe, name[:-1], "") for name in BESIDE}
    chosen["groups"] = str(choice.group)
    there = {**BESIDE, "groups": tuple(map(str, range(len(widths(choice.network)))))}
    for name, allowed in there.items():  # what is the choice itself does not stand beside it
        told = [one for one in beside(name) if one in allowed and one != chosen[name]]
        views[name] = ",".join(told)
    now = speech().language
    views["lang"] = now if now != browsers() else None  # the browser's own goes without saying
    if state.get("lesson"):
        views |= {"lesson": state["lesson"], "step": str(state["step"])}
    if state.get("pin"):
        views["pin"] = link.as_query(link.write(state["pin"]))
    told = link.write(choice, views)
    extra = {k: v for k, v in st.query_params.items() if k in link.STREAMLIT}
    if dict(st.query_params) != told | extra:
        st.query_params.from_dict(told | extra)
    return told


def view(name: str) -> str:
    """How something is looked at: one of `VIEWS[name]`."""
    key = VIEW_KEYS[name]
    drawn = st.session_state.get(values.key(key))
    return drawn or st.session_state.get("kept_choices", {}).get(key) or values.first(name)


def pick_view(name: str, options: tuple[str, ...] | None = None, labelled: bool = False) -> str:
    """A row of buttons for how something is looked at, with some of its options or all."""
    say = speech()
    options = options or VIEWS[name]
    now = view(name)
    if now not in options:  # chosen where there were more
        now = options[0]
        values.put(VIEW_KEYS[name], now)
    return st.segmented_control(
        say(f"view.{name}.label"), options, default=now,
        format_func=lambda key: say(f"view.{name}.{key}"), key=values.key(VIEW_KEYS[name]),
        required=True,
        label_visibility="visible" if labelled else "collapsed",
    )  # fmt: skip


def beside(name: str) -> list[str]:
    """What is drawn beside the choice: some of `BESIDE[name]`."""
    state, key = st.session_state, BESIDE_KEYS[name]
    for found in (state.get(values.key(key)), state.get("kept_choices", {}).get(key)):
        if found is not None:
            return list(found)
    return list(values.first(key))


def pick_beside(name: str, options: Mapping[str, str], pills: bool = False) -> list[str]:
    """Several of `options` (value → what it is called), to be drawn beside the choice."""
    say, key, before = speech(), BESIDE_KEYS[name], beside(name)
    now = [one for one in before if one in options]  # what is the choice itself now is not
    if now != before:
        values.put(key, now)
    words = dict(default=now, format_func=options.__getitem__, key=values.key(key))
    if pills:
        return st.pills(say(f"beside.{name}"), list(options), selection_mode="multi", **words)
    return st.multiselect(
        say(f"beside.{name}"), list(options), max_selections=MOST_BESIDE,
        placeholder=say("beside.none"), **words,
    )  # fmt: skip


def pick_language() -> None:
    """The language and the size of letters, at the sidebar's end."""
    with st.sidebar:
        st.segmented_control(
            speech()("controls.language"), tuple(LANGUAGES), default=speech().language,
            format_func=LANGUAGES.__getitem__, key=values.key("lang"), required=True,
        )  # fmt: skip
        pick_view("text", labelled=True)


def network_title(name: str, say: Texts) -> str:
    """A network with its data and its accuracy, as its card tells it."""
    try:
        card = zoo.card(name)
    except ExplorerError:
        return f"{zoo.network(name).title} ({say('controls.card_missing')})"
    return f"{zoo.network(name).title} · {say.number(card.accuracy, '.1%')}"


def pick_network() -> str:
    """The network's select box."""
    say = speech()
    with st.sidebar:
        return st.selectbox(
            say("controls.network"),
            zoo.shipped(),
            index=zoo.shipped().index(st.session_state["opened"]["network"]),
            format_func=lambda name: network_title(name, say),
            key=values.key("network"),
            help=say("controls.network_help"),
        )


def _select(name: str, explained: bool = False) -> str:
    """The box of a choice that has a table; `explained` writes the chosen line beneath it."""
    say, table = speech(), TABLES[name]
    lines = {key: say.about(name, key, about) for key, about in table.items()}
    chosen = st.selectbox(
        say(f"controls.{name}"),
        list(table),
        index=list(table).index(st.session_state["opened"][name]),
        key=values.key(name),
        help="  \n".join(f"**{key}**: {line}" for key, line in lines.items()),
    )
    if explained:
        st.caption(lines[chosen])
    return chosen


def _slider(name: str) -> None:
    setting = SETTINGS[name]
    st.slider(
        speech()(f"controls.{name}"), setting.least, setting.most,
        st.session_state["opened"][name], setting.step, format=setting.format,
        key=values.key(name),
    )  # fmt: skip


#: Less frequent choices.
MORE = ("keep", "source", "target", "cost", "features")


def pick_recipe(loaded: cache.Loaded) -> Choice:
    """All other widgets; the returned recipe is valid for the network."""
    state, say = st.session_state, speech()
    groups = loaded.graph.groups
    # Streamlit forgets the value of a widget it did not draw: another solver's, or all of them
    # after an error. Here nothing is forgotten.
    kept = state.setdefault("kept_choices", {})
    opened = state["opened"]
    for name in kept:
        if values.key(name) not in state:
            opened[values.plain(name)] = kept[name]
    if values.get("group") not in range(len(groups)):
        values.put("group", min(6, len(groups) - 1))  # the new network has fewer
    with st.sidebar:
        st.selectbox(
            say("controls.group"), range(len(groups)), index=opened["group"],
            format_func=lambda index: f"{index} · {groups[index].title}",
            key=values.key("group"), help=say("controls.group_help"),
        )  # fmt: skip
        st.slider(
            say("controls.sparsity"), link.LEAST, link.MOST, opened["percent"], link.STEP,
            format="%d %%", key=values.key("percent"), help=say("controls.sparsity_help"),
        )  # fmt: skip
        _select("importance", explained=True)
        rule = _select("rule", explained=True)
        if RULES[rule].project is not None:
            for name in SOLVERS[_select("solver", explained=True)].reads:
                _slider(name)
        channel = _pick_channel(loaded, values.get("group"))
        with st.expander(say("controls.more")):
            more = {name: _select(name) for name in MORE}
            if "softmax" in (more["source"], more["target"]):
                _slider("temperature")
            st.number_input(
                say("controls.rounds"), 1, link.MOST_ROUNDS, opened["rounds"], 1,
                key=values.key("rounds"), help=say("controls.rounds_help"),
            )  # fmt: skip
            st.number_input(
                say("controls.seed"), 0, link.MOST_SEED, opened["seed"], 1, key=values.key("seed")
            )
    kept |= {name: state[values.key(name)] for name in CHOSEN if values.key(name) in state}
    told = opened | kept
    return link.choice_of(told | {"network": loaded.name, "channel": channel})


def _pick_channel(loaded: cache.Loaded, group: int) -> int | None:
    """The channel to look at closely; another group's numbers mean other channels."""
    state, say = st.session_state, speech()
    before, now = state.get("channel_of"), (loaded.name, group)
    if before not in (None, now):
        values.put("channel", None)
    state["channel_of"] = now
    chosen = st.number_input(
        say("controls.channel"), 0, loaded.graph.groups[group].width - 1, values.first("channel"),
        1, key=values.key("channel"), placeholder=say("controls.channel_none"),
        help=say("controls.channel_help"),
    )  # fmt: skip
    if chosen is None:
        return None
    st.button(
        say("controls.no_channel"), on_click=values.put, args=("channel", None), type="tertiary",
        icon=":material/close:", key="no_channel",
    )  # fmt: skip
    return int(chosen)


def choose(choice: Choice) -> None:
    """Let the widgets show another choice; to be called before they are drawn."""
    state, recipe = st.session_state, choice.recipe
    told = {name: getattr(recipe, name) for name in (*TABLES, *SETTINGS, "rounds", "seed")}
    told |= {"group": choice.group, "percent": round(100 * recipe.sparsity)}
    state["kept_choices"] = state.get("kept_choices", {}) | told
    told |= {"network": choice.network, "channel": choice.channel}
    for name, value in told.items():
        values.put(name, value)
    state["channel_of"] = (choice.network, choice.group)


def choose_channel(loaded: cache.Loaded, group: int, channel: object) -> None:
    """Let a click in a picture choose a channel; what a browser sends is checked.

    A click in the pinned setting's pictures chooses nothing where they are of another group.
    """
    if st.session_state.get("channel_of") != (loaded.name, group):
        return
    if type(channel) is int and 0 <= channel < loaded.graph.groups[group].width:
        values.put("channel", channel)


def clicked_channel(loaded: cache.Loaded, group: int, at: object, place: int) -> None:
    """Choose the channel that was clicked, which the point's customdata tell in this place."""
    if isinstance(at, list) and len(at) > place:
        choose_channel(loaded, group, at[place])
