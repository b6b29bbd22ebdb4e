"""Kernels as machine code: translated, compiled, kept on disk, and bound to memory."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from diffsim import _llvm, _taichi, runtime
from diffsim.compiler import buffer as memory
from diffsim.compiler import builder, ir, tanh
from diffsim.compiler import native as translation
from diffsim.compiler.codegen import writer
from diffsim.compiler.codegen.writer import KernelText
from diffsim.compiler.ir import Buffer
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.tasks import candidates
from diffsim.compiler.native.translate import Unsupported, translate
from diffsim.compiler.native.values import SIZE
from diffsim.engine.arena import Compiled, Spec
from diffsim.engine.blocks import BlockArena
from diffsim.engine.objects import ObjectCache
from diffsim.engine.team import can_share, the_team
from diffsim.language import arrangement, philox

__all__ = [
    "Library",
    "Unsupported",
    "bind",
    "level_of",
    "outside",
    "places_of",
    "the_library",
]

# what the translation takes from elsewhere
_OUTSIDE = (_llvm, arrangement, builder, ir, memory, philox, tanh, writer)
_SYMBOL = "kernel"
_OFTEN, _SELDOM, _BRIEFLY = 2, 1, 0  # levels of optimisation
_MOST = 4096  # functions in memory

Function = Callable[..., None]
Where = tuple[Spec, int] | int  # a component of a buffer, or an address


class Library:
    """The machine code of this process by the text that it was made from.

    A function gets the addresses of its memory with each call: kernels with equal texts and shapes share it,
    of whichever rollout they are.

    Args:
        cache: Where objects are kept; None for the user's cache folder.
    """

    def __init__(self, cache: ObjectCache | None = None) -> None:
        self._cache = ObjectCache() if cache is None else cache
        self._functions: OrderedDict[str, Function] = OrderedDict()
        self._turn = threading.RLock()
        self.compiled = self.loaded = 0

    def function(
        self, text: KernelText, places: dict[str, Place], shared: bool = False, brief: bool = False
    ) -> Function:
        """Return a function for a text: its arguments, and the table of its places' addresses.

        Args:
            text: What is printed.
            places: The arrays that it names, in the order of the table.
            shared: Threads share its loops: behind the places comes the address of their team.
            brief: It will run a few times only, and need not be fast.

        Raises:
            Unsupported: The text has something that is not translated.
        """
        level = level_of(text, brief)
        key = _key(text, places, level, shared)
        with self._turn:
            if key not in self._functions:
                self._functions[key] = self._made(key, text, places, level, shared)
            self._functions.move_to_end(key)
            while len(self._functions) > _MOST:
                self._functions.popitem(last=False)
            return self._functions[key]

    def _made(
        self, key: str, text: KernelText, places: dict[str, Place], level: int, shared: bool
    ) -> Function:
        def compiled() -> bytes:
            self.compiled += 1
            module = translate(
                text.source, text.real, places, _SYMBOL, shared, text.lanes, text.worlds, _llvm.triple()
            )
            return _llvm.compile_object(module, level)

        before = self.compiled
        code = _llvm.load(self._cache.found_or_made(key, compiled, runtime.info().cache), _SYMBOL)
        self.loaded += self.compiled == before
        kinds = [ctypes.c_int] * text.arguments
        function = ctypes.CFUNCTYPE(None, *kinds, ctypes.c_void_p)(code.address)
        function.owner = code  # type: ignore[attr-defined]  # in memory as long as somebody may call it
        return function


def bind(
    text: KernelText, spec: Callable[[Buffer], Spec], arena: BlockArena, brief: bool = False
) -> Compiled:
    """Return the machine code of a text, bound to memory.

    Args:
        text: What is printed.
        spec: Tells what a buffer is in memory.
        arena: The memory.
        brief: It will run a few times only, and need not be fast.

    Raises:
        Unsupported: The text has something that is not translated.
    """
    start = time.perf_counter()
    found = places_of(text, spec)
    team = the_team() if not brief and can_share() and candidates(text.source) else None
    places = {name: place for name, (place, _) in found.items()}
    function = the_library().function(text, places, team is not None, brief)
    where = [where for _, where in found.values()]
    table = arena.table(where if team is None else [*where, team.address])
    theirs = tuple(b.source for b, _ in text.used.values() if b.kind == "external")

    def launch(*args: int) -> None:
        if team is not None and team.asleep:
            team.start()
        function(*args, table)

    return Compiled(launch, time.perf_counter() - start, fields=theirs)


def places_of(text: KernelText, spec: Callable[[Buffer], Spec]) -> dict[str, tuple[Place, Where]]:
    """Return what a text names: each array, with where it is in memory.

    Args:
        text: What is printed.
        spec: Tells what a buffer is in memory.

    Raises:
        Unsupported: It names a Taichi field of the user's whose elements are not in rows.
    """
    found: dict[str, tuple[Place, Where]] = {}
    for name, (buffer, component) in text.used.items():
        if buffer.kind == "external":
            found.update(outside(name, buffer))
        else:
            made = spec(buffer)
            found[name] = made.place, (made, component)
    return found


def level_of(text: KernelText, brief: bool = False) -> int:
    """Return how far a text is optimised; one that runs for a moment only is not."""
    return _BRIEFLY if brief else _OFTEN if text.origins else _SELDOM


def outside(name: str, buffer: Buffer) -> dict[str, tuple[Place, int]]:
    """Return the components of a Taichi field of the user's, with their addresses.

    Raises:
        Unsupported: Its elements are not in rows.
    """
    if _taichi.on_spirv():
        raise Unsupported(f"{buffer.label}, a Taichi field made by hand; make it a ds.Constant")
    facts = _taichi.field_facts(buffer.source)
    rows = None if facts is None or facts.scattered else _taichi.field_rows(buffer.source)
    if rows is None:
        raise Unsupported(f"{buffer.label}, whose elements are not in rows")
    size = SIZE[buffer.dtype]
    rows_of, columns = getattr(buffer.source, "n", 1), getattr(buffer.source, "m", 1)
    names = [name]
    if buffer.components > 1 and buffer.source.ndim == 1:
        names = [f"{name}.{i}" for i in range(rows_of)]
    elif buffer.components > 1:
        names = [f"{name}.{i}.{j}" for i in range(rows_of) for j in range(columns)]
    return {
        part: (Place(buffer.dtype, tuple(s // size for s in strides), 1, shared=True), address)
        for part, (address, strides) in zip(names, rows, strict=True)
    }


def _key(text: KernelText, places: dict[str, Place], level: int, shared: bool) -> str:
    """Return a fingerprint of all that decides what a text compiles to; names of kernels do not."""
    body = text.source.partition("(")[2]
    how = text.lanes, text.worlds, level, shared
    parts = (body, text.real, list(places.items()), how, _translator(), _llvm.fingerprint())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


@functools.cache
def _translator() -> str:
    """Return a fingerprint of the translation itself."""
    found = hashlib.sha256()
    for path in _translator_files():
        found.update(path.read_bytes())
    return found.hexdigest()


def _translator_files() -> list[Path]:
    """Return the modules that decide what machine code a text becomes."""
    folder = Path(translation.__file__).parent
    outside = [Path(module.__file__) for module in _OUTSIDE if module.__file__]
    return [*sorted(folder.rglob("*.py")), *outside]


@functools.cache
def the_library() -> Library:
    """Return the machine code of this process."""
    return Library()
