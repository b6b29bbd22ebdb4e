"""A simulator's text as ordinary Python: the values that it must have, computed without Taichi."""

from __future__ import annotations

import ast
import types
from typing import Any

import numpy as np
from traps import plain

import diffsim as ds

__all__ = ["trajectories"]

Vec = plain.Vec


class Table:
    """A field in plain Python: time first where it has one, with `shift` times before the first.

    Args:
        values: What it holds.
        shift: How many times before the first.
        axes: How many indices it has without the time; None where it has no time.
        newest: Without the time it is what was written last, else what belongs to the step.
    """

    def __init__(self, values: Any, shift: int = 0, axes: int | None = None, newest: bool = False) -> None:
        self.values, self.shift, self.axes, self.newest = values, shift, axes, newest
        self.now, self.written = 0, False

    def begin(self, t: int, last: bool) -> None:
        """Begin a step, or the end of them all: what is written without the time is handed on first."""
        self.now, self.written = t, self.newest and not last
        if self.written:
            self.values[t + self.shift + 1] = self.values[t + self.shift]

    def _at(self, index: Any) -> Any:
        if index is None:
            return ()
        first, *rest = index if isinstance(index, tuple) else (index,)
        if self.axes == 1 + len(rest):
            first, rest = self.now + self.written, [first, *rest]
        place = (first + self.shift, *rest)
        for k, n in zip(place, self.values.shape, strict=False):
            if not 0 <= k < n:
                raise IndexError(f"{index} in {self.values.shape}")
        return place

    def __iter__(self) -> Any:
        return iter(
            range(self.values.shape[self.axes is not None])
        )  # a loop over a field is one over indices

    def __getitem__(self, index: Any) -> Any:
        found = self.values[self._at(index)]
        if np.ndim(found):
            return found.view(Vec)
        return int(found) if self.values.dtype.kind == "i" else float(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[self._at(index)] = value


# ---- the functions of the library ----


def _svd(A: Any) -> Any:
    U, s, Vt = np.linalg.svd(np.asarray(A))
    V, s = Vt.T.copy(), s.copy()
    for factor in (U, V):
        if np.linalg.det(factor) < 0.0:
            factor[:, -1] *= -1.0
            s[-1] *= -1.0
    return Vec.of(U), Vec.of(np.diag(s)), Vec.of(V)


def _polar(A: Any) -> Any:
    U, S, V = _svd(A)
    return U @ V.T, V @ S @ V.T


def _qr(A: Any) -> Any:
    Q, R = np.linalg.qr(np.asarray(A))
    signs = np.sign(np.diag(R))
    return Vec.of(Q * signs), Vec.of(signs[:, None] * R)


def _eigh(A: Any) -> Any:
    values, Q = np.linalg.eigh(0.5 * (np.asarray(A) + np.asarray(A).T))
    return Vec.of(values), Vec.of(Q)


def _smooth_max(a: Any, b: Any, width: Any) -> Any:
    d = a - b
    near = 0.5 * (a + b) + (d * d + width * width) / (4.0 * width)
    return plain.select(np.abs(d) < width, near, np.maximum(a, b))


def _clamp(x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(x, low), high)


def _smooth_step(low: Any, high: Any, x: Any) -> Any:
    s = _clamp((x - low) / (high - low), 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s)


def _smooth_min(a: Any, b: Any, width: Any) -> Any:
    return -_smooth_max(-a, -b, width)


MATH = types.SimpleNamespace(
    norm=lambda v, eps=0.0: v.norm(eps),
    normalized=lambda v: v / v.norm() if v.norm() > 0.0 else 0.0 * v,
    sqrt=lambda x: np.sqrt(np.maximum(x, 0.0)),
    safe_div=lambda a, b: plain.select(b == 0.0, 0.0 * a, a / plain.select(b == 0.0, 1.0, b)),
    asin=lambda x: np.arcsin(_clamp(x, -1.0, 1.0)),
    acos=lambda x: np.arccos(_clamp(x, -1.0, 1.0)),
    atan2=np.arctan2,
    pow=lambda a, b: a**b,
    max=np.maximum,
    min=np.minimum,
    clamp=_clamp,
    step=lambda edge, x: plain.select(x < edge, 0.0 * x, 1.0 + 0.0 * x),
    smooth_max=_smooth_max,
    smooth_min=_smooth_min,
    smooth_clamp=lambda x, low, high, width: _smooth_min(_smooth_max(x, low, width), high, width),
    smooth_step=_smooth_step,
    inverse=lambda A: A.inverse(),
    solve=lambda A, b: Vec.of(np.linalg.solve(np.asarray(A), np.asarray(b))),
    cholesky=lambda A: Vec.of(np.linalg.cholesky(0.5 * np.asarray(A + A.T))),
    qr=_qr,
    svd2=_svd,
    svd3=_svd,
    polar2=_polar,
    polar3=_polar,
    eigh2=_eigh,
    eigh3=_eigh,
)

TAICHI = types.SimpleNamespace(
    **{
        **vars(plain.ti),
        "tan": np.tan,
        "round": np.round,
        "svd": _svd,
        "polar_decompose": _polar,
        "solve": MATH.solve,
        "i64": plain.i32,
    }
)

DIFFSIM = types.SimpleNamespace(
    Simulator=object,
    stop_gradient=lambda x: x,
    at_most=lambda n, maximum: n,
    adjoint_of=lambda target: lambda adjoint: adjoint,
    math=MATH,
)

_ATOMICS: dict[str, Any] = {
    "atomic_add": lambda a, b: ast.BinOp(a, ast.Add(), b),
    "atomic_sub": lambda a, b: ast.BinOp(a, ast.Sub(), b),
    "atomic_max": lambda a, b: ast.Call(ast.Name("max", ast.Load()), [a, b], []),
    "atomic_min": lambda a, b: ast.Call(ast.Name("min", ast.Load()), [a, b], []),
}


# ---- Taichi's meaning of statements ----


class _Meaning(ast.NodeTransformer):
    """Make assignments and arguments copy, as Taichi's do, and spell out what changes its argument.

    Args:
        by_reference: Functions that take their first parameter `a` by reference: they give it back.
    """

    def __init__(self, by_reference: set[str]) -> None:
        self.by_reference = by_reference

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        atomic = self._atomic(node.value)
        if atomic is not None and isinstance(node.targets[0], ast.Name):  # the value before, then the new one
            target, new = atomic
            both = ast.Tuple([node.targets[0], _stored(target)], ast.Store())
            return ast.Assign([both], ast.Tuple([target, new], ast.Load()))
        node.value = _called("_copy", node.value)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        atomic = self._atomic(call)
        if atomic is not None:
            target, new = atomic
            return ast.Assign([_stored(target)], new)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            if call.func.id in self.by_reference and isinstance(call.args[0], ast.Name):
                return ast.Assign([ast.Name(call.args[0].id, ast.Store())], call)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if node.name in self.by_reference:
            node.body.append(ast.Return(ast.Name("a", ast.Load())))
        names = [a.arg for a in node.args.args if a.arg not in ("self", "t")]
        node.body[:0] = [
            ast.Assign([ast.Name(n, ast.Store())], _called("_copy", ast.Name(n, ast.Load()))) for n in names
        ]
        return node

    @staticmethod
    def _atomic(call: ast.expr) -> tuple[Any, ast.expr] | None:
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            return None
        make = _ATOMICS.get(call.func.attr)
        return None if make is None else (call.args[0], make(call.args[0], call.args[1]))


def _stored(target: ast.expr) -> Any:
    """Return the text of a place as one that is assigned."""
    stored = ast.parse(ast.unparse(target)).body[0].value  # type: ignore[attr-defined]
    stored.ctx = ast.Store()
    return stored


def _called(name: str, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [argument], [])


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return tuple(_copy(v) for v in value) if isinstance(value, tuple) else value


def _program(source: str) -> Any:
    """Return the class of a program's text, in plain Python."""
    tree = ast.parse(source)
    references = {
        n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("nudge")
    }
    tree = ast.fix_missing_locations(_Meaning(references).visit(tree))
    tree.body = [n for n in tree.body if not isinstance(n, ast.Import)]
    scope: dict[str, Any] = {"ti": TAICHI, "np": np, "ds": DIFFSIM, "_copy": _copy}
    exec(compile(tree, "<plain>", "exec"), scope)
    return scope["Program"]


def _begin(twin: Any, t: int, last: bool) -> None:
    for table in vars(twin).values():
        if isinstance(table, Table):
            table.begin(t, last)


def trajectories(
    source: str, sim: Any, steps: int, changed: dict[str, Any] | None = None
) -> tuple[float, dict[str, Any]]:
    """Run a program's text on the values of a simulator, some of them changed.

    Returns:
        The cost, and the States over time.
    """
    changed = changed or {}
    kind = _program(source)
    twin = kind.__new__(kind)
    twin.cost = Table(np.zeros(()))
    states, scratches, in_place = {}, [], getattr(kind, "in_place", False)
    for name, value in vars(sim).items():
        if isinstance(value, ds.State):
            shift = value.history - 1
            values = np.zeros((steps + 1 + shift, *value.element_shape))
            values[: shift + 1] = changed.get(name, value.numpy())
            setattr(twin, name, Table(values, shift, len(value.shape), in_place or name in "zq"))
            states[name] = values[shift:]
        elif isinstance(value, ds.Scratch):
            numbers = int if getattr(value, "integer", False) else float
            scratches.append(np.zeros((steps + 1, *value.element_shape), dtype=numbers))
            setattr(twin, name, Table(scratches[-1], 0, len(value.shape)))
        elif isinstance(value, ds.Param | ds.Control | ds.Constant):
            setattr(twin, name, Table(np.array(changed.get(name, value.numpy()))))
        elif hasattr(value, "to_numpy"):
            setattr(twin, name, Vec.of(value.to_numpy()))
    with np.errstate(all="ignore"):
        if hasattr(twin, "reset"):
            twin.reset()
            for values in scratches:  # it had its own
                values[...] = 0.0
        for t in range(steps):
            _begin(twin, t, False)
            twin.step(t)
            twin.running_cost(t)
        _begin(twin, steps, True)
        twin.terminal_cost(steps)
    return float(twin.cost.values), states
