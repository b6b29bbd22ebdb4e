"""What Python's expressions and statements mean in kernels: the same as in Python, or an error that says so.

Where Taichi differs from Python (integers have a width, assignments copy), the meaning is Taichi's.
"""

import textwrap
import types

import numpy as np
import pytest
import taichi as ti
from fuzz.checks import load
from traps import plain

import diffsim as ds

N = 4
HEAD = """
import math
import numpy as np
import taichi as ti
import diffsim as ds

N = {n}
K = 3
shadowed = 7.0


@ti.func
def scaled(x, by=2.0, shift=0.5):
    '''A docstring.'''
    return x * by + shift


@ti.func
def nothing(x):
    y = x


@ti.func
def forever(x):
    return forever(x)


class Program(ds.Simulator):
    def __init__(self):
        rng = np.random.default_rng(1)
        self.x = ds.State(ds.real, N, init=rng.normal(size=N))
        self.a = ds.Param(rng.normal(size=N))
        self.b = ds.Param(rng.uniform(0.4, 1.6, size=N))
        self.w = ds.Param(rng.uniform(0.4, 1.6, size=(N, N)))
        self.v = ds.Param(ds.vec3, N, init=rng.normal(size=(N, 3)))
        self.counts = ds.Constant([2, 0, 3, 1])
        self.f = ds.Scratch(ds.real, {rows}, N)

    def step(self, t):
{calls}

"""


def program(bodies):
    """Return a simulator with a kernel for each body, which puts its result into `out`."""
    calls = "\n".join(f"        self.row{k}(t)" for k in range(len(bodies)))
    text = HEAD.format(n=N, rows=len(bodies), calls=calls)
    for k, body in enumerate(bodies):
        body = textwrap.indent(f"{body}\nself.f[t, {k}, i] = out", " " * 12)
        text += f"    @ti.kernel\n    def row{k}(self, t: ti.i32):\n        for i in range(N):\n{body}\n\n"
    total = f"for k, i in ti.ndrange({len(bodies)}, N):\n"
    total += "    self.cost[None] += (1.0 + 0.3 * ti.sin(3.0 * k + i)) * self.f[t, k, i]"
    text += f"    @ti.kernel\n    def total(self, t: ti.i32):\n{textwrap.indent(total, ' ' * 8)}\n\n"
    return text + "    def running_cost(self, t):\n        self.total(t)\n"


def expected(bodies, sim):
    """Run bodies as plain Python on a simulator's values."""
    fields = {k: v for k, v in vars(sim).items() if isinstance(v, ds.Param | ds.Constant)}
    holder = types.SimpleNamespace(**{k: plain.Field(v.numpy()) for k, v in fields.items()})
    holder.x = plain.Field(sim.x.numpy()[None])
    names = {"K": 3, "shadowed": 7.0, "scaled": lambda x, by=2.0, shift=0.5: x * by + shift, "ds": ds}
    found = np.zeros((len(bodies), N))
    for k, body in enumerate(bodies):
        text = "def row(self, t, i):\n" + textwrap.indent(f"{body}\nreturn out", "    ")
        row = plain.compiled(text, names)["row"]
        found[k] = [float(row(holder, 0, i)) for i in range(N)]
    return found


def assert_as_in_python(bodies, folder, name, gradients=False):
    """Compare what kernels compute with what plain Python does; of a pair, it runs the second."""
    kernels = [b if isinstance(b, str) else b[0] for b in bodies]
    sim = load(program(kernels), folder, name)
    rollout = ds.Rollout(sim, steps=1, mode="step")
    got = rollout.trajectory(sim.f)[0]
    plainly = ds.Rollout(sim, steps=1, mode="python").trajectory(sim.f)[0]
    np.testing.assert_allclose(plainly, got, rtol=1e-12, atol=1e-12)
    want = expected([b if isinstance(b, str) else b[1] for b in bodies], sim)
    for k, body in enumerate(kernels):
        np.testing.assert_allclose(got[k], want[k], rtol=1e-12, atol=1e-12, err_msg=body)
    if gradients:
        report = rollout.check_grad(wrt=[sim.x, sim.a, sim.b, sim.w, sim.v])
        assert report.passed, report
    rollout.close()


EXPRESSIONS = """
(i - 2) / 3 ; 7 / (i + 1) ; (i - 2) // 2 ; (i - 2) // -3 ; (1 - 2 * i) // (i + 1) ; (i - 2) % 3
(i - 2) % -3 ; -7 % (i + 2) ; (self.counts[i] - 2) % 3 ; i % 1.5 ; self.a[i] % -0.7 ; (-self.b[i]) // 0.7
self.b[i] % 2 ; i ** 2 ; 2 ** i ; (-2) ** i ; i ** 0 ; (i + 1) ** -1 ; 2.0 ** -i ; (i + 1) ** 0.5
(i - 2) ** self.counts[i] ; (i << 2) + (-8 >> 1) + ((i - 3) >> 1) ; (i & 3) + (i | 4) + (i ^ 1) + ~i
(i - 3) & 6 ; --i ; +i ; -+-i ; (i > 1) + (i > 2) ; (i > 1) * 2.5 ; True + i ; (not i) * 2.0
(not not i) + 1 ; -(i > 1) ; (i > 1) / 2 ; ((i > 1) == True) + 0.5 ; (i > 1) - (i > 2)
((i > 1) & (i < 3)) + 0 ; ((i > 1) ^ (i < 3)) + 0 ; (i > 1) ** 2 ; ((i > 1) << 2) + 0 ; (0 < i < 3) + 0
(0 <= i != 2) + 0 ; (-0.5 < self.a[i] < 0.5) * 2.0 ; (i > 1 if i > 0 else False) + 0 ; (i and 5) + 0
(i or 5) + 0 ; (self.b[i] or 1.0) ; (self.a[i] > 0 and 2.5) + 0 ; (i and self.b[i]) + 0 ; (0 or i) + 0
(i and self.a[i] and 3) + 0 ; (i == 2 or self.counts[i] or 7) + 0 ; 1.0 if self.b[i] and i else 2.0
(K and 5) + i ; 1.0 if i else 2.0 ; 1.0 if self.a[i] else 2.0
1.0 if i == 0 or i == 2 or self.b[i] > 1.0 else 0.5 ; 1.0 if i == 0 else 2.0 if i == 1 else 3.0
(1 if i == 0 else 2.5) ; max(i, 2, 1) + min(i, 2, 1) ; abs(i - 2) + abs(-3)
pow(self.b[i], 2) + pow(i + 1, 2) ; ti.floor(i) ; ti.sqrt(i + 1) ; ti.sin(i) ; max(i, 1.5)
ti.select(i > 1, 1, 0.5) ; ti.select(i, 1.0, 0.5) ; max(i > 1, i > 0) + 0 ; 1e308 * 1e-308 * i
1e-320 * 1e300 * i ; 0.1 + 0.2 ; 1.0 / (1.0 + -0.0) ; min(float("inf"), self.b[i])
max(-float("inf"), self.b[i]) ; math.pi * i + math.e ; math.sqrt(2.0) * i + math.sin(self.b[i])
np.exp(self.b[i]) + np.pi ; 0o17 + 0x1F + 0b11 + 1_000 ; len([1, 2, 3]) + i ; [1.0, 2.0, 3.0][1] + i
(1.0, 2.0)[-1] + i ; self.v[i][-1] ; self.v[i][0:2].sum() ; (1.0 if None is None else 2.0) + i
K * i + shadowed ; scaled(self.b[i], shift=1.0) ; scaled(self.b[i]) ; scaled(*[self.b[i], 2.0])
max([self.b[i], self.a[i]]) ; min(self.w[i, k] for k in range(3)) ; abs(self.v[i]).sum()
(self.v[i] ** 2).sum() ; int("3") + i ; ord("a") + i ; int(ds.stop_gradient(self.b[i]) * 3.0) + float(i)
int(-1.7) + int(ds.stop_gradient(-self.b[i] * 2)) ; float(3) + int(True) ; (2147483647 - i) * 1e-9
not (i > 2 and self.counts[i] > 0) or i == 0 ; (i - i - 5) // 2 ; (i - i - 1) % 4 ; (i - i - 5) // -2
(i - i + 5) % -3 ; self.b[(i - i - 1) % 4] ; (self.counts[i] - i) // (self.counts[i] - 5)
(i - 2) % (2 * i - 3)
"""
OWN_MEANING = {  # Taichi's: integers wrap, ~ of a condition is its opposite
    "(2147483647 + i) * 1e-9": "((2147483647 + i + 2**31) % 2**32 - 2**31) * 1e-9",
    "(123456789 * (i + 1) * 1000) * 1e-9": "((123456789 * (i + 1) * 1000 + 2**31) % 2**32 - 2**31) * 1e-9",
    "ti.cast(i + 126, ti.i8)": "(i + 126 + 128) % 256 - 128",
    "ti.cast(i - 2, ti.u8)": "(i - 2) % 256",
    "ti.cast(300, ti.u8) + i": "44 + i",
    "(ti.cast(200 + i, ti.u8) + ti.cast(100, ti.u8)) + 0": "(300 + i) % 256",
    "(ti.cast(200 + i, ti.u8) << 1) + 0": "((200 + i) << 1) % 256",  # the type of what is shifted
    "ti.cast(i - 1, ti.u32) * 1e-9": "((i - 1) % 2**32) * 1e-9",
    "1.0 if ti.cast(i - 1, ti.u32) > 5 else 2.0": "1.0 if (i - 1) % 2**32 > 5 else 2.0",
    "(ti.cast(i - i + 3, ti.u32) ** ti.cast(i - i + 2, ti.u32)) + 0": "9",
    "ti.cast(i, ti.i64) * 2000000000 * 1e-9": "i * 2.0",
    "(ti.cast(i + 1, ti.i64) << 40) * 1e-12": "((i + 1) << 40) * 1e-12",
    "ti.cast(0.1, ti.f32) + 0.0 * i": "0.10000000149011612",
    "ti.cast(i, ti.u1) + 0.0": "1.0 if i else 0.0",
    "ti.cast(ds.stop_gradient(self.b[i]) * 0.1, ti.u1) + 0.0": "1.0",
    "~(i > 1) + 0": "not i > 1",
    "self.b[i > 1]": "self.b[int(i > 1)]",
    "self.v[i][i > 1]": "self.v[i][int(i > 1)]",
    "self.b[ti.cast(i, ti.i64)] + self.b[ti.cast(i, ti.u8)] + self.b[ti.cast(i, ti.u32)]": "3.0 * self.b[i]",
    "self.b[ti.cast(i, ti.i8) % 3]": "self.b[i % 3]",
}


def test_expressions(runtime, tmp_path):
    lines = EXPRESSIONS.strip().replace("\n", " ; ").split(" ; ")
    bodies = [f"out = {text.strip()}" for text in lines]
    bodies += [(f"out = {text}", f"out = {meaning}") for text, meaning in OWN_MEANING.items()]
    groups = [bodies[k : k + 40] for k in range(0, len(bodies), 40)]
    for number, group in enumerate(groups):
        assert_as_in_python(group, tmp_path, f"expressions_{number}")


OPERATORS = {
    **{f"a {op} b": f"a {op} b" for op in "+ - * // % ** & | ^ << >>".split()},
    **{text: text for text in ("-a", "~a", "abs(a)", "a ** 2", "max(a, b)", "min(a, b)", "(a < b) + 0")},
    "ti.select(a > b, a, b)": "(a if a > b else b)",
}
TYPES = "i8 u8 i16 u16 i32 u32 i64 u64".split()


def test_operators_of_all_integer_types(runtime, tmp_path):
    """Eight- and sixteen-bit integers among them, of which Taichi's own max, abs and pow end the process."""
    bodies = []
    for dtype in TYPES:
        bits, low = int(dtype[1:]), -(2 ** (int(dtype[1:]) - 1)) if dtype[0] == "i" else 0
        wrap = f"wrap = lambda v: (v - {low}) % 2**{bits} + {low}\n"
        for text, meaning in OPERATORS.items():
            numbers = f"a = ti.cast(i * 57 - 100, ti.{dtype})\nb = ti.cast(i % 3 + 1, ti.{dtype})\n"
            plain_numbers = "a = wrap(i * 57 - 100)\nb = wrap(i % 3 + 1)\n"
            bodies.append((f"{numbers}out = {text}", f"{wrap}{plain_numbers}out = wrap({meaning})"))
    kernels = [b[0] for b in bodies]
    rows = len(OPERATORS)
    text = HEAD.format(n=N, rows=len(bodies), calls="\n".join(f"        self.of_{d}(t)" for d in TYPES))
    for k, dtype in enumerate(TYPES):  # one kernel a type
        numbers = kernels[k * rows].split("out")[0]
        lines = [f"self.f[t, {k * rows + j}, i] = {op}" for j, op in enumerate(OPERATORS)]
        body = textwrap.indent(numbers + "\n".join(lines), " " * 12)
        text += (
            f"    @ti.kernel\n    def of_{dtype}(self, t: ti.i32):\n        for i in range(N):\n{body}\n\n"
        )
    sim = load(text, tmp_path, "integers")
    rollout = ds.Rollout(sim, steps=1, mode="step")
    got, want = rollout.trajectory(sim.f)[0], expected([b[1] for b in bodies], sim)
    for k, (body, _) in enumerate(bodies):
        np.testing.assert_allclose(got[k], want[k], rtol=1e-15, err_msg=body)
    rollout.close()


SNIPPETS = """
n = i
n += 3
n -= 1
n *= 2
n //= 3
n %= 4
n **= 2
n <<= 1
n |= 4
n &= 13
n ^= 3
n >>= 1
out = n

out = self.b[i]
out += 1
out -= i
out *= 2
out /= 3
out **= 2

q = self.v[i]
q += 1.0
q *= q
q -= self.v[i]
q /= 2
out = q.sum()

p = q = self.b[i]
p += 1.0
out = p * q

p, q = self.a[i], self.b[i]
p, q = q, p
out = p - 2.0 * q

q = self.v[i]
q[0], q[1] = q[1], q[0]
out = q[0] - 2.0 * q[1]

p, (q, r) = self.a[i], (self.b[i], 2.0)
out = p * q * r

_ = self.b[i]
for _ in range(3):
    pass
out = 2.0 * self.a[i]

__a = self.b[i]
_b_ = 2.0
out = __a * _b_

α = self.b[i]
Δx = 2.0 * α
out = α * Δx

shadowed = self.b[i]
out = shadowed * K

out = 0.0
for k in range(3):
    out += k * self.b[i]
for k in range(2):
    out += 2 * k

n = 0
for k in range(3):
    n += self.w[i, k] > 1.0
out = n

flag = False
for k in range(3):
    flag = flag or self.w[i, k] > 1.3
out = self.b[i] if flag else 2.0

flag = True
for k in range(3):
    flag &= self.w[i, k] > 0.6
out = 1.0 if flag else self.b[i]

flag = i > 1
flag = not flag
out = 1.0 if flag else self.b[i]

r: float = i
n: int = 3
out = r * n

'Text.'
3
...
out = self.a[i]
if i > 1:
    pass
else:
    "text"

out = self.b[i]
for k in range(0):
    out *= 0.0
for k in range(-2):
    out *= 0.0
for k in range(3, 1):
    out *= 0.0
for k in range(i, 0):
    out *= 0.0

out = self.b[i]
for k in range(-3, 2):
    out += 0.1 * k * out

out = self.b[i]
for k in ti.static(range(0, 4, 2)):
    out += self.w[i, k]
for k in ti.static(range(3, 0, -1)):
    out *= self.w[i, k]

out = self.b[i]
for k in ti.static([0, 2, 1]):
    out = out * self.w[i, k] + k
for p, q in ti.static(zip((0, 1), (2.0, 3.0))):
    out += self.w[i, p] * q
for p, q in ti.static(enumerate([5.0, 6.0])):
    out += p * q

out = self.b[i]; out += self.a[i]; out *= 2.0

out = (self.b[i]
    + 2.0
  * i)

out = self.b[i]
if i > 1: out = 2.0 * out

out = self.b[i]
for j in range(1):
    if 0 < j < 4:
        out += self.x[t, j - 1]

out = 0.0
for k in range(4):
    if k == 2: break
    for j in range(3):
        if j == 1: continue
        out += self.w[i, j] * k * self.b[i]

q = self.v[i]
q[i % 3] **= 2
q[0] *= 2
out = q.sum()

q = ti.Vector([1, i, 3])
q[1] += 2
q //= 2
out = q.sum()

q = ti.Vector([self.w[i, k] for k in range(4) if k % 2 == 0])
out = q.norm_sqr()

A = ti.Matrix([[self.w[i, k] * j for k in range(2)] for j in range(2)])
out = A.sum()

out = self.b[i]
if K > 2:
    out *= 2.0
else:
    out = undefined

scaled(self.b[i])
out = self.a[i]
"""
DEEP = [
    "out = self.b[i]\n" + "".join("    " * k + f"if out > -{k + 1}.0:\n" for k in range(20)) + "    " * 20
    + "out = ti.sin(out)",
    "out = self.b[i]\n" + "".join("    " * k + f"for k{k} in range(2):\n" for k in range(6)) + "    " * 6
    + "out = ti.sin(out) + 0.01 * k5",
    "s0 = self.b[i]\n" + "".join(f"s{k} = 0.99 * s{k - 1} + 0.01\n" for k in range(1, 200))
    + "out = s199 * s9",
    "out = 0.0\nif i == 90:\n    out = 1.0\n"
    + "".join(f"elif i == {k}:\n    out = self.b[i] * {k}\n" for k in range(45, -1, -2))
    + "else:\n    out = 3.0",
    "out = " + "(" * 80 + "self.b[i]" + ")" * 80 + " + " + "ti.sin(" * 60 + "self.b[i]" + ")" * 60,
    "out = 1.0 if " + " and ".join(f"i != {k + 9}" for k in range(100)) + " else 2.0",
    ("out = " + " + ".join(f"{k}.5 * self.b[i]" for k in range(500)), "out = 125000.0 * self.b[i]"),
]  # fmt: skip
PAIRS = """
p = q = self.v[i]
p[0] = 5.0
out = p.sum() * q.sum()
===
p = self.v[i]
q = self.v[i]
p[0] = 5.0
out = p.sum() * q.sum()

n = ti.cast(250, ti.u8)
n += 10
out = n * self.b[i]
===
out = 4 * self.b[i]

n = ti.cast(i, ti.i64)
n = n * 3 + 2147483647
n += 5
out = n * 1e-9
===
out = (i * 3 + 2147483652) * 1e-9

out = 0.0
n = ti.cast(3, ti.i64)
for k in range(n):
    out += k * self.b[i]
===
out = 3.0 * self.b[i]

n = ti.cast(i, ti.i8)
out = self.b[n]
if n > 0:
    out += self.b[n - 1]
===
out = self.b[i]
if i > 0:
    out += self.b[i - 1]
"""  # a snippet, and what it means in Python
NAMES = "max sum id len world lane f_x x t0 v0 real np math slot s1 tape_1 cost x_adj range_ int K".split()
NAMED = "out = 0.0\n" + "".join(
    f"{name} = self.b[i]\nfor j in range(2):\n    {name} = ti.sin({name}) + 0.1 * j\nout += {name}\n"
    for name in NAMES
)


def test_statements(runtime, tmp_path):
    pairs = [tuple(pair.split("\n===\n")) for pair in PAIRS.strip().split("\n\n")]
    bodies = [*SNIPPETS.strip().split("\n\n"), *DEEP, *pairs, NAMED]
    assert_as_in_python(bodies, tmp_path, "statements", gradients=True)


# ---- what is refused ----

REFUSED = [
    ("NAME", "n = 4\nn /= 2\nout = n"),
    ("NAME", "n = 0\nti.atomic_add(n, 0.5)\nout = n"),
    ("NAME", "flag = i > 1\nflag = flag + (i > 2)\nout = flag"),
    ("NAME", "flag = i > 1\nflag = 3\nout = flag * 1.0"),
    ("NAME", "out = 1\nout = 2.5"),
    ("NAME", "for k in range(3):\n    k += 1\nout = 1.0"),
    ("NAME", "for k in range(3):\n    pass\nout = k"),
    ("NAME", "if i > 1:\n    s = 1.0\nelse:\n    s = 2.0\nout = s"),
    ("NAME", "q = ti.Vector([1, 2])\nq[0] = self.b[i]\nout = q.sum()"),
    ("CONTROL-FLOW", "out = 0.0\nfor k in range(0, 4, 0):\n    out += self.w[i, k]"),
    ("SHAPE", "p, *q = self.a[i], self.b[i], 2.0\nout = p"),
    ("SHAPE", "out = self.b[i] & 1"),
    ("SHAPE", "out = self.b[i] << 1"),
    ("SHAPE", "out = ~self.b[i]"),
    ("SHAPE", "q = self.v[i] ^ 1\nout = q.sum()"),
    ("SHAPE", "n = 0.0\nti.atomic_or(n, 1)\nout = n"),
    ("SHAPE", "out = ti.Vector([]).sum()"),
    ("SHAPE", "out = ti.Vector().sum()"),
    ("SHAPE", "out = ti.cast()"),
    ("SHAPE", "out = float()"),
    ("SHAPE", "out = len()"),
    ("SHAPE", "out = ti.tan()"),
    ("SHAPE", "out = ds.stop_gradient()"),
    ("SHAPE", "out = ds.at_most(3)"),
    ("SYNTAX", "out = 1.0\nfor k in ti.static():\n    out += k"),
    ("SHAPE", "out = scaled(self.b[i], nope=1.0)"),
    ("PYTHON", "out = nothing(self.b[i])"),
    ("FUNCTION", "out = forever(self.b[i])"),
    ("FUNCTION", "out = divmod(i, 2)[0]"),
    ("RANDOM", "out = np.random.rand()"),
    ("RANDOM", "out = np.random.default_rng(0).normal()"),
    ("SYNTAX", "out = (lambda *y: y)(self.b[i])"),
    ("SYNTAX", "out = 'a' < 1"),
    ("SYNTAX", "out = [1, 2] < 3"),
    ("PYTHON", "out = {1: self.b[i]}[1]"),
]


@pytest.mark.parametrize(("rule", "body"), REFUSED)
def test_refused(runtime, tmp_path, rule, body):
    sim = load(program([body]), tmp_path, "refused")
    with pytest.raises(ds.DiffsimError) as caught:
        ds.plan(sim, steps=1)
    assert rule in {d.rule for d in caught.value.diagnostics}, caught.value
    assert "refused.py:" in str(caught.value)


def test_negative_powers_of_integers(runtime, tmp_path):
    """Taichi takes the absolute value of the exponent."""
    sim = load(program(["out = self.x[t, i] * 2 ** (i - 2)"]), tmp_path, "powers")
    rollout = ds.Rollout(sim, steps=1)
    with pytest.raises(ds.StateError, match="exponents of an integer must not be negative, got -2 at step 0"):
        rollout.value()
    rollout.close()


@pytest.mark.parametrize(
    "values", [None, [1.0, None, 2.0], [1j, 2.0, 3.0], 10**400, ["1", "2", "3"], object()]
)
def test_values_that_are_not_numbers(values):
    field = ds.State(ds.real, 3)
    with pytest.raises(ds.ConfigError, match="must be set to numbers"):
        field.set(values)


class Shaped(ds.Simulator):
    """Loops over a shape of any dimension, and over rows of different lengths."""

    def __init__(self, shape):
        self.shape = shape
        self.rows = ((), (0,), (1, 0))
        self.x = ds.State(ds.real, *shape, init=np.random.default_rng(5).normal(size=shape))

    @ti.kernel
    def grow(self, t: ti.i32):
        for cell in ti.grouped(ti.ndrange(*self.shape)):
            total = 0.0
            for k in ti.static(range(3)):
                for j in ti.static(self.rows[k]):
                    total += (1.0 + j + 2.0 * k) * ti.sin(self.x[t, cell])
            self.x[t + 1, cell] = total

    def step(self, t):
        self.grow(t)

    @ti.kernel
    def sum_up(self, t: ti.i32):
        for cell in ti.grouped(ti.ndrange(*self.shape)):
            self.cost[None] += self.x[t, cell] ** 2

    def terminal_cost(self, t):
        self.sum_up(t)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4)])
def test_loops_over_a_shape_of_any_dimension(runtime, shape):
    rollout = ds.Rollout(Shaped(shape), steps=1, mode="step")
    x = rollout.sim.x.numpy()
    weight = 3.0 + 6.0 + 5.0  # rows 1: (0,) and 2: (1, 0)
    cost, grads = rollout.value_and_grad(wrt=[rollout.sim.x])
    assert cost == pytest.approx(np.sum((weight * np.sin(x)) ** 2), rel=1e-12)
    np.testing.assert_allclose(grads["x"], 2.0 * weight**2 * np.sin(x) * np.cos(x), rtol=1e-12)
    with pytest.raises(ds.ConfigError, match="wrt must name something to differentiate for, got nothing"):
        rollout.check_grad()
