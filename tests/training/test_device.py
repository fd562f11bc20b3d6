import gc
import weakref

import pytest
import torch

from xnas_ray.errors import OutOfMemoryError
from xnas_ray.training.device import limit_threads, peak_memory_bytes, select_device, typed_memory_errors, warm_up

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_every_way_of_running_out_becomes_one(error):
    with pytest.raises(OutOfMemoryError, match="batch_size") as caught, typed_memory_errors(CPU):
        raise error
    assert caught.value.kind == "out_of_memory"
    assert caught.value.__suppress_context__


def test_a_real_allocation_that_cannot_work():
    with pytest.raises(OutOfMemoryError), typed_memory_errors(CPU):
        torch.empty(2**60)


def test_what_the_training_held_is_released():
    alive = []

    def train() -> None:
        weights = torch.zeros(1000)
        alive.append(weakref.ref(weights))
        raise MemoryError

    try:
        with typed_memory_errors(CPU):
            train()
    except OutOfMemoryError:
        assert alive[0]() is None
    gc.collect()


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"), typed_memory_errors(CPU):
        raise RuntimeError("shape mismatch")


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device(1.0) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device(0.25) == torch.device("cuda", 0)
    assert select_device(0.0) == CPU
    assert peak_memory_bytes(CPU) is None


def test_warming_up_draws_no_random_numbers():
    before = torch.get_rng_state()
    warm_up(CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_limit_threads():
    limit_threads(2)
    assert torch.get_num_threads() == 2
    limit_threads(1)
    assert torch.get_num_threads() == 1
