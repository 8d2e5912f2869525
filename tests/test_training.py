"""Training: schedules, augmentation, resuming, and what the cards of the shipped networks say."""

import dataclasses
import hashlib
import json

import pytest
import torch

import core
from core import data, training, zoo

#: What the issue asks of each network that ships, in percent of the test images.
AT_LEAST = {
    "vgg11_bn-cifar10": 88.5,
    "resnet18-cifar10": 90.0,
    "resnet20-cifar10": 87.0,
    "vgg11_bn-digits": 97.5,
    "resnet18-digits": 97.5,
}
SHORT = training.Schedule(crops=((1, 32), (1, 32)), batch=300, flip=False)


def small_network():
    torch.manual_seed(0)
    return zoo.ResidualNetwork((4, 8), 1, 10)


def told(schedule):
    """As a card tells it: with lists for tuples."""
    return json.loads(json.dumps(dataclasses.asdict(schedule)))


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    schedule = training.Schedule(crops=((10, 32),), peak=0.4, warmup=0.25)
    rates = [schedule.rate(step, 100) for step in range(1000)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.4)
    assert 240 <= top <= 250
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_restart_begins_another_cycle_and_changes_nothing_before_it():
    once = training.Schedule(crops=((10, 32),))
    twice = training.Schedule(crops=((10, 32), (4, 32)), restarts=((10, 0.05),))
    rates = [twice.rate(step, 100) for step in range(1400)]
    assert rates[:1000] == [once.rate(step, 100) for step in range(1000)]
    assert rates[999] < 0.001 and rates[1000] < 0.002
    assert max(rates[1000:]) == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.001


def test_crops_follow_the_schedule():
    schedule = training.Schedule(crops=((2, 20), (1, 32)))
    assert [schedule.crop(epoch) for epoch in range(schedule.epochs)] == [20, 20, 32]
    with pytest.raises(IndexError):
        schedule.crop(3)


def test_augmentation_cuts_windows_of_the_image_and_mirrors_them():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (40, 3, 32, 32), generator=generator).to(torch.uint8)
    mirrored = torch.arange(40) % 2 == 1
    crops = training.augmented(pixels, 20, mirrored, generator)
    assert crops.shape == (40, 3, 20, 20)
    for image, crop, turned in zip(pixels, crops, mirrored, strict=True):
        crop = crop.flip(2) if turned else crop
        windows = image.unfold(1, 20, 1).unfold(2, 20, 1)  # (3, 13, 13, 20, 20)
        same = (windows == crop[:, None, None]).flatten(3).all(3).all(0)  # (13, 13)
        assert same.any()


def test_each_epoch_is_told_also_those_before_an_interruption(tmp_path):
    images, kept, known = data.images("digits", "train"), tmp_path / "kept.pt", []
    training.train(small_network(), images, SHORT, 3, kept, bfloat16=False, until=1, known=known)
    assert len(known) == 1 and known[0].seen == 1200 and 0 < known[0].right < 1200
    again = []
    training.train(small_network(), images, SHORT, 3, kept, bfloat16=False, known=again)
    assert again[0] == known[0] and len(again) == SHORT.epochs
    assert again[1].began >= again[0].began + again[0].seconds - 0.01


def test_training_that_fails_is_a_sentence(tmp_path):
    images, kept = data.images("digits", "train"), tmp_path / "kept.pt"
    hot = dataclasses.replace(SHORT, peak=1e30)
    with pytest.raises(core.WeightsError, match="no finite number any more in epoch 1"):
        training.train(small_network(), images, hot, 3, bfloat16=False)
    kept.write_bytes(b"half a checkpoint")
    with pytest.raises(core.WeightsError, match="kept.pt can't be read"):
        training.train(small_network(), images, SHORT, 3, kept, bfloat16=False)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path):
    images = data.images("digits", "train")
    whole = training.train(small_network(), images, SHORT, seed=3, bfloat16=False)

    class Stop(Exception):
        pass

    def stop_in_second_epoch(line):
        if line.startswith("epoch 2/2"):
            raise Stop

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(Stop):
        training.train(
            small_network(), images, SHORT, 3, checkpoint, stop_in_second_epoch, bfloat16=False
        )
    lines = []
    resumed = training.train(
        small_network(), images, SHORT, 3, checkpoint, lines.append, bfloat16=False
    )
    assert lines[0].startswith("going on after epoch 1")
    for key, tensor in whole.state_dict().items():
        assert torch.allclose(tensor, resumed.state_dict()[key], atol=1e-5), key


def test_what_changes_the_outcome_changes_the_name_of_the_checkpoint():
    images = data.images("digits", "train")
    other = dataclasses.replace(images, fingerprint="another")
    keys = {
        training.run_key("vgg11_bn-digits", SHORT, 0, images),
        training.run_key("resnet18-digits", SHORT, 0, images),
        training.run_key("vgg11_bn-digits", dataclasses.replace(SHORT, peak=0.2), 0, images),
        training.run_key("vgg11_bn-digits", SHORT, 1, images),
        training.run_key("vgg11_bn-digits", SHORT, 0, other),
    }
    assert len(keys) == 5


def test_the_command_trains_stores_and_writes_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(training.SCHEDULES, "vgg11_bn-digits", SHORT)
    (tmp_path / "w").mkdir()
    for file in zoo.WEIGHTS.glob("vgg11_bn-digits.*"):  # a former network, with its card
        (tmp_path / "w" / file.name).write_bytes(file.read_bytes())
    arguments = ["vgg11_bn-digits", "--out", str(tmp_path / "w"), "--checkpoints", str(tmp_path)]
    assert training.main(arguments) == 0
    card = zoo.card("vgg11_bn-digits", tmp_path / "w")
    net = zoo.load("vgg11_bn-digits", tmp_path / "w")
    measured = core.accuracy(net, core.images("digits"))
    assert (card.accuracy, card.tested) == (measured.mean, 597)
    assert card.epochs == 2 and card.seed == 0
    assert f"{100 * measured.mean:.1f} %" in capsys.readouterr().out


def test_the_command_says_what_is_missing(tmp_path, capsys):
    folder = tmp_path / "nowhere"
    assert training.main(["vgg11_bn-cifar10", "--data-dir", str(folder)]) == 1
    said = capsys.readouterr().err
    assert str(folder) in said and "does not exist" in said and "Traceback" not in said


@pytest.mark.parametrize("name", zoo.shipped())
def test_shipped_weights_are_those_of_their_card(name):
    card = zoo.card(name)
    path = zoo.WEIGHTS / f"{name}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card.sha256
    assert told(training.Schedule(**card.schedule)) == told(training.SCHEDULES[name])
    assert card.parameters == sum(p.numel() for p in core.load(name).parameters())
    assert 100 * card.accuracy >= AT_LEAST[name]
    assert card.tested == (597 if name.endswith("digits") else 10_000)
    assert "JPEG-recompressed" in card.data or name.endswith("digits")


@pytest.mark.parametrize("name", ["vgg11_bn-digits", "resnet18-digits"])
def test_the_card_of_a_digits_network_tells_its_accuracy(name):
    measured = core.accuracy(core.load(name), core.images("digits"))
    # One image more or less: float32 sums differ between processors.
    assert abs(measured.correct - zoo.card(name).accuracy * 597) <= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in zoo.shipped() if n.endswith("cifar10")])
def test_the_card_of_a_cifar10_network_tells_its_accuracy(name, cifar10):
    """On the first thousand images, whose accuracy lies within the interval around the card's."""
    measured = core.accuracy(core.load(name), cifar10, limit=1000)
    card = zoo.card(name)
    if cifar10.title != card.data:
        pytest.skip(f"{name} was trained on {card.data}; the images here are {cifar10.title}")
    assert measured.low - 0.005 <= card.accuracy <= measured.high + 0.005


def test_every_network_ships():
    assert tuple(zoo.shipped()) == tuple(zoo.NETWORKS)


def test_assets_stay_small():
    total = sum(f.stat().st_size for f in zoo.WEIGHTS.parent.rglob("*") if f.is_file())
    assert total < 60e6
