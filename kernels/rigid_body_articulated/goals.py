"""What an articulated body can be asked for: to come to a posture at rest, or to draw with its hand."""

# No `from __future__ import annotations` here: Taichi reads kernel annotations as objects, not as text.
from dataclasses import dataclass

import numpy as np
import taichi as ti
from numpy.typing import ArrayLike

import diffsim as ds
from diffsim.errors import ConfigError
from diffsim.kernels.common import Config
from diffsim.kernels.rigid_body_articulated.mechanism import Mechanism
from diffsim.kernels.rigid_body_articulated.simulator import Articulated, ArticulatedConfig, rotated
from diffsim.options import option

__all__ = ["FollowPath", "PathConfig", "PostureConfig", "ReachPosture"]


@dataclass(frozen=True)
class PostureConfig(Config):
    """The objective of `ReachPosture`.

    Args:
        posture: joint coordinates to reach [rad] or [m], one per joint.
        arrive: time from which on the posture should be kept [s].
        rest: weight of a squared speed [s^2].
        effort: weight of the squared effort, as a share of each motor's limit, over time [1/s].
        track: how far a sliding joint may go to either side [m].
        stops: weight of the squared way beyond the track, over time [1/(m^2 s)].

    Raises:
        ConfigError: A value is out of range.
    """

    posture: tuple[float, ...] = option((0.0, 3.141592653589793), "joint coordinates to reach [rad] or [m]")
    arrive: float = option(4.0, "time from which on it should be kept [s]", minimum=0.0)
    rest: float = option(0.1, "weight of a squared speed [s^2]", minimum=0.0)
    effort: float = option(0.005, "weight of a squared share of the limit, over time [1/s]", minimum=0.0)
    track: float = option(1.5, "how far a sliding joint may go to either side [m]", above=0.0)
    stops: float = option(100.0, "weight of the squared way beyond [1/(m^2 s)]", minimum=0.0)


class ReachPosture(Articulated):
    """An articulated body that should come to a posture, and stay there at rest.

    The cost is the sum over joints of `miss + rest q'^2`, at the last step and integrated over the time from
    `arrive` on, with `miss = 2 - 2 cos(q - posture)` for a revolute joint (the squared angle where it is
    small, whichever way around) and the squared distance for a sliding one, plus the integrals over all time
    of `effort (torque / limit)^2` for each motor and of `stops max(|q| - track, 0)^2` for each sliding joint.

    Args:
        mechanism: The links; a cart-pole where left out.
        config: The constants of the run.
        objective: What to reach, and what it may cost.
        per_world: Each world has commands of its own.

    Raises:
        ConfigError: The posture does not have one number per joint.

    Differentiability: As `Articulated`; once continuously differentiable where a joint meets its track's end.
    At a posture that is mirrored (hanging straight down, with no effort at all) the gradient with respect to
    the commands is zero: begin with commands that are not.
    """

    def __init__(
        self,
        mechanism: Mechanism | None = None,
        config: ArticulatedConfig | None = None,
        objective: PostureConfig | None = None,
        per_world: bool = False,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        super().__init__(mechanism, config, per_world)
        self.objective = objective or PostureConfig()
        if len(self.objective.posture) != self.n:
            self.objective.refuse(
                "posture", f"have {self.n} numbers", self.objective.posture, "give one for each joint"
            )
        self.posture, self.rest = self.objective.posture, self.objective.rest
        self.effort_weight, self.stop_weight = self.objective.effort, self.objective.stops
        self.track, self.arrive = self.objective.track, self.objective.arrive

    @ti.kernel
    def strain(self, t: ti.i32):
        """Add what efforts and stops cost in this step."""
        for i in ti.static(range(self.n)):
            if ti.static(self.motors[i] >= 0):
                share = self.effort[t, i] / self.limits[i]
                self.cost[None] += self.dt * self.effort_weight * share**2
            if ti.static(not self.turns[i]):
                beyond = ti.max(ti.abs(self.q[t, i]) - self.track, 0.0)
                self.cost[None] += self.dt * self.stop_weight * beyond**2

    @ti.func
    def miss(self, t):
        """Return how far the posture is, and how fast it is left."""
        total = 0.0
        for i in ti.static(range(self.n)):
            off = self.q[t, i] - self.posture[i]
            if ti.static(self.turns[i]):
                total += 2.0 - 2.0 * ti.cos(off)
            else:
                total += off**2
            total += self.rest * self.v[t, i] ** 2
        return total

    @ti.kernel
    def stay(self, t: ti.i32):
        """Add what it costs to be elsewhere when it should be there."""
        if t * self.dt >= self.arrive:
            self.cost[None] += self.dt * self.miss(t)

    @ti.kernel
    def end(self, t: ti.i32):
        """Add what it costs to be elsewhere at the last step."""
        self.cost[None] += self.miss(t)

    def running_cost(self, t: int) -> None:
        """Keep efforts small and slides on their tracks; stay."""
        self.strain(t)
        self.stay(t)

    def terminal_cost(self, t: int) -> None:
        """Be there, at rest."""
        self.end(t)

    def scene(self) -> ds.Scene:
        """Describe the posture to reach as well, and the track of what slides."""
        see, seen = ds.scene, super().scene()
        posture = self._ends(np.array(self.posture))
        goal = see.Lines(posture, self._rods(), color=see.GOAL, width=2.0, label="posture to reach")
        if all(self.turns):
            return ds.Scene((goal, *seen.parts))
        track = np.array([[-self.track, 0.0], [self.track, 0.0]])
        return ds.Scene((see.Lines(track, color=see.INK, width=1.0, label="track"), goal, *seen.parts))


@dataclass(frozen=True)
class PathConfig(Config):
    """The objective of `FollowPath`.

    Args:
        effort: weight of the squared effort, as a share of each motor's limit, against squared metres.

    Raises:
        ConfigError: A value is out of range.
    """

    effort: float = option(1e-5, "weight of a squared share of the limit [m^2]", minimum=0.0)


class FollowPath(Articulated):
    """An articulated body whose hand, the last link's tip, should be at a place of a path at each step.

    The cost is the mean over the path's points of the squared distance [m^2] of the hand from the point whose
    turn it is, plus `effort (torque / limit)^2` for each motor. Behind the last point the hand should stay.

    Args:
        path: Where the hand should be at steps 0, 1, ... [m], `(points, 2)`.
        mechanism: The links.
        config: The constants of the run.
        objective: What it may cost.
        per_world: Each world has commands of its own.

    Attributes:
        hand: the last link's tip [m], `Scratch(vec2, 1)`.

    Raises:
        ConfigError: The path has another shape.

    Differentiability: As `Articulated`.
    """

    def __init__(
        self,
        path: ArrayLike,
        mechanism: Mechanism | None = None,
        config: ArticulatedConfig | None = None,
        objective: PathConfig | None = None,
        per_world: bool = False,
    ) -> None:
        """Declare the fields; nothing is allocated before a rollout."""
        super().__init__(mechanism, config, per_world)
        self.objective = objective or PathConfig()
        self.path = ds.Constant(path, unit="m")
        if self.path.shape[1:] != (2,):
            raise ConfigError(
                f"FollowPath path must have shape (points, 2), got {self.path.shape}; "
                "give x and y for each step"
            )
        self.points = self.path.shape[0]
        self.hand = ds.Scratch(ds.vec2, 1, unit="m")
        self.share, self.effort_weight = 1.0 / self.points, self.objective.effort

    @ti.kernel
    def reach(self, t: ti.i32):
        """Find the hand."""
        heading, joint, _, _ = self.place(ti.Vector([self.q[t, i] for i in range(self.n)]))
        self.hand[t, 0] = joint[self.n, :] + rotated(heading[self.n, :], ti.Vector(self.tips[self.n - 1]))

    @ti.kernel
    def stray(self, t: ti.i32):
        """Add how far the hand is from its place, and what the motors do."""
        for c in ti.static(range(2)):
            off = self.hand[t, 0][c] - self.path[ti.min(t, self.points - 1), c]
            self.cost[None] += self.share * off**2
        for i in ti.static(range(self.n)):
            if ti.static(self.motors[i] >= 0):
                self.cost[None] += self.share * self.effort_weight * (self.effort[t, i] / self.limits[i]) ** 2

    def step(self, t: int) -> None:
        """Drive the motors, move, find the hand."""
        super().step(t)
        self.reach(t)

    def running_cost(self, t: int) -> None:
        """Stay on the path."""
        self.stray(t)

    def scene(self) -> ds.Scene:
        """Describe the path and the hand as well."""
        see = ds.scene
        path = see.Lines(self.path, color=see.GOAL, width=2.0, label="path")
        hand = see.Points(self.hand, radius=0.02, color=see.HEAD, trail=True, label="hand")
        return ds.Scene((path, *super().scene().parts, hand))
