"""What `minimize` calls after each iteration: any function of its number, what it found, and the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from diffsim.errors import ConfigError

__all__ = ["Callback", "adapted"]

Callback = Callable[..., object]

_NAMES = ("iteration", "info", "run")
_LATER = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def adapted(callback: Any) -> Callback:
    """Return a function of all three arguments that calls `callback` with those that it takes.

    They are passed in their order, as many as it needs. An argument with a default of its own keeps it,
    unless that is None or the argument has the name of what would be passed. What has no signature (some
    functions of C) gets all.

    Raises:
        ConfigError: It can't be called like that.
    """
    if not callable(callback):
        raise _wrong(callback)
    if any(runs_later(callback) for runs_later in _LATER):
        raise ConfigError(
            f"callback must be an ordinary function, got {callback!r}, whose body would not run when it is "
            "called; write def, without async and yield"
        )
    try:
        parameters = list(inspect.signature(callback).parameters.values())
    except (TypeError, ValueError):
        return callback  # type: ignore[no-any-return]
    count = _count(parameters)
    if count is None:
        raise _wrong(callback)
    return lambda *arguments: callback(*arguments[:count])


def _count(parameters: list[inspect.Parameter]) -> int | None:
    """Return how many arguments to pass, None where a call with those can't be right."""
    places, keeps = 0, False
    for parameter in parameters:
        needed = parameter.default is inspect.Parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            places = places if keeps else len(_NAMES)
        elif parameter.kind is parameter.KEYWORD_ONLY and needed:
            return None
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if needed and places == len(_NAMES):
                return None
            named = places < len(_NAMES) and parameter.name == _NAMES[places]
            keeps = keeps or not (needed or named or parameter.default is None)
            places += not keeps and places < len(_NAMES)
    return places


def _wrong(callback: Any) -> ConfigError:
    return ConfigError(
        f"callback must be a function of (iteration, info, run) or of fewer of these, got {callback!r}; "
        "write def callback(iteration, info): ..."
    )
