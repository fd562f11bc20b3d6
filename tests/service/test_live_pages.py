"""The pages of a running service, over a real socket and in a real browser, without Ray."""

from __future__ import annotations

import base64
import gzip
import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from xnas_ray.client import Client
from xnas_ray.service.http_api import Api
from xnas_ray.service.http_app import make_app
from xnas_ray.service.http_server import HttpServer
from xnas_ray.service.live_pages import OPEN_PAGES, POLICY
from xnas_ray.service.report_data import report_data
from xnas_ray.service.store_access import LocalStore
from xnas_ray.store import StoreWriter

TOKEN = "c0de" * 16
FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "performance"
RUNNING = "01HF7YAWX00123456789ABCDEF"


@pytest.fixture(scope="module")
def store(archive, tmp_path_factory) -> Path:
    """A copy of the archive, to which trials are added."""
    root = tmp_path_factory.mktemp("live") / "store"
    shutil.copytree(archive.root, root)
    return root


@pytest.fixture(scope="module")
def address(store, scripted_head) -> Iterator[str]:
    """Where the service listens."""
    app = make_app(Api(scripted_head(), LocalStore(store), TOKEN, "1.2.3"))
    server = HttpServer(lambda: app, "127.0.0.1")
    yield server.address
    server.stop()
    server.join(10)


def asked(address: str, path: str, **headers: str) -> httpx.Response:
    """What the service answers to whom has its token."""
    return httpx.get(address + path, headers={"Authorization": f"Bearer {TOKEN}", **headers}, timeout=60)


# ---- over the socket -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(OPEN_PAGES))
def test_pages_need_no_token_and_know_nothing(address, archive, path):
    answer = httpx.get(address + path, params={"search": archive.finished})
    assert answer.status_code == 200 and answer.headers["content-security-policy"] == POLICY
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["x-content-type-options"] == "nosniff"
    for secret in (TOKEN, archive.finished, "toy", "half done", str(archive.root)):
        assert secret not in answer.text
    assert httpx.get(address + path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    plain = httpx.get(address + path, headers={"Accept-Encoding": "identity"})
    assert plain.text == answer.text and "content-encoding" not in plain.headers
    for verb in ("POST", "PUT", "DELETE"):
        assert httpx.request(verb, address + path).status_code == 401


@pytest.mark.parametrize("path", ["/report/", "/assets", "/assets/", "/assets/../token", "/Report", "/v1/report"])
def test_nothing_else_is_open(address, path):
    assert httpx.get(address + path).status_code == 401


def test_the_data_of_a_report(address, archive, store):
    answer = asked(address, f"/v1/report?search={archive.finished[:12]}&search=latest")
    assert answer.status_code == 200 and answer.headers["content-encoding"] == "gzip"
    assert [one["id"] for one in answer.json()["searches"]] == [archive.finished, archive.cancelled]
    expected = json.loads(gzip.decompress(report_data(store, [archive.finished, archive.cancelled])))
    assert answer.json()["searches"] == expected["searches"]
    same = f"/v1/report?search={archive.finished}&search={archive.cancelled}"
    again = asked(address, same, **{"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content
    plain = asked(address, f"/v1/report?search={archive.finished}", **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json()["searches"][0]["id"] == archive.finished


@pytest.mark.parametrize(
    ("query", "status"), [("", 422), ("?search=zzzz", 404), ("?search=../x", 422), ("?search=01HF", 404)]
)
def test_wrong_questions(address, query, status):
    answer = asked(address, "/v1/report" + query)
    assert answer.status_code == status and set(answer.json()) >= {"error", "message"}


def test_a_report_over_http_is_the_same_file(address, archive, tmp_path):
    far = Client(address=address, token=TOKEN).report([archive.finished], tmp_path / "far.html")
    near = Client(archive.root).report([archive.finished], tmp_path / "near.html")
    assert shown(far)["searches"] == shown(near)["searches"]
    assert far.read_text().partition('id="data"')[0] == near.read_text().partition('id="data"')[0]


def shown(path: Path) -> Any:
    """What a report has in it."""
    found = re.search(r'id="data">([^<]+)<', path.read_text())
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found.group(1))))


def test_the_head_computes_reports_in_a_process_beside(shared_service, tmp_path):
    from xnas_ray.service.bring_up import read_endpoint

    search_id = shared_service.submit("noop", budget={"trials": 5})
    assert shared_service.wait(search_id)["counts"]["completed"] == 5
    token = (shared_service.root / "token").read_text()
    far = Client(tmp_path, address=read_endpoint(shared_service.root)["http"], token=token)
    [found] = shown(far.report([search_id], tmp_path / "far.html"))["searches"]
    assert found["counts"]["completed"] == 5 and found["timeline"]["asked"] == 5 and not found["note"]
    assert found["timeline"]["workers"] and len(found["drawn"]) == 5


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def page() -> Iterator[Any]:
    """A browser that reaches this machine."""
    if shutil.which("chromium") is None:
        pytest.skip("the program chromium is not installed")
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    with importlib.import_module("browser").browser("--no-proxy-server") as one:
        yield one


def give_token(page: Any, token: str) -> None:
    """Fill in the form."""
    page.until("document.querySelector('#token input')")
    page.ask(f"document.querySelector('#token input').value = '{token}'")
    page.ask("document.querySelector('#token button').click()")


def test_a_report_grows_while_trials_end(page, address, store, archive, played_search):
    with StoreWriter.open(store) as writer:
        search = played_search(writer, archive.task, RUNNING, {"name": "<b>live</b>", "budget": {"trials": 40}})
        search.trials(12)
        writer.commit()
        page.open(address + "/")
        give_token(page, "wrong")
        page.until("document.getElementById('token')?.innerText.includes('the token is wrong')")
        page.complaints.clear()  # the browser notes the refusal
        give_token(page, TOKEN)
        page.until("document.documentElement.dataset.ready")
        assert "<b>live</b>" in page.ask("document.querySelector('main').innerText")
        assert page.ask("document.getElementById('compare').hidden")
        page.ask("[...document.querySelectorAll('#list input')].slice(0, 2).forEach((box) => box.click())")
        assert page.ask("!document.getElementById('compare').hidden")
        both = page.ask("new URLSearchParams(document.getElementById('compare').search).getAll('search')")
        assert both == [RUNNING, archive.cancelled]
        page.ask("[...document.querySelectorAll('#list a')].find((a) => a.innerText.includes('live')).click()")
        page.until("performance.getEntriesByName('first figure').length > 0")
        assert page.ask("document.querySelector('h1').textContent") == "<b>live</b>"
        points = "document.querySelector('#front .plot').data.flatMap((t) => t.customdata || []).length"
        assert page.ask(points) == 12
        page.ask("document.querySelector('#best button').click()")
        page.until("!document.getElementById('trial').hidden")
        chosen = page.ask("document.querySelector('#trial h2').textContent")
        search.trials(5, pending=40)
        writer.commit()
        page.until(f"{points} === 17")
        assert page.ask("document.querySelector('#trial h2').textContent") == chosen
        assert "17" in page.ask("document.querySelector('#searches').innerText")
        assert page.complaints == [] and all(r.startswith((address, "data:")) for r in page.requests)
        assert TOKEN not in page.ask("document.documentElement.outerHTML + location.href + document.cookie")


def test_searches_are_compared_and_what_fails_is_said(page, address, archive):
    page.open(f"{address}/report?search={archive.finished}&search={archive.unfinished}")
    give_token(page, TOKEN)
    page.until("document.documentElement.dataset.ready")
    assert page.ask("document.querySelectorAll('#searches tr').length") == 3
    page.open(f"{address}/report?search=zzzzzz")
    page.until("document.getElementById('notice')?.innerText.includes('no search starts with')")
    page.open(f"{address}/report")
    page.until("document.getElementById('notice')?.innerText.includes('Which search?')")
