"""Files that tell a client whom to talk to and with which secret: only their owner may have written them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xnas_ray.errors import ServiceError

MAX_BYTES = 2**16


def read_trusted(path: Path) -> str:
    """The text of a small file that belongs to this user and that nobody else can write.

    Whoever can write an endpoint file sends its readers, with their token, wherever he likes.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ServiceError: another user owns it, others can write it, or it is no regular file; says what to do.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_trusted_bytes(path, MAX_BYTES).decode()


def read_trusted_bytes(path: Path, limit: int) -> bytes:
    """The same for any bytes, at most ``limit``.

    Raises:
        OSError: it cannot be read.
        ServiceError: as above, or it is larger.
    """
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ServiceError(f"{path} is not a regular file.", field=path.name, fix="Remove it.")
        if found.st_uid != os.geteuid():
            raise ServiceError(
                f"{path} belongs to another user (uid {found.st_uid}, you are {os.geteuid()}).",
                field=path.name,
                fix="Work as the user of the service, or give a store of your own with --root.",
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ServiceError(
                f"others can write {path} (mode {stat.S_IMODE(found.st_mode):04o}).",
                field=path.name,
                fix=f"Look at what it says, then: chmod 600 {path}",
            )
        if found.st_size > limit:
            raise ServiceError(f"{path} is larger than {limit} bytes.", field=path.name, fix="Remove it.")
        return file.read(limit)


def write_private(path: Path, text: str) -> None:
    """Put a file in place at once, readable by its owner alone, whatever the umask is.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
