"""Puts whole parts in place: made beside the tables, synced, renamed, and the folder synced."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

from xnas_ray.errors import StoreError, StoreFullError
from xnas_ray.store.fence import Fence
from xnas_ray.store.files import Files, make_folders, write_whole
from xnas_ray.store.layout import Layout
from xnas_ray.store.parts import Part


class Publisher:
    """What commits and compaction share: names of parts, and the steps that make one visible.

    Args:
        layout: of the store.
        fence: the hold on it; looked at before every part.
        files: system calls.
    """

    def __init__(self, layout: Layout, fence: Fence, files: Files) -> None:
        """Number the parts of this epoch from 0."""
        self.layout = layout
        self.fence = fence
        self.files = files
        self._numbers = itertools.count()

    def publish(self, folder: Path, level: int, data: memoryview) -> Part:
        """Make a part visible in a folder; its name is durable only after ``sync``.

        Args:
            folder: of the table or partition; made if needed.
            level: of the part.
            data: its bytes.

        Raises:
            StoreLockedError: another writer took over; the part is not visible.
            StoreFullError: the system refused; the part is not visible.
        """
        self.fence.verify()
        part = Part(level, self.fence.epoch, next(self._numbers))
        temporary = self.layout.temporary_of(self.fence.epoch) / f"{part}.tmp"
        try:
            write_whole(self.files, temporary, data)
            make_folders(self.files, folder, self.layout.root)
            self.files.rename(temporary, folder / str(part))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.files.remove(temporary)
            raise self.refusal(error, folder) from error
        return part

    def sync(self, folder: Path) -> None:
        """Make the names of a folder's parts durable.

        Raises:
            StoreFullError: the system refused.
        """
        try:
            self.files.sync_folder(folder)
        except OSError as error:
            raise self.refusal(error, folder) from error

    def refusal(self, error: OSError, where: Path) -> StoreError:
        """What a failed system call means: this writer was replaced, or the disk takes nothing."""
        try:
            self.fence.verify()
        except StoreError as worse:
            return worse
        return StoreFullError(
            f"cannot write below {where}: {error.strerror or error}.",
            field="store",
            fix="Free space or restore the permissions, then resume: nothing that was measured is lost.",
        )
