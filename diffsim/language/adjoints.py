"""Adjoints that a user writes: for Taichi functions, for kernels of simulators and parts, and for methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from diffsim import _taichi
from diffsim.errors import ConfigError

__all__ = ["adjoint_of", "given_adjoint", "is_method", "is_primitive", "is_surrogate"]

_ATTRIBUTE = "_diffsim_adjoint"
_PRIMITIVE = "_diffsim_primitive"
_SURROGATE = "_diffsim_surrogate"
_KIND = "_diffsim_kind"
_METHOD = "method"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def adjoint_of(
    target: Callable[..., Any], primitive: bool = False, surrogate: bool = False
) -> Callable[[Decorated], Decorated]:
    """Say that the decorated function or kernel is the adjoint of another one, in place of the derived one.

    The adjoint of a `@ti.func` takes the function's arguments, then its results, then the adjoints of the
    results, and returns the adjoint of each argument that is not a `ti.template()` (a tuple where there are
    several; that of an integer is ignored). Neither may touch fields:

        @ti.func
        def cube(x):
            return x * x * x

        @ds.adjoint_of(cube)
        @ti.func
        def cube_adjoint(x, y, y_adj):
            return 3.0 * x * x * y_adj

    The adjoint of a `@ti.kernel` is a kernel of the same arguments. It reads fields, finds the adjoint of
    each as `field.grad[...]`, and adds (`+=`) to the adjoints of what the kernel reads. The adjoints of what
    the kernel overwrites are zeroed afterwards by the library:

        @ds.adjoint_of(integrate)
        @ti.kernel
        def integrate_adjoint(self, t: ti.i32):
            for i in range(self.n):
                self.x.grad[t, i] += self.x.grad[t + 1, i]

    The adjoint of a method of a Part that calls kernels is a method of the same arguments. It calls kernels
    that read fields, and add to their adjoints; those of what the method overwrites are zeroed afterwards, as
    above. None of the kernels of the two is differentiated, and they alone may use a `ds.Workspace`, and be
    repeated by `ds.repeat`. So a solver has the adjoint of what it solves, not of how:

        def solve(self, t):
            self.load(t)  # the right-hand side goes into a Workspace
            for _ in ds.repeat(20):
                self.improve()
            self.store(t)

        @ds.adjoint_of(solve)
        def solve_adjoint(self, t):
            self.load_adjoint(t)  # self.right[i] = self.x.grad[t, i]
            for _ in ds.repeat(20):
                self.improve()
            self.add_adjoint(t)  # self.b.grad[t, i] += self.left[i]

    Args:
        target: The `@ti.func`, `@ti.kernel` or method to differentiate, named before it is bound to an
            object.
        primitive: For a `@ti.func` whose body has no derivative of use, as that of an iteration: forward mode
            takes it from the adjoint too. `check_grad` then tests the adjoint by differences only.
        surrogate: For a `@ti.func` or `@ti.kernel` whose adjoint is meant to be another one than that of its
            values: the slope of a spike, of a rounding, a clipped one. `check_grad` leaves it out where it
            compares with differences (`GradientReport.surrogates`), and forward mode takes it as it is.

            @ti.func
            def spike(v):
                return ti.select(v > 0.0, 1.0, 0.0)

            @ds.adjoint_of(spike, surrogate=True)
            @ti.func
            def spike_adjoint(v, y, y_adj):
                return y_adj / (1.0 + ti.abs(v)) ** 2

    Returns:
        A decorator that returns what it decorates.

    Raises:
        ConfigError: The two are not both functions or both kernels of Taichi or both methods, or there is an
            adjoint already, or that of a method is called a surrogate.

    Differentiability: The gradient of a program is that of its adjoints. With a surrogate it is no derivative
        of the cost, and does not pretend to be.

    Source: Surrogate gradients: Neftci, Mostafa and Zenke (2019); the straight-through estimator: Bengio,
        Leonard and Courville (2013).
    """
    known = _python_function(target)
    if known is None:
        raise ConfigError(
            f"adjoint_of must get a @ti.func or @ti.kernel, got {target!r}; decorate it first (or pass a "
            "method of a Part that calls kernels)"
        )
    kind, function = known
    if surrogate and kind == _METHOD:
        raise ConfigError(
            "a surrogate must be the adjoint of a @ti.func or @ti.kernel, got the method "
            f"{function.__name__}; leave surrogate=True out, or put what is meant into a function of its own"
        )
    wanted = f"a @ti.{kind}" if kind != _METHOD else "a method"
    remedy = f"write @ti.{kind}" if kind != _METHOD else "write a def without decorators"

    def decorate(adjoint: Decorated) -> Decorated:
        given = _python_function(adjoint)
        if given is None or given[0] != kind:
            raise ConfigError(
                f"the adjoint of {function.__name__} must be {wanted} like it, got {adjoint!r}; {remedy} "
                "below @ds.adjoint_of(...)"
            )
        if getattr(function, _ATTRIBUTE, None) is not None:
            raise ConfigError(
                f"{function.__name__} must have one adjoint, got a second one, {given[1].__name__}; "
                "remove one of them"
            )
        setattr(function, _ATTRIBUTE, given[1])
        setattr(function, _KIND, kind)
        setattr(given[1], _PRIMITIVE, primitive or surrogate)
        setattr(given[1], _SURROGATE, surrogate)
        return adjoint

    return decorate


def given_adjoint(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the Python function of the adjoint that a user gave, or None."""
    found: Callable[..., Any] | None = getattr(function, _ATTRIBUTE, None)
    return found


def is_primitive(adjoint: Callable[..., Any]) -> bool:
    """Tell whether forward mode uses a given adjoint too."""
    return bool(getattr(adjoint, _PRIMITIVE, False))


def is_surrogate(adjoint: Callable[..., Any]) -> bool:
    """Tell whether a given adjoint is meant to be another one than that of the values."""
    return bool(getattr(adjoint, _SURROGATE, False))


def is_method(function: Callable[..., Any]) -> bool:
    """Tell whether a Python function is a method that calls kernels and has an adjoint of its own."""
    return getattr(function, _KIND, None) == _METHOD


def _python_function(obj: Any) -> tuple[str, Callable[..., Any]] | None:
    kernel = _taichi.kernel_function(obj)
    if kernel is not None:
        return "kernel", kernel
    function = _taichi.taichi_function(obj)
    if function is not None:
        return "func", function[0]
    in_class = inspect.isfunction(obj) and not f".{obj.__qualname__}".endswith(f".<locals>.{obj.__name__}")
    return (_METHOD, obj) if in_class and "." in obj.__qualname__ else None
