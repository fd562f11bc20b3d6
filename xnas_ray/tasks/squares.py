"""Images of any size as squares of one size, made once a machine and mapped from a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from xnas_ray.errors import DataMissingError, TaskError
from xnas_ray.tasks.download import cache_root, locked

_THREADS, _AT_ONCE = 8, 4096


def square_pixels(paths: Sequence[Path], side: int) -> np.ndarray:
    """The middle squares of images, scaled to ``side`` pixels: uint8 ``n x 3 x side x side``, mapped from a file.

    The file is made the first time that these images are asked for on a machine (names and sizes of the files tell),
    by one process while others wait.

    Raises:
        DataMissingError: an image cannot be read, or the cache cannot be written.
        TaskError: ``side`` is no number of pixels.
    """
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 1024:
        raise TaskError(f"must be a number of pixels from 1 to 1,024, got {side!r}.", field="data.side")
    folder = cache_root() / "squares"
    file = folder / f"{_digest(paths, side)}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            if not file.is_file():
                _write_squares(paths, side, file)
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataMissingError(
            f"cannot keep {len(paths):,} images in {folder}: {error.strerror or error}.",
            field="XDG_CACHE_HOME",
            fix=f"It needs {len(paths) * 3 * side * side / 2**30:.1f} GiB of room.",
        ) from None


def _digest(paths: Sequence[Path], side: int) -> str:
    digest = hashlib.blake2b(str(side).encode(), digest_size=16)
    for path in paths:
        digest.update(f"{path}\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def _write_squares(paths: Sequence[Path], side: int, file: Path) -> None:
    staging = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        pixels = np.lib.format.open_memmap(staging, "w+", dtype=np.uint8, shape=(len(paths), 3, side, side))
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:  # decoding releases the interpreter's lock
            for start in range(0, len(paths), _AT_ONCE):
                squares = pool.map(read_square, paths[start : start + _AT_ONCE], repeat(side))
                for row, square in enumerate(squares, start):
                    pixels[row] = square
        pixels.flush()
        staging.replace(file)
    finally:
        staging.unlink(missing_ok=True)


def read_square(path: Path, side: int) -> np.ndarray:
    """The middle square of an image, scaled to ``side`` pixels: uint8 ``3 x side x side``, grey and CMYK made RGB.

    Raises:
        DataMissingError: the file is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * side, 2 * side))  # lets the JPEG decoder leave out what is scaled away anyhow
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataMissingError(f"{path} is no readable image: {error}.", fix="Fetch it again.") from None
    if image.size != (side, side):
        scale = side / min(image.size)
        width, height = (max(side, round(length * scale)) for length in image.size)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
