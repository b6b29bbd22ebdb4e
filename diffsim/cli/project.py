"""`diffsim new my_sim`: a folder with a simulator, its test, a task and a script for pictures, that works."""

from __future__ import annotations

import contextlib
import importlib.util
import keyword
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import click

from diffsim.errors import ConfigError
from diffsim.files import in_shell
from diffsim.tasks.registry import task_names

__all__ = ["NEW", "new", "written"]

NEW: list[click.Parameter] = [click.Argument(["folder"], metavar="FOLDER")]
_TEMPLATE = Path(__file__).with_name("template")
_NAME, _CLASS = "my_sim", "MySim"  # as the templates have them
_HIDDEN = {"gitignore": ".gitignore"}  # a package's data need no hidden files
_ALLOWED = re.compile(r"[a-z][a-z0-9_]*")


def new(folder: str) -> int:
    """Write a small project that works: simulator, gradient test, task, pictures.

    FOLDER is made; its name, as my_sim, becomes that of the module, and MySim that of the class.
    """
    made, name = written(folder)
    target = f"{name}_task.py:{_class_of(name)}Task"
    click.echo(f"{made} has a simulator, its test, a task and a script for pictures; go on with")
    tests = "python -m pytest"
    if importlib.util.find_spec("pytest") is None:
        tests = f"{tests}      (needs pytest: pip install pytest)"
    for words in (f"cd {in_shell(made)}", tests, "python pictures.py", f"diffsim train {target}"):
        click.echo(f"  {words}")
    return 0


def written(folder: str) -> tuple[Path, str]:
    """Write the project, whole or not at all.

    Args:
        folder: Where to; there must be nothing, or an empty folder.

    Returns:
        The folder, and the name of its module.

    Raises:
        ConfigError: The name is not allowed, there is something, or it cannot be written.
    """
    if not folder.strip():
        raise ConfigError(f"the name of a project must not be empty, got {folder!r}; choose one as my_sim")
    target = Path(os.path.abspath(folder))
    name = _checked_name(target.name)
    _check_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    except OSError as error:
        raise ConfigError(
            f"{target.name} must be a folder that can be made, got: {error.strerror}; choose another place"
        ) from None
    try:
        for file, text in _files(name).items():
            (scratch / file).write_text(text, encoding="utf-8")
        scratch.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        if target.exists():  # empty, and maybe the folder that the user is in
            for path in scratch.iterdir():
                os.replace(path, target / path.name)
        else:
            os.replace(scratch, target)
    except OSError as error:
        raise ConfigError(
            f"{target.name} must be a folder that can be written, got: {error.strerror}; choose another place"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Path(folder), name


def _files(name: str) -> dict[str, str]:
    """Return the project's texts by the names of their files."""
    kind = _class_of(name)
    texts = {
        path.name.removesuffix(".txt"): path.read_text(encoding="utf-8") for path in _TEMPLATE.glob("*.txt")
    }
    return {
        _HIDDEN.get(file, file).replace(_NAME, name): text.replace(_NAME, name).replace(_CLASS, kind)
        for file, text in texts.items()
    }


def _class_of(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _checked_name(name: str) -> str:
    """Return a name that can be a module's."""
    example = "choose one as my_sim, of small letters, digits and _"
    if not _ALLOWED.fullmatch(name) or keyword.iskeyword(name) or not _class_of(name).isidentifier():
        raise ConfigError(f"the name of a project must be that of a Python module, got {name!r}; {example}")
    taken = "a task of that name" if name in task_names() else _module(name)
    if taken:
        raise ConfigError(
            f"the name of a project must be new, got {name!r}, and there is {taken}; choose another"
        )
    return name


def _module(name: str) -> str:
    """Say what of that name can be imported already; empty where nothing can."""
    if name in sys.stdlib_module_names or name in ("test", "tests", "pictures"):
        return f"a module {name}"
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:  # a folder alone has none
            return f"a module {name}"
    return ""


def _check_free(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"{target.name} must be a new folder, got a file; choose another name")
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(
            f"{target.name} must be a new or empty folder, got files in it; choose another name"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
