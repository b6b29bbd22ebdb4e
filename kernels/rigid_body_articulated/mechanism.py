"""Mechanisms: which links there are, how they hang together, and the classic ones by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.options import option

__all__ = ["Link", "Mechanism", "acrobot", "cart_pole", "chain", "two_link_arm"]


@dataclass(frozen=True)
class Link(Config):
    """One rigid body and the joint that ties it to its parent.

    A link has a frame whose origin is its joint. In the parent's frame the joint sits at `anchor`; a revolute
    joint turns the frame there by q [rad], counterclockwise, a prismatic one moves it by q [m] along `axis`.

    Args:
        joint: "revolute" or "prismatic".
        parent: index of the link that it is tied to, -1 for the world.
        anchor: the joint's place in the parent's frame [m]; of a prismatic joint, the place for q = 0.
        axis: direction of a prismatic joint in the parent's frame; only its direction counts.
        mass: [kg], positive.
        inertia: moment of inertia about the centre of mass [kg m^2].
        center: centre of mass in the link's frame [m].
        tip: the far end in the link's frame [m]: where a hand or the next link is.
        damping: friction of the joint [N m s] or [N s/m], proportional to its speed.
        limit: the largest torque [N m] or force [N] of the joint's motor; 0 for a joint without a motor.

    Raises:
        ConfigError: A value is out of range; an axis has no direction; a revolute link has no moment of
            inertia about its joint, so that nothing would resist its turning.
    """

    joint: str = option("revolute", "kind of the joint", choices=("revolute", "prismatic"))
    parent: int = option(-1, "index of the link that it is tied to, -1 for the world", minimum=-1)
    anchor: tuple[float, float] = option((0.0, 0.0), "the joint's place in the parent's frame [m]")
    axis: tuple[float, float] = option((1.0, 0.0), "direction of a prismatic joint in the parent's frame")
    mass: float = option(1.0, "mass [kg]", above=0.0)
    inertia: float = option(0.0, "moment of inertia about the centre of mass [kg m^2]", minimum=0.0)
    center: tuple[float, float] = option((0.0, 0.0), "centre of mass in the link's frame [m]")
    tip: tuple[float, float] = option((0.0, 0.0), "far end in the link's frame [m]")
    damping: float = option(0.0, "friction of the joint [N m s] or [N s/m]", minimum=0.0)
    limit: float = option(0.0, "largest torque [N m] or force [N] of the motor, 0 for none", minimum=0.0)

    @property
    def turns(self) -> bool:
        """Whether the joint is revolute."""
        return self.joint == "revolute"

    @property
    def direction(self) -> tuple[float, float]:
        """The axis as a unit vector."""
        length = math.hypot(*self.axis)
        return self.axis[0] / length, self.axis[1] / length

    def check(self) -> None:
        """Hold what makes the mass matrix positive definite."""
        if self.axis == (0.0, 0.0):
            self.refuse("axis", "have a direction", self.axis, "pass (1, 0) for a horizontal slide")
        if self.turns and self.inertia == 0.0 and self.center == (0.0, 0.0):
            self.refuse(
                "inertia", "be above 0 where the centre is the joint", 0.0, "give it one, or a centre"
            )


@dataclass(frozen=True)
class Mechanism:
    """A tree of links in the plane, parents before children.

    Args:
        name: What pictures and messages call it.
        links: The links; link `i` may be tied to links before it and to the world.

    Raises:
        ConfigError: There are no links, or a link is tied to one that does not come before it.
    """

    name: str
    links: tuple[Link, ...]

    def __post_init__(self) -> None:
        """Check the tree."""
        if not self.links:
            raise ConfigError("Mechanism.links must hold at least one link, got none; pass Link(...)")
        for i, link in enumerate(self.links):
            if link.parent >= i:
                raise ConfigError(
                    f"Mechanism.links[{i}].parent must be below {i}, got {link.parent}; list parents before "
                    "their children"
                )

    @property
    def size(self) -> int:
        """The number of links, which is the number of joint coordinates."""
        return len(self.links)

    @property
    def motors(self) -> tuple[int, ...]:
        """The links whose joints have a motor."""
        return tuple(i for i, link in enumerate(self.links) if link.limit > 0.0)

    def places(self, q: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where joints and tips are in the world.

        Args:
            q: Joint coordinates [rad] or [m], `(..., size)`.

        Returns:
            The origins of the links' frames and their tips [m], `(..., size, 2)` each.
        """
        found = self._frames(np.asarray(q, dtype=np.float64))
        return _as_plane(found.joints), _as_plane(found.tips)

    def holding(self, q: ArrayLike, gravity: float) -> NDArray[np.float64]:
        """Return the efforts [N m] or [N] that hold the mechanism still against gravity.

        Args:
            q: Joint coordinates [rad] or [m], `(..., size)`.
            gravity: Vertical acceleration [m/s^2]; negative points down.

        Returns:
            One effort for each joint, with a motor or not, `(..., size)`.
        """
        q = np.asarray(q, dtype=np.float64)
        found = self._frames(q)
        efforts = np.zeros(q.shape)
        for body, center in zip(range(self.size), found.centers, strict=True):
            i = body
            while i >= 0:  # each joint on the way to the world feels the body's weight
                turns = self.links[i].turns
                rise = (center - found.joints[i]).real if turns else found.slides[i].imag
                efforts[..., i] -= self.links[body].mass * gravity * rise
                i = self.links[i].parent
        return efforts

    def _frames(self, q: NDArray[np.float64]) -> _Frames:
        """Find every link: a point is x + i y, a turn by an angle a is exp(i a)."""
        turn: list[Any] = [np.ones(q.shape[:-1], dtype=complex)]
        found = _Frames([], [], [], [])
        for i, link in enumerate(self.links):
            facing = turn[link.parent + 1]
            base = found.joints[link.parent] if link.parent >= 0 else 0.0 * facing
            slide = facing * complex(*link.direction)
            base = base + facing * complex(*link.anchor) + (0.0 if link.turns else q[..., i] * slide)
            turn.append(facing * np.exp(1j * q[..., i]) if link.turns else facing)
            found.joints.append(base)
            found.slides.append(slide)
            found.tips.append(base + turn[-1] * complex(*link.tip))
            found.centers.append(base + turn[-1] * complex(*link.center))
        return found


@dataclass(frozen=True)
class _Frames:
    """Where the links are, as complex numbers, one array for each link."""

    joints: list[Any]
    slides: list[Any]
    tips: list[Any]
    centers: list[Any]


def _as_plane(points: Iterable[NDArray[np.complex128]]) -> NDArray[np.float64]:
    """Turn complex numbers into pairs, one axis for the points before the last."""
    stacked = np.stack(list(points), axis=-1)
    return np.stack([stacked.real, stacked.imag], axis=-1)


def _rod(
    length: float,
    mass: float,
    along: tuple[float, float],
    parent: int,
    anchor: tuple[float, float],
    **rest: float,
) -> Link:
    """Return a uniform rod that turns about one end and points along `along` for q = 0."""
    far = (length * along[0], length * along[1])
    return Link(
        parent=parent,
        anchor=anchor,
        mass=mass,
        inertia=mass * length**2 / 12.0,
        center=(0.5 * far[0], 0.5 * far[1]),
        tip=far,
        **rest,  # type: ignore[arg-type]
    )


def cart_pole(
    cart_mass: float = 1.0,
    pole_mass: float = 0.3,
    pole_length: float = 1.0,
    limit: float = 5.0,
    damping: tuple[float, float] = (0.0, 0.0),
) -> Mechanism:
    """Return a cart on a horizontal track with a uniform rod hinged to it; the motor pushes the cart.

    Coordinates: the cart's x [m], and the rod's angle from hanging down [rad].

    Args:
        cart_mass: [kg].
        pole_mass: [kg].
        pole_length: [m].
        limit: the largest force on the cart [N].
        damping: of the track [N s/m] and of the hinge [N m s].
    """
    cart = Link("prismatic", mass=cart_mass, damping=damping[0], limit=limit)
    pole = _rod(pole_length, pole_mass, (0.0, -1.0), 0, (0.0, 0.0), damping=damping[1])
    return Mechanism("cart-pole", (cart, pole))


def acrobot(
    lengths: tuple[float, float] = (1.0, 1.0),
    masses: tuple[float, float] = (1.0, 1.0),
    limit: float = 5.0,
    damping: tuple[float, float] = (0.0, 0.0),
) -> Mechanism:
    """Return two uniform rods hanging from a pivot, with a motor at the elbow alone.

    Coordinates: the upper rod's angle from hanging down, the lower rod's angle from the upper one [rad].

    Args:
        lengths: of the two rods [m].
        masses: [kg].
        limit: the largest torque at the elbow [N m].
        damping: of shoulder and elbow [N m s].
    """
    upper = _rod(lengths[0], masses[0], (0.0, -1.0), -1, (0.0, 0.0), damping=damping[0])
    lower = _rod(lengths[1], masses[1], (0.0, -1.0), 0, (0.0, -lengths[0]), damping=damping[1], limit=limit)
    return Mechanism("acrobot", (upper, lower))


def two_link_arm(
    lengths: tuple[float, float] = (0.5, 0.4),
    masses: tuple[float, float] = (1.0, 0.8),
    limits: tuple[float, float] = (15.0, 5.0),
    damping: tuple[float, float] = (0.1, 0.1),
) -> Mechanism:
    """Return an arm of two uniform rods with motors at shoulder and elbow, in a vertical plane.

    Coordinates: the upper arm's angle from the x axis, the forearm's angle from the upper arm [rad].

    Args:
        lengths: of upper arm and forearm [m].
        masses: [kg].
        limits: the largest torques at shoulder and elbow [N m].
        damping: of shoulder and elbow [N m s].
    """
    rods = [
        _rod(lengths[0], masses[0], (1.0, 0.0), -1, (0.0, 0.0), damping=damping[0], limit=limits[0]),
        _rod(lengths[1], masses[1], (1.0, 0.0), 0, (lengths[0], 0.0), damping=damping[1], limit=limits[1]),
    ]
    return Mechanism("two-link arm", tuple(rods))


def chain(links: int, length: float = 1.0, mass: float = 1.0) -> Mechanism:
    """Return a free pendulum of equal uniform rods; angles are from the rod before, the first from down.

    Args:
        links: How many rods.
        length: of each rod [m].
        mass: of each rod [kg].
    """
    anchors = [(0.0, 0.0)] + [(0.0, -length)] * (links - 1)
    rods = [_rod(length, mass, (0.0, -1.0), i - 1, anchor) for i, anchor in enumerate(anchors)]
    return Mechanism(f"chain of {links}", tuple(rods))
