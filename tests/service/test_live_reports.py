"""When reports of a running service are computed, and when not."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xnas_ray.service.live_reports import KEPT, LiveReports, files_tag
from xnas_ray.store import SearchRow, StoreWriter


class Bench:
    """Reports of a store that changes when told, computed in a time that is told."""

    def __init__(self) -> None:
        self.now_s, self.version, self.cost_s, self.made = 0.0, 0, 2.0, []
        self.reports = LiveReports(self.make, lambda ids: f"v{self.version}", lambda: self.now_s)

    def make(self, ids) -> bytes:
        self.made.append(tuple(ids))
        self.now_s += self.cost_s
        return f"{'+'.join(ids)} v{self.version}".encode()


def test_while_nothing_changes_nothing_is_computed():
    bench = Bench()
    assert [bench.reports.get(["a"]) for _ in range(3)] == [("v0", b"a v0")] * 3
    bench.now_s += 1e6
    bench.reports.get(["a"])
    assert bench.made == [("a",)]


def test_a_report_rests_nine_times_as_long_as_it_took():
    bench = Bench()
    bench.reports.get(["a"])
    bench.version = 1
    bench.now_s += 17.9
    assert bench.reports.get(["a"]) == ("v0", b"a v0"), "too soon"
    bench.now_s += 0.2
    assert bench.reports.get(["a"]) == ("v1", b"a v1") and len(bench.made) == 2


def test_what_failed_is_tried_again():
    bench = Bench()
    real, bench.reports._make = bench.reports._make, lambda ids: 1 / 0
    with pytest.raises(ZeroDivisionError):
        bench.reports.get(["a"])
    bench.reports._make = real
    assert bench.reports.get(["a"]) == ("v0", b"a v0")


def test_only_some_are_held():
    bench = Bench()
    for n in range(KEPT + 1):
        bench.reports.get([str(n)])
    bench.reports.get([str(KEPT)])
    bench.reports.get(["0"])
    assert len(bench.made) == KEPT + 2 and bench.made[-1] == ("0",)
    assert len(bench.reports._entries) == KEPT


def test_of_many_at_once_one_computes():
    started, release = threading.Event(), threading.Event()
    made = []

    def make(ids) -> bytes:
        made.append(ids)
        started.set()
        assert release.wait(10)
        return b"x"

    reports = LiveReports(make, lambda ids: "v")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(reports.get, ["a"]) for _ in range(8)]
        assert started.wait(10)
        release.set()
        assert {one.result(10) for one in asked} == {("v", b"x")}
    assert len(made) == 1


def test_the_tag_changes_with_every_commit(archive, tmp_path):
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    before = files_tag(root, [archive.finished]), files_tag(root, [archive.finished, archive.unfinished])
    assert before[0] == files_tag(root, [archive.finished]) != before[1]
    with StoreWriter.open(root) as writer:
        place = {"epoch": writer.epoch, "seq": writer.next_seq(), "at": 1.8e9}
        writer.append(SearchRow(search_id=archive.finished, state="finished", **place))
    assert files_tag(root, [archive.finished]) != before[0]
