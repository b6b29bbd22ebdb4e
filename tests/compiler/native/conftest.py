"""What tests of machine code start from."""

import pytest


@pytest.fixture(autouse=True)
def _as_usual(usual_mode):
    """Begin each test so: Taichi's kernels leave the thread that ran them in another mode."""
    usual_mode()
