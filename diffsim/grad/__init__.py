"""Checking gradients."""

from diffsim.grad.check import Direction, GradientReport, check_grad

__all__ = ["Direction", "GradientReport", "check_grad"]
