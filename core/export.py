"""Hand a network over to other programs: one ONNX file, for batches of any size.

Needs the packages of `requirements-onnx.txt`. They are imported when they are used, so that nobody
else has to have them.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.errors import PackageMissing, Unsupported, WeightsError
from core.evaluate import evaluating


def _needed(*names: str) -> list:
    """The packages of those names.

    Raises
    ------
    PackageMissing
        If one isn't installed.
    """
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise PackageMissing(
            f"The export to ONNX needs a package that can't be imported ({error}). Install what it "
            "needs: python -m pip install -r requirements-onnx.txt"
        ) from error


def to_onnx(
    module: nn.Module, path: str | os.PathLike, input_shape: tuple[int, ...] = (3, 32, 32)
) -> Path:
    """Write `module` in evaluation mode as an ONNX file.

    Its input `images` is (b, *input_shape) float32, normalised as the network was trained; its
    output is `logits`, (b, classes). b is free. A file that is there is replaced once the new one
    is whole.

    Raises
    ------
    PackageMissing
        If `onnx` or `onnxscript` isn't installed.
    Unsupported
        If PyTorch can't export the network.
    WeightsError
        If the file can't be written.
    """
    onnx, _ = _needed("onnx", "onnxscript")
    path = Path(os.path.expanduser(path)).absolute()
    if not path.parent.is_dir() or path.is_dir():  # before the work, not after it
        raise WeightsError(
            f"The ONNX file can't be written to {path}. Name a file in a folder that is there."
        )
    images = torch.zeros(2, *input_shape)  # two: of a batch of one the exporter makes a constant
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                evaluating(module), (images,), dynamo=True, verbose=False,
                input_names=["images"], output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
    except Exception as error:  # anything: the code that runs here is the user's
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise Unsupported(
            f"{type(module).__name__} can't be exported to ONNX with images of shape "
            f"{tuple(input_shape)}: {first}. It must take such images, in batches of any size."
        ) from error
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.partial-", dir=path.parent) as new:
            ready = Path(new, path.name)
            onnx.save(program.model_proto, ready)
            ready.replace(path)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The ONNX file can't be written to {path} "
            f"({getattr(error, 'strerror', None) or error}). Name a file in a folder that is there."
        ) from error
    return path


def largest_difference(
    module: nn.Module, path: str | os.PathLike, input_shape: tuple[int, ...], batch: int = 3
) -> float:
    """How far the file's outputs are from the network's on noise: the largest difference.

    Raises
    ------
    PackageMissing
        If `onnxruntime` isn't installed.
    """
    (runtime,) = _needed("onnxruntime")
    session = runtime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    images = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
    (found,) = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        expected = evaluating(module)(images).numpy()
    return float(np.abs(found - expected).max())
