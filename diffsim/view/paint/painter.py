"""What all painters have: a part of a scene, the arrays it names, and how far they reach."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.paint.scale import COLORS, Scale, known_color, rgb_of
from diffsim.view.paint.shot import Reach, Shot

if TYPE_CHECKING:
    from diffsim.view.brush import Brush
    from diffsim.view.paint.space import Space
    from diffsim.view.shades import Shades

__all__ = ["Painter", "counted"]

MOST = 20_000  # things of one part that are drawn


class Painter(ABC):
    """Draws one part of a scene.

    Args:
        part: What is drawn.
        shot: Where its arrays are.

    Attributes:
        dimension: 2 for what lies in the plane, 3 for what is in space, None for what is in neither.
        scale: How values become colours, once it was chosen for all that is drawn side by side.
        color: Of what has no values.
        notes: What must be said beside the picture: what was left out.

    Raises:
        ConfigError: An array is not there, or its shape does not fit.
    """

    place: ClassVar[str] = "positions"  # the attribute whose array says where things are
    dimension: int | None

    def __init__(self, part: Any, shot: Shot) -> None:
        self.part, self.shot = part, shot
        self.kind = type(part).__name__
        self.scale: Scale | None = None
        self.color: str = part.color or COLORS[0]
        if not known_color(self.color):
            raise ConfigError(
                f"{self.kind}.color must be a colour as '#1b5fc1', got {part.color!r}; leave it out for one "
                "that suits"
            )
        self.notes: list[str] = []
        self.dimension = None
        self._reach: Reach | None = None

    # ---- arrays ----

    def has(self, attribute: str) -> bool:
        """Tell whether the part names an array for something."""
        return getattr(self.part, attribute) is not None

    def name(self, attribute: str) -> str:
        """Return the name of an array that the part names.

        Raises:
            ConfigError: The trajectory has none of this name.
        """
        name = getattr(self.part, attribute)
        if name not in self.shot:
            listed = ", ".join(self.shot.names) or "none"
            raise ConfigError(
                f"{self.kind}.{attribute} must name an array of the trajectory, got {name!r}; it has {listed}"
            )
        return str(name)

    def shape(self, attribute: str) -> tuple[int, ...]:
        """Return an array's shape in one frame."""
        return self.shot.shape(self.name(attribute))

    def array(self, attribute: str, k: int) -> NDArray[np.float64]:
        """Return an array in a frame."""
        return self.shot.frame(getattr(self.part, attribute), k)

    def wrong(self, attribute: str, rule: str, advice: str) -> ConfigError:
        """Make the error of an array whose shape does not fit."""
        return ConfigError(f"{self.kind}.{attribute} must {rule}, got {self._told(attribute)}; {advice}")

    def _told(self, attribute: str) -> str:
        """Say which array that is, and its shape."""
        name = getattr(self.part, attribute)
        called = "an array" if name.startswith("scene.") else repr(name)
        return f"{called} of shape {self.shape(attribute)}"

    def _placed(self, attribute: str) -> tuple[int, int]:
        """Check an array of places and return how many there are, and in how many dimensions."""
        shape = self.shape(attribute)
        if not shape or shape[-1] not in (2, 3):
            raise self.wrong(
                attribute, "have shape (n, 2) or (n, 3)", "name an array of vectors of the plane or of space"
            )
        return int(np.prod(shape[:-1])), shape[-1]

    def places(self, k: int) -> NDArray[np.float64]:
        """Return where things are in a frame, shape (n, dimension)."""
        return self.array(self.place, k).reshape(-1, self.dimension or 1)

    def of_each(self, attribute: str, count: int, k: int) -> NDArray[np.float64]:
        """Return a number for each of so many things."""
        return np.broadcast_to(self.array(attribute, k).reshape(-1), (count,))

    def check_each(self, attribute: str, *counts: int) -> None:
        """Check that there is one number for all, or one for each of so many things.

        Raises:
            ConfigError: There are others.
        """
        shape = self.shape(attribute)
        if int(np.prod(shape)) not in (1, *counts):
            rule = " or ".join(f"({n},)" for n in dict.fromkeys(counts))
            where = f"{self.place}, {self._told(self.place)}"
            raise self.wrong(attribute, f"have shape {rule}, one for each of {where}", "correct one of them")

    def _numbers(self, attribute: str, least: int, below: int) -> NDArray[np.int64]:
        """Return an array of indices of places, (m, least).

        Raises:
            ConfigError: It has another shape, moves, or holds numbers of places that are not there.
        """
        shape = self.shape(attribute)
        there = f"{self.place}, {self._told(self.place)}"
        if len(shape) != 2 or shape[1] != least:
            raise self.wrong(
                attribute, f"have shape (m, {least}) with numbers of rows of {there}", "correct its shape"
            )
        numbers = self.array(attribute, 0)
        fits = np.isfinite(numbers) & (numbers >= 0) & (numbers < below) & (numbers == np.floor(numbers))
        if not fits.all():
            rule = f"hold whole numbers from 0 to {below - 1}, of rows of {there}"
            raise self.wrong(attribute, rule, f"correct {float(numbers[~fits][0]):g}")
        return numbers.astype(np.int64)

    # ---- what is found out over all frames ----

    def reach(self) -> Reach | None:
        """Find what is taken of the plane or of space in all frames, per axis."""
        if self.dimension is None:
            return None
        found = self.shot.reach(self.name(self.place), self.dimension)
        if found is not None and found.missing:
            self.notes.append(self.lost(found.missing))
        return found

    def lost(self, missing: int) -> str:
        """Say that things are left out since they are nowhere."""
        count = int(np.prod(self.shape(self.place)[:-1]))
        return f"not finite, left out: {counted(missing)} of {counted(count)} {self.kind.lower()}"

    def tones(self) -> Reach | None:
        """Find from where to where the values reach that colour it; None for one colour."""
        if not self.has("values"):
            return None
        name = self.name("values")
        columns = self._columns("values")
        return self.shot.reach(name, columns, length=columns > 1)

    def _columns(self, attribute: str) -> int:
        """Return how many numbers a value consists of: 1, or those of a vector."""
        parts = self.shot.components(self.name(attribute))
        return int(parts[0]) if len(parts) == 1 and parts == self.shape(attribute)[-1:] else 1

    def values(self, k: int, attribute: str = "values") -> NDArray[np.float64]:
        """Return values in a frame, of vectors their lengths, in one row."""
        columns = self._columns(attribute)
        rows = self.array(attribute, k).reshape(-1, columns)
        return np.linalg.norm(rows, axis=1) if columns > 1 else rows[:, 0]

    def check_values(self, *counts: int) -> None:
        """Check that there is one value for each thing."""
        if self.has("values"):
            found = int(np.prod(self.shape("values"))) // self._columns("values")
            if found not in (1, *counts):
                self.check_each("values", *counts)

    def value_label(self) -> tuple[str, str]:
        """Say what the colours show, and their unit."""
        name = self.name("values")
        return self.part.label or _called(name), self.shot.unit(name)

    def settle(self, painters: Sequence[Any]) -> None:
        """Choose one size with the other painters of this part, after all have found their reach."""
        return

    @property
    def barred(self) -> bool:
        """Tell whether a bar explains its colours."""
        return self.has("values")

    # ---- colours ----

    def shades(self, values: NDArray[np.float64] | None, count: int) -> Shades | str:
        """Return the colour of each thing, for a brush."""
        if values is None or self.scale is None:
            return self.color
        return self.scale.shades(np.broadcast_to(values, (count,)))

    def rgb(self, values: NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
        """Return the colour of each thing from 0 to 1, shape (count, 3)."""
        if values is None or self.scale is None:
            return np.broadcast_to(rgb_of(self.color), (count, 3))
        return self.scale.rgb(np.broadcast_to(values, (count,)))

    # ---- drawing ----

    @abstractmethod
    def plane(self, brush: Brush, k: int) -> None:
        """Draw a frame in the plane."""

    @abstractmethod
    def space(self, space: Space, k: int) -> None:
        """Draw a frame in space."""


def _called(name: str) -> str:
    return "value" if name.startswith("scene.") else name


def counted(number: int) -> str:
    """Write a number of things so that large ones can be read."""
    return f"{number:,}"
