"""Lessons: files good and wrong, every step on the page, every number in them; and the strip."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from widgets import drawn
from widgets import key as key_of

import core
from app import cache, lesson, link, values
from app.figures import theme
from app.language import ENGLISH, LANGUAGES
from app.lesson import FACTS, PARTS, STAGES, LessonError, Step, met
from app.lesson.__main__ import check, main
from app.lesson.tasks import split
from app.parts import lesson as lesson_part
from core import zoo

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(cache.LESSONS.glob("*.toml"))
LESSONS = {file.stem: lesson.read(file) for file in FILES}
ALL = pytest.mark.parametrize("name", LESSONS)

GOOD = """
title.en = "A title"
title.de = "Ein Titel"
summary = "What it is about."
audience = "everybody"
minutes = 5

[[step]]
title = "One"
text = "Some words."
state = {network = "vgg11_bn-digits", group = 6, sparsity = 0.5}
highlight = ["plan", "sparsity"]
hide = ["graph"]
task = "Move the slider."
done = {sparsity_at_least = 0.7}
feedback = "Well done."

[[question]]
ask = "Why?"
[[question.answer]]
text = "Because."
right = true
why = "So it is."
[[question.answer]]
text = "No."
why = "Not so."
"""

CHECK = "[[step.check]]\n"
HALF = 'network = "vgg11_bn-digits"\ngroup = 6\nsparsity = 0.5\n'


def opened(**given) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=120)
    for name, value in given.items():
        at.query_params[name] = value
    return fine(at.run())


def fine(at: AppTest) -> AppTest:
    assert not at.exception, [e.value for e in at.exception]
    return at


def told(at: AppTest) -> dict[str, str]:
    return {k: v[0] if isinstance(v, list) else v for k, v in at.query_params.items()}


def said(at: AppTest) -> str:
    kinds = ("subheader", "header", "markdown", "caption", "info", "warning", "error", "success")
    return "\n".join(str(part.value) for kind in kinds for part in getattr(at, kind))


def charts(at: AppTest) -> list[str]:
    drawn = [part.proto.bytes for part in at.get("bidi_component")]
    return [json.loads(chart).get("alt", "") for chart in drawn if chart]


def styles(at: AppTest) -> str:
    return "".join(part.proto.body for part in at.get("html"))


# ---- files that are wrong


def problems(tmp_path, text: str, name: str = "a-lesson.toml") -> str:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    _, wrong = check(file)
    return "\n".join(wrong)


def test_the_good_file_is_good(tmp_path):
    assert problems(tmp_path, GOOD) == ""


@pytest.mark.parametrize(
    ("change", "into", "sentence"),
    [
        ('title = "One"', 'titel = "One"', "step 1: there is no “titel”. Possible: title, text"),
        ('text = "Some words."', "", "step 1: “text” is missing"),
        ('text = "Some words."', 'text = " "', "step 1: “text” is empty"),
        ('text = "Some words."', 'text.fr = "Mots"', "is in “fr”. Possible languages: en, de"),
        ('text = "Some words."', 'text.en = "Words"', "“text” has no text in “de”"),
        ("minutes = 5", "", "“minutes” is missing"),
        ("minutes = 5", 'minutes = "five"', "“minutes” must be a whole number between 1 and 90"),
        ("group = 6", "group = 9", "state: group can't be “9”: it must lie between 0 and 7"),
        ("sparsity = 0.5", "sparsity = 0.512", "goes in steps of 5 percent"),
        ("sparsity = 0.5", "sparsity = 2", "can't be “2”: it must lie between 0.05 and 0.95"),
        ("sparsity = 0.5", 'rule = "magic"', "rule can't be “magic”. Possible: released"),
        ("sparsity = 0.5", "sparsty = 0.5", "state: there is no “sparsty”. Possible: network"),
        ("sparsity = 0.5", "sparsity = true", "“sparsity” must be a number or a text in quotes"),
        ('"vgg11_bn-digits"', '"vgg"', "network can't be “vgg”. Possible:"),
        ('network = "vgg11_bn-digits", ', "", "the first step's state must name a network"),
        ('["plan", "sparsity"]', '["plam"]', "“highlight” names “plam”. Possible: strip, graph"),
        ('["plan", "sparsity"]', '"plan"', "“highlight” must be a list of names"),
        ('["graph"]', '["plan"]', "“plan” is both marked and hidden"),
        ("sparsity_at_least = 0.7", "sparsity_at_least = 0.5", "met by the step's own state"),
        ("sparsity_at_least = 0.7", "sparsety = 0.7", "done: there is no “sparsety”. Possible:"),
        ("sparsity_at_least = 0.7", 'sparsity = "much"', "done: sparsity must be a number"),
        ("sparsity_at_least = 0.7", 'rule_at_least = "best"', "rule is no number"),
        ("sparsity_at_least = 0.7", 'rule = "magic"', "done: rule can't be “magic”"),
        ("sparsity_at_least = 0.7", 'sparsity = "any"', "only channel can be “any”"),
        ("sparsity_at_least = 0.7", 'fact = "puzzle.solved"', "it has no toy"),
        ("done = {sparsity_at_least = 0.7}", "", "step 1: has “task” but no “done”"),
        ('task = "Move the slider."', "", "step 1: has “done” but no “task”"),
        ('title = "One"', 'title = "One"\ntoy = "ball"', "“toy” must name one: transport, puzzle"),
        ('title = "One"', 'title = "One"\nstage = "end"', "“stage” is “end”. Possible: graph"),
        ('title = "One"', 'title = "One"\nformula = "$x$"', "LaTeX without dollar signs"),
        ("right = true", "", "question 1: one answer must be right"),
        ("right = true", 'right = "yes"', "answer 1: “right” must be true or false"),
        ('why = "Not so."', "", "question 1, answer 2: “why” is missing"),
        ("[[step]]", "[step]", "“step” must be written as [[step]]"),
        ('title.de = "Ein Titel"', "title.de = Ein Titel", "is not TOML"),
        ("[[question]]", CHECK + "kept = 16\n[[question]]", "“network, group, sparsity” is"),
        (
            "[[question]]",
            f"{CHECK}{HALF}kept = 17\n[[question]]",
            "kept is given as 17, and is 16",
        ),
        ("[[question]]", CHECK + "foo = 1\n[[question]]", "says nothing that must come out"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_a_sentence(tmp_path, change, into, sentence):
    assert change in GOOD
    wrong = problems(tmp_path, GOOD.replace(change, into, 1))
    assert sentence in wrong, wrong
    assert all(line.startswith(("a-lesson.toml", "a-lesson,")) for line in wrong.splitlines())


def test_a_file_is_told_all_that_is_wrong_at_once(tmp_path):
    text = GOOD.replace("minutes = 5", "").replace("right = true", "").replace('"plan"', '"plam"')
    assert len(problems(tmp_path, text).splitlines()) == 3


def test_a_wrong_name_and_a_missing_file_are_told(tmp_path):
    assert "small letters" in problems(tmp_path, GOOD, "A Lesson.toml")
    with pytest.raises(LessonError, match="can't be read"):
        lesson.read(tmp_path / "none.toml")


def test_the_command_says_what_is_wrong_and_ends_with_1(tmp_path, capsys):
    file = tmp_path / "a-lesson.toml"
    file.write_text(GOOD)
    assert main(["check", str(file)]) == 0
    assert "a-lesson.toml: fine. 1 steps, 1 questions" in capsys.readouterr().out
    file.write_text(GOOD.replace("[[step]]", "[step]"))
    assert main(["check", str(file)]) == 1
    assert "[[step]]" in capsys.readouterr().err


def test_a_step_starts_where_the_one_before_was_meant_to_stand(tmp_path):
    file = tmp_path / "two.toml"
    step = GOOD.split("[[step]]")[1].split("[[question]]")[0]
    second = '[[step]]\ntitle = "Two"\ntext = "More."\nstate = {sparsity = 0.8, channel = 3}\n'
    third = '[[step]]\ntitle = "Three"\ntext = "More."\nstate = {group = 7}\n'
    file.write_text(GOOD.replace(step, step + second + third, 1))
    found = lesson.read(file)
    assert found.state(2) == {
        "network": "vgg11_bn-digits", "group": "6", "sparsity": "0.8", "channel": "3",
    }  # fmt: skip
    assert found.state(3) == {"network": "vgg11_bn-digits", "group": "7", "sparsity": "0.8"}
    assert found.state(4) == found.state(3) and found.step(4) is None and len(found) == 4


def test_the_example_of_the_guide_is_a_lesson(tmp_path):
    guide = (ROOT / "docs" / "lessons.md").read_text()
    example = guide.split("```toml\n")[1].split("```")[0]
    file = tmp_path / "my-first-lesson.toml"
    file.write_text(example)
    found, wrong = check(file)
    assert not wrong and found is not None and len(found.steps) >= 2
    facts = [fact for noticed in FACTS.values() for fact in noticed]
    for name in (*PARTS, *lesson.CONTROLS, *STAGES, *FACTS, *facts):
        assert f"`{name}`" in guide, f"the guide does not explain {name}"


# ---- conditions


@pytest.mark.parametrize(
    ("done", "holds"),
    [
        ({"sparsity": 0.7}, True),
        ({"sparsity": 0.65}, False),
        ({"sparsity_at_least": 0.7}, True),
        ({"sparsity_at_most": 0.65}, False),
        ({"rule": "released"}, True),
        ({"rule_not": "released"}, False),
        ({"picture": "umap"}, True),
        ({"epsilon": 0.05}, True),
        ({"channel": "any"}, False),
        ({"seed_not": 0}, False),
        ({"fact": "puzzle.solved"}, True),
        ({"fact": "transport.moved"}, False),
        ({"sparsity": 0.7, "rule": "best"}, False),
    ],
)
def test_conditions_hold_for_what_is_shown_defaults_included(done, holds):
    choice = link.Choice("vgg11_bn-digits", 6, link.DEFAULT.replace(sparsity=0.7))
    facts = {"puzzle.solved": True, "transport.moved": False}
    assert met(done, link.write(choice), facts) is holds


# ---- the lessons that ship


def test_the_lessons_that_were_promised_are_there():
    promised = {
        "What is a group?", "Transport by hand", "Folding batch norm",
        "From plan to smaller network", "Where fusion wins and where it loses",
        "Reading UMAP with care",
    }  # fmt: skip
    assert promised <= {found.title("en") for found in LESSONS.values()}
    assert cache.lessons()[1] == []


@ALL
def test_a_lesson_is_whole_in_every_language(name):
    found = LESSONS[name]
    assert 5 <= len(found.steps) <= 8 and 2 <= len(found.questions) <= 3
    texts = [found.title, found.summary, found.audience]
    for step in found.steps:
        texts += [step.title, step.text, *(w for w in (step.task, step.feedback) if w)]
    for question in found.questions:
        texts += [question.ask, *(w for a in question.answers for w in (a.text, a.why))]
    for words in texts:
        assert set(words) == set(LANGUAGES), words
    assert sum(step.task is not None for step in found.steps) >= 3
    # Works without CIFAR-10 and without a network connection.
    assert all(step.state["network"].endswith("-digits") for step in found.steps)


@ALL
def test_every_number_of_a_lesson_comes_out(name):
    found, wrong = check(cache.LESSONS / f"{name}.toml")
    assert not wrong, "\n".join(wrong)


@ALL
def test_shares_named_in_a_text_are_in_its_checks_or_in_its_state(name):
    """A percentage in a step's text is one of its sparsities, of the paper, or says 95 %."""
    paper = {"84.2", "63.1", "88.95", "89.19", "89.56", "64"}
    for step in LESSONS[name].steps:
        known = paper | {"95"}
        known |= {f"{100 * float(v):g}" for v in (step.state.get("sparsity", "0.5"),)}
        known |= {f"{100 * c['sparsity']:g}" for c in step.checks if "sparsity" in c}
        known |= {f"{100 * float(v):g}" for k, v in step.done.items() if k.startswith("sparsity")}
        for words in (step.text, step.task, step.feedback):
            found = re.findall(r"(\d+(?:[.,]\d+)?)[\s\u00a0]%", words("en") if words else "")
            assert set(found) <= known, (step.title("en"), found)


def test_the_questions_that_were_promised_are_asked_and_recomputed():
    kinds = {
        key for found in LESSONS.values() for q in found.questions for c in q.checks for key in c
    }
    assert {"costs", "producers", "folded_weight", "folded_bias"} <= kinds


def test_a_question_whose_right_answer_says_another_number_is_caught(tmp_path):
    text = (cache.LESSONS / "folding-batch-norm.toml").read_text()
    right = 'text.en = "w′ = 0.25 and b′ = −0.5"'
    assert right in text
    wrong = problems(tmp_path, text.replace(right, 'text.en = "w′ = 0.25 and b′ = −0.6"'))
    assert "question 1: the right answer (en) does not name -0.5" in wrong


def test_every_step_of_the_method_is_explained_once():
    stages = [step.stage for found in LESSONS.values() for step in found.steps if step.stage]
    assert sorted(stages) == sorted(STAGES)


def test_every_toy_that_a_lesson_uses_is_installed():
    used = {step.toy for found in LESSONS.values() for step in found.steps if step.toy}
    assert used <= set(FACTS)
    assert used <= set(lesson_part.toys()), "app/toys/ lacks some"
    from app import toys

    assert {toy: toys.FACTS[toy] for toy in FACTS} == FACTS


# ---- on the page


def do(at: AppTest, step: Step) -> None:
    """Do what a step asks for."""
    for key, wanted in step.done.items():
        name, how = split(key)
        if key == "fact":
            at.session_state["facts"] = {wanted: True}
        elif name == "sparsity":
            drawn(at, "slider", "percent").set_value(round(100 * wanted))
        elif name in link.SETTINGS:
            drawn(at, "slider", name).set_value(wanted)
        elif name == "group":
            drawn(at, "selectbox", "group").set_value(wanted if not how else wanted + 1)
        elif name == "seed":
            drawn(at, "number_input", "seed").set_value(wanted + 1)
        elif name == "channel":
            drawn(at, "number_input", "channel").set_value(1)
        elif name in link.VIEWS:
            at.session_state[key_of(at, f"view_{name}")] = wanted
        else:
            value = wanted if not how else next(k for k in link.TABLES[name] if k != wanted)
            drawn(at, "selectbox", name).set_value(value)
    fine(at.run())


@ALL
def test_every_step_opens_sets_its_state_and_its_task_can_be_done(no_images, name):
    found = LESSONS[name]
    at = opened(lesson=name)
    for number, step in enumerate(found.steps, 1):
        assert at.session_state["step"] == number and told(at)["step"] == str(number)
        assert step.title("en") in [head.value for head in at.subheader]
        now = link.read(told(at), "", lambda _: (128,) * 12, ENGLISH, {name: 99})[0]
        wanted = link.read(dict(step.state), "", lambda _: (128,) * 12, ENGLISH)[0]
        for key in ("network", "group", "percent", "channel", "seed", *link.TABLES, *link.VIEWS):
            assert now[key] == wanted[key], (number, key)
        drawn = " ".join(charts(at))
        assert ("ransport plan" in drawn) == ("plan" not in step.hide), number
        if step.task is not None:
            assert any(step.task("en") in part.value for part in at.info), number
            do(at, step)
            assert any(step.task("en") in part.value for part in at.success), number
            assert step.feedback("en") in said(at)
        at.button(key="lesson_next").click().run()
        fine(at)
    assert at.button(key="lesson_next").disabled
    assert at.session_state["step"] == len(found)
    for number, question in enumerate(found.questions):
        box = at.radio(key=f"answer {name} {number}")
        wrong = next(i for i, answer in enumerate(question.answers) if not answer.right)
        box.set_value(wrong).run()
        assert any(question.answers[wrong].why("en") in part.value for part in at.error)
        at.radio(key=f"answer {name} {number}").set_value(question.right).run()
        assert any(question.answers[question.right].why("en") in p.value for p in at.success)
        fine(at)
    count = len(found.questions)
    assert f"{count} of {count} right, 0 still open." in said(at)


def test_a_link_opens_a_step_and_one_with_choices_keeps_them(no_images):
    name, number = "where-fusion-wins-and-loses", 4
    at = opened(lesson=name, step=str(number))
    step = LESSONS[name].steps[number - 1]
    assert step.title("en") in [head.value for head in at.subheader]
    assert told(at)["network"] == step.state["network"] and told(at)["group"] == "11"
    assert "lesson_restore" not in [b.key for b in at.button]
    again = opened(**told(at) | {"sparsity": "0.8"})
    assert told(again)["sparsity"] == "0.8" and told(again)["step"] == "4"
    again.button(key="lesson_restore").click().run()
    assert told(fine(again))["sparsity"] == "0.5"
    again.number_input(key="seed").set_value(3).run()
    assert told(again)["seed"] == "3"
    again.button(key="lesson_restore").click().run()
    assert "seed" not in told(fine(again))
    again.button(key="lesson_leave").click().run()
    assert "lesson" not in told(fine(again)) and told(again)["group"] == "11"
    assert step.title("en") not in said(again)


@pytest.mark.parametrize(
    ("given", "word"),
    [({"lesson": "none"}, "lesson"), ({"lesson": "transport-by-hand", "step": "99"}, "step")],
)
def test_a_link_to_no_lesson_or_no_step_is_noted(no_images, given, word):
    at = opened(**given)
    assert any(word in note.value and "link" in note.value for note in at.info)
    assert told(at).get("step", "1") == "1"


def test_a_step_marks_with_outline_and_words_and_hides_controls(no_images):
    at = opened(lesson="transport-by-hand", step="4")
    step = LESSONS["transport-by-hand"].steps[3]
    css = styles(at)
    assert f"--mark: {theme.CHOSEN['light']}" in css
    for where in (values.selector("importance"), ".st-key-part_strip"):
        assert f":is({where}) {{ outline: 3px solid var(--mark)" in css
        assert f':is({where})::before {{ content: "▾ Look here"' in css
    assert "Marked on the page: the choice of importance, the strip of the method" in said(at)
    assert step.hide and "Layers that shrink together" not in [h.value for h in at.subheader]
    at = opened(lesson="reading-umap")
    assert f"{values.selector('solver')} + div:has([data-testid=stCaptionContainer])" in styles(at)


def test_the_list_of_lessons_opens_one(no_images):
    at = opened()
    assert "lesson" not in told(at)
    at.session_state["lessons_open"] = True
    fine(at.run())
    for name, found in LESSONS.items():
        assert at.button(key=f"open {name}").label == f"**{found.title('en')}**"
        assert found.summary("en") in said(at)
    at.button(key="open reading-umap").click().run()
    assert told(fine(at))["lesson"] == "reading-umap"


def test_a_broken_lesson_is_named_in_the_list_and_the_others_go_on(
    no_images, tmp_path, monkeypatch
):
    for file in FILES[:2]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.toml").write_text(GOOD.replace("minutes = 5", ""))
    monkeypatch.setattr(cache, "LESSONS", tmp_path)
    at = opened()
    at.session_state["lessons_open"] = True
    fine(at.run())
    assert any("broken.toml: “minutes” is missing" in note.value for note in at.warning)
    assert at.button(key=f"open {FILES[0].stem}")
    changed = tmp_path / "broken.toml"
    changed.write_text(GOOD + "\n# corrected")
    fine(at.run())
    assert at.button(key="open broken"), "a corrected file is read without a restart"


def test_a_missing_toy_is_said(no_images, monkeypatch):
    monkeypatch.setattr(lesson_part, "toys", dict)
    at = opened(lesson="folding-batch-norm", step="3")
    assert any("“folding”" in note.value for note in at.warning)


def test_german_lessons_are_german(no_images):
    at = opened(lesson="what-is-a-group", lang="de", step="2")
    assert "Eine Addition bindet Schichten aneinander" in said(at)
    assert [b.label for b in at.button if b.key == "lesson_next"] == ["Weiter"]


# ---- the strip


def strip(at: AppTest) -> dict[str, str]:
    return {b.key[6:]: b.label for b in at.button if (b.key or "").startswith("stage_")}


def test_the_strip_says_what_each_step_did(no_images):
    at = opened(network="vgg11_bn-digits", group="6", sparsity="0.5")
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net, zoo.network("vgg11_bn-digits").input_shape)
    step = core.compress(net, graph, core.Recipe((6,))).steps[6]
    low, high = float(step.scores.min()), float(step.scores.max())
    now = strip(at)
    assert list(now) == list(STAGES)
    assert now["graph"] == "**Graph** 8 groups"
    assert now["importance"] == f"**Importance** l1: {low:.3g} to {high:.3g}"
    assert now["target"] == "**Target** 16 of 32 stay"
    assert now["cost"] == f"**Cost** l1, mean {float(step.plan.costs.mean()):.3g}"
    assert now["transport"] == f"**Transport** exact, cost {step.plan.cost:.3g}"
    assert now["folding"] == "**Folding** 8 batch norms folded"
    assert now["fusion"] == "**Fusion** released: sums"
    assert now["tuning"] == "**Fine-tuning** nothing is trained"
    drawn(at, "slider", "percent").set_value(75).run()
    assert strip(fine(at))["target"] == "**Target** 8 of 32 stay"


def test_a_button_of_the_strip_opens_the_lesson_behind_it(no_images):
    at = opened()
    at.button(key="stage_folding").click().run()
    assert told(fine(at))["lesson"] == "folding-batch-norm" and told(at)["step"] == "2"


def test_the_strip_says_so_where_nothing_is_transported(no_images):
    at = opened(network="vgg11_bn-digits", rule="regressed")
    labels = strip(at)
    assert "being computed" in labels["cost"] or "nothing moves" in labels["cost"]
    assert labels["fusion"] == "**Fusion** regressed: guessed by least squares"
