"""The public name of gradient checks and what they report; they live in `diffsim.rollout.grad`."""

from diffsim.rollout.grad import Direction, GradientHealth, GradientReport, Worst, check_grad

__all__ = ["Direction", "GradientHealth", "GradientReport", "Worst", "check_grad"]
