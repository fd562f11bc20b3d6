import pytest

from xnas_ray.training.device import limit_threads


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    limit_threads(1)
