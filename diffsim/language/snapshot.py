"""Values as they are now, in a form that later values can be compared with, whatever was changed in place."""

from __future__ import annotations

import contextvars
import functools
import hashlib
import types
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.language.fields import Field
from diffsim.language.simulator import attributes_of
from diffsim.language.trace import Time
from diffsim.options import plain_number

__all__ = ["MISSING", "Thing", "alike", "freeze", "shown"]

_SMALL = 4096  # bytes of an array that are kept as they are; of more, a digest
_ATOMS = frozenset({int, bool, str, type(None), bytes, range})
_comparing: contextvars.ContextVar[frozenset[tuple[int, int]]] = contextvars.ContextVar(
    "diffsim_comparing", default=frozenset()
)


class _Missing:
    """What stands for a value that is gone."""

    def __repr__(self) -> str:
        return "None"


MISSING = _Missing()


class Thing:
    """An object without contents of its own to keep: equal to itself, and to one that is made alike."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and alike(self.value, other.value)

    def __hash__(self) -> int:
        return hash(type(self.value))


def freeze(value: Any, around: tuple[int, ...] = ()) -> Any:
    """Return what a value is now, equal to that of an equal value, and not changed along with the value.

    Numbers and texts count by type and value, containers and arrays by their contents, declared fields by
    identity, other objects as `alike` tells.

    Args:
        value: Any Python object.
        around: The ids of the containers that it is in.
    """
    kind = type(value)
    if kind in _ATOMS:
        return kind, value
    if kind is Time:
        return Time, value.offset
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _frozen_items(value, around)
    if isinstance(value, float):  # no NaN equals itself, and -0.0 equals 0.0
        value = float(value)
        return float, value if value == value and value != 0.0 else repr(value)
    if isinstance(value, np.generic):
        return freeze(value.item()) if value.dtype.kind in "biuf" else (kind, str(value))
    if _taichi.is_a(value, "Matrix"):
        value = np.array(value.to_numpy())
    if isinstance(value, np.ndarray):
        return _frozen_array(value, around)
    return Thing(value)


def _frozen_items(value: Any, around: tuple[int, ...]) -> Any:
    kind = type(value)
    if id(value) in around:
        return "around", around.index(id(value))
    around = (*around, id(value))
    if isinstance(value, dict):
        return kind, tuple((freeze(k, around), freeze(v, around)) for k, v in value.items())
    items = tuple([(type(item), item) if type(item) in _ATOMS else freeze(item, around) for item in value])
    return kind, frozenset(items) if isinstance(value, set | frozenset) else items


def _frozen_array(array: np.ndarray[Any, Any], around: tuple[int, ...]) -> Any:
    if array.dtype.hasobject:
        return np.ndarray, array.shape, freeze(array.tolist(), around)
    content = array.tobytes()
    if len(content) > _SMALL:
        content = hashlib.blake2b(content).digest()
    return np.ndarray, array.shape, array.dtype.str, content


def alike(then: Any, now: Any) -> bool:
    """Tell whether one object does what the other does: it is the same, or made of the same.

    A step may make objects, closures and parts anew each time it is traced. They count as the same where
    their code and all that they hold is the same.
    """
    if then is now:
        return True
    if type(then) is not type(now) or isinstance(then, Field | type | types.ModuleType):
        return False
    pair = (id(then), id(now))
    inside = _comparing.get()
    if pair in inside:
        return True
    token = _comparing.set(inside | {pair})
    try:
        return _made_alike(then, now)
    finally:
        _comparing.reset(token)


def _made_alike(then: Any, now: Any) -> bool:
    if isinstance(then, types.MethodType):
        return alike(then.__func__, now.__func__) and alike(then.__self__, now.__self__)
    if isinstance(then, types.BuiltinMethodType | types.MethodWrapperType):
        return bool(then == now)
    if isinstance(then, functools.partial):
        return freeze((then.func, then.args, then.keywords)) == freeze((now.func, now.args, now.keywords))
    if isinstance(then, types.FunctionType):
        return then.__code__ is now.__code__ and _surroundings(then) == _surroundings(now)
    if _taichi.is_scalar_type(then):  # fields make theirs anew each time they are asked
        return bool(then == now)
    if _taichi.taichi_function(then) is not None or _taichi.kernel_function(then) is not None:
        return False
    return _plain(type(then)) and freeze(attributes_of(then)) == freeze(attributes_of(now))


def _surroundings(function: types.FunctionType) -> Any:
    """Return what a function has from where it was made: defaults and closure variables."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    return freeze((cells, function.__defaults__, function.__kwdefaults__)), id(function.__globals__)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (only looked whether it is there)
    except ValueError:
        return False
    return True


def _plain(cls: type) -> bool:
    """Tell whether a class is written in Python all through, so that its attributes are all there is."""
    makers = [vars(base)["__new__"] for base in cls.__mro__ if base is not object and "__new__" in vars(base)]
    made_in_python = all(isinstance(maker, staticmethod | types.FunctionType) for maker in makers)
    new: Any = cls.__new__
    return made_in_python and (new is object.__new__ or isinstance(new, types.FunctionType))


def shown(value: Any) -> str:
    """Return a value for a message, short."""
    if isinstance(value, Field):
        return value.label
    if isinstance(value, types.FunctionType | types.MethodType):
        return f"the function {value.__qualname__}"
    text = " ".join(repr(plain_number(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
