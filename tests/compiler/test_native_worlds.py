"""Kernels' texts for several worlds at once: what is computed for each, and what is not."""

import ast
import ctypes
import math

import numpy as np
import pytest

from diffsim import _llvm
from diffsim.compiler.native.jam import jammed
from diffsim.compiler.native.memory import Place
from diffsim.compiler.native.scopes import scoped, varying
from diffsim.compiler.native.translate import ONE_BY_ONE, translate

LANES, WORLDS, CELLS = 4, 6, 5

pytestmark = pytest.mark.skipif(bool(_llvm.why_missing()), reason="machine code needs llvmlite")


def arrays():
    """Two arrays in blocks of worlds, one whose worlds are all beside each other, and what worlds share."""
    rng = np.random.default_rng(1)
    blocks = -(-WORLDS // LANES)
    there = (np.arange(blocks * LANES) < WORLDS).reshape(blocks, 1, LANES)
    a, b = (np.where(there, v, np.nan) for v in rng.random((2, blocks, CELLS, LANES)))
    n = np.zeros((blocks, LANES), np.int32)
    n.reshape(-1)[:WORLDS] = [3, 1, 4, 2, 5, 1]
    return {
        "a": a,
        "b": b,
        "n": n,
        "p": rng.random((CELLS, WORLDS)),
        "k": rng.random(CELLS),
        "s": np.zeros((CELLS, LANES)),
        "c": np.zeros(1),
    }


PLACES = {
    "a": Place("f64", (CELLS * LANES, LANES), 2 * CELLS * LANES, axis=0, block=LANES),
    "b": Place("f64", (CELLS * LANES, LANES), 2 * CELLS * LANES, axis=0, block=LANES),
    "n": Place("i32", (LANES,), 2 * LANES, axis=0, block=LANES),
    "p": Place("f64", (1, WORLDS), CELLS * WORLDS, axis=0),
    "k": Place("f64", (1,), CELLS),
    "s": Place("f64", (CELLS * LANES, LANES), CELLS * LANES, axis=0, block=LANES),
    "c": Place("f64", (1,), 1),
}


class Block:
    """Stand for an array in plain Python, indexed as in a kernel's text."""

    def __init__(self, array, name):
        self.array, self.place = array.reshape(-1), PLACES[name]

    def at(self, indices):
        indices = indices if isinstance(indices, tuple) else (indices,)
        place, found = self.place, 0
        for axis, (index, stride) in enumerate(zip(indices, place.strides, strict=True)):
            blocked = axis == place.axis and place.block > 1
            found += index // place.block * stride + index % place.block if blocked else index * stride
        return int(found)

    def __getitem__(self, indices):
        return self.array[self.at(indices)]

    def __setitem__(self, indices, value):
        self.array[self.at(indices)] = value


def run(body, together=True):
    """Run a text as machine code, and in plain Python; return what both leave in memory where worlds are."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    source = f"def f(m: ti.i32):\n{lines}\n"
    module = translate(source, "f64", PLACES, "f", lanes=LANES, worlds=WORLDS)
    assert (ONE_BY_ONE not in module) == together
    code = _llvm.load(_llvm.compile_object(module, 1), "f")
    mine, wanted = arrays(), arrays()
    table = (ctypes.c_void_p * len(PLACES))(*(mine[name].ctypes.data for name in PLACES))
    ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(code.address)(2, table)
    scope = {"ti": math} | {name: Block(array, name) for name, array in wanted.items()}
    exec(f"def f(m):\n{lines}\nf(2)", scope)
    there = (np.arange(2 * LANES) < WORLDS).reshape(2, LANES)
    for found in (mine, wanted):
        for name in ("a", "b"):
            found[name] = np.where(there[:, None], found[name], 0.0)
        found["s"] = found["s"].sum(axis=1)
    return mine, wanted


LOOP = f"for w in range(0, {WORLDS}):\n"
BODIES = {
    "whole": """
    for i in range(5):
        a[w, i] = b[w, i] * k[i] + p[w, i]""",
    "shared sums": """
    for i in range(5):
        s[w % 4, i] = s[w % 4, i] + a[w, i]""",
    "one sum": """
    for i in range(5):
        c[0] = c[0] + a[w, i]
    c[0] += 1.0""",
    "own index": """
    for i in range(5):
        a[w, i] = b[w, n[w] - 1] * p[w, n[w] - 1] + k[n[w] - 1]""",
    "scattered": """
    for i in range(5):
        a[w, n[w] - 1] = a[w, n[w] - 1] + b[w, i]
        s[w % 4, n[w] - 1] = s[w % 4, n[w] - 1] + b[w, i]""",
    "branch": """
    x = 0.5
    if a[w, 0] > 0.5:
        x = b[w, 1]
        a[w, 1] = x
        if b[w, 0] > 0.5:
            p[w, 1] = x + 1.0
        else:
            s[w % 4, 1] = s[w % 4, 1] + x
    else:
        y = x * 2.0
        x = y
    b[w, 2] = x""",
    "short branch": """
    x = a[w, 0]
    if x > 0.5:
        x = x * 3.0
    else:
        x = x + 0.125
    b[w, 2] = x""",
    "bounds": """
    x = 0.0
    for i in range(n[w]):
        x = x + a[w, i]
        if x > 1.0:
            b[w, i] = x
    for i in range(n[w] - 1, n[w]):
        a[w, i] = x + i""",
    "nested bounds": """
    for i in range(n[w]):
        for j in range(i, n[w]):
            b[w, j] = b[w, j] + a[w, i]
            s[w % 4, j] = s[w % 4, j] + 1.0""",
    "division": """
    b[w, 0] = 7 // n[w] + 7 % n[w]""",
    "division by zero for no world": """
    d = m - 2
    x = 0
    y = 0
    if a[w, 0] > 5.0:
        x = 7 // d
    if a[w, 1] > 5.0:
        y = 7 % d
    b[w, 0] = x + y""",
    "late": """
    x = 0.0
    y = 0.0
    for i in range(5):
        z = x
        x = y
        y = a[w, i]
        b[w, i] = z""",
    "functions": """
    x = a[w, 0]
    a[w, 1] = ti.sin(x) / ti.cos(x) + ti.tanh(x) * ti.sqrt(x)
    a[w, 2] = ti.exp(x) * ti.log(x) + ti.atan2(x, b[w, 1]) + ti.floor(3.0 * x)
    a[w, 3] = ti.pow(x, 0.3) + x**3 + n[w] ** n[w]""",
    "world": """
    b[w, 0] = w * 2.0
    a[w, w % 5] = 1.0""",
    "scopes": """
    for i in range(2):
        t = i * 2.0
        a[w, i] = t
    for i in range(1):
        t = b[w, i]
        a[w, i + 2] = t""",
}


@pytest.mark.parametrize("name", list(BODIES))
def test_worlds_are_as_one_after_the_other(name):
    mine, wanted = run(LOOP + BODIES[name])
    for key, value in wanted.items():
        np.testing.assert_allclose(mine[key], value, rtol=1e-14, err_msg=key)


def test_what_worlds_share_and_store_is_done_for_one_after_the_other():
    body = LOOP + "    for i in range(5):\n        k[i] = a[w, i]"
    mine, wanted = run(body, together=False)
    np.testing.assert_array_equal(mine["k"], wanted["k"])


def test_names_vary_that_come_from_a_world():
    body = ast.parse("""
x = 1
r = 0
y = a[w]
for i in range(3):
    z = x
    x = u
    u = y
for i in range(3):
    v = y
    y = y + i
for i in range(3):
    v = i
if y > 0:
    q = 1
    r = q
""")
    statements = scoped(["w", "u"], body.body)
    assert ast.unparse(statements[5]) == "for i.3 in range(3):\n    v.2 = i.3"
    assert varying("w", statements) == {"w", "y", "u", "x", "z", "r", "v"}


@pytest.mark.parametrize(
    ("inner", "fits"),
    [
        ("a[w, j] = a[w, j] + k[i] * p[w, j]", True),
        ("s[w % 4, i] = s[w % 4, i] * 0.5", True),
        ("a[w, j] = a[w, j] * k[i]", False),
        ("a[w, j + 1] = a[w, j + 1] + a[w, j]", False),
        ("x = x + a[w, j]", False),
        ("v = ti.atomic_add(a[w, j], 1.0)", False),
    ],
)
def test_iterations_are_taken_together_where_they_do_not_meet(inner, fits):
    [loop] = ast.parse(f"for i in range(0, 10):\n    for j in range(0, 5):\n        {inner}\n").body
    found = jammed(loop, ["x"])
    assert (found is not None) == fits
    if found is not None:
        assert [ast.unparse(loop.iter) for loop in found[0]] == ["range(0, 2)", "range(0, 1)"]
        assert ast.unparse(found[0][1].body[1].value) == "i~ * 2 + 9"  # the second of the two that are left


def test_a_layer_is_as_without_taking_inputs_together():
    layer = """
    for i in range(0, 10):
        x = a[w, i % 5]
        for j in range(0, 5):
            b[w, j] = b[w, j] + x * k[j] * i
            s[w % 4, j] = s[w % 4, j] + x
        p[w, 0] = p[w, 0] + x"""
    mine, wanted = run(LOOP + layer)
    for key, value in wanted.items():
        np.testing.assert_allclose(mine[key], value, rtol=1e-13, err_msg=key)
