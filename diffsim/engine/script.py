"""A rollout written down: its kernels, the order in which they are launched, and a map of its memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from diffsim import _llvm
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.stages import StageSet
from diffsim.compiler.codegen.writer import KernelText
from diffsim.compiler.ir import Buffer
from diffsim.compiler.native.driver import Call, Member, driver
from diffsim.compiler.native.translate import translate
from diffsim.compiler.native.values import SIZE
from diffsim.engine.arena import LINE, Spec
from diffsim.engine.checkpoints import Segments, run_backward, run_forward
from diffsim.engine.executors import Fused
from diffsim.engine.launch import Launcher
from diffsim.engine.native import Unsupported, places_of
from diffsim.engine.storage import Storage
from diffsim.engine.tiers import DeviceTier
from diffsim.plan import Plan

__all__ = ["Script", "written"]

_LEVEL = 2


class _Noting(Launcher):
    """Note launches instead of making them."""

    def __init__(self, text: KernelText, storage: Storage, script: Script) -> None:
        super().__init__(text, storage)
        self._script = script

    def __call__(self, *args: int) -> None:
        self._script.note(self.text, args)


class Script:
    """What a rollout does, as lists of launches, and where its memory is in one block.

    Args:
        layout: The sizes of everything in memory.
    """

    def __init__(self, layout: Layout) -> None:
        # tells sizes; no memory is taken. Who uses it finds arrays in the order of C, whatever the layouts
        self.storage = Storage(layout, on_cpu=True, native=True, plain=True)
        self._kernels: dict[int, tuple[int, KernelText]] = {}
        self._calls: dict[str, list[Call | None]] = {}
        self._places: dict[Spec, int] = {}
        self._size = 0

    def begin(self, name: str) -> None:
        """Write down what follows under a name."""
        self._calls[name] = []

    def note(self, text: KernelText, args: tuple[int, ...]) -> None:
        """Write a launch down."""
        number, _ = self._kernels.setdefault(id(text), (len(self._kernels), text))
        self._calls[next(reversed(self._calls))].append(Call(number, args))

    def turn(self) -> None:
        """Write down that the cost is complete."""
        self._calls[next(reversed(self._calls))].append(None)

    def place(self, buffer: Buffer, component: int = 0) -> int:
        """Return where a component of a buffer begins in the block [bytes]."""
        self.storage.allocate([buffer])
        return self._place(self.storage.spec(buffer), component)

    def _place(self, spec: Spec, component: int) -> int:
        length = LINE * spec.lines
        if spec not in self._places:
            self._places[spec] = self._size
            self._size += length * spec.components
        return self._places[spec] + component * length

    def compile(self, name: str, first: Mapping[int, bytes], cost: Buffer, portable: bool) -> bytes:
        """Return an object file with the functions of `driver`.

        Args:
            name: What their names begin with.
            first: What inputs hold, by place.
            cost: Where the cost is.
            portable: For every processor of this kind, not for this one alone.

        Raises:
            Unsupported: A kernel has something that is not translated, or reads a Taichi field of the user's.
        """
        members, modules = [], []
        for number, text in self._kernels.values():
            self.storage.allocate(text.tapes, text.tapes)
            self.storage.allocate(buffer for buffer, _ in text.used.values())
            found = places_of(text, self.storage.spec)
            offsets = []
            for part, (_, where) in found.items():
                if isinstance(where, int):
                    called = text.used[part.partition(".")[0]][0].label
                    raise Unsupported(f"{called}, a Taichi field made by hand; make it a ds.Constant")
                offsets.append(self._place(*where))
            symbol = f"{name}_kernel{number}"
            places = {part: place for part, (place, _) in found.items()}
            modules.append(translate(text.source, text.real, places, symbol, triple=_llvm.triple()))
            members.append(Member(symbol, text.arguments, tuple(offsets)))
        modules.insert(
            0, driver(name, members, self._calls, self._size, first, (self.place(cost), SIZE[cost.dtype]))
        )
        return _llvm.compile_object(modules, _LEVEL, portable)


def written(stages: StageSet, plan: Plan, real: str, gradients: bool) -> Script:
    """Write down what a rollout launches for its value and, if asked, for its gradient.

    Whole segments are one launch each (mode `fused`), so that the list depends on nothing that is computed.

    Args:
        stages: A program and its adjoints.
        plan: Its windows and checkpoints, which must all be in fields.
        real: The type of float literals.
        gradients: Write down the gradient too.
    """
    script = Script(plan.layout)
    executor = Fused(
        stages, plan.layout, real, script.storage, functools.partial(_Noting, script=script), host=False
    )
    segments = Segments(plan.steps, plan.window)
    script.begin("value")
    run_forward(executor, segments)
    script.turn()
    if gradients:
        script.begin("gradient")
        tier = DeviceTier(executor)
        run_backward(executor, segments, plan.schedule, lambda name: tier, script.turn)
    return script
