"""A task of a simulator that is no task: what `diffsim train file.py:Sim` optimises, records and draws."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from diffsim.errors import ConfigError, DiffsimError
from diffsim.options import Options, near_miss, option
from diffsim.tasks.targets import called, failure, find, lasting
from diffsim.tasks.task import Recording, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.language.simulator import Simulator
    from diffsim.rollout import Rollout
    from diffsim.view import Film
    from diffsim.view.trajectory import Trajectory

__all__ = ["OwnTask", "task_of"]

_KINDS = "a ds.Simulator class, a function that makes one, one that is made, or a diffsim.tasks.Task class"
_known: dict[str, type[Task]] = {}  # by what a later process finds them by


def task_of(target: str) -> type[Task]:
    """Return the task that a user's class is, or is made into.

    Args:
        target: `my_module:Sim` or `path/to/file.py:Sim`.

    Raises:
        ConfigError: It cannot be found or imported, or is nothing that has a step.
    """
    made = find(target)
    key = lasting(target)
    if key not in _known:
        _known[key] = _checked(target, made) if _is_task(made) else _wrapped(target, key, made)
    return _known[key]


def _is_task(made: Any) -> bool:
    return isinstance(made, type) and issubclass(made, Task)


def _checked(target: str, kind: type[Task]) -> type[Task]:
    """Return a task of the user's, once it has what tasks must have."""
    missing = sorted(kind.__abstractmethods__)
    missing += [name for name in ("name", "summary", "steps") if not hasattr(kind, name)]
    if missing:
        raise ConfigError(
            f"{target} must define {', '.join(missing)} as tasks do, got none; add it to the class"
        )
    return kind


def _wrapped(target: str, key: str, made: Any) -> type[Task]:
    """Make a task of a simulator."""
    from diffsim.language.simulator import Simulator

    name = called(target)
    is_class = isinstance(made, type)
    if is_class and not issubclass(made, Simulator):
        raise ConfigError(
            f"{target} must be {_KINDS}, got the class {made.__name__}; derive it from ds.Simulator"
        )
    if is_class and made.step is Simulator.step:
        raise ConfigError(f"{target} must have a step, got {made.__name__} without one; define step(self, t)")
    if not is_class and not isinstance(made, Simulator) and (not callable(made) or inspect.ismodule(made)):
        raise ConfigError(f"{target} must be {_KINDS}, got {_shown(made)}; name another")
    members = {"name": name, "summary": f"{target}, a simulator", "target": key, "made": staticmethod(made)}
    if isinstance(made, Simulator):
        members["made"] = made
    return type(name, (OwnTask,), members)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


class OwnTask(Task):
    """Optimise the Params and Controls of a simulator that the user named.

    Attributes:
        target: What a later process finds it by.
        made: The class or function that makes it, or the simulator.
    """

    target: ClassVar[str]
    made: ClassVar[Any]
    cost_label = "cost"

    @dataclass(frozen=True)
    class Config(Options):
        """What there is to say of any simulator."""

        set: tuple[str, ...] | None = option(
            None, "argument of its constructor, as cells=64; for several, repeat it", repeated=True
        )
        wrt: tuple[str, ...] | None = option(
            None, "what to optimise or check, as stiffness,policy [every Param and Control]"
        )
        show: str | None = option(None, "the State to draw [chosen by its shape]")

    def __init__(self, config: Options | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, data)
        self._arguments = _arguments(self.target, self.made, self.config.set or ())

    def title(self) -> str:
        """Say what is optimised."""
        return f"{self.name}: {', '.join(self.config.wrt)}" if self.config.wrt else self.name

    def build(self) -> Simulator:
        """Make the simulator.

        Raises:
            ConfigError: Its constructor failed, or what was made is no simulator.
        """
        from diffsim.language.simulator import Simulator

        if isinstance(self.made, Simulator):
            return self.made
        try:
            simulator = self.made(**self._arguments)
        except DiffsimError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{self.name} must be made without an error, got {failure(error, _file_of(self.made))}; "
                "correct that line, or the values of --set"
            ) from error
        if not isinstance(simulator, Simulator):
            raise ConfigError(
                f"{self.name} must return a ds.Simulator, got {_shown(simulator)}; return the simulator"
            )
        return simulator

    def wrt(self, simulator: Simulator) -> list[Any] | None:
        """Name what is optimised."""
        return list(self.config.wrt) if self.config.wrt else None

    def prepare(self, rollout: Rollout) -> None:
        """Refuse what cannot be optimised or drawn, before anything is written.

        Raises:
            ConfigError: An option or the scene names no such field, or there is nothing to optimise.
            StateError: The simulator has no cost.
        """
        from diffsim.language.controls import Control
        from diffsim.language.fields import Param, State
        from diffsim.rollout.seen import scene_of

        fields = rollout._program.fields.values()
        if not self.config.wrt and not any(isinstance(field, Param | Control) for field in fields):
            raise ConfigError(
                f"{self.name} must have a Param or Control to optimise, got none; declare one, or write "
                "--wrt STATE for the first values of a State"
            )
        rollout._require_cost()
        rollout.leaves(self.wrt(rollout.sim))
        states = [key for key, field in rollout._program.fields.items() if isinstance(field, State)]
        show = self.config.show
        if show is not None and show not in states:
            raise ConfigError(
                f"--show must be one of {', '.join(states)}, got {show!r}; leave it out where unsure"
            )
        scene_of(rollout._program)

    def trajectory(self, rollout: Rollout) -> Trajectory:
        """Record all States and what the scene shows, or the one State to draw."""
        from diffsim.rollout.shown import stride_of

        if self.config.show is None:
            return super().trajectory(rollout)
        found: Trajectory = rollout.trajectory([self.config.show], stride_of(rollout.steps)).world(0)
        return found

    def films(self, recordings: Sequence[Recording]) -> list[Film]:
        """Draw what was recorded, at one scale; say why where that cannot be drawn."""
        try:
            return super().films(recordings)
        except ConfigError as error:  # training is worth keeping even where its picture fails
            return [_words(str(error)) for _ in recordings]


def _words(text: str) -> Film:
    """Make a picture of a message."""
    from diffsim.view import Film

    def draw(axes: Axes, k: int) -> None:
        axes.set_axis_off()
        told = "\n".join(textwrap.wrap(text, 40))
        axes.text(0.0, 0.5, told, transform=axes.transAxes, va="center", fontsize=8, parse_math=False)

    return Film(draw, ["not drawn"], aspect=0.4)


def _file_of(made: Any) -> str | None:
    try:
        return inspect.getsourcefile(inspect.unwrap(made))
    except TypeError:
        return None


def _arguments(target: str, made: Any, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a constructor.

    Raises:
        ConfigError: One is not written as NAME=VALUE or not known, or one is missing.
    """
    name = called(target)
    values: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not key.isidentifier():
            raise ConfigError(f"--set must be NAME=VALUE, got {text!r}; write for example cells=64")
        if key in values:
            raise ConfigError(f"--set must name each argument once, got {key} twice; leave out one")
        values[key] = _value(value.strip())
    known, required, any_name = _signature(made)
    for key in values:
        if key not in known and not any_name:
            meant = near_miss(key, known)
            advice = f"did you mean {meant}?" if meant else "leave it out"
            listed = f"one of {', '.join(known)}" if known else "left out, as it has no arguments"
            raise ConfigError(f"--set must name an argument of {name}, {listed}, got {key!r}; {advice}")
    missing = [key for key in required if key not in values]
    if missing:
        raise ConfigError(
            f"{name} must be made without arguments, got one that needs {', '.join(missing)}; give them "
            f"defaults, or write --set {missing[0]}=VALUE, or name a function that makes it"
        )
    return values


def _signature(made: Any) -> tuple[list[str], list[str], bool]:
    """Return the arguments of what makes a simulator, those that it needs, and whether it takes any name."""
    if not callable(made):
        return [], [], False
    made_by: Callable[..., Any] = made
    try:
        parameters = inspect.signature(made_by).parameters.values()
    except (TypeError, ValueError):
        return [], [], True
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    alone = [p.name for p in parameters if p.kind == p.POSITIONAL_ONLY and p.default is p.empty]
    needed = alone + [p.name for p in named if p.default is p.empty]
    return [p.name for p in named], needed, any(p.kind == p.VAR_KEYWORD for p in parameters)


def _value(text: str) -> Any:
    """Return the number, text, list or so that a word stands for; a word that is no such thing is text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
