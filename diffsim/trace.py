"""Tracing: `step(t)` is run once with a symbolic `t`, and the kernel calls it makes become a `Program`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from diffsim.errors import DiffsimError, TraceError
from diffsim.fields import Field
from diffsim.simulator import Simulator, named_fields, recording

__all__ = ["KernelCall", "Program", "Time", "trace"]


class Time:
    """The symbolic step index that `step(self, t)` is traced with; kernels may get `t`, `t + 1`, `t - 1`."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def __add__(self, other: Any) -> Time:
        if isinstance(other, int) and not isinstance(other, bool):
            return Time(self.offset + other)
        self._refuse("added to something that is not an integer")

    __radd__ = __add__

    def __sub__(self, other: Any) -> Time:
        if isinstance(other, int) and not isinstance(other, bool):
            return Time(self.offset - other)
        self._refuse("subtracted from")

    def __repr__(self) -> str:
        return "t" + (f" {'+' if self.offset > 0 else '-'} {abs(self.offset)}" if self.offset else "")

    __hash__ = None  # type: ignore[assignment]

    def _refuse(self, verb: str) -> NoReturn:
        raise TraceError(
            f"t must only be passed on to kernels (as t, t + 1, t - 1) in step, got {verb}; step is traced "
            "once for all steps, so put the `if` or the arithmetic inside a kernel"
        )


def _refusal(verb: str) -> Callable[..., NoReturn]:
    def refuse(self: Time, *args: Any) -> NoReturn:
        self._refuse(verb)

    return refuse


for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Time, _name, _refusal("compared"))
setattr(Time, "__bool__", _refusal("branched on"))  # noqa: B010  (mypy knows no assignment of methods)
for _name in ("__int__", "__index__", "__float__"):
    setattr(Time, _name, _refusal("turned into a number"))
for _name in ("mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Time, f"__{_name}__", _refusal("computed with"))
    setattr(Time, f"__r{_name}__", _refusal("computed with"))
for _name in ("__rsub__", "__neg__", "__abs__", "__and__", "__or__", "__lshift__", "__rshift__"):
    setattr(Time, _name, _refusal("computed with"))


@dataclass(frozen=True)
class KernelCall:
    """One recorded call: the kernel's Python function, the object it is a method of, its other arguments."""

    function: Callable[..., Any]
    owner: Any
    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Name the kernel in messages and plans."""
        owner = f"{type(self.owner).__name__}." if self.owner is not None else ""
        return owner + self.function.__name__


@dataclass(frozen=True)
class Program:
    """What a simulator does, as lists of kernel calls.

    Attributes:
        simulator: The object that was traced.
        fields: Its declared fields by attribute path.
        reset, step, running_cost, terminal_cost: The calls of each, in order.
    """

    simulator: Simulator
    fields: dict[str, Field]
    reset: tuple[KernelCall, ...]
    step: tuple[KernelCall, ...]
    running_cost: tuple[KernelCall, ...]
    terminal_cost: tuple[KernelCall, ...]


def trace(simulator: Simulator) -> Program:
    """Run a simulator's methods once and record the kernels they call.

    Raises:
        TraceError: `simulator` is not a Simulator; a method is missing, fails or calls no kernel.
    """
    if not isinstance(simulator, Simulator):
        raise TraceError(
            f"simulator must be a ds.Simulator, got {type(simulator).__name__}; inherit from ds.Simulator"
        )
    fields = named_fields(simulator)
    if type(simulator).step is Simulator.step:
        raise TraceError(
            f"{type(simulator).__name__} must define step(self, t), got none; call its kernels in there"
        )
    step = _record(simulator, "step", Time())
    if not step:
        raise TraceError(f"{type(simulator).__name__}.step must call at least one kernel, got none")
    return Program(
        simulator,
        fields,
        reset=_record(simulator, "reset"),
        step=step,
        running_cost=_record(simulator, "running_cost", Time()),
        terminal_cost=_record(simulator, "terminal_cost", Time()),
    )


def _record(simulator: Simulator, method: str, *args: Any) -> tuple[KernelCall, ...]:
    function = getattr(simulator, method, None)
    if function is None:
        return ()
    calls: list[KernelCall] = []

    def record(kernel: Callable[..., Any], owner: Any, arguments: tuple[Any, ...]) -> None:
        calls.append(KernelCall(kernel, owner, arguments))

    name = f"{type(simulator).__name__}.{method}"
    with recording(record):
        try:
            function(*args)
        except DiffsimError:
            raise
        except Exception as error:
            raise TraceError(
                f"{name} must run as plain Python when it is traced, got {type(error).__name__}: {error}; "
                "it may only call kernels and parts, with t passed on"
            ) from error
    return tuple(calls)
