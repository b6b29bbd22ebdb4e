"""Pictures of a simulator that is no task: by its scene, by a State, or by what shapes suggest."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffsim.errors import ConfigError
from diffsim.language.fields import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from diffsim.rollout import Rollout
    from diffsim.view import Film
    from diffsim.view.trajectory import Trajectory

__all__ = ["check_shown", "sketches"]


def check_shown(rollout: Rollout, show: str | None) -> None:
    """Make sure that what is to be drawn is there.

    Args:
        rollout: Whose States they are.
        show: The key of one; None for a choice by the scene or by shapes.

    Raises:
        ConfigError: There is no such State.
    """
    fields: dict[str, Any] = rollout._program.fields
    states = [key for key, field in fields.items() if isinstance(field, State)]
    if show is not None and show not in states:
        raise ConfigError(
            f"--show must be one of {', '.join(states)}, got {show!r}; leave it out where unsure"
        )


def sketches(motions: Sequence[Trajectory]) -> list[Film]:
    """Draw motions of one simulator, all at one scale; what cannot be drawn is said in the picture.

    Args:
        motions: What was recorded.
    """
    from diffsim.view import films_of

    try:
        return films_of(motions)
    except ConfigError as error:  # training is worth keeping even where its picture fails
        return [_words(str(error)) for _ in motions]


def _words(text: str) -> Film:
    from diffsim.view import Film

    def draw(axes: Axes, k: int) -> None:
        axes.set_axis_off()
        told = "\n".join(textwrap.wrap(text, 60))
        axes.text(0.0, 0.5, told, transform=axes.transAxes, va="center", parse_math=False)

    return Film(draw, ["not drawn"], aspect=0.4)
