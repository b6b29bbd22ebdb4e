"""What a user names on the command line without installing it: `my_module:Sim`, `path/to/file.py:Sim`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from diffsim import runtime
from diffsim.errors import ConfigError, DiffsimError
from diffsim.options import near_miss

__all__ = ["called", "failure", "find", "is_target", "lasting"]

_MOST_NAMES = 8  # of a module that a message lists
_FORM = "write it as my_module:MySim or path/to/file.py:MySim"


def is_target(word: str) -> bool:
    """Tell whether a word names something of the user's own: it has a colon, or is a Python file."""
    return ":" in word or word.endswith(".py")


def called(target: str) -> str:
    """Return what a run of a target, or of a task, is called: the name behind the colon."""
    return target.rpartition(":")[2].rpartition(".")[2] if is_target(target) else target


def find(target: str) -> Any:
    """Import what a user named.

    A file is imported with its folder on the path, as a script is run; a module from the folder that the
    process is in too.

    Args:
        target: `my_module:name` or `path/to/file.py:name`; the name may have dots.

    Returns:
        What the name stands for.

    Raises:
        ConfigError: There is no such file, module or name, or importing it failed; the message has the line.
    """
    where, name = _parts(target)
    with _closing():
        module = _file(target, where) if where.endswith(".py") else _module(target, where)
    if not name:
        raise ConfigError(
            f"{target} must be followed by a name of it, got none; {_suggested(module, where, target)}"
        )
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(
                f"{where} must have {name}, got no such name; {_suggested(module, where, name)}"
            )
        found = getattr(found, part)
    return found


def lasting(target: str) -> str:
    """Return a target that means the same in whichever folder a later process is, where there is one.

    Args:
        target: One that was found.
    """
    where, name = _parts(target)
    if where.endswith(".py"):
        return f"{Path(where).resolve()}:{name}"
    file = getattr(sys.modules.get(where), "__file__", None)
    if "." in where or not file or Path(file).name != f"{where}.py":
        return target  # part of a package, which must be importable then as now
    return f"{Path(file).resolve()}:{name}"


def failure(error: BaseException, file: str | None = None) -> str:
    """Say in one line what an error in a user's file was, and where.

    Args:
        error: What was raised.
        file: The user's file; None for wherever the error was raised.
    """
    kind, words = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind} at {_short(error.filename)}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if file is not None and _same(f.filename, file)] or list(frames)
    place = f" at {_short(own[-1].filename)}:{own[-1].lineno}" if own else ""
    return f"{kind}{place}{': ' if words else ''}{words}"


@contextlib.contextmanager
def _closing() -> Iterator[None]:
    """Close the rollouts that a script leaves open: they would stand in the way of another precision."""
    before = set(map(id, runtime.living()))
    yield
    for user in runtime.living():
        if id(user) not in before:
            user.close()


def _parts(target: str) -> tuple[str, str]:
    """Split a target into where it is and its name."""
    if target.endswith(".py"):
        return target, ""
    where, _, name = target.rpartition(":")
    named = all(part.isidentifier() for part in name.split(".")) if name else True
    file = where.endswith(".py")
    if not where or not named or not (file or all(part.isidentifier() for part in where.split("."))):
        raise ConfigError(
            f"NAME must be a task, or a class of yours in a file or module, got {target!r}; {_FORM}"
        )
    return where, name


def _file(target: str, where: str) -> ModuleType:
    path = Path(where)
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "no such file"
        raise ConfigError(f"{where} must be a Python file, got {what}; correct the path")
    full = str(path.resolve())
    for module in list(sys.modules.values()):
        known = getattr(module, "__file__", None)
        if isinstance(known, str) and known == full and getattr(module, "__spec__", None) is not None:
            return module
    name = path.stem
    if name in sys.modules or not name.isidentifier() or name in sys.stdlib_module_names:
        name = f"diffsim_target_{abs(hash(full)):x}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{where} must be a Python file, got one that cannot be loaded; correct the path")
    _on_path(str(path.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _unimportable(target, where, error, full) from error
    return module


def _module(target: str, where: str) -> ModuleType:
    _on_path(os.getcwd())
    try:
        return importlib.import_module(where)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{where}.".startswith(f"{missing}."):
            raise ConfigError(
                f"{where} must be a module, got none of that name from {os.getcwd()}; correct it, go to its "
                "folder or install it"
            ) from None
        found = importlib.util.find_spec(where.partition(".")[0])
        raise _unimportable(target, where, error, found.origin if found else None) from error


def _unimportable(target: str, where: str, error: BaseException, file: str | None) -> ConfigError:
    if isinstance(error, DiffsimError):
        return ConfigError(f"{where} must be importable, got: {failure(error, file)}")
    if isinstance(error, SystemExit):
        remedy = 'put what ends the process under: if __name__ == "__main__"'
    else:
        remedy = "correct that line"
    return ConfigError(f"{where} must be importable, got {failure(error, file)}; {remedy}")


def _on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _suggested(module: ModuleType, where: str, given: str) -> str:
    """Name what a module has that a rollout can be made of, the likeliest first."""
    from diffsim.language.simulator import Simulator
    from diffsim.tasks.task import Task

    def fits(value: Any) -> bool:
        kinds = (Simulator, Task)
        mine = getattr(value, "__module__", None) == module.__name__
        return (isinstance(value, type) and issubclass(value, kinds) and mine) or isinstance(value, Simulator)

    names = [name for name, value in vars(module).items() if not name.startswith("_") and fits(value)]
    meant = near_miss(given, names)
    if meant is not None:
        return f"did you mean {where}:{meant}?"
    if not names:
        return f"{where} has no class that is a ds.Simulator; {_FORM}"
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"it has {', '.join(names[:_MOST_NAMES])}{more}: write {where}:{names[0]}"


def _same(a: str, b: str) -> bool:
    return a == b or os.path.realpath(a) == os.path.realpath(b)


def _short(path: str) -> str:
    """Return a path as it is seen from the folder that the process is in, where it is below."""
    relative = os.path.relpath(path) if os.path.isabs(path) else path
    return path if relative.startswith("..") else relative
