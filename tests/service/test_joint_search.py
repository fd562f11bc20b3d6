"""Searches of architectures and recipes together, without Ray: resolved, proposed, trained, replayed, exported."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from xnas_ray.errors import SpecError, UnknownNameError, XnasError
from xnas_ray.objectives.evaluate import evaluate_candidate
from xnas_ray.service.export import export_trial
from xnas_ray.service.host import OpenSearch
from xnas_ray.service.resolve import Search, resolve
from xnas_ray.service.verify import verify
from xnas_ray.spaces.joint import JointSpace
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.spec import SearchSpec
from xnas_ray.store import StoreWriter, new_search_id
from xnas_ray.tasks.bundle import bundle_task
from xnas_ray.training.context import LocalContext
from xnas_ray.training.distillation import Source, save_teacher
from xnas_ray.training.recipe import Recipe

DIGITS = Path(__file__).parents[2] / "experiments" / "digits"
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
LR = {"log": [1e-3, 1.0], "levels": 4}


def resolved(root: Path, task: Path, params: dict[str, Any], **spec: Any) -> Search:
    """The search of a joint space on a task."""
    bundle = bundle_task(task, root)
    given = {"task": str(task), "seed": 3, "space": {"name": "joint", "params": params}, **spec}
    return resolve(root, SearchSpec.from_mapping(given), bundle.hash)


def test_the_architectures_are_the_tasks_or_any_other(archive, tmp_path):
    for architecture in ({}, {"architecture": "task"}, {"architecture": {"name": "task", "params": {}}}):
        space = resolved(tmp_path, archive.task, {**architecture, "recipe": {"lr": LR}}).space
        assert isinstance(space, JointSpace)
        assert space.architectures.fingerprint.startswith('nasbench201{"cells_per_stage":1,"channels":4')
    named = {"name": "nasbench101", "params": {"channels": 8, "stacks": 1}}
    search = resolved(tmp_path, archive.task, {"architecture": named, "recipe": {"lr": LR}})
    assert search.space_name == "joint"
    assert search.space.unwrapped.architectures.name == "nasbench101"


def test_a_teacher_is_stored_with_its_hash_and_rates_are_refused(tmp_path):
    whole = NASBench201(channels=4, cells_per_stage=1, stages=1)
    shape, genotype = resolved(tmp_path, DIGITS, {"recipe": {"lr": LR}}).shape, (3, 1, 2, 0, 4, 3)
    folder = save_teacher(tmp_path / "t", whole.build(genotype, shape), whole, genotype, shape)
    search = resolved(tmp_path, DIGITS, {"recipe": {"lr": LR}}, recipe={"teacher": str(folder)})
    hash = Source(folder).content_hash()
    assert search.spec.recipe["teacher"] == f"teachers/{hash}@{hash}"
    with pytest.raises(SpecError, match=rf"space\.params\.recipe\.teacher: .*Write 'teachers/{hash}@{hash}'"):
        resolved(tmp_path, DIGITS, {"recipe": {"teacher": ["", str(folder)]}})
    written = {"recipe": {"teacher": ["", search.spec.recipe["teacher"]]}}
    assert resolved(tmp_path, DIGITS, written).space.recipes.size == 2
    with pytest.raises(SpecError, match=r"^recipe\.drop_path"):
        resolved(tmp_path, DIGITS, {"recipe": {"lr": LR}}, recipe={"drop_path": 0.1})
    with pytest.raises(SpecError, match=r"space\.params\.recipe\.drop_path"):
        resolved(tmp_path, DIGITS, {"recipe": {"drop_path": [0.0, 0.1]}})


def test_tree_supervision_is_searched_and_refused_where_there_is_no_tree(tmp_path):
    genes = {"tree_loss": ["", "soft", "hard"], "tree_weight_end": {"log": [0.25, 4.0], "levels": 5}}
    search = resolved(tmp_path, DIGITS, {"recipe": genes}, objectives=["val_accuracy", "nbdt_gap"])
    proposal = OpenSearch(search).propose()
    assert proposal is not None and set(proposal.candidate.recipe) == set(genes)
    assert Recipe.from_mapping(search.spec.recipe, proposal.candidate.recipe)
    numbers = r"tree_hierarchy: WordNet has no tree of the classes: .*called by numbers"
    with pytest.raises(SpecError, match=rf"^recipe\.{numbers}"):
        resolved(tmp_path, DIGITS, {"recipe": genes}, recipe={"tree_loss": "soft", "tree_hierarchy": "wordnet"})
    levels = {"tree_hierarchy": ["induced", "wordnet"]}
    with pytest.raises(SpecError, match=rf"^space\.params\.recipe\.{numbers}"):
        resolved(tmp_path, DIGITS, {"recipe": levels}, recipe={"tree_loss": "soft"})
    with pytest.raises(SpecError, match=rf"^space\.params\.recipe\.{numbers}"):
        resolved(tmp_path, DIGITS, {"recipe": {**genes, **levels}})  # trees are asked for where both genes say so
    assert resolved(tmp_path, DIGITS, {"recipe": levels}), "without a loss no tree is asked for"
    with pytest.raises(SpecError, match=r"space\.params\.recipe\.tree_until: .*above tree_from"):
        resolved(tmp_path, DIGITS, {"recipe": {"tree_until": [0.2, 0.6]}})


def test_analytic_constraints_hold_for_the_architecture(archive, tmp_path):
    search = resolved(tmp_path, archive.task, {"recipe": {"lr": LR}}, constraints=["params <= 300"])
    opened = OpenSearch(search)
    for _ in range(20):
        proposal = opened.propose()
        assert proposal is not None and proposal.params <= 300
        assert proposal.candidate.recipe["lr"] in (0.001, 0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    ("params", "error", "named"),
    [
        ({}, UnknownNameError, "recipe"),
        ({"recipe": {}}, SpecError, r"space\.params\.recipe: must name at least one"),
        ({"recipe": {"learning_rate": LR}}, SpecError, r"space\.params\.recipe\.learning_rate: there is no setting"),
        ({"recipe": {"epochs": [1, 2]}}, SpecError, r"recipe\.epochs.*fidelity"),
        ({"recipe": {"lr": [0.1, -1]}}, SpecError, r"space\.params\.recipe\.lr: must lie between"),
        ({"recipe": {"optimizer": ["sgd", "sdg"]}}, SpecError, r"recipe\.optimizer.*Did you mean 'sgd'"),
        (
            {"recipe": {"lr": LR}, "architecture": "nasbench"},
            UnknownNameError,
            r"space\.params\.architecture.*nasbench",
        ),
        ({"recipe": {"lr": LR}, "architecture": 3}, SpecError, r"space\.params\.architecture: must be a name"),
    ],
)
def test_mistakes_are_named_where_the_search_is_submitted(archive, tmp_path, params, error, named):
    with pytest.raises(error, match=named) as caught:
        resolved(tmp_path, archive.task, params)
    assert isinstance(caught.value, XnasError)


def test_candidates_train_with_the_recipe_that_they_carry(tmp_path):
    """Two candidates of one cell: with a useless learning rate the loss stays where it was."""
    import torch

    torch.set_num_threads(1)
    spec = {"warm_start": [f'{CELL} {{"lr":{lr}}}' for lr in ("1e-09", "0.1")], "fidelity": 2}
    search = resolved(tmp_path, DIGITS, {"recipe": {"lr": [1e-9, 0.1]}}, **spec)
    opened, data = OpenSearch(search), search.task.load_data()
    seeds, losses = set(), []
    for lr in (1e-9, 0.1):
        proposal = opened.propose()
        assert proposal is not None
        assert proposal.candidate.recipe == {"lr": lr}
        assert json.loads(proposal.recipe)["lr"] == lr
        assert proposal.architecture.startswith(f"{CELL} ")
        seeds.add(proposal.train_seed)
        measured = evaluate_candidate(
            problem=search.task.problem,
            space=search.space,
            candidate=proposal.candidate,
            objectives=search.objectives,
            seed=0,
            context=LocalContext(),
            data=data,
            recipe=search.spec.recipe,
        )
        losses.append(measured.curve[-1]["train_loss"])
    assert len(seeds) == 2
    assert losses[0] > 2.2 > 2 * losses[1]


def test_a_joint_search_replays_and_its_trials_can_be_taken_out(archive, played_search, tmp_path):
    params = {"recipe": {"lr": LR, "optimizer": ["sgd", "adamw"]}}
    evolution = {"name": "regularized_evolution", "params": {"population": 4, "sample": 2}}
    search_id = new_search_id(1_700_000_000.0)
    with StoreWriter.open(tmp_path / "store") as writer:
        spec = {"controller": evolution, "space": {"name": "joint", "params": params}, "budget": {"trials": 12}}
        search = played_search(writer, archive.task, search_id, spec)
        search.trials(12)
        search.state("finished")
    checked = verify(tmp_path / "store", search_id)
    assert checked.mismatch is None
    assert checked.equal == checked.asked == 12
    folder = export_trial(tmp_path / "store", search_id, search.best.trial, tmp_path / "winner")
    facts = json.loads((folder / "architecture.json").read_text())
    assert facts["space"]["source"] == "task" and facts["space"]["name"] == "joint"
    recipe = json.loads((folder / "recipe.json").read_text())["recipe"]
    assert {name: recipe[name] for name in ("lr", "optimizer")} == dict(search.best.candidate.recipe)
    loaded = importlib.util.spec_from_file_location("joint_loader", folder / "load.py")
    assert loaded is not None and loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    assert sum(p.numel() for p in module.load_network().parameters()) == search.best.metrics["params"]
