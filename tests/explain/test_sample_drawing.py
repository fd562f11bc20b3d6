"""Drawings of samples: the images that belong to the rows of the tables, and frames around what is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np

from xnas_ray.explain.sample_drawing import ambiguous_info, sample_figure, similar_info


def test_ambiguous_samples(sampled_tree):
    tree, samples = sampled_tree
    info = ambiguous_info(tree, samples)
    panels = [panel for _, row in info.rows for panel in row]
    first = samples.group == "ambiguous"
    assert np.array_equal(np.stack([panel.image for panel in panels]), samples.images[first])
    assert [panel.marked for panel in panels] == (samples.hard != samples.target)[first].tolist()
    assert f"path entropy {samples.path_entropy[0]:.2f}" in panels[0].text
    assert len(sample_figure(info).axes) >= len(panels)


def test_examples_of_nodes(sampled_tree):
    tree, samples = sampled_tree
    info = similar_info(tree, samples)
    assert [name for name, _ in info.rows] == tree["name"].tolist()
    for node, (_, panels) in enumerate(info.rows):
        mine = samples.images[(samples.node == node) & (samples.group == "similar")]
        assert np.array_equal(np.stack([panel.image for panel in panels]), mine)
    assert len(similar_info(tree, samples, most=4).rows) <= 4
    colour = dataclasses.replace(samples, images=samples.images.repeat(3, axis=3))
    assert sample_figure(similar_info(tree, colour)).axes[0].images[0].get_array().shape == (4, 4, 3)


def test_nothing_ambiguous(sampled_tree):
    tree, samples = sampled_tree
    similar = samples.group == "similar"
    kept = {f.name: getattr(samples, f.name)[similar] for f in dataclasses.fields(samples) if f.name != "classes"}
    assert sample_figure(ambiguous_info(tree, dataclasses.replace(samples, **kept))).axes == []
