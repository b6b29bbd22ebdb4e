"""Kernel bodies as ordinary Python: the values that a row must have, computed without Taichi."""

import ast
import itertools
import math
import textwrap
import types

import numpy as np


class Vec(np.ndarray):
    """A vector or matrix with the methods that kernels call."""

    @staticmethod
    def of(values):
        return np.array(values).view(Vec)

    def norm(self, eps=0.0):
        return math.sqrt(self.norm_sqr() + eps)

    def norm_sqr(self):
        return float((np.asarray(self) ** 2).sum())

    def norm_inv(self, eps=0.0):
        return 1.0 / self.norm(eps)

    def normalized(self, eps=0.0):
        return self / (self.norm() + eps)

    def dot(self, other):
        return (np.asarray(self) * np.asarray(other)).sum()

    def cross(self, other):
        if len(self) == 2:
            return self[0] * other[1] - self[1] * other[0]
        return Vec.of(np.cross(self, other))

    def outer_product(self, other):
        return Vec.of(np.outer(self, other))

    def determinant(self):
        return np.linalg.det(np.asarray(self))

    def inverse(self):
        return Vec.of(np.linalg.inv(np.asarray(self)))

    def sum(self):
        return np.asarray(self).sum()

    def cast(self, kind):
        return Vec.of(cast(np.asarray(self), kind))

    x = property(lambda self: self[0], lambda self, value: self.__setitem__(0, value))
    y = property(lambda self: self[1], lambda self, value: self.__setitem__(1, value))
    z = property(lambda self: self[2], lambda self, value: self.__setitem__(2, value))
    xy = property(lambda self: self[:2])
    n = property(lambda self: self.shape[0])
    m = property(lambda self: self.shape[1])


def cast(value, kind):
    if kind in (i32, int):
        return np.trunc(value).astype(int) if isinstance(value, np.ndarray) else int(value)
    return np.asarray(value, dtype=float) if isinstance(value, np.ndarray) else float(value)


def select(condition, a, b):
    chosen = np.where(np.asarray(condition), a, b)
    return Vec.of(chosen) if chosen.ndim else chosen.item()


def fold(function):
    def folded(*args):
        if len(args) == 1:
            args = list(np.asarray(args[0]).ravel())
        result = args[0]
        for other in args[1:]:
            result = function(result, other)
        return result

    return folded


def i32(value):
    return cast(value, i32)


def f64(value):
    return cast(value, f64)


class Shape:
    """What `ti.Vector` and `ti.Matrix` are here."""

    def __call__(self, values, *rest):
        return Vec.of(values)

    @staticmethod
    def zero(kind, *shape):
        return Vec.of(np.zeros(shape))

    @staticmethod
    def one(kind, *shape):
        return Vec.of(np.ones(shape))

    @staticmethod
    def identity(kind, n):
        return Vec.of(np.eye(n))

    @staticmethod
    def rows(rows):
        return Vec.of(np.stack(rows))

    @staticmethod
    def cols(columns):
        return Vec.of(np.stack(columns, axis=1))


def ndrange(*bounds):
    ranges = [range(*b) if isinstance(b, tuple) else range(b) for b in bounds]
    return list(itertools.product(*ranges))


def grouped(items):
    return [Vec.of(item) for item in items]


def smoothstep(a, b, x):
    s = min(max((x - a) / (b - a), 0.0), 1.0)
    return s * s * (3.0 - 2.0 * s)


def identity(value, *rest):
    return value


class Ignored:
    """Statements without effect on values."""

    def __call__(self, *args, **keywords):
        return None


ELEMENTWISE = "sin cos tan exp log sqrt tanh floor ceil abs".split()

ti = types.SimpleNamespace(
    **{name: getattr(np, name) for name in ELEMENTWISE},
    asin=np.arcsin,
    acos=np.arccos,
    atan2=np.arctan2,
    rsqrt=lambda x: 1.0 / np.sqrt(x),
    round=np.round,
    raw_div=lambda a, b: a / b,
    pow=lambda a, b: a**b,
    max=fold(np.maximum),
    min=fold(np.minimum),
    select=select,
    cast=cast,
    i32=i32,
    f64=f64,
    Vector=Shape(),
    Matrix=Shape(),
    static=identity,
    ndrange=ndrange,
    grouped=grouped,
    loop_config=Ignored(),
    static_print=Ignored(),
    func=identity,
    kernel=identity,
    template=lambda: None,
    math=types.SimpleNamespace(
        pi=math.pi,
        e=math.e,
        atan2=np.arctan2,
        pow=lambda a, b: a**b,
        isnan=lambda x: x != x,
        isinf=lambda x: abs(x) == math.inf,
        popcnt=lambda n: bin(n).count("1"),
        clamp=lambda x, a, b: np.minimum(np.maximum(x, a), b),
        mix=lambda a, b, s: a * (1.0 - s) + b * s,
        sign=np.sign,
        step=lambda edge, x: float(x >= edge),
        smoothstep=smoothstep,
        fract=lambda x: x - np.floor(x),
        mod=lambda x, y: x - y * np.floor(x / y),
        dot=lambda a, b: a.dot(b),
        cross=lambda a, b: a.cross(b),
        length=lambda a: a.norm(),
        distance=lambda a, b: (a - b).norm(),
        normalize=lambda a: a.normalized(),
        reflect=lambda v, n: v - 2.0 * n.dot(v) * n,
        radians=math.radians,
        degrees=math.degrees,
        vec2=lambda *parts: Vec.of(np.hstack(parts)),
        vec3=lambda *parts: Vec.of(np.hstack(parts)),
    ),
)
ti.types = types.SimpleNamespace(vector=lambda n, kind: lambda *parts: Vec.of(np.hstack(parts)))


class Field:
    """An array indexed as kernels do: elements are floats, or views of vectors."""

    def __init__(self, values):
        self.values = values

    def _key(self, index):
        flat = []
        for part in index if isinstance(index, tuple) else (index,):
            flat += list(part) if isinstance(part, np.ndarray) and part.ndim else [part]
        key = tuple(int(part) for part in flat)
        assert all(0 <= k < n for k, n in zip(key, self.values.shape, strict=False)), (key, self.values.shape)
        return key

    def __getitem__(self, index):
        if index is None:
            return self.values.item()
        found = self.values[self._key(index)]
        return found.view(Vec) if isinstance(found, np.ndarray) else found.item()

    def __setitem__(self, index, value):
        if index is None:
            self.values[()] = value
        else:
            self.values[self._key(index)] = value


class _Meaning(ast.NodeTransformer):
    """Give assignments Taichi's meaning (values are copied) and turn atomics into sums."""

    def visit_Assign(self, node):
        self.generic_visit(node)
        node.value = ast.Call(ast.Name("_copy", ast.Load()), [node.value], [])
        return node

    def visit_Expr(self, node):
        self.generic_visit(node)
        call = node.value
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
        if name in ("ti.atomic_add", "ti.atomic_sub"):
            target = call.args[0]
            target.ctx = ast.Store()
            op = ast.Add() if name.endswith("add") else ast.Sub()
            return ast.AugAssign(target, op, call.args[1])
        return node


def _copy(value):
    if isinstance(value, np.ndarray):
        return value.copy()
    return tuple(_copy(v) for v in value) if isinstance(value, tuple) else value


def compiled(text, scope):
    """Run a module's text as plain Python and return its names."""
    tree = ast.fix_missing_locations(_Meaning().visit(ast.parse(textwrap.dedent(text))))
    names = {"ti": ti, "np": np, "math": math, "_copy": _copy, **scope}
    exec(compile(tree, "<plain>", "exec"), names)
    return names
