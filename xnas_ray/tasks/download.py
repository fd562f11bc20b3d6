"""Downloads of data sets that give up in time and happen once a machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from xnas_ray.errors import DataMissingError

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
MIRRORS = {
    "MNIST": "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
    "FashionMNIST": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
    "CIFAR10": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "CIFAR100": "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
}
"""A small request to each tells whether torchvision's download of that data set can work."""


def cache_root() -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME/xnas-ray/data``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "xnas-ray" / "data"


def download(name: str, another_way: str) -> Path:
    """Let torchvision download into the cache, one process at a time; never hangs where there is no network.

    Args:
        name: a data set of ``torchvision.datasets`` and of ``MIRRORS``.
        another_way: how else to get it, for the error.

    Raises:
        DataMissingError: it cannot be downloaded; says how to bring the files.
    """
    root = cache_root()
    reason = _unreachable(MIRRORS[name])
    if reason is None:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / ".download.lock"), _socket_timeout(READ_TIMEOUT_S):
                import torchvision

                for train in (True, False):
                    getattr(torchvision.datasets, name)(str(root), train=train, download=True)
            return root
        except (OSError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}"
    raise DataMissingError(
        f"{name} is not on this machine and cannot be downloaded ({reason}).",
        field="XNAS_DATA",
        fix=(
            f"On a machine with a network run python -c \"import torchvision; torchvision.datasets.{name}('data', "
            f'download=True)", copy the folder here and let XNAS_DATA name it. {another_way}'
        ),
    )


def _unreachable(url: str) -> str | None:
    """Why a server cannot be reached, None when it answers; bounded even where name look-ups hang."""
    result: list[str | None] = []

    def probe() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_TIMEOUT_S):
                result.append(None)
        except (OSError, ValueError) as error:
            result.append(str(error))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_S)
    return result[0] if result else f"no answer in {CONNECT_TIMEOUT_S:g} s"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file that others on this machine wait for; the file is made."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
