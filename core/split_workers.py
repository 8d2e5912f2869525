"""Who does the tasks of split-data training: this process, or processes side by side.

Each worker has its share of the processor's threads and does a task at a time. Its networks and
checkpoints are in the run's folder, so a worker that dies costs the epoch it was at: another one
takes its place and goes on from the checkpoint.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from core import errors, split_store
from core.errors import Cancelled, ClusterError, ExplorerError
from core.provenance import ROOT
from core.split_task import Task

#: A line of progress and the share of the task that is done.
Report = Callable[[str, float], None]
#: How often a task is begun anew because the process that did it died.
TRIES = 3


class Worker(Protocol):
    """Does a task at a time; `stop` may be called from any thread and ends it soon."""

    pid: int | None

    def do(self, task: Task, report: Report) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch's work of this thread is done by so many threads in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Here:
    """A worker in this process, in whichever thread asks."""

    def __init__(self, stages: Path, images: str | None, count: int) -> None:
        self.stages, self.images, self.count = stages, images, count
        self.pid: int | None = os.getpid()
        self._stopped = threading.Event()

    def do(self, task: Task, report: Report) -> None:
        def told(line: str, share: float) -> None:
            if self._stopped.is_set():
                raise Cancelled("The run was stopped.")
            report(line, share)

        with threads(self.count):
            split_store.do(task, self.stages, self.images, told)

    def stop(self) -> None:
        self._stopped.set()


class Process:
    """A worker in a process of its own (`core/split_worker.py`), started with its first task."""

    def __init__(self, stages: Path, images: str | None, count: int) -> None:
        self.about = {"stages": str(stages.absolute()), "images": images, "threads": count}
        self._process: subprocess.Popen | None = None
        self._stopped = threading.Event()
        self._changing = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def do(self, task: Task, report: Report) -> None:
        """Raises ClusterError if processes that do it die again and again."""
        for _ in range(TRIES):
            code = self._try(task, report)
            if code is None:
                return
            if self._stopped.is_set():
                raise Cancelled("The run was stopped.")
            report(f"a process ended ({code}): another one goes on", 0.0)
        raise ClusterError(
            f"{TRIES} processes that were to do a stage died, the last one with exit code {code}, "
            "perhaps for want of memory: what is done stays done. Use fewer workers (--workers 1) "
            "and start again."
        )

    def _try(self, task: Task, report: Report) -> int | None:
        """None if the task is done, the exit code of the process if it died."""
        process = self._started()
        try:
            process.stdin.write(json.dumps(self.about | {"task": task.as_dict()}) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                told = json.loads(line)
                if "line" in told:
                    report(told["line"], told["share"])
                elif "error" in told:
                    raise getattr(errors, told["error"])(told["text"])
                elif "crash" in told:
                    raise RuntimeError(f"A worker failed:\n{told['crash']}")
                else:
                    return None
        except (BrokenPipeError, json.JSONDecodeError):
            pass  # it died between or in the middle of lines
        with self._changing:
            self._process = None
        with process.stdout:
            return process.wait()

    def _started(self) -> subprocess.Popen:
        with self._changing:
            if self._stopped.is_set():
                raise Cancelled("The run was stopped.")
            if self._process is None:
                path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
                more = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(self.about["threads"])}
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "core.split_worker"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                    env=os.environ | more,
                )  # fmt: skip
            return self._process

    def stop(self) -> None:
        with self._changing:
            self._stopped.set()
            if self._process:
                self._process.kill()
                self._process.wait()


def serve() -> None:
    """The other end of `Process`: a task a line on standard input, what becomes of it on output.

    It ends at once when its input does: whoever asked has died, and another run may begin.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked is told, and ends this process
    asked: queue.SimpleQueue = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            asked.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what else is printed is no message

    def say(**told) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    def report(line: str, share: float) -> None:
        say(line=line, share=share)

    while True:
        told = asked.get()
        try:
            with threads(told["threads"]):
                task = Task.from_dict(told["task"])
                split_store.do(task, Path(told["stages"]), told["images"], report)
        except ExplorerError as error:
            say(error=type(error).__name__, text=str(error))
        except Exception:  # told in full to who asked, who raises it
            say(crash=traceback.format_exc())
        else:
            say(done=True)
