"""A search as Prometheus, Ray's dashboard and a browser see it: the real ones, during ``xnas run --dashboard``."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TASK = Path(__file__).parent / "tasks" / "steps"
CLUSTER = Path(__file__).parents[2] / "cluster"
DISCOVERY = "prom_metrics_service_discovery.json"
PATIENCE_S = 240
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Watched:
    """A search that runs, with the dashboard on."""

    root: Path
    search: str
    dashboard: str
    token: str
    discovery: Path

    def get(self, path: str, token: str | None = None) -> Any:
        """What the dashboard's API answers."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        request = urllib.request.Request(f"http://{self.dashboard}{path}", headers=headers if token != "" else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def scraped(self) -> str:
        """What every endpoint of Ray tells Prometheus now."""
        texts = []
        for target in json.loads(self.discovery.read_text())[0]["targets"]:
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=60) as answer:
                texts.append(answer.read().decode())
        return "".join(texts)


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Poll until something is true, through refused connections."""
    deadline_s = time.monotonic() + timeout_s
    seen: object = None
    while time.monotonic() < deadline_s:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, AssertionError) as error:
            seen = error
        time.sleep(1.0)
    raise AssertionError(f"timed out; last seen: {seen}")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A search with two objectives and trials of one to three seconds; it is interrupted at the end."""
    root = tmp_path_factory.mktemp("watched") / "store"
    folder = Path(tempfile.mkdtemp(prefix="xm", dir="/tmp"))  # short: Ray's sockets are below it
    environment = {
        **os.environ,
        "STEPS_PACE": "20",
        "RAY_TMPDIR": str(folder),
        "RAY_metrics_report_interval_ms": "1000",
    }
    environment.pop("RAY_metric_cardinality_level", None)
    command = [sys.executable, "-m", "xnas_ray", "run", "--task", str(TASK), "--root", str(root), "--seed", "3"]
    command += ["--objectives", "val_accuracy", "--objectives", "params", "--trials", "5000", "--dashboard"]
    command += ["--set", "name='watched \"search\"'", "--workers", "2"]
    log = (folder / "out").open("w+")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:

        def said(pattern: str) -> str:
            assert process.poll() is None, (folder / "out").read_text()
            return next(iter(re.findall(pattern, (folder / "out").read_text())), "")

        dashboard = until(lambda: said(r"http://(127\.0\.0\.1:\d+)/"))
        search = until(lambda: said(r"search (\w{26}) in"))
        discovery = until(lambda: next(folder.rglob(f"session_2*/{DISCOVERY}"), None))
        yield Watched(root, search, dashboard, (root / "token").read_text().strip(), discovery)
        text = (folder / "out").read_text()
        assert f"ssh -N -L 8265:127.0.0.1:{dashboard.split(':')[1]} {socket.gethostname()}" in text
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def expressions() -> dict[str, str]:
    """Every query of the Grafana dashboard with its variables filled in, by title and letter."""
    dashboard = json.loads((CLUSTER / "grafana" / "xnas.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$session", ".*")
        .replace("$search", ".*")
        .replace("$__rate_interval", "30s")
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def test_every_metric_of_the_panels_is_at_the_endpoint(watched: Watched) -> None:
    names = {name for query in expressions().values() for name in re.findall(r"\bray_\w+", query)}
    assert len(names) > 12
    lines = until(lambda: (text := watched.scraped()) and all(f"\n{n}{{" in text for n in names) and text).splitlines()
    ours = [line for line in lines if line.startswith("ray_xnas_search_")]
    assert {re.search(r'search="(\w*)"', line).group(1) for line in ours} == {watched.search[:10]}  # type: ignore[union-attr]
    assert all('name="watched _search_"' in line for line in ours)
    tasks = [line for line in lines if line.startswith("ray_tasks{")]
    assert not any(watched.search[:10] in line for line in tasks), "a series a trial would be series without end"
    shown = {match for line in lines for match in re.findall(r'Component="(ray::xnas[^"]*)"', line)}
    assert shown <= {"ray::xnas:idle", f"ray::xnas:{watched.search[:10]}"}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="the program prometheus is not installed")
def test_every_panel_has_data_in_a_real_prometheus(watched: Watched, tmp_path: Path) -> None:
    text = (CLUSTER / "prometheus.yml").read_text()
    ours = re.sub(r"(?m)^ +(# )?- /tmp/x.*\n", "", text).replace("files:", f"files: [{watched.discovery}]")
    ours = ours.replace(": 10s", ": 2s")
    assert ours.count(str(watched.discovery)) == 1 and ours.count(": 2s") == 3
    (tmp_path / "prometheus.yml").write_text(ours)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    arguments = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            ["prometheus", *arguments, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        missing = dict(expressions())

        def complete() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            for name, query in list(missing.items()):
                values = [float(one["value"][1]) for one in queried(address, query)]
                if any(value == value for value in values):  # not only NaN
                    del missing[name]
            return not missing

        try:
            until(complete, 180)
        finally:
            assert not missing
        labels = {key for one in queried(address, "ray_xnas_searches") for key in one["metric"]}
        assert not any(key.startswith("otel_") for key in labels), "relabelling works"
    finally:
        server.terminate()
        server.wait(30)


def queried(address: str, query: str) -> list[dict[str, Any]]:
    """The series of an instant query."""
    path = urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(f"http://{address}/api/v1/query?{path}", timeout=30) as answer:
        return list(json.load(answer)["data"]["result"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="the program promtool is not installed")
def test_the_shipped_configuration_is_valid() -> None:
    subprocess.run(["promtool", "check", "config", str(CLUSTER / "prometheus.yml")], check=True, capture_output=True)


def test_the_dashboard_reads_like_the_queue(watched: Watched) -> None:
    [job, *_] = watched.get("/api/jobs/")
    assert job["metadata"]["job_name"] == "xnas service store"
    actors = watched.get("/logical/actors")["data"]["actors"].values()
    alive = {actor["reprName"] for actor in actors if actor["state"] == "ALIVE"}
    assert {f"head of {watched.root}", f"controllers of {watched.root}"} <= alive
    assert sum(one.startswith("worker w1-") and "1 CPU" in one for one in alive) == 2

    def trials() -> list[dict[str, Any]]:
        tasks = watched.get("/api/v0/tasks?limit=1000")["data"]["result"]["result"]
        return [task for task in tasks if task["name"].startswith(f"{watched.search[:10]}/")]

    until(lambda: {"RUNNING", "FINISHED"} <= {task["state"] for task in trials()})
    tasks = watched.get("/api/v0/tasks?limit=1000")["data"]["result"]["result"]
    assert all("report" not in task["name"] for task in tasks), "calls between the processes are no tasks of the queue"


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_the_dashboard_refuses_who_has_no_token(watched: Watched, token: str) -> None:
    for path in ("/api/jobs/", "/logical/actors"):
        with pytest.raises(urllib.error.HTTPError) as error:
            watched.get(path, token)
        assert error.value.code in (401, 403)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="the program chromium is not installed")
def test_a_browser_shows_the_names(watched: Watched) -> None:
    path = Path(__file__).parents[2] / "docs" / "make_dashboard_picture.py"
    spec = importlib.util.spec_from_file_location("make_dashboard_picture", path)
    assert spec is not None and spec.loader is not None
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    with picture.entrance(watched.dashboard, watched.token) as door:
        until(lambda: f"head of {watched.root}" in picture.rendered(door + "/actors"), 120)
        until(lambda: "xnas service store" in picture.rendered(door + "/jobs"), 120)
        stranger = door.replace("http://", "").split("/")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{stranger[0]}/guess/!/actors", timeout=10)
