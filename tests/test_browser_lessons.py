"""Every lesson walked in a real Chromium as a student would: each step read, done and answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from test_browser import browser, pytestmark  # noqa: F401

from app import lesson, values
from app.language import Texts, texts
from app.lesson import CONTROLS, PARTS, Lesson, Step
from app.lesson.tasks import split
from app.toys import networks
from core import zoo

FOLDER = Path(__file__).resolve().parent.parent / "app" / "lessons"
LESSONS = {file.stem: lesson.read(file) for file in sorted(FOLDER.glob("*.toml"))}
ALL = pytest.mark.parametrize("name", LESSONS)
EN = texts("en")

#: Where a point of a chart's trace is in the window: the chart, trace and point as JavaScript.
PLACE = """({where, trace, point}) => {
    const chart = document.querySelector(where);
    const found = chart._fullData.find(new Function('t', `return ${trace}`));
    const i = new Function('t', `return ${point}`)(found);
    chart.scrollIntoView({block: 'center'});
    const box = chart.getBoundingClientRect(), {xaxis, yaxis} = chart._fullLayout;
    return [box.left + xaxis._offset + xaxis.d2p(found.x?.[i] ?? i),
            box.top + yaxis._offset + yaxis.d2p(found.y?.[i] ?? i)];
}"""
#: Whether a mark is seen around a place: its outline, its words, and something within.
MARKED = """node => {
    const own = getComputedStyle(node), box = node.getBoundingClientRect();
    return own.outlineWidth === '3px' && own.outlineStyle === 'solid'
        && getComputedStyle(node, '::before').content.includes('Look here')
        && box.width > 100 && box.height > 20;
}"""
#: The page's own width, and what sticks out of it on the right.
WIDE = """() => [document.documentElement.scrollWidth - innerWidth,
    ...[...document.querySelectorAll('.st-key-lesson_panel, [data-testid=stMain] svg')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)]"""


class Student:
    """Somebody with a browser of their own; `errors` are what its console complained of."""

    def __init__(self, page, address: str) -> None:
        self.page, self.address, self.errors = page, address, []
        page.set_default_timeout(30_000)
        page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def opens(self, name: str, query: str = "") -> None:
        self.page.goto(f"{self.address}/?lesson={name}{query}")
        self.page.locator(".st-key-lesson_panel").wait_for()

    def rests(self) -> None:
        """Wait until nothing runs any more."""
        self.page.wait_for_function(
            "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
        )

    def part(self, name: str):
        return self.page.locator(f".st-key-part_{name}")

    def clicks_in(self, where: str, trace: str, point: str) -> None:
        """Click a point of a chart once the chart is drawn."""
        told = {"where": where, "trace": trace, "point": point}
        self.page.wait_for_function(
            f"document.querySelector('{where}')?._fullData?.some(t => {trace})"
        )
        self.rests()
        self.page.mouse.move(*self.page.evaluate(PLACE, told))
        self.page.wait_for_timeout(150)  # Plotly looks at most every 50 ms where the mouse is
        self.page.mouse.down()
        self.page.mouse.up()

    def selects(self, name: str, start: str) -> None:
        """Choose what begins with some words in a list."""
        self.rests()
        field = self.page.locator(f"{values.selector(name)} input")
        field.click()
        field.fill(start)
        begins = re.compile(rf"^{re.escape(start)}(\W|$)")
        self.page.get_by_role("option").filter(has_text=begins).first.click()

    def slides(self, label: str, key: str, times: int) -> None:
        slider = self.page.get_by_role("slider", name=label)
        slider.focus()
        for _ in range(times):
            slider.press(key)

    # -- what steps ask for

    def moves_a_point(self, step: Step) -> None:
        point = self.page.locator(".board g[role=button]").first
        point.wait_for()
        box = point.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = self.page.locator(".board").first.inner_html()
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + 130, y + 40, steps=4)
        self.page.mouse.up()
        assert self.page.locator(".board").first.inner_html() != before

    def tries_sinkhorn(self, step: Step) -> None:
        page = self.page
        page.get_by_role("radio", name=EN("toys.transport.look.sinkhorn")).click()
        page.get_by_text("Sinkhorn: plan P").wait_for()
        slider = page.get_by_role("slider", name=EN("toys.transport.epsilon"))
        ways = []
        for key in ("Home", "End"):
            slider.press(key)
            page.wait_for_timeout(300)
            self.rests()
            ways.append(page.locator(".board text:not(:empty)").count())
        assert ways[1] > ways[0], "a large ε spreads the mass"

    def solves_the_puzzle(self, step: Step) -> None:
        """First a layer that is too many, then those that belong together."""
        puzzle = networks.puzzle(step.settings)
        wrong = next(name for name in puzzle.choices if name not in puzzle.answer)

        def picks(name: str) -> None:
            self.clicks_in(
                "[data-testid=stMain] .js-plotly-plot", "t.name === 'layers'",
                f"t.customdata.findIndex(c => c[0] === '{name}')",
            )  # fmt: skip
            chosen = self.page.locator("[data-testid=stMultiSelect]")
            chosen.get_by_text(name, exact=True).first.wait_for()

        picks(wrong)
        self.page.get_by_role("button", name=EN("toys.puzzle.try")).click()
        self.page.get_by_text(EN("toys.puzzle.own_words")).wait_for()
        assert self.page.locator("[data-testid=stAlertContentError]").count() == 1
        self.clicks_in(
            "[data-testid=stMain] .js-plotly-plot", "t.name === 'layers'",
            f"t.customdata.findIndex(c => c[0] === '{wrong}')",
        )  # fmt: skip
        self.page.get_by_text(EN("toys.puzzle.own_words")).wait_for(state="detached")
        for name in sorted(puzzle.answer):
            picks(name)
        self.page.get_by_role("button", name=EN("toys.puzzle.check")).click()
        self.page.get_by_text(EN("toys.puzzle.right")).wait_for()
        self.page.get_by_role("button", name=EN("toys.puzzle.try")).click()

    def folds(self, step: Step) -> None:
        """γ becomes 0, an input goes through both networks, and μ is forgotten."""
        page = self.page
        gamma = page.get_by_role("spinbutton", name="γ")
        gamma.fill("0")
        gamma.press("Enter")
        page.get_by_role("button", name=EN("toys.folding.check")).click()
        page.get_by_text("Both networks put out the same").wait_for()
        page.get_by_text(EN("toys.folding.no_mean")).click()
        page.get_by_text(EN("toys.folding.why_mean")).wait_for()

    def does(self, step: Step) -> None:
        """What the step asks for, with the hands that its task names."""
        facts: dict[object, Callable[[Step], None]] = {
            "transport.moved": self.moves_a_point, "transport.sinkhorn": self.tries_sinkhorn,
            "puzzle.solved": self.solves_the_puzzle, "folding.changed": self.folds,
        }  # fmt: skip
        for key, wanted in step.done.items():
            name, how = split(key)
            if key == "fact":
                facts[wanted](step)
            elif not how and step.state.get(name) == wanted:
                continue
            elif name == "sparsity":
                now = float(step.state["sparsity"])
                self.slides(EN("controls.sparsity"), "ArrowRight", round((wanted - now) / 0.05))
            elif name == "epsilon":
                self.slides(EN("controls.epsilon"), "End", 1)
            elif name == "group" and how:
                self.clicks_in(
                    ".st-key-part_graph .js-plotly-plot", "t.name === 'layers'",
                    "t.customdata.findIndex(c => c[0] === 2)",
                )  # fmt: skip
            elif name == "channel" and "scatter" in step.highlight:
                discarded = "t.meta === 'discarded'"
                self.clicks_in(".st-key-scatter_box .js-plotly-plot", discarded, "0")
            elif name == "channel":
                self.clicks_in(".st-key-part_plan .js-plotly-plot", "t.name === 'plan'", "0")
            elif name == "picture":
                self.part("scatter").get_by_text(EN(f"view.picture.{wanted}"), exact=True).click()
            elif name == "seed":
                self.page.get_by_text(EN("controls.more"), exact=True).click()
                seed = self.page.get_by_role("spinbutton", name=EN("controls.seed"))
                seed.fill("1")
                seed.press("Enter")
            elif name == "importance":
                self.selects(name, "l2" if how else wanted)
            else:
                title = zoo.network(wanted).title if name == "network" else str(wanted)
                self.selects(name, title)

    def sees(self, step: Step) -> None:
        """What the step marks is marked, and what it hides is nowhere."""
        self.rests()
        for name in step.highlight:
            places = [self.part(name)] if name in PARTS else []
            if name in CONTROLS:
                own = {
                    "sparsity": values.selector("percent"),
                    "more": "[data-testid=stSidebar] [data-testid=stExpander]",
                }
                places.append(self.page.locator(own.get(name, values.selector(name))))
            for place in places:
                self.page.wait_for_function(MARKED, arg=place.element_handle())
        for name in step.hide:
            for place in (f".st-key-part_{name}", values.selector(name)):
                self.page.locator(place).wait_for(state="hidden")

    def answers(self, found: Lesson, say: Texts) -> None:
        """Each question wrongly first, then right; each answer is explained."""
        for number, question in enumerate(found.questions):
            box = self.page.locator(".st-key-lesson_panel [role=radiogroup]").nth(number)
            wrong = next(i for i, answer in enumerate(question.answers) if not answer.right)
            for chosen, kind in ((wrong, "Error"), (question.right, "Success")):
                box.locator("label").nth(chosen).click()
                why = question.answers[chosen].why(say.language)
                told = self.page.locator(f"[data-testid=stAlertContent{kind}]")
                told.filter(has_text=_plain(why)).wait_for()
        count = len(found.questions)
        self.page.get_by_text(say("lesson.count", right=count, count=count, left=0)).wait_for()

    def is_well(self) -> None:
        """Nothing broke, and nothing sticks out of the window; without waiting for the rest."""
        assert not self.errors
        assert self.page.locator("[data-testid=stException]").count() == 0
        assert self.page.get_by_text("Traceback").count() == 0
        assert self.page.evaluate(WIDE) == [0]


def _plain(text: str) -> str:
    """Markdown as it is read: without the signs of code, and up to the first formula."""
    return text.replace("`", "").split("$")[0][:60]


def walk(student: Student, name: str, saw: Callable[[str], None] = lambda what: None) -> None:
    """From a lesson's link to its last answer. `saw` is called before and after each task."""
    page, found = student.page, LESSONS[name]
    panel = page.locator(".st-key-lesson_panel")
    student.opens(name)
    for number, step in enumerate(found.steps, 1):
        told = EN("lesson.progress", number=number, count=len(found))
        panel.get_by_text(told, exact=True).wait_for()
        panel.get_by_role("heading", name=step.title("en"), exact=True).wait_for()
        student.sees(step)
        saw(f"{number}a")
        if step.task is not None:
            assert step.feedback is not None
            task = panel.get_by_test_id("stAlertContentInfo").filter(has_text="Your turn.")
            task.wait_for()
            student.does(step)
            panel.get_by_test_id("stAlertContentSuccess").filter(has_text="Done.").wait_for()
            panel.get_by_text(_plain(step.feedback("en"))).wait_for()
            saw(f"{number}b")
        student.is_well()
        following = page.get_by_role("button", name=EN("lesson.next"), exact=True)
        box = following.bounding_box()
        assert 0 < box["y"] < page.viewport_size["height"] - box["height"], "the way on is in sight"
        following.click()
    last = EN("lesson.progress", number=len(found), count=len(found))
    panel.get_by_text(last, exact=True).wait_for()
    student.answers(found, EN)
    saw("questions")
    student.rests()
    student.is_well()
    assert page.get_by_role("button", name=EN("lesson.next"), exact=True).is_disabled()
    page.get_by_role("button", name=EN("lesson.leave")).click()
    panel.wait_for(state="detached")
    page.locator(".st-key-head [data-testid=stMarkdown]").wait_for()


@pytest.fixture
def student(browser, address):  # noqa: F811
    """Makes students, each in a session of its own."""
    contexts = []

    def enters(width: int = 1440, height: int = 1000, scheme: str = "light") -> Student:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme,
            reduced_motion="reduce", locale="en-US",
        )  # fmt: skip
        contexts.append(context)
        return Student(context.new_page(), address)

    yield enters
    for context in contexts:
        context.close()


@ALL
def test_a_lesson_is_walked_to_its_end(student, name):
    walk(student(), name)


def test_on_a_phone_every_toy_fits_and_speaks_german(student):
    one, say = student(390, 844, "dark"), texts("de")
    steps = {step.toy: (name, n, step) for name, found in LESSONS.items()
             for n, step in enumerate(found.steps, 1) if step.toy}  # fmt: skip
    for name, number, step in steps.values():
        one.opens(name, f"&step={number}&lang=de")
        panel = one.page.locator(".st-key-lesson_panel")
        panel.get_by_role("heading", name=step.title("de"), exact=True).wait_for()
        panel.get_by_text(_plain(step.task("de"))).wait_for()
        one.page.get_by_role("button", name=say("lesson.next"), exact=True).wait_for()
        one.rests()
        one.is_well()
