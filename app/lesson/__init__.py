"""Lessons as data: read, validated and their numbers recomputed. No Streamlit in it."""

from app.lesson.format import (
    CONTROLS,
    FACTS,
    PARTS,
    STAGES,
    Answer,
    Lesson,
    LessonError,
    Question,
    Step,
    Words,
    read,
)
from app.lesson.tasks import met

__all__ = [
    "CONTROLS", "FACTS", "PARTS", "STAGES", "Answer", "Lesson", "LessonError", "Question", "Step",
    "Words", "met", "read",
]  # fmt: skip
