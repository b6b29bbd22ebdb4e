"""Planar mass-spring robots: points joined by springs, some of them muscles that a controller drives."""

from diffsim.kernels.mass_spring.robots import Robot, load_robot, robot_names
from diffsim.kernels.mass_spring.simulator import GoalMassSpring, MassSpring, MassSpringConfig

__all__ = ["GoalMassSpring", "MassSpring", "MassSpringConfig", "Robot", "load_robot", "robot_names"]
