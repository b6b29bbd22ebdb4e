"""Traps are made to kill: a full run tries their kernels in a child process first, and each in both modes.

`DIFFSIM_TRAPS=full`, or `make test-full`, asks for that; it compiles everything four times instead of once.
"""

import pytest
from traps.harness import FULL


@pytest.fixture(scope="module")
def guard():
    return FULL
