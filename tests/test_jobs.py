"""Long work: progress, cancelling, failing, and counts that are shared and never done twice."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import core
from app import cache, jobs
from core.errors import DataError

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.usefixtures("own_workers")


def wait(job, seconds=20.0):
    end = time.monotonic() + seconds
    while not job._done.is_set() and time.monotonic() < end:
        time.sleep(0.01)
    assert job._done.is_set(), "the job did not end"


def images(count):
    """Images whose red value is their label, so that a network can know them all."""
    labels = torch.arange(count) % 10
    pixels = labels.view(-1, 1, 1, 1).expand(count, 3, 4, 4).to(torch.uint8).contiguous()
    return core.ImageSet(
        "made", "made images", pixels, labels, tuple("0123456789"), (0, 0, 0), (1, 1, 1), "f"
    )


class Knows(torch.nn.Module):
    """Names label 0 to 8 right and takes 9 for 0; remembers how many images it has seen."""

    def __init__(self, classes=10):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.classes = classes
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        label = (x[:, 0, 0, 0] * 255).round().long() % 9
        label[(x[:, 0, 0, 0] * 255).round() == 9] = 0
        return torch.nn.functional.one_hot(label, self.classes).float()


def test_milestones_start_small_and_end_with_everything():
    assert jobs.milestones(10_000)[:6] == [50, 100, 250, 500, 1000, 1500]
    for total in (1, 49, 50, 51, 597, 1000, 10_000):
        steps = jobs.milestones(total)
        assert steps == sorted(set(steps)) and steps[-1] == total and steps[0] >= 1


def test_a_run_counts_every_image_once_and_reports_rising_progress():
    made, net = images(597), Knows()
    tally = jobs.Tally(net, made)
    shares = []
    job = jobs.measuring(lambda job: {"dense": tally})
    report = job.report

    def spy(share, sentence):
        shares.append(share)
        report(share, sentence)

    job.report = spy
    job.start()
    wait(job)
    assert job.error is None and not job.running
    assert tally.accuracy == core.Accuracy(int((made.labels != 9).sum()), 597)
    assert net.seen == 597 + 1  # one image to compare the classes
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert job.sentence == "all 597 images"


def test_a_cancelled_run_stops_and_the_next_goes_on_where_it_stopped():
    made, net = images(3000), Knows()
    tally = jobs.Tally(net, made)
    job = jobs.measuring(lambda job: {"dense": tally})
    report = job.report

    def cancel_midway(share, sentence):
        if tally.total >= 500:
            job.cancel()
        report(share, sentence)

    job.report = cancel_midway
    job.start()
    wait(job)
    assert job.cancelled and job.error is None and not job.running
    assert 500 <= tally.total < 3000
    again = jobs.measuring(lambda job: {"dense": tally}).start()
    wait(again)
    assert tally.total == 3000
    assert net.seen == 3000 + 2  # nothing was counted twice


def test_a_job_cancelled_before_its_turn_never_works():
    worked = []
    job = jobs.Job(lambda job: worked.append(1))
    job.cancel()
    job.start()
    wait(job)
    assert worked == []


def test_a_pause_ends_at_once_when_somebody_cancels():
    job = jobs.Job(lambda job: job.pause(60)).start("picture")
    job.cancel()
    wait(job, 5)
    assert job.cancelled and job.error is None


def test_a_server_that_stops_takes_nothing_new(monkeypatch):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    monkeypatch.setitem(jobs._pools, "picture", pool)
    worked = []
    job = jobs.Job(lambda job: worked.append(1)).start("picture")
    assert job.cancelled and not worked


def test_two_who_look_at_the_same_network_share_one_count():
    made, net = images(2000), Knows()
    tally = jobs.Tally(net, made)
    threads = [threading.Thread(target=tally.advance, args=(2000,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert net.seen == 2000 and tally.total == 2000


def test_the_wrong_number_of_classes_is_a_sentence():
    job = jobs.measuring(lambda job: {"dense": jobs.Tally(Knows(11), images(60))}).start()
    wait(job)
    assert isinstance(job.fault, DataError)
    assert "11 classes" in job.error and "10" in job.error


def test_an_empty_set_is_a_sentence():
    empty = dataclasses.replace(
        images(10), images=torch.zeros(0, 3, 4, 4, dtype=torch.uint8), labels=torch.zeros(0).long()
    )
    job = jobs.measuring(lambda job: {"dense": jobs.Tally(Knows(), empty)}).start()
    wait(job)
    assert "no images" in job.error


def test_a_fault_of_ours_is_said_and_printed(capsys):
    def broken(job):
        raise ZeroDivisionError("by nothing")

    job = jobs.Job(broken).start()
    wait(job)
    assert "should not have" in job.error and "ZeroDivisionError" in job.error
    assert isinstance(job.fault, ZeroDivisionError)
    assert "by nothing" in capsys.readouterr().err


def test_the_accuracy_of_a_tally_is_the_librarys():
    net, digits = core.load("vgg11_bn-digits"), core.images("digits")
    tally = jobs.Tally(net, digits)
    assert tally.accuracy is None
    for until in (50, 100, 250):
        tally.advance(until)
    assert tally.accuracy == core.accuracy(net, digits, limit=250)


def test_work_that_waits_says_so():
    job = jobs.Job(lambda job: None)
    assert job.running and job.share == 0.0
    with pytest.raises(core.Cancelled):
        job.cancel()
        job.report(0.5, "half")


def test_a_run_that_nobody_watches_makes_room(monkeypatch):
    monkeypatch.setattr(jobs, "UNSEEN", 0.0)
    tally = jobs.Tally(Knows(), images(3000))
    job = jobs.measuring(lambda job: {"dense": tally}).start()
    wait(job)
    assert job.abandoned and not job.running and job.error is None
    assert tally.total < 3000
    monkeypatch.setattr(jobs, "UNSEEN", 60.0)
    again = jobs.measuring(lambda job: {"dense": tally}).start()
    wait(again)
    assert not again.abandoned and tally.total == 3000


def test_a_picture_never_waits_for_measurements(monkeypatch):
    fresh = {name: jobs.ThreadPoolExecutor(1) for name in jobs._pools}
    monkeypatch.setattr(jobs, "_pools", fresh)
    gate = threading.Event()
    busy = [jobs.Job(lambda job: gate.wait(20)).start("measure") for _ in range(4)]
    picture = jobs.Job(lambda job: "drawn").start("picture")
    try:
        wait(picture, 5)
        assert picture.result == "drawn" and busy[0].running
    finally:
        gate.set()
    for job in busy:
        wait(job)


def test_workers_hold_still_while_a_page_is_drawn(monkeypatch):
    monkeypatch.setattr(jobs, "_page", jobs._Page())
    monkeypatch.setattr(jobs, "AFTERWARDS", 0.1)
    times: list[float] = []

    def work(job):
        job.hold()
        times.append(time.monotonic())

    with jobs.page_first():
        job = jobs.Job(work).start()
        time.sleep(0.3)
        assert not times, "the page is being drawn"
        drawn = time.monotonic()
    wait(job)
    assert times[0] >= drawn + 0.1 - 0.01
    assert times[0] < drawn + jobs.PATIENCE, "and not until patience ends"
    begun = time.monotonic()
    wait(jobs.Job(lambda job: job.hold()).start())
    assert time.monotonic() - begun < 0.5, "nobody draws any more"


def test_patience_ends_however_many_pages_are_drawn(monkeypatch):
    monkeypatch.setattr(jobs, "_page", jobs._Page())
    monkeypatch.setattr(jobs, "PATIENCE", 0.3)
    jobs._page.drawn(60)
    begun = time.monotonic()
    wait(jobs.Job(lambda job: job.hold()).start())
    assert 0.3 <= time.monotonic() - begun < 2


def test_a_job_that_holds_still_can_be_cancelled(monkeypatch):
    monkeypatch.setattr(jobs, "_page", jobs._Page())
    monkeypatch.setattr(jobs, "PATIENCE", 60)
    jobs._page.drawn(60)
    ended: list[str] = []

    def work(job):
        try:
            job.hold()
        finally:
            ended.append("ended")

    job = jobs.Job(work).start()
    job.cancel()
    wait(job, 2)
    assert job.cancelled and job.error is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities for threads")
def test_workers_stand_back_and_the_page_does_not():
    told: dict[str, int] = {}

    def work(name):
        def priority(job):
            told[name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        return priority

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    for pool in ("measure", "decide", "picture"):
        wait(jobs.Job(work(pool)).start(pool))
    assert told == {"measure": 5, "decide": own, "picture": 2}


def test_a_server_that_ends_waits_for_no_work(tmp_path):
    """Python waits for its workers' threads at its end; long work must notice that."""
    program = tmp_path / "ends.py"
    program.write_text(
        "import threading, time\n"
        "from app import jobs\n"
        "begun = threading.Event()\n"
        "def work(job):\n"
        "    begun.set()\n"
        "    for i in range(6000):\n"
        "        time.sleep(0.01)\n"
        "        job.report(i / 6000, 'on and on')\n"
        "jobs.Job(work).start()\n"
        "begun.wait()\n"
    )
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(program)], env=surroundings, timeout=30, check=True)


def test_a_cancelled_job_is_stopping_until_its_worker_has_put_its_work_down():
    at_work, let_go = threading.Event(), threading.Event()

    def work(job: jobs.Job) -> None:
        at_work.set()
        let_go.wait(10)
        job.report(0.5, "never told")

    job = jobs.Job(work)
    assert not job.stopping
    job.start()
    assert at_work.wait(10) and job.running and not job.stopping
    job.cancel()
    assert job.stopping and not job.running
    let_go.set()
    assert job._done.wait(10) and not job.stopping
    queued = jobs.Job(work)
    queued.cancel()
    assert not queued.stopping, "nobody was at it yet"


def test_the_pages_counts_are_the_librarys_and_share_the_beginning():
    cache.clear()
    loaded, digits = cache.network("vgg11_bn-digits"), core.images("digits")
    for sparsity in (0.3, 0.6):
        for rule in ("select", "released"):
            recipe = core.Recipe(groups=(0,), sparsity=sparsity, rule=rule)
            made = cache.compressed(loaded, recipe)
            tally = cache.tally(made, digits, loaded.module)
            for until in (50, 100, 250):
                tally.advance(until)
            assert tally.accuracy == core.accuracy(made.module, digits, limit=250)
    shared = cache.replay(loaded.module, digits)
    assert shared.missed == 4 and shared.found == 12  # 50, 100, 200 and 250, by four networks
    cache.clear()
