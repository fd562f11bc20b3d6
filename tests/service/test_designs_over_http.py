"""Designs that a service elsewhere is asked for are those of the store."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from xnas_ray.client import Client
from xnas_ray.errors import SpecError
from xnas_ray.service.designs import Query
from xnas_ray.service.http_api import Api
from xnas_ray.service.http_app import make_app
from xnas_ray.service.http_forms import DesignQuery
from xnas_ray.service.http_server import HttpServer
from xnas_ray.service.store_access import LocalStore

from .designed_search import SEARCH

TOKEN = "cd" * 32


@pytest.fixture(scope="module")
def far(designable, scripted_head) -> Iterator[Client]:
    """A client of a service on that store."""
    server = HttpServer(lambda: make_app(Api(scripted_head(), LocalStore(designable), TOKEN, "1.2.3")), "127.0.0.1")
    yield Client(address=server.address, token=TOKEN)
    server.stop()
    server.join(10)


def test_the_same_from_afar(far, designable):
    settings = {"params": 40e3, "members": 1, "pool": 100, "top": 2, "neighbours": 1, "caution": 0.5}
    there = far.handle("latest").design([200e3, 300e3], **settings)
    assert there == json.loads(json.dumps(Client(designable).handle(SEARCH).design([200e3, 300e3], **settings)))
    assert [one["budget"]["flops"] for one in there["designs"]] == [200e3, 200e3, 300e3, 300e3]


def test_defaults_are_those_of_the_library():
    assert DesignQuery().model_dump() == Query().to_json()


def test_errors_say_what_to_do(far):
    with pytest.raises(SpecError, match=r"nearest has [\d,]+ FLOPs"):
        far.handle("latest").design(10.0, members=1, pool=50)
    with pytest.raises(SpecError, match="pool: "):
        far.handle("latest").design(members=1, pool=10**9)
