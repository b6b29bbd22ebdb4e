"""Planar rigid boxes joined by springs, with impulse contact: two robots that learn to walk."""

from diffsim.kernels.rigid_body.assembly import Assembly, Box, Spring, load_robot, robots
from diffsim.kernels.rigid_body.simulator import RigidBody, RigidBodyConfig

__all__ = ["Assembly", "Box", "RigidBody", "RigidBodyConfig", "Spring", "load_robot", "robots"]
