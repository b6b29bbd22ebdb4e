"""A picture through waves that a small neural network looks at."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from collections.abc import Sequence
from typing import Any

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike, NDArray

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.water_renderer.simulator import WaterRenderer, WaterRendererConfig

__all__ = ["CELLS", "SHARPNESS", "WaterClassifier", "digit_floor"]

CELLS = 8  # cells along each axis that the network sees
SHARPNESS = 8.0  # scores are between minus this and this
_PAPER, _INK = (0.86, 0.84, 0.76), (0.07, 0.16, 0.33)  # colours of the floor


def digit_floor(digit: ArrayLike, n: int) -> NDArray[np.float64]:
    """Lay a digit as a mosaic of square stones.

    Args:
        digit: how much ink there is in each stone, 0 .. 1, shape (8, 8): rows from the top, as images have.
        n: pixels along each axis, a multiple of 8.

    Returns:
        Colours (red, green, blue), shape (n, n, 3), first axis x, second y upward.

    Raises:
        ConfigError: `n` or the shape is another.
    """
    ink = np.asarray(digit, dtype=np.float64)
    if ink.shape != (CELLS, CELLS) or n % CELLS:
        raise ConfigError(
            f"digit_floor must get {CELLS} x {CELLS} stones and a multiple of {CELLS} pixels, got stones of "
            f"shape {ink.shape} and {n} pixels; choose another n"
        )
    along = np.kron(ink[::-1].T, np.ones((n // CELLS, n // CELLS)))[..., None]
    return np.array(_PAPER) + along * (np.array(_INK) - np.array(_PAPER))


class WaterClassifier(WaterRenderer):
    """A digit on a pool's floor, seen through waves by a network that tells digits apart.

    The network looks at the mean brightness of 8 x 8 cells of the picture at the last step, turned into ink
    (0 for paper, 1 for ink, as still water shows them). Its output is `SHARPNESS` times the tanh of the last
    layer: scores z, from which softmax makes probabilities p. The cost is::

        -log(1 - p[label]) + calm mean(height^2)

    Minimised over the first height, it makes the gentlest wave through which the digit looks like another.

    Args:
        config: the constants; `n` must be a multiple of 8.
        digit: ink of the mosaic on the floor, 0 .. 1, shape (8, 8), rows from the top.
        label: the class that it belongs to.
        weights: of the network, `(w0, b0, w1, b1)` of shapes (64, hidden), (hidden,), (hidden, classes),
            (classes,); cells are numbered row by row from the top.
        height: control points of the first height [mm], shape (controls, controls).
        calm: what height costs [1/mm^2].
        filmed: whether to write the picture before every step.

    Attributes:
        network: a `ds.control.MLP`; its weights are Params, but not meant to be optimised here.
        scores: tanh of the last layer, `Scratch(real, classes)`; written after the last step only.

    Raises:
        ConfigError: shapes that do not fit, or a label that is not a class.

    Differentiability: smooth but for the floor (see `WaterRenderer`).
    """

    def __init__(
        self,
        config: WaterRendererConfig,
        digit: ArrayLike,
        label: int,
        weights: Sequence[ArrayLike],
        height: ArrayLike | None = None,
        calm: float = 0.02,
        filmed: bool = False,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        super().__init__(config, height, floor=digit_floor(digit, config.n), filmed=filmed)
        w0, b0, w1, b1 = (np.asarray(w, dtype=np.float64) for w in weights)
        classes = len(b1)
        if not 0 <= label < classes:
            raise ConfigError(f"label must be a class from 0 to {classes - 1}, got {label}; see the weights")
        self.label, self.classes, self.calm = int(label), classes, float(calm)
        self.cells = ds.Scratch(ds.real, CELLS * CELLS)
        self.scores = ds.Scratch(ds.real, classes)
        self.network = ds.control.MLP(inputs=self.cells, outputs=self.scores, hidden=(len(b0),))
        for name, values in zip(("w0", "b0", "w1", "b1"), (w0, b0, w1, b1), strict=True):
            getattr(self.network, name).set(values)
        paper, ink = (float(self.still(colour).mean()) for colour in (_PAPER, _INK))
        self.side, self.sharpness, self.controls = config.n // CELLS, SHARPNESS, config.controls
        self.paper = paper
        self.per_pixel = 1.0 / (3.0 * (ink - paper) * self.side**2)
        self.per_control = self.calm / config.controls**2

    @ti.kernel
    def look(self, t: ti.i32):
        """Average the ink in each cell; rows are counted from the top."""
        for row, column in ti.ndrange(CELLS, CELLS):
            for a, b in ti.ndrange(self.side, self.side):
                at = ti.Vector([column * self.side + a, (CELLS - 1 - row) * self.side + b])
                colour = self.seen(t, at)
                ink = self.per_pixel * (colour[0] + colour[1] + colour[2] - 3.0 * self.paper)
                self.cells[t, row * CELLS + column] += ink

    @ti.kernel
    def be_fooled(self, t: ti.i32):
        """Add -log(1 - p[label]) = log(1 + exp(z[label] - log sum of the others' exp(z)))."""
        for _ in range(1):
            others = 0.0  # scores are bounded, so no exponential overflows
            for k in ti.static(range(self.classes)):
                if ti.static(k != self.label):
                    others += ti.exp(self.sharpness * self.scores[t, k])
            self.cost[None] += ti.log(1.0 + ti.exp(self.sharpness * self.scores[t, self.label]) / others)

    @ti.kernel
    def be_calm(self):
        """Add what height costs."""
        for i, j in ti.ndrange(self.controls, self.controls):
            self.cost[None] += self.per_control * self.height[i, j] ** 2

    def terminal_cost(self, t: Any) -> None:
        """Look, classify, compare."""
        self.look(t)
        self.network(t)
        self.be_fooled(t)
        self.be_calm()

    def ink_of(self, pictures: ArrayLike) -> NDArray[np.float64]:
        """Return the ink that the network sees in pictures, rows from the top.

        Args:
            pictures: Shape (..., n, n, 3), first axis x.

        Returns:
            Shape (..., 8, 8): 0 for paper and 1 for ink in still water.
        """
        colours = np.asarray(pictures, dtype=np.float64)
        cells = colours.reshape(*colours.shape[:-3], CELLS, self.side, CELLS, self.side, 3)
        brightness = cells.mean(axis=(-4, -2, -1))  # column, row from below
        ink = (brightness - self.paper) * (self.per_pixel * 3.0 * self.side**2)
        return np.swapaxes(ink, -1, -2)[..., ::-1, :]
