"""Fine-tuning: the pruned and the fused network trained on, side by side on the same images."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import streamlit as st

from app import cache, controls, frame, runs
from app.charts import as_json, chart
from app.figures import finetune as figures
from app.jobs import Job
from app.page import Page, captions
from app.parts import accuracy, run
from core import published, zoo
from core.finetune import FineTuning, History, Tuning

#: Test images that are counted after every epoch.
COUNTED = 2000


@dataclass(frozen=True)
class Known:
    """The curves so far, by rule, of training on so many images; is nothing left to do?"""

    histories: Mapping[str, History]
    whole: bool
    images: int


def body(page: Page, told: dict[str, str]) -> None:
    say, loaded, choice = page.say, page.loaded, page.choice
    st.subheader(say("finetune.heading"), anchor=False)
    st.markdown(say("finetune.lead"))
    with st.container(horizontal=True):
        shrunk = controls.pick_view("shrunk", labelled=True)
        epochs = controls.pick_view("epochs", ("1", "3", "10"), labelled=True)
        images = controls.pick_view("trained_on", ("1000", "5000", "all"), labelled=True)
    groups = "all" if shrunk == "all" else choice.recipe.groups
    recipes = {
        "select": choice.pruning.replace(groups=groups),
        choice.recipe.rule: choice.recipe.replace(groups=groups),
    }
    tuning = Tuning(
        int(epochs), 0 if images == "all" else int(images), seed=choice.recipe.seed
    )  # fmt: skip
    key = ("tuning", loaded.name, tuple(recipes.values()), tuning, page.folder)
    both = "-".join(recipe.key for recipe in recipes.values())
    named = f"tuning-{loaded.card.sha256[:12]}-{both}-{tuning.epochs}-{tuning.images}.json"
    file = runs.folder() / named

    def work(job: Job) -> Known:
        job.report(0.0, say("accuracy.multiplying"))
        networks = {}
        for rule, recipe in recipes.items():
            networks[rule] = cache.compressed(loaded, recipe, page.folder).module
            job.hold()
        job.report(0.0, say("accuracy.reading"))
        name = zoo.network(loaded.name).images
        training, testing = (cache.images(name, page.folder, s) for s in ("train", "test"))
        limit = min(COUNTED, len(testing))
        count = min(tuning.images or len(training), len(training))
        places = runs.folder() / "tuning"
        tuned = FineTuning(networks, training, testing, tuning, limit, places)

        def tell(sentence: str) -> None:
            job.result = Known(copy.deepcopy(tuned.histories), tuned.done, count)
            write(file, job.result)
            job.report(tuned.share, sentence)

        tell(say("finetune.starting"))
        for seen in tuned.run(job.hold):
            title = say(f"accuracy.name.{'pruned' if seen.name == 'select' else 'fused'}")
            tell(say("finetune.step", name=title, epoch=seen.epoch, step=seen.step, all=seen.steps))
        job.result = Known(copy.deepcopy(tuned.histories), tuned.done, count)
        write(file, job.result)
        return job.result

    run.show(
        page, key, work, partial(draw, page, shrunk), partial(read, file),
        lambda known: known is not None and known.whole, pauses=True,
    )  # fmt: skip


def draw(page: Page, shrunk: str, known: Known | None, drawn_in: str) -> None:
    """Accuracy after each epoch, and the training loss."""
    say = page.say
    if known is None or not any(one.accuracies for one in known.histories.values()):
        st.info(say("finetune.nothing"), icon=":material/model_training:")
        return
    lines, recorded = figures.lines(known.histories), accuracy.found(page)
    dense = recorded.dense if recorded else None
    if head := figures.headline(lines, say):
        st.markdown(f"#### {head}")
    left, right = st.columns(2, gap="large")
    with left:
        picture = as_json(figures.accuracy(lines, dense, drawn_in, say))
        chart(picture, page.key("tuned"), figures.alt(lines, dense, say))
        captions(figures.caption(lines, known.images, "", say))
    with right:
        picture = as_json(figures.loss(lines, drawn_in, say))
        chart(picture, page.key("tuned_loss"), say("finetune.alt_loss"))
        captions((say("finetune.caption_loss"), say("finetune.caution_loss")))
    theirs = published.fine_tuned(page.loaded.name)
    if theirs and shrunk == "all":
        rows = [
            {
                say("whole.column_gone"): say.number(gone, ".0%"),
                say("accuracy.name.pruned"): say.number(pair.pruned, ".1%"),
                say("accuracy.name.fused"): say.number(pair.fused, ".1%"),
            }
            for gone, pair in theirs.items()
        ]
        st.caption(say("finetune.paper"))
        st.dataframe(rows, hide_index=True, width="content", key=page.key("tuned_paper"))


def write(file: Path, known: Known) -> None:
    """Keep the curves; the networks' checkpoints are kept by the engine."""
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {"whole": known.whole, "images": known.images} | {
        "histories": {rule: one.as_dict() for rule, one in known.histories.items()}
    }
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(told), encoding="utf-8")
    partial.replace(file)


def read(file: Path) -> Known | None:
    """The curves that were kept; None if there are none."""
    if not file.exists():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    found = {rule: History.from_dict(one) for rule, one in told["histories"].items()}
    return Known(found, told["whole"], told["images"])


frame.draw(body)
