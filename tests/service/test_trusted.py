"""Files that lead a client: only their owner may have written them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xnas_ray.client import Client
from xnas_ray.errors import ServiceError
from xnas_ray.service.bring_up import ENDPOINT, TOKEN, read_endpoint
from xnas_ray.service.trusted import read_trusted, write_private


def test_what_is_written_is_private_and_whole(tmp_path, monkeypatch) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "file", "one")
        write_private(tmp_path / "file", "two")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert read_trusted(tmp_path / "file") == "two" and [p.name for p in tmp_path.iterdir()] == ["file"]
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_private(tmp_path / "file", "three")
    assert read_trusted(tmp_path / "file") == "two" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("name", [ENDPOINT, TOKEN])
def test_a_client_refuses_what_others_can_write(tmp_path, mode, name) -> None:
    address = "http://127.0.0.1:9" if name == TOKEN else None
    (tmp_path / name).write_text("{}")
    (tmp_path / name).chmod(mode)
    with pytest.raises(ServiceError, match="others can write") as error:
        Client(tmp_path, address=address).service.call("info")
    assert error.value.fix is not None and f"chmod 600 {tmp_path / name}" in error.value.fix
    assert error.value.field == name


@pytest.mark.parametrize("name", [ENDPOINT, TOKEN])
def test_a_client_refuses_what_belongs_to_somebody_else(tmp_path, monkeypatch, name) -> None:
    (tmp_path / name).write_text("{}")
    (tmp_path / name).chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / name).stat().st_uid + 1)
    with pytest.raises(ServiceError, match="belongs to another user"):
        Client(tmp_path, address="http://127.0.0.1:9" if name == TOKEN else None).service.call("info")


def test_the_token_that_an_endpoint_names_is_looked_at_too(tmp_path) -> None:
    token = tmp_path / "elsewhere"
    token.write_text("x")
    token.chmod(0o660)
    text = f'{{"protocol": 1, "address": "127.0.0.1:9", "head": "x", "token_path": "{token}"}}'
    write_private(tmp_path / ENDPOINT, text)
    with pytest.raises(ServiceError, match="others can write"):
        Client(tmp_path).service.call("info")


def test_others_may_read_and_folders_are_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o644)
    assert read_trusted(tmp_path / "file") == "x"
    with pytest.raises((ServiceError, OSError)):
        read_trusted(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ServiceError, match="not a regular file"):
        read_trusted(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 2**17)
    with pytest.raises(ServiceError, match="larger than"):
        read_trusted(tmp_path / "large")


def test_a_broken_endpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / ENDPOINT).write_bytes(b"\xff")
    with pytest.raises(ServiceError, match="cannot read"):
        read_endpoint(tmp_path)
