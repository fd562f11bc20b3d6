"""Teachers of searches, without Ray: found, checked and copied at submit, asked by workers, never mixed up."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from xnas_ray.errors import SpecError, StoppedError, StoreFullError
from xnas_ray.messages import Candidate
from xnas_ray.service import teachers
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.leftovers import YOUNG_S, find_leftovers
from xnas_ray.service.reports import Assignment
from xnas_ray.service.resolve import Search, open_search, resolve
from xnas_ray.service.task_runner import TaskRunner
from xnas_ray.service.teachers import take_teacher, teachers_in
from xnas_ray.service.trial_worker import AttemptContext
from xnas_ray.spaces.base import DataShape
from xnas_ray.spec import SearchSpec
from xnas_ray.store import Layout
from xnas_ray.store.layout import attempt_folder
from xnas_ray.tasks.bundle import bundle_task
from xnas_ray.training.checkpoint import CHECKPOINT_NAME, save_weights
from xnas_ray.training.distillation import Source, Teacher, located
from xnas_ray.training.recipe import Recipe

TRAINED = Path(__file__).parents[1] / "system" / "tasks" / "trained"
TOY = DataShape(((1, 8, 8),), 2)
SEARCH_ID = "01HF7YAT000123456789ABCDEG"


@pytest.fixture
def store(archive, tmp_path) -> Path:
    """A copy of the archive: its best trial has weights."""
    root = tmp_path / "store"
    shutil.copytree(archive.root, root)
    return root


def shape_of(root: Path, search_id: str) -> DataShape:
    from xnas_ray.service.archive import stored_card

    return open_search(root, stored_card(root, search_id)).shape


def tiny_teacher(folder: Path, seed: int = 0) -> Path:
    """What ``xnas export`` writes of a trial of the task, whose space nobody registers."""
    search = resolved(folder.parent / "somewhere", {})
    torch.manual_seed(seed)
    folder.mkdir()
    save_weights(search.space.build((2, 0, 0), search.shape), folder / "weights.pt")
    facts = {
        "genotype": [2, 0, 0],
        "space": {"source": "task", "name": "task", "params": {}, "fingerprint": search.space.fingerprint},
        "shape": search.card()["shape"],
    }
    (folder / "architecture.json").write_text(json.dumps(facts))
    shutil.copytree(TRAINED, folder / "task")
    return folder


def resolved(root: Path, recipe: dict[str, Any], **spec: Any) -> Search:
    given = SearchSpec.from_mapping({"task": str(TRAINED), "seed": 3, "train_seed": 5, "recipe": recipe, **spec})
    return resolve(root, given, bundle_task(TRAINED, root).hash)


def trained(root: Path, search: Search, *, resume_from: Path | None = None, stop_after: int = 99) -> Any:
    """The result of one trial, trained as a worker does."""
    folder = attempt_folder(SEARCH_ID, 0, (1, 0 if resume_from is None else 1))
    candidate = Candidate(0, (1, 0, 0), fidelity=3, schedule_epochs=3)
    runner = TaskRunner(root, gpus=0, settings={}, card=lambda search_id: search.card())

    def heard(record: Any) -> None:
        if record["epoch"] >= stop_after:
            context.stop(checkpoint=True)

    context = AttemptContext(root / folder, resume_from, heard, 0.0)
    return runner.run(Assignment(SEARCH_ID, 0, (1, 0), candidate, 1, folder), context)


# ---- at submit ------------------------------------------------------------------------------------------------------


def test_a_folder_is_copied_whole_and_named_by_its_content(tmp_path):
    folder, root = tiny_teacher(tmp_path / "t"), tmp_path / "store"
    (folder / "notes.txt").write_text("decides nothing")
    search = resolved(root, {"teacher": str(folder), "distill_weight": 0.5})
    hash = Source(folder).content_hash()
    assert search.spec.recipe["teacher"] == f"teachers/{hash}@{hash}" and search.spec.recipe["distill_weight"] == 0.5
    copy = root / "teachers" / hash
    assert {path.name for path in copy.iterdir()} == {"architecture.json", "weights.pt", "task"}
    assert (copy / "task" / "problem.py").read_bytes() == (TRAINED / "problem.py").read_bytes()
    written = copy.stat().st_mtime_ns
    again = resolved(root, {"teacher": str(folder)})
    assert again.spec.recipe["teacher"] == search.spec.recipe["teacher"] and copy.stat().st_mtime_ns == written
    assert [path.name for path in (root / "teachers").iterdir()] == [hash], "nothing unfinished is left"
    by_its_own_name = resolved(root, {"teacher": search.spec.recipe["teacher"]})
    assert by_its_own_name.spec.recipe["teacher"] == search.spec.recipe["teacher"]


def test_a_trial_whose_weights_are_kept(store, archive):
    names = {
        take_teacher(store, Recipe(teacher=text), shape_of(store, archive.finished)).teacher
        for text in (f"{archive.finished}/{archive.best}", f"{archive.finished[:10].lower()}/{archive.best}")
    }
    (name,) = names
    weights = store / name.partition("@")[0] / "weights.pt"
    kept = Layout(store).artifacts(archive.finished, archive.best, (1, 0)) / "weights.pt"
    assert weights.read_bytes() == kept.read_bytes()
    shutil.rmtree(store / "artifacts")
    teacher = Teacher.of(located(Recipe(teacher=name), store), shape_of(store, archive.finished), torch.device("cpu"))
    assert teacher is not None and teacher((torch.zeros(2, 1, 8, 8),)).shape == (2, 10)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{finished}/0", "no weights are kept of trial .*/0.*keep_weights"),
        ("{finished}/99", "has no finished trial 99"),
        ("01ZZ/3", "no search"),
        ("{finished}/{best}", r"^recipe\.teacher: .*/{best} has 10 outputs, the task 2 classes"),
        ("exported/it", "relative path.*SEARCH/TRIAL"),
        ("teachers/" + "0" * 32, "cannot read .*teachers/0"),
    ],
)
def test_mistakes(store, archive, text, told):
    facts = {"finished": archive.finished, "best": archive.best}
    with pytest.raises(SpecError, match=told.replace("{best}", str(archive.best))) as caught:
        take_teacher(store, Recipe(teacher=text.format(**facts)), TOY)
    assert caught.value.field == "recipe.teacher" and ".incoming" not in str(caught.value)
    assert list((store / "teachers").iterdir()) == [], "nothing is copied that was not checked"


def test_torchvision_weights_lie_in_the_store_too(tmp_path):
    from torchvision.models import squeezenet1_1

    path, shape = tmp_path / "s.pth", DataShape(((3, 32, 32),), 2)
    torch.save(squeezenet1_1(num_classes=2).state_dict(), path)
    kept = take_teacher(tmp_path / "store", Recipe(teacher=f"torchvision:squeezenet1_1:{path}"), shape)
    source = Source.parse(kept.teacher)
    assert (source.model, source.path) == ("squeezenet1_1", Path("teachers") / source.hash / "weights.pt")
    path.unlink()
    assert take_teacher(tmp_path / "store", kept, shape) == kept
    assert Teacher.of(located(kept, tmp_path / "store"), shape, torch.device("cpu")) is not None


def test_a_store_without_space_and_a_teacher_that_changes_meanwhile(tmp_path, monkeypatch):
    folder, root, real = tiny_teacher(tmp_path / "t"), tmp_path / "store", shutil.copyfile

    def full(*given: Any, **how: Any) -> None:
        raise OSError(28, "No space left on device")

    def another(source: Path, target: Path, **how: Any) -> None:
        real(source, target, **how)
        Path(target).write_bytes(Path(target).read_bytes() + b" ")

    for copy, error, told in ((full, StoreFullError, "No space left"), (another, SpecError, "was changed while")):
        monkeypatch.setattr(teachers.shutil, "copyfile", copy)
        with pytest.raises(error, match=told):
            resolved(root, {"teacher": str(folder)})
        assert list((root / "teachers").iterdir()) == []


def test_no_search_has_it_any_more(store, archive, tmp_path):
    name = take_teacher(store, Recipe(teacher=f"{archive.finished}/{archive.best}"), shape_of(store, archive.finished))
    (hash,) = teachers_in(json.dumps({"recipe": name.as_mapping(), "space": {"teacher": ["", name.teacher]}}))
    unfinished = store / "teachers" / ".incoming-x"
    unfinished.mkdir()
    found = {one.path.name: one.reason for one in find_leftovers(store, now_s=time.time() + YOUNG_S + 1)}
    assert found[hash] == "no search has this teacher" and found[".incoming-x"] == "unfinished copy of a teacher"
    assert find_leftovers(store) == [], "what is young may belong to a search that is being submitted"


# ---- in a worker -----------------------------------------------------------------------------------------------------


def test_workers_ask_the_copy_whatever_becomes_of_the_original(tmp_path):
    root, folder = tmp_path / "store", tiny_teacher(tmp_path / "t")
    search = resolved(root, {"teacher": str(folder), "distill_weight": 1.0, "weight_decay": 0.0, "lr": 0.2})
    shutil.rmtree(folder)
    taught, plain = trained(root, search), trained(root, resolved(root, {"weight_decay": 0.0, "lr": 0.2}))
    assert taught.metrics["train_loss"] != plain.metrics["train_loss"]
    assert taught.metrics["train_loss"] < 0.5, "an untrained teacher says little, and soon"
    (copy,) = (root / "teachers").iterdir()
    (copy / "architecture.json").write_text((copy / "architecture.json").read_text() + " ")
    with pytest.raises(SpecError, match="other content now"):
        trained(root, search)


def test_a_killed_training_goes_on_though_the_store_was_moved(tmp_path):
    root = tmp_path / "store"
    search = resolved(root, {"teacher": str(tiny_teacher(tmp_path / "t"))})
    whole = trained(root, search)
    with pytest.raises(StoppedError):
        trained(root, search, stop_after=1)
    moved = tmp_path / "moved"
    root.rename(moved)
    checkpoint = moved / attempt_folder(SEARCH_ID, 0, (1, 0)) / CHECKPOINT_NAME
    resumed = trained(moved, open_search(moved, search.card()), resume_from=checkpoint)
    assert [r["train_loss"] for r in resumed.curve] == [r["train_loss"] for r in whole.curve]
    assert {n: v for n, v in resumed.metrics.items() if "accuracy" in n or "loss" in n} == {
        n: v for n, v in whole.metrics.items() if "accuracy" in n or "loss" in n
    }


def test_reuse_tells_teachers_apart_by_what_they_are(tmp_path):
    """What reuse compares: one seed a teacher, wherever it lay and in whichever store."""

    def asked(root: Path, recipe: dict[str, Any]) -> tuple[int, str]:
        proposal = OpenSearch(resolved(root, recipe, warm_start=["8x2-relu"])).propose()
        assert proposal is not None
        return proposal.train_seed, proposal.recipe

    one, other = tiny_teacher(tmp_path / "one"), tiny_teacher(tmp_path / "other", seed=1)
    elsewhere = shutil.copytree(one, tmp_path / "elsewhere")
    first = asked(tmp_path / "a", {"teacher": str(one)})
    assert asked(tmp_path / "b", {"teacher": str(elsewhere)}) == first
    different = [{}, {"teacher": str(other)}, {"teacher": str(one), "distill_weight": 0.5}]
    found = {first, *(asked(tmp_path / "a", recipe) for recipe in different)}
    assert len({seed for seed, _ in found}) == len({text for _, text in found}) == 4
    assert str(tmp_path) not in first[1]
