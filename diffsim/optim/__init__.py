"""Gradient descent on the device: `SGD`, `Adam`, and the loop around them.

    result = ds.minimize(rollout, wrt=[sim.policy], optimizer=ds.optim.Adam(lr=1e-2), iterations=100)

Parameters, gradients and the optimizer's state stay where the rollout's memory is: in Taichi fields, of which
an iteration brings the cost and the gradient's length to the host, or in NumPy arrays.
"""

from diffsim.optim.adam import Adam
from diffsim.optim.base import Optimizer
from diffsim.optim.host import HostMemory
from diffsim.optim.memory import Memory
from diffsim.optim.minimize import minimize
from diffsim.optim.result import Result
from diffsim.optim.rule import StepInfo
from diffsim.optim.run import OptimizerRun
from diffsim.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "HostMemory",
    "Memory",
    "Optimizer",
    "OptimizerRun",
    "Result",
    "StepInfo",
    "minimize",
]
