"""What the tests of the recurrent layers share."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """Give each test the same random numbers in each run."""
    return np.random.default_rng(0)
