"""Many clients at once: 200 searches of 20 trials that do nothing, queued by 20 clients, and listings meanwhile.

``python experiments/performance/load.py`` fills a store with 1,000 finished searches, brings up a service on it, and
lets 20 clients queue their searches as fast as they can while another one lists the store again and again. Targets:

- no call fails, and every search ends with all its trials;
- fair order: of searches of one priority none starts before one that was submitted earlier;
- fair share: searches that run side by side get on equally fast. As all are of one size, the time from a search's first
  transition to its last is compared, by Jain's index (1: all equal; 1/n: one had everything);
- ``xnas list``'s question to the store takes less than 200 ms, at the 99th percentile, in a store at rest, asked by a
  process that does nothing else. Listings during the rush are shown too; they are made in the process of the clients,
  and waited for while Python goes through everything that Ray has brought there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from made_task import make_task

if TYPE_CHECKING:
    from xnas_ray.client import Client

LIST_TARGET_S = 0.2
SHARE_TARGET = 0.8
FIRST_AT = 1_700_000_000
STATES = ("queued", "running", "finished")
COMMITS_A_COMPACTION = 100


# ---- a store with a past ---------------------------------------------------------------------------------------------


def fill(root: Path, searches: int, task: Path) -> None:
    """Write finished searches as a service leaves them: every transition a commit, merged from time to time.

    Args:
        root: of the store.
        searches: how many.
        task: of all of them.
    """
    from xnas_ray.service.resolve import resolve
    from xnas_ray.spec import SearchSpec
    from xnas_ray.store import SearchRow, StoreWriter
    from xnas_ray.store.ids import new_search_id
    from xnas_ray.tasks.bundle import bundle_task

    spec = SearchSpec.from_mapping({"task": str(task), "budget": {"trials": 20}})
    card = resolve(root, spec, bundle_task(task, root).hash).card()
    best = {"trial": 3, "value": 17.0, "objective": "val_accuracy", "architecture": "|nor_conv_3x3~0|"}
    counts = {"completed": 20, "failed": 0, "cancelled": 0, "reused": 0, "budget_trials": 20}
    summary = json.dumps({**counts, "best": best})
    named = {"task": card["task"], "controller": "random_search", "spec": json.dumps(card)}
    with StoreWriter.open(root) as writer:
        for number in range(searches):
            search_id = new_search_id(FIRST_AT + number)
            for state in STATES:
                columns = {"name": f"search {number}", **named} if state == STATES[0] else {}
                place = {"epoch": writer.epoch, "seq": writer.next_seq(), "at": float(FIRST_AT + number)}
                writer.append(SearchRow(search_id=search_id, state=state, summary=summary, **place, **columns))
                writer.commit()
            if number % COMMITS_A_COMPACTION == 0:
                writer.compact_searches()


# ---- what is measured ------------------------------------------------------------------------------------------------


@dataclass
class Rush:
    """What the clients saw.

    Attributes:
        submit_s: seconds that each submission took.
        list_s: seconds that each listing took meanwhile.
        errors: what failed.
        ids: searches that were queued.
    """

    submit_s: list[float] = field(default_factory=list)
    list_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def rush(client: Client, task: Path, clients: int, searches: int, trials: int) -> Rush:
    """Let every client queue its share of the searches, one after the other; somebody lists meanwhile."""
    from xnas_ray.client import Client

    found, over = Rush(), threading.Event()

    def submit(number: int) -> None:
        own = Client(client.root, service=client.service)
        for turn in range(number, searches, clients):
            spec = {"task": str(task), "name": f"load {turn}", "seed": turn, "keep_weights": "none"}
            started_s = time.perf_counter()
            try:
                found.ids.append(own.submit({**spec, "budget": {"trials": trials}}).id)
            except Exception as error:
                found.errors.append(f"submit {turn}: {type(error).__name__}: {error}")
            found.submit_s.append(time.perf_counter() - started_s)

    def look() -> None:
        while not found.list_s or not over.wait(0.2):
            found.list_s += listings(client.root, 1)

    with ThreadPoolExecutor(clients + 1) as pool:
        looking = pool.submit(look)
        for one in [pool.submit(submit, number) for number in range(clients)]:
            one.result()
        for search_id in list(found.ids):
            status = client.handle(search_id).wait()
            if status is None or status["state"] != "finished" or status["counts"]["completed"] != trials:
                found.errors.append(f"search {search_id} ended as {status}")
        over.set()
        looking.result()
    return found


def listings(root: Path, count: int) -> list[float]:
    """Seconds that each of so many listings takes, by a client that knows nothing yet."""
    from xnas_ray.client import Client

    found = []
    for _ in range(count):
        started_s = time.perf_counter()
        Client(root).searches()
        found.append(time.perf_counter() - started_s)
    return found


def listings_alone(root: Path, count: int) -> list[float]:
    """``listings`` in a fresh process, which has imported everything that a listing needs."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(listings, root, 1).result()
        return pool.submit(listings, root, count).result()


def order(histories: list[list[tuple[str, float]]]) -> dict[str, float]:
    """How fair a queue was to searches of one size and priority.

    Args:
        histories: (state, UNIX seconds) of each search's transitions, searches in the order of submission.

    Returns:
        ``overtaken``: pairs that started in the other order than they were submitted; ``of_pairs``: all pairs;
        ``most_places``: by how many places one start was off; ``share``: Jain's index of the times from start to end,
        ``slowest_over_median``: of these times.
    """
    begun = np.array([next(at for state, at in one if state == "running") for one in histories])
    ended = np.array([one[-1][1] for one in histories])
    count = len(begun)
    overtaken = sum(int((begun[i + 1 :] < begun[i]).sum()) for i in range(count))
    places = np.argsort(np.argsort(begun, kind="stable"), kind="stable")
    took = ended - begun
    return {
        "overtaken": overtaken,
        "of_pairs": count * (count - 1) // 2,
        "most_places": int(np.abs(places - np.arange(count)).max()),
        "share": float(took.sum() ** 2 / (count * (took**2).sum())),
        "slowest_over_median": float(took.max() / np.median(took)),
    }


def histories(root: Path, ids: set[str]) -> list[list[tuple[str, float]]]:
    """Transitions of these searches, in the order in which they were queued."""
    from xnas_ray.store.layout import Layout
    from xnas_ray.store.reader import search_rows

    columns = ["search_id", "state", "at"]
    rows = [rows for search_id, rows in search_rows(Layout(root), columns).items() if search_id in ids]
    rows.sort(key=lambda one: (one[0]["epoch"], one[0]["seq"]))
    return [[(row["state"], row["at"].timestamp()) for row in one] for one in rows]


# ---- the whole -------------------------------------------------------------------------------------------------------


def quantiles(seconds: list[float]) -> str:
    """The median and the 99th percentile in milliseconds."""
    middle, late = 1000 * np.quantile(seconds, [0.5, 0.99])
    return f"p50 {middle:.0f} ms, p99 {late:.0f} ms ({len(seconds)})"


def report(found: Rush, fairness: dict[str, float], quiet_s: list[float], took_s: float) -> bool:
    """Print what was measured; returns whether every target is reached."""
    late_s = float(np.quantile(quiet_s, 0.99))
    rows = [
        ("errors", len(found.errors), "0", not found.errors),
        ("pairs that started out of order", int(fairness["overtaken"]), "0", fairness["overtaken"] == 0),
        ("fair share, Jain's index", round(fairness["share"], 3), f"{SHARE_TARGET}", fairness["share"] >= SHARE_TARGET),
        ("listing, p99 in ms", round(1000 * late_s), f"below {1000 * LIST_TARGET_S:.0f}", late_s < LIST_TARGET_S),
    ]
    print(f"{len(found.ids)} searches ended {took_s:.1f} s after the first submission")
    print(f"submitting: {quantiles(found.submit_s)}")
    print(
        f"listing at rest: {quantiles(quiet_s)}" + (f"; meanwhile: {quantiles(found.list_s)}" if found.list_s else "")
    )
    print(
        f"order: {fairness['overtaken']:.0f} of {fairness['of_pairs']:.0f} pairs out of order, a start at most "
        f"{fairness['most_places']:.0f} places off; slowest search {fairness['slowest_over_median']:.2f} x the median"
    )
    for name, value, target, reached in rows:
        print(f"{name}: {value} (target {target}): {'reached' if reached else 'MISSED'}")
    for text in found.errors[:10]:
        print(f"  {text}", file=sys.stderr)
    return all(reached for *_, reached in rows)


def main(given: list[str] | None = None) -> int:
    """Fill, rush, list, print; the exit status tells whether every target is reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--trials", type=int, default=20, help="of each search")
    parser.add_argument("--past", type=int, default=1000, help="finished searches that the store has before")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--listings", type=int, default=100)
    arguments = parser.parse_args(given)
    from xnas_ray.client import local_client

    with tempfile.TemporaryDirectory(prefix="xl-", dir="/tmp") as folder:
        root = Path(folder) / "store"
        task = make_task(Path(folder) / "task", [0.0])
        fill(root, arguments.past, task)
        with local_client(root, workers=arguments.workers) as client:
            client.submit({"task": str(task), "budget": {"trials": 100}, "seed": 0}).wait()  # workers are up
            started_s = time.perf_counter()
            found = rush(client, task, arguments.clients, arguments.searches, arguments.trials)
            took_s = time.perf_counter() - started_s
        fairness = order(histories(root, set(found.ids)))
        return 0 if report(found, fairness, listings_alone(root, arguments.listings), took_s) else 1


if __name__ == "__main__":
    sys.exit(main())
