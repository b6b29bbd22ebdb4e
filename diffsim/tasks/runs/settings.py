"""Everything that decides a run's numbers, and its form as `config.toml`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diffsim.errors import ConfigError
from diffsim.options import Options, option, options_of, unknown_name
from diffsim.tasks.registry import load_task
from diffsim.tasks.task import Task

if TYPE_CHECKING:
    from diffsim.runtime import RuntimeInfo

__all__ = ["OptimizerOptions", "RunOptions", "Settings", "make_optimizer", "parse_toml", "resolve_optimizer"]

_FORMAT = 1
_HEADER = "# The complete configuration of a diffsim run; `diffsim resume` reads it.\n"
_TABLES = ("format", "task", "run", "optimizer", "options", "data")
_MOST = 2**31 - 2  # kernels count in 32 bits, and write to slot t + 1
_USUAL = {"sgd": {}, "adam": {"lr": 1e-2}}  # for an optimizer that is not the task's own
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}


@dataclass(frozen=True)
class RunOptions(Options):
    """How a task is run: the options that all tasks share."""

    steps: int = option(help="time steps of a rollout", minimum=1, maximum=_MOST)
    iterations: int = option(help="optimizer iterations", minimum=1, maximum=_MOST)
    seed: int = option(0, "what random numbers start from", minimum=0, maximum=2**31 - 1)
    worlds: int = option(1, "copies that run side by side", minimum=1, maximum=_MOST)
    memory: str = option("1GiB", "memory for the rollout, as 512MiB or 2GiB")
    host_memory: str = option("0", "memory for checkpoints beside it on the host, as 2GiB; 0 for none")
    spill: str | None = option(None, "folder that checkpoints may be written to")
    disk_memory: str = option("16GiB", "room for checkpoints in that folder")
    schedule: str = option(
        "auto", "checkpoint schedule", choices=("auto", "multistage", "mixed", "two-level")
    )
    mode: str = option("auto", "how steps are launched", choices=("auto", "step", "chunk", "fused"))
    chunk: int | None = option(None, "steps in one launch of mode chunk", minimum=1, maximum=_MOST)
    arch: str = option("auto", "backend", choices=("auto", "cpu", "cuda", "vulkan", "metal"))
    precision: int = option(32, "bits of a real number", choices=(32, 64))
    threads: int | None = option(
        None, "CPU threads; 1 makes runs in one mode repeat bit for bit", minimum=1, maximum=1024
    )
    guard: bool = option(True, "try new kernels in a child process, so that none can kill this one")

    def start(self, compiler: str = "auto", reset: bool = False) -> RuntimeInfo:
        """Start the runtime that a run asks for, and say which came up.

        Args:
            compiler: What makes machine code of kernels, as `init` takes it.
            reset: Start anew whatever runs.

        Raises:
            ConfigError: The backend or the compiler is not there.
        """
        from diffsim import runtime

        return runtime.init(
            arch=self.arch,
            precision=self.precision,
            seed=self.seed,
            threads=self.threads,
            guard=self.guard,
            reset=reset,
            compiler=compiler,
        )

    def planned(self) -> dict[str, Any]:
        """Return the arguments of a rollout, and of its plan."""
        return {
            "steps": self.steps,
            "worlds": self.worlds,
            "memory": self.memory,
            "mode": self.mode,
            "schedule": self.schedule,
            "host_memory": self.host_memory,
            "spill": self.spill,
            "disk_memory": self.disk_memory,
            "chunk": self.chunk,
            "iterations": self.iterations,
        }


@dataclass(frozen=True)
class OptimizerOptions(Options):
    """Which optimizer is used; what is left out comes from the task, or from the optimizer's own defaults."""

    optimizer: str | None = option(None, "optimizer", choices=tuple(_OPTIMIZERS))
    lr: float | None = option(None, "learning rate: length of a step, or scale of the gradient", above=0)
    momentum: float | None = option(None, "share of the last step to keep (sgd)", minimum=0, maximum=1)
    normalize: bool | None = option(None, "scale the gradient to length 1 before lr (sgd)")
    clip_norm: float | None = option(None, "shorten the gradient to at most this length", above=0)


@dataclass(frozen=True)
class Settings:
    """A complete, resolved description of a run.

    Attributes:
        task: The task's name.
        run: Steps, iterations, seed, backend and so on.
        optimizer: `name` and the arguments of its class.
        options: The task's own options.
        data: What these options point to, such as the content of a file.
    """

    task: str
    run: RunOptions
    optimizer: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def open_task(self) -> Task:
        """Make the task from its options and data.

        Raises:
            ConfigError: There is no such task, or one of its options is not allowed.
        """
        kind = load_task(self.task)
        return kind(kind.Config.read(self.options, lambda key: f"options.{key}"), self.data or None)

    def digest(self) -> str:
        """Return a fingerprint of what must not change between stopping and going on.

        More iterations, another number of threads, and the guard may be asked for at any time.
        """
        table = self._table()
        table["run"] = {
            key: value for key, value in table["run"].items() if key not in ("iterations", "threads", "guard")
        }
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """Write the settings as the text of `config.toml`."""
        import tomli_w

        return _HEADER + tomli_w.dumps(self._table())

    @classmethod
    def from_toml(cls, text: str, where: str) -> Settings:
        """Read what `to_toml` wrote.

        Args:
            text: The file's content.
            where: The file's name, for messages.

        Raises:
            ConfigError: The text is not TOML, or a key is missing or unknown, or a value is not allowed.
        """
        table = parse_toml(text, where)
        for key in table:
            if key not in _TABLES:
                raise ConfigError(unknown_name(f"{where}: key", key, list(_TABLES), "a key", "remove it"))
        if table.get("format") != _FORMAT:
            raise ConfigError(
                f"{where}: format must be {_FORMAT}, got {table.get('format')!r}; "
                "use the version of diffsim that wrote it"
            )
        kinds = {"task": str, "run": dict, "optimizer": dict, "options": dict, "data": dict}
        for key, kind in kinds.items():
            if not isinstance(table.setdefault(key, kind()), kind):
                wanted = "a table" if kind is dict else "text"
                raise ConfigError(f"{where}: {key} must be {wanted}, got {table[key]!r}; restore the file")
        try:
            run = RunOptions.read(table["run"], lambda key: f"run.{key}")
            make_optimizer(table["optimizer"], lambda key: f"optimizer.{key}")
            load_task(table["task"]).Config.read(table["options"], lambda key: f"options.{key}")
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        return cls(table["task"], run, table["optimizer"], table["options"], table["data"])

    def _table(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "task": self.task,
            "run": self.run.plain(),
            "optimizer": dict(self.optimizer),
            "options": dict(self.options),
            "data": dict(self.data),
        }


def resolve_optimizer(task: type[Task], given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the optimizer of a run.

    What was given comes first, then the task's arguments if the optimizer is the task's, then the defaults.

    Args:
        task: The task, which knows what suits it.
        given: Values of `OptimizerOptions` by name, without those that were left out.

    Returns:
        `name` and every argument that is not None.

    Raises:
        ConfigError: The optimizer does not take one of the arguments, or its value is not allowed.
    """
    suited = dict(task.optimizer)
    name = given.get("optimizer", suited["name"])
    table = {"name": name} | (suited if name == suited["name"] else _USUAL[name])
    table |= {key: value for key, value in given.items() if key != "optimizer"}
    made = make_optimizer(table, lambda key: "--" + key.replace("_", "-"))
    complete = {entry.name: getattr(made, entry.name) for entry in dataclasses.fields(made)}
    return {"name": name} | {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in complete.items()
        if value is not None
    }


def make_optimizer(table: Mapping[str, Any], label: Any = str) -> Any:
    """Make the optimizer that a table with `name` and arguments describes.

    Args:
        table: As `Settings.optimizer`.
        label: Turns an argument's name into what messages call it.

    Raises:
        ConfigError: The name or an argument is unknown or missing, or a value is not allowed.
    """
    import diffsim.optim as optim

    name = table.get("name")
    if name not in _OPTIMIZERS:
        raise ConfigError(
            f"{label('name')} must be one of {', '.join(_OPTIMIZERS)}, got {name!r}; choose one of these"
        )
    kind = getattr(optim, _OPTIMIZERS[name])
    known = [entry.name for entry in dataclasses.fields(kind)]
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
        if key != "name"
    }
    checks = {info.name: info for info in options_of(OptimizerOptions)}
    for key, value in arguments.items():
        if key not in known:
            raise ConfigError(
                f"{label(key)} must be left out with the optimizer {name}, got {value!r}; it takes "
                + ", ".join(label(one) for one in known)
            )
        if key in checks:
            checks[key].check(value, label(key))
    for entry in dataclasses.fields(kind):
        if entry.name not in arguments and entry.default is dataclasses.MISSING:
            raise ConfigError(
                f"{label(entry.name)} must be given with the optimizer {name}, got nothing; choose a value"
            )
    return kind(**arguments)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Parse TOML, with a one-line error.

    Args:
        text: What is in the file.
        where: The file, for messages.

    Raises:
        ConfigError: It is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ConfigError(f"{where}: file must be TOML, got an error: {reason}; correct that place") from None
