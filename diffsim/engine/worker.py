"""The guard's other process: compiles and runs kernel texts that may kill it.

It is started by `diffsim.engine.child`, reads requests from a pipe and answers in lines of JSON. It imports
no more of diffsim than it needs, to be ready early.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim import _taichi

__all__ = ["FRAME", "Worker", "main"]

FRAME = struct.Struct("<IQ")  # bytes of a request's header, bytes of the data behind it
_KEEP = 256 << 20  # bytes of fields that are kept for the next text
_TEXTS = 512  # after so many Taichi is started again: it keeps something of each kernel


class Requests:
    """Requests from a pipe, with those that somebody waits for first.

    Args:
        handle: The pipe's end.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._bytes = bytearray()
        self._urgent: list[tuple[dict[str, Any], bytes]] = []
        self._later: OrderedDict[str, tuple[dict[str, Any], bytes]] = OrderedDict()

    def next(self) -> tuple[dict[str, Any], bytes]:
        """Return a request and its data; wait for one.

        Raises:
            EOFError: The other side is gone.
        """
        while True:
            self._read(wait=not self._urgent and not self._later)
            if self._urgent:
                request = self._urgent.pop(0)
                self._later.pop(request[0]["key"], None)
                return request
            if self._later:
                return self._later.popitem(last=False)[1]

    def _read(self, wait: bool) -> None:
        timeout = None if wait else 0.0
        while select.select([self._handle], [], [], timeout)[0]:
            part = os.read(self._handle, 1 << 20)
            if not part:
                raise EOFError
            self._bytes += part
            self._split()
            timeout = 0.01 if self._bytes else 0.0  # the rest of a request is on its way

    def _split(self) -> None:
        while len(self._bytes) >= FRAME.size:
            head, data = FRAME.unpack_from(self._bytes)
            end = FRAME.size + head + data
            if len(self._bytes) < end:
                return
            header = json.loads(self._bytes[FRAME.size : FRAME.size + head])
            request = header, bytes(self._bytes[FRAME.size + head : end])
            del self._bytes[:end]
            if header["run"]:
                self._urgent.append(request)
            else:
                self._later[header["key"]] = request


class Worker:
    """Compile and run texts on fields like those of the process that asks.

    Args:
        say: Takes what is to be told: the key of a text and the phase that begins.
    """

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._options: list[Any] = []
        self._storage = ""
        self._count = 0
        self._fields: dict[str, Any] = {}
        self._specs: dict[str, Any] = {}
        self._views: dict[str, NDArray[Any]] = {}
        self._trees: list[Any] = []
        self._kernels: dict[str, Callable[..., Any]] = {}

    def handle(self, request: dict[str, Any], data: bytes) -> None:
        """Compile a text, and run it where that is asked for."""
        key = request["key"]
        self._prepare_runtime(request)
        self._allocate(request["fields"])
        if key not in self._kernels:
            self._phase(key, "compile", request["limit"])
            self._kernels[key] = self._compile(request)
        if request["run"]:
            self._fill(request, data)
            self._phase(key, "run", request["limit"])
            with _taichi.default_real(request["real"]):
                self._kernels[key](*request["args"])
            _taichi.ti.sync()
            self._forget(self._kernels.pop(key))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if request["run"]:
            self._say(key=key, phase="done")
        if sum(view.nbytes for view in self._views.values()) > _KEEP and not self._kernels:
            self._free()

    def _phase(self, key: str, phase: str, limit: float) -> None:
        # ends a hang also where nobody is left to do it: the default action needs no Python
        signal.setitimer(signal.ITIMER_REAL, limit + 5.0)
        self._say(key=key, phase=phase)

    def _prepare_runtime(self, request: dict[str, Any]) -> None:
        self._count += 1
        if request["options"] != self._options or self._count > _TEXTS:
            self._free()
            precision, threads, _ = self._options = request["options"]
            _taichi.initialise("cpu", precision, 0, threads, cache=False)
            self._count = 0
        if request["storage"] != self._storage:
            self._free()
            self._storage = request["storage"]

    def _allocate(self, specs: dict[str, Any]) -> None:
        """Make the fields that are not there yet; a spec is dtype, shape, and the matrix's shape if any."""
        if any(self._specs.get(name, spec) != spec for name, spec in specs.items()):
            self._free()
        ti = _taichi.ti
        made = {name: spec for name, spec in specs.items() if name not in self._specs}
        if not made:
            return
        builder, plain = _taichi.begin_tree(), []
        for name, (dtype, shape, element) in made.items():
            kind = _taichi.DTYPES[dtype]
            if element is None:
                field = ti.field(kind)
                plain.append(name)
            elif len(element) == 1:
                field = ti.Vector.field(*element, kind)
            else:
                field = ti.Matrix.field(*element, kind)
            if shape:
                builder.dense(ti.axes(*range(len(shape))), shape).place(field)
            else:
                builder.place(field)
            self._fields[name], self._specs[name] = field, specs[name]
        self._trees.append(_taichi.make_tree(builder))
        plain = [name for name in plain if made[name][0] in _taichi.NUMPY]
        fields, shapes = [self._fields[n] for n in plain], [tuple(made[n][1]) for n in plain]
        views = _taichi.address_views(fields, shapes, [made[n][0] for n in plain])
        self._views.update(zip(plain, views, strict=True))

    def _compile(self, request: dict[str, Any]) -> Callable[..., Any]:
        scope = {name: self._fields[name] for name in request["fields"]}
        kernel = _taichi.build_kernel(request["source"], request["name"], scope)
        with _taichi.default_real(request["real"]):
            _taichi.compile_kernel(kernel, request["args"])
        _taichi.release_source(kernel)
        return kernel

    def _fill(self, request: dict[str, Any], data: bytes) -> None:
        start = 0
        sizes = request["data"]
        for name in request["fields"]:
            dtype, size = sizes.get(name, (None, 0))
            part = np.frombuffer(data, dtype=dtype, count=size, offset=start) if dtype else None
            start += part.nbytes if part is not None else 0
            if name in self._views:
                self._views[name][...] = 0 if part is None else part.reshape(self._views[name].shape)
            elif part is not None:
                _, shape, element = self._specs[name]
                self._fields[name].from_numpy(part.reshape([*shape, *(element or ())]))
            else:
                self._fields[name].fill(0)

    @staticmethod
    def _forget(kernel: Callable[..., Any]) -> None:
        _taichi.forget_kernel(kernel)

    def _free(self) -> None:
        for kernel in self._kernels.values():
            self._forget(kernel)
        self._views.clear()
        for table in (self._kernels, self._fields, self._specs):
            table.clear()
        for tree in self._trees:
            _taichi.destroy_tree(tree)
        self._trees.clear()


def _end_with(lifeline: int) -> None:
    """Let the system end this process when the other end of a pipe is closed, even amid a hang."""
    import fcntl  # POSIX only, and so is the guard

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | getattr(os, "O_ASYNC", 0))


def main(requests: int, answers: int, lifeline: int) -> None:
    """Serve until the other side is gone.

    Args:
        requests: The pipe to read from.
        answers: The pipe to write to.
        lifeline: A pipe on which nothing comes but its end.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _end_with(lifeline)

    def say(**message: Any) -> None:
        os.write(answers, (json.dumps(message) + "\n").encode())

    worker, inbox = Worker(say), Requests(requests)
    say(phase="ready")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, data = inbox.next()
            try:
                worker.handle(request, data)
            except Exception as error:  # noqa: BLE001  (an error is an answer, whatever it is)
                signal.setitimer(signal.ITIMER_REAL, 0)
                worker = Worker(say)  # starts Taichi anew
                if request["run"]:
                    say(key=request["key"], phase="error", text=f"{type(error).__name__}: {error}"[:2000])
    os._exit(0)  # at once: fields and kernels need no goodbye
