"""Motifs of a search, and who has them: a table with two motifs whose places are known."""

from __future__ import annotations

import datetime
import json

import numpy as np

from xnas_ray.report.motif_panels import search_motifs
from xnas_ray.report.payload import Searched, report_payload
from xnas_ray.spaces.graphs import OP_NAME
from xnas_ray.spaces.nasbench201 import NASBench201

SPACE = NASBench201()


def has(genotype: tuple[int, ...], operation: str) -> bool:
    """Whether that operation leads to the output and nowhere else."""
    [graph] = SPACE.graphs(genotype).values()
    return any(
        label == operation and [graph.nodes[n][OP_NAME] for n in graph.successors(node)] == ["output"]
        for node, label in graph.nodes(data=OP_NAME)
    )


def test_who_has_which_motif(made, two_motifs):
    rng = np.random.default_rng(0)
    trials = [(n, SPACE.canonical(SPACE.sample(rng))) for n in range(30)]
    material = made([{"genotype": genotype} for _, genotype in trials], tables={"motifs": two_motifs})
    found = search_motifs(material, trials, SPACE.graphs)
    assert [p.motif.mark for p in (*found.best, *found.worst)] == ["good", "bad"]
    expected = {
        n: tuple(i for i, operation in enumerate(("nor_conv_3x3", "avg_pool_3x3")) if has(g, operation))
        for n, g in trials
    }
    assert found.occurrences == expected and len(set(expected.values())) == 4
    assert search_motifs(material, trials, None).occurrences == {}


def test_no_table_no_motifs(made):
    assert search_motifs(made([]), [], SPACE.graphs) is None


def test_the_payload_draws_them(made, two_motifs):
    rng = np.random.default_rng(1)
    trials = [{"genotype": SPACE.sample(rng), "metrics": {"accuracy": 1.0 * n, "flops": 1.0}} for n in range(5)]
    searched = Searched(made(trials, tables={"motifs": two_motifs}), SPACE.graphs, SPACE.choices)
    [one] = report_payload([searched], version="1", made_at=datetime.datetime.now(datetime.UTC))["searches"]
    first = one["motifs"]["panels"][0]
    assert one["motifs"]["good"] == 1 and first["text"] == "nor_conv_3x3 > (output)"
    [[_, nodes, edges]] = one["drawings"][first["drawing"]]
    assert [one["operations"][n] for n in nodes[::3]] == ["nor_conv_3x3", "output"] and edges == [0, 1]
    assert json.dumps(one["motifs"]["trials"])
