"""Tracing: `step(t)` is run once with a symbolic `t`, and the kernel calls it makes become a `Program`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from diffsim.errors import TraceError
from diffsim.language.adjoints import given_adjoint, is_method
from diffsim.language.derivatives import EnergyCall, current_energy
from diffsim.language.fields import Field, Valued
from diffsim.language.filling import filled
from diffsim.language.habits import taichis_own, untraceable
from diffsim.language.repeating import Repeat, Scope, around, repeat
from diffsim.language.results import Result, result_of
from diffsim.language.seeds import Seeds
from diffsim.language.simulator import Simulator, named_fields, recording

__all__ = [
    "PHASES",
    "CallGroup",
    "KernelCall",
    "Program",
    "Repeat",
    "Time",
    "record_calls",
    "repeat",
    "trace",
]

PHASES = ("reset", "step", "running_cost", "terminal_cost")


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


@dataclass(eq=False)
class CallGroup:
    """A call of a method with an adjoint of its own.

    Attributes:
        name: The method, with the class of its owner.
        adjoint: The calls that its adjoint makes, in order.
    """

    name: str
    adjoint: tuple[KernelCall, ...] = ()


@dataclass(frozen=True)
class KernelCall:
    """One recorded call: the kernel's Python function, the object it is a method of, its other arguments.

    Attributes:
        function, owner, args: These.
        group: The call of a method with an adjoint of its own that it belongs to.
        repeat: The loop that it is in.
        energy: Not the kernel is run, but the gradient of the energy that it adds to.
        result: What stands for the value that it returns, if it does.
    """

    function: Callable[..., Any]
    owner: Any
    args: tuple[Any, ...]
    group: CallGroup | None = None
    repeat: Repeat | None = None
    energy: EnergyCall | None = None
    result: Result | None = None

    @property
    def name(self) -> str:
        """Name the kernel in messages and plans."""
        if self.function is filled:
            return f"{self.args[0].label}.fill"
        owner = f"{type(self.owner).__name__}." if self.owner is not None else ""
        return owner + self.function.__name__


@dataclass(frozen=True)
class Program:
    """What a simulator does, as lists of kernel calls.

    Attributes:
        simulator: The object that was traced.
        fields: Its declared fields by attribute path.
        reset, step, running_cost, terminal_cost: The calls of each, in order.
        seeds: What random numbers start from.
    """

    simulator: Simulator
    fields: dict[str, Field]
    reset: tuple[KernelCall, ...]
    step: tuple[KernelCall, ...]
    running_cost: tuple[KernelCall, ...]
    terminal_cost: tuple[KernelCall, ...]
    seeds: Seeds = field(default_factory=Seeds, init=False)


def trace(simulator: Simulator) -> Program:
    """Run a simulator's methods once and record the kernels they call.

    Raises:
        TraceError: `simulator` is not a Simulator; a method is missing, fails, calls no kernel or sets a
            field.
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
    valued = [value for value in fields.values() if isinstance(value, Valued)]
    calls = record_calls(simulator, valued)
    if not calls["step"]:
        raise TraceError(f"{type(simulator).__name__}.step must call at least one kernel, got none")
    return Program(simulator, fields, **calls)


def record_calls(simulator: Simulator, valued: Sequence[Valued]) -> dict[str, tuple[KernelCall, ...]]:
    """Run a simulator's methods once and return the kernel calls of each, by the names in `PHASES`.

    Args:
        simulator: What to trace.
        valued: Its fields with values, which no method may set.

    Raises:
        TraceError: A method fails, or sets values.
    """
    calls = {}
    before = [declared.version for declared in valued]
    for phase in PHASES:
        calls[phase] = _record(simulator, phase, *([] if phase == "reset" else [Time()]))
        after = [declared.version for declared in valued]
        if after != before:
            changed = next(d for d, a, b in zip(valued, after, before, strict=True) if a != b)
            raise TraceError(
                f"{type(simulator).__name__}.{phase} must not set fields, got {changed.label} set: it is run "
                "once when it is traced, not in each step; set the field before the run, or let a kernel "
                "store what changes"
            )
    return calls


def _record(simulator: Simulator, method: str, *args: Any) -> tuple[KernelCall, ...]:
    function = getattr(simulator, method, None)
    if function is None:
        return ()
    name = f"{type(simulator).__name__}.{method}"
    try:
        return _calls_of(function, args, None, method)
    except Exception as error:
        told = untraceable(name, function, error)
        if told is error:
            raise
        raise told from error


# ---- methods with an adjoint of their own ----


def _calls_of(
    function: Callable[..., Any], args: tuple[Any, ...], group: CallGroup | None, phase: str = ""
) -> tuple[KernelCall, ...]:
    """Run a method and return the kernel calls that it makes."""
    calls: list[KernelCall] = []

    def record(kernel: Callable[..., Any], owner: Any, arguments: tuple[Any, ...]) -> Result | None:
        scope = around.get()
        if is_method(kernel):
            if scope is not None:
                raise TraceError(
                    f"{scope.name} must not call another method with an adjoint of its own, got "
                    f"{type(owner).__name__}.{kernel.__name__}; move what they share to a method without one"
                )
            calls.extend(_grouped(kernel, owner, arguments))
            return None
        if (refused := taichis_own(kernel)) is not None:
            raise refused
        if scope is not None and current_energy() is not None:
            raise TraceError(
                f"{scope.name} must not differentiate, got ds.gradient_of: none of its kernels is "
                "differentiated again; call it in step"
            )
        if kernel is filled and scope is None and arguments[0].kind == "workspace":
            raise TraceError(
                f"{arguments[0].label} must be filled by a method with an adjoint of its own, got another "
                "place; it is zero where such a method begins"
            )
        if kernel is filled and not calls and arguments[0].kind == "scratch" and arguments[1] == 0:
            return None  # it is zero there anyway
        repeated = scope.repeat if scope else None
        call = KernelCall(kernel, owner, arguments, group, repeated, current_energy())
        result = result_of(kernel, call.name, len(calls), phase)
        call = call if result is None else replace(call, result=result)
        _take(call, calls, phase)
        calls.append(call)
        if scope is not None:
            scope.calls += 1
        return call.result

    with recording(record):
        function(*args)
    return tuple(calls)


def _take(call: KernelCall, before: Sequence[KernelCall], phase: str) -> None:
    """Note which results of other kernels a call takes.

    Raises:
        TraceError: One belongs to another method, or the call or the other kernel is not differentiated.
    """
    for given in call.args:
        if not isinstance(given, Result):
            continue
        if not any(other.result is given for other in before) or not phase or phase == "reset":
            raise TraceError(
                f"{call.name} must get what a kernel of the same step, running_cost or terminal_cost gave, "
                f"got {given!r}; let that kernel store it in a Scratch or State, and read it there"
            )
        given.used = True


def _grouped(method: Callable[..., Any], owner: Any, args: tuple[Any, ...]) -> tuple[KernelCall, ...]:
    """Trace a method with an adjoint of its own, and that adjoint."""
    group = CallGroup(f"{type(owner).__name__}.{method.__name__}")
    given = given_adjoint(method)
    assert given is not None  # noqa: S101  (the caller found it)
    adjoint = getattr(type(owner), given.__name__, given)  # a subclass may have one of its own
    forward = _traced(method, owner, args, group)
    group.adjoint = _traced(adjoint, owner, args, group)
    return forward


def _traced(
    method: Callable[..., Any], owner: Any, args: tuple[Any, ...], group: CallGroup
) -> tuple[KernelCall, ...]:
    """Return the calls of a method with an adjoint of its own, or of that adjoint.

    Raises:
        TraceError: It calls no kernel, or leaves a loop open.
    """
    scope = Scope(f"{type(owner).__name__}.{method.__name__}")
    token = around.set(scope)
    try:
        calls = _calls_of(method, (owner, *args), group)
    finally:
        around.reset(token)
    if scope.repeat is not None:
        raise TraceError(
            f"repeat must stand in a `for`, got one that {scope.name} has not run to its end; write "
            "`for _ in ds.repeat(20):`"
        )
    if not calls:
        raise TraceError(
            f"{scope.name} must call at least one kernel, got none; a method with an adjoint of its own is a "
            "list of kernels, and so is the adjoint"
        )
    return calls
