"""Loops around the kernels that a method with an adjoint of its own calls: `ds.repeat`."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from dataclasses import dataclass, field

from diffsim.errors import ConfigError, TraceError
from diffsim.language.fields import Workspace
from diffsim.language.recorder import rounds
from diffsim.options import plain_number

__all__ = ["Repeat", "Scope", "around", "repeat"]

_MOST_ROUNDS = 100_000  # modes that write rounds out have a list of so many


@dataclass(frozen=True, eq=False)
class Repeat:
    """A loop around kernel calls.

    Attributes:
        count: How often they are run, at most.
        until: Where it is not zero, they are not run any more; None for never.
    """

    count: int
    until: Workspace | None


@dataclass
class Scope:
    """Where a method with an adjoint, or that adjoint, is being traced.

    Attributes:
        name: The method.
        repeat: The loop that the next call is in.
        calls: Kernel calls so far.
        flags: What loops so far end by.
    """

    name: str
    repeat: Repeat | None = None
    calls: int = 0
    flags: list[Workspace] = field(default_factory=list)


around: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("diffsim_scope", default=None)


def repeat(count: int, until: Workspace | None = None) -> Iterator[None]:
    """Run the kernels that the body of a `for` calls again and again: `for _ in ds.repeat(20, until=...)`.

    The body is traced once, so that a hundred iterations compile like one. It stands in a method with an
    adjoint of its own, or in that adjoint (`ds.adjoint_of`), since nothing in it is differentiated.

    Args:
        count: How often, at most; up to 100,000.
        until: A Workspace without axes, of this loop alone. As soon as a kernel of the body has set it to
            another number than zero, the kernels behind and all further iterations are skipped, in each world
            by itself. The kernel that sets it runs to its end.

    Yields:
        None, once.

    Raises:
        ConfigError: An argument is not allowed.
        TraceError: It stands elsewhere, or in another loop of its kind, calls no kernel, or ends by what
            another loop ends by.
    """
    count = plain_number(count)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_ROUNDS:
        raise ConfigError(
            f"repeat count must be an integer from 1 to {_MOST_ROUNDS}, got {count!r}; use 20 where unsure"
        )
    if until is not None and (not isinstance(until, Workspace) or until.element_shape):
        raise ConfigError(
            f"repeat until must be a Workspace of one number, got {until!r}; declare ds.Workspace(ds.real)"
        )
    if (run := rounds.get()) is not None:
        yield from run(count, until)
        return
    scope = around.get()
    if scope is None or scope.repeat is not None:
        raise TraceError(
            f"repeat must stand in a method with an adjoint of its own (ds.adjoint_of), or in that adjoint, "
            f"got {'another place' if scope is None else 'a repeat in a repeat'}; write a Python loop there"
        )
    if until is not None and any(flag is until for flag in scope.flags):
        raise TraceError(
            f"repeat until must be a Workspace of one loop, got {until!r} in two loops of {scope.name}: what "
            "ends the first would end the second; declare another"
        )
    scope.flags += [] if until is None else [until]
    scope.repeat, before = Repeat(count, until), scope.calls
    try:
        yield
    finally:
        scope.repeat = None
    if scope.calls == before:
        raise TraceError(
            f"the body of repeat must call a kernel, got none in {scope.name}; write the calls below "
            "`for _ in ds.repeat(20):`"
        )
