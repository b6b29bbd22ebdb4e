"""Phase-shifted sine waves."""

# Taichi reads the annotations of kernels, so this module does not postpone them.
import math
from typing import Any

from diffsim._taichi import ti
from diffsim.errors import ConfigError
from diffsim.language.fields import Scratch
from diffsim.language.simulator import Part

__all__ = ["Sinusoids"]


class Sinusoids(Part):
    """Write `outputs[t, offset + k] = sin(omega t dt + 2 pi k / count)` for `k` in `0 .. count - 1`: a clock.

    Args:
        outputs: A Scratch of reals with one axis.
        count: How many waves.
        omega: Angular frequency [rad/s].
        dt: The time step [s].
        offset: The index of the first wave.

    Raises:
        ConfigError: The waves do not fit the field, or a number is not finite.
    """

    def __init__(
        self, outputs: Any, count: int = 10, omega: float = 10.0, dt: float = 1.0, offset: int = 0
    ) -> None:
        if not isinstance(outputs, Scratch) or len(outputs.shape) != 1 or outputs.type.shape:
            raise ConfigError(f"Sinusoids outputs must be a Scratch of reals with one axis, got {outputs!r}")
        if count < 1 or offset < 0 or offset + count > outputs.shape[0]:
            raise ConfigError(
                f"Sinusoids count and offset must fit outputs of {outputs.shape[0]}, "
                f"got {count} waves from {offset} on"
            )
        if not math.isfinite(omega) or not math.isfinite(dt):
            raise ConfigError(f"Sinusoids omega and dt must be finite, got {omega!r} and {dt!r}")
        self.outputs, self.count, self.offset = outputs, int(count), int(offset)
        self.omega, self.dt = float(omega), float(dt)

    def __call__(self, t: Any) -> None:
        """Write the waves at step `t`."""
        self.write(t)

    @ti.kernel
    def write(self, t: ti.i32):
        """Write each wave."""
        for k in range(self.count):
            self.outputs[t, self.offset + k] = ti.sin(
                self.omega * t * self.dt + 2.0 * math.pi * k / self.count
            )
