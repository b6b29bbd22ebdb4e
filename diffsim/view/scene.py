"""What there is to see of a simulator, described: parts that name fields. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from diffsim.errors import ConfigError
from diffsim.view.style import BONE, GOAL, HEAD, INK, WATER

__all__ = [
    "BONE",
    "GOAL",
    "HEAD",
    "INK",
    "WATER",
    "Boxes",
    "Camera",
    "Curves",
    "Derived",
    "Grid",
    "Lines",
    "Part",
    "Points",
    "Scene",
    "Text",
    "Triangles",
    "Vectors",
]

# What a part refers to: a field of the simulator, the name of an array, what is derived of fields, or an
# array that stays as it is. In a trajectory's scene it is a name alone.
Ref: TypeAlias = Any


class Derived:
    """What is computed of fields when they are recorded; it may stand where a field may in a part.

    `ds.scene.Points(ds.scene.Derived(self.places, self.angle))` with `places(angle)` in NumPy draws what is
    no field, and costs a rollout nothing. In the trajectory it is an array like others, called by the
    function's name.

    Args:
        function: Takes the fields' arrays and returns one. Those over time have axes for frames, and for
            worlds where there are several, in front: write `angle[..., 0]`, not `angle[0]`.
        fields: Fields, or their names; `"t"` for the numbers of the steps, shape (frames,).
        unit: What the numbers are in.

    Raises:
        ConfigError: The function can't be called, or no field is named.
    """

    def __init__(self, function: Callable[..., Any], *fields: Any, unit: str = "") -> None:
        if not callable(function) or not fields or not isinstance(unit, str):
            raise ConfigError(
                f"Derived must get a function, fields and a text for unit, got {function!r}, {len(fields)} "
                f"fields and {unit!r}; write Derived(function, self.x, unit='m')"
            )
        self.function, self.fields, self.unit = function, fields, unit

    @property
    def name(self) -> str:
        """Return what the array is called."""
        name = str(getattr(self.function, "__name__", "")).strip("_")
        return name if name.isidentifier() else "derived"


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """What all parts have.

    Attributes:
        label: What it shows, for the legend; empty for nothing.
        color: A colour as `"#1b5fc1"`; empty for the palette's next one. With values: small ones are tints of
            it, large ones shades.
        values: Numbers that colour it, one for each element (of vectors their length); None for one colour.
        center: The number that is the middle of a map of two hues; None for a map of one.
        limits: The numbers at the ends of the colour map; None for the smallest and largest of all frames.
    """

    label: str = ""
    color: str = ""
    values: Ref = None
    center: float | None = None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Points(Part):
    """Particles, masses, joints: discs in the plane, balls in space.

    Attributes:
        positions: Shape (n, 2) or (n, 3), or (2,) or (3,) for one.
        radius: In the unit of the positions, a number or one for each; None for a size that suits.
        only: The numbers of those to draw, with their radius and values; None for all.
        trail: Whether the way that each came is drawn behind it.
    """

    positions: Ref
    radius: Ref = None
    only: Sequence[int] | NDArray[Any] | None = None
    trail: bool = False


@dataclass(frozen=True, eq=False)
class Lines(Part):
    """Springs, rods, wires.

    Attributes:
        positions: Of their ends, shape (n, 2) or (n, 3).
        pairs: The two positions that each joins, shape (m, 2); None for a line through all in their order.
        closed: Whether a line through all comes back to the first.
        width: In points of a picture.
    """

    positions: Ref
    pairs: Ref = None
    closed: bool = False
    width: float = 1.5


@dataclass(frozen=True, eq=False)
class Triangles(Part):
    """A mesh of triangles, filled.

    Attributes:
        positions: Of its corners, shape (n, 2) or (n, 3).
        faces: The three corners of each, shape (k, 3).
        edges: Whether their edges are drawn.
    """

    positions: Ref
    faces: Ref
    edges: bool = True


@dataclass(frozen=True, eq=False)
class Boxes(Part):
    """Rigid boxes.

    Attributes:
        centers: Shape (n, 2) or (n, 3), or (2,) or (3,) for one.
        sizes: Their whole lengths, shape (n, d), or (d,) for all.
        angles: In the plane: how far each is turned to the left [rad], shape (n,). None: not at all.
        rotations: In space: quaternions with the real part first, shape (n, 4), or matrices (n, 3, 3).
        round: Whether they are balls and ellipses that fill the boxes.
    """

    centers: Ref
    sizes: Ref
    angles: Ref = None
    rotations: Ref = None
    round: bool = False


@dataclass(frozen=True, eq=False)
class Grid(Part):
    """Numbers on a grid: an image in the plane, slices or a surface of one level in space, a curve on a line.

    Of one axis, as a rod or a string, the curve moves in a panel of its own, with the first frame faint
    behind it; those of one unit share a panel, and `limits` are those of its height.

    Attributes:
        values: Shape (nx,), (nx, ny) or (nx, ny, nz).
        origin: Where the sample with all indices 0 is; None for zeros.
        spacing: From sample to sample, a number or one for each axis.
        contours: How many lines of equal value are drawn, 0 for none.
        level: In space: the value at which a surface is drawn; None for slices through the middle, which are
            drawn too where nothing ever reaches the level. In the plane: what is as high or higher is filled
            with the colour; None for an image.
        rgb: Whether values are colours, shape (nx, ny, 3), red, green and blue in 0 .. 1.
    """

    values: Ref
    origin: tuple[float, ...] | None = None
    spacing: float | tuple[float, ...] = 1.0
    contours: int = 0
    level: float | None = None
    rgb: bool = False


@dataclass(frozen=True, eq=False)
class Vectors(Part):
    """Arrows: velocities, forces, gradients.

    Attributes:
        vectors: Shape (n, d), or (nx, ny, 2) on a grid.
        positions: Where they begin, shape (n, d); None for a grid from `origin` with `spacing`.
        origin: As a grid's.
        spacing: As a grid's.
        scale: The length of an arrow in the unit of space for one unit of its vector; None for one at which
            long ones just keep clear of each other.
        lines: Whether short streamlines are drawn in place of arrows, on a grid: they bend with the flow, and
            are as long as the vectors that they follow.
    """

    vectors: Ref
    positions: Ref = None
    origin: tuple[float, ...] | None = None
    spacing: float | tuple[float, ...] = 1.0
    scale: float | None = None
    lines: bool = False


@dataclass(frozen=True, eq=False)
class Text(Part):
    """Words, with numbers of the frame in them.

    Attributes:
        text: As for `str.format`, with the arrays of the frame by name: `"head at {x[3][0]:.2f} m"`.
        at: Where it stands in space; None for a line above the picture.
    """

    text: str = ""
    at: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Curves(Part):
    """Signals over time, below what is in space.

    Attributes:
        values: Any shape: one curve for each number, the first ones where there are many.
        names: What the elements are called in the legend; empty for their numbers.
    """

    values: Ref
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Camera:
    """From where space is looked at.

    Attributes:
        toward: The direction of looking.
        up: What is up in the picture.
    """

    toward: tuple[float, float, float] = (-0.6, -0.45, -0.65)
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to see, and from where.

    Attributes:
        parts: What is drawn, the hindmost first.
        camera: In space; None for one that suits.
        limits: What is shown of space, a pair for each axis; None for all that the positions reach.
        unit: Of space; empty for that of the positions.
        ground: The height below which there is ground (y in the plane, along `up` in space); None for none.
    """

    parts: Sequence[Part]
    camera: Camera | None = None
    limits: tuple[tuple[float, float], ...] | None = None
    unit: str = ""
    ground: float | None = None

    def __post_init__(self) -> None:
        """Check the parts, and make a tuple of them."""
        many = isinstance(self.parts, Iterable) and not isinstance(self.parts, str)
        parts = tuple(self.parts) if many else (self.parts,)
        wrong = [part for part in parts if not isinstance(part, Part)]
        if wrong:
            raise ConfigError(
                f"a scene must consist of parts such as ds.scene.Points(self.x), got {wrong[0]!r}; wrap it"
            )
        object.__setattr__(self, "parts", parts)
