"""Planar articulated bodies in joint coordinates: cart-pole, acrobot, two-link arm, any tree of links."""

from diffsim.kernels.rigid_body_articulated.goals import FollowPath, PathConfig, PostureConfig, ReachPosture
from diffsim.kernels.rigid_body_articulated.mechanism import (
    Link,
    Mechanism,
    acrobot,
    cart_pole,
    chain,
    two_link_arm,
)
from diffsim.kernels.rigid_body_articulated.simulator import Articulated, ArticulatedConfig

__all__ = [
    "Articulated",
    "ArticulatedConfig",
    "FollowPath",
    "Link",
    "Mechanism",
    "PathConfig",
    "PostureConfig",
    "ReachPosture",
    "acrobot",
    "cart_pole",
    "chain",
    "two_link_arm",
]
