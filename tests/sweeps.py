"""Sweeps that are tried in part by `make test`, and whole by `make test-full` (``DIFFSIM_FULL=1``)."""

from __future__ import annotations

import os
from typing import Any

import pytest

FULL = os.environ.get("DIFFSIM_FULL", "0") == "1"

# the rest of a sweep, each kind of whose cases a test outside it has already
full = pytest.mark.skipif(not FULL, reason="one of a sweep: make test-full")


def rest(*values: Any, **options: Any) -> Any:
    """Return a parameter of a test that belongs to the rest of a sweep."""
    return pytest.param(*values, marks=full, **options)
