"""Writing whole kernels: the text, and the memory that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from diffsim.compiler.codegen.forms import ready, serial, worlds_beside
from diffsim.compiler.codegen.layout import Layout
from diffsim.compiler.codegen.printer import Lane, Printer
from diffsim.compiler.codegen.stages import in_loops, tapes_of
from diffsim.compiler.ir import Buffer, Const, Stage

__all__ = ["PER_THREAD", "KernelText", "KernelWriter"]

PER_THREAD = 512  # iterations that Taichi gives to one thread of a CPU at least

_LANES, _LONG = 8, 64  # elements that are moved at once, in rows of so many
_NARROW = 2  # components up to which that is done: of wider ones it takes longer to compile than it wins


@dataclass
class KernelText:
    """The source of a Taichi kernel and the memory that it names.

    Attributes:
        name: The function's name.
        source: Its text.
        used: Names of fields in the text: the buffer and the component of each.
        tapes: Lanes that each tape needs.
        real: The type of its float literals.
        program: The user's class, of a text that holds all of its kernels.
        origins: The user's kernels behind the text, with their places; none where it only moves memory.
        lanes: Worlds that machine code runs in one register.
        worlds: How many worlds there are.
    """

    name: str
    source: str
    used: dict[str, tuple[Buffer, int]]
    tapes: dict[Buffer, int] = field(default_factory=dict)
    real: str = "f64"
    program: str = ""
    origins: tuple[str, ...] = ()
    lanes: int = 1
    worlds: int = 1

    @property
    def arguments(self) -> int:
        """Count the integers that the function takes."""
        return self.source.split("\n", 1)[0].count("ti.i32")


class KernelWriter(Printer):
    """A printer of whole kernels.

    Args:
        name: The function's name.
        arguments: Their names; all are integers.
        layout: The axes of the buffers.
        real: The type of float literals.
        native: It is for machine code: loops say where their iterations are independent, and functions stay
            calls. For Taichi's compiler, which knows little of both, several iterations are printed at once,
            and functions as arithmetic.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], layout: Layout, real: str, native: bool = False
    ) -> None:
        super().__init__(layout, real)
        self.native = native
        self.kernel_name = name
        self.program = ""
        self.lanes = 1
        self.origins: list[str] = []
        self.tapes: dict[Buffer, int] = {}
        self.parts: dict[Buffer, Buffer] = {}  # where lanes of a GPU add to costs
        self.lines.append(f"def {name}({', '.join(f'{a}: ti.i32' for a in arguments)}):")

    def finish(self) -> KernelText:
        """Return what was printed."""
        text = "\n".join(self.lines) + "\n"
        return KernelText(
            self.kernel_name,
            text,
            dict(self.used),
            dict(self.tapes),
            self.real,
            self.program,
            tuple(dict.fromkeys(self.origins)),
            self.lanes,
            self.layout.worlds,
        )

    @contextmanager
    def inside(self, head: str) -> Iterator[None]:
        """Print a line that opens a block, and indent what is printed while active."""
        self.line(head)
        self.indent += 1
        yield
        self.indent -= 1

    @contextmanager
    def spread(self, name: str, count: int) -> Iterator[None]:
        """Print a loop whose iterations each count as enough work for a thread of a CPU of its own."""
        items, first = f"for item in range({PER_THREAD * count}):", f"if item % {PER_THREAD} == 0:"
        with self.inside(items), self.inside(first):
            self.line(f"{name} = item // {PER_THREAD}")
            yield

    def need_tapes(self, stage: Stage, lanes: int) -> None:
        """Note that the tapes of a stage need so many lanes."""
        for buffer in tapes_of(stage):
            self.tapes[buffer] = max(lanes, self.tapes.get(buffer, 1))

    def comes_from(self, stage: Stage) -> None:
        """Note the kernel behind a stage, for messages."""
        if stage.where is not None:
            self.origins.append(f"{stage.name} ({stage.where})")

    def ready(self, stage: Stage) -> Stage:
        """Return a stage without calls and, where the text's compiler lacks them, without slow functions."""
        return ready(stage, self.layout, self.native)

    def stage(self, stage: Stage, lane: Lane) -> None:
        """Print a stage with serial loops."""
        self.comes_from(stage)
        self.name(stage.t, lane.t)
        self.need_tapes(stage, self.layout.groups * self.layout.block)
        made = serial(stage, self.layout, self.native, lane.once)
        self.block(made.body, lane)

    def stages(self, stages: Sequence[Stage], lane: Lane) -> None:
        """Print stages in order, with serial loops, and the loops that they are in."""
        for loop, positions in in_loops(stages):
            members = [stages[k] for k in positions]
            head = "" if loop is None else f"for {self.fresh('k')} in range({loop.count}):"
            with self.inside(head) if head else nullcontext():
                for stage in members:
                    with self.unless_done(stage, lane):
                        self.stage(stage, lane)

    @contextmanager
    def unless_done(self, stage: Stage, lane: Lane) -> Iterator[None]:
        """Print that what is printed while active is skipped where the loop of a stage is over."""
        flag = None if stage.loop is None else stage.loop.until
        if flag is None:
            yield
            return
        with self.inside(f"if {self.at(flag, 0, [lane.world])} == 0:"):
            yield
            self.line("pass")

    @property
    def _worlds_beside(self) -> bool:
        """Tell whether neighbours in memory are worlds, not elements."""
        return worlds_beside(self.layout)

    def zero(self, buffer: Buffer, leading: Sequence[str]) -> None:
        """Print loops that zero all elements of a buffer at given leading indices."""
        zero, depth = self.zero_of(buffer), self.indent
        every = list(range(buffer.components))
        beside = buffer.arrangement is not None and buffer.arrangement.beside > 1
        # one loop each where components lie apart: the compiler makes a call of memset of it
        for components in [every] if beside else [[c] for c in every]:
            indices = [self.fresh("e") for _ in buffer.shape]
            for axis in buffer.nesting:
                self.line(f"for {indices[axis]} in range({buffer.shape[axis]}):")
                self.indent += 1
            for c in components:
                self.line(f"{self.at(buffer, c, [*leading, *indices])} = {zero}")
            self.indent = depth

    def copy(
        self, source: Buffer, source_at: Sequence[str], target: Buffer, target_at: Sequence[str]
    ) -> None:
        """Print loops that copy all elements to a buffer of the same shape, at given leading indices."""
        self._elements(
            source,
            lambda c, at: (
                self.at(target, c, [*target_at, *at]),
                self.at(source, c, [*source_at, *at]),
            ),
        )

    def zero_of(self, buffer: Buffer) -> str:
        """Return a literal zero of a buffer's type."""
        return self.constant(Const(0.0, buffer.dtype))

    def _elements(self, buffer: Buffer, move: Callable[[int, Sequence[str]], tuple[str, str]]) -> None:
        """Print serial loops over the spatial elements of a buffer that store what `move` says, and where.

        Long rows go eight elements at a time, all read before any is stored, so that they are vectorised; see
        `lanes`.
        """
        depth, components = self.indent, range(buffer.components)
        indices = [self.fresh("e") for _ in buffer.shape]
        *rows, last = buffer.nesting or (0,)
        length = buffer.shape[last] if buffer.shape else 1
        for axis in rows:
            self.line(f"for {indices[axis]} in range({buffer.shape[axis]}):")
            self.indent += 1

        def along(text: str) -> list[str]:
            return [text if axis == last else name for axis, name in enumerate(indices)]

        inside, groups = self.indent, 0
        if length >= _LONG and buffer.components <= _NARROW and not self._worlds_beside and not self.native:
            groups = length // _LANES
            first = self.fresh("e")
            self.line(f"for {first} in range({groups}):")
            self.indent += 1
            places = [along(f"{first} * {_LANES} + {k}") for k in range(_LANES)]
            moves = [move(c, at) for c in components for at in places]
            names = [self.fresh() for _ in moves]
            for name, (_, value) in zip(names, moves, strict=True):
                self.line(f"{name} = {value}")
            for name, (target, _) in zip(names, moves, strict=True):
                self.line(f"{target} = {name}")
            self.indent = inside
        if groups * _LANES < length:
            if buffer.shape:
                self.line(f"for {indices[last]} in range({groups * _LANES}, {length}):")
                self.indent += 1
            for target, value in (move(c, indices) for c in components):
                self.line(f"{target} = {value}")
        self.indent = depth

    def at(self, buffer: Buffer, component: int, indices: Sequence[str]) -> str:
        """Return a place by the texts of all its indices, world first."""
        name = f"{buffer.name}_{component}"
        self.used[name] = (buffer, component)
        ordered = self.layout.order(buffer, tuple(indices))
        return f"{name}[{', '.join(ordered) or 'None'}]"
