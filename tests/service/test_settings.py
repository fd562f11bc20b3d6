"""Profiles: the one that ships says the defaults, and mistakes name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnas_ray.errors import SpecError
from xnas_ray.scheduler import SchedulerConfig
from xnas_ray.service.settings import HeadSettings

LOCAL = Path(__file__).parents[2] / "cluster" / "local.toml"


def test_the_profile_that_ships_gives_the_defaults() -> None:
    found = HeadSettings.from_toml(LOCAL, take_over=True)
    assert found.scheduler == SchedulerConfig()
    assert (found.hosts, found.commit_interval_s, found.take_over) == (1, 0.05, True)
    assert found.worker["checkpoint_every_s"] == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[heads]", "heads: unknown key"),
        ("[head]\nhost = 2", "Did you mean 'hosts'"),
        ("[scheduler]\nlease = 3", "Did you mean 'lease_s'"),
        ("[worker]\nthread = 3", "Did you mean 'threads'"),
        ("[head]\nhosts = 'two'", "hosts: must be a number"),
        ("[scheduler]\nbackoff_s = [1, -2]", "backoff_s: must be a number"),
        ("[head]\nhttp_port = 65536", "http_port: must be from 0 to 65535"),
        ("[head]\nhttp_port = 80.5", "http_port: must be from 0"),
        ("[head]\nhttp_host = 3", "http_host: must be a host name"),
        ('[head]\nhttp_host = "a\\u0000b"', "http_host: must be a host name"),
        ("[head", "cannot read the profile"),
    ],
)
def test_a_mistake_names_the_key(tmp_path, text, message) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message.replace("[", r"\[")):
        HeadSettings.from_toml(path)


def test_a_missing_profile_is_an_error(tmp_path) -> None:
    with pytest.raises(SpecError, match="cannot read"):
        HeadSettings.from_toml(tmp_path / "none.toml")


def test_where_the_http_api_listens(tmp_path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text('[head]\nhttp_host = "0.0.0.0"\nhttp_port = 8123')
    assert (HeadSettings.from_toml(path).http_host, HeadSettings.from_toml(path).http_port) == ("0.0.0.0", 8123)
    assert HeadSettings.from_toml(LOCAL).http_host is None
