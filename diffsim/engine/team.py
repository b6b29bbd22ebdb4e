"""The threads that help machine code with the loops that may be shared."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import threading
from typing import Any

from diffsim import _llvm, runtime
from diffsim.compiler.native.team import BYTES, STATE, STOP, team_text
from diffsim.engine.objects import ObjectCache

__all__ = ["Team", "can_share", "the_team"]

_LINE = 64
_LEVEL = 1
_SECONDS = 1.0  # that the end of the process waits for a thread


class Team:
    """Threads that sleep until a kernel has work for them, which they share with the thread that launched it.

    Who finds them busy with another thread's kernel does the work alone, with the same result. They are
    started when they are first needed, again in a process that was forked, and end with the process.

    Args:
        threads: How many share a loop, the one that launches included.

    Attributes:
        address: What kernels get.
        asleep: The threads must be started before work is shared.
    """

    def __init__(self, threads: int) -> None:
        self.threads, self.asleep = threads, True
        self._memory = (ctypes.c_byte * (BYTES + _LINE))()
        self.address = -(-ctypes.addressof(self._memory) // _LINE) * _LINE
        self._code = _code()
        self._turn = threading.Lock()
        self._helpers: list[threading.Thread] = []
        ctypes.c_int64.from_address(self.address).value = threads
        self._prepare()
        _teams.append(self)

    def start(self) -> None:
        """Start the threads, if they are not running."""
        with self._turn:
            if not self.asleep:
                return
            self.asleep = False
            ctypes.c_int32.from_address(self.address + STOP).value = 0
            work = self._function(2)
            for k in range(1, self.threads):
                helper = threading.Thread(target=work, args=(self.address,), name=f"diffsim-{k}", daemon=True)
                try:
                    helper.start()
                except RuntimeError:  # no more threads here: those that are there do all of the work
                    return
                self._helpers.append(helper)

    def stop(self) -> None:
        """End the threads; they start again when they are needed."""
        with self._turn:
            if self.asleep:
                return
            self._function(3)(self.address)
            for helper in self._helpers:
                helper.join(_SECONDS)
            self._helpers.clear()
            self.asleep = True

    def forget(self) -> None:
        """Begin anew in a process that was forked, where the threads are not."""
        self._turn = threading.Lock()
        self._helpers.clear()
        self._prepare()
        self.asleep = True

    def _prepare(self) -> None:
        ctypes.memset(self.address + STATE, 0, BYTES - STATE)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._code.address)(self.address)

    def _function(self, place: int) -> Any:
        """Return a function of the team's by its place in its memory."""
        at = ctypes.c_size_t.from_address(self.address + 8 * place).value
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(at)


_teams: list[Team] = []


def can_share() -> bool:
    """Tell whether loops may be shared: there is more than one thread, and the system has POSIX threads."""
    return runtime.info().threads > 1 and os.name == "posix"


def the_team() -> Team:
    """Return the threads of the running runtime."""
    return _of(runtime.info().threads)


@functools.cache
def _of(threads: int) -> Team:
    _stop()  # those of an earlier runtime
    if not _teams:
        os.register_at_fork(after_in_child=_forget)
        atexit.register(_stop)
    return Team(threads)


def _code() -> _llvm.Code:
    """Return the machine code of all teams."""
    text = team_text(_llvm.triple())
    key = hashlib.sha256(repr((text, _LEVEL, _llvm.fingerprint())).encode()).hexdigest()[:40]
    kept = runtime.info().cache
    image = ObjectCache().found_or_made(key, lambda: _llvm.compile_object(text, _LEVEL), kept)
    return _llvm.load(image, "prepare")


def _forget() -> None:
    for team in _teams:
        team.forget()


def _stop() -> None:
    for team in _teams:
        team.stop()
