"""The guard's other process: compiles and runs kernel texts that may kill it.

It is started by `diffsim.engine.child`, reads requests from a pipe and answers in lines of JSON. It imports
no more of diffsim than it needs, to be ready early; Taichi only for texts that Taichi compiles.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAME", "Worker", "main"]

FRAME = struct.Struct("<IQ")  # bytes of a request's header, bytes of the data behind it
_KEEP = 256 << 20  # bytes of fields that are kept for the next text


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


class Trials(Protocol):
    """What compiles texts, and runs them on memory of its own."""

    def prepare(self, request: dict[str, Any]) -> None:
        """Make the memory that is not there yet."""

    def has(self, key: str) -> bool:
        """Tell whether a text was compiled."""

    def compile(self, request: dict[str, Any]) -> None:
        """Compile a text."""

    def fill(self, request: dict[str, Any], values: dict[str, NDArray[Any]]) -> None:
        """Give the memory of a text its numbers, zeros where none came."""

    def run(self, request: dict[str, Any]) -> None:
        """Run a text, and let go of it."""

    @property
    def idle_bytes(self) -> int:
        """The memory that nothing compiled waits for."""

    def free(self) -> None:
        """Free all memory, with what was compiled for it."""


class Worker:
    """Compile and run texts on memory like that of the process that asks.

    Args:
        say: Takes what is to be told: the key of a text and the phase that begins.
    """

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._storage = ""
        self._trials: dict[str, Trials] = {}

    def handle(self, request: dict[str, Any], data: bytes) -> None:
        """Compile a text, and run it where that is asked for."""
        key = request["key"]
        trials = self._of(request["options"][-1])
        if request["storage"] != self._storage:
            self._free()
            self._storage = request["storage"]
        trials.prepare(request)
        if not trials.has(key):
            self._phase(key, "compile", request["limit"])
            trials.compile(request)
        if request["run"]:
            trials.fill(request, _values(request, data))
            self._phase(key, "run", request["limit"])
            trials.run(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if request["run"]:
            self._say(key=key, phase="done")
        if trials.idle_bytes > _KEEP:
            trials.free()

    def _of(self, compiler: str) -> Trials:
        """Return the trials of a compiler, which is imported when it is first needed."""
        if compiler not in self._trials:
            kind = "native" if compiler == "native" else "taichi"  # and its fork, which requests name
            name = {"native": "NativeTrials", "taichi": "TaichiTrials"}[kind]
            module = importlib.import_module(f"diffsim.engine.trials_{kind}")
            self._trials[compiler] = getattr(module, name)()
        return self._trials[compiler]

    def _free(self) -> None:
        for trials in self._trials.values():
            trials.free()

    def _phase(self, key: str, phase: str, limit: float) -> None:
        # ends a hang also where nobody is left to do it: the default action needs no Python
        signal.setitimer(signal.ITIMER_REAL, limit + 5.0)
        self._say(key=key, phase=phase)


def _values(request: dict[str, Any], data: bytes) -> dict[str, NDArray[Any]]:
    """Return the numbers that came with a request, by the names of what they are for."""
    found, start = {}, 0
    for name, (dtype, size) in request["data"].items():
        found[name] = np.frombuffer(data, dtype=dtype, count=size, offset=start)
        start += found[name].nbytes
    return found


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
                worker = Worker(say)  # starts all anew
                if request["run"]:
                    say(key=request["key"], phase="error", text=f"{type(error).__name__}: {error}"[:2000])
    os._exit(0)  # at once: fields and kernels need no goodbye
