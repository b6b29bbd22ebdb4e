"""Rollouts: a simulator over a horizon, its cost, its gradients, and what is known of both."""

from diffsim.rollout.rollout import Rollout

__all__ = ["Rollout"]
