"""One thread per process, because tests run side by side and kernels that wait for each other's threads are slow ones; and
the same generated cases in every run."""

import numba
import pytest
import torch
from hypothesis import settings

numba.set_num_threads(1)
torch.set_num_threads(1)
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


@pytest.fixture
def every_thread(monkeypatch):
    """All work runs on all threads, however small: kernels must give the same numbers on any number of them."""
    from annealnet.samplers.kernels import threads

    monkeypatch.setattr(threads, "WORTH", 0)
