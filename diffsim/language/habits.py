"""What to do instead, where a step is written as plain Python or as for Taichi's own fields."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from diffsim import _taichi
from diffsim.errors import DiffsimError, TraceError
from diffsim.language.fields import Field
from diffsim.options import near_miss

__all__ = ["attribute_instead", "missing_attribute", "taichis_own", "untraceable"]

_SET = "call .set(...) before the run"
_READ = "call .numpy() outside of step, or rollout.trajectory(field) for what a run computed"
_FIELDS = re.compile(r"'(State|Scratch|Workspace|Param|Constant|Control|Cost|Done)'")
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = tuple(os.path.dirname(m.__file__ or "") + os.sep for m in (np, _taichi.ti))


_GRADIENTS = "rollout.value_and_grad() runs all adjoints: step says what happens, forward alone"
_SPARSE = (
    "a field declared with layout=ds.sparse(...) activates what is written; ti.is_active(field, cell) asks"
)
_LISTS = "write ti.length(node, [...]) with the SNode that ti.root.dynamic(...) returned; append in Python"
_TAICHIS_OWN = {  # kernels of Taichi's own, and what launches them
    "clear_gradients": ("ti.ad.Tape or clear_all_gradients", _GRADIENTS),
    "fill": ("fill() of a Taichi field", "declare it as ds.Scratch or ds.State, whose fill() is a kernel"),
    "to": ("to_numpy() of a Taichi field", _READ),
    "from": ("from_numpy() of a Taichi field", "call it before the run, or declare the field as ds.Constant"),
}


def taichis_own(kernel: Callable[..., Any]) -> TraceError | None:
    """Return the error of a kernel of Taichi's own that a method launches; None for others."""
    if str(kernel.__module__).split(".")[0] not in ("taichi", "taichi_forge"):
        return None
    name = kernel.__name__
    kind = "to" if name.endswith("_to_ext_arr") else "from" if name.startswith("ext_arr_to") else name
    kind = "fill" if name.startswith("fill") else kind
    told, remedy = _TAICHIS_OWN.get(kind, (f"Taichi's own kernel {name}", "do it outside of the simulator"))
    return TraceError(f"a step must be made of kernels of the simulator's, got {told}; {remedy}")


def attribute_instead(field: Field, name: str) -> str | None:
    """Say what there is instead of an attribute of Taichi's fields; None for one that those do not have."""
    if name in ("grad", "dual", "needs_grad", "adjoint"):
        return _GRADIENTS
    if name in (
        "snode",
        "parent",
        "deactivate_all",
        "is_active",
        "activate",
        "deactivate",
        "append",
        "length",
    ):
        return _SPARSE
    if name in ("n", "m", "dtype"):
        return "shape and type are what they were declared as: see .shape, and .type.shape for components"
    if name in ("from_numpy", "copy_from", "from_torch"):
        return _SET
    return _READ if name in ("to_numpy", "to_torch") else None


def missing_attribute(owner: Any, name: str, text: str) -> str:
    """Say that an object has no such attribute, in a message's words; `text` is what it is called there."""
    if isinstance(owner, Field):
        remedy = attribute_instead(owner, name)
        if remedy is not None:
            return f"{owner.label} must be used as declared fields are, got .{name} of Taichi's own; {remedy}"
    if _taichi.is_a(owner, "Field") and name in ("length", "append", "deactivate"):
        return f"{text} must be used as a field in kernels, got .{name} of a list; {_LISTS}"
    if type(owner).__name__ == "BoundKernel" and name in ("grad", "adjoint", "forward"):
        return f"kernel {owner.__name__} must be called as it is, got .{name} of Taichi's own; {_GRADIENTS}"
    meant = near_miss(name, [n for n in dir(owner) if not n.startswith("_")])
    advice = f"did you mean {meant}?" if meant is not None else "assign it in __init__"
    return f"{text} must have an attribute {name!r}, got none; {advice}"


def untraceable(name: str, function: Callable[..., Any], error: Exception) -> Exception:
    """Return the error that says why a method cannot be traced, with the user's line.

    One of diffsim's own is kept, and a TraceError gets the line that it lacks.

    Args:
        name: The method, with its class.
        function: The method.
        error: What it raised.
    """
    frames = _frames(error)
    users = [(frame, line) for frame, line in frames if not frame.f_code.co_filename.startswith(_OURS)]
    own = isinstance(error, DiffsimError) and not _is_element_access(error)
    if own and (type(error) is not TraceError or error.diagnostics or not users):
        return error
    if not users:  # it was not even entered
        if isinstance(error, TypeError):
            wanted = "(self)" if name.endswith(".reset") else "(self, t)"
            got = inspect.signature(getattr(function, "__func__", function))
            return TraceError(f"{name} must be defined with {wanted}, got {got}; correct its parameters")
        return TraceError(f"{name} must be traceable, got {type(error).__name__}: {error}; correct it")
    outside = [pair for pair in users if not pair[0].f_code.co_filename.startswith(_LIBRARIES)]
    frame, line = (outside or users)[-1]
    place = f"{_shown(frame.f_code.co_filename)}:{line} in {frame.f_code.co_name}"
    if own:
        return TraceError(f"{place}: {error}")
    if _is_element_access(error):
        return TraceError(_elements(name, frames[-1][0], frame, place))
    if isinstance(error, AttributeError) and (
        isinstance(error.obj, Field) or type(error.obj).__name__ == "BoundKernel"
    ):
        label = error.obj.label if isinstance(error.obj, Field) else str(getattr(error.obj, "__name__", ""))
        return TraceError(f"{place}: {missing_attribute(error.obj, error.name or '', label)}")
    if any(inner.f_code.co_filename.endswith(os.path.join("ad", "_ad.py")) for inner, _ in frames):
        return TraceError(f"{place}: a step must be made of kernels, got ti.ad.Tape; {_GRADIENTS}")
    remedy = "it may only call kernels and parts, with t passed on"
    if isinstance(error, TypeError) and _FIELDS.search(str(error)):
        remedy = "fields have values only in kernels: compute there, as in self.k[None] or self.x[t, i]"
    return TraceError(
        f"{name} must run as plain Python when it is traced, got {type(error).__name__}: {error} ({place}); "
        f"{remedy}"
    )


def _is_element_access(error: Exception) -> bool:
    """Tell whether an error comes from plain Python that read or wrote an element of a field."""
    return _frames(error)[-1][0].f_code in (Field.__getitem__.__code__, Field.__setitem__.__code__)


def _elements(name: str, access: FrameType, frame: FrameType, place: str) -> str:
    """Say that a method reads or writes elements of a field without being a kernel."""
    verb = "written" if access.f_code is Field.__setitem__.__code__ else "read"
    label, method = access.f_locals["self"].label, frame.f_code.co_name
    if name.endswith(f".{method}"):
        return (
            f"{place}: elements of {label} must be {verb} in kernels, got {name}, which runs once as plain "
            "Python; move the line into a method with @ti.kernel before it, and call that"
        )
    return (
        f"{place}: {method} must be a kernel, since elements of {label} are {verb} there, got a plain Python "
        "method; put @ti.kernel before it, and write its parameters as (self, t: ti.i32)"
    )


def _frames(error: Exception) -> list[tuple[FrameType, int]]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _shown(file: str) -> str:
    """Return a path as messages show it, relative where it is below the working directory."""
    relative = os.path.relpath(file) if os.path.isabs(file) else file
    return file if relative.startswith("..") else relative
