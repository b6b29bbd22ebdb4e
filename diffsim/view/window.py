"""A window that plays frames at their pace, through a backend of Matplotlib's that has windows."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffsim.view.style import new_figure

__all__ = ["Player", "has_display", "play"]

_BACKENDS = ("qtagg", "tkagg", "gtk4agg", "gtk3agg", "wxagg", "macosx")
_KEPT = 400  # frames in memory; of longer films the later ones are drawn again


def has_display() -> bool:
    """Tell whether windows can be opened here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Player:
    """Frames by the time that has passed since the first one, again and again.

    Args:
        count: How many there are.
        draw: Returns one, shape (height, width, 4).
        fps: Frames per second.
    """

    def __init__(self, count: int, draw: Callable[[int], NDArray[np.uint8]], fps: float) -> None:
        self._count, self._draw, self._fps = count, draw, fps
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._at, self._since = 0.0, time.monotonic()
        self.paused = False

    @property
    def number(self) -> int:
        """Return which frame it is now."""
        passed = 0.0 if self.paused else (time.monotonic() - self._since) * self._fps
        return int(self._at + passed) % self._count

    def frame(self) -> NDArray[np.uint8]:
        """Return the frame of now."""
        number = self.number
        if number not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[number] = self._draw(number)
        return self._kept[number]

    def press(self, key: str) -> None:
        """Obey a key: space pauses and goes on, left and right step, home begins anew."""
        now = self.number
        moves = {"left": -1, "right": 1}
        if key in (" ", "space"):
            self.paused = not self.paused
        elif key in moves:
            self.paused, now = True, (now + moves[key]) % self._count
        elif key == "home":
            now = 0
        self._at, self._since = float(now), time.monotonic()


def play(player: Player, title: str) -> bool:
    """Play frames in a window until it is closed.

    Args:
        player: The frames.
        title: Of the window.

    Returns:
        Whether a backend with windows was found.
    """
    for name in _BACKENDS:
        try:
            module = importlib.import_module(f"matplotlib.backends.backend_{name}")
        except Exception:  # whatever a toolkit raises that is not there  # noqa: BLE001
            continue
        _play(module.FigureCanvas, player, title)
        return True
    return False


def _play(canvas_type: Any, player: Player, title: str) -> None:
    picture = player.frame()
    high, wide = picture.shape[:2]
    figure = new_figure(wide / 100, high / 100, dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    image = axes.imshow(picture, aspect="auto", interpolation="bilinear")
    manager = canvas_type.new_manager(figure, 1)
    manager.set_window_title(title or "diffsim")
    shown = [-1]

    def go_on() -> None:
        number = player.number
        if number != shown[0]:
            shown[0] = number
            image.set_data(player.frame())
            figure.canvas.draw_idle()

    figure.canvas.mpl_connect("key_press_event", lambda event: player.press(str(getattr(event, "key", ""))))
    timer = figure.canvas.new_timer(interval=8)
    timer.add_callback(go_on)
    timer.start()
    figure.canvas.mpl_connect("close_event", lambda event: figure.canvas.stop_event_loop())
    manager.show()
    figure.canvas.start_event_loop()
    timer.stop()
