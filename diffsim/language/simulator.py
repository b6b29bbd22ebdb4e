"""Simulators and their parts: objects whose Taichi kernels are recorded when `step` is traced."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from diffsim import _taichi
from diffsim.errors import StateError, TraceError
from diffsim.language.adjoints import is_method
from diffsim.language.fields import Cost, Done, Field

__all__ = ["BoundKernel", "Part", "Simulator", "fields_within", "named_fields"]

_MOST_NAMES = 6  # of one kind of field that a repr lists
Recorder = Callable[[Callable[..., Any], Any, tuple[Any, ...]], None]
_recorder: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("diffsim_recorder", default=None)


@contextlib.contextmanager
def recording(record: Recorder) -> Iterator[None]:
    """While active, hand every kernel call, of a part or plain Taichi, to `record(function, owner, args)`."""
    token = _recorder.set(record)
    try:
        with _taichi.recording(record):
            yield
    finally:
        _recorder.reset(token)


class BoundKernel:
    """A kernel of a part, or a method with an adjoint, together with the part: what `self.springs` is."""

    def __init__(self, function: Callable[..., Any], owner: Any) -> None:
        self.function, self.owner = function, owner
        self.__name__ = function.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Record the call; kernels run only as part of a rollout.

        Raises:
            StateError: No step is being traced.
            TraceError: The arguments do not fit.
        """
        record = _recorder.get()
        if record is None:
            raise StateError(
                f"kernel {type(self.owner).__name__}.{self.__name__} must be called from step, reset, "
                "running_cost or terminal_cost, got a call by hand; make ds.Rollout(simulator, "
                "steps=...) and call its value()"
            )
        record(self.function, self.owner, self._positional(args, kwargs) if kwargs else args)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return all arguments by position, defaults included."""
        name = f"{type(self.owner).__name__}.{self.__name__}"
        try:
            bound = inspect.signature(self.function).bind(self.owner, *args, **kwargs)
        except TypeError as error:
            raise TraceError(
                f"{name} must be called with its own arguments, got: {error}; correct the call"
            ) from None
        bound.apply_defaults()
        if bound.kwargs:
            raise TraceError(
                f"{name} must take its arguments by position, got {', '.join(bound.kwargs)} by name only; "
                "remove the * before it"
            )
        return bound.args[1:]


class _KernelMethod:
    """A descriptor in place of a kernel, or a method with an adjoint: looked up it is a `BoundKernel`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else BoundKernel(self.function, instance)


class Part:
    """Base of what has kernels of its own that a simulator's step may call: a controller, a contact model.

    A subclass declares fields in `__init__` and writes `@ti.kernel` methods, without `ti.data_oriented`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [base for base in cls.__mro__ if base is cls or not issubclass(base, Part)]  # mixins too
        for name, attribute in [pair for base in own for pair in vars(base).items()]:
            function = attribute if is_method(attribute) else _taichi.kernel_function(attribute)
            if function is not None and inspect.getattr_static(cls, name) is attribute:
                setattr(cls, name, _KernelMethod(function))

    def __repr__(self) -> str:
        kinds: dict[str, list[str]] = {}
        for path, field in _search(self):
            kinds.setdefault(type(field).__name__, []).append(path)
        told = "; ".join(f"{kind} {_few(paths)}" for kind, paths in kinds.items())
        return f"<{type(self).__name__}{': ' if told else ''}{told}>"


class Simulator(Part):
    """Base of simulators: what one step does, written as plain Taichi kernels.

    A subclass declares its fields and parts in `__init__` and defines `step(self, t)`; `reset(self)`,
    `running_cost(self, t)` and `terminal_cost(self, t)` are optional. All four are traced once into a list of
    kernel calls, so that Python in them runs once, whatever the horizon. Kernels add to `cost`, and may set
    `done` to end a world early.
    """

    @property
    def cost(self) -> Cost:
        """The scalar that cost kernels add to, `self.cost[None] += ...`: one per world, zero at the start."""
        fields: dict[str, Any] = self.__dict__
        if "_cost" not in fields:
            fields["_cost"] = Cost()
        cost: Cost = fields["_cost"]
        return cost

    @property
    def done(self) -> Done:
        """The flag that ends a world early: `if self.x[t + 1, 0][1] < 0.0: self.done[None] = True`.

        A world ends with the step `t` in which a kernel of `step` or `running_cost` sets it: the other
        kernels of that step and its running cost still run, later steps are skipped. From then on its States
        stay as that step left them, its Scratches are zero, nothing is added to its cost, and
        `terminal_cost(t)` is called with the number of steps that the world ran as `t`, and finds the States
        of that time, with `history` also those before them. Value and gradient are those of a rollout of this
        world alone over so many steps (`Rollout.lengths`). Set in `reset`, it ends the world before any step.

        It is set to True or to a condition, by any number of iterations or kernels, and never back: a world
        that is done stays done. Later kernels of the step, `running_cost` and `terminal_cost` may read it.

        Differentiability: The moment at which a world ends jumps as parameters change; between jumps it is
        constant, and the gradient is that of the cost at a fixed number of steps. What the cost would gain by
        ending earlier or later is not in it.
        """
        fields: dict[str, Any] = self.__dict__
        if "_done" not in fields:
            fields["_done"] = Done()
        done: Done = fields["_done"]
        return done

    def step(self, t: Any) -> None:
        """Call the kernels of one step, `x[t] -> x[t + 1]`, in order."""
        raise NotImplementedError(f"{type(self).__name__} must define step(self, t)")


def named_fields(simulator: Any) -> dict[str, Field]:
    """Return every declared field under its attribute path from the simulator, the shortest path for each.

    Fields are found in attributes of the simulator, of its parts, and in lists, tuples and dicts of those.
    """
    found = dict(_search(simulator))
    for path, value in found.items():
        value.key = path
    return found


def fields_within(part: Any) -> list[Field]:
    """Return the fields that a part, or what it holds, declares."""
    return [value for _, value in _search(part)]


def _search(root: Any) -> Iterator[tuple[str, Field]]:
    seen: set[int] = {id(root)}
    queue: list[tuple[str, Any]] = [("", root)]
    while queue:
        prefix, owner = queue.pop(0)
        for name, value in _members(owner):
            path = f"{prefix}.{name}" if prefix else name
            if id(value) in seen:
                continue
            if isinstance(value, Field):
                seen.add(id(value))
                if not isinstance(value, Cost | Done):
                    yield path, value
            elif _may_hold_fields(value):
                seen.add(id(value))
                queue.append((path, value))


def _few(names: list[str]) -> str:
    """List names, the first ones where there are many."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _may_hold_fields(value: Any) -> bool:
    return isinstance(value, Part | list | tuple | dict) or getattr(value, "_data_oriented", False) is True


def _members(owner: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(owner, dict):
        yield from ((str(name), value) for name, value in owner.items())
    elif isinstance(owner, list | tuple):
        yield from ((str(index), value) for index, value in enumerate(owner))
    else:
        yield from vars(owner).items()
