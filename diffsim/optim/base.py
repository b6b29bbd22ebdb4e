"""The contract of an optimizer: a frozen configuration that starts runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffsim.optim.rule import Rule
from diffsim.optim.run import OptimizerRun

if TYPE_CHECKING:
    from diffsim.rollout import Rollout

__all__ = ["Optimizer"]


class Optimizer(Rule):
    """A rule by which gradients change parameters; a frozen dataclass of its hyperparameters.

    It holds no state: `start` makes a run that does. A rule of your own is a subclass that tells `numbers`,
    and a subclass of `Memory` whose `change` reads them::

        @ti.data_oriented
        class SignMemory(Memory):
            @ti.func
            def change(self, place, g, numbers):
                return -numbers[0] * ti.math.sign(g)

        @dataclass(frozen=True)
        class SignDescent(Optimizer):
            lr: float
            memory = SignMemory

            def numbers(self, iteration):
                return (self.lr,)

    Such a rule works on Taichi fields, and is compiled. Where parameters lie in NumPy arrays it need not be,
    with a subclass of `HostMemory` with the same `change`, of arrays, that the class of memory names::

        class SignHost(HostMemory):
            def change(self, place, g, numbers):
                return -numbers[0] * np.sign(g)

        @ti.data_oriented
        class SignMemory(Memory):
            host = SignHost
            ...

    Attributes:
        memory: The kind of memory that its runs have.
    """

    def start(self, rollout: Rollout, wrt: Any = None) -> OptimizerRun:
        """Start optimising at the parameters' present values.

        Args:
            rollout: What is to be minimised; with several worlds, the sum of their costs.
            wrt: What may change, as `Rollout.value_and_grad` takes it; None for every Param and Control.

        Returns:
            A run that owns the optimizer's state on the device.

        Raises:
            ConfigError: `wrt` names nothing, or something that can't be optimised.
            StateError: The rollout was closed.
        """
        return OptimizerRun(self, rollout, wrt)
