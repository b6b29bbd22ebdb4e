"""Robots as data: the four of the DiffTaichi experiments, one of our own, and the user's files."""

from diffsim.kernels.mass_spring.robots.files import load_robot, robot_names, robot_number
from diffsim.kernels.mass_spring.robots.robot import Robot

__all__ = ["Robot", "load_robot", "robot_names", "robot_number"]
