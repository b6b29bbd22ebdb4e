"""Configurations of simulators: frozen dataclasses whose values are checked when one is made."""

from __future__ import annotations

from typing import NoReturn

from diffsim.errors import ConfigError
from diffsim.options import Options

__all__ = ["Config"]


class Config(Options):
    """Base of the constants of a simulator, a frozen dataclass of fields declared by `option`.

    A value that is not allowed is an error that names the class, the field, the value and the rule. NumPy
    scalars become Python's numbers, lists and arrays tuples::

        @dataclass(frozen=True)
        class DropConfig(Config):
            dt: float = option(1e-3, "time step [s]", above=0.0)
            gravity: tuple[float, float] = option((0.0, -9.8), "acceleration of gravity [m/s^2]")

            def check(self) -> None:
                if self.gravity == (0.0, 0.0):
                    self.refuse("gravity", "point somewhere", self.gravity, "a drop needs it to fall")

    Raises:
        ConfigError: A value has the wrong type or breaks a rule.
    """

    def __post_init__(self) -> None:
        """Check each field, then the rules between them."""
        super().__post_init__()
        self.check()

    @classmethod
    def label(cls, name: str) -> str:
        return f"{cls.__name__}.{name}"

    def check(self) -> None:
        """Hold the rules between fields, by `refuse`; a subclass overrides it.

        Raises:
            ConfigError: A rule is broken.
        """

    def refuse(self, name: str, rule: str, value: object, remedy: str) -> NoReturn:
        """Raise the error of a value that breaks a rule.

        Args:
            name: The field.
            rule: What it must do or be.
            value: What it is.
            remedy: What to do.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self.label(name)} must {rule}, got {value!r}; {remedy}")
