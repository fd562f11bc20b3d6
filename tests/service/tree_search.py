"""A search whose networks are really trained and whose trees are kept, written into a store without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xnas_ray.service.reports import Assignment
from xnas_ray.service.task_runner import TaskRunner
from xnas_ray.service.trial_worker import AttemptContext
from xnas_ray.store import StoreWriter, new_search_id
from xnas_ray.store.layout import attempt_folder

HOSTILE_CLASS = "derrick\x1b[2J"

PROBLEM = """
from xnas_ray.tasks.base import Problem
from xnas_ray.testing.tiny import TinySpace

problem = Problem(
    space=TinySpace(), recipe={"batch_size": 16, "lr": 0.1}, objectives=("val_accuracy",), fidelity=8
)
"""

DATA = """
import numpy as np
import torch

from xnas_ray.tasks.base import Data
from xnas_ray.tasks.splits import split_tensors


def load_data(side=4):
    rng = np.random.default_rng({seed})
    labels = np.arange(240) % {count}
    images = 0.1 * rng.random((240, 1, side, side))
    for image, label in zip(images, labels):
        for row, columns in {places}[label]:
            image[0, row, columns] += 0.4 + 0.4 * rng.random()
    splits = split_tensors([torch.tensor(images, dtype=torch.float32)], torch.from_numpy(labels), seed=0)
    return Data(*splits, classes={classes}, wnids={wnids}, image_range=((0.0, 1.0),))
"""

ABOVE, BELOW, WHOLE = 0, 3, slice(0, 4)
LEFT, RIGHT = slice(0, 2), slice(2, 4)
"""Animals are bright in the first row, vehicles in the last one; beside it, on the left or right, is which one."""

OWN = {
    "seed": 0,
    "count": 4,
    "places": [
        [(ABOVE, WHOLE), (1, LEFT)],
        [(ABOVE, WHOLE), (1, RIGHT)],
        [(BELOW, WHOLE), (2, LEFT)],
        [(BELOW, WHOLE), (2, RIGHT)],
    ],
    "classes": ("dog", "cat", "car", HOSTILE_CLASS),
    "wnids": ("n00000004", "n00000005", "n00000006", "n00000008"),
}
OTHER = {
    "seed": 1,
    "count": 3,
    "places": [[(ABOVE, WHOLE)], [(BELOW, WHOLE)], [(ABOVE, WHOLE), (1, LEFT)]],
    "classes": ("crane", "wagon", "Rex"),
    "wnids": ("n00000007", "n00000003", "n00000011"),
}
"""An animal and a vehicle that the network has not seen, and a dog."""


def write_tree_search(folder: Path, played_search: type, *, trials: int = 3, state: str = "finished") -> str:
    """Write ``folder/own`` and ``folder/other``, two tasks, and a search of the first into ``folder/store``; its id."""
    for name, facts in (("own", OWN), ("other", OTHER)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "problem.py").write_text(PROBLEM)
        (folder / name / "load_data.py").write_text(DATA.format(**facts))
    root, search_id = folder / "store", new_search_id(1_700_000_000.0)
    with StoreWriter.open(root) as writer:
        search = played_search(writer, folder / "own", search_id, {"keep_weights": "all"})
        search.trials(trials)
        spec = {**search.card["spec"], "objectives": ["val_accuracy", "nbdt_gap"]}  # a row has made-up metrics
        runner = TaskRunner(root, gpus=0, settings={}, card=lambda _: {**search.card, "spec": spec})
        for number in range(trials):
            _train(runner, writer, search, number)
        if state == "finished":
            search.state("finished")
    return search_id


def _train(runner: TaskRunner, writer: Any, search: Any, number: int) -> None:
    outcome = next(o for o in search.opened.controller.completed() if o.candidate.ask_number == number)
    folder = attempt_folder(search.search_id, number, (1, 0))
    assignment = Assignment(search.search_id, number, (1, 0), outcome.candidate, 1, folder, keep_weights=True)
    context = AttemptContext(writer.layout.root / folder, None, lambda record: None, 30.0)
    for kind, table in runner.run(assignment, context).tables.items():
        writer.append_explanation(kind, search.search_id, table.assign(trial=number))
