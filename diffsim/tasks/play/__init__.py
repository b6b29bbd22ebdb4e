"""Playing with a rollout: parameters on sliders, the motion and the gradient that follow them."""

from diffsim.tasks.play.session import Handle, Look, Session

__all__ = ["Handle", "Look", "Session"]
