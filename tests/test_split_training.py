"""Split-data training: stages and times, runs that are stopped and killed, the command."""

import dataclasses
import json
import os
import signal

import pytest
import torch

from core import cli, data, shape, split_store, split_task, split_training
from core.errors import ClusterError, DataError, RecipeError, WeightsError
from core.evaluate import Accuracy, accuracy
from core.recipe import Recipe
from core.split_methods import timelines
from core.split_plan import PRESETS, Fusion, Plan
from core.split_result import Result, Stage, Timeline
from core.split_training import result_of, run
from core.splits import Splits, subset

SMALL = Plan(
    splits=Splits("overlapping", 2, 0.1), methods=("fap", "paf"), crops=((3, 32),), steps=1,
    pruned_epochs=1, fused_epochs=1, recipe=Recipe(groups="all", sparsity=0.8),
    fusion=Fusion(samples=20), limit=100,
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def few_images(monkeypatch):
    """160 digits to train on and 60 to test on, in this process alone."""
    training, testing = (
        subset(data.images("digits", split), torch.arange(count), f"the first {count}")
        for split, count in (("train", 160), ("test", 60))
    )
    for module in (split_task, split_training, split_store):
        monkeypatch.setattr(module, "images_of", lambda network, folder=None: (training, testing))
    return training, testing


def to_the_end(plan, folder, **options):
    events = list(run(plan, folder, **options))
    found = result_of(plan, folder)
    assert found.done and events[-1].share == 1.0
    return found


def same_networks(one, two):
    """Whether two results are of the same networks, whatever the time they took."""
    told = [
        [
            (stage.key, stage.weights, stage.accuracy, stage.losses, dict(stage.beside))
            for of_seed in found.runs
            for timeline in of_seed.timelines.values()
            for stage in timeline.stages
        ]
        for found in (one, two)
    ]
    return told[0] == told[1]


def test_the_methods_go_through_their_stages(few_images, tmp_path):
    training, testing = few_images
    plan = Plan(
        crops=((2, 32),), steps=2, pruned_epochs=1, fused_epochs=1, fusion=Fusion(samples=20),
        seeds=(3,),
    )  # fmt: skip
    found = to_the_end(plan, tmp_path, workers=1, threads=1)
    (told,) = found.runs
    names = {
        method: [(stage.name, stage.network) for stage in one.stages]
        for method, one in told.timelines.items()
    }
    shrink = ["prune", "fine-tune"] * 2
    assert names["whole"] == [(n, "whole") for n in ("train", *shrink, "fine-tune")]
    assert names["fap"][:2] == names["paf"][:2] == [("train", "part 1"), ("train", "part 2")]
    assert names["fap"][2:] == [(n, "fused") for n in ("fuse", "fine-tune", *shrink)]
    assert names["paf"][2:] == [
        *((n, "part 1") for n in shrink), *((n, "part 2") for n in shrink),
        ("fuse", "fused"), ("fine-tune", "fused"),
    ]  # fmt: skip
    assert [one.key for one in told.timelines["fap"].stages[:2]] == [
        one.key for one in told.timelines["paf"].stages[:2]
    ], "the same networks, trained once"
    for method, one in told.timelines.items():
        assert one.stages[-1].sparsity == pytest.approx(0.5)
        assert 0 < one.measured <= one.total + 1e-6
        assert one.parallel <= one.total + 1e-6
        # Along each way the same epochs; on a part each has half of the images.
        place, epochs = len(one.stages) - 1, 0
        while True:
            stage = one.stages[place]
            epochs += stage.epochs
            if stage.name in ("train", "fine-tune"):
                assert stage.images == (80 if stage.network.startswith("part") else 160)
                assert len(stage.losses) == len(stage.spans) == stage.epochs
            if not stage.after:
                break
            place = stage.after[0]
        assert epochs == 2 + 2 * 1 + 1
        assert one.accuracy.total == len(testing)
        if method != "whole":
            assert set(one.fused.beside) == {"average", "ensemble"}
    widths = {
        stage.network: stage.parameters
        for one in told.timelines.values()
        for stage in one.stages[-1:]
    }
    assert widths["whole"] == widths["fused"], "all methods end with the same widths"
    # What is stored is what was counted.
    for one in told.timelines.values():
        for stage in one.stages:
            module = split_store.network(tmp_path / "stages", plan.network, stage.key)
            assert shape.state_hash(module) == stage.weights
            assert accuracy(module, testing) == stage.accuracy
        if one.fused:
            again = split_store.fusion(tmp_path / "stages", one.fused.key)
            assert shape.state_hash(again.module) == one.fused.weights, "plans are the run's own"
            assert all(len(plans) == len(plan.splits) for plans in again.plans.values())
    assert told.split == Splits("halves", 2, seed=3).written(training)
    assert Result.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert split_store.read(tmp_path) == found
    assert not list(tmp_path.glob("**/*.partial")) and not list(tmp_path.glob("**/*.pt"))
    assert found.provenance[0]["commit"]


@pytest.mark.parametrize(
    "recipe", [Recipe(groups="all", rule="calibrated", samples=20, sparsity=0.5)]
)
def test_rules_that_look_at_images_see_those_of_the_part(few_images, tmp_path, recipe):
    plan = SMALL.replace(
        recipe=recipe, methods=("paf",), crops=((1, 32),), splits=Splits("overlapping", 2, 0.4)
    )
    training, testing = few_images
    way = timelines(plan, 0, training, testing)["paf"]
    pruned = [one.task for one in way if one.name == "prune"]
    assert [one.part for one in pruned] == [0, 1]
    assert (
        to_the_end(plan, tmp_path, workers=1, threads=1).runs[0].timelines["paf"].accuracy.total
        == 60
    )


def test_a_run_that_is_stopped_anywhere_ends_with_the_same_networks(few_images, tmp_path):
    plan = SMALL.replace(splits=Splits("overlapping", 2, 0.5))
    whole = to_the_end(plan, tmp_path / "whole", workers=1, threads=1)
    stops, begun = 0, []
    while stops < 100:
        going = run(plan, tmp_path / "stopped", workers=1, threads=1)
        left = 5
        for event in going:
            if event.what == "waiting":
                continue
            begun += [event.key] if event.what == "began" else []
            left -= 1
            if not left:
                break
        going.close()
        if left:
            break
        stops += 1
    stopped = result_of(plan, tmp_path / "stopped")
    assert stops > 6 and stopped.done
    assert len(begun) > len(set(begun)), "some task was stopped while it was at work"
    assert same_networks(whole, stopped)
    again = list(run(plan, tmp_path / "stopped", workers=1, threads=1))
    assert not [event for event in again if event.what == "began"]


def test_an_error_in_a_task_is_raised_and_what_is_done_stays(few_images, tmp_path):
    plan = SMALL.replace(splits=Splits("overlapping", 2, 0.5), crops=((1, 32),), methods=("fap",))
    whole = to_the_end(plan, tmp_path, workers=1, threads=1)
    stages = whole.runs[0].timelines["fap"].stages
    damaged = tmp_path / "stages" / f"{stages[1].key}.safetensors"
    before = damaged.read_bytes()
    damaged.write_bytes(before[:100])
    for one in stages[2:]:
        (tmp_path / "stages" / f"{one.key}.json").unlink()
    with pytest.raises(WeightsError, match="is damaged .* the stage is done again then") as caught:
        list(run(plan, tmp_path, workers=1, threads=1))
    assert str(caught.value).endswith(".")
    damaged.write_bytes(before)
    events = list(run(plan, tmp_path, workers=1, threads=1))
    assert sum(event.what == "began" for event in events) == len(stages) - 2
    assert same_networks(whole, result_of(plan, tmp_path))


def test_two_runs_at_once_in_a_folder_are_refused(few_images, tmp_path):
    first = run(SMALL, tmp_path, workers=1, threads=1)
    next(first)
    with pytest.raises(DataError, match="Another run is at work"):
        next(run(SMALL, tmp_path, workers=1, threads=1))
    first.close()


def test_another_plan_in_the_folder_uses_what_it_shares(few_images, tmp_path):
    plan = SMALL.replace(splits=Splits("overlapping", 2, 0.5), crops=((1, 32),), methods=("fap",))
    to_the_end(plan, tmp_path, workers=1, threads=1)
    both = plan.replace(methods=("fap", "paf"))
    begun = [
        event.line for event in run(both, tmp_path, workers=1, threads=1) if event.what == "began"
    ]
    assert begun and not [line for line in begun if ", train:" in line]
    assert result_of(plan, tmp_path) is None and result_of(both, tmp_path).done


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The small plan, done by this process alone with one thread."""
    return to_the_end(SMALL, tmp_path_factory.mktemp("alone"), workers=1, threads=1)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_give_the_results_of_one(alone, tmp_path):
    killed, lines = None, []
    for event in run(SMALL, tmp_path, workers=2, threads=1):
        lines.append(event.line)
        if killed is None and "epoch 2/3" in event.line:
            killed = event
            os.kill(event.pid, signal.SIGKILL)
    found = result_of(SMALL, tmp_path)
    assert any("another one goes on" in line for line in lines)
    assert same_networks(alone, found)
    assert found.workers == {"kind": "processes", "count": 2, "threads": 1}
    stages = found.runs[0].timelines["fap"].stages
    hit = next(stage for stage in stages if stage.key == killed.key)
    went_on = [
        line for line in lines if line.startswith(f"seed 0, {hit.network}, train: epoch 1/3")
    ]
    assert len(went_on) <= 5, "the first epoch was not trained again"
    assert len(hit.spans) == 3


@pytest.mark.slow
def test_a_cluster_gives_the_results_of_one_process(alone, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs Dask: requirements-dask.txt")
    monkeypatch.setenv("PYTHONPATH", str(split_training.provenance.ROOT))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        killed = False
        for event in run(SMALL, tmp_path, threads=1, scheduler=made.scheduler_address):
            if not killed and "epoch 1/3 done" in event.line:
                known = made.scheduler.workers.values()
                at_work = [one for one in known if one.processing] or list(known)
                pids = {one.worker_address: one.pid for one in made.workers.values()}
                os.kill(pids[at_work[0].address], signal.SIGKILL)
                killed = True
    found = result_of(SMALL, tmp_path)
    assert killed and found.workers == {"kind": "cluster", "count": 2, "threads": 1}
    assert same_networks(alone, found)


def test_a_worker_with_other_images_is_a_sentence(few_images):
    training, testing = few_images
    task = timelines(SMALL, 0, training, testing)["fap"][0].task
    other = dataclasses.replace(task, images="0" * 16)
    with pytest.raises(ClusterError, match="other training images"):
        split_task.perform(other, [])


def test_the_key_of_a_task_changes_with_whatever_changes_its_network(few_images):
    def keys(plan, seed=0):
        return [one.task.key for one in timelines(plan, seed, *few_images)["paf"]]

    usual = keys(SMALL)
    assert len(set(usual)) == len(usual)
    for changed in (
        SMALL.replace(splits=Splits("overlapping", 2, 0.2)), SMALL.replace(crops=((4, 32),)),
        SMALL.replace(rate=0.05), SMALL.replace(numbers="bfloat16"),
    ):  # fmt: skip
        assert not set(usual) & set(keys(changed))
    assert not set(usual) & set(keys(SMALL, seed=1))
    assert keys(SMALL.replace(same_start=True))[0] != usual[0]
    later = {
        "recipe": SMALL.recipe.replace(rule="select"), "fusion": Fusion(cost="weights"),
        "tuned_rate": 0.01,
    }  # fmt: skip
    for name, value in later.items():
        told = keys(SMALL.replace(**{name: value}))
        assert told[:2] == usual[:2] and told[-1] != usual[-1]


def stage(name, network, after, seconds, began):
    return Stage(
        f"{name} {network}", name, network, after, 10, 1, 0.1, 0.0, 5, seconds,
        ((began, began + seconds),), 1, Accuracy(8, 10),
    )  # fmt: skip


def test_times_of_a_timeline():
    # Parts of 4 and 6 seconds, half a second of pause, a second of fusion, 2 of fine-tuning.
    told = Timeline(
        "fap",
        (
            stage("train", "part 1", (), 4.0, 100.0), stage("train", "part 2", (), 6.0, 101.0),
            stage("fuse", "fused", (0, 1), 1.0, 107.5),
            stage("fine-tune", "fused", (2,), 2.0, 108.5),
        ),
    )  # fmt: skip
    assert told.starts == (0.0, 0.0, 6.0, 7.0)
    assert (told.parallel, told.total, told.training) == (9.0, 13.0, 6.0)
    assert told.measured == pytest.approx(10.0), "100 to 107 and 107.5 to 110.5"
    assert told.fused.name == "fuse" and told.accuracy == Accuracy(8, 10)
    assert Timeline.from_dict(told.as_dict()) == told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "vgg"}, "no network called 'vgg'"),
        ({"methods": ("pfa",)}, "Known: whole, fap, paf"),
        ({"methods": ()}, "each method once"),
        ({"seeds": (1, 1)}, "each seed once"),
        ({"crops": ()}, "at least one epoch"),
        ({"crops": ((2, 20),)}, "can't be trained on crops of 20"),
        ({"steps": 0}, "steps"),
        ({"tuned_rate": 0}, "tuned_rate"),
        ({"numbers": "float16"}, "Known: float32, bfloat16"),
        ({"recipe": Recipe(rounds=2)}, "several rounds"),
        ({"fusion": Fusion(into=2)}, "no part 2 to fuse into"),
    ],
)
def test_what_is_no_plan_is_refused_by_a_sentence(change, said):
    with pytest.raises(RecipeError, match=said) as caught:
        SMALL.replace(**change)
    assert str(caught.value).endswith(".")


def test_plans_are_plain_values():
    for plan in (SMALL, *PRESETS.values()):
        assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
    with pytest.raises(RecipeError, match="no field epoch"):
        Plan.from_dict({"epoch": 3})
    with pytest.raises(RecipeError, match="weights or their activations"):
        Fusion(cost="colour")


def test_what_is_no_result_is_a_sentence(tmp_path):
    file = tmp_path / "splits.json"
    for text, said in (
        ("{", "can't be read"), ("{}", "no result of split-data training"),
        ('{"format": "x", "version": 1}', "of the format 'x'"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(DataError, match=said):
            split_store.read(tmp_path)
    assert split_store.read(tmp_path / "elsewhere") is None


OPTIONS = [
    "--overlapping", "2", "--share", "0.5", "--epochs", "1", "--pruned-epochs", "1",
    "--fused-epochs", "1", "--workers", "1", "--threads", "1",
    "--fusion-samples", "20", "--sparsity", "0.6",
]  # fmt: skip


def test_the_command_writes_what_it_prints(few_images, tmp_path, capsys):
    words = ["splits", "--preset", "digits-minute", "--out", str(tmp_path), *OPTIONS]
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "splits.json").read_text())
    found = Result.from_dict(told)
    assert found.done and set(found.runs[0].timelines) == {"whole", "fap", "paf"}
    assert found.plan.recipe.sparsity == 0.6 and found.plan.splits.share == 0.5
    assert told["runs"][0]["speedups"]["fap"]["overall"] == found.runs[0].speedup("fap")
    assert told["provenance"][0]["command"].startswith("python -m core splits --preset")
    assert cli.main(words) == 0
    assert "fusion alone" in capsys.readouterr().out


def test_the_curve_over_shares(few_images, tmp_path, capsys, monkeypatch):
    from core import split_shares

    monkeypatch.setattr(split_shares, "images_of", split_training.images_of)
    words = ["splits", "--out", str(tmp_path), "--curve", "2,4", "--epochs", "1", "--workers", "1"]
    words += ["--threads", "1"]
    assert cli.main([*words, "--fused-epochs", "1", "--json", "--fusion-samples", "20"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = split_shares.ShareCurve.from_dict(told)
    assert found.done and split_shares.read(tmp_path) == found
    assert [(one.count, len(one.parts), one.images) for one in found.points] == [
        (2, 2, 80), (4, 4, 40),
    ]  # fmt: skip
    assert found.whole[0].accuracy.total == 60
    assert cli.main([*words, "--fused-epochs", "0"]) == 1
    assert "fused_epochs must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--share", "0.5"], "--overlapping"),
        (["--epochs", "2", "--crops", "1:32"], "leave --epochs out"),
        (["--halves", "3"], "2 or 4 folds"),
        (["--workers", "0"], "workers must be"),
        (["--folds", "200"], "has no image of class"),
        (["--curve", "1"], "at least 2"),
    ],
)
def test_the_command_refuses_by_a_sentence(tmp_path, capsys, more, said):
    assert cli.main(["splits", "--out", str(tmp_path), *more]) == 1
    assert said in capsys.readouterr().err
