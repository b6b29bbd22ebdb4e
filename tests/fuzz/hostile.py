"""Random simulators with one statement that breaks a rule: an error must say so, or all must be right."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.expressions import Scope
from fuzz.programs import Writer

__all__ = ["BREAKS", "Hostile"]

# The rule and lines that break it; "" where what comes out depends on the numbers: an alarm while the kernel
# runs, a cost or gradient that is not finite, or what plain Python computes.
# {i}: a loop index; {j}: another, or a number; {k}: a small number; {a}, {b}: expressions; {s}: a new name;
# {q}: a vector; {f}: a field of reals that is read; {o}: one that is written here.
BREAKS: dict[str, tuple[str, str]] = {
    # overwriting, reading ahead, races
    "store-read-field": ("WRITE-TIME", "self.{f}[t, {i}] = {a}"),
    "scale-written": ("", "self.{o}[t, {i}] *= 1.1"),
    "scale-own-then-add": ("", "self.{o}[t, {i}] = self.{o}[t, {i}] * {a}\nself.{o}[t, {i}] += {b}"),
    "store-now": ("WRITE-TIME", "self.x[t, {i}] = {a}"),
    "add-now": ("WRITE-TIME", "self.x[t, {i}] += {a}"),
    "store-ahead": ("", "self.x[t + 1, {i}] = {a}"),
    "add-ahead": ("", "self.y[t + 1, {i}] += {a}"),
    "store-two-ahead": ("TIME-INDEX", "self.x[t + 2, {i}] = {a}"),
    "read-ahead": ("READ-AHEAD", "{s} = self.x[t + 1, {i}]\nself.{o}[t, {i}] += {s}"),
    "read-ahead-vector": ("READ-AHEAD", "{s} = self.v[t + 1, {j}].norm()\nself.{o}[t, {i}] += {s}"),
    "read-behind": ("TIME-INDEX", "self.{o}[t, {i}] += self.y[t - 1, {i}]"),
    "read-far-behind": ("TIME-INDEX", "self.{o}[t, {i}] += self.x[t - 3, {i}]"),
    "race-constant": ("", "self.{o}[t, 0] = {a}"),
    "race-shift": ("", "self.{o}[t, ({i} + 1) % {n}] = {a} + self.{o}[t, {i}]"),
    "race-read-own": ("RACE", "{s} = self.{o}[t, ({i} + 1) % {n}]\nself.{o}[t, {i}] += {s} * {a}"),
    "race-gather": ("RACE", "{s} = self.{o}[t, self.ids[{i}]]\nself.{o}[t, {i}] += {s} * {a}"),
    "race-ids": ("", "self.{o}[t, self.ids[{i}]] = {a}"),
    "race-neighbour": ("", "if {i} > 0:\n    self.{o}[t, {i}] += ti.sin(self.{o}[t, {i} - 1])"),
    "write-param": ("READ-ONLY", "self.p[{i}] = {a}"),
    "add-param": ("READ-ONLY", "self.p[{i}] += {a}"),
    "write-control": ("READ-ONLY", "self.u[t, {i}] = {a}"),
    "write-constant": ("READ-ONLY", "self.c[{i}] += 1.0"),
    "write-ids": ("READ-ONLY", "self.ids[{i}] = 0"),
    "cost-stored": ("COST", "self.cost[None] = {a}"),
    "cost-read": ("COST", "self.{o}[t, {i}] += self.cost[None]"),
    "cost-scaled": ("COST", "self.cost[None] *= 0.5"),
    # loops
    "unbounded": (
        "",
        "{s} = 0.1\nfor {s}_k in range(ti.cast(ds.stop_gradient(ti.abs({a})), ti.i32)):\n"
        "    {s} = ti.sin({s} + {b})\nself.{o}[t, {i}] += {s}",
    ),
    "at-most-too-small": (
        "",
        "{s} = 0.1\nfor {s}_k in range(ds.at_most({i} + 3, 2)):\n"
        "    {s} = ti.sin({s} + {b})\nself.{o}[t, {i}] += {s}",
    ),
    "at-most-negative": ("UNBOUNDED", "for {s}_k in range(ds.at_most(3, -1)):\n    self.{o}[t, {i}] += 1.0"),
    "at-most-dynamic": ("UNBOUNDED", "for {s}_k in range(ds.at_most(3, {i})):\n    self.{o}[t, {i}] += {a}"),
    "while": ("", "{s} = {a}\nwhile {s} > 0.1:\n    {s} *= 0.5\nself.{o}[t, {i}] += {s}"),
    "while-true": ("", "{s} = 0\nwhile True:\n    {s} += 1\n    if {s} > 3:\n        break"),
    "float-range": ("CONTROL-FLOW", "for {s} in range({a}):\n    self.{o}[t, {i}] += 1.0"),
    "while-else": ("CONTROL-FLOW", "while {a} > 9.0:\n    pass\nelse:\n    pass"),
    "while-at-most": ("UNBOUNDED", "while ds.at_most({a} > 9.0, {i}):\n    pass"),
    "step-range": ("", "for {s} in range(0, {n}, 2):\n    self.{o}[t, {s}] += {a}"),
    "zero-step": ("CONTROL-FLOW", "for {s} in range(0, {n}, 0):\n    self.{o}[t, {s}] += {a}"),
    "negative-range": ("", "for {s} in range({n}, 0):\n    self.{o}[t, {s}] += {a}"),
    "range-without-arguments": ("CONTROL-FLOW", "for {s} in range():\n    pass"),
    "for-else": ("CONTROL-FLOW", "for {s} in range(2):\n    pass\nelse:\n    self.{o}[t, {i}] += {a}"),
    "loop-over-number": ("CONTROL-FLOW", "for {s} in 3:\n    pass"),
    "loop-over-vector": ("CONTROL-FLOW", "for {s} in {q}:\n    self.{o}[t, {i}] += {s}"),
    "loop-over-state": ("", "for {s} in self.x:\n    self.{o}[t, {i}] += {a}"),
    "loop-name-in-use": ("NAME", "for {i} in range(2):\n    self.{o}[t, {i}] += {a}"),
    "break-outside": ("", "break"),
    "return-inside": ("", "return"),
    "return-value": ("CONTROL-FLOW", "return {a}"),
    # indices and divisors
    "index-above": ("INDEX", "self.{o}[t, {i}] += self.p[{i} + 1]"),
    "index-below": ("INDEX", "self.{o}[t, {i}] += self.p[{i} - 1]"),
    "index-scatter": ("INDEX", "self.{o}[t, {i} + {k}] += {a}"),
    "index-number": ("INDEX", "self.{o}[t, {n}] += {a}"),
    "index-negative": ("INDEX", "self.{o}[t, {i}] += self.p[-1]"),
    "index-computed": ("", "self.{o}[t, {i}] += self.p[ti.cast(ds.stop_gradient(9.0 * {a}), ti.i32)]"),
    "index-float": ("INDEX", "self.{o}[t, {i}] += self.p[{a}]"),
    "index-true": ("", "self.{o}[t, {i}] += self.p[{i} > 0]"),
    "index-string": ("PYTHON", "self.{o}[t, {i}] += self.p['a']"),
    "index-vector": ("INDEX", "self.{o}[t, {i}] += self.p[{q}]"),
    "index-slice": ("PYTHON", "self.{o}[t, {i}] += self.p[0:2]"),
    "index-ellipsis": ("PYTHON", "self.{o}[t, {i}] += self.p[...]"),
    "index-none": ("SHAPE", "self.{o}[t, {i}] += self.p[None]"),
    "index-many": ("INDEX", "self.{o}[t, {i}] += self.p[{i}, {i}]"),
    "index-few": ("SHAPE", "self.{o}[t, {i}] += self.w[{i}]"),
    "index-without-time": ("", "self.{o}[t, {i}] += self.x[{i}]"),
    "index-time-last": ("TIME-INDEX", "self.{o}[t, {i}] += self.x[{i}, t]"),
    "index-two-t": ("TIME-INDEX", "self.{o}[t, {i}] += self.x[2 * t, {i}]"),
    "index-minus-t": ("TIME-INDEX", "self.{o}[t, {i}] += self.x[-t, {i}]"),
    "index-t-name": ("", "{s} = t\nself.{o}[t, {i}] += self.x[{s}, {i}]"),
    "index-t-changed": ("TIME-INDEX", "{s} = t + {i}\nself.{o}[t, {i}] += self.x[{s}, {i}]"),
    "index-local": ("", "{s} = ti.Vector([{a}, {b}])\nself.{o}[t, {i}] += {s}[{i} + 1]"),
    "index-local-number": ("INDEX", "{s} = ti.Vector([{a}, {b}])\nself.{o}[t, {i}] += {s}[2]"),
    "index-local-store": (
        "",
        "{s} = ti.Vector([{a}, {b}])\n{s}[{i} + 1] = {a}\nself.{o}[t, {i}] += {s}.sum()",
    ),
    "index-component": ("", "self.{o}[t, {i}] += self.v[t, {i}][{i} + 1]"),
    "index-component-store": ("", "self.v[t + 1, {i}][{i} + 2] += {a}"),
    "index-local-negative": ("", "{s} = ti.Vector([{a}, {b}])\nself.{o}[t, {i}] += {s}[-1]"),
    "index-twice": ("INDEX", "self.{o}[t, {i}] += self.p[{i}][0]"),
    "index-number-value": ("SHAPE", "{s} = {a}\nself.{o}[t, {i}] += {s}[0]"),
    "index-huge": ("SHAPE", "self.{o}[t, {i}] += self.p[99999999999]"),
    "index-chain": ("", "self.{o}[t, {i}] += self.p[self.ids[{i}] + self.counts[{i}]]"),
    "divide-by-index": ("", "self.{o}[t, {i}] += {a} * (7 // {i})"),
    "mod-by-index": ("", "self.{o}[t, {i}] += {a} * (7 % ({i} - 1))"),
    "divide-by-count": ("", "self.{o}[t, {i}] += {a} * ({i} // self.counts[{i}])"),
    "divide-by-zero": ("PYTHON", "self.{o}[t, {i}] += {a} * (7 // 0)"),
    "mod-by-zero": ("", "self.{o}[t, {i}] += {a} * ({i} % 0)"),
    "divide-in-place": ("", "{s} = 7\n{s} //= {i}\nself.{o}[t, {i}] += {a} * {s}"),
    "true-divide-by-zero": ("", "self.{o}[t, {i}] += {a} * (7 / {i})"),
    "float-divide-by-zero": ("", "self.{o}[t, {i}] += {a} / (0.0 * {b})"),
    "float-floordiv-zero": ("", "self.{o}[t, {i}] += self.p[{i}] // (0.0 * {b})"),
    "shift-negative": ("", "self.{o}[t, {i}] += {a} * (1 << ({i} - 2))"),
    "shift-far": ("", "self.{o}[t, {i}] += {a} * (1 << ({i} + 31))"),
    # singular points
    "sqrt-zero": ("", "self.{o}[t, {i}] += ti.sqrt(0.0 * {a})"),
    "sqrt-negative": ("", "self.{o}[t, {i}] += ti.sqrt(-1.0 - ({a}) * ({a}))"),
    "norm-zero": ("", "self.{o}[t, {i}] += (0.0 * {q}).norm()"),
    "log-zero": ("", "self.{o}[t, {i}] += ti.log(0.0 * {a})"),
    "divide-zero-by-zero": ("", "self.{o}[t, {i}] += (0.0 * {a}) / (0.0 * {b})"),
    "asin-two": ("", "self.{o}[t, {i}] += ti.asin(2.0 + 0.1 * ti.sin({a}))"),
    "asin-one": ("", "self.{o}[t, {i}] += ti.asin(1.0 + 0.0 * {a})"),
    "pow-negative": ("", "self.{o}[t, {i}] += ti.pow(-1.5 + 0.1 * ti.sin({a}), 0.5)"),
    "pow-zero": ("", "self.{o}[t, {i}] += ti.pow(0.0 * {a}, 0.5 + 0.0 * {b})"),
    "pow-zero-minus": ("", "self.{o}[t, {i}] += (0.0 * {a}) ** (-1)"),
    "atan2-zero": ("", "{s} = 0.0 * self.p[{i}] ** 2\nself.{o}[t, {i}] += ti.atan2({s}, {s})"),
    "inverse-zero": ("", "self.{o}[t, {i}] += (0.0 * self.m[t, {i}]).inverse().sum()"),
    "solve-zero": ("", "self.{o}[t, {i}] += ds.math.solve(0.0 * self.m[t, {i}], {q}).sum()"),
    "exp-large": ("", "self.{o}[t, {i}] += ti.exp(1000.0 + {a})"),
    "exp-square": (
        "",
        "self.{o}[t, {i}] += ti.exp(500.0 + ti.sin({a})) * ti.exp(-500.0 + ti.sin({b})) * 0.001",
    ),
    "hidden-branch": ("", "{s} = 0.0 * {a}\nif {s} > 0.0:\n    self.{o}[t, {i}] += ti.sqrt({s}) + 1.0 / {s}"),
    "select-singular": ("", "{s} = 0.0 * {a}\nself.{o}[t, {i}] += ti.select({s} > 0.0, ti.sqrt({s}), {b})"),
    "svd-equal": (
        "",
        "{s}_u, {s}_s, {s}_v = ds.math.svd{d}(0.0 * self.m[t, {i}] + self.eye)\n"
        "self.{o}[t, {i}] += ({s}_u @ ti.sin({s}_s) @ {s}_v.transpose()).sum()",
    ),
    "svd-zero": (
        "",
        "{s}_u, {s}_s, {s}_v = ds.math.svd{d}(0.0 * self.m[t, {i}])\nself.{o}[t, {i}] += {s}_s.sum()",
    ),
    "polar-zero": (
        "",
        "{s}, {s}_p = ds.math.polar{d}(0.0 * self.m[t, {i}])\nself.{o}[t, {i}] += {s}_p.sum()",
    ),
    "eigh-equal": (
        "",
        "{s}, {s}_q = ds.math.eigh{d}(0.0 * self.m[t, {i}] + self.eye)\nself.{o}[t, {i}] += {s}.sum()",
    ),
    "cholesky-negative": (
        "",
        "{s} = ds.math.cholesky(0.0 * self.m[t, {i}] - self.eye)\nself.{o}[t, {i}] += {s}.sum()",
    ),
    "qr-zero": ("", "{s}, {s}_r = ds.math.qr(0.0 * self.m[t, {i}])\nself.{o}[t, {i}] += {s}_r.sum()"),
    # what loses gradients
    "cast-cut": ("", "self.{o}[t, {i}] += ti.cast(ti.cast({a}, ti.i32), ti.f64)"),
    "int-cut": ("", "self.{o}[t, {i}] += int(3.0 * {a})"),
    "int-local": ("NAME", "{s} = 0\n{s} = {a}\nself.{o}[t, {i}] += {s}"),
    "int-local-add": ("NAME", "{s} = 0\n{s} += {a}\nself.{o}[t, {i}] += {s}"),
    "int-local-loop": ("NAME", "{s} = 0\nfor {s}_k in range(3):\n    {s} += {a}\nself.{o}[t, {i}] += {s}"),
    "stopped": ("", "self.{o}[t, {i}] += ds.stop_gradient({a}) > 0.0"),
    "random": ("RANDOM", "self.{o}[t, {i}] += ti.random() * {a}"),
    "numpy-random": ("RANDOM", "self.{o}[t, {i}] += np.random.rand() * {a}"),
    "print": ("", "print({a})"),
    # atomics
    "atomic-max-field": ("", "ti.atomic_max(self.{o}[t, {i}], {a})"),
    "atomic-min-field": ("", "ti.atomic_min(self.{o}[t, 0], {a})"),
    "atomic-result": ("", "self.{o}[t, {i}] += ti.atomic_add(self.{o}[t, 0], {a})"),
    "atomic-name-result": ("", "{s} = ti.atomic_add(self.{o}[t, 0], {a})"),
    "atomic-bits": ("SHAPE", "ti.atomic_or(self.{o}[t, {i}], 1)"),
    "atomic-undefined": ("ATOMIC", "ti.atomic_add({s}, {a})"),
    "atomic-one-argument": ("SHAPE", "ti.atomic_add(self.{o}[t, {i}])"),
    "atomic-expression": ("ATOMIC", "ti.atomic_max({a} + 1.0, {b})"),
    "atomic-param": ("READ-ONLY", "ti.atomic_add(self.p[{i}], {a})"),
    # shapes and names
    "vector-to-number": ("SHAPE", "self.{o}[t, {i}] += {q}"),
    "number-to-vector": ("", "self.v[t + 1, {i}] += {a}"),
    "matrix-plus-vector": ("SHAPE", "{s} = self.m[t, {i}] + {q}"),
    "vector-lengths": ("SHAPE", "{s} = ti.Vector([{a}]) + ti.Vector([{a}, {b}])"),
    "empty-vector": ("SHAPE", "{s} = ti.Vector([])\nself.{o}[t, {i}] += {s}.sum()"),
    "ragged-matrix": ("SHAPE", "{s} = ti.Matrix([[{a}], [{a}, {b}]])"),
    "vector-of-vectors": ("SHAPE", "{s} = ti.Vector([{q}, {a}])"),
    "matmul-numbers": ("SHAPE", "{s} = {a} @ {b}"),
    "vector-condition": ("SHAPE", "if {q} > 0.0:\n    self.{o}[t, {i}] += {a}"),
    "vector-power": ("", "self.{o}[t, {i}] += ({q} ** 2).sum()"),
    "vector-floordiv": ("", "self.{o}[t, {i}] += ({q} // 2).sum()"),
    "vector-bits": ("SHAPE", "{s} = {q} & 1"),
    "float-bits": ("SHAPE", "{s} = {a} & 1"),
    "float-shift": ("SHAPE", "{s} = {a} << 1"),
    "float-invert": ("SHAPE", "{s} = ~({a})"),
    "undefined": ("NAME", "self.{o}[t, {i}] += {s}"),
    "undefined-branch": ("NAME", "if {a} > 0.0:\n    {s} = {b}\nself.{o}[t, {i}] += {s}"),
    "changed-shape": ("NAME", "{s} = {a}\n{s} = {q}"),
    "unpack-wrong": ("SHAPE", "{s}, {s}_b = {a}"),
    "unpack-three": ("SHAPE", "{s}, {s}_b, {s}_c, {s}_d = {q}"),
    "unknown-method": ("FUNCTION", "self.{o}[t, {i}] += {q}.wiggle()"),
    "unknown-function": ("PYTHON", "self.{o}[t, {i}] += ti.wiggle({a})"),
    "unknown-attribute": ("PYTHON", "self.{o}[t, {i}] += self.nothing[t, {i}]"),
    "unknown-component": ("SHAPE", "self.{o}[t, {i}] += {q}.foo"),
    "call-number": ("PYTHON", "self.{o}[t, {i}] += self.n({a})"),
    "few-arguments": ("SHAPE", "self.{o}[t, {i}] += ti.max()"),
    "no-arguments": ("SHAPE", "self.{o}[t, {i}] += ti.sin()"),
    "many-arguments": ("SHAPE", "self.{o}[t, {i}] += ti.sin({a}, {b})"),
    "keyword": ("SHAPE", "self.{o}[t, {i}] += ti.sin(x={a})"),
    "star": ("", "self.{o}[t, {i}] += ti.max(*[{a}, {b}])"),
    "double-star": ("SHAPE", "self.{o}[t, {i}] += ti.max(**dict())"),
    "string": ("PYTHON", "{s} = 'text'\nself.{o}[t, {i}] += {s}"),
    "none": ("PYTHON", "{s} = None\nself.{o}[t, {i}] += {s}"),
    "whole-field": ("PYTHON", "self.{o}[t, {i}] += self.p"),
    "field-norm": ("PYTHON", "self.{o}[t, {i}] += self.x.norm()"),
    "set-attribute": ("SYNTAX", "self.n = 3"),
    "kernel-call": ("FUNCTION", "self.move(t)"),
    "python-call": ("PYTHON", "self.{o}[t, {i}] += float(self.python_method({a}))"),
    # Python's other statements and expressions
    "lambda": ("", "{s} = lambda x: x\nself.{o}[t, {i}] += {s}({a})"),
    "walrus": ("", "self.{o}[t, {i}] += ({s} := {a}) + {s}"),
    "comprehension": ("PYTHON", "{s} = [{a} for _ in range({i})]"),
    "dict": ("PYTHON", "{s} = {{'a': {a}}}\nself.{o}[t, {i}] += {s}['a']"),
    "set": ("SYNTAX", "{s} = {{1, 2}}"),
    "f-string": ("PYTHON", "{s} = f'{{{i}}}'\nself.{o}[t, {i}] += {s}"),
    "try": ("SYNTAX", "try:\n    self.{o}[t, {i}] += {a}\nfinally:\n    pass"),
    "with": ("SYNTAX", "with self.x:\n    self.{o}[t, {i}] += {a}"),
    "del": ("SYNTAX", "{s} = {a}\ndel {s}\nself.{o}[t, {i}] += {a}"),
    "global": ("SYNTAX", "global {s}\nself.{o}[t, {i}] += {a}"),
    "raise": ("SYNTAX", "raise ValueError"),
    "import": ("NAME", "import math\nself.{o}[t, {i}] += math.sin({a})"),
    "nested-function": ("", "def {s}(x):\n    return x\nself.{o}[t, {i}] += {s}({a})"),
    "nested-class": ("SYNTAX", "class {s}:\n    pass"),
    "match": ("SYNTAX", "match {i}:\n    case 0:\n        self.{o}[t, {i}] += {a}"),
    "yield": ("SYNTAX", "yield {a}"),
    "annotated-alone": ("SYNTAX", "{s}: ti.f64"),
    "complex": ("PYTHON", "self.{o}[t, {i}] += 2j"),
    "huge-integer": ("SHAPE", "self.{o}[t, {i}] += {a} * 123456789012345678901234567890"),
    "nan": ("", "self.{o}[t, {i}] += {a} * float('nan')"),
    "infinity": ("", "self.{o}[t, {i}] += {a} / 1e-400"),
    "bytes": ("PYTHON", "{s} = b'x'\nself.{o}[t, {i}] += {s}"),
    "ellipsis": ("", "...\nself.{o}[t, {i}] += {a}"),
    "is": ("", "if {a} is {b}:\n    self.{o}[t, {i}] += {a}"),
    "in": ("PYTHON", "if {i} in (0, 1):\n    self.{o}[t, {i}] += {a}"),
    "own-adjoint": ("ADJOINT", "self.{o}[t, {i}] += self.x.grad[t, {i}]"),
    "write-adjoint": ("ADJOINT", "self.x.grad[t, {i}] += {a}"),
    "static-of-value": ("PYTHON", "for {s} in ti.static(range({i})):\n    self.{o}[t, {i}] += {a}"),
    "static-if-of-value": ("", "if ti.static({a} > 0.0):\n    self.{o}[t, {i}] += {b}"),
    "unroll-far": ("TOO-LARGE", "for {s} in ti.static(range(100000)):\n    self.{o}[t, {i}] += {a}"),
    "float16": ("SHAPE", "self.{o}[t, {i}] += ti.cast({a}, ti.f16)"),
    "wrong-argument": ("SHAPE", "self.{o}[t, {i}] += ti.cast({a})"),
    "cast-name": ("SHAPE", "self.{o}[t, {i}] += ti.cast({a}, 'f64')"),
    "select-shape": ("", "{s} = ti.select({i} > 0, {q}, {a})"),
    "condition-shape": ("SHAPE", "{s} = {q} if {i} > 0 else {a}"),
    "chained-assign": ("", "{s} = {s}_b = {a}\n{s} += 1.0\nself.{o}[t, {i}] += {s} * {s}_b"),
}


class Hostile(Writer):
    """Write a small simulator with one statement that breaks a rule.

    Args:
        seed: Of the program; also says which rule it breaks.
        size: How much there is around it.
        rule: Break this one.
    """

    def __init__(self, seed: int, size: int = 1, rule: str | None = None) -> None:
        super().__init__(seed, size)
        self.rule = rule or list(BREAKS)[seed % len(BREAKS)]
        self.broken = ""
        self.worlds = False
        self.sabotage = self.written(BREAKS[self.rule][1])

    def written(self, template: str) -> Callable[[Scope], list[str]]:
        def lines(scope: Scope) -> list[str]:
            a, b = self.scalar(scope, 1)[0], self.leaf(scope)[0]
            fields: dict[str, object] = {
                "i": self.pick(*scope.indices),
                "j": self.pick(*scope.indices, "0"),
                "k": self.rng.randint(1, 3),
                "n": self.n,
                "d": self.d,
                "a": a,
                "b": b,
                "s": self.name("z"),
                "q": self.vector(scope, 0)[0],
                "f": self.pick(*self.scalars),
                "o": self.open_scalar or "h",
            }
            self.counted = sorted({"h", str(fields["o"])})
            self.broken = template.format(**fields)
            return self.broken.splitlines()

        return lines

    def declarations(self, stages: int) -> list[str]:
        """Make what the broken statement wrote count."""
        self.scalars.append("h")
        return super().declarations(stages)

    def scatter(self, scope: Scope) -> None:
        """Break the rule before the last statement of the first loop, if it was not broken yet."""
        if self.sabotage is not None:
            broken, self.sabotage = self.sabotage, None
            for text in broken(scope):
                self.line(text)
        super().scatter(scope)
