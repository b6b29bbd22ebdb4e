"""Checking gradients, and derivatives along a direction by forward mode."""

from diffsim.grad.check import check_grad
from diffsim.grad.health import GradientHealth
from diffsim.grad.report import Direction, GradientReport, Worst

__all__ = ["Direction", "GradientHealth", "GradientReport", "Worst", "check_grad"]
