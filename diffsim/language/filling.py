"""`field.fill(value)`: one number for all elements, as a kernel stores it, or as values before a run."""

from __future__ import annotations

from typing import Any, ClassVar

from diffsim.errors import ConfigError, TraceError
from diffsim.language.recorder import current, reader
from diffsim.options import plain_number

__all__ = ["Fillable", "filled"]


def filled(field: Any, value: Any) -> None:
    """Store a number in every element and component of a field; read as a kernel, never run as Python."""
    if field.shape == ():
        field[None] = value
    else:
        for cell in field:
            field[cell] = value


class Fillable:
    """Base of declared fields: what their `fill` does, and what Python code that indexes them gets."""

    kind: ClassVar[str]
    label: Any

    def __getitem__(self, index: Any) -> Any:
        memory = reader.get()
        if memory is None:
            raise self._unallocated("read")
        return memory.load(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        memory = reader.get()
        if memory is None:
            raise self._unallocated("written")
        memory.put(self, index, value)

    def _unallocated(self, verb: str) -> Exception:
        """Return the error of a field that Python code uses."""
        raise NotImplementedError

    def fill(self, value: Any) -> None:
        """Give every element and component one number: in `step`, and in kernels, as a kernel would store it.

        A Scratch is zero at the start of each step anyway. A State is filled as by a store without the time:
        from there on it is the number, at the end of the step too. Outside of a step it is `set(value)`.

        Args:
            value: A number.

        Raises:
            ConfigError: It is no number.
            TraceError: The field is not one that steps write.
            StateError: It has no values of its own outside of a step.

        Differentiability: Nothing flows to what was there before.
        """
        number = plain_number(value)
        record, me = current.get(), self
        if not isinstance(number, bool | int | float):
            raise ConfigError(f"{self.label} must be filled with a number, got {value!r}; pass one")
        if record is not None and self.kind in ("state", "scratch", "workspace"):
            record(filled, None, (me, number))
        elif record is not None:
            raise TraceError(
                f"{self.label} must not be filled in a step, got fill({number!r}); call .set(...) before"
            )
        elif hasattr(me, "set"):
            me.set(number)
        else:
            raise self._unallocated("filled")
