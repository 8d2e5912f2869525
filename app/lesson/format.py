"""A lesson's file: what may stand in it, and how it is read. `docs/lessons.md` shows how to write.

Everything that is wrong with a file is found at once and said in sentences that name the file, the
step and what is allowed, for those who write lessons need not know Python.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from app import link
from app.language import DEFAULT, LANGUAGES
from app.lesson.nouns import Answer, Lesson, Question, Step, Words
from app.lesson.tasks import ASKED, LEAST, MOST, NUMBERS, met, split
from core import zoo
from core.errors import ExplorerError

#: Parts of the page that a step may mark or hide.
PARTS = ("strip", "graph", "accuracy", "curves", "sizes", "plan", "scatter", "channel")
#: Controls that a step may mark or hide, by their names in the link; `more` is the folded box.
CONTROLS = (
    "network", "group", "sparsity", "importance", "rule", "solver", *link.SETTINGS, "channel",
    "more",
)  # fmt: skip
#: What a step may set.
STATES = tuple(name for name in ASKED if name != "text") + ("pin",)
#: The steps of the method, in order; a step of a lesson may explain one of them.
STAGES = ("graph", "importance", "target", "cost", "transport", "folding", "fusion", "tuning")
#: Toys, and what each notices (`app.toys.FACTS`, which needs Streamlit).
FACTS = {
    "transport": (
        "transport.moved", "transport.weighed", "transport.distance", "transport.normalised",
        "transport.sinkhorn", "transport.epsilon", "transport.compared",
    ),
    "puzzle": ("puzzle.picked", "puzzle.checked", "puzzle.broken", "puzzle.solved"),
    "folding": (
        "folding.changed", "folding.input", "folding.checked", "folding.epsilon", "folding.mean",
    ),
}  # fmt: skip
#: How many steps and questions a lesson has at most: what one sitting bears.
MOST_STEPS, MOST_QUESTIONS = 12, 6

#: How many channels each group of a network has.
Widths = Callable[[str], tuple[int, ...]]


def any_widths(name: str) -> tuple[int, ...]:
    """Stands in for a network that nobody has loaded: every group and channel may exist."""
    return (1 << 20,) * 1000


class LessonError(ExplorerError):
    """A lesson's file can't be read; `problems` are sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Sentences:
    """What `link.read` says of a value it does not take, as a lesson's writer is told it."""

    language = DEFAULT
    _told = {
        "link.no_choice": "{name} can't be “{value}”. Possible: {possible}.",
        "link.no_number": "{name} can't be “{value}”: it must lie between {low} and {high}.",
        "link.step": "sparsity can't be {share}: it goes in steps of {step} percent, such as 0.35.",
        "link.of_pin": "in the pinned setting, {note}",
        "link.none": "none",
        "link.unknown": "there is no “{name}”.",
    }

    def __call__(self, key: str, /, **values: object) -> str:
        return self._told[key].format(**values)


def read(file: Path, widths: Widths = any_widths) -> Lesson:
    """A lesson from its file, whose name is the lesson's.

    `widths`: checks groups and channels against real networks; without it only their kind.

    Raises
    ------
    LessonError
        If the file can't be read or something in it is wrong: every problem, a sentence each.
    """
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LessonError([f"{file}: can't be read ({error.strerror})."]) from error
    except UnicodeDecodeError as error:
        raise LessonError([f"{file.name}: is not UTF-8. Save it with that encoding."]) from error
    except tomllib.TOMLDecodeError as error:
        raise LessonError([f"{file.name}: is not TOML: {error}."]) from error
    reader = _Reader(file, widths)
    lesson = reader.lesson(told)
    if reader.problems:
        raise LessonError(reader.problems)
    assert lesson is not None
    return lesson


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, file: Path, widths: Widths) -> None:
        self.file, self.widths = file, widths
        self.problems: list[str] = []
        self.languages: tuple[str, ...] = ()

    def wrong(self, where: str, what: str) -> None:
        sentence = f"{self.file.name}, {where}: {what}" if where else f"{self.file.name}: {what}"
        if sentence not in self.problems:
            self.problems.append(sentence)

    def known(self, where: str, table: Mapping, names: tuple[str, ...]) -> None:
        for name in table:
            if name not in names:
                self.wrong(where, f"there is no “{name}”. Possible: {', '.join(names)}.")

    def words(self, where: str, table: Mapping, key: str, needed: bool = True) -> Words | None:
        """A text: one for all languages, or one a language."""
        value = table.get(key)
        if value is None:
            if needed:
                self.wrong(where, f"“{key}” is missing.")
            return None
        if isinstance(value, str):
            value = {"": value}
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            self.wrong(
                where, f"“{key}” must be a text, or a text for each language ({key}.en = …)."
            )
            return None
        for language in value:
            if language and language not in LANGUAGES:
                possible = ", ".join(LANGUAGES)
                self.wrong(where, f"“{key}” is in “{language}”. Possible languages: {possible}.")
        for language, text in value.items():
            if not text.strip():
                self.wrong(where, f"“{key}” is empty{f' in {language}' if language else ''}.")
        if "" not in value:
            for language in self.languages:
                if language not in value:
                    self.wrong(where, f"“{key}” has no text in “{language}”, which the title has.")
        return Words({language: text.strip() for language, text in value.items()})

    def tables(self, where: str, table: Mapping, key: str) -> list[Mapping]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            name = "question.answer" if key == "answer" else key
            self.wrong(where, f"“{key}” must be written as [[{name}]], once for each.")
            return []
        return value

    def names(self, where: str, table: Mapping, key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.wrong(where, f'“{key}” must be a list of names, such as ["plan", "sparsity"].')
            return ()
        for one in value:
            if one not in PARTS + CONTROLS:
                possible = ", ".join(dict.fromkeys(PARTS + CONTROLS))
                self.wrong(where, f"“{key}” names “{one}”. Possible: {possible}.")
        return tuple(value)

    def number(self, table: Mapping, key: str, least: int, most: int, default: int) -> int:
        value = table.get(key, default)
        if type(value) is not int or not least <= value <= most:
            self.wrong("", f"“{key}” must be a whole number between {least} and {most}.")
            return default
        return value

    def lesson(self, told: Mapping) -> Lesson | None:
        name = self.file.stem
        if not name.replace("-", "").isalnum() or name != name.lower() or not name.isascii():
            self.wrong("", "a lesson's file is named with small letters, digits and - alone.")
        top = ("title", "summary", "audience", "minutes", "order", "hide", "step", "question")
        self.known("", told, top)
        title = told.get("title")
        if isinstance(title, Mapping):
            self.languages = tuple(key for key in title if key in LANGUAGES)
        heads = {key: self.words("", told, key) for key in ("title", "summary", "audience")}
        if "minutes" not in told:
            self.wrong("", "“minutes” is missing: about how long the lesson takes.")
        minutes = self.number(told, "minutes", 1, 90, 10)
        order = self.number(told, "order", 0, 999, 999)
        hidden = self.names("", told, "hide")
        steps: list[Step | None] = []
        state: dict[str, str] = {}
        rows = self.tables("", told, "step")
        for number, row in enumerate(rows, 1):
            step, state = self.step(f"step {number}", row, state, hidden)
            steps.append(step)
        if not 1 <= len(rows) <= MOST_STEPS:
            self.wrong("", f"has {len(rows)} steps; a lesson has 1 to {MOST_STEPS}: [[step]].")
        rows = self.tables("", told, "question")
        questions = [self.question(f"question {n}", row) for n, row in enumerate(rows, 1)]
        if not 1 <= len(rows) <= MOST_QUESTIONS:
            self.wrong(
                "", f"has {len(rows)} questions; a lesson ends with 1 to {MOST_QUESTIONS}: "
                "[[question]]."
            )  # fmt: skip
        if self.problems:
            return None
        return Lesson(name, **heads, minutes=minutes, order=order, steps=tuple(steps),
                      questions=tuple(questions))  # fmt: skip

    def step(
        self, where: str, row: Mapping, before: Mapping[str, str], hidden: tuple[str, ...]
    ) -> tuple[Step | None, dict[str, str]]:
        parts = ("title", "text", "formula", "state", "highlight", "hide", "task", "done",
                 "feedback", "toy", "stage", "check")  # fmt: skip
        self.known(where, row, parts)
        state = self.state(where, row, before)
        title, text = self.words(where, row, "title"), self.words(where, row, "text")
        formula = row.get("formula", "")
        if not isinstance(formula, str) or "$" in formula:
            self.wrong(where, "“formula” must be LaTeX without dollar signs, in quotes.")
        task = self.words(where, row, "task", needed=False)
        feedback = self.words(where, row, "feedback", needed=False)
        toy, settings = self.toy(where, row)
        done = self.done(where, row, toy)
        for one, other in (("task", "done"), ("done", "task"), ("feedback", "task")):
            if one in row and other not in row:
                self.wrong(where, f"has “{one}” but no “{other}”.")
        if done and not self.problems and met(done, state, {}):
            self.wrong(
                where, "“done” is met by the step's own state, before anybody does anything."
            )
        stage = row.get("stage")
        if stage is not None and stage not in STAGES:
            self.wrong(where, f"“stage” is “{stage}”. Possible: {', '.join(STAGES)}.")
        marked, gone = self.names(where, row, "highlight"), self.names(where, row, "hide")
        for one in marked:
            if one in gone + hidden:
                self.wrong(where, f"“{one}” is both marked and hidden.")
        checks = tuple(self.tables(where, row, "check"))
        if self.problems:
            return None, state
        assert title is not None and text is not None
        return Step(
            title, text, formula.strip(), state, marked, tuple(dict.fromkeys(hidden + gone)), task,
            done, feedback, toy, settings, stage, checks,
        ), state  # fmt: skip

    def state(self, where: str, row: Mapping, before: Mapping[str, str]) -> dict[str, str]:
        """What the page shows: the step before's values, and over them the step's own."""
        given = row.get("state", {})
        if not isinstance(given, Mapping):
            self.wrong(where, "“state” must be a table, such as {group = 6, sparsity = 0.5}.")
            return dict(before)
        self.known(f"{where}, state", given, STATES)
        state = dict(before)
        if "network" in given or "group" in given:
            state.pop("channel", None)  # it was another group's
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                self.wrong(f"{where}, state", f"“{name}” must be a number or a text in quotes.")
            elif name in STATES:
                state[name] = f"{value:g}" if isinstance(value, float) else str(value)
        for name in ("channel", "pin"):
            if state.get(name) == "none":
                del state[name]
        if not state.get("network"):
            self.wrong(where, "the first step's state must name a network.")
            return state
        _, notes = link.read(state, _allowed("network")[0], self.widths, _Sentences(), {})
        for note in notes:
            if not any(problem.endswith(note) for problem in self.problems):
                self.wrong(f"{where}, state", note)
        return state

    def toy(self, where: str, row: Mapping) -> tuple[str | None, dict[str, str]]:
        toy = row.get("toy")
        if toy is None:
            return None, {}
        if isinstance(toy, str):
            toy = {"name": toy}
        if not isinstance(toy, Mapping) or toy.get("name") not in FACTS:
            self.wrong(where, f"“toy” must name one: {', '.join(FACTS)}.")
            return None, {}
        for name, value in toy.items():
            if not isinstance(value, str):
                self.wrong(where, f"the toy's setting “{name}” must be a text in quotes.")
        return toy["name"], {name: str(v) for name, v in toy.items() if name != "name"}

    def done(self, where: str, row: Mapping, toy: str | None) -> dict[str, object]:
        given = row.get("done", {})
        where = f"{where}, done"
        if not isinstance(given, Mapping):
            self.wrong(where, "must be a table of conditions, such as {sparsity_at_least = 0.7}.")
            return {}
        for key, value in given.items():
            name, how = split(key)
            if key == "fact":
                facts = FACTS.get(toy or "", ())
                if value not in facts:
                    noticed = ", ".join(facts) or "nothing, for it has no toy"
                    self.wrong(where, f"this step can't notice “{value}”. It notices: {noticed}.")
            elif name not in ASKED:
                possible = ", ".join((*ASKED, "fact"))
                self.wrong(where, f"there is no “{name}”. Possible: {possible}.")
            elif how in (LEAST, MOST) and name not in NUMBERS:
                self.wrong(where, f"{name} is no number: ask for {name} or {name}_not.")
            elif value == "any" and not how:
                if name not in ("channel",):
                    self.wrong(where, f"{name} always has a value; only channel can be “any”.")
            elif name in NUMBERS and (
                isinstance(value, bool) or not isinstance(value, (int, float))
            ):
                self.wrong(where, f"{key} must be a number.")
            elif name not in NUMBERS:
                allowed = _allowed(name)
                if value not in allowed:
                    self.wrong(where, f"{name} can't be “{value}”. Possible: {', '.join(allowed)}.")
        return dict(given)

    def question(self, where: str, row: Mapping) -> Question | None:
        self.known(where, row, ("ask", "answer", "check"))
        ask = self.words(where, row, "ask")
        answers = []
        rows = self.tables(where, row, "answer")
        for number, one in enumerate(rows, 1):
            place = f"{where}, answer {number}"
            self.known(place, one, ("text", "right", "why"))
            text, why = self.words(place, one, "text"), self.words(place, one, "why")
            if not isinstance(one.get("right", False), bool):
                self.wrong(place, "“right” must be true or false, without quotes.")
            answers.append(Answer(text or Words(), one.get("right") is True, why or Words()))
        if not 2 <= len(rows) <= 6:
            self.wrong(where, f"has {len(rows)} answers; it needs 2 to 6: [[question.answer]].")
        if sum(answer.right for answer in answers) != 1:
            self.wrong(where, "one answer must be right: right = true in one of them.")
        checks = tuple(self.tables(where, row, "check"))
        return None if ask is None else Question(ask, tuple(answers), checks)


def _allowed(name: str) -> tuple[str, ...]:
    """The values of a link value that is no number."""
    if name == "network":
        return zoo.shipped()
    return tuple(link.TABLES.get(name) or link.VIEWS[name])
