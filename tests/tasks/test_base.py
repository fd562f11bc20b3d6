import pytest
import torch

from xnas_ray.errors import TaskError
from xnas_ray.tasks.base import Data, Problem, Split
from xnas_ray.testing.tiny import TinySpace, tiny_data
from xnas_ray.training.recipe import Recipe


def split(n: int = 4, features: int = 3) -> Split:
    return Split((torch.zeros(n, features),), torch.arange(n) % 2)


def test_a_single_tensor_becomes_a_tuple_of_one():
    inputs = torch.zeros(4, 3)
    assert Split(inputs, torch.zeros(4)).inputs == (inputs,)


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        ((), torch.zeros(4)),
        ((torch.zeros(4, 3),), torch.zeros(5)),
        ((torch.zeros(0, 3),), torch.zeros(0)),
        ((3,), None),
    ],
)
def test_a_split_refuses_what_does_not_fit(inputs, targets):
    with pytest.raises(TaskError, match="Split"):
        Split(inputs, targets)


def test_take_and_bytes():
    data = tiny_data(samples=50, inputs=2)
    part = data.train.take(torch.tensor([3, 1]))
    assert torch.equal(part.inputs[1], data.train.inputs[1][[3, 1]])
    assert torch.equal(part.targets, data.train.targets[[3, 1]])
    assert part.bytes == 2 * (6 * 4 * 2 + 8)


def test_shape_and_kind_come_from_the_tensors():
    several = tiny_data(samples=50, inputs=3)
    assert several.data_shape.inputs == ((6,), (6,), (6,))
    assert (several.data_shape.outputs, several.data_shape.kind) == (2, "classification")
    regression = tiny_data("regression", samples=50)
    assert (regression.data_shape.outputs, regression.data_shape.kind) == (1, "regression")
    wide = Split(torch.zeros(5, 2), torch.zeros(5, 3))
    assert Data(wide, wide, wide).data_shape.outputs == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"validation": split(features=2)}, "Data.validation"),
        ({"shape": ((9,),)}, "Data.train"),
        ({"test": Split(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))}, "Data.test.targets"),
        ({"train": Split(torch.zeros(4, 3), torch.zeros(4))}, "Data.train.targets"),
        ({"train": Split(torch.zeros(4, 3), torch.tensor([0, 1, -1, 0]))}, "Data.train.targets"),
        ({"classes": None}, "Data.train.targets"),
    ],
)
def test_data_refuse_splits_that_disagree(changes, field):
    whole = {"train": split(), "validation": split(), "test": split(), "classes": ("a", "b")}
    Data(**whole)
    with pytest.raises(TaskError) as caught:
        Data(**(whole | changes))
    assert caught.value.field == field


def test_fingerprint_sees_every_value():
    data, again = tiny_data(samples=50), tiny_data(samples=50)
    assert data.fingerprint() == again.fingerprint()
    again.test.inputs[0][0, 0] += 1e-3
    assert data.fingerprint() != again.fingerprint()


def test_a_recipe_object_becomes_a_mapping():
    problem = Problem(recipe=Recipe(lr=0.5))
    assert problem.recipe["lr"] == 0.5
    with pytest.raises(TypeError):
        problem.recipe["lr"] = 1.0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"space": "nasbench201"}, "Problem.space"),
        ({"recipe": [1]}, "Problem.recipe"),
        ({"loss": "cross_entropie"}, "Problem.loss"),
        ({"metrics": ("top2",)}, "Problem.metrics"),
        ({"metrics": ("top1", "top1")}, "Problem.metrics"),
        ({"objectives": ()}, "Problem.objectives"),
        ({"fidelity": 0}, "Problem.fidelity"),
        ({"fidelity": True}, "Problem.fidelity"),
        ({"evaluate": 3}, "Problem.evaluate"),
    ],
)
def test_a_problem_names_the_field_at_fault(values, field):
    with pytest.raises(TaskError) as caught:
        Problem(**values)
    assert caught.value.field == field


def test_nearest_spelling_of_a_loss():
    with pytest.raises(TaskError, match="Did you mean 'cross_entropy'"):
        Problem(space=TinySpace(), loss="cross_entropie")


def test_finalists_learn_from_all_but_the_test_split():
    data = tiny_data(inputs=2)
    last = data.for_finalists()
    assert last.validation is data.test and last.test is data.test and last.classes == data.classes
    for whole, train, validation in zip(last.train.inputs, data.train.inputs, data.validation.inputs, strict=True):
        assert torch.equal(whole, torch.cat((train, validation)))
    assert torch.equal(last.train.targets, torch.cat((data.train.targets, data.validation.targets)))
