"""How long kernels take to compile, told from the forms that stages take before they are printed.

What a text says decides, not what the user wrote: a loop that is done in lanes is eight times as long, one
that is split in two is compiled twice. Taichi's compiler looks at all pairs of a kernel's accesses to memory;
LLVM's passes go over each loop many times, and over what several loops share.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from diffsim.compiler.codegen.forms import ready, serial, worlds_beside
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.motion import hoisted
from diffsim.compiler.codegen.stepwise import PHASES, Threads, worth_sharing
from diffsim.compiler.ir import Accumulate, For, If, Let, Load, Stage, Store, walk
from diffsim.plan.fingerprint import fingerprint

__all__ = ["Compiling", "Size"]

_FUNCTIONS = frozenset("sin cos tan asin acos atan2 exp log tanh pow".split())


@dataclass(frozen=True)
class Size:
    """How long a text is.

    Attributes:
        operations: All of them.
        accesses: Those that read or write memory; those that add to it count twice.
        loops: How many.
        branches: How many.
        functions: Those of the operations that LLVM gets as arithmetic: `sin`, `exp`, `tanh`, ...
    """

    operations: int = 0
    accesses: int = 0
    loops: int = 0
    branches: int = 0
    functions: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))

    def times(self, count: int) -> Size:
        """Return the size of so many of it."""
        return Size(*(count * n for n in dataclasses.astuple(self)))


@dataclass(frozen=True)
class _Rates:
    """Seconds of a compiler, least-squares fits to what `python -m benchmarks estimates` measures.

    Attributes:
        kernel: Of each kernel.
        operation: Of each operation.
        access: Of each access to memory.
        loop: Of each loop.
        loops: Of each pair of loops in one kernel.
        function: Of each function that becomes arithmetic.
        pair: Of each pair of accesses, loops and branches in one kernel.
        moves: Of the kernels that move States and gradients, in every mode.
    """

    kernel: float
    operation: float = 0.0
    access: float = 0.0
    loop: float = 0.0
    loops: float = 0.0
    function: float = 0.0
    pair: float = 0.0
    moves: float = 0.0

    def seconds(self, size: Size) -> float:
        """Return what one kernel takes."""
        places = size.accesses + size.loops + size.branches
        return (
            self.kernel
            + self.operation * size.operations
            + self.access * size.accesses
            + self.loop * size.loops
            + self.loops * size.loops**2
            + self.function * size.functions
            + self.pair * places**2
        )


_TAICHI = _Rates(0.0715, operation=0.1e-3, access=1.76e-3, pair=2.95e-5, moves=0.29)
# by a Vulkan driver that computes on the CPU, which unrolls loops in loops: minutes for mode `fused`
_SOFTWARE = _Rates(0.2, operation=0.3e-3, access=5e-3, loops=0.05, moves=0.9)
_LLVM = _Rates(8e-3, operation=0.18e-3, loop=4.2e-3, loops=4.5e-5, function=0.8e-3, moves=0.04)
# the same with several worlds in a register, where branches are masks and functions are written out
_TOGETHER = _Rates(0.12, operation=0.32e-3, loop=6.7e-3, loops=1.5e-4, function=7.5e-3, moves=0.04)
_BRIEF = _Rates(2.5e-3, operation=0.06e-3, moves=0.02)  # as fast as LLVM can


class Compiling:
    """The texts of a program's modes.

    Args:
        groups: The stages of each phase, in groups that are one kernel of mode `step`.
        layout: The sizes of everything in memory.
        threads: Those that share loops.
        software: It is a GPU's driver that compiles for the CPU.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[Sequence[Stage]]],
        layout: Layout,
        threads: Threads,
        software: bool = False,
    ) -> None:
        self._groups, self._layout, self._threads = groups, layout, threads
        self._rates = _SOFTWARE if software else _LLVM if threads.native else _TAICHI

    def seconds(self, mode: str, chunk: int = 0, left_over: bool = False) -> float:
        """Return the seconds that a mode takes to compile, forward and backward.

        Args:
            mode: `step`, `chunk` or `fused`.
            chunk: Steps of one launch of mode `chunk`.
            left_over: Windows leave steps over, which are launched one by one.
        """
        if mode == "fused":
            together = self._threads.native and worlds_beside(self._layout)
            return _sum(_TOGETHER if together else self._rates, self._fused)
        if mode == "step":
            return _sum(self._rates, self._step)
        if self._rates is _SOFTWARE:  # each loop that is shared is a program of its own, as in mode `step`
            return _sum(self._rates, self._step) * (chunk + left_over)
        lengths = [chunk, *([1] if left_over else [])]
        texts = [s for phase in PHASES if not phase.startswith("step") for s in self._kernels[phase]]
        texts += [self._whole[phase].times(n) for phase in ("step", "step_adj") for n in lengths]
        return _sum(self._rates, texts)

    @property
    def check_seconds(self) -> float:
        """The seconds to compile mode `step` for the few steps that other modes are compared with."""
        return _sum(_BRIEF, self._step) if self._threads.native else self.seconds("step")

    @property
    def longest(self) -> tuple[str, int]:
        """The stage that takes longest to compile, and its operations."""
        found = [
            (self._rates.seconds(size), part.name, size.operations)
            for phase in PHASES
            for group, sizes in zip(self._groups[phase], self._parallel[phase], strict=True)
            for part, size in zip(group, sizes, strict=True)
        ]
        _, name, operations = max(found, default=(0.0, "", 0))
        return name, operations

    @functools.cached_property
    def _parallel(self) -> dict[str, list[list[Size]]]:
        """The sizes of all stages as modes `step` and `chunk` print them."""
        return {phase: [[self._shared(s) for s in g] for g in found] for phase, found in self._groups.items()}

    @functools.cached_property
    def _kernels(self) -> dict[str, list[Size]]:
        """The sizes of the kernels of mode `step`; those that do the same are one."""
        found: dict[str, list[Size]] = {}
        for phase, groups in self._groups.items():
            distinct = _distinct(groups)
            found[phase] = [
                sum(sizes, Size()) for k, sizes in enumerate(self._parallel[phase]) if k in distinct
            ]
        return found

    @property
    def _step(self) -> list[Size]:
        again = () if self._layout.held else ("step",)  # before adjoints, without its cost
        return [size for phase in (*PHASES, *again) for size in self._kernels[phase]]

    @functools.cached_property
    def _whole(self) -> dict[str, Size]:
        """The sizes of a whole step and of its adjoint, all rounds of all loops written out."""
        found = {}
        for phase in ("step", "step_adj"):
            pairs = zip(self._groups[phase], self._parallel[phase], strict=True)
            every = [(s, size) for group, sizes in pairs for s, size in zip(group, sizes, strict=True)]
            rounds = (size.times(1 if s.loop is None else s.loop.count) for s, size in every)
            found[phase] = sum(rounds, Size())
        return found

    @functools.cached_property
    def _fused(self) -> list[Size]:
        """The sizes of the kernels that run forward and backward."""
        layout = self._layout
        back = PHASES[3:] if layout.held else (*PHASES[3:], "step")  # which is run again, before its adjoint
        halves = [sum(self._serial(phases), Size()) for phases in (PHASES[:3], back)]
        together = self._threads.on_cpu and layout.worlds > layout.groups
        return [halves[0] + halves[1]] if together else halves

    def _serial(self, phases: Iterable[str]) -> Iterator[Size]:
        native, layout = self._threads.native, self._layout
        for phase in phases:
            for group in self._groups[phase]:
                for part in group:
                    yield _size(serial(part, layout, native, once=phase.startswith("begin")))

    def _shared(self, stage: Stage) -> Size:
        """Measure a stage as modes `step` and `chunk` print it."""
        plain = ready(stage, self._layout, self._threads.native)
        spread = hoisted(plain, outermost=False)
        threads = self._threads
        if not threads.on_cpu or worth_sharing(spread.body, self._layout.worlds, threads):
            return _size(spread)
        return _size(hoisted(plain, outermost=True))


def _distinct(groups: Sequence[Sequence[Stage]]) -> set[int]:
    """Return the positions of groups that are not the same as one before."""
    names = [tuple(part.name for part in group) for group in groups]
    seen: set[tuple[object, ...]] = set()
    found = set()
    for k, (group, name) in enumerate(zip(groups, names, strict=True)):
        key = (*name, *map(fingerprint, group)) if names.count(name) > 1 else name
        if key not in seen:
            seen.add(key)
            found.add(k)
    return found


def _sum(rates: _Rates, texts: Iterable[Size]) -> float:
    return rates.moves + sum(rates.seconds(size) for size in texts)


def _size(stage: Stage) -> Size:
    every = list(walk(stage.body))
    return Size(
        len(every),
        sum(2 if isinstance(op, Accumulate) else isinstance(op, Load | Store) for op in every),
        sum(isinstance(op, For) for op in every),
        sum(isinstance(op, If) for op in every),
        sum(isinstance(op, Let) and op.fn in _FUNCTIONS for op in every),
    )
