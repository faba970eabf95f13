"""Every job is divided among threads here, also those that their caller does alone otherwise."""

import pytest
from nn_kernels import _threads


@pytest.fixture(autouse=True)
def share_short_jobs(monkeypatch):
    monkeypatch.setattr(_threads, "_SHORT", 0)
