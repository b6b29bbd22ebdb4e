"""One kernel alone: its adjoint by us and by Taichi, and central differences of what it computes.

A kernel takes memory `m` to memory `k(m)`, and an adjoint of it takes the adjoint `u` of what memory holds
behind it to `J^T u`, that of what memory held before. For random `u` and a random direction `v`

    <J^T u, v> = <u, (k(m + h v) - k(m - h v)) / 2 h>

up to the error of the difference. Memory is what a step of the rollout finds, with every number moved a
little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.compiler.ir import Buffer, is_float
from diffsim.rollout.audit.bench import Bench, Job, Memory, read, write

__all__ = ["Found", "Trial", "settled"]

_DIRECTIONS = 3
_STEPS = (1e-4, 1e-5, 1e-6, 1e-3, 1e-7)  # relative to the size of the values
_TOLERANCE = 1e-5
_SAME = 1e-8  # of two adjoints that are equal but for rounding
_NOTHING = 1e-6
_MOVED = 0.02  # by how much of its size each number is moved
_POINTS = 3  # to look at before one gives up on a kink


@dataclass
class Found:
    """What one comparison found.

    Attributes:
        ours, taichis: The largest relative error of each adjoint against differences; None where there is
            none.
        apart: How far the two are from each other, relative to the larger.
        values: How far values by Taichi's kernel are from ours.
        replayed: Labels of fields whose values Taichi's adjoint has changed, and whether these are integers.
    """

    ours: float | None = None
    taichis: float | None = None
    apart: float = 0.0
    values: float = 0.0
    replayed: tuple[tuple[str, bool], ...] = ()

    @property
    def ours_right(self) -> bool:
        """Tell whether our adjoint is right, or there is none to look at."""
        return self.ours is None or self.ours <= _TOLERANCE

    @property
    def taichis_right(self) -> bool:
        """Tell whether Taichi's is."""
        return self.taichis is not None and self.taichis <= _TOLERANCE

    @property
    def same(self) -> bool:
        """Tell whether both are one to rounding."""
        return self.apart <= _SAME


class Trial:
    """Compare the adjoints of one kernel.

    Args:
        bench: The memory.
        job: The kernel.
        t: The step.
        seed: Of random numbers.
    """

    def __init__(self, bench: Bench, job: Job, t: int, seed: int) -> None:
        self.bench, self.job, self.t = bench, job, t
        self._rng = np.random.default_rng([seed, job.place, len(job.phase)])
        bench.before(job, t)
        self.buffers = bench.touched(job)
        self._found = read(bench.ours, self.buffers)  # before anything is moved
        # what others keep for this adjoint, some of them later, is kept of places that must not move, then
        self._kept = [b for b in self.buffers if b.hidden and b not in bench.writes(job)]
        if self._kept:
            bench.finish(job, t)
            self._found |= read(bench.ours, self._kept)
        self.draw()

    @property
    def endless(self) -> str:
        """Name memory that is not finite where the kernel begins, which has no differences; else nothing."""
        return next(
            (b.label for b, arrays in self._found.items() if _varies(b) and not all(map(_finite, arrays))), ""
        )

    def draw(self) -> None:
        """Draw another point, adjoints and directions."""
        rng = self._rng

        def noise(of: Memory) -> Memory:
            return {
                b: [rng.normal(size=a.shape) if _varies(b) else np.zeros(a.shape, a.dtype) for a in arrays]
                for b, arrays in of.items()
            }

        sizes = {b: _size(arrays) for b, arrays in self._found.items()}
        largest = max(sizes.values(), default=1.0)  # what has died down to nothing is moved like the rest
        sizes = {b: size if size > _NOTHING * largest else largest for b, size in sizes.items()}
        moves = noise(self._found)
        moved = 0.0 if self._kept else _MOVED
        self.start = {
            b: [a + moved * sizes[b] * d if _varies(b) else a for a, d in zip(arrays, moves[b], strict=True)]
            for b, arrays in self._found.items()
        }
        self.seeds = noise(self._found)
        for buffer, arrays in self.seeds.items():
            if buffer.kind == "cost":
                self.seeds[buffer] = [np.ones_like(a) for a in arrays]
        self.directions = [
            {
                b: [sizes[b] * d if b.adjoint is not None and b.kind != "cost" else 0.0 * d for d in arrays]
                for b, arrays in noise(self._found).items()
            }
            for _ in range(_DIRECTIONS)
        ]

    def values(self, run: Callable[[], None], storage: Any, start: Memory | None = None) -> Memory:
        """Return what memory holds behind a kernel."""
        write(storage, self.start if start is None else start)
        run()
        return read(storage, self.buffers)

    def ours(self) -> tuple[Memory, Memory]:
        """Return the values behind our kernel, and what our adjoint makes of the adjoints there."""
        bench, job = self.bench, self.job
        after = self.values(lambda: bench.launch_ours(job, self.t, False), bench.ours)
        return after, self._back(bench.ours, lambda: bench.launch_ours(job, self.t, True))

    def taichis(self, kernel: Any) -> tuple[Memory, Memory, tuple[tuple[str, bool], ...]]:
        """Return the values behind the user's kernel, what Taichi's adjoint makes, and what that changed."""
        bench, job = self.bench, self.job
        after = self.values(lambda: bench.launch_user(kernel, job, self.t, False), bench.theirs)
        back = self._back(bench.theirs, lambda: bench.launch_user(kernel, job, self.t, True))
        later = read(bench.theirs, self.buffers)
        changed = tuple(
            (b.label, not is_float(b.dtype))
            for b in self.buffers
            if any(not np.array_equal(x, y, equal_nan=True) for x, y in zip(after[b], later[b], strict=True))
        )
        return after, back, changed

    def _back(self, storage: Any, run: Callable[[], None]) -> Memory:
        pairs = {b: b.adjoint for b in self.buffers if b.adjoint is not None}
        write(storage, {adjoint: self.seeds[b] for b, adjoint in pairs.items()})
        run()
        return {b: [np.array(a) for a in storage.arrays(adjoint)] for b, adjoint in pairs.items()}

    def slopes(self, run: Callable[[], None], storage: Any, step: float) -> list[float]:
        """Return the slope along each direction by central differences."""
        found = []
        for direction in self.directions:
            ends = []
            for sign in (1.0, -1.0):
                moved = {
                    b: [
                        a + sign * step * d if _varies(b) else a
                        for a, d in zip(arrays, direction[b], strict=True)
                    ]
                    for b, arrays in self.start.items()
                }
                ends.append(self.values(run, storage, moved))
            slope = 0.0
            for b in self.buffers:
                if _varies(b):
                    for up, down, u, d in zip(
                        ends[0][b], ends[1][b], self.seeds[b], direction[b], strict=True
                    ):
                        slope += float(np.sum(u * ((up - down) / (2.0 * step) - d)))
            found.append(slope)
        return found

    def along(self, back: Memory) -> list[tuple[float, float]]:
        """Return the slope along each direction by an adjoint, and the size of its terms."""
        found = []
        for direction in self.directions:
            terms = [
                np.ravel((g - u) * d)
                for b, arrays in back.items()
                if b.kind != "cost"
                for g, u, d in zip(arrays, self.seeds[b], direction[b], strict=True)
            ]
            every = np.concatenate(terms) if terms else np.zeros(1)
            found.append((float(np.sum(every)), float(np.linalg.norm(every))))
        return found


def settled(trial: Trial, kernel: Any | None) -> Found:
    """Compare until differences settle: at another point where they settle for nobody.

    Args:
        trial: The kernel.
        kernel: The user's, in Taichi's hands; None to look at ours alone.
    """
    for _ in range(_POINTS):
        found = _compared(trial, kernel)
        if found.ours_right or (kernel is not None and found.taichis_right and not found.same):
            break
        trial.draw()
    return found


def _compared(trial: Trial, kernel: Any | None) -> Found:
    bench, job, found = trial.bench, trial.job, Found()
    mine = trial.ours() if job.adjoint is not None else None
    given = trial.taichis(kernel) if kernel is not None else None
    if mine is not None and given is not None:
        found.values = _distance(mine[0], given[0])
        found.apart = _distance(mine[1], given[1])
    if given is not None:
        found.replayed = given[2]
    known = [(name, trial.along(pair[1])) for name, pair in (("ours", mine), ("taichis", given)) if pair]
    errors: dict[str, list[float]] = {name: [np.inf] * len(trial.directions) for name, _ in known}
    if kernel is not None:
        run, storage = (lambda: bench.launch_user(kernel, job, trial.t, False)), bench.theirs
    else:
        run, storage = (lambda: bench.launch_ours(job, trial.t, False)), bench.ours
    for step in _STEPS:
        slopes = trial.slopes(run, storage, step)
        scales = [
            max(size for _, size in sizes) for sizes in zip(*(pairs for _, pairs in known), strict=True)
        ]
        for name, pairs in known:
            for k, ((slope, _), other) in enumerate(zip(pairs, slopes, strict=True)):
                scale = max(abs(slope), abs(other), 0.1 * scales[k], 1e-300)
                error = abs(slope - other) / scale
                errors[name][k] = min(errors[name][k], error if np.isfinite(error) else np.inf)
        if all(max(e) <= 0.1 * _TOLERANCE for e in errors.values()):
            break
    for name, of in errors.items():
        setattr(found, name, max(of))
    return found


def _varies(buffer: Buffer) -> bool:
    return is_float(buffer.dtype) and buffer.kind not in ("constant", "alarm") and not buffer.hidden


def _finite(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all())


def _size(arrays: list[NDArray[Any]]) -> float:
    """Return the root mean square of numbers, 1 where all are zero."""
    if arrays[0].dtype.kind != "f":
        return 0.0
    finite = [a[np.isfinite(a)] for a in arrays]
    squares = sum(float(np.sum(a * a)) for a in finite)
    count = sum(np.count_nonzero(a) for a in finite)
    return float(np.sqrt(squares / count)) if count else 1.0


def _distance(a: Memory, b: Memory) -> float:
    """Return the largest difference of two states of memory, relative to what each buffer holds."""
    worst = 0.0
    for buffer in (buffer for buffer in a.keys() & b.keys() if not buffer.hidden):
        for x, y in zip(a[buffer], b[buffer], strict=True):
            scale = max(float(np.max(np.abs(x), initial=0.0)), float(np.max(np.abs(y), initial=0.0)), 1e-300)
            off = float(np.max(np.abs(np.subtract(x, y, dtype=np.float64)), initial=0.0)) / scale
            worst = max(worst, off if np.isfinite(off) else np.inf)
    return worst
