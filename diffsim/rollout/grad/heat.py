"""How large the adjoint of each field is: one gradient in mode `step`, looked at kernel by kernel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer, Load, Stage, accesses_in
from diffsim.compiler.picture import Heat
from diffsim.compiler.picture.calls import primals_of
from diffsim.engine.engine import Engine
from diffsim.rollout.watching import KernelWatch, Spot

__all__ = ["AdjointWatch"]

_SAMPLES = 64  # steps that are looked at, about


class AdjointWatch(KernelWatch):
    """Sum up the squared adjoint of what each kernel wrote, just before its own adjoint uses it up.

    Args:
        engine: What runs, in mode `step`.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._primals = primals_of(engine.lowered)
        self._every = max(1, engine.plan.steps // _SAMPLES)
        self._squares: dict[Spot, dict[int, float]] = {}
        self._loads: dict[int, list[Spot]] = {}

    def run(self, launch: Callable[[int, int], None], stage: Stage, phase: str, t: int, s: int) -> None:
        """Launch a kernel, and look at the adjoints that it is going to use."""
        if phase == "step_adj" and t % self._every == 0:
            for spot in self._loads.setdefault(id(stage), self._used(stage)):
                known = self._squares.setdefault(spot, {})
                if t not in known:
                    arrays = self._look(spot, self._moment(phase, t, s))
                    known[t] = float(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays))
        launch(t, s)

    def _used(self, stage: Stage) -> list[Spot]:
        found = dict[Spot, None]()
        for op in accesses_in(stage.body):
            buffer = op.ref.buffer
            if isinstance(op, Load) and buffer in self._primals and buffer.kind in ("state", "scratch"):
                found[buffer, op.ref.time or 0] = None
        return list(found)

    def heat(self, gradients: dict[Buffer, NDArray[np.float64]]) -> Heat:
        """Return the root mean square over the steps, and the length of gradients.

        Args:
            gradients: Of Params and Controls.
        """
        norms: dict[tuple[Buffer, int | None], float] = {}
        for (adjoint, time), squares in self._squares.items():
            buffer = self._primals[adjoint]
            norms[buffer, time] = math.sqrt(sum(squares.values()) / len(squares))
        for state in self._engine.lowered.passing:
            if (state, 1) in norms:
                norms[state, 0] = norms[state, 1]
        for buffer, gradient in gradients.items():
            norms[buffer, None] = float(np.linalg.norm(np.asarray(gradient, dtype=np.float64)))
        zero = frozenset(buffer for buffer, gradient in gradients.items() if not np.any(gradient))
        return Heat(norms, zero)
