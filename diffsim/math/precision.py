"""What the functions of this package ask the compiler for: the working precision, and values for replays.

Both are Taichi's in plain kernels; the analysis of a simulator's kernels knows them by name
(`diffsim.compiler.reading.calls`).
"""

from diffsim import _taichi

__all__ = ["EPSILONS", "epsilon", "replayed"]

ti = _taichi.ti

EPSILONS = {"f32": 2.0**-23, "f64": 2.0**-52}


def epsilon() -> float:
    """Return the distance from 1 to the next number of the working precision, inside `ti.static`."""
    return EPSILONS[_taichi.dtype_name(float) or "f64"]


@ti.func
def replayed(x, y):
    """Return `x`, or `y` where values are computed once more to differentiate at them.

    A gradient is taken at `y` then, which must be near `x`: it lets a function stand a little beside a point
    where its derivative is not defined, without a change of its value.
    """
    return x
