"""Slips of a new user's kernels: each message names the slip and what to write instead."""

import numpy as np
import pytest
import taichi as ti

import diffsim as ds
from diffsim import _taichi
from diffsim.errors import TraceError


class Typed(ds.Simulator):
    """Its step is one kernel, made of one typed statement for each of three elements."""

    def __init__(self, line=None):
        self.x, self.v, self.f = ds.State(ds.vec2, 3), ds.State(ds.real, 3), ds.Scratch(ds.real, 3)
        self.m, self.deep = ds.State(ds.mat2, 3), ds.Scratch(ds.real, 2, 1, 1, 1, 1)
        self.k, self.s, self.u = ds.Param([1.0, 2.0, 3.0]), ds.Param(2.0), ds.Control(ds.real)
        self.line, self.n = line, 3

    def mover(self, v):
        v[0] = 1.0

    @ti.func
    def bump(self, t, i):
        self.f[t, i] += 1.0
        return self.f[t, i]

    def starred(self, *v):
        return v[0]

    def counting(self, n):
        yield n

    @ti.kernel
    def other(self, t: ti.i32):
        for i in range(3):
            self.x[t + 1, i] = self.x[t, i]

    def step(self, t):
        line = "self.v[t + 1, i] " * self.line.startswith("=") + self.line
        text = f"def typed(t: ti.i32):\n    for i in range(3):\n        {line}\n"
        _taichi.build_kernel(text, "typed", {"self": self, "np": np, "speed": 1.0})(t)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "= 1.0 if self.s[None] > 0.0 and self.bump(t, i) > 0.0 else 2.0",
            "Scratch f must stand where it is",
        ),
        ("= self.bump(t, i) if self.s[None] > 0.0 else 2.0", "in any case and Python does not; call it in a"),
        # indices
        ("= self.v[0, i]", "0 is a number, and steps are not read by number: pass t on"),
        ("= self.x[t, i, 0]", "components stand by themselves: write self.x[t, i][0]"),
        ("= self.m[t, i, 0, 1]", "components stand by themselves: write self.m[t, i][0, 1]"),
        ("= self.v[t]", "write self.v[t, i]"),
        ("= self.k[t, i]", "it has no time axis: write self.k[i], or declare a ds.Control"),
        ("= self.s[t]", "it has no time axis: write self.s[None], or declare a ds.Control"),
        (
            "self.v[t + 1, i] = self.u[None]",
            "the time first, got self.u[None]; write self.u[t]",
        ),
        ("self.v[t + 1, i] = self.u[i, i]", "write self.u[i]"),
        (
            "self.v[t + 1, i] = self.s",
            "Param s must be indexed before it is computed with, as in self.s[None]",
        ),
        ("= self.v", "as in self.v[t, i]"),
        ("self.v[t, i] = 1.0", "write self.v[t + 1, i], or self.v[i] to change it in place"),
        ("= self.deep[t]", "write self.deep[t, i0, i1, i2, i3, i4]"),
        ("= self.deep", "as in self.deep[t, i0, i1, i2, i3, i4]"),
        # shapes
        ("= self.x[t, i]", "got (2,) in self.v[t + 1, i] = self.x[t, i]; take a component"),
        ("= self.x[t, i].z", "got .z of a vector of shape (2,); correct the name"),
        ("= self.v[t, i].x", "got .x of a number; correct the name"),
        # names
        ("= sped", "sped must be defined before it is used, got none; did you mean speed?"),
        ("= gravity", "gravity must be defined before it is used, got none; assign it"),
        (
            "self.v[t + 1, i] = self.mvoer(1.0)",
            "must have an attribute 'mvoer', got none; did you mean mover?",
        ),
        # functions
        (
            "ti.static_assert(2 == 3, 'no')",
            "ti.static_assert(2 == 3, 'no') must hold, got False (no); correct",
        ),
        ("= ti.frexp(self.v[t, i])[0]", "ti.frexp must stay out of kernels that are differentiated, got"),
        ("= ti.stop_grad(self.v)", "got ti.stop_grad(self.v); write ds.stop_gradient(...) around the values"),
        ("f'{i}'; self.v[t + 1, i] = 0.0", "an f-string must be made of what is known when the kernel"),
        (
            "self.v[t + 1, i] = 1.0 if i and (k := i) else k",
            "`:=` must stand where it is always reached, got",
        ),
        ("= np.linalg.norm(self.x[t, i])", "got one of NumPy; write v.norm()"),
        ("self.x[t + 1, i] = np.fft.fft(self.x[t, i])", "got one of NumPy; write it as a @ti.func"),
        (
            "self.mover(self.x[t, i])",
            "self.mover must not change its arguments, got v[0] assigned in it, which",
        ),
        (
            "self.v[t + 1, i] = self.starred(i)",
            "self.starred must have plain parameters to be inlined, got one",
        ),
        (
            "self.v[t + 1, i] = self.counting(i)[0]",
            "self.counting must return a value to be inlined, got a gen",
        ),
        (
            "self.other(t)",
            "kernels must not call kernels, got self.other(t); make it a @ti.func, or",
        ),
        ("self.v[t + 1, i] = round(self.v[t, i])", "got one of Python's own; write ti.round(x)"),
        (
            "a = [1.0]; a.append(self.v[t, i])",
            "got a method of a list, which is fixed when the kernel",
        ),
        ("f = lambda *a: a[0]; self.v[t + 1, i] = f(1.0)", "a lambda in a kernel must have plain parameters"),
    ],
)
def test_a_slip_is_told_with_what_to_write(runtime, line, told):
    with pytest.raises(TraceError) as caught:
        ds.plan(Typed(line), steps=2)
    assert told in str(caught.value)


class Methods(Typed):
    """What only kernels that are methods can get wrong."""

    @ti.kernel
    def typed(self, t: ti.i32):
        for i in range(len(self.x)):
            v[t + 1, i] = 1.0  # noqa: F821
            if self.v[t, i] > 0.0:
                g = 1.0
            else:
                g = 2.0
            self.f[t, i] = g

    def step(self, t):
        self.typed(t)


def test_slips_in_methods(runtime):
    with pytest.raises(TraceError) as caught:
        ds.plan(Methods(), steps=2)
    first, second = caught.value.diagnostics
    assert "v must be defined before it is used, got one that is an attribute; write self.v" in first.message
    assert (
        "got one that a loop or branch assigns, which ends with it; give it a value before" in second.message
    )
