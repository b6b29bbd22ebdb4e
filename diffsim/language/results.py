"""What a kernel returns while `step` is traced: no value yet, but something to pass on to other kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from diffsim.errors import TraceError

__all__ = ["Result", "result_of"]


class Result:
    """The value that one kernel call returns, for the arguments of later calls of the same method.

    Args:
        name: The kernel.
        number: The call's place among those of its method.
        phase: That method.
    """

    def __init__(self, name: str, number: int, phase: str) -> None:
        self.name, self.number, self.phase = name, number, phase
        self.used = False

    def __repr__(self) -> str:
        return f"what {self.name} returns"

    __hash__ = None  # type: ignore[assignment]

    def _refuse(self, verb: str) -> NoReturn:
        raise TraceError(
            f"what kernel {self.name} returns must only be passed on to kernels, got it {verb}: {self.phase} "
            "is traced once, before any kernel has run; do that in the kernel that takes it"
        )


def _refusal(verb: str) -> Callable[..., NoReturn]:
    def refuse(self: Result, *args: Any) -> NoReturn:
        self._refuse(verb)

    return refuse


_REFUSED = {
    "compared": ("eq", "ne", "lt", "le", "gt", "ge"),
    "branched on": ("bool",),
    "turned into a number": ("int", "index", "float", "complex", "round", "array"),
    "taken apart": ("getitem", "iter", "len"),
    "computed with": ("neg", "pos", "abs", "invert"),
}
for _verb, _names in _REFUSED.items():
    for _name in _names:
        setattr(Result, f"__{_name}__", _refusal(_verb))
for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for _side in ("", "r"):
        setattr(Result, f"__{_side}{_name}__", _refusal("computed with"))


def result_of(kernel: Callable[..., Any], name: str, number: int, phase: str) -> Result | None:
    """Return what stands for the value of a kernel call; None for a kernel that says that it returns none.

    Args:
        kernel: The kernel's Python function.
        name: What to call it.
        number: The call's place among those of its method.
        phase: That method.
    """
    # not by `inspect.signature`: methods are traced again before each run
    return None if kernel.__annotations__.get("return") is None else Result(name, number, phase)
