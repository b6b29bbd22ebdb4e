"""Arenas that rollouts have given back, for the next rollouts that need the same memory.

Taichi numbers SNodes without end and has room for 1024 of sparse kinds, compiles a kernel for the fields that
it names, and never gives back what it compiled. So memory is not destroyed when a rollout is closed: the next
one of the same layout takes it over, with the kernels compiled for it, whatever its horizon.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

from diffsim import _taichi
from diffsim.engine.arena import Arena, Spec
from diffsim.errors import StateError

__all__ = ["Pool", "the_pool"]

_IDLE = 512 << 20  # bytes of idle arenas together
_MOST = 32  # idle arenas
_SPARE_TREES = 8  # of fields: more than one rollout makes
_LATER = 32 << 20  # bytes of tapes and measurements that an idle arena may have beside what it was made for


class Pool:
    """Lend arenas, and keep those that are given back, as far as they do not take much.

    A rollout may be closed at any moment (the garbage collector does it), also amid a method of the pool: an
    arena is taken or dropped by one operation on a list.
    """

    def __init__(self) -> None:
        self._idle: list[Arena] = []

    @property
    def idle_bytes(self) -> int:
        """The memory that nobody uses at the moment."""
        return sum(arena.bytes for arena in self._idle)

    def borrow(self, specs: Sequence[Spec], kind: type[Arena], *options: Any) -> Arena:
        """Return an arena for some buffers, all of them zero.

        Args:
            specs: What it must hold.
            kind: What it is.
            options: What else it is made with.

        Raises:
            StateError: Taichi has no room for more trees of fields, or makes none in this thread.
        """
        key = (tuple(specs), kind, *options)
        for arena in reversed(list(self._idle)):
            if arena.program is not _taichi.current_program():
                self._take(arena)  # its memory went with the program
            elif arena.key == key and self._take(arena):
                arena.clear()
                return arena
        while _taichi.trees_left() < _SPARE_TREES and self._idle:
            self._close_oldest()
        try:
            return _made(specs, kind, *options)
        except StateError:
            raise
        except RuntimeError:  # the device is full
            if not self._idle:
                raise
            self.release()
            return _made(specs, kind, *options)

    def give_back(self, arena: Arena) -> None:
        """Take an arena that its rollout does not need any more."""
        if arena.program is not _taichi.current_program():
            return
        if arena.bytes > arena.first_bytes + _LATER:
            arena.close()
            return
        arena.trim()
        self._idle.append(arena)
        while self.idle_bytes > _IDLE or len(self._idle) > _MOST:
            self._close_oldest()

    def release(self) -> None:
        """Free all idle memory."""
        while self._idle:
            self._close_oldest()

    def _close_oldest(self) -> None:
        with contextlib.suppress(IndexError):  # another thread took it
            self._idle.pop(0).close()

    def _take(self, arena: Arena) -> bool:
        try:
            self._idle.remove(arena)
        except ValueError:  # a collected rollout's closing has dropped it meanwhile
            return False
        return True


def _made(specs: Sequence[Spec], kind: type[Arena], *options: Any) -> Arena:
    arena = kind(specs, *options)
    try:
        arena.allocate(specs)
    except BaseException:
        arena.close()
        raise
    return arena


@functools.cache
def the_pool() -> Pool:
    """Return the pool of this process."""
    return Pool()
