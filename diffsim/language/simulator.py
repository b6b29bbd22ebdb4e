"""Simulators and their parts: objects whose Taichi kernels are recorded when `step` is traced."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.errors import StateError, TraceError
from diffsim.language import recorder
from diffsim.language.adjoints import is_method
from diffsim.language.fields import Field, Valued
from diffsim.language.outcome import Cost, Done
from diffsim.language.sources import check_source

__all__ = [
    "BoundKernel",
    "Part",
    "Simulator",
    "attributes_of",
    "fields_found",
    "fields_within",
    "holders",
    "is_recording",
    "named_fields",
]

_MOST_NAMES = 6  # of one kind of field that a repr lists


@contextlib.contextmanager
def recording(record: recorder.Recorder) -> Iterator[None]:
    """While active, hand every kernel call, of a part or plain Taichi, to `record(function, owner, args)`."""
    token = recorder.current.set(record)
    try:
        with _taichi.recording(record):
            yield
    finally:
        recorder.current.reset(token)


def is_recording() -> bool:
    """Tell whether kernel calls are being recorded."""
    return recorder.current.get() is not None


class BoundKernel:
    """A kernel of a part, or a method with an adjoint, together with the part: what `self.springs` is."""

    def __init__(self, function: Callable[..., Any], owner: Any) -> None:
        self.function, self.owner = function, owner
        self.__name__ = function.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record the call; kernels run only as part of a rollout.

        Returns:
            What stands for the value of a kernel that returns one, to be passed on to other kernels.

        Raises:
            StateError: No step is being traced.
            TraceError: The arguments do not fit.
        """
        record = recorder.current.get()
        if record is None:
            raise StateError(
                f"kernel {type(self.owner).__name__}.{self.__name__} must be called from step, reset, "
                "running_cost or terminal_cost, got a call by hand; make ds.Rollout(simulator, "
                "steps=...) and call its value()"
            )
        return record(self.function, self.owner, self._positional(args, kwargs) if kwargs else args)

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
                if not is_method(function):
                    check_source(function)
                setattr(cls, name, _KernelMethod(function))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a declared field may give way to another field only.

        Raises:
            StateError: Anything else is put in the place of a field.
        """
        if not isinstance(value, Field):
            held = self.__dict__.get(name)
            kind: Any = type(self)
            if held is None and name in _slots(kind):
                held = getattr(self, name, None)
            if isinstance(held, Field):
                given = "an array" if isinstance(value, np.ndarray) else repr(value)[:60]
                values = f"{name}.set(...)" if isinstance(held, Valued) else "kernels"
                raise StateError(
                    f"{type(self).__name__}.{name} must stay the {type(held).__name__} that it was declared "
                    f"as, got {given} assigned over it; it gets values by {values}, so choose another name "
                    "for something else"
                )
        super().__setattr__(name, value)

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
    kernel calls, so that Python in them runs once, whatever the horizon. Before each run they are traced
    again, to see that what they read has not changed, so they must come out alike each time. Kernels add to
    `cost`, and may set `done` to end a world early. `scene(self)`, optional as well, returns what there is to
    see of it as parts of `ds.scene`; pictures are chosen by the shapes of the States where it is left out.

    `reset` runs before step 0, at time 0: it writes `x[0, ...]`, reads initial values and Params, and may use
    Scratches and parts (`self.net(0)`), which step 0 finds as if nobody had. What it leaves in a State that
    no step writes is there in all steps, and stored once.
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
    found = fields_found(simulator)
    for path, value in found.items():
        value.key = path
    return found


def fields_within(part: Any) -> list[Field]:
    """Return the fields that a part, or what it holds, declares."""
    return [value for _, value in _search(part)]


def fields_found(simulator: Any) -> dict[str, Field]:
    """Return what `named_fields` would, and leave the fields the names that they have."""
    return dict(_search(simulator))


def holders(root: Any) -> list[tuple[Any, bool]]:
    """Return every object that fields are looked for in, the root first, and whether it leads to any."""
    return [(owner, bool(members)) for _, owner, members in _visit(root)]


def attributes_of(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object by name, those in slots too."""
    found = dict(getattr(owner, "__dict__", {}))
    for name in _slots(owner.__class__):
        try:
            found[name] = getattr(owner, name)
        except AttributeError:  # a slot that was never filled
            continue
    return found


@functools.lru_cache(maxsize=1024)
def _slots(cls: Any) -> tuple[str, ...]:
    names = [name for base in cls.__mro__ for name, a in vars(base).items() if _is_slot(a)]
    return tuple(dict.fromkeys(names))


def _is_slot(attribute: Any) -> bool:
    return isinstance(attribute, types.MemberDescriptorType)


def _search(root: Any) -> Iterator[tuple[str, Field]]:
    seen: set[int] = set()
    for prefix, _, members in _visit(root):
        for name, value in members:
            if isinstance(value, Field) and id(value) not in seen:
                seen.add(id(value))
                if not isinstance(value, Cost | Done):
                    yield f"{prefix}.{name}" if prefix else name, value


def _visit(root: Any) -> Iterator[tuple[str, Any, list[tuple[str, Any]]]]:
    """Yield what may hold fields, nearest first: its path, itself, and its members that matter."""
    seen: set[int] = {id(root)}
    queue: list[tuple[str, Any]] = [("", root)]
    for prefix, owner in queue:  # grows meanwhile
        members = [(str(name), value) for name, value in _members(owner) if _matters(value)]
        yield prefix, owner, members
        for name, value in members:
            if not isinstance(value, Field) and id(value) not in seen:
                seen.add(id(value))
                queue.append((f"{prefix}.{name}" if prefix else name, value))


def _few(names: list[str]) -> str:
    """List names, the first ones where there are many."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


_PLAIN = frozenset({bool, int, float, str, type(None), np.ndarray, np.float64})


def _matters(value: Any) -> bool:
    """Tell whether a value is a field, or may hold some."""
    if type(value) in _PLAIN:
        return False
    return (
        isinstance(value, Field | Part | list | tuple | dict)
        or getattr(value, "_data_oriented", False) is True
    )


def _members(owner: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(owner, dict):
        return owner.items()
    if isinstance(owner, list | tuple):
        return enumerate(owner)
    return attributes_of(owner).items()
