"""What every space must do: a plug-in's test inherits ``SpaceTestCase`` and gives ``make_space``.

```python
class TestMySpace(SpaceTestCase):
    def make_space(self) -> Space:
        return MySpace(width=8)
```
"""

from __future__ import annotations

import importlib.util
import json
import pickle
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any

import networkx as nx
import numpy as np
import pytest

from xnas_ray.errors import GenotypeError, SpecError
from xnas_ray.messages import Genotype
from xnas_ray.spaces.base import DataShape, Space
from xnas_ray.spaces.graphs import OP_NAME, isomorphic
from xnas_ray.spaces.operators import added_up, operators_of

ENUMERABLE = 20_000


class SpaceTestCase:
    """Conformance of a space; every test works on ``samples`` genotypes drawn from a fixed seed.

    Attributes:
        samples: genotypes that are looked at.
        networks: genotypes whose network is built.
    """

    samples = 40
    networks = 3

    @abstractmethod
    def make_space(self) -> Space:
        """The space under test, made anew at every call with the same parameters."""

    def shape(self) -> DataShape:
        """What the networks are built for."""
        return DataShape(inputs=((3, 8, 8),), outputs=10)

    def malformed(self) -> tuple[str, ...]:
        """Texts that ``parse`` must refuse."""
        return ("", "no architecture", "||||")

    def same_graph(self, first: nx.DiGraph, second: nx.DiGraph) -> bool:
        """Whether two graphs may share a key; override it in a space whose keys ignore sharing (see ``Space.key``)."""
        return isomorphic(first, second)

    def drawn(self, space: Space) -> list[Genotype]:
        """Genotypes to look at."""
        rng = np.random.default_rng(7)
        return [space.sample(rng) for _ in range(self.samples)]

    # ---- genotypes ----------------------------------------------------------------------------------------------

    def test_parameters_of_choices(self) -> None:
        """Names of choices are unique, and ``size`` bounds the number of genotypes."""
        space = self.make_space()
        assert space.choices
        assert len({choice.name for choice in space.choices}) == len(space.choices)
        assert space.size >= 1
        assert self.make_space().fingerprint == space.fingerprint

    def test_samples_are_valid_tuples_of_ints(self) -> None:
        """``sample`` gives valid genotypes of built-in ints, the same from equal generators."""
        space = self.make_space()
        drawn = self.drawn(space)
        assert drawn == self.drawn(self.make_space())
        for genotype in drawn:
            assert isinstance(genotype, tuple)
            assert all(type(value) is int for value in genotype)
            assert space.is_valid(genotype)
            assert space.check(np.array(genotype).tolist()) == genotype

    def test_foreign_genotypes_are_refused(self) -> None:
        """``check`` names wrong lengths, indices out of range and values that are no whole numbers."""
        space = self.make_space()
        good = self.drawn(space)[0]
        too_high = (len(space.choices[0].options), *good[1:])
        foreign: list[Any] = [(), (*good, 0), (-1, *good[1:]), too_high, (0.5, *good[1:]), ("x", *good[1:])]
        for bad in foreign:
            assert not space.is_valid(bad)
            with pytest.raises(GenotypeError):
                space.check(bad)

    def test_mutants_are_valid_and_differ(self) -> None:
        """``mutate`` changes something, stays in the space and is a function of its generator."""
        space = self.make_space()
        if len(set(self.drawn(space))) < 2:
            pytest.skip("the space has a single genotype")
        for i, genotype in enumerate(self.drawn(space)):
            mutant = space.mutate(genotype, np.random.default_rng(i))
            assert space.is_valid(mutant)
            assert mutant != genotype
            assert mutant == space.mutate(genotype, np.random.default_rng(i))
            assert space.is_valid(space.mutate(genotype, np.random.default_rng(i), changes=2))

    def test_perturbed_genotypes_are_valid_and_differ(self) -> None:
        """``perturb`` changes something, whatever the rates, and is a function of its generator."""
        space = self.make_space()
        assert len(space.mutation_rates) == len(space.choices)
        if len(set(self.drawn(space))) < 2:
            pytest.skip("the space has a single genotype")
        for i, genotype in enumerate(self.drawn(space)[:10]):
            for rates in (None, 0.3, [0.3] * len(space.choices)):
                mutant = space.perturb(genotype, np.random.default_rng(i), rates)
                assert space.is_valid(mutant)
                assert mutant != genotype
                assert mutant == space.perturb(genotype, np.random.default_rng(i), rates)

    def test_children_are_valid(self) -> None:
        """``crossover`` takes every value from a parent, and a genotype crossed with itself is itself."""
        space = self.make_space()
        drawn = self.drawn(space)
        for i, (first, second) in enumerate(zip(drawn, reversed(drawn), strict=True)):
            child = space.crossover(first, second, np.random.default_rng(i))
            assert space.is_valid(child)
            assert child == space.crossover(first, second, np.random.default_rng(i))
            assert all(value in pair for value, *pair in zip(child, first, second, strict=True))
            assert space.crossover(first, first, np.random.default_rng(i)) == first

    def test_neighbours_differ_in_one_choice(self) -> None:
        """``neighbours`` are valid, different from each other and one choice away, in both directions."""
        space = self.make_space()
        for genotype in self.drawn(space)[:5]:
            found = list(islice(space.neighbours(genotype), 50))
            assert len(set(found)) == len(found)
            for neighbour in found:
                assert space.is_valid(neighbour)
                assert sum(a != b for a, b in zip(genotype, neighbour, strict=True)) == 1
            assert all(genotype in set(space.neighbours(neighbour)) for neighbour in found[:3])

    def test_unit_cube_covers_every_option(self) -> None:
        """``from_unit_cube`` reaches every option of every choice and stays in range at both ends."""
        space = self.make_space()
        dimensions = len(space.choices)
        for i, choice in enumerate(space.choices):
            reached = set()
            for option in range(len(choice.options)):
                point = [0.0] * dimensions
                point[i] = (option + 0.5) / len(choice.options)
                reached.add(space.from_unit_cube(point)[i])
            assert reached == set(range(len(choice.options)))
        for edge in (0.0, float(np.nextafter(1.0, 0.0)), 1.0):
            genotype = space.from_unit_cube([edge] * dimensions)
            assert all(0 <= v < len(c.options) for v, c in zip(genotype, space.choices, strict=True))

    def test_one_hot_tells_genotypes_apart(self) -> None:
        """``one_hot`` has a single 1 in the block of every choice, at the chosen option."""
        space = self.make_space()
        width = sum(len(choice.options) for choice in space.choices)
        for genotype in self.drawn(space):
            vector = space.one_hot(genotype)
            assert vector.shape == (width,)
            blocks = np.split(vector, np.cumsum([len(choice.options) for choice in space.choices])[:-1])
            assert tuple(int(np.argmax(block)) for block in blocks) == genotype
            assert float(vector.sum()) == len(space.choices)

    def test_describe_names_every_choice(self) -> None:
        """``describe`` maps choices to chosen options."""
        space = self.make_space()
        genotype = self.drawn(space)[0]
        described = space.describe(genotype)
        assert list(described) == [choice.name for choice in space.choices]
        assert [c.options.index(v) for c, v in zip(space.choices, described.values(), strict=True)] == list(genotype)

    # ---- training -----------------------------------------------------------------------------------------------

    def test_recipes_are_settings_of_the_key_class(self) -> None:
        """``recipe`` gives JSON values, the same for the canonical member."""
        space = self.make_space()
        for genotype in self.drawn(space):
            recipe = space.recipe(genotype)
            assert json.loads(json.dumps(recipe, allow_nan=False)) == recipe
            assert space.recipe(space.canonical(genotype)) == recipe

    def test_coordinates_lie_in_the_unit_cube(self) -> None:
        """``numeric`` gives equally many numbers in [0, 1] for every genotype, the same for the canonical member."""
        space = self.make_space()
        drawn = [space.numeric(genotype) for genotype in self.drawn(space)]
        assert len({len(coordinates) for coordinates in drawn}) == 1
        assert all(0 <= x <= 1 for coordinates in drawn for x in coordinates)
        assert drawn == [space.numeric(space.canonical(genotype)) for genotype in self.drawn(space)]

    # ---- text ---------------------------------------------------------------------------------------------------

    def test_text_round_trip(self) -> None:
        """``parse(format(g)) == g``, and different genotypes are written differently."""
        space = self.make_space()
        drawn = self.drawn(space)
        assert all(space.parse(space.format(genotype)) == genotype for genotype in drawn)
        assert len({space.format(genotype) for genotype in drawn}) == len(set(drawn))

    def test_malformed_text_is_refused(self) -> None:
        """``parse`` raises GenotypeError, also on a text cut short or with something appended."""
        space = self.make_space()
        text = space.format(self.drawn(space)[0])
        for bad in (*self.malformed(), text[: len(text) // 2], text + "?"):
            with pytest.raises(GenotypeError):
                space.parse(bad)

    # ---- keys ---------------------------------------------------------------------------------------------------

    def test_canonical_member(self) -> None:
        """``canonical`` is valid, of the same key, its own canonical form, and no dearer."""
        space, shape = self.make_space(), self.shape()
        for genotype in self.drawn(space):
            canonical = space.canonical(genotype)
            assert space.is_valid(canonical)
            assert space.key(canonical) == space.key(genotype)
            assert space.canonical(canonical) == canonical
            assert space.cost(canonical, shape).flops <= space.cost(genotype, shape).flops

    def test_key_decides_the_canonical_member(self) -> None:
        """Members of one key class have one canonical form; members of two have two."""
        space = self.make_space()
        forms: dict[str, set[Genotype]] = {}
        for genotype in self._crowd(space):
            forms.setdefault(space.key(genotype), set()).add(space.canonical(genotype))
        assert all(len(members) == 1 for members in forms.values())
        assert len({next(iter(members)) for members in forms.values()}) == len(forms)

    def test_equal_keys_mean_equal_graphs(self) -> None:
        """Genotypes of one key have the same graphs."""
        space = self.make_space()
        for genotype in self._crowd(space)[:200]:
            first, second = space.graphs(genotype), space.graphs(space.canonical(genotype))
            assert set(first) == set(second)
            assert all(self.same_graph(first[name], second[name]) for name in first)

    def test_graphs_are_labelled_and_acyclic(self) -> None:
        """Every graph is a directed acyclic one whose nodes all carry ``op_name``."""
        space = self.make_space()
        for genotype in self.drawn(space):
            graphs = space.graphs(genotype)
            assert graphs
            for graph in graphs.values():
                assert isinstance(graph, nx.DiGraph)
                assert nx.is_directed_acyclic_graph(graph)
                assert all(isinstance(label, str) for _, label in graph.nodes(data=OP_NAME))

    def test_cost_is_positive_and_whole(self) -> None:
        """``cost`` gives whole numbers, the same at every call."""
        space, shape = self.make_space(), self.shape()
        for genotype in self.drawn(space):
            cost = space.cost(genotype, shape)
            assert type(cost.flops) is int
            assert type(cost.params) is int
            assert cost.flops >= 0
            assert cost.params >= 0
            assert cost == self.make_space().cost(genotype, shape)

    def test_operators_add_up(self) -> None:
        """Sums over the operators of many networks are those of each, and ``covering`` has all operators.

        Skipped where networks are not taken apart into operators.
        """
        space, shape = self.make_space(), self.shape()
        drawn = [space.canonical(genotype) for genotype in self.drawn(space)]
        try:
            operators = [space.operators(genotype, shape) for genotype in drawn]
        except SpecError as error:
            pytest.skip(error.message)
        value = {one.key: 0.1 + 0.7 * i for i, one in enumerate(o for some in operators for o in some)}
        each = [added_up(some, lambda operator: value[operator.key]) for some in operators]
        assert space.add_up(drawn, shape, lambda operator: value[operator.key]).tolist() == each
        covering = space.covering()
        assert covering is None or value.keys() <= operators_of(space, covering, shape).keys()

    def test_enumeration_has_one_genotype_a_key(self) -> None:
        """``enumerate`` lists every key once, by its canonical member; large spaces refuse."""
        space = self.make_space()
        if space.size > ENUMERABLE:
            pytest.skip(f"the space has more than {ENUMERABLE:,} genotypes")
        listed = list(space.enumerate())
        assert len({space.key(genotype) for genotype in listed}) == len(listed)
        assert all(space.canonical(genotype) == genotype for genotype in listed)
        assert {space.key(genotype) for genotype in space.genotypes()} == {space.key(g) for g in listed}

    def test_pickles(self) -> None:
        """A space crosses process borders whole."""
        space = self.make_space()
        copy = pickle.loads(pickle.dumps(space))
        for genotype in self.drawn(space):
            assert copy.key(genotype) == space.key(genotype)
            assert copy.cost(genotype, self.shape()) == space.cost(genotype, self.shape())

    # ---- networks -----------------------------------------------------------------------------------------------

    def test_networks_have_the_right_outputs_and_parameters(self) -> None:
        """``build`` gives a module whose outputs fit and whose parameters are as ``cost`` counted."""
        if importlib.util.find_spec("torch") is None:
            pytest.skip("torch is not installed")
        import torch

        space, shape = self.make_space(), self.shape()
        for genotype in self.drawn(space)[: self.networks]:
            network = space.build(genotype, shape)
            inputs = [torch.randn(2, *one) for one in shape.inputs]
            assert network(*inputs).shape == (2, shape.outputs)
            trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
            assert trainable == space.cost(genotype, shape).params

    def _crowd(self, space: Space) -> list[Genotype]:
        """Genotypes among which keys repeat: samples and what is near to them."""

        def near() -> Iterator[Genotype]:
            for genotype in self.drawn(space):
                yield genotype
                yield from islice(space.neighbours(genotype), 10)

        return list(dict.fromkeys(near()))
