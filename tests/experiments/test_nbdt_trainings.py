"""The NBDT experiments that train or look at many images: on made-up ones of three animals and two vehicles."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xnas_ray.explain.hierarchy import Hierarchy, Node
from xnas_ray.explain.wordnet import NOUNS, WordNet
from xnas_ray.explain.wordnet_hierarchy import named_by_wordnet
from xnas_ray.spec import SearchSpec
from xnas_ray.training.tree_supervision import TreeSupervision

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments" / "reproduce" / "nbdt"
SMALL = ROOT / "tests" / "explain" / "small_wordnet" / NOUNS
NAMES = ("cat", "dog", "bird", "car", "crane")
WNIDS = ("n00000005", "n00000004", "n00000009", "n00000006", "n00000008")


def made(split: str, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise around an image a class; animals are alike, and so are vehicles."""
    generator = torch.Generator().manual_seed(1)
    kinds = torch.randn(2, 3, side, side, generator=generator)
    own = torch.randn(5, 3, side, side, generator=generator)
    labels = torch.arange(60 if split == "train" else 25) % 5
    noise = torch.Generator().manual_seed(len(split))
    return kinds[(labels > 2).long()] + 0.5 * own[labels] + 0.3 * torch.randn(
        len(labels), 3, side, side, generator=noise
    ), labels


@pytest.fixture
def data(monkeypatch):
    """Puts made images, names and a small network in the place of the real ones of a script."""

    def replace(module):
        monkeypatch.setattr(module, "images", made, raising=False)
        monkeypatch.setattr(module, "class_names", lambda: (NAMES, WNIDS))
        small = functools.partial(module.new_network, classes=5) if hasattr(module, "new_network") else None
        if small:
            monkeypatch.setattr(module, "new_network", lambda seed, classes=5: small(seed, classes=classes))
        return module

    return replace


@pytest.fixture
def small_wordnet(monkeypatch):
    monkeypatch.setenv("WNSEARCHDIR", str(SMALL.parent))
    return WordNet(SMALL)


def tree() -> Hierarchy:
    animals = Node.over([Node.leaf("cat"), Node.over([Node.leaf("dog"), Node.leaf("bird")])])
    return Hierarchy(Node.over([animals, Node.over([Node.leaf("car"), Node.leaf("crane")])]), NAMES)


# ---- trainings -------------------------------------------------------------------------------------------------------


def test_a_training_is_a_function_of_its_seed_and_its_loss(script):
    module = script("trainings")
    x, labels = made("train")
    recipe = module.Recipe(lr=0.05, nesterov=False, batch_size=16, augment=module.AUGMENT, crop_padding=1)
    found = []
    for seed, loss in ((0, module.NO_TREE), (0, module.NO_TREE), (1, module.NO_TREE), (0, module.RAMP)):
        network = module.new_network(3, classes=5)
        module.train(network, TreeSupervision(tree(), **loss), x, labels, recipe, epochs=2, seed=seed)
        assert not network.training
        found.append(module.logits_of(network, x))
    same, other_seed, other_loss = (torch.equal(found[0], one) for one in found[1:])
    assert same and not other_seed and not other_loss


def test_a_network_learns_and_its_tree_with_it(script):
    module = script("trainings")
    (x, labels), test = made("train"), made("test")
    recipe = module.Recipe(lr=0.05, nesterov=False, batch_size=16)
    network = module.new_network(0, classes=5)
    before = module.right(tree(), module.logits_of(network, test[0]), test[1])
    module.train(network, TreeSupervision(tree()), x, labels, recipe, epochs=6, seed=0, mixed=True)
    after = module.right(tree(), module.logits_of(network, test[0]), test[1])
    assert all(module.percent(after[way]) > max(60, module.percent(before[way])) for way in ("network", "soft", "hard"))


def test_the_weights_of_the_loss_move_with_every_step(script):
    module = script("trainings")
    x, labels = made("train")
    loss, seen = TreeSupervision(tree()), []

    class Recorded(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            seen.append(loss.progress)
            return self.network(x)

    recipe = module.Recipe(lr=0.0001, batch_size=25)
    module.train(Recorded(module.new_network(0, classes=5)), loss, x, labels, recipe, epochs=2, seed=0)
    assert seen == [step / 6 for step in range(6)]


def test_rows_are_computed_once_and_survive(script, tmp_path):
    module = script("trainings")
    path = tmp_path / "rows.jsonl"
    module.Rows(path).add({"seed": 0, "loss": "none"}, lambda: {"soft": 1.5})
    again = module.Rows(path)
    again.add({"seed": 0, "loss": "none"}, lambda: pytest.fail("it is there"))
    again.add({"seed": 1, "loss": "none"}, lambda: {"soft": 2.5})
    assert [row["soft"] for row in module.Rows(path).where(loss="none")] == [1.5, 2.5]
    assert list(again.where(seed=1, loss="other")) == []


def test_packed_images_come_back(script):
    module = script("trainings")
    which = torch.arange(19) % 3 == 0
    assert (module.unpacked(module.packed(which), 19) == which.numpy()).all()


# ---- the tables ------------------------------------------------------------------------------------------------------


def lines(text: str) -> list[list[str]]:
    """Cells of every line of the tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_fine_tuning_has_a_line_a_loss_and_goes_on(script, data, monkeypatch, tmp_path, capsys):
    module = data(script("finetune"))
    monkeypatch.setattr(module, "trained_network", lambda: script("trainings").new_network(0, classes=5))
    arguments = ["--seeds", "2", "--out", str(tmp_path / "rows.jsonl")]
    module.main(arguments)
    first = capsys.readouterr().out
    found = lines(first)
    count = len(module.LOSSES)
    assert [cells[0] for cells in found[: 3 + count]] == ["loss", "---", "before", *module.LOSSES]
    assert found[3][-1] == "" and {len(cells) for cells in found} == {5}
    assert [tuple(cells[:2]) for cells in found[5 + count :]] == list(module.COMPARED)
    monkeypatch.setattr(module, "trained_on", lambda *_: pytest.fail("every row is there"))
    module.main(arguments)
    assert capsys.readouterr().out == first
    module.main([*arguments, "--losses", "soft, ramp", "soft, constant"])
    some = lines(capsys.readouterr().out)
    assert [cells[0] for cells in some] == [
        *("loss", "---", "before", "none", "soft, constant", "soft, ramp"),
        *("loss", "---", "soft, constant"),
    ]
    assert all(cells in found for cells in some)


def test_a_difference_has_the_error_of_the_test_images(script):
    module = script("finetune")
    packed = script("trainings").packed
    none, other = torch.tensor([True, True, False, False]), torch.tensor([True, True, True, False])

    def rows(*all_right):
        return [{"soft_right": packed(which), "count": 4} for which in all_right]

    assert module.beside("soft", rows(other), rows(none)) == "+25.00 ± 25.00"
    assert module.beside("soft", rows(other, none), rows(none, none)) == "+12.50 ± 12.50", "seeds are averaged first"


def test_mid_training_schedules_are_scaled(script):
    module = script("mid_training")
    assert module.scaled(67, 120, 10, 200) == module.TreeUpdates(67, 120, 10)
    assert module.scaled(67, 120, 10, 20) == module.TreeUpdates(7, 12, 1)
    assert module.scaled(120, 121, 10, 10) == module.TreeUpdates(6, 7, 1)
    assert module.scaled(120, 121, 10, 1) == module.TreeUpdates(0, 1, 1)


def test_mid_training_has_a_line_an_origin_of_the_tree(script, data, small_wordnet, capsys):
    module = data(script("mid_training"))
    module.main(["--seeds", "1", "--epochs", "3"])
    found = {cells[0]: cells for cells in lines(capsys.readouterr().out)}
    assert set(found) == {
        "tree",
        "---",
        module.PLAIN,
        module.TRAINED,
        module.START,
        *map(module.label, module.SCHEDULES),
    }
    assert found[module.PLAIN][4:6] == ["", ""] and all(found[module.TRAINED])
    assert found[module.TRAINED][6] == found[module.PLAIN][6], "its tree is that of the training with the labels alone"


def test_where_an_unseen_class_belongs(script, small_wordnet):
    module = script("unseen")
    names = ("cat", "bird", "car", "crane")
    animals, vehicles = (Node.over([Node.leaf(a), Node.leaf(b)]) for a, b in (names[:2], names[2:]))
    seen = named_by_wordnet(
        Hierarchy(Node.over([animals, vehicles]), names), (WNIDS[0], *WNIDS[2:]), wordnet=small_wordnet
    )

    def places(wnid):
        return [(number, child.name) for number, child in module.hypotheses(seen, wnid, small_wordnet)]

    assert places("n00000004") == [(0, "animal")], "a dog has no place between cat and bird"
    assert places("n00000007") == [(0, "animal"), (1, "bird")], "the crane that flies"
    assert places("n00000012") == [], "a robot dog is an animal and a vehicle"


def test_a_node_is_asked_about_its_own_classes(script):
    module = script("unseen")
    whole = tree()
    animals = whole.root.children[0]
    logits = torch.tensor(
        [
            [0.0, 2.0, 2.0, 9.0, -9.0],  # a car by its best class, but neither a vehicle by the mean nor by the tree
            [3.0, 0.0, 0.0, -1.0, -1.0],
        ]
    )
    found = module.judged(whole, 0, animals, logits)
    assert found == {"network": 50.0, "among": 50.0, "tree": 100.0, "node": 100.0}
    inner = animals.children[1]
    found = module.judged(whole, 1, inner, logits)
    assert found == {"network": 0.0, "among": 50.0, "tree": 50.0, "node": 50.0}


def test_unseen_classes_have_a_line_a_stage(script, data, small_wordnet, monkeypatch, capsys):
    module = data(script("unseen"))
    monkeypatch.setattr(module, "SPLITS", (("dog", "crane"),))
    module.main(["--seeds", "1", "--epochs", "2", "--further", "1"])
    out = capsys.readouterr().out
    root = [cells for cells in lines(out) if cells[0] == "dog and crane"]
    assert [cells[1] for cells in root] == [*module.STAGES] * 2
    assert [cells[0] for cells in lines(out) if len(cells) == 4][2:] == [*module.STAGES] and "roots: " in out


def test_left_out_classes_are_in_no_training(script, data):
    division = data(script("unseen")).Division(("dog", "crane"))
    assert division.names == ("cat", "bird", "car") and set(division.seen["train"][1].tolist()) == {0, 1, 2}
    assert {wnid: len(x) for wnid, x in division.unseen.items()} == {"n00000004": 17, "n00000008": 17}
    x, labels = made("train", 16)
    assert torch.equal(division.seen["train"][0], x[(labels != 1) & (labels != 4)])


# ---- images that could be either -------------------------------------------------------------------------------------


def test_ways_of_picking(script):
    module = script("ambiguous")
    sure, between, unsure = [9.0, -9, -9, -40, -40], [0.0, 6, 6, 0, 0], [0.0, 0, 0, 0, 0]
    found = module.scores(torch.tensor([sure, between, unsure]), tree())
    assert found["entropy"].argmax() == 2 and found["top two"].argmax() == 1
    assert found["path entropy"].argmax() == 1, "it is an animal and no cat; which one, it does not know"
    assert found["entropy"][2].item() == pytest.approx(np.log(5))
    assert found["path entropy"][2].item() == pytest.approx(0, abs=1e-6), "all decisions are as open"


def test_picks_and_what_they_are_worth(script):
    module = script("ambiguous")
    score = torch.tensor([0.1, 0.9, 0.5, 0.9])
    assert module.picks(score, 3).tolist() == [1, 3, 2]
    assert module.auroc(score, torch.tensor([False, True, False, True])) == 1.0
    assert module.auroc(score, torch.tensor([True, False, True, False])) == 0.0


def test_the_first_wrong_turn_is_where_two_classes_part(script, capsys):
    module = script("ambiguous")
    turns = module.Turns(tree())
    at = {name: k for k, name in enumerate(NAMES)}
    for one, other, depth, height in (("cat", "car", 0, 3), ("cat", "bird", 1, 2), ("dog", "bird", 2, 1)):
        assert turns.depth[at[one], at[other]] == turns.depth[at[other], at[one]] == depth
        assert turns.height[at[one], at[other]] == height
    logits = torch.eye(5)[[1, 1, 3, 0]] * 9  # a bird for a dog, a dog for a cat, a truck that is none, a cat
    module.error_table(logits, torch.tensor([2, 0, 4, 0]), tree())
    out = capsys.readouterr().out
    found = {cells[0]: cells[1:] for cells in lines(out)}
    assert found["after 1 decisions"][:2] == ["66.7", "66.7"] and found["after 2 decisions"][:2] == ["33.3", "33.3"]
    assert found["1 above the classes"][:2] == ["66.7", "66.7"]
    assert found["after 0 decisions"] == ["0.0", "0.0", "56.2"], "of 16 wrong classes 9 are of the other kind"
    assert "Errors: NBDT-S 3, NBDT-H 3. Soft and hard inference differ on 0 images" in out


def test_ambiguous_images_are_drawn(script, data, monkeypatch, tmp_path, capsys):
    module = data(script("ambiguous"))
    monkeypatch.setattr(module, "trained_network", lambda: script("trainings").new_network(0, classes=5))
    monkeypatch.setattr(module, "PICKED", (5,))
    monkeypatch.setattr(module, "pictures", lambda split: (torch.zeros(25, 8, 8, 3, dtype=torch.uint8), made(split)[1]))
    picture = tmp_path / "ambiguous.png"
    module.main(["--epochs", "1", "--picture", str(picture)])
    assert picture.read_bytes()[1:4] == b"PNG" and picture.stat().st_size < 150_000
    assert capsys.readouterr().out.count("| path entropy | 5 | 5 |") == 2


# ---- agreement with WordNet ------------------------------------------------------------------------------------------


def test_correlations_are_told_from_chance(script, monkeypatch, capsys):
    module = script("agreement")
    monkeypatch.setattr(module, "DRAWS", 200)
    accuracy = np.linspace(10, 50, 80)
    frame = pd.DataFrame(
        {
            module.ACCURACY: accuracy,
            module.AGREEMENT: accuracy + np.random.default_rng(0).normal(0, 10, 80),
            module.RANDOM: np.tile([0.2, 0.8], 40),
        }
    )
    module.correlation_table(frame, seed=0)
    (_, _, both, half, noise, _) = lines(capsys.readouterr().out)
    assert both[1] == "all, 80" and half[1] == "better half, 40"
    assert float(both[2]) > 0.5 and float(both[4]) == pytest.approx(1 / 201, abs=1e-4)
    low, high = (float(end) for end in both[3].split(" to "))
    assert low < float(both[2]) < high
    assert float(noise[4]) > 0.5


def test_failed_trials_and_those_without_a_measure_do_not_count(script, monkeypatch, tmp_path):
    module = script("agreement")
    stored = pd.DataFrame(
        {
            "status": ["completed", "failed", "completed"],
            "metric_val_accuracy": [30.0, np.nan, 20.0],
            "metric_wordnet_agreement": [0.9, np.nan, np.nan],
            "metric_nbdt_gap": [1.0, np.nan, 2.0],
        }
    )
    monkeypatch.setattr(module, "load_trials", lambda root, search, columns: stored[columns])
    found = module.trials_of(tmp_path, ["one", "two"])
    assert found.to_dict("list") == {module.ACCURACY: [30.0] * 2, module.AGREEMENT: [0.9] * 2, module.GAP: [1.0] * 2}


def test_the_search_measures_what_is_correlated(script):
    module, spec = script("agreement"), SearchSpec.from_toml(FOLDER / "agreement.toml")
    assert set(spec.objectives) == {module.ACCURACY, module.AGREEMENT, module.GAP}
    assert spec.controller.name == "random_search", "one that looks for accuracy would correlate what it looks for"


def test_random_trees_agree_on_a_third(script, small_wordnet):
    found = script("agreement").random_agreements(NAMES, WNIDS, 200)
    assert found.mean() == pytest.approx(1 / 3, abs=0.06) and len(found) == 200


def test_bands_hold_equally_many_trials(script, capsys):
    module = script("agreement")
    frame = pd.DataFrame({module.ACCURACY: [10.0] * 15 + [20.0] * 5, module.AGREEMENT: 0.5, module.GAP: range(20)})
    module.band_table(frame)
    found = lines(capsys.readouterr().out)[2:]
    assert [cells[1] for cells in found] == ["4"] * 5 and found[-1][0] == "20.0 to 20.0"
    assert found[-1][2] == "0.500 ± 0.000"
