"""What is not translated is said, not guessed; loops and branches run as Python runs them."""

import numpy as np
import pytest
from fuzz.machine import run

from diffsim import _llvm
from diffsim.compiler.native.translate import Place, Unsupported, translate

pytestmark = pytest.mark.native

PLACES = {"x": Place("f64", (4, 1), 8), "c": Place("i32", (), 1)}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("y = nobody", "the name nobody"),
        ("y = z[0]", "the place z"),
        ("y = x[0]", "1 indices of x"),
        ("y = x[0, 0, 0]", "3 indices of x"),
        ("y = 'text'", "'text'"),
        ("y = ti.math.pi", "ti.math.pi"),
        ("y = ~n", "~n"),
        ("y = 0 < n < 3", "0 < n < 3"),
        ("y = 1.5 & n", "& of f64"),
        ("y = ti.erf(1.5)", "erf"),
        ("y = ti.atomic_xor(c[None], 1)", r"ti.atomic_xor\(c\[None\], 1\)"),
        ("y = ti.atomic_add(n, 1)", r"ti.atomic_add\(n, 1\)"),
        ("y = [n]", r"\[n\]"),
        ("y.z = n", "y.z = n"),
        ("y.z += n", r"y.z \+= n"),
        ("n", "n"),
        ("while n: pass", "While"),
        ("for i in x: pass", "x"),
        ("for i in ti.grouped(x): pass", "grouped"),
        ("return", "Return"),
        ("assert n", "Assert"),
    ],
)
def test_what_is_not_translated(line, what):
    source = f"def kernel(n: ti.i32):\n    {line}\n"
    with pytest.raises(Unsupported, match=f"^{what}$"):
        translate(source, "f64", PLACES, "kernel")


def test_a_text_that_is_no_function():
    with pytest.raises(Unsupported, match="Assign"):
        translate("x = 1", "f64", {}, "kernel")


LOOPS = """def kernel(n: ti.i32, t: ti.i32):
    for i in range(3, 1):
        o_i32[0, 0] = 1
    for i in range(n):
        if i % 2 == 0:
            o_i32[0, 1] += i + 1
        elif i == 1:
            o_i32[0, 2] += 10
        else:
            o_i32[0, 2] += 100
    for i, j in ti.ndrange((1, n), (-1, 2)):
        o_i32[0, 3] = 10 * o_i32[0, 3] + i * j + 2
    for k in range(t - 1 - 2, t - 1 - 2 + 1):
        o_i32[0, 4] = k
    last = 7
    for i in range(0, o_i32[0, 4]):
        o_i32[0, 4] = 9
        last = i
    o_i32[0, 5] = last
    o_i32[0, n + (t - 2)] = -1
    o_i32[0, (n * 1431655766 + 5) % 8] = -2
"""


@pytest.mark.parametrize("level", [0, 2])
def test_loops_and_branches(level):
    left = run(LOOPS, {"o_i32": np.zeros((1, 8), np.int32)}, level=level)["o_i32"][0].tolist()
    #  bounds are taken before a loop begins; an index wraps as a number of 32 bits
    assert left == [0, 1 + 3, 10, 123024, 9, 1, -1, -2]


def test_ill_formed_text_of_llvms():
    with pytest.raises(RuntimeError, match="parsing error"):
        _llvm.compile_object("define void @f( {", 0)
