"""Image files → an array of pixels, decoded once and kept in a cache."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import DataError

#: Height and width of every image.
SIZE = 32

Progress = Callable[[float, str], None]

_log = logging.getLogger(__name__)


def decoded(files: list[Path], cache: Path, progress: Progress | None = None) -> np.ndarray:
    """(n, 3, 32, 32) uint8 of the image files; the result is kept in the folder `cache`.

    The key of the cache is every file's path, size and time of change, so an edited folder is
    read again. A cache file that is damaged is made again; one that can't be written is done
    without.

    Raises
    ------
    DataError
        If an image can't be read.
    OSError
        If a file vanished or may not be looked at.
    """
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(os.fsencode(f"{file}|{status.st_size}|{status.st_mtime_ns}\n"))
    kept = cache / f"{digest.hexdigest()[:24]}.npy"
    shape = (len(files), 3, SIZE, SIZE)
    try:
        with open(kept, "rb") as file:
            pixels = np.load(file, allow_pickle=False)
        if isinstance(pixels, np.ndarray) and pixels.shape == shape and pixels.dtype == np.uint8:
            return pixels
    except (FileNotFoundError, NotADirectoryError):
        pass  # the first time these images are read
    except Exception as error:  # numpy raises nearly anything over a damaged file
        _log.warning("The decoded images in %s are of no use (%s); reading again.", kept, error)

    pixels = np.empty(shape, np.uint8)
    with ThreadPoolExecutor(4) as pool:
        for index, image in enumerate(pool.map(_pixels, files)):
            pixels[index] = image
            if progress and index % 500 == 0:
                progress(index / len(files), f"Reading images: {index} of {len(files)}")
    try:
        _keep(kept, pixels)
    except OSError as error:  # the images are read all the same, only slower the next time
        _log.warning("The decoded images can't be kept in %s (%s).", kept.parent, error)
    return pixels


def _pixels(file: Path) -> np.ndarray:
    """(3, 32, 32) uint8 of one image file.

    Raises
    ------
    DataError
        If it is no image, a damaged one, or one of more than 8 bits per channel.
    """
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut all values at 255: white
                raise ValueError("it has more than 8 bits per channel; save it with 8")
            image = image.convert("RGB")
            if image.size != (SIZE, SIZE):
                image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            return np.asarray(image).transpose(2, 0, 1)
    except Exception as error:  # Pillow's readers raise nearly anything over a damaged file
        raise DataError(
            f"The image {file} can't be read ({error}). Replace or remove it."
        ) from error


def _keep(kept: Path, pixels: np.ndarray) -> None:
    """Write a cache file, at once or not at all, however many threads and processes do the same.

    Raises
    ------
    OSError
        If the cache directory can't be written.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(suffix=".partial", dir=kept.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, pixels)
        os.replace(partial, kept)
    except BaseException:
        os.unlink(partial)
        raise
