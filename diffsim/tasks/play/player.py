"""What a window of play does, apart from the window: where sliders are, what is shown, what keys mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import DiffsimError
from diffsim.tasks.play.session import Session

if TYPE_CHECKING:
    from diffsim.view import Film

__all__ = ["Canvas", "Player"]

_PANEL = 360  # [pixel] width of what is beside the picture
_MARGIN, _TOP, _ROW = 24, 150, 46  # [pixel]
_BELOW = 130  # [pixel] for the keys
_QUICK = 0.25  # [s] what cost and gradient may take to follow a slider while it is dragged
_WIDE = 46  # letters of a line
_INK, _QUIET, _LINE, _DOWN, _BAD = 0x1F2933, 0x7B8794, 0xC9D0D6, 0x2A9D5C, 0xC8281E
_KEYS = (
    "drag a slider: its green tip points downhill",
    "space  play, pause      arrows  frame by frame",
    "d  step down the gradient     u  undo     r  reset",
    "+ -  wider, narrower slider     v  another view",
)


class Canvas(Protocol):
    """What is drawn on; places are in pixels from the lower left corner."""

    def image(self, picture: NDArray[np.uint8], top: int) -> None:
        """Show a picture, shape (height, width, 4), at the left edge, its upper edge at a height."""

    def line(self, x0: float, y0: float, x1: float, y1: float, color: int, width: float) -> None:
        """Draw a line."""

    def disc(self, x: float, y: float, radius: float, color: int) -> None:
        """Draw a disc."""

    def arrow(self, x: float, y: float, dx: float, color: int) -> None:
        """Draw the head of an arrow that points to the right by `dx`, or to the left."""

    def text(self, x: float, y: float, words: str, color: int, size: int) -> None:
        """Write words whose upper left corner is at a place."""


class Player:
    """A session with a film of what it does.

    Args:
        session: The sliders.
        films: Views of the rollout by name: each runs it and returns a film.
        title: What is played with.

    Attributes:
        width: Of the window [pixel].
        height: Of the window [pixel].
        frame: The frame that is shown.
        playing: Frames go on by themselves.
        chosen: The slider that was touched last.
    """

    def __init__(self, session: Session, films: Mapping[str, Callable[[], Film]], title: str = "") -> None:
        self.session, self._films, self._title = session, dict(films), title
        self.views = list(films)
        self.view = 0
        self.playing, self.chosen, self.frame = True, 0, 0
        self._dragged: int | None = None
        self._first = session.last.cost
        self._trouble = ""
        self._film: Film | None = None
        self._frames: dict[int, NDArray[np.uint8]] = {}
        self._more: Iterator[NDArray[np.uint8]] = iter(())
        self._next = 0
        self._due = 0.0
        self._refilm()
        picture = self.picture()
        self._wide = 0 if picture is None else picture.shape[1]
        self._high = 0 if picture is None else picture.shape[0]
        self.width = self._wide + _PANEL
        self.height = max(self._high, _TOP + _ROW * len(session.handles) + _BELOW)

    # ---- the film ----

    def _refilm(self) -> None:
        """Film the rollout anew, from the frame that is shown on."""
        from diffsim.view.film import film_frames

        self._trouble = self.session.last.trouble
        if self._trouble and self._film is not None:
            return  # what is shown is the last that ran
        try:
            film = self._films[self.views[self.view]]()
        except DiffsimError as error:
            self._trouble = " ".join(str(error).split())
            return
        count = len(film.labels)
        self._film, self.frame = film, self.frame % count
        self._frames.clear()
        self._next = first = self.frame
        order = [(first + k) % count for k in range(count)]
        turned = dataclasses.replace(
            film,
            draw=lambda axes, k: film.draw(axes, order[k]),
            labels=[film.labels[k] for k in order],
            stills=None,
        )
        self._more = film_frames(turned, self._title)

    def picture(self) -> NDArray[np.uint8] | None:
        """Return the picture of the frame, shape (height, width, 4); None where nothing can be drawn."""
        if self._film is None:
            return None
        count = len(self._film.labels)
        while self.frame not in self._frames:
            self._frames[self._next] = next(self._more)
            self._next = (self._next + 1) % count
        return self._frames[self.frame]

    def tick(self, now: float) -> None:
        """Show the next frame where it is time for it.

        Args:
            now: The time [s].
        """
        if self._film is None or not self.playing or self._dragged is not None or now < self._due:
            return
        self._due = now + 1.0 / self._film.fps
        self._turn(1)

    def _turn(self, frames: int) -> None:
        if self._film is not None:
            self.frame = (self.frame + frames) % len(self._film.labels)

    # ---- mouse and keys ----

    def _place(self, number: int) -> tuple[float, float, float]:
        """Return where a slider begins and ends, and its height."""
        left = self._wide + _MARGIN
        return left, self.width - _MARGIN, self.height - _TOP - _ROW * number - 0.6 * _ROW

    def press(self, x: float, y: float) -> None:
        """Take hold of the slider at a place, where there is one."""
        for number in range(len(self.session.handles)):
            left, right, height = self._place(number)
            if left - 12 <= x <= right + 12 and abs(y - height) <= 0.3 * _ROW:
                self._dragged = self.chosen = number
                self.drag(x)
                return

    def drag(self, x: float) -> None:
        """Move the slider that is held; cost, gradient and picture follow where they are quick enough."""
        if self._dragged is None:
            return
        handle, (left, right, _) = self.session.handles[self._dragged], self._place(self._dragged)
        share = min(max((x - left) / (right - left), 0.0), 1.0)
        value = handle.low + share * (handle.high - handle.low)
        if value == handle.value:
            return
        self.session.move(self._dragged, value)
        if self.session.last.seconds <= _QUICK:
            self.session.look()
            self._refilm()

    def release(self) -> None:
        """Let go of the slider that is held."""
        if self._dragged is not None:
            self._dragged = None
            if self.session.last.seconds > _QUICK:
                self.session.look()
            self.session.settle()
            self._refilm()

    def key(self, name: str) -> bool:
        """Do what a key means; return whether the window stays open.

        Args:
            name: A letter, `space`, `left`, `right` or `escape`.
        """
        if name in ("escape", "q"):
            return False
        if name == "space":
            self.playing = not self.playing
        elif name in ("left", "right"):
            self.playing = False
            self._turn(1 if name == "right" else -1)
        elif name in ("+", "=", "-"):
            self.session.widen(self.chosen, 0.5 if name == "-" else 2.0)
        elif name in ("d", "u", "r", "v"):
            if name == "v":
                self.view = (self.view + 1) % len(self.views)
            else:
                {"d": self.session.descend, "u": self.session.undo, "r": self.session.reset}[name]()
            self._refilm()
        return True

    # ---- drawing ----

    def paint(self, canvas: Canvas) -> None:
        """Draw the picture and the panel."""
        picture = self.picture()
        if picture is not None:
            canvas.image(picture[: self.height, : self._wide], self.height)
        self._head(canvas)
        for number in range(len(self.session.handles)):
            self._slider(canvas, number)
        for k, words in enumerate(_KEYS):
            canvas.text(self._wide + _MARGIN, 22 * (len(_KEYS) - k) + 8, words, _QUIET, 14)

    def _head(self, canvas: Canvas) -> None:
        look, left = self.session.last, self._wide + _MARGIN
        canvas.text(left, self.height - 14, f"cost {look.cost:.6g}", _INK, 26)
        canvas.text(left, self.height - 46, f"at first {self._first:.6g}", _QUIET, 15)
        words = f"gradient {look.norm:.3g}, found in {1e3 * look.seconds:.3g} ms"
        canvas.text(left, self.height - 66, words, _QUIET, 15)
        if len(self.views) > 1:
            canvas.text(left, self.height - 86, f"view: {self.views[self.view]}", _QUIET, 15)
        for k, line in enumerate(_lines(self._trouble)):
            canvas.text(left, self.height - 106 - 16 * k, line, _BAD, 14)

    def _slider(self, canvas: Canvas, number: int) -> None:
        handle, (left, right, height) = self.session.handles[number], self._place(number)
        canvas.text(left, height + 26, handle.name, _INK, 16)
        canvas.text(right - 150, height + 26, f"{handle.value:.4g}  slope {handle.slope:.2g}", _QUIET, 14)
        canvas.line(left, height, right, height, _LINE, 3)
        share = (handle.value - handle.low) / (handle.high - handle.low) if handle.high > handle.low else 0.5
        x = left + share * (right - left)
        canvas.disc(x, height, 8, _INK if number == self.chosen else _QUIET)
        if np.isfinite(handle.slope) and handle.slope != 0.0:  # the way down
            way = -float(np.sign(handle.slope))
            canvas.arrow(x + 14 * way, height, 8 * way, _DOWN)


def _lines(words: str, most: int = 3) -> list[str]:
    """Break a message into lines, the first ones of them."""
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) < _WIDE:
            lines[-1] = f"{lines[-1]} {word}".strip()
        else:
            lines.append(word)
    return [line for line in lines[:most] if line]
