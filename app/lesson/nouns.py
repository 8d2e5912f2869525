"""The nouns of a lesson: its texts, steps, questions and answers, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.language import DEFAULT


class Words(dict[str, str]):
    """A text by language; under "" what holds in all of them."""

    def __call__(self, language: str) -> str:
        """The text in a language, else in English, else in the one there is."""
        for name in (language, "", DEFAULT):
            if name in self:
                return self[name]
        return next(iter(self.values()))


@dataclass(frozen=True)
class Step:
    """One step. `state`: the link's values it sets, those of the steps before it included."""

    title: Words
    text: Words
    formula: str
    state: Mapping[str, str]
    highlight: tuple[str, ...]
    hide: tuple[str, ...]
    task: Words | None
    done: Mapping[str, object]
    feedback: Words | None
    toy: str | None
    settings: Mapping[str, str]
    stage: str | None
    checks: tuple[Mapping, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One of a question's answers, and why it is right or wrong."""

    text: Words
    right: bool
    why: Words


@dataclass(frozen=True)
class Question:
    """A question with its answers, one of them right."""

    ask: Words
    answers: tuple[Answer, ...]
    checks: tuple[Mapping, ...] = ()

    @property
    def right(self) -> int:
        return next(i for i, answer in enumerate(self.answers) if answer.right)


@dataclass(frozen=True)
class Lesson:
    """A lesson as its file has it; `len` counts its steps and the page of its questions."""

    name: str
    title: Words
    summary: Words
    audience: Words
    minutes: int
    order: int
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]

    def __len__(self) -> int:
        return len(self.steps) + 1

    def step(self, number: int) -> Step | None:
        """Step 1, 2, …; None for the page of questions."""
        return self.steps[number - 1] if number <= len(self.steps) else None

    def state(self, number: int) -> Mapping[str, str]:
        """The link's values at a step; the questions keep those of the last step."""
        return self.steps[min(number, len(self.steps)) - 1].state
