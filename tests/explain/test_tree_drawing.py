"""Drawings of trees: places, shares and examples are right, and it can be drawn whatever things are called."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from xnas_ray.explain.drawing import save_figure
from xnas_ray.explain.tree_drawing import tree_figure, tree_info
from xnas_ray.explain.tree_table import tree_of_trial

from .stored_trees import made, stored

HOSTILE = "$\\frac{$ <b> \x1b[2J"


def test_places_shares_and_examples(sampled_tree):
    tree, samples = sampled_tree
    info = tree_info(tree, samples, title="trial 4")
    assert [mark.node for mark in info.marks] == list(range(len(tree))) and info.left_out == 0
    ends = [mark for mark in info.marks if mark.end]
    assert [mark.y for mark in ends] == list(range(7)) and {mark.label for mark in ends} == set(samples.classes)
    for mark in info.marks:
        below = [other for other in info.marks if other.parent == mark.node]
        assert mark.share == tree["visits"][mark.node] / 60 and mark.x == tree["depth"][mark.node]
        if below:
            assert mark.y == (below[0].y + below[-1].y) / 2 and mark.images == ()
            assert sum(other.share for other in below) == pytest.approx(mark.share)
        else:
            mine = samples.images[(samples.node == mark.node) & (samples.group == "similar")]
            assert np.array_equal(np.stack(mark.images), mine)


def test_a_large_tree_is_cut(random_tree):
    tree = tree_of_trial(stored(made(random_tree(60, 1))), 4)
    info = tree_info(tree, most=20)
    assert len(info.marks) <= 20 and info.left_out == len(tree) - len(info.marks)
    cut = [mark for mark in info.marks if mark.end and tree["classes"][mark.node] > 1]
    assert cut and all(f"{tree['classes'][mark.node]} classes)" in mark.label for mark in cut)
    assert "nodes below are left out" in tree_figure(info).axes[0].texts[0].get_text()


def test_lines_are_as_wide_as_many_samples_take_them(sampled_tree):
    tree, samples = sampled_tree
    figure = tree_figure(tree_info(tree, samples))
    widths = [line.get_linewidth() for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    order = [share for node, share in zip(tree["node"], tree["share"], strict=True) if node]
    assert np.corrcoef(widths, order)[0, 1] == pytest.approx(1.0)
    shown = len(figure.axes[0].images)
    assert shown == int((samples.group == "similar").sum() * 7 / len(tree)), "examples of the leaves"


def test_files(sampled_tree, tmp_path):
    tree, _ = sampled_tree
    tree = tree.assign(name=[HOSTILE + str(node) for node in tree["node"]])
    paths = save_figure(tree_figure(tree_info(tree, title=HOSTILE)), tmp_path, "tree")
    assert all(path.stat().st_size > 1000 for path in paths)
    texts = " ".join(element.text or "" for element in ElementTree.parse(paths[0]).iter())
    assert "\\x1b[2J" in texts and "<b>" in texts, "it is valid XML, and nothing in it is markup"
