"""The backends that the core of the tests (marked ``core``) runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from diffsim import _vulkan

DRIVER = "apt-get install mesa-vulkan-drivers libvulkan1"


@dataclass(frozen=True)
class Backend:
    """A backend with what tests ask of it.

    Attributes:
        arch: As `ds.init` takes it.
        precision: Bits of `ds.real`.
        layout: Whose memory layout it has, of the `host` or a `device`.
    """

    arch: str
    precision: int
    layout: str = "host"

    def __str__(self) -> str:
        return f"{self.arch if self.layout == 'host' else self.layout}-{self.precision}"

    @property
    def tolerance(self) -> float:
        """The relative error that rounding makes in a small program; and that of gradients on their scale."""
        return 1e-11 if self.precision == 64 else 3e-5

    def require(self) -> None:
        """Skip a test where the backend is not there, with what would bring it."""
        missing = _vulkan.why_missing() if self.arch == "vulkan" else ""
        if missing:
            pytest.skip(f"{missing}: {DRIVER}")


def core_backends() -> list[Backend]:
    """Return those of the core: the one that DIFFSIM_TEST_ARCH names, or on the CPU all that need no GPU."""
    arch = os.environ.get("DIFFSIM_TEST_ARCH", "cpu")
    if arch == "cuda":
        return [Backend("cuda", 64), Backend("cuda", 32)]
    if arch == "vulkan":
        return [Backend("vulkan", 32)]
    return [Backend("cpu", 64, "device"), Backend("cpu", 32, "device"), Backend("vulkan", 32)]
