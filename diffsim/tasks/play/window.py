"""The window of play: Taichi's, where a display exists."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.tasks.play.player import Player
from diffsim.view.window import has_display

__all__ = ["open_window", "require_display"]

_INSTEAD = (
    "use diffsim render RUN --adjoints for a film of the gradient, or rollout.animate('x.gif') in a script"
)
_NAMES = {" ": "space", "Left": "left", "Right": "right", "Escape": "escape"}


def require_display() -> None:
    """Refuse to open a window where there is no display.

    Raises:
        ConfigError: There is none.
    """
    if not has_display():
        raise ConfigError(
            f"play must have a display for its window, got none (DISPLAY is not set); {_INSTEAD}"
        )


def open_window(player: Player, title: str, shot: Callable[[int], str | None] | None = None) -> None:
    """Show a player until its window is closed.

    Args:
        player: What is shown.
        title: Of the window.
        shot: Called with the number of each picture; returns a file to write it to, None for none, or an
            empty text to close the window.

    Raises:
        ConfigError: There is no display, or none that Taichi can open.
    """
    require_display()
    gui = _made(title, (player.width, player.height))
    canvas, count, held = _Painter(gui, player.width, player.height), 0, False
    while gui.running:
        for event in gui.get_events(gui.PRESS):
            if event.key != gui.LMB and not player.key(_NAMES.get(event.key, event.key)):
                return
        now_held = bool(gui.is_pressed(gui.LMB))
        x, y = gui.get_cursor_pos()
        if now_held and not held:
            player.press(x * player.width, y * player.height)
        elif now_held:
            player.drag(x * player.width)
        elif held:
            player.release()
        held = now_held
        player.tick(time.perf_counter())
        canvas.clear()
        player.paint(canvas)
        file = None if shot is None else shot(count)
        if file == "":
            return
        canvas.show(file)
        count += 1


def _made(title: str, size: tuple[int, int]) -> Any:
    import taichi as ti

    try:
        return ti.GUI(title, res=size, background_color=0xFFFFFF)
    except RuntimeError as error:
        raise ConfigError(
            f"play must have a display for its window, got one that does not open; {_INSTEAD}"
        ) from error


class _Painter:
    """Draws with Taichi's window, whose places are shares of its size."""

    def __init__(self, gui: Any, width: int, height: int) -> None:
        self._gui, self._size = gui, np.array([width, height], dtype=np.float64)
        self._background = np.full((width, height, 3), 255, np.uint8)

    def clear(self) -> None:
        """Begin with an empty window."""
        self._later: list[Callable[[], None]] = []

    def show(self, file: str | None) -> None:
        """Put all that was drawn on the screen, and into a file."""
        self._gui.set_image(self._background)
        for draw in self._later:
            draw()
        self._gui.show(file)

    def image(self, picture: NDArray[np.uint8], top: int) -> None:
        high, wide = picture.shape[:2]
        self._background[:wide, top - high : top] = picture[::-1, :, :3].swapaxes(0, 1)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: int, width: float) -> None:
        begin, end = self._at(x0, y0), self._at(x1, y1)
        self._later.append(lambda: self._gui.line(begin, end, radius=0.5 * width, color=color))

    def disc(self, x: float, y: float, radius: float, color: int) -> None:
        at = self._at(x, y)
        self._later.append(lambda: self._gui.circle(at, color=color, radius=radius))

    def arrow(self, x: float, y: float, dx: float, color: int) -> None:
        corners = self._at(x, y + 6), self._at(x, y - 6), self._at(x + dx, y)
        self._later.append(lambda: self._gui.triangle(*corners, color=color))

    def text(self, x: float, y: float, words: str, color: int, size: int) -> None:
        at = self._at(x, y)
        self._later.append(lambda: self._gui.text(words, at, font_size=size, color=color))

    def _at(self, x: float, y: float) -> NDArray[np.float64]:
        return np.array([x, y]) / self._size
