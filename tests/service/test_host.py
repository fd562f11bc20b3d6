"""Controllers in their host, without Ray: resolving, replaying, asking and telling in order."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import SearchNotFoundError, XnasError
from xnas_ray.messages import Outcome, TrialStatus
from xnas_ray.service.archive import stored_card
from xnas_ray.service.host import ControllerHost
from xnas_ray.service.proposals import Proposal, Told
from xnas_ray.service.resolve import open_search, resolve
from xnas_ray.spec import SearchSpec
from xnas_ray.tasks.bundle import bundle_task


@pytest.fixture
def card(archive: Any) -> dict[str, Any]:
    return stored_card(archive.root, archive.unfinished)


def test_a_card_opens_the_very_search_that_was_resolved(archive, tmp_path) -> None:
    bundle = bundle_task(archive.task, tmp_path)
    spec = SearchSpec.from_mapping({"task": "toy", "constraints": ["params <= 2000"], "recipe": {"lr": 0.5}})
    search = resolve(tmp_path, spec, bundle.hash)
    again = open_search(tmp_path, search.card())
    assert again.spec == search.spec and again.shape == search.shape and again.goals == search.goals
    assert again.spec.seed is not None and again.spec.recipe["lr"] == 0.5 and again.spec.fidelity == 1
    assert again.space.fingerprint == search.space.fingerprint
    genotype = again.space.sample(again.controller().ask_rng(0))
    assert again.space.cost(genotype, again.shape).params <= 2000


def test_an_opened_host_has_replayed_the_store_and_goes_on_as_the_first_would(archive, card) -> None:
    hosts = [ControllerHost(str(archive.root)) for _ in range(2)]
    told = [host.open(archive.unfinished, card) for host in hosts]
    assert told[0] == told[1] and told[0][0] == 1
    steps = [host.step(archive.unfinished, [], 3) for host in hosts]
    assert [p.candidate for p in steps[0]] == [p.candidate for p in steps[1]]
    assert [p.candidate.ask_number for p in steps[0]] == [5, 6, 7]
    assert all(p.told_through == told[0] for p in steps[0])
    first = steps[0][0]
    assert Proposal.from_note(first.candidate, first.told_through, first.note()).train_seed == first.train_seed
    outcome = Outcome(5, first.candidate, TrialStatus.COMPLETED, {"val_accuracy": 1.0, "params": 2.0})
    after = hosts[0].step(archive.unfinished, [Told((2, 0), outcome)], 1)
    assert after[0] is not None and after[0].told_through == (2, 0)


def test_what_a_host_does_not_have_is_not_found_and_a_raising_controller_tells_where(archive, card) -> None:
    host = ControllerHost(str(archive.root))
    with pytest.raises(SearchNotFoundError):
        host.step(archive.unfinished, [], 1)
    assert host.explain(archive.unfinished) == {}
    host.open(archive.unfinished, card)
    host._open[archive.unfinished].controller._propose = lambda rng: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        host.step(archive.unfinished, [], 1)
    host.close(archive.unfinished)
    host.close(archive.unfinished)
    with pytest.raises(SearchNotFoundError):
        host.step(archive.unfinished, [], 1)


def test_a_warm_start_comes_first_and_is_replayed(archive, tmp_path) -> None:
    shutil.copytree(archive.root / "tasks", tmp_path / "tasks")
    task_hash = next((tmp_path / "tasks").iterdir()).name
    wanted = [
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|",
        "|nor_conv_1x1~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|",
    ]
    spec = SearchSpec.from_mapping({"task": "toy", "warm_start": [*wanted, wanted[0]], "seed": 3})
    search = resolve(tmp_path, spec, task_hash)
    from xnas_ray.service.host import OpenSearch

    opened = OpenSearch(search)
    proposals = [opened.propose() for _ in range(4)]
    space = search.space
    assert [p.candidate.genotype for p in proposals[:2]] == [space.canonical(space.parse(text)) for text in wanted]
    assert proposals[0].candidate.origin == {"stage": "warm_start"}
    assert proposals[2].candidate.origin != {"stage": "warm_start"}
    later = OpenSearch(search)
    for p in proposals[:3]:
        later.adopt(p.candidate)
    assert later.propose().candidate == proposals[3].candidate


def test_exhaustion_ends_the_list_with_none(archive, tmp_path: Path) -> None:
    bundle = bundle_task(archive.task, tmp_path)
    spec = SearchSpec.from_mapping({"task": "toy", "seed": 3, "constraints": ["params <= 120"]})
    from xnas_ray.service.host import OpenSearch

    opened = OpenSearch(resolve(tmp_path, spec, bundle.hash))
    host = ControllerHost(str(tmp_path))
    host._open["S"] = opened
    found = host.step("S", [], 10_000)
    assert found[-1] is None and None not in found[:-1]
    assert len({p.key for p in found[:-1]}) == len(found) - 1


def test_plugins_of_the_task_folder_travel_with_it(archive, tmp_path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(archive.task, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "first.py").write_text(
        "from xnas_ray.controllers.base import Controller\n"
        "from xnas_ray.objectives.base import Objective\n\n\n"
        "class First(Controller):\n"
        "    def __init__(self, space, objectives, *, seed, horizon=None, step=1):\n"
        "        super().__init__(space, objectives, seed=seed, horizon=horizon)\n"
        "        self.step = step\n\n"
        "    def _propose(self, rng):\n"
        "        fresh = self.first_new(self.space.genotypes())\n"
        "        return None if fresh is None else self.candidate(fresh)\n"
    )
    bundle = bundle_task(folder, tmp_path)
    spec = {"task": "mine", "controller": {"name": "first:First", "params": {"step": 2}}}
    search = resolve(tmp_path, SearchSpec.from_mapping(spec), bundle.hash)
    controller = search.controller()
    assert type(controller).__module__ == f"xnas_task_{bundle.hash}.first" and controller.step == 2
    proposed = controller.propose()
    assert proposed is not None and proposed.genotype == search.space.canonical((0,) * 6)
    with pytest.raises(XnasError, match=r"does not define it\..*Did you mean .First."):
        resolve(tmp_path, SearchSpec.from_mapping({"task": "mine", "controller": "first:Frist"}), bundle.hash)
    spec["controller"]["params"] = {"stp": 2}
    with pytest.raises(XnasError, match="Did you mean 'step'"):
        resolve(tmp_path, SearchSpec.from_mapping(spec), bundle.hash)
