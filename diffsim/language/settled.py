"""Objects that stay as they were made: what is assigned to them later would change nothing, or too much."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from diffsim.errors import StateError
from diffsim.options import near_miss

__all__ = ["Settled"]


class Settled:
    """Base of what is declared: public attributes are assigned once, as it is made, and there are no others.

    Programs rely on what they saw of a declaration, and nobody reads `field.values`, so that an assignment
    would go unnoticed, or change what an index means. Attributes are those that classes annotate.
    """

    _known: ClassVar[frozenset[str]] = frozenset()
    _movable: ClassVar[frozenset[str]] = frozenset()  # public ones that may be assigned at any time
    _remedy: ClassVar[str] = "make a new one"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        told = [pair for base in cls.__mro__ for pair in inspect.get_annotations(base).items()]
        cls._known = frozenset(k for k, kind in told if not (k.startswith("_") or "ClassVar" in str(kind)))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that is private, may change, or was never set.

        Raises:
            StateError: It was set as the object was made, or there is no such attribute.
        """
        if not (name.startswith("_") or name in self._movable or name in self._known - vars(self).keys()):
            raise StateError(self._refusal(name, value))
        super().__setattr__(name, value)

    def _refusal(self, name: str, value: Any) -> str:
        label, given = getattr(self, "label", type(self).__name__), repr(value)[:60]
        if name in self._known or hasattr(type(self), name):
            return f"{label} must keep its {name}, got {given} assigned; {self._remedy}"
        meant = near_miss(name, self._movable)
        remedy = f"did you mean {meant}?" if meant else self._remedy
        if not type(self).__module__.startswith("diffsim."):  # a class of somebody's own
            remedy += f"; annotate what {type(self).__name__} has beside that in its body"
        return f"{label} must be assigned attributes that it has, got {name} = {given}; {remedy}"
