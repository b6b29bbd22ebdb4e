"""Looking at a rollout: recorded, then drawn by what its simulator declares or describes."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsim.language.fields import Field
from diffsim.rollout.frames import Names, checked_every
from diffsim.rollout.pictured import Pictured
from diffsim.rollout.recorded import Recorded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Shown", "stride_of"]

_FRAMES = 120  # of a film, about, unless told otherwise
_SAMPLES = 2000  # of a curve


def stride_of(steps: int) -> int:
    """Return how many steps lie between the frames of a film of about 120, the last of which is the end.

    Where no such number divides the steps, the film ends a little before.
    """
    few, many = 0.7 * _FRAMES, 1.7 * _FRAMES
    strides = range(max(1, math.ceil(steps / many)), math.floor(steps / few) + 1)
    whole = [k for k in strides if steps % k == 0]
    return min(whole, key=lambda k: abs(np.log(steps / k / _FRAMES)), default=max(1, steps // _FRAMES))


class Shown(Recorded, Pictured):
    """The part of `Rollout` that draws what it did, which runs it once for every call, and its program."""

    steps: int

    def show(self, every: int | None = None, *, adjoints: bool = False, **options: Any) -> Any:
        """Show the rollout: in a notebook as a film in the page, else in a window.

        Args:
            every: Steps between frames; None for about 120 frames.
            adjoints: Show its gradient too, as `animate` does.
            options: As for `Trajectory.show`.

        Raises:
            ConfigError: `every` is not positive, or as for `Trajectory.show`.
            StateError: There is no display, and no notebook; nothing ran then.
        """
        from diffsim.rollout.window import taichi_window
        from diffsim.view.look import require_screen

        require_screen()
        return self._filmed(every, adjoints).show(**{"window": taichi_window, **options})

    def plot(
        self,
        fields: Names | Field | str | None = None,
        path: str | os.PathLike[str] | None = None,
        every: int | None = None,
        **options: Any,
    ) -> Figure:
        """Plot fields over time.

        Args:
            fields: States, Scratches and Controls; None for the States.
            path: The picture to write; None to return the figure alone.
            every: Steps between samples; None for about 2000 samples.
            options: As for `Trajectory.plot`.

        Raises:
            ConfigError: The picture can't be written, in which case nothing ran, or `every` is not positive.
        """
        from diffsim.view.look import check_plot_path

        if path is not None:
            check_plot_path(path)
        chosen: Any = [fields] if isinstance(fields, str | Field) else fields
        stride = max(1, self.steps // _SAMPLES) if every is None else checked_every(every)
        return self.trajectory(chosen, stride).plot(path, **options)

    def animate(
        self,
        path: str | os.PathLike[str] | None = None,
        every: int | None = None,
        *,
        adjoints: bool = False,
        **options: Any,
    ) -> Any:
        """Film the rollout.

        Args:
            path: The film to write: `x.gif`, `x.mp4` or `x.webm` (extra `video`); None for a notebook.
            every: Steps between frames; None for about 120 frames.
            adjoints: Show its gradient too: arrows on points the way in which pushing them lowers the cost, a
                grid coloured by its adjoint, and the adjoint's length over time.
            options: As for `Trajectory.animate`.

        Raises:
            ConfigError: The film can't be written, in which case nothing ran, or `every` is not positive.
        """
        from diffsim.view.writer import check_film_path

        if path is not None:
            check_film_path(path)
        return self._filmed(every, adjoints).animate(path, **options)

    def _filmed(self, every: int | None, adjoints: bool) -> Any:
        stride = stride_of(self.steps) if every is None else checked_every(every)
        return self.trajectory(None, stride, adjoints=adjoints)
