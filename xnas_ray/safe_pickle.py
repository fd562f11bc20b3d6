"""Reading pickles of plain data without ever running what they say.

A pickle is a program: loading one from a stranger runs the stranger's code. Here every global that a pickle names is
looked up in a short list of harmless constructors; anything else ends the reading with an error. Weights of networks
are skipped, their constructors replaced by ones that build nothing.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from xnas_ray.errors import TableError


class PlainArray:
    """What a pickled numpy array becomes: ``values`` when it holds plain numbers, an error otherwise."""

    values: np.ndarray

    def __setstate__(self, state: tuple[object, tuple[int, ...], np.dtype, bool, bytes | str]) -> None:
        """Take the numbers: version, shape, type, whether columns lie together, and the bytes."""
        _, shape, dtype, columns_first, data = state
        if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc":
            raise pickle.UnpicklingError(f"a numpy array of no numbers: {dtype!r}")
        raw = data.encode("latin1") if isinstance(data, str) else data  # text in what Python 2 wrote
        self.values = np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if columns_first else "C")


def _array(*arguments: object) -> PlainArray:
    """The constructor of numpy's arrays; what they hold comes with ``__setstate__``."""
    return PlainArray()


def _array_of(data: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str, *more: object) -> PlainArray:
    """The constructor of numpy's arrays since protocol 5, of what lies in one piece."""
    if more or order not in ("C", "F"):
        raise pickle.UnpicklingError(f"a numpy array in an unknown order: {order!r}")
    found = PlainArray()
    found.__setstate__((1, shape, dtype, order == "F", data))
    return found


class Skipped:
    """Stands for an object that is not read, such as a tensor."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        """Forget everything."""

    def __setstate__(self, state: object) -> None:
        """Forget the state too."""


def _scalar(dtype: np.dtype, data: bytes) -> bool | int | float | complex:
    """The constructor of numpy's scalars, for numbers only."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc" or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a numpy scalar that is no number")
    number: bool | int | float | complex = np.frombuffer(data, dtype=dtype, count=1)[0].item()
    return number


def _dtype(text: object, align: object = False, copy: object = False) -> np.dtype:
    """The constructor of numpy's types, for plain numbers only."""
    if not isinstance(text, str) or np.dtype(text).kind not in "biufc":
        raise pickle.UnpicklingError(f"a numpy type that is no number: {text!r}")
    return np.dtype(text, align=False, copy=True)


def _encode(text: object, encoding: object) -> bytes:
    """How pickles of protocol 2 and below write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another way than Python writes them")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    **{("builtins", kind.__name__): kind for kind in (dict, list, set, frozenset, int, float, str, complex)},
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): PlainArray,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.numeric", "_frombuffer"): _array_of,
    ("numpy._core.numeric", "_frombuffer"): _array_of,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("torch._utils", "_rebuild_tensor_v2"): Skipped,
    ("torch._utils", "_rebuild_parameter"): Skipped,
    ("torch.storage", "_load_from_bytes"): Skipped,
    ("torch", "Size"): tuple,
}


class SafeUnpickler(pickle.Unpickler):
    """Refuses every global that is not in ``ALLOWED``, before anything is called."""

    def find_class(self, module: str, name: str) -> Any:
        """The harmless constructor of that name.

        Raises:
            TableError: there is none.
        """
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        found = ALLOWED.get((module, name))
        if found is None:
            raise TableError(
                f"the pickle asks for {module}.{name}, which is not plain data: refused, nothing was executed.",
                fix="Use the file that the benchmark's authors publish.",
            )
        return found


def load_pickle(file: IO[bytes], path: Path, *, encoding: str = "ASCII") -> Any:
    """The plain data of a pickle.

    Args:
        file: the stream to read.
        path: where it comes from, for messages.
        encoding: of text that Python 2 wrote; ``"latin1"`` where it wrote arrays.

    Raises:
        TableError: it is damaged, or holds anything but plain data.
    """
    try:
        return SafeUnpickler(file, encoding=encoding).load()
    except TableError as error:
        raise TableError(error.message, field=str(path), fix=error.fix) from None
    except Exception as error:  # a damaged pickle may raise anything
        raise TableError(f"not a readable pickle: {error}", field=str(path)) from error
