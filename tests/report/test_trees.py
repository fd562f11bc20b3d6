"""What a report shows of decision trees: their tables, and the files that trials left beside their weights."""

from __future__ import annotations

import base64
import datetime
import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xnas_ray.report import trees as module
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.report.trees import DAMAGED, NO_SAMPLES, OTHERS, SCALE, TREE, TreesInfo, trees_info
from xnas_ray.store.tree_samples import TREE_SAMPLES_FILE, write_tree_samples

GAP = {"name": "nbdt_gap", "maximize": False, "unit": "%"}


@pytest.fixture
def planted(made, tmp_path):
    """``planted(first, second, …)``: material of a search whose trials have these trees and their files."""

    def plant(*grown: Any, **changed: Any) -> Any:
        for trial, one in enumerate(grown):
            write_tree_samples(tmp_path / f"artifacts/{trial}" / TREE_SAMPLES_FILE, one.samples)
        table = pd.concat([one.table.assign(trial=trial) for trial, one in enumerate(grown)], ignore_index=True)
        trials = [{"metrics": {"nbdt_gap": float(n)}, "artifacts": f"artifacts/{n}"} for n in range(len(grown))]
        return made(trials, objectives=[GAP], tables={TREE: table}, **{"root": tmp_path, **changed})

    return plant


def shown(material: Any, **given: Any) -> TreesInfo:
    found = trees_info(material, material.numbers.tolist(), **given)
    assert found is not None
    return found


def opened(uri: str) -> np.ndarray:
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_a_tree_is_its_table(planted, grown_tree):
    grown = grown_tree(6)
    [tree] = shown(planted(grown)).trees
    table = grown.table
    assert tree.trial == 0 and tree.note == "" and tree.parents == tuple(table["parent"])
    assert tree.names == tuple(table["name"]) and tree.visits == tuple(table["visits"])
    np.testing.assert_array_equal(tree.right, table["right"])
    np.testing.assert_array_equal(tree.entropy, table["entropy"])


def test_rows_come_in_any_order(planted, grown_tree):
    material = planted(grown_tree(6))
    before = shown(material).trees[0]
    material.tables[TREE] = material.tables[TREE].iloc[::-1]
    after = shown(material).trees[0]
    assert (after.parents, after.names, after.visits) == (before.parents, before.names, before.visits)


def test_decisions_along_a_way_multiply_to_what_the_file_says(planted, grown_tree):
    grown = grown_tree(7, seed=3)
    [tree] = shown(planted(grown)).trees
    places = {(s.group, s.node, s.sample): s for s in tree.samples}
    kept = grown.samples
    assert len(places) == len(tree.samples) == len(kept)
    for i in range(len(kept)):
        sample = places[str(kept.group[i]), int(kept.node[i]), int(kept.sample[i])]
        for what in ("target", "network", "soft", "hard"):
            assert tree.names[getattr(sample, what)] == kept.classes[getattr(kept, what)[i]]
        for node in range(len(tree.parents)):
            product, above = 1.0, node
            while above > 0:
                product *= sample.decisions[above] / SCALE
                above = tree.parents[above]
            assert product == pytest.approx(float(kept.reach[i, node]), abs=3e-4)


def test_what_is_never_reached_decides_nothing(planted, grown_tree):
    grown = grown_tree(5)
    parents = grown.table["parent"].tolist()
    below = next(i for i, p in enumerate(parents) if p > 0)
    grown.samples.reach[0, parents[below]] = grown.samples.reach[0, below] = 0
    found = shown(planted(grown)).trees[0].samples[0].decisions
    assert found[below] is None and found[parents[below]] == 0 and found[0] == SCALE


@pytest.mark.parametrize("size", [(8, 8, 1), (9, 5, 3)], ids=["grey", "coloured"])
def test_pictures_are_the_images_each_once(planted, grown_tree, size):
    grown = grown_tree(5, size=size)
    found = shown(planted(grown, grown))
    kept = grown.samples
    assert len(found.pictures) == len(set(found.pictures)) == len(np.unique(kept.images, axis=0)) < len(kept)
    for tree in found.trees:
        for sample in tree.samples:
            i = kept.sample.tolist().index(sample.sample)
            np.testing.assert_array_equal(opened(found.pictures[sample.picture]), kept.images[i].squeeze())


def test_large_images_are_made_smaller(planted, grown_tree):
    found = shown(planted(grown_tree(3, size=(200, 100, 3))))
    assert {opened(one).shape for one in found.pictures} == {(64, 32, 3)}


def test_samples_that_are_no_images(planted, grown_tree):
    found = shown(planted(grown_tree(4, size=(0, 0, 1))))
    assert found.pictures == () and {s.picture for s in found.trees[0].samples} == {None}
    assert all(s.decisions for s in found.trees[0].samples)


def test_ambiguous_ones_first_then_one_example_a_leaf(planted, grown_tree):
    [tree] = shown(planted(grown_tree(5))).trees
    leaves = set(range(len(tree.parents))) - set(tree.parents)
    assert [s.group for s in tree.samples[:10]] == ["ambiguous"] * 10
    entropies = [s.path_entropy for s in tree.samples[:10]]
    assert entropies == sorted(entropies, reverse=True)
    examples = [s.node for s in tree.samples[10:]]
    assert set(examples[: len(leaves)]) == leaves
    assert sorted(examples[: len(tree.parents)]) == list(range(len(tree.parents)))


def test_without_a_file_the_tree_is_shown_alone(planted, grown_tree, tmp_path):
    grown = grown_tree(4)
    material = planted(grown)
    path = tmp_path / "artifacts/0" / TREE_SAMPLES_FILE
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:200] + bytes(40) + whole[240:]):
        path.write_bytes(content)
        [tree] = shown(material).trees
        assert tree.note == DAMAGED and tree.samples == () and len(tree.names) == len(grown.table)
    path.unlink()
    assert shown(material).trees[0].note == NO_SAMPLES and "keep_weights" in NO_SAMPLES
    assert shown(planted(grown, root=None)).trees[0].note == NO_SAMPLES
    material.trials["artifacts"] = "../../elsewhere"
    assert shown(material).trees[0].note == DAMAGED, "no row leads out of the store"
    material.trials["artifacts"] = None
    assert shown(material).trees[0].note == NO_SAMPLES


def test_a_file_of_another_tree(planted, grown_tree, tmp_path):
    material = planted(grown_tree(5), grown_tree(5, seed=1))
    flat = next(one for one in (grown_tree(5, seed=k) for k in range(50)) if len(one.table) != len(grown_tree(5).table))
    for other in (flat, grown_tree(5, names=["c0", "c1", "c2", "c3", "somebody else"])):
        write_tree_samples(tmp_path / "artifacts/0" / TREE_SAMPLES_FILE, other.samples)
        first, second = shown(material).trees
        assert first.note == OTHERS and first.samples == ()
        assert second.note == "" and second.samples


def test_a_hundred_classes_stay_within_bounds(planted, grown_tree, monkeypatch):
    grown = [grown_tree(100, seed, size=(32, 32, 3)) for seed in range(3)]
    material = planted(*grown)
    found = shown(material, pictures_bytes=60_000)
    sizes = [len(base64.b64decode(one.partition(",")[2])) for one in found.pictures]
    assert 50_000 < sum(sizes) <= 60_000
    for tree in found.trees:
        assert sum(s.picture is not None for s in tree.samples) >= 5, "every tree has its share"
    nodes = len(grown[0].table)
    monkeypatch.setattr(module, "MOST_DECISIONS", 3 * 12 * nodes)
    followed = [[bool(s.decisions) for s in tree.samples] for tree in shown(material).trees]
    assert followed[0][:12] == [True] * 12 and not any(followed[0][12:]) and all(any(one) for one in followed)
    monkeypatch.setattr(module, "MOST_NODES", nodes)
    assert [t.trial for t in shown(material).trees] == [0]
    monkeypatch.setattr(module, "MOST_TREES", 2)
    monkeypatch.setattr(module, "MOST_NODES", 10**6)
    assert [t.trial for t in shown(material).trees] == [0, 1] and shown(material).of == 3


def test_a_table_that_is_none_of_trees(made, planted, grown_tree):
    assert trees_info(made([]), []) is None
    other = pd.DataFrame({"trial": [0], "node": ["root"]})
    assert trees_info(made([{}], tables={TREE: other}), [0]) is None
    words = grown_tree(3).table.assign(trial=0).astype({"parent": str})
    assert trees_info(made([{}], tables={TREE: words}), [0]) is None
    material = planted(grown_tree(3), grown_tree(3))
    wrong = [(1, "parent", 4), (1, "parent", -1), (1, "node", 0), (1, "parent", 0.5), (1, "parent", np.nan)]
    for row, column, value in [*wrong, (0, "parent", 0)]:
        table = grown_tree(3).table.assign(trial=0).astype({"parent": float})
        table.loc[row, column] = value
        material.tables[TREE] = pd.concat([table, grown_tree(3).table.assign(trial=1)])
        found = shown(material)
        assert [t.trial for t in found.trees] == [1] and found.notes == (
            "The table decision_tree of trial 0 is no tree.",
        )


def test_in_the_payload_they_are_no_table_too(planted, grown_tree):
    hostile = ["</script><b>", "\x1b[31m", "\u202egnp", 'a" onload="x']
    material = planted(grown_tree(4, names=hostile), grown_tree(4, size=(0, 0, 1)))
    material.tables[TREE].loc[1, "right"] = np.nan
    payload = report_payload(
        [Searched(material)], version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    )
    [found] = json.loads(json.dumps(payload, allow_nan=False))["searches"]
    assert found["tables"] == [] and found["trees"]["of"] == 2
    first = found["trees"]["trees"][0]
    assert set(hostile) <= set(first["names"]) and first["trial"] == 0
    assert first["samples"][0]["decisions"][0] == SCALE
    assert first["right"][1] is None and first["right"][0] == 1


def test_pictures_of_several_searches_share_the_room(planted, grown_tree, monkeypatch):
    monkeypatch.setattr("xnas_ray.report.payload.PICTURES_BYTES", 6_000)
    material = planted(grown_tree(5, size=(16, 16, 3)))
    searches = [Searched(material)] * 2
    payload = report_payload(searches, version="1", made_at=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
    for found in payload["searches"]:
        assert 1_000 < sum(len(base64.b64decode(p.partition(",")[2])) for p in found["trees"]["pictures"]) <= 3_000


def test_pictures_are_made_without_torch():
    code = """if True:
        import sys
        import numpy as np
        from xnas_ray.report.payload import report_payload
        from xnas_ray.report.trees import _png
        assert _png(np.zeros((8, 8, 3), dtype=np.uint8)).startswith(b"\\x89PNG")
        assert not {"torch", "ray", "matplotlib"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
