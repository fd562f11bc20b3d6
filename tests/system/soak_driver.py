"""A service that never rests under random faults, as a program of its own.

Usage: soak_driver.py ROOT SECONDS SEED [DISK]

For so many seconds three searches are at work at any time: a new one is submitted whenever one has finished. Meanwhile
workers, controller hosts, heads and nodes are killed at random, and the disk (the folder DISK, which has the store) is
filled for ten seconds at a time. Heads die in the first quarter only: the last one must live long enough to show
whether it grows. Controller hosts die only when every search has gone on since the last time: five deaths in a row
without an answer in between fail a search, as they should. At the end everything that was submitted may finish. Prints
one JSON line for every fault, search and sample of the head's memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from battlefield import TASKS, Battlefield, actors, prepare, say, status

AT_ONCE = 3
PACE = "0.5"
KINDS = {"worker": 10, "host": 4, "node": 2, "head": 2, "disk": 1}
FULL_S = 10.0
PAUSE_S = (3.0, 9.0)
SAMPLE_S = 2.0
ASK_AGAIN_S = 15.0
PATIENCE_S = 240.0
EVOLUTION = {"name": "regularized_evolution", "params": {"population": 20, "sample": 5}}
SEARCHES: tuple[dict[str, Any], ...] = (
    {"task": "noop", "controller": EVOLUTION, "budget": {"trials": 400}},
    {"task": "steps", "controller": EVOLUTION, "budget": {"trials": 150}},
    {"task": "steps", "controller": "random_search", "budget": {"trials": 150}, "priority": 2},
    {"task": "noop", "controller": "random_search", "budget": {"trials": 1000}},
)


class Soak:
    """Submits, strikes and looks.

    Args:
        root: of the store.
        seconds: how long it is under fire.
        field: the cluster.
        head: of the service.
    """

    def __init__(self, root: Path, seconds: float, field: Battlefield, head: Any) -> None:
        from xnas_ray.tasks.bundle import bundle_task

        self.seconds = seconds
        self.field = field
        self.head = head
        self.bundles = {task: bundle_task(TASKS / task, root).hash for task in ("noop", "steps")}
        self.specs = itertools.cycle(SEARCHES)
        self.submitted: dict[str, int] = {}
        self.began_s = time.monotonic()
        self.full_until_s = float("inf")
        self.sampled_s = 0.0
        self.struck: set[str] = set()
        self.numbers = 0
        self.asked: tuple[str, dict[str, Any], int] | None = None
        self.hosts_struck_at: dict[str, tuple[int, int]] = {}
        self.first = list(KINDS)
        field.random.shuffle(self.first)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began_s

    # ---- searches ---------------------------------------------------------------------------------------------------

    def submit(self) -> None:
        """Queue the next search; ``look_after`` sees it through, and faults go on meanwhile."""
        self.asked = (f"soak-{self.numbers}", next(self.specs), self.numbers)
        self.numbers += 1
        self._ask()

    def _ask(self) -> None:
        from xnas_ray.spec import SearchSpec

        assert self.asked is not None
        key, given, seed = self.asked
        spec = SearchSpec.from_mapping({**given, "seed": seed, "keep_weights": "none"}).to_json()
        self.call = self.head.submit.remote(1, spec, self.bundles[given["task"]], key)
        self.asked_at_s = self.now_s

    def look_after(self) -> None:
        """Take the answer to a submission, or ask again with its key, as a client does who hears nothing."""
        import ray
        from ray.exceptions import RayActorError

        if self.asked is None:
            return
        if not ray.wait([self.call], timeout=0)[0]:
            if self.now_s - self.asked_at_s > ASK_AGAIN_S:
                self._ask()
            return
        try:
            search_id = ray.get(self.call)
        except RayActorError:
            self._ask()
            return
        trials = self.asked[1]["budget"]["trials"]
        self.submitted[search_id], self.asked = trials, None
        say(submitted=search_id, trials=trials, at_s=self.now_s)

    def unfinished(self) -> set[str] | None:
        """Searches that are still at work; None while nobody answers."""
        live = status(self.head)
        return None if live is None else {one["search_id"] for one in live} & self.submitted.keys()

    # ---- faults -----------------------------------------------------------------------------------------------------

    def strike(self) -> None:
        """One fault, at random; each kind comes early once."""
        kinds = {kind: weight for kind, weight in KINDS.items() if kind != "head" or self.now_s < self.seconds / 4}
        kind = self.first.pop(0) if self.first else self.field.random.choices([*kinds], [*kinds.values()])[0]
        if kind not in kinds:
            return
        if (kind == "host" and not self._all_went_on()) or not self.field.strike(kind):
            if kind not in self.struck:
                self.first.append(kind)  # there was none to strike: its turn comes again
            return
        self.struck.add(kind)
        say(struck=kind, at_s=self.now_s)
        if kind == "disk":
            self.full_until_s = self.now_s + FULL_S

    def _all_went_on(self) -> bool:
        """Whether every search has asked or told its controller something since the last death of a host."""
        live = status(self.head)
        if live is None:
            return False
        now = {one["search_id"]: (one["counts"]["asked"], one["counts"]["completed"]) for one in live}
        if any(self.hosts_struck_at.get(search_id) == counts for search_id, counts in now.items()):
            return False
        self.hosts_struck_at = now
        return True

    def rest(self) -> None:
        """Wait a moment; watch the disk, the head and what it is asked."""
        self.look_after()
        if self.now_s > self.full_until_s:
            self.field.free()
            self.full_until_s = float("inf")
        self.sample()
        time.sleep(0.25)

    def sample(self) -> None:
        """Memory and age of the head's process."""
        if self.now_s - self.sampled_s < SAMPLE_S:
            return
        self.sampled_s = self.now_s
        for process in actors("head"):
            with contextlib.suppress(psutil.Error):
                age_s = time.time() - process.create_time()
                say(rss=process.memory_info().rss, pid=process.pid, age_s=age_s, at_s=self.now_s)

    # ---- the whole --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the time is over."""
        strike_s = 0.0
        while self.now_s < self.seconds:
            working = self.unfinished()
            if self.asked is None and working is not None and len(working) < AT_ONCE:
                self.submit()
            if self.submitted and self.now_s > strike_s:
                self.strike()
                strike_s = self.now_s + self.field.random.uniform(*PAUSE_S)
            self.rest()
        self.field.free()

    def settle(self) -> set[str]:
        """Wait for what is at work; what is not finished at the end of all patience."""
        deadline_s = time.monotonic() + PATIENCE_S
        left: set[str] | None = None
        while time.monotonic() < deadline_s and (left is None or left or self.asked):
            self.rest()
            left = self.unfinished()
        return set(self.submitted) if left is None else left


def main(root: Path, seconds: float, seed: int, disk: Path | None) -> None:
    """See the module."""
    prepare(root)
    os.environ["STEPS_PACE"] = PACE
    import ray

    from xnas_ray.service.bring_up import start_head
    from xnas_ray.service.settings import HeadSettings
    from xnas_ray.store.reader import list_searches

    field = Battlefield(seed, disk)
    head = start_head(root, HeadSettings(nodes_every_s=0.5))
    soak = Soak(root, seconds, field, head)
    soak.run()
    left = soak.settle()
    ray.get(head.stop.remote(), timeout=120)
    ends = list_searches(root).set_index("search_id")
    reasons = {one: f"{row.state}: {row.reason}" for one, row in ends.iterrows() if row.state != "finished"}
    say(ended=sorted(soak.submitted.keys() - left), left=sorted(left), not_finished=reasons)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
