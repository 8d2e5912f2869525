"""A lesson beside the live page: its text and task, what it marks and hides, its questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import cache, controls, values
from app.figures import theme
from app.language import Texts
from app.lesson import CONTROLS, PARTS, Lesson, Step, met
from app.page import Page, mode
from app.speech import speech
from core.zoo import network

#: Widgets that are not called as in the link; `more` is a box without a key.
WIDGETS = {name: values.selector(name) for name in CONTROLS} | {
    "sparsity": values.selector("percent"),
    "more": '[data-testid="stSidebar"] [data-testid="stExpander"]',
}
#: The page's parts below the strip, as one reads them.
PLACES = ("graph", "accuracy", "plan", "scatter", "curves", "sizes", "channel")
#: What is hidden with another part, for it tells the same.
TOGETHER = {"curves": "accuracy"}
#: Below this width, in pixels, the lesson stands above the page instead of beside it.
NARROW = 1150

#: The page's head over a lesson, in rem: a panel below it fits the window.
_ABOVE = 12.5

_COLUMNS = '.st-key-lesson_beside > div > [data-testid="stHorizontalBlock"]'
_LAYOUT = f"""
.st-key-lesson_panel {{ border-left: 4px solid var(--mark); padding-left: 1rem; }}
.st-key-lesson_panel h2 {{ font-size: 1.5rem; padding: 0 0 0.25rem; }}
.st-key-lesson_panel h3 {{ font-size: 1.2rem; padding: 0 0 0.4rem; }}
.st-key-lesson_panel .katex-display {{ font-size: 0.95em; overflow-x: auto; overflow-y: hidden; }}
.st-key-lesson_panel .katex-display {{ padding: 0.2rem 0; }}
.st-key-lesson_panel [role="radiogroup"] {{ gap: 0.5rem; }}
.st-key-lesson_panel > :is(.st-key-lesson_ways, :has(> .st-key-lesson_ways)) {{
  position: sticky; bottom: 0; z-index: 3; padding: 0.5rem 0; margin-top: auto;
  background: var(--paper);
}}
.st-key-head [data-testid="stMarkdown"] {{ display: none; }}
@media (min-width: {NARROW}px) {{
  {_COLUMNS} > [data-testid="stColumn"]:first-child > div {{
    position: sticky; top: 4rem; max-height: calc(100vh - {_ABOVE}rem); overflow-y: auto;
  }}
  .st-key-lesson_panel {{ min-height: min(100vh - {_ABOVE}rem, 42rem); }}
}}
@media (max-width: {NARROW - 1}px) {{
  {_COLUMNS} {{ flex-direction: column; }}
  {_COLUMNS} > [data-testid="stColumn"] {{ width: 100%; min-width: 100%; flex: 0 0 auto; }}
}}
"""


def current() -> tuple[Lesson, int] | None:
    """The lesson that is open, and at which step; None if none is."""
    state = st.session_state
    lesson = cache.lessons()[0].get(state.get("lesson") or "")
    if lesson is None:
        return None
    return lesson, min(max(1, state.get("step") or 1), len(lesson))


def step_now() -> Step | None:
    """The step that is shown, if one is."""
    now = current()
    return now[0].step(now[1]) if now else None


def hidden() -> frozenset[str]:
    """What the open lesson hides now; beside its questions what its last step hid.

    After a toy that stood alone there would be nothing to look at.
    """
    now = current()
    if now is None:
        return frozenset()
    lesson, number = now
    step = lesson.step(number)
    if step is None:
        last = lesson.steps[-1]
        return frozenset() if last.toy else frozenset(last.hide)
    return frozenset(step.hide)


def alone(step: Step | None) -> bool:
    """Whether a step shows a toy and nothing of the page, whose settings then do nothing."""
    return step is not None and step.toy is not None and {*PLACES, "strip"} <= _with(step.hide)


def _with(names: Iterable[str]) -> set[str]:
    """Some parts, and those that are hidden together with them."""
    return {*names} | {part for part, other in TOGETHER.items() if other in names}


def wants_images() -> bool:
    """Whether to offer CIFAR-10: not while a lesson is open that does without."""
    now = current()
    return now is None or network(now[0].state(now[1])["network"]).images == "cifar10"


def go(name: str, number: int) -> None:
    """Open a step and set its state; called before widgets are drawn."""
    lesson = cache.lessons()[0].get(name)
    if lesson is None:
        return
    st.session_state["lesson"], st.session_state["step"] = name, number
    st.session_state["lessons_open"] = False
    controls.show_link(lesson.state(number))


def leave() -> None:
    """Close the lesson; the page stays as it is."""
    st.session_state["lesson"] = st.session_state["step"] = None


def pick() -> None:
    """The list of lessons, behind a button, and the way out of the open one.

    It is a dialog, which takes the keyboard along: Streamlit puts what a popover holds at the end
    of the page, behind all other controls.
    """
    label, state = speech()("lesson.list"), st.session_state

    def opened(now: bool) -> None:
        state["lessons_open"] = now

    st.button(label, icon=":material/school:", key="lessons", on_click=opened, args=(True,))
    if state.get("lessons_open"):
        st.dialog(label, width="medium", on_dismiss=lambda: opened(False))(shelf)()
    if current() is not None:
        st.button(
            speech()("lesson.leave"), key="lesson_leave", on_click=leave, type="tertiary",
            icon=":material/close:",
        )  # fmt: skip


def shelf() -> None:
    """The lessons there are, each with a button; and those that can't be read."""
    say = speech()
    found, broken = cache.lessons()
    for lesson in sorted(found.values(), key=lambda one: (one.order, one.name)):
        if st.button(
            f"**{lesson.title(say.language)}**", key=f"open {lesson.name}", on_click=go,
            args=(lesson.name, 1), type="tertiary", icon=":material/play_lesson:",
        ):  # fmt: skip
            st.rerun()  # the page: a dialog redraws only itself
        st.caption(
            say(
                "lesson.about",
                summary=lesson.summary(say.language),
                minutes=lesson.minutes,
                audience=lesson.audience(say.language),
            )  # fmt: skip
        )
    for sentence in broken:
        st.warning(say("lesson.broken", problem=sentence), icon=":material/edit_note:")


def beside(told: Mapping[str, str]) -> DeltaGenerator:
    """Draw the open lesson, if there is one, and return the place for the page beside it.

    told : the link of what the page shows now.
    """
    now = current()
    if now is None:
        return st.container()
    lesson, number = now
    say, step = speech(), lesson.step(number)
    st.html(
        f"<style>:root {{ --mark: {theme.CHOSEN[mode()]}; --paper: {theme.PAPER[mode()]}; }}"
        f"{_LAYOUT}"
        f"{marks(step, hidden(), say)}</style>"
    )
    with st.container(key="lesson_beside"):
        left, right = st.columns([1, 2], gap="large")
    if step is not None and step.toy:
        with right:
            toy(step, say)  # before the panel: it says what was achieved
    with left, st.container(key="lesson_panel"):
        panel(lesson, number, told, say)
    return right


def marks(step: Step | None, hide: Iterable[str], say: Texts) -> str:
    """The style sheet that outlines and labels what a step marks, and hides what is hidden."""
    rules = []
    label = json.dumps(say("lesson.mark"), ensure_ascii=False).replace("<", "")
    for name in step.highlight if step else ():
        where = f":is({', '.join(_selectors(name))})"
        rules.append(
            f"{where} {{ outline: 3px solid var(--mark); outline-offset: 6px; }}"
            f"{where}::before {{ content: {label}; display: block; font-weight: 600;"
            " font-size: 0.875rem; color: var(--mark); }"
        )
    gone = []
    for name in CONTROLS if alone(step) else [name for name in CONTROLS if name in hide]:
        # With the line beneath it that explains the choice.
        gone += [WIDGETS[name], f"{WIDGETS[name]} + div:has([data-testid=stCaptionContainer])"]
        if name == "channel":
            gone.append(".st-key-no_channel")
    if alone(step):
        gone += [".st-key-take", '[data-testid="stSidebar"] h2']
    if gone:
        rules.append(f"{', '.join(gone)} {{ display: none; }}")
    return "".join(rules)


def _selectors(name: str) -> list[str]:
    """Where a name stands on the page; a channel has a part and a field."""
    found = [f".st-key-part_{name}"] if name in PARTS else []
    return found + [WIDGETS[name]] if name in WIDGETS else found


def panel(lesson: Lesson, number: int, told: Mapping[str, str], say: Texts) -> None:
    """Title, text, formula, task and the ways on."""
    step = lesson.step(number)
    st.caption(say("lesson.progress", number=number, count=len(lesson)))
    st.header(lesson.title(say.language), anchor=False)
    if step is None:
        questions(lesson, say)
    else:
        st.subheader(step.title(say.language), anchor=False)
        st.markdown(step.text(say.language))
        if step.formula:
            st.latex(step.formula)
        if step.highlight:
            names = ", ".join(say(f"lesson.place.{name}") for name in step.highlight)
            st.caption(say("lesson.marked", names=names))
        task(lesson, number, step, told, say)
    with st.container(horizontal=True, key="lesson_ways"):
        st.button(
            say("lesson.back"), key="lesson_back", on_click=go, args=(lesson.name, number - 1),
            disabled=number == 1, icon=":material/arrow_back:",
        )  # fmt: skip
        st.button(
            say("lesson.next"), key="lesson_next", on_click=go, args=(lesson.name, number + 1),
            disabled=number == len(lesson), type="primary", icon=":material/arrow_forward:",
        )  # fmt: skip
        if _apart(told, controls.link_of(lesson.state(number))):
            st.button(
                say("lesson.restore"), key="lesson_restore", on_click=go,
                args=(lesson.name, number), icon=":material/restart_alt:",
            )  # fmt: skip


def _apart(told: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Whether the viewer has changed something of a step's view."""
    viewers = {"lang", "text", "lesson", "step", "pin"}
    return any(told.get(name) != own.get(name) for name in {*told, *own} - viewers)


def task(lesson: Lesson, number: int, step: Step, told: Mapping[str, str], say: Texts) -> None:
    """What there is to do, and whether it is done; once done it stays done."""
    if step.task is None:
        return
    state = st.session_state
    done = state.setdefault("tasks_done", set())
    if met(step.done, told, state.setdefault("facts", {})):
        done.add((lesson.name, number))
    if (lesson.name, number) not in done:
        st.info(say("lesson.task", task=step.task(say.language)), icon=":material/touch_app:")
        return
    st.success(say("lesson.done", task=step.task(say.language)), icon=":material/check_circle:")
    if step.feedback is not None:
        st.markdown(step.feedback(say.language))


def toys() -> dict[str, Callable[[Texts, Mapping[str, str]], None]]:
    """The toys there are, by name."""
    try:
        from app.toys import TOYS
    except ModuleNotFoundError as error:
        if error.name != "app.toys":
            raise
        return {}
    return TOYS


def toy(step: Step, say: Texts) -> None:
    """Draw a step's toy, or say that it is not installed."""
    found = toys().get(step.toy or "")
    if found is None:
        st.warning(say("lesson.no_toy", name=step.toy), icon=":material/extension_off:")
        return
    found(say, step.settings)


def questions(lesson: Lesson, say: Texts) -> None:
    """The questions at the end: each answer is explained as soon as it is given."""
    answers = st.session_state.setdefault("answers", {})
    st.subheader(say("lesson.questions"), anchor=False)
    right = 0
    for number, question in enumerate(lesson.questions):
        place = (lesson.name, number)
        chosen = st.radio(
            f"**{number + 1}.** {question.ask(say.language)}",
            range(len(question.answers)),
            index=answers.get(place),
            format_func=lambda i, q=question: q.answers[i].text(say.language),
            key=f"answer {lesson.name} {number}",
        )
        if chosen is None:
            continue
        answers[place] = chosen
        answer = question.answers[chosen]
        if answer.right:
            right += 1
            st.success(
                say("lesson.right", why=answer.why(say.language)), icon=":material/check_circle:"
            )
        else:
            st.error(say("lesson.wrong", why=answer.why(say.language)), icon=":material/cancel:")
    given = sum((lesson.name, i) in answers for i in range(len(lesson.questions)))
    count = len(lesson.questions)
    st.markdown(say("lesson.count", right=right, count=count, left=count - given))


def framed(page: Page, name: str, draw: Callable[[], None]) -> None:
    """Draw a part of the page in a frame that a lesson can mark, unless the lesson hides it."""
    if name in _with(hidden()):
        return
    with st.container(key=page.key(f"part_{name}")):
        draw()


def places(both: bool) -> dict[str, DeltaGenerator]:
    """Where each part goes. On the first screen stands the story: which layers shrink together,
    where their channels' mass goes, and what that does to the accuracy.

    Beside a lesson all stand one under the other, what its step marks first. `both`: two settings
    are compared, so that plan and channels get the whole width between what is above and what is
    below.
    """
    if current() is not None:
        step = step_now()
        marked = step.highlight if step else ()
        first = [name for name in marked if name in PLACES]
        return {name: st.container() for name in dict.fromkeys([*first, *PLACES])}
    left, right = st.columns(2, gap="large")
    found = {"graph": left.container(), "accuracy": (right if both else left).container()}
    if both:
        found["plan"] = found["scatter"] = st.container()
        left, right = st.columns([3, 2], gap="large")
    else:
        found["scatter"] = right.container()
        left, right = st.columns(2, gap="large")
        found["plan"] = left.container()
    found["curves"] = (left if both else right).container()
    found["sizes"] = right.container()
    found["channel"] = st.container()
    return found
