"""Fine-tuning side by side: nothing is mutated, and a stopped run ends as one that was not."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import core
from core import cli, finetune, training
from core.finetune import FineTuning, History, Seen, Tuning

ROOT = Path(__file__).resolve().parent.parent
QUICK = Tuning(epochs=2, images=48, batch=16, augment="move-mirror", schedule="cosine")
LIMIT = 40


pytestmark = pytest.mark.usefixtures("one_thread")


class Stop(Exception):
    """Somebody paused."""


class Small(torch.nn.Module):
    """A convolution with its batch norm, and a linear layer: all there is to learn, and quick."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, stride=3)
        self.norm = torch.nn.BatchNorm2d(6)
        self.fc = torch.nn.Linear(6 * 25, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc(torch.flatten(torch.nn.functional.max_pool2d(x, 2), 1))


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return Small().eval()


@pytest.fixture(scope="module")
def images() -> tuple[core.ImageSet, core.ImageSet]:
    return core.images("digits", "train"), core.images("digits")


@pytest.fixture(scope="module")
def pair() -> dict[str, torch.nn.Module]:
    return {"one": network(0), "other": network(1)}


def made(pair, images, tuning: Tuning = QUICK, folder: Path | None = None) -> FineTuning:
    return FineTuning(pair, *images, tuning, LIMIT, folder)


def same(one: FineTuning, other: FineTuning) -> bool:
    """Bit for bit: weights, buffers, losses, accuracies."""
    states = [{k: m.state_dict() for k, m in run.modules().items()} for run in (one, other)]
    return one.histories == other.histories and all(
        torch.equal(states[0][name][key], states[1][name][key])
        for name in states[0]
        for key in states[0][name]
    )


@pytest.fixture(scope="module")
def whole(pair, images) -> FineTuning:
    tuned = made(pair, images)
    list(tuned.run())
    return tuned


def test_the_networks_given_are_not_changed_and_their_copies_are(pair, images, whole):
    for name, before in pair.items():
        fresh = network(0 if name == "one" else 1)
        for key, tensor in fresh.state_dict().items():
            assert torch.equal(tensor, before.state_dict()[key]), key
        after = whole.modules()[name]
        assert not after.training and not before.training
        assert not torch.equal(after.fc.weight, before.fc.weight)


def test_networks_learn(images):
    tuned = FineTuning({"a": network()}, *images, Tuning(epochs=8, images=320, batch=32), 100)
    list(tuned.run())
    losses = [loss for _, loss in tuned.histories["a"].losses]
    assert losses[-1] < 0.7 * losses[0]
    first, last = tuned.histories["a"].accuracies[0], tuned.histories["a"].accuracies[-1]
    assert last.low > first.high


def test_what_is_told_is_the_history_and_accuracies_are_the_librarys(pair, images):
    tuned = made(pair, images)
    seen = list(tuned.run())
    assert all(isinstance(one, Seen) for one in seen) and tuned.done and tuned.share == 1
    for name, history in tuned.histories.items():
        mine = [one for one in seen if one.name == name]
        assert [(o.step, o.loss) for o in mine if o.loss is not None] == history.losses
        assert [o.accuracy for o in mine if o.accuracy] == history.accuracies
        assert [o.epoch for o in mine if o.accuracy] == [0, 1, 2]
        assert history.losses[-1][0] == 2 * history.per_epoch == mine[-1].steps
        assert history.accuracies[0] == core.accuracy(pair[name], images[1], LIMIT)
        assert history.accuracies[-1] == core.accuracy(tuned.modules()[name], images[1], LIMIT)
    assert list(tuned.run()) == []


def test_all_see_the_same_images_in_the_same_order(images):
    twins = FineTuning({"a": network(), "b": network()}, *images, QUICK, LIMIT)
    list(twins.run())
    a, b = twins.histories.values()
    assert a == b
    other = FineTuning({"a": network()}, *images, dataclasses.replace(QUICK, seed=1), LIMIT)
    list(other.run())
    assert other.histories["a"].losses != a.losses


def test_steps_are_those_of_plain_descent_on_the_first_images(images):
    """Against PyTorch's own loop, written out: order, loss, rate, momentum, decay."""
    tuning = Tuning(epochs=1, images=48, batch=16, schedule="constant")
    tuned = FineTuning({"a": network()}, *images, tuning, LIMIT)
    list(tuned.run())
    module = network().train()
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in module.parameters() if p.ndim <= 1]},
    ]
    descent = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    shuffled, _ = training.order(48, 0, 0)
    for chosen in shuffled.split(16):
        x = images[0].normalised(images[0].images[chosen])
        descent.zero_grad()
        torch.nn.functional.cross_entropy(module(x), images[0].labels[chosen]).backward()
        descent.step()
    for key, tensor in tuned.modules()["a"].state_dict().items():
        assert torch.equal(tensor, module.state_dict()[key]), key


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 8, 13])
def test_a_run_that_was_paused_ends_bit_for_bit_as_one_that_was_not(
    pair, images, whole, tmp_path, stop
):
    calls = 0

    def between():
        nonlocal calls
        calls += 1
        if calls > stop:
            raise Stop

    tuned = made(pair, images, folder=tmp_path)
    with pytest.raises(Stop):
        list(tuned.run(between))
    share = tuned.share
    again = made(pair, images, folder=tmp_path)
    assert again.share == share and again.histories == tuned.histories
    list(again.run())
    assert same(again, whole)
    third = made(pair, images, folder=tmp_path)
    assert third.done and list(third.run()) == [] and same(third, whole)
    (tmp_path / "unrelated").touch()
    again.forget()
    assert [file.name for file in tmp_path.iterdir()] == ["unrelated"]


def test_whoever_stops_listening_has_paused(pair, images, whole, tmp_path):
    tuned = made(pair, images, folder=tmp_path)
    listening = tuned.run()
    for seen in listening:
        if seen.loss is not None and seen.step == 2:
            break
    listening.close()
    again = made(pair, images, folder=tmp_path)
    assert again.share > 0
    list(again.run())
    assert same(again, whole)


KILLED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, "tests")
import core
from test_finetune import LIMIT, QUICK, network
from core.finetune import FineTuning
torch.set_num_threads(1)
images = core.images("digits", "train"), core.images("digits")
pair = {"one": network(0), "other": network(1)}
for seen in FineTuning(pair, *images, QUICK, LIMIT, Path(sys.argv[1])).run():
    print(seen.name, seen.step, seen.accuracy is not None, flush=True)
    if seen.step == 5 and seen.loss is not None:
        print("now", flush=True)
        sys.stdin.read()
"""


@pytest.mark.slow
def test_a_run_whose_process_is_killed_goes_on_and_ends_the_same(pair, images, whole, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        begun = time.monotonic()
        while process.stdout.readline().strip() != "now":
            assert process.poll() is None and time.monotonic() - begun < 120
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    again = made(pair, images, folder=tmp_path)
    assert 0 < again.share < 1
    assert again.histories["one"].losses[-1][0] == 3  # of the epoch that was killed, nothing
    list(again.run())
    assert same(again, whole)


def test_a_damaged_checkpoint_is_named(pair, images, tmp_path):
    tuned = made(pair, images, folder=tmp_path)
    next(iter(tuned.run()))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(core.WeightsError, match=file.name):
        made(pair, images, folder=tmp_path)


def test_what_changes_the_outcome_changes_the_checkpoints_name(pair, images):
    train, test = images
    worse = dataclasses.replace(train, fingerprint="another")
    other = {
        "epochs": 3, "images": 32, "rate": 0.02, "schedule": "tenth", "batch": 8, "momentum": 0.8,
        "weight_decay": 0.0, "augment": "none", "seed": 1,
    }  # fmt: skip
    assert set(other) == {field.name for field in dataclasses.fields(Tuning)}
    tunings = [QUICK, *(dataclasses.replace(QUICK, **{k: v}) for k, v in other.items())]
    keys = {finetune.run_key(pair["one"], train, test, tuning, LIMIT) for tuning in tunings}
    keys.add(finetune.run_key(pair["other"], train, test, QUICK, LIMIT))
    keys.add(finetune.run_key(pair["one"], worse, test, QUICK, LIMIT))
    keys.add(finetune.run_key(pair["one"], train, test, QUICK, 41))
    assert len(keys) == len(tunings) + 3


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"epochs": 0}, "epochs"), ({"images": -1}, "images"), ({"batch": 1}, "batch"),
        ({"rate": 0.0}, "rate"), ({"rate": float("nan")}, "rate"), ({"momentum": 1.0}, "momentum"),
        ({"schedule": "magic"}, "magic"), ({"augment": "magic"}, "magic"), ({"seed": True}, "seed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(fields, word):
    with pytest.raises(core.RecipeError, match=word):
        Tuning(**fields)


def test_test_images_are_never_learned_from(pair, images):
    with pytest.raises(core.RecipeError, match="never on those they are tested on"):
        FineTuning(pair, images[1], images[1], QUICK)


def test_a_loss_that_runs_away_is_said(images, tmp_path):
    broken = network()
    with torch.no_grad():
        broken.fc.weight.fill_(float("inf"))
    tuned = FineTuning({"broken": broken}, *images, QUICK, LIMIT, tmp_path)
    with pytest.raises(core.WeightsError, match="'broken' is no finite number .* smaller rate"):
        list(tuned.run())


def test_schedules_start_at_the_full_rate_and_never_rise():
    for row in finetune.SCHEDULES.values():
        rates = [row.of(step, 30) for step in range(30)]
        assert rates[0] == 1 and rates == sorted(rates, reverse=True) and rates[-1] > 0


def test_a_history_survives_json(whole):
    for history in whole.histories.values():
        assert History.from_dict(json.loads(json.dumps(history.as_dict()))) == history


def test_the_command_tells_what_the_library_computes(capsys, tmp_path, images, isolated_home):
    file = tmp_path / "tuned.json"
    arguments = [
        "fine-tune", "vgg11_bn-digits", "--groups", "6", "--sparsity", "0.7", "--rules",
        "select,released", "--epochs", "1", "--train-images", "16", "--batch", "8", "--limit",
        "40", "--out", str(file), "--json",
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(file.read_text())
    net = core.load("vgg11_bn-digits")
    graph = core.trace(net)
    small = core.compress(net, graph, core.Recipe((6,), 0.7)).module
    tuned = FineTuning({"released": small}, *images, Tuning(epochs=1, images=16, batch=8), 40)
    list(tuned.run())
    assert list(told["histories"]) == ["select", "released"]
    assert told["histories"]["released"] == tuned.histories["released"].as_dict()
    assert told["parameters"]["released"] == core.size(small).parameters
    dense = core.accuracy(net, images[1], 40)
    assert told["dense"] == {"right": dense.correct, "total": 40}
    assert told["run"]["commit"] and told["run"]["machine"]
    # The checkpoints are in the cache: the same command has nothing left to learn.
    assert len(list((isolated_home / "intra-fusion-explorer/fine-tuning").glob("*.pt"))) == 2


def test_the_command_says_what_is_wrong(capsys):
    assert cli.main(["fine-tune", "vgg11_bn-digits", "--rules", "magic"]) == 1
    assert "no rule 'magic'" in capsys.readouterr().err


def test_a_step_stops_within_a_layer_and_has_then_not_happened(pair, images):
    """A pause waits for a layer, not for a step of a large network."""
    from core.interruptible import interruptible

    module = pair["one"].train()
    known = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    pixels = images[0].normalised(images[0].images[:8])
    calls = 0

    def step(most: int) -> None:
        nonlocal calls
        calls = 0

        def between() -> None:
            nonlocal calls
            calls += 1
            if calls > most:
                raise Stop

        with interruptible(module, between):
            torch.nn.functional.cross_entropy(module(pixels), images[0].labels[:8]).backward()

    for most in range(4):  # two layers forward, two backward
        with pytest.raises(Stop):
            step(most)
        assert calls == most + 1
        assert all(torch.equal(known[key], one) for key, one in module.state_dict().items())
    step(4)
    assert calls == 4 and int(module.norm.num_batches_tracked) == 1
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())
    module.load_state_dict(known)
    module.eval()
