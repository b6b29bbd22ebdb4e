"""Telling whether a simulator still is what it was when it was traced.

What tracing reads is whatever Python can read: flags, loop counts, lists, properties, globals, closures,
values of fields. No list of it would be complete, so none is kept. Before each run the methods are traced
once more instead, and the kernel calls compared with those that the rollout was made of: the kernels, their
objects, their arguments as they were then, loops and groups. That is right whatever a method reads, and costs
20 to 100 us for most simulators that ship, little beside a run (most of it is the methods' own Python).

What it asks of `step` and the others: they run more than once, so they must come out alike. One that does
not, as it draws random numbers or counts on, is refused when the rollout is made. What they assign to
attributes of the simulator or its parts, or put into lists and dicts there, while they are traced again is
taken back, so that no run moves what the next one sees.

Declared fields are compared by identity. An object of the simulator whose attributes are the very ones of the
last run is not searched again; long lists without fields count as unchanged while their length is.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

from diffsim.errors import DiffsimError, StateError, TraceError
from diffsim.language.changes import Changes
from diffsim.language.fields import Field, Valued
from diffsim.language.simulator import attributes_of, fields_found, holders
from diffsim.language.snapshot import MISSING, alike, freeze, shown
from diffsim.language.trace import (
    PHASES,
    CallGroup,
    KernelCall,
    Program,
    Repeat,
    Time,
    record_calls,
)

__all__ = ["Watch"]

_LONG = 64  # items of a list or dict; longer ones that hold no field are compared by length


class _Call(NamedTuple):
    """A kernel call as it was traced.

    Attributes:
        function, code, owner: The kernel; its code may be exchanged while modules are reloaded.
        args: Its arguments, frozen.
        place: What is around it: its group and its loop, by number; the gradient that is taken of it.
        call: The call itself, for messages.
    """

    function: Callable[..., Any]
    code: types.CodeType
    owner: Any
    args: Any
    place: tuple[Any, ...]
    call: KernelCall


class Watch:
    """What was found when a simulator was traced, to be compared with what is there now.

    Args:
        program: The trace.

    Raises:
        TraceError: The methods come out otherwise when they are traced a second time.
    """

    def __init__(self, program: Program) -> None:
        self._program, self._simulator = program, program.simulator
        self._raw = {phase: getattr(program, phase) for phase in PHASES}
        self._calls = {phase: _outline(calls) for phase, calls in self._raw.items()}
        self._codes = {id(call): call.function.__code__ for calls in self._raw.values() for call in calls}
        self._named = list(program.fields.items())
        self._valued = [field for field in program.fields.values() if isinstance(field, Valued)]
        self._seen = _contents(self._simulator)
        self._changes = Changes(self._simulator)
        for phase, found in self._traced().items():
            different = self._difference(phase, found)
            if different is not None:
                raise TraceError(
                    f"{self._name(phase)} must make the same calls each time it is traced, got {different}; "
                    "it is traced once for all steps, so draw random numbers and count outside of it"
                )

    def check(self) -> None:
        """Compare.

        Raises:
            StateError: A field was replaced, added or removed, or a method makes other calls.
        """
        self._check_fields()
        try:
            traced = self._traced()
        except DiffsimError as error:
            raise StateError(
                "the simulator must trace as it did when the rollout was made, got "
                f"{type(error).__name__}: {error}{self._because()}; make a new Rollout"
            ) from error
        for phase, found in traced.items():
            different = self._difference(phase, found)
            if different is not None:
                raise StateError(
                    f"{self._name(phase)} must make the calls that it made when the rollout was made, got "
                    f"{different}{self._because()}; make a new Rollout"
                )

    def _name(self, phase: str) -> str:
        return f"{type(self._simulator).__name__}.{phase}"

    def _because(self) -> str:
        changed = self._changes.told()
        return f" ({'; '.join(changed[:4])})" if changed else ""

    # ---- calls ----

    def _traced(self) -> dict[str, tuple[KernelCall, ...]]:
        """Trace again, and leave no trace of it.

        Raises:
            TraceError: A method sets values.
        """
        try:
            return record_calls(self._simulator, self._valued)
        finally:
            for content in self._seen:
                content.restore()

    def _difference(self, phase: str, found: tuple[KernelCall, ...]) -> str | None:
        """Say how the calls of a method differ from those of then; None where they do not."""
        if self._same(self._raw[phase], found):
            return None
        then, now = self._calls[phase], _outline(found)
        for k, (old, new) in enumerate(zip(then, now, strict=False)):
            same = alike(old.function, new.function) and old.code is new.code
            if not (same and alike(old.owner, new.owner)):
                what, was = _described(new), _described(old)
                instead = "of another object" if what == was else f"in place of {was}"
                return f"{what} {instead} as call {k + 1}"
            if old.args != new.args:
                return f"{_described(new)} in place of {_described(old)}"
            if old.place != new.place:
                return (
                    f"{new.call.name} in another ds.repeat, method with an adjoint or ds.gradient_of than "
                    "before"
                )
        if len(then) != len(now):
            return f"{len(now)} kernel calls in place of {len(then)}"
        return None

    def _same(self, then: tuple[KernelCall, ...], now: tuple[KernelCall, ...]) -> bool:
        """Tell whether calls are plainly the same, so that nothing has to be looked into."""
        return len(then) == len(now) and all(
            old.function is new.function
            and self._codes[id(old)] is new.function.__code__
            and old.owner is new.owner
            and all(part is None for part in (old.group, new.group, old.repeat, new.repeat))
            and (old.energy is None) is (new.energy is None)
            and (old.energy is None or new.energy is None or _energy(old) == _energy(new))
            and len(old.args) == len(new.args)
            and all(map(_plainly_equal, old.args, new.args))
            for old, new in zip(then, now, strict=True)
        )

    # ---- fields ----

    def _check_fields(self) -> None:
        """Compare the declared fields.

        Raises:
            StateError: One was replaced, added or removed.
        """
        if not all(content.unchanged() for content in self._seen):
            self._search_fields()
            self._seen = _contents(self._simulator)
        for key, field in self._named:
            if field.key is not key:
                field.key = key  # another simulator that shares it has a name of its own for it

    def _search_fields(self) -> None:
        found = fields_found(self._simulator)
        fields, name = self._program.fields, type(self._simulator).__name__
        known = {id(field) for field in fields.values()}
        for key, field in fields.items():
            now = found[key] if key in found else _at(self._simulator, key)
            if now is not field:
                got = f"another {type(now).__name__}" if isinstance(now, Field) else shown(now)
                values = ", or keep it and call its set(...)" if isinstance(field, Valued) else ""
                raise StateError(
                    f"{name}.{key} must stay the {type(field).__name__} that it was when the rollout was "
                    f"made, got {'none' if now is MISSING else got}; make a new Rollout{values}"
                )
        for key, field in found.items():
            if id(field) not in known:
                raise StateError(
                    f"{name} must have the fields that it had when the rollout was made, got {key} as "
                    f"well, a {type(field).__name__}; make a new Rollout"
                )


def _plainly_equal(then: Any, now: Any) -> bool:
    if type(then) is Time:
        return type(now) is Time and now.offset == then.offset
    return type(then) in (int, bool, str) and type(now) is type(then) and now == then


def _outline(calls: tuple[KernelCall, ...]) -> list[_Call]:
    """Return calls in a form to be compared: groups and loops by number, adjoints behind their start."""
    groups: dict[int, int] = {}
    loops: dict[int, int] = {}
    found, queue = [], list(reversed(calls))
    while queue:
        call = queue.pop()
        group, loop = call.group, call.repeat
        place: tuple[Any, ...] = ()
        if group is not None:
            if id(group) not in groups:
                queue.extend(reversed(group.adjoint))
            place = (_number(groups, group), _number(loops, loop), *_rounds(loop))
        if call.energy is not None:
            place = _energy(call)
        found.append(_Call(call.function, call.function.__code__, call.owner, freeze(call.args), place, call))
    return found


def _energy(call: KernelCall) -> tuple[Any, ...]:
    return () if call.energy is None else (len(call.energy.gradient.kernels), *call.energy.gradient.outline)


def _number(numbers: dict[int, int], thing: CallGroup | Repeat | None) -> int | None:
    return None if thing is None else numbers.setdefault(id(thing), len(numbers))


def _rounds(loop: Repeat | None) -> tuple[Any, ...]:
    return () if loop is None else (loop.count, id(loop.until))


def _described(call: _Call) -> str:
    return f"{call.call.name}({', '.join(map(shown, call.call.args))})"


def _at(root: Any, path: str) -> Any:
    """Return what an attribute path leads to, MISSING where it leads nowhere."""
    for name in path.split("."):
        if isinstance(root, list | tuple):
            root = root[int(name)] if int(name) < len(root) else MISSING
        elif isinstance(root, dict):
            root = {str(key): value for key, value in root.items()}.get(name, MISSING)
        else:
            root = getattr(root, name, MISSING)
    return root


class _Content:
    """What an object, list or dict of the simulator holds: the very things, not their values."""

    def __init__(self, owner: Any, has_fields: bool) -> None:
        self._owner = owner
        self._brief = isinstance(owner, list | dict) and not has_fields and len(owner) > _LONG
        self._keys, self._values = ([], []) if self._brief else self._read()
        self._ids, self._size = list(map(id, self._values)), len(owner) if self._brief else 0

    def unchanged(self) -> bool:
        if self._brief:
            return len(self._owner) == self._size
        keys, values = self._read()
        return list(map(id, values)) == self._ids and keys == self._keys

    def restore(self) -> None:
        if self.unchanged():
            return
        if isinstance(self._owner, list):
            self._owner[:] = self._owner[: self._size] if self._brief else self._values
        elif not self._brief:
            held = self._owner if isinstance(self._owner, dict) else self._owner.__dict__
            held.clear()
            held.update(zip(self._keys, self._values, strict=True))

    def _read(self) -> tuple[list[Any], list[Any]]:
        if isinstance(self._owner, list):
            return [], list(self._owner)
        held = self._owner if isinstance(self._owner, dict) else attributes_of(self._owner)
        return list(held), list(held.values())


def _contents(simulator: Any) -> list[_Content]:
    found = holders(simulator)
    return [_Content(owner, has_fields) for owner, has_fields in found if not isinstance(owner, tuple)]
