"""The folder of a run of split-data training: networks and what is known of them, by task.

    splits.json                    the result (`core.split_result`), written anew as it grows
    stages/KEY.json                what a task has come to; it is there when the task is done
    stages/KEY.safetensors         the network
    stages/KEY.pt                  the checkpoint of a training that isn't done

Each file is whole or not there: it is written aside and gets its name at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from torch import nn

from core import zoo
from core.errors import DataError
from core.fuse import Fused
from core.shape import tensors_of
from core.split_result import Result
from core.split_task import Done, Task, fused, images_of, opened, perform, same_images

RESULT, STAGES = "splits.json", "stages"
#: What to do about a file that can't be read.
REMOVE = "Remove it, and the .json file beside it; the stage is done again then."


def told(stages: Path, key: str) -> dict | None:
    """What a task has come to; None if it isn't done.

    Raises
    ------
    DataError
        If its file can't be read.
    """
    file = stages / f"{key}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} can't be read ({error}). Remove it; the stage is done again then."
        ) from error


def network(stages: Path, name: str, key: str) -> nn.Module:
    """The network of a task that is done, in evaluation mode; `name` is the zoo's.

    Raises
    ------
    DataError
        If the task isn't done.
    WeightsError
        If the network can't be read.
    """
    known = told(stages, key)
    if known is None:
        raise DataError(f"The stage {key} is not in {stages}. Run the same command again.")
    return opened(name, known, zoo.read_state(stages / f"{key}.safetensors", REMOVE)).eval()


def fusion(stages: Path, key: str, images: str | None = None) -> Fused:
    """A fusion that is done, once more, for its plans: they aren't kept.

    `images` is the folder of images, as `core.images` takes it.

    Raises
    ------
    DataError, WeightsError
        If it or one of its networks isn't there or can't be read.
    ClusterError
        If the images are others now.
    """
    known = told(stages, key)
    if known is None:
        raise DataError(f"The stage {key} is not in {stages}. Run the same command again.")
    task = Task.from_dict(known["task"])
    training, testing = images_of(task.network, images)
    same_images(task, training, testing)
    return fused(task, [network(stages, task.network, one) for one in task.inputs], training)


def tensors(stages: Path, key: str) -> bytes:
    """The network of a task that is done, as `packed` has it.

    Raises
    ------
    DataError
        If it can't be read.
    """
    file = stages / f"{key}.safetensors"
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} can't be read ({error}). {REMOVE}") from error


def packed(module: nn.Module) -> bytes:
    """A network's tensors as a safetensors file."""
    return safetensors.torch.save({key: t.contiguous() for key, t in tensors_of(module).items()})


def keep(stages: Path, task: Task, known: dict, tensors: bytes) -> None:
    """Write what a task has come to; its checkpoint is needed no more."""
    stages.mkdir(parents=True, exist_ok=True)
    write(stages / f"{task.key}.safetensors", tensors)
    text = json.dumps(known | {"task": task.as_dict()}, indent=1, ensure_ascii=False) + "\n"
    write(stages / f"{task.key}.json", text.encode())
    checkpoint(stages, task).unlink(missing_ok=True)


def checkpoint(stages: Path, task: Task) -> Path:
    """Where the checkpoint of a training is."""
    return stages / f"{task.key}.pt"


def write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    DataError
        If it can't be written.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError as error:
        raise DataError(f"{file} can't be written ({error}). Name another folder.") from error


def do(task: Task, stages: Path, images: str | None, report: Callable[[str, float], None]) -> None:
    """Do a task with the folder's networks, going on with its checkpoint, and keep what it gives.

    Parameters and errors are those of `core.split_task.perform`; `images` is its `folder`.
    """
    if told(stages, task.key) is not None:
        return
    given = [network(stages, task.network, key) for key in task.inputs]
    stages.mkdir(parents=True, exist_ok=True)
    done: Done = perform(task, given, images, checkpoint(stages, task), report=report)
    keep(stages, task, done.told, packed(done.network))


def read(folder: Path) -> Result | None:
    """The result in a folder; None if there is none.

    Raises
    ------
    DataError
        If it can't be read.
    """
    return read_file(folder / RESULT)


def read_file(file: Path) -> Result | None:
    """The result in a file, such as one that ships; None if there is no such file.

    Raises
    ------
    DataError
        If it can't be read.
    """
    held = json_of(file)
    return None if held is None else Result.from_dict(held)


def json_of(file: Path) -> dict | None:
    """What a JSON file holds; None if there is no such file.

    Raises
    ------
    DataError
        If it can't be read.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read ({error}). Name another one.") from error


def write_result(folder: Path, result: Result) -> None:
    """Write the result of a run, whole or not at all."""
    text = json.dumps(result.as_dict(), indent=1, ensure_ascii=False) + "\n"
    write(folder / RESULT, text.encode())
