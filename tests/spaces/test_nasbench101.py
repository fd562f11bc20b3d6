"""The NAS-Bench-101 space: pruning, classes, costs, mutation, and the benchmark's own table where it is at hand."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Cost, Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.graphs import isomorphic
from xnas_ray.spaces.nasbench101 import NASBench101
from xnas_ray.spaces.nasbench101_cell import OPERATIONS, PrunedCell
from xnas_ray.spaces.registry import SPACES
from xnas_ray.testing.space_case import SpaceTestCase

CIFAR10 = DataShape(inputs=((3, 32, 32),), outputs=10)
SPACE = NASBench101()
CONV_3X3, CONV_1X1, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
INCEPTION = "0111010000000100000010000100000000100000010000000"  # the example of the benchmark's README
genotypes = st.integers(0, 2**32).map(lambda seed: SPACE.sample(np.random.default_rng(seed)))


def cell(edges: str, *operations: str) -> Genotype:
    """A genotype from edges such as ``"01 12 06"`` and the operations of its inner vertices."""
    vertices = len(operations) + 2
    present = {tuple(map(int, edge)) for edge in edges.split()}
    matrix = "".join(str(int((u, v) in present)) for u in range(vertices) for v in range(vertices))
    return SPACE.parse(f"{matrix} {','.join(['input', *operations, 'output'])}")


class TestConformance(SpaceTestCase):
    def make_space(self) -> Space:
        return NASBench101(stacks=2, modules_per_stack=2, channels=8)

    def malformed(self) -> tuple[str, ...]:
        return (*super().malformed(), "0110 input,output", "0100 input,output,output", "0100 output,input")


class TestConformanceOfASmallSpace(SpaceTestCase):
    """Small enough to be listed, and of channels that do not divide evenly."""

    def make_space(self) -> Space:
        return NASBench101(vertices=4, max_edges=5, stacks=2, modules_per_stack=1, channels=5)


# ---- pruning and validity --------------------------------------------------------------------------------------------


def reference_graph(genotype: Genotype) -> nx.DiGraph:
    """The whole graph of a genotype and what networkx says of its live part."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(7))
    pairs = [(u, v) for u in range(7) for v in range(u + 1, 7)]
    graph.add_edges_from(pair for present, pair in zip(genotype, pairs, strict=False) if present)
    live = (nx.descendants(graph, 0) | {0}) & (nx.ancestors(graph, 6) | {6})
    labels = {0: "input", 6: "output", **{v: OPERATIONS[o] for v, o in enumerate(genotype[21:], start=1)}}
    nx.set_node_attributes(graph, labels, "op_name")
    return graph.subgraph(live).copy()


@given(st.tuples(*[st.integers(0, 1)] * 21, *[st.integers(0, 2)] * 5))
def test_the_live_part_is_what_lies_on_paths(genotype: Genotype):
    live = reference_graph(genotype)
    valid = 0 in live and 6 in live and live.number_of_edges() <= 9
    assert SPACE.is_valid(genotype) == valid
    if valid:
        graph = SPACE.graphs(genotype)["cell"]
        assert nx.to_dict_of_lists(graph) == nx.to_dict_of_lists(
            nx.convert_node_labels_to_integers(live, ordering="sorted")
        )
        assert isomorphic(graph, live)


def test_edges_are_counted_after_pruning():
    ten_dead = [1] * 21
    for i, (u, v) in enumerate(SPACE.edges):
        if v == 6 and u:
            ten_dead[i] = 0  # only the input reaches the output
    assert SPACE.is_valid((*ten_dead, 0, 0, 0, 0, 0))
    assert SPACE.cell((*ten_dead, 0, 0, 0, 0, 0)).edges == [(0, 1)]
    assert not SPACE.is_valid((1,) * 21 + (0,) * 5)
    assert not SPACE.is_valid((0,) * 26)


@pytest.mark.parametrize(
    "bad", [(0,) * 26, (1,) * 21 + (0,) * 5, (0,) * 25, (2,) * 26, (0.5,) * 26, (1,) * 21 + (3,) * 5]
)
def test_foreign_genotypes_are_refused_everywhere(bad: Genotype):
    for function in (SPACE.key, SPACE.canonical, SPACE.graphs, SPACE.format, lambda g: SPACE.cost(g, CIFAR10)):
        with pytest.raises(GenotypeError):
            function(bad)


def test_numpy_genotypes_are_understood():
    genotype = SPACE.sample(np.random.default_rng(0))
    assert SPACE.key(np.array(genotype)) == SPACE.key(genotype)  # type: ignore[arg-type]
    assert SPACE.canonical(list(genotype)) == SPACE.canonical(genotype)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [{"vertices": 2}, {"vertices": 8}, {"max_edges": 0}, {"stacks": 1.0}, {"modules_per_stack": 0}, {"channels": 4}],
)
def test_bad_parameters_are_refused(params: dict[str, int]):
    with pytest.raises(SpecError, match=next(iter(params))):
        NASBench101(**params)


def test_it_is_registered_and_too_large_to_list():
    space = SPACES.create("nasbench101", {"channels": 16})
    assert space.size == 2**21 * 3**5
    with pytest.raises(GenotypeError, match="too many"):
        next(space.enumerate())


# ---- text ------------------------------------------------------------------------------------------------------------


def test_a_row_of_the_files_is_a_text():
    genotype = SPACE.parse(f"{INCEPTION} input,{CONV_1X1},{CONV_3X3},{CONV_3X3},{CONV_3X3},{POOL},output")
    assert SPACE.cell(genotype).operations == (1, 0, 0, 0, 2)
    assert SPACE.format(genotype).startswith(f"{INCEPTION} input,")
    assert SPACE.cost(genotype, CIFAR10).params == 2_694_282  # the benchmark's trainable_parameters


def test_fewer_vertices_are_put_last():
    genotype = cell("01 12", CONV_1X1)
    assert genotype == SPACE.canonical(genotype)
    assert [edge for bit, edge in zip(genotype, SPACE.edges, strict=False) if bit] == [(0, 5), (5, 6)]
    assert SPACE.format(genotype).endswith(f"input,{CONV_3X3},{CONV_3X3},{CONV_3X3},{CONV_3X3},{CONV_1X1},output")
    assert SPACE.cell(cell("01")).edges == [(0, 1)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "1 vertices"),
        ("0100", "1 vertices"),
        ("0100 input,output,x", "'output'"),
        ("0100 a,output", "'input'"),
        (f"0{'0' * 63} input,{','.join([POOL] * 6)},output", "8 vertices"),
        ("010 input,output", "4 zeros and ones"),
        ("0120 input,output", "4 zeros and ones"),
        ("0010 input,output", "lower to higher"),
        ("0000 input,output", "not a valid architecture"),
        ("010001000 input,conv3x3,output", "Did you mean 'conv3x3-bn-relu'"),
    ],
)
def test_malformed_texts_say_what_is_wrong(text: str, named: str):
    with pytest.raises(GenotypeError, match=named):
        SPACE.parse(text)


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_every_class_of_up_to_five_vertices_is_there_once():
    """1, 6, 84 and 2,441 classes of 2 to 5 vertices, as among the benchmark's 423,624."""
    space = NASBench101(vertices=5)
    listed = list(space.enumerate())
    assert Counter(len(space.cell(g).operations) + 2 for g in listed) == {2: 1, 3: 6, 4: 84, 5: 2_441}


def test_keys_are_equal_exactly_for_isomorphic_graphs():
    space = NASBench101(vertices=4)
    found: dict[str, list[nx.DiGraph]] = {}
    for genotype in space.genotypes():
        found.setdefault(space.key(genotype), []).append(space.graphs(genotype)["cell"])
    assert all(isomorphic(graphs[0], graph) for graphs in found.values() for graph in graphs)
    firsts = [graphs[0] for graphs in found.values()]
    assert not any(isomorphic(a, b) for a, b in combinations(firsts, 2) if len(a) == len(b))


@settings(max_examples=60, deadline=None)
@given(genotypes, st.integers(0, 2**32))
def test_keys_agree_with_isomorphism_on_random_pairs(first: Genotype, seed: int):
    rng = np.random.default_rng(seed)
    member = SPACE.member(first, rng)
    for second in (member, SPACE.mutate(first, rng), SPACE.sample(rng)):
        same = isomorphic(SPACE.graphs(first)["cell"], SPACE.graphs(second)["cell"])
        assert (SPACE.key(first) == SPACE.key(second)) == same
        assert (SPACE.canonical(first) == SPACE.canonical(second)) == same
    assert SPACE.key(member) == SPACE.key(first)


@pytest.mark.parametrize("params", [{"channels": 5}, {"channels": 8}, {"channels": 7, "stacks": 2}])
def test_canonical_is_the_cheapest_then_first_member(params: dict[str, int]):
    space = NASBench101(vertices=5, max_edges=6, **params)
    members: dict[str, list[Genotype]] = {}
    for genotype in space.genotypes():
        members.setdefault(space.key(genotype), []).append(genotype)
    groups = list(members.values())
    uneven = 0
    for group in groups[:: len(groups) // 150]:
        flops = {genotype: space.cost(genotype, CIFAR10).flops for genotype in group}
        best = min(group, key=lambda genotype: (flops[genotype], genotype))
        assert {space.canonical(genotype) for genotype in group} == {best}
        uneven += len(set(flops.values())) > 1
    assert uneven or params["channels"] == 8


def test_keys_do_not_depend_on_the_network():
    other = NASBench101(channels=7, stacks=1)
    rng = np.random.default_rng(3)
    for _ in range(50):
        genotype = SPACE.sample(rng)
        assert SPACE.key(genotype) == other.key(genotype)


def official_hash(cell: PrunedCell) -> str:
    """The benchmark's own name of a cell: MD5 of iterated neighbourhoods (``graph_util`` of the official code)."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    into = {v: [u for u, w in cell.edges if w == v] for v in range(cell.output + 1)}
    out = {v: [w for u, w in cell.edges if u == v] for v in range(cell.output + 1)}
    labels = [-1, *cell.operations, -2]
    names = [md5(str((len(out[v]), len(into[v]), labels[v]))) for v in out]
    for _ in out:
        sides = [("".join(sorted(names[u] for u in into[v])), "".join(sorted(names[w] for w in out[v]))) for v in out]
        names = [md5(f"{before}|{after}|{names[v]}") for v, (before, after) in enumerate(sides)]
    return md5(str(sorted(names)))


def test_keys_part_cells_as_the_benchmark_does():
    rng = np.random.default_rng(11)
    drawn = [SPACE.sample(rng) for _ in range(400)]
    drawn += [SPACE.mutate(genotype, rng) for genotype in drawn]
    pairs = {(SPACE.key(genotype), official_hash(SPACE.cell(genotype))) for genotype in drawn}
    assert len(pairs) == len({key for key, _ in pairs}) == len({name for _, name in pairs})


# ---- costs -----------------------------------------------------------------------------------------------------------


def test_the_cell_without_operations_is_a_projection():
    """Counted by hand: the stem, nine projections and their normalisations, the head."""
    cells = [(128, 128, 32)] * 3 + [(128, 256, 16)] + [(256, 256, 16)] * 2 + [(256, 512, 8)] + [(512, 512, 8)] * 2
    cost = SPACE.cost(cell("01"), CIFAR10)
    assert cost.params == 3 * 9 * 128 + 256 + sum(i * o + 2 * o for i, o, _ in cells) + 5_130
    assert cost.flops == 3 * 9 * 128 * 1024 + sum(i * o * side**2 for i, o, side in cells) + 5_120


def test_channels_are_split_as_officially():
    three = PrunedCell((0, 0, 0), (0b01110, 0b10000, 0b10000, 0b10000, 0))
    assert three.channels(128, 128) == (128, 43, 43, 42, 128)
    chain = PrunedCell((0, 0, 0), (0b00010, 0b01100, 0b10000, 0b10000, 0))  # 0-1, 1-2, 1-3, 2-4, 3-4
    assert chain.channels(64, 129) == (64, 65, 65, 64, 129)


def test_cost_rounds_odd_sizes_up():
    space = NASBench101(stacks=2, modules_per_stack=1, channels=5)
    genotype = cell("01 12", CONV_3X3)
    even, odd = (space.cost(genotype, DataShape(((1, size, size),), 4)) for size in (8, 7))
    first = 5 * 9 + 5 * 5 + 5 * 5 * 9  # stem, projection and convolution of the first stack
    assert even.params == odd.params
    assert even.flops - odd.flops == first * (64 - 49)


def test_what_is_not_one_image_is_refused():
    with pytest.raises(SpecError, match="one image"):
        SPACE.cost(cell("01"), DataShape(((10,),), 3))


# ---- mutation --------------------------------------------------------------------------------------------------------


def test_members_have_the_key_of_their_class_and_differ():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        genotype = SPACE.canonical(SPACE.sample(rng))
        members = [SPACE.member(genotype, rng) for _ in range(20)]
        assert {SPACE.key(member) for member in members} == {SPACE.key(genotype)}
        if len(SPACE.cell(genotype).operations) < 5:
            assert len(set(members)) > 10


def test_mutants_are_other_classes_and_can_grow_and_shrink():
    rng = np.random.default_rng(5)
    start = SPACE.canonical(cell("01 12 02", CONV_3X3))
    for mutate in (SPACE.mutate, SPACE.perturb):
        mutants = [mutate(start, rng) for _ in range(300)]
        assert SPACE.key(start) not in {SPACE.key(mutant) for mutant in mutants}
        sizes = {len(SPACE.cell(mutant).operations) for mutant in mutants}
        assert {0, 1, 2} <= sizes


def test_rates_are_those_of_the_field():
    rates = SPACE.mutation_rates
    assert rates[:21] == (1 / 7,) * 21
    assert rates[21:] == (1 / 5,) * 5
    only_operations = [0.0] * 21 + [1.0] * 5
    genotype = cell("01 12 23", CONV_3X3, POOL)
    for seed in range(10):
        mutant = SPACE.perturb(genotype, np.random.default_rng(seed), only_operations)
        assert SPACE.cell(mutant).successors == SPACE.cell(genotype).successors
        assert all(a != b for a, b in zip(SPACE.cell(mutant).operations, (0, 2), strict=True))


# ---- against the benchmark's own table -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    folder = os.environ.get("XNAS_DATA")
    path = Path(folder) / "nasbench101_subset.parquet" if folder else None
    if path is None or not path.exists():
        pytest.skip("needs nasbench101_subset.parquet in the folder that XNAS_DATA names")
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pydict()
    cells = [SPACE.parse(f"{a} {o}") for a, o in zip(rows["adjacency"], rows["ops"], strict=True)]
    return rows, cells


def test_rows_are_as_many_classes_and_named_as_officially(table):
    rows, cells = table
    assert len({SPACE.key(genotype) for genotype in cells}) == len(cells) == 15_000
    sample = slice(None, None, 25)
    assert [official_hash(SPACE.cell(genotype)) for genotype in cells[sample]] == rows["key"][sample]


def test_parameters_are_the_tables(table):
    """Equal in 14,493 rows. In the others three vertices share channels unevenly, and the figure is another order's."""
    rows, cells = table
    other = 0
    for genotype, params in zip(cells, rows["params"], strict=True):
        if SPACE.cost(genotype, CIFAR10).params != params:
            live = SPACE.cell(genotype)
            orders = {SPACE.network.cost(live.reordered(order), CIFAR10).params for order in live.orders()}
            assert len(live.feeders) == 3
            assert params in orders
            other += 1
    assert other == 507


def test_the_table_is_a_task(table):
    from xnas_ray.benchmarks.simulator import simulate
    from xnas_ray.benchmarks.table import TabularTask

    path = Path(os.environ["XNAS_DATA"]) / "nasbench101_subset.parquet"
    task = TabularTask.from_parquet(path, space="nasbench101", objectives={"val_accuracy": "val108"})
    assert not task.complete
    space = task.restricted()
    assert len(task) == space.size == 15_000
    params = {"population": 10, "sample": 5}
    frame = simulate("regularized_evolution", task, trials=40, workers=4, params=params, space=space)
    assert frame["val_accuracy"].notna().all()
    assert frame["genotype"].map(space.key).nunique() == 40


def test_costs_are_positive_for_whole_tables(table):
    _, cells = table
    costs = [SPACE.cost(genotype, CIFAR10) for genotype in cells[::100]]
    assert all(isinstance(cost, Cost) and cost.flops > 1e6 for cost in costs)
