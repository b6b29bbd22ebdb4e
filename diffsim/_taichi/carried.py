"""Functions and classes of one package made anew in the other, where that is what runs them.

Kernels of simulators are read, and printed anew. Little is compiled as it stands: functions that printed
kernels call, and what optimizers keep on the device, with rules that users wrote. Each is the same Python
function, decorated by the package that runs, in which names of Taichi stand for those of that package.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from diffsim._taichi.objects import is_scalar_type, is_vector_type, kernel_function, taichi_function
from diffsim._taichi.packages import FORGE, HOME, is_a, loaded, running
from diffsim._taichi.spelling import twin

__all__ = ["carried", "carried_class"]

_PACKAGES = ("taichi", FORGE)
_made: dict[tuple[str, int], tuple[Any, Any]] = {}  # by package and id; what it was made of is held with it


def carried(obj: Any) -> Any:
    """Return what does in the running package what an object does; itself where it is of no other."""
    if len(loaded()) == 1:
        return obj
    key = running.name, id(obj)
    if key not in _made:
        found = _of_this(obj)
        if found is obj:
            return obj
        _made[key] = obj, found
    return _made[key][1]


def _of_this(obj: Any) -> Any:
    """Make an object anew; itself where it need not be."""
    taichi = taichi_function(obj) if callable(obj) else None
    if taichi is not None:
        return obj if _owner(obj.func) == running.name else running.ti.func(_function(taichi[0]))
    if isinstance(obj, types.ModuleType) and obj.__name__.split(".")[0] == "diffsim":
        return _Module(obj)
    if _owner(obj) in (running.name, ""):
        return obj
    if is_a(obj, "types.annotations.template"):
        return running.ti.template()
    if is_vector_type(obj):
        size = (obj.n,) if obj.ndim == 1 else (obj.n, obj.m)
        return getattr(running.ti.types, "vector" if obj.ndim == 1 else "matrix")(*size, carried(obj.dtype))
    if is_a(obj, "types.ndarray_type.NdarrayType"):
        return running.ti.types.ndarray(dtype=carried(obj.dtype), ndim=obj.ndim)
    if is_scalar_type(obj):
        return next(running.dtypes[n] for p in loaded() for n, known in p.dtypes.items() if known == obj)
    return twin(obj)


def _owner(obj: Any) -> str:
    """Return the package that an object is of; "" for none."""
    name = obj.__name__ if isinstance(obj, types.ModuleType) else getattr(obj, "__module__", "")
    first = str(name).split(".")[0]
    return HOME.name if first == "taichi" else first if first in _PACKAGES else ""


def _function(function: Callable[..., Any]) -> types.FunctionType:
    """Return a Python function in which names of Taichi stand for those of the running package."""
    code = function.__code__
    names = _names(code)
    scope = {name: carried(value) for name, value in function.__globals__.items() if name in names}
    cells = tuple(types.CellType(carried(cell.cell_contents)) for cell in function.__closure__ or ())
    made = types.FunctionType(code, scope, function.__name__, function.__defaults__, cells)
    made.__annotations__ = {name: carried(kind) for name, kind in function.__annotations__.items()}
    made.__qualname__, made.__doc__ = function.__qualname__, function.__doc__
    made.__module__ = function.__module__
    return made


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function looks up among globals, with those inside it."""
    inside = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*inside)


class _Module:
    """A module whose Taichi functions are those of the running package."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return carried(getattr(self._module, name))


def carried_class(kind: type) -> type:
    """Return a class whose kernels and Taichi functions are of the running package: itself, or a subclass."""
    if len(loaded()) == 1:
        return kind
    key = running.name, id(kind)
    if key not in _made:
        own = {name: inspect.getattr_static(kind, name) for name in dir(kind)}
        made = {name: method for name, value in own.items() if (method := _method(value)) is not None}
        found = kind
        if made:
            names = {
                "__module__": kind.__module__,
                "__qualname__": kind.__qualname__,
                "__doc__": kind.__doc__,
            }
            found = running.ti.data_oriented(type(kind.__name__, (kind,), made | names))
        _made[key] = kind, found
    return _made[key][1]


def _method(value: Any) -> Any:
    """Return a method in the running package; None where it is of that, or nothing of Taichi's."""
    kernel = kernel_function(value)
    if kernel is not None:
        other = _owner(type(value._primal)) != running.name
        return _in_class(running.ti.kernel, _function(kernel)) if other else None
    taichi = taichi_function(value)
    if taichi is not None:
        return (
            _in_class(running.ti.func, _function(taichi[0]))
            if _owner(type(value.func)) != running.name
            else None
        )
    return None


def _in_class(decorate: Callable[..., Any], function: Callable[..., Any]) -> Any:
    """Decorate a method; Taichi takes a function for one where it is decorated among these names."""
    body = {"decorate": decorate, "function": function, "__module__": "", "__qualname__": ""}
    return eval("decorate(function)", body)
