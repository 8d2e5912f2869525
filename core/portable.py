"""Keep a result: a folder of safetensors and JSON that rebuilds the smaller network by itself.

    weights.safetensors   every tensor of the smaller network, exactly as it is
    plans.safetensors     on demand: each group's plan, (n, m) float64
    result.json           recipe, network, sizes of layers that changed, kept channels and masses,
                          costs, versions, and the SHA-256 of everything

Nothing is pickled, and reading runs no code that the folder names. A folder gets its name only
after it was read back and its network gave the same outputs bit for bit, so a save that breaks off
never looks whole. The hashes tell damage and mix-ups, not a forger: who rewrites a file can rewrite
its hash.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import platform
import re
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from core import zoo
from core.errors import RecipeError, WeightsError
from core.evaluate import Size, size
from core.recipe import Recipe
from core.shape import architecture, changes, rebuilt, recognised, shape_of, state_hash, tensors_of

if TYPE_CHECKING:
    from core.compress import Compressed, Step

FORMAT, VERSION = "intra-fusion result", 1
TOLD, WEIGHTS, PLANS = "result.json", "weights.safetensors", "plans.safetensors"
#: The packages whose versions are noted.
PACKAGES = ("torch", "torchvision", "pot", "numpy", "scipy")


@dataclass(frozen=True)
class Opened:
    """A result read back from its folder; the dictionaries are keyed by group index.

    module : the smaller network, in evaluation mode. recipe : what made it.
    network : what the original is called (`vgg11_bn-digits`, `torchvision:resnet18`), or None.
    input_shape : (channels, height, width) of one image.
    kept : (m,) int64. source, target : (n,) and (m,) float64 masses. plans : (n, m) float64, where
    they were stored. before, after : what the original and the smaller network cost.
    about : all that `result.json` says, as plain values.
    """

    module: nn.Module
    recipe: Recipe
    network: str | None
    input_shape: tuple[int, ...]
    kept: dict[int, Tensor]
    source: dict[int, Tensor]
    target: dict[int, Tensor]
    plans: dict[int, Tensor]
    before: Size
    after: Size
    about: dict


# -- writing ------------------------------------------------------------------------------------


def save(
    result: Compressed,
    folder: str | os.PathLike,
    network: str | None = None,
    plans: bool = False,
    replace: bool = False,
) -> Path:
    """Write a smaller network and how it came about into `folder`, whole or not at all.

    Parameters
    ----------
    result : what `core.compress` returned.
    network : what the original is called, for rebuilding: a network of the zoo or
        `torchvision:<name>`, else a note to the reader. A network of the zoo is recognised by its
        shape if nothing is said.
    plans : whether the plans' masses (n, m) are stored as well.
    replace : whether a result that is in `folder` already may go.

    Raises
    ------
    RecipeError
        If `folder` holds something already, or the network is not the one called `network`.
    WeightsError
        If it can't be written, or what was written does not give the same network again: then the
        network was changed by more than making layers smaller and training them.
    """
    if result.original is None or result.graph is None:
        raise RecipeError(
            "This result does not know the network it came from. Save what core.compress returned."
        )
    place = free_place(folder, replace)
    network = network or recognised(result.original)
    if (fresh := architecture(network)) is not None and shape_of(fresh) != shape_of(
        result.original
    ):
        raise RecipeError(
            f"The network that was compressed has not the shape of {network}. Leave its name out, "
            "or name the right one."
        )
    if _layers(result.original) != _layers(result.module):
        raise WeightsError(
            f"The smaller {type(result.module).__name__} can't be stored: it has other layers than "
            "the original, not only smaller ones. Undo what was added or replaced."
        )
    told = _told(result, network)
    held = {f"group.{i}.mass": plan.mass for i, plan in result.plans.items()} if plans else {}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.partial-", dir=place.parent) as new:
            ready = Path(new, place.name)
            ready.mkdir()
            _write(ready / WEIGHTS, tensors_of(result.module))
            if held:
                _write(ready / PLANS, held)
            for file in (WEIGHTS, PLANS)[: 1 + bool(held)]:
                told["sha256"][file] = zoo.file_hash(ready / file)
            told["sha256"]["result"] = _text_hash(told)
            (ready / TOLD).write_text(_text(told), encoding="utf-8")
            _read_back(ready, result)
            for file in ready.iterdir():
                _to_disk(file)
            _install(ready, free_place(place, replace), Path(new, "former"))
    except OSError as error:
        raise WeightsError(
            f"The result can't be stored in {place} ({error.strerror or error}). Make room there "
            "or allow writing, or name another folder."
        ) from error
    return place


def free_place(folder: str | os.PathLike, replace: bool = False) -> Path:
    """The absolute path of a folder that a result may be written to.

    Raises
    ------
    RecipeError
        If something is there already that may not go.
    """
    place = Path(os.path.expanduser(folder)).absolute()
    if not os.path.lexists(place):
        return place
    if place.is_dir() and not place.is_symlink() and os.access(place, os.R_OK):
        there = {file.name for file in place.iterdir()}
        if not there or (replace and TOLD in there and there <= {TOLD, WEIGHTS, PLANS}):
            return place
        if TOLD in there and not replace:
            raise RecipeError(
                f"There is a result in {place} already. Name another folder, or say that it may be "
                "replaced (replace=True, --replace)."
            )
    raise RecipeError(
        f"{place} is there already and holds something other than a result. Name another folder."
    )


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    # Copies: the format allows no two tensors that share memory.
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    path.write_bytes(safetensors.torch.save(copies))


def _text(told: dict) -> str:
    """JSON to be read by people too: a field a line, a list of numbers on one."""
    text = json.dumps(told, indent=1, ensure_ascii=False)
    flat = re.sub(
        r"\[\n\s*([^\[\]{}]*?)\n\s*\]",
        lambda found: "[" + re.sub(r",\n\s*", ", ", found[1]) + "]",
        text,
    )
    return flat + "\n"


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _install(ready: Path, place: Path, former: Path) -> None:
    """Give a folder its name; what had it before, which may go, moves to `former`."""
    if place.exists():
        place.rename(former)
    try:
        ready.rename(place)
    except OSError:
        if former.exists():
            former.rename(place)
        raise


def _told(result: Compressed, network: str | None) -> dict:
    """Everything about a result that is no tensor, as JSON keeps it."""
    shape = result.graph.input_shape
    groups = {}
    for index, step in result.steps.items():
        group = result.graph.groups[index]
        groups[str(index)] = {"title": group.title, "width": group.width, **_plain(step)}
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": network,
        "class": f"{type(result.original).__module__}.{type(result.original).__qualname__}",
        "input_shape": list(shape),
        "recipe": result.recipe.as_dict(),
        "groups": groups,
        "size": {
            "before": dataclasses.asdict(size(_ordinary(result.original), shape)),
            "after": dataclasses.asdict(size(_ordinary(result.module), shape)),
        },
        "layers": changes(result.original, result.module),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "sha256": {
            "shape": shape_of(result.original),
            "original": state_hash(result.original),
            "smaller": state_hash(result.module),
        },
    }


def _plain(step: Step) -> dict:
    """The kept channels, both masses, and what the plan says of itself."""
    told = {
        field.name: value.tolist()
        for field in dataclasses.fields(step.measures)
        if isinstance(value := getattr(step.measures, field.name), Tensor) and value.ndim == 1
    }
    if step.plan is not None:
        told["plan"] = {
            field.name: value
            for field in dataclasses.fields(step.plan)
            if isinstance(value := getattr(step.plan, field.name), (str, int, float, type(None)))
        }
    return told


def _ordinary(module: nn.Module) -> nn.Module:
    """A copy as one runs it here: evaluation mode, processor, float32, usual memory layout."""
    ordinary = copy.deepcopy(module).eval().cpu().float()
    return ordinary.to(memory_format=torch.contiguous_format)


def _layers(module: nn.Module) -> list[tuple[str, str]]:
    return [(name, type(part).__qualname__) for name, part in module.named_modules()]


def _read_back(folder: Path, result: Compressed) -> None:
    """Open what was written and compare it with what was meant, tensors and outputs bit for bit."""
    again = _ordinary(open(folder, result.original).module)
    shape = result.graph.input_shape
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = zip(tree_leaves(_ordinary(result.module)(x)), tree_leaves(again(x)), strict=True)
        same = all(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in pairs)
    if not same:
        raise WeightsError(
            f"The smaller {type(result.module).__name__} can't be stored: rebuilt from its tensors "
            "it gives other outputs, so it holds something that is neither a parameter nor a "
            "buffer. Register it as a buffer."
        )


# -- reading ------------------------------------------------------------------------------------


def open(folder: str | os.PathLike, module: nn.Module | None = None) -> Opened:
    """Rebuild the smaller network that `save` wrote, bit for bit, and check every hash.

    Parameters
    ----------
    module : the original architecture, with any weights, for a network that neither the zoo nor
        torchvision knows. It is not changed.

    Raises
    ------
    WeightsError
        If a file is missing, damaged, of another version, or does not fit the others or `module`.
    RecipeError
        If an architecture is needed and none was given, or the recipe holds a choice that this
        version does not know.
    """
    place = Path(os.path.expanduser(folder)).absolute()
    about = read_about(place)
    for file in (WEIGHTS, PLANS):
        if file in about["sha256"] or file == WEIGHTS:
            _check_file(place / file, about["sha256"].get(file))
    try:
        return _opened(place, about, module)
    except RecipeError:  # a ValueError too, but a sentence already
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError,
            safetensors.SafetensorError) as error:  # fmt: skip
        raise WeightsError(
            f"{place / TOLD} does not hold what a result holds ({type(error).__name__}: {error}). "
            "Save the result again."
        ) from error


def read_about(place: Path) -> dict:
    """What a folder's `result.json` says, checked against its own hash.

    Raises
    ------
    WeightsError
        If it is missing, damaged, or of another version.
    """
    path = place / TOLD
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WeightsError(
            f"There is no result in {place}: {TOLD} is missing. Name a folder that a result was "
            "saved to."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"{path} can't be read ({error.strerror or error}). Check that you are allowed to."
        ) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Save the result again.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise WeightsError(f"{path} is not a result of this project. Name another folder.")
    if about.get("version") != VERSION:
        raise WeightsError(
            f"{path} is of format {about.get('version')!r}; this version of the explorer reads "
            f"format {VERSION}. Use the version that wrote it, or save the result again."
        )
    hashes = about.get("sha256")
    if not isinstance(hashes, dict) or hashes.get("result") != _text_hash(about):
        raise WeightsError(
            f"{path} was changed after it was written: its SHA-256 differs. Save the result again."
        )
    return about


def _text_hash(about: dict) -> str:
    """The SHA-256 of all that is told, its own hash left out."""
    hashes = {key: value for key, value in about["sha256"].items() if key != "result"}
    text = json.dumps(about | {"sha256": hashes}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_file(path: Path, expected: str | None) -> None:
    try:
        found = zoo.file_hash(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"The result in {path.parent} is not whole: {path.name} is missing. Save it again."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"{path} can't be read ({error.strerror or error}). Check that you are allowed to."
        ) from error
    if found != expected:
        raise WeightsError(
            f"{path} is not the file that {TOLD} speaks of: its SHA-256 differs, so it is damaged "
            "or of another result. Save the result again."
        )


def _opened(place: Path, about: dict, module: nn.Module | None) -> Opened:
    recipe = Recipe.from_dict(about["recipe"])
    original = module if module is not None else architecture(about["network"])
    if original is None:
        named = f" ({about['network']})" if about["network"] else ""
        raise RecipeError(
            f"The network in {place} is a {about['class']}{named}, which can't be built from its "
            "name alone. Build the original one, with any weights, and hand it over: "
            "core.open(folder, module=…), or --architecture package.module:function."
        )
    if shape_of(original) != about["sha256"]["shape"]:
        raise WeightsError(
            f"This {type(original).__name__} is not the architecture that the result in {place} "
            f"was made from, a {about['class']}: its layers have other names, kinds or sizes. "
            "Build it as it was."
        )
    state = safetensors.torch.load_file(place / WEIGHTS)
    smaller = rebuilt(original, state, about["layers"])
    if state_hash(smaller) != about["sha256"]["smaller"]:
        raise WeightsError(
            f"The tensors in {place / WEIGHTS} do not fit the network they are for. Save the "
            "result again."
        )
    plans = safetensors.torch.load_file(place / PLANS) if PLANS in about["sha256"] else {}
    groups = {int(index): told for index, told in about["groups"].items()}
    return Opened(
        smaller, recipe, about["network"], tuple(about["input_shape"]),
        _column(groups, "kept", torch.int64),
        _column(groups, "source", torch.float64),
        _column(groups, "target", torch.float64),
        {int(name.split(".")[1]): mass for name, mass in plans.items()},
        Size(**about["size"]["before"]), Size(**about["size"]["after"]), about,
    )  # fmt: skip


def _column(groups: dict[int, dict], name: str, kind: torch.dtype) -> dict[int, Tensor]:
    return {i: torch.tensor(told[name], dtype=kind) for i, told in groups.items() if name in told}
