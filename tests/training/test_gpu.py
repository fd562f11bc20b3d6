import pytest
import torch

from xnas_ray.errors import OutOfMemoryError
from xnas_ray.messages import Candidate
from xnas_ray.objectives.decision_tree import TreeGap
from xnas_ray.objectives.network_tree import TaskTrees
from xnas_ray.spaces.nasbench201 import NASBench201
from xnas_ray.tasks.base import Problem
from xnas_ray.tasks.datasets import digits, image_data
from xnas_ray.tasks.resident import ResidentData
from xnas_ray.training.context import LocalContext
from xnas_ray.training.device import limit_gpu_memory, select_device, typed_memory_errors
from xnas_ray.training.distillation import save_teacher
from xnas_ray.training.loop import train_candidate
from xnas_ray.training.recipe import Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

CUDA = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def data():
    return image_data(digits(), holdout=0.2)


def train(data, *, trees=None, **settings):
    return train_candidate(
        space=NASBench201(cells_per_stage=1, channels=16, stages=3),
        problem=Problem(),
        data=data,
        candidate=Candidate(0, (3, 3, 1, 3, 3, 3), fidelity=4, schedule_epochs=4),
        recipe=Recipe(
            **{"batch_size": 64, "lr": 0.1, "augment": ["random_crop", "mixup"], "crop_padding": 1, **settings}
        ),
        seed=0,
        context=LocalContext(),
        device=CUDA,
        trees=trees,
    )


@pytest.mark.parametrize("settings", [{"amp": False}, {"amp_dtype": "bfloat16"}, {"amp_dtype": "float16"}])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_trains_along_a_tree_in_every_precision(data, settings, kind):
    settings = {**settings, "tree_loss": kind}
    there = data.to(CUDA)
    trained = train(there, trees=TaskTrees.of(Recipe(**settings), there, CUDA), **settings)
    assert trained.tree is not None and trained.metrics["val_accuracy"] > 85
    assert TreeGap().measure(trained) < 15


@pytest.mark.parametrize("settings", [{"amp": False}, {"amp_dtype": "bfloat16"}, {"amp_dtype": "float16"}])
def test_trains_in_every_precision(data, settings):
    trained = train(data.to(CUDA), **settings)
    assert trained.metrics["val_accuracy"] > 90
    assert next(trained.model.parameters()).is_cuda
    assert next(trained.model.parameters()).dtype == torch.float32
    assert trained.outputs.device.type == "cpu"
    assert trained.outputs.dtype == torch.float32


def test_channels_last_reaches_the_convolutions(data):
    trained = train(data.to(CUDA))
    weights = [m.weight for m in trained.model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_data_on_the_host_train_the_same_batches(data):
    resident, moved = train(data.to(CUDA), amp=False), train(data, amp=False)
    first = (resident.curve[0]["train_loss"], moved.curve[0]["train_loss"])
    assert first[0] == pytest.approx(first[1], rel=1e-3)


def test_resident_data_live_on_the_device(data):
    class Task:
        hash = "digits"

        def load_data(self):
            return data

    held = ResidentData(2 * data.bytes).get(Task(), CUDA)
    assert held.train.inputs[0].is_cuda
    assert not ResidentData(data.bytes // 2).get(Task(), CUDA).train.inputs[0].is_cuda, "too large: stays on the host"


def test_peak_memory_is_that_of_the_trial(data):
    trained = train(data.to(CUDA))
    assert trained.peak_memory_bytes is not None
    assert data.bytes < trained.peak_memory_bytes < 2**31


def test_out_of_memory_is_typed_and_memory_comes_back():
    before = torch.cuda.memory_allocated(CUDA)
    with pytest.raises(OutOfMemoryError), typed_memory_errors(CUDA):
        held = [torch.empty(2**30, device=CUDA)]
        held.append(torch.empty(2**45, device=CUDA))
    del held
    assert torch.cuda.memory_allocated(CUDA) == before


def test_a_fraction_of_a_gpu_is_a_limit():
    """Ray only counts fractions; torch enforces them for what its allocator holds."""
    assert select_device(0.25) == CUDA
    total = torch.cuda.get_device_properties(CUDA).total_memory
    limit_gpu_memory(0.1, CUDA)
    try:
        with pytest.raises(OutOfMemoryError), typed_memory_errors(CUDA):
            torch.empty(int(0.2 * total), dtype=torch.uint8, device=CUDA)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)


def test_a_teacher_and_autoaugment_work_where_the_data_are(data, tmp_path):
    space, genotype = NASBench201(cells_per_stage=1, channels=16, stages=3), (3, 3, 1, 3, 3, 3)
    large = train(data.to(CUDA))
    teacher = save_teacher(tmp_path / "teacher", large.model, space, genotype, data.data_shape)
    settings = {"teacher": str(teacher), "dropout": 0.1, "augment": ["autoaugment"], "autoaugment_policy": "svhn"}
    taught, moved = train(data.to(CUDA), **settings), train(data, **settings)
    assert taught.metrics["val_accuracy"] > 70
    assert taught.curve[0]["train_loss"] == pytest.approx(moved.curve[0]["train_loss"], rel=0.05)
