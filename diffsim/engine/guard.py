"""Crash containment: new kernel texts are compiled and run in another process before they are in this one.

A compiler can die or hang on a kernel, and a kernel can reach outside its memory; both end the process that
they happen in. With `diffsim.init(guard=True)` that is a child process, and an error here. A text that
passed, and ran here without harm, is remembered on disk: it is not tried again.

The child compiles the text with the same compiler and options and runs it once, with the same arguments on
memory of the same shapes and, up to a limit, the same data. Not contained are a text that is well once and
reaches outside its memory later, with other data; a program whose memory is too large to have twice; and what
dies without a kernel of the user's, such as Taichi's own copies of fields.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import hashlib
import os
import platform
import sys
import tempfile
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from diffsim import _llvm, _taichi, runtime
from diffsim.compiler.codegen.writer import KernelText
from diffsim.compiler.ir import Buffer
from diffsim.engine.child import Child, ChildDied
from diffsim.engine.native import Unsupported, level_of, outside
from diffsim.engine.passed import PassedTexts
from diffsim.engine.storage import Storage
from diffsim.errors import GradientError
from diffsim.files import cache_folder, write_atomically

__all__ = ["Guard", "Trial", "the_guard"]

_FORMAT = 2  # of keys; another number forgets all texts
_SHARE = 0.25  # of the machine's memory: programs above it are not tried, the child needs as much again
_SHIPPED = 32 << 20  # bytes of data, the smallest fields first: index tables are small, histories are large


@dataclass(frozen=True)
class Trial:
    """A text to be tried before it runs here.

    Attributes:
        key: Of the text, its fields and the options; empty where nothing is tried.
        error: What Python raised instead of compiling it in the child, if anything.
        known: It passed before.
    """

    key: str = ""
    error: str = ""
    known: bool = False


class Guard:
    """Try texts in a child process, which is started when the first one comes that is not known.

    Args:
        folder: Where passed texts are remembered and failed ones are left; None for the user's cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder
        self._passed = PassedTexts(self.folder / "passed.txt" if self.folder else None)
        self._child: Child | None = None
        self._lock = threading.RLock()
        self._broken = False
        self._told = False

    # ---- what the launcher calls ----

    def announce(self, text: KernelText, storage: Storage, brief: bool = False) -> None:
        """Let an unknown text be compiled ahead, while this process does something else."""
        limit = runtime.guard_limit()
        if not limit or not text.origins or self._broken:
            return
        with self._lock:
            try:
                made = _made(text, storage, runtime.info().native, brief)
            except Unsupported:
                made = _made(text, storage, native=False)
            if made.key in self._passed:
                return
            child = self._start()
            if child is not None:
                child.send(_request(made, text, storage, limit))

    def attempt(
        self, text: KernelText, storage: Storage, args: tuple[int, ...], native: bool, brief: bool = False
    ) -> Trial:
        """Compile and run a text in the child, unless it is known to be harmless.

        Args:
            text: What is printed.
            storage: The memory that it will run on here.
            args: The arguments.
            native: It becomes machine code without Taichi.
            brief: Machine code for it is made as fast as can be.

        Raises:
            GradientError: The child died of it, or did not come to an end.
            Unsupported: The text has something that is not translated.
        """
        limit = runtime.guard_limit()
        if not limit or not text.origins or self._broken:
            return Trial()
        with self._lock:
            made = _made(text, storage, native, brief)
            key = made.key
            if key in self._passed:
                return Trial(key, known=True)
            if _bytes(text, storage) > _SHARE * _memory():
                self._tell_once(
                    f"the memory of {_called(text)} is too large to have twice; such programs run unguarded"
                )
                return Trial()
            data = _data(text, storage)
            header = _request(made, text, storage, limit) | {
                "run": True,
                "args": list(args),
                "data": {name: [array.dtype.str, array.size] for name, array in data.items()},
            }
            return Trial(key, self._try(key, text, header, b"".join(a.tobytes() for a in data.values())))

    def remember(self, trial: Trial) -> None:
        """Note that a text ran in this process too."""
        if not trial.key or trial.known:
            return
        if trial.error:
            _warn(f"the guard could not try a kernel that works: {trial.error}")
        with self._lock:
            self._passed.add(trial.key)

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._child is not None:
                self._child.close()
                self._child = None

    def forked(self) -> None:
        """Begin anew in a forked process: the child is the other one's."""
        self._lock = threading.RLock()
        if self._child is not None:
            self._child.disown()
            self._child = None

    # ---- trying ----

    def _start(self) -> Child | None:
        if self._child is None:
            try:
                self._child = Child()
            except OSError as error:
                self._give_up(str(error))
        return self._child

    def _give_up(self, reason: str) -> None:
        self._broken = True
        _warn(f"the guard's process could not be started ({reason}); kernels run unguarded")

    def _tell_once(self, message: str) -> None:
        if not self._told:
            self._told = True
            _warn(message)

    def _try(self, key: str, text: KernelText, header: dict[str, Any], data: bytes) -> str:
        """Return the error that Python raised, if any."""
        while True:
            child = self._start()
            if child is None:
                return ""
            fresh = not child.used
            try:
                child.send(header, data)
                return child.wait(key, header["limit"])
            except ChildDied as death:
                self._child = None
                if death.phase == "start" or (fresh and not death.key):
                    self._give_up(f"{death.how}: {death.said}")
                    return ""
                # an earlier text may have spoiled the child's memory, or one that was compiled ahead killed
                # it: only what dies in a fresh child is guilty
                if (fresh or death.late) and death.key == key:
                    raise self._error(key, text, death) from None
            except BaseException:  # Ctrl-C: the child is amid something
                self.close()
                raise

    def _error(self, key: str, text: KernelText, death: ChildDied) -> GradientError:
        doing = "while compiling it" if death.phase == "compile" else "in its first run"
        kept = self._keep(key, text, f"{death.how} {doing}", death.said)
        several = len(text.origins) > 1
        if death.late:
            advice = (
                f"split or simplify {'them' if several else 'it'}, or allow more seconds with "
                "diffsim.init(guard=...)"
            )
        elif death.phase == "compile":
            advice = f"split or simplify {'the kernels' if several else 'the kernel'}"
        else:
            advice = "look for indices outside their fields and integer divisions by zero"
        return GradientError(
            f"{_called(text)} must compile and run, got a child process that {death.how} {doing}; {advice}; "
            f"if that does not help, please report it with {kept}"
        )

    def _keep(self, key: str, text: KernelText, what: str, said: str) -> str:
        """Write the text to a file and return how to call that."""
        used = {name: (b.dtype, b.kind, b.shape) for name, (b, _) in text.used.items()}
        notes = [f"diffsim guard: the process {what}", *text.origins, *map(str, _versions())]
        notes += [f"{name}: {spec}" for name, spec in used.items()] + said.splitlines()
        content = "".join(f"# {note}\n" for note in notes) + "\n" + text.source
        folders = [self.folder / "failed"] if self.folder else []
        for folder in [*folders, Path(tempfile.gettempdir()) / "diffsim-guard"]:
            path = folder / f"{text.name}-{key[:12]}.txt"
            with contextlib.suppress(OSError):
                write_atomically(path, content)
                return str(path)
        return "your simulator"


def _called(text: KernelText) -> str:
    """Name the user's kernels behind a text."""
    what = ", ".join(text.origins)
    if text.program:
        return f"the {text.name} pass of {text.program}, made of {what},"
    return f"{'kernels' if len(text.origins) > 1 else 'kernel'} {what}"


# ---- requests ----


def _memory() -> float:
    """Return the bytes of the machine's memory."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return float("inf")


def _bytes(text: KernelText, storage: Storage) -> int:
    return sum(storage.layout.bytes(b, text.tapes.get(b, 1)) // b.components for b, _ in text.used.values())


def _versions() -> tuple[Any, ...]:
    version = sys.modules["diffsim"].__version__
    return _FORMAT, version, _taichi.running.ti.__version__, platform.python_version(), platform.machine()


@dataclass(frozen=True)
class _Made:
    """How a text is compiled.

    Attributes:
        key: A fingerprint of all that decides what it compiles to.
        options: Precision, threads, and the compiler.
        fields: What it names.
        level: How far machine code is optimised.
        lies: How machine code finds what does not lie in the order of its axes: the axis of worlds and the
            worlds of a block, the first axis of space, and how these lie.
    """

    key: str
    options: list[Any]
    fields: dict[str, Any]
    level: int
    lies: dict[str, tuple[Any, ...]]


def _made(text: KernelText, storage: Storage, native: bool, brief: bool = False) -> _Made:
    """Return how a text is compiled.

    Raises:
        Unsupported: It is to become machine code, and names a field that has no rows.
    """
    info = runtime.info()
    by_taichi = "forge" if info.compiler == "forge" else "taichi"
    options = [info.precision, info.threads, "native" if native else by_taichi]
    fields = _fields(text, storage, native)
    level = level_of(text, brief)
    versions = (*_versions(), *((level, *_llvm.fingerprint()) if native else ()))
    lies = _lies(text, storage) if native else {}
    parts = (text.source, text.real, fields, options, versions, lies, text.lanes, text.worlds)
    return _Made(hashlib.sha256(repr(parts).encode()).hexdigest()[:32], options, fields, level, lies)


def _lies(text: KernelText, storage: Storage) -> dict[str, tuple[Any, ...]]:
    """Return of what does not lie in the order of its axes how it does."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, (buffer, _) in text.used.items():
        if buffer.kind == "external":
            continue
        spec = storage.described(buffer, text.tapes.get(buffer, 1))
        if spec.axis >= 0 or spec.arrangement is not None:
            lies = None if spec.arrangement is None else dataclasses.astuple(spec.arrangement)
            found[name] = spec.axis, spec.block, spec.space, lies
    return found


def _fields(text: KernelText, storage: Storage, native: bool) -> dict[str, Any]:
    """Return dtype, shape, and shape of the elements (of a Taichi field of the user's) of what a text names.

    Machine code also needs the strides of each component of such a field.
    """
    found: dict[str, Any] = {}
    for name, (buffer, _) in text.used.items():
        if buffer.kind == "external":
            source = buffer.source
            element = [source.n, source.m][: source.ndim] if hasattr(source, "n") else None
            rows = None
            if native:
                rows = {part: list(place.strides) for part, (place, _) in outside(name, buffer).items()}
            found[name] = [buffer.dtype, list(source.shape), element, rows]
        else:
            shape = storage.layout.shape(buffer, text.tapes.get(buffer, 1))
            found[name] = [buffer.dtype, list(shape), None, None]
    return found


def _request(made: _Made, text: KernelText, storage: Storage, limit: float) -> dict[str, Any]:
    return {
        "key": made.key,
        "run": False,
        "name": text.name,
        "source": text.source,
        "real": text.real,
        "level": made.level,
        "args": [0] * text.arguments,
        "options": made.options,
        "storage": f"{id(storage)}",
        "fields": made.fields,
        "lies": made.lies,
        "lanes": text.lanes,
        "worlds": text.worlds,
        "data": {},
        "limit": limit,
    }


def _data(text: KernelText, storage: Storage) -> dict[str, NDArray[Any]]:
    """Return what the fields of a text hold now, the smallest first, as far as the limit goes."""
    arrays = {name: _values(buffer, c, storage) for name, (buffer, c) in text.used.items()}
    total, fitting = 0, set()
    for name in sorted(arrays, key=lambda n: arrays[n].nbytes):
        total += arrays[name].nbytes
        if total <= _SHIPPED:
            fitting.add(name)
    return {name: array for name, array in arrays.items() if name in fitting}


def _values(buffer: Buffer, component: int, storage: Storage) -> NDArray[Any]:
    if buffer.kind != "external":
        return storage.memory(buffer)[component]
    values: NDArray[Any] = buffer.source.to_numpy()
    return values


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@functools.cache
def the_guard() -> Guard:
    """Return the guard of this process, made at the first call; its child ends with the process."""
    made = Guard()
    atexit.register(made.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.forked)
    return made
