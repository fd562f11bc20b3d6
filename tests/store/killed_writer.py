"""Writes trials until it is killed; prints the number of each trial once its row is durable.

Usage: python killed_writer.py ROOT SEARCH_ID
"""

from __future__ import annotations

import os
import sys
import threading
import time

from xnas_ray.messages import Candidate, Outcome, TrialStatus
from xnas_ray.store import compaction
from xnas_ray.store.replay import replay
from xnas_ray.store.rows import SearchRow, asked_row, trial_row
from xnas_ray.store.writer import StoreWriter


def main(root: str, search_id: str) -> None:
    compaction.FAN_IN, compaction.KEEP_S = 3, 0.0
    writer = StoreWriter.open(root)  # the killed one before is known to be dead
    base = {"search_id": search_id, "epoch": writer.epoch}
    if writer.epoch == 1:
        writer.append(SearchRow(seq=writer.next_seq(), at=time.time(), state="running", spec="{}", **base))
        writer.commit()
    found = replay(root, search_id)
    number, pending = found.next_trial, [p.trial for p in found.pending]
    candidates = {one.candidate.ask_number: one.candidate for one in found.asked}

    def compact() -> None:
        while True:
            writer.compact()
            time.sleep(0.002)

    threading.Thread(target=compact, daemon=True).start()
    print("started", flush=True)
    while True:
        fresh = range(number, number + 3)
        number += 3
        for n in fresh:
            candidates[n] = Candidate(n, (n % 5,))
            writer.append(asked_row(candidates[n], seq=writer.next_seq(), at=time.time(), **base))
        writer.commit()
        pending += fresh
        done, pending = pending[:-1], pending[-1:]
        for n in done:
            outcome = Outcome(n, candidates[n], TrialStatus.COMPLETED, {"acc": n})
            given = {"attempts": 1, "task": "t", "task_hash": "h", "space": "s", "key": "k", "architecture": "a"}
            given |= {"train_seed": n, "asked_at": time.time(), "finished_at": time.time(), "seq": writer.next_seq()}
            writer.append(trial_row(outcome, **given, **base))
        writer.commit()
        os.write(1, "".join(f"{n}\n" for n in done).encode())


main(*sys.argv[1:])
