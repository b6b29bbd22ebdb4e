"""What the simulators share: checked configurations, stencils, contact, constitutive models."""

from diffsim.kernels.common.config import Config

__all__ = ["Config"]
