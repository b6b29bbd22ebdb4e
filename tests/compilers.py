"""Choosing the compiler for a part of a test, without starting Taichi anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from diffsim import runtime

__all__ = ["compiled_by"]


@contextmanager
def compiled_by(compiler: str) -> Iterator[None]:
    """Let rollouts that are made while active be compiled by `native` or `taichi`."""
    before = runtime.info()
    runtime._runtime.info = dataclasses.replace(before, compiler=compiler)
    try:
        yield
    finally:
        runtime._runtime.info = before
