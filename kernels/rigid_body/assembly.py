"""What a planar machine is built of, boxes and springs, and the two robots that come with the library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffsim.errors import ConfigError

__all__ = ["Assembly", "Box", "Spring", "load_robot", "robots"]

Pair = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rigid box in the plane.

    Attributes:
        center: Of mass, first (x, y) [m].
        half: Half of width and height [m].
        angle: First angle, counterclockwise [rad].
        density: Mass per area [kg/m²].
        fixed: Whether it stays where it is, whatever pulls at it.

    Raises:
        ConfigError: A size or the density is not positive, or a number is not finite.
    """

    center: Pair
    half: Pair
    angle: float = 0.0
    density: float = 100.0
    fixed: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        _finite("Box", center=self.center, angle=(self.angle,))
        for name, numbers in (("half", self.half), ("density", (self.density,))):
            if not all(math.isfinite(x) and x > 0.0 for x in numbers):
                raise ConfigError(f"Box.{name} must be positive, got {getattr(self, name)}; use SI units")

    @property
    def mass(self) -> float:
        """Tell the mass [kg]."""
        return 4.0 * self.half[0] * self.half[1] * self.density

    @property
    def inertia(self) -> float:
        """Tell the moment of inertia around the centre [kg m²]."""
        return self.mass * (self.half[0] ** 2 + self.half[1] ** 2) / 3.0

    def place(self, point: Pair) -> Pair:
        """Return where a point of the box, given from its centre along its sides, lies at first."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        x, y = point
        return self.center[0] + c * x - s * y, self.center[1] + s * x + c * y


@dataclass(frozen=True)
class Spring:
    """A damped spring between points of two boxes; with a rest length of 0 a joint.

    Attributes:
        ends: The two boxes, by number.
        anchors: A point of each, from its centre along its sides [m].
        stiffness: [N/m].
        damping: Force per speed [N s/m]: along the spring, of a joint in any direction.
        rest: Length without force [m]; None for the length at first.
        actuation: Share of the rest length by which a command of 1 lengthens it; 0 for a passive spring.

    Raises:
        ConfigError: A number is negative or not finite, or the spring joins a box to itself.
    """

    ends: tuple[int, int]
    anchors: tuple[Pair, Pair]
    stiffness: float
    damping: float = 0.0
    rest: float | None = None
    actuation: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _finite("Spring", anchors=(*self.anchors[0], *self.anchors[1]))
        for name in ("stiffness", "damping", "rest", "actuation"):
            x = getattr(self, name)
            if x is not None and not (math.isfinite(x) and x >= 0.0):
                raise ConfigError(f"Spring.{name} must be a number of at least 0, got {x}; use SI units")
        if self.ends[0] == self.ends[1]:
            raise ConfigError(f"Spring.ends must be two boxes, got {self.ends}; join it to another one")


@dataclass(frozen=True)
class Assembly:
    """Boxes and the springs between them.

    Attributes:
        name: What to call it.
        boxes: One or more; the first is the body, whose way counts.
        springs: Between them.

    Raises:
        ConfigError: There is no box, or a spring ends at a box that is not there.
    """

    name: str
    boxes: Sequence[Box]
    springs: Sequence[Spring] = ()

    def __post_init__(self) -> None:
        """Check that all ends exist."""
        if not self.boxes:
            raise ConfigError(f"Assembly.boxes of {self.name!r} must be one or more, got none; add a body")
        for k, spring in enumerate(self.springs):
            if not all(0 <= end < len(self.boxes) for end in spring.ends):
                raise ConfigError(
                    f"Assembly.springs of {self.name!r} must end at boxes, got {spring.ends} for spring {k}; "
                    f"there are {len(self.boxes)}"
                )

    def rest_length(self, spring: Spring) -> float:
        """Return a spring's rest length, by default its length at first [m]."""
        if spring.rest is not None:
            return spring.rest
        a, b = (self.boxes[end].place(at) for end, at in zip(spring.ends, spring.anchors, strict=True))
        return math.dist(a, b)


def _finite(kind: str, **values: Sequence[float]) -> None:
    for name, numbers in values.items():
        if not all(math.isfinite(x) for x in numbers):
            raise ConfigError(f"{kind}.{name} must be finite, got {tuple(numbers)}; use SI units")


# ---- robots ----


def _joint(a: int, b: int, at: Pair, on: Pair) -> Spring:
    return Spring((a, b), (at, on), stiffness=1e4, damping=20.0, rest=0.0)


def _muscle(a: int, b: int, at: Pair, on: Pair, stiffness: float = 1e3, damping: float = 10.0) -> Spring:
    return Spring((a, b), (at, on), stiffness, damping, actuation=0.15)


def _strider() -> Assembly:
    """A body on two legs, each swung by a muscle in front of and one behind its hip."""
    boxes = [Box((0.0, 0.15), (0.18, 0.03))]
    springs = []
    for leg, hip in ((1, -0.12), (2, 0.12)):
        boxes.append(Box((hip, 0.06), (0.02, 0.06)))
        springs.append(_joint(0, leg, (hip, -0.03), (0.0, 0.06)))
        for side in (-0.08, 0.08):
            springs.append(_muscle(0, leg, (hip + side, -0.01), (0.0, -0.02)))
    return Assembly("strider", boxes, springs)


def _hound() -> Assembly:
    """A body on two legs with knees: thighs swung from the body, shins from the thighs."""
    boxes = [Box((0.0, 0.19), (0.18, 0.03))]
    springs = []
    for thigh, hip in ((1, -0.13), (3, 0.13)):
        shin = thigh + 1
        boxes += [Box((hip, 0.12), (0.025, 0.04)), Box((hip, 0.04), (0.02, 0.04))]
        springs.append(_joint(0, thigh, (hip, -0.03), (0.0, 0.04)))
        springs.append(_joint(thigh, shin, (0.0, -0.04), (0.0, 0.04)))
        for side in (-0.08, 0.08):
            springs.append(_muscle(0, thigh, (hip + side, -0.01), (0.0, -0.02), 3e3, 20.0))
        for side in (-0.05, 0.05):
            springs.append(_muscle(thigh, shin, (side, 0.02), (0.8 * side, 0.0), 3e3, 20.0))
    return Assembly("hound", boxes, springs)


_ROBOTS = (_strider, _hound)


def robots() -> tuple[str, ...]:
    """Return the names of the robots, by number."""
    return tuple(make().name for make in _ROBOTS)


def load_robot(robot: int | str) -> Assembly:
    """Return a robot by its number or name.

    Args:
        robot: 0 or `strider`, a body on two legs; 1 or `hound`, whose legs have knees.

    Raises:
        ConfigError: There is no such robot.
    """
    names = robots()
    text = str(robot)
    for number, make in enumerate(_ROBOTS):
        if text in (str(number), names[number]):
            return make()
    known = ", ".join(f"{k} ({name})" for k, name in enumerate(names))
    raise ConfigError(f"robot must be one of {known}, got {robot!r}; choose one of these")
