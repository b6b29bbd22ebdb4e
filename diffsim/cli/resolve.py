"""From the words of a command line to the settings of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffsim.options import Options, flag_of, options_of
from diffsim.tasks.registry import load_task
from diffsim.tasks.targets import is_target, lasting

if TYPE_CHECKING:
    from diffsim.language.simulator import Simulator
    from diffsim.tasks.runs import Settings
    from diffsim.tasks.task import Task

__all__ = ["resolve", "start"]

_SMOKE = {"steps": 32, "iterations": 2}  # at most: enough to see that everything works


def resolve(name: str, given: Mapping[str, Any], small: bool = False) -> tuple[Settings, Task]:
    """Resolve the settings of a run: what was given, then what suits the task, then the defaults.

    Args:
        name: The task.
        given: All options by name; None where left out. `smoke` asks for the task's small sizes.
        small: Whether to take the task's own options from its small sizes, but not steps and iterations.

    Returns:
        The settings, and the task.

    Raises:
        ConfigError: There is no such task, or an option is not allowed.
    """
    from diffsim.tasks.runs import OptimizerOptions, RunOptions, Settings, resolve_optimizer

    kind = load_task(name)
    values = {key: value for key, value in given.items() if value is not None}
    own = [info.name for info in options_of(kind.Config)]
    shared = [info.name for info in options_of(RunOptions)]
    run: dict[str, Any] = {**kind.sizes(), **kind.suited()}
    smoke = values.pop("smoke", False)
    if smoke:
        run |= {key: min(run.get(key, most), most) for key, most in _SMOKE.items()}
        run |= {key: value for key, value in kind.smoke.items() if key in shared}
    config = {key: value for key, value in kind.smoke.items() if key in own and (smoke or small)}

    def pick(cls: type[Options]) -> dict[str, Any]:
        return {info.name: values[info.name] for info in options_of(cls) if info.name in values}

    chosen = RunOptions.read(run | pick(RunOptions), flag_of)
    optimizer = resolve_optimizer(kind, pick(OptimizerOptions))
    settled = kind.Config.read(config | pick(kind.Config), flag_of)
    task = kind(settled)
    return Settings(
        lasting(name) if is_target(name) else name, chosen, optimizer, settled.plain(), task.data()
    ), task


def start(settings: Settings, task: Task, compiler: str = "auto") -> Simulator:
    """Start the runtime and build the simulator."""
    settings.run.start(compiler)
    return task.build()
