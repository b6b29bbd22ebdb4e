"""Checking gradients, and derivatives along a direction by forward mode."""

from diffsim.rollout.grad.check import check_grad
from diffsim.rollout.grad.health import GradientHealth
from diffsim.rollout.grad.report import Direction, GradientReport, Worst

__all__ = ["Direction", "GradientHealth", "GradientReport", "Worst", "check_grad"]
