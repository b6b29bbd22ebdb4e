"""Simulators and tasks by name, found through entry points: diffsim never imports those that ship with it.

Any installed package can add its own in its `pyproject.toml`::

    [project.entry-points."diffsim.tasks"]
    glider = "my_package.glider:GliderTask"
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from diffsim.errors import ConfigError
from diffsim.options import unknown_name
from diffsim.tasks.targets import is_target

if TYPE_CHECKING:
    from diffsim.language.simulator import Simulator
    from diffsim.tasks.task import Task

__all__ = ["load_simulator", "load_task", "simulator_names", "simulator_target", "task_names"]

_TASKS = "diffsim.tasks"
_SIMULATORS = "diffsim.simulators"


def task_names() -> list[str]:
    """List the names of the installed tasks, sorted, without importing them."""
    return sorted(_points(_TASKS))


def simulator_names() -> list[str]:
    """List the names of the installed simulators, sorted, without importing them."""
    return sorted(_points(_SIMULATORS))


def simulator_target(name: str) -> str:
    """Say where a simulator is, as `module:Class`, without importing it.

    Raises:
        ConfigError: No installed package offers such a simulator.
    """
    return _find(_SIMULATORS, "simulator", name).value


def load_task(name: str) -> type[Task]:
    """Import the task of that name, or make one of a class of the user's.

    Args:
        name: Of an installed task; or `my_module:Sim`, `path/to/file.py:Sim`.

    Raises:
        ConfigError: No installed package offers such a task, or it can't be imported or is not a `Task`; or
            there is no such class.
    """
    from diffsim.tasks.task import Task

    if is_target(name):
        from diffsim.tasks.own import task_of

        return task_of(name)
    found = _load(_TASKS, "task", name)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(
            f"task {name} must be a subclass of diffsim.tasks.Task, got {found!r}; correct its entry point"
        )
    return found


def load_simulator(name: str) -> Callable[..., Simulator]:
    """Import the simulator of that name.

    Raises:
        ConfigError: No installed package offers such a simulator, or it can't be imported.
    """
    found: Callable[..., Simulator] = _load(_SIMULATORS, "simulator", name)
    return found


def _points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group; of two with one name, the one first found."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def _find(group: str, kind: str, name: str) -> EntryPoint:
    """Look a name up."""
    points = _points(group)
    if name not in points:
        raise ConfigError(
            unknown_name(
                kind, name, sorted(points), f"a {kind} of an installed package", "diffsim list shows them"
            )
        )
    return points[name]


def _load(group: str, kind: str, name: str) -> Any:
    """Import what a name stands for."""
    try:
        return _find(group, kind, name).load()
    except (ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{kind} {name} must be importable, got {type(error).__name__}: {reason}; "
            "reinstall the package that offers it"
        ) from error
