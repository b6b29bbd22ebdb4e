"""Arrays that know nothing: what is computed with a signal has other times and units, or none."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

__all__ = ["gives_plain", "plain"]

_METHODS = (
    "argmax argmin argpartition argsort byteswap choose clip compress conj conjugate cumprod cumsum diagonal "
    "dot flatten max mean min nonzero prod ravel repeat reshape round searchsorted squeeze std sum swapaxes "
    "take trace transpose var"
).split()
_PROPERTIES = ("T", "mT", "imag", "real")


def plain(value: Any) -> Any:
    """Return arrays as they are without a subclass of their own, in lists and tuples too."""
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray)
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return value


def gives_plain(kind: type) -> None:
    """Let the methods of a subclass of ndarray that make another array return an ordinary one."""
    for name in _METHODS:
        setattr(kind, name, _method(getattr(np.ndarray, name)))
    for name in _PROPERTIES:
        if hasattr(np.ndarray, name):  # mT came with NumPy 2
            setattr(kind, name, property(_method(getattr(np.ndarray, name).__get__)))


def _method(found: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(found)
    def called(self: Any, *args: Any, **options: Any) -> Any:
        return found(plain(self), *args, **options)

    return called
