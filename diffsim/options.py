"""Options as frozen dataclasses: one declaration gives check, help text, command-line flag and TOML key."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, TypeVar

import numpy as np

from diffsim.errors import ConfigError

__all__ = [
    "OptionInfo",
    "Options",
    "flag_of",
    "near_miss",
    "option",
    "options_of",
    "plain_number",
    "unknown_name",
]

_RULE = "diffsim.option"
_T = TypeVar("_T", bound="Options")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class _Rule:
    """What a value must keep to, beside its type."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] = ()
    repeated: bool = False


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: tuple[Any, ...] = (),
    repeated: bool = False,
) -> Any:
    """Declare a field of an `Options` dataclass.

    Args:
        default: The value where none is given; left out for an option that must be given.
        help: One line for `--help`, with the unit where there is one.
        minimum: The smallest number allowed.
        maximum: The largest number allowed.
        above: A number that the value must be greater than.
        choices: The only values allowed.
        repeated: Of a tuple: the command line gives each item by itself, `--set a --set b`, not `a,b`.

    Returns:
        A dataclass field.
    """
    rule = _Rule(help, minimum, maximum, above, tuple(choices), repeated)
    return field(default=default, metadata={_RULE: rule})


@dataclass(frozen=True)
class OptionInfo:
    """Describe one option: what the command line and the checks need to know.

    Attributes:
        name: The field's name, with underscores.
        kind: `int`, `float`, `bool` or `str`: of the value, or of each item of a tuple.
        optional: Whether None is allowed.
        default: The value where none is given, or `dataclasses.MISSING`.
        rule: The limits and the help text; for a tuple, of each item.
        length: The number of items of a tuple, 0 for any number; None for a single value.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    rule: _Rule
    length: int | None = None

    @property
    def help(self) -> str:
        """Give the help text."""
        return self.rule.help

    @property
    def metavar(self) -> str:
        """Name the kind of value for `--help`."""
        if self.rule.choices:
            return "|".join(str(choice) for choice in self.rule.choices)
        word = {int: "INT", float: "FLOAT", bool: "BOOL", str: "TEXT"}[self.kind]
        if self.length is None or self.rule.repeated:
            return word
        return ",".join([word] * self.length) if self.length else f"{word},..."

    @property
    def wanted(self) -> str:
        """Say in words what is allowed."""
        if self.length is not None:
            count = f"{self.length} values" if self.length else "a list of values"
            return f"{count}, each {self._wanted_item}"
        return self._wanted_item

    @property
    def _wanted_item(self) -> str:
        rule = self.rule
        if rule.choices:
            return "one of " + ", ".join(str(choice) for choice in rule.choices)
        text = _KINDS[self.kind]
        if rule.minimum is not None and rule.maximum is not None:
            return f"{text} from {rule.minimum} to {rule.maximum}"
        if rule.minimum is not None:
            return f"{text} of at least {rule.minimum}"
        if rule.maximum is not None:
            return f"{text} of at most {rule.maximum}"
        if rule.above is not None:
            return f"{text} above {rule.above}"
        return text

    def check(self, value: object, label: str) -> Any:
        """Return the value as its kind.

        Args:
            value: What was given, from Python or TOML.
            label: What to call the option in the message.

        Raises:
            ConfigError: The value has the wrong type or breaks a limit.
        """
        if value is None and self.optional:
            return None
        if self.length is None:
            single = self._item(value)
            if single is None:
                raise self.refuse(value, label)
            return single
        if not isinstance(value, list | tuple | np.ndarray) or len(value) != (self.length or len(value)):
            raise self.refuse(value, label)
        items = tuple(self._item(item) for item in value)
        if any(item is None for item in items):
            raise self.refuse(value, label)
        return items

    def _item(self, value: object) -> Any:
        """Return a value as its kind, None where it is not allowed."""
        value = plain_number(value)
        if (
            self.kind is float
            and isinstance(value, int)
            and not isinstance(value, bool)
            and abs(value) < 2**1000
        ):
            value = float(value)
        return value if type(value) is self.kind and self._fits(value) else None

    def parse(self, text: str, label: str) -> Any:
        """Return the value that a text stands for, as the command line gives it.

        Raises:
            ConfigError: The text does not stand for such a value, or the value breaks a limit.
        """
        one = self.length is None or self.rule.repeated
        words = [text] if one else [word.strip() for word in text.split(",")]
        try:
            values = tuple(self.kind(word) for word in words)
        except ValueError:
            raise self.refuse(text, label) from None
        if len(values) != (self.length or len(values)) or not all(map(self._fits, values)):
            raise self.refuse(text, label)
        return values[0] if one else values

    def refuse(self, value: object, label: str) -> ConfigError:
        """Make the error of a value that is not allowed."""
        known = self.default is not dataclasses.MISSING and self.default is not None
        remedy = f"the default is {_toml_text(self.default)}" if known else "leave it out where unsure"
        return ConfigError(f"{label} must be {self.wanted}, got {_short(value)}; {remedy}")

    def _fits(self, value: Any) -> bool:
        rule = self.rule
        if rule.choices:
            return value in rule.choices
        if self.kind is str:
            # A line break or a NUL in a name or path can only be a slip, and would spoil one-line messages.
            return value.isprintable()
        return (
            math.isfinite(value)
            and (rule.minimum is None or value >= rule.minimum)
            and (rule.maximum is None or value <= rule.maximum)
            and (rule.above is None or value > rule.above)
        )


class Options:
    """Base of frozen dataclasses whose fields are declared by `option`; values are checked when one is made.

    Fields are annotated `int`, `float`, `bool`, `str`, a tuple of one of these, or any of that `| None`.

    Raises:
        ConfigError: A value has the wrong type or breaks a limit of its option.
    """

    def __post_init__(self) -> None:
        """Check every value; a whole number is taken for a float."""
        for info in options_of(type(self)):
            # A frozen dataclass can only be completed this way.
            object.__setattr__(self, info.name, info.check(getattr(self, info.name), self.label(info.name)))

    @classmethod
    def label(cls, name: str) -> str:
        """Return what messages call a field of one that is made by hand."""
        return name

    @classmethod
    def read(cls: type[_T], values: Mapping[str, Any], label: Callable[[str], str] = str) -> _T:
        """Make one from a table of values, such as a part of a TOML file.

        Args:
            values: Values by field name; options left out take their default.
            label: Turns a field's name into what messages call it.

        Raises:
            ConfigError: A key is unknown or missing, or a value is not allowed.
        """
        known = {info.name: info for info in options_of(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(
                    unknown_name(label(key), key, list(known), "an option", "correct or remove it")
                )
        for name, info in known.items():
            if name not in values and info.default is dataclasses.MISSING:
                raise ConfigError(f"{label(name)} must be given, got nothing; write {info.wanted}")
        return cls(**{key: known[key].check(value, label(key)) for key, value in values.items()})

    def plain(self) -> dict[str, Any]:
        """Return the values by name, without those that are None: what TOML can hold."""
        values = ((info.name, getattr(self, info.name)) for info in options_of(type(self)))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values
            if value is not None
        }


def options_of(cls: type[Options]) -> list[OptionInfo]:
    """List the options of a class in the order of their declaration.

    Raises:
        TypeError: A field was declared without `option`, or has a type that is not supported.
    """
    hints = typing.get_type_hints(cls)
    found = []
    for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
        rule = entry.metadata.get(_RULE)
        hint, optional = _kind(hints[entry.name])
        kind, length = _items(hint)
        if rule is None or kind not in _KINDS:
            raise TypeError(
                f"{cls.__name__}.{entry.name} must be declared by option() as int, float, bool, str or a "
                "tuple of one of these"
            )
        found.append(OptionInfo(entry.name, kind, optional, entry.default, rule, length))
    return found


def plain_number(value: Any) -> Any:
    """Return the number in a scalar of NumPy or an array without axes; anything else as it is."""
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        return value.item()
    return value


def flag_of(name: str) -> str:
    """Return how an option is written on the command line."""
    return "--" + name.replace("_", "-")


def near_miss(given: str, known: Iterable[str]) -> str | None:
    """Return the known name that a name is a slip of the keyboard away from, or None.

    Three quarters of the letters agree and the first one does, or nearly all do: `gpu` is no slip for `cpu`.
    """
    letters = given.lower()
    rated = [(SequenceMatcher(None, letters, name.lower()).ratio(), name) for name in known]
    close = [
        (ratio, name)
        for ratio, name in rated
        if ratio >= 0.85 or (ratio >= 0.75 and name[:1].lower() == letters[:1])
    ]
    return max(close)[1] if close else None


def unknown_name(thing: str, given: str, known: list[str], kind: str, otherwise: str) -> str:
    """Say that a name is not known, which names are, and which of them was probably meant."""
    meant = near_miss(given, known)
    advice = f"did you mean {meant}?" if meant is not None else otherwise
    listed = f"one of {', '.join(known)}" if known else f"{kind}, of which there are none"
    return f"{thing} must be {listed}, got {_short(given)}; {advice}"


def _kind(hint: Any) -> tuple[Any, bool]:
    """Split `X | None` into X and True."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return (inner[0] if len(inner) == 1 else None), True
    return hint, False


def _items(hint: Any) -> tuple[Any, int | None]:
    """Split `tuple[X, X]` into X and 2, `tuple[X, ...]` into X and 0; any other type has no length."""
    if typing.get_origin(hint) is not tuple:
        return hint, None
    kinds = typing.get_args(hint)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return kinds[0], 0
    return (kinds[0] if len(set(kinds)) == 1 else None), len(kinds)


def _toml_text(value: object) -> str:
    """Write a default as a user would."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: object) -> str:
    """Show a value on one line of bounded length."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
