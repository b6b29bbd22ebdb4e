"""Derivatives that are part of a step: forces from an energy, a function's gradient inside a kernel."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from diffsim import _taichi
from diffsim.errors import ConfigError, StateError
from diffsim.language.adjoints import is_method
from diffsim.language.fields import Constant, Field, Param, Scratch, State, Workspace
from diffsim.language.outcome import Cost, Done
from diffsim.language.simulator import BoundKernel, is_recording
from diffsim.options import plain_number

__all__ = ["Derivative", "EnergyCall", "EnergyGradient", "current_energy", "grad", "gradient_of"]


# ---- of a function, in a kernel ----


@dataclass(frozen=True)
class Derivative:
    """What `grad` returns: the gradient of a function, to be called in a kernel.

    Attributes:
        function: A `@ti.func`, bound or not, or another `Derivative`.
        argnums: By which arguments, in the order given; None for all that are made of floats.
        single: One argument is named, and the result is no tuple.
    """

    function: Any
    argnums: tuple[int, ...] | None = None
    single: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: derivatives are computed in kernels only.

        Raises:
            StateError: Always.
        """
        raise StateError(
            f"{self} must be called in a kernel, got a call by hand; write it in a @ti.kernel that step calls"
        )

    def __repr__(self) -> str:
        inner = self.function if isinstance(self.function, Derivative) else _name(self.function)
        return f"ds.grad({inner})"


def grad(function: Any, argnums: int | Sequence[int] | None = None) -> Derivative:
    """Return the gradient of a Taichi function, to be called in kernels as the function is.

        dq, dp = ds.grad(self.hamiltonian)(self.q[t, i], self.p[t, i])

    It may be made where it is called, or before, as an attribute or a global. The derivative by a number is a
    number, by a vector or matrix one of the same shape. The gradient of a gradient is `ds.grad(ds.grad(f))`,
    as Newton's method wants it.

    Args:
        function: A `@ti.func`, a method too, that returns one number; or what `grad` has returned. It may
            read fields, call other functions, and have loops and branches. It must not write fields.
        argnums: The argument to differentiate by, counted from 0, or several of them. Left out, by all that
            are floats, or vectors or matrices of floats, numbers written into the call among them.

    Returns:
        What computes the derivative: one value where one argument is named, or only one is of floats; else a
        tuple of them.

    Raises:
        ConfigError: `function` is no Taichi function, or `argnums` no integers.

    Differentiability: The result has gradients as any other, by its arguments and by the fields that the
    function reads. At kinks derivatives are those of the function, so that those of second order are 0 for
    `abs`, `min` and `max`, as everywhere on their two sides. Functions with an adjoint of their own
    (`ds.adjoint_of`) are differentiated by it, and a second time by differentiating it.

    Where no loop of the function carries what its adjoint needs, this is reverse mode, and costs a few times
    the function. Else it is forward mode, once for each number that is differentiated by.
    """
    if not isinstance(function, Derivative) and (
        _taichi.taichi_function(function) is None or _taichi.is_real_function(function)
    ):
        raise ConfigError(
            f"grad must get a @ti.func, got {_name(function)}; decorate it with @ti.func"
            + ("; of a kernel, ds.gradient_of is the gradient" if _is_kernel(function) else "")
        )
    if argnums is None:
        return Derivative(function)
    single = not isinstance(argnums, list | tuple)
    found = tuple(map(plain_number, [argnums] if single else argnums))  # type: ignore[arg-type]
    if not found or any(not isinstance(k, int) or isinstance(k, bool) or k < 0 for k in found):
        raise ConfigError(
            f"grad argnums must be an integer from 0, or several, got {argnums!r}; 0 is the first argument"
        )
    if len(set(found)) < len(found):
        raise ConfigError(f"grad argnums must name each argument once, got {argnums!r}; leave one out")
    return Derivative(function, found, single)


# ---- of an energy, in a step ----


@dataclass(frozen=True, eq=False)
class EnergyGradient:
    """What `gradient_of` returns: kernels of a step that add an energy's gradient to fields.

    Attributes:
        kernels: What computes the energy.
        wrt, into: Fields, one of the second for each of the first.
        of: Where the energy is; None where that is seen from the kernels.
        scale: What the gradient is multiplied by.
        at: The time, relative to `t`, at which States in `wrt` are meant; None where the kernels read one.
        hold: Fields that count as constant, though they are made of what is differentiated by.
    """

    kernels: tuple[Any, ...]
    wrt: tuple[Field, ...]
    into: tuple[Field, ...]
    of: Field | None
    scale: float
    at: int | None
    hold: tuple[Field, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Record the gradient as a part of the step; the arguments are those of the energy's kernel.

        Raises:
            StateError: No step is being traced.
            TraceError: The arguments do not fit.
        """
        if not is_recording():
            raise StateError(
                f"{self} must be called from step, running_cost or terminal_cost, got a call by hand; make "
                "ds.Rollout(simulator, steps=...) and call its value()"
            )
        token = _energy.set(EnergyCall(self))
        try:
            for kernel in self.kernels:
                kernel(*args, **kwargs)
        finally:
            _energy.reset(token)

    def __repr__(self) -> str:
        return f"ds.gradient_of({', '.join(map(_name, self.kernels))})"

    @property
    def outline(self) -> tuple[Any, ...]:
        """What makes it differ from another one, for comparison."""
        fields = (*self.wrt, None, *self.into, None, self.of, None, *self.hold)
        return tuple(map(id, fields)), repr(self.scale), self.at


@dataclass(frozen=True, eq=False)
class EnergyCall:
    """One call of an `EnergyGradient`: all kernel calls with this object belong together.

    Attributes:
        gradient: What is called.
    """

    gradient: EnergyGradient


_energy: contextvars.ContextVar[EnergyCall | None] = contextvars.ContextVar("diffsim_energy", default=None)


def current_energy() -> EnergyCall | None:
    """Return the call of an `EnergyGradient` that is being recorded."""
    return _energy.get()


def gradient_of(
    kernel: Any,
    wrt: Field | Sequence[Field],
    into: Field | Sequence[Field],
    of: Field | None = None,
    scale: float = 1.0,
    at: int | None = None,
    hold: Field | Sequence[Field] = (),
) -> EnergyGradient:
    """Make kernels of a step from the gradient of an energy: `into += scale * d energy / d wrt`.

        def step(self, t):
            ds.gradient_of(self.energy, wrt=self.x, into=self.force, scale=-1.0)(t)
            self.move(t)

    It is called in `step` as a kernel is, with the arguments of the energy's kernel, and may be made there or
    before, as an attribute. The energy is the sum of what its kernel adds to a Scratch of one number,
    `self.energy[t] += ...`. Nothing but `into` is written: the energy itself is there only if its kernel is
    called too, and what the kernel stores in other Scratches on its way has copies here.

    An energy that draws random numbers (`ds.random`) draws others here than where its kernel is called,
    unless the draws name a `stream`.

    Args:
        kernel: A `@ti.kernel`, or several that are run in this order with the same arguments, one storing
            in Scratches what another one reads. Each may read any field, and write Scratches only.
        wrt: The State, Scratch, Param or Control to differentiate by, or several; a Control as it is at `t`.
        into: For each of them a Scratch of its type and shape that the gradient is added to, at `t`; a State
            is added to at `t + 1`.
        of: The Scratch that the energy is in, where kernels add to several. Of a Scratch with a shape it is
            the sum of all elements.
        scale: What the gradient is multiplied by: -1.0 for a force.
        at: 0 or 1 (or -1), where kernels read a State of `wrt` both at `t` and at `t + 1`: which of them is
            meant. (The other counts as constant.)
        hold: Scratches, or States at `t + 1`, that other kernels of the step have made of `wrt`, and that
            are to count as constant. Without it, reading such a field is an error, since the derivative
            through it would be missing.

    Returns:
        What adds the gradient, when it is called in `step`.

    Raises:
        ConfigError: An argument is not allowed.

    Differentiability: The gradient of a rollout flows through the kernels that are made, as through kernels
    written by hand: to `wrt`, and to whatever else the energy depends on. At kinks, see `ds.grad`. Loops that
    carry what the derivative needs record it in memory of the step's window, so they need a known bound.
    """
    kernels = tuple(kernel) if isinstance(kernel, list | tuple) else (kernel,)
    for one in kernels or (None,):
        if not _is_kernel(one) or (isinstance(one, BoundKernel) and is_method(one.function)):
            raise ConfigError(
                f"gradient_of must get a kernel that adds to an energy, got {_name(one)}; write a @ti.kernel"
                + ("; of a @ti.func, ds.grad is the gradient" if _taichi.taichi_function(one) else "")
            )
    by, targets = _fields("wrt", wrt, (State, Scratch, Param)), _fields("into", into, (Scratch, State))
    _check_pairs(by, targets)
    if of is not None and (not isinstance(of, Scratch | Cost) or of.type.shape):
        raise ConfigError(
            f"gradient_of of must be a Scratch of numbers, got {of!r}; declare ds.Scratch(ds.real)"
        )
    factor = plain_number(scale)
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not math.isfinite(factor):
        raise ConfigError(f"gradient_of scale must be a number, got {scale!r}; use -1.0 for a force")
    time = plain_number(at)
    if time is not None and (isinstance(time, bool) or time not in (-1, 0, 1)):
        raise ConfigError(f"gradient_of at must be 0 for t or 1 for t + 1, got {at!r}; leave it out")
    held = _fields("hold", hold, (Scratch, State)) if hold or isinstance(hold, Field) else ()
    return EnergyGradient(kernels, by, targets, of, float(factor), time, held)


def _fields(name: str, given: Any, kinds: tuple[type, ...]) -> tuple[Field, ...]:
    fields = tuple(given) if isinstance(given, list | tuple) else (given,)
    allowed = " or ".join(kind.__name__ for kind in kinds)
    for field in fields:
        fixed = isinstance(field, Constant | Cost | Done | Workspace) or not isinstance(field, kinds)
        if fixed and not (name == "wrt" and getattr(field, "kind", "") == "control"):
            raise ConfigError(f"gradient_of {name} must be a {allowed}, got {field!r}; declare one")
        if name != "hold" and not field.differentiable:
            raise ConfigError(f"gradient_of {name} must hold floats, got {field!r}; declare it as ds.real")
    if not fields:
        raise ConfigError(f"gradient_of {name} must name a {allowed}, got none; name one")
    return fields


def _check_pairs(wrt: tuple[Field, ...], into: tuple[Field, ...]) -> None:
    if len(wrt) != len(into):
        raise ConfigError(
            f"gradient_of into must have one field for each of wrt, got {len(into)} for {len(wrt)}; "
            "give both as tuples of the same length"
        )
    for name, fields in (("wrt", wrt), ("into", into)):
        if len({id(field) for field in fields}) < len(fields):
            raise ConfigError(f"gradient_of {name} must name each field once, got one twice; leave it out")
    for source, target in zip(wrt, into, strict=True):
        if (source.type, source.shape) != (target.type, target.shape):
            raise ConfigError(
                f"gradient_of into must have the type and shape of wrt, got {target!r} for {source!r}; "
                "declare a Scratch like it"
            )
        if any(source is other for other in into):
            raise ConfigError(
                f"gradient_of into must be another field than wrt, got {source!r} for both; declare a Scratch"
            )


def _is_kernel(obj: Any) -> bool:
    return isinstance(obj, BoundKernel) or _taichi.kernel_function(obj) is not None


def _name(obj: Any) -> str:
    name: str | None = getattr(obj, "__name__", None)
    return name if name is not None else repr(obj)
