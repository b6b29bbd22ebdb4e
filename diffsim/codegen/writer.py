"""Writing whole kernels: the text, and the memory that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from diffsim.autodiff import expanded
from diffsim.codegen.layout import Layout
from diffsim.codegen.motion import hoisted
from diffsim.codegen.printer import Lane, Printer
from diffsim.codegen.stages import tapes_of
from diffsim.ir import Buffer, Const, Stage

__all__ = ["KernelText", "KernelWriter"]


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
    """

    name: str
    source: str
    used: dict[str, tuple[Buffer, int]]
    tapes: dict[Buffer, int] = field(default_factory=dict)
    real: str = "f64"
    program: str = ""
    origins: tuple[str, ...] = ()


class KernelWriter(Printer):
    """A printer of whole kernels."""

    def __init__(self, name: str, arguments: Sequence[str], layout: Layout, real: str) -> None:
        super().__init__(layout, real)
        self.kernel_name = name
        self.program = ""
        self.origins: list[str] = []
        self.tapes: dict[Buffer, int] = {}
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
        )

    @contextmanager
    def inside(self, head: str) -> Iterator[None]:
        """Print a line that opens a block, and indent what is printed while active."""
        self.line(head)
        self.indent += 1
        yield
        self.indent -= 1

    def need_tapes(self, stage: Stage, lanes: int) -> None:
        """Note that the tapes of a stage need so many lanes."""
        for buffer in tapes_of(stage):
            self.tapes[buffer] = max(lanes, self.tapes.get(buffer, 1))

    def comes_from(self, stage: Stage) -> None:
        """Note the kernel behind a stage, for messages."""
        if stage.where is not None:
            self.origins.append(f"{stage.name} ({stage.where})")

    def stage(self, stage: Stage, lane: Lane) -> None:
        """Print a stage with serial loops."""
        self.comes_from(stage)
        self.name(stage.t, lane.t)
        self.need_tapes(stage, self.layout.groups)
        self.block(hoisted(expanded(stage), outermost=True).body, lane)

    def zero(self, buffer: Buffer, leading: Sequence[str]) -> None:
        """Print loops that zero all elements of a buffer at given leading indices."""
        self.elements(
            buffer,
            lambda place: [f"{place(c, leading)} = {self.zero_of(buffer)}" for c in range(buffer.components)],
        )

    def zero_of(self, buffer: Buffer) -> str:
        """Return a literal zero of a buffer's type."""
        return self.constant(Const(0.0, buffer.dtype))

    def elements(
        self, buffer: Buffer, body: Callable[[Callable[[int, Sequence[str]], str]], list[str]]
    ) -> None:
        """Print serial loops over the spatial elements of a buffer around lines made by `body`."""
        depth = self.indent
        indices = []
        for n in buffer.shape:
            index = self.fresh("e")
            self.line(f"for {index} in range({n}):")
            self.indent += 1
            indices.append(index)

        def place(component: int, leading: Sequence[str], of: Buffer = buffer) -> str:
            return self.at(of, component, [*leading, *indices])

        for text in body(place):
            self.line(text)
        self.indent = depth

    def at(self, buffer: Buffer, component: int, indices: Sequence[str]) -> str:
        """Return a place by the texts of all its indices, world first."""
        name = f"{buffer.name}_{component}"
        self.used[name] = (buffer, component)
        ordered = self.layout.order(buffer, tuple(indices))
        return f"{name}[{', '.join(ordered) or 'None'}]"
