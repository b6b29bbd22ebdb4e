"""Read robots from TOML files: those that ship with the package, and the user's own.

A robot file is TOML with these keys::

    description = "..."                # optional, one line for listings
    head = 0                           # optional, the point whose position is the cost; 0 when left out
    points = [[x, y], ...]             # metres, each of mass 1 kg
    springs = [[a, b, rest, stiffness, actuation], ...]

A spring joins points `a` and `b`; `rest` is its rest length [m], `stiffness` its constant [N/m], and
`actuation` the largest relative change of the rest length that a controller may command (0: passive).
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from diffsim.errors import ConfigError
from diffsim.kernels.mass_spring.robots.robot import Robot, check_end, show

__all__ = ["load_robot", "robot_names", "robot_number"]

_DATA = Path(__file__).parent
_NAMES = ("a", "b", "c", "d", "e")  # the order is the numbering
_KEYS = ("description", "head", "points", "springs")
_COLUMNS = "[point, point, rest length, stiffness, actuation]"


def robot_names() -> tuple[str, ...]:
    """List the names of the robots that ship with the package; a robot's number is its place in the list."""
    return _NAMES


def robot_number(which: str) -> int | None:
    """Return the number of a shipped robot that `load_robot` would take from a text; None for a file."""
    text = which.strip()
    if _is_whole(text):
        return int(text)
    return _NAMES.index(text.lower()) if text.lower() in _NAMES else None


def load_robot(which: int | str | os.PathLike[str]) -> Robot:
    """Load a shipped robot by number or name, or a user's robot from a TOML file.

    Args:
        which: 0 to 4 (also as text), a name from `robot_names()` in either case, or the path of a file. A
            shipped name wins over a file of the same name; write `./a` for the file.

    Returns:
        The checked robot; its name is the file's name without the ending.

    Raises:
        ConfigError: there is no such robot or file, the file can't be read or is not TOML, it has an unknown
            or no necessary key, or one of its values breaks a rule of `Robot`. The message is one line that
            names file and key.
    """
    if isinstance(which, os.PathLike):
        return _read(Path(which))
    if not isinstance(which, str):
        return _read(_shipped(_number(which)))
    text = which.strip()
    if _is_whole(text):
        return _read(_shipped(int(text)))
    if text.lower() in _NAMES:
        return _read(_shipped(_NAMES.index(text.lower())))
    path = Path(which)
    # os.path.exists says no, not OSError, where the text is too long for a file's name.
    if text == "" or not (os.sep in text or "/" in text or path.suffix or os.path.exists(path)):
        raise ConfigError(f"robot must be {_choices()}, got {which!r}; check the spelling")
    return _read(path)


def _choices() -> str:
    """Say what `load_robot` takes."""
    return f"a number from 0 to {len(_NAMES) - 1}, a name ({', '.join(_NAMES)}) or the path of a TOML file"


def _is_whole(text: str) -> bool:
    """Tell whether the text is a whole number."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _number(which: object) -> int:
    """Return an integer (NumPy's too), refuse everything else."""
    if not isinstance(which, (bool, np.bool_)):
        try:
            return operator.index(which)  # type: ignore[arg-type]
        except TypeError:
            pass  # refused below, with the message that lists what is allowed
    raise ConfigError(f"robot must be {_choices()}, got {which!r}; pass one of these")


def _shipped(number: int) -> Path:
    """Give the data file of a shipped robot."""
    if not 0 <= number < len(_NAMES):
        raise ConfigError(f"robot must be {_choices()}, got {number}; choose one of these")
    return _DATA / f"{_NAMES[number]}.toml"


def _read(path: Path) -> Robot:
    """Read one robot file."""
    document = _parse(path)
    where = str(path)
    for key in document:
        if key not in _KEYS:
            raise ConfigError(f"{where}: {key} must be one of {', '.join(_KEYS)}; correct or remove the key")
    for key in ("points", "springs"):
        if key not in document:
            raise ConfigError(f"{where}: {key} must be given; add {key} = [[...], ...]")
    description = document.get("description", "")
    if not isinstance(description, str) or "\n" in description:
        raise ConfigError(
            f"{where}: description must be one line of text, got {description!r}; put it in quotes"
        )
    points = _rows(document, where, "points", "[x, y]")
    springs = _rows(document, where, "springs", _COLUMNS)
    for s, row in enumerate(springs):
        for end in row[:2]:
            if not isinstance(end, int):
                raise ConfigError(
                    f"{where}: springs[{s}] must join two points by their whole numbers, got {end!r}; "
                    f"write {_COLUMNS}"
                )
            check_end(end, len(points), where, s)
    try:
        return Robot(
            name=path.stem,
            points=np.array(points, dtype=np.float64),
            springs=np.array([row[:2] for row in springs], dtype=np.int32),
            rest_length=np.array([row[2] for row in springs], dtype=np.float64),
            stiffness=np.array([row[3] for row in springs], dtype=np.float64),
            actuation=np.array([row[4] for row in springs], dtype=np.float64),
            head=document.get("head", 0),
            description=description,
        )
    except ConfigError as error:
        # The same rules, told with the file in place of the robot's name.
        raise ConfigError(str(error).replace(f"robot {path.stem}: ", f"{where}: ", 1)) from None
    except OverflowError:
        raise ConfigError(
            f"{where}: points and springs must hold numbers below 1e308; correct the largest"
        ) from None


def _parse(path: Path) -> Mapping[str, Any]:
    """Parse a TOML file, with one-line errors."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: robot file must exist; give {_choices()}") from None
    except IsADirectoryError:
        raise ConfigError(
            f"{path}: robot file must be a file, got a directory; give the TOML file in it"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: robot file must be readable, got {error.strerror}; check its permissions"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        # Some versions end the message with the whole document; its first line tells the place.
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ConfigError(
            f"{path}: robot file must be TOML, got an error: {reason}; correct that place"
        ) from None


def _rows(document: Mapping[str, Any], where: str, key: str, columns: str) -> list[list[int | float]]:
    """Return the rows of a table of numbers, checked for count and type."""
    value, width = document[key], columns.count(",") + 1
    if not isinstance(value, list) or not value:
        raise ConfigError(
            f"{where}: {key} must be a list of one row or more, got {show(value)}; write rows {columns}"
        )
    for index, row in enumerate(value):
        if not isinstance(row, list) or len(row) != width:
            raise ConfigError(
                f"{where}: {key}[{index}] must be {columns}, got {show(row)}; write {width} numbers"
            )
        for number in row:
            # bool is an int to Python, and a date or a text is no number.
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise ConfigError(
                    f"{where}: {key}[{index}] must hold numbers, got {show(number)}; "
                    f"write {columns} without quotes"
                )
    return value
