"""A multilayer perceptron."""

# Taichi reads the annotations of kernels, so this module does not postpone them.
import zlib
from typing import Any

import numpy as np

from diffsim import runtime
from diffsim._taichi import ti
from diffsim.errors import ConfigError
from diffsim.language.fields import Param, Scratch, State
from diffsim.language.simulator import Part
from diffsim.language.types import real
from diffsim.options import plain_number

__all__ = ["MLP"]


class MLP(Part):
    """Map a field to another through layers `h[k + 1] = tanh(w[k] h[k] + b[k])`.

    The weights are Params `w0`, `b0`, `w1`, ...: `w[k]` of shape `(inputs, outputs)` of its layer, drawn from
    normals of standard deviation `gains[k] sqrt(2 / (inputs + outputs))` (Glorot and Bengio 2010), biases
    zero. The map is smooth, so it is differentiable everywhere with respect to weights, biases and inputs.

    Args:
        inputs: A State or Scratch of one axis, read at `t`; vector components count as inputs.
        outputs: A Scratch of one axis, written at `t`, in -1 .. 1.
        hidden: The width of each hidden layer.
        gains: A factor for each layer's initial weights, 1 where left out.
        seed: Of the initial weights; the seed of `init` where left out.
        per_world: Each world has weights and biases of its own. They begin alike; `set` takes others, worlds
            first.

    Raises:
        ConfigError: A field or a size that is not allowed.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        hidden: tuple[int, ...] = (32,),
        gains: tuple[float, ...] | None = None,
        seed: int | None = None,
        per_world: bool = False,
    ) -> None:
        _check_field("inputs", inputs, State | Scratch)
        _check_field("outputs", outputs, Scratch)
        hidden = plain_number(hidden)
        hidden = tuple(plain_number(n) for n in ((hidden,) if isinstance(hidden, int) else hidden))
        if any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in hidden):
            raise ConfigError(f"MLP hidden must be positive integers, got {hidden!r}; use (32,)")
        self.inputs, self.outputs = inputs, outputs
        self.parts_in, self.parts_out = inputs.type.components, outputs.type.components
        self.sizes = (inputs.shape[0] * self.parts_in, *hidden, outputs.shape[0] * self.parts_out)
        self.layers = len(self.sizes) - 1
        gains = (1.0,) * self.layers if gains is None else tuple(float(g) for g in gains)
        if len(gains) != self.layers or not all(np.isfinite(gains)):
            raise ConfigError(f"MLP gains must be {self.layers} numbers, one per layer, got {gains!r}")
        rng = np.random.default_rng([runtime.seed() if seed is None else seed, zlib.crc32(b"diffsim MLP")])
        weights, biases = [], []
        for k, (n, m) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            initial = rng.normal(size=(n, m)) * gains[k] * np.sqrt(2.0 / (n + m))
            weights.append(Param(initial, per_world=per_world))
            biases.append(Param(np.zeros(m), per_world=per_world))
            setattr(self, f"w{k}", weights[k])
            setattr(self, f"b{k}", biases[k])
        self.weights, self.biases = tuple(weights), tuple(biases)
        self.sums = tuple(Scratch(real, m) for m in self.sizes[1:])
        self.activations = tuple(Scratch(real, m) for m in hidden)

    def __call__(self, t: Any) -> None:
        """Evaluate the network at step `t`."""
        for k in range(self.layers):
            self.start(t, k)
            if k == 0:
                self.read(t)
            else:
                self.accumulate(t, k)
            if k == self.layers - 1:
                self.write(t)
            else:
                self.activate(t, k)

    @ti.kernel
    def start(self, t: ti.i32, k: ti.i32):
        """Start the sums of layer `k` with its biases."""
        for i in range(self.sizes[k + 1]):
            self.sums[k][t, i] = self.biases[k][i]

    @ti.kernel
    def read(self, t: ti.i32):
        """Add the weighted inputs to the sums of the first layer."""
        for j in range(self.inputs.shape[0]):
            for i in range(self.sizes[1]):
                if ti.static(self.inputs.type.shape == ()):
                    self.sums[0][t, i] += self.weights[0][j, i] * self.inputs[t, j]
                else:
                    for c in ti.static(range(self.parts_in)):
                        self.sums[0][t, i] += self.weights[0][j * self.parts_in + c, i] * self.inputs[t, j][c]

    @ti.kernel
    def accumulate(self, t: ti.i32, k: ti.i32):
        """Add the weighted activations of the layer before to the sums of layer `k`."""
        for j in range(self.sizes[k]):
            for i in range(self.sizes[k + 1]):
                self.sums[k][t, i] += self.weights[k][j, i] * self.activations[k - 1][t, j]

    @ti.kernel
    def activate(self, t: ti.i32, k: ti.i32):
        """Apply tanh to the sums of a hidden layer."""
        for i in range(self.sizes[k + 1]):
            self.activations[k][t, i] = ti.tanh(self.sums[k][t, i])

    @ti.kernel
    def write(self, t: ti.i32):
        """Write tanh of the last sums to the outputs."""
        for i in range(self.outputs.shape[0]):
            if ti.static(self.outputs.type.shape == ()):
                self.outputs[t, i] = ti.tanh(self.sums[self.layers - 1][t, i])
            else:
                for c in ti.static(range(self.parts_out)):
                    self.outputs[t, i][c] = ti.tanh(self.sums[self.layers - 1][t, i * self.parts_out + c])


def _check_field(name: str, field: Any, kinds: Any) -> None:
    if not isinstance(field, kinds) or len(field.shape) != 1 or len(field.type.shape) > 1:
        raise ConfigError(
            f"MLP {name} must be a field of one axis of numbers or vectors that lives in a step, got "
            f"{field!r}; copy what the network reads or writes into a ds.Scratch(ds.real, n)"
        )
