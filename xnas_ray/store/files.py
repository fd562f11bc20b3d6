"""The system calls that change a store, and how a whole file is put in place with them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Files:
    """One method a call, so that a test can make each of them fail or end the process there."""

    def make_folder(self, path: Path) -> None:
        """Create one folder; the one above must exist."""
        path.mkdir(exist_ok=True)

    def create(self, path: Path) -> int:
        """A descriptor of a new file, open for writing.

        Raises:
            FileExistsError: there is one already.
        """
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of the bytes; how many."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Wait until the file's bytes are on disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file or folder within the file system, at once."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(files: Files, path: Path, data: memoryview) -> None:
    """Create a file with these bytes and wait until they are on disk; a failure leaves nothing behind.

    Raises:
        OSError: what the system said.
    """
    descriptor = files.create(path)
    try:
        try:
            while len(data):
                data = data[files.write(descriptor, data) :]
            files.sync(descriptor)
        finally:
            files.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            files.remove(path)
        raise


def make_folders(files: Files, path: Path, root: Path) -> None:
    """Create a folder and those above it up to the root, each durable; the root itself must exist."""
    if path == root or path.is_dir():
        return
    make_folders(files, path.parent, root)
    files.make_folder(path)
    files.sync_folder(path.parent)
